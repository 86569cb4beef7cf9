"""What partners ask and what they are answered: golden queries over a small world, and what paging promises.

A query is ``tests/golden/queries/NAME.graphql`` with ``NAME.variables.json`` where it has variables, and its answer
``NAME.json``. A missing answer is written, and the test fails once so that somebody reads it.
"""

import json
import re
from typing import Any

import pytest
from graphql import get_introspection_query

from app.model.availability import Availability
from app.model.datum import Datum, from_wgs84
from app.model.geo import Point
from app.model.search import MAX_PAGE_SIZE
from schema.root import sdl
from tests.builders import build_evse, build_station
from tests.integration.api import GOLDEN, HERE, NAMES, Api, evse_id, furnish, open_api, read_golden, station_id

EAST_OF_HERE = Point(lon=round(HERE.lon + 100 / 95_200, 6), lat=HERE.lat)
_RESERVATION_ID = re.compile(r"rsv_[A-Za-z0-9_-]{24}")

NEARBY = """
query Nearby($after: String, $first: Int = 3, $filter: StationFilterInput) {
  nearbyStations(near: {lon: 121.4737, lat: 31.2304}, radiusM: 50000, first: $first, after: $after, filter: $filter) {
    totalCount
    edges { cursor distanceM node { id } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""
IN_AREA = """
query Area($after: String, $first: Int = 3, $filter: StationFilterInput) {
  stationsInArea(box: {west: 121, south: 31, east: 122, north: 32}, first: $first, after: $after, filter: $filter) {
    totalCount
    edges { cursor distanceM node { id } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""
ALONG = """
query Along($after: String, $first: Int = 3, $filter: StationFilterInput) {
  stationsAlongRoute(
    route: {type: LineString, coordinates: [[121.46, 31.2304], [121.6, 31.2304]]}, corridorM: 500,
    first: $first, after: $after, filter: $filter
  ) {
    totalCount
    edges { cursor distanceM alongM node { id } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""
RESERVATIONS = """
query Mine($after: String, $first: Int = 3, $liveOnly: Boolean = false) {
  reservations(first: $first, after: $after, liveOnly: $liveOnly) {
    edges { cursor node { id } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""


SEARCHES = ((NEARBY, "nearbyStations"), (IN_AREA, "stationsInArea"), (ALONG, "stationsAlongRoute"))


@pytest.fixture
async def api(tmp_path):
    async with open_api(tmp_path) as api:
        yield api


def check_golden(api: Api, name: str, answer: Any) -> None:
    text = json.dumps(answer, ensure_ascii=False, indent=2) + "\n"
    for stand_in, identifier in api.names.items():
        text = text.replace(identifier, stand_in)
    text = _RESERVATION_ID.sub("rsv_new", text)
    path = GOLDEN / f"{name}.json"
    if not path.exists():
        path.write_text(text, encoding="utf-8")
        pytest.fail(f"{path.name} was missing and is written: read it, and run the test again")
    assert json.loads(text) == json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
async def test_each_golden_query_is_answered_as_before(api, name):
    await furnish(api)
    check_golden(api, name, await api.ask(*read_golden(api, name)))


def test_no_answer_or_variables_without_a_query():
    assert {path.name.partition(".")[0] for path in GOLDEN.iterdir()} == set(NAMES)


# ------------------------------------------------------------------------------------------------------- paging


async def walk(api, query, name, variables=None, **more):
    """Return all pages: lists of nodes' ids."""
    pages, after = [], None
    while True:
        data = await api.data(query, {**(variables or {}), "after": after}, **more)
        connection = data[name]
        pages.append([edge["node"]["id"] for edge in connection["edges"]])
        info = connection["pageInfo"]
        assert info["hasPreviousPage"] == (after is not None)
        assert (info["startCursor"], info["endCursor"]) == (
            (connection["edges"][0]["cursor"], connection["edges"][-1]["cursor"]) if pages[-1] else (None, None)
        )
        if not info["hasNextPage"]:
            return pages
        after = info["endCursor"]


def row(*numbers, metres_apart=100.0):
    """Return stations in a row from the middle of the world; each second pair of neighbours stands on one point."""
    for number in numbers:
        lon = round(HERE.lon + (number // 2) * metres_apart / 95_200, 6)
        yield build_station(number, feed="live", location=Point(lon=lon, lat=HERE.lat))


@pytest.mark.parametrize(("query", "name"), SEARCHES)
async def test_pages_follow_each_other_without_gap_or_repetition(api, query, name):
    await api.index(*row(*range(1, 11)))
    assert await walk(api, query, name) == [
        [station_id(1), station_id(2), station_id(3)],
        [station_id(4), station_id(5), station_id(6)],
        [station_id(7), station_id(8), station_id(9)],
        [station_id(10)],
    ]
    assert await walk(api, query, name, {"first": 5}) == [
        [station_id(number) for number in range(1, 6)],
        [station_id(number) for number in range(6, 11)],
    ]
    assert (await api.data(query))[name]["totalCount"] == 10


@pytest.mark.parametrize(("query", "name"), SEARCHES)
async def test_a_cursor_keeps_its_place_while_stations_come_and_go(api, query, name):
    """The station at the cursor vanishes, others do before and after it, new ones stand on both sides."""
    await api.index(*row(2, 4, 5, 6, 8, 9, 10))
    first = (await api.data(query))[name]
    assert [edge["node"]["id"] for edge in first["edges"]] == [station_id(2), station_id(4), station_id(5)]
    replacement = await api.hub.ports.index.open_replacement("live")
    await replacement.add(list(row(1, 3, 4, 6, 7, 9, 10, 11)))
    await replacement.commit(remove_missing=True)
    second = (await api.data(query, {"after": first["pageInfo"]["endCursor"]}))[name]
    assert [edge["node"]["id"] for edge in second["edges"]] == [station_id(6), station_id(7), station_id(9)]
    third = (await api.data(query, {"after": second["pageInfo"]["endCursor"]}))[name]
    assert [edge["node"]["id"] for edge in third["edges"]] == [station_id(10), station_id(11)]
    assert third["totalCount"] == 8
    again = (await api.data(query, {"after": first["pageInfo"]["endCursor"]}))[name]
    assert again == second


async def test_a_cursor_outlives_a_restart(tmp_path):
    wanted = {"connectorTypes": ["GBT_DC", "GBT_AC", "CHADEMO"], "access": ["PUBLIC", "MEMBERS"]}
    async with open_api(tmp_path) as api:
        await api.index(*row(1, 2, 3, 4, 5))
        first = (await api.data(NEARBY, {"filter": wanted}))["nearbyStations"]
    async with open_api(tmp_path) as api:
        same = {"connectorTypes": ["CHADEMO", "GBT_DC", "GBT_AC"], "access": ["MEMBERS", "PUBLIC"]}
        again = (await api.data(NEARBY, {"filter": wanted}))["nearbyStations"]
        after = {"filter": same, "after": first["pageInfo"]["endCursor"]}
        second = (await api.data(NEARBY, after))["nearbyStations"]
    assert again == first
    assert [edge["node"]["id"] for edge in second["edges"]] == [station_id(4), station_id(5)]


async def test_a_page_is_never_larger_than_the_largest(api):
    await api.index(*row(*range(1, MAX_PAGE_SIZE + 2), metres_apart=1.0))
    for first in (MAX_PAGE_SIZE, MAX_PAGE_SIZE + 1, 2**31 - 1):
        page = (await api.data(NEARBY, {"first": first}))["nearbyStations"]
        assert len(page["edges"]) == MAX_PAGE_SIZE
        assert page["pageInfo"]["hasNextPage"]
        assert page["totalCount"] == MAX_PAGE_SIZE + 1


async def test_nothing_found_is_an_empty_page(api):
    page = (await api.data(NEARBY))["nearbyStations"]
    info = {"hasNextPage": False, "hasPreviousPage": False, "startCursor": None, "endCursor": None}
    assert page == {"totalCount": 0, "edges": [], "pageInfo": info}


async def test_reservations_are_paged_newest_first_while_new_ones_are_made(api):
    await api.index(*row(*range(1, 9)))
    made: list[str] = []
    for number in range(1, 8):
        await api.say(evse_id(number), Availability.AVAILABLE)
        made.insert(0, (await api.hold(evse_id(number)))["reservation"]["id"])
        api.clock.advance(number % 2)  # some are made at the same instant
    pages = await walk(api, RESERVATIONS, "reservations")
    assert [len(page) for page in pages] == [3, 3, 1]
    assert sorted(id_ for page in pages for id_ in page) == sorted(made)
    first = (await api.data(RESERVATIONS))["reservations"]
    await api.say(evse_id(8), Availability.AVAILABLE)
    await api.hold(evse_id(8))
    rest = await api.data(RESERVATIONS, {"after": first["pageInfo"]["endCursor"]})
    assert [edge["node"]["id"] for edge in rest["reservations"]["edges"]] == pages[1]
    api.clock.advance(600)
    assert await walk(api, RESERVATIONS, "reservations", {"liveOnly": True}) == [[]]


# ------------------------------------------------------------------------------------------------------- datums


@pytest.mark.parametrize("datum", Datum)
async def test_a_search_means_the_same_place_in_every_datum(api, datum):
    await api.index(*row(*range(1, 7)))
    query = """
    query(
      $lon: Float!, $lat: Float!, $box: BoundingBoxInput!, $area: GeoJSON!, $route: GeoJSON!, $datum: Datum!
    ) {
      near: nearbyStations(near: {lon: $lon, lat: $lat}, radiusM: 150, datum: $datum) {
        edges { distanceM node { id location(datum: $datum) { lon lat } } }
      }
      box: stationsInArea(box: $box, datum: $datum) { edges { node { id } } }
      polygon: stationsInArea(polygon: $area, datum: $datum) { edges { node { id } } }
      route: stationsAlongRoute(route: $route, corridorM: 1, datum: $datum) { edges { node { id } } }
    }
    """
    lon, lat = from_wgs84(HERE, datum)
    west, south = from_wgs84(Point(lon=HERE.lon - 0.0001, lat=HERE.lat - 0.0001), datum)
    east, north = from_wgs84(Point(lon=HERE.lon + 0.0012, lat=HERE.lat + 0.0001), datum)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    data = await api.data(
        query,
        {
            "lon": lon,
            "lat": lat,
            "box": {"west": west, "south": south, "east": east, "north": north},
            "area": {"type": "Polygon", "coordinates": [ring]},
            "route": {"type": "LineString", "coordinates": [[lon, lat], list(from_wgs84(EAST_OF_HERE, datum))]},
            "datum": datum.value,
        },
    )
    nearest = data["near"]["edges"][0]
    assert nearest["node"] == {"id": station_id(1), "location": {"lon": lon, "lat": lat}}
    assert nearest["distanceM"] <= 0.001
    for name in ("near", "box", "polygon", "route"):
        assert [edge["node"]["id"] for edge in data[name]["edges"]] == [station_id(1), station_id(2), station_id(3)], (
            name
        )


@pytest.mark.parametrize("datum", Datum)
@pytest.mark.parametrize(("west", "east"), [(121.4, 121.4), (121.4, 121.40001), (137.8347, 137.8348)])
async def test_a_narrow_box_never_goes_round_the_earth(api, datum, west, east):
    """Its corners are moved by different amounts, so that the western one may end up in the east."""
    await api.index(build_station(1, feed="live", location=Point(lon=10.0, lat=35.0)))
    query = """
    query($box: BoundingBoxInput!, $datum: Datum!) { stationsInArea(box: $box, datum: $datum) { totalCount } }
    """
    narrow = {"west": west, "south": 20, "east": east, "north": 45}
    assert (await api.data(query, {"box": narrow, "datum": datum.value}))["stationsInArea"]["totalCount"] == 0
    all_but_narrow = {"west": 121.40001, "south": 20, "east": 121.4, "north": 45}
    assert (await api.data(query, {"box": all_but_narrow, "datum": datum.value}))["stationsInArea"]["totalCount"] == 1


# ------------------------------------------------------------------------------------------------------- the graph


async def test_a_gateway_gets_the_schema_that_is_checked_in(api):
    assert (await api.data("{ _service { sdl } }"))["_service"]["sdl"].strip() == sdl().strip()


async def test_tools_may_look_at_the_schema(api):
    query = get_introspection_query(
        specified_by_url=True, directive_is_repeatable=True, schema_description=True, input_value_deprecation=True
    )
    types = (await api.data(query))["__schema"]["types"]
    assert {"Station", "Evse", "Reservation", "StationFilterInput"} <= {each["name"] for each in types}


async def test_entities_keep_their_order_whatever_they_are(api):
    await api.index(*row(1, 2))
    keys = [
        {"__typename": name, "id": id_}
        for number in (2, 9, 1, 2)
        for name, id_ in (("Station", station_id(number)), ("Evse", evse_id(number)))
    ]
    query = "query($keys: [_Any!]!) { _entities(representations: $keys) { ...on Station {id} ...on Evse {id} } }"
    found = (await api.data(query, {"keys": keys}))["_entities"]
    assert found == [None if "000009" in key["id"] else {"id": key["id"]} for key in keys]


async def test_a_station_without_evses_and_one_of_many_are_shown(api):
    crowd = build_station(2, feed="live", location=HERE)
    await api.index(
        build_station(1, feed="live", evse_count=0, location=HERE),
        build_station(2, feed="live", location=HERE, evses=tuple(build_evse(crowd.id, n) for n in range(1, 1_001))),
    )
    query = "{ nearbyStations(near: {lon: 121.4737, lat: 31.2304}, radiusM: 1) { edges { node { evses { id } } } } }"
    edges = (await api.data(query))["nearbyStations"]["edges"]
    assert [len(edge["node"]["evses"]) for edge in edges] == [0, 1_000]


async def test_the_operation_is_chosen_by_its_name(api):
    document = "query A { operators { id } } query B { feeds { id } }"
    response = await api.post(json={"query": document, "operationName": "B"})
    assert [feed["id"] for feed in response.json()["data"]["feeds"]] == ["live", "priceless", "register"]
    for name in (None, "", "C"):
        response = await api.post(json={"query": document, "operationName": name})
        assert response.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_a_query_may_come_by_get(api):
    document = "query($id: ID!) { station(id: $id) { id } }"
    await api.index(*row(1))
    parameters = {"query": document, "variables": json.dumps({"id": station_id(1)}), "operationName": ""}
    headers = {"x-api-key": await api.key(), "accept": "application/*", "apollo-require-preflight": "true"}
    response = await api.client.get("/graphql", params=parameters, headers=headers)
    assert response.json() == {"data": {"station": {"id": station_id(1)}}}
    assert response.headers["cache-control"] == "no-store"
