"""The whole API over Elasticsearch and Redis, beside what Elasticsearch alone gives for the same query.

    python -m bench.shared [--stations 500000] [--rounds 3] [--seconds 4]

Starts servers of its own, and fills them. Needs wrk, Java, Maven and Redis. All share two processors: read the ratios.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import uvloop
from elasticsearch import Elasticsearch

from app.index.elasticsearch import ElasticsearchIndex
from app.live.redis import RedisLiveBoard
from app.model.search import Near, Search, StationFilter
from app.model.station import ConnectorType
from bench import data
from bench.elasticsearch import PAGE, by_wrk
from bench.http import POINTS, QUERY, Server, forget, load, serving, write_script
from tests.servers.elasticsearch import ElasticsearchNode
from tests.servers.redis import RedisServer

PREFIX = "chargegraph"
TOLD = 50_000
"""Of how many stations statuses are told: the query does not ask for what is free."""
WANTED = StationFilter(connector_types=frozenset({ConnectorType.GBT_DC}), min_power_w=data.HIGH_POWER_W)


async def fill(index_url: str, live_url: str, count: int) -> None:
    board = RedisLiveBoard(live_url)
    index = ElasticsearchIndex([index_url], board, PREFIX)
    await board.open()
    await index.open()
    await data.fill(index, board, count, told=min(count, TOLD))
    await board.flush()
    await index.close()
    await board.close()


def measure(servers: list[Server], script: Path, alone: Callable[[], float], rounds: int, seconds: float) -> None:
    """Load Elasticsearch alone, and then all processes of the API at once, in turn; their rates are added."""
    with ThreadPoolExecutor(len(servers)) as pool:

        def load_all(for_s: float) -> None:
            list(pool.map(lambda server: load(server, script, for_s, "0,1"), servers))

        load_all(8.0)  # until all stations are remembered, and the JVM is warm
        alone()
        forget(servers)
        best = 0.0
        for _ in range(rounds):
            best = max(best, alone())
            load_all(seconds)
    rates = [sum(of_round) for of_round in zip(*(server.rates for server in servers), strict=True)]
    cpu = min(min(server.cpu_us) for server in servers)
    p99 = median(p99 for server in servers for p99 in server.p99_ms)
    print(f"Elasticsearch alone, by wrk: {best:.0f}/s")
    print(
        f"the whole API, processes: {len(servers)}: {max(rates):.0f}/s (median {median(rates):.0f}), {cpu:.0f} us CPU "
        f"in the process, p99 {p99:.1f} ms; {max(rates) / best:.2f} of Elasticsearch alone"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stations", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    arguments = parser.parse_args()
    count = arguments.stations
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        node = stack.enter_context(ElasticsearchNode(scratch / "elasticsearch", heap="1g", full_jit=True))
        live, reservations = (stack.enter_context(RedisServer(scratch / name)) for name in ("live", "reservations"))
        uvloop.run(fill(node.url, live.url, count))
        with Elasticsearch(node.url, request_timeout=300) as client:
            client.indices.forcemerge(index=f"{PREFIX}-stations", max_num_segments=1)
        os.environ |= {
            "CHARGEGRAPH_STATION_INDEX_URL": f"{node.url}/{PREFIX}",
            "CHARGEGRAPH_LIVE_URL": live.url,
            "CHARGEGRAPH_RESERVATIONS_URL": reservations.url,
        }
        bodies = [
            json.dumps({"query": QUERY, "variables": {"lon": point.lon, "lat": point.lat}}).encode()
            for point in data.places(count, POINTS)
        ]
        script = write_script(scratch / "api.lua", bodies)
        asked = [
            Search(where=Near(center=point, radius_m=20_000.0), filter=WANTED, first=PAGE, at=data.AT)
            for point in data.places(count, POINTS)
        ]

        def alone() -> float:
            rate = by_wrk(node.url, asked, scratch, arguments.seconds, PREFIX)
            assert rate is not None, "wrk is missing"
            return rate

        ours = stack.enter_context(serving("ours", scratch / "one", count, "0,1"))
        found = json.loads(ours.ask(bodies[0]))["data"]["nearbyStations"]["edges"]
        print(f"{count:,} stations; {len(found)} found; started in {ours.started_s:.1f} s")
        measure([ours], script, alone, arguments.rounds, arguments.seconds)
        other = stack.enter_context(serving("ours", scratch / "other", count, "0,1"))
        forget([ours])
        measure([ours, other], script, alone, arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
