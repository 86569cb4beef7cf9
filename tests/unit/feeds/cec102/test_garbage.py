"""Whatever JSON a platform sends, it becomes stations, statuses and rejections, and never an exception."""

import json
from contextlib import suppress
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from app.errors import FeedError
from app.model.availability import StatusChannel
from app.model.clock import ManualClock
from app.model.datum import Datum
from app.model.geo import is_position
from app.model.identity import MAX_ID_CHARACTERS
from app.model.station import Station
from indexers.feeds.cec102.crypto import encrypt_data, sign_request
from indexers.feeds.cec102.envelope import read_answer, read_call, read_timestamp
from indexers.feeds.cec102.mapping import Mapper, Notes, status_records
from indexers.feeds.cec102.values import decode_json, standard_keys
from tests.unit.feeds.cec102.platform import IV, KEY, PARTY, SIG_KEY, Platform, open_feed, sweep, table

MAPPER = Mapper("teld", PARTY, Datum.GCJ02)
KEYS = (
    *("StationID", "StationName", "CountryCode", "Address", "StationTel", "ServiceTel", "StationType", "StationStatus"),
    *("ParkNums", "StationLng", "StationLat", "Construction", "Pictures", "BusineHours", "businetHours", "ParkFee"),
    *("SupportOrder", "RoundTheClock", "SupportingFacilities", "Wc", "StationOrientation", "EquipmentInfos", "Power"),
    *("EquipmentID", "EquipmentType", "EquipmentLng", "EquipmentLat", "ConnectorInfos", "ConnectorID", "connectorID"),
    *("ConnectorType", "VoltageUpperLimits", "Current", "ParkNo", "NationalStandard", "Status", "ConnectorStatusInfos"),
    *(
        "StationStatusInfos",
        "ConnectorStatusInfo",
        "PageNo",
        "PageCount",
        "ItemSize",
        "StationInfos",
        "StationInfo",
        "",
    ),
)
WORDS = (
    *("1", " 2", "121.5", "31.2", "0", "50", "null", "60kW", "1.2E+2", "1e99", "9" * 40, "全天", "24:00", "周一至周日"),
    *(
        "00:00-24:00",
        "https://x.example/a.jpg,http://y.example",
        "<b>",
        "&#0;",
        "&amp;",
        "\x00",
        "\ud800",
        "\u202e",
        "测试",
    ),
)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=20)
    | st.sampled_from([1, 4, 255, 10**400, 121_500_000, 31.2, 121.5, -1e308])
)  # fmt: skip
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=8),
    max_leaves=30,
)
guns = st.fixed_dictionaries({"ConnectorID": scalars}, optional={key: scalars for key in KEYS if key != "ConnectorID"})
cabinets = st.fixed_dictionaries(
    {"ConnectorInfos": st.lists(guns | junk, max_size=3) | guns},
    optional={key: scalars for key in KEYS if key != "ConnectorInfos"},
)
stations = st.fixed_dictionaries(
    {"StationID": st.sampled_from(["1", 2, " 3 "]), "EquipmentInfos": st.lists(cabinets | junk, max_size=3)},
    optional={key: scalars for key in KEYS if key not in {"StationID", "EquipmentInfos"}},
)


def check(station: Station) -> None:
    """What indexes and searches rely on."""
    assert msgspec.json.decode(msgspec.json.encode(station), type=Station) == station
    assert station.location is None or is_position(station.location.lon, station.location.lat)
    for id_, local_id in ((station.id, station.local_id), *((evse.id, evse.local_id) for evse in station.evses)):
        assert id_ == f"teld:{PARTY}:{local_id.strip()}"
        assert id_.isprintable()
        assert len(id_) <= MAX_ID_CHARACTERS
    assert len({evse.id for evse in station.evses}) == len(station.evses)
    for evse in station.evses:
        (connector,) = evse.connectors
        assert connector.max_power_w is None or 0 <= connector.max_power_w <= 1_500_000


@given(sent=stations | junk)
def test_any_station_is_mapped_or_rejected(sent: Any) -> None:
    notes = Notes()
    station = MAPPER.station(sent, notes)
    if station is None:
        assert notes.rejections
    else:
        check(station)
    msgspec.json.encode(notes)


@given(sent=junk)
def test_any_status_is_read_or_rejected(sent: Any) -> None:
    records = status_records(standard_keys(sent)) if isinstance(sent, dict) else [sent]
    batch = MAPPER.statuses(records, at=1.0, stale_after=2.0, channel=StatusChannel.PULL)
    assert len(batch.statuses) + len(batch.rejections) == len(records)
    msgspec.json.encode(batch)


@given(body=st.binary(max_size=60) | junk.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    for written in (body, b'{"Ret":"' + body + b'","Sig":"\\ud800"}', b'{"Data":' + body + b"}"):
        read_answer(written)
        read_call(written)
        with suppress(ValueError):
            decode_json(written)


@given(text=st.text(max_size=30) | st.integers().map(str) | st.integers(10**11, 10**14).map(str))
def test_any_timestamp_is_read_or_none(text: str) -> None:
    meant = read_timestamp(text)
    assert meant is None or meant[0] <= meant[1]


@given(page=st.dictionaries(st.sampled_from(KEYS), junk, max_size=8) | junk, delta=st.booleans())
async def test_any_page_ends_the_sweep(page: Any, delta: bool) -> None:
    """However a platform answers, the sweep comes to its end, or to an error of the feed, in few calls."""
    platform = Platform()
    platform.answers["query_stations_info"] = lambda _: page
    async with open_feed(platform, limits={**table()["limits"], "retries": 0}) as feed:
        with suppress(FeedError):
            await sweep(feed, 0.0 if delta else None)
    assert platform.count("query_stations_info") <= 10


@given(business=junk, interface=st.sampled_from(["query_token", "notification_stationStatus", "x", ""]))
async def test_any_call_is_answered(business: Any, interface: str) -> None:
    clock = ManualClock()
    data = encrypt_data(json.dumps(business).encode(), KEY, IV)
    fields = {"OperatorID": PARTY, "Data": data, "TimeStamp": f"{clock.instant:.0f}", "Seq": "1"}
    sig = sign_request(SIG_KEY, PARTY, data, fields["TimeStamp"], "1")
    async with open_feed(Platform(), clock) as feed:
        token = await feed._inbound._tokens.issue()
        reply = await feed.answer(interface, json.dumps({**fields, "Sig": sig}).encode(), token)
    assert msgspec.json.decode(reply.body)["Ret"] in {0, 4004}
