"""What the index adapter costs on top of Elasticsearch: bringing stations in, and searching them.

    python -m bench.elasticsearch [--stations 500000] [--url URL] [--rounds 3]

Starts a node of its own, or uses the one at URL. All figures are of one run on one machine: read the ratios.
Searches by a load generator need wrk; without it that row is missing.
"""

import argparse
import asyncio
import gc
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import ExitStack
from math import inf
from pathlib import Path
from random import Random
from typing import Any, Self

import msgspec
import numpy as np
import orjson
import uvloop
from elasticsearch import Elasticsearch

from app.index import _es_query
from app.index._document import STATION_FIELDS, index_body, station_documents
from app.index._es_client import Cluster, pumped
from app.index.elasticsearch import ElasticsearchIndex
from app.model.clock import Instant
from app.model.datum import Datum
from app.model.search import BoolArray, KeyArray, Near, Search, SearchPage, SlotArray, StationFilter
from app.model.station import ConnectorType, Station
from indexers.feeds.cec102.mapping import Mapper, Notes
from indexers.sandbox.dialects import DIALECTS
from indexers.sandbox.nation import EPOCH, Nation
from indexers.sandbox.wording import Wording
from tests.servers.elasticsearch import ElasticsearchNode

PREFIX = "bench"
POINTS = 400
AT_ONCE = 16
PAGE = 20
PAGE_OF_A_FEED = 100
VEHICLES = 100
SEEN_AT = EPOCH + 1_000_000.0
WANTED = StationFilter(connector_types=frozenset({ConnectorType.GBT_DC}), min_power_w=120_000)


class FreeByHalf:
    """A live view in which every second Evse is free, so that the board costs nothing."""

    def slots(self, keys: KeyArray) -> SlotArray:
        return (keys & np.uint64(0xFFFFF)).astype(np.int32)

    def usable(self, slots: SlotArray, at: Instant, max_age_s: float | None) -> BoolArray:  # noqa: ARG002
        return (slots & 1) == 0

    def fresh(self, slots: SlotArray, at: Instant, max_age_s: float) -> BoolArray:
        return self.usable(slots, at, max_age_s)


def feeds_of(count: int) -> dict[str, list[Station]]:
    """The seeded nation as its operators tell it, read by the feed's own mapping."""
    nation = Nation(1, count)
    feeds: dict[str, list[Station]] = {}
    for dialect in DIALECTS:
        wording, mapper = Wording(dialect, nation), Mapper(dialect.name, dialect.operator_id, Datum.GCJ02)
        feeds[dialect.name] = []
        for slot in nation.slots_of(dialect.name).tolist():
            told = orjson.loads(orjson.dumps(wording.station(nation.station(slot, SEEN_AT))))
            station = mapper.station(told, Notes([], []))
            if station is not None:
                feeds[dialect.name].append(station)
    return feeds


def distinct(feeds: dict[str, list[Station]]) -> int:
    return sum(len({station.id for station in stations}) for stations in feeds.values())


class Meter:
    """Seconds on the wall, of this process's CPU and of Elasticsearch's."""

    def __init__(self, node: Elasticsearch) -> None:
        self._node = node
        self.wall = self.own = self.server = 0.0

    def __enter__(self) -> Self:
        self._begun = time.perf_counter(), time.process_time(), self._server()
        return self

    def __exit__(self, *_: object) -> None:
        wall, own, server = self._begun
        self.wall += time.perf_counter() - wall
        self.own += time.process_time() - own
        self.server += self._server() - server

    def _server(self) -> float:
        (about,) = self._node.nodes.stats(metric="process")["nodes"].values()
        return float(about["process"]["cpu"]["total_in_millis"]) / 1_000

    def __str__(self) -> str:
        return f"{self.wall:8.1f} s   CPU: {self.own:6.1f} s here, {self.server:6.1f} s Elasticsearch"


async def bare_bulk(url: str, node: Elasticsearch, feeds: dict[str, list[Station]], *, whole: bool) -> Meter:
    """Send ready bytes: the flat documents, with the stations in them or without."""
    node.options(ignore_status=404).indices.delete(index="bare")
    node.indices.create(index="bare", **index_body(STATION_FIELDS, "bare-alias"))
    cluster, meter = Cluster([url]), Meter(node)
    cluster.open()
    for stations in feeds.values():
        lines = [document.lines for document in station_documents(stations)]
        if not whole:
            lines = [re.sub(rb',"doc":"[^"]*"\}\n$', b"}\n", line) for line in lines]
        with meter:
            await pumped(lambda part: cluster.bulk("bare-alias", part), lines)
    with meter:
        node.indices.refresh(index="bare")
    await cluster.close()
    node.indices.delete(index="bare")
    return meter


async def adapter(index: ElasticsearchIndex, node: Elasticsearch, feeds: dict[str, list[Station]]) -> Meter:
    """State every feed, page by page."""
    meter = Meter(node)
    for feed, stations in feeds.items():
        with meter:
            replacement = await index.open_replacement(feed)
            for first in range(0, len(stations), PAGE_OF_A_FEED):
                await replacement.add(stations[first : first + PAGE_OF_A_FEED])
            await replacement.commit(remove_missing=True)
    return meter


def _of_the_nation(one: Station) -> Station:
    names = {"id": f"nation:{one.id}", "operator_id": f"nation:{one.operator_id}"}
    return msgspec.structs.replace(one, feed="nation", **names)


def as_one_feed(feeds: dict[str, list[Station]]) -> dict[str, list[Station]]:
    """The same stations as if one operator had them all."""
    every = [station for stations in feeds.values() for station in stations]
    return {"nation": [_of_the_nation(one) for one in every]}


def searches(feeds: dict[str, list[Station]], radius_m: float, wanted: StationFilter) -> list[Search]:
    random = Random(7)
    located = [station.location for stations in feeds.values() for station in stations if station.location]
    return [
        Search(where=Near(center=center, radius_m=radius_m), filter=wanted, first=PAGE, at=SEEN_AT)
        for center in random.sample(located, min(POINTS, len(located)))
    ]


async def run_all(work: Callable[[Search], Awaitable[Any]], asked: Iterable[Search]) -> None:
    left = iter(asked)

    async def one_after_the_other() -> None:
        for search in left:
            await work(search)

    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))


def by_wrk(url: str, asked: Sequence[Search], folder: Path, seconds: float, prefix: str = PREFIX) -> float | None:
    """Searches a second that a load generator gets for the very requests of the adapter."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return None
    bodies = folder / "bodies"
    bodies.write_bytes(b"\n".join(msgspec.json.encode(request_of(search)) for search in asked))
    script = folder / "search.lua"
    script.write_text(
        f"""
        local bodies, n = {{}}, 0
        for line in io.lines("{bodies}") do bodies[#bodies + 1] = line end
        wrk.method, wrk.headers["content-type"] = "POST", "application/json"
        request = function() n = n % #bodies + 1; return wrk.format(nil, nil, nil, bodies[n]) end
        """
    )
    shown = "hits.total.value,hits.hits.fields,aggregations"
    target = f"{url}/{prefix}-stations/_search?allow_partial_search_results=false&filter_path={shown}"
    command = [wrk, "-t1", f"-c{AT_ONCE}", f"-d{seconds:.0f}s", "-s", str(script), target]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s*([\d.]+)", told)
    assert found is not None, told
    assert "Non-2xx" not in told, told
    return float(found[1])


def request_of(search: Search) -> Any:
    assert isinstance(search.where, Near)
    query = _es_query.matching(_es_query.possible(search.where, None), search.filter)
    return _es_query.nearest(query, search.where, PAGE + 8, None)


async def measure(url: str, count: int, rounds: int, folder: Path) -> None:
    begun = time.perf_counter()
    feeds = feeds_of(count)
    stations = distinct(feeds)
    evses = sum(len(station.evses) for each in feeds.values() for station in each)
    print(f"{stations:,} stations, {evses:,} Evses, mapped in {time.perf_counter() - begun:.0f} s (not counted)")
    gc.collect()
    gc.freeze()
    index = ElasticsearchIndex([url], FreeByHalf(), PREFIX)
    with Elasticsearch(url, request_timeout=120) as node:
        for name in node.indices.get(index=f"{PREFIX}-*"):
            node.indices.delete(index=name)
        await index.open()
        try:
            await measure_bulk(index, url, node, feeds)
            print(f"adapter, as {len(feeds)} statements      {await adapter(index, node, feeds)}")
            node.indices.forcemerge(index=f"{PREFIX}-stations", max_num_segments=1)
            await measure_searches(index, url, feeds, rounds, folder)
            await measure_batches(index, feeds, rounds)
        finally:
            await index.close()


async def measure_bulk(
    index: ElasticsearchIndex, url: str, node: Elasticsearch, feeds: dict[str, list[Station]]
) -> None:
    """Bring the stations in as bare bytes and through the adapter, turn about: a node gets faster with time."""
    best = {"bare": inf, "whole": inf, "adapter": inf}
    nation = as_one_feed(feeds)
    for _ in range(2):
        bare = await bare_bulk(url, node, feeds, whole=False)
        print(f"bare bulk of flat documents   {bare}", flush=True)
        whole = await bare_bulk(url, node, feeds, whole=True)
        print(f"… with the stations in them   {whole}", flush=True)
        await index.remove_feed("nation")
        one = await adapter(index, node, nation)
        print(f"adapter, as one statement     {one}", flush=True)
        best = {name: min(best[name], each.wall) for name, each in zip(best, (bare, whole, one), strict=True)}
    ratios = f"{best['adapter'] / best['bare']:.2f}, with the stations in them {best['adapter'] / best['whole']:.2f}"
    print(f"adapter / bare bulk, the best of each: {ratios}")
    print(f"adapter, the same again       {await adapter(index, node, nation)}")
    await index.remove_feed("nation")


async def measure_searches(
    index: ElasticsearchIndex, url: str, feeds: dict[str, list[Station]], rounds: int, folder: Path
) -> None:
    async def ask(search: Search) -> int:
        page = await index.search(search)
        found = await index.find_stations([hit.station_id for hit in page.hits])
        assert None not in found
        return page.total_count

    kinds = {
        "within 5 km, DC of 120 kW and more": searches(feeds, 5_000.0, WANTED),
        "within 20 km, DC of 120 kW and more": searches(feeds, 20_000.0, WANTED),
        "… and open now": searches(feeds, 20_000.0, msgspec.structs.replace(WANTED, open_now=True)),
        "… and free now": searches(feeds, 20_000.0, msgspec.structs.replace(WANTED, available_now=True)),
    }
    print(f"{AT_ONCE} searches at once, {PAGE} stations each from a warm cache; best of {rounds} rounds")
    for name, asked in kinds.items():
        totals = [await ask(search) for search in asked]
        await run_all(ask, asked)
        plain = not (asked[0].filter.available_now or asked[0].filter.open_now)
        cpu_ms, rate, load = float("inf"), 0.0, 0.0
        for _ in range(rounds):
            wall, cpu = time.perf_counter(), time.process_time()
            await run_all(ask, asked * 3)
            cpu_ms = min(cpu_ms, (time.process_time() - cpu) / len(asked) / 3 * 1_000)
            rate = max(rate, 3 * len(asked) / (time.perf_counter() - wall))
            if plain:
                load = max(load, await asyncio.to_thread(by_wrk, url, asked, folder, 4.0) or 0.0)
        beside = f"; wrk {load:6.0f}/s, ratio {rate / load:.2f}" if load else ""
        print(f"{name:38} {np.mean(totals):7.1f} found: {cpu_ms:.2f} ms CPU a search, {rate:6.0f}/s{beside}")


async def measure_batches(index: ElasticsearchIndex, feeds: dict[str, list[Station]], rounds: int) -> None:
    """A hundred vehicles asked for in one batch, and in searches of their own, turn and turn about."""

    async def hydrate(pages: Sequence[SearchPage]) -> None:
        assert None not in await index.find_stations([hit.station_id for page in pages for hit in page.hits])

    async def alone(search: Search) -> None:
        await hydrate([await index.search(search)])

    print(f"{VEHICLES} vehicles, 5 stations each within 5 km; best of {rounds} rounds")
    for name, wanted in {
        "DC of 120 kW and more": WANTED,
        "… and free now": msgspec.structs.replace(WANTED, available_now=True),
    }.items():
        asked = [msgspec.structs.replace(one, first=5) for one in searches(feeds, 5_000.0, wanted)[:VEHICLES]]
        best = {"batch": (inf, inf), "searches": (inf, inf)}
        await hydrate(await index.search_many(asked))
        for _ in range(rounds):
            for way in best:
                wall, cpu = time.perf_counter(), time.process_time()
                if way == "batch":
                    await hydrate(await index.search_many(asked))
                else:
                    await run_all(alone, asked)
                took = (time.process_time() - cpu) * 1_000, (time.perf_counter() - wall) * 1_000
                best[way] = min(best[way][0], took[0]), min(best[way][1], took[1])
        shown = "; ".join(f"as {way} {cpu:.1f} ms CPU, {wall:.0f} ms" for way, (cpu, wall) in best.items())
        print(f"{name:38} {shown}; CPU ratio {best['searches'][0] / best['batch'][0]:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stations", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--url", help="use the node there instead of an own one")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = arguments.url
        if url is None:
            url = stack.enter_context(ElasticsearchNode(folder / "node", heap="1g", full_jit=True)).url
        print(f"Elasticsearch at {url}, {os.cpu_count()} processors")
        uvloop.run(measure(url, arguments.stations, arguments.rounds, folder))


if __name__ == "__main__":
    main()
