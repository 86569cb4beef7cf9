"""A hub as its operator runs it: a process that starts, logs without secrets, drains under load, and ends with 0."""

import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx
import msgspec
import pytest

from app.errors import SettingsError
from app.main import serve
from app.settings import Settings, read_settings
from app.wiring import Hub, open_hub
from tests.builders import PARTY
from tests.integration.api import PROFILES, SECRET, VECTOR
from tests.servers.process import free_port

START_S = 120.0
END_S = 60.0
QUERY = {"query": "query Feeds { feeds { id stationCount } }"}


def listener_of(port: int) -> str:
    """Return the id of the process that listens on a port of loopback, by what Linux tells."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    (inode,) = [row[9] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A"]
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if str(descriptor.readlink()) == f"socket:[{inode}]":
                return descriptor.parts[2]
    raise AssertionError(f"nobody listens on {port}")


class Served:
    """A process that serves, and all that it printed."""

    def __init__(self, process: subprocess.Popen[str], admin: str) -> None:
        self.process = process
        self.admin = admin
        self.url = ""
        self.output: list[str] = []
        self._announced = threading.Event()
        self._readers = [
            threading.Thread(target=self._read, args=(stream,)) for stream in (process.stdout, process.stderr)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str] | None) -> None:
        assert stream is not None
        with stream:
            for line in stream:
                self.output.append(line)
                if found := re.search(r"answers on (http://[^/]+)/graphql", line):
                    self.url = found[1]
                    self._announced.set()

    async def announced(self) -> None:
        assert await asyncio.to_thread(self._announced.wait, START_S), "".join(self.output)

    def end(self) -> str:
        """Wait until it ended; return all that it printed."""
        self.process.wait(END_S)
        for reader in self._readers:
            reader.join()
        return "".join(self.output)


@contextmanager
def serving(repository: Path, *words: str, **environment: str) -> Iterator[Served]:
    admin = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "serve", *words],
        cwd=repository,
        env={**os.environ, "CHARGEGRAPH_PORT": "0", "CHARGEGRAPH_ADMIN_PORT": str(admin), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    served = Served(process, f"http://127.0.0.1:{admin}")
    try:
        yield served
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its workers, too
        served.end()


def make_key(repository: Path, **environment: str) -> str:
    told = subprocess.run(
        [sys.executable, "-m", "app", "keys", "create", "loader"],
        cwd=repository, env={**os.environ, **environment}, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return told.stdout.split()[-1]


async def status_of(url: str) -> int:
    """The status of an answer; 0 where nobody listens."""
    async with httpx.AsyncClient(timeout=30) as client:
        try:
            return (await client.get(url)).status_code
        except httpx.ConnectError:
            return 0


async def until(url: str, status: int) -> None:
    async with asyncio.timeout(START_S):
        while True:
            if await status_of(url) == status:
                return
            await asyncio.sleep(0.02)


class Load:
    """Partners that go on asking until nobody takes a connection any more. Whatever else goes wrong is kept."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._headers = {"authorization": f"Bearer {key}"}
        self.answered = 0
        self.told_to_close = 0
        self.problems: list[str] = []

    @contextlib.asynccontextmanager
    async def going_on(self, clients: int) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._ask_on()) for _ in range(clients)]
        yield
        async with asyncio.timeout(END_S):
            await asyncio.gather(*tasks)

    async def _ask_on(self) -> None:
        async with httpx.AsyncClient(timeout=30) as client:
            while True:
                try:
                    answer = await client.post(f"{self._url}/graphql", headers=self._headers, json=QUERY)
                except httpx.ConnectError:
                    return
                except httpx.TransportError as error:
                    self.problems.append(repr(error))
                    return
                if answer.status_code != 200 or "errors" in answer.json():
                    self.problems.append(answer.text)
                self.answered += 1
                self.told_to_close += answer.headers.get("connection") == "close"

    async def has_answered(self, count: int) -> None:
        async with asyncio.timeout(START_S):
            while True:
                if self.answered >= count:
                    return
                await asyncio.sleep(0.02)


async def drain_under_load(served: Served, key: str) -> None:
    await served.announced()
    await until(f"{served.admin}/readyz", 200)
    load = Load(served.url, key)
    async with load.going_on(8):
        await load.has_answered(100)
        served.process.send_signal(signal.SIGTERM)
        await until(f"{served.admin}/readyz", 503)
        assert await status_of(f"{served.admin}/livez") == 200
        before = load.answered
        await load.has_answered(before + 20)  # it drains, and goes on answering
    printed = await asyncio.to_thread(served.end)
    assert load.problems == []
    assert load.told_to_close >= 20
    assert served.process.returncode == 0, printed
    assert "Traceback" not in printed


async def test_no_request_is_lost_when_a_process_is_told_to_end(repository: Path, tmp_path: Path) -> None:
    environment = {"CHARGEGRAPH_DATA_DIR": str(tmp_path / "data"), "CHARGEGRAPH_DRAIN_S": "2"}
    key = make_key(repository, **environment)
    with serving(repository, **environment) as served:
        await drain_under_load(served, key)


async def test_no_request_is_lost_when_workers_are_told_to_end_and_each_tells_its_own_metrics(
    repository: Path, tmp_path: Path, elasticsearch_url: str, index_prefix: str, redis_url: str
) -> None:
    environment = {
        "CHARGEGRAPH_DATA_DIR": str(tmp_path / "data"),
        "CHARGEGRAPH_STATION_INDEX_URL": f"{elasticsearch_url}/{index_prefix}",
        "CHARGEGRAPH_LIVE_URL": redis_url,
        "CHARGEGRAPH_RESERVATIONS_URL": redis_url,
        "CHARGEGRAPH_DRAIN_S": "2",
    }
    key = make_key(repository, **environment)
    with serving(repository, "--workers", "2", **environment) as served:
        first, _, port = served.admin.rpartition(":")
        admins = [f"{first}:{int(port) + worker}" for worker in range(2)]
        for admin in admins:
            await until(f"{admin}/startupz", 200)
            await until(f"{admin}/readyz", 200)
        async with httpx.AsyncClient(timeout=30) as client:
            pages = [(await client.get(f"{admin}/metrics")).text for admin in admins]
        assert all('chargegraph_store_up{store="index"} 1.0' in page for page in pages)
        assert len({listener_of(int(admin.rpartition(":")[2])) for admin in admins}) == 2
        await drain_under_load(served, key)


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Leave the log of the test run as it was."""
    root = logging.getLogger()
    before = [*root.handlers]
    yield
    root.handlers[:] = before
    logging.captureWarnings(capture=False)


@pytest.mark.usefixtures("own_logging")
async def test_the_admin_port_tells_the_truth_while_a_start_takes_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, started = asyncio.Event(), asyncio.Event()

    @contextlib.asynccontextmanager
    async def slowly(settings: Settings, environment: Mapping[str, str]) -> AsyncIterator[Hub]:
        await loaded.wait()
        async with open_hub(settings, environment) as hub:
            yield hub

    async def note(_hub: Hub, _url: str) -> None:
        started.set()

    monkeypatch.setattr("app.main.open_hub", slowly)
    port, admin_port = free_port(), free_port()
    main, admin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}"
    settings = read_settings(
        {
            "CHARGEGRAPH_DATA_DIR": str(tmp_path / "data"),
            "CHARGEGRAPH_PORT": str(port),
            "CHARGEGRAPH_ADMIN_PORT": str(admin_port),
            "CHARGEGRAPH_DRAIN_S": "0",
        }
    )
    serving = asyncio.create_task(serve(settings, {}, note))
    try:
        await until(f"{admin}/startupz", 503)
        assert [await status_of(admin + path) for path in ("/livez", "/readyz", "/metrics")] == [200, 503, 200]
        assert await status_of(f"{main}/livez") == 0
        with pytest.raises(SettingsError, match="CHARGEGRAPH_ADMIN_PORT"):
            await serve(msgspec.structs.replace(settings, port=0, data_dir=tmp_path / "other"), {}, note)
        loaded.set()
        await asyncio.wait_for(started.wait(), START_S)
        for url in (main, admin):
            assert [await status_of(url + path) for path in ("/startupz", "/livez", "/readyz")] == [200, 200, 200]
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, END_S)
    assert [await status_of(f"{url}/livez") for url in (main, admin)] == [0, 0]


@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_nothing_that_is_printed_holds_a_secret(repository: Path, tmp_path: Path, log_format: str) -> None:
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    (profiles / "live.toml").write_text(PROFILES["live"], encoding="utf-8")
    environment = {
        "CHARGEGRAPH_DATA_DIR": str(tmp_path / "data"),
        "CHARGEGRAPH_PROFILES_DIR": str(profiles),
        "CHARGEGRAPH_FEEDS": "live",
        "CHARGEGRAPH_LOG_FORMAT": log_format,
        "CHARGEGRAPH_ACCESS_LOG": "on",
        "CHARGEGRAPH_DRAIN_S": "0",
        "CHARGEGRAPH_TRACES_URL": "http://name:collector-password@127.0.0.1:9",
    }
    key = make_key(repository, **environment)
    wrong = key[:-8] + "AAAAAAAA"
    with serving(repository, **environment) as served:
        await served.announced()
        await until(f"{served.admin}/readyz", 200)
        async with httpx.AsyncClient(base_url=served.url, timeout=30) as client:
            mine = {"authorization": f"Bearer {key}", "x-request-id": "my-request-1"}
            answer = await client.post("/graphql", headers=mine, json=QUERY)
            assert (answer.status_code, answer.headers["x-request-id"]) == (200, "my-request-1")
            for headers in ({"x-api-key": wrong}, {"authorization": f"Bearer {wrong}"}, {**mine, "x-request-id": key}):
                assert (await client.post("/graphql", headers=headers, json=QUERY)).status_code in {200, 401}
            insane = await client.post("/graphql", headers={**mine, "x-request-id": "a b" * 99}, json=QUERY)
            assert re.fullmatch(r"[0-9a-f]{32}", insane.headers["x-request-id"])
            await client.post("/graphql", headers=mine, content=b"{")
            await client.get(f"/nowhere?key={key}", headers={"authorization": f"Bearer {wrong}"})
            for body in (
                SECRET,
                json.dumps({"OperatorID": PARTY, "OperatorSecret": SECRET, "Data": "x", "Sig": VECTOR}),
            ):
                await client.post("/evcs/v1/query_token", headers={"authorization": f"Bearer {SECRET}"}, content=body)
        served.process.send_signal(signal.SIGTERM)
        printed = await asyncio.to_thread(served.end)
    assert served.process.returncode == 0, printed
    for secret in (key, key[20:], wrong, wrong[20:], SECRET, VECTOR, "collector-password"):
        assert secret not in printed
    assert "my-request-1" in printed
    if log_format == "json":
        lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
        assert len(lines) == len(printed.splitlines()) - 1, "all but the line for whoever started it"
        (mine_told,) = [
            line for line in lines if line.get("operation") == "Feeds" and line["request_id"] == "my-request-1"
        ]
        assert (mine_told["partner"], mine_told["status"], mine_told["outcome"]) == ("loader", 200, "OK")
        assert mine_told["duration_ms"] > 0 and mine_told["bytes"] > 0
