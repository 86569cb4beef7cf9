"""What was generated: projections by document, operation and the variables that decide which fields are included."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Lock
from typing import Any, TypeVar

from graphql import (
    DirectiveNode,
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLOutputType,
    GraphQLSchema,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    default_field_resolver,
    default_type_resolver,
)
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetailsList

from schema.execution.fragments import Fragments
from schema.execution.generator import Generated, generate

_T = TypeVar("_T")

MAX_FIELDS = 20_000
MAX_PLANS_A_DOCUMENT = 16
_ABSENT = object()


class Plan:
    """The projections of one operation with one choice of included fields, by root field; made when first needed."""

    def __init__(self, fragments: Fragments | None) -> None:
        """Begin with none."""
        self.field_count = 0
        self._fragments = fragments
        self._projections: dict[str, Generated | None] = {}

    def projection(
        self, name: str, executor: Executor[Any], type_: GraphQLOutputType, selected: FieldDetailsList
    ) -> Generated | None:
        """Return the projection of the root field with this response name; None where none can be generated."""
        try:
            return self._projections[name]
        except KeyError:
            pass
        generated = None
        with suppress(Exception):  # graphql-core meets the reason too, and reports it if it is an error
            generated = generate(executor, type_, selected, self._fragments)
        self._projections[name] = generated
        self.field_count += 1 if generated is None else generated.field_count
        return generated


class _Document:
    """A document that is held, so that no other gets its identity, and its plans."""

    def __init__(self, document: DocumentNode, schema: GraphQLSchema, fragments: Fragments | None) -> None:
        """Read the document."""
        self._held = document, schema
        self._fragments = fragments
        self._conditions, self._selection_count = _read(document)
        self._plans: dict[tuple[object, ...], Plan] = {}
        self._names: dict[int, list[str]] = {}
        self._made: dict[tuple[object, ...], Any] = {}

    @property
    def field_count(self) -> int:
        """How much memory it takes with its plans, counted in fields."""
        return self._selection_count + sum(plan.field_count for plan in tuple(self._plans.values()))

    def plan(self, executor: Executor[Any]) -> Plan | None:
        """Return the plan for the executor's operation and variables; None where all of it has to be graphql-core's."""
        if self._conditions is None:
            return None
        values = executor.variable_values.coerced
        chosen = [values.get(name) for name in self._conditions]
        if not all(value is True or value is False for value in chosen):
            return None
        key = (id(executor.operation), *chosen)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= MAX_PLANS_A_DOCUMENT:
                self._plans.clear()
            plan = self._plans[key] = Plan(self._fragments)
        return plan

    def made(self, definition: OperationDefinitionNode, given: Mapping[str, Any], make: Callable[[], _T]) -> _T | None:
        """Return what was made for requests like this one, or make it; None where nothing can be made for all of them.

        They execute the same operation, give the same variables, and of these the ones that decide which fields are
        included have the same values.
        """
        if self._conditions is None:
            return None
        chosen = [given.get(name, _ABSENT) for name in self._conditions]
        if not all(value is True or value is False or value is _ABSENT for value in chosen):
            return None
        names = self._names.get(id(definition))
        if names is None:
            names = [variable.variable.name.value for variable in definition.variable_definitions or ()]
            self._names[id(definition)] = names
        key = (id(definition), *chosen, *[name in given for name in names])
        try:
            found: _T = self._made[key]
        except KeyError:
            if len(self._made) >= MAX_PLANS_A_DOCUMENT:
                self._made.clear()
            found = self._made[key] = make()
        return found


def _read(document: DocumentNode) -> tuple[list[str] | None, int]:
    """Return the variables that decide which fields are included, and how many selections there are.

    There is None for the variables where directives other than ``@skip`` and ``@include``, or variables of fragments,
    may mean anything.
    """
    plain, selection_count = True, 0
    directives: list[DirectiveNode] = []
    waiting: list[SelectionSetNode] = []
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode | FragmentDefinitionNode):
            waiting.append(definition.selection_set)
            plain = plain and not definition.directives
        if isinstance(definition, FragmentDefinitionNode):
            plain = plain and not definition.variable_definitions
    while waiting:
        for node in waiting.pop().selections:
            selection_count += 1
            directives += node.directives or ()
            inner = getattr(node, "selection_set", None)
            if inner is not None:
                waiting.append(inner)
    plain = plain and all(directive.name.value in {"skip", "include"} for directive in directives)
    values = [argument.value for directive in directives for argument in directive.arguments or ()]
    names = dict.fromkeys(value.name.value for value in values if isinstance(value, VariableNode))
    return list(names) if plain else None, selection_count


class Plans:
    """All plans of a process; those of the documents that were least recently used are forgotten."""

    def __init__(self, max_fields: int = MAX_FIELDS, fragments: Fragments | None = None) -> None:
        """Remember documents up to this many fields all together, as selected and as generated.

        With ``fragments`` some objects are kept as bytes, and only orjson can write what is projected.
        """
        self.fragments = fragments
        self.projected = 0
        """How many root values were projected."""
        self.bailed = 0
        """How many root values graphql-core had to complete though there was a projection."""
        self._max_fields = max_fields
        self._documents: OrderedDict[tuple[int, int], _Document] = OrderedDict()
        self._lock = Lock()

    def find(self, executor: Executor[Any], document: DocumentNode) -> Plan | None:
        """Return the plan for an execution; None where all of it has to be graphql-core's."""
        middleware = executor.middleware_manager
        if (
            (middleware is not None and middleware.middlewares)
            or executor.field_resolver is not default_field_resolver
            or executor.type_resolver is not default_type_resolver
        ):
            return None
        return self._known(document, executor.schema).plan(executor)

    def made(
        self,
        schema: GraphQLSchema,
        document: DocumentNode,
        definition: OperationDefinitionNode,
        given: Mapping[str, Any],
        make: Callable[[], _T],
    ) -> _T | None:
        """Return what was made for an operation and the variables given, and forget it together with its plans."""
        return self._known(document, schema).made(definition, given, make)

    def _known(self, document: DocumentNode, schema: GraphQLSchema) -> _Document:
        key = id(document), id(schema)
        with self._lock:
            known = self._documents.get(key)
            if known is None:
                known = self._documents[key] = _Document(document, schema, self.fragments)
                self._forget()
            else:
                self._documents.move_to_end(key)
        return known

    def _forget(self) -> None:
        field_count = sum(document.field_count for document in self._documents.values())
        while field_count > self._max_fields and len(self._documents) > 1:
            _, forgotten = self._documents.popitem(last=False)
            field_count -= forgotten.field_count
