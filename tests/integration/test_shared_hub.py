"""Where everything is on servers: several processes answer as one, and one of several indexes."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.test_cli import LOCATION, PROFILE

QUERY = """
query Near { nearbyStations(near: {lon: 10.0, lat: 53.5}, radiusM: 5000, first: 5) {
  totalCount edges { node { id evses { id status } } }
} }
"""
RESERVE = """
mutation Reserve($input: ReserveEvseInput!) {
  reserveEvse(input: $input) { reservation { id } replayed userErrors { code } }
}
"""
READY_S = 60.0


class SharedHub:
    """Commands that share an Elasticsearch node and a Redis, each with a data folder of its own."""

    def __init__(self, repository: Path, folder: Path, elasticsearch: str, prefix: str, redis: str) -> None:
        self.repository = repository
        self.folder = folder
        self.file = folder / "locations.json"
        self.file.write_text(json.dumps([LOCATION]))
        (folder / "profiles").mkdir()
        (folder / "profiles" / "harbour.toml").write_text(PROFILE.format(file=self.file))
        self.environment = {
            **os.environ,
            "CHARGEGRAPH_STATION_INDEX_URL": f"{elasticsearch}/{prefix}",
            "CHARGEGRAPH_LIVE_URL": redis,
            "CHARGEGRAPH_RESERVATIONS_URL": redis,
            "CHARGEGRAPH_PROFILES_DIR": str(folder / "profiles"),
            "CHARGEGRAPH_FEEDS": "harbour",
            "CHARGEGRAPH_PORT": "0",
            "CHARGEGRAPH_DRAIN_S": "0",
        }

    def run(self, *words: str, code: int = 0) -> str:
        finished = subprocess.run(
            [sys.executable, "-m", "app", *words],
            cwd=self.repository, env=self.environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert finished.returncode == code, finished.stderr
        return finished.stdout

    @contextmanager
    def running(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", *words],
            cwd=self.repository, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


@pytest.fixture
def hub(repository: Path, tmp_path: Path, elasticsearch_url: str, index_prefix: str, redis_url: str) -> SharedHub:
    return SharedHub(repository, tmp_path, elasticsearch_url, index_prefix, redis_url)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    # A connection for each request: the kernel gives it to any of the workers.
    async with httpx.AsyncClient(limits=httpx.Limits(max_keepalive_connections=0), timeout=30) as client:
        yield client


def announced(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
    assert found is not None
    return found[0]


async def ready(client: httpx.AsyncClient, url: str) -> None:
    async with asyncio.timeout(READY_S):
        while True:
            try:
                if (await client.get(f"{url}/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)


async def ask(client: httpx.AsyncClient, url: str, key: str, query: str, **variables: Any) -> Any:
    headers = {"Authorization": f"Bearer {key}"}
    answer = await client.post(f"{url}/graphql", headers=headers, json={"query": query, "variables": variables})
    body = answer.json()
    assert "errors" not in body, body
    return body["data"]


def workers_of(served: subprocess.Popen[str]) -> list[int]:
    found = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(served.pid)], capture_output=True, text=True, check=True
    )
    return [int(line.split()[0]) for line in found.stdout.splitlines() if "spawn_main" in line]


async def statuses(client: httpx.AsyncClient, url: str, key: str, times: int) -> set[str]:
    """What many askings, spread over the workers, say of the one Evse."""
    answers = [await ask(client, url, key, QUERY) for _ in range(times)]
    return {edge["node"]["evses"][0]["status"] for each in answers for edge in each["nearbyStations"]["edges"]}


async def test_workers_answer_as_one_and_a_dead_one_is_replaced(hub: SharedHub, client: httpx.AsyncClient) -> None:
    assert "1 indexed, 1 changed" in hub.run("index")
    key = hub.run("keys", "create", "car", "--scope", "discover", "--scope", "reserve").splitlines()[1]
    with hub.running("serve", "--workers", "2") as served:
        url = announced(served)
        await ready(client, url)
        assert await statuses(client, url, key, 20) == {"AVAILABLE"}
        found = await ask(client, url, key, QUERY)
        evse_id = found["nearbyStations"]["edges"][0]["node"]["evses"][0]["id"]
        wanted = {"evseId": evse_id, "holdS": 300, "idempotencyKey": "once"}
        held = await ask(client, url, key, RESERVE, input=wanted)
        assert held["reserveEvse"]["userErrors"] == []
        again = [await ask(client, url, key, RESERVE, input=wanted) for _ in range(10)]
        assert {each["reserveEvse"]["reservation"]["id"] for each in again} == {
            held["reserveEvse"]["reservation"]["id"]
        }
        assert {each["reserveEvse"]["replayed"] for each in again} == {True}
        await asyncio.sleep(1)
        assert await statuses(client, url, key, 20) == {"RESERVED"}, "every worker shows the hold of any"
        children = workers_of(served)
        assert len(children) == 2
        os.kill(children[0], signal.SIGKILL)
        await asyncio.sleep(1)
        await ready(client, url)
        async with asyncio.timeout(READY_S):
            while True:
                try:
                    if await statuses(client, url, key, 20) == {"RESERVED"}:
                        break
                except httpx.TransportError:
                    await asyncio.sleep(0.2)


async def test_one_of_several_indexers_runs_a_feed_and_another_takes_over(hub: SharedHub) -> None:
    with hub.running("serve", "--feeds"):
        async with asyncio.timeout(READY_S):
            said = ""
            while "another process indexes it" not in said:
                said = await asyncio.to_thread(_try_index, hub)
    assert "1 indexed" in await asyncio.to_thread(hub.run, "index")


def _try_index(hub: SharedHub) -> str:
    finished = subprocess.run(
        [sys.executable, "-m", "app", "index"],
        cwd=hub.repository, env=hub.environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return finished.stdout


def test_workers_need_servers(repository: Path, tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "app", "serve", "--workers", "2"],
        cwd=repository, env={**os.environ, "CHARGEGRAPH_DATA_DIR": str(tmp_path)}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert finished.returncode == 2
    assert "CHARGEGRAPH_STATION_INDEX_URL" in finished.stderr
