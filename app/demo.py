"""The demo: nine sandbox operators in a process of their own, and a real hub that indexes and serves them."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx
import msgspec

from app.errors import ChargegraphError, SettingsError, UnavailableError
from app.main import listen, serve
from app.model.clock import Instant, monotonic_s, system_clock
from app.model.feed import RunKind
from app.model.geo import BoundingBox, Point
from app.model.partner import PartnerKind, Scope
from app.model.search import Area, StationFilter
from app.model.station import ConnectorType
from app.services.viewer import viewer_of
from app.settings import Settings
from app.wiring import Hub
from indexers.base import AvailabilityFeed

FEEDS = (
    "teld",
    "starcharge",
    "stategrid",
    "csg",
    "wancheng",
    "naerchong",
    "tewate",
    "yilaite",
    "yunpu",
    "ocpi_sandbox",
)
PARTNER = "demo"
START_S = 60.0
STOP_S = 5.0
CHINA = BoundingBox(west=73.5, south=18.0, east=135.0, north=53.6)
PEOPLES_SQUARE = Point(lon=121.4737, lat=31.2304)
MIN_POWER_W = 60_000

QUERY = (
    "query Nearby($lon: Float!, $lat: Float!) { nearbyStations(near: {lon: $lon, lat: $lat}, radiusM: 5000, first: 3, "
    "filter: {availableNow: true, connectorTypes: [GBT_DC], minPowerKw: 60}) { totalCount edges { distanceM node { "
    "name address openNow operator { name } availability { available total asOf stale } "
    "evses { id status statusAgeS connectors { type maxPowerKw } } } } } }"
)


async def run_demo(settings: Settings, environment: Mapping[str, str], stations: int, seed: int) -> None:
    """Run until Ctrl-C, which stops everything that it started. Raises SettingsError when the sandbox cannot start."""
    began = system_clock()
    demo_settings = msgspec.structs.replace(
        settings, feeds=FEEDS, data_dir=settings.data_dir / f"demo-{stations}-{seed}", port=_port(settings)
    )
    print(f"Starting nine operators and an OCPI party over {stations:,} stations …", flush=True)
    async with _sandbox(stations, seed) as (sandbox_url, sandbox_environment):

        async def started(hub: Hub, url: str) -> None:
            tasks.append(asyncio.create_task(_introduce(hub, url, sandbox_url, began)))

        tasks: list[asyncio.Task[None]] = []
        try:
            await serve(demo_settings, {**environment, **sandbox_environment}, started)
        finally:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                # A store that is closed by now only means that the demo was ended before it had said all.
                if isinstance(result, ChargegraphError) and not isinstance(result, UnavailableError):
                    raise result
    print("Everything is stopped.", flush=True)


def _port(settings: Settings) -> int:
    """Return the port of the settings, or a free one when that is taken, and say so."""
    for port in (settings.port, 0):
        try:
            listener = listen(settings.host, port)
        except SettingsError:
            continue
        with listener:
            free: int = listener.getsockname()[1]
        if port != settings.port:
            print(f"Port {settings.port} is taken; using {free} instead.", flush=True)
        return free
    msg = f"no port can be had on {settings.host}; set CHARGEGRAPH_HOST"
    raise SettingsError(msg)


@asynccontextmanager
async def _sandbox(stations: int, seed: int) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """Run the operators in a process of their own, so that they cost the hub nothing and share nothing with it."""
    command = ("-m", "app", "sandbox", "--json", "--until-eof", "--stations", str(stations), "--seed", str(seed))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdin=PIPE, stdout=PIPE, start_new_session=True
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), START_S)
        if not line:
            msg = f"the sandbox ended with exit code {await process.wait()} before it listened"
            raise SettingsError(msg)
        announcement = json.loads(line)
        yield announcement["base_url"], announcement["environment"]
    finally:
        await _stop(process)


async def _stop(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _introduce(hub: Hub, url: str, sandbox_url: str, began: Instant) -> None:
    """Wait for the first sweeps, let the operators push, and print what to paste."""
    await _wait_for_sweeps(hub, began)
    async with httpx.AsyncClient() as client:
        inbound_url = url + hub.settings.inbound_path
        (await client.post(f"{sandbox_url}/control/push_to", json={"url": inbound_url})).raise_for_status()
    key = await _fresh_key(hub)
    center = await _somewhere_free(hub)
    counts = await hub.ports.index.count_stations()
    variables = {"lon": round(center.lon, 4), "lat": round(center.lat, 4)}
    body = json.dumps({"query": QUERY, "variables": variables})
    print(
        f"""
{sum(counts.values()):,} stations of {len(counts)} feeds are indexed after {system_clock() - began:.1f} s, \
and their statuses keep moving.

Look at them on a map, in a browser; it works offline:  {url}/#key={key}

Or paste this into another terminal:

curl -s {url}/graphql -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\
  -d '{body}'

Or open the IDE, which works offline, too:  {url}/graphql#key={key}&lon={variables["lon"]}&lat={variables["lat"]}
The operators' platforms, to try your own client against:  {sandbox_url}/

Ctrl-C stops everything.""",
        flush=True,
    )


async def _wait_for_sweeps(hub: Hub, began: Instant) -> None:
    """Return once every feed has its stations, and its live status as of this start."""
    deadline_s = monotonic_s() + START_S * 10
    waiting = {(feed.feed, RunKind.FULL) for feed in hub.feeds}
    waiting |= {(feed.feed, RunKind.STATUS) for feed in hub.feeds if isinstance(feed, AvailabilityFeed)}
    while waiting and monotonic_s() < deadline_s:
        for feed, kind in tuple(waiting):
            report = await hub.ports.ledger.find_report(feed, kind)
            if report is not None and (kind is RunKind.FULL or report.ended_at >= began):
                waiting.discard((feed, kind))
        await asyncio.sleep(0.05)


async def _fresh_key(hub: Hub) -> str:
    """Make a key for this run and end those of earlier ones: their text is known to nobody any more."""
    for key in await hub.partners.list_keys():
        if key.partner.id == PARTNER and key.revoked_at is None:
            await hub.partners.revoke_key(key.key_id)
    _, text = await hub.partners.create_key(PARTNER, PartnerKind.NAVIGATION, Scope)
    return text


async def _somewhere_free(hub: Hub) -> Point:
    """Return a place near which the query that we print finds something."""
    wanted = StationFilter(
        connector_types=frozenset({ConnectorType.GBT_DC}), min_power_w=MIN_POWER_W, available_now=True
    )
    keys = [key for key in await hub.partners.list_keys() if key.revoked_at is None and key.partner.id == PARTNER]
    viewer = viewer_of(keys[-1].partner, hub.services.feeds)
    page = await hub.services.search.search(viewer, Area(box=CHINA), wanted, 1, None)
    places = [found.sighting.station.location for found in page.found]
    return next((place for place in places if place is not None), PEOPLES_SQUARE)
