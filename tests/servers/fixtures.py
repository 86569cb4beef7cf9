"""Real servers for the tests that ask for them: started at the first use, gone when the run ends, however it ends.

Where a server cannot be had, its tests are skipped; with REQUIRE_SERVERS=1 in the environment they fail.
"""

import contextlib
import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from tests.servers.process import ServerMissingError
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
