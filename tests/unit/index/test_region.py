"""Polygons on the sphere where arithmetic or a caller makes them hard."""

from itertools import pairwise
from random import Random

import numpy as np
import pytest

from app.errors import InvalidInputError
from app.index._columns import CELLS_PER_DEGREE, CELLS_PER_ROW, Columns, Dictionaries, cell_column, merge, read_batch
from app.index._packing import pack_facts
from app.index._region import Region
from app.model.geo import Point
from app.model.search import Area
from tests.builders import build_station


def columns_of(spots: list[tuple[float, float]]) -> Columns:
    """A snapshot of stations without Evses, numbered in the order of their places."""
    stations = [build_station(n, location=Point(lon=lon, lat=lat), evses=()) for n, (lon, lat) in enumerate(spots)]
    rows = [(station.id, *pack_facts(station)) for station in stations]
    batch = read_batch([rows], Dictionaries())
    return merge(Columns.empty(), (), batch, np.zeros(0, np.int32))


def found(region: Region, columns: Columns) -> set[tuple[float, float]]:
    """The positions that are looked at and inside."""
    places = [place for first, end in region.spans(columns) for place in range(first, end)]
    lon, lat = columns.lon[places], columns.lat[places]
    inside = region.contains(lon, lat)
    return set(zip(lon[inside].tolist(), lat[inside].tolist(), strict=True))


def box(west: float, south: float, east: float, north: float) -> tuple[tuple[float, float], ...]:
    return ((west, south), (east, south), (east, north), (west, north))


def test_a_station_on_an_edge_is_found_although_unrolling_rounds_into_the_next_cell() -> None:
    edges = [column / CELLS_PER_DEGREE - 180.0 for column in range(1, 90 * CELLS_PER_DEGREE)]
    rounded = [edge for edge in edges if cell_column((edge + 360.0) - 360.0) != cell_column(edge)]
    assert rounded, "there are such longitudes"
    columns = columns_of([(edge, 10.0) for edge in rounded])
    for edge in rounded:
        # It begins west of the antimeridian, so that the edge is unrolled to more than 180 degrees.
        ring = ((170.0, 0.0), (edge, 0.0), (edge, 20.0), (170.0, 20.0))
        assert (edge, 10.0) in found(Region(Area(polygons=((ring,),))), columns)


def test_a_ring_may_wind_round_the_earth_more_than_once() -> None:
    there = [((-170.0 + 100.0 * number + 180.0) % 360.0 - 180.0, -40.0 + 5.0 * number) for number in range(15)]
    ring = (*there, *((lon, lat + 2.0) for lon, lat in reversed(there)))
    inside = [(lon, lat + 1.0) for lon, lat in there]
    outside = [(lon, lat + 3.0) for lon, lat in there]
    columns = columns_of([*inside, *outside])
    assert found(Region(Area(polygons=((ring,),))), columns) == set(inside)


def test_many_polygons_hold_what_each_of_them_holds() -> None:
    random = Random(3)
    spots = [(random.uniform(-180, 180), random.uniform(-60, 60)) for _ in range(300)]
    columns = columns_of(spots)
    polygons = []
    for _ in range(60):
        lon, lat = random.choice(spots)
        outer = box(max(lon - 9, -180), lat - 9, min(lon + 9, 180), lat + 9)
        polygons.append((outer, box(lon, lat - 1, min(lon + 1, 180), lat + 1)))
    one_by_one = set().union(*(found(Region(Area(polygons=(polygon,))), columns) for polygon in polygons))
    assert found(Region(Area(polygons=tuple(polygons))), columns) == one_by_one
    assert 0 < len(one_by_one) < len(spots)


def test_ranges_hold_no_station_twice_and_none_is_empty() -> None:
    columns = columns_of([(lon / 7, 10.0) for lon in range(-40, 40)])
    overlapping = Region(Area(polygons=((box(-3, 9, 3, 11),), (box(0, 9.5, 5, 12),), (box(-180, 50, 180, 80),))))
    spans = overlapping.spans(columns)
    assert all(first < end for first, end in spans)
    assert all(end < first for (_, end), (first, _) in pairwise(spans))
    assert sum(end - first for first, end in spans) < len(columns) < CELLS_PER_ROW


@pytest.mark.parametrize(
    "polygon",
    [
        (),
        ((),),
        (((0.0, 0.0),),),
        (((0.0, 0.0), (1.0, 1.0)),),
        (((0.0, 0.0), (1.0, 1.0), (0.0, 0.0)),),
        (box(0, 0, 1, 1), ((0.5, 0.5),)),
        (((0.0, 0.0), (1.0, float("nan")), (1.0, 1.0)),),
        (((0.0, 0.0), (float("inf"), 0.0), (1.0, 1.0)),),
        (((0.0, 0.0), (181.0, 0.0), (1.0, 1.0)),),
        (((0.0, 0.0), (1.0, 91.0), (1.0, 1.0)),),
    ],
)
def test_what_is_no_polygon_is_refused(polygon: tuple[tuple[tuple[float, float], ...], ...]) -> None:
    with pytest.raises(InvalidInputError, match="polygons"):
        Region(Area(polygons=(polygon,)))
