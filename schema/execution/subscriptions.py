"""A subscription: its source is made once, and each event of it is answered as an operation of its own."""

from inspect import isawaitable, iscoroutine
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLSchema,
    create_source_event_stream,
)
from graphql.execution import Executor
from graphql.execution.collect_fields import collect_fields
from graphql.pyutils import Path

from schema.execution.executor import Projecting
from schema.execution.generator import Projection
from schema.execution.operations import Frame
from schema.execution.values import Bail


class Subscription:
    """A subscription that was begun."""

    def __init__(self, executor: Executor[Any], source: Any) -> None:
        """Keep what answers an event, and what yields the events."""
        self._executor: Any = executor
        self._compiled = _compile(executor) if isinstance(executor, Projecting) else None
        self.source = source

    async def answer(self, event: object, context: object) -> ExecutionResult:
        """Return the answer to an event, which is the root value of it."""
        if self._compiled is not None:
            key, info, project = self._compiled
            frame: Any = Frame(self._executor, self._executor.variable_values, context)
            try:
                data = {key: project(event, frame, info.path, info._replace(context=context))}
            except Exception as reason:  # noqa: BLE001 - graphql-core meets it again and reports it by its rules
                if isinstance(reason, Bail) and iscoroutine(reason.value):
                    reason.value.close()
            else:
                self._executor.plans.projected += 1
                return ExecutionResult(data)
        executor = self._executor.build_per_event_executor(event)
        executor.context_value = context
        result: Any = executor.execute_operation(serially=False)
        answered: ExecutionResult = await result if isawaitable(result) else result
        return answered


def _compile(executor: Projecting) -> tuple[str, GraphQLResolveInfo[Any], Projection] | None:
    """Return how events are projected; None where that is left to graphql-core."""
    schema = executor.schema
    root = schema.subscription_type
    plan = executor.find_plan()
    if root is None or plan is None:
        return None
    collected = collect_fields(
        schema, executor.fragments, executor.variable_values, root, executor.operation, executor.hide_suggestions
    )
    ((key, selected),) = collected.grouped_field_set.items()
    field = schema.get_field(root, selected[0].node.name.value)
    generated = None if field is None else plan.projection(key, executor, field.type, selected)
    if field is None or generated is None:
        return None
    nodes = [details.node for details in selected]
    info = executor.build_resolve_info(field, nodes, root, Path(None, key, root.name))
    return key, info, generated.project


async def begin(
    schema: GraphQLSchema,
    document: DocumentNode,
    operation_name: str | None,
    given: dict[str, Any],
    context: object,
    executor_class: type[Executor[Any]],
    **options: Any,
) -> Subscription | list[GraphQLError]:
    """Begin the subscription that a valid document asks for; return the errors where it does not begin."""
    executor = executor_class.build(schema, document, None, context, given, operation_name, **options)
    if isinstance(executor, list):
        return executor
    made: Any = create_source_event_stream(executor)
    source = await made if isawaitable(made) else made
    if isinstance(source, ExecutionResult):
        return source.errors or []
    return Subscription(executor, source)
