"""Federated tracing (ftv1), read by the library that Apollo's gateways and routers read it with."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from app.model.partner import Scope
from tests.builders import NOON
from tests.conformance.node import node_folder, run_node
from tests.integration.api import evse_id, furnish, open_api, station_id
from tests.servers.fixtures import had_or_skipped

DOCUMENT = """
query Traced($id: ID!, $keys: [_Any!]!) {
  here: station(id: $id) { name evses { status } operator { id } }
  reservation(id: "any") { id }
  _entities(representations: $keys) { ... on Evse { station: stationId } }
}
"""
VARIABLES = {
    "id": station_id(1),
    "keys": [{"__typename": "Evse", "id": evse_id(2)}, {"__typename": "Connector", "id": "1"}],
}
HEADER = {"apollo-federation-include-trace": "ftv1"}


@pytest.fixture
async def api(tmp_path):
    async with open_api(tmp_path) as api:
        await furnish(api)
        yield api


async def ask(api, *scopes: Scope, headers: dict[str, str] | None = None) -> Any:
    key = await api.key("tracing", scopes=scopes)
    response = await api.post(key=key, json={"query": DOCUMENT, "variables": VARIABLES}, headers=headers or {})
    assert response.status_code == 200
    return response.json()


async def test_only_a_key_of_that_scope_gets_a_trace_and_only_when_it_is_asked_for(api):
    plain = await ask(api, Scope.DISCOVER, headers=HEADER)
    assert set(plain) == {"data", "errors"}
    assert await ask(api, Scope.DISCOVER, Scope.TRACE) == plain
    other = {"apollo-federation-include-trace": "another"}
    assert await ask(api, Scope.DISCOVER, Scope.TRACE, headers=other) == plain
    traced = await ask(api, Scope.DISCOVER, Scope.TRACE, headers=HEADER)
    assert set(traced.pop("extensions")) == {"ftv1"}
    assert traced == plain
    refused = await api.post(
        key=await api.key("tracing", scopes=[Scope.TRACE]), json={"query": "{ nothing }"}, headers=HEADER
    )
    assert "extensions" not in refused.json()


async def test_a_trace_says_where_the_time_went_and_what_went_wrong(api):
    with had_or_skipped():
        folder = await asyncio.to_thread(node_folder, "federation")
    answer = await ask(api, Scope.DISCOVER, Scope.TRACE, headers=HEADER)
    done = await asyncio.to_thread(run_node, folder, "trace.mjs", answer["extensions"]["ftv1"])
    assert done.returncode == 0, done.stderr
    trace = json.loads(done.stdout)
    now = NOON + 100  # what furnishing took
    assert trace["startTime"] == {"seconds": int(now)} == trace["endTime"]
    assert trace["durationNs"] > 0

    here, reservation, entities = trace["root"]["child"]
    assert (here["responseName"], here["originalFieldName"], here["type"], here["parentType"]) == (
        "here",
        "station",
        "Station",
        "Query",
    )
    name, evses, operator = here["child"]
    assert (name["responseName"], name["type"], name["parentType"]) == ("name", "String", "Station")
    assert [element["index"] for element in evses["child"]] == [0, 1, 2, 3]
    assert evses["child"][3]["child"][0]["responseName"] == "status"
    assert [field["responseName"] for field in operator["child"]] == ["id"]
    fields = [node for node in nodes(trace["root"]) if "type" in node]
    assert len(fields) == 3 + 3 + 4 + 1 + 1
    assert all(0 < node["startTime"] <= node["endTime"] <= trace["durationNs"] for node in fields)

    (error,) = reservation["error"]
    shown = next(each for each in answer["errors"] if each["path"] == ["reservation"])
    assert json.loads(error["json"]) == shown
    assert error["message"] == shown["message"] == "this key does not carry the scope 'reserve'"
    assert [{"line": at["line"], "column": at["column"]} for at in error["location"]] == shown["locations"]
    found, unknown = entities["child"]
    assert (found["index"], unknown["index"]) == (0, 1)
    assert found["child"][0]["originalFieldName"] == "stationId" and not found["error"]
    assert unknown["error"][0]["message"].startswith("representations[1].__typename: the entities here are Station")


def nodes(node: Any) -> Iterator[Any]:
    yield node
    for child in node["child"]:
        yield from nodes(child)
