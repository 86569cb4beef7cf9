"""Station > Evse > Connector, as every feed is normalised.

The Evse charges one vehicle at a time, carries the live status and is what gets reserved. T/CEC 102's *Connector*
(gun) is an Evse with one Connector; OCPI's *Location* is a Station. Power is integer watts with the basis it rests on.
"""

from enum import Enum

import msgspec

from app.model.clock import Instant
from app.model.datum import Datum
from app.model.geo import Point
from app.model.identity import SEPARATOR
from app.model.opening import UNKNOWN_HOURS, OpeningHours


class Presence(Enum):
    """Whether the thing stands there: one of the two status axes."""

    UNKNOWN = "UNKNOWN"
    PLANNED = "PLANNED"
    UNDER_CONSTRUCTION = "UNDER_CONSTRUCTION"
    IN_SERVICE = "IN_SERVICE"
    TEMPORARILY_CLOSED = "TEMPORARILY_CLOSED"
    REMOVED = "REMOVED"


NOT_OPERATING = frozenset(
    {Presence.PLANNED, Presence.UNDER_CONSTRUCTION, Presence.TEMPORARILY_CLOSED, Presence.REMOVED}
)
"""Presences in which nobody can charge: their Evses match no Evse criterion and are shown as UNAVAILABLE."""


class Access(Enum):
    """Who may charge there."""

    UNKNOWN = "UNKNOWN"
    PUBLIC = "PUBLIC"
    MEMBERS = "MEMBERS"
    RESTRICTED_FLEET = "RESTRICTED_FLEET"
    PRIVATE_SHARED = "PRIVATE_SHARED"
    PRIVATE = "PRIVATE"
    TEST = "TEST"


class ParkingPlace(Enum):
    """What kind of place the bays are in."""

    UNKNOWN = "UNKNOWN"
    ON_STREET = "ON_STREET"
    PARKING_LOT = "PARKING_LOT"
    GARAGE = "GARAGE"
    UNDERGROUND = "UNDERGROUND"
    MOTORWAY = "MOTORWAY"
    DRIVEWAY = "DRIVEWAY"


class ConnectorType(Enum):
    """The plug. A type that a source names and we do not know is OTHER, with the source's text kept."""

    UNKNOWN = "UNKNOWN"
    OTHER = "OTHER"
    GBT_AC = "GBT_AC"
    GBT_DC = "GBT_DC"
    CHAOJI = "CHAOJI"
    TYPE1 = "TYPE1"
    TYPE1_COMBO = "TYPE1_COMBO"
    TYPE2 = "TYPE2"
    TYPE2_COMBO = "TYPE2_COMBO"
    TYPE3A = "TYPE3A"
    TYPE3C = "TYPE3C"
    CHADEMO = "CHADEMO"
    NACS = "NACS"
    TESLA_S = "TESLA_S"
    TESLA_ROADSTER = "TESLA_ROADSTER"
    MCS = "MCS"
    DOMESTIC = "DOMESTIC"
    CEE_SINGLE_16 = "CEE_SINGLE_16"
    CEE_THREE_16 = "CEE_THREE_16"
    CEE_THREE_32 = "CEE_THREE_32"
    CEE_THREE_64 = "CEE_THREE_64"
    NEMA = "NEMA"
    PANTOGRAPH = "PANTOGRAPH"
    WIRELESS = "WIRELESS"
    BATTERY_SWAP = "BATTERY_SWAP"


class ConnectorFormat(Enum):
    """Whether the driver brings the cable."""

    UNKNOWN = "UNKNOWN"
    SOCKET = "SOCKET"
    CABLE = "CABLE"


class Current(Enum):
    """The kind of current that the connector delivers."""

    UNKNOWN = "UNKNOWN"
    AC_1_PHASE = "AC_1_PHASE"
    AC_2_PHASE = "AC_2_PHASE"
    AC_3_PHASE = "AC_3_PHASE"
    AC = "AC"
    DC = "DC"


class PowerBasis(Enum):
    """What a power figure rests on."""

    UNKNOWN = "UNKNOWN"
    DECLARED = "DECLARED"
    DERIVED = "DERIVED"
    REPAIRED = "REPAIRED"
    SHARED = "SHARED"


class Flag(Enum):
    """What was repaired, inferred or found doubtful in a record; never silent."""

    COORDINATES_SWAPPED = "COORDINATES_SWAPPED"
    COORDINATES_MISSING = "COORDINATES_MISSING"
    COORDINATES_DOUBTFUL = "COORDINATES_DOUBTFUL"
    COORDINATES_FROM_EVSES = "COORDINATES_FROM_EVSES"
    COUNTRY_INFERRED = "COUNTRY_INFERRED"
    KW_IN_W_FIELD = "KW_IN_W_FIELD"
    POWER_IMPLAUSIBLE = "POWER_IMPLAUSIBLE"
    POWER_UNIT_DOUBTFUL = "POWER_UNIT_DOUBTFUL"
    TYPE_INFERRED = "TYPE_INFERRED"
    IDENTIFIER_TRIMMED = "IDENTIFIER_TRIMMED"
    DUPLICATE_DROPPED = "DUPLICATE_DROPPED"
    VALUE_UNREADABLE = "VALUE_UNREADABLE"
    TEXT_CLEANED = "TEXT_CLEANED"
    NO_EVSES = "NO_EVSES"


class Connector(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One physical plug. ``max_power_w`` is None where no figure can be had or trusted."""

    id: str
    type: ConnectorType = ConnectorType.UNKNOWN
    raw_type: str | None = None
    format: ConnectorFormat = ConnectorFormat.UNKNOWN
    current: Current = Current.UNKNOWN
    max_power_w: int | None = None
    power_basis: PowerBasis = PowerBasis.UNKNOWN
    voltage_v: int | None = None
    amperage_a: int | None = None
    standard_revision: str | None = None
    flags: tuple[Flag, ...] = ()


class Evse(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What charges one vehicle at a time.

    ``id`` is ``feed:party:local``; ``local_id`` is exactly what the source wrote, for calling it back.
    ``inferred`` is set where the source has no such level; an inferred Evse never has live status.
    ``reservable`` is None where the source does not say. ``power_limit_w`` is shared by all Evses with the same
    ``equipment_id``.
    """

    id: str
    local_id: str
    name: str | None = None
    evse_code: str | None = None
    physical_reference: str | None = None
    presence: Presence = Presence.IN_SERVICE
    reservable: bool | None = None
    inferred: bool = False
    equipment_id: str | None = None
    equipment_name: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    power_limit_w: int | None = None
    connectors: tuple[Connector, ...] = ()
    flags: tuple[Flag, ...] = ()


class OriginalPosition(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The position as the source stated it, untouched: x and y may be swapped or nonsense."""

    lon: float
    lat: float
    datum: Datum


class Address(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A postal address; ``country`` is ISO 3166-1 alpha-2, ``area_code`` the GB/T 2260 county code."""

    text: str | None = None
    city: str | None = None
    region: str | None = None
    postal_code: str | None = None
    country: str | None = None
    area_code: str | None = None


class StatedFees(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Prices as the source words them; display text without a grammar, never computed with."""

    electricity: str | None = None
    service: str | None = None
    parking: str | None = None
    payment: str | None = None


NO_FEES = StatedFees()


class Station(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One place of one operator.

    ``location`` is WGS-84, or None where the source gave no usable position: such a station is found by id and in
    no search. ``published`` is False where the source says that the public must not see it.
    ``source_updated_at`` is the source's own word, or None.
    """

    id: str
    feed: str
    operator_id: str
    local_id: str
    name: str | None = None
    address: Address = Address()
    location: Point | None = None
    original_position: OriginalPosition | None = None
    presence: Presence = Presence.IN_SERVICE
    access: Access = Access.UNKNOWN
    parking_place: ParkingPlace = ParkingPlace.UNKNOWN
    published: bool = True
    hours: OpeningHours = UNKNOWN_HOURS
    fees: StatedFees = NO_FEES
    time_zone: str | None = None
    phones: tuple[str, ...] = ()
    bay_count: int | None = None
    directions: str | None = None
    remark: str | None = None
    image_urls: tuple[str, ...] = ()
    amenities: tuple[str, ...] = ()
    equipment_owner_id: str | None = None
    source_updated_at: Instant | None = None
    evses: tuple[Evse, ...] = ()
    flags: tuple[Flag, ...] = ()

    def is_of(self, feed: str) -> bool:
        """Tell whether it belongs to a feed, by what it says, by its id, and by its operator's: agreements go by it."""
        mine = f"{feed}{SEPARATOR}"
        return self.feed == feed and self.id.startswith(mine) and self.operator_id.startswith(mine)


class Operator(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Who runs stations: ``id`` is ``feed:party``; ``name`` is None where the feed never stated it."""

    id: str
    feed: str
    party: str
    name: str | None = None
    website: str | None = None
    phone: str | None = None
