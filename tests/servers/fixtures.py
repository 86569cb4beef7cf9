"""Real servers for the tests that ask for them: started at the first use, gone when the run ends, however it ends.

Where a server cannot be had, its tests are skipped; with REQUIRE_SERVERS=1 in the environment they fail.
"""

import contextlib
import itertools
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest
from elasticsearch import Elasticsearch

from tests.servers.elasticsearch import ElasticsearchCluster, ElasticsearchNode
from tests.servers.process import ServerMissingError, locked, share
from tests.servers.redis import RedisServer


@contextlib.contextmanager
def had_or_skipped() -> Iterator[None]:
    """Skip the test, or fail it where servers are required, when the block finds that a server cannot be had."""
    try:
        yield
    except ServerMissingError as error:
        if os.environ.get("REQUIRE_SERVERS", "0") not in {"", "0"}:
            pytest.fail(f"REQUIRE_SERVERS is set, and {error}", pytrace=False)
        pytest.skip(str(error))


class StartRedis(Protocol):
    def __call__(self, *, replica_of: int | None = None, options: Mapping[str, str] | None = None) -> RedisServer: ...


class StartElasticsearch(Protocol):
    def __call__(self, *, heap: str = "256m", settings: Mapping[str, str] | None = None) -> ElasticsearchNode: ...


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The Redis of this test process: for tests that leave it running. What is in it may be another test's."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    with had_or_skipped():
        server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """An empty Redis."""
    with redis_server.client() as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[StartRedis]:
    """Start a Redis of the test's own, to be killed, frozen and replicated; stopped when the test ends."""
    with contextlib.ExitStack() as servers:
        numbers = itertools.count(1)

        def start(*, replica_of: int | None = None, options: Mapping[str, str] | None = None) -> RedisServer:
            with had_or_skipped():
                server = RedisServer(tmp_path / f"redis-{next(numbers)}", replica_of=replica_of, options=options)
                return servers.enter_context(server)

        yield start


def _run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the test run, which all its processes share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def elasticsearch_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Elasticsearch node of this test run, shared by all its processes: for tests that leave it running.

    Other tests use it at the same time. Name what you make with `index_prefix`.
    """
    folder = _run_folder(tmp_path_factory)
    with had_or_skipped():
        return share(
            folder / "elasticsearch",
            lambda leash: ElasticsearchNode(Path(tempfile.mkdtemp(dir=folder)), leash=leash).start(),
        )


@pytest.fixture
def index_prefix(elasticsearch_url: str) -> Iterator[str]:
    """What the names of a test's indices and aliases begin with. They are deleted when it ends."""
    with own_prefix(elasticsearch_url) as prefix:
        yield prefix


@contextlib.contextmanager
def own_prefix(elasticsearch_url: str) -> Iterator[str]:
    """What the names of indices begin with that are deleted when the block ends."""
    prefix = f"test-{uuid.uuid4().hex}"
    yield prefix
    with Elasticsearch(elasticsearch_url, request_timeout=30) as client:
        for index in client.indices.get(index=f"{prefix}*", expand_wildcards="all"):
            client.indices.delete(index=index)


@pytest.fixture
def start_elasticsearch(tmp_path: Path) -> Iterator[StartElasticsearch]:
    """Start a node of the test's own, to be killed and frozen; stopped when the test ends."""
    with contextlib.ExitStack() as servers:
        numbers = itertools.count(1)

        def start(*, heap: str = "256m", settings: Mapping[str, str] | None = None) -> ElasticsearchNode:
            with had_or_skipped():
                node = ElasticsearchNode(tmp_path / f"elasticsearch-{next(numbers)}", heap=heap, settings=settings)
                return servers.enter_context(node)

        yield start


@pytest.fixture(scope="session")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ElasticsearchCluster]:
    cluster = ElasticsearchCluster(tmp_path_factory.mktemp("elasticsearch-cluster"))
    yield cluster
    cluster.stop()


@pytest.fixture
def elasticsearch_cluster(
    _cluster: ElasticsearchCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ElasticsearchCluster]:
    """A whole and empty cluster of three nodes, to be killed and frozen.

    One test of a run has one at a time: where two clusters fight for few processors, nodes are evicted as hung.
    """
    with locked(_run_folder(tmp_path_factory) / "elasticsearch-cluster-lock"):
        with had_or_skipped():
            _cluster.start()
        with _cluster.nodes[0].client() as client:
            for index in client.indices.get(index="*"):
                client.indices.delete(index=index)
        yield _cluster
