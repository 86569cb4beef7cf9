"""What callers search for, what a search answers, and how a search sees live status."""

from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from app.model.agreement import NOTHING_WITHHELD, Withheld
from app.model.clock import Instant
from app.model.geo import BoundingBox, Point
from app.model.station import Access, ConnectorType

MAX_RADIUS_M = 100_000.0
MAX_PAGE_SIZE = 100
MAX_POLYGON_VERTICES = 1_000
MAX_ROUTE_VERTICES = 2_000
MAX_ROUTE_M = 2_000_000.0
MAX_CORRIDOR_M = 20_000.0
MAX_TEXT_CHARACTERS = 100

KeyArray = npt.NDArray[np.uint64]
SlotArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]
StateArray = npt.NDArray[np.int64]


class StationFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which stations a caller wants. Empty sets and None filter nothing.

    A station matches on its Evses when one single Evse has one of the ``connector_types`` with at least
    ``min_power_w`` on that same connector, and, with ``available_now``, is AVAILABLE, not held and its status not
    older than ``max_status_age_s``. ``max_status_age_s`` alone asks for an Evse whose status, whatever it says, was
    observed no longer ago than that and is not yet stale. Evses whose own or whose station's presence is in
    NOT_OPERATING never match these criteria; with none of the four set a station matches without Evses too.

    ``text``: every word (split at white space, compatibility and case folded) is part of the name or the address.
    ``open_now`` asks for stations known to be open. ``hidden`` are the stations that the caller must not find.
    """

    connector_types: frozenset[ConnectorType] = frozenset()
    min_power_w: int | None = None
    available_now: bool = False
    max_status_age_s: float | None = None
    operator_ids: frozenset[str] = frozenset()
    access: frozenset[Access] = frozenset()
    open_now: bool = False
    text: str | None = None
    hidden: Withheld = NOTHING_WITHHELD


class Near(msgspec.Struct, frozen=True, kw_only=True):
    """Stations within ``radius_m`` (inclusive) of ``center``, nearest first, ties by id."""

    center: Point
    radius_m: float


class Area(msgspec.Struct, frozen=True, kw_only=True):
    """Stations inside a box, or inside polygons (edges included), ordered by id.

    ``polygons`` holds rings of (lon, lat) in WGS-84, per polygon the outer ring first and then its holes. An edge
    that spans more than 180 degrees of longitude is read as crossing the antimeridian.
    """

    box: BoundingBox | None = None
    polygons: tuple[tuple[tuple[tuple[float, float], ...], ...], ...] = ()


class Corridor(msgspec.Struct, frozen=True, kw_only=True):
    """Stations at most ``width_m`` (inclusive) off a route, in the order in which one passes them, ties by id.

    ``line`` holds at least two vertices as (lon, lat) in WGS-84 and is at most ``MAX_ROUTE_M`` long; a leg of it is
    the shorter great-circle arc between two of them (``app.model.route``). A station is passed at the point of the
    route that is nearest to it, at the first of them where several are; one before the start or behind the end is
    passed there.
    """

    line: tuple[tuple[float, float], ...]
    width_m: float


Where = Near | Area | Corridor


class Position(msgspec.Struct, frozen=True):
    """Where a page begins: after the hit with this order key.

    ``distance_m`` is what hits are ordered by: the distance from the centre, in a corridor that along the route, and 0
    in an area.
    """

    distance_m: float
    station_id: str


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """One page of one search, evaluated at ``at``. Not ``wants_total``: how many match in all need not be counted."""

    where: Where
    filter: StationFilter
    first: int
    at: Instant
    after: Position | None = None
    wants_total: bool = True


class Hit(msgspec.Struct, frozen=True, gc=False):
    """A station that matches.

    ``distance_m`` is how far it is from the centre or off the route, None in an area; ``along_m`` how far along the
    route it is passed, None but in a corridor.
    """

    station_id: str
    distance_m: float | None
    along_m: float | None = None


class SearchPage(msgspec.Struct, frozen=True):
    """Hits in order, how many match in all (exact; None where it was not counted), and whether more follow."""

    hits: tuple[Hit, ...]
    total_count: int | None
    has_next: bool


class AvailabilityView(Protocol):
    """How an index asks the live board, without knowing it: by slots, which stay the same while the process lives."""

    def slots(self, keys: KeyArray) -> SlotArray:
        """Return the slot of each Evse key, making slots for new keys."""
        ...

    def usable(self, slots: SlotArray, at: Instant, max_age_s: float | None) -> BoolArray:
        """Tell for each slot whether it is AVAILABLE, fresh at ``at``, not older than ``max_age_s`` and not held."""
        ...

    def fresh(self, slots: SlotArray, at: Instant, max_age_s: float) -> BoolArray:
        """Tell for each slot whether its status, whatever it says, is not stale and not older than ``max_age_s``."""
        ...
