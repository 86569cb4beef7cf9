"""Each server dies, hangs and answers nonsense while partners search and reserve and operators push: what is answered
is right or an honest refusal, all else goes on, and what comes back is found without a restart.
"""

import asyncio
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.errors import UnavailableError
from app.index.elasticsearch import ElasticsearchIndex
from app.live.redis import RedisLiveBoard
from app.model.clock import system_clock
from app.model.geo import Point
from app.model.partner import PartnerKind
from app.model.reservation import Guarantee, Outcome, Refusal, RefusalCode, Reservation, ReservationState
from app.partners._keys import VERDICT_KEPT_S
from app.partners.redis import RedisPartners
from app.reservations.base import Command
from app.reservations.redis import RedisReservations
from app.web.graphql_endpoint import DEADLINE_S
from tests.builders import build_station, build_status
from tests.integration.api import ALL_SCOPES, HERE, PROFILES, Platform, evse_id, station_id
from tests.integration.redis_traffic import Traffic, eventually
from tests.servers.fixtures import StartElasticsearch, had_or_skipped, own_prefix
from tests.servers.process import LOOPBACK
from tests.servers.proxy import Proxy, answering_http, answering_redis, speaking
from tests.servers.redis import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

FLEETING_S = 2.0
"""How long a status is good that another process tells anew all the time."""

SLACK_S = 5.0
"""How much longer than it promised a loaded machine may take."""

RECOVERED_S = 20.0
ENOUGH = 5
MANY = 100_000
MOST_LINES_A_SECOND = 5
MOST_LINES_AT_ONCE = 50
"""Of each kind of warning ten come at once."""
EVERYTHING = ("index", "live", "reservations", "partners", "quotas")
CHECKS = {"index": {"index"}, "live": {"live"}, "reservations": {"reservations", "partners", "quotas"}}
"""Which of the checks of `/readyz` ask a server."""

FLEETING = tuple(evse_id(number, gun) for number in (101, 102, 103) for gun in (1, 2))
PUSHED = tuple(evse_id(201, gun) for gun in (1, 2, 3))
LASTING = tuple(evse_id(301, gun) for gun in (1, 2, 3))
SEEN = 5
"""How many stations there are around HERE."""

CASES = 10
STATIONS_A_CASE = 12
GUNS = 5
AWAY_FROM_HERE = Point(lon=114.06, lat=22.54)


def _reserved(case: int) -> range:
    """The stations that are reserved in a case: no other one waits for what stays reserved."""
    return range(1_000 * case, 1_000 * case + STATIONS_A_CASE)


EVSE = "id status statusAgeS statusStale lastKnownStatus rawStatus"
SEARCH = f"""
query($filter: StationFilterInput) {{
  nearbyStations(near: {{lon: {HERE.lon}, lat: {HERE.lat}}}, radiusM: 5000, first: 50, filter: $filter) {{
    totalCount edges {{ node {{ id evses {{ {EVSE} }} }} }}
  }}
}}
"""
STATION = f"query($id: ID!) {{ station(id: $id) {{ id evses {{ {EVSE} }} }} }}"
EVSES = f"query($id: ID!) {{ evse(id: $id) {{ {EVSE} }} }}"
_PAYLOAD = "{ reservation { id state evseId } replayed userErrors { code message field } }"
RESERVE = f"mutation($input: ReserveEvseInput!) {{ reserveEvse(input: $input) {_PAYLOAD} }}"
CANCEL = f"mutation($input: CancelReservationInput!) {{ cancelReservation(input: $input) {_PAYLOAD} }}"
MINE = "{ reservations(first: 100) { edges { node { id state } } } }"


class Refused(UnavailableError):  # noqa: N818 (it says what the hub did)
    """The hub said honestly that it cannot answer now."""


class Hub:
    """A hub in a process of its own, whose servers are behind proxies, and what is known of them behind its back."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        key: str,
        proxies: dict[str, Proxy],
        servers: dict[str, RedisServer],
        board: RedisLiveBoard,
        store: RedisReservations,
        log: Path,
    ) -> None:
        self.client = client
        self.key = key
        self.proxies = proxies
        self.servers = servers
        self.board = board
        self.store = store
        self.log = log
        self.platform = Platform(client, system_clock)

    async def ask(self, query: str, **variables: Any) -> Any:
        """The data of an answer; Refused where the hub says that something is away, and never anything else."""
        began = time.perf_counter()
        answer = await self.client.post(
            "/graphql", json={"query": query, "variables": variables}, headers={"x-api-key": self.key}
        )
        took = time.perf_counter() - began
        assert took < DEADLINE_S + SLACK_S, f"{took} s for {query}"
        body = answer.json()
        errors = body.get("errors", [])
        assert {error["extensions"]["code"] for error in errors} <= {"UNAVAILABLE"}, body
        assert answer.status_code == 200 or (answer.status_code == 503 and errors), answer.text
        if errors:
            raise Refused(str(body), min(error["extensions"].get("retryAfterS", 0) for error in errors))
        return body["data"]

    async def evse(self, name: str) -> Any:
        return (await self.ask(EVSES, id=name))["evse"]

    async def ready(self) -> dict[str, bool]:
        """What `/readyz` says of each store."""
        answer = await self.client.get("/readyz")
        body = answer.json()
        assert answer.status_code == (200 if body["ready"] else 503)
        assert body["ready"] == all(body["checks"].values())
        checks: dict[str, bool] = body["checks"]
        return checks


class Partner:
    """The part of a reservation store that a partner sees, so that the traffic of a store can be a hub's."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def reserve(self, command: Command, evse_id: str, hold_s: int, guarantee: Guarantee) -> Outcome:
        wish = {"evseId": evse_id, "holdS": hold_s, "idempotencyKey": command.idempotency_key}
        return _outcome((await self._hub.ask(RESERVE, input=wish))["reserveEvse"])

    async def cancel(self, command: Command, reservation_id: str) -> Outcome:
        wish = {"reservationId": reservation_id, "idempotencyKey": command.idempotency_key}
        return _outcome((await self._hub.ask(CANCEL, input=wish))["cancelReservation"])


def _outcome(payload: Any) -> Outcome:
    refusals = tuple(
        Refusal(RefusalCode(error["code"]), error["message"], error["field"]) for error in payload["userErrors"]
    )
    if RefusalCode.UNAVAILABLE in {refusal.code for refusal in refusals}:
        assert payload["reservation"] is None
        raise Refused(str(payload))
    granted = payload["reservation"]
    reservation = granted and Reservation(
        id=granted["id"],
        evse_id=granted["evseId"],
        partner_id="",
        state=ReservationState(granted["state"]),
        guarantee=Guarantee.HUB_HOLD,
        fence=0,
        created_at=0.0,
        expires_at=0.0,
    )
    return Outcome(reservation=reservation, refusals=refusals, replayed=payload["replayed"])


class Load:
    """Everyone who uses the hub, each of them checking what it is told."""

    def __init__(self, hub: Hub, number: int) -> None:
        self.hub = hub
        self.traffic = Traffic([evse_id(number, gun) for number in _reserved(number) for gun in range(1, GUNS + 1)])
        self.answered: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.says_when: set[bool] = set()
        """Whether refusals of searches, which only the index can cause, said when to come back."""
        self.pushed: dict[str, str] = {}
        self.fresh: dict[str, bool] = {}
        """Whether each of the fleeting statuses claimed something when it was last seen."""
        self.mine: str | None = None
        """A hold of LASTING[0] that lasts from before the failure until it is released."""
        self._idempotency_key = f"mine {number}"
        self.found_free: set[str] = set()
        """The stations that the last search for free ones found."""
        self.checks: dict[str, bool] = {}
        """What `/readyz` said last."""

    @property
    def is_over(self) -> bool:
        return self.traffic.is_over

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        partner: Any = Partner(self.hub)
        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(self.traffic.client(partner, "nav", number, repeats=number % 2 == 0))
            for step in (
                *(self._search, self._search_free) * 2,
                self._look_at_a_station,
                self._push,
                self._live,
                self._readiness,
            ):
                group.create_task(self._again_and_again(step))
            group.create_task(self._tell())
            yield
            self.traffic.is_over = True

    async def _again_and_again(self, step: Callable[[], Awaitable[None]]) -> None:
        name = step.__name__.strip("_")
        while not self.is_over:
            try:
                await step()
            except Refused as refused:
                self.refused[name] += 1
                self.says_when.add(refused.retry_after_s is not None)
            else:
                self.answered[name] += 1
            await asyncio.sleep(0.05)

    async def _search(self) -> None:
        mine = self.mine
        found = (await self.hub.ask(SEARCH))["nearbyStations"]
        assert found["totalCount"] == len(found["edges"]) == SEEN, "all of them, or a refusal"
        evses = {evse["id"]: evse for edge in found["edges"] for evse in edge["node"]["evses"]}
        self._look_at(list(evses.values()))
        if mine is not None and mine == self.mine:
            assert evses[LASTING[0]]["status"] == "RESERVED"

    async def _search_free(self) -> None:
        found = (await self.hub.ask(SEARCH, filter={"availableNow": True}))["nearbyStations"]
        assert found["totalCount"] == len(found["edges"])
        for edge in found["edges"]:
            node = edge["node"]
            self._look_at(node["evses"])
            if node["id"] != station_id(201):  # where a push may have changed what was just found
                assert "AVAILABLE" in {evse["status"] for evse in node["evses"]}
        self.found_free = {edge["node"]["id"] for edge in found["edges"]}

    async def _look_at_a_station(self) -> None:
        station = (await self.hub.ask(STATION, id=station_id(101)))["station"]
        assert station["id"] == station_id(101)
        self._look_at(station["evses"])

    def _look_at(self, evses: Sequence[Any]) -> None:
        for evse in evses:
            if evse["id"] in FLEETING:
                fresh = evse["status"] == "AVAILABLE"
                if evse["statusAgeS"] is not None:
                    # Ages are told to the millisecond: one of 2.000 may be a little less.
                    if abs(evse["statusAgeS"] - FLEETING_S) > 0.001:
                        assert evse["status"] == ("AVAILABLE" if evse["statusAgeS"] < FLEETING_S else "UNKNOWN"), evse
                    assert evse["statusStale"] is not fresh
                    assert evse["lastKnownStatus"] == "AVAILABLE"
                self.fresh[evse["id"]] = fresh

    async def _push(self) -> None:
        """An operator tells the hub; whatever is away, what it was told is shown."""
        number = self.answered["push"]
        name, status = PUSHED[number % len(PUSHED)], (1, 2, 3)[number % 3 - number // 3 % 3]
        await self.hub.platform.push((name.rpartition(":")[2], status))
        self.pushed[name] = str(status)

    async def _tell(self) -> None:
        """Another process tells the server of live status, whether the hub hears of it or not."""
        while not self.is_over:
            now = system_clock()
            await self.hub.board.record(
                [
                    build_status(name, observed_at=now, received_at=now, stale_after=now + FLEETING_S)
                    for name in FLEETING
                ]
            )
            await asyncio.sleep(0.1)

    async def _live(self) -> None:
        assert (await self.hub.client.get("/livez")).status_code == 200

    async def _readiness(self) -> None:
        self.checks = await self.hub.ready()

    # ------------------------------------------------------------------------------------------- a hold of one's own

    async def hold(self) -> None:
        """Take a hold that everyone sees from now on."""
        payload = await self._reserve()
        self.mine = payload["reservation"]["id"]

    async def repeat(self) -> None:
        """Ask for it again with its key, and be told that it is there."""
        payload = await self._reserve()
        assert payload["replayed"] and payload["reservation"] == {
            "id": self.mine,
            "state": "HELD",
            "evseId": LASTING[0],
        }

    async def list_mine(self) -> list[str]:
        """The newest reservations, by id."""
        listed = (await self.hub.ask(MINE))["reservations"]["edges"]
        return [edge["node"]["id"] for edge in listed]

    async def release(self) -> None:
        """End it."""
        mine, self.mine = self.mine, None
        end = {"reservationId": mine, "idempotencyKey": self._idempotency_key}
        payload = (await self.hub.ask(CANCEL, input=end))["cancelReservation"]
        assert payload["reservation"] == {"id": mine, "state": "CANCELLED", "evseId": LASTING[0]}

    async def _reserve(self) -> Any:
        wish = {"evseId": LASTING[0], "holdS": 3_600, "idempotencyKey": self._idempotency_key}
        payload = (await self.hub.ask(RESERVE, input=wish))["reserveEvse"]
        _outcome(payload)
        return payload

    # ------------------------------------------------------------------------------------------------------- waiting

    async def answers(self, *names: str, times: int = ENOUGH) -> None:
        """Return after more answers of each kind."""
        goals = {name: self.answered[name] + times for name in names}
        await eventually(lambda: all(self.answered[name] >= goals[name] for name in names), within_s=30)

    async def refuses(self, *names: str, times: int = ENOUGH) -> None:
        """Return after more refusals of each kind."""
        goals = {name: self.refused[name] + times for name in names}
        await eventually(lambda: all(self.refused[name] >= goals[name] for name in names), within_s=60)

    async def refuses_to_reserve(self) -> None:
        """Return after more mutations that nobody can answer."""
        goal = self.traffic.unanswered + 2
        await eventually(lambda: self.traffic.unanswered >= goal, within_s=30)

    async def readiness(self, *away: str) -> None:
        """Return once `/readyz` says that these are away, and no other."""
        said = {name: name not in away for name in EVERYTHING}
        await eventually(lambda: self.checks == said, within_s=RECOVERED_S)

    async def is_well(self) -> None:
        """Return once all is as it should be, statuses included."""
        await self.readiness()
        await self.answers("search", "search_free", "look_at_a_station", "push", "live")
        await eventually(lambda: all(self.fresh.get(name) for name in FLEETING), within_s=RECOVERED_S)
        free = {station_id(number) for number in (101, 102, 103, 301)}
        await eventually(lambda: self.found_free >= free, within_s=RECOVERED_S)
        await self.traffic.goes_on(ENOUGH)

    # ------------------------------------------------------------------------------------------------ when it is over

    async def nothing_was_lost(self) -> None:
        """No hold that was acknowledged is gone, and no Evse was ever granted to two."""
        assert self.traffic.is_linearizable()
        live = {reservation.id: reservation.evse_id for reservation in await self.hub.store.list_live()}
        kept = [each for each in self.traffic.granted.values() if each.id not in self.traffic.maybe_cancelled]
        assert all(live.get(each.id) == each.evse_id for each in kept)
        assert len(set(live.values())) == len(live)
        history = await self.hub.store.list_reservations("nav", MANY, None, live_only=False)
        ordered = sorted(history, key=lambda each: (each.evse_id, each.fence))
        for before, after in pairwise(ordered):
            if before.evse_id == after.evse_id:
                assert (before.ended_at or before.expires_at) <= after.created_at
        assert {each.id for each in history} >= self.traffic.granted.keys()

    async def every_push_arrived(self) -> None:
        """What the hub took while nobody heard of it is what every other process knows now."""

        def raw() -> dict[str, str]:
            return {status.evse_id: status.raw for status in self.hub.board.find(PUSHED) if status is not None}

        await eventually(lambda: raw() == self.pushed, within_s=RECOVERED_S)
        for name, status in self.pushed.items():
            assert (await self.hub.evse(name))["rawStatus"] == status


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(repository: Path, elasticsearch_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    async with running_hub(repository, tmp_path_factory.mktemp("hub"), elasticsearch_url) as hub:
        yield hub


@asynccontextmanager
async def running_hub(repository: Path, folder: Path, elasticsearch_url: str) -> AsyncIterator[Hub]:
    """Start a hub with Redis servers of its own and a small world."""
    async with AsyncExitStack() as stack:
        prefix = stack.enter_context(own_prefix(elasticsearch_url))
        with had_or_skipped():
            servers = {name: RedisServer(folder / name) for name in ("live", "reservations")}
            for server in servers.values():
                stack.enter_context(server)
        ports = {"index": _port(elasticsearch_url)} | {name: server.port for name, server in servers.items()}
        proxies = {name: await stack.enter_async_context(Proxy(port)) for name, port in ports.items()}
        board = RedisLiveBoard(servers["live"].url)
        await board.open()
        stack.push_async_callback(board.close)
        await fill(elasticsearch_url, prefix, board)
        store = RedisReservations(servers["reservations"].url, MANY)
        await store.open()
        stack.push_async_callback(store.close)
        key = await make_key(servers["reservations"].url)
        (folder / "profiles").mkdir()
        (folder / "profiles" / "live.toml").write_text(PROFILES["live"], encoding="utf-8")
        environment = {
            "CHARGEGRAPH_STATION_INDEX_URL": f"http://{LOOPBACK}:{proxies['index'].port}/{prefix}",
            "CHARGEGRAPH_LIVE_URL": f"redis://{LOOPBACK}:{proxies['live'].port}/0",
            "CHARGEGRAPH_RESERVATIONS_URL": f"redis://{LOOPBACK}:{proxies['reservations'].port}/0",
            "CHARGEGRAPH_PROFILES_DIR": str(folder / "profiles"),
            "CHARGEGRAPH_FEEDS": "live",
            "CHARGEGRAPH_MAX_LIVE_RESERVATIONS": str(MANY),
            "CHARGEGRAPH_PORT": "0",
            "CHARGEGRAPH_QUOTAS": "FLEET=900000000000/s,NAVIGATION=900000000000/s",  # counted, and never used up
        }
        url = await stack.enter_async_context(serving(repository, environment, folder / "log"))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=DEADLINE_S + 3 * SLACK_S))
        hub = Hub(client, key, proxies, servers, board, store, folder / "log")
        await hub.platform.login()
        yield hub


def _port(url: str) -> int:
    port = httpx.URL(url).port
    assert port is not None
    return port


async def fill(elasticsearch_url: str, prefix: str, board: RedisLiveBoard) -> None:
    """Index the stations, and say of those that are reserved that they are free all day."""
    wide = [
        build_station(number, feed="live", evse_count=GUNS, location=AWAY_FROM_HERE)
        for case in range(1, CASES + 1)
        for number in _reserved(case)
    ]
    near = [build_station(number, feed="live", evse_count=2, location=HERE) for number in (101, 102, 103)]
    near += [build_station(number, feed="live", evse_count=3, location=HERE) for number in (201, 301)]
    index = ElasticsearchIndex([elasticsearch_url], board, prefix)
    await index.open()
    await index.upsert_stations("live", [*wide, *near])
    await index.close()
    now = system_clock()
    lasting = [evse.id for station in wide for evse in station.evses] + list(LASTING)
    await board.record(
        [build_status(name, observed_at=now, received_at=now, stale_after=now + 86_400) for name in lasting]
    )
    await board.flush()


async def make_key(url: str) -> str:
    partners = RedisPartners(url, system_clock)
    await partners.open()
    _, key = await partners.create_key("nav", PartnerKind.NAVIGATION, ALL_SCOPES)
    await partners.close()
    return key


@asynccontextmanager
async def serving(repository: Path, environment: dict[str, str], log: Path) -> AsyncIterator[str]:
    """Run `serve` in a process of its own; yield its address."""
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app", "serve",
            cwd=repository, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=errors,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", (await process.stdout.readline()).decode())
        assert found is not None, await asyncio.to_thread(log.read_text, "utf-8")
        yield found[0]
        process.terminate()
        async with asyncio.timeout(SLACK_S + DEADLINE_S):
            assert await process.wait() == 0, (await asyncio.to_thread(log.read_text, "utf-8"))[-1_000:]
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


_numbers = count(1)


@asynccontextmanager
async def load(hub: Hub) -> AsyncIterator[Load]:
    """Everyone at work before, during and after what the block does; in the end all is well and nothing was lost."""
    began, said = time.perf_counter(), len(await asyncio.to_thread(hub.log.read_text, "utf-8"))
    load = Load(hub, next(_numbers))
    try:
        async with load.running():
            await load.is_well()
            await load.hold()
            yield load
            for server in hub.servers.values():
                if not server.is_running:
                    await asyncio.to_thread(server.start)
            for proxy in hub.proxies.values():
                proxy.resume()
            await load.is_well()
            if load.mine is not None:
                await load.repeat()
                await load.release()
    finally:
        for proxy in hub.proxies.values():
            proxy.resume()
    assert load.says_when <= {True}
    await load.nothing_was_lost()
    await load.every_push_arrived()
    lines = (await asyncio.to_thread(hub.log.read_text, "utf-8"))[said:].splitlines()
    assert not [line for line in lines if "Traceback" in line]
    assert len(lines) < MOST_LINES_AT_ONCE + MOST_LINES_A_SECOND * (time.perf_counter() - began)


# ------------------------------------------------------------------------------------------------------- the index

SEARCHES = ("search", "search_free", "look_at_a_station")
NONSENSE = (
    answering_http(429, b'{"error":{"type":"es_rejected_execution_exception","reason":"full"},"status":429}'),
    answering_http(503, b'{"error":{"type":"search_phase_execution_exception","reason":null},"status":503}'),
    answering_http(500, b'{"error":{"type":"null_pointer_exception","reason":null},"status":500}'),
    answering_http(200, b'{"took":1,"hits":{"total":{"val', "x-elastic-product: Elasticsearch"),
    answering_http(200, b"<html>Welcome</html>"),
    answering_http(200, b"{}"),
    speaking(b"+OK\r\n"),
)
"""Busy, without its shards, broken, cut off; and another server, another service, and nothing that knows HTTP."""


async def without_index(load: Load) -> None:
    """Nothing is found and nobody gets a hold; what needs no station goes on: to repeat, to list and to end a hold."""
    await asyncio.gather(
        load.refuses(*SEARCHES, times=1),
        load.refuses_to_reserve(),
        load.readiness("index"),
        load.answers("push", "live"),
    )
    await load.repeat()
    assert load.mine in await load.list_mine()
    await load.release()


@pytest.mark.parametrize("way", ["down", "slow"])
async def test_without_the_index(hub: Hub, way: str) -> None:
    proxy = hub.proxies["index"]
    async with load(hub) as at_work:
        proxy.refuse() if way == "down" else proxy.stall()
        await without_index(at_work)


async def test_an_index_that_answers_nonsense(hub: Hub) -> None:
    proxy = hub.proxies["index"]
    async with load(hub) as at_work:
        for stand_in in NONSENSE:
            proxy.replace(stand_in)
            await at_work.refuses(*SEARCHES, times=2)  # the first may have been under way
        await without_index(at_work)


@pytest.mark.soak
@pytest.mark.parametrize("way", ["kill", "pause"])
async def test_without_the_only_node(
    repository: Path, tmp_path: Path, start_elasticsearch: StartElasticsearch, way: str
) -> None:
    node = await asyncio.to_thread(start_elasticsearch)
    async with running_hub(repository, tmp_path, node.url) as hub, load(hub) as at_work:
        node.kill() if way == "kill" else node.pause()
        await without_index(at_work)
        await asyncio.to_thread(node.start) if way == "kill" else node.resume()


# ----------------------------------------------------------------------------------------------------- live status

LOADING = answering_redis(b"-LOADING Redis is loading the dataset in memory\r\n")
GARBAGE = speaking(b"\x00\xff garbage\r\n")
FINE = answering_redis(b"+OK\r\n")


async def without_live(load: Load) -> None:
    """What another process tells is not heard and grows old; what we are told ourselves is shown."""
    await load.readiness("live")
    await eventually(lambda: not any(load.fresh.values()) and load.found_free <= {station_id(201), station_id(301)})
    ages = [(await load.hub.evse(FLEETING[0]))["statusAgeS"] for _ in range(2)]
    assert FLEETING_S <= ages[0] < ages[1]
    await load.answers(*SEARCHES, "push", "live")
    await load.traffic.goes_on(ENOUGH)
    assert not load.refused


@pytest.mark.parametrize("way", ["down", "slow", "errors"])
async def test_without_live_status(hub: Hub, way: str) -> None:
    proxy, server = hub.proxies["live"], hub.servers["live"]
    async with load(hub) as at_work:
        match way:
            case "down":
                server.kill()
            case "slow":
                proxy.stall()
            case _:
                for stand_in in (GARBAGE, FINE, LOADING):
                    proxy.replace(stand_in)
                    await at_work.answers("readiness", times=2)
        await without_live(at_work)


# ---------------------------------------------------------------------------------------------------- reservations


async def without_reservations(load: Load) -> None:
    """Nobody gets a hold, and whoever searches is let in for as long as its key was good before."""
    await asyncio.gather(load.readiness("reservations", "partners", "quotas"), load.refuses_to_reserve())
    for mutate_or_list in (load.repeat, load.list_mine):
        with pytest.raises(Refused):
            await mutate_or_list()
    began = time.perf_counter()
    while time.perf_counter() < began + 2 * VERDICT_KEPT_S:
        await load.answers(*SEARCHES, "push", "live")
    assert not load.refused


@pytest.mark.parametrize("way", ["down", "slow", "errors"])
async def test_without_the_reservations(hub: Hub, way: str) -> None:
    proxy, server = hub.proxies["reservations"], hub.servers["reservations"]
    async with load(hub) as at_work:
        match way:
            case "down":
                server.kill()
            case "slow":
                proxy.stall()
            case _:
                with server.client() as client:
                    client.config_set("maxmemory", 1)
                    await at_work.refuses_to_reserve()
                    await at_work.repeat()
                    client.config_set("maxmemory", 0)
                for stand_in in (GARBAGE, FINE, LOADING):
                    proxy.replace(stand_in)
                    await at_work.refuses_to_reserve()
        await without_reservations(at_work)
