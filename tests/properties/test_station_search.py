"""Whatever is searched for, the embedded index answers what a scan of all stations answers."""

import asyncio
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from unicodedata import normalize

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from app.index.embedded import EmbeddedIndex
from app.model.agreement import Withheld
from app.model.availability import Availability, EvseStatus
from app.model.geo import BoundingBox, Point, distance_m, is_position
from app.model.opening import is_open
from app.model.search import Area, Hit, Near, Position, Search, SearchPage, StationFilter, Where
from app.model.station import NOT_OPERATING, Access, ConnectorType, Evse, Presence, Station
from tests.builders import NOON, PlainView, random_station, random_status, scatter

FEEDS = ("teld", "star")
PLACES = (
    Point(lon=121.5, lat=31.2),
    Point(lon=180.0, lat=0.0),
    Point(lon=-179.98, lat=-17.0),
    Point(lon=0.0, lat=90.0),
    Point(lon=33.0, lat=-89.98),
    Point(lon=0.0, lat=0.0),
)
SPREADS = (2**-11, 2**-5, 1.0, 32.0)
EVERYWHERE = Area(box=BoundingBox(west=-180.0, south=-90.0, east=180.0, north=90.0))
_SCALE = 200
_TURN = 360 << _SCALE

Ring = tuple[tuple[float, float], ...]

# ---------------------------------------------------------------------------------------------------------- the oracle


class World(msgspec.Struct, frozen=True):
    """What an index was told, step by step, and what it therefore has to know."""

    steps: tuple[tuple[str, tuple[Station, ...], bool], ...]
    stations: dict[str, Station]
    statuses: dict[str, EvseStatus]
    held: frozenset[str]
    spots: tuple[Point, ...]
    spread: float


def scan(world: World, search: Search) -> list[Hit]:
    """All hits of a search in order, looked for one station after the other."""
    keyed = []
    for station in world.stations.values():
        distance = _distance(search.where, station.location)
        if distance is not None and is_searchable(station) and matches(world, station, search):
            keyed.append((distance, station.id))
    if isinstance(search.where, Near):
        return [Hit(station_id, distance) for distance, station_id in sorted(keyed)]
    return [Hit(station_id, None) for _, station_id in sorted(keyed)]


def cut(hits: Sequence[Hit], search: Search) -> SearchPage:
    """The page of all hits that a search asks for."""
    left = [hit for hit in hits if search.after is None or _key(hit) > _after_key(search)]
    return SearchPage(tuple(left[: search.first]), len(hits), has_next=len(left) > search.first)


def _key(hit: Hit) -> tuple[float, str]:
    return (hit.distance_m or 0.0, hit.station_id)


def _after_key(search: Search) -> tuple[float, str]:
    assert search.after is not None
    return (search.after.distance_m if isinstance(search.where, Near) else 0.0, search.after.station_id)


def is_searchable(station: Station) -> bool:
    return station.published and station.presence is not Presence.REMOVED


def _distance(where: Where, spot: Point | None) -> float | None:
    """How far a position is from the centre, 0 in an area; None outside."""
    if spot is None or not is_position(spot.lon, spot.lat):
        return None
    if isinstance(where, Near):
        distance = distance_m(where.center.lon, where.center.lat, spot.lon, spot.lat)
        return distance if distance <= where.radius_m else None
    assert isinstance(where, Area)
    if where.box is not None:
        box = where.box
        beyond_west, before_east = spot.lon >= box.west, spot.lon <= box.east
        inside = (beyond_west or before_east) if box.west > box.east else (beyond_west and before_east)
        return 0.0 if inside and box.south <= spot.lat <= box.north else None
    return 0.0 if any(_is_in_polygon(polygon, spot) for polygon in where.polygons) else None


def _is_in_polygon(rings: tuple[Ring, ...], spot: Point) -> bool:
    outer, *holes = (_place(_unrolled(ring), spot) for ring in rings)
    return outer != "outside" and "inside" not in holes


def _exact(degrees: float) -> int:
    """The number without any rounding, as so many parts of a degree."""
    return int(math.ldexp(degrees, _SCALE))


@lru_cache(maxsize=64)
def _unrolled(ring: Ring) -> list[tuple[int, int]]:
    """The ring in exact numbers on a plane without an antimeridian, closed, over the pole where it goes round it."""
    points = [(_exact(lon), _exact(lat)) for lon, lat in ring]
    if points[0] != points[-1]:
        points.append(points[0])
    plane = [points[0]]
    for (before, _), (lon, lat) in pairwise(points):
        step = lon - before
        if abs(step) > _TURN // 2:
            step += -_TURN if step > 0 else _TURN
        plane.append((plane[-1][0] + step, lat))
    if plane[-1] != plane[0]:
        pole = _exact(90.0 if sum(lat for _, lat in points) > 0 else -90.0)
        plane += [(plane[-1][0], pole), (plane[0][0], pole), plane[0]]
    return plane


def _place(plane: list[tuple[int, int]], spot: Point) -> str:
    """Where a position is by the even-odd rule, asked for all its images."""
    x, y = _exact(spot.lon), _exact(spot.lat)
    turns = range((min(lon for lon, _ in plane) - x) // _TURN, (max(lon for lon, _ in plane) - x) // _TURN + 1)
    places = {_place_of_image(plane, x + turn * _TURN, y) for turn in turns}
    return next((place for place in ("inside", "edge") if place in places), "outside")


def _place_of_image(plane: list[tuple[int, int]], x: int, y: int) -> str:
    crossings = 0
    for (ax, ay), (bx, by) in pairwise(plane):
        if not min(ay, by) <= y <= max(ay, by) or x > max(ax, bx):
            continue
        turn = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
        if turn == 0 and min(ax, bx) <= x:
            return "edge"
        if (ay > y) != (by > y):
            crossings += (turn > 0) == (by > ay)
    return "inside" if crossings % 2 else "outside"


def is_among(station: Station, withheld: Withheld) -> bool:
    of_feed = station.feed in withheld.feeds and station.operator_id not in withheld.but_of
    return of_feed or station.operator_id in withheld.operators


def matches(world: World, station: Station, search: Search) -> bool:
    wanted = search.filter
    if is_among(station, wanted.hidden):
        return False
    if wanted.operator_ids and station.operator_id not in wanted.operator_ids:
        return False
    if wanted.access and station.access not in wanted.access:
        return False
    if wanted.open_now and is_open(station.hours, search.at, station.time_zone) is not True:
        return False
    if not all(_holds(station, word) for word in (wanted.text or "").split()):
        return False
    asks_for_evse = (
        wanted.connector_types
        or wanted.min_power_w is not None
        or wanted.available_now
        or wanted.max_status_age_s is not None
    )
    return not asks_for_evse or (
        station.presence not in NOT_OPERATING and any(_evse_matches(world, evse, search) for evse in station.evses)
    )


def _holds(station: Station, word: str) -> bool:
    address = station.address
    parts = (station.name, address.text, address.city, address.region, address.postal_code)
    return any(_folded(word) in _folded(part) for part in parts if part is not None)


def _folded(text: str) -> str:
    return normalize("NFKC", normalize("NFKC", text).casefold())


def _evse_matches(world: World, evse: Evse, search: Search) -> bool:
    wanted = search.filter
    if evse.presence in NOT_OPERATING:
        return False
    if (wanted.connector_types or wanted.min_power_w is not None) and not any(
        (not wanted.connector_types or connector.type in wanted.connector_types)
        and (
            wanted.min_power_w is None
            or (connector.max_power_w is not None and connector.max_power_w >= wanted.min_power_w)
        )
        for connector in evse.connectors
    ):
        return False
    if not wanted.available_now and wanted.max_status_age_s is None:
        return True
    status = world.statuses.get(evse.id)
    if status is None or search.at >= status.stale_after:
        return False
    if wanted.max_status_age_s is not None and search.at - status.observed_at > wanted.max_status_age_s:
        return False
    return not wanted.available_now or (status.availability is Availability.AVAILABLE and evse.id not in world.held)


# ------------------------------------------------------------------------------------------------------------- worlds


def make_world(seed: int, count: int) -> World:
    """Stations of every kind about two places, told in several steps: statements, corrections, a smaller statement."""
    random = Random(seed)
    places = random.sample(PLACES, 2)
    spread = random.choice(SPREADS)
    spots = [_snapped(random, spot) for spot in scatter(random, count, places, spread)]
    steps: list[tuple[str, tuple[Station, ...], bool]] = []
    known: dict[str, Station] = {}
    for feed in (*FEEDS, *FEEDS, random.choice(FEEDS)):
        numbers = [number for number in range(count) if random.random() < 0.6]
        told = tuple(_station(random, number, feed, random.choice(spots)) for number in numbers)
        remove_missing = random.random() < 0.5
        steps.append((feed, told, remove_missing))
        if remove_missing:
            known = {station_id: station for station_id, station in known.items() if station.feed != feed}
        known |= {station.id: station for station in told}
    evse_ids = [evse.id for station in known.values() for evse in station.evses]
    statuses = {evse_id: random_status(random, evse_id) for evse_id in evse_ids if random.random() < 0.8}
    held = frozenset(evse_id for evse_id in evse_ids if random.random() < 0.1)
    return World(tuple(steps), known, statuses, held, (*spots, *places), spread)


def _station(random: Random, number: int, feed: str, spot: Point) -> Station:
    location = random.choice((None, spot, *[spot] * 18))
    station = random_station(random, number, feed=feed, location=location)
    return msgspec.structs.replace(station, presence=random.choice((station.presence, Presence.IN_SERVICE)))


def _snapped(random: Random, spot: Point) -> Point:
    """Now and then on a grid on which sums are exact, or on the edges of the index's cells."""
    grid = random.choice((None, None, 64, 4, 50))
    if grid is None:
        return spot
    return Point(lon=round(spot.lon * grid) / grid, lat=round(spot.lat * grid) / grid)


async def told(world: World, folder: Path) -> EmbeddedIndex:
    """An open index that was told the world: the first of each feed's steps as a statement, others in either way."""
    index = EmbeddedIndex(folder / "stations.sqlite", PlainView(world.statuses.values(), world.held))
    await index.open()
    for feed, stations, remove_missing in world.steps:
        if remove_missing:
            replacement = await index.open_replacement(feed)
            await replacement.add(stations[::2])
            await replacement.add(stations[1::2])
            await replacement.commit(remove_missing=True)
        else:
            await index.upsert_stations(feed, stations)
    return index


# ----------------------------------------------------------------------------------------------------------- searches

withheld = st.builds(
    Withheld,
    feeds=st.frozensets(st.sampled_from((*FEEDS, "nobody")), max_size=2),
    but_of=st.frozensets(st.sampled_from(("teld:a", "star:b", "star:x"))),
    operators=st.frozensets(st.sampled_from(("teld:b", "teld:c", "star:a", "star:x"))),
)
CRITERIA: dict[str, st.SearchStrategy[Any]] = {
    "connector_types": st.frozensets(
        st.sampled_from((ConnectorType.GBT_DC, ConnectorType.GBT_AC, ConnectorType.UNKNOWN, ConnectorType.MCS)),
        min_size=1,
    ),
    "min_power_w": st.sampled_from((0, 1, 7_000, 60_000, 60_001, 120_000)),
    "available_now": st.just(value=True),
    "max_status_age_s": st.sampled_from((0.0, 5.0, 60.0, 3_600.0)),
    "operator_ids": st.frozensets(st.sampled_from(("teld:a", "teld:b", "star:a", "star:x")), min_size=1),
    "access": st.frozensets(st.sampled_from(Access), min_size=1, max_size=4),
    "open_now": st.just(value=True),
    "text": st.lists(
        st.sampled_from(("站", "特来电", "STAR", "上海市", "strasse", "abc", "ＬＡＤＥ", "1", "(虹桥)", "İ", "x")),
        max_size=2,
    ).map(" ".join),
    "hidden": withheld,
}
filters = st.sets(st.sampled_from(sorted(CRITERIA)), max_size=3).flatmap(
    lambda names: st.builds(StationFilter, **{name: CRITERIA[name] for name in names})
)


def positions(world: World) -> st.SearchStrategy[Point]:
    """Where a station is, or near it."""
    nudges = st.sampled_from((0.0, 0.0, 0.0001, -0.02, 0.3, -5.0))
    return st.builds(
        lambda spot, east, north: Point(lon=_wrapped(spot.lon + east), lat=_clamped(spot.lat + north)),
        st.sampled_from(world.spots),
        nudges,
        nudges,
    )


def _wrapped(lon: float) -> float:
    return lon if -180 <= lon <= 180 else (lon + 180) % 360 - 180


def _clamped(lat: float) -> float:
    return max(-90.0, min(90.0, lat))


@st.composite
def circles(draw: st.DrawFn, world: World) -> Near:
    center = draw(positions(world))
    if draw(st.booleans()):
        return Near(center=center, radius_m=draw(st.sampled_from((0.0, 1.0, 50.0, 3e3, 1e5, 1e6, 1.1e6, 1e7, 2.1e7))))
    spot = draw(st.sampled_from(world.spots))
    distance = distance_m(center.lon, center.lat, spot.lon, spot.lat)
    return Near(center=center, radius_m=max(0.0, distance + draw(st.sampled_from((0.0, 0.001, -0.001)))))


@st.composite
def boxes(draw: st.DrawFn, world: World) -> Area:
    one, other = draw(positions(world)), draw(positions(world))
    south, north = sorted((one.lat, other.lat))
    return Area(box=BoundingBox(west=one.lon, south=south, east=other.lon, north=north))


@st.composite
def local_rings(draw: st.DrawFn, middle: Point, spread: float) -> Ring:
    """Any vertices about a middle, edges that cross each other and the antimeridian included."""
    unit = draw(st.sampled_from((spread / 16, spread / 8, 8.0)))
    offsets = st.integers(-16, 16).map(lambda steps: steps * unit)
    vertices = draw(st.lists(st.tuples(offsets, offsets), min_size=3, max_size=8))
    x, y = round(middle.lon * 64) / 64, round(middle.lat * 64) / 64
    return tuple((_wrapped(x + east), _clamped(y + north)) for east, north in vertices)


@st.composite
def box_rings(draw: st.DrawFn, world: World) -> Ring:
    """A box through positions of stations, which may cross the antimeridian."""
    one, other = draw(positions(world)), draw(positions(world))
    return ((one.lon, one.lat), (other.lon, one.lat), (other.lon, other.lat), (one.lon, other.lat))


@st.composite
def polar_rings(draw: st.DrawFn) -> Ring:
    """A ring round a pole."""
    count = draw(st.integers(3, 7))
    start, side = draw(st.integers(-180, 0)), draw(st.sampled_from((-1, 1)))
    latitudes = draw(st.lists(st.integers(80, 360), min_size=count, max_size=count))
    ring = [(_wrapped(start + 360 * number // count), side * lat / 4) for number, lat in enumerate(latitudes)]
    return tuple(ring if draw(st.booleans()) else ring[::-1])


@st.composite
def winding_rings(draw: st.DrawFn) -> Ring:
    """A band that winds about the Earth, up to three times, on its way north."""
    count, start = draw(st.integers(2, 11)), draw(st.integers(-180, 180))
    south, rise, width = draw(st.integers(-85, 40)), draw(st.integers(0, 4)), draw(st.integers(1, 10))
    there = [(_wrapped(float(start + 100 * number)), float(south + rise * number)) for number in range(count)]
    return (*there, *((lon, lat + width / 4) for lon, lat in reversed(there)))


@st.composite
def polygon_areas(draw: st.DrawFn, world: World) -> Area:
    def rings() -> Ring:
        local = local_rings(middle, world.spread)
        kind = st.one_of(local, local, box_rings(world), polar_rings(), winding_rings())
        ring = draw(kind)
        return (*ring, ring[0]) if ring[0] == ring[-1] or draw(st.booleans()) else ring

    polygons = []
    for _ in range(draw(st.integers(1, 3))):
        middle = draw(positions(world))
        polygons.append(tuple(rings() for _ in range(draw(st.sampled_from((1, 1, 2, 3))))))
    return Area(polygons=tuple(polygons))


@st.composite
def searches(draw: st.DrawFn, world: World) -> Search:
    somewhere = (circles(world), circles(world), boxes(world), polygon_areas(world), polygon_areas(world))
    where = draw(st.one_of(st.just(EVERYWHERE), *somewhere))
    after = None
    if draw(st.booleans()):
        spot, station_id = draw(st.sampled_from(world.spots)), draw(st.sampled_from(("", "t", *world.stations)))
        distance = 0.0
        if isinstance(where, Near):
            distance = distance_m(where.center.lon, where.center.lat, spot.lon, spot.lat)
        after = Position(distance, station_id)
    return Search(
        where=where,
        filter=draw(filters),
        first=draw(st.sampled_from((1, 2, 5, 100))),
        at=NOON + draw(st.sampled_from((0.0, 0.5, 1.0, 1.5, 30_000.0))),
        after=after,
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[World, list[Search]]:
    world = make_world(draw(st.integers(0, 2**32)), draw(st.integers(1, 60)))
    return world, draw(st.lists(searches(world), min_size=10, max_size=30))


# -------------------------------------------------------------------------------------------------------------- tests


@given(cases())
def test_every_search_answers_what_a_scan_of_all_stations_answers(case: tuple[World, list[Search]]) -> None:
    world, asked = case
    asyncio.run(_compare(world, asked))


async def _compare(world: World, asked: Iterable[Search]) -> None:
    with TemporaryDirectory() as folder:
        index = await told(world, Path(folder))
        try:
            for search in asked:
                hits = scan(world, search)
                page = cut(hits, search)
                assert await index.search(search) == page, search
                uncounted = await index.search(msgspec.structs.replace(search, wants_total=False))
                assert (uncounted.hits, uncounted.has_next) == (page.hits, page.has_next), search
                await _walk(index, hits, search)
        finally:
            await index.close()


async def _walk(index: EmbeddedIndex, hits: Sequence[Hit], search: Search) -> None:
    """Read on from page to page as a caller does."""
    seen: list[Hit] = []
    page = await index.search(msgspec.structs.replace(search, after=None))
    while page.has_next:
        seen += page.hits
        after = Position(*_key(seen[-1]))
        page = await index.search(msgspec.structs.replace(search, after=after))
        assert page.total_count == len(hits)
    assert [*seen, *page.hits] == hits
