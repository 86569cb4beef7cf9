"""What the compiled executor saves, in ratios of CPU time: 20 stations of 10 fields, with 4 connectors of 4 each.

`python -m bench.execution` from the root. Rounds are interleaved and the least time of each counts, so that other work
on the machine hurts all alike; only ratios mean anything.
"""

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum
from time import process_time
from typing import Any

import orjson
import strawberry
from graphql import GraphQLSchema, get_argument_values, get_variable_values, parse
from graphql.execution import Executor
from strawberry.extensions import ParserCache, ValidationCache

from schema.engine import Answer, Engine
from schema.execution import CompiledExecutor

ROUNDS = 40
TIMES = 10
STATIONS = 20
CONNECTORS = 4

Run = Callable[[], Awaitable[object]]


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
        assert near.lon
        assert plugs
        assert radius_m
        return FOUND[:first]


QUERY = """query Nearby($near: PointInput!, $plugs: [Plug!]!, $first: Int = 20) {
  nearby(near: $near, plugs: $plugs, first: $first) {
    id name address city lon lat distanceM openNow bayCount
    connectors { id plug status powerKw }
  }
}"""
VARIABLES = {"near": {"lon": 121.5, "lat": 31.2}, "plugs": ["GBT_DC", "TYPE2"]}


def _strawberry(executor: type[Executor[Any]] | None) -> Callable[[], Awaitable[bytes]]:
    """Return a run through Strawberry's own pipeline with both its caches."""
    schema = strawberry.Schema(
        Query,
        extensions=[lambda: ParserCache(maxsize=100), lambda: ValidationCache(maxsize=100)],
        execution_context_class=executor,
    )

    async def run() -> bytes:
        result = await schema.execute(QUERY, VARIABLES)
        return orjson.dumps({"data": result.data})

    return run


def _engine(schema: GraphQLSchema, *, compiled: bool) -> Callable[[], Awaitable[bytes]]:
    """Return a run through our engine, which knows the document."""
    engine = Engine(schema, compiled=compiled)
    context: Any = None

    async def run() -> bytes:
        plan = engine.plan(QUERY)
        assert not isinstance(plan, Answer)
        answer = await engine.execute(plan, None, VARIABLES, context)
        return orjson.dumps(answer.body)

    return run


class Watched(CompiledExecutor):
    """Keeps what the root value is completed with."""

    seen: tuple[Any, ...] = ()

    def complete_value(self, *arguments: Any) -> Any:
        self.seen = arguments
        return super().complete_value(*arguments)


async def _parts(schema: GraphQLSchema) -> dict[str, Run]:
    """Return runs of the parts of the engine's time that do not depend on how the answer is made."""
    document = parse(QUERY)
    executor = Watched.build(schema, document, None, None, VARIABLES)
    assert isinstance(executor, Watched)
    await executor.execute_operation()
    seen, operation = executor.seen, executor.operation
    info = seen[2]
    field, node = info.parent_type.fields[info.field_name], info.field_nodes[0]

    async def coerce() -> None:
        get_variable_values(schema, operation.variable_definitions or (), VARIABLES)

    async def resolve() -> None:
        await field.resolve(None, info, **get_argument_values(field, node, executor.variable_values))

    async def project() -> None:
        executor.complete_value(*seen)

    return {"  coercing variables": coerce, "  root resolver, by Strawberry": resolve, "  projecting": project}


async def _measure(runs: dict[str, Run]) -> dict[str, float]:
    least = dict.fromkeys(runs, float("inf"))
    for _ in range(ROUNDS):
        for name, run in runs.items():
            begun = process_time()
            for _ in range(TIMES):
                await run()
            least[name] = min(least[name], (process_time() - begun) / TIMES)
    return least


async def main() -> None:
    schema = strawberry.Schema(Query)._schema
    whole = {
        "Strawberry, both caches": _strawberry(None),
        "Strawberry, both caches, compiled": _strawberry(CompiledExecutor),
        "engine": _engine(schema, compiled=False),
        "engine, compiled": _engine(schema, compiled=True),
    }
    answers = {await run() for run in whole.values()}
    assert len(answers) == 1, "the answers differ"
    ready = orjson.loads(answers.pop())

    async def floor() -> None:
        orjson.dumps(ready)

    least = await _measure({"floor: orjson.dumps of the ready dict": floor, **whole, **await _parts(schema)})
    dumping = least["floor: orjson.dumps of the ready dict"]
    for name, seconds in least.items():
        print(f"{name:40}{seconds / dumping:8.1f} x floor")
    stock, compiled = least["Strawberry, both caches"], least["Strawberry, both caches, compiled"]
    print(f"{'dropped into Strawberry':40}{stock / compiled:8.1f} x faster")
    print(f"{'in the engine':40}{least['engine'] / least['engine, compiled']:8.1f} x faster")


if __name__ == "__main__":
    asyncio.run(main())
