"""The reference clients of both transports, graphql-ws and graphql-sse, against the hub on a real socket."""

import asyncio
import json

import pytest

from tests.conformance.node import node_folder, run_node
from tests.integration.api import furnish, listening, open_api, station_id
from tests.servers.fixtures import had_or_skipped


@pytest.mark.parametrize("compiled", ["on", "off"])
async def test_the_reference_clients_are_served(tmp_path, compiled):
    with had_or_skipped():
        folder = await asyncio.to_thread(node_folder, "streams")
    async with open_api(tmp_path, CHARGEGRAPH_COMPILED=compiled) as api:
        await furnish(api)
        async with listening(api.hub) as url:
            command = ("clients.mjs", f"{url}/graphql", await api.key(), station_id(3))
            done = await asyncio.to_thread(run_node, folder, *command)
        assert not api.hub.services.watching.follower_count
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    for name in ("ws", "sse"):
        told = said[name]
        assert told["query"] == {"data": {"feeds": [{"id": each} for each in ("live", "priceless", "register")]}}
        for step, kind, status in (
            ("entered", "ENTERED", "AVAILABLE"),
            ("held", "CHANGED", "RESERVED"),
            ("freed", "CHANGED", "AVAILABLE"),
        ):
            event = told[step]["data"]["availabilityChanged"]
            assert event["resynced"] == (kind == "ENTERED")
            assert event["changes"] == [
                {"kind": kind, "stationId": station_id(3), "station": {"evses": [{"status": status}]}}
            ]
        states = [each["data"]["reservationUpdated"] for each in told["reservation"]]
        assert states == [{"state": "HELD", "live": True}, {"state": "CANCELLED", "live": False}]
        assert told["refused"]["errors"][0]["extensions"] == {"code": "BAD_USER_INPUT", "field": "stationIds"}
    assert said["refused"] == [{"code": 4403}, {"code": 401}]
