"""Evses: what charges one vehicle at a time, carries the live status and is what gets reserved."""

from typing import Annotated

import strawberry

from app.model.availability import Availability, StatusChannel
from app.model.station import Flag, Presence
from app.services.station_search import EvseView
from schema.connector import Connector, kilowatts
from schema.context import Context, Info
from schema.scalars import DateTime, Milliseconds, api_enum

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
        "NOT_LIVE": "Its source has no live status at all. Never read it as free.",
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

    id: strawberry.ID = strawberry.field(description="The identifier, `feed:party:local`, unique as a whole.")
    station_id: strawberry.ID = strawberry.field(description="The station that it stands in.")
    local_id: str = strawberry.field(description="Exactly what the source calls it.")
    name: str | None = strawberry.field(description="Its name, where stated.")
    evse_code: str | None = strawberry.field(description="Its eMI3 code such as DE*AAA*E1234, where stated.")
    physical_reference: str | None = strawberry.field(description="What is written on it, where stated.")
    presence: Presence = strawberry.field(description="Whether it stands there and is in service.")
    status: Availability = strawberry.field(
        description="What may be claimed of this moment: the last news while it is fresh, RESERVED while held."
    )
    status_age_s: float | None = strawberry.field(
        description="How long ago the last news was observed, in seconds; null where there never was any."
    )
    status_stale: bool = strawberry.field(description="Whether there was news and it is too old to claim anything.")
    status_stale_at: DateTime | None = strawberry.field(
        description="From when on the last news claims nothing; null without news."
    )
    last_known_status: Availability | None = strawberry.field(
        description="What the last news said, however old; null without news."
    )
    last_known_at: DateTime | None = strawberry.field(
        description="When the last news was observed: the source's time, or ours of receipt; null without news."
    )
    status_received_at: DateTime | None = strawberry.field(
        description="When the last news reached us; null without news."
    )
    status_channel: StatusChannel | None = strawberry.field(
        description="How the last news reached us; null without news."
    )
    raw_status: str | None = strawberry.field(description="The status in the source's own word; null without news.")
    held_by_me: bool = strawberry.field(description="Whether it is this key's partner that holds it.")
    reservable: bool | None = strawberry.field(
        description="Whether its operator says that it takes reservations; null where it does not say."
    )
    inferred: bool = strawberry.field(
        description="Whether the source knows no such level and it was inferred; such an Evse never has live status."
    )
    equipment_id: str | None = strawberry.field(description="The cabinet that it belongs to, where stated.")
    equipment_name: str | None = strawberry.field(description="The cabinet's name, where stated.")
    manufacturer: str | None = strawberry.field(description="Who made it, where stated.")
    model: str | None = strawberry.field(description="Its model, where stated.")
    power_limit_kw: float | None = strawberry.field(
        description="The limit in kW that all Evses with the same `equipmentId` share, where stated."
    )
    connectors: list[Connector] = strawberry.field(description="Its plugs; one at a time charges.")
    flags: list[Flag] = strawberry.field(description="What was repaired, inferred or found doubtful in this record.")

    @classmethod
    def of(cls, view: EvseView, context: Context) -> "Evse":
        """Show an Evse to the one who asks."""
        evse, news = view.evse, view.status
        return cls(
            id=strawberry.ID(evse.id),
            station_id=strawberry.ID(view.station_id),
            local_id=evse.local_id,
            name=evse.name,
            evse_code=evse.evse_code,
            physical_reference=evse.physical_reference,
            presence=evse.presence,
            status=view.availability,
            status_age_s=None if view.age_s is None else round(view.age_s, Milliseconds),
            status_stale=view.stale,
            status_stale_at=None if news is None else DateTime(news.stale_after),
            last_known_status=None if news is None else news.availability,
            last_known_at=None if news is None else DateTime(news.observed_at),
            status_received_at=None if news is None else DateTime(news.received_at),
            status_channel=None if news is None else news.channel,
            raw_status=None if news is None else news.raw,
            held_by_me=context.holds(view),
            reservable=evse.reservable,
            inferred=evse.inferred,
            equipment_id=evse.equipment_id,
            equipment_name=evse.equipment_name,
            manufacturer=evse.manufacturer,
            model=evse.model,
            power_limit_kw=kilowatts(evse.power_limit_w),
            connectors=[Connector.of(connector) for connector in evse.connectors],
            flags=list(evse.flags),
        )


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
        return None if view is None else Evse.of(view, info.context)
