"""A whole operation as one function: what an executor does around root values, done once for a document."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from inspect import isawaitable
from typing import Any, TypeAlias, cast

import msgspec
from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    GraphQLBoolean,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInputType,
    GraphQLInt,
    GraphQLResolveInfo,
    GraphQLSchema,
    GraphQLString,
    MiddlewareManager,
    OperationDefinitionNode,
    OperationType,
    execute,
    get_operation_ast,
    get_variable_values,
    is_non_null_type,
)
from graphql.execution import Executor
from graphql.execution.collect_fields import collect_fields
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource
from graphql.pyutils import Path
from graphql.type.scalars import GRAPHQL_MAX_INT, GRAPHQL_MIN_INT
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField
from strawberry.types.fields.resolver import StrawberryResolver
from strawberry.types.info import Info

from schema.execution.arguments import Building, arguments_of
from schema.execution.executor import Projecting
from schema.execution.fields import Declined, closure_of
from schema.execution.generator import Projection
from schema.execution.plans import Plan, Plans
from schema.execution.values import Bail

_Variable: TypeAlias = tuple[str, GraphQLVariableSignature, Callable[[Any], bool] | None]

_PLAIN: dict[GraphQLInputType, Callable[[Any], bool]] = {
    GraphQLString: lambda value: type(value) is str,
    GraphQLID: lambda value: type(value) is str,
    GraphQLBoolean: lambda value: type(value) is bool,
    GraphQLFloat: lambda value: type(value) is float and value - value == 0.0,
    GraphQLInt: lambda value: type(value) is int and GRAPHQL_MIN_INT <= value <= GRAPHQL_MAX_INT,
}
"""When a value that is not null is what graphql-core would coerce it to."""


class _Root(msgspec.Struct, frozen=True):
    """A root field, ready to be resolved and projected."""

    key: str
    resolve: Callable[..., Any]
    takes_self: bool
    info_parameter: str | None
    field: StrawberryField
    info: GraphQLResolveInfo[Any]
    build_arguments: Building
    project: Projection


class Frame:
    """What projections need of an executor, for one request."""

    def __init__(self, executor: Executor[Any], variable_values: VariableValues, context: Any) -> None:
        """Take an executor for the same operation."""
        self.schema = executor.schema
        self.fragment_definitions = executor.fragment_definitions
        self.root_value = executor.root_value
        self.operation = executor.operation
        self.variable_values = variable_values
        self.context_value = context
        self.is_awaitable = executor.is_awaitable
        self.abort_signal = executor.abort_signal
        self.async_helpers = executor.async_helpers
        self.hide_suggestions = executor.hide_suggestions

    build_resolve_info = Executor.build_resolve_info


class Resolved(MiddlewareManager):
    """What the root fields resolved to: given to graphql-core as its middleware, it completes these very values, or
    reports these errors, and no root resolver runs twice.
    """

    def __init__(self, values: Mapping[str, Any], awaited: Iterable[str]) -> None:
        """Take values and exceptions by response name, and the names of those that were awaited."""
        super().__init__()
        self._values = values
        self._awaited = frozenset(awaited)

    def get_field_resolver(self, field_resolver: Callable[..., Any]) -> Callable[..., Any]:
        """Return a resolver that knows the root values."""

        def resolve(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
            if info.path.prev is not None:
                return field_resolver(source, info, **arguments)
            key = str(info.path.key)
            # As before: which errors are reported depends on what has to be awaited, and an awaited value is a value.
            return _awaited(self._values[key]) if key in self._awaited else _told(self._values[key])

        return resolve


def _told(value: object) -> object:
    if isinstance(value, BaseException):
        raise value
    return value


async def _awaited(value: object) -> object:
    return _told(value)


class Operation(msgspec.Struct, frozen=True):
    """A query, with what of the variables decides how it is executed."""

    executor: Executor[Any]
    """One that was built for the same operation, without a context."""
    roots: tuple[_Root, ...]
    variables: tuple[_Variable, ...]
    plans: Plans

    async def execute(self, given: dict[str, Any], context: Any) -> "dict[str, Any] | Resolved":
        """Return the data; or what the root fields resolved to, where only graphql-core can say what the answer is.

        Raises Bail where nothing was resolved, for the variables are wrong.
        """
        values = self._coerced(given)
        arguments = [root.build_arguments(values.coerced) for root in self.roots]
        frame: Any = Frame(self.executor, values, context)
        infos = [root.info._replace(variable_values=values, context=context) for root in self.roots]
        resolved: dict[str, Any] = {}
        waiting: list[tuple[str, Coroutine[Any, Any, Any]]] = []
        for root, given_to, info in zip(self.roots, arguments, infos, strict=True):
            try:
                value = _resolve(root, given_to, info)
            except Exception as error:  # noqa: BLE001 - graphql-core reports it by its rules
                value = error
            if asyncio.iscoroutine(value):
                waiting.append((root.key, value))
            resolved[root.key] = value
        if len(waiting) == 1:
            [(key, coroutine)] = waiting
            try:
                resolved[key] = await coroutine
            except Exception as error:  # noqa: BLE001 - as above
                resolved[key] = error
        elif waiting:
            found = await asyncio.gather(*(coroutine for _, coroutine in waiting), return_exceptions=True)
            resolved |= zip((key for key, _ in waiting), found, strict=True)
        data: dict[str, Any] = {}
        for root, info in zip(self.roots, infos, strict=True):
            value = resolved[root.key]
            if isinstance(value, BaseException):
                return Resolved(resolved, [key for key, _ in waiting])
            try:
                data[root.key] = root.project(value, frame, info.path, info)
            except Exception:  # noqa: BLE001 - graphql-core meets it again and reports it by its rules
                return Resolved(resolved, [key for key, _ in waiting])
        self.plans.projected += len(data)
        return data

    def _coerced(self, given: dict[str, Any]) -> VariableValues:
        # Nearly all variables are plain numbers and texts, and as they should be.
        sources, coerced = {}, {}
        for name, signature, is_plain in self.variables:
            value = given.get(name)
            if value is None or is_plain is None or not is_plain(value):
                break
            sources[name], coerced[name] = VariableValueSource(signature, value), value
        else:
            return VariableValues(sources, coerced)
        definitions = self.executor.operation.variable_definitions or ()
        values = get_variable_values(self.executor.schema, definitions, given, max_errors=1)
        if isinstance(values, VariableValues):
            return values
        raise Bail


def _variables(executor: Executor[Any]) -> tuple[_Variable, ...]:
    found = []
    for definition in executor.operation.variable_definitions or ():
        signature = get_variable_signature(executor.schema, definition)
        assert isinstance(signature, GraphQLVariableSignature)
        type_ = signature.type
        found.append((signature.name, signature, _PLAIN.get(type_.of_type if is_non_null_type(type_) else type_)))
    return tuple(found)


def _resolve(root: _Root, arguments: dict[str, Any], info: GraphQLResolveInfo[Any]) -> Any:
    if root.info_parameter is not None:
        arguments[root.info_parameter] = Info(_raw_info=info, _field=root.field)
    return root.resolve(None, **arguments) if root.takes_self else root.resolve(**arguments)


class Operations:
    """Executes the operations of a schema, compiled where that is possible. Its executor's plans keep what is made."""

    def __init__(self, schema: GraphQLSchema, executor: type[Projecting], **options: Any) -> None:
        """Take a schema of Strawberry's, the executor for what is not compiled, and graphql-core's other options."""
        self._schema = schema
        self._executor = executor
        self._options = options

    async def execute(
        self, document: DocumentNode, operation_name: str | None, given: dict[str, Any], context: Any
    ) -> ExecutionResult:
        """Return what graphql-core would answer to a valid document."""
        resolved = None
        definition = get_operation_ast(document, operation_name)
        operation = None if definition is None else self._find(document, definition, given)
        if operation is not None:
            with suppress(Bail):
                outcome = await operation.execute(given, context)
                if not isinstance(outcome, Resolved):
                    return ExecutionResult(outcome)
                resolved = outcome
        result: Any = execute(
            self._schema,
            document,
            context_value=context,
            variable_values=given,
            operation_name=operation_name,
            middleware=resolved,
            executor_class=self._executor,
            **self._options,
        )
        answer: ExecutionResult = await result if isawaitable(result) else result
        return answer

    def _find(
        self, document: DocumentNode, definition: OperationDefinitionNode, given: dict[str, Any]
    ) -> Operation | None:
        """Return the compiled operation for a request; None where all of it is the executor's."""
        plans = self._executor.plans

        def make() -> Operation | None:
            name = definition.name.value if definition.name else None
            executor = self._executor.build(self._schema, document, None, None, given, name)
            plan = plans.find(executor, document) if isinstance(executor, Projecting) else None
            if plan is not None:
                # graphql-core meets the reason too, and reports it if it is an error.
                with suppress(Exception):
                    return _compile(cast("Projecting", executor), plan, plans)
            return None

        return plans.made(self._schema, document, definition, given, make)


def _compile(executor: Executor[Any], plan: Plan, plans: Plans) -> Operation:
    """Return the operation that an executor was built for, to serve all requests that give the same variables, with
    the same values for those that decide which fields are included. Raises Declined where it is left to graphql-core.
    """
    schema, definition = executor.schema, executor.operation
    if definition.operation is not OperationType.QUERY or executor.root_value is not None:
        raise Declined
    query = schema.query_type
    assert query is not None
    collected = collect_fields(
        schema, executor.fragments, executor.variable_values, query, definition, executor.hide_suggestions
    )
    if collected.new_defer_usages:
        raise Declined
    roots = []
    for key, selected in collected.grouped_field_set.items():
        node = selected[0].node
        field = schema.get_field(query, node.name.value)
        if field is None:
            raise Declined
        generated = plan.projection(key, executor, field.type, selected)
        if generated is None:
            raise Declined
        nodes = [details.node for details in selected]
        info = executor.build_resolve_info(field, nodes, query, Path(None, key, query.name))
        roots.append(_root(executor, key, field, node, info, generated.project))
    return Operation(executor, tuple(roots), _variables(executor), plans)


def _root(
    executor: Executor[Any],
    key: str,
    field: GraphQLField,
    node: FieldNode,
    info: GraphQLResolveInfo[Any],
    project: Projection,
) -> _Root:
    """Prepare a root field that Strawberry resolves without extensions, permissions or handlers of exceptions."""
    definition = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    schema: Any = executor.schema
    if (
        not isinstance(definition, StrawberryField)
        or type(definition).get_result is not StrawberryField.get_result
        or closure_of(field) not in {"_resolver", "_async_resolver"}
        or definition.extensions
        or schema._strawberry_schema.schema_converter.exception_handlers  # noqa: SLF001 - as Strawberry's Info does
    ):
        raise Declined
    resolver = definition.base_resolver
    if type(resolver) is not StrawberryResolver or resolver.parent_parameter or resolver.root_parameter:
        raise Declined
    return _Root(
        key=key,
        resolve=cast("Callable[..., Any]", resolver.wrapped_func),
        takes_self=resolver.self_parameter is not None,
        info_parameter=resolver.info_parameter.name if resolver.info_parameter is not None else None,
        field=definition,
        info=info,
        build_arguments=arguments_of(
            field,
            node,
            definition,
            executor.operation,
            executor.variable_values.coerced,
            schema._strawberry_schema,  # noqa: SLF001 - as above
        ),
        project=project,
    )
