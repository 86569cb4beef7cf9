"""Holds an Evse, asks the same again, and lets it go, in types that were generated. Prints what it got, as JSON."""

import json
import sys
from datetime import UTC, datetime
from typing import Any

from chargegraph_client import (
    CancelReservationInput,
    Client,
    EvseStatus,
    Outcome,
    PositionInput,
    ReserveEvseInput,
)
from chargegraph_client.scalars import GeoJSON
from hub import hub_url, open_client, run

ROUTE: GeoJSON = {"type": "LineString", "coordinates": [[121.4737, 31.2304], [121.49, 31.2304]]}


async def book() -> None:
    http_client: Any = open_client()  # as in fleet.py
    async with Client(url=hub_url(), http_client=http_client) as hub:
        near = PositionInput(lon=121.4737, lat=31.2304)
        nearby = (await hub.free_nearby(near, radius_m=5_000, min_power_kw=60)).nearby_stations
        as_of = nearby.edges[0].node.availability.as_of
        evses = [evse for edge in nearby.edges for evse in edge.node.evses]
        evse_id = next(evse.id for evse in evses if evse.status is EvseStatus.AVAILABLE)
        wish = ReserveEvseInput(evseId=evse_id, holdS=600, idempotencyKey="python-1")
        held: Outcome = (await hub.hold(wish)).reserve_evse
        again = (await hub.hold(wish)).reserve_evse
        assert held.reservation is not None
        lasts_s: float = (held.reservation.expires_at - datetime.fromtimestamp(0, UTC)).total_seconds()
        cancel = CancelReservationInput(reservationId=held.reservation.id, idempotencyKey="python-2")
        gone = (await hub.cancel(cancel)).cancel_reservation
        along = (await hub.free_along_route(ROUTE, corridor_m=500, min_power_kw=60)).stations_along_route
        outcomes = {"held": held, "again": again, "gone": gone}
        shown = {name: outcome.model_dump(mode="json", by_alias=True) for name, outcome in outcomes.items()}
        more = {"lastsUntil": lasts_s, "asOf": as_of and as_of.isoformat(), "along": len(along.edges)}
        sys.stdout.write(json.dumps({**shown, **more}))


if __name__ == "__main__":
    run(book())
