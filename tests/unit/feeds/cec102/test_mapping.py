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
from indexers.feeds.cec102.mapping import Mapper, Notes
from indexers.feeds.cec102.values import decode_json, objects, standard_keys
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


@pytest.mark.parametrize("path", payloads("stations"))
def test_station(path: Path) -> None:
    sent, expected = read(path)
    notes = Notes()
    station = Mapper("teld", "395815801", Datum.GCJ02).station(sent, notes)
    if "rejected" in expected or station is None:
        assert sorted(rejection.reason for rejection in notes.rejections) == sorted(expected.pop("rejected"))
    assert sorted(notes.unknown_codes) == expected.pop("unknown_codes", sorted(notes.unknown_codes))
    if station is None:
        assert expected == {"station": None}
        return
    found = json.loads(msgspec.json.encode(station))
    for where, wanted in expected.items():
        seen = at(found, where)
        if isinstance(wanted, float) and where.startswith("location."):
            assert seen == pytest.approx(wanted, abs=1e-6), where
        else:
            assert seen == wanted, where


@pytest.mark.parametrize("path", payloads("statuses"))
async def test_statuses(path: Path) -> None:
    sent, expected = read(path)
    notes = Notes()
    mapper = Mapper("teld", "395815801", Datum.GCJ02)
    statuses = [
        mapper.status(raw, notes, at=100.0, stale_after=1000.0, channel=StatusChannel.PULL)
        for info in objects(standard_keys(sent).get("StationStatusInfos"))
        for raw in objects(standard_keys(info).get("ConnectorStatusInfos"))
    ]
    found = [[each.evse_id.removeprefix(PREFIX), each.availability.value, each.raw] for each in statuses if each]
    assert found == expected["statuses"]
    assert [rejection.reason for rejection in notes.rejections] == expected.get("rejected", [])
    assert notes.unknown_codes == expected.get("unknown_codes", [])
    assert all(
        (each.observed_at, each.received_at, each.stale_after) == (100.0, 100.0, 1000.0) for each in statuses if each
    )


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
