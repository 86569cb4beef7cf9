"""The profile of an OCPI party: what a file under ``indexers/profiles`` says of it."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

from app.errors import SettingsError
from app.model.datum import Datum
from app.model.feed import FeedRights
from indexers import profiles
from indexers.base import Schedule

TokenEncoding = Literal["raw", "base64"]
FILE_PREFIX = "file:"
_PARTY = re.compile(r"[A-Z0-9_-]{1,40}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,60}")


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one run may cost. ``timeout_s`` is the longest silence; ``max_body_bytes`` holds for each page."""

    requests_per_s: Annotated[float, msgspec.Meta(gt=0, le=1_000)] = 5.0
    in_flight: Annotated[int, msgspec.Meta(ge=1, le=100)] = 2
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 30.0
    max_body_bytes: Annotated[int, msgspec.Meta(ge=1_000, le=2**30)] = 64 * 2**20
    max_pages: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10_000
    max_empty_pages: Annotated[int, msgspec.Meta(ge=0, le=100)] = 3
    retries: Annotated[int, msgspec.Meta(ge=0, le=10)] = 2
    retry_wait_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 2.0


class OcpiProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One party's Locations.

    ``url`` is the address of its Locations list, or ``file:`` and the path of an answer kept in a file (plain or
    gzip). ``party`` (country code and party id, "NLFAS") stands for locations that name none, as all of 2.1.1 do; it
    defaults to the feed's name. ``token_encoding`` is how the version sends the token, unless stated: raw in 2.1.1,
    Base64 since; the other one is tried once when the party answers 401 or 403. ``repair_power`` says whether kW in the
    field of watts are put right where volts and amperes prove them. ``stale_after_s`` counts from the receipt of an
    answer, so it must be longer than the interval of the full pull.
    """

    kind: Literal["ocpi"] = "ocpi"
    title: str
    url: str
    party: str | None = None
    version: Literal["2.1.1", "2.2", "2.2.1", "2.3.0"] = "2.2.1"
    token: str | None = None
    token_encoding: TokenEncoding | None = None
    headers: dict[str, str] = {}
    page_limit: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None = None
    datum: Datum = Datum.WGS84
    language: Annotated[str, msgspec.Meta(pattern="^[a-z]{2}$")] = "en"
    has_live_status: bool = True
    stale_after_s: Annotated[float, msgspec.Meta(gt=0)] = 1_800.0
    repair_power: bool = True
    rights: FeedRights = FeedRights()
    limits: Limits = Limits()
    schedule: Schedule = Schedule(full_every_s=900.0, delta_every_s=None, status_every_s=None)

    @property
    def first_encoding(self) -> TokenEncoding:
        """How the token is sent at first."""
        return self.token_encoding or ("raw" if self.version == "2.1.1" else "base64")


def read_profile(feed: str, table: dict[str, Any]) -> OcpiProfile:
    """Return the checked profile. Raises SettingsError that names the feed and the key."""
    profile = profiles.read_profile(feed, table, OcpiProfile)
    for key, problem in _problems(feed, profile):
        raise SettingsError(f"profile {feed}: {key} {problem}")
    return profile


def _problems(feed: str, profile: OcpiProfile) -> Iterator[tuple[str, str]]:
    if not profile.title.strip():
        yield "title", "is empty"
    if profile.party is not None and not _PARTY.fullmatch(profile.party):
        yield "party", f"is {profile.party!r}; it must be capitals and digits, as in NLFAS"
    if profile.url.startswith(FILE_PREFIX):
        if not profile.url.removeprefix(FILE_PREFIX).strip("/"):
            yield "url", "names no file"
        if profile.token is not None:
            yield "token", "has no use with a file"
    else:
        profiles.check_url(feed, "url", profile.url)
        if urlsplit(profile.url).username is not None:
            yield "url", "holds a user name; a secret belongs in token or headers"
    if profile.token is not None and not profile.token.strip():
        yield "token", "is empty; leave it out where none is needed"
    if profile.token is not None and profile.first_encoding == "raw" and not _is_sendable(profile.token):
        yield "token", "holds characters that no header may; it can only be sent as base64"
    for name, value in profile.headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _is_sendable(value):
            yield f"headers.{name}", "is not a header that can be sent"


def _is_sendable(value: str) -> bool:
    return value.isascii() and value.isprintable()
