"""Whatever is counted by tiles, the embedded index counts what a search of the box finds, in the tiles of web maps."""

import asyncio
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from app.model.agreement import Withheld
from app.model.cluster import MAX_TILE_ZOOM, MAX_TILES, ClusterSearch, Grid
from app.model.geo import BoundingBox, Point
from app.model.search import Area, Search
from tests.builders import NOON
from tests.properties.test_station_search import World, filters, make_world, positions, scan, told, withheld

_DOUBT = 1e-6


def tile(spot: Point, zoom: int) -> tuple[int, int]:
    """The tile of a web map; the outermost rows hold what lies beyond."""
    size = 1 << zoom
    x = int((spot.lon + 180) / 360 * size)
    y = (1 - math.asinh(math.tan(math.radians(spot.lat))) / math.pi) / 2 * size
    return min(x, size - 1), max(0, min(math.floor(y), size - 1))


@st.composite
def cluster_searches(draw: st.DrawFn, world: World) -> ClusterSearch:
    one, other = draw(positions(world)), draw(positions(world))
    south, north = sorted((one.lat, other.lat))
    box = BoundingBox(west=one.lon, south=south, east=other.lon, north=north)
    fitting = max(zoom for zoom in range(MAX_TILE_ZOOM + 1) if len(Grid.over(box, zoom)) <= MAX_TILES)
    wanted = draw(filters)
    extra = draw(withheld)
    also = Withheld(feeds=wanted.hidden.feeds | extra.feeds, operators=wanted.hidden.operators | extra.operators)
    dark = draw(st.sampled_from((wanted.hidden, also, wanted.hidden or extra)))
    return ClusterSearch(
        box=box,
        zoom=draw(st.integers(0, fitting)),
        filter=wanted,
        at=NOON + draw(st.sampled_from((0.0, 1.5))),
        wants_available=draw(st.booleans()),
        dark=dark,
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[World, list[ClusterSearch]]:
    world = make_world(draw(st.integers(0, 2**32)), draw(st.integers(1, 60)))
    return world, draw(st.lists(cluster_searches(world), min_size=5, max_size=15))


@given(cases())
def test_every_tile_counts_what_a_scan_of_all_stations_finds_in_it(case: tuple[World, list[ClusterSearch]]) -> None:
    world, asked = case
    asyncio.run(_compare(world, asked))


async def _compare(world: World, asked: Iterable[ClusterSearch]) -> None:
    with TemporaryDirectory() as folder:
        index = await told(world, Path(folder))
        try:
            for search in asked:
                clusters = await index.list_clusters(search)
                wanted = Search(where=Area(box=search.box), filter=search.filter, first=1, at=search.at)
                free_now = msgspec.structs.replace(search.filter, available_now=True, hidden=search.dark)
                spots = _spots(world, wanted)
                free = Counter(tile(spot, search.zoom) for spot in _spots(world, _with(wanted, free_now)).values())
                counts = Counter(tile(spot, search.zoom) for spot in spots.values())
                assert {(one.x, one.y): one.count for one in clusters} == counts, search
                grid = Grid.over(search.box, search.zoom)
                places = [(one.y, (one.x - grid.west) % (1 << search.zoom)) for one in clusters]
                assert places == sorted(places)
                for one in clusters:
                    here = {name: spot for name, spot in spots.items() if tile(spot, search.zoom) == (one.x, one.y)}
                    assert one.station_id == (next(iter(here)) if len(here) == 1 else None)
                    assert one.available == (free[one.x, one.y] if search.wants_available else None)
                    lon, lat = (
                        sum(getattr(spot, axis) for spot in here.values()) / len(here) for axis in ("lon", "lat")
                    )
                    assert math.dist((one.center.lon, one.center.lat), (lon, lat)) < _DOUBT
        finally:
            await index.close()


def _with(search: Search, wanted: object) -> Search:
    return msgspec.structs.replace(search, filter=wanted)


def _spots(world: World, search: Search) -> dict[str, Point]:
    """Where the stations are that a search finds, by id."""
    located = {name: station.location for name, station in world.stations.items() if station.location is not None}
    return {hit.station_id: located[hit.station_id] for hit in scan(world, search)}
