"""How searches are put to Elasticsearch: golden requests, and that nothing that is possible is left out."""

import math
from random import Random

import pytest

from app.index import _es_query
from app.index._es_query import MARGIN_M, Query
from app.index._region import Region
from app.model.agreement import Withheld
from app.model.geo import EARTH_RADIUS_M, BoundingBox, Point
from app.model.search import Area, Corridor, Near, StationFilter, Where
from app.model.station import Access, ConnectorType
from tests.golden.elasticsearch.golden import check_golden

_CENTER = Point(lon=121.5, lat=31.2)
_NEAR = Near(center=_CENTER, radius_m=5_000.0)
_BOX = Area(box=BoundingBox(west=121.0, south=31.0, east=122.0, north=32.0))
_CROSSING = Area(box=BoundingBox(west=179.0, south=-1.0, east=-179.0, north=1.0))
_POLYGONS = Area(polygons=((((179.0, 0.0), (-179.0, 0.0), (-179.0, 1.0)),), (((1.0, 1.0), (2.0, 1.0), (2.0, 2.0)),)))
_CORRIDOR = Corridor(line=((179.99, 0.0), (-179.97, 0.0)), width_m=1_000.0)
_ANYTHING = StationFilter()
_NOTHING: Query = {"match_none": {}}
_EVERYTHING = StationFilter(
    connector_types=frozenset({ConnectorType.GBT_DC, ConnectorType.CHAOJI}),
    min_power_w=60_000,
    operator_ids=frozenset({"teld:1", "star:2"}),
    access=frozenset({Access.PUBLIC, Access.MEMBERS}),
    text="特来电 ABC",
    hidden=Withheld(feeds=frozenset({"closed"}), but_of=frozenset({"closed:1"}), operators=frozenset({"teld:9"})),
)


def asked(where: Where, wanted: StationFilter = _ANYTHING, patterns: list[str] | None = None) -> Query:
    region = Region(where) if isinstance(where, Area) and where.polygons else None
    return _es_query.matching(_es_query.possible(where, region), wanted, patterns)


_REQUESTS: dict[str, Query] = {
    "nearest": _es_query.nearest(asked(_NEAR), _NEAR, 28, None),
    "nearest_after": _es_query.nearest(asked(_NEAR), _NEAR, 28, 123.456),
    "nearest_filtered": _es_query.nearest(asked(_NEAR, _EVERYTHING, ["a", "b"]), _NEAR, 28, None),
    "by_id_in_box": _es_query.by_id(asked(_BOX), _BOX, 28, "teld:1:2"),
    "by_id_over_antimeridian": _es_query.by_id(asked(_CROSSING), _CROSSING, 28, None),
    "columns_in_polygons": _es_query.columns(asked(_POLYGONS), ("id", "lon", "lat")),
    "columns_along_a_route": _es_query.columns(asked(_CORRIDOR), ("id", "lon", "lat")),
    "columns_after": _es_query.columns(_es_query.of_feed("teld"), ("id", "version"), 100, "teld:1:2"),
    "doubtful": _es_query.columns(_es_query.doubtful(asked(_NEAR), _NEAR), ("lon", "lat")),
    "kinds_alone": asked(_NEAR, StationFilter(connector_types=frozenset({ConnectorType.GBT_AC}))),
    "power_alone": asked(_NEAR, StationFilter(min_power_w=0)),
    "patterns": _es_query.patterns(asked(_NEAR)),
    "tiles": _es_query.tiles(asked(_BOX), 12),
    "count": _es_query.count(asked(_BOX), 10_001),
    "pattern_contents": _es_query.pattern_contents(["a", "b"]),
    "documents": _es_query.documents(["teld:1:1", "teld:1:2"]),
    "evses": _es_query.columns(_es_query.of_evses([-1, 5]), ("id", "evse_keys")),
    "feed_counts": _es_query.feed_counts(),
    "operators": _es_query.operators("teld:1"),
}


@pytest.mark.parametrize("name", sorted(_REQUESTS))
def test_a_request_is_its_golden_one(name: str) -> None:
    check_golden(f"request_{name}", _REQUESTS[name])


def test_what_cannot_match_is_asked_for_as_nothing() -> None:
    assert _es_query.possible(Area(), None) == _NOTHING
    assert _es_query.possible(Near(center=_CENTER, radius_m=-1.0), None) == _NOTHING
    assert _es_query.possible(Near(center=_CENTER, radius_m=math.nan), None) == _NOTHING
    assert _es_query.possible(Area(box=BoundingBox(west=0, south=2, east=1, north=1)), None) == _NOTHING
    assert _es_query.possible(Area(box=BoundingBox(west=0, south=91, east=1, north=92)), None) == _NOTHING
    assert _NOTHING in asked(_NEAR, StationFilter(min_power_w=2**40))["bool"]["filter"]


def test_nothing_is_certain_within_the_margin() -> None:
    assert _es_query.certain(Near(center=_CENTER, radius_m=MARGIN_M / 2)) == _NOTHING
    assert _es_query.certain(Area(box=BoundingBox(west=1, south=1, east=1, north=2))) == _NOTHING
    assert _es_query.certain(Area(box=BoundingBox(west=180, south=1, east=-180, north=2))) == _NOTHING


def test_a_circle_that_reaches_round_the_earth_asks_for_whatever_has_a_place() -> None:
    everywhere = _es_query.possible(Near(center=_CENTER, radius_m=math.pi * EARTH_RADIUS_M), None)
    assert everywhere == {"exists": {"field": "pos"}}


def test_the_possible_box_holds_the_box_and_the_box_holds_the_certain_one() -> None:
    random = Random(1)
    for _ in range(3_000):
        west, east = random.choice((-180.0, 180.0, 0.0, random.uniform(-180, 180))), random.uniform(-180, 180)
        south, north = sorted((random.choice((-90.0, random.uniform(-90, 90))), random.uniform(-90, 90)))
        if random.random() < 0.3:
            east = max(-180.0, min(180.0, west + random.choice((-1, 1)) * random.uniform(0, 3e-6)))
        where = Area(box=BoundingBox(west=west, south=south, east=east, north=north))
        possible, certain = _es_query.possible(where, None), _es_query.certain(where)
        for _ in range(20):
            lon = random.choice((west, east, -180.0, 180.0, random.uniform(-180, 180)))
            lon = max(-180.0, min(180.0, lon + random.choice((0.0, 1e-7, -1e-7, 3e-6, -3e-6))))
            lat = max(-90.0, min(90.0, random.choice((south, north, random.uniform(-90, 90)))))
            inside = south <= lat <= north and ((lon >= west or lon <= east) if west > east else west <= lon <= east)
            assert inside or not _holds(certain, lon, lat), (where, lon, lat)
            assert not inside or _holds(possible, lon, lat), (where, lon, lat)


def _holds(query: Query, lon: float, lat: float) -> bool:
    """Tell what Elasticsearch's geo_bounding_box would say, were it exact."""
    if query == _NOTHING:
        return False
    box = query["geo_bounding_box"]["pos"]
    west, east = box["left"], box["right"]
    across = (lon >= west or lon <= east) if west > east else west <= lon <= east
    return bool(box["bottom"] <= lat <= box["top"] and across)
