"""Real servers for development, until Ctrl-C: `python -m tests.servers`. What is written to them goes with them."""

# ruff: noqa: T201 -- a command talks to its terminal
import argparse
import contextlib
import signal
import sys
import tempfile
from pathlib import Path

from tests.servers.elasticsearch import ElasticsearchCluster, ElasticsearchNode
from tests.servers.process import ServerFailedError, ServerMissingError
from tests.servers.redis import RedisServer


def main() -> None:
    """Start what was asked for, say how to use it, and wait."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    parser.add_argument("--cluster", action="store_true", help="three Elasticsearch nodes instead of one")
    parser.add_argument("--replica", action="store_true", help="a replica of Redis")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as servers:
        folder = Path(servers.enter_context(tempfile.TemporaryDirectory(prefix="chargegraph-servers-")))
        try:
            _serve(servers, folder, cluster=arguments.cluster, replica=arguments.replica)
        except (ServerMissingError, ServerFailedError) as error:
            sys.exit(str(error))


def _serve(servers: contextlib.ExitStack, folder: Path, *, cluster: bool, replica: bool) -> None:
    print("Starting Redis and Elasticsearch (a minute at the first time) ...", file=sys.stderr, flush=True)
    redis = servers.enter_context(RedisServer(folder / "redis"))
    if replica:
        servers.enter_context(RedisServer(folder / "replica", replica_of=redis.port)).wait_until_linked()
    if cluster:
        urls = servers.enter_context(ElasticsearchCluster(folder / "elasticsearch", full_jit=True)).urls
    else:
        urls = [servers.enter_context(ElasticsearchNode(folder / "elasticsearch", heap="1g", full_jit=True)).url]
    print(f"export CHARGEGRAPH_STATION_INDEX_URL={','.join(urls)}")
    print(f"export CHARGEGRAPH_LIVE_URL={redis.url}")
    print(f"export CHARGEGRAPH_RESERVATIONS_URL={redis.url}", flush=True)
    print("Ctrl-C ends them, and deletes their data.", file=sys.stderr, flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
