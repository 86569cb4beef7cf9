"""What a feed is: a class registered under a kind, offering the capabilities that it truly has.

One kind (a protocol) serves many feeds: each feed is a profile, a TOML file that names its kind. Capabilities are
protocols checked at run time: StationFeed (the slow, full statement), AvailabilityFeed (the fast, small one) and
InboundFeed (an operator calls us).
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from app.feeds.base import FeedLedger
from app.model.availability import EvseStatus
from app.model.clock import Clock, Instant
from app.model.feed import FeedRights, Rejection
from app.model.station import Operator, Station


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a feed is asked, in seconds. ``full_at`` is a local Beijing time "HH:MM"; None means every
    ``full_every_s``. A None interval switches that kind of run off.
    """

    full_at: str | None = None
    full_every_s: float = 86_400.0
    delta_every_s: float | None = 3_600.0
    status_every_s: float | None = 300.0


class StationBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Some of a feed's stations, with the statuses that came in the same answer.

    ``unknown_codes`` names each value that mapped to UNKNOWN or OTHER as ``field=value``, once per occurrence.
    ``incomplete`` is set when the feed cannot vouch for having seen everything: then nothing may be removed.
    """

    stations: tuple[Station, ...] = ()
    statuses: tuple[EvseStatus, ...] = ()
    operators: tuple[Operator, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    unknown_codes: tuple[str, ...] = ()
    received: int = 0
    expected_total: int | None = None
    incomplete: str | None = None


class StatusBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Some live statuses."""

    statuses: tuple[EvseStatus, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    unknown_codes: tuple[str, ...] = ()


class FeedContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a feed is given: its name, the clock and its durable notes."""

    feed: str
    clock: Clock
    ledger: FeedLedger


@runtime_checkable
class Feed(Protocol):
    """What every feed has."""

    feed: str
    title: str
    party: str
    rights: FeedRights
    schedule: Schedule
    has_live_status: bool

    async def close(self) -> None:
        """Release connections."""
        ...


@runtime_checkable
class StationFeed(Feed, Protocol):
    """States its stations."""

    def stations(self, since: Instant | None) -> AsyncIterator[StationBatch]:
        """Return everything, or what changed since an Instant. Raises FeedError when the platform fails."""
        ...


@runtime_checkable
class AvailabilityFeed(Feed, Protocol):
    """States what is free now, for stations asked for by their local ids."""

    status_page_size: int

    def statuses(self, station_local_ids: Sequence[str]) -> AsyncIterator[StatusBatch]:
        """Return the live status of these stations. Raises FeedError when the platform fails."""
        ...


class InboundReply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an operator's call: an HTTP status and a JSON body, and the news that the call brought."""

    body: bytes
    http_status: int = 200
    batch: StatusBatch | None = None


@runtime_checkable
class InboundFeed(Feed, Protocol):
    """Is called by its operator."""

    inbound_party: str
    """The OperatorID by which its calls are told from those of other operators."""

    async def answer(self, interface: str, body: bytes, authorization: str | None) -> InboundReply:
        """Answer one call, whatever it holds; never raises for bad input."""
        ...


FeedFactory = Callable[[dict[str, Any], FeedContext], Feed]
"""Makes a feed from its profile. Raises SettingsError that names a wrong or missing key."""

_FACTORIES: dict[str, FeedFactory] = {}


def feed(kind: str) -> Callable[[FeedFactory], FeedFactory]:
    """Register a feed's class or factory under its kind. Raises ValueError when the kind is taken."""

    def register(factory: FeedFactory) -> FeedFactory:
        if kind in _FACTORIES:
            msg = f"two feeds are registered as {kind!r}"
            raise ValueError(msg)
        _FACTORIES[kind] = factory
        return factory

    return register


def factories() -> dict[str, FeedFactory]:
    """Return every registered kind."""
    return dict(_FACTORIES)
