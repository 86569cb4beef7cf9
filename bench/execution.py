"""What the compiled executor saves: 20 stations of 10 fields with 4 connectors of 4, as ratios of CPU time.

``python -m bench.execution``; nothing else should run meanwhile. Rounds are interleaved, and the least time counts.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from enum import Enum
from time import process_time
from typing import Any

import orjson
import strawberry
from graphql import get_introspection_query
from strawberry.extensions import ParserCache, ValidationCache

from schema.engine import Answer, Engine
from schema.execution import CompiledExecutor

ROUNDS = 15
STATIONS = 20
CONNECTORS = 4

Run = Callable[[], Coroutine[Any, Any, bytes]]


@strawberry.enum
class Status(Enum):
    AVAILABLE = "available"
    CHARGING = "charging"
    UNKNOWN = "unknown"


@strawberry.enum
class Plug(Enum):
    GBT_DC = "gbt_dc"
    TYPE2 = "type2"


@strawberry.input
class PointInput:
    lon: float
    lat: float


@strawberry.type
class Connector:
    id: strawberry.ID
    plug: Plug
    status: Status
    power_kw: float | None


@strawberry.type
class Station:
    id: strawberry.ID
    name: str
    address: str | None
    city: str | None
    lon: float
    lat: float
    distance_m: float
    open_now: bool | None
    bay_count: int | None
    connectors: list[Connector]


def _build(number: int) -> Station:
    connectors = [
        Connector(
            id=strawberry.ID(f"{number}-{each}"),
            plug=Plug.GBT_DC,
            status=Status.AVAILABLE,
            power_kw=120.0 if each else None,
        )
        for each in range(CONNECTORS)
    ]
    return Station(
        id=strawberry.ID(f"demo:395815801:{number:06d}"),
        name=f"充电站 {number}",
        address=None if number % 5 == 0 else f"上海市浦东新区张江路{number}号",
        city="上海市",
        lon=121.5 + number / 1000,
        lat=31.2,
        distance_m=number * 12.345,
        open_now=True,
        bay_count=number,
        connectors=connectors,
    )


FOUND = [_build(number) for number in range(STATIONS)]


@strawberry.type
class Query:
    @strawberry.field
    async def nearby(
        self, near: PointInput, plugs: list[Plug], radius_m: float = 5_000.0, first: int = STATIONS
    ) -> list[Station]:
        return FOUND


QUERY = """query Nearby($near: PointInput!, $plugs: [Plug!]!, $first: Int = 20) {
  nearby(near: $near, plugs: $plugs, first: $first) {
    id name address city lon lat distanceM openNow bayCount
    connectors { id plug status powerKw }
  }
}"""
VARIABLES = {"near": {"lon": 121.5, "lat": 31.2}, "plugs": ["GBT_DC", "TYPE2"]}


def _dropped_in(executor: Any) -> Run:
    schema = strawberry.Schema(
        Query,
        extensions=[lambda: ParserCache(maxsize=100), lambda: ValidationCache(maxsize=100)],
        execution_context_class=executor,
    )

    async def run() -> bytes:
        result = await schema.execute(QUERY, VARIABLES)
        assert not result.errors
        return orjson.dumps({"data": result.data})

    return run


def _our_path(*, compiled: bool) -> Run:
    engine = Engine(strawberry.Schema(Query)._schema, compiled=compiled)
    context: Any = None

    async def run() -> bytes:
        plan = engine.plan(QUERY)
        assert not isinstance(plan, Answer)
        answer = await engine.execute(plan, None, VARIABLES, context)
        return orjson.dumps(answer.body)

    return run


async def _measure(runs: dict[str, Run]) -> dict[str, float]:
    least = dict.fromkeys(runs, float("inf"))
    for _ in range(ROUNDS):
        for name, run in runs.items():
            times = 20
            begun = process_time()
            for _ in range(times):
                await run()
            least[name] = min(least[name], (process_time() - begun) / times)
    return least


async def main() -> None:
    stock, compiled = _dropped_in(None), _dropped_in(CompiledExecutor)
    ready = orjson.loads(await stock())

    async def floor() -> bytes:
        return orjson.dumps(ready)

    runs = {
        "floor": floor,
        "Strawberry": stock,
        "Strawberry, compiled": compiled,
        "engine": _our_path(compiled=False),
        "engine, compiled": _our_path(compiled=True),
    }
    answers = {name: await run() for name, run in runs.items()}
    assert len(set(answers.values())) == 1, "the answers differ"
    least = await _measure(runs)
    for name, seconds in least.items():
        print(f"{name:24}{seconds / least['floor']:8.1f} x floor {seconds * 1e6:8.1f}")
    print(least["Strawberry"] / least["Strawberry, compiled"], least["engine, compiled"] / least["floor"])


if __name__ == "__main__":
    asyncio.run(main())
