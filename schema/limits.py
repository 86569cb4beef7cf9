"""What a document may cost before anything looks at it more closely.

One walk, the way an executor collects fields: selections that answer at one place are looked at together, and a place
that was reached before with the same selections is not walked again. So the walk is linear in the document for all
honest documents, and a budget ends it for the others. (Limiters that walk a fragment at each of its spreads take 2^n
steps for n fragments.)
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
)

MAX_DEPTH = 12
MAX_INTROSPECTION_DEPTH = 20
MAX_ROOT_FIELDS = 10
MAX_ALIASES = 30
MAX_DIRECTIVES = 50
MAX_DIRECTIVES_AT_A_PLACE = 5
MAX_SELECTIONS_AT_A_PLACE = 30
MAX_STEPS = 10_000

_Fields: TypeAlias = dict[str, list[FieldNode]]
_Fragments: TypeAlias = Mapping[str, FragmentDefinitionNode]


class _TooMuchError(Exception):
    """The document is over a limit; the message says over which."""


class _Walk:
    """The state of one document's walk."""

    def __init__(self, document: DocumentNode) -> None:
        self.fragments: _Fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self.steps = 0
        self.reached: set[str] = set()
        """The fragments that were looked into."""
        self.deepest: dict[frozenset[int], int] = {}

    def collect(self, sets: Iterable[SelectionSetNode]) -> _Fields:
        """Return the fields that these selection sets ask for at one place, by the name they answer under."""
        fields: _Fields = {}
        spread: set[str] = set()
        waiting: list[SelectionNode] = [node for selections in sets for node in selections.selections]
        while waiting:
            self.steps += 1
            if self.steps > MAX_STEPS:
                raise _TooMuchError("the selections of this document spread into too many")
            node = waiting.pop()
            if isinstance(node, FieldNode):
                fields.setdefault(node.alias.value if node.alias else node.name.value, []).append(node)
            elif isinstance(node, FragmentSpreadNode):
                fragment = self.fragments.get(node.name.value)
                if fragment is not None and node.name.value not in spread:
                    spread.add(node.name.value)
                    waiting.extend(fragment.selection_set.selections)
            else:
                waiting.extend(node.selection_set.selections)  # type: ignore[attr-defined]
        self.reached |= spread
        for name, nodes in fields.items():
            if len(nodes) > MAX_SELECTIONS_AT_A_PLACE:
                raise _TooMuchError(
                    f"{name!r:.50} is selected {len(nodes)} times at one place, more than {MAX_SELECTIONS_AT_A_PLACE}"
                )
        return fields

    def descend(self, root: _Fields) -> None:
        """Walk everything below some fields."""
        places = [(root, 1, MAX_DEPTH)]
        while places:
            fields, depth, limit = places.pop()
            if depth > limit:
                raise _TooMuchError(f"fields are nested more than {limit} deep")
            for nodes in fields.values():
                sets = [node.selection_set for node in nodes if node.selection_set]
                if not sets:
                    continue
                key = frozenset(map(id, sets))
                if self.deepest.get(key, 0) >= depth:
                    continue
                self.deepest[key] = depth
                introspects = nodes[0].name.value.startswith("__")
                places.append((self.collect(sets), depth + 1, MAX_INTROSPECTION_DEPTH if introspects else limit))


def check_limits(document: DocumentNode) -> GraphQLError | None:
    """Return what the document has too much of, None when it is within all limits."""
    try:
        _count_words(document)
        walk = _Walk(document)
        for definition in document.definitions:
            if isinstance(definition, OperationDefinitionNode):
                walk.descend(_few(walk.collect([definition.selection_set])))
        for name, fragment in walk.fragments.items():
            if name not in walk.reached:  # validation will look into it all the same
                walk.descend(walk.collect([fragment.selection_set]))
    except _TooMuchError as excess:
        return GraphQLError(f"The document is too large: {excess}.")
    return None


def _few(roots: _Fields) -> _Fields:
    if len(roots) > MAX_ROOT_FIELDS:
        raise _TooMuchError(f"{len(roots)} root fields are more than {MAX_ROOT_FIELDS}")
    return roots


def _count_words(document: DocumentNode) -> None:
    """Count aliases and directives as they are written, each fragment once."""
    aliases = directives = 0
    waiting: list[SelectionSetNode] = []
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode | FragmentDefinitionNode):
            directives += len(definition.directives or ())
            waiting.append(definition.selection_set)
    while waiting:
        for node in waiting.pop().selections:
            here = len(node.directives or ())
            if here > MAX_DIRECTIVES_AT_A_PLACE:
                raise _TooMuchError(f"{here} directives at one place are more than {MAX_DIRECTIVES_AT_A_PLACE}")
            directives += here
            if isinstance(node, FieldNode) and node.alias:
                aliases += 1
            inner = getattr(node, "selection_set", None)
            if inner is not None:
                waiting.append(inner)
    if aliases > MAX_ALIASES:
        raise _TooMuchError(f"{aliases} aliases are more than {MAX_ALIASES}")
    if directives > MAX_DIRECTIVES:
        raise _TooMuchError(f"{directives} directives are more than {MAX_DIRECTIVES}")
