"""A subscription: its source is made once, and each event of it is answered as an operation of its own."""

from inspect import isawaitable
from typing import Any

from graphql import DocumentNode, ExecutionResult, GraphQLError, GraphQLSchema, create_source_event_stream
from graphql.execution import Executor


class Subscription:
    """A subscription that was begun."""

    def __init__(self, executor: Executor[Any], source: Any) -> None:
        """Keep what answers an event, and what yields the events."""
        self._executor = executor
        self.source = source

    async def answer(self, event: object, context: object) -> ExecutionResult:
        """Return the answer to an event, which is the root value of it."""
        executor = self._executor.build_per_event_executor(event)
        executor.context_value = context
        result: Any = executor.execute_operation(serially=False)
        answered: ExecutionResult = await result if isawaitable(result) else result
        return answered


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
