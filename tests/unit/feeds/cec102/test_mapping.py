"""Each quirk of the reference is a payload as it was sent, with what must become of it."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.model.availability import StatusChannel
from app.model.clock import ManualClock
from app.model.datum import Datum
from indexers.base import FeedContext
from indexers.feeds.cec102.feed import make_feed
from indexers.feeds.cec102.mapping import Mapper, Notes, status_records
from indexers.feeds.cec102.values import decode_json, standard_keys
from tests.unit.feeds.cec102.platform import MemoryLedger, table

PAYLOADS = Path(__file__).parent / "payloads"
PREFIX = "teld:395815801:"


def payloads(kind: str) -> list[Any]:
    return [pytest.param(path, id=path.stem) for path in sorted((PAYLOADS / kind).glob("*.json"))]


def read(path: Path) -> tuple[Any, dict[str, Any]]:
    fixture = decode_json(path.read_bytes())
    assert isinstance(fixture, dict)
    return fixture["sent"], fixture["expected"]


def at(value: Any, path: str) -> Any:
    for part in path.split("."):
        if part == "length":
            return len(value)
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def gun_flags(station: dict[str, Any]) -> list[str]:
    """The flags of Evses and of their connectors, one after another."""
    return [
        flag
        for evse in station["evses"]
        for thing in (evse, *evse["connectors"])
        for flag in thing["flags"]
    ]  # fmt: skip


def map_station(sent: object) -> tuple[dict[str, Any] | None, Notes]:
    notes = Notes()
    station = Mapper("teld", "395815801", Datum.GCJ02).station(sent, notes)
    return (None if station is None else json.loads(msgspec.json.encode(station))), notes


@pytest.mark.parametrize("path", payloads("stations"))
def test_station(path: Path) -> None:
    """What is expected names every flag, rejection and unknown code; where it names none, there is none."""
    sent, expected = read(path)
    station, notes = map_station(sent)
    assert sorted(rejection.reason for rejection in notes.rejections) == expected.pop("rejected", [])
    assert sorted(notes.unknown_codes) == expected.pop("unknown_codes", [])
    if station is None:
        assert expected == {"station": None}
        return
    assert station["flags"] == expected.pop("flags", [])
    assert gun_flags(station) == expected.pop("gun_flags", [])
    for where, wanted in expected.items():
        seen = at(station, where)
        if isinstance(wanted, float) and where.startswith("location."):
            assert seen == pytest.approx(wanted, abs=1e-6), where
        else:
            assert seen == wanted, where


@pytest.mark.parametrize("path", payloads("statuses"))
def test_statuses(path: Path) -> None:
    sent, expected = read(path)
    mapper = Mapper("teld", "395815801", Datum.GCJ02)
    records = status_records(standard_keys(sent))
    batch = mapper.statuses(records, at=100.0, stale_after=1000.0, channel=StatusChannel.PULL)
    found = [[each.evse_id.removeprefix(PREFIX), each.availability.value, each.raw] for each in batch.statuses]
    assert found == expected["statuses"]
    assert [rejection.reason for rejection in batch.rejections] == expected.get("rejected", [])
    assert list(batch.unknown_codes) == expected.get("unknown_codes", [])
    assert all(
        (each.observed_at, each.received_at, each.stale_after, each.channel)
        == (100.0, 100.0, 1000.0, StatusChannel.PULL)
        for each in batch.statuses
    )


CODES = msgspec.json.decode((PAYLOADS / "codes.json").read_bytes(), type=dict[str, Any])


@pytest.mark.parametrize(
    ("field", "code"), [(field, code) for field, table in CODES.items() for code in table["meanings"]]
)
@pytest.mark.parametrize("written", [int, str, float])
def test_every_code(field: str, code: str, written: type) -> None:
    """Known codes have their meaning, all others are unknown; what is unknown is counted. As a number or as text."""
    value = written(code)
    gun = {"ConnectorID": "11", **({field: value} if field in {"ConnectorType", "NationalStandard"} else {})}
    cabinet = {"EquipmentID": "1", "ConnectorInfos": [gun], **({field: value} if field == "EquipmentType" else {})}
    sent = {"StationID": "1", "EquipmentInfos": [cabinet], **({field: value} if field not in {*gun, *cabinet} else {})}
    station, notes = map_station(sent)
    table = CODES[field]
    assert station is not None
    assert [at(station, where) for where in table["where"]] == table["meanings"][code]
    assert notes.unknown_codes == ([f"{field}={code}"] if code in table["counted"] else [])
    assert notes.rejections == []


async def test_other_datums_and_parties_come_from_the_profile() -> None:
    context = FeedContext(feed="x", clock=ManualClock(), ledger=MemoryLedger())
    feed = make_feed(table(party="MA0000001", dialect={"datum": "WGS84"}), context)
    assert feed.party == "MA0000001"
    await feed.close()
    mapper = Mapper("x", "MA0000001", Datum.WGS84)
    station = mapper.station({"StationID": "1", "StationLng": 121.5, "StationLat": 31.2}, Notes())
    assert station is not None
    assert station.location is not None
    assert (station.id, station.location.lon, station.location.lat) == ("x:MA0000001:1", 121.5, 31.2)


@pytest.mark.parametrize("value", [None, [], "x", 3, True])
def test_a_record_that_is_no_object_is_counted(value: object) -> None:
    notes = Notes()
    assert Mapper("teld", "395815801", Datum.GCJ02).station(value, notes) is None
    assert [rejection.reason for rejection in notes.rejections] == ["station_not_an_object"]


def test_alike_guns_share_one_value_and_types_are_told_apart() -> None:
    def connector(kind: object) -> object:
        gun = {"ConnectorID": "1", "ConnectorType": kind}
        raw = {"StationID": "1", "EquipmentInfos": [{"EquipmentID": "1", "ConnectorInfos": [gun]}]}
        station = Mapper("teld", "395815801", Datum.GCJ02).station(raw, Notes())
        assert station is not None
        return station.evses[0].connectors[0]

    assert connector(4) is connector(4)
    assert connector(4) == msgspec.structs.replace(connector("4"))  # type: ignore[type-var]
    assert connector(True) != connector(1)
    assert connector([4]) == connector({"x": 1}) or connector([4]) != connector(4)
