"""The system's Redis server, set up as a store of reservations has to be: a write is on the disk before its answer."""

import itertools
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers.process import LOOPBACK, Leash, Server, ServerFailedError, ServerMissingError, free_port

_OPTIONS = {
    "bind": LOOPBACK,
    "save": "",
    "appendonly": "yes",
    "appendfsync": "always",
    "repl-diskless-sync-delay": "0",
    "shutdown-timeout": "0",  # a frozen replica would hold up the end of its primary
}


class RedisServer(Server):
    """A Redis server. `replica_of` is the port of its primary on 127.0.0.1, or of a proxy before it.

    `options` are lines of redis.conf by name, such as `{"min-replicas-to-write": "1"}`.
    """

    name = "redis"
    ready_within_s = 20.0

    def __init__(
        self,
        folder: Path,
        *,
        replica_of: int | None = None,
        options: Mapping[str, str] | None = None,
        leash: Leash | None = None,
    ) -> None:
        super().__init__(folder, leash)
        self.port = free_port()
        self.replica_of = replica_of
        self.options = {**_OPTIONS, **(options or {})}

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    def client(self, timeout_s: float = 5) -> redis.Redis:
        """A blocking client that tries once: for what a test does behind the back of the code under test."""
        return redis.Redis(
            host=LOOPBACK,
            port=self.port,
            decode_responses=True,
            socket_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
        )

    def wait_until_linked(self) -> None:
        """Return when a replica has its primary's data and follows it."""
        deadline = time.perf_counter() + self.ready_within_s
        with self.client() as client:
            while client.info("replication").get("master_link_status") != "up":
                if time.perf_counter() > deadline:
                    raise ServerFailedError(f"the replica does not follow port {self.replica_of}:\n{self._tail()}")
                time.sleep(0.02)

    def _command(self) -> Sequence[str]:
        program = shutil.which("redis-server")
        if program is None:
            raise ServerMissingError("redis-server is not on the path (Debian and Ubuntu: the package redis-server)")
        options = self.options | {"port": str(self.port)}
        if self.replica_of is not None:
            options["replicaof"] = f"{LOOPBACK} {self.replica_of}"
        return [program, *itertools.chain.from_iterable((f"--{name}", value) for name, value in options.items())]

    def _is_ready(self) -> bool:
        try:
            with self.client() as client:
                return client.ping() is True
        except redis.ConnectionError:  # also while it reads its log
            return False
