"""The servers are real, keep what they acknowledged, fail when told to, and never outlive the run."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis.asyncio
from elasticsearch import ConnectionTimeout, Elasticsearch, NotFoundError
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.servers.elasticsearch import ElasticsearchCluster, _make, find_java, installation
from tests.servers.fixtures import StartElasticsearch, StartRedis, had_or_skipped
from tests.servers.process import LOOPBACK, ServerFailedError, ServerMissingError, is_open
from tests.servers.proxy import Proxy, answering_http, answering_redis, speaking
from tests.servers.redis import RedisServer

ROOT = Path(__file__).parents[2]

HOLDER = """
import signal, sys
from pathlib import Path
from tests.servers.redis import RedisServer
print(RedisServer(Path(sys.argv[1])).start().port, flush=True)
signal.pause()
"""

SHARER = """
import signal, sys
from pathlib import Path
from urllib.parse import urlsplit
from tests.servers.process import share
from tests.servers.redis import RedisServer
folder = Path(sys.argv[1])
url = share(folder, lambda leash: RedisServer(folder / "redis", leash=leash).start())
print(urlsplit(url).port, flush=True)
signal.pause()
"""


@pytest.fixture
async def echo_port() -> AsyncIterator[int]:
    """A server that answers each line with the same line."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(answer, LOOPBACK, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(LOOPBACK, port)


async def echoed(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], line: bytes = b"hello\n") -> bytes:
    reader, writer = streams
    writer.write(line)
    async with asyncio.timeout(5):
        return await reader.readline()


async def is_silent(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(0.2):
            await reader.readline()
    except TimeoutError:
        return True
    return False


# -------------------------------------------------------------------------------------------------------------- Redis


def test_a_killed_redis_has_every_acknowledged_write_after_its_restart(start_redis: StartRedis) -> None:
    server = start_redis()
    url = server.url
    with server.client() as client:
        for number in range(100):
            client.set(f"key-{number}", number)
    server.kill()
    assert not server.is_running
    server.restart()
    assert server.url == url
    with server.client() as client:
        assert client.mget([f"key-{number}" for number in range(100)]) == [str(number) for number in range(100)]


def test_a_stopped_redis_keeps_its_data_too(start_redis: StartRedis) -> None:
    server = start_redis()
    with server.client() as client:
        client.set("key", "value")
    server.restart()
    with server.client() as client:
        assert client.get("key") == "value"


def test_a_paused_redis_answers_nothing_and_goes_on_when_resumed(start_redis: StartRedis) -> None:
    server = start_redis()
    with server.client(timeout_s=0.3) as client:
        assert client.ping()
        server.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        assert server.is_running
        server.resume()
        assert client.ping()


def test_a_replica_follows_and_acknowledges_and_a_frozen_one_does_not(start_redis: StartRedis) -> None:
    primary = start_redis()
    replica = start_redis(replica_of=primary.port)
    replica.wait_until_linked()
    with primary.client() as client, replica.client() as follower:
        client.set("key", "value")
        assert client.wait(1, 5000) == 1
        assert follower.get("key") == "value"
        replica.pause()
        client.set("key", "other")
        assert client.wait(1, 200) == 0
        replica.resume()
        assert client.wait(1, 5000) == 1


def test_options_reach_the_server(start_redis: StartRedis) -> None:
    with start_redis(options={"maxmemory": "64mb"}).client() as client:
        assert client.config_get("maxmemory") == {"maxmemory": str(64 << 20)}
        assert client.config_get("appendfsync") == {"appendfsync": "always"}


@pytest.mark.parametrize("turn", ["first", "second"])
def test_the_shared_redis_is_empty_for_each_test(turn: str, redis_url: str, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        assert client.dbsize() == 0
        client.set("left", "behind")


def test_a_server_that_cannot_start_says_why(start_redis: StartRedis) -> None:
    with pytest.raises(ServerFailedError, match="no-such-option"):
        start_redis(options={"no-such-option": "1"})


@contextlib.contextmanager
def another_process(script: str, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process that starts or shares a Redis and prints its port."""
    with had_or_skipped():
        RedisServer(folder)._command()
    with subprocess.Popen([sys.executable, "-c", script, folder], cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def wait_until_closed(port: int) -> None:
    deadline = time.perf_counter() + 10
    while is_open(port):
        assert time.perf_counter() < deadline, "the server lives on"
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_server_outlives_who_started_it(how: int, tmp_path: Path) -> None:
    with another_process(HOLDER, tmp_path) as (holder, port):
        assert is_open(port)
        holder.send_signal(how)
        wait_until_closed(port)


def test_a_frozen_server_does_not_outlive_who_started_it_either(tmp_path: Path) -> None:
    with another_process(HOLDER, tmp_path) as (holder, port):
        with redis.Redis(port=port) as client:
            os.kill(client.info("server")["process_id"], signal.SIGSTOP)
        holder.kill()
        wait_until_closed(port)


def test_a_shared_server_lives_as_long_as_one_of_its_users(tmp_path: Path) -> None:
    with another_process(SHARER, tmp_path) as (first, port), another_process(SHARER, tmp_path) as (second, same):
        assert port == same
        first.kill()
        first.wait()
        time.sleep(0.2)
        assert is_open(port)
        second.kill()
        wait_until_closed(port)
        with another_process(SHARER, tmp_path) as (_, anew):
            assert is_open(anew)


@pytest.mark.parametrize(("required", "outcome"), [("", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_what_cannot_be_had_is_skipped_unless_it_is_required(
    required: str, outcome: type[Exception], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REQUIRE_SERVERS", required)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerMissingError), RedisServer(tmp_path):
        pass
    with pytest.raises(outcome, match="redis-server is not on the path"), had_or_skipped():
        RedisServer(tmp_path).start()


# ------------------------------------------------------------------------------------------------------ Elasticsearch

STATIONS: dict[str, Any] = {"properties": {"name": {"type": "text"}, "at": {"type": "geo_point"}}}


def test_a_killed_node_has_every_acknowledged_document_after_its_restart(
    start_elasticsearch: StartElasticsearch,
) -> None:
    node = start_elasticsearch()
    url = node.url
    with node.client() as client:
        settings = {"number_of_replicas": 0, "codec": "best_compression"}
        client.indices.create(index="stations", mappings=STATIONS, settings=settings)
        for number in range(10):
            client.index(index="stations", id=str(number), document={"name": "特来电", "at": [121 + number / 100, 31]})
    node.kill()
    node.restart()
    assert node.url == url
    with node.client() as client:
        client.indices.refresh(index="stations")
        near = {"geo_distance": {"distance": "5km", "at": [121, 31]}}
        found = client.search(index="stations", query=near, sort=[{"_geo_distance": {"at": [121, 31]}}])
        assert [hit["_id"] for hit in found["hits"]["hits"]] == ["0", "1", "2", "3", "4", "5"]
        assert client.count(index="stations")["count"] == 10
    node.stop()
    # What is left is that it complains of a slow machine.
    assert not re.search(r"Exception|\[stderr\]|^WARNING|^OpenJDK", node.log.read_text(), re.MULTILINE)


def test_a_paused_node_answers_nothing_and_goes_on_when_resumed(start_elasticsearch: StartElasticsearch) -> None:
    node = start_elasticsearch()
    node.pause()
    with node.client(timeout_s=0.5) as client, pytest.raises(ConnectionTimeout):
        client.cluster.health()
    node.resume()
    with node.client() as client:
        assert client.cluster.health()["status"] == "green"


def test_the_shared_node_makes_no_index_that_nobody_asked_for(elasticsearch_url: str, index_prefix: str) -> None:
    with Elasticsearch(elasticsearch_url) as client:
        with pytest.raises(NotFoundError):
            client.index(index=f"{index_prefix}-mistyped", document={"name": "特来电"})
        client.indices.create(index=f"{index_prefix}-stations", mappings=STATIONS)
        client.index(index=f"{index_prefix}-stations", document={"name": "特来电"}, refresh=True)
        assert client.count(index=f"{index_prefix}-stations")["count"] == 1


def test_a_cluster_loses_nothing_with_a_node_nor_with_its_power(elasticsearch_cluster: ElasticsearchCluster) -> None:
    cluster = elasticsearch_cluster
    with Elasticsearch(cluster.urls, retry_on_timeout=True) as client:
        client.indices.create(index="stations", mappings=STATIONS, settings={"number_of_replicas": 1})
        cluster.wait_until_whole()
        for number in range(20):
            client.index(index="stations", id=f"before-{number}", document={"name": "特来电"})
        lost = cluster.holder_of_primary("stations")
        lost.kill()
        for number in range(20):
            client.index(index="stations", id=f"after-{number}", document={"name": "特来电"})
        assert cluster.holder_of_primary("stations") is not lost
        cluster.kill()
        cluster.start()
        assert client.cluster.health()["number_of_nodes"] == 3
        client.indices.refresh(index="stations")
        assert client.count(index="stations")["count"] == 40


def test_a_cluster_follows_another_master_when_its_own_hangs(elasticsearch_cluster: ElasticsearchCluster) -> None:
    hung = elasticsearch_cluster.master()
    hung.pause()
    elasticsearch_cluster.wait_until_whole()
    assert elasticsearch_cluster.master() is not hung
    hung.resume()
    elasticsearch_cluster.wait_until_whole()
    with hung.client() as client:
        told = client.options(request_timeout=60).cluster.health(wait_for_nodes="3", timeout="50s")
        assert told["number_of_nodes"] == 3


@pytest.mark.parametrize(
    ("maven", "reason"),
    [
        (None, "mvn is not on the path"),
        (
            "echo '[ERROR] no route to host'; exit 1",
            r"Maven could not resolve Elasticsearch: \[ERROR\] no route to host",
        ),
    ],
)
def test_a_machine_that_cannot_get_elasticsearch_says_so_in_one_line(
    maven: str | None, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with had_or_skipped():
        monkeypatch.setenv("JAVA_HOME", str(installation().java))
    if maven is not None:
        (tmp_path / "mvn").write_text(f"#!/bin/sh\n{maven}\n")
        (tmp_path / "mvn").chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(ServerMissingError, match=reason) as missing:
        _make()
    assert "\n" not in str(missing.value)


@pytest.mark.parametrize(
    ("versions", "chosen"),
    [(["17.0.15", "25.0.3"], "25.0.3"), (["21", "25.0.3"], "21"), (["1.8.0_402", "17.0.15"], None), ([], None)],
)
def test_the_first_jdk_that_is_new_enough_is_taken(versions: list[str], chosen: str | None, tmp_path: Path) -> None:
    for version in versions:
        (tmp_path / version / "bin").mkdir(parents=True)
        (tmp_path / version / "bin" / "javac").touch()
        (tmp_path / version / "release").write_text(f'IMPLEMENTOR="X"\nJAVA_VERSION="{version}"\n')
    (tmp_path / "25-without-compiler").mkdir()
    (tmp_path / "25-without-compiler" / "release").write_text('JAVA_VERSION="25"\n')
    homes = [tmp_path / name for name in ("nowhere", "25-without-compiler", *versions)]
    assert find_java(homes) == (tmp_path / chosen if chosen else None)


# -------------------------------------------------------------------------------------------------------------- proxy


async def test_the_proxy_passes_on(echo_port: int) -> None:
    async with Proxy(echo_port) as proxy:
        reader, writer = await connect(proxy.port)
        large = b"x" * 50_000 + b"\n"
        assert await echoed((reader, writer), large) == large
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()


async def test_a_cut_resets_connections_and_new_ones_pass(echo_port: int) -> None:
    async with Proxy(echo_port) as proxy:
        reader, writer = await connect(proxy.port)
        assert await echoed((reader, writer)) == b"hello\n"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await reader.readline()
        writer.close()
        again = await connect(proxy.port)
        assert await echoed(again) == b"hello\n"
        again[1].close()


async def test_a_refusing_proxy_resets_and_refuses_until_it_resumes(echo_port: int) -> None:
    async with Proxy(echo_port) as proxy:
        reader, writer = await connect(proxy.port)
        assert await echoed((reader, writer)) == b"hello\n"
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await connect(proxy.port)
        with pytest.raises(ConnectionResetError):
            await reader.readline()
        writer.close()
        proxy.resume()
        again = await connect(proxy.port)
        assert await echoed(again) == b"hello\n"
        again[1].close()


async def test_a_stalled_proxy_is_silent_and_loses_nothing(echo_port: int) -> None:
    async with Proxy(echo_port) as proxy:
        reader, writer = await connect(proxy.port)
        proxy.stall()
        writer.write(b"one\n")
        assert await is_silent(reader)
        proxy.resume()
        assert await reader.readline() == b"one\n"
        writer.close()


async def test_when_answers_stall_the_server_has_acted_all_the_same(redis_url: str, redis_server: RedisServer) -> None:
    async with Proxy(redis_server.port) as proxy:
        reader, writer = await connect(proxy.port)
        proxy.stall(answers_only=True)
        writer.write(b"SET key value\r\n")
        assert await is_silent(reader)
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await reader.readline()
        writer.close()
        with redis_server.client() as client:
            assert client.get("key") == "value"


async def test_a_delay_holds_each_direction_up(echo_port: int) -> None:
    async with Proxy(echo_port) as proxy:
        streams = await connect(proxy.port)
        proxy.delay(0.1)
        started = time.perf_counter()
        assert await echoed(streams) == b"hello\n"
        assert time.perf_counter() - started >= 0.2
        streams[1].close()


async def test_somebody_else_answers_in_the_servers_place_until_the_proxy_resumes(echo_port: int) -> None:
    async with Proxy(echo_port) as proxy:
        reader, writer = await connect(proxy.port)
        assert await echoed((reader, writer)) == b"hello\n"
        proxy.replace(speaking(b"who?"))
        with pytest.raises(ConnectionResetError):
            await reader.readline()
        writer.close()
        reader, writer = await connect(proxy.port)
        writer.write(b"hello\n")
        assert await reader.read() == b"who?"
        writer.close()
        proxy.replace(answering_http(503, b"[]"))
        async with httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{proxy.port}") as client:
            answers = [await client.post("/", content=b"x" * size) for size in (0, 100_000)]
        assert [(answer.status_code, answer.json()) for answer in answers] == [(503, [])] * 2
        proxy.replace(answering_redis(b"-LOADING\r\n"))
        async with redis.asyncio.Redis(port=proxy.port, retry=Retry(NoBackoff(), 0)) as client_of_redis:
            with pytest.raises(redis.BusyLoadingError):
                await client_of_redis.ping()
        proxy.resume()
        again = await connect(proxy.port)
        assert await echoed(again) == b"hello\n"
        again[1].close()


async def test_the_proxy_resets_who_comes_when_its_target_is_down(start_redis: StartRedis) -> None:
    server = start_redis()
    async with Proxy(server.port) as proxy:
        server.kill()
        reader, writer = await connect(proxy.port)
        with pytest.raises(ConnectionResetError):
            await reader.readline()
        writer.close()
        await asyncio.to_thread(server.restart)
        async with redis.asyncio.Redis(port=proxy.port) as client:
            assert await client.ping()


async def test_a_replica_behind_a_stalled_proxy_acknowledges_nothing_until_it_resumes(start_redis: StartRedis) -> None:
    primary = await asyncio.to_thread(start_redis)
    async with Proxy(primary.port) as proxy:
        replica = await asyncio.to_thread(start_redis, replica_of=proxy.port)
        await asyncio.to_thread(replica.wait_until_linked)
        async with redis.asyncio.Redis(port=primary.port) as client:
            proxy.stall()
            await client.set("key", "value")
            assert await client.wait(1, 200) == 0
            proxy.resume()
            assert await client.wait(1, 5000) == 1
