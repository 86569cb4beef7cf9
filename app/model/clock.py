"""Time is given: whoever needs it takes a Clock. The only file that reads the machine's clocks."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

Instant = float
"""Seconds since 1970-01-01T00:00Z."""

Clock = Callable[[], Instant]
"""Returns the current Instant."""

BEIJING = timezone(timedelta(hours=8), "UTC+8")


def system_clock() -> Instant:
    """Return the machine's wall time."""
    return time.time()


def monotonic_s() -> float:
    """Return seconds of a clock that never steps; only differences mean anything."""
    return time.monotonic()


class ManualClock:
    """A clock that moves when told; for tests and for replaying a feed."""

    def __init__(self, now: Instant = 1_764_000_000.0) -> None:
        """Start at ``now``."""
        self.instant = now

    def __call__(self) -> Instant:
        """Return the time it was set to."""
        return self.instant

    def advance(self, seconds: float) -> None:
        """Move on by ``seconds``."""
        self.instant += seconds


def to_datetime(instant: Instant) -> datetime:
    """Return the instant as an aware datetime in UTC."""
    return datetime.fromtimestamp(instant, UTC)
