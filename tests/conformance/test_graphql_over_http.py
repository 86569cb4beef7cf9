"""graphql-http's audit of GraphQL over HTTP, which none of us wrote, against the hub on a real socket."""

import asyncio
import json

import pytest

from tests.conformance.node import node_folder, run_node
from tests.integration.api import furnish, listening, open_api
from tests.servers.fixtures import had_or_skipped

AUDITS = 61


@pytest.mark.parametrize("compiled", ["on", "off"])
async def test_every_audit_is_passed(tmp_path, compiled):
    with had_or_skipped():
        folder = await asyncio.to_thread(node_folder, "http")
    async with open_api(tmp_path, CHARGEGRAPH_COMPILED=compiled) as api:
        await furnish(api)
        headers = json.dumps({"authorization": f"Bearer {await api.key()}"})
        async with listening(api.hub) as url:
            done = await asyncio.to_thread(run_node, folder, "audit.mjs", f"{url}/graphql", headers)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert [result for result in results if result["status"] != "ok"] == []
    assert len({result["id"] for result in results}) == AUDITS
