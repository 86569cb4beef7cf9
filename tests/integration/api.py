"""A hub to be asked over HTTP: real stores in a folder, a small world in them, feeds that are never run, one clock."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import msgspec
import uvicorn
from starlette.types import ASGIApp

from app.main import build, listen, server_config
from app.model.availability import Availability
from app.model.clock import BEIJING, Clock, ManualClock, to_datetime
from app.model.datum import Datum
from app.model.feed import FeedReport, RunKind
from app.model.geo import Point
from app.model.opening import OpeningHours, Period, SpecialPeriod
from app.model.partner import PartnerKind, Scope
from app.model.station import (
    Address,
    ConnectorFormat,
    ConnectorType,
    Current,
    Flag,
    OriginalPosition,
    ParkingPlace,
    PowerBasis,
    Presence,
    StatedFees,
    Station,
)
from app.settings import read_settings
from app.wiring import Hub, open_hub
from indexers.feeds.cec102.crypto import decrypt_data, encrypt_data, sign_request
from tests.builders import NOON, PARTY, build_connector, build_evse, build_operator, build_station, build_status

HERE = Point(lon=121.4737, lat=31.2304)
"""Shanghai, People's Square: the middle of the small world."""

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "queries"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.graphql"))
"""Queries with their variables and answers, and the names of all of them."""

SECRET = "operator secret!"
VECTOR = "0123456789abcdef"
HUB = "MAHUB0001"

PROFILES = {
    "live": f"""
kind = "cec102"
title = "实时"
party = "{PARTY}"
hub_operator_id = "{HUB}"
[call]
base_url = "http://127.0.0.1:9"
operator_secret = "{SECRET}"
data_secret = "{SECRET}"
data_secret_iv = "{VECTOR}"
sig_secret = "{SECRET}"
[serve]
operator_secret = "{SECRET}"
data_secret = "{SECRET}"
data_secret_iv = "{VECTOR}"
sig_secret = "{SECRET}"
[rights]
attribution = "© 实时"
licence = "made up"
""",
    "priceless": f"""
kind = "ocpi"
title = "价密"
party = "{PARTY}"
url = "file:never-read.json"
[rights]
may_show_price = false
""",
    "register": """
kind = "ocpi"
title = "Register"
party = "NLREG"
url = "file:never-read.json"
has_live_status = false
[rights]
may_republish = false
""",
    "secret": """
kind = "ocpi"
title = "Secret"
party = "NLSEC"
url = "file:never-read.json"
[rights]
may_discover = false
""",
}
"""Four feeds: one that is pushed to, one without prices, one that maps may not show, and one that nobody may see."""

ALL_SCOPES = tuple(Scope)


def station_id(number: int, feed: str = "live") -> str:
    return f"{feed}:{PARTY}:{number:06d}"


def evse_id(number: int, gun: int = 1, feed: str = "live") -> str:
    return f"{station_id(number, feed)}-{gun}"


class Api:
    """A partner's side of the hub, and a hand on its clock and stores."""

    def __init__(self, hub: Hub, clock: ManualClock, app: ASGIApp, client: httpx.AsyncClient) -> None:
        self.hub = hub
        self.clock = clock
        self.app = app
        self.client = client
        self.names: dict[str, str] = {}
        """Stand-ins for identifiers that are random: of the reservations that ``furnish`` makes."""
        self._keys: dict[tuple[str, PartnerKind, tuple[Scope, ...]], str] = {}
        self._numbers = count()

    async def key(
        self,
        partner: str = "nav",
        kind: PartnerKind = PartnerKind.NAVIGATION,
        scopes: Iterable[Scope] = ALL_SCOPES,
    ) -> str:
        """Return the partner's key of that kind and scopes; made when first asked for."""
        wanted = (partner, kind, tuple(scopes))
        if wanted not in self._keys:
            _, self._keys[wanted] = await self.hub.partners.create_key(*wanted)
        return self._keys[wanted]

    async def post(self, *, key: str | None = None, **request: Any) -> httpx.Response:
        """Send a request to the endpoint as the partner "nav", or with another key, whatever it holds."""
        headers = {"authorization": f"Bearer {key or await self.key()}", **request.pop("headers", {})}
        return await self.client.post("/graphql", headers=headers, **request)

    async def ask(self, query: str, variables: Mapping[str, Any] | None = None, *, key: str | None = None) -> Any:
        """Return the whole answer to a document."""
        response = await self.post(key=key, json={"query": query, "variables": variables})
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/json; charset=utf-8"
        return response.json()

    async def data(self, query: str, variables: Mapping[str, Any] | None = None, *, key: str | None = None) -> Any:
        """Return the data of an answer that has no errors."""
        answer = await self.ask(query, variables, key=key)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    async def index(self, *stations: Station) -> None:
        """Write stations as a feed does that states a few."""
        for feed in dict.fromkeys(station.feed for station in stations):
            mine = [station for station in stations if station.feed == feed]
            await self.hub.ports.index.upsert_stations(feed, mine)

    async def say(self, evse_id: str, availability: Availability, *, age_s: float = 0.0, good_s: float = 900.0) -> None:
        """Record a status as if it came now."""
        now = self.clock()
        status = build_status(
            evse_id, availability, observed_at=now - age_s, received_at=now, stale_after=now - age_s + good_s
        )
        assert (await self.hub.ports.board.record([status])).taken == 1

    async def hold(self, evse_id: str, *, hold_s: int = 600, key: str | None = None, again: str | None = None) -> Any:
        """Ask for a hold, with an idempotency key of its own unless it is to be repeated; return the payload."""
        wish = {"evseId": evse_id, "holdS": hold_s, "idempotencyKey": again or f"wish {next(self._numbers)}"}
        return (await self.data(RESERVE, {"input": wish}, key=key))["reserveEvse"]


class Platform:
    """An operator's platform that calls the hub, with the secrets of the profile "live"."""

    def __init__(self, client: httpx.AsyncClient, clock: Clock, *, prefix: bytes = b"") -> None:
        self._client = client
        self._clock = clock
        self._prefix = prefix
        self._seq = 0
        self._token = ""

    async def call(self, interface: str, message: Any) -> tuple[str, Any]:
        """Return Ret as text, and Data decrypted where there is some."""
        self._seq += 1
        data = encrypt_data(json.dumps(message).encode(), SECRET.encode(), VECTOR.encode())
        timestamp = to_datetime(self._clock()).astimezone(BEIJING).strftime("%Y%m%d%H%M%S")
        seq = f"{self._seq:04d}"
        sig = sign_request(SECRET.encode(), PARTY, data, timestamp, seq)
        envelope = {"OperatorID": PARTY, "Data": data, "TimeStamp": timestamp, "Seq": seq, "Sig": sig}
        response = await self._client.post(
            f"/evcs/v1/{interface}",
            content=self._prefix + json.dumps(envelope).encode(),
            headers={"authorization": f"Bearer {self._token}".strip(), "content-type": "application/json"},
        )
        assert response.status_code == 200
        answer = response.json()
        plain = decrypt_data(answer["Data"], SECRET.encode(), VECTOR.encode()) if answer["Data"] else b"null"
        return str(answer["Ret"]), json.loads(plain)

    async def login(self) -> None:
        ret, data = await self.call("query_token", {"OperatorID": PARTY, "OperatorSecret": SECRET})
        assert (ret, data["SuccStat"]) == ("0", 0)
        self._token = data["AccessToken"]

    async def push(self, *statuses: tuple[str, int]) -> None:
        """Send one status as an object, several as a list."""
        infos = [{"ConnectorID": connector, "Status": status} for connector, status in statuses]
        message = {"ConnectorStatusInfo": infos[0] if len(infos) == 1 else infos}
        assert await self.call("notification_stationStatus", message) == ("0", {"Status": 0})


RESERVE = """
mutation Reserve($input: ReserveEvseInput!) {
  reserveEvse(input: $input) {
    reservation { id state live guarantee createdAt expiresAt endedAt serverTime ttlS evseId }
    replayed
    userErrors { code message field }
  }
}
"""


@asynccontextmanager
async def open_api(folder: Path, **environment: str) -> AsyncIterator[Api]:
    """Open a hub over the data in a folder, with the feeds of PROFILES, and a client in the same process."""
    profiles = folder / "profiles"
    profiles.mkdir(exist_ok=True)
    for name, profile in PROFILES.items():
        (profiles / f"{name}.toml").write_text(profile, encoding="utf-8")
    settings = read_settings(
        {
            "CHARGEGRAPH_DATA_DIR": str(folder / "data"),
            "CHARGEGRAPH_PROFILES_DIR": str(profiles),
            "CHARGEGRAPH_FEEDS": ",".join(PROFILES),
            **environment,
        }
    )
    clock = ManualClock(NOON)
    async with open_hub(settings, {}, clock) as hub:
        app = build(hub)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://hub") as client:
            yield Api(hub, clock, app, client)


def read_golden(api: Api, name: str) -> tuple[str, Any]:
    """Return a golden query's document and variables, with the world's random identifiers put in."""
    path = GOLDEN / f"{name}.variables.json"
    text = path.read_text(encoding="utf-8") if path.exists() else "null"
    for stand_in, identifier in api.names.items():
        text = text.replace(f'"{stand_in}"', f'"{identifier}"')
    return (GOLDEN / f"{name}.graphql").read_text(encoding="utf-8"), json.loads(text)


async def furnish(api: Api) -> None:
    """Fill the hub with the small world of the golden queries; 100 seconds go by meanwhile."""
    await furnish_stations(api)
    for number, gun in ((1, 1), (1, 3), (2, 1), (2, 2), (2, 3)):
        await api.say(evse_id(number, gun), Availability.AVAILABLE, age_s=30)
    await api.say(evse_id(1, 2), Availability.CHARGING)
    for number in (3, 4, 5, 7):
        await api.say(evse_id(number), Availability.AVAILABLE)
    await api.say(evse_id(6), Availability.AVAILABLE, age_s=3_600)
    await api.say(evse_id(8, feed="priceless"), Availability.AVAILABLE)
    await api.say(evse_id(10, feed="secret"), Availability.AVAILABLE)
    await _hold_some(api)
    for report in _reports(api.clock()):
        await api.hub.ports.ledger.save_report(report)


async def furnish_stations(api: Api) -> None:
    """Index the operators and stations of the small world."""
    await api.hub.ports.index.save_operators(
        [
            build_operator(feed="live", name="实时充电", website="https://live.example", phone="400-000-0000"),
            build_operator(feed="priceless", name="价密充电"),
            build_operator("NLREG", feed="register", name="Register"),
            build_operator("NLSEC", feed="secret", name="Secret"),
        ]
    )
    await api.index(*_stations_in_shanghai(), *_stations_elsewhere())


async def _hold_some(api: Api) -> None:
    cancelled = (await api.hold(evse_id(3)))["reservation"]["id"]
    wish = {"reservationId": cancelled, "idempotencyKey": "changed my mind"}
    await api.data("mutation($i: CancelReservationInput!){cancelReservation(input: $i){replayed}}", {"i": wish})
    api.clock.advance(60)
    mine = (await api.hold(evse_id(2)))["reservation"]["id"]
    other = await api.hold(evse_id(2, 2), key=await api.key("other"))
    api.clock.advance(40)
    api.names |= {"rsv_cancelled": cancelled, "rsv_mine": mine, "rsv_other": other["reservation"]["id"]}


def _reports(now: float) -> Iterable[FeedReport]:
    yield FeedReport(
        feed="live",
        kind=RunKind.FULL,
        started_at=now - 50,
        ended_at=now - 40,
        received=12,
        indexed=9,
        changed=3,
        removed=1,
        repaired={"COORDINATES_SWAPPED": 1, "TEXT_CLEANED": 2},
        rejected={"no_id": 2, "bad_type": 1},
        unknown_codes={"StationType=77": 3},
    )
    yield FeedReport(feed="live", kind=RunKind.STATUS, started_at=now - 35, ended_at=now - 30, received=9, statuses=20)
    yield FeedReport(
        feed="live", kind=RunKind.STATUS, started_at=now - 5, ended_at=now - 3, error="POST: not finished after 60 s"
    )
    yield FeedReport(feed="secret", kind=RunKind.FULL, started_at=now - 5, ended_at=now - 3, error="secret")


def _east_of_here(metres: float) -> Point:
    return Point(lon=round(HERE.lon + metres / 95_200, 6), lat=HERE.lat)


def _stations_in_shanghai() -> Iterable[Station]:
    fees = StatedFees(electricity="1.2元/度", service="0.6元/度")
    powers = (
        (ConnectorType.GBT_DC, 120),
        (ConnectorType.GBT_DC, 60),
        (ConnectorType.GBT_AC, 7),
        (ConnectorType.GBT_DC, 120),
    )
    for number, name, metres, of in (
        (1, "人民广场超充站", 0, powers),
        (
            2,
            "外滩充电站",
            1_000,
            ((ConnectorType.GBT_DC, 180), (ConnectorType.GBT_DC, 180), (ConnectorType.GBT_DC, 60)),
        ),
        (3, "一样远的站（三）", 2_000, ((ConnectorType.GBT_DC, 120),)),
        (4, "一样远的站（四）", 2_000, ((ConnectorType.GBT_DC, 120),)),
        (5, "慢充站", 2_500, ((ConnectorType.GBT_DC, 30),)),
        (6, "没消息的站", 2_600, ((ConnectorType.GBT_DC, 120),)),
        (7, "暂停营业的站", 2_700, ((ConnectorType.GBT_DC, 120),)),
        (8, "价密站", 3_000, ((ConnectorType.GBT_DC, 90),)),
        (9, "Register 9", 3_100, ((ConnectorType.TYPE2_COMBO, 150),)),
        (10, "Secret 10", 100, ((ConnectorType.GBT_DC, 120),)),
    ):
        feed = {8: "priceless", 9: "register", 10: "secret"}.get(number, "live")
        station = build_station(number, feed=feed)
        yield msgspec.structs.replace(
            station,
            operator_id="register:NLREG" if feed == "register" else station.operator_id,
            name=name,
            address=Address(text=f"人民大道{number}号", city="上海市", country="CN"),
            location=_east_of_here(metres),
            presence=Presence.TEMPORARILY_CLOSED if number == 7 else Presence.IN_SERVICE,
            hours=OpeningHours(always_open=True, raw="24小时") if number == 1 else OpeningHours(),
            fees=fees,
            evses=tuple(
                build_evse(station.id, each, connectors=(build_connector(type=plug, max_power_w=kilowatts * 1_000),))
                for each, (plug, kilowatts) in enumerate(of, 1)
            ),
        )


def _stations_elsewhere() -> Iterable[Station]:
    yield build_station(11, feed="live", name="没有位置的站", location=None, flags=(Flag.COORDINATES_MISSING,))
    for number, lon in ((12, 179.95), (13, -179.95)):
        yield build_station(
            number,
            feed="register",
            operator_id="register:NLREG",
            name=f"Fiji {number}",
            address=Address(text=f"Main Street {number}", city="Taveuni", postal_code="T1", country="FJ"),
            location=Point(lon=lon, lat=-16.8),
            time_zone="Pacific/Fiji",
        )
    station = build_station(14, feed="live")
    connector = build_connector(
        raw_type="4",
        format=ConnectorFormat.CABLE,
        current=Current.DC,
        power_basis=PowerBasis.DERIVED,
        voltage_v=750,
        amperage_a=250,
        standard_revision="GB/T 20234.3-2015",
        flags=(Flag.KW_IN_W_FIELD,),
    )
    yield msgspec.structs.replace(
        station,
        name="什么都有的站",
        address=Address(
            text="中关村大街5号", city="北京市", region="北京市", postal_code="100080", country="CN", area_code="110108"
        ),
        location=Point(lon=116.3974, lat=39.9093),
        original_position=OriginalPosition(lon=116.403643, lat=39.910705, datum=Datum.GCJ02),
        parking_place=ParkingPlace.UNDERGROUND,
        hours=OpeningHours(
            weekly=tuple(Period(day=day, start_min=480, end_min=1_560) for day in (1, 2)),
            exceptions=(SpecialPeriod(start=NOON + 86_400, end=NOON + 90_000, open=False),),
            raw="周一至周二 08:00-次日02:00",
        ),
        fees=StatedFees(electricity="1.0", service="0.5", parking="免费", payment="扫码"),
        phones=("010-00000000", "400-000-0000"),
        bay_count=12,
        directions="地下二层",
        remark="雨天慎行",
        image_urls=("https://live.example/14.jpg",),
        amenities=("TOILET",),
        equipment_owner_id="MA0000009",
        source_updated_at=NOON - 86_400.5,
        flags=(Flag.TEXT_CLEANED,),
        evses=(
            build_evse(
                station.id,
                1,
                name="一号枪",
                evse_code="CN*TLD*E14",
                physical_reference="A1",
                reservable=False,
                equipment_id="E14",
                equipment_name="一号桩",
                manufacturer="厂家",
                model="DC-240",
                power_limit_w=240_000,
                connectors=(connector,),
                flags=(Flag.TYPE_INFERRED,),
            ),
        ),
    )


@asynccontextmanager
async def listening(hub: Hub) -> AsyncIterator[str]:
    """Serve the hub on a real socket; yield its address."""
    async with serving(build(hub)) as url:
        try:
            yield url
        finally:
            hub.services.watching.end()


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an application on a real socket, as the hub is served; yield its address."""
    with listen("127.0.0.1", 0) as listener:
        config = server_config(app, read_settings({}), lifespan="off")
        server = uvicorn.Server(config)
        listener.listen()  # from now on connections wait until the server takes them
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving
