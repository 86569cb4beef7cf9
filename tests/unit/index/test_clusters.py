"""Tiles of web maps, and clusters over more Evses than the live board is asked about at once."""

from pathlib import Path
from random import Random

import numpy as np
import pytest

from app.index import _clusters
from app.index.embedded import EmbeddedIndex
from app.model.cluster import MAX_TILE_ZOOM, ClusterSearch, Grid, tile_of, tiles_of
from app.model.geo import BoundingBox, Point
from app.model.search import StationFilter
from tests.builders import NOON, PlainView, random_station, random_status, scatter


def test_one_position_is_in_the_tile_that_many_are_in() -> None:
    random = Random(1)
    spots = [(random.uniform(-180, 180), random.uniform(-90, 90)) for _ in range(2_000)]
    spots += [(lon, lat) for lon in (-180.0, 0.0, 180.0) for lat in (-90.0, -85.06, -85.05, 0.0, 85.05, 85.06, 90.0)]
    x, y = tiles_of(*np.array(spots).T)
    assert list(zip(x.tolist(), y.tolist(), strict=True)) == [tile_of(*spot) for spot in spots]
    last = (1 << MAX_TILE_ZOOM) - 1
    assert (tile_of(-180.0, 90.0), tile_of(180.0, -90.0)) == ((0, 0), (last, last))
    assert tile_of(0.0, 0.0) == ((last + 1) // 2, (last + 1) // 2)


@pytest.mark.parametrize(
    ("box", "zoom", "expected"),
    [
        ((-180, -90, 180, 90), 0, (0, 0, 1, 1)),
        ((-180, -90, 180, 90), 3, (0, 0, 8, 8)),
        ((1, 1, 1, 1), 20, (527200, 521375, 1, 1)),
        ((179, -1, -179, 1), 3, (7, 3, 2, 2)),
        ((10, -1, 9, 1), 3, (4, 3, 8, 2)),
        ((10, -1, 9, 1), 0, (0, 0, 1, 1)),
    ],
)
def test_a_grid_holds_the_tiles_that_a_box_touches(
    box: tuple[float, float, float, float], zoom: int, expected: tuple[int, int, int, int]
) -> None:
    west, south, east, north = box
    grid = Grid.over(BoundingBox(west=west, south=south, east=east, north=north), zoom)
    assert (grid.west, grid.north, grid.columns, grid.rows) == expected
    tiles = [grid.tile(place) for place in range(len(grid))]
    assert len(set(tiles)) == len(tiles)
    assert grid.places(*np.array(tiles).T).tolist() == list(range(len(grid)))


async def test_what_is_free_is_counted_once_however_many_evses_are_asked_about_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = Random(2)
    spots = scatter(random, 400, [Point(lon=121.5, lat=31.2)], 0.1)
    stations = [random_station(random, number, feed="teld", location=spot) for number, spot in enumerate(spots)]
    view = PlainView([random_status(random, evse.id) for station in stations for evse in station.evses])
    index = EmbeddedIndex(tmp_path / "stations.sqlite", view)
    await index.open()
    try:
        await index.upsert_stations("teld", stations)
        box = BoundingBox(west=121, south=31, east=122, north=32)
        for wanted in (StationFilter(), StationFilter(available_now=True), StationFilter(max_status_age_s=60.0)):
            search = ClusterSearch(box=box, zoom=13, filter=wanted, at=NOON)
            expected = await index.list_clusters(search)
            assert sum(one.available or 0 for one in expected) > 10
            with monkeypatch.context() as patched:
                patched.setattr(_clusters, "_SEEN_AT_ONCE", 1)
                assert await index.list_clusters(search) == expected
    finally:
        await index.close()
