"""Operators: who runs the stations."""

import strawberry

from app.model import station as model
from app.model.identity import SEPARATOR
from schema.context import Info


@strawberry.federation.type(name="Operator", keys=["id"], description="Who runs stations, as one feed knows it.")
class Operator:
    """An operator as it is shown."""

    id: strawberry.ID = strawberry.field(description="The identifier, `feed:party`.")
    name: str | None = strawberry.field(description="The name; null where the feed never stated it.")
    feed_id: strawberry.ID = strawberry.field(description="The feed that speaks for this operator.")
    party: str = strawberry.field(description="The operator's code in its own network, such as the T/CEC OperatorID.")
    website: str | None = strawberry.field(description="Its website, where stated.")
    phone: str | None = strawberry.field(description="Its service number, where stated.")

    @classmethod
    def of(cls, operator: model.Operator) -> "Operator":
        """Show an operator."""
        return cls(
            id=strawberry.ID(operator.id),
            name=operator.name,
            feed_id=strawberry.ID(operator.feed),
            party=operator.party,
            website=operator.website,
            phone=operator.phone,
        )

    @classmethod
    def unnamed(cls, operator_id: str) -> "Operator":
        """Show an operator of which no more is known than what its identifier says."""
        feed, _, party = operator_id.partition(SEPARATOR)
        return cls(
            id=strawberry.ID(operator_id),
            name=None,
            feed_id=strawberry.ID(feed),
            party=party,
            website=None,
            phone=None,
        )


@strawberry.type
class OperatorQuery:
    """Queries about operators."""

    @strawberry.field(description="Every operator that this key may see, ordered by id.")
    async def operators(self, info: Info) -> list[Operator]:
        """List the operators."""
        return [Operator.of(operator) for operator in (await info.context.operators()).values()]
