"""Reading what OCPI parties really send: a reader takes any JSON value, returns a clean one or None, and notes why."""

import html
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar

from app.model.clock import Instant
from app.model.identity import MAX_ID_CHARACTERS
from app.model.station import Flag

Record = Mapping[str, Any]
_T = TypeVar("_T")

_SCRIPT = re.compile(r"<(script|style)\b[^<>]*>.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_BREAK = re.compile(r"<(?:br|/p|/div|/li)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<!--.*?-->", re.DOTALL)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufeff]")
_WINDOWS_1252 = {
    code: bytes([code]).decode("cp1252") for code in range(0x80, 0xA0) if code not in {0x81, 0x8D, 0x8F, 0x90, 0x9D}
}
"""What control characters from 80 to 9F hex were meant to be: every browser reads them so."""
_NUMBER = re.compile(r"[+-]?(?:\d{1,18}(?:[.,]\d{0,40})?|[.,]\d{1,40})(?:[eE][+-]?\d{1,2})?")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NOT_ALPHANUMERIC = re.compile(r"[^0-9a-z]")
_NOTHING = frozenset({"", "#NA"})
_TRUE, _FALSE = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no"})
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
_LATEST = datetime(2200, 1, 1, tzinfo=UTC).timestamp()
_MILLISECONDS_FROM = 1e11


class Notes:
    """What was found on the way through one record: flags, each once, and codes that nobody knows, each time."""

    def __init__(self) -> None:
        """Begin with nothing noted."""
        self._flags: dict[Flag, None] = {}
        self.codes: list[str] = []

    def flag(self, flag: Flag) -> None:
        """Note a repair, an inference or a doubt."""
        self._flags[flag] = None

    def unknown(self, field: str, value: object) -> None:
        """Note a value that mapped to UNKNOWN or OTHER; one that is no text at all is flagged."""
        if isinstance(value, str):
            self.codes.append(f"{field}={value[:60]}")
        else:
            self.flag(Flag.VALUE_UNREADABLE)

    @property
    def flags(self) -> tuple[Flag, ...]:
        """The flags, in the order in which they were noted first."""
        return tuple(self._flags)


def snake(record: Mapping[Any, Any]) -> Record:
    """Return the record with its keys in snake_case; of two spellings of one key the standard's wins."""
    if all(key.islower() for key in record):
        return record
    return {_snake_key(key): value for key, value in record.items()} | {
        key: value for key, value in record.items() if key.islower()
    }


@lru_cache(maxsize=2_048)
def _snake_key(key: str) -> str:
    return _CAMEL.sub("_", key).lower()


def find_record(value: object) -> Record | None:
    """Return an object with its keys in snake_case, or None where there is none."""
    return snake(value) if isinstance(value, dict) else None


def list_records(value: object, notes: Notes) -> list[Record]:
    """Return the objects of a list; whatever else stands in it is dropped and flagged, as is a list left out."""
    items = _list_items(value, notes)
    records = [snake(item) for item in items if isinstance(item, dict)]
    if len(records) < len(items):
        notes.flag(Flag.VALUE_UNREADABLE)
    return records


def list_texts(value: object, notes: Notes) -> list[str]:
    """Return the texts of a list; whatever else stands in it is dropped and flagged, as is a list left out."""
    items = _list_items(value, notes)
    texts = [item for item in items if isinstance(item, str)]
    if len(texts) < len(items):
        notes.flag(Flag.VALUE_UNREADABLE)
    return texts


def _list_items(value: object, notes: Notes) -> list[Any]:
    if isinstance(value, list):
        return value
    if value is None or value == "":
        return []
    notes.flag(Flag.VALUE_UNREADABLE)
    return [value]


def read_text(value: object, most: int, notes: Notes) -> str | None:
    """Return plain text of at most ``most`` characters without tags, entities and control characters.

    None where there is nothing, or ``#NA``, OCPI's word for a required text that cannot be known.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        number = _number_text(value)
        if number is None:
            notes.flag(Flag.VALUE_UNREADABLE)
        return number
    text = value.strip()
    if text in _NOTHING:
        return None
    if not text.isprintable() or "<" in text or "&" in text:
        plain = _plain(text.replace("\r\n", "\n"))
        if plain != text.replace("\r\n", "\n"):
            notes.flag(Flag.TEXT_CLEANED)
        text = plain
    if len(text) > most:
        notes.flag(Flag.TEXT_CLEANED)
        text = text[:most].rstrip()
    return text or None


def _plain(text: str) -> str:
    text = _strip_tags(text)
    if "&" in text:
        text = _strip_tags(_ENTITY.sub(lambda match: html.unescape(match[0]), text))
    return _UNPRINTABLE.sub("", text.translate(_WINDOWS_1252)).strip()


def _strip_tags(text: str) -> str:
    if "<" not in text:
        return text
    return _TAG.sub("", _BREAK.sub("\n", _SCRIPT.sub("", text)))


def read_identifier(value: object, notes: Notes) -> tuple[str, str] | None:
    """Return an identifier as (trimmed, as the source wrote it); numbers become text. None where there is none."""
    if not isinstance(value, str):
        number = _number_text(value)
        if number is None and value is not None:
            notes.flag(Flag.VALUE_UNREADABLE)
        return None if number is None else (number, number)
    text = value.strip()
    if _UNPRINTABLE.search(text):
        notes.flag(Flag.VALUE_UNREADABLE)
        return None
    if not text:
        return None
    if len(text) < len(value):
        notes.flag(Flag.IDENTIFIER_TRIMMED)
    return text, value if len(value) <= MAX_ID_CHARACTERS else text


def _number_text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value) if value.bit_length() <= 128 else None


def read_choice(value: object, table: Mapping[str, _T], field: str, notes: Notes) -> _T | None:
    """Return what a code stands for; one that the table does not know is counted under the name of its field."""
    if value is None or (isinstance(value, str) and value.strip() in _NOTHING):
        return None
    known = table.get(code_of(value)) if isinstance(value, str) else None
    if known is None:
        notes.unknown(field, value)
    return known


@lru_cache(maxsize=4_096)
def code_of(text: str) -> str:
    """Return the letters and digits of a text in lower case, so that spelling and blanks do not matter."""
    return _NOT_ALPHANUMERIC.sub("", text.lower())


def read_number(value: object, notes: Notes) -> float | None:
    """Return a finite number; text with a point or a comma is understood."""
    if isinstance(value, bool):
        notes.flag(Flag.VALUE_UNREADABLE)
        return None
    if isinstance(value, float | int):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
        notes.flag(Flag.VALUE_UNREADABLE)
        return None
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        if _NUMBER.fullmatch(text):
            return float(text.replace(",", "."))
    if value is not None:
        notes.flag(Flag.VALUE_UNREADABLE)
    return None


def read_bool(value: object, notes: Notes) -> bool | None:
    """Return a truth value, also where it was sent as text or as 0 and 1."""
    if value is None or value == "":
        return None
    if isinstance(value, int) and value in {0, 1}:
        return bool(value)
    text = value.strip().lower() if isinstance(value, str) else ""
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    notes.flag(Flag.VALUE_UNREADABLE)
    return None


def read_instant(value: object, notes: Notes) -> Instant | None:
    """Return a moment; without a zone it is UTC, as OCPI says. Offsets, fractions and bare dates are understood.

    None for placeholders such as the year 1.
    """
    if value is None or value == "":
        return None
    instant: float | None = None
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
            instant = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            instant = None
    elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15:
        instant = value / 1000 if abs(value) >= _MILLISECONDS_FROM else float(value)
    if instant is None or not _EARLIEST <= instant <= _LATEST:
        notes.flag(Flag.VALUE_UNREADABLE)
        return None
    return instant
