"""The data of the benchmarks: a seeded country of stations in clusters, kept in the embedded stores of a folder."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from random import Random

import msgspec
import numpy as np
import numpy.typing as npt

from app.index.base import StationIndex
from app.index.embedded import EmbeddedIndex
from app.live.base import LiveBoard
from app.live.embedded import EmbeddedLiveBoard
from app.model.availability import Availability, EvseStatus
from app.model.datum import Datum
from app.model.feed import FeedInfo, FeedRights
from app.model.geo import Point
from app.model.opening import OpeningHours, Period
from app.model.station import (
    Access,
    Address,
    Connector,
    ConnectorFormat,
    ConnectorType,
    Current,
    Evse,
    Operator,
    OriginalPosition,
    ParkingPlace,
    PowerBasis,
    Station,
)

FEEDS = tuple(
    FeedInfo(
        id=f"feed{number}", title=f"Feed {number}", party=f"MA{number:07d}", has_live_status=True, rights=FeedRights()
    )
    for number in range(10)
)
AT = 1_764_000_000.0
"""When everything was observed."""
FOREVER = AT + 100 * 365 * 86_400.0
EVSES_A_STATION = 8
CITIES = 330
ZIPF = 0.9
RURAL = 0.12
HIGH_POWER_SHARE = 0.3
"""How many stations have GB/T DC connectors of HIGH_POWER_W and more: what the benchmarks' filter asks for."""
HIGH_POWER_W = 180_000
_WEST, _SOUTH, _EAST, _NORTH = 98.0, 21.0, 124.0, 42.0
_SPREAD_DEGREES = 0.12
_PART = 1_000
_STATUSES_AT_ONCE = 20_000
_HOURS = (
    OpeningHours(always_open=True, raw="24小时"),
    OpeningHours(always_open=True, raw="00:00-24:00"),
    OpeningHours(weekly=tuple(Period(day=day, start_min=420, end_min=1_380) for day in range(1, 8)), raw="7:00-23:00"),
    OpeningHours(),
)

FloatArray = npt.NDArray[np.float64]


def positions(count: int, seed: int = 1) -> tuple[FloatArray, FloatArray]:
    """Return longitudes and latitudes: cities by Zipf's law, and a share anywhere."""
    random = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, CITIES + 1) ** ZIPF
    city_lon, city_lat = random.uniform(_WEST, _EAST, CITIES), random.uniform(_SOUTH, _NORTH, CITIES)
    city = random.choice(CITIES, count, p=weights / weights.sum())
    lon = city_lon[city] + random.normal(0.0, _SPREAD_DEGREES, count)
    lat = city_lat[city] + random.normal(0.0, _SPREAD_DEGREES * 0.8, count)
    rural = random.random(count) < RURAL
    lon[rural] = random.uniform(_WEST, _EAST, int(rural.sum()))
    lat[rural] = random.uniform(_SOUTH, _NORTH, int(rural.sum()))
    return lon, lat


def stations(count: int, seed: int = 1) -> Iterator[Station]:
    """Yield stations of ten feeds, in turn."""
    random = Random(seed)
    for number, (lon, lat) in enumerate(zip(*(axis.tolist() for axis in positions(count, seed)), strict=True)):
        yield _station(number, lon, lat, random)


def _station(number: int, lon: float, lat: float, random: Random) -> Station:
    feed = FEEDS[number % len(FEEDS)]
    high = random.random() < HIGH_POWER_SHARE
    power_w = random.choice((180_000, 250_000, 360_000) if high else (30_000, 60_000, 120_000))
    local_id = f"{number:07d}"
    station_id = f"{feed.id}:{feed.party}:{local_id}"
    return Station(
        id=station_id,
        feed=feed.id,
        operator_id=f"{feed.id}:{feed.party}",
        local_id=local_id,
        name=f"充电站第{number}号",
        address=Address(text=f"中山路{number % 999}号", city=f"第{number % CITIES}市", region="某省", country="CN"),
        location=Point(lon=lon, lat=lat),
        original_position=OriginalPosition(lon=lon + 0.005, lat=lat + 0.002, datum=Datum.GCJ02),
        access=Access.PUBLIC if random.random() < 0.9 else Access.RESTRICTED_FLEET,
        parking_place=random.choice((ParkingPlace.PARKING_LOT, ParkingPlace.UNDERGROUND, ParkingPlace.UNKNOWN)),
        hours=random.choice(_HOURS),
        time_zone="Asia/Shanghai",
        phones=("400-000-0000",),
        bay_count=EVSES_A_STATION,
        evses=tuple(_evse(station_id, place, power_w) for place in range(EVSES_A_STATION)),
    )


def _evse(station_id: str, place: int, power_w: int) -> Evse:
    fast = place < EVSES_A_STATION - 2
    connector = Connector(
        id="1",
        type=ConnectorType.GBT_DC if fast else ConnectorType.GBT_AC,
        format=ConnectorFormat.CABLE,
        current=Current.DC if fast else Current.AC_1_PHASE,
        max_power_w=power_w if fast else 7_000,
        power_basis=PowerBasis.DECLARED,
    )
    return Evse(id=f"{station_id}{place}", local_id=f"{place}", equipment_id=f"{place // 2}", connectors=(connector,))


def status(evse_id: str, number: int, received_at: float = AT) -> EvseStatus:
    """Return a status that is never stale: two of five Evses are free."""
    availability = Availability.AVAILABLE if number * 7 % 5 < 2 else Availability.CHARGING
    return EvseStatus(evse_id, availability, "2", received_at - number % 600, received_at, FOREVER)


async def make(folder: Path, count: int) -> None:
    """Fill the embedded stores of a folder."""
    board = EmbeddedLiveBoard(folder / "live.sqlite")
    index = EmbeddedIndex(folder / "stations.sqlite", board)
    await board.open()
    await index.open()
    await fill(index, board, count, told=count)
    await index.close()
    await board.close()


async def fill(index: StationIndex, board: LiveBoard, count: int, *, told: int) -> None:
    """State so many stations, and the status of each Evse of the first ``told``."""
    await index.save_operators(
        [Operator(id=f"{feed.id}:{feed.party}", feed=feed.id, party=feed.party, name=feed.title) for feed in FEEDS]
    )
    replacements = {feed.id: await index.open_replacement(feed.id) for feed in FEEDS}
    waiting: dict[str, list[Station]] = {feed.id: [] for feed in FEEDS}
    for station in stations(count):
        part = waiting[station.feed]
        part.append(station)
        if len(part) >= _PART:
            await replacements[station.feed].add(part)
            part.clear()
    for feed, part in waiting.items():
        await replacements[feed].add(part)
        await replacements[feed].commit(remove_missing=True)
    news: list[EvseStatus] = []
    for number, evse_id in enumerate(evse_ids(told)):
        news.append(status(evse_id, number))
        if len(news) >= _STATUSES_AT_ONCE:
            await board.record(news)
            news.clear()
    await board.record(news)


def evse_ids(count: int) -> Iterator[str]:
    """Yield the ids of all Evses."""
    for number in range(count):
        feed = FEEDS[number % len(FEEDS)]
        for place in range(EVSES_A_STATION):
            yield f"{feed.id}:{feed.party}:{number:07d}{place}"


def folder_of(count: int) -> Path:
    """Return a folder with the stores of so many stations, made where it is missing (a minute for 250,000).

    It lies among the machine's temporary files, named by what makes it, and serves all runs until these change.
    """
    made_by = b"".join(path.read_bytes() for path in sorted(Path("app/index").glob("*.py")))
    digest = sha256(Path(__file__).read_bytes() + made_by + msgspec.json.encode(count)).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / "chargegraph-bench" / f"{count}-{digest}"
    if not folder.exists():
        for old in folder.parent.glob(f"{count}-*"):
            shutil.rmtree(old)
        folder.parent.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(dir=folder.parent))
        asyncio.run(make(making, count))
        making.rename(folder)
    return folder


def places(count: int, wanted: int, seed: int = 7) -> list[Point]:
    """Return points near stations."""
    random = np.random.default_rng(seed)
    lon, lat = positions(count)
    chosen = random.integers(0, count, wanted)
    shift = random.normal(0.0, 0.01, (2, wanted))
    return [
        Point(lon=float(a), lat=float(b)) for a, b in zip(lon[chosen] + shift[0], lat[chosen] + shift[1], strict=True)
    ]
