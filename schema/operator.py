"""Operators: who runs the stations."""

import strawberry

from app.model import station as model
from schema.context import Info
from schema.cost import about
from schema.shown import shown


@strawberry.federation.type(name="Operator", keys=["id"], description="Who runs stations, as one feed knows it.")
class Operator:
    """An operator as it is shown."""

    operator: strawberry.Private[model.Operator]

    id: strawberry.ID = shown("operator.id", "The identifier, `feed:party`.")
    name: str | None = shown("operator.name", "The name; null where the feed never stated it.")
    feed_id: strawberry.ID = shown("operator.feed", "The feed that speaks for this operator.")
    party: str = shown("operator.party", "The operator's code in its own network, such as the T/CEC OperatorID.")
    website: str | None = shown("operator.website", "Its website, where stated.")
    phone: str | None = shown("operator.phone", "Its service number, where stated.")


@strawberry.type
class OperatorQuery:
    """Queries about operators."""

    @strawberry.field(description="Every operator that this key may see, ordered by id.", directives=[about(20)])
    async def operators(self, info: Info) -> list[Operator]:
        """List the operators."""
        return [Operator(operator=operator) for operator in (await info.context.operators()).values()]
