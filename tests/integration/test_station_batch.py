"""Many points in one request: each is answered as alone, within bounds of its own."""

from typing import Any

import pytest

from tests.integration.api import HERE, Api, furnish, open_api

BATCH = """
query Fleet($points: [BatchPointInput!]!, $first: Int = 5, $radiusM: Float = 3000, $filter: StationFilterInput,
            $datum: Datum = WGS84) {
  nearbyStationsBatch(points: $points, radiusM: $radiusM, first: $first, filter: $filter, datum: $datum) {
    key stations { ...Page }
  }
}
"""
NEARBY = """
query One($lon: Float!, $lat: Float!, $first: Int = 5, $radiusM: Float = 3000, $filter: StationFilterInput,
          $datum: Datum = WGS84, $after: String) {
  nearbyStations(near: {lon: $lon, lat: $lat}, radiusM: $radiusM, first: $first, filter: $filter, datum: $datum,
                 after: $after) { ...Page }
}
"""
PAGE = """
fragment Page on StationConnection {
  totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  edges { cursor distanceM node { id name openNow operator { name } evses { id status statusAgeS } } }
}
"""


@pytest.fixture
async def api(tmp_path):
    async with open_api(tmp_path) as api:
        await furnish(api)
        yield api


def points(count: int) -> list[dict[str, Any]]:
    return [{"key": f"car {number}", "lon": HERE.lon + number * 0.0005, "lat": HERE.lat} for number in range(count)]


async def refused(api: Api, **variables: Any) -> Any:
    answer = await api.ask(BATCH + PAGE, variables)
    (error,) = answer["errors"]
    assert (answer["data"], error["extensions"]["code"]) == (None, "BAD_USER_INPUT")
    return error


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"first": 1},
        {"filter": {"availableNow": True}, "radiusM": 1_500},
        {"filter": {"openNow": True, "text": "站"}, "datum": "GCJ02"},
    ],
)
async def test_each_point_is_answered_as_alone_and_goes_on_as_alone(api, more):
    asked = points(40)
    batch = (await api.data(BATCH + PAGE, {"points": asked, **more}))["nearbyStationsBatch"]
    assert [each["key"] for each in batch] == [point["key"] for point in asked]
    for point, each in list(zip(asked, batch, strict=True))[::13]:
        alone = {"lon": point["lon"], "lat": point["lat"], **more}
        assert each["stations"] == (await api.data(NEARBY + PAGE, alone))["nearbyStations"]
        last = each["stations"]["pageInfo"]["endCursor"]
        await api.data(NEARBY + PAGE, alone | {"after": last})
    assert sum(len(each["stations"]["edges"]) for each in batch) > 20


async def test_points_without_stations_or_names_keep_their_place(api):
    nowhere = {"lon": 0.0, "lat": 0.0}
    batch = (await api.data(BATCH + PAGE, {"points": [nowhere, points(1)[0], nowhere]}))["nearbyStationsBatch"]
    assert [(each["key"], bool(each["stations"]["edges"])) for each in batch] == [
        (None, False),
        ("car 0", True),
        (None, False),
    ]
    assert (await api.data(BATCH + PAGE, {"points": []}))["nearbyStationsBatch"] == []


async def test_a_hundred_vehicles_may_ask_for_five_stations_each_and_no_more(api):
    asked = points(100)
    batch = (await api.data(BATCH + PAGE, {"points": asked}))["nearbyStationsBatch"]
    assert len(batch) == 100
    assert (await refused(api, points=asked, first=6))["extensions"]["field"] == "points"
    assert len((await api.data(BATCH + PAGE, {"points": asked[:50], "first": 999}))["nearbyStationsBatch"]) == 50
    error = await refused(api, points=points(101), first=1)
    assert error["extensions"]["field"] == "points"
    assert "101 points are more than 100" in error["message"]
    part = "nearbyStationsBatch(points: $points, radiusM: 9) { key }"
    twice = f"query($points: [BatchPointInput!]!) {{ a: {part} b: {part} }}"
    assert "errors" not in await api.ask(twice, {"points": asked[:50]})
    assert (await api.ask(twice, {"points": asked[:51]}))["errors"][0]["extensions"]["field"] == "points"


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("points[1].lon", {"points": [*points(1), {"lon": 181.0, "lat": 0.0}]}),
        ("points[1].key", {"points": [*points(1), {"lon": 1.0, "lat": 0.0, "key": "x" * 101}]}),
        ("radiusM", {"points": points(1), "radiusM": 0}),
        ("radiusM", {"points": points(1), "radiusM": 100_001}),
        ("first", {"points": points(1), "first": 0}),
        ("filter.minPowerKw", {"points": points(1), "filter": {"minPowerKw": -1}}),
    ],
)
async def test_what_is_wrong_is_named(api, field, wrong):
    assert (await refused(api, **wrong))["extensions"]["field"] == field


async def test_what_is_hidden_from_searches_is_hidden_from_batches(api):
    batch = (await api.data(BATCH + PAGE, {"points": points(100)}))["nearbyStationsBatch"]
    feeds = {edge["node"]["id"].partition(":")[0] for each in batch for edge in each["stations"]["edges"]}
    assert "live" in feeds
    assert "secret" not in feeds
