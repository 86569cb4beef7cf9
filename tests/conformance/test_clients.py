"""Partners' side: the examples are run as programs, and so are clients that two generators write from the schema.

Between them and the hub is a way that hangs up instead of answering each wish for the first time.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
from graphql import build_client_schema, build_schema, get_introspection_query, parse, print_schema, validate

from app.model.availability import Availability
from app.model.geo import Point
from app.model.partner import Scope
from schema.engine import Engine, Plan
from tests.builders import build_station
from tests.conformance.node import node_folder, run_node
from tests.conformance.python_tool import python_tool, run_tool
from tests.conftest import REPOSITORY
from tests.integration.api import Api, evse_id, furnish, listening, open_api
from tests.servers.fixtures import had_or_skipped
from tests.servers.proxy import Proxy, answering_http

EXAMPLES = REPOSITORY / "examples"
CLIENTS = Path(__file__).parent / "clients"
DOCUMENTS = sorted(EXAMPLES.glob("*.graphql"))
MANY = range(1_000, 1_120)
PATIENCE_S = 60.0
AWAY = {"message": "away", "extensions": {"code": "UNAVAILABLE", "retryAfterS": 0.7}}
VIEW = ("--west", "121.3", "--south", "31.1", "--east", "121.7", "--north", "31.4", "--zoom", "12")
CANCEL = "mutation($i: CancelReservationInput!){cancelReservation(input: $i){replayed}}"
MINE = "{reservations(first: 100) {edges {node {id state live evseId}}}}"

Run = Callable[..., subprocess.CompletedProcess[str]]


class Clients(NamedTuple):
    """A folder with the examples and what was generated from them, and how programs run in it."""

    folder: Path
    run: Run
    python: Path | None = None


# ------------------------------------------------------------------------------------------------- what is generated


def copied(folder: Path) -> Path:
    """Return a copy of the examples, beside one of the schema as in the repository."""
    shutil.copytree(EXAMPLES, folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "schema").mkdir()
    shutil.copy(REPOSITORY / "schema" / "schema.graphql", folder / "schema")
    for path in CLIENTS.glob("booking.*"):
        shutil.copy(path, folder / "examples")
    return folder / "examples"


@pytest.fixture(scope="module")
def in_python(tmp_path_factory: pytest.TempPathFactory) -> Clients:
    with had_or_skipped():
        programs = python_tool("clients")
    folder = copied(tmp_path_factory.mktemp("python"))
    shutil.copy(CLIENTS / "mypy.ini", folder)

    def run(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return run_tool(programs, *words, folder=folder, **options)

    finished(run("ariadne-codegen", "--config", "ariadne-codegen.toml"))
    return Clients(folder, run, programs / "python")


@pytest.fixture(scope="module")
def in_typescript(tmp_path_factory: pytest.TempPathFactory) -> Clients:
    with had_or_skipped():
        packages = node_folder("clients")
    folder = copied(tmp_path_factory.mktemp("typescript"))
    (folder / "node_modules").symlink_to(packages / "node_modules")

    def run(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return run_node(folder, *words, **options)

    finished(run("graphql-codegen", "--config", "codegen.json"))
    finished(run("tsc"))  # strict, by the examples' own tsconfig.json
    return Clients(folder, run)


def finished(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_the_hub_takes_each_document_of_the_examples_from_any_partner(path: Path) -> None:
    plan = Engine(compiled=True).plan(path.read_text(encoding="utf-8"))
    assert isinstance(plan, Plan), plan.body


async def test_introspection_gives_a_schema_that_needs_no_federation(tmp_path: Path) -> None:
    async with open_api(tmp_path) as api:
        known = build_client_schema(await api.data(get_introspection_query(specified_by_url=True)))
    plain = build_schema(print_schema(known))  # which knows no directives but GraphQL's own
    assert {path.name: errors for path in DOCUMENTS if (errors := validate(plain, parse(path.read_text())))} == {}


def test_the_python_client_is_typed(in_python: Clients) -> None:
    mypy = ("mypy", "--config-file", "mypy.ini")
    finished(in_python.run(*mypy, *(path.name for path in in_python.folder.glob("*.py")), "chargegraph_client"))
    takes = (
        "from chargegraph_client import OutcomeReservation\nfrom datetime import datetime\ndef f(x: OutcomeReservation)"
    )
    finished(in_python.run(*mypy, "-c", f"{takes} -> datetime:\n  return x.expires_at"))
    wrong = in_python.run(*mypy, "-c", f"{takes} -> str:\n  return x.expires_at")
    assert wrong.returncode == 1 and 'got "datetime"' in wrong.stdout


def test_the_typescript_client_is_typed(in_typescript: Clients) -> None:
    wrong = in_typescript.folder / "wrong.ts"
    wrong.write_text(
        """
        import { FreeAlongRouteDocument } from "./generated/graphql.js";
        import { ask } from "./hub.js";
        const route = { type: "Point", coordinates: [] };
        await ask(FreeAlongRouteDocument, { route, corridorM: 1, minPowerKw: 1 });
        """
    )
    try:
        done = in_typescript.run("tsc", "--noEmit")
    finally:
        wrong.unlink()
    assert done.returncode != 0
    assert re.findall(r"^\S+ error", done.stdout, re.MULTILINE) == ["wrong.ts(5,45): error"], done.stdout


# ------------------------------------------------------------------------------------------------------ the way there


class Way:
    """Passes requests on to the hub: some are refused first, and of each wish the first answer may be lost."""

    def __init__(self, url: str, client: httpx.AsyncClient, refusals: int, *, loses: bool) -> None:
        self._url = url
        self._client = client
        self._loses = loses
        self.refusals_left = refusals
        self.asked = 0
        self.lost: list[str] = []
        """Keys of wishes, and subscriptions, whose first answer was lost."""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
            named = dict(re.findall(r"^([\w-]+): *(.*?)\r$", head.lower(), re.MULTILINE))
            body = await reader.readexactly(int(named["content-length"]))
            (key,) = re.findall(r"(cg_\w+)", head)
            self.asked += 1
            headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
            if "event-stream" in named["accept"]:
                await self._pass_events(body, headers, writer)
                return
            if self.refusals_left:
                self.refusals_left -= 1
                status, answer = 503, json.dumps({"errors": [AWAY]}).encode()
            else:
                response = await self._client.post(self._url, content=body, headers=headers)
                status, answer = response.status_code, response.content
                wish = json.loads(body)["variables"].get("input", {}).get("idempotencyKey")
                if self._loses and wish is not None and wish not in self.lost:
                    self.lost.append(wish)
                    return
            start = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(answer)}\r\n\r\n"
            writer.write(start.encode() + answer)

    async def _pass_events(self, body: bytes, headers: Mapping[str, str], writer: asyncio.StreamWriter) -> None:
        operation = json.loads(body)["operationName"]
        headers = {**headers, "accept": "text/event-stream"}
        async with self._client.stream("POST", self._url, content=body, headers=headers) as response:
            writer.write(b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
            async for chunk in response.aiter_raw():
                writer.write(chunk)
                if self._loses and b"event: next" in chunk and operation not in self.lost:
                    self.lost.append(operation)
                    return
        writer.close()
        await writer.wait_closed()


class Hub(NamedTuple):
    """A served hub behind such a way, and what tells programs of it."""

    api: Api
    way: Way
    environment: Mapping[str, str]

    async def run(self, clients: Clients, *words: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(clients.run, *words, environment=self.environment)

    async def reservations(self) -> list[Any]:
        data = await self.api.data(MINE)
        return [edge["node"] for edge in data["reservations"]["edges"]]


@asynccontextmanager
async def served(folder: Path, *, refusals: int = 0, loses: bool = True) -> AsyncIterator[Hub]:
    # What programs print is UTF-8 whatever the terminal says of itself.
    ascii_terminal = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    async with open_api(folder) as api:
        await furnish(api)
        for reservation in (await api.data(MINE))["reservations"]["edges"]:
            wish = {"reservationId": reservation["node"]["id"], "idempotencyKey": "tidied up"}
            await api.data(CANCEL, {"i": wish})
        key = await api.key(scopes=(Scope.DISCOVER, Scope.RESERVE))
        async with (
            listening(api.hub) as url,
            httpx.AsyncClient(trust_env=False, timeout=60) as client,
            Proxy(0) as proxy,
        ):
            way = Way(f"{url}/graphql", client, refusals, loses=loses)
            proxy.replace(way.talk)
            environment = {"HUB_URL": f"http://127.0.0.1:{proxy.port}/graphql", "HUB_KEY": key, **ascii_terminal}
            yield Hub(api, way, environment)


# ------------------------------------------------------------------------------------------------------- the programs


async def test_a_car_finds_holds_keeps_and_lets_go_though_each_first_answer_is_lost(
    in_python: Clients, tmp_path: Path
) -> None:
    async with served(tmp_path) as hub:
        before = len(await hub.reservations())
        done = await hub.run(
            in_python, "python", "car.py", "--to-lon", "121.52", "--to-lat", "31.2304", "--watch-s", "0"
        )
        said = finished(done)
        assert re.search(r"Free near you:\n  0 m  人民广场超充站  2 of 4 free\n  999 m  外滩充电站", said)
        assert "Free on your way:\n  after 0 m, 0 m off it  人民广场超充站\n" in said
        assert f"Held {evse_id(1)} at 人民广场超充站 for 600 s (HUB_HOLD)" in said
        assert said.count("(The hub had done it already; its first answer was lost.)") == 3
        assert re.search(r"Kept for 1200 s\.\n.*\nLet go: CANCELLED\.\n$", said)
        assert len(hub.way.lost) == 3
        made = (await hub.reservations())[: -before or None]
        assert [(each["evseId"], each["state"]) for each in made] == [(evse_id(1), "CANCELLED")]


@pytest.mark.parametrize("ends", ["elsewhere", "by Ctrl-C"])
async def test_a_car_watches_its_station_and_its_reservation_though_the_streams_break(
    ends: str, in_python: Clients, tmp_path: Path
) -> None:
    async with served(tmp_path) as hub:
        assert in_python.python is not None
        car = await asyncio.create_subprocess_exec(
            in_python.python, "car.py", "--watch-s", "600", cwd=in_python.folder,
            stdout=PIPE, stderr=PIPE, env={**os.environ, **hub.environment},
        )  # fmt: skip
        try:
            assert car.stdout is not None
            async with asyncio.timeout(PATIENCE_S):
                said = await car.stdout.readuntil(b"There now: 1 of 4 free.\n")
                while len(hub.way.lost) < 4:  # noqa: ASYNC110 - the way has no news to wait for
                    await asyncio.sleep(0.01)
                await hub.api.say(evse_id(1, 3), Availability.CHARGING)
                said += await car.stdout.readuntil(b"There now: 0 of 4 free.\n")
                if ends == "elsewhere":
                    (mine,) = [each for each in await hub.reservations() if each["live"]]
                    await hub.api.data(CANCEL, {"i": {"reservationId": mine["id"], "idempotencyKey": "by another"}})
                else:
                    car.send_signal(signal.SIGINT)
                rest, complaints = await car.communicate()
        finally:
            if car.returncode is None:
                car.kill()
            await car.wait()
        assert complaints.count(b"the connection broke; following anew") >= 1, complaints
        assert b"Your reservation: HELD, 1200 s left.\n" in said + rest
        if ends == "elsewhere":
            assert car.returncode == 0
            assert rest.endswith(b"Your reservation: CANCELLED, 0 s left.\n")
        else:
            assert (car.returncode, b"Traceback" in complaints) == (130, False), complaints
            assert rest.endswith(b"Let go: CANCELLED.\n")
        assert not [each for each in await hub.reservations() if each["live"]]
        assert {"WatchStation", "WatchReservation"} <= set(hub.way.lost)


async def test_a_fleet_is_served_and_lets_all_go(in_python: Clients, tmp_path: Path) -> None:
    async with served(tmp_path) as hub:
        said = finished(await hub.run(in_python, "python", "fleet.py", "vehicles.json"))
        lines = said.splitlines()
        assert sorted(line.partition(":")[0] for line in lines[:3]) == ["沪A·00001", "沪A·00002", "沪A·00003"]
        assert lines[3:] == ["3 of 3 held were let go."]
        assert len(set(re.findall(r"live:\S+(?=,)", said))) == 3
        assert len(hub.way.lost) == 6
        assert not [each for each in await hub.reservations() if each["live"]]


async def test_a_large_fleet_goes_by_batches_and_pages(in_python: Clients, tmp_path: Path) -> None:
    async with served(tmp_path, loses=False) as hub:
        places = {number: Point(lon=116.0 + (number - MANY[0]) / 10, lat=40.0) for number in MANY}
        await hub.api.index(*(build_station(number, feed="live", location=place) for number, place in places.items()))
        for number in MANY:
            await hub.api.say(evse_id(number), Availability.AVAILABLE)
        vehicles = [{"key": str(number), "lon": place.lon, "lat": place.lat} for number, place in places.items()]
        path = tmp_path / "vehicles.json"
        path.write_text(json.dumps(vehicles), encoding="utf-8")
        said = finished(await hub.run(in_python, "python", "fleet.py", str(path)))
        found = dict(re.findall(r"^(\d+): .* \(0 m\), (\S+), until", said, re.MULTILINE))
        assert found == {str(number): evse_id(number) for number in MANY}
        assert said.endswith("120 of 120 held were let go.\n")
        assert not [each for each in await hub.reservations() if each["live"]]


async def test_a_map_shows_clusters_and_all_pages_after_the_hub_was_away(
    in_typescript: Clients, tmp_path: Path
) -> None:
    async with served(tmp_path, refusals=2) as hub:
        place = Point(lon=121.5, lat=31.2)
        stations = [build_station(number, feed="live", location=place) for number in range(2_000, 2_250)]
        hidden = msgspec.structs.replace(build_station(3_000, feed="register"), location=place)
        await hub.api.index(*stations, hidden)
        done = await hub.run(in_typescript, "build/map.js", *VIEW)
        said = finished(done)
        waited_s = [float(seconds) for seconds in re.findall(r"asking again in (\S+) s", done.stderr)]
        assert len(waited_s) == 2 and min(waited_s) >= 0.7  # as `retryAfterS` says, or longer
        assert re.findall(r"page (\d): (\d+) stations", done.stderr) == [("1", "100"), ("2", "100"), ("3", "60")]
        clusters = re.findall(r"^  14/\d+/\d+  (\d+) stations, (\d+) with a free charger", said, re.MULTILINE)
        assert clusters[0] == ("251", "0")
        assert "\n人民广场超充站  121.478223,31.228458  2 free of 4\n" in said  # 440 m from where GPS has it
        assert "\n没消息的站  121.505439,31.228378  unknown of 1\n" in said
        assert "Register 9" not in said  # by the contract with its source
        assert said.splitlines()[-1] == "258 stations. © 实时"


@pytest.mark.parametrize("language", ["python", "typescript"])
async def test_a_typed_client_searches_holds_repeats_and_cancels(
    language: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    clients = request.getfixturevalue(f"in_{language}")
    program = {"python": ("python", "booking.py"), "typescript": ("build/booking.js",)}[language]
    async with served(tmp_path) as hub:
        told = json.loads(finished(await hub.run(clients, *program)))
        held, again, gone = (told[name]["reservation"] for name in ("held", "again", "gone"))
        assert (held["state"], held["evseId"], held["ttlS"]) == ("HELD", evse_id(1), 600)
        assert again == held
        assert {**gone, "ttlS": 600} == {**held, "state": "CANCELLED"}
        assert [told[name]["replayed"] for name in ("held", "again", "gone")] == [True, True, True]
        assert [(each["id"], each["live"]) for each in await hub.reservations()][:1] == [(held["id"], False)]
        if language == "python":
            expires_at = hub.api.clock() + 600
            assert (told["lastsUntil"], told["along"]) == (expires_at, 4)
            assert told["asOf"].endswith("+00:00")


PROGRAMS = [
    ("python", ("python", "car.py")),
    ("python", ("python", "fleet.py", "vehicles.json")),
    ("typescript", ("build/map.js",)),
]


@pytest.mark.parametrize(("language", "words"), PROGRAMS, ids=["car", "fleet", "map"])
async def test_what_cannot_be_done_is_said_in_a_line(
    language: str, words: tuple[str, ...], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    clients = request.getfixturevalue(f"in_{language}")
    async with served(tmp_path, refusals=1_000) as hub:
        without = await asyncio.to_thread(clients.run, *words, environment={**hub.environment, "HUB_KEY": ""})
        assert (without.returncode, without.stdout) == (1, "")
        assert without.stderr.startswith("set HUB_KEY to your key")
        away = await hub.run(clients, *words)
        assert (away.returncode, away.stdout, hub.way.asked) == (1, "", 5)
        assert away.stderr.count("asking again") == 4
        assert away.stderr.splitlines()[-1].startswith("away")
        hub.way.refusals_left = 0
        wrong = await asyncio.to_thread(
            clients.run, *words, environment={**hub.environment, "HUB_KEY": hub.environment["HUB_KEY"][:-4] + "aaaa"}
        )
        assert (wrong.returncode, wrong.stdout) == (1, "")
        assert re.fullmatch(r"a valid key is needed: .* \(UNAUTHENTICATED\)\n", wrong.stderr)


@pytest.mark.parametrize("words", [("car.py",), ("fleet.py", "vehicles.json")], ids=["car", "fleet"])
async def test_a_key_that_may_not_reserve_is_told_so(
    words: tuple[str, ...], in_python: Clients, tmp_path: Path
) -> None:
    async with served(tmp_path) as hub:
        environment = {**hub.environment, "HUB_KEY": await hub.api.key("browser", scopes=(Scope.DISCOVER,))}
        done = await asyncio.to_thread(in_python.run, "python", *words, environment=environment)
        assert done.returncode == 1
        told = [line for line in done.stderr.splitlines() if "asking again" not in line]
        assert len(told) == 1 and "reserve" in told[0], done.stderr


@pytest.mark.parametrize(
    ("language", "words"), [("python", ("python", "car.py")), ("typescript", ("build/map.js",))], ids=["car", "map"]
)
async def test_who_answers_in_the_place_of_the_hub_is_told(
    language: str, words: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    clients = request.getfixturevalue(f"in_{language}")
    async with Proxy(0) as proxy:
        proxy.replace(answering_http(200, b"<html>Please log in to this network</html>"))
        environment = {"HUB_URL": f"http://127.0.0.1:{proxy.port}/graphql", "HUB_KEY": "any"}
        done = await asyncio.to_thread(clients.run, *words, environment=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"HTTP 200 from http://\S+, which is no GraphQL.*\n", done.stderr)


def test_each_program_says_what_it_needs() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "car.py"), "--help"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0
    assert "pip install httpx" in done.stdout
