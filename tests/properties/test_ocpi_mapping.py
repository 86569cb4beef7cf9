"""Whatever JSON a party sends, it becomes a Station of its feed or a rejection, and never an exception."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model.datum import Datum
from app.model.feed import Rejection
from app.model.geo import is_position
from app.model.station import ConnectorType, Current, PowerBasis, Station
from indexers.feeds.ocpi.mapping import Mapped, Mapper
from indexers.feeds.ocpi.power import rate
from indexers.feeds.ocpi.pull import find_next_link
from indexers.feeds.ocpi.values import Notes, read_text

MAPPER = Mapper(
    feed="demo",
    party="NLDEF",
    title="Demo",
    datum=Datum.GCJ02,
    language="en",
    repair_power=True,
    has_live_status=True,
    stale_after_s=600.0,
)
KEYS = (
    *("country_code", "party_id", "id", "publish", "name", "address", "city", "country", "state", "coordinates"),
    *("latitude", "longitude", "evses", "uid", "evse_id", "status", "connectors", "standard", "format", "power_type"),
    *("max_voltage", "max_amperage", "max_electric_power", "opening_times", "twentyfourseven", "regular_hours"),
    *("weekday", "period_begin", "period_end", "exceptional_closings", "directions", "text", "language", "images"),
    *("url", "facilities", "operator", "owner", "time_zone", "last_updated", "capabilities", "parking_restrictions"),
    *("evseId", "timeZone", "lastUpdated", "help_phone", "website", "parking_type", "type", ""),
)
WORDS = (
    *("NL", "NLD", "TST", "AVAILABLE", "REMOVED ", "IEC_62196_T2", "SOCKET", "DC", "AC_3_PHASE", "52.1", "5,1", "0"),
    *("23:59", "24:00", "2026-01-01T00:00:00Z", "9999-12-31", "Europe/Amsterdam", "Europe", "a:b", "<b>", "&amp;"),
    *("https://x.example/a.jpg", "RESERVABLE", "CUSTOMERS", " ", "#NA", "\x00", "电"),
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=20)
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=8),
    max_leaves=30,
)
connectors = st.dictionaries(st.sampled_from(KEYS), scalars, max_size=10)
evses = st.fixed_dictionaries({"uid": scalars}, optional={"connectors": st.lists(connectors | junk, max_size=3)})
locations = st.fixed_dictionaries(
    {"id": st.sampled_from(["1", 2, " 3 "]), "evses": st.lists(evses | junk, max_size=4)},
    optional={key: junk for key in KEYS if key not in {"id", "evses"}},
)


def check(location: Any) -> None:
    mapped = MAPPER.read(location, 1_795_579_200.0)
    if isinstance(mapped, Rejection):
        assert mapped.reason
        return
    assert isinstance(mapped, Mapped)
    station = mapped.station
    assert station.id.startswith("demo:")
    ids = [evse.id for evse in station.evses]
    assert len(ids) == len(set(ids))
    assert {status.evse_id for status in mapped.statuses} == {evse.id for evse in station.evses if not evse.inferred}
    assert station.operator_id in {operator.id for operator in mapped.operators}
    assert len(set(station.flags)) == len(station.flags)
    if station.location is not None:
        assert is_position(station.location.lon, station.location.lat)
    for evse in station.evses:
        for connector in evse.connectors:
            assert (connector.max_power_w is None) == (connector.power_basis is PowerBasis.UNKNOWN)
            assert connector.max_power_w is None or connector.max_power_w > 0
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(station), type=Station) == station
    assert MAPPER.read(location, 1_795_579_200.0) == mapped


@given(junk)
def test_any_json(value: Any):
    check(value)


@given(locations)
def test_anything_in_the_shape_of_a_location(location: Any):
    try:
        value = orjson.loads(orjson.dumps(location))
    except orjson.JSONEncodeError:  # an integer that no JSON of ours can hold
        value = location
    check(value)


def test_a_value_nested_deeper_than_any_parser_goes():
    deep: Any = "x"
    for _ in range(900):
        deep = [deep]
    check({"id": "1", **{key: deep for key in KEYS if key != "id"}})
    check({"id": "1", "evses": [dict.fromkeys(KEYS, deep)]})
    check(deep)


WHOLE: dict[str, Any] = {
    "id": "L1",
    "country_code": "NL",
    "party_id": "TST",
    "publish": True,
    "name": "Teststraat",
    "address": "Teststraat 1",
    "city": "Utrecht",
    "postal_code": "3511 AA",
    "state": "Utrecht",
    "country": "NLD",
    "coordinates": {"latitude": "52.09074", "longitude": "5.12142"},
    "parking_type": "PARKING_LOT",
    "help_phone": "+31 30 1234567",
    "directions": [{"text": "left"}],
    "images": [{"url": "https://x.example/a.jpg"}],
    "facilities": ["CAFE"],
    "operator": {"name": "Laden", "website": "https://x.example", "phone": "1"},
    "owner": {"name": "Gemeente"},
    "time_zone": "Europe/Amsterdam",
    "opening_times": {
        "twentyfourseven": False,
        "regular_hours": [{"weekday": 1, "period_begin": "08:00", "period_end": "20:00"}],
        "exceptional_openings": [{"period_begin": "2026-01-01T00:00:00Z", "period_end": "2026-01-02T00:00:00Z"}],
        "exceptional_closings": [{"period_begin": "2026-02-01T00:00:00Z", "period_end": "2026-02-02T00:00:00Z"}],
    },
    "last_updated": "2026-01-01T00:00:00Z",
    "evses": [
        {
            "uid": "E1",
            "evse_id": "NL*TST*E1",
            "status": "AVAILABLE",
            "physical_reference": "1",
            "capabilities": ["RESERVABLE"],
            "parking_restrictions": ["CUSTOMERS"],
            "images": [{"url": "https://x.example/b.jpg"}],
            "connectors": [
                {
                    "id": "1",
                    "standard": "IEC_62196_T2",
                    "format": "SOCKET",
                    "power_type": "AC_3_PHASE",
                    "max_voltage": 230,
                    "max_amperage": 32,
                    "max_electric_power": 22_000,
                }
            ],
        }
    ],
}
"""A location without faults that fills in every field that is read."""


def paths_in(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*above, key)
        if isinstance(inner, dict | list):
            yield from paths_in(inner, (*above, key))


def has_a_note(mapped: Mapped) -> bool:
    station = mapped.station
    plugs = [connector for evse in station.evses for connector in evse.connectors]
    flags = [*station.flags, *(flag for evse in station.evses for flag in evse.flags)]
    return bool(flags or mapped.unknown_codes or mapped.rejections or any(connector.flags for connector in plugs))


def test_a_location_without_faults_has_no_note():
    mapped = MAPPER.read(WHOLE, 1.0)
    assert isinstance(mapped, Mapped) and not has_a_note(mapped)


@pytest.mark.parametrize("path", list(paths_in(WHOLE)), ids=lambda path: "/".join(map(str, path)))
@pytest.mark.parametrize("junk", [[[7]], True], ids=["a list of a list", "true"])
def test_no_field_that_is_read_is_lost_silently(path: tuple[Any, ...], junk: Any):
    if junk is True and path[-1] in {"publish", "twentyfourseven"}:
        return
    location = deepcopy(WHOLE)
    holder: Any = location
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = junk
    mapped = MAPPER.read(location, 1.0)
    assert isinstance(mapped, Rejection) or has_a_note(mapped)


numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@given(numbers, numbers, numbers, st.sampled_from(ConnectorType), st.sampled_from(Current), st.booleans())
def test_power_is_a_figure_with_a_basis_or_none(
    declared: float | None,
    volts: float | None,
    amperes: float | None,
    connector_type: ConnectorType,
    current: Current,
    repair: bool,
):
    power = rate(declared, volts, amperes, connector_type, current, repair=repair)
    assert (power.max_power_w is None) == (power.basis is PowerBasis.UNKNOWN)
    if power.basis is PowerBasis.DECLARED:
        assert declared is not None and power.max_power_w == round(declared)
    if power.basis is PowerBasis.REPAIRED:
        assert repair and power.flags
    if current is Current.DC:
        assert power.basis is not PowerBasis.DERIVED


@given(st.text(), st.integers(1, 50))
def test_text_is_plain_and_bounded(text: str, most: int):
    cleaned = read_text(text, most, Notes())
    assert cleaned is None or 0 < len(cleaned) <= most
    if cleaned is not None:
        cleaned.encode()


@given(st.text(alphabet='<>;=," relnxt/a', max_size=200))
def test_any_link_header_is_read(header: str):
    target = find_next_link(header)
    assert target is None or target in header
