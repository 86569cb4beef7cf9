"""What searches of the embedded index cost, in ratios of CPU time: compiled kernel, numpy, and the floor.

`python -m bench.grid [--stations 500000]` from the root. A seeded nation (330 towns by Zipf, an eighth of the stations
anywhere, eight Evses each) is made as columns; searches begin near stations. Rounds are interleaved, so that other work
on the machine hurts all alike; only ratios mean anything. The floor is `orjson.dumps` of a ready answer of 20 stations.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated

import msgspec
import numpy as np
import orjson
import typer

from app.index._columns import CELLS_PER_DEGREE, CELLS_PER_ROW, Batch, Columns, merge
from app.index._grid import Grid
from app.index._kernel import load
from app.index._packing import KINDS
from app.index.embedded import EmbeddedIndex
from app.live._board import SLOT
from app.live.embedded import EmbeddedLiveBoard
from app.model.geo import FloatArray, Point
from app.model.search import Near, Search, StationFilter
from app.model.station import ConnectorType

ROUNDS = 15
POINTS = 100
EVSES = 8
TOWNS = 330
NOW = 1_000_000.0
POWERS_W = (7_000, 60_000, 120_000, 250_000, 480_000)
POWER_SHARES = (0.4, 0.25, 0.25, 0.08, 0.02)
OPERATORS = 200
FEEDS = 10

Run = Callable[[], Awaitable[object]]


def _places(random: np.random.Generator, count: int) -> tuple[FloatArray, FloatArray]:
    towns = np.column_stack([random.uniform(98.0, 122.0, TOWNS), random.uniform(22.0, 42.0, TOWNS)])
    weights = 1.0 / np.arange(1, TOWNS + 1) ** 0.9
    at = towns[random.choice(TOWNS, count, p=weights / weights.sum())] + random.normal(0.0, 0.12, (count, 2))
    rural = random.random(count) < 0.12
    at[rural] = np.column_stack([random.uniform(75.0, 130.0, rural.sum()), random.uniform(20.0, 48.0, rural.sum())])
    return at[:, 0], at[:, 1]


def make_index(count: int) -> tuple[EmbeddedIndex, EmbeddedLiveBoard]:
    """An index of so many stations without its file, and a board on which most Evses have fresh news."""
    random = np.random.default_rng(7)
    lon, lat = _places(random, count)
    ids = [b"bench:395815801:%012d" % number for number in range(count)]
    evses = count * EVSES
    stations = np.repeat(np.arange(count, dtype=np.int32), EVSES)
    dc = random.random(evses) < 0.6
    board = EmbeddedLiveBoard(Path("never-opened"))
    index = EmbeddedIndex(Path("never-opened"), board)
    for names, prefix, many in (
        (index._dictionaries.feeds, "feed", 10),
        (index._dictionaries.operators, "op", OPERATORS),
    ):
        for number in range(many):
            names.intern(f"{prefix}{number}")
    shares = 1.0 / np.arange(1, OPERATORS + 1) ** 1.1
    cell_rows, cell_columns = ((lat + 90) * CELLS_PER_DEGREE).astype(int), ((lon + 180) * CELLS_PER_DEGREE).astype(int)
    batch = Batch(
        lon=lon,
        lat=lat,
        cell=(cell_rows * CELLS_PER_ROW + cell_columns).astype(np.int32),
        feed=random.integers(0, FEEDS, count, dtype=np.int32),
        operator=random.choice(OPERATORS, count, p=shares / shares.sum()).astype(np.int32),
        access=random.choice(3, count, p=(0.05, 0.9, 0.05)).astype(np.uint8),
        hours=np.zeros(count, np.int32),
        ids=b"".join(ids),
        id_start=np.arange(count + 1, dtype=np.int64) * len(ids[0]),
        text=b"\xff" * count,
        text_start=np.arange(count + 1, dtype=np.int64),
        row_start=np.arange(count + 1, dtype=np.int64) * EVSES,
        row_kind=np.where(dc, KINDS[ConnectorType.GBT_DC], KINDS[ConnectorType.GBT_AC]).astype(np.uint8),
        row_power_w=np.where(dc, random.choice(POWERS_W, evses, p=POWER_SHARES), 7_000).astype(np.int32),
        row_evse=np.arange(evses, dtype=np.int32),
        evse_key=random.integers(1, 2**64 - 1, evses, dtype=np.uint64),
        evse_station=stations,
    )
    order = batch.spatial_evse_order()
    slots = np.empty(evses, np.int32)
    slots[order] = board.slots(batch.evse_key[order])
    records = np.zeros(evses, SLOT)
    records["key"], records["received_at"] = batch.evse_key, NOW
    records["observed_at"] = NOW - random.uniform(0, 600, evses)
    records["stale_after"] = NOW + random.uniform(-60, 600, evses)
    records["availability"] = random.choice((2, 3, 7, 9), evses, p=(0.45, 0.35, 0.1, 0.1))
    board._take_records(records, ["1"])
    index._columns = merge(Columns.empty(), (), batch, slots)
    return index, board


def _floor() -> dict[str, object]:
    """Return a ready answer of 20 stations of 10 fields, with 4 connectors of 4 each."""
    connector = {"id": "bench:395815801:1-1", "plug": "GBT_DC", "status": "AVAILABLE", "powerKw": 120.0}
    station = {"id": "bench:395815801:000001", "name": "充电站", "address": "上海市浦东新区张江路1号", "city": "上海市"}
    figures = {"lon": 121.512345, "lat": 31.212345, "distanceM": 1234.567, "openNow": True, "bayCount": 12}
    each = {**station, **figures, "connectors": [connector] * 4}
    return {"data": {"nearby": [each] * 20}}


def _searches(points: Sequence[Point], radius_m: float, **wanted: object) -> list[Search]:
    filter_ = msgspec.convert(wanted, StationFilter)
    return [Search(where=Near(center=p, radius_m=radius_m), filter=filter_, first=20, at=NOW) for p in points]


async def measure(count: int) -> None:
    index, _ = make_index(count)
    columns, kernel = index._columns, load()
    assert columns is not None
    assert kernel is not None, "there is no numba"
    begun = time.process_time()
    grid = Grid(columns, index._dictionaries, kernel)
    print(f"{count:,} stations; the grid beside the columns takes {time.process_time() - begun:.3f} s of CPU")
    random = np.random.default_rng(11)
    places = random.integers(0, count, POINTS)
    nudge = random.normal(0.0, 0.005, (2, POINTS))
    lons, lats = (columns.lon[places] + nudge[0]).tolist(), (columns.lat[places] + nudge[1]).tolist()
    points = [Point(lon=lon, lat=lat) for lon, lat in zip(lons, lats, strict=True)]
    dc = {"connector_types": ["GBT_DC"], "min_power_w": 60_000}
    kinds = {
        "5 km": _searches(points, 5_000.0),
        "5 km, type and power": _searches(points, 5_000.0, **dc),
        "5 km, type, power, free now": _searches(points, 5_000.0, **dc, available_now=True),
        "20 km, 30 % of stations": _searches(points, 20_000.0, operator_ids=["op0", "op1"]),
        "20 km, 0.5 % of stations": _searches(points, 20_000.0, operator_ids=["op42", "op43"]),
        "20 km, 250 kW, free now": _searches(points, 20_000.0, min_power_w=250_000, available_now=True),
        "100 km, 0.5 % of stations": _searches(points, 100_000.0, operator_ids=["op42", "op43"]),
    }
    ready = _floor()

    async def dump() -> None:
        for _ in range(POINTS):
            orjson.dumps(ready)

    runs: dict[str, Run] = {"floor": dump}
    for name, searches in kinds.items():
        for way, its_grid in (("kernel", grid), ("numpy", None)):

            async def run(searches: list[Search] = searches, its_grid: Grid | None = its_grid) -> list[object]:
                index._grid = its_grid
                return [await index.search(search) for search in searches]

            runs[f"{name}: {way}"] = run
        answers = [await runs[f"{name}: {way}"]() for way in ("kernel", "numpy")]
        assert answers[0] == answers[1], name

        async def batch(searches: list[Search] = searches) -> object:
            return await index._search_alike(grid, searches)

        runs[f"{name}: batch"] = batch
        assert await batch() == answers[0], name
    figures: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            begun = time.process_time()
            await run()
            figures[name].append(time.process_time() - begun)
    floor = min(figures["floor"]), median(figures["floor"])
    print(f"{'x floor, least (median)':32}{'kernel':>16}{'numpy':>18}{'batch of 100 / 100 singles':>30}")
    for name in kinds:
        cells = [figures[f"{name}: {way}"] for way in ("kernel", "numpy", "batch")]
        ratios = [f"{min(cell) / floor[0]:.1f} ({median(cell) / floor[1]:.1f})" for cell in cells[:2]]
        share = f"{min(cells[2]) / min(cells[0]):.2f} ({median(cells[2]) / median(cells[0]):.2f})"
        print(f"{name:32}{ratios[0]:>16}{ratios[1]:>18}{share:>30}")


def main(stations: Annotated[int, typer.Option(min=1_000)] = 500_000) -> None:
    asyncio.run(measure(stations))


if __name__ == "__main__":
    typer.run(main)
