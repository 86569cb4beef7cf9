"""Stations, Evses and statuses for tests: one call with sensible values, or a seeded crowd of every kind."""

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

import numpy as np

from app.model.availability import Availability, EvseStatus
from app.model.clock import Instant
from app.model.geo import Point
from app.model.identity import evse_key
from app.model.opening import OpeningHours, Period, SpecialPeriod
from app.model.search import BoolArray, KeyArray, SlotArray
from app.model.station import Access, Address, Connector, ConnectorType, Evse, Operator, Presence, Station

NOON = 1_764_000_000.0
"""An Instant for tests: 2025-11-24T16:00Z, Tuesday 00:00 in Beijing."""

PARTY = "395815801"

_NAMES = (
    "特来电充电站",
    "Star Charge 万达广场",
    "国家电网（虹桥）",
    "Straße des 17. Juni",
    "ＡＢＣ Ladepark",
    "第一停车场",
)
_STREETS = ("上海市浦东新区张江路1号", "北京市海淀区中关村大街 5 号", "Hauptstraße 12", "10 Downing St", "İstanbul Cd.")
_CITIES = ("上海市", "Berlin", None)
_TYPES = (ConnectorType.GBT_DC, ConnectorType.GBT_AC, ConnectorType.TYPE2_COMBO, ConnectorType.UNKNOWN)
_POWERS_W = (None, 0, 7_000, 60_000, 59_999, 120_000)
_PRESENCES = (Presence.IN_SERVICE, Presence.IN_SERVICE, Presence.IN_SERVICE, Presence.UNKNOWN, *Presence)
_EVERY_DAY = range(1, 8)
_HOURS = (
    OpeningHours(),
    OpeningHours(always_open=True, raw="24h"),
    OpeningHours(always_open=False, raw="?"),
    OpeningHours(weekly=tuple(Period(day=day, start_min=480, end_min=1_200) for day in _EVERY_DAY)),
    OpeningHours(weekly=tuple(Period(day=day, start_min=1_320, end_min=1_800) for day in _EVERY_DAY)),
    OpeningHours(always_open=True, exceptions=(SpecialPeriod(start=NOON, end=NOON + 1.5, open=False),)),
    OpeningHours(exceptions=(SpecialPeriod(start=NOON - 10, end=NOON + 0.5, open=True),)),
)
_ZONES = ("Asia/Shanghai", "Europe/Berlin", "Mars/Olympus", None)
_FREQUENT = (Availability.AVAILABLE, Availability.AVAILABLE, Availability.CHARGING, *Availability)


def build_connector(number: int = 1, **changes: Any) -> Connector:
    """Return a DC connector of 120 kW."""
    values: dict[str, Any] = {"id": str(number), "type": ConnectorType.GBT_DC, "max_power_w": 120_000}
    return Connector(**{**values, **changes})


def build_evse(station_id: str, number: int = 1, **changes: Any) -> Evse:
    """Return an Evse with one DC connector; ids go up with ``number``."""
    feed, party, local = station_id.split(":", 2)
    local_id = f"{local}-{number}"
    values: dict[str, Any] = {
        "id": f"{feed}:{party}:{local_id}",
        "local_id": local_id,
        "connectors": (build_connector(),),
    }
    return Evse(**{**values, **changes})


def build_station(number: int = 1, *, feed: str = "teld", evse_count: int = 1, **changes: Any) -> Station:
    """Return a public station in Shanghai with its Evses; numbers give different ids, all else may be changed."""
    local_id = f"{number:06d}"
    station_id = f"{feed}:{PARTY}:{local_id}"
    values: dict[str, Any] = {
        "id": station_id,
        "feed": feed,
        "operator_id": f"{feed}:{PARTY}",
        "local_id": local_id,
        "name": f"充电站 {number}",
        "address": Address(text="上海市浦东新区张江路1号", country="CN"),
        "location": Point(lon=121.5, lat=31.2),
        "access": Access.PUBLIC,
        "time_zone": "Asia/Shanghai",
        "evses": tuple(build_evse(station_id, each + 1) for each in range(evse_count)),
    }
    return Station(**{**values, **changes})


def build_operator(party: str = PARTY, *, feed: str = "teld", **changes: Any) -> Operator:
    """Return an operator of a feed."""
    values: dict[str, Any] = {"id": f"{feed}:{party}", "feed": feed, "party": party, "name": f"{feed} {party}"}
    return Operator(**{**values, **changes})


def build_status(evse_id: str, availability: Availability = Availability.AVAILABLE, **changes: Any) -> EvseStatus:
    """Return a status observed and received at NOON, good for ten minutes."""
    values: dict[str, Any] = {
        "evse_id": evse_id,
        "availability": availability,
        "raw": availability.value,
        "observed_at": NOON,
        "received_at": NOON,
        "stale_after": NOON + 600,
    }
    return EvseStatus(**{**values, **changes})


def random_station(random: Random, number: int, *, feed: str, location: Point | None) -> Station:
    """Return a station that differs from the usual in every way that searches look at."""
    station = build_station(number, feed=feed)
    return build_station(
        number,
        feed=feed,
        operator_id=f"{feed}:{random.choice(('a', 'b', 'c'))}",
        name=random.choice((None, *_NAMES)),
        address=Address(text=random.choice((None, *_STREETS)), city=random.choice(_CITIES), country="CN"),
        location=location,
        presence=random.choice(_PRESENCES),
        published=random.random() > 0.1,
        access=random.choice(tuple(Access)),
        hours=random.choice(_HOURS),
        time_zone=random.choice(_ZONES),
        evses=tuple(_random_evse(random, station.id, each + 1) for each in range(random.randrange(5))),
    )


def _random_evse(random: Random, station_id: str, number: int) -> Evse:
    connectors = tuple(
        build_connector(each, type=random.choice(_TYPES), max_power_w=random.choice(_POWERS_W))
        for each in range(random.choice((0, 1, 1, 1, 2, 3)))
    )
    return build_evse(station_id, number, presence=random.choice(_PRESENCES), connectors=connectors)


def random_status(random: Random, evse_id: str) -> EvseStatus:
    """Return a status about NOON: some stale, some old, of every availability."""
    return build_status(
        evse_id,
        random.choice(_FREQUENT),
        observed_at=NOON - random.choice((0.0, 5.0, 60.0, 60.5, 3_600.0)),
        stale_after=NOON + random.choice((-1.0, 0.0, 1.0, 600.0)),
    )


class PlainView:
    """A live view that answers Evse by Evse from a dict: slow, and simple enough to be right at sight."""

    def __init__(self, statuses: Iterable[EvseStatus] = (), held: Iterable[str] = ()) -> None:
        """Know these statuses, and Evses that are held."""
        self._statuses: dict[int, EvseStatus] = {}
        self._held: set[int] = set()
        self._slots: dict[int, int] = {}
        self._keys: list[int] = []
        self.tell(statuses, held)

    def tell(self, statuses: Iterable[EvseStatus] = (), held: Iterable[str] = ()) -> None:
        """Learn more."""
        self._statuses |= {evse_key(status.evse_id): status for status in statuses}
        self._held |= {evse_key(evse_id) for evse_id in held}

    def slots(self, keys: KeyArray) -> SlotArray:
        """Give each new key the next slot."""
        for key in keys.tolist():
            if key not in self._slots:
                self._slots[key] = len(self._keys)
                self._keys.append(key)
        return np.array([self._slots[key] for key in keys.tolist()], np.int32)

    def usable(self, slots: SlotArray, at: Instant, max_age_s: float | None) -> BoolArray:
        """Look at each Evse."""
        return self._each(slots, lambda key, status: _is_usable(status, at, max_age_s) and key not in self._held)

    def fresh(self, slots: SlotArray, at: Instant, max_age_s: float) -> BoolArray:
        """Look at each Evse."""
        return self._each(slots, lambda key, status: _is_fresh(status, at, max_age_s))

    def _each(self, slots: SlotArray, accept: Any) -> BoolArray:
        keys = [self._keys[slot] for slot in slots.tolist()]
        statuses = [(key, self._statuses.get(key)) for key in keys]
        return np.array([status is not None and accept(key, status) for key, status in statuses], np.bool_)


def _is_fresh(status: EvseStatus, at: Instant, max_age_s: float | None) -> bool:
    return at < status.stale_after and (max_age_s is None or at - status.observed_at <= max_age_s)


def _is_usable(status: EvseStatus, at: Instant, max_age_s: float | None) -> bool:
    return status.availability is Availability.AVAILABLE and _is_fresh(status, at, max_age_s)


def scatter(random: Random, count: int, around: Sequence[Point], spread_degrees: float) -> list[Point]:
    """Return positions near some points; a share of them exactly on one, so that distances tie."""
    points = []
    for _ in range(count):
        point = random.choice(around)
        if random.random() < 0.1:
            points.append(point)
            continue
        lon = point.lon + random.uniform(-spread_degrees, spread_degrees)
        lat = point.lat + random.uniform(-spread_degrees, spread_degrees)
        points.append(Point(lon=(lon + 180) % 360 - 180, lat=max(-90.0, min(90.0, lat))))
    return points
