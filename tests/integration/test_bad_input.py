"""Whatever is sent: a clear refusal that names the field, never a 500, never a stack trace, and it goes on serving."""

import asyncio
import json
import logging
import re
from base64 import urlsafe_b64encode
from typing import Any

import httpx
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from app.model.station import ConnectorType
from tests.integration.api import NAMES, Api, evse_id, furnish, listening, open_api, read_golden

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = {"content-type": "application/json"}
PREFLIGHT = {"apollo-require-preflight": "true"}
INTROSPECTION_OF_FIELDS = "{__schema{types{fields{type{fields{type{fields{type{fields{name}}}}}}}}}}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(tmp_path_factory):
    async with open_api(tmp_path_factory.mktemp("bad_input")) as api:
        await furnish(api)
        yield api


@pytest.fixture(autouse=True)
def _nothing_unforeseen(caplog):
    """Whatever was not foreseen is logged as an error: here everything is."""
    yield
    assert not [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR]


def checked(response: httpx.Response) -> list[dict[str, Any]]:
    """Return the errors of a refusal, after a look at what no refusal may be."""
    assert response.status_code < 500, response.text
    assert not re.search(r"Traceback|\.py\b|site-packages|0x[0-9a-f]{6}", response.text), response.text
    body = response.json()
    errors: list[dict[str, Any]] = body["errors"]
    assert errors
    for error in errors:
        assert 0 < len(error["message"]) <= 500
        assert error["extensions"]["code"] not in {"INTERNAL", "UNAVAILABLE"}, error
    return errors


async def refused(api: Api, document: str, variables: Any = None) -> dict[str, Any]:
    """Return the first error of a document; nothing may have been answered beside it."""
    response = await api.post(json={"query": document, "variables": variables})
    assert response.status_code == 200, response.text
    error = checked(response)[0]
    assert not response.json().get("data")
    return error


async def still_answers(api: Api) -> bool:
    data = await api.data("{ operators { id } }")
    return len(data["operators"]) == 3


# ------------------------------------------------------------------------------------------------------- arguments


FILTERS: tuple[tuple[Any, str], ...] = (
    ({"connectorTypes": ["NOPE"]}, "connectorTypes[0]"),
    ({"connectorTypes": ["GBT_DC", "gbt_dc"]}, "connectorTypes[1]"),
    ({"connectorTypes": [1]}, "connectorTypes[0]"),
    ({"connectorTypes": [None]}, "connectorTypes[0]"),
    ({"connectorTypes": {"in": "GBT_DC"}}, "connectorTypes"),
    ({"connectorTypes": ["GBT_DC"] * 101}, "connectorTypes"),
    ({"access": ["EVERYONE"]}, "access[0]"),
    ({"minPowerKw": -1}, "minPowerKw"),
    ({"minPowerKw": 100_000.1}, "minPowerKw"),
    ({"minPowerKw": 1e308}, "minPowerKw"),
    ({"minPowerKw": "60"}, "minPowerKw"),
    ({"minPowerKw": True}, "minPowerKw"),
    ({"availableNow": "yes"}, "availableNow"),
    ({"availableNow": 1}, "availableNow"),
    ({"maxStatusAgeS": 0}, "maxStatusAgeS"),
    ({"maxStatusAgeS": -5}, "maxStatusAgeS"),
    ({"maxStatusAgeS": 2_592_001}, "maxStatusAgeS"),
    ({"maxStatusAgeS": 1.5}, "maxStatusAgeS"),
    ({"maxStatusAgeS": 2**40}, "maxStatusAgeS"),
    ({"operatorIds": ["x"] * 101}, "operatorIds"),
    ({"operatorIds": ["x" * 201]}, "operatorIds"),
    ({"operatorIds": [1.5]}, "operatorIds[0]"),
    ({"openNow": []}, "openNow"),
    ({"text": "充" * 101}, "text"),
    ({"text": 5}, "text"),
    ({"colour": "red"}, "colour"),
    ([], "filter"),
    ("free", "filter"),
)


@pytest.mark.parametrize(("wanted", "field"), FILTERS)
async def test_a_filter_that_is_none_is_named(api, wanted, field):
    document = """
    query($filter: StationFilterInput) {
      nearbyStations(near: {lon: 121, lat: 31}, radiusM: 5, filter: $filter) { totalCount }
    }
    """
    error = await refused(api, document, {"filter": wanted})
    assert field in error["extensions"]["field"] or f"'{field}'" in error["message"], error
    assert error["extensions"]["field"].startswith("filter")
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


@pytest.mark.parametrize(
    ("literal", "field"),
    [
        ("{connectorTypes: [NOPE]}", "filter.connectorTypes"),
        ("{connectorTypes: NOPE}", "filter.connectorTypes"),
        ('{connectorTypes: ["GBT_DC"]}', "filter.connectorTypes"),
        ("{access: [GBT_DC]}", "filter.access"),
        ("{minPowerKw: sixty}", "filter.minPowerKw"),
        ("{maxStatusAgeS: 9999999999}", "filter.maxStatusAgeS"),
        ("{maxStatusAgeS: " + "9" * 5_000 + "}", "filter.maxStatusAgeS"),
        ("{colour: RED}", "filter.colour"),
        ("{text: {a: 1}}", "filter.text"),
        ("5", "filter"),
    ],
)
async def test_a_filter_written_into_the_document_is_named_too(api, literal, field):
    error = await refused(
        api, f"{{ nearbyStations(near: {{lon: 121, lat: 31}}, radiusM: 5, filter: {literal}) {{ totalCount }} }}"
    )
    assert error["extensions"]["field"] == field
    assert error["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"


async def test_several_values_are_taken_in_every_filter(api):
    wanted = {
        "connectorTypes": [each.value for each in ConnectorType],
        "access": ["PUBLIC", "MEMBERS", "UNKNOWN"],
        "operatorIds": ["a", "b", "live:395815801"],
    }
    document = """
    query($filter: StationFilterInput) {
      nearbyStations(near: {lon: 121.4737, lat: 31.2304}, radiusM: 5000, filter: $filter) { totalCount }
    }
    """
    assert (await api.data(document, {"filter": wanted}))["nearbyStations"]["totalCount"] == 6


@pytest.mark.parametrize("datum", ["WGS84", "GCJ02", "BD09"])
@pytest.mark.parametrize(
    ("lon", "lat", "field"),
    [
        (180.000001, 0, "near.lon"),
        (-181, 0, "near.lon"),
        (1e308, 0, "near.lon"),
        (0, 90.000001, "near.lat"),
        (0, -1e9, "near.lat"),
    ],
)
async def test_a_position_that_is_none_on_earth_is_refused(api, lon, lat, field, datum):
    document = """
    query($lon: Float!, $lat: Float!, $datum: Datum!) {
      nearbyStations(near: {lon: $lon, lat: $lat}, radiusM: 5, datum: $datum) { totalCount }
    }
    """
    error = await refused(api, document, {"lon": lon, "lat": lat, "datum": datum})
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "field": field}


@pytest.mark.parametrize("radius", ["0", "-0.0", "-1", "100000.001", "1e9", "1e999", "-1e999", "1" * 400])
async def test_a_radius_out_of_range_is_refused(api, radius):
    error = await refused(api, f"{{ nearbyStations(near: {{lon: 1, lat: 1}}, radiusM: {radius}) {{ totalCount }} }}")
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "field": "radiusM"}


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "nan", "1e400", "-1e400", "9" * 5_000, "01", "+1", "0x1"]
)
@pytest.mark.parametrize("member", ["lon", "radius"])
async def test_what_is_no_number_in_json_is_no_number_here(api, number, member):
    variables = {"lon": "1", "radius": "5"} | {member: number}
    query = "query($lon: Float!, $radius: Float!) { nearbyStations(near: {lon: $lon, lat: 1}, radiusM: $radius) { a } }"
    body = f'{{"query": "{query}", "variables": {{"lon": {variables["lon"]}, "radius": {variables["radius"]}}}}}'
    response = await api.post(content=body, headers=JSON)
    assert response.status_code == 400
    checked(response)


@pytest.mark.parametrize(
    ("box", "field"),
    [
        ({"west": 1, "south": 3, "east": 2, "north": 2}, "box.south"),
        ({"west": 181, "south": 1, "east": 2, "north": 2}, "box.lon"),
        ({"west": 1, "south": -91, "east": 2, "north": 2}, "box.lat"),
        ({"west": 1, "south": 1, "east": 1e99, "north": 2}, "box.lon"),
        ({"west": 1, "south": 1, "east": 2}, "box"),
        ({"west": 1, "south": 1, "east": 2, "north": "2"}, "box.north"),
        ({"west": 1, "south": 1, "east": 2, "north": 2, "up": 1}, "box"),
        (None, "box"),
        ([1, 1, 2, 2], "box"),
    ],
)
async def test_a_box_that_is_none_is_refused(api, box, field):
    error = await refused(
        api, "query($box: BoundingBoxInput) { stationsInArea(box: $box) { totalCount } }", {"box": box}
    )
    assert error["extensions"]["field"] == field


async def test_a_box_and_a_polygon_are_one_too_many(api):
    ring = [[1, 1], [2, 1], [2, 2], [1, 1]]
    error = await refused(
        api,
        "query($p: GeoJSON) {stationsInArea(polygon: $p, box: {west: 1, south: 1, east: 2, north: 2}) {totalCount}}",
        {"p": {"type": "Polygon", "coordinates": [ring]}},
    )
    assert error["extensions"]["field"] == "box"


SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]
ALL_ROUND = [[0, 80], [90, 80], [179, 80], [-90, 80], [0, 80]]
MANY = [[0, 0], *([number / 1_000, 1] for number in range(1_000)), [0, 0]]


@pytest.mark.parametrize(
    ("polygon", "field"),
    [
        ({}, "polygon.type"),
        ({"type": "Point", "coordinates": [0, 0]}, "polygon.type"),
        ({"type": "polygon", "coordinates": [SQUARE]}, "polygon.type"),
        ({"type": ["Polygon"], "coordinates": [SQUARE]}, "polygon.type"),
        ({"type": {}, "coordinates": [SQUARE]}, "polygon.type"),
        ({"type": "Polygon", "coordinates": [SQUARE], "crs": {}}, "polygon"),
        ({"type": "Polygon"}, "polygon.coordinates"),
        ({"type": "Polygon", "coordinates": None}, "polygon.coordinates"),
        ({"type": "Polygon", "coordinates": "0 0"}, "polygon.coordinates"),
        ({"type": "Polygon", "coordinates": []}, "polygon.coordinates"),
        ({"type": "Polygon", "coordinates": [[]]}, "polygon.coordinates[0]"),
        ({"type": "Polygon", "coordinates": SQUARE}, "polygon.coordinates[0][0]"),
        ({"type": "Polygon", "coordinates": [SQUARE[:4]]}, "polygon.coordinates[0]"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]}, "polygon.coordinates[0]"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [0, 0], [0, 0], [0, 0]]]}, "polygon.coordinates"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}, "polygon.coordinates"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, "0"], [1, 1], [0, 0]]]}, "polygon.coordinates[0][1]"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [True, 0], [1, 1], [0, 0]]]}, "polygon.coordinates[0][1]"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1], [1, 1], [0, 0]]]}, "polygon.coordinates[0][1]"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 2, 3, 4], [1, 1], [0, 0]]]}, "polygon.coordinates[0][1]"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [181, 0], [1, 1], [0, 0]]]}, "polygon.coordinates[0][1].lon"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, -91], [1, 1], [0, 0]]]}, "polygon.coordinates[0][1].lat"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [10**400, 0], [1, 1], [0, 0]]]}, "polygon.coordinates[0][1]"),
        ({"type": "Polygon", "coordinates": [SQUARE, [[5, 5], [6, 5], [6, 6], [5, 5]]]}, "polygon.coordinates"),
        ({"type": "Polygon", "coordinates": [ALL_ROUND]}, "polygon.coordinates"),
        ({"type": "Polygon", "coordinates": [MANY]}, "polygon.coordinates"),
        ({"type": "MultiPolygon", "coordinates": [[SQUARE]] * 201}, "polygon.coordinates"),
        ({"type": "MultiPolygon", "coordinates": []}, "polygon.coordinates"),
        ({"type": "MultiPolygon", "coordinates": [[]]}, "polygon.coordinates[0]"),
        ({"type": "MultiPolygon", "coordinates": [SQUARE]}, "polygon.coordinates[0][0][0]"),
        ({"type": "MultiPolygon", "coordinates": [[SQUARE], None]}, "polygon.coordinates[1]"),
        ([SQUARE], "polygon"),
        ("POLYGON((0 0, 1 0, 1 1, 0 0))", "polygon"),
    ],
)
@pytest.mark.parametrize("datum", ["WGS84", "BD09"])
async def test_a_polygon_that_is_none_is_refused(api, polygon, field, datum):
    document = (
        "query($polygon: GeoJSON, $datum: Datum!) {stationsInArea(polygon: $polygon, datum: $datum) {totalCount}}"
    )
    error = await refused(api, document, {"polygon": polygon, "datum": datum})
    assert error["extensions"]["field"] == field
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


ZIGZAG = [[number / 10_000, number % 2 / 10_000] for number in range(2_001)]


@pytest.mark.parametrize(
    ("route", "field"),
    [
        ({}, "route.type"),
        ({"type": "MultiLineString", "coordinates": [[[0, 0], [1, 1]]]}, "route.type"),
        ({"type": "Polygon", "coordinates": [SQUARE]}, "route.type"),
        ({"type": ["LineString"], "coordinates": [[0, 0], [1, 1]]}, "route.type"),
        ({"type": "LineString", "coordinates": [[0, 0], [1, 1]], "properties": {}}, "route"),
        ({"type": "LineString"}, "route.coordinates"),
        ({"type": "LineString", "coordinates": None}, "route.coordinates"),
        ({"type": "LineString", "coordinates": {"0": [0, 0]}}, "route.coordinates"),
        ({"type": "LineString", "coordinates": []}, "route.coordinates"),
        ({"type": "LineString", "coordinates": [[0, 0]]}, "route.coordinates"),
        ({"type": "LineString", "coordinates": ZIGZAG}, "route.coordinates"),
        ({"type": "LineString", "coordinates": [[0, 0], [18, 0]]}, "route.coordinates"),
        ({"type": "LineString", "coordinates": [[0, 0], [180, 0]]}, "route.coordinates"),
        ({"type": "LineString", "coordinates": [[0, 0], [0, 1]] * 1_000}, "route.coordinates"),
        ({"type": "LineString", "coordinates": [[0, 0], 1]}, "route.coordinates[1]"),
        ({"type": "LineString", "coordinates": [[0, 0], [1]]}, "route.coordinates[1]"),
        ({"type": "LineString", "coordinates": [[0, "0"], [1, 1]]}, "route.coordinates[0]"),
        ({"type": "LineString", "coordinates": [[0, 0], [1, None]]}, "route.coordinates[1]"),
        ({"type": "LineString", "coordinates": [[0, 0], [10**400, 0]]}, "route.coordinates[1]"),
        ({"type": "LineString", "coordinates": [[0, 0], [181, 0]]}, "route.coordinates[1].lon"),
        ({"type": "LineString", "coordinates": [[0, -91], [1, 0]]}, "route.coordinates[0].lat"),
        ([[0, 0], [1, 1]], "route"),
        ("LINESTRING(0 0, 1 1)", "route"),
    ],
)
@pytest.mark.parametrize("datum", ["WGS84", "BD09"])
async def test_a_route_that_is_none_is_refused(api, route, field, datum):
    document = """
    query($route: GeoJSON!, $datum: Datum!) {
      stationsAlongRoute(route: $route, corridorM: 100, datum: $datum) { totalCount }
    }
    """
    error = await refused(api, document, {"route": route, "datum": datum})
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "field": field}


@pytest.mark.parametrize(
    ("box", "zoom", "field", "message"),
    [
        ((1, 1, 2, 2), -1, "zoom", "between 0 and 20"),
        ((1, 1, 2, 2), 21, "zoom", "between 0 and 20"),
        ((1, 1, 2, 2), 2**31 - 1, "zoom", "between 0 and 20"),
        ((-180, -90, 180, 90), 7, "zoom", "16384 tiles, more than 4096; ask for zoom 6"),
        ((-180, -90, 180, 90), 20, "zoom", "ask for zoom 6"),
        ((100, 0, 99.999, 1), 20, "zoom", "ask for zoom 10"),
        ((1, 2, 2, 1), 5, "box.south", "north"),
        ((1, 1, 181, 2), 5, "box.lon", "between"),
    ],
)
async def test_clusters_that_cannot_be_counted_are_refused(api, box, zoom, field, message):
    document = "query($box: BoundingBoxInput!, $zoom: Int!) { stationClusters(box: $box, zoom: $zoom) { count } }"
    bounds = dict(zip(("west", "south", "east", "north"), box, strict=True))
    error = await refused(api, document, {"box": bounds, "zoom": zoom})
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "field": field}
    assert message in error["message"]


async def test_clusters_cost_as_much_as_a_large_page(api):
    one = "stationClusters(box: {west: 1, south: 1, east: 2, north: 2}, zoom: 5) { count }"
    assert await api.data(f"{{ a: {one} b: {one} }}")
    error = await refused(api, f"{{ a: {one} b: {one} c: {one} }}")
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "field": "zoom"}


async def test_too_long_a_route_is_told_what_to_ask_instead(api):
    document = "query($route: GeoJSON!) { stationsAlongRoute(route: $route, corridorM: 100) { totalCount } }"
    for coordinates, advice in ((ZIGZAG, "simplify the line"), ([[0, 0], [18, 0]], "ask for a part of the route")):
        error = await refused(api, document, {"route": {"type": "LineString", "coordinates": coordinates}})
        assert advice in error["message"]
        assert re.search(r"2000\b", error["message"]), error


@pytest.mark.parametrize("width", ["0", "-0.0", "-1", "20000.001", "1e9", "1e999", "-1e999"])
async def test_a_corridor_that_is_none_is_refused(api, width):
    line = "{type: LineString, coordinates: [[0, 0], [1, 1]]}"
    error = await refused(api, f"{{ stationsAlongRoute(route: {line}, corridorM: {width}) {{ totalCount }} }}")
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "field": "corridorM"}


@pytest.mark.parametrize(
    ("first", "code"),
    [
        ("0", "BAD_USER_INPUT"),
        ("-1", "BAD_USER_INPUT"),
        ("2147483648", "GRAPHQL_VALIDATION_FAILED"),
        ('"9"', "GRAPHQL_VALIDATION_FAILED"),
    ],
)
@pytest.mark.parametrize(
    "field",
    [
        "nearbyStations(near: {lon: 1, lat: 1}, radiusM: 5, ",
        "stationsInArea(box: {west: 1, south: 1, east: 2, north: 2}, ",
        "stationsAlongRoute(corridorM: 5, route: {type: LineString, coordinates: [[1, 1], [2, 2]]}, ",
        "reservations(",
    ],
)
async def test_a_size_that_no_page_has_is_refused(api, field, first, code):
    error = await refused(api, f"{{ {field}first: {first}) {{ pageInfo {{ endCursor }} }} }}")
    assert error["extensions"] == {"code": code, "field": "first"}


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ("query($v: Int) { reservations(first: $v) { edges { cursor } } }", "first"),
        (
            "query($v: Datum = WGS84) { nearbyStations(near: {lon: 1, lat: 1}, radiusM: 5, datum: $v) { totalCount } }",
            "datum",
        ),
        ("query($v: Boolean = true) { reservations(liveOnly: $v) { edges { cursor } } }", "liveOnly"),
    ],
)
async def test_null_is_no_value_where_an_argument_has_a_default(api, document, field):
    error = await refused(api, document, {"v": None})
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "field": field}
    assert error["path"]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ("{ nearbyStations(radiusM: 5) { totalCount } }", "near"),
        ("{ nearbyStations(near: {lon: 1}, radiusM: 5) { totalCount } }", "near"),
        ("{ nearbyStations(near: {lon: 1, lat: 1}, radiusM: 5, radius: 5) { totalCount } }", "radius"),
        ("{ nearbyStations(near: null, radiusM: 5) { totalCount } }", "near"),
        ("query($r: Int!) { nearbyStations(near: {lon: 1, lat: 1}, radiusM: 5, after: $r) { totalCount } }", "r"),
        ('{ station(id: ["a", "b"]) { id } }', "id"),
        ("{ station(id: null) { id } }", "id"),
        ("{ stations(ids: [null]) { id } }", "ids"),
        ('{ stationsInArea(polygon: "all") { totalCount } }', "polygon"),
        ("mutation { reserveEvse(input: {evseId: 1, holdS: 60}) { replayed } }", "input"),
        ('mutation { reserveEvse(input: {evseId: 1, holdS: 1.5, idempotencyKey: "k"}) { replayed } }', "input.holdS"),
    ],
)
async def test_a_document_that_does_not_fit_the_schema_says_where(api, document, field):
    error = await refused(api, document, {"r": 1})
    assert error["extensions"] == {"code": "GRAPHQL_VALIDATION_FAILED", "field": field}


@pytest.mark.parametrize(
    ("variables", "field"),
    [
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": {"evseId": "x", "holdS": "60", "idempotencyKey": "k"}}, "input.holdS"),
        ({"input": {"evseId": "x", "holdS": 2**31, "idempotencyKey": "k"}}, "input.holdS"),
        ({"input": {"evseId": {}, "holdS": 60, "idempotencyKey": "k"}}, "input.evseId"),
        ({"input": {"evseId": "x", "holdS": 60, "idempotencyKey": None}}, "input.idempotencyKey"),
        ({"input": {"evseId": "x", "holdS": 60}}, "input"),
        ({"input": {"evseId": "x", "holdS": 60, "idempotencyKey": "k", "force": True}}, "input"),
    ],
)
async def test_variables_of_a_wrong_type_are_named(api, variables, field):
    document = "mutation($input: ReserveEvseInput!) { reserveEvse(input: $input) { replayed } }"
    error = await refused(api, document, variables)
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "field": field}


# ------------------------------------------------------------------------------------------------------- cursors, ids


def cursor(text: bytes) -> str:
    return urlsafe_b64encode(text).decode().rstrip("=")


@pytest.mark.parametrize(
    "after",
    [
        "",
        "garbage",
        "充电",
        "%%%",
        "a" * 1_001,
        "a" * 100_000,
        cursor(b"{}"),
        cursor(b"null"),
        cursor(b"[]"),
        cursor(b'[1,"x",0.0]'),
        cursor(b'[1,"x",0.0,"a","b"]'),
        cursor(b'[2,"x",0.0,"a"]'),
        cursor(b'[1,"x","0","a"]'),
        cursor(b'[1,"x",NaN,"a"]'),
        cursor(b'[1,"x",1e999,"a"]'),
        cursor(b'[1,"\xff",0,"a"]'),
        cursor(b'[1,"\\ud800",0,"a"]'),
        cursor(b'[1,"x",0.0,"' + b"a" * 201 + b'"]'),
        cursor(b"[" * 700),
        cursor(b'[1,"x",0.0,"a",' + b"[" * 700),
        cursor(b"1" * 700),
    ],
)
@pytest.mark.parametrize("field", ["nearbyStations(near: {lon: 1, lat: 1}, radiusM: 5, ", "reservations("])
async def test_a_made_up_cursor_is_refused(api, field, after):
    document = f"query($after: String) {{ {field}after: $after) {{ pageInfo {{ endCursor }} }} }}"
    error = await refused(api, document, {"after": after})
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "field": "after"}
    assert "given out here" in error["message"]


SEARCHES = (
    "nearbyStations(first: 1, near: {lon: 121.47, lat: 31.23}, radiusM: 5000",
    "nearbyStations(first: 1, near: {lon: 121.47, lat: 31.23}, radiusM: 5001",
    "nearbyStations(first: 1, near: {lon: 121.48, lat: 31.23}, radiusM: 5000",
    "nearbyStations(first: 1, near: {lon: 121.47, lat: 31.23}, radiusM: 5000, datum: GCJ02",
    "nearbyStations(first: 1, near: {lon: 121.47, lat: 31.23}, radiusM: 5000, filter: {availableNow: true}",
    "nearbyStations(first: 1, near: {lon: 121.47, lat: 31.23}, radiusM: 5000, filter: {connectorTypes: [GBT_DC]}",
    "nearbyStations(first: 1, near: {lon: 121.47, lat: 31.23}, radiusM: 5000, filter: {connectorTypes: [GBT_DC, NACS]}",
    "stationsInArea(first: 1, box: {west: 121, south: 31, east: 122, north: 32}",
    "stationsInArea(first: 1, polygon: {type: Polygon, coordinates: [[[121,31],[122,31],[122,32],[121,32],[121,31]]]}",
    "stationsAlongRoute(first: 1, corridorM: 3000, route: {type: LineString, coordinates: [[121,31.23],[122,31.23]]}",
    "stationsAlongRoute(first: 1, corridorM: 3001, route: {type: LineString, coordinates: [[121,31.23],[122,31.23]]}",
    "stationsAlongRoute(first: 1, corridorM: 3000, route: {type: LineString, coordinates: [[122,31.23],[121,31.23]]}",
    "reservations(first: 1",
    "reservations(first: 1, liveOnly: true",
)


async def test_a_cursor_belongs_to_its_search(api):
    ends = []
    for search in SEARCHES:
        data = await api.data(f"{{ page: {search}) {{ pageInfo {{ endCursor }} }} }}")
        ends.append(data["page"]["pageInfo"]["endCursor"])
    assert None not in ends
    for number, search in enumerate(SEARCHES):
        for other, end in enumerate(ends):
            document = f'{{ {search}, after: "{end}") {{ pageInfo {{ endCursor }} }} }}'
            if number == other:
                await api.data(document)
            else:
                error = await refused(api, document)
                assert error["extensions"] == {"code": "BAD_USER_INPUT", "field": "after"}
                assert "another search" in error["message"]


async def test_a_cursor_of_anothers_reservations_is_refused(api):
    mine = await api.data("{ reservations { pageInfo { endCursor } } }")
    response = await api.post(
        key=await api.key("other"),
        json={
            "query": "query($after: String) { reservations(after: $after) { pageInfo { endCursor } } }",
            "variables": {"after": mine["reservations"]["pageInfo"]["endCursor"]},
        },
    )
    assert checked(response)[0]["extensions"]["field"] == "after"


@pytest.mark.parametrize("count", [101, 10_000])
async def test_too_many_ids_are_refused(api, count):
    ids = [f"live:{number}" for number in range(count)]
    error = await refused(api, "query($ids: [ID!]!) { stations(ids: $ids) { id } }", {"ids": ids})
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "field": "ids"}
    assert f"{count} ids are more than 100" in error["message"]
    keys = [{"__typename": "Station", "id": f"live:{number}"} for number in range(min(count + 400, 5_000))]
    error = await refused(api, "query($k: [_Any!]!) { _entities(representations: $k) { __typename } }", {"k": keys})
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "field": "representations"}


async def test_many_fields_ask_for_no_more_than_one(api):
    page = "nearbyStations(near: {lon: 1, lat: 1}, radiusM: 5, first: 100) { totalCount }"
    assert await api.data(f"{{ a: {page} b: {page} }}")
    error = await refused(api, f"{{ a: {page} b: {page} c: {page} }}")
    assert error["extensions"]["field"] == "first"


@pytest.mark.parametrize(
    "id_", ["", " ", "a", "::", "a:b:c:d", "x" * 100_000, "\0", "😀", "'; DROP TABLE station; --", "%", "*"]
)
async def test_odd_ids_are_unknown_ids(api, id_):
    document = """
    query($id: ID!) {
      station(id: $id) { id } evse(id: $id) { id } reservation(id: $id) { id } stations(ids: [$id]) { id }
    }
    """
    assert await api.data(document, {"id": id_}) == {
        "station": None,
        "evse": None,
        "reservation": None,
        "stations": [None],
    }
    payload = await api.hold(id_)
    assert [error["code"] for error in payload["userErrors"]] == ["UNKNOWN_EVSE"]


@pytest.mark.parametrize(
    "representation",
    [
        5,
        "Station",
        [],
        {},
        True,
        {"evil": 1},
        {"cls": "x"},
        {"__typename": "Nope", "id": "1"},
        {"__typename": "Station", "self": 1, "info": 2},
        {"__typename": "Connector", "id": "1"},
        {"__typename": "Query"},
        {"__typename": ["Station"], "id": "1"},
        {"__typename": "Station"},
        {"__typename": "Station", "id": None},
        {"__typename": "Station", "id": ""},
        {"__typename": "Station", "id": True},
        {"__typename": "Station", "id": 1.5},
        {"__typename": "Station", "id": {"a": 1}},
        {"__typename": "Station", "id": "x" * 201},
    ],
)
async def test_a_bad_representation_harms_no_other(api, representation):
    good = {"__typename": "Evse", "id": evse_id(1), "cls": "of no interest"}
    response = await api.post(
        json={
            "query": "query($k: [_Any!]!) { _entities(representations: $k) { ...on Evse { id } } }",
            "variables": {"k": [good, representation, good]},
        }
    )
    (error,) = checked(response)
    assert response.json()["data"]["_entities"] == [{"id": evse_id(1)}, None, {"id": evse_id(1)}]
    assert error["path"] == ["_entities", 1]
    assert error["extensions"]["field"].startswith("representations[1]")


# ------------------------------------------------------------------------------------------------------- documents


def bomb(fragments: int) -> str:
    spreads = " ".join(
        f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} a{n}: operators {{ id }} }}" for n in range(fragments)
    )
    return f"{{ ...F0 }} {spreads} fragment F{fragments} on Query {{ operators {{ id }} }}"


DOCUMENTS = {
    "nothing": ("", "GRAPHQL_PARSE_FAILED"),
    "white space": (" \n\t", "GRAPHQL_PARSE_FAILED"),
    "words": ("find me a charger", "GRAPHQL_PARSE_FAILED"),
    "sql": ("SELECT * FROM station", "GRAPHQL_PARSE_FAILED"),
    "a brace": ("{", "GRAPHQL_PARSE_FAILED"),
    "an open text": ('{ station(id: "', "GRAPHQL_PARSE_FAILED"),
    "a lone surrogate": ('{ station(id: "\\ud800") { id } }', "GRAPHQL_PARSE_FAILED"),
    "control characters": ("{ operators \x01 { id } }", "GRAPHQL_PARSE_FAILED"),
    "too long": ("{ operators { id } } #" + "x" * 40_000, "GRAPHQL_PARSE_FAILED"),
    "too many words": ("{ operators { " + "id " * 3_000 + "} }", "GRAPHQL_PARSE_FAILED"),
    "too many comments": ("#\n" * 1_000 + "{ operators { id } }", "GRAPHQL_PARSE_FAILED"),
    "deep selections": ("{ a " * 600 + "}" * 600, "GRAPHQL_PARSE_FAILED"),
    "deep lists": ("{ stations(ids: " + "[" * 900 + "]" * 900 + ") { id } }", "GRAPHQL_PARSE_FAILED"),
    "deep objects": (
        "{ stationsInArea(polygon: " + "{a: " * 500 + "1" + "}" * 500 + ") { id } }",
        "GRAPHQL_PARSE_FAILED",
    ),
    "deep types": ("query($v: " + "[" * 900 + "Int" + "]" * 900 + ") { operators { id } }", "GRAPHQL_PARSE_FAILED"),
    "somewhat deep": ("{ a " * 20 + "}" * 20, "GRAPHQL_VALIDATION_FAILED"),
    "deep through fragments": (
        (
            "{ ...A } fragment A on Query { reservations { edges { node { station { evses { ...B } } } } } }"
            " fragment B on Evse { connectors { a { b { c { d { e { f { g } } } } } } } }"
        ),
        "GRAPHQL_VALIDATION_FAILED",
    ),
    "wide": ("{ " + " ".join(f"a{n}: operators {{ id }}" for n in range(11)) + " }", "GRAPHQL_VALIDATION_FAILED"),
    "many aliases": (
        "{ operators { " + " ".join(f"a{n}: id" for n in range(31)) + " } }",
        "GRAPHQL_VALIDATION_FAILED",
    ),
    "the same field often": ("{ operators { " + "id " * 100 + "} }", "GRAPHQL_VALIDATION_FAILED"),
    "many directives": ("{ operators { id " + "@skip(if: false) " * 60 + "} }", "GRAPHQL_VALIDATION_FAILED"),
    "a bomb": (bomb(25), "GRAPHQL_VALIDATION_FAILED"),
    "a big bomb": (bomb(120), "GRAPHQL_VALIDATION_FAILED"),
    "fragments in a ring": (
        "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }",
        "GRAPHQL_VALIDATION_FAILED",
    ),
    "a fragment in itself": (
        "{ operators { ...A } } fragment A on Operator { id ...A }",
        "GRAPHQL_VALIDATION_FAILED",
    ),
    "a ring below fields": (
        (
            "{ ...A } fragment A on Query { reservations { edges { node { station { ...B } } } } }"
            " fragment B on Station { evses { ...C } } fragment C on Evse { connectors { ...B } }"
        ),
        "GRAPHQL_VALIDATION_FAILED",
    ),
    "an unknown fragment": ("{ ...Nowhere }", "GRAPHQL_VALIDATION_FAILED"),
    "an unused fragment": ("{ operators { id } } fragment A on Operator { id }", "GRAPHQL_VALIDATION_FAILED"),
    "only a fragment": ("fragment A on Operator { id }", "GRAPHQL_VALIDATION_FAILED"),
    "an unknown field": ("{ chargers { id } }", "GRAPHQL_VALIDATION_FAILED"),
    "no selection": ("{ operators }", "GRAPHQL_VALIDATION_FAILED"),
    "a selection of a text": ("{ operators { id { value } } }", "GRAPHQL_VALIDATION_FAILED"),
    "fields that clash": ("{ operators { a: id a: name } }", "GRAPHQL_VALIDATION_FAILED"),
    "an unknown directive": ("{ operators @defer { id } }", "GRAPHQL_VALIDATION_FAILED"),
    "a subscription": ("subscription { stations { id } }", "GRAPHQL_VALIDATION_FAILED"),
    "a type": ("type Station { id: ID }", "GRAPHQL_VALIDATION_FAILED"),
    "an undefined variable": ("{ station(id: $id) { id } }", "GRAPHQL_VALIDATION_FAILED"),
    "an unused variable": ("query($id: ID) { operators { id } }", "GRAPHQL_VALIDATION_FAILED"),
    "a variable twice": ("query($a: ID!, $a: ID!) { station(id: $a) { id } }", "GRAPHQL_VALIDATION_FAILED"),
    "a variable of no input type": ("query($a: Station) { station(id: $a) { id } }", "GRAPHQL_VALIDATION_FAILED"),
    "operations of one name": ("query A { operators { id } } query A { feeds { id } }", "GRAPHQL_VALIDATION_FAILED"),
    "two without a name": ("{ operators { id } } { feeds { id } }", "GRAPHQL_VALIDATION_FAILED"),
    "introspection in circles": (INTROSPECTION_OF_FIELDS, "GRAPHQL_VALIDATION_FAILED"),
}


@pytest.mark.parametrize(("document", "code"), DOCUMENTS.values(), ids=DOCUMENTS)
async def test_a_document_that_cannot_be_answered_is_refused(api, document, code):
    error = await refused(api, document)
    assert error["extensions"]["code"] == code
    assert await still_answers(api)


# ------------------------------------------------------------------------------------------------------- bodies


QUERY = b'{"query": "{ operators { id } }"'
BODIES = {
    "empty": b"",
    "a byte order mark": b"\xef\xbb\xbf" + QUERY + b"}",
    "cut off": QUERY,
    "more behind it": QUERY + b"} {}",
    "a comma too many": QUERY + b",}",
    "single quotes": b"{'query': '{ operators { id } }'}",
    "an array": b"[" + QUERY + b"}]",
    "a text": b'"{ operators { id } }"',
    "a number": b"42",
    "null": b"null",
    "true": b"true",
    "no query": b"{}",
    "query null": b'{"query": null}',
    "query a number": b'{"query": 5}',
    "query a list": b'{"query": ["{ operators { id } }"]}',
    "query an object": b'{"query": {}}',
    "variables a list": QUERY + b', "variables": []}',
    "variables a text": QUERY + b', "variables": "{}"}',
    "variables a number": QUERY + b', "variables": 1}',
    "operationName a number": QUERY + b', "operationName": 1}',
    "extensions a text": QUERY + b', "extensions": "x"}',
    "no UTF-8": b'{"query": "{ \xff }"}',
    "no UTF-8 in variables": QUERY + b', "variables": {"a": "\xc3"}}',
    "UTF-16": '{"query": "{ operators { id } }"}'.encode("utf-16"),
    "a lone surrogate": b'{"query": "{ \\ud800 }"}',
    "a lone surrogate in variables": QUERY + b', "variables": {"a": "\\udfff"}}',
    "a raw control character": b'{"query": "{ operators\x00 { id } }"}',
    "NaN": QUERY + b', "variables": {"a": NaN}}',
    "1e999": QUERY + b', "variables": {"a": 1e999}}',
    "a number of 5000 digits": QUERY + b', "variables": {"a": ' + b"1" * 5_000 + b"}}",
    "deep variables": QUERY + b', "variables": {"a": ' + b"[" * 100 + b"]" * 100 + b"}}",
    "very deep variables": QUERY + b', "variables": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    "very deep objects": QUERY + b', "variables": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"}",
    "deep and not closed": b"[" * 200_000,
    "deep elsewhere": b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a form": b"query=%7B+operators+%7B+id+%7D+%7D",
    "xml": b"<query>{ operators { id } }</query>",
    "bytes": bytes(range(256)),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_body_that_is_no_request_is_a_400(api, body):
    response = await api.post(content=body, headers=JSON)
    assert response.status_code == 400, response.text
    checked(response)
    assert await still_answers(api)


async def test_members_that_nobody_knows_are_ignored(api):
    response = await api.post(json={"query": "{ operators { id } }", "query2": 1, "extensions": {"a": [1]}, "id": None})
    assert response.status_code == 200
    assert "errors" not in response.json()


async def test_a_body_that_is_too_large_is_a_413(api):
    response = await api.post(content=b'{"query": "' + b"x" * 262_144 + b'"}', headers=JSON)
    assert response.status_code == 413
    assert "262144 bytes" in checked(response)[0]["message"]


@pytest.mark.parametrize("path", ["/graphql", "/evcs/v1/query_token"])
async def test_a_body_that_does_not_come_is_a_408(api, path, monkeypatch):
    monkeypatch.setattr("app.web.http.BODY_DEADLINE_S", 0.01)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.001)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"x-api-key", (await api.key()).encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    await api.app(scope | {"headers": headers, "root_path": "", "http_version": "1.1", "state": {}}, receive, send)
    assert sent[0]["status"] == 408


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "application/jsonx",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        "text/plain, application/json",
        ";",
    ],
)
async def test_only_json_is_taken(api, content_type):
    headers = {} if content_type is None else {"content-type": content_type}
    response = await api.post(content=QUERY + b"}", headers=headers)
    assert response.status_code == 415
    assert "application/json" in checked(response)[0]["message"]


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON", 'application/json; charset="UTF-8"', "application/json;x=1"],
)
async def test_json_is_known_however_it_is_written(api, content_type):
    response = await api.post(content=QUERY + b"}", headers={"content-type": content_type})
    assert response.status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
async def test_a_compressed_body_is_refused_unread(api, encoding):
    response = await api.post(content=b"\x1f\x8b", headers={**JSON, "content-encoding": encoding})
    assert response.status_code == 415
    assert "Content-Encoding" in checked(response)[0]["message"]


@pytest.mark.parametrize(
    ("accept", "status", "media_type"),
    [
        (None, 200, "application/json"),
        ("*/*", 200, "application/json"),
        ("application/json", 200, "application/json"),
        ("application/graphql-response+json", 400, "application/graphql-response+json"),
        ("application/graphql-response+json, application/json;q=0.9", 400, "application/graphql-response+json"),
        ("application/graphql-response+json;q=0.1, application/json", 200, "application/json"),
        ("text/html, */*;q=0.1", 200, "application/json"),
        ("text/html", 406, "application/json"),
        ("application/json;q=0", 406, "application/json"),
        ("application/json; charset=utf-16", 406, "application/json"),
        ("nonsense;q=lots", 406, "application/json"),
    ],
)
async def test_what_is_refused_is_said_as_the_client_understands_it(api, accept, status, media_type):
    headers = {} if accept is None else {"accept": accept}
    response = await api.post(json={"query": "{ nothing }"}, headers=headers)
    assert response.status_code == status
    assert response.headers["content-type"] == f"{media_type}; charset=utf-8"
    checked(response)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "BREW"])
async def test_other_methods_are_a_405(api, method):
    response = await api.client.request(method, "/graphql", headers={"x-api-key": await api.key()})
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, POST"


@pytest.mark.parametrize("name", [None, "", "M"])
async def test_a_mutation_by_get_changes_nothing(api, name):
    document = (
        'mutation M { reserveEvse(input: {evseId: "live:395815801:000001-1", holdS: 60, idempotencyKey: "by get"}) '
        "{ replayed } }"
    )
    parameters = {"query": document} if name is None else {"query": document, "operationName": name}
    before = await api.hub.services.booking.load()
    headers = {"x-api-key": await api.key(), **PREFLIGHT}
    response = await api.client.get("/graphql", params=parameters, headers=headers)
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert "POST" in checked(response)[0]["message"]
    assert await api.hub.services.booking.load() == before


@pytest.mark.parametrize(
    "query_string",
    [
        "",
        "query",
        "nothing=1",
        "query=%7Boperators%7Bid%7D%7D&query=%7Bfeeds%7Bid%7D%7D",
        "query=%ff",
        "query=%7Boperators%7Bid%7D%7D&variables=x",
        "query=%7Boperators%7Bid%7D%7D&variables=[]",
        "query=%7Boperators%7Bid%7D%7D&variables=%7B%22a%22:NaN%7D",
        "query=%7Boperators%7Bid%7D%7D&variables=%7B%22a%22:" + "[" * 5_000 + "]" * 5_000 + "%7D",
        "query=%7Boperators%7Bid%7D%7D&variables=%7B%22a%22:" + "[" * 99 + "]" * 99 + "%7D",
        "query=%7Boperators%7Bid%7D%7D&extensions=5",
        "&".join(f"a{number}=1" for number in range(30)),
        "query=%ED%A0%80",
    ],
)
async def test_a_query_string_that_is_no_request_is_a_400(api, query_string):
    headers = {"x-api-key": await api.key(), **PREFLIGHT}
    response = await api.client.get(f"/graphql?{query_string}", headers=headers)
    assert response.status_code == 400, response.text
    assert "Preflight" not in checked(response)[0]["message"]


@pytest.mark.parametrize(
    "path", ["/", "/graphql/", "/nothing", "/docs", "/openapi.json", "/graphql/ide/../../../x", "/evcs/v1"]
)
async def test_there_is_nothing_at_other_addresses(api, path):
    key = await api.key()
    for method in ("GET", "POST"):
        response = await api.client.request(method, path, headers={"x-api-key": key})
        assert response.status_code in {404, 405}
        assert "Traceback" not in response.text


# ------------------------------------------------------------------------------------------------------- sockets


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address(api):
    async with listening(api.hub) as url:
        yield httpx.URL(url)


async def exchange(address: httpx.URL, request: bytes, *, finish: bool = True) -> bytes:
    """Send bytes and return what comes back until the server closes, or a second is over."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(request)
        if finish:
            writer.write_eof()
        answer = b""
        try:
            async with asyncio.timeout(1):
                while chunk := await reader.read(65_536):
                    answer += chunk
        except TimeoutError:
            pass
        return answer
    finally:
        writer.close()
        await writer.wait_closed()


def head(key: str, *lines: str) -> bytes:
    return "\r\n".join(
        ("POST /graphql HTTP/1.1", "Host: hub", f"X-API-Key: {key}", "Content-Type: application/json", *lines, "", "")
    ).encode()


async def test_a_body_that_says_it_is_too_large_is_not_waited_for(api, address):
    answer = await exchange(address, head(await api.key(), "Content-Length: 10000000000") + b"{", finish=False)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert await still_answers(api)


async def test_a_body_that_grows_too_large_is_cut_off(api, address):
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    answer = await exchange(address, head(await api.key(), "Transfer-Encoding: chunked") + chunk * 8, finish=False)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert await still_answers(api)


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"GET /graphql?query=", b"x" * 10_000),
        (b"GET /graphql HTTP/1.1\r\nHost: hub\r\nX-Long: ", b"x" * 10_000),
        (b"GET /graphql HTTP/1.1\r\nHost: hub\r\nX-Long", b"x" * 10_000),
        (b"GET /graphql HTTP/1.1\r\nHost: hub\r\n", b"x: y\r\n" * 1_000),
        (
            b"POST /graphql HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n",
            b"x: y\r\n" * 1_000,
        ),
    ],
)
async def test_a_head_without_end_is_cut_off(address, first, again):
    """Nobody may fill the memory before he has shown a key."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(first)
    answer = b""
    for _ in range(1_000):
        writer.write(again)
        try:
            await writer.drain()
            async with asyncio.timeout(0.001):
                answer += await reader.read(65_536)
        except TimeoutError:
            continue
        except ConnectionError:
            break
        if reader.at_eof():
            break
    else:
        pytest.fail("10 MB of a head were taken")
    assert answer.startswith(b"HTTP/1.1 4")
    writer.close()


async def test_a_head_of_a_usual_size_is_read(address, api):
    async with httpx.AsyncClient() as client:
        headers = {"x-api-key": await api.key(), "cookie": "x" * 30_000}
        body = json.dumps({"query": "{ operators { id } }", "extensions": {"x": "y" * 200_000}})
        for _ in range(2):
            response = await client.post(f"{address}/graphql", content=body, headers=JSON | headers)
            assert response.status_code == 200
        response = await client.post(f"{address}/graphql", content=body, headers=JSON | headers | {"a": "x" * 40_000})
        assert response.status_code == 400


@pytest.mark.parametrize(
    "request_",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /graphql HTTP/1.1\r\nHost: hub\r\nContent-Length: -1\r\n\r\n",
        b"POST /graphql HTTP/1.1\r\nHost: hub\r\nContent-Length: \xb2\r\n\r\n",
        b"POST /graphql HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /graphql?query=%7B HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer \xff\xfe\r\n\r\n",
        b"POST /evcs/v1/query_token HTTP/1.1\r\nHost: hub\r\nContent-Length: 5\r\n\r\n{",
        b"POST /graphql HTTP/1.1\r\nHost: hub\r\nContent-Length: 99\r\nContent-Type: application/json\r\n\r\n{",
    ],
)
async def test_what_is_no_http_or_breaks_off_harms_nobody(api, address, request_):
    answer = await exchange(address, request_)
    assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer
    assert b"Traceback" not in answer
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{address}/livez")).status_code == 200


# ------------------------------------------------------------------------------------------------------- at random

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.sampled_from(
        ["GBT_DC", "Polygon", "Station", "Evse", "live:395815801:000001", "live:395815801:000001-1", "BD09"]
    ),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(
                ["id", "__typename", "type", "coordinates", "lon", "lat", "west", "evseId", "holdS", "input"]
            )
            | st.text("abc", max_size=3),
            inner,
            max_size=5,
        )
    ),
    max_leaves=10,
)
WORD = re.compile(r'"[^"]*"|\.\.\.|[A-Za-z_]\w*|-?\d+(?:\.\d+)?|[^\s\w]')
A_REQUEST = st.integers(0, 2**32)


async def throw(api: Api, body: bytes) -> None:
    response = await api.post(content=body, headers=JSON)
    assert response.status_code < 500, (body, response.text)
    assert "INTERNAL" not in response.text, (body, response.text)


@settings(max_examples=400)
@given(data=st.data())
async def test_random_changes_of_good_documents(api, data):
    name = data.draw(st.sampled_from(NAMES))
    document, variables = read_golden(api, name)
    words = WORD.findall(document)
    others = st.sampled_from(WORD.findall(read_golden(api, data.draw(st.sampled_from(NAMES)))[0]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(words) - 1))
        match data.draw(st.sampled_from(["replace", "remove", "insert", "repeat"])):
            case "replace":
                words[at] = data.draw(others)
            case "remove" if len(words) > 1:
                del words[at]
            case "insert":
                words.insert(at, data.draw(others))
            case _:
                words.insert(at, words[at])
    await throw(api, json.dumps({"query": " ".join(words), "variables": variables}).encode())


def changed(draw: Any, value: Any) -> Any:
    """Return a copy in which some parts are something else, or gone."""
    if draw(st.integers(0, 6)) == 0:
        return draw(JSON_VALUES)
    if isinstance(value, dict):
        return {key: changed(draw, inner) for key, inner in value.items() if draw(st.integers(0, 15))}
    if isinstance(value, list):
        return [changed(draw, inner) for inner in value]
    return value


@settings(max_examples=400)
@given(data=st.data())
async def test_random_changes_of_good_variables(api, data):
    document, variables = read_golden(api, data.draw(st.sampled_from(NAMES)))
    await throw(api, json.dumps({"query": document, "variables": changed(data.draw, variables)}).encode())


@settings(max_examples=400)
@given(data=st.data())
async def test_random_damage_to_good_bodies(api, data):
    document, variables = read_golden(api, data.draw(st.sampled_from(NAMES)))
    body = bytearray(json.dumps({"query": document, "variables": variables}).encode())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    await throw(api, bytes(body))


@settings(max_examples=400)
@given(
    body=st.binary(max_size=200) | JSON_VALUES.map(lambda value: json.dumps(value).encode()) | st.text().map(str.encode)
)
async def test_random_bodies(api, body):
    await throw(api, body)


@settings(max_examples=400)
@given(
    method=st.sampled_from(["GET", "POST"]),
    query=st.binary(max_size=60),
    headers=st.dictionaries(
        st.sampled_from(["accept", "content-type", "content-encoding", "content-length", "authorization", "x-api-key"]),
        st.binary(max_size=30),
        max_size=4,
    ),
)
async def test_random_heads(api, method, query, headers):
    """As an ASGI server hands them over: headers are bytes of any kind."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": QUERY + b"}", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    given_headers = [(name.encode(), value) for name, value in headers.items()]
    if "authorization" not in headers and "x-api-key" not in headers:
        given_headers.append((b"x-api-key", (await api.key()).encode()))
    scope = {
        "type": "http",
        "method": method,
        "path": "/graphql",
        "query_string": query,
        "headers": given_headers,
    }
    await api.app(scope, receive, send)
    assert sent[0]["status"] < 500
    assert b"INTERNAL" not in sent[1]["body"]


async def test_after_all_this_it_still_answers(api):
    assert await still_answers(api)
