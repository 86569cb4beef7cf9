"""What is known of a feed: who it is, what we may do with its data, and how it fares."""

from enum import Enum

import msgspec

from app.model.agreement import EVERYTHING, Grant, problem_of
from app.model.clock import Instant


class FeedRights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the operator's contract allows.

    ``may_cache`` False forbids to keep its data, and so to index it at all; ``may_discover`` False hides the feed from
    every partner, ``may_republish`` False from MAP partners, who show data to the world; ``may_show_price`` False
    hides fees from everyone. No agreement goes beyond these. ``offered_to_all`` is what a partner may have without an
    agreement; empty, the feed is closed to all but those with whom there is one.
    """

    may_cache: bool = True
    may_discover: bool = True
    may_republish: bool = True
    may_show_price: bool = True
    offered_to_all: frozenset[Grant] = EVERYTHING
    attribution: str | None = None
    licence: str | None = None

    def __post_init__(self) -> None:
        """Check what is offered. Raises ValueError."""
        problem = problem_of(self.offered_to_all)
        if problem is not None:
            msg = f"offered_to_all: {problem}"
            raise ValueError(msg)


class RunKind(Enum):
    """What a run of a feed was about: everything, what changed, or live status."""

    FULL = "FULL"
    DELTA = "DELTA"
    STATUS = "STATUS"
    PUSH = "PUSH"


class Rejection(msgspec.Struct, frozen=True):
    """A record that was refused: a stable reason, which record, and what was wrong with it."""

    reason: str
    record_id: str
    detail: str


class FeedReport(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a feed, as it ended.

    Counts are of stations, but ``statuses``. ``repaired`` counts flags by name, ``rejected`` records by reason,
    ``unknown_codes`` values that mapped to UNKNOWN or OTHER by ``field=value``. ``samples`` keeps a bounded number of
    rejections for inspection. ``error`` is None when the run reached its end; ``incomplete`` says why nothing was
    removed.
    """

    feed: str
    kind: RunKind
    started_at: Instant
    ended_at: Instant
    received: int = 0
    indexed: int = 0
    changed: int = 0
    removed: int = 0
    statuses: int = 0
    repaired: dict[str, int] = {}
    rejected: dict[str, int] = {}
    unknown_codes: dict[str, int] = {}
    samples: tuple[Rejection, ...] = ()
    incomplete: str | None = None
    error: str | None = None


class FeedInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A configured feed as everyone may see it."""

    id: str
    title: str
    party: str
    has_live_status: bool
    rights: FeedRights
