"""Each tolerance rule for OCPI input, with a payload as parties send it."""

from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from app.model.availability import Availability, EvseStatus
from app.model.datum import Datum
from app.model.feed import Rejection
from app.model.geo import Point, distance_m
from app.model.opening import Period, SpecialPeriod
from app.model.station import (
    Access,
    Connector,
    ConnectorFormat,
    ConnectorType,
    Current,
    Flag,
    ParkingPlace,
    PowerBasis,
    Presence,
    Station,
)
from indexers.feeds.ocpi.mapping import Mapped, Mapper
from indexers.feeds.ocpi.pull import read_envelope

PAYLOADS = Path(__file__).parent / "payloads"
NOW = 1_795_579_200.0
MAPPER = Mapper(
    feed="demo",
    party="NLDEF",
    title="Demo",
    datum=Datum.WGS84,
    language="en",
    repair_power=True,
    has_live_status=True,
    stale_after_s=600.0,
)
UTRECHT = Point(lon=5.12142, lat=52.09074)


def read(name: str, mapper: Mapper = MAPPER) -> dict[str, Mapped]:
    locations, _ = read_envelope((PAYLOADS / name).read_bytes())
    mapped = [mapper.read(location, NOW) for location in locations]
    return {item.station.local_id: item for item in mapped if isinstance(item, Mapped)}


def stations(name: str, mapper: Mapper = MAPPER) -> dict[str, Station]:
    return {local: mapped.station for local, mapped in read(name, mapper).items()}


PLAIN = {
    "id": "L",
    "country_code": "NL",
    "party_id": "TST",
    "country": "NLD",
    "coordinates": {"latitude": "52.09074", "longitude": "5.12142"},
    "evses": [{"uid": "E", "status": "AVAILABLE"}],
}


def of(changes: dict[str, Any]) -> Mapped:
    """Read a location without faults, but for what its test is about."""
    mapped = MAPPER.read({**PLAIN, **changes}, NOW)
    assert isinstance(mapped, Mapped)
    return mapped


def test_every_root_gives_the_same_station():
    names = ["envelope", "data_only", "items", "array", "one_object", "alone"]
    found = [stations(f"01_{name}.json")["L1"] for name in names]
    assert found == [found[0]] * len(found)


def test_a_whole_location():
    mapped = read("01_envelope.json")["L1"]
    station = mapped.station
    assert station.id == "demo:NLTST:L1"
    assert (station.name, station.address.text, station.address.city) == ("Teststraat", "Teststraat 1", "Utrecht")
    assert (station.address.postal_code, station.address.country) == ("3511 AA", "NL")
    assert (station.location, station.access, station.parking_place) == (
        UTRECHT,
        Access.PUBLIC,
        ParkingPlace.PARKING_LOT,
    )
    assert (station.time_zone, station.source_updated_at, station.flags) == ("Europe/Amsterdam", 1_767_225_600.0, ())
    (evse,) = station.evses
    assert (evse.id, evse.local_id, evse.evse_code) == ("demo:NLTST:L1/E1", "E1", "NL*TST*E1")
    assert (evse.physical_reference, evse.reservable, evse.presence) == ("01", True, Presence.IN_SERVICE)
    assert evse.connectors == (
        Connector(
            id="1",
            type=ConnectorType.TYPE2,
            raw_type="IEC_62196_T2",
            format=ConnectorFormat.SOCKET,
            current=Current.AC_3_PHASE,
            max_power_w=22_000,
            power_basis=PowerBasis.DECLARED,
            voltage_v=230,
            amperage_a=32,
        ),
    )
    assert mapped.statuses == (
        EvseStatus(
            evse_id=evse.id,
            availability=Availability.AVAILABLE,
            raw="AVAILABLE",
            observed_at=NOW,
            received_at=NOW,
            stale_after=NOW + 600,
        ),
    )
    (operator,) = mapped.operators
    assert (operator.id, operator.name, operator.party) == (station.operator_id, "Test Laden", "NLTST")
    assert operator.website == "https://test.example"


@pytest.mark.parametrize(
    ("local", "flag"),
    [
        *((local, None) for local in ("string", "number", "comma", "blank")),
        ("swapped", Flag.COORDINATES_SWAPPED),
        ("same", Flag.COORDINATES_FROM_EVSES),
        ("zero_evses", Flag.COORDINATES_FROM_EVSES),
    ],
)
def test_coordinates_that_lead_to_the_place(local: str, flag: Flag | None):
    station = stations("04_coordinates.json")[local]
    assert station.location == UTRECHT
    assert station.flags == (() if flag is None else (flag,))


@pytest.mark.parametrize(
    "local", ["zero", "one", "minus_one", "empty", "null", "words", "same_alone", "same_elsewhere"]
)
def test_coordinates_that_lead_nowhere(local: str):
    station = stations("04_coordinates.json")[local]
    assert station.location is None
    assert Flag.COORDINATES_MISSING in station.flags


@pytest.mark.parametrize("local", ["neighbour", "both_possible", "abroad"])
def test_coordinates_outside_the_country_are_doubtful_and_never_turned(local: str):
    station = stations("04_coordinates.json")[local]
    assert station.original_position is not None
    assert station.location == Point(lon=station.original_position.lon, lat=station.original_position.lat)
    assert station.flags == (Flag.COORDINATES_DOUBTFUL,)


def test_a_latitude_that_cannot_be_one_is_turned_and_the_original_kept():
    station = stations("04_coordinates.json")["impossible"]
    assert station.location == Point(lon=116.4074, lat=39.9042)
    assert station.original_position is not None
    assert (station.original_position.lon, station.original_position.lat) == (39.9042, 116.4074)
    assert station.flags == (Flag.COORDINATES_SWAPPED,)


def test_countries():
    mapped = read("05_country.json")
    countries = {local: item.station.address.country for local, item in mapped.items()}
    assert countries == {
        "alpha2": "NL", "alpha3": "NL", "name": "PL", "currency": "NL", "null": "NL", "null_abroad": None,
    }  # fmt: skip
    assert mapped["currency"].unknown_codes == ("country=TRY",)
    inferred = [local for local, item in mapped.items() if Flag.COUNTRY_INFERRED in item.station.flags]
    assert inferred == ["currency", "null"]


def test_times():
    times = {local: station.source_updated_at for local, station in stations("06_times.json").items()}
    noon = 1_772_366_400.0
    assert all(times[local] == noon for local in ("z", "no_zone", "blank", "offset", "fraction"))
    assert times["date"] == noon - 12 * 3600
    assert times["year_one"] is times["words"] is times["absent"] is None


@pytest.mark.parametrize("local", ["lower", "blanks"])
def test_spellings_of_codes_do_not_matter_and_the_raw_text_stays(local: str):
    mapped = read("07_codes.json")[local]
    connector = mapped.station.evses[0].connectors[0]
    assert (connector.type, connector.format) == (ConnectorType.TYPE2, ConnectorFormat.SOCKET)
    assert connector.current is Current.AC_3_PHASE
    assert mapped.station.parking_place is ParkingPlace.PARKING_LOT
    assert mapped.statuses[0].availability is Availability.AVAILABLE
    assert mapped.statuses[0].raw == {"lower": "available", "blanks": "AVAILABLE "}[local]
    assert mapped.unknown_codes == ()


def test_unknown_codes_are_counted_and_lose_nothing_else():
    mapped = read("07_codes.json")["unknown"]
    bad, good = mapped.station.evses[0].connectors
    assert (bad.type, bad.raw_type, bad.format) == (ConnectorType.OTHER, "Hose", ConnectorFormat.UNKNOWN)
    assert good.type is ConnectorType.TYPE2
    assert mapped.statuses[0].availability is Availability.UNKNOWN
    assert mapped.statuses[0].raw == "HAUNTED"
    assert set(mapped.unknown_codes) == {
        "status=HAUNTED", "standard=Hose", "format=TUBE", "power_type=STEAM", "parking_type=MOON",
    }  # fmt: skip
    assert Flag.VALUE_UNREADABLE in mapped.station.evses[0].flags


def test_names_of_plugs_outside_the_standard():
    mapped = read("07_codes.json")["other_words"]
    connectors = mapped.station.evses[0].connectors
    assert [connector.type for connector in connectors] == [
        ConnectorType.GBT_DC, ConnectorType.TYPE2, ConnectorType.CEE_THREE_32, ConnectorType.UNKNOWN,
    ]  # fmt: skip
    assert [connector.flags for connector in connectors] == [(), (Flag.TYPE_INFERRED,), (), ()]
    assert mapped.statuses[0].availability is Availability.OUT_OF_ORDER


@pytest.mark.parametrize(
    ("status", "availability"),
    [
        ("AVAILABLE", Availability.AVAILABLE),
        ("BLOCKED", Availability.BLOCKED),
        ("CHARGING", Availability.CHARGING),
        ("INOPERATIVE", Availability.UNAVAILABLE),
        ("OUTOFORDER", Availability.OUT_OF_ORDER),
        ("PLANNED", Availability.UNAVAILABLE),
        ("REMOVED", Availability.UNAVAILABLE),
        ("RESERVED", Availability.RESERVED),
        ("UNKNOWN", Availability.UNKNOWN),
    ],
)
def test_the_table_of_statuses(status: str, availability: Availability):
    mapped = of({"evses": [{"uid": "E", "status": status}]})
    assert mapped.statuses[0].availability is availability
    assert mapped.unknown_codes == ()


@pytest.mark.parametrize("status", [7, ["AVAILABLE"], True, "可用"])
def test_a_status_that_is_no_code_is_unknown_and_never_silently(status: object):
    mapped = of({"evses": [{"uid": "E", "status": status}]})
    assert mapped.statuses[0].availability is Availability.UNKNOWN
    assert mapped.unknown_codes or mapped.station.evses[0].flags == (Flag.VALUE_UNREADABLE,)


def test_other_is_a_place_that_2_1_1_knows_and_that_says_nothing():
    mapped = of({"type": "OTHER"})
    assert (mapped.station.parking_place, mapped.unknown_codes) == (ParkingPlace.UNKNOWN, ())


def test_keys_in_camel_case():
    assert stations("08_camel_case.json") == stations("01_array.json")


def test_opening_hours():
    found = stations("09_hours.json")
    weekly = {local: station.hours.weekly for local, station in found.items()}
    always = {local: station.hours.always_open for local, station in found.items()}
    assert weekly["day"] == (Period(day=1, start_min=420, end_min=1110),)
    assert weekly["overnight"] == (Period(day=5, start_min=1320, end_min=1560),)
    assert weekly["until_0000"] == weekly["until_2400"] == weekly["until_2359"]
    assert weekly["until_0000"] == (Period(day=1, start_min=480, end_min=1440),)
    assert weekly["seconds"] == (Period(day=1, start_min=360, end_min=1020),)
    assert (always["day"], always["whole_week"], always["always"]) == (False, True, True)
    assert (always["null"], always["said_not_always"], weekly["said_not_always"]) == (None, False, ())
    assert sorted(period.day for period in weekly["sunday_is_0"]) == [1, 2, 3, 4, 5, 6, 7]
    assert weekly["words"] == ()
    assert Flag.VALUE_UNREADABLE in found["words"].flags
    assert found["words"].hours.raw is not None and '"closed"' in found["words"].hours.raw
    assert found["exceptions"].hours.exceptions == (
        SpecialPeriod(start=1_798_167_600.0, end=1_798_174_800.0, open=False),
        SpecialPeriod(start=1_798_254_000.0, end=1_798_261_200.0, open=True),
    )


def test_power():
    connectors = stations("10_power.json")["L1"].evses[0].connectors
    found = {connector.id: (connector.max_power_w, connector.power_basis, connector.flags) for connector in connectors}
    declared, derived, repaired, unknown = (
        PowerBasis.DECLARED, PowerBasis.DERIVED, PowerBasis.REPAIRED, PowerBasis.UNKNOWN,
    )  # fmt: skip
    assert found == {
        "declared": (22_000, declared, ()),
        "single": (7_360, declared, ()),
        "kw_736": (7_360, repaired, (Flag.KW_IN_W_FIELD,)),
        "kw_7": (7_000, repaired, (Flag.KW_IN_W_FIELD,)),
        "kw_22_neutral": (22_000, repaired, (Flag.KW_IN_W_FIELD,)),
        "kw_22_line": (22_000, repaired, (Flag.KW_IN_W_FIELD,)),
        "kw_disagrees": (None, unknown, (Flag.POWER_UNIT_DOUBTFUL,)),
        "kw_alone": (None, unknown, (Flag.POWER_UNIT_DOUBTFUL,)),
        "kw_dc": (150_000, repaired, (Flag.KW_IN_W_FIELD,)),
        "zero": (22_080, derived, ()),
        "null": (22_080, derived, ()),
        "negative": (11_085, derived, ()),
        "single_derived": (7_360, derived, ()),
        "two_phase": (14_720, derived, ()),
        "split_phase": (7_680, derived, ()),
        "dc_bound": (None, unknown, ()),
        "garbage_volts": (None, unknown, ()),
        "text": (22_000, declared, ()),
        "huge": (None, unknown, (Flag.POWER_IMPLAUSIBLE,)),
        "ac_too_much": (None, unknown, (Flag.POWER_IMPLAUSIBLE,)),
        "derived_too_much": (None, unknown, (Flag.POWER_IMPLAUSIBLE,)),
        "household": (11_000, declared, (Flag.POWER_IMPLAUSIBLE,)),
        "megawatt": (3_000_000, declared, ()),
    }


@pytest.mark.parametrize("plug", ["IEC_62196_T2_COMBO", "CHADEMO", "GBT_DC"])
def test_a_plug_of_direct_current_filed_under_alternating_current_has_no_derived_power(plug: str):
    filed = {"id": "1", "standard": plug, "power_type": "AC_3_PHASE", "max_voltage": 400, "max_amperage": 450}
    declared = {**filed, "max_electric_power": 60_000}
    (evse,) = of({"evses": [{"uid": "E", "connectors": [filed, declared]}]}).station.evses
    assert [connector.max_power_w for connector in evse.connectors] == [None, 60_000]
    assert [connector.flags for connector in evse.connectors] == [(), ()]


@pytest.mark.parametrize("nothing", [None, 0, "", "?"])
def test_volts_and_amperes_are_found_under_either_name(nothing: object):
    connector = {"id": "1", "standard": "IEC_62196_T2", "power_type": "AC_1_PHASE", "voltage": 230, "amperage": "32.0"}
    both = {**connector, "max_voltage": nothing, "max_amperage": nothing}
    (read,) = of({"evses": [{"uid": "E", "connectors": [both]}]}).station.evses[0].connectors
    assert (read.voltage_v, read.amperage_a, read.max_power_w) == (230, 32, 7_360)


@pytest.mark.parametrize(
    ("text", "watts"), [("22000.", 22_000), (".22e5", 22_000), ("2.2E4", 22_000), ("22000." + "0" * 30, 22_000)]
)
def test_numbers_in_every_spelling(text: str, watts: int):
    connector = {"id": "1", "standard": "IEC_62196_T2", "max_electric_power": text}
    (read,) = of({"evses": [{"uid": "E", "connectors": [connector]}]}).station.evses[0].connectors
    assert (read.max_power_w, read.flags) == (watts, ())


def test_a_profile_may_forbid_repairs_of_power():
    mapper = msgspec.structs.replace(MAPPER, repair_power=False)
    connectors = stations("10_power.json", mapper)["L1"].evses[0].connectors
    found = next(connector for connector in connectors if connector.id == "kw_7")
    assert (found.max_power_w, found.flags) == (None, (Flag.POWER_UNIT_DOUBTFUL,))


def test_free_text_becomes_plain():
    mapped = read("15_html.json")["L1"]
    station = mapped.station
    assert station.name == "Café Noord & Zuid"
    assert station.address.text == "Straat 1\nachter links"
    assert station.address.city == "5 < 6 & 7"
    assert station.address.postal_code == "\u2019s 1"
    assert station.directions == "Round the back\nthen left"
    assert mapped.operators[0].name == 'UAB "Laden"'
    assert station.flags == (Flag.TEXT_CLEANED,)


def test_a_chinese_datum_is_undone_once_and_the_original_kept():
    mapper = msgspec.structs.replace(MAPPER, datum=Datum.GCJ02)
    once, again = stations("16_gcj02.json", mapper)["L1"], stations("16_gcj02.json", mapper)["L1"]
    assert once == again
    assert once.location is not None and once.original_position is not None
    assert distance_m(once.location.lon, once.location.lat, 116.391230, 39.907418) < 5
    assert (once.original_position.lon, once.original_position.lat) == (116.39747, 39.908823)
    assert once.original_position.datum is Datum.GCJ02


def test_copies_of_an_evse_are_dropped_and_the_newest_stays():
    mapped = read("20_evses.json")["repeated"]
    assert [evse.local_id for evse in mapped.station.evses] == ["E1", "E2"]
    assert mapped.station.flags == (Flag.DUPLICATE_DROPPED,)
    assert mapped.statuses[0].availability is Availability.CHARGING


def test_copies_of_one_moment_complete_each_other():
    bare = {"uid": 1, "status": "AVAILABLE", "physical_reference": None, "last_updated": "2026-01-01T00:00:00Z"}
    full = {**bare, "status": "", "physical_reference": "013A", "connectors": [{"id": "1", "standard": "CHADEMO"}]}
    for copies in ([bare, full], [full, bare]):
        mapped = of({"evses": copies})
        (evse,) = mapped.station.evses
        assert (evse.physical_reference, len(evse.connectors)) == ("013A", 1)
        assert mapped.statuses[0].availability is Availability.AVAILABLE
    newer = {**bare, "last_updated": "2026-01-02T00:00:00Z"}
    for copies in ([full, newer], [newer, full]):
        assert of({"evses": copies}).station.evses[0].physical_reference is None


def test_two_evses_of_one_uid_and_two_evse_ids_are_two():
    evses = [{"uid": "BOX", "evse_id": f"NL*TST*E{number}", "status": "CHARGING"} for number in (1, 2, 2)]
    mapped = of({"evses": evses})
    assert [evse.id for evse in mapped.station.evses] == ["demo:NLTST:L/BOX", "demo:NLTST:L/BOX/NL*TST*E2"]
    assert [evse.local_id for evse in mapped.station.evses] == ["BOX", "BOX"]
    assert len(mapped.statuses) == 2
    assert mapped.station.flags == (Flag.DUPLICATE_DROPPED,)


def test_a_list_left_out_is_read_and_flagged():
    connector = {"id": "1", "standard": "CHADEMO"}
    evse = {"uid": "E", "connectors": connector, "capabilities": "RESERVABLE", "parking_restrictions": "TAXIS"}
    station = of({"evses": evse, "facilities": "WIFI", "directions": {"language": "en", "text": "left"}}).station
    assert station.evses[0].connectors[0].type is ConnectorType.CHADEMO
    assert station.evses[0].reservable is True
    assert (station.access, station.amenities, station.directions) == (Access.RESTRICTED_FLEET, ("WIFI",), "left")
    assert station.flags == (Flag.VALUE_UNREADABLE,)


def test_an_evse_without_a_name_is_inferred_and_has_no_status():
    mapped = read("20_evses.json")["nameless"]
    assert [evse.local_id for evse in mapped.station.evses] == ["NL*TST*E1", "#2", "#3"]
    assert [evse.inferred for evse in mapped.station.evses] == [False, True, True]
    assert [status.evse_id for status in mapped.statuses] == [mapped.station.evses[0].id]


def test_identifiers_that_are_numbers_or_padded():
    found = stations("20_evses.json")
    number = found["numbers"].evses[0]
    assert (number.id, number.local_id, number.connectors[0].id) == ("demo:NLTST:numbers/11568", "11568", "650229")
    padded = found["trimmed"].evses[0]
    assert (padded.id, padded.local_id) == ("demo:NLTST:trimmed/E1", " E1 ")
    assert padded.flags == (Flag.IDENTIFIER_TRIMMED,)


def test_presence_of_evses_and_of_the_place():
    found = stations("20_evses.json")
    assert found["gone"].presence is Presence.REMOVED
    assert found["planned"].presence is Presence.PLANNED
    assert found["half_gone"].presence is Presence.IN_SERVICE
    assert [evse.presence for evse in found["half_gone"].evses] == [Presence.IN_SERVICE, Presence.REMOVED]


def test_locations_without_evses_are_kept_and_bad_evses_lose_no_location():
    found = stations("20_evses.json")
    assert found["none"].flags == found["null"].flags == (Flag.NO_EVSES,)
    assert len(found["junk"].evses) == 1
    assert Flag.VALUE_UNREADABLE in found["junk"].flags


def test_reservable_is_unknown_where_no_capability_is_named():
    assert [evse.reservable for evse in stations("20_evses.json")["unsaid"].evses] == [None, False]


def test_what_cannot_be_a_station_is_refused_with_a_reason():
    locations, _ = read_envelope((PAYLOADS / "21_refused.json").read_bytes())
    mapped = [MAPPER.read(location, NOW) for location in locations]
    reasons = [item.reason for item in mapped if isinstance(item, Rejection)]
    assert reasons == ["not_an_object", "not_an_object", "missing_id", "missing_id", "missing_id", "id_too_long"]


def test_access_parking_and_publication():
    found = stations("22_places.json")
    assert [local for local, station in found.items() if not station.published] == ["hidden"]
    access = {local: station.access for local, station in found.items()}
    assert access["hidden"] is Access.UNKNOWN
    assert (access["customers"], access["taxis"], access["some"]) == (
        Access.MEMBERS, Access.RESTRICTED_FLEET, Access.PUBLIC,
    )  # fmt: skip
    old = found["old"]
    assert (old.id, old.access, old.published) == ("demo:NLDEF:old", Access.UNKNOWN, True)
    assert old.parking_place is ParkingPlace.UNDERGROUND


def test_time_zones():
    mapped = read("22_places.json")
    assert mapped["zone"].station.time_zone == "Asia/Kuala_Lumpur"
    assert Flag.TEXT_CLEANED in mapped["zone"].station.flags
    assert of({"time_zone": "europe/amsterdam"}).station.time_zone == "Europe/Amsterdam"
    for local in ("no_zone", "folder_zone"):
        assert mapped[local].station.time_zone is None
        assert mapped[local].unknown_codes


def test_pictures_phones_amenities_and_owners():
    mapped = read("22_places.json")["rich"]
    station = mapped.station
    assert station.image_urls == ("https://x.example/a.jpg", "http://x.example/b.jpg", "https://x.example/a%20b.jpg")
    assert station.flags == (Flag.TEXT_CLEANED, Flag.VALUE_UNREADABLE)  # a blank, and an address that is none
    assert station.phones == ("+31 30 1234567",)
    assert station.amenities == ("CAFE", "WIFI")
    assert mapped.unknown_codes == ("facility=LAUNDRY",)
    assert station.address.region == "Utrecht"
    owner = next(operator for operator in mapped.operators if operator.id == station.equipment_owner_id)
    assert owner.name == "Gemeente Utrecht"


def test_an_owner_of_nearly_the_operator_s_name_changes_nothing_about_the_operator():
    operator = {"name": "ChargeCo", "website": "https://chargeco.example"}
    mapped = of({"operator": operator, "owner": {"name": "Chargeco", "phone": "+31 30 1"}})
    (company,) = mapped.operators
    assert mapped.station.operator_id == mapped.station.equipment_owner_id == company.id
    assert (company.name, company.website, company.phone) == ("ChargeCo", "https://chargeco.example", "+31 30 1")


@pytest.mark.parametrize(("one", "other"), [("कंपनी", "कंपना"), ("A" * 90 + "b", "A" * 90 + "c")])
def test_operators_with_different_names_are_different(one: str, other: str):
    assert of({"operator": {"name": one}}).station.operator_id != of({"operator": {"name": other}}).station.operator_id


def test_an_operator_that_is_only_a_name():
    mapped = of({"operator": " Laden &amp; Co "})
    assert [operator.name for operator in mapped.operators] == ["Laden & Co"]
    assert of({"operator": ["Laden"]}).station.flags == (Flag.VALUE_UNREADABLE,)


@pytest.mark.parametrize(
    ("country_code", "party_id", "key"),
    [("nl", " tst ", "NLTST"), ("NL", 7, "NL7"), ("NL", "A_1", "NLA_1"), ("NL", "a:b", "NLDEF"), ("NL", "", "NLDEF")],
)
def test_the_party_of_a_location(country_code: object, party_id: object, key: str):
    assert of({"country_code": country_code, "party_id": party_id}).station.id == f"demo:{key}:L"


def test_the_profile_s_party_says_the_country_where_a_location_says_none_and_lies_there():
    silent = {"country_code": None, "party_id": None, "country": None}
    station = of(silent).station
    assert (station.address.country, station.flags) == ("NL", (Flag.COUNTRY_INFERRED,))
    assert of({**silent, "coordinates": {"latitude": "1.5", "longitude": "2.5"}}).station.address.country is None


def test_directions_in_the_feed_s_language_and_else_the_first_that_say_something():
    texts = [
        {"language": "de", "text": " "},
        {"language": "nl", "text": "links"},
        {"language": "EN-gb", "text": "left"},
    ]
    assert of({"directions": texts}).station.directions == "left"
    assert of({"directions": texts[:2]}).station.directions == "links"


def test_a_party_that_names_no_operator_is_its_own():
    mapped = read("22_places.json")["nobody"]
    assert mapped.station.operator_id == "demo:NLTST"
    assert [operator.name for operator in mapped.operators] == ["NLTST"]


def test_a_feed_without_live_status_states_none():
    assert read("01_array.json", msgspec.structs.replace(MAPPER, has_live_status=False))["L1"].statuses == ()


def test_the_specification_s_own_examples(shared_data: Path):
    import gzip

    lines = gzip.decompress((shared_data / "ocpi" / "spec_examples.jsonl.gz").read_bytes()).splitlines()
    texts = [orjson.loads(line) for line in lines]
    locations = [
        orjson.loads(item["text"]) for item in texts
        if item["file"].startswith("examples/location_example")
    ]  # fmt: skip
    assert len(locations) == 6
    mapped = [MAPPER.read(location, NOW) for location in locations]
    read = [item for item in mapped if isinstance(item, Mapped)]
    assert [item.station.flags for item in read] == [()] * 6
    assert [item.unknown_codes for item in read] == [()] * 6
    assert [item.station.published for item in read] == [True, True, True, False, False, False]
    assert [item.station.address.country for item in read] == ["BE", "SE", "NL", "NL", "NL", "DE"]
    assert [len(item.statuses) for item in read] == [2, 1, 1, 1, 1, 1]
