"""The sandbox over real loopback sockets: its operators served, and pushing to a hub that these tests run."""

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from indexers.feeds.cec102.crypto import (
    decrypt_data,
    encrypt_data,
    sign_request,
    sign_response,
    signature_matches,
)
from indexers.sandbox.dialects import DIALECTS, HUB_OPERATOR_ID, Dialect, Secrets, environment
from indexers.sandbox.nation import Dirt, Nation
from indexers.sandbox.server import Sandbox, SandboxConfig, serve
from indexers.sandbox.wording import Wording

NOON = 1_795_579_200.0  # 2026-11-25 12:00 in Beijing
BY_ID = {dialect.operator_id: dialect for dialect in DIALECTS}
ROOT = Path(__file__).parents[2]


def encrypted(message: object, secrets: Secrets) -> str:
    return encrypt_data(json.dumps(message).encode(), secrets.data_secret.encode(), secrets.data_secret_iv.encode())


def decrypted(data: str, secrets: Secrets) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(
        decrypt_data(data, secrets.data_secret.encode(), secrets.data_secret_iv.encode())
    )
    return found


class Hub:
    """A hub as an operator sees it: query_token and notification_stationStatus, checked to the letter."""

    def __init__(self) -> None:
        self.tokens: dict[str, str] = {}
        self.raw_tokens: dict[str, str] = {}
        self.envelopes: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.messages: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.told: dict[str, dict[str, int]] = defaultdict(dict)
        self.rets: Counter[str] = Counter()
        self.broken = False
        self.app = Starlette(
            routes=[
                Route("/evcs/v1/query_token", self._query_token, methods=["POST"]),
                Route("/evcs/v1/notification_stationStatus", self._status, methods=["POST"]),
            ]
        )

    def forget_tokens(self) -> None:
        self.tokens.clear()

    async def _query_token(self, request: Request) -> Response:
        operator_id, message = await self._open(request)
        secrets = BY_ID[operator_id].serve
        assert message == {"OperatorID": operator_id, "OperatorSecret": secrets.operator_secret}
        token = f"{operator_id}-{len(self.envelopes[operator_id])}"
        self.tokens[operator_id] = token
        granted = {
            "OperatorID": HUB_OPERATOR_ID,
            "SuccStat": 0,
            "AccessToken": token,
            "TokenAvailableTime": 7200,
            "FailReason": 0,
        }
        return self._answer(operator_id, 0, granted)

    async def _status(self, request: Request) -> Response:
        operator_id, message = await self._open(request)
        if self.broken:
            return Response(b"\x00garbage", 500)
        authorization = request.headers["authorization"]
        self.raw_tokens[operator_id] = authorization
        if authorization.removeprefix("Bearer").strip() != self.tokens.get(operator_id):
            return self._answer(operator_id, 4002, {})
        self.messages[operator_id].append(message)
        lowered = {key.lower(): value for key, value in message.items()}
        infos: Any = lowered.get("connectorstatusinfos", lowered.get("connectorstatusinfo"))
        for info in infos if isinstance(infos, list) else [infos]:
            gun = {key.lower(): value for key, value in info.items()}
            self.told[operator_id][gun["connectorid"]] = int(gun["status"])
        return self._answer(operator_id, 0, {"Status": 0})

    async def _open(self, request: Request) -> tuple[str, dict[str, Any]]:
        envelope = orjson.loads(await request.body())
        operator_id = envelope["OperatorID"]
        secrets = BY_ID[operator_id].serve
        expected = sign_request(
            secrets.sig_secret.encode(), operator_id, envelope["Data"], envelope["TimeStamp"], envelope["Seq"]
        )
        assert signature_matches(expected, envelope["Sig"])
        self.envelopes[operator_id].append(envelope)
        return operator_id, decrypted(envelope["Data"], secrets)

    def _answer(self, operator_id: str, ret: int, message: object) -> Response:
        secrets = BY_ID[operator_id].serve
        self.rets[f"{operator_id} {ret}"] += 1
        data = encrypted(message, secrets) if ret == 0 else ""
        sig = sign_response(secrets.sig_secret.encode(), str(ret), "", data)
        return Response(orjson.dumps({"Ret": ret, "Msg": "", "Data": data, "Sig": sig}))


@asynccontextmanager
async def listening(app: Starlette) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", log_config=None, access_log=False))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


@asynccontextmanager
async def running(work: Awaitable[None]) -> AsyncIterator[asyncio.Future[None]]:
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  it comes true in another task, which knows nothing of this one
            await asyncio.sleep(0.02)


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> float:
        return self.at


CONFIG = SandboxConfig(seed=3, station_count=1500, pushes_per_s=20_000)


def changes(nation: Nation, dialect: Dialect, since: float, at: float) -> dict[str, int]:
    """Return the status of every listed gun that is not what it was."""
    wording = Wording(dialect, nation)
    slots = nation.slots_of(dialect.name)
    slots = slots[~np.isin(nation.dirt[slots], (Dirt.NO_EQUIPMENT, Dirt.REPEATED_STATION))]
    coarse = {2: 3, 4: 3} if dialect.coarse_status else {}
    found = {}
    for slot in slots.tolist():
        station = nation.station(slot, at)
        before, now = (nation.statuses(np.array([slot]), moment).status.tolist() for moment in (since, at))
        for gun, (old, new) in enumerate(zip(before, now, strict=True)):
            if coarse.get(old, old) != coarse.get(new, new):
                found[wording.connector_id(station, gun)] = coarse.get(new, new)
    return found


async def test_every_operator_pushes_every_change_and_nothing_else():
    time, hub = Time(), Hub()
    sandbox = Sandbox(SandboxConfig(seed=3, station_count=500, pushes_per_s=20_000), "http://127.0.0.1:1", time)
    nation = Nation(3, 500)
    time.at += 600
    expected = {dialect.operator_id: changes(nation, dialect, NOON, time.at) for dialect in DIALECTS}
    assert all(expected.values())
    told = {dialect.name: len(expected[dialect.operator_id]) for dialect in DIALECTS}
    async with listening(hub.app) as url, running(sandbox.pushers.run()):
        sandbox.pushers.push_to(url + "/evcs/v1/")
        await until(lambda: hub.told == expected)
        # The hub knows a push before its answer is back; cancelled in between, the operator would not count it.
        await until(lambda: all(count["accepted"] >= told[name] for name, count in sandbox.pushers.counts().items()))
    for name, count in sandbox.pushers.counts().items():
        assert count["refused"] == count["lost"] == count["unanswered"] == 0
        assert count["tokens"] == 1
        assert count["accepted"] >= told[name]


async def test_pushes_show_the_quirks_of_their_operators():
    time, hub = Time(), Hub()
    sandbox = Sandbox(CONFIG, "http://127.0.0.1:1", time)
    async with listening(hub.app) as url, running(sandbox.pushers.run()):
        time.at += 1200
        sandbox.pushers.push_to(url + "/evcs/v1")
        await until(lambda: all(len(hub.messages[dialect.operator_id]) >= 2 for dialect in DIALECTS))
    names = {dialect.name: dialect.operator_id for dialect in DIALECTS}

    def envelopes(name: str) -> list[dict[str, Any]]:
        return hub.envelopes[names[name]]

    assert hub.raw_tokens[names["teld"]] == "Bearer" + hub.tokens[names["teld"]]
    assert hub.raw_tokens[names["yunpu"]] == hub.tokens[names["yunpu"]]
    assert hub.raw_tokens[names["csg"]] == "Bearer " + hub.tokens[names["csg"]]
    assert {envelope["Seq"] for envelope in envelopes("starcharge")} == {"0001"}
    assert [envelope["Seq"] for envelope in envelopes("tewate")][:3] == ["0", "3", "2"]
    assert [envelope["Seq"] for envelope in envelopes("teld")][:2] == ["0001", "0002"]
    assert {len(envelope["TimeStamp"]) for envelope in envelopes("stategrid")} == {12}
    assert {len(envelope["TimeStamp"]) for envelope in envelopes("teld")} == {14}
    assert all(envelope["Sig"] == envelope["Sig"].lower() for envelope in envelopes("csg"))
    assert all(envelope["Sig"] == envelope["Sig"].upper() for envelope in envelopes("teld"))
    shapes = {name: hub.messages[operator_id][0] for name, operator_id in names.items()}
    assert isinstance(shapes["teld"]["ConnectorStatusInfo"], dict)
    assert {"ParkStatus", "LockStatus"} <= set(shapes["teld"]["ConnectorStatusInfo"])
    assert isinstance(shapes["wancheng"]["ConnectorStatusInfos"], list)
    assert isinstance(shapes["naerchong"]["connectorStatusInfo"], list)
    assert set(shapes["csg"]["ConnectorStatusInfo"]) == {"connectorID", "Status"}
    assert isinstance(shapes["tewate"]["ConnectorStatusInfo"]["Status"], str)


async def test_dead_tokens_are_met_in_three_ways():
    time, hub = Time(), Hub()
    sandbox = Sandbox(CONFIG, "http://127.0.0.1:1", time)
    counts = sandbox.pushers.counts
    async with listening(hub.app) as url, running(sandbox.pushers.run()):
        time.at += 600
        sandbox.pushers.push_to(url + "/evcs/v1")
        await until(lambda: len(hub.told) == 9)
        hub.forget_tokens()
        time.at += 30
        await until(lambda: counts()["yunpu"]["lost"] > 0 and counts()["csg"]["tokens"] > 1, 40)
        await until(lambda: counts()["teld"]["tokens"] > 1)
        assert counts()["teld"]["lost"] == 0
        assert counts()["csg"]["lost"] > 0
        assert counts()["yunpu"]["tokens"] == 1
        accepted = counts()["yunpu"]["accepted"]
        time.at += 600
        await until(lambda: counts()["yunpu"]["accepted"] > accepted)
        assert counts()["yunpu"]["tokens"] == 2


async def test_a_hub_that_is_away_or_broken_is_tried_again():
    time, hub = Time(), Hub()
    sandbox = Sandbox(CONFIG, "http://127.0.0.1:1", time)
    counts = sandbox.pushers.counts
    async with running(sandbox.pushers.run()) as pushing:
        with socket.create_server(("127.0.0.1", 0)) as free:
            nobody = f"http://127.0.0.1:{free.getsockname()[1]}/evcs/v1"
        time.at += 600
        sandbox.pushers.push_to(nobody)
        await until(lambda: all(count["unanswered"] for count in counts().values()))
        async with listening(hub.app) as url:
            hub.broken = True
            sandbox.pushers.push_to(url + "/evcs/v1")
            await until(lambda: all(count["unanswered"] > 1 for count in counts().values()))
            assert not hub.told
            hub.broken = False
            await until(lambda: len(hub.told) == 9)
        assert not pushing.done()


async def test_the_server_serves_its_operators_page_and_controls():
    base_urls: list[str] = []
    config = SandboxConfig(seed=3, station_count=50)
    async with running(serve(config, base_urls.append)):
        await until(lambda: bool(base_urls))
        async with httpx.AsyncClient(base_url=base_urls[0], trust_env=False) as http:
            page = (await http.get("/")).text
            for value in environment(base_urls[0]).values():
                assert value in page
            assert all(dialect.operator_id in page for dialect in DIALECTS)
            for refused in (b"", b"[]", b'{"url": 1}', b'{"url": "ftp://x"}', b'{"url": "http://[x"}'):
                assert (await http.post("/control/push_to", content=refused)).status_code == 400
            answer = await http.post("/control/push_to", json={"url": "http://127.0.0.1:9/evcs/v1/"})
            assert answer.json() == {"push_to": "http://127.0.0.1:9/evcs/v1"}
            assert set((await http.get("/control/pushes")).json()["operators"]) == {d.name for d in DIALECTS}
            secrets = DIALECTS[0].call
            data = encrypted({"OperatorID": HUB_OPERATOR_ID, "OperatorSecret": secrets.operator_secret}, secrets)
            sig = sign_request(secrets.sig_secret.encode(), HUB_OPERATOR_ID, data, "20261125120000", "0001")
            envelope = {
                "OperatorID": HUB_OPERATOR_ID, "Data": data, "TimeStamp": "20261125120000", "Seq": "0001", "Sig": sig,
            }  # fmt: skip
            answer = await http.post(DIALECTS[0].base_path + "/query_token", json=envelope)
            assert decrypted(answer.json()["Data"], secrets)["SuccStat"] == 0
            assert (await http.get(DIALECTS[0].base_path + "/query_token")).status_code == 405
            assert (await http.post(DIALECTS[0].base_path + "/query_nothing")).status_code == 404
            huge = b"x" * 1_100_000
            assert (await http.post(DIALECTS[0].base_path + "/query_token", content=huge)).status_code == 413
            assert (await http.get("/ocpi/2.2.1/locations")).status_code == 401


async def test_a_taken_port_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = SandboxConfig(station_count=10, port=taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            await serve(config, lambda _: None)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
async def test_the_program_announces_itself_and_stops_cleanly(signal_number: signal.Signals):
    code = "from indexers.sandbox.server import run, SandboxConfig; run(SandboxConfig(station_count=100), as_json=True)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=PIPE, stderr=PIPE, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        announced = json.loads(line)
        assert announced["environment"] == environment(announced["base_url"])
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(announced["base_url"] + "/")).status_code == 200
        process.send_signal(signal_number)
        _, errors = await asyncio.wait_for(process.communicate(), 10)
        assert process.returncode == 0
        assert errors == b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
