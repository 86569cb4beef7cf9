"""Subscribers of one process hear what happens in another: both processes over one Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from app.model.availability import Availability
from app.model.clock import system_clock
from tests.integration.api import Api, evse_id, furnish_stations, listening, open_api, station_id
from tests.integration.streams import CHANGED, kinds, socket_to

UPDATED = "subscription ($id: ID!) { reservationUpdated(id: $id) { state } }"


@pytest.fixture
async def processes(tmp_path: Path, redis_url: str) -> AsyncIterator[tuple[Api, Api]]:
    """Two hubs that share live status and reservations, each with its own stations."""
    async with AsyncExitStack() as stack:
        opened = []
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
            shared = {"CHARGEGRAPH_LIVE_URL": redis_url, "CHARGEGRAPH_RESERVATIONS_URL": redis_url}
            api = await stack.enter_async_context(open_api(tmp_path / name, **shared))
            api.clock.instant = system_clock()  # reservations go by the server's
            await furnish_stations(api)
            opened.append(api)
        yield opened[0], opened[1]


async def test_news_holds_and_reservations_of_another_process_are_told(processes: tuple[Api, Api]) -> None:
    here, there = processes
    key = await there.key()
    async with listening(here.hub) as url, socket_to(url) as socket:
        await socket.init(key)
        await socket.subscribe("a", CHANGED, {"ids": [station_id(3)], "filter": {"availableNow": True}})
        assert kinds((await socket.event("a"))["availabilityChanged"]) == {}
        await there.say(evse_id(3), Availability.AVAILABLE)
        assert kinds((await socket.event("a"))["availabilityChanged"]) == {"3": "ENTERED"}
        held = (await there.hold(evse_id(3)))["reservation"]["id"]
        assert kinds((await socket.event("a"))["availabilityChanged"]) == {"3": "LEFT"}
        await socket.subscribe("r", UPDATED, {"id": held})
        assert (await socket.event("r"))["reservationUpdated"] == {"state": "HELD"}
        wish: Any = {"reservationId": held, "idempotencyKey": "no more"}
        await there.data("mutation($i: CancelReservationInput!){cancelReservation(input: $i){replayed}}", {"i": wish})
        told = [await socket.next() for _ in range(3)]
    by_name = {name: [each for each in told if each["id"] == name] for name in "ar"}
    assert kinds(by_name["a"][0]["payload"]["data"]["availabilityChanged"]) == {"3": "ENTERED"}
    assert by_name["r"][0]["payload"]["data"]["reservationUpdated"] == {"state": "CANCELLED"}
    assert by_name["r"][1]["type"] == "complete"


async def test_a_key_that_another_process_revokes_ends_the_stream(
    processes: tuple[Api, Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = processes
    monkeypatch.setattr("app.web.guard.KEY_CHECKED_S", 0.1)
    key = await there.key()
    async with listening(here.hub) as url, socket_to(url) as socket:
        await socket.init(key)
        await socket.subscribe("a", CHANGED, {"ids": [station_id(3)]})
        await socket.event("a")
        for each in await there.hub.partners.list_keys():
            await there.hub.partners.revoke_key(each.key_id)
        here.clock.advance(10)
        async with asyncio.timeout(20):
            assert (await socket.closed())[0] == 4403
