"""What was generated: projections by document, operation and the variables that decide which fields are included."""

from collections import OrderedDict
from threading import Lock
from typing import Any

from graphql import (
    DirectiveNode,
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLOutputType,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableNode,
    default_field_resolver,
    default_type_resolver,
)
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetailsList

from schema.execution.generator import Projection, generate

MAX_FIELDS = 20_000
MAX_PLANS_A_DOCUMENT = 16


class Plan:
    """The projections of one operation with one set of included fields, by root field; made when first needed."""

    def __init__(self) -> None:
        self._projections: dict[str, Projection | None] = {}
        self.field_count = 0

    def projection(
        self, name: str, executor: Executor[Any], type_: GraphQLOutputType, selected: FieldDetailsList
    ) -> Projection | None:
        """Return the projection of the root field with this response name; None where none can be generated."""
        try:
            return self._projections[name]
        except KeyError:
            pass
        projection = None
        try:
            projection, field_count = generate(executor, type_, selected)
        except Exception:  # noqa: BLE001 - whatever the reason is, graphql-core meets it too and reports it
            field_count = 1
        self._projections[name] = projection
        self.field_count += field_count
        return projection


class _Document:
    """A document, held so that its identity is not given to another, and its plans."""

    def __init__(self, document: DocumentNode, schema: GraphQLSchema) -> None:
        self.document = document
        self.schema = schema
        self.conditions: list[str] = []
        """Variables that decide which fields are included."""
        self.selection_count = 0
        self.plain = True
        """Whether there are no directives but ``@skip`` and ``@include``, and no variables of fragments."""
        self._plans: dict[tuple[object, ...], Plan] = {}
        self._read()

    @property
    def field_count(self) -> int:
        """How much there is of it in memory, counted in fields."""
        return self.selection_count + sum(plan.field_count for plan in tuple(self._plans.values()))

    def plan(self, executor: Executor[Any]) -> Plan | None:
        """Return the plan for the executor's operation and variables; None where all of it has to be graphql-core's."""
        values = executor.variable_values.coerced
        included = [values.get(name) for name in self.conditions]
        if not self.plain or not all(value is True or value is False for value in included):
            return None
        key = (id(executor.operation), *included)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= MAX_PLANS_A_DOCUMENT:
                self._plans.clear()
            plan = self._plans[key] = Plan()
        return plan

    def _read(self) -> None:
        waiting: list[SelectionSetNode] = []
        directives: list[DirectiveNode] = []
        for definition in self.document.definitions:
            if isinstance(definition, OperationDefinitionNode | FragmentDefinitionNode):
                self.plain = self.plain and not definition.directives
                waiting.append(definition.selection_set)
            if isinstance(definition, FragmentDefinitionNode):
                self.plain = self.plain and not definition.variable_definitions
        while waiting:
            for node in waiting.pop().selections:
                self.selection_count += 1
                directives += node.directives or ()
                inner = getattr(node, "selection_set", None)
                if inner is not None:
                    waiting.append(inner)
        for directive in directives:
            self.plain = self.plain and directive.name.value in {"skip", "include"}
            for argument in directive.arguments or ():
                if isinstance(argument.value, VariableNode) and argument.value.name.value not in self.conditions:
                    self.conditions.append(argument.value.name.value)


class Plans:
    """All plans of a process, the least recently used forgotten first."""

    def __init__(self, max_fields: int = MAX_FIELDS) -> None:
        """Remember as many documents as have this many fields all together, as selected and as generated."""
        self._max_fields = max_fields
        self._documents: OrderedDict[tuple[int, int], _Document] = OrderedDict()
        self._lock = Lock()
        self.projected = 0
        """How many root values were projected."""
        self.bailed = 0
        """How many root values had to be completed by graphql-core though there was a projection."""

    def find(self, executor: Executor[Any], document: DocumentNode) -> Plan | None:
        """Return the plan for an execution; None where all of it has to be graphql-core's."""
        middleware = executor.middleware_manager
        if (
            executor.operation.operation is OperationType.SUBSCRIPTION
            or (middleware is not None and middleware.middlewares)
            or executor.field_resolver is not default_field_resolver
            or executor.type_resolver is not default_type_resolver
        ):
            return None
        key = id(document), id(executor.schema)
        with self._lock:
            known = self._documents.get(key)
            if known is None:
                known = self._documents[key] = _Document(document, executor.schema)
                self._forget()
            else:
                self._documents.move_to_end(key)
        return known.plan(executor)

    def _forget(self) -> None:
        field_count = sum(document.field_count for document in self._documents.values())
        while field_count > self._max_fields and len(self._documents) > 1:
            _, forgotten = self._documents.popitem(last=False)
            field_count -= forgotten.field_count
