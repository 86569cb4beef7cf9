"""Ask a schema twice, compiled and not. The answers have to be the same; tests look at what became of a projection."""

import asyncio
from typing import Any

import orjson
import strawberry
from graphql import DocumentNode, ExecutionResult, GraphQLSchema, execute, parse
from graphql.execution import Executor
from graphql.execution.incremental import IncrementalExecutor
from graphql.pyutils import is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from schema.execution import CompiledExecutor, Plans, Projecting


class Asker:
    """Both executors over one schema, with plans of their own."""

    def __init__(self, schema: GraphQLSchema | type, **options: Any) -> None:
        """Take a schema of graphql-core, or the class of a query for Strawberry to make one with these options."""
        stock: type[Executor[Any]]
        mixed: type[Projecting]
        if isinstance(schema, GraphQLSchema):
            self.schema, stock, mixed = schema, IncrementalExecutor, Projecting
        else:
            self.schema = strawberry.Schema(schema, **options)._schema
            stock, mixed = StrawberryGraphQLCoreExecutionContext, CompiledExecutor
        self.plans = Plans()
        self.stock = stock
        self.compiled = type("Compiled", (mixed, stock), {"plans": self.plans})
        self._documents: dict[str, DocumentNode] = {}

    def ask(self, text: str, variables: dict[str, Any] | None = None, **options: Any) -> ExecutionResult:
        """Return the answer of the compiled executor after comparing it with the other's."""
        document = self._documents.setdefault(text, parse(text))
        expected, answer = (
            self._run(executor, document, variables, options) for executor in (self.stock, self.compiled)
        )
        assert orjson.dumps(answer.data, default=repr) == orjson.dumps(expected.data, default=repr)
        assert [error.formatted for error in answer.errors or ()] == [
            error.formatted for error in expected.errors or ()
        ]
        return answer

    def _run(
        self, executor: type[Executor[Any]], document: DocumentNode, variables: Any, options: dict[str, Any]
    ) -> ExecutionResult:
        async def run() -> ExecutionResult:
            found: Any = execute(self.schema, document, variable_values=variables, executor_class=executor, **options)
            result: ExecutionResult = await found if is_awaitable(found) else found
            return result

        return asyncio.run(run())

    def data(self, text: str, variables: dict[str, Any] | None = None) -> Any:
        """Return data without errors that was projected."""
        answer = self.ask(text, variables)
        assert not answer.errors
        assert (self.plans.bailed, self.plans.projected > 0) == (0, True)
        return answer.data

    @property
    def became(self) -> str:
        """What became of the root values so far."""
        if self.plans.bailed:
            return "bailed"
        return "projected" if self.plans.projected else "declined"
