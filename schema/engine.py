"""From a document to an answer: parse, limit, validate (each document once), then execute."""

import asyncio
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from inspect import isawaitable
from typing import Any, Final

import msgspec
import orjson
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSchema,
    MiddlewareManager,
    OperationDefinitionNode,
    OperationType,
    execute,
    get_operation_ast,
    parse,
    validate,
)

from schema.context import Context, Source
from schema.cost import MAX_COST, Costs, CostTable, TooCostlyError, asks_for_the_schema
from schema.errors import MAX_ERRORS, ErrorCode, discreet_error, error_body, field_error, request_error
from schema.execution import CompiledExecutor, Fragments, Operations, Plans, Subscription, begin
from schema.limits import check_limits
from schema.root import schema as strawberry_schema
from schema.trace import Trace

MAX_DOCUMENT_CHARACTERS = 32 * 1024
MAX_TOKENS = 2_000
MAX_COMMENTS = 500
MAX_REMEMBERED_CHARACTERS = 256 * 1024
"""How much text of documents is remembered with its syntax tree, which takes about a hundred times as much memory."""


ERROR_PAUSE_S = 5.0
"""How long a subscription waits after an event that could not be told."""

_OPTIONS: dict[str, Any] = {"max_coercion_errors": MAX_ERRORS, "operation_extensions": None, "hide_suggestions": True}


class Answer(msgspec.Struct, frozen=True):
    """What a request is answered with. Not ``executed``: the request itself was wrong, and ``body`` has no data."""

    body: dict[str, Any]
    executed: bool


class Plan(msgspec.Struct, frozen=True, gc=False):
    """A document that is valid and within the limits."""

    document: DocumentNode
    costs: Costs
    introspects: bool
    """Whether it asks for the schema."""

    def operation(self, operation_name: str | None) -> OperationDefinitionNode | None:
        """Return the operation that the request selects, None when there is none or not only one."""
        return get_operation_ast(self.document, operation_name)

    def changes(self, operation_name: str | None) -> bool:
        """Tell whether the operation that the request selects is a mutation."""
        return self._kind(operation_name) is OperationType.MUTATION

    def subscribes(self, operation_name: str | None) -> bool:
        """Tell whether the operation that the request selects is a subscription."""
        return self._kind(operation_name) is OperationType.SUBSCRIPTION

    def _kind(self, operation_name: str | None) -> OperationType | None:
        chosen = self.operation(operation_name)
        return None if chosen is None else chosen.operation


class Stream:
    """The answers of one subscription, each written when it is asked for and not before."""

    def __init__(self, subscription: Subscription, key: Hashable, context: Context) -> None:
        """Take what was begun, what tells its operation and variables from others, and the context that it began in."""
        self._subscription = subscription
        self._source: Source[Any, Any] = subscription.source
        self._key = key
        self._context = context
        self._failure: Exception | None = None
        self._paused = False

    async def ready(self) -> bool:
        """Return once there is an answer to be had: True; False when none will come any more."""
        if self._failure is not None:
            return False
        if self._paused:
            self._paused = False
            await asyncio.sleep(ERROR_PAUSE_S)
        try:
            return await self._source.ready()
        except Exception as error:  # noqa: BLE001 - it is told, and is the last that is
            self._failure = error
            return True

    async def answer(self) -> bytes:
        """Return the JSON of the next answer, as of this moment; to be called when ``ready`` said so.

        Never raises for anything that a caller or a store can cause.
        """
        if self._failure is not None:
            return _failed(self._failure)
        try:
            told = self._source.take()
        except Exception as error:  # noqa: BLE001 - as in ``ready``
            self._failure = error
            return _failed(error)
        known: bytes | None = told.payloads.get(self._key)
        if known is not None:
            return known
        context = Context(self._context.services, self._context.viewer)
        try:
            root = await self._source.show(told, context)
            result = await self._subscription.answer(root, context)
            written = told.payloads[self._key] = orjson.dumps(_answered(result).body)
            self._source.written(told)
        except Exception as error:  # noqa: BLE001 - a store is away, perhaps: what was to be told is not lost
            self._source.retell()
            self._paused = True
            return _failed(error)
        return written

    def close(self) -> None:
        """Let go of what is followed."""
        self._source.close()


FRAGMENTS: Final = Fragments()
"""The pieces of answers that this process keeps."""


class KeepingExecutor(CompiledExecutor):
    """Keeps pieces of answers as bytes: what is written by orjson alone may have such in it."""

    plans = Plans(fragments=FRAGMENTS)


class Engine:
    """Executes documents against the schema. One for a process."""

    def __init__(self, graphql_schema: GraphQLSchema | None = None, *, compiled: bool = True) -> None:
        """Take the service's schema, unless another is given. Not ``compiled``: all execution is graphql-core's."""
        self._schema = graphql_schema or strawberry_schema._schema  # noqa: SLF001 - there is no other way to it
        self._operations = Operations(self._schema, KeepingExecutor, **_OPTIONS) if compiled else None
        self._cost_table = CostTable(self._schema)
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._characters = 0

    @property
    def remembered_documents(self) -> int:
        """How many documents have a plan that is remembered."""
        return len(self._plans)

    def plan(self, text: str, *, may_introspect: bool = False) -> Plan | Answer:
        """Return the plan of a document, or the answer that refuses it.

        Who may not introspect is not shown the schema, nor any part of it by what is said of a document's faults.
        """
        known = self._plans.get(text)
        if known is not None:
            self._plans.move_to_end(text)
            return known if may_introspect or not known.introspects else _kept_secret()
        try:
            document = parse(
                text,
                max_lexical_tokens=MAX_TOKENS,
                max_comments=MAX_COMMENTS,
                max_source_length=MAX_DOCUMENT_CHARACTERS,
            )
        except GraphQLError as error:
            return _refused([error], ErrorCode.GRAPHQL_PARSE_FAILED)
        excess = check_limits(document)
        if excess is not None:
            return _refused([excess], ErrorCode.GRAPHQL_VALIDATION_FAILED)
        introspects = asks_for_the_schema(document)
        if introspects and not may_introspect:
            return _kept_secret()
        errors = validate(self._schema, document, max_errors=MAX_ERRORS, hide_suggestions=not may_introspect)
        if errors and not may_introspect:
            code = ErrorCode.GRAPHQL_VALIDATION_FAILED
            return Answer({"errors": [discreet_error(error, code) for error in errors[:MAX_ERRORS]]}, executed=False)
        if errors:
            return _refused(errors, ErrorCode.GRAPHQL_VALIDATION_FAILED, document)
        plan = Plan(document, Costs(document, self._cost_table), introspects)
        self._remember(text, plan)
        return plan

    def weigh(self, plan: Plan, operation_name: str | None, variables: Mapping[str, Any] | None) -> int | Answer:
        """Return what an operation costs with its variables, or the answer that refuses it: more than MAX_COST."""
        try:
            cost = plan.costs.of(operation_name, variables)
        except TooCostlyError:
            return _too_costly("what this operation costs cannot be told: its selections spread into too many")
        if cost > MAX_COST:
            problem = f"the operation costs {cost}, more than {MAX_COST}; ask for less, or in several requests"
            return _too_costly(problem, cost=cost, max=MAX_COST)
        return cost

    async def execute(
        self,
        plan: Plan,
        operation_name: str | None,
        variables: Mapping[str, Any] | None,
        context: Context,
        *,
        traced: bool = False,
    ) -> Answer:
        """Answer a request. Never raises for anything that a caller or a store can cause.

        ``traced``: an answer that was executed tells how long each of its fields took, in ``extensions.ftv1``. Then
        graphql-core executes it, for compiled answers have no fields to be timed.
        """
        given = dict(variables or {})
        if traced:
            trace = Trace(context.services.clock)
            answer = _answered(await self._interpret(plan, operation_name, given, context, trace))
            if answer.executed:
                answer.body["extensions"] = {"ftv1": trace.finish(answer.body.get("errors", ()))}
            return answer
        if self._operations is not None:
            return _answered(await self._operations.execute(plan.document, operation_name, given, context))
        return _answered(await self._interpret(plan, operation_name, given, context))

    async def _interpret(
        self,
        plan: Plan,
        operation_name: str | None,
        given: dict[str, Any],
        context: Context,
        middleware: MiddlewareManager | None = None,
    ) -> ExecutionResult:
        result: Any = execute(
            self._schema,
            plan.document,
            context_value=context,
            variable_values=given,
            operation_name=operation_name,
            middleware=middleware,
            executor_class=strawberry_schema.execution_context_class,
            **_OPTIONS,
        )
        answer: ExecutionResult = await result if isawaitable(result) else result
        return answer

    async def subscribe(
        self, plan: Plan, operation_name: str | None, variables: Mapping[str, Any] | None, context: Context
    ) -> Answer | Stream:
        """Begin a subscription; return the answer that refuses it where it does not begin."""
        given = dict(variables or {})
        executor = KeepingExecutor if self._operations is not None else strawberry_schema.execution_context_class
        begun = await begin(self._schema, plan.document, operation_name, given, context, executor, **_OPTIONS)
        if isinstance(begun, Subscription):
            key = id(plan.document), operation_name, orjson.dumps(given, option=orjson.OPT_SORT_KEYS)
            return Stream(begun, key, context)
        if all(error.path is None for error in begun):
            return _refused(begun, ErrorCode.BAD_USER_INPUT)
        return Answer({"errors": [field_error(error) for error in begun[:MAX_ERRORS]]}, executed=False)

    def _remember(self, text: str, plan: Plan) -> None:
        self._plans[text] = plan
        self._characters += len(text)
        while self._characters > MAX_REMEMBERED_CHARACTERS:
            forgotten, _ = self._plans.popitem(last=False)
            self._characters -= len(forgotten)


def _kept_secret() -> Answer:
    message = "this key does not carry the scope 'introspect'; the schema is published as a file, schema/schema.graphql"
    return Answer({"errors": [error_body(ErrorCode.FORBIDDEN, message)]}, executed=False)


def _too_costly(message: str, **extensions: int) -> Answer:
    return Answer({"errors": [error_body(ErrorCode.COST_EXCEEDED, message, **extensions)]}, executed=False)


def _failed(error: Exception) -> bytes:
    """Return the JSON of an event that could not be told, for a reason as of a field."""
    return orjson.dumps({"data": None, "errors": [field_error(GraphQLError("", original_error=error))]})


def _answered(result: ExecutionResult) -> Answer:
    errors = result.errors or []
    if result.data is None and errors and all(error.path is None for error in errors):
        return _refused(errors, ErrorCode.BAD_USER_INPUT)
    if not errors:
        return Answer({"data": result.data}, executed=True)
    shown = [field_error(error) for error in errors[:MAX_ERRORS]]
    return Answer({"data": result.data, "errors": shown}, executed=True)


def _refused(errors: list[GraphQLError], code: ErrorCode, document: DocumentNode | None = None) -> Answer:
    return Answer({"errors": [request_error(error, code, document) for error in errors[:MAX_ERRORS]]}, executed=False)
