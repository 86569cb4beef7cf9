"""What single operations cost in this process: entities, fleets, maps, routes, holds, documents, live updates.

    python -m bench.ops [--stations 500000]

Rounds are interleaved and the least CPU time of each counts: read the ratios.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
import orjson
import shapely
import uvloop

from app.model.clock import system_clock
from app.model.partner import Partner, PartnerKind, Scope
from app.model.reservation import Guarantee
from app.reservations.base import Command
from app.reservations.embedded import EmbeddedReservations
from app.services.viewer import Viewer, viewer_of
from app.wiring import Hub, open_hub
from bench import data
from bench.serve import settings_of
from schema.context import Context
from schema.engine import FRAGMENTS, Answer, Engine
from schema.execution.fragments import MAX_FRAGMENT_BYTES

ROUNDS = 5
ENTITIES = """query ($these: [_Any!]!) { _entities(representations: $these) { ... on Station {
  id name address access bayCount location { lon lat } evses { id status connectors { type maxPowerKw } }
} } }"""
FILTER = "filter: {connectorTypes: [GBT_DC], minPowerKw: 180}"
STATIONS = "totalCount edges { distanceM node { id name location { lon lat } availability { available total } } }"
FLEET = f"""query ($points: [BatchPointInput!]!) {{
  nearbyStationsBatch(points: $points, radiusM: 5000, first: 5, {FILTER}) {{ stations {{ {STATIONS} }} }}
}}"""
ONE = f"""query ($lon: Float!, $lat: Float!) {{
  nearbyStations(near: {{lon: $lon, lat: $lat}}, radiusM: 5000, first: 5, {FILTER}) {{ {STATIONS} }}
}}"""
CLUSTERS = """query ($box: BoundingBoxInput!, $zoom: Int!) {
  stationClusters(box: $box, zoom: $zoom) { count location { lon lat } tile { x y z } }
}"""
ROUTE = """query ($route: GeoJSON!) {
  stationsAlongRoute(route: $route, corridorM: 3000, first: 20) {
    totalCount edges { alongM distanceM node { id name } }
  }
}"""
HOLDS_AT_ONCE = 50
HOLDS = 2_000
UPDATES = 20_000

Run = Callable[[], Awaitable[object]]


async def least(runs: dict[str, Run], rounds: int = ROUNDS) -> dict[str, float]:
    """Return the least seconds of CPU that each run took."""
    found = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            begun = time.process_time()
            await run()
            found[name] = min(found[name], time.process_time() - begun)
    return found


def viewer() -> Viewer:
    return viewer_of(Partner(id="bench", kind=PartnerKind.NAVIGATION, scopes=frozenset(Scope)), data.FEEDS)


def asking(engine: Engine, hub: Hub, text: str, variables: dict[str, Any]) -> Callable[[], Awaitable[bytes]]:
    """Return a run that answers a query as bytes."""

    async def run() -> bytes:
        plan = engine.plan(text)
        assert not isinstance(plan, Answer), plan.body
        answer = await engine.execute(plan, None, variables, Context(hub.services, viewer()))
        assert "errors" not in answer.body, answer.body
        return orjson.dumps(answer.body)

    return run


async def entities(hub: Hub, count: int) -> None:
    random = Random(3)
    feeds = data.FEEDS
    numbers = random.sample(range(count), 100)
    ids = [f"{feeds[n % len(feeds)].id}:{feeds[n % len(feeds)].party}:{n:07d}" for n in numbers]
    variables = {"these": [{"__typename": "Station", "id": station_id} for station_id in ids]}
    compiled, stock = (
        asking(Engine(), hub, ENTITIES, variables),
        asking(Engine(compiled=False), hub, ENTITIES, variables),
    )
    ready = orjson.loads(await compiled())
    assert ready == orjson.loads(await stock())

    async def cold() -> bytes:
        FRAGMENTS.resize(0)
        FRAGMENTS.resize(MAX_FRAGMENT_BYTES)
        return await compiled()

    async def dump() -> bytes:
        return orjson.dumps(ready)

    found = await least({"dumps": dump, "hot": compiled, "cold": cold, "stock": stock})
    shown = ", ".join(f"{name} {found[name] / found['dumps']:.1f}" for name in ("hot", "cold", "stock"))
    print(f"_entities of 100 stations, in times of orjson.dumps: {shown}")
    hot, cold = (found["stock"] / found[name] for name in ("hot", "cold"))
    print(f"… faster than stock Strawberry with caches: hot {hot:.0f} times, cold {cold:.1f} times")


async def fleet(hub: Hub, count: int) -> None:
    points = [{"lon": point.lon, "lat": point.lat} for point in data.places(count, 100)]
    batch = asking(Engine(), hub, FLEET, {"points": points})
    single = [asking(Engine(), hub, ONE, point) for point in points]

    async def one_by_one() -> None:
        for ask in single:
            await ask()

    together = orjson.loads(await batch())["data"]["nearbyStationsBatch"]
    for ask, each in zip(single, together, strict=True):
        assert orjson.loads(await ask())["data"]["nearbyStations"] == each["stations"]
    found = await least({"batch": batch, "singles": one_by_one})
    print(f"nearbyStationsBatch of 100 points / 100 requests: {found['batch'] / found['singles']:.2f}")


async def maps(hub: Hub, count: int) -> None:
    """Clusters of the country beside a pass over all stations; a route beside Shapely's own search."""
    lon, lat = data.positions(count)
    country = {"box": {"west": 98.0, "south": 21.0, "east": 124.0, "north": 42.0}, "zoom": 7}
    clusters = asking(Engine(), hub, CLUSTERS, country)
    line = [[116.0 + number * 0.0125, 33.0 + 0.2 * np.sin(number / 40)] for number in range(400)]
    route = asking(Engine(), hub, ROUTE, {"route": {"type": "LineString", "coordinates": line}})
    tree, whole = shapely.STRtree(shapely.points(lon, lat)), shapely.LineString(line)

    async def full_pass() -> None:
        column, row = ((lon - 98.0) * 4).astype(np.int64), ((lat - 21.0) * 4).astype(np.int64)
        inside = (column >= 0) & (column < 104) & (row >= 0) & (row < 84)
        np.unique(row[inside] * 104 + column[inside], return_counts=True)

    async def dwithin() -> None:
        tree.query(whole, predicate="dwithin", distance=0.03)

    found = await least({"clusters": clusters, "pass": full_pass, "route": route, "dwithin": dwithin})
    print(f"clusters of the country / a pass of numpy over all stations: {found['clusters'] / found['pass']:.2f}")
    print(f"a route of 470 km, 400 vertices, 3 km / dwithin of the whole line: {found['route'] / found['dwithin']:.2f}")


async def first_sight(hub: Hub) -> None:
    from bench.http import QUERY  # noqa: PLC0415

    engine, number = Engine(), 0
    variables = {"lon": 116.4, "lat": 39.9}

    async def see() -> bytes:
        nonlocal number
        number += 1
        return await asking(engine, hub, QUERY.replace("Nearby", f"Nearby{number}"), variables)()

    again = asking(engine, hub, QUERY, variables)
    await again()
    found = await least({"first": see, "again": again}, rounds=20)
    print(f"first sight of a document: {(found['first'] - found['again']) * 1e3:.1f} ms more than the next one")


async def holds() -> None:
    """Embedded holds, as many tasks at once; a second hold of an Evse that is held must be refused."""
    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddedReservations(Path(folder) / "reservations.sqlite", system_clock, 1_000_000)
        await store.open()
        numbers = iter(range(HOLDS))
        granted: list[str] = []
        refused = 0

        async def hold() -> None:
            nonlocal refused
            for number in numbers:
                evse_id = f"bench:MA0000000:{number % (HOLDS // 2)}"  # each of them twice
                outcome = await store.reserve(
                    Command(partner_id="bench", idempotency_key=f"{number}", fingerprint=""),
                    evse_id,
                    600,
                    Guarantee.HUB_HOLD,
                )
                if outcome.reservation is None:
                    refused += 1
                else:
                    granted.append(evse_id)

        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(hold() for _ in range(HOLDS_AT_ONCE)))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        await store.close()
        assert len(granted) == len(set(granted)) == refused == HOLDS // 2, "an Evse was granted twice"
        cost = f"{HOLDS / wall:.0f}/s, {cpu / HOLDS * 1e6:.0f} us of CPU each"
        print(f"holds, durable, {HOLDS_AT_ONCE} at once: {cost}; none granted twice")


async def updates(hub: Hub, count: int) -> None:
    board = hub.ports.board
    ids = list(data.evse_ids(min(count, 10_000)))[:UPDATES]
    now = system_clock()
    lines = [msgspec.json.encode(data.status(evse_id, number, now)) for number, evse_id in enumerate(ids)]
    decoder = msgspec.json.Decoder(type(data.status("", 0)))
    at = now

    async def as_json() -> None:
        nonlocal at
        at += 1
        told = [msgspec.structs.replace(decoder.decode(line), received_at=at) for line in lines]
        for first in range(0, len(told), 500):
            await board.record(told[first : first + 500])

    ready = [data.status(evse_id, number, now) for number, evse_id in enumerate(ids)]

    async def ready_values() -> None:
        nonlocal at
        at += 1
        told = [msgspec.structs.replace(each, received_at=at) for each in ready]
        for first in range(0, len(told), 500):
            await board.record(told[first : first + 500])

    found = await least({"json": as_json, "values": ready_values})
    from_json, from_values = (found[name] / len(ids) * 1e6 for name in ("json", "values"))
    print(f"live updates, 500 at a time: {from_json:.2f} us of CPU each from JSON, {from_values:.2f} from values")


async def measure(folder: Path, count: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        async with open_hub(settings_of(folder, Path(scratch)), {}) as hub:
            await entities(hub, count)
            await fleet(hub, count)
            await maps(hub, count)
            await first_sight(hub)
            await updates(hub, count)
    await holds()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stations", type=int, default=500_000)
    arguments = parser.parse_args()
    uvloop.run(measure(data.folder_of(arguments.stations), arguments.stations))


if __name__ == "__main__":
    main()
