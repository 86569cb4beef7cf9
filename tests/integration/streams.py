"""A partner's side of subscriptions: raw frames over a real socket, and server-sent events over real HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

PATIENCE_S = 20.0
PROTOCOL = "graphql-transport-ws"

CHANGED = """
subscription Changed($ids: [ID!], $near: PositionInput, $radiusM: Float, $box: BoundingBoxInput, $polygon: GeoJSON,
    $route: GeoJSON, $corridorM: Float, $filter: StationFilterInput) {
  availabilityChanged(stationIds: $ids, near: $near, radiusM: $radiusM, box: $box, polygon: $polygon, route: $route,
      corridorM: $corridorM, filter: $filter) {
    resynced more joined at
    changes { kind stationId station { id name availability { available total } evses { id status heldByMe } } }
  }
}
"""


class Socket:
    """One socket; what it is told is read in order."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def next(self) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            return json.loads(await self.connection.recv())

    async def init(self, key: str) -> None:
        await self.send(type="connection_init", payload={"key": key})
        assert await self.next() == {"type": "connection_ack"}

    async def subscribe(self, name: str, query: str, variables: Mapping[str, Any] | None = None) -> None:
        await self.send(type="subscribe", id=name, payload={"query": query, "variables": variables})

    async def event(self, name: str) -> Any:
        """Return the data of the next message, which has to be an event without errors of this operation."""
        message = await self.next()
        assert (message["type"], message["id"]) == ("next", name), message
        assert "errors" not in message["payload"], message
        return message["payload"]["data"]

    async def closed(self) -> tuple[int, str]:
        """Return the code and the reason that the server closed it with, whatever it says before."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    await self.connection.recv()
        except ConnectionClosed as closed:
            return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (0, "")


@asynccontextmanager
async def socket_to(url: str, *protocols: str, **options: Any) -> AsyncIterator[Socket]:
    """Open a socket to the hub at a URL; nothing is sent yet."""
    wanted = [Subprotocol(name) for name in protocols or (PROTOCOL,)]
    async with connect(
        url.replace("http", "ws", 1) + "/graphql", subprotocols=wanted, proxy=None, compression=None, **options
    ) as connection:
        yield Socket(connection)


class Events:
    """A response of server-sent events, read event by event."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.raw = b""
        self._chunks = response.aiter_raw()

    async def next(self) -> tuple[str, Any]:
        """Return the name and the data of the next event; comments are passed over."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                block, found, rest = self.raw.partition(b"\n\n")
                if not found:
                    self.raw += await anext(self._chunks)
                    continue
                self.raw = rest
                if block.startswith(b":"):
                    continue
                first, second = block.split(b"\n")
                assert first.startswith(b"event: ") and second.startswith(b"data: ")
                data = second.removeprefix(b"data: ")
                return first.removeprefix(b"event: ").decode(), json.loads(data) if data else None

    async def event(self) -> Any:
        """Return the data of the next event, which has to be one without errors."""
        name, answer = await self.next()
        assert name == "next" and "errors" not in answer, answer
        return answer["data"]


@asynccontextmanager
async def events_of(
    url: str, key: str, query: str, variables: Mapping[str, Any] | None = None, *, method: str = "POST"
) -> AsyncIterator[Events]:
    """Ask for events, by POST or by GET."""
    headers = {"authorization": f"Bearer {key}", "accept": "text/event-stream"}
    asked: dict[str, Any] = {"query": query, "variables": variables or {}}
    sent: dict[str, Any] = {"json": asked}
    if method == "GET":
        sent = {"params": {"query": query, "variables": json.dumps(variables or {})}}
        headers["apollo-require-preflight"] = "true"
    async with (
        httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as client,
        client.stream(method, f"{url}/graphql", headers=headers, **sent) as response,
    ):
        yield Events(response)


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - what it waits for is not ours to signal
            await asyncio.sleep(0.01)


def kinds(event: Any) -> dict[str, str]:
    """Return what became of each station that an event of availabilityChanged names, by the end of its id."""
    return {change["stationId"].rpartition(":")[2].lstrip("0"): change["kind"] for change in event["changes"]}
