"""What subscribers cost, and how far behind they are: `python -m bench.streams [--stations 20000] [--sockets 500]`.

A server of its own process takes 5,000 statuses a second of Evses all over the country, and every subscriber follows
stations near each other, each its own. How far behind somebody is, is told by the server's own times: from the receipt
of a status to the arrival of the event that tells it. A round lasts a second: half of that is the least to expect.
"""

import argparse
import asyncio
import os
import time
from contextlib import suppress
from datetime import datetime
from random import Random

import orjson
import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from app.model.clock import system_clock
from bench import data
from bench.http import Server, serving

DOCUMENT = """subscription Changed($ids: [ID!]) {
  availabilityChanged(stationIds: $ids) {
    at joined changes { kind stationId station {
      availability { available total } evses { id status statusReceivedAt }
    } }
  }
}"""


class Heard:
    """What subscribers heard."""

    def __init__(self) -> None:
        self.events = self.changes = self.bytes = self.joined = 0
        self.behind_s: list[float] = []
        self.until: dict[str, str] = {}
        self.counting = False

    def hear(self, subscriber: str, text: bytes, now: float) -> None:
        news = orjson.loads(text)["payload"]["data"]["availabilityChanged"]
        before = self.until.get(subscriber)
        self.until[subscriber] = news["at"]
        if before is None or not self.counting:
            return
        self.events += 1
        self.bytes += len(text)
        self.changes += len(news["changes"])
        self.joined += news["joined"] > 1
        for change in news["changes"]:
            for evse in change["station"]["evses"]:
                if evse["statusReceivedAt"] > before:
                    self.behind_s.append(now - datetime.fromisoformat(evse["statusReceivedAt"]).timestamp())


async def follow(
    server: Server, number: int, arguments: argparse.Namespace, stations: list[str], heard: Heard
) -> tuple[ClientConnection, asyncio.Task[None]]:
    """Open a socket with its subscriptions, and go on hearing."""
    socket = await connect(
        server.url.replace("http", "ws") + "/graphql",
        subprotocols=[Subprotocol("graphql-transport-ws")],
        compression=None,
        proxy=None,
        max_size=None,
        open_timeout=60,
        ping_interval=None,
    )
    await socket.send(orjson.dumps({"type": "connection_init", "payload": {"key": server.key}}).decode())
    assert orjson.loads(await socket.recv())["type"] == "connection_ack"
    random = Random(number)
    for name in range(arguments.each):
        first = 0 if arguments.alike else random.randrange(len(stations) - arguments.followed)
        asked = {"query": DOCUMENT, "variables": {"ids": stations[first : first + arguments.followed]}}
        await socket.send(orjson.dumps({"type": "subscribe", "id": str(name), "payload": asked}).decode())

    async def hear() -> None:
        with suppress(ConnectionClosed):
            async for text in socket:
                assert isinstance(text, str)
                heard.hear(f"{number} {text[20:26]}", text.encode(), system_clock())

    return socket, asyncio.create_task(hear())


async def load(server: Server, arguments: argparse.Namespace) -> None:
    heard = Heard()
    count_ = min(arguments.stations, 100_000)
    feeds = data.FEEDS
    stations = [f"{feeds[n % len(feeds)].id}:{feeds[n % len(feeds)].party}:{n:07d}" for n in range(count_)]
    begun = time.perf_counter()
    sockets = [await follow(server, number, arguments, stations, heard) for number in range(arguments.sockets)]
    wanted = arguments.sockets * arguments.each
    while len(heard.until) < wanted:  # noqa: ASYNC110 - once, for a moment
        await asyncio.sleep(0.1)
    print(
        f"{wanted:,} subscriptions over {arguments.sockets} sockets begun in {time.perf_counter() - begun:.1f} s",
        flush=True,
    )
    server.tell("update")
    await asyncio.sleep(5)
    heard.counting = True
    cpu, begun = server.cpu_s(), time.perf_counter()
    mine = time.process_time()
    await asyncio.sleep(arguments.seconds)
    heard.counting = False
    took = time.perf_counter() - begun
    cpu, mine = server.cpu_s() - cpu, time.process_time() - mine
    behind = sorted(heard.behind_s)
    p50, p99 = (behind[int(len(behind) * share)] for share in (0.5, 0.99))
    print(
        f"{heard.events / took:,.0f} events/s of {heard.changes / max(1, heard.events):.1f} stations, "
        f"{heard.bytes / took / 1e6:.1f} MB/s; {heard.joined / max(1, heard.events):.1%} of them joined rounds\n"
        f"behind by p50 {p50:.2f} s, p99 {p99:.2f} s, at most {behind[-1]:.2f} s\n"
        f"server: {cpu / took:.0%} of a processor, {server.memory_mb()[1]:.0f} MB at most; "
        f"this client {mine / took:.0%}"
    )
    for socket, _ in sockets:
        socket.transport.abort()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stations", type=int, default=20_000)
    parser.add_argument("--sockets", type=int, default=500)
    parser.add_argument("--each", type=int, default=10, help="subscriptions of a socket")
    parser.add_argument("--followed", type=int, default=20, help="stations of a subscription")
    parser.add_argument("--alike", action="store_true", help="all follow the same stations")
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {1})
    with serving("ours", data.folder_of(arguments.stations), arguments.stations) as server:
        uvloop.run(load(server, arguments))


if __name__ == "__main__":
    main()
