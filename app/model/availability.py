"""The live axis: what an Evse does this second, how old that knowledge is, and when it stops being knowledge."""

from enum import Enum

import msgspec

from app.model.clock import Instant


class Availability(Enum):
    """What the Evse does now. UNKNOWN: nobody knows, or the news is too old. NOT_LIVE: its source tells no status."""

    UNKNOWN = "UNKNOWN"
    AVAILABLE = "AVAILABLE"
    CHARGING = "CHARGING"
    OCCUPIED = "OCCUPIED"
    RESERVED = "RESERVED"
    BLOCKED = "BLOCKED"
    OUT_OF_ORDER = "OUT_OF_ORDER"
    UNAVAILABLE = "UNAVAILABLE"
    OFFLINE = "OFFLINE"
    NOT_LIVE = "NOT_LIVE"


class StatusChannel(Enum):
    """How the news came."""

    PULL = "PULL"
    PUSH = "PUSH"


class EvseStatus(msgspec.Struct, frozen=True, gc=False):
    """One observation of one Evse. From ``stale_after`` on it says nothing about now.

    ``observed_at`` is the source's time where it states one, else the time of receipt.
    """

    evse_id: str
    availability: Availability
    raw: str
    observed_at: Instant
    received_at: Instant
    stale_after: Instant
    channel: StatusChannel = StatusChannel.PULL
