"""Along whatever route is searched, the embedded index answers what a look at every station and every leg answers."""

import asyncio
import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from app.index.embedded import EmbeddedIndex
from app.model.geo import EARTH_RADIUS_M, Point, distance_m
from app.model.search import MAX_ROUTE_M, Corridor, Hit, Position, Search
from tests.builders import NOON
from tests.properties.test_station_search import World, filters, is_searchable, make_world, matches, positions, told

Vector = tuple[float, float, float]

_NARROWING = 60
_ROUNDING_M = 0.002
_FAR_M = 1_000_000.0


# ---------------------------------------------------------------------------------------------------------- the oracle


def vector(lon: float, lat: float) -> Vector:
    across = math.cos(math.radians(lat))
    return across * math.cos(math.radians(lon)), across * math.sin(math.radians(lon)), math.sin(math.radians(lat))


def apart(one: Vector, other: Vector) -> float:
    """How far two points of the unit sphere are apart, in radians."""
    return 2 * math.asin(min(1.0, math.dist(one, other) / 2))


def between(one: Vector, other: Vector, share: float) -> Vector:
    """The point of the arc from one to the other at this share of its length."""
    angle = apart(one, other)
    if angle == 0.0:
        return one
    weights = math.sin((1 - share) * angle) / math.sin(angle), math.sin(share * angle) / math.sin(angle)
    x, y, z = (weights[0] * here + weights[1] * there for here, there in zip(one, other, strict=True))
    return x, y, z


def off_leg(one: Vector, other: Vector, spot: Vector) -> float:
    """How far a spot is off an arc, by looking ever closer at where the arc comes nearest."""
    low, high = 0.0, 1.0
    for _ in range(_NARROWING):
        third = (high - low) / 3
        nearer = apart(between(one, other, low + third), spot) <= apart(between(one, other, high - third), spot)
        low, high = (low, high - third) if nearer else (low + third, high)
    return min(apart(between(one, other, share), spot) for share in (0.0, (low + high) / 2, 1.0)) * EARTH_RADIUS_M


def off_route(line: Sequence[tuple[float, float]], spot: Point) -> float:
    """How far a spot is off a route; some distance that is too far where it is very far."""
    nearest = min(distance_m(lon, lat, spot.lon, spot.lat) for lon, lat in line)
    longest = max(distance_m(*one, *other) for one, other in pairwise(line))
    if nearest - longest > _FAR_M:
        return nearest - longest
    there = vector(spot.lon, spot.lat)
    return min(off_leg(vector(*one), vector(*other), there) for one, other in pairwise(line))


def place(line: Sequence[tuple[float, float]], along_m: float) -> Vector:
    """The point of a route so far along it."""
    left = along_m / EARTH_RADIUS_M
    for one, other in pairwise(line):
        begins, ends = vector(*one), vector(*other)
        length = apart(begins, ends)
        if left <= length:
            return between(begins, ends, left / length if length else 0.0)
        left -= length
    assert left * EARTH_RADIUS_M <= _ROUNDING_M, "no station is passed behind the end"
    return vector(*line[-1])


# -------------------------------------------------------------------------------------------------------------- routes


@st.composite
def corridors(draw: st.DrawFn, world: World) -> Corridor:
    start = draw(positions(world))
    line, left_m = [(start.lon, start.lat)], MAX_ROUTE_M / 2
    for way in draw(st.lists(positions(world), min_size=1, max_size=4)):
        left_m -= distance_m(*line[-1], way.lon, way.lat)
        if left_m < 0:
            break
        line.append((way.lon, way.lat))
    if len(line) == 1 or draw(st.booleans()):
        line += line[::-1]  # and back
    return Corridor(line=tuple(line), width_m=draw(st.sampled_from((0.0, 1.0, 50.0, 1_999.0, 2_500.0, 20_000.0))))


@st.composite
def cases(draw: st.DrawFn) -> tuple[World, list[Search]]:
    world = make_world(draw(st.integers(0, 2**32)), draw(st.integers(1, 25)))
    at = NOON + draw(st.sampled_from((0.0, 1.5)))
    searches = [
        Search(where=draw(corridors(world)), filter=draw(filters), first=draw(st.sampled_from((1, 2, 100))), at=at)
        for _ in range(draw(st.integers(3, 6)))
    ]
    return world, searches


@given(cases())
def test_along_every_route_all_stations_are_found_in_order(case: tuple[World, list[Search]]) -> None:
    world, asked = case
    asyncio.run(_check(world, asked))


async def _check(world: World, asked: Iterable[Search]) -> None:
    with TemporaryDirectory() as folder:
        index = await told(world, Path(folder))
        try:
            for search in asked:
                assert isinstance(search.where, Corridor)
                hits = await _all_pages(index, search)
                _check_hits(world, search, search.where, hits)
        finally:
            await index.close()


def _check_hits(world: World, search: Search, where: Corridor, hits: Sequence[Hit]) -> None:
    assert [(hit.along_m, hit.station_id) for hit in hits] == sorted((hit.along_m, hit.station_id) for hit in hits)
    found = {hit.station_id: hit for hit in hits}
    assert len(found) == len(hits)
    for station in world.stations.values():
        spot, hit = station.location, found.pop(station.id, None)
        if spot is None or not is_searchable(station) or not matches(world, station, search):
            assert hit is None
            continue
        off = off_route(where.line, spot)
        if hit is None:
            assert off > where.width_m - _ROUNDING_M, (search, station)
            continue
        assert hit.distance_m is not None
        assert hit.along_m is not None
        assert hit.distance_m <= where.width_m
        assert abs(hit.distance_m - off) <= _ROUNDING_M, (search, station)
        there = apart(place(where.line, hit.along_m), vector(spot.lon, spot.lat)) * EARTH_RADIUS_M
        assert abs(there - off) <= _ROUNDING_M, (search, station, hit)
    assert not found


async def _all_pages(index: EmbeddedIndex, search: Search) -> list[Hit]:
    """Read on from page to page as a caller does."""
    hits: list[Hit] = []
    while True:
        page = await index.search(search)
        hits += page.hits
        if not page.has_next:
            assert page.total_count == len(hits)
            return hits
        last = page.hits[-1]
        assert len(page.hits) == search.first
        assert last.along_m is not None
        search = msgspec.structs.replace(search, after=Position(last.along_m, last.station_id))
