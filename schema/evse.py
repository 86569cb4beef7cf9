"""Evses: what charges one vehicle at a time, carries the live status and is what gets reserved."""

from typing import Annotated

import strawberry

from app.model.availability import Availability, StatusChannel
from app.model.station import Flag, Presence
from app.services.sightings import EvseView
from schema.connector import Connector, kilowatts
from schema.context import Context, Info
from schema.cost import about
from schema.execution import ages
from schema.scalars import DateTime, api_enum
from schema.shown import shown

api_enum(
    Availability,
    "EvseStatus",
    "What an Evse does now.",
    {
        "UNKNOWN": "Nobody knows, or the last news is too old to say anything about now.",
        "AVAILABLE": "Free.",
        "CHARGING": "A vehicle charges.",
        "OCCUPIED": "A vehicle is connected or parked, and does not charge.",
        "RESERVED": "Held for somebody: through this hub (see `heldByMe`) or as its operator says.",
        "BLOCKED": "Something keeps vehicles away, such as a ground lock.",
        "OUT_OF_ORDER": "Its operator reports a fault.",
        "UNAVAILABLE": "Nobody can charge here now: closed, planned or switched off.",
        "OFFLINE": "The Evse has lost its connection with its operator.",
        "NOT_LIVE": "Its source has no live status, or does not let you see it. Never read it as free.",
    },
)
api_enum(
    Presence,
    "Presence",
    "Whether the thing stands there, apart from what it does now.",
    {
        "UNKNOWN": "The source does not say.",
        "PLANNED": "To be built.",
        "UNDER_CONSTRUCTION": "Being built.",
        "IN_SERVICE": "In service.",
        "TEMPORARILY_CLOSED": "Closed for a while.",
        "REMOVED": "Gone.",
    },
)
api_enum(
    StatusChannel,
    "StatusChannel",
    "How a status reached us.",
    {"PULL": "We asked the operator.", "PUSH": "The operator told us."},
)


def _observed_at(evse: "Evse") -> float | None:
    news = evse.view.status
    return None if news is None else news.observed_at


def _shown_at(evse: "Evse") -> float:
    return evse.view.at


@strawberry.federation.type(
    name="Evse",
    keys=["id"],
    description=(
        "Electric vehicle supply equipment: what charges one vehicle at a time, carries the live status and is what "
        "gets reserved. T/CEC 102 calls it a connector (a gun)."
    ),
)
class Evse:
    """An Evse as it is shown to one viewer at one moment."""

    view: strawberry.Private[EvseView]
    context: strawberry.Private[Context]

    id: strawberry.ID = shown("view.evse.id", "The identifier, `feed:party:local`, unique as a whole.")
    station_id: strawberry.ID = shown("view.station_id", "The station that it stands in.")
    local_id: str = shown("view.evse.local_id", "Exactly what the source calls it.")
    name: str | None = shown("view.evse.name", "Its name, where stated.")
    evse_code: str | None = shown("view.evse.evse_code", "Its eMI3 code such as DE*AAA*E1234, where stated.")
    physical_reference: str | None = shown("view.evse.physical_reference", "What is written on it, where stated.")
    presence: Presence = shown("view.evse.presence", "Whether it stands there and is in service.")
    status: Availability = shown(
        "view.availability",
        "What may be claimed of this moment: the last news while it is fresh, RESERVED while held.",
    )
    status_age_s: float | None = strawberry.field(
        resolver=ages(_observed_at, _shown_at),
        description="How long ago the last news was observed, in seconds; null where there never was any.",
    )
    status_stale: bool = shown("view.stale", "Whether there was news and it is too old to claim anything.")
    reservable: bool | None = shown(
        "view.reservable",
        "Whether its operator says that it takes reservations; false where it takes none of yours, null where it does "
        "not say.",
    )
    inferred: bool = shown(
        "view.evse.inferred",
        "Whether the source knows no such level and it was inferred; such an Evse never has live status.",
    )
    equipment_id: str | None = shown("view.evse.equipment_id", "The cabinet that it belongs to, where stated.")
    equipment_name: str | None = shown("view.evse.equipment_name", "The cabinet's name, where stated.")
    manufacturer: str | None = shown("view.evse.manufacturer", "Who made it, where stated.")
    model: str | None = shown("view.evse.model", "Its model, where stated.")
    connectors: list[Connector] = shown(
        "view.evse.connectors", "Its plugs; one at a time charges.", directives=[about(1)]
    )
    flags: list[Flag] = shown("view.evse.flags", "What was repaired, inferred or found doubtful in this record.")

    @strawberry.field(description="From when on the last news claims nothing; null without news.")
    def status_stale_at(self) -> DateTime | None:
        """Show the end of what the news is worth."""
        news = self.view.status
        return None if news is None else DateTime(news.stale_after)

    @strawberry.field(description="What the last news said, however old; null without news.")
    def last_known_status(self) -> Availability | None:
        """Show the last news."""
        news = self.view.status
        return None if news is None else news.availability

    @strawberry.field(
        description="When the last news was observed: the source's time, or ours of receipt; null without news."
    )
    def last_known_at(self) -> DateTime | None:
        """Show the time of the news."""
        news = self.view.status
        return None if news is None else DateTime(news.observed_at)

    @strawberry.field(description="When the last news reached us; null without news.")
    def status_received_at(self) -> DateTime | None:
        """Show the time of receipt."""
        news = self.view.status
        return None if news is None else DateTime(news.received_at)

    @strawberry.field(description="How the last news reached us; null without news.")
    def status_channel(self) -> StatusChannel | None:
        """Show the channel."""
        news = self.view.status
        return None if news is None else news.channel

    @strawberry.field(description="The status in the source's own word; null without news.")
    def raw_status(self) -> str | None:
        """Show the source's word."""
        news = self.view.status
        return None if news is None else news.raw

    @strawberry.field(description="Whether it is this key's partner that holds it.")
    def held_by_me(self) -> bool:
        """Compare the holder with the viewer."""
        return self.context.holds(self.view)

    @strawberry.field(description="The limit in kW that all Evses with the same `equipmentId` share, where stated.")
    def power_limit_kw(self) -> float | None:
        """Show the limit."""
        return kilowatts(self.view.evse.power_limit_w)


@strawberry.type
class EvseQuery:
    """Queries about Evses."""

    @strawberry.field(description="One Evse; null where there is none with this id that this key may see.")
    async def evse(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="`feed:party:local`.")],
    ) -> Evse | None:
        """Find an Evse."""
        info.context.charge("id", 1)
        view = await info.context.evses.load(id)
        return None if view is None else Evse(view=view, context=info.context)
