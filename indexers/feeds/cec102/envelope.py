"""The envelope of T/CEC 102.4: how a call and its answer are wrapped, signed and read.

Signatures are computed over the texts as they were received, never over numbers that were read and written again.
"""

from datetime import datetime, timedelta
from enum import IntEnum
from typing import Final

import msgspec

from app.model.clock import BEIJING, Instant
from indexers.feeds.cec102.crypto import (
    UndecryptableError,
    decrypt_data,
    encrypt_data,
    sign_request,
    sign_response,
    signature_matches,
)
from indexers.feeds.cec102.profile import Dialect, Keys
from indexers.feeds.cec102.values import JsonObject, decode_json, number, standard_keys, standard_name

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_MAX_DIGITS: Final = 20
_RAW_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Ret(IntEnum):
    """The result codes of 102.4 that we send or act on."""

    BUSY = -1
    OK = 0
    BAD_SIGNATURE = 4001
    BAD_TOKEN = 4002
    BAD_ENVELOPE = 4003
    BAD_PARAMETERS = 4004
    SYSTEM_ERROR = 500


class Field(msgspec.Struct, frozen=True, gc=False):
    """One value of an envelope: its text as sent (None for null), and whether it was a JSON string."""

    text: str | None
    is_string: bool


class Call(msgspec.Struct, frozen=True):
    """A request's envelope, all five parts there."""

    operator_id: str
    data: Field
    timestamp: str
    seq: str
    sig: str


class Answer(msgspec.Struct, frozen=True):
    """A response's envelope. ``ret_text`` is Ret as it was sent: the signature is over that text."""

    ret: int
    ret_text: str
    msg: Field
    data: Field
    sig: str | None


NO_FIELD: Final = Field(None, False)


def read_fields(body: bytes) -> dict[str, Field] | None:
    """Return the parts of an envelope under the standard's names, None when the body is no JSON object."""
    fields: dict[str, Field] = {}
    try:
        for key, raw in _RAW_FIELDS.decode(body.removeprefix(_BYTE_ORDER_MARK)).items():
            name = standard_name(key)
            if name is not None and (name not in fields or key == name):
                fields[name] = _field(bytes(raw).strip())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_leniently(body)
    return fields


def _field(raw: bytes) -> Field:
    if raw.startswith(b'"'):
        return Field(msgspec.json.decode(raw, type=str), True)
    return NO_FIELD if raw == b"null" else Field(raw.decode(), False)


def _read_leniently(body: bytes) -> dict[str, Field] | None:
    """Read an envelope whose JSON has a flaw; numbers and objects are then not as sent, texts are."""
    try:
        value = decode_json(body)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    fields: dict[str, Field] = {}
    for name, item in standard_keys(value).items():
        if isinstance(item, str):
            fields[name] = Field(item.encode("utf-8", "replace").decode(), True)
        elif item is not None:
            fields[name] = Field(str(item), False)
    return fields


def read_call(body: bytes) -> Call | str:
    """Return a request's envelope, or what is wrong with it (Ret 4003)."""
    fields = read_fields(body)
    if fields is None:
        return "the body is not a JSON object"
    missing = [name for name in ("OperatorID", "Data", "TimeStamp", "Seq", "Sig") if not _text(fields, name)]
    if missing:
        return f"missing: {', '.join(missing)}"
    data = fields["Data"]
    return Call(
        _text(fields, "OperatorID"), data, _text(fields, "TimeStamp"), _text(fields, "Seq"), _text(fields, "Sig")
    )


def read_answer(body: bytes) -> Answer | None:
    """Return a response's envelope, None for a body without a readable Ret."""
    fields = read_fields(body)
    ret_text = None if fields is None else _text(fields, "Ret")
    ret = number(ret_text)
    if fields is None or not ret_text or ret is None or not ret.is_integer():
        return None
    sig = fields.get("Sig", NO_FIELD).text
    return Answer(int(ret), ret_text, fields.get("Msg", NO_FIELD), fields.get("Data", NO_FIELD), sig or None)


def _text(fields: dict[str, Field], name: str) -> str:
    return fields.get(name, NO_FIELD).text or ""


def call_is_signed(call: Call, keys: Keys, dialect: Dialect) -> bool:
    """Tell whether the request's signature is right, in either case."""
    texts = _signed_texts(call.data, dialect)
    return any(
        signature_matches(sign_request(keys.sig_key, call.operator_id, data, call.timestamp, call.seq), call.sig)
        for data in texts
    )


def answer_is_signed(answer: Answer, keys: Keys, dialect: Dialect) -> bool:
    """Tell whether the response's signature is right, in either case. None at all is right where it was agreed.

    A Msg of null is signed as nothing, or as the word that Java makes of it.
    """
    if answer.sig is None:
        return dialect.unsigned_answers
    msgs = ("", "null") if answer.msg.text is None else (answer.msg.text,)
    return any(
        signature_matches(sign_response(keys.sig_key, answer.ret_text, msg, data), answer.sig)
        for msg in msgs
        for data in _signed_texts(answer.data, dialect)
    )


def _signed_texts(data: Field, dialect: Dialect) -> tuple[str, ...]:
    """Return what Data may be in the signed text: where it is an unencrypted object, some sign without it."""
    text = data.text or ""
    return (text, "") if dialect.data == "plain" and not data.is_string else (text,)


def build_call(
    operator_id: str, payload: JsonObject, *, keys: Keys, dialect: Dialect, timestamp: str, seq: str
) -> bytes:
    """Return a signed request."""
    data = seal(payload, keys, dialect)
    sig = sign_request(keys.sig_key, operator_id, data, timestamp, seq)
    fields = {"OperatorID": operator_id, "Data": data, "TimeStamp": timestamp, "Seq": seq, "Sig": _cased(sig, dialect)}
    return msgspec.json.encode(_spelt(fields, dialect))


def build_answer(ret: Ret, msg: str, payload: JsonObject | None, *, keys: Keys, dialect: Dialect) -> bytes:
    """Return a signed response; without a payload Data is empty, as in errors."""
    data = "" if payload is None else seal(payload, keys, dialect)
    sig = sign_response(keys.sig_key, str(ret.value), msg, data)
    fields = {"Ret": ret.value, "Msg": msg, "Data": data, "Sig": _cased(sig, dialect)}
    return msgspec.json.encode(_spelt(fields, dialect))


def seal(payload: JsonObject, keys: Keys, dialect: Dialect) -> str:
    """Return the text of ``Data``: encrypted, or the JSON itself where that was agreed."""
    plaintext = msgspec.json.encode(_spelt(payload, dialect))
    return plaintext.decode() if dialect.data == "plain" else encrypt_data(plaintext, keys.data_key, keys.data_iv)


def unseal(data: Field, keys: Keys, dialect: Dialect) -> object:
    """Return the JSON value inside ``Data``. Raises UndecryptableError, and ValueError for what is no JSON."""
    text = data.text or ""
    if dialect.data == "plain" and (not data.is_string or text.lstrip()[:1] in {"{", "["}):
        return decode_json(text.encode())
    if not data.is_string or not text:
        raise UndecryptableError("Data is empty or no text")
    return decode_json(decrypt_data(text, keys.data_key, keys.data_iv))


def _cased(sig: str, dialect: Dialect) -> str:
    return sig.lower() if dialect.sig_case == "lower" else sig


def _spelt(fields: JsonObject, dialect: Dialect) -> JsonObject:
    if dialect.key_case == "standard":
        return fields
    return {name[:1].lower() + name[1:]: value for name, value in fields.items()}


class Numbering:
    """TimeStamp and Seq of our calls: Seq counts inside one second and begins again with the next."""

    def __init__(self, dialect: Dialect) -> None:
        """Begin at 1."""
        self._dialect = dialect
        self._second = -1
        self._seq = 0

    def next(self, now: Instant) -> tuple[str, str]:
        """Return the TimeStamp and Seq of the next call."""
        second = int(now)
        self._seq = 1 if second != self._second else self._seq % 9_999 + 1
        self._second = second
        seq = str(self._seq) if self._dialect.seq == "plain" else f"{self._seq:04d}"
        if self._dialect.timestamp == "epoch_s":
            return str(second), seq
        if self._dialect.timestamp == "epoch_ms":
            return str(int(now * 1_000)), seq
        return datetime.fromtimestamp(second, BEIJING).strftime("%Y%m%d%H%M%S"), seq


def read_timestamp(timestamp: str) -> tuple[Instant, Instant] | None:
    """Return the first and the last Instant that a TimeStamp may mean, None for what is none.

    14 digits are Beijing time, 17 the same with milliseconds and 12 without seconds; 13 and 10 are the milliseconds
    and seconds of Unix.
    """
    digits = "".join(letter for letter in timestamp[: 2 * _MAX_DIGITS] if letter not in "-: T/.")
    if not digits.isascii() or not digits.isdigit() or len(digits) > _MAX_DIGITS:
        return None
    if len(digits) in {10, 13}:
        instant = int(digits) / (1 if len(digits) == 10 else 1_000)
        return instant, instant
    if len(digits) not in {12, 14, 17}:
        return None
    try:
        begin = datetime.strptime(digits[:14].ljust(14, "0"), "%Y%m%d%H%M%S").replace(tzinfo=BEIJING)
        end = begin + timedelta(seconds=59 if len(digits) == 12 else 0)
        return begin.timestamp(), end.timestamp()
    except (ValueError, OverflowError):
        return None


def beijing_time(instant: Instant) -> str:
    """Return a business time, ``yyyy-MM-dd HH:mm:ss``."""
    return datetime.fromtimestamp(instant, BEIJING).strftime("%Y-%m-%d %H:%M:%S")
