"""Real OCPI feeds, through the hub's own wiring into embedded stores, against a second reading that knows no repairs.

The feeds stand beside the repository and are no part of it; without them these tests skip. ``FEEDS`` states for each
file what becomes of it: a change there is a change of what we promise about dirty data.
"""

import gzip
import html
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import available_timezones

import msgspec
import pytest

from app.model.clock import ManualClock
from app.model.feed import FeedReport
from app.model.opening import Period
from app.model.station import Evse, Station
from app.settings import read_settings
from app.wiring import Hub, open_hub
from indexers.base import StationFeed
from indexers.pipeline import run_full


class Fate(msgspec.Struct, frozen=True):
    """What becomes of one file: locations received and accepted, refusals, flags and unknown codes by name."""

    received: int
    accepted: int
    rejected: dict[str, int] = {}
    flags: dict[str, int] = {}
    unknown_codes: dict[str, int] = {}
    is_incomplete: bool = False


FEEDS: dict[str, Fate] = {
    "br_ezvolt_2.2.1_2025-07": Fate(75, 75),
    "de_chargecloud_ludwigsburg_2026-04": Fate(76, 76, is_incomplete=True),
    "es_gaia_2.2_2024-05": Fate(3, 3),
    "il_greems_2.2.1_2025-11": Fate(62, 62, flags={"NO_EVSES": 4}),
    "lt_national_lakd_2.2.1_2025-03": Fate(
        809,
        771,
        rejected={"duplicate_location": 38},
        flags={"DUPLICATE_DROPPED": 62, "NO_EVSES": 16, "POWER_IMPLAUSIBLE": 7, "TEXT_CLEANED": 56},
    ),
    "my_chargesini_2.2_2025-07": Fate(354, 354, flags={"NO_EVSES": 59, "TEXT_CLEANED": 354}),
    "nl_fastned_2.1.1_2019-09": Fate(
        86,
        86,
        flags={"COORDINATES_DOUBTFUL": 1, "NO_EVSES": 1, "VALUE_UNREADABLE": 2},
        unknown_codes={"time_zone=Amsterdam": 1, "time_zone=The Netherlands/Amsterdam": 1},
    ),
    "nl_powergo_2.2_2025-06": Fate(407, 407, flags={"TEXT_CLEANED": 1, "TYPE_INFERRED": 7}),
    "pl_ev24_2.2.1_2025-11": Fate(8, 8, flags={"KW_IN_W_FIELD": 11, "POWER_UNIT_DOUBTFUL": 4}),
    "pl_zepto_2.2_2025-10": Fate(9, 9),
    "pt_evio_2.2_2025-06": Fate(17, 17, flags={"COUNTRY_INFERRED": 17}),
    "ro_voltrelli_2025-03": Fate(
        243,
        243,
        flags={
            "COORDINATES_DOUBTFUL": 2,
            "COORDINATES_FROM_EVSES": 242,
            "COORDINATES_MISSING": 1,
            "POWER_IMPLAUSIBLE": 2,
        },
    ),
    "ru_itcharge_2.2.1_2025-03": Fate(
        944,
        944,
        flags={
            "COORDINATES_DOUBTFUL": 16,
            "COORDINATES_MISSING": 26,
            "POWER_UNIT_DOUBTFUL": 1849,
            "VALUE_UNREADABLE": 27,
        },
    ),
    "ru_punkt_2.2.1_2025-06": Fate(392, 392, flags={"COORDINATES_MISSING": 2}),
    "ru_sitronics_2.2.1_2023-05": Fate(58, 58, flags={"TEXT_CLEANED": 26}),
    "tr_otopriz_2.2_2025-11": Fate(381, 381),
    "tr_toger_2.2.1_2024-06": Fate(
        38,
        38,
        flags={"COORDINATES_MISSING": 2, "COUNTRY_INFERRED": 36, "NO_EVSES": 12},
        unknown_codes={"country=TRY": 38},
    ),
    "us_electricera_2.2_2024-06": Fate(3, 3),
}


@pytest.fixture
def folder(shared_data: Path) -> Path:
    found = shared_data / "ocpi"
    if not found.is_dir():
        pytest.skip("the real OCPI feeds are not here: ../shared/data/ocpi does not exist beside the repository")
    return found


def feed_of(name: str) -> str:
    return "_".join(name.split("_")[:2])


@asynccontextmanager
async def hub_of(path: Path, tmp_path: Path) -> AsyncIterator[Hub]:
    """A hub with the file as its only feed, configured as an operator's engineer would."""
    feed = feed_of(path.name)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / f"{feed}.toml").write_text(
        f'kind = "ocpi"\ntitle = "Of a file"\nurl = {json.dumps(f"file:{path}")}\n', encoding="utf-8"
    )
    environment = {
        "CHARGEGRAPH_DATA_DIR": str(tmp_path / "data"),
        "CHARGEGRAPH_PROFILES_DIR": str(tmp_path / "profiles"),
        "CHARGEGRAPH_FEEDS": feed,
    }
    async with open_hub(read_settings(environment), environment, ManualClock()) as hub:
        yield hub


async def run(hub: Hub) -> FeedReport:
    (feed,) = hub.feeds
    assert isinstance(feed, StationFeed)
    return await run_full(feed, hub.ports)


# ------------------------------------------------------------------------------------------------ the second reading


class Plain(NamedTuple):
    """What a location says where it plainly follows OCPI; a field that does not is not in it."""

    fields: dict[str, Any]
    evses: dict[str, dict[str, Any]]
    evse_ids: set[str]


COUNTRIES = {
    "ARM": "AM", "BEL": "BE", "BRA": "BR", "CAN": "CA", "DEU": "DE", "DNK": "DK", "ESP": "ES", "GBR": "GB",
    "ISR": "IL", "LTU": "LT", "MYS": "MY", "NLD": "NL", "NOR": "NO", "PER": "PE", "POL": "PL", "ROU": "RO",
    "RUS": "RU", "TUR": "TR", "USA": "US", "Polska": "PL", "RU": "RU", "BY": "BY",
}  # fmt: skip
STATUSES = {
    "AVAILABLE": "AVAILABLE", "BLOCKED": "BLOCKED", "CHARGING": "CHARGING", "RESERVED": "RESERVED",
    "UNKNOWN": "UNKNOWN", "INOPERATIVE": "UNAVAILABLE", "OUTOFORDER": "OUT_OF_ORDER", "PLANNED": "UNAVAILABLE",
    "REMOVED": "UNAVAILABLE",
}  # fmt: skip
PLUGS = {
    "IEC_62196_T1": "TYPE1", "IEC_62196_T1_COMBO": "TYPE1_COMBO", "IEC_62196_T2": "TYPE2",
    "IEC_62196_T2_COMBO": "TYPE2_COMBO", "CHADEMO": "CHADEMO", "CHAOJI": "CHAOJI", "GBT_AC": "GBT_AC",
    "GBT_DC": "GBT_DC", "DOMESTIC_E": "DOMESTIC", "DOMESTIC_F": "DOMESTIC", "TESLA_S": "TESLA_S",
    "IEC_60309_2_three_32": "CEE_THREE_32", None: "UNKNOWN",
}  # fmt: skip
DIRECT = {"CHADEMO", "GBT_DC", "IEC_62196_T1_COMBO", "IEC_62196_T2_COMBO"}
PLACES = {
    "ON_STREET": "ON_STREET", "PARKING_LOT": "PARKING_LOT", "PARKING_GARAGE": "GARAGE",
    "ALONG_MOTORWAY": "MOTORWAY", "ON_DRIVEWAY": "DRIVEWAY", "UNDERGROUND_GARAGE": "UNDERGROUND",
}  # fmt: skip
ZONES = available_timezones()
ONCE_A_DAY = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


def with_snake_keys(value: Any) -> Any:
    if isinstance(value, list):
        return [with_snake_keys(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {re.sub("[A-Z]", lambda match: "_" + match[0].lower(), key): with_snake_keys(v) for key, v in value.items()}


def locations_in(path: Path) -> list[dict[str, Any]]:
    root = json.loads(gzip.decompress(path.read_bytes()).decode("utf-8-sig"))
    found: list[dict[str, Any]] = with_snake_keys(
        root if isinstance(root, list) else root.get("data", root.get("items"))
    )
    return found


def told_last(locations: list[dict[str, Any]], feed: str) -> dict[str, dict[str, Any]]:
    """Each location once, under the id that its Station has: of copies the first of those that were updated last."""
    kept: dict[str, dict[str, Any]] = {}
    for location in locations:
        parts = [location.get("country_code") or "", location.get("party_id") or ""]
        party = "".join(parts) if all(parts) else feed.upper()
        station_id = f"{feed}:{party}:{str(location['id']).strip()}"
        if station_id not in kept or location.get("last_updated", "") > kept[station_id].get("last_updated", ""):
            kept[station_id] = location
    return kept


def instant(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def is_plain(text: Any) -> bool:
    return not isinstance(text, str) or (text.isprintable() and "<" not in text)


def words(text: Any) -> str | None:
    return (html.unescape(text).strip() if isinstance(text, str) else text) or None


def plain_location(location: Mapping[str, Any]) -> Plain:
    fields: dict[str, Any] = {
        name: words(location.get(key))
        for name, key in (
            *(("name", "name"), ("text", "address"), ("city", "city"), ("region", "state")),
            ("postal_code", "postal_code"),
        )
        if is_plain(location.get(key))
    }
    if location.get("country") in COUNTRIES:
        fields["country"] = COUNTRIES[location["country"]]
    position = [str(location["coordinates"][axis]) for axis in ("longitude", "latitude")]
    if "" not in position and position[0] != position[1] and "0" not in position:
        fields["position"] = (float(position[0]), float(position[1]))
    if location.get("time_zone") in ZONES:
        fields["time_zone"] = location["time_zone"]
    if location.get("last_updated"):
        fields["updated"] = instant(location["last_updated"])
    if location.get("operator"):
        fields["operator"] = words(location["operator"]["name"])
    place = location.get("parking_type", location.get("type"))
    if place in PLACES:
        fields["parking_place"] = PLACES[place]
    fields["published"] = location.get("publish", True)
    fields["phones"] = (location["help_phone"],) if location.get("help_phone") else ()
    fields["amenities"] = tuple(dict.fromkeys(location.get("facilities") or ()))
    evses = location.get("evses") or []
    holders = [location, *evses]
    pictures = [picture["url"].replace(" ", "%20") for holder in holders for picture in holder.get("images") or ()]
    fields["image_urls"] = tuple(dict.fromkeys(pictures))
    fields |= plain_hours(location.get("opening_times"))
    uids = [str(evse.get("uid") or evse.get("evse_id") or "").strip() for evse in evses]
    once = {uid: evse for uid, evse in zip(uids, evses, strict=True) if uid and uids.count(uid) == 1}
    return Plain(fields, {uid: plain_evse(evse) for uid, evse in once.items()}, {uid for uid in uids if uid})


def plain_hours(hours: Mapping[str, Any] | None) -> dict[str, Any]:
    if not hours:
        return {"always_open": None, "weekly": ()}
    if hours["twentyfourseven"]:
        return {"always_open": True, "weekly": ()}
    regular = hours.get("regular_hours") or []
    spans = [(day["weekday"], day["period_begin"], day["period_end"]) for day in regular]
    is_regular = all(
        day in range(1, 8)
        and ONCE_A_DAY.fullmatch(begin)
        and ONCE_A_DAY.fullmatch(end)
        and "00:00" < begin < end < "23:59"
        for day, begin, end in spans
    )
    if not is_regular:
        return {}
    minutes = [(day, *(int(at[:2]) * 60 + int(at[3:]) for at in (begin, end))) for day, begin, end in spans]
    return {
        "always_open": False,
        "weekly": tuple(Period(day=day, start_min=start, end_min=end) for day, start, end in minutes),
    }


def plain_evse(evse: Mapping[str, Any]) -> dict[str, Any]:
    capabilities = evse.get("capabilities") or []
    status = evse["status"].strip()
    connectors = evse.get("connectors") or []
    fields: dict[str, Any] = {
        "availability": STATUSES[status],
        "presence": status if status in {"PLANNED", "REMOVED"} else "IN_SERVICE",
        "evse_code": words(evse.get("evse_id")),
        "physical_reference": words(evse.get("physical_reference")),
        "reservable": "RESERVABLE" in capabilities if capabilities else None,
        "plugs": [PLUGS.get(connector["standard"], "?") for connector in connectors],
        "raw_types": [words(connector["standard"]) for connector in connectors],
        "formats": [(connector["format"] or "UNKNOWN").upper() for connector in connectors],
        "currents": [(connector.get("power_type") or "UNKNOWN").upper() for connector in connectors],
        "powers": [plain_power(connector) for connector in connectors],
    }
    return fields


def plain_power(connector: Mapping[str, Any]) -> float | str | None:
    """Watts where they are declared as watts, or follow from 230 V and the amperes of the mains; else a "?"."""
    declared = connector.get("max_electric_power") or 0
    volts = int(connector.get("max_voltage", connector.get("voltage")) or 0)
    amperes = connector.get("max_amperage", connector.get("amperage")) or 0
    standard, current = connector["standard"], (connector.get("power_type") or "").upper()
    most = 400_000 if standard in DIRECT else 3_700 if "DOMESTIC" in (standard or "") else 50_000
    if declared >= 1000:
        return declared if declared <= most else "?"
    if declared > 0:
        return "?"
    if current == "DC" or not volts or not amperes:
        return None
    phases = {"AC_1_PHASE": 1, "AC_3_PHASE": 3}.get(current, 0)
    is_mains = standard not in DIRECT and volts == 230 and amperes <= 63 and phases * 230 * amperes <= most
    return round(phases * 230 * amperes) if is_mains else "?"


def told_station(station: Station, operators: Mapping[str, str | None]) -> dict[str, Any]:
    address, hours = station.address, station.hours
    return {
        "name": station.name,
        "text": address.text,
        "city": address.city,
        "region": address.region,
        "postal_code": address.postal_code,
        "country": address.country,
        "position": None if station.location is None else (station.location.lon, station.location.lat),
        "time_zone": station.time_zone,
        "updated": station.source_updated_at,
        "operator": operators[station.operator_id],
        "parking_place": station.parking_place.value,
        "published": station.published,
        "phones": station.phones,
        "amenities": station.amenities,
        "image_urls": station.image_urls,
        "always_open": hours.always_open,
        "weekly": hours.weekly,
    }


def told_evse(evse: Evse, availability: str) -> dict[str, Any]:
    return {
        "availability": availability,
        "presence": evse.presence.value,
        "evse_code": evse.evse_code,
        "physical_reference": evse.physical_reference,
        "reservable": evse.reservable,
        "plugs": [connector.type.value for connector in evse.connectors],
        "raw_types": [connector.raw_type for connector in evse.connectors],
        "formats": [connector.format.value for connector in evse.connectors],
        "currents": [connector.current.value for connector in evse.connectors],
        "powers": [connector.max_power_w for connector in evse.connectors],
    }


def differences(name: str, plain: Mapping[str, Any], told: Mapping[str, Any]) -> list[str]:
    found = []
    for field, expected in plain.items():
        actual = told[field]
        if isinstance(expected, list):
            pairs = zip(expected, actual, strict=True)
            if all(wanted in {"?", given} for wanted, given in pairs):
                continue
        elif expected == actual:
            continue
        found.append(f"{name} {field}: {expected!r} became {actual!r}")
    return found


# ------------------------------------------------------------------------------------------------------------- tests


def test_every_file_is_in_the_table(folder: Path):
    assert {path.name.removesuffix(".json.gz") for path in folder.glob("*.json.gz")} == set(FEEDS)


@pytest.mark.parametrize("name", FEEDS)
async def test_what_becomes_of_a_feed(name: str, folder: Path, tmp_path: Path):
    async with hub_of(folder / f"{name}.json.gz", tmp_path) as hub:
        report = await run(hub)
        counts = await hub.ports.index.count_stations()
        again = await run(hub)
    fate = Fate(
        received=report.received,
        accepted=counts[feed_of(name)],
        rejected=report.rejected,
        flags=report.repaired,
        unknown_codes=report.unknown_codes,
        is_incomplete=report.incomplete is not None,
    )
    assert report.error is None
    assert fate == FEEDS[name]
    assert fate.received == fate.accepted + sum(fate.rejected.values())
    assert (again.indexed, again.changed, again.removed) == (fate.accepted, 0, 0)


@pytest.mark.parametrize("name", FEEDS)
async def test_a_feed_says_here_what_it_says_at_home(name: str, folder: Path, tmp_path: Path):
    path = folder / f"{name}.json.gz"
    async with hub_of(path, tmp_path) as hub:
        await run(hub)
        at_home = told_last(locations_in(path), feed_of(name))
        stations = dict(zip(at_home, await hub.ports.index.find_stations(list(at_home)), strict=True))
        operators = {operator.id: operator.name for operator in await hub.ports.index.list_operators()}
        found: list[str] = []
        for station_id, location in at_home.items():
            station = stations[station_id]
            assert station is not None, f"{station_id} is lost"
            plain = plain_location(location)
            found += differences(station_id, plain.fields, told_station(station, operators))
            by_uid = {evse.local_id.strip(): evse for evse in station.evses if not evse.inferred}
            assert set(by_uid) == plain.evse_ids, station_id
            for uid, expected in plain.evses.items():
                (status,) = hub.ports.board.find([by_uid[uid].id])
                assert status is not None
                assert status.raw.strip() == status.raw.strip().upper()
                found += differences(by_uid[uid].id, expected, told_evse(by_uid[uid], status.availability.value))
    assert found == []
