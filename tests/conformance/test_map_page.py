"""The map page in a real Chromium over a real hub: nothing from elsewhere, by keyboard alone, without errors of axe."""

import asyncio
import json
import os
import re
import shlex
import shutil
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
import uvicorn

from app.main import build, listen, server_config
from app.model.availability import Availability
from app.model.geo import Point
from app.model.partner import PartnerKind
from tests.builders import build_operator, build_station
from tests.conformance.node import node_folder, run_node
from tests.integration.api import Api, evse_id, furnish, open_api, station_id
from tests.servers.fixtures import had_or_skipped
from tests.servers.process import ServerMissingError

PAGE = Path(__file__).resolve().parents[2] / "app" / "web" / "static" / "map"
FINISHED_S = 300.0
CROWD = 150
SCENARIOS = (
    "walks by keyboard alone",
    "shows the nation, a place and a station",
    "finds a station by its name, wherever it is",
    "copies a query that works",
    "shows what changes without asking again",
    "counts clusters anew when something changes",
    "says why a hold is refused",
    "asks for a key and says when one is wrong",
    "says that the hub is gone, and comes back with it",
    "fits a telephone",
    "takes operators' words as words",
)


def chromium() -> str:
    """The browser. Raises ServerMissingError where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        raise ServerMissingError("Chromium is not here, in which the map page is tried")
    return found


class World:
    """The hub behind the page, and what happens to it while somebody looks at it."""

    def __init__(self, api: Api, port: int) -> None:
        self.api = api
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._others = ""

    async def start(self) -> None:
        """Serve, on the same port each time."""
        listener = listen("127.0.0.1", self.port)
        config = server_config(build(self.api.hub), self.api.hub.settings, lifespan="off")
        self._server = uvicorn.Server(config)
        listener.listen()
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))

    async def stop(self) -> None:
        """Stop serving; the hub and its stores live on."""
        assert self._server is not None
        assert self._serving is not None
        self._server.should_exit = True
        await self._serving

    async def do(self, what: str, *words: str) -> None:
        """Do what a scenario asks for."""
        match what, words:
            case "say", [evse, status]:
                self.api.clock.advance(1)  # what came later counts
                await self.api.say(evse, Availability[status])
            case "is held", [evse]:
                assert await self._status_of(evse) == {"status": "RESERVED", "heldByMe": True}
            case "is free", [evse]:
                assert await self._status_of(evse) == {"status": "AVAILABLE", "heldByMe": False}
            case "hold as another", [evse]:
                held = await self.api.hold(evse, key=await self.api.key("faster"))
                self._others = held["reservation"]["id"]
            case "let go as another", []:
                wish = {"reservationId": self._others, "idempotencyKey": self._others}
                mutation = "mutation($i: CancelReservationInput!){cancelReservation(input: $i){replayed}}"
                await self.api.data(mutation, {"i": wish}, key=await self.api.key("faster"))
            case "curl finds", [command, field]:
                await self._curl(command, field)
            case "index a station of", [name]:
                await self._index_hostile(name)
            case "stop the hub", []:
                await self.stop()
            case "start the hub", []:
                await self.start()
            case _:
                raise AssertionError((what, words))

    async def _status_of(self, evse: str) -> Any:
        query = "query($id: ID!) { evse(id: $id) { status heldByMe } }"
        return (await self.api.data(query, {"id": evse}))["evse"]

    async def _curl(self, command: str, field: str) -> None:
        words = shlex.split(command.replace("\\\n", " "))
        process = await asyncio.create_subprocess_exec(*words, stdout=PIPE)
        printed, _ = await process.communicate()
        assert json.loads(printed)["data"][field]

    async def _index_hostile(self, name: str) -> None:
        hub = self.api.hub
        operator = build_operator(feed="live", name=name, website="javascript:alert(1)")
        await hub.ports.index.save_operators([operator])
        station = build_station(99, feed="live", name=name, location=Point(lon=121.6, lat=31.2))
        await self.api.index(station)


@asynccontextmanager
async def open_world(folder: Path, port: int) -> AsyncIterator[World]:
    """A hub of the small world and a crowd all over the country, served."""
    async with open_api(folder) as api:
        await furnish(api)
        random = Random(51)
        crowd = [
            build_station(
                1_000 + number,
                feed="live",
                location=Point(lon=round(random.uniform(85, 120), 5), lat=round(random.uniform(24, 42), 5)),
            )
            for number in range(CROWD)
        ]
        await api.index(*crowd)
        for station in crowd[::2]:
            await api.say(station.evses[0].id, Availability.AVAILABLE)
        world = World(api, port)
        await world.start()
        try:
            yield world
        finally:
            api.hub.services.watching.end()
            await world.stop()


async def visible_stations(api: Api) -> int:
    """How many stations the start page shows: those inside its box, which is that of the country and more."""
    query = "{ stationClusters(box: {west: 70, south: 10, east: 140, north: 60}, zoom: 4) { count } }"
    key = await api.key("maps", PartnerKind.NAVIGATION)
    return sum(cluster["count"] for cluster in (await api.data(query, key=key))["stationClusters"])


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_in_a_browser(scenario: str, tmp_path: Path, free_port: int) -> None:
    with had_or_skipped():
        browser, folder = chromium(), node_folder("page")
    async with open_world(tmp_path, free_port) as world:
        environment = {
            **os.environ,
            "CHROMIUM": browser,
            "URL": world.url,
            "KEY": await world.api.key(),
            "STATION": station_id(1),
            "EVSE": evse_id(1),
            "LONELY": evse_id(1_001),
            "STATIONS": str(await visible_stations(world.api)),
        }
        node = await asyncio.create_subprocess_exec(
            "node", "scenarios.mjs", scenario, cwd=folder, env=environment, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        try:
            async with asyncio.timeout(FINISHED_S):
                complaints = await accompany(node, world.do)
        finally:
            if node.returncode is None:
                node.kill()
                await node.wait()
        assert node.returncode == 0, complaints


async def accompany(node: asyncio.subprocess.Process, do: Callable[..., Awaitable[None]]) -> str:
    """Do what the scenario asks for, a line each, until it ends; return its complaints."""
    assert node.stdin and node.stdout and node.stderr
    reading = asyncio.create_task(node.stderr.read())
    async for line in node.stdout:
        what, *words = json.loads(line)
        await do(what, *words)
        node.stdin.write(b"done\n")
    await node.wait()
    return (await reading).decode()


def test_every_scenario_is_run() -> None:
    text = (Path(__file__).parent / "page" / "scenarios.mjs").read_text(encoding="utf-8")
    assert tuple(re.findall(r'^  async "([^"]+)"\(', text, re.MULTILINE)) == SCENARIOS


def test_the_search_box_understands() -> None:
    with had_or_skipped():
        folder = node_folder("page")
    ran = run_node(folder, "--test", "understand.test.mjs", environment={"PAGE": str(PAGE)})
    assert ran.returncode == 0, ran.stdout
