"""What a partner's profile may say: addresses, secrets, dialect, limits. Documented in ``profiles/_blueprint.toml``."""

import base64
import binascii
from typing import Any, Final, Literal

import msgspec

from app.errors import SettingsError
from app.model.datum import Datum
from app.model.feed import FeedRights
from indexers.base import Schedule
from indexers.profiles import check_url, read_profile

MAX_STATIONS_A_PAGE: Final = 100
MAX_STATIONS_A_STATUS_CALL: Final = 50
_AES_KEY_BYTES: Final = (16, 24, 32)
_AES_BLOCK_BYTES: Final = 16
_MAX_RATE: Final = 1_000

KeyDecoding = Literal["raw", "hex", "base64"]


class Keys(msgspec.Struct, frozen=True):
    """The secrets of one direction, decoded. Never printed."""

    operator_secret: str
    data_key: bytes
    data_iv: bytes
    sig_key: bytes

    def __repr__(self) -> str:
        """Say nothing of the secrets."""
        return "Keys(…)"


class CallTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[call]``: how we call the operator, with the secrets that it gave us."""

    base_url: str
    operator_secret: str
    data_secret: str
    data_secret_iv: str
    sig_secret: str
    token_url: str | None = None
    stations_url: str | None = None
    status_url: str | None = None
    key_decoding: KeyDecoding = "raw"

    def __repr__(self) -> str:
        """Say nothing of the secrets."""
        return f"CallTable(base_url={self.base_url!r}, …)"


class ServeTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[serve]``: how the operator calls us, with the secrets that we gave it."""

    operator_secret: str
    data_secret: str
    data_secret_iv: str
    sig_secret: str
    operator_id: str | None = None
    key_decoding: KeyDecoding = "raw"
    token_ttl_s: int = 7_200
    timestamp_window_s: float = 300.0

    def __repr__(self) -> str:
        """Say nothing of the secrets."""
        return f"ServeTable(operator_id={self.operator_id!r}, …)"


class Dialect(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[dialect]``: where the partner leaves the standard. What we *receive* needs none of these but
    ``data``, ``unsigned_answers`` and ``datum``.
    """

    sig_case: Literal["upper", "lower"] = "upper"
    bearer: Literal["spaced", "joined", "bare"] = "spaced"
    key_case: Literal["standard", "lower_camel"] = "standard"
    timestamp: Literal["standard", "epoch_s", "epoch_ms"] = "standard"
    seq: Literal["padded", "plain"] = "padded"
    all_stations: Literal["empty_time", "no_time"] = "empty_time"
    data: Literal["encrypted", "plain"] = "encrypted"
    unsigned_answers: bool = False
    datum: Datum = Datum.GCJ02


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[limits]``: how hard the platform may be asked, and what its answers may cost us."""

    page_size: int = MAX_STATIONS_A_PAGE
    status_page_size: int = MAX_STATIONS_A_STATUS_CALL
    requests_per_s: float = 2.0
    in_flight: int = 2
    timeout_s: float = 20.0
    retries: int = 3
    retry_delay_s: float = 1.0
    max_body_bytes: int = 16 * 2**20


class StatusTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[status]``: for how long what we heard last is believed. Pushes: as long as answers, unless said."""

    stale_after_s: float = 900.0
    pushed_stale_after_s: float | None = None


class Cec102Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    kind: Literal["cec102"]
    title: str
    party: str
    hub_operator_id: str
    call: CallTable
    serve: ServeTable | None = None
    dialect: Dialect = Dialect()
    limits: Limits = Limits()
    status: StatusTable = StatusTable()
    schedule: Schedule = Schedule()
    rights: FeedRights = FeedRights()


def read_cec102_profile(name: str, table: dict[str, Any]) -> Cec102Profile:
    """Return the profile, every value checked. Raises SettingsError that names the profile and the key."""
    profile = read_profile(name, table, Cec102Profile)
    _check_id(name, "party", profile.party)
    _check_id(name, "hub_operator_id", profile.hub_operator_id)
    _check(name, "title", bool(profile.title.strip()), "must not be empty")
    for key in ("base_url", "token_url", "stations_url", "status_url"):
        url = getattr(profile.call, key)
        if url is not None:
            check_url(name, f"call.{key}", url)
    call_keys(name, profile)
    limits = profile.limits
    _check_range(name, "limits.page_size", limits.page_size, 1, MAX_STATIONS_A_PAGE)
    _check_range(name, "limits.status_page_size", limits.status_page_size, 1, MAX_STATIONS_A_STATUS_CALL)
    _check_range(name, "limits.requests_per_s", limits.requests_per_s, 0.01, _MAX_RATE)
    _check_range(name, "limits.in_flight", limits.in_flight, 1, 100)
    _check_range(name, "limits.timeout_s", limits.timeout_s, 0.1, 600)
    _check_range(name, "limits.retries", limits.retries, 0, 10)
    _check_range(name, "limits.retry_delay_s", limits.retry_delay_s, 0, 600)
    _check_range(name, "limits.max_body_bytes", limits.max_body_bytes, 1_024, 2**30)
    _check_range(name, "status.stale_after_s", profile.status.stale_after_s, 1, 30 * 86_400)
    if profile.status.pushed_stale_after_s is not None:
        _check_range(name, "status.pushed_stale_after_s", profile.status.pushed_stale_after_s, 1, 30 * 86_400)
    if profile.serve is not None:
        serve_keys(name, profile.serve)
        if profile.serve.operator_id is not None:
            _check_id(name, "serve.operator_id", profile.serve.operator_id)
        _check_range(name, "serve.token_ttl_s", profile.serve.token_ttl_s, 60, 7 * 86_400)
        _check_range(name, "serve.timestamp_window_s", profile.serve.timestamp_window_s, 0, 86_400)
    _check_schedule(name, profile.schedule)
    return profile


def call_keys(name: str, profile: Cec102Profile) -> Keys:
    """Return the secrets with which we call. Raises SettingsError."""
    return _keys(name, "call", profile.call)


def serve_keys(name: str, serve: ServeTable) -> Keys:
    """Return the secrets with which we are called. Raises SettingsError."""
    return _keys(name, "serve", serve)


def _keys(name: str, section: str, table: CallTable | ServeTable) -> Keys:
    for key in ("operator_secret", "data_secret", "data_secret_iv", "sig_secret"):
        _check(name, f"{section}.{key}", bool(getattr(table, key)), "must not be empty")
    data_key = _decoded(name, f"{section}.data_secret", table.data_secret, table.key_decoding)
    _check(
        name,
        f"{section}.data_secret",
        len(data_key) in _AES_KEY_BYTES,
        f"must be 16, 24 or 32 bytes long (key_decoding is {table.key_decoding!r}); it is {len(data_key)}",
    )
    # An initial vector of 16 characters is one as it stands, whatever is done to the key.
    is_raw_iv = len(table.data_secret_iv.encode()) == _AES_BLOCK_BYTES
    iv_key = f"{section}.data_secret_iv"
    data_iv = _decoded(name, iv_key, table.data_secret_iv, "raw" if is_raw_iv else table.key_decoding)
    _check(name, iv_key, len(data_iv) == _AES_BLOCK_BYTES, f"must be 16 bytes long; it is {len(data_iv)}")
    return Keys(table.operator_secret, data_key, data_iv, table.sig_secret.encode())


def _decoded(name: str, key: str, secret: str, decoding: KeyDecoding) -> bytes:
    try:
        if decoding == "hex":
            return bytes.fromhex(secret)
        if decoding == "base64":
            return base64.b64decode(secret, validate=True)
    except (ValueError, binascii.Error) as error:
        raise SettingsError(f"profile {name}: {key} is not {decoding}") from error
    return secret.encode()


def _check_id(name: str, key: str, value: str) -> None:
    sane = value.isascii() and value.isalnum() and len(value) <= 30
    _check(name, key, sane, f"is {value[:60]!r}; an OperatorID has only letters and digits, normally nine")


def _check_range(name: str, key: str, value: float, least: float, most: float) -> None:
    _check(name, key, least <= value <= most, f"is {value:g}; it must be from {least:g} to {most:g}")


def _check_schedule(name: str, schedule: Schedule) -> None:
    if schedule.full_at is not None:
        hour, colon, minute = schedule.full_at.partition(":")
        digits = hour.isascii() and hour.isdigit() and minute.isascii() and minute.isdigit()
        sane = colon == ":" and digits and len(hour) == len(minute) == 2 and int(hour) < 24 and int(minute) < 60
        _check(name, "schedule.full_at", sane, f"is {schedule.full_at[:20]!r}; it must be a time of day as 05:30")
    for key in ("full_every_s", "delta_every_s", "status_every_s"):
        value = getattr(schedule, key)
        if value is not None:
            _check_range(name, f"schedule.{key}", value, 1, 30 * 86_400)


def _check(name: str, key: str, holds: bool, problem: str) -> None:
    if not holds:
        raise SettingsError(f"profile {name}: {key} {problem}")
