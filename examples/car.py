"""A car: what is free near it and on its way; holds one, keeps it longer, watches it, and lets it go.

    pip install httpx
    python car.py --lon 121.4737 --lat 31.2304 --to-lon 121.50 --to-lat 31.24

`hub.py` and `car.graphql` belong to it.
"""

import argparse
import asyncio
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from hub import HubError, ask, follow, open_client, run

DOCUMENT = Path(__file__).with_name("car.graphql").read_text(encoding="utf-8")
RADIUS_M = 5_000.0
CORRIDOR_M = 3_000.0
MAX_REFUSALS = 10
HOLD_S = 600
LONGER_S = 1_200


async def drive(wanted: argparse.Namespace) -> None:
    """Find, hold, keep, let go."""
    async with open_client() as client:
        edges = await free_nearby(client, wanted)
        if wanted.to_lon is not None and wanted.to_lat is not None:
            await show_on_the_way(client, wanted)
        reservation, station_id = await hold_one(client, free_evses(edges, wanted.min_power_kw))
        wish = {"reservationId": reservation["id"]}
        still_held = True
        try:
            longer = await change(client, "Extend", "extendReservation", {**wish, "holdS": LONGER_S})
            print(f"Kept for {longer['ttlS']} s.")
            still_held = await watch(client, reservation["id"], station_id, wanted.watch_s)
        finally:
            if still_held:
                gone = await change(client, "Cancel", "cancelReservation", wish)
                print(f"Let go: {gone['state']}.")


async def free_nearby(client: httpx.AsyncClient, wanted: argparse.Namespace) -> list[dict[str, Any]]:
    """Show what is free, the nearest first, and return it."""
    near = {"lon": wanted.lon, "lat": wanted.lat}
    variables = {"near": near, "radiusM": RADIUS_M, "minPowerKw": wanted.min_power_kw}
    edges: list[dict[str, Any]] = (await ask(client, DOCUMENT, "FreeNearby", variables))["nearbyStations"]["edges"]
    print("Free near you:")
    for edge in edges:
        node, free = edge["node"], edge["node"]["availability"]
        print(
            f"  {edge['distanceM']:,.0f} m  {node['name'] or node['id']}  {free['available']} of {free['total']} free"
        )
    return edges


async def show_on_the_way(client: httpx.AsyncClient, wanted: argparse.Namespace) -> None:
    """Show what is free along the route. This one is straight: yours comes from your navigation, as GeoJSON too."""
    route = {"type": "LineString", "coordinates": [[wanted.lon, wanted.lat], [wanted.to_lon, wanted.to_lat]]}
    variables = {"route": route, "corridorM": CORRIDOR_M, "minPowerKw": wanted.min_power_kw}
    print("Free on your way:")
    for edge in (await ask(client, DOCUMENT, "FreeAlongRoute", variables))["stationsAlongRoute"]["edges"]:
        name = edge["node"]["name"] or edge["node"]["id"]
        print(f"  after {edge['alongM']:,.0f} m, {edge['distanceM']:,.0f} m off it  {name}")


def free_evses(edges: list[dict[str, Any]], min_power_kw: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what is free and strong enough, the nearest first, each Evse with its station."""
    for edge in edges:
        for evse in edge["node"]["evses"]:
            strong = any((each["maxPowerKw"] or 0) >= min_power_kw for each in evse["connectors"])
            if evse["status"] == "AVAILABLE" and strong:
                yield evse["id"], edge["node"]


async def hold_one(
    client: httpx.AsyncClient, candidates: Iterator[tuple[str, dict[str, Any]]]
) -> tuple[dict[str, Any], str]:
    """Hold the first that is still free when we ask, for others look for one, too; return its station's id as well."""
    for evse_id, station in islice(candidates, MAX_REFUSALS):
        try:
            reservation = await change(client, "Hold", "reserveEvse", {"evseId": evse_id, "holdS": HOLD_S})
        except RefusedError as refused:
            print(f"{evse_id}: {refused}")
        else:
            where = station["name"] or station["id"]
            print(f"Held {evse_id} at {where} for {reservation['ttlS']} s ({reservation['guarantee']}).")
            return reservation, station["id"]
    raise HubError("nothing near you can be held")


async def watch(client: httpx.AsyncClient, reservation_id: str, station_id: str, watch_s: float) -> bool:
    """Tell what changes while the car is on its way; return whether it still has its reservation at the end."""

    async def tell_of_station() -> None:
        async for data in follow(client, DOCUMENT, "WatchStation", {"stationId": station_id}):
            for change in data["availabilityChanged"]["changes"]:
                free = change["station"] and change["station"]["availability"]
                print(f"There now: {free['available']} of {free['total']} free." if free else "It is gone.", flush=True)

    async def tell_of_reservation() -> None:
        async for data in follow(client, DOCUMENT, "WatchReservation", {"id": reservation_id}):
            updated = data["reservationUpdated"]
            print(f"Your reservation: {updated['state']}, {updated['ttlS']} s left.", flush=True)

    station, reservation = asyncio.create_task(tell_of_station()), asyncio.create_task(tell_of_reservation())
    done, on_their_way = await asyncio.wait({reservation}, timeout=watch_s)
    for task in (station, *on_their_way):
        task.cancel()
    await asyncio.gather(station, *on_their_way, return_exceptions=True)
    for task in done:
        task.result()  # raises what went wrong; the stream is complete once the reservation has ended
    return not done


class RefusedError(HubError):
    """The hub did not do what was wished, and says why."""


async def change(client: httpx.AsyncClient, operation: str, field: str, wish: Mapping[str, Any]) -> dict[str, Any]:
    """Return the reservation as a mutation left it. Raises RefusedError.

    One wish is one key, however often it has to be asked for: `hub.py` repeats what the network lost.
    """
    data = await ask(client, DOCUMENT, operation, {"input": {**wish, "idempotencyKey": str(uuid4())}})
    for refusal in data[field]["userErrors"]:
        raise RefusedError(f"{refusal['message']} ({refusal['code']})")
    if data[field]["replayed"]:
        print("(The hub had done it already; its first answer was lost.)")
    reservation: dict[str, Any] = data[field]["reservation"]
    return reservation


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lon", type=float, default=121.4737, help="where the car is (WGS-84)")
    parser.add_argument("--lat", type=float, default=31.2304)
    parser.add_argument("--to-lon", type=float, help="where it goes")
    parser.add_argument("--to-lat", type=float)
    parser.add_argument("--min-power-kw", type=float, default=60.0)
    parser.add_argument("--watch-s", type=float, default=5.0, help="how long it is on its way, in seconds")
    run(drive(parser.parse_args()))
