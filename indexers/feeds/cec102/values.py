"""Reading what platforms really send: keys in any case, numbers as text, text with markup, JSON with a flaw.

Pure functions; none raises for what a platform wrote, and none guesses silently.
"""

import html
import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

import msgspec

from app.model.identity import MAX_ID_CHARACTERS

JsonObject = dict[str, Any]

MAX_TEXT_CHARACTERS: Final = 2_000
_EXACT_FLOATS: Final = 2**53
_MAX_SHAPES: Final = 4_096
_MAX_CHARACTERS_OF_A_SHAPE: Final = 8_000

_STANDARD_NAMES_IN_LINES: Final = """
OperatorID OperatorSecret SuccStat FailReason AccessToken TokenAvailableTime
Ret Msg Data Sig TimeStamp Seq
PageNo PageCount ItemSize Total StationInfos StationStatusInfos ConnectorStatusInfos
StationID EquipmentOwnerID StationName CountryCode AreaCode Address StationTel ServiceTel StationType StationStatus
ParkNums StationLng StationLat SiteGuide Construction Pictures MatchCars ParkInfo BusineHours ElectricityFee ServiceFee
ParkFee Payment SupportOrder Remark EquipmentInfos
RoundTheClock Is24Hour BusineHours724 StationOrientation SupportingFacilities HavePerson DutyNum Wc Rainshed Lounge
LightMeal Shop
EquipmentID EquipmentName ManufacturerID ManufacturerName EquipmentModel EquipmentType EquipmentLng EquipmentLat Power
ConnectorInfos
ConnectorID ConnectorName ConnectorType VoltageUpperLimits VoltageLowerLimits Current ParkNo NationalStandard
Status ParkStatus LockStatus
"""
_STANDARD_NAMES: Final = frozenset(_STANDARD_NAMES_IN_LINES.split())
"""The standard's own spelling of every key that we read."""

_ALIASES: Final = {
    "businethours": "BusineHours",
    "businesshours": "BusineHours",
    "connectorinfo": "ConnectorInfos",
    "connectorstatusinfo": "ConnectorStatusInfos",
    "equipmentinfo": "EquipmentInfos",
    "operationid": "OperatorID",
    "stationinfo": "StationInfos",
    "stationstatusinfo": "StationStatusInfos",
}
_BY_FOLDED: Final = {name.lower(): name for name in _STANDARD_NAMES} | _ALIASES

_Shape = tuple[tuple[str, ...], Callable[[JsonObject], Any]] | None
_shapes: dict[tuple[str, ...], _Shape] = {}


def standard_name(key: str) -> str | None:
    """Return the standard's spelling of a key, None for a key that we do not read."""
    return _BY_FOLDED.get(key.strip().replace("_", "").lower())


def standard_keys(raw: JsonObject) -> JsonObject:
    """Return the object under the standard's keys; keys that we do not read may be left out.

    Where two keys mean the same, the one in the standard's own spelling wins, else the first; but one that is given
    wins over one that is empty.
    """
    keys = tuple(raw)
    try:
        shape = _shapes[keys]
    except KeyError:
        shape = _shape_of(keys)
        if sum(map(len, keys)) <= _MAX_CHARACTERS_OF_A_SHAPE:
            if len(_shapes) >= _MAX_SHAPES:
                _shapes.clear()
            _shapes[keys] = shape
    if shape is None:
        return raw
    names, values_of = shape
    return dict(zip(names, values_of(raw), strict=True))


def _shape_of(keys: tuple[str, ...]) -> _Shape:
    """Return None for an object that can be read as it is, else the names and how to get their values."""
    chosen: dict[str, list[str]] = {}
    for key in keys:
        name = standard_name(key)
        if name is not None:
            alike = chosen.setdefault(name, [])
            alike.insert(0 if key == name else len(alike), key)
    if all(alike == [name] for name, alike in chosen.items()):
        return None
    wanted = list(chosen.values())
    if len(wanted) > 1 and all(len(alike) == 1 for alike in wanted):
        return tuple(chosen), itemgetter(*(alike[0] for alike in wanted))
    return tuple(chosen), lambda raw: tuple(_first_given(raw, alike) for alike in wanted)


def _first_given(raw: JsonObject, alike: list[str]) -> object:
    return next((raw[key] for key in alike if is_given(raw[key]) and raw[key] != []), raw[alike[0]])


def objects(value: object) -> list[Any]:
    """Return a list as it is, one object as a list of it, and nothing for null or anything else."""
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, dict) else []


# ------------------------------------------------------------------------------------------------------------- JSON


def decode_json(body: bytes) -> object:
    """Return the JSON value, integers of any length exact. Raises ValueError for what is beyond repair.

    Byte order marks, bytes that are no UTF-8, control characters inside strings, NaN and infinities (read as null)
    do not lose the message.
    """
    try:
        value: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error
    else:
        return value
    try:
        return json.loads(body.decode("utf-8-sig", "replace"), strict=False, parse_constant=_null, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error


def _null(_constant: str) -> None:
    return None


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


# ------------------------------------------------------------------------------------------------------------- text

_ENTITY = re.compile(r"&(?:[A-Za-z][A-Za-z0-9]{1,30}|#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6});")
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,200}>")
_SPACES = re.compile(r"\s+")
_ABSENT = frozenset({"", "null", "NULL"})


def text(value: object) -> tuple[str | None, bool]:
    """Return a free text and whether it had to be cleaned; None where there is none.

    Control and bidirectional characters, tags and entities go; white space becomes single spaces.
    """
    if type(value) is str:
        stripped = value.strip()
        if stripped.isprintable() and "&" not in stripped and "<" not in stripped:
            if len(stripped) > MAX_TEXT_CHARACTERS:
                return stripped[:MAX_TEXT_CHARACTERS], True
            return (None if stripped in _ABSENT else stripped), False
        return _cleaned(stripped)
    if value is None:
        return None, False
    number = number_text(value)
    return number, number is None


def _cleaned(raw: str) -> tuple[str | None, bool]:
    clean = raw[: 4 * MAX_TEXT_CHARACTERS]
    if "&" in clean:
        clean = _ENTITY.sub(lambda entity: html.unescape(entity.group()), clean)
    if "<" in clean:
        clean = _TAG.sub(" ", clean)
    clean = _SPACES.sub(" ", clean)
    if not clean.isprintable():
        clean = "".join(letter for letter in clean if unicodedata.category(letter) not in {"Cc", "Cf", "Cs"})
    clean = clean.strip()[:MAX_TEXT_CHARACTERS]
    return (None if clean in _ABSENT else clean), clean != raw


def number_text(value: object) -> str | None:
    """Return an integer's digits (a float's too, where it is whole), None for what is no number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 1_024 else None
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < _EXACT_FLOATS else repr(value)
    return None


def identifier(value: object) -> tuple[str, str] | None:
    """Return an identifier as it was sent and as it identifies (without white space around), None for none.

    Leading zeros are kept, numbers become their exact digits. What holds control characters, is longer than an
    identifier may be, or is a float that has lost digits, is none: it could not be asked for.
    """
    raw = value if type(value) is str else number_text(value)
    if raw is None or (type(value) is float and not raw.lstrip("-").isdigit()):
        return None
    stripped = raw.strip()
    if not stripped or len(raw) > MAX_ID_CHARACTERS or not stripped.isprintable() or stripped in _ABSENT:
        return None
    return raw, stripped


# ---------------------------------------------------------------------------------------------------------- numbers

_MAX_NUMBER_CHARACTERS: Final = 80
_NUMBER = re.compile(
    r"\s*([+-]?(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:e[+-]?[0-9]{1,2})?)\s*(?:kw|v|a|°)?\s*", re.IGNORECASE
)


def number(value: object) -> float | None:
    """Return a finite number from a number or its text, None for anything else.

    A text may end in a unit and have an exponent, as Java's BigDecimal writes ``1.2E+2``. A comma is not guessed at.
    """
    if type(value) is float:
        return value if math.isfinite(value) else None
    if type(value) is int:
        return float(value) if value.bit_length() <= 1_000 else None
    if type(value) is str and len(value) <= _MAX_NUMBER_CHARACTERS:
        return _number_in(value)
    return None


@lru_cache(maxsize=16_384)
def _number_in(written: str) -> float | None:
    match = _NUMBER.fullmatch(written)
    return None if match is None else float(match.group(1))


def integer(value: object) -> int | None:
    """Return a whole number from an int, a whole float or the text of either, None for anything else."""
    if type(value) is int:
        return value if value.bit_length() <= 64 else None
    read = number(value)
    return int(read) if read is not None and read.is_integer() and abs(read) < 1e15 else None


def is_given(value: object) -> bool:
    """Tell whether the sender said anything: not left out, not null, not an empty text."""
    return value is not None and value != "" and not (type(value) is str and value.strip() in _ABSENT)


def code_text(value: object) -> str:
    """Return a code as it is counted and shown: short, printable."""
    written = value if type(value) is str else number_text(value)
    if written is None:
        written = type(value).__name__
    return "".join(letter for letter in written[:40] if letter.isprintable())


def flag_is_set(fields: Mapping[str, Any], name: str) -> bool | None:
    """Return a 0/1 field as a truth value (JSON's own are taken as well), None where it is not given or is neither."""
    value = fields.get(name)
    if isinstance(value, bool):
        return value
    code = integer(value)
    return None if code is None or code not in {0, 1} else code == 1
