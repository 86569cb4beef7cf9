"""A fleet's dispatcher: a free charger for each vehicle, held for it; then all of them are let go.

    pip install httpx ariadne-codegen
    ariadne-codegen --config ariadne-codegen.toml     # writes chargegraph_client/, typed, from the *.graphql beside it
    python fleet.py vehicles.json

`hub.py` belongs to it.
"""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from chargegraph_client import (
    BatchPointInput,
    CancelReservationInput,
    Client,
    EvseStatus,
    FreeNearVehiclesNearbyStationsBatch,
    GraphQLClientError,
    LiveReservationsReservationsEdgesNode,
    ReserveEvseInput,
)
from hub import HubError, hub_url, open_client, run, say

MAX_POINTS = 100  # vehicles that one request may ask for
AT_ONCE = 8  # requests on their way
RADIUS_M = 10_000.0
MAX_REFUSALS = 10  # a vehicle
HOLD_S = 900
T = TypeVar("T")


async def dispatch(vehicles: list[BatchPointInput], min_power_kw: float) -> None:
    """Find, hold, let go. However it ends, nothing stays held."""
    held: set[str] = set()  # Evses, as far as is known
    http_client: Any = open_client()  # the protocol that is asked for is narrower than httpx' own client
    try:
        async with Client(url=hub_url(), http_client=http_client) as hub:
            try:
                await hold_all(hub, await find_all(hub, vehicles, min_power_kw), min_power_kw, held)
            finally:
                if held:
                    await release(hub, held)
    except GraphQLClientError as error:
        raise HubError(f"the hub refused: {error}") from error


async def find_all(
    hub: Client, vehicles: list[BatchPointInput], min_power_kw: float
) -> list[FreeNearVehiclesNearbyStationsBatch]:
    """Return what is free near each vehicle, in their order."""
    found: list[FreeNearVehiclesNearbyStationsBatch] = []
    for first in range(0, len(vehicles), MAX_POINTS):
        batch = vehicles[first : first + MAX_POINTS]
        found += (await hub.free_near_vehicles(batch, RADIUS_M, min_power_kw)).nearby_stations_batch
    return found


async def hold_all(
    hub: Client, found: list[FreeNearVehiclesNearbyStationsBatch], min_power_kw: float, held: set[str]
) -> None:
    """Hold one Evse for each vehicle."""

    async def hold_one(near: FreeNearVehiclesNearbyStationsBatch) -> None:
        refusals = 0
        for evse_id, where in free_evses(near, min_power_kw):
            if evse_id in held:
                continue  # another vehicle of ours was quicker
            held.add(evse_id)
            # One wish is one key, however often it has to be asked for: `hub.py` repeats what the network lost.
            wish = ReserveEvseInput(evseId=evse_id, holdS=HOLD_S, idempotencyKey=str(uuid4()))
            outcome = (await hub.hold(wish)).reserve_evse
            if outcome.reservation is not None:
                print(f"{near.key}: {where}, {evse_id}, until {outcome.reservation.expires_at:%H:%M:%S} UTC")
                return
            held.discard(evse_id)
            say(f"{evse_id}: {outcome.user_errors[0].code.value}")
            refusals += 1
            if refusals == MAX_REFUSALS:
                break
        print(f"{near.key}: nothing can be held")

    await several_at_once(hold_one, found)


async def several_at_once(work: Callable[[T], Awaitable[None]], items: Iterable[T]) -> None:
    """Do it for all items, AT_ONCE at a time, until one fails."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def do(item: T) -> None:
        async with gate:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for item in items:
                group.create_task(do(item))
    except ExceptionGroup as failed:  # what stopped the first one stopped all
        raise failed.exceptions[0] from None


def free_evses(near: FreeNearVehiclesNearbyStationsBatch, min_power_kw: float) -> Iterator[tuple[str, str]]:
    """Yield what is free and strong enough, the nearest first, each Evse with where it is."""
    for edge in near.stations.edges:
        for evse in edge.node.evses:
            strong = any((each.max_power_kw or 0) >= min_power_kw for each in evse.connectors)
            if evse.status is EvseStatus.AVAILABLE and strong:
                yield evse.id, f"{edge.node.name or edge.node.id} ({edge.distance_m:,.0f} m)"


async def release(hub: Client, held: set[str]) -> None:
    """Let go of everything that was held here, also of what was granted in an answer that never came."""
    gone: list[str] = []

    async def let_go(reservation_id: str) -> None:
        wish = CancelReservationInput(reservationId=reservation_id, idempotencyKey=str(uuid4()))
        if (await hub.cancel(wish)).cancel_reservation.reservation is not None:
            gone.append(reservation_id)

    mine = [each.id async for each in live_reservations(hub) if each.evse_id in held]
    await several_at_once(let_go, mine)
    print(f"{len(gone)} of {len(held)} held were let go.")


async def live_reservations(hub: Client) -> AsyncIterator[LiveReservationsReservationsEdgesNode]:
    """Yield all reservations of this partner that keep an Evse, page by page."""
    after: str | None = None
    while True:
        page = (await hub.live_reservations(after)).reservations
        for edge in page.edges:
            yield edge.node
        if not page.page_info.has_next_page:
            return
        after = page.page_info.end_cursor


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vehicles", type=Path, help='JSON: [{"key": "沪A·00001", "lon": 121.4737, "lat": 31.2304}, …]')
    parser.add_argument("--min-power-kw", type=float, default=60.0)
    wanted = parser.parse_args()
    points = [BatchPointInput(**each) for each in json.loads(wanted.vehicles.read_text(encoding="utf-8"))]
    run(dispatch(points, wanted.min_power_kw))
