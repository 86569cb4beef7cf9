"""What platforms write is read once, here: keys, JSON, text, identifiers and numbers."""

from typing import Any

import pytest

from app.model.identity import MAX_ID_CHARACTERS
from indexers.feeds.cec102.values import (
    MAX_TEXT_CHARACTERS,
    _number_in,
    code_text,
    decode_json,
    flag_is_set,
    identifier,
    integer,
    is_given,
    number,
    objects,
    standard_keys,
    standard_name,
    text,
)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("StationID", "StationID"),
        ("stationID", "StationID"),
        ("station_id", "StationID"),
        (" STATIONID ", "StationID"),
        ("BusinetHours", "BusineHours"),
        ("businessHours", "BusineHours"),
        ("payMent", "Payment"),
        ("ConnectorStatusInfo", "ConnectorStatusInfos"),
        ("stationStatusInfo", "StationStatusInfos"),
        ("operationID", "OperatorID"),
        ("serialVersionUID", None),
        ("", None),
    ],
)
def test_keys_are_known_in_any_case_and_in_the_misspellings_that_were_seen(key: str, name: str | None) -> None:
    assert standard_name(key) == name


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ({"StationID": "1", "x": 2}, {"StationID": "1", "x": 2}),
        ({"stationID": "1", "x": 2}, {"StationID": "1"}),
        ({"stationid": "2", "StationID": "1"}, {"StationID": "1"}),
        ({"StationID": "1", "stationid": "2"}, {"StationID": "1"}),
        ({"stationid": "1", "STATIONID": "2"}, {"StationID": "1"}),
        ({"StationID": None, "stationid": "2", "status": 1}, {"StationID": "2", "Status": 1}),
        ({"EquipmentInfos": [], "EquipmentInfo": {"x": 1}}, {"EquipmentInfos": {"x": 1}}),
        ({"stationid": None, "station_id": " "}, {"StationID": None}),
        ({}, {}),
    ],
)
def test_of_two_keys_that_mean_the_same_the_standards_own_wins_unless_it_is_empty(raw: Any, read: Any) -> None:
    assert standard_keys(raw) == read
    assert standard_keys(raw) == read  # the second time by the shape that was kept


def test_shapes_without_end_are_not_kept_without_end() -> None:
    for at in range(5_000):
        assert standard_keys({f"key{at}": 0, "stationID": at}) == {"StationID": at}
    huge = {"k" * 1_000_000: 0, "stationID": "1"}
    assert standard_keys(huge) == {"StationID": "1"}


@pytest.mark.parametrize(
    ("value", "read"), [([1, None], [1, None]), ({"a": 1}, [{"a": 1}]), (None, []), ("x", []), (0, []), ({}, [{}])]
)
def test_one_object_counts_as_a_list_of_it(value: object, read: list[Any]) -> None:
    assert objects(value) == read


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":1}', {"a": 1}),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (b'{"a":"x\ny\x00"}', {"a": "x\ny\x00"}),
        (b'{"a":NaN,"b":Infinity,"c":-Infinity}', {"a": None, "b": None, "c": None}),
        (b'{"a":1e999,"b":-1e999}', {"a": None, "b": None}),
        (b'{"a":"\xe7\xab\x99\xff"}', {"a": "站\ufffd"}),
        (b'{"a":"\\ud83d"}', {"a": "\ud83d"}),
        (b'{"a":1532909462337781761}', {"a": 1532909462337781761}),
        (b'{"a":12000000000000010041201001}', {"a": 12000000000000010041201001}),
        (b" [1]\r\n", [1]),
        (b"null", None),
    ],
)
def test_json_with_a_flaw_is_read(body: bytes, value: object) -> None:
    assert decode_json(body) == value


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"a":1', b"{'a':1}", b"[" * 100_000, b'{"a":NaN,"b":' + b"[" * 100_000, b"9" * 10_000]
)
def test_json_beyond_repair_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        decode_json(body)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("全天开放", ("全天开放", False)),
        (" 免费 ", ("免费", False)),
        ("谷电<0.5元", ("谷电<0.5元", False)),
        ("A&B", ("A&B", False)),
        ("", (None, False)),
        ("  ", (None, False)),
        ("null", (None, False)),
        (None, (None, False)),
        (4001300001, ("4001300001", False)),
        (0.8, ("0.8", False)),
        (24.0, ("24", False)),
        ("<p>限高<br/>2.1米</p>", ("限高 2.1米", True)),
        ("A&amp;B&nbsp;C", ("A&B C", True)),
        ("a\u200b\u202eb\x00", ("ab", True)),
        ("a\r\nb\u3000c", ("a b c", True)),
        ("<br/>", (None, True)),
        ("\ud83d电", ("电", True)),
        ("长" * 3_000, ("长" * MAX_TEXT_CHARACTERS, True)),
        ("&lt;" * 100_000, ("<" * MAX_TEXT_CHARACTERS, True)),
        (True, (None, True)),
        ([], (None, True)),
        ({"x": 1}, (None, True)),
    ],
)
def test_text_is_kept_as_stated_and_cleaning_is_told(value: object, read: tuple[str | None, bool]) -> None:
    assert text(value) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("00000000002501", ("00000000002501", "00000000002501")),
        (" 3201020000000861", (" 3201020000000861", "3201020000000861")),
        ("313744932^s00001", ("313744932^s00001", "313744932^s00001")),
        (1532909462337781761, ("1532909462337781761", "1532909462337781761")),
        (2501.0, ("2501", "2501")),
        (0, ("0", "0")),
        ("1" * MAX_ID_CHARACTERS, ("1" * MAX_ID_CHARACTERS, "1" * MAX_ID_CHARACTERS)),
        ("1" * (MAX_ID_CHARACTERS + 1), None),
        (10**MAX_ID_CHARACTERS, None),
        (1.532909462337782e18, None),
        (12.5, None),
        (float("nan"), None),
        ("", None),
        (" \t", None),
        ("null", None),
        ("a\nb", None),
        ("a\x00", None),
        ("\ud83d", None),
        (None, None),
        (True, None),
        ([], None),
    ],
)
def test_identifiers_are_exact_or_none(value: object, read: tuple[str, str] | None) -> None:
    assert identifier(value) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (7, 7.0),
        (7.5, 7.5),
        ("7.5", 7.5),
        (" -7 ", -7.0),
        ("+.5", 0.5),
        ("60kW", 60.0),
        ("750 V", 750.0),
        ("160A", 160.0),
        ("121.5°", 121.5),
        ("1.2E+2", 120.0),
        ("1e-3", 0.001),
        ("1,200", None),
        ("121,53", None),
        ("1_000", None),
        ("١٢", None),
        ("0x10", None),
        ("NaN", None),
        ("inf", None),
        ("9" * 81, None),
        ("", None),
        (None, None),
        (True, None),
        ([7], None),
        (float("inf"), None),
        (10**400, None),
    ],
)
def test_numbers_are_read_or_none(value: object, read: float | None) -> None:
    assert number(value) == read


def test_a_text_that_is_too_long_for_a_number_is_not_kept() -> None:
    kept = _number_in.cache_info().currsize
    assert number("1" * 1_000_000) is None
    assert _number_in.cache_info().currsize == kept


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (50, 50),
        ("50", 50),
        (50.0, 50),
        ("50.0", 50),
        ("5E+1", 50),
        (-1, -1),
        (50.5, None),
        ("五十", None),
        (None, None),
        (False, None),
        (10**30, None),
        ("9" * 20, None),
    ],
)
def test_whole_numbers_are_read_or_none(value: object, read: int | None) -> None:
    assert integer(value) == read


@pytest.mark.parametrize(
    ("value", "given"), [(0, True), ("0", True), ([], True), ("", False), (" ", False), (None, False), ("null", False)]
)
def test_what_was_said_is_told_from_what_was_not(value: object, given: bool) -> None:
    assert is_given(value) is given


@pytest.mark.parametrize(
    ("value", "shown"),
    [(7, "7"), (7.0, "7"), ("正常\n", "正常"), ("x" * 99, "x" * 40), (True, "bool"), (None, "NoneType"), ([1], "list")],
)
def test_codes_are_shown_short_and_printable(value: object, shown: str) -> None:
    assert code_text(value) == shown


@pytest.mark.parametrize(
    ("value", "is_set"),
    [
        (1, True),
        ("1", True),
        (1.0, True),
        (True, True),
        (0, False),
        ("0", False),
        (False, False),
        (2, None),
        ("是", None),
    ],
)
def test_flags_are_0_or_1(value: object, is_set: bool | None) -> None:
    assert flag_is_set({"RoundTheClock": value}, "RoundTheClock") is is_set
    assert flag_is_set({}, "RoundTheClock") is None
