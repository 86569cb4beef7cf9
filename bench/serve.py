"""The servers that the benchmarks load, each a process of its own: `python -m bench.serve KIND FOLDER STATIONS`.

It prints the URL that it answers on, and ends with its standard input.

ours    the whole ASGI application of the hub over the embedded stores in FOLDER, or over the servers that the settings
        in the environment name. Told "cold", it keeps no piece of an answer, until told "warm"; told "update", it takes
        5,000 statuses a second, until told "rest"
limit   reads the same request, and writes a ready answer: what no server of this kind can beat
peer    Strawberry with both its caches in FastAPI, over an STRtree of the same stations
"""

import asyncio
import gc
import json
import os
import sys
import threading
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import orjson
import shapely
import strawberry
import uvicorn
import uvloop
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.fastapi import GraphQLRouter

from app.live.base import LiveBoard
from app.main import build, listen
from app.model.clock import system_clock
from app.model.geo import distance_m
from app.model.partner import PartnerKind
from app.model.partner import Scope as PartnerScope
from app.model.station import Station
from app.settings import Settings, read_settings
from app.web.graphql_endpoint import GraphQLRequest
from app.web.http import JSON, read_body, send_bytes
from app.web.protocol import BoundedHttpProtocol, BoundedSocketProtocol
from app.wiring import open_hub
from bench import data
from schema.engine import FRAGMENTS
from schema.execution.fragments import MAX_FRAGMENT_BYTES

UPDATES_PER_S = 5_000
_PART = 250


def settings_of(folder: Path, scratch: Path) -> Settings:
    """Return the settings of a hub over the benchmarks' stores, or over servers that the environment names."""
    for feed in data.FEEDS:
        profile = f'kind = "ocpi"\ntitle = "{feed.title}"\nparty = "{feed.party}"\nurl = "file:never-read"\n'
        (scratch / f"{feed.id}.toml").write_text(profile, encoding="utf-8")
    return read_settings(
        {
            **{name: value for name, value in os.environ.items() if name.startswith("CHARGEGRAPH_")},
            "CHARGEGRAPH_DATA_DIR": str(folder),
            "CHARGEGRAPH_PROFILES_DIR": str(scratch),
            "CHARGEGRAPH_FEEDS": ",".join(feed.id for feed in data.FEEDS),
            "CHARGEGRAPH_QUOTAS": "NAVIGATION=900000000000/s+900000000000/h",  # counted, and never used up
        }
    )


async def limit(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a ready dict; the first request brings it."""
    body = await read_body(scope, receive, 2**20)
    if scope["path"] == "/answer":
        _ready[0] = orjson.loads(body)
    else:
        msgspec.json.decode(body, type=GraphQLRequest)
    await send_bytes(send, 200, orjson.dumps(_ready[0]), JSON)


_ready: list[Any] = [None]


def peer(count: int) -> ASGIApp:
    """What one would write with the same libraries in a day: types, resolvers, an index by degrees, both caches."""
    known = list(data.stations(count))
    lon = [station.location.lon for station in known if station.location]
    lat = [station.location.lat for station in known if station.location]
    tree = shapely.STRtree(shapely.points(lon, lat))

    @strawberry.type
    class Connector:
        type: str
        max_power_kw: float | None

    @strawberry.type
    class Evse:
        id: strawberry.ID
        status: str
        connectors: list[Connector]

    @strawberry.type
    class Position:
        lon: float
        lat: float

    @strawberry.type
    class PeerStation:
        id: strawberry.ID
        name: str | None
        address: str | None
        access: str
        parking_place: str
        bay_count: int | None
        time_zone: str | None
        location: Position
        evses: list[Evse]

    @strawberry.type
    class Edge:
        distance_m: float
        node: PeerStation

    @strawberry.type
    class Connection:
        edges: list[Edge]

    @strawberry.input
    class PositionInput:
        lon: float
        lat: float

    @strawberry.input
    class StationFilterInput:
        connector_types: list[str]
        min_power_kw: float

    def matches(station: Station, wanted: StationFilterInput) -> bool:
        return any(
            connector.type.value in wanted.connector_types
            and connector.max_power_w is not None
            and connector.max_power_w >= wanted.min_power_kw * 1_000
            for evse in station.evses
            for connector in evse.connectors
        )

    def shown(station: Station) -> PeerStation:
        assert station.location is not None
        return PeerStation(
            id=strawberry.ID(station.id),
            name=station.name,
            address=station.address.text,
            access=station.access.value,
            parking_place=station.parking_place.value,
            bay_count=station.bay_count,
            time_zone=station.time_zone,
            location=Position(lon=station.location.lon, lat=station.location.lat),
            evses=[
                Evse(
                    id=strawberry.ID(evse.id),
                    status="AVAILABLE",
                    connectors=[
                        Connector(type=each.type.value, max_power_kw=(each.max_power_w or 0) / 1_000)
                        for each in evse.connectors
                    ],
                )
                for evse in station.evses
            ],
        )

    @strawberry.type
    class Query:
        @strawberry.field
        def nearby_stations(
            self,
            near: PositionInput,
            radius_m: float,
            first: int,
            filter: StationFilterInput,  # noqa: A002 - the API's name
        ) -> Connection:
            # Degrees of longitude are shorter than those of latitude: 1.5 times as many hold the circle in China.
            degrees = radius_m / 111_000.0
            box = shapely.box(
                near.lon - degrees * 1.5, near.lat - degrees, near.lon + degrees * 1.5, near.lat + degrees
            )
            found = []
            for place in tree.query(box).tolist():
                far = distance_m(near.lon, near.lat, lon[place], lat[place])
                if far <= radius_m and matches(known[place], filter):
                    found.append((float(far), known[place].id, place))
            found.sort()
            return Connection(edges=[Edge(distance_m=far, node=shown(known[place])) for far, _, place in found[:first]])

    schema = strawberry.Schema(
        Query, extensions=[lambda: ParserCache(maxsize=100), lambda: ValidationCache(maxsize=100)]
    )
    app = FastAPI()
    app.include_router(GraphQLRouter(schema), prefix="/graphql")
    return app


async def update(board: LiveBoard, count: int) -> None:
    """Take UPDATES_PER_S statuses a second, of Evses all over the country."""
    loop, number, random = asyncio.get_running_loop(), 0, Random()
    ids = list(data.evse_ids(min(count, 100_000)))
    begun = loop.time()
    while True:
        now = system_clock()
        part = [data.status(ids[(number + n) * 7_919 % len(ids)], random.randrange(600), now) for n in range(_PART)]
        await board.record(part)
        number += _PART
        await asyncio.sleep(max(0.0, begun + number / UPDATES_PER_S - loop.time()))


class Orders:
    """What the one who started us wants, line by line on standard input."""

    def __init__(self, server: uvicorn.Server, board: LiveBoard | None, count: int) -> None:
        self._server = server
        self._board = board
        self._count = count
        self._updating: asyncio.Task[None] | None = None

    def follow(self) -> None:
        """Do what is wanted until standard input ends; then the server ends, too."""
        loop = asyncio.get_running_loop()

        def read() -> None:
            for line in sys.stdin:
                loop.call_soon_threadsafe(self._obey, line.strip())
            self._server.should_exit = True

        threading.Thread(target=read, daemon=True).start()

    def _obey(self, order: str) -> None:
        if order == "update" and self._board is not None:
            self._updating = asyncio.ensure_future(update(self._board, self._count))
        elif order == "rest" and self._updating is not None:
            self._updating.cancel()
        elif order in {"cold", "warm"}:
            FRAGMENTS.resize(0 if order == "cold" else MAX_FRAGMENT_BYTES)


async def serve(app: ASGIApp, told: dict[str, Any], board: LiveBoard | None, count: int) -> None:
    """Serve until standard input ends."""
    listener = listen("127.0.0.1", 0)
    listener.listen()  # whoever asks before the server accepts waits
    config = uvicorn.Config(
        app,
        http=BoundedHttpProtocol,
        ws=BoundedSocketProtocol,
        ws_per_message_deflate=False,
        log_level="warning",
        access_log=False,
        lifespan="off",
    )
    server = uvicorn.Server(config)
    Orders(server, board, count).follow()
    gc.collect()
    gc.freeze()
    print(json.dumps(told | {"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
    await server.serve(sockets=[listener])


async def main(kind: str, folder: Path, scratch: Path, count: int) -> None:
    if kind == "limit":
        await serve(limit, {}, None, count)
    elif kind == "peer":
        await serve(peer(count), {}, None, count)
    else:
        async with open_hub(settings_of(folder, scratch), {}) as hub:
            _, key = await hub.partners.create_key("bench", PartnerKind.NAVIGATION, PartnerScope)
            await serve(build(hub), {"key": key}, hub.ports.board, count)


if __name__ == "__main__":
    _, kind, folder, scratch, stations = sys.argv
    uvloop.run(main(kind, Path(folder), Path(scratch), int(stations)))
