"""What Elasticsearch keeps of a station: golden documents, and what they promise."""

import json
import zlib
from base64 import b64decode
from random import Random
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from app.index._document import (
    MAX_DOCUMENT_ID_BYTES,
    OPERATOR_FIELDS,
    STATION_FIELDS,
    delete_line,
    document_id,
    index_body,
    operator_lines,
    station_document,
    text_tokens,
)
from app.index._packing import pack_station, unpack_station
from app.index._text import fold
from app.model.availability import Availability
from app.model.geo import Point
from app.model.opening import OpeningHours, Period
from app.model.station import Address, ConnectorType, Presence, Station
from tests.builders import build_connector, build_evse, build_operator, build_station, random_station
from tests.golden.elasticsearch.golden import check_golden

_RICH = build_station(
    7,
    name="ＡＢＣ 特来电（虹桥）",
    address=Address(text="Straße 1", city="上海市", postal_code="200000", country="CN"),
    hours=OpeningHours(weekly=(Period(day=1, start_min=480, end_min=1_200),), raw="Mo 8-20"),
    evses=(
        build_evse(
            "teld:395815801:000007",
            1,
            connectors=(build_connector(1, max_power_w=60_000), build_connector(2, max_power_w=120_000)),
        ),
        build_evse(
            "teld:395815801:000007",
            2,
            connectors=(build_connector(type=ConnectorType.GBT_AC, max_power_w=None),),
        ),
        build_evse("teld:395815801:000007", 3, connectors=()),
        build_evse("teld:395815801:000007", 4, presence=Presence.PLANNED),
    ),
)
_STATIONS = {"plain": build_station(1), "rich": _RICH, "unlisted": build_station(2, published=False)}


def lines_of(station: Station) -> list[Any]:
    """The lines of a station's document, with the station itself unpacked."""
    action, source = [json.loads(line) for line in station_document(station).lines.splitlines()]
    return [action, source | {"doc": msgspec.to_builtins(unpack_station(b64decode(source["doc"])))}]


@pytest.mark.parametrize("name", sorted(_STATIONS))
def test_a_station_is_written_as_its_golden_document(name: str) -> None:
    check_golden(f"station_{name}", lines_of(_STATIONS[name]))


def test_indices_are_created_as_their_golden_bodies() -> None:
    check_golden("stations_index", index_body(STATION_FIELDS, "hub-stations"))
    check_golden("operators_index", index_body(OPERATOR_FIELDS, "hub-operators"))


def test_operators_and_deletions_are_written_as_their_golden_lines() -> None:
    lines = operator_lines(build_operator(name="特来电")) + delete_line("teld:x:1")
    check_golden("operator_and_deletion", [json.loads(line) for line in lines.splitlines()])


def test_a_document_holds_its_station_whole() -> None:
    random = Random(3)
    for number in range(200):
        station = random_station(random, number, feed="teld", location=Point(lon=121.5, lat=31.2))
        _, source = station_document(station).lines.splitlines()
        assert unpack_station(b64decode(json.loads(source)["doc"])) == station


def test_stations_that_were_packed_otherwise_once_are_read_and_others_refused() -> None:
    assert unpack_station(zlib.compress(msgspec.msgpack.encode(_RICH))) == _RICH
    other = zstandard.ZstdCompressor().compress(b"no station")
    for content in (b"", b"\x78", b"no station", other, pack_station(_RICH).content[:-9]):
        with pytest.raises(msgspec.DecodeError):
            unpack_station(content)


def test_documents_have_no_field_that_is_not_mapped_and_none_for_live_status() -> None:
    random = Random(4)
    for number in range(200):
        fields = lines_of(random_station(random, number, feed="teld", location=Point(lon=1.0, lat=2.0)))[1]
        assert fields.keys() <= STATION_FIELDS.keys()
        assert fields.get("power_w", {}).keys() <= STATION_FIELDS["power_w"]["properties"].keys()
    names = {name.lower() for name in (*STATION_FIELDS, *STATION_FIELDS["power_w"]["properties"])}
    assert not names & {availability.value.lower() for availability in Availability} - {"unknown"}


def test_versions_tell_every_difference_and_no_other() -> None:
    one = build_station(1, evse_count=2)
    assert station_document(one).version == station_document(build_station(1, evse_count=2)).version
    for other in (build_station(1), build_station(1, evse_count=2, remark="!"), build_station(2, evse_count=2)):
        assert station_document(other).version != station_document(one).version


def test_an_id_that_is_too_long_for_elasticsearch_gets_a_short_name_of_its_own() -> None:
    fits, too_long = "电" * 170, "电" * 171
    assert document_id(fits) == fits
    assert len(document_id(too_long).encode()) <= MAX_DOCUMENT_ID_BYTES
    assert document_id(too_long) != document_id(too_long + "电")


@given(st.text(max_size=40), st.text(max_size=3))
def test_a_run_of_tokens_is_a_run_of_characters(text: str, word: str) -> None:
    """As the analyzer splits: at white space, and each ideograph by itself."""
    folded, wanted = fold(text), fold(word)
    tokens, run = analyzed(text_tokens(folded)), analyzed(text_tokens(wanted))
    assert len(tokens) == len(folded)
    places = range(len(tokens) - len(run) + 1)
    assert any(tokens[place : place + len(run)] == run for place in places) == (wanted in folded)


def analyzed(text: str) -> list[str]:
    return "".join(f" {one} " if "\u4e00" <= one <= "\u9fa5" else one for one in text).split()
