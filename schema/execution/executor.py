"""The executor: graphql-core's own, but that a root value is projected where a function can be generated for it."""

from collections.abc import Coroutine
from inspect import CORO_CREATED, getcoroutinestate, iscoroutine
from typing import Any, ClassVar

from graphql import DocumentNode, GraphQLError, GraphQLOutputType, GraphQLResolveInfo, GraphQLSchema
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetailsList
from graphql.pyutils import Path
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from schema.execution.plans import Plan, Plans
from schema.execution.values import Bail


class Projecting(Executor[Any]):
    """What makes any executor of graphql-core a compiled one, as the first of its bases.

    Root fields are resolved by graphql-core: arguments, awaiting, errors, one after the other in mutations. What they
    resolve to is projected, or else completed by graphql-core, so that no root resolver runs twice.
    """

    plans: ClassVar[Plans] = Plans()
    _document: DocumentNode
    _plan: Plan | None = None
    _left: tuple[Coroutine[Any, Any, Any], ...] = ()

    @classmethod
    def build(
        cls, schema: GraphQLSchema, document: DocumentNode, *arguments: Any, **options: Any
    ) -> "Executor[Any] | list[GraphQLError]":
        """Build the executor, and keep the document."""
        executor = super().build(schema, document, *arguments, **options)
        if isinstance(executor, Projecting):
            executor._document = document  # noqa: SLF001 - its own
        return executor

    def find_plan(self) -> Plan | None:
        """Return the plan of what is executed; None where it is graphql-core's."""
        return self.plans.find(self, self._document)

    def execute_operation(self, serially: bool | None = None) -> Any:
        """Find the plan and execute the operation."""
        self._plan = self.find_plan()
        return super().execute_operation(serially)

    def complete_value(
        self,
        return_type: GraphQLOutputType,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        """Project a root value; leave to graphql-core what cannot be projected, and all other values."""
        # A field that is not null comes a second time, with the type inside: then it could not be projected.
        if path.prev is None and self._plan is not None and result is not None and return_type is info.return_type:
            generated = self._plan.projection(str(path.key), self, return_type, field_details_list)
            if generated is not None:
                try:
                    projected = generated.project(result, self, path, info)
                except Exception as reason:  # noqa: BLE001 - graphql-core meets it again and reports it by its rules
                    self.plans.bailed += 1
                    if isinstance(reason, Bail) and iscoroutine(reason.value):
                        self._left += (reason.value,)
                else:
                    self.plans.projected += 1
                    return projected
        return super().complete_value(return_type, field_details_list, info, path, result, position_context)

    def build_response(self, data: dict[str, Any] | None) -> Any:
        """Build the response. A coroutine that made us bail and was not awaited since never will be."""
        for coroutine in self._left:
            if getcoroutinestate(coroutine) == CORO_CREATED:
                coroutine.close()
        return super().build_response(data)


class CompiledExecutor(Projecting, StrawberryGraphQLCoreExecutionContext):
    """For Strawberry: ``strawberry.Schema(..., execution_context_class=CompiledExecutor)``."""
