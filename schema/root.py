"""The schema: every noun's queries and mutations in one graph, as a Federation subgraph."""

from collections.abc import Mapping
from typing import Any, ClassVar

import strawberry
from strawberry.federation.schema import FederationAny
from strawberry.schema.config import StrawberryConfig

from schema.availability import AvailabilitySubscription
from schema.cluster import ClusterQuery
from schema.context import Info
from schema.entities import KINDS, Kind, find_entities
from schema.evse import EvseQuery
from schema.feed import FeedQuery
from schema.operator import OperatorQuery
from schema.reservation import ReservationMutation, ReservationQuery, ReservationSubscription
from schema.scalars import SCALARS
from schema.station import StationQuery
from schema.station_batch import StationBatchQuery
from schema.station_route import StationRouteQuery


@strawberry.type(description="What may be asked.")
class Query(
    StationQuery,
    StationBatchQuery,
    StationRouteQuery,
    ClusterQuery,
    EvseQuery,
    OperatorQuery,
    FeedQuery,
    ReservationQuery,
):
    """All queries."""


@strawberry.type(description="What may be changed. Each is safe to repeat with the same idempotency key.")
class Mutation(ReservationMutation):
    """All mutations."""


@strawberry.type(description="What may be followed, over a WebSocket or server-sent events.")
class Subscription(AvailabilitySubscription, ReservationSubscription):
    """All subscriptions."""


class Subgraph(strawberry.federation.Schema):
    """Strawberry's federated schema with entities that are looked up in batches, bounded and checked."""

    kinds: ClassVar[Mapping[str, Kind]] = KINDS

    async def entities_resolver(  # type: ignore[override]
        self, info: Info, representations: list[FederationAny]
    ) -> list[FederationAny]:
        """Find entities by key."""
        found: list[Any] = await find_entities(self.kinds, info.context, representations)
        return found


schema = Subgraph(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    config=StrawberryConfig(scalar_map=SCALARS),
    federation_version="2.9",  # from 2.10 on the Guild's composition refuses the schema
)


def sdl() -> str:
    """Return the schema in GraphQL's own language, as it is checked in and served."""
    return schema.as_str().rstrip("\n") + "\n"
