"""Readers that do not read: what they cost, what they are told when they read on, and how long they may."""

import asyncio
import json
import socket as sockets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.model.availability import Availability
from app.services.watching import Following, Watch
from app.web import protocol
from tests.integration.api import Api, evse_id, furnish, listening, open_api, station_id
from tests.integration.streams import CHANGED, eventually, socket_to

_FIELDS = """id localId name evseCode physicalReference presence status statusAgeS statusStale reservable inferred
    equipmentId equipmentName manufacturer model statusStaleAt lastKnownStatus lastKnownAt statusReceivedAt rawStatus"""
EVSES = " ".join(f"a{number}: evses {{ {_FIELDS} }}" for number in range(12))
LARGE = (
    "subscription ($ids: [ID!]) { availabilityChanged(stationIds: $ids) { joined changes { station { "
    + EVSES
    + " } } } }"
)
"""Answers with some tens of kilobytes."""

IDS = [station_id(number) for number in range(1, 8)]


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    monkeypatch.setattr("app.services.watching.LOOK_S", 0.01)
    async with open_api(tmp_path) as opened:
        await furnish(opened)
        opened.hub.services.watching._round_s = 0.0
        yield opened


def small_socket(url: str) -> sockets.socket:
    """A connection whose system keeps little for a reader that does not read."""
    made = sockets.socket()
    made.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4_096)
    host, port = url.removeprefix("http://").split(":")
    made.connect((host, int(port)))
    made.setblocking(False)
    return made


def followed(api: Api) -> tuple[Watch, Following]:
    """Return the only watch and its only follower."""
    (watch,) = api.hub.services.watching._watches.values()
    (following,) = watch.followers
    return watch, following


async def change(api: Api) -> None:
    """Let something change, and the next round begin."""
    watch, _ = followed(api)
    before = watch.round
    api.clock.advance(1)
    free = Availability.AVAILABLE if int(api.clock()) % 2 == 0 else Availability.CHARGING
    for number in (1, 3, 4, 5):
        await api.say(evse_id(number), free)
    await eventually(lambda: watch.round > before or not watch.followers)


async def change_until_stuck(api: Api, behind: int) -> Watch:
    """Let something change until the reader is so many rounds behind."""
    watch, following = followed(api)
    async with asyncio.timeout(60):
        while following._told is None or watch.round - following._told < behind:
            await change(api)
    return watch


async def change_until_cut_off(api: Api) -> None:
    """Let something change until there is no reader any more."""
    async with asyncio.timeout(60):
        while api.hub.services.watching.follower_count:
            await change(api)


async def test_a_reader_that_does_not_read_costs_nothing_and_is_told_the_newest(api: Api) -> None:
    async with listening(api.hub) as url, socket_to(url, sock=small_socket(url), max_queue=1) as slow:
        await slow.init(await api.key())
        await slow.subscribe("a", LARGE, {"ids": IDS})
        await slow.next()
        watch = await change_until_stuck(api, 60)
        # One number for it, one seat for each station, and nothing for the rounds that it missed.
        following = next(iter(watch.followers))
        assert len(watch.seats) == len(IDS) and not watch._gone and following._rest == ()
        assert len(watch._latest) <= len(IDS)
        async with socket_to(url) as quick:
            await quick.init(await api.key())
            await quick.subscribe("b", CHANGED, {"ids": IDS})
            fresh = (await quick.event("b"))["availabilityChanged"]
        told: Any = {"joined": 0}
        while told["joined"] < 50:  # what was on its way comes first
            told = (await slow.event("a"))["availabilityChanged"]
        now = {
            evse["id"]: evse["status"]
            for change in told["changes"]
            for evse in change["station"]["a0"]
        }  # fmt: skip
        assert now and now.items() <= {
            (evse["id"], evse["status"]) for change in fresh["changes"] for evse in change["station"]["evses"]
        }
        assert watch.round == following._told


async def test_who_reads_nothing_for_long_is_cut_off(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "UNREAD_S", 0.3)
    watching = api.hub.services.watching
    async with listening(api.hub) as url:
        async with socket_to(url, sock=small_socket(url), max_queue=1) as slow:
            await slow.init(await api.key())
            await slow.subscribe("a", LARGE, {"ids": IDS})
            await slow.next()
            await change_until_cut_off(api)
            slow.connection.transport.abort()
        body = json.dumps({"query": LARGE, "variables": {"ids": IDS}}).encode()
        head = (
            f"POST /graphql HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer {await api.key()}\r\n"
            f"content-type: application/json\r\naccept: text/event-stream\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        _, writer = await asyncio.open_connection(sock=small_socket(url), limit=1_024)
        writer.write(head.encode() + body)
        await eventually(lambda: watching.follower_count == 1)
        await change_until_cut_off(api)
        writer.transport.abort()


async def test_pings_whose_answers_nobody_reads_are_passed_over(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bool] = []
    handle_ping = protocol.BoundedSocketProtocol.handle_ping

    def hear(self: protocol.BoundedSocketProtocol) -> None:
        before = self.transport.get_write_buffer_size()
        handle_ping(self)
        heard.append(self.transport.get_write_buffer_size() > before)

    monkeypatch.setattr(protocol.BoundedSocketProtocol, "handle_ping", hear)
    ping = b"\x89\xfd" + b"\0" * 4 + b"p" * 125  # masked by zeros
    async with listening(api.hub) as url, socket_to(url, sock=small_socket(url), max_queue=1) as slow:
        await slow.init(await api.key())
        await slow.subscribe("a", LARGE, {"ids": IDS})
        await slow.next()
        await change_until_stuck(api, 20)
        slow.connection.transport.write(ping * 1_000)
        await eventually(lambda: len(heard) == 1_000)
        assert not any(heard)
        slow.connection.transport.abort()
