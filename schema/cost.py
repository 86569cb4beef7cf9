"""What an operation may cost, computed before it is executed.

The cost is what any router computes from the published schema (``@cost`` and ``@listSize`` of Federation 2.9): an
object costs 1 unless its field says otherwise, a field of a mutation 10, scalars nothing, and what is in a list as
often as the list is long at most. Where a list has as many items as an argument, we count them.

The walk goes as an executor collects fields, and a place that was reached before with the same selections is not
walked again; what was computed is kept for each choice of the variables that matter.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from graphql import (
    BooleanValueNode,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_operation_ast,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)
from strawberry import UNSET
from strawberry.federation.schema_directives import Cost, ListSize
from strawberry.schema.schema_converter import GraphQLCoreConverter

MAX_COST: Final = 15_000
"""The most that an operation may cost: a hundred vehicles with five stations each, with all their Evses and plugs."""

LEAST_COST: Final = 1
"""What an operation costs that asks for nothing but names of types."""

MUTATION_WEIGHT: Final = 10
INTROSPECTION_COST: Final = 500
"""What `__schema`, `__type` and `_service` cost each, whatever is selected of them."""

INTROSPECTION_FIELDS: Final = frozenset({"__schema", "__type", "_service"})
UNSTATED_LIST_SIZE: Final = 10
MAX_REMEMBERED: Final = 32
"""For how many choices of variables the costs of a document are remembered."""

MAX_STEPS: Final = 50_000

SEARCH_WEIGHT: Final = 20
"""What a search costs beside what it finds."""

_PAGE = 20
_LARGEST_PAGE = 100
_SIZES = "chargegraph.sizes"
_MANY = 2**31
_MAX_DIGITS = 9
_Path: TypeAlias = tuple[str, ...]
_Pending: TypeAlias = tuple[tuple[_Path, int], ...]
_Reduced: TypeAlias = bool | int | None
_Fields: TypeAlias = dict[str, list[FieldNode]]


class Size(msgspec.Struct, frozen=True):
    """How long a list is at most: as long as an argument is, or says."""

    argument: str
    most: int
    otherwise: int
    """Without the argument."""
    below: _Path
    """Where the list is, from the field that takes the argument; empty: the field's own."""


def page(weight: int | None = None) -> dict[str, Any]:
    """Return what a field says (as keywords) that answers a page of ``first`` edges, and what finding them costs."""
    # Without an assumed size, which composers refuse where the argument has a default.
    listed = _list_size(slicing_arguments=["first"], sized_fields=["edges"])
    directives = [listed] if weight is None else [Cost(weight=weight), listed]
    return {"directives": directives, "metadata": {_SIZES: (Size("first", _LARGEST_PAGE, _PAGE, ("edges",)),)}}


def each(argument: str, most: int, *further: Size) -> dict[str, Any]:
    """Return what a field says (as keywords) that answers each item of a list that it takes.

    Others than us can only assume the most: slicing arguments are numbers.
    """
    sizes = (Size(argument, most, 0, ()), *further)
    return {"directives": [about(most)], "metadata": {_SIZES: sizes}}


def at_most(argument: str, most: int, *below: str) -> dict[str, Any]:
    """Return what a field says (as keywords) below which a list has no more items than an argument, where that is
    given; the list itself says how long it is otherwise.
    """
    return {"metadata": {_SIZES: (Size(argument, most, most, below),)}}


def about(size: int) -> ListSize:
    """Return the directive of a list that is about so long."""
    return _list_size(assumed_size=size)


def with_edges(size: int) -> ListSize:
    """Return the directive of a connection whose edges are at most so many, as an argument further up says."""
    return _list_size(assumed_size=size, sized_fields=["edges"])


def _list_size(
    assumed_size: int | None = UNSET,
    slicing_arguments: list[str] | None = UNSET,
    sized_fields: list[str] | None = UNSET,
) -> ListSize:
    return ListSize(
        assumed_size=assumed_size,
        slicing_arguments=slicing_arguments,
        sized_fields=sized_fields,
        require_one_slicing_argument=False,
    )


class _Rule(msgspec.Struct, frozen=True):
    """What a field costs."""

    weight: int
    listed: int
    """How long its own list is where nothing else says so; 1: it is no list."""
    is_stated: bool
    """Whether the schema says so itself."""
    sizes: tuple[Size, ...]


class TooCostlyError(Exception):
    """The operation cannot be costed within our steps."""


class CostTable:
    """What each field of a schema costs."""

    def __init__(self, schema: GraphQLSchema) -> None:
        """Read the schema's directives."""
        self.schema = schema
        self._rules: dict[tuple[str, str], _Rule] = {}
        self.arguments: set[str] = set()
        for type_ in schema.type_map.values():
            if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__"):
                for name, field in type_.fields.items():
                    rule = self._rules[type_.name, name] = _read_rule(schema, type_, name, field)
                    self.arguments |= {size.argument for size in rule.sizes}

    def rule(self, type_: GraphQLObjectType, name: str) -> _Rule:
        """Return what a field costs."""
        return self._rules[type_.name, name]

    def lists_without_size(self) -> list[str]:
        """Return the lists of objects of which nothing says how long they are."""
        sized = {size.below[-1] for rule in self._rules.values() for size in rule.sizes if size.below}
        return [".".join(where) for where, rule in self._rules.items() if not rule.is_stated and where[1] not in sized]


def _read_rule(schema: GraphQLSchema, parent: GraphQLObjectType, name: str, field: GraphQLField) -> _Rule:
    definition = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    directives = getattr(definition, "directives", None) or ()
    sizes: tuple[Size, ...] = (getattr(definition, "metadata", None) or {}).get(_SIZES, ())
    if parent is schema.query_type and name == "_entities":
        sizes = (Size("representations", 100, 0, ()),)
    weight = next((each.weight for each in directives if isinstance(each, Cost)), None)
    if weight is None:
        is_change = parent is schema.mutation_type
        weight = MUTATION_WEIGHT if is_change else 0 if is_leaf_type(get_named_type(field.type)) else 1
    stated = next((each.assumed_size for each in directives if isinstance(each, ListSize)), None)
    assumed = stated if isinstance(stated, int) else None
    type_ = field.type.of_type if is_non_null_type(field.type) else field.type
    if not is_list_type(type_) or is_leaf_type(get_named_type(type_)):
        return _Rule(weight, 1, is_stated=True, sizes=sizes)
    is_stated = assumed is not None or any(not size.below for size in sizes)
    return _Rule(weight, UNSTATED_LIST_SIZE if assumed is None else assumed, is_stated=is_stated, sizes=sizes)


class Costs:
    """What the operations of a valid document cost."""

    def __init__(self, document: DocumentNode, table: CostTable) -> None:
        """Find the variables that matter; nothing is computed yet."""
        self._document = document
        self._table = table
        self._deciding = _deciding_variables(document, table.arguments)
        self._known: dict[tuple[object, ...], int] = {}

    def of(self, operation_name: str | None, given: Mapping[str, Any] | None) -> int:
        """Return what an operation costs with these variables, which may be wrong. Raises TooCostlyError."""
        values = given or {}
        reduced = [_reduced(values.get(name)) for name in self._deciding]
        key = (operation_name, *reduced)
        cost = self._known.get(key)
        if cost is None:
            operation = get_operation_ast(self._document, operation_name)
            if operation is None:  # nothing is remembered of names that are none
                return LEAST_COST
            cost = self._compute(operation, dict(zip(self._deciding, reduced, strict=True)))
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            self._known[key] = cost
        return cost

    def _compute(self, operation: OperationDefinitionNode, variables: dict[str, _Reduced]) -> int:
        root = self._table.schema.get_root_type(operation.operation)
        if root is None:  # execution says so
            return LEAST_COST
        for definition in operation.variable_definitions or ():
            name = definition.variable.name.value
            if name in variables and variables[name] is None and definition.default_value is not None:
                variables[name] = _literal(definition.default_value)
        fragments = {
            node.name.value: node for node in self._document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        return max(LEAST_COST, _Walk(self._table, fragments, variables).below([operation.selection_set], root, ()))


class _Walk:
    """One operation with one choice of variables."""

    def __init__(
        self,
        table: CostTable,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: Mapping[str, _Reduced],
    ) -> None:
        self.table = table
        self.fragments = fragments
        self.variables = variables
        self.steps = 0
        self.known: dict[tuple[frozenset[int], str, _Pending], int] = {}

    def below(self, sets: Sequence[SelectionSetNode], type_: GraphQLObjectType, pending: _Pending) -> int:
        """Return what the fields of one object cost."""
        key = (frozenset(map(id, sets)), type_.name, pending)
        cost = self.known.get(key)
        if cost is None:
            fields = self.collect(sets, type_)
            cost = self.known[key] = sum(self.field(nodes, type_, pending) for nodes in fields.values())
        return cost

    def field(self, nodes: list[FieldNode], parent: GraphQLObjectType, pending: _Pending) -> int:
        """Return what a field costs, with everything below it."""
        node = nodes[0]
        name = node.name.value
        if name in INTROSPECTION_FIELDS:
            return INTROSPECTION_COST
        field = parent.fields.get(name)
        if field is None:  # __typename
            return 0
        rule = self.table.rule(parent, name)
        size = rule.listed
        inner: list[tuple[_Path, int]] = []
        for path, count in pending:
            if path == (name,):
                size = count
            elif path[0] == name:
                inner.append((path[1:], count))
        for sizing in rule.sizes:
            if sizing.below:
                inner.append((sizing.below, self.count(node, sizing)))
            else:
                size = self.count(node, sizing)
        sets = [each.selection_set for each in nodes if each.selection_set]
        objects = self.possible(get_named_type(field.type)) if sets else ()
        return size * (rule.weight + max((self.below(sets, each, tuple(inner)) for each in objects), default=0))

    def possible(self, type_: GraphQLNamedType) -> Iterable[GraphQLObjectType]:
        """Return the objects that a field of a type may answer."""
        if isinstance(type_, GraphQLObjectType):
            return (type_,)
        return self.table.schema.get_possible_types(type_) if is_abstract_type(type_) else ()

    def collect(self, sets: Iterable[SelectionSetNode], type_: GraphQLObjectType) -> _Fields:
        """Return the fields that these selection sets ask of one object, by the name they answer under."""
        fields: _Fields = {}
        spread: set[str] = set()
        waiting: list[SelectionNode] = [node for selections in sets for node in selections.selections]
        while waiting:
            self.steps += 1
            if self.steps > MAX_STEPS:
                raise TooCostlyError
            node = waiting.pop()
            if not self.included(node.directives or ()):
                continue
            if isinstance(node, FieldNode):
                fields.setdefault(node.alias.value if node.alias else node.name.value, []).append(node)
            elif isinstance(node, FragmentSpreadNode):
                fragment = self.fragments.get(node.name.value)
                if fragment is not None and node.name.value not in spread:
                    spread.add(node.name.value)
                    if self.applies(fragment, type_):
                        waiting.extend(fragment.selection_set.selections)
            elif isinstance(node, InlineFragmentNode) and self.applies(node, type_):
                waiting.extend(node.selection_set.selections)
        return fields

    def applies(self, fragment: FragmentDefinitionNode | InlineFragmentNode, type_: GraphQLObjectType) -> bool:
        """Tell whether a fragment's condition holds for an object."""
        condition = fragment.type_condition
        if condition is None or condition.name.value == type_.name:
            return True
        wanted = self.table.schema.type_map.get(condition.name.value)
        return wanted is not None and is_abstract_type(wanted) and self.table.schema.is_sub_type(wanted, type_)

    def included(self, directives: Iterable[DirectiveNode]) -> bool:
        """Tell whether `@skip` and `@include` let a selection be."""
        for directive in directives:
            wanted = {"skip": False, "include": True}.get(directive.name.value)
            if wanted is not None:
                stated = next((given.value for given in directive.arguments or ()), None)
                value = self.value(stated)
                if isinstance(value, bool) and value is not wanted:
                    return False
        return True

    def count(self, node: FieldNode, size: Size) -> int:
        """Return how long a list is, by the argument that says so."""
        stated = next((given.value for given in node.arguments or () if given.name.value == size.argument), None)
        value = self.value(stated)
        return size.otherwise if value is None else min(max(int(value), 0), size.most)

    def value(self, stated: ValueNode | None) -> _Reduced:
        """Return what an argument says, as far as it matters."""
        return self.variables.get(stated.name.value) if isinstance(stated, VariableNode) else _literal(stated)


def _literal(stated: ValueNode | None) -> _Reduced:
    match stated:
        case BooleanValueNode():
            return stated.value
        case IntValueNode():
            return int(stated.value) if len(stated.value) <= _MAX_DIGITS else _MANY
        case ListValueNode():
            return len(stated.values)
        case None | NullValueNode():
            return None
        case _:  # one item where a list belongs is a list of it
            return 1


def _reduced(value: object) -> _Reduced:
    """Return what matters of a variable's value: whether, how many, or how long."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return int(min(max(value, 0), _MANY)) if value - value == 0 else _MANY
    return len(value) if isinstance(value, list) else 1


def asks_for_the_schema(document: DocumentNode) -> bool:
    """Tell whether a document has a field that shows the schema."""
    return any(isinstance(node, FieldNode) and node.name.value in INTROSPECTION_FIELDS for node in _written(document))


def _deciding_variables(document: DocumentNode, arguments: set[str]) -> list[str]:
    """Return the variables that decide what is included, and how many of it."""
    found: dict[str, None] = {}
    for node in _written(document):
        stated = [given.value for directive in node.directives or () for given in directive.arguments or ()]
        if isinstance(node, FieldNode):
            stated += [given.value for given in node.arguments or () if given.name.value in arguments]
        found |= {value.name.value: None for value in stated if isinstance(value, VariableNode)}
    return list(found)


def _written(document: DocumentNode) -> Iterator[SelectionNode]:
    """Yield every selection as it is written, each fragment's once."""
    waiting: list[SelectionSetNode] = [
        definition.selection_set
        for definition in document.definitions
        if isinstance(definition, OperationDefinitionNode | FragmentDefinitionNode)
    ]
    while waiting:
        for node in waiting.pop().selections:
            yield node
            inner = getattr(node, "selection_set", None)
            if inner is not None:
                waiting.append(inner)
