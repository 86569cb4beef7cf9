"""Opening hours: what a source said, and what of it is understood."""

from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from app.model.clock import BEIJING, Instant

MINUTES_A_DAY = 24 * 60
DAYS = range(1, 8)


class Period(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Open on an ISO weekday (1 Monday … 7 Sunday) from ``start_min`` until ``end_min``, in local minutes.

    ``end_min`` goes up to 2880: a period over midnight belongs to the day it begins on.
    """

    day: int
    start_min: int
    end_min: int


class SpecialPeriod(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """From ``start`` until ``end`` (Instants) the station is open or closed, whatever the week says."""

    start: Instant
    end: Instant
    open: bool


class OpeningHours(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """``always_open`` is None and ``weekly`` empty where nothing is understood: then open is unknown, never assumed.

    ``raw`` keeps the source's wording.
    """

    always_open: bool | None = None
    weekly: tuple[Period, ...] = ()
    exceptions: tuple[SpecialPeriod, ...] = ()
    raw: str | None = None


UNKNOWN_HOURS = OpeningHours()


def is_open(hours: OpeningHours, at: Instant, time_zone: str | None) -> bool | None:
    """Tell whether the hours say open at an Instant; None where they or the zone are not understood."""
    for exception in hours.exceptions:
        if exception.start <= at < exception.end:
            return exception.open
    if hours.always_open:
        return True
    zone = _zone(time_zone)
    if not hours.weekly or zone is None:
        return None
    local = datetime.fromtimestamp(at, zone)
    minute = local.hour * 60 + local.minute
    today, yesterday = local.isoweekday(), (local - timedelta(days=1)).isoweekday()
    return any(
        (period.day == today and period.start_min <= minute < period.end_min)
        or (period.day == yesterday and minute + MINUTES_A_DAY < period.end_min)
        for period in hours.weekly
    )


@lru_cache(maxsize=512)
def _zone(name: str | None) -> tzinfo | None:
    """China keeps one time for the whole country, so that a missing name in a T/CEC feed is set by the feed."""
    if name is None:
        return None
    if name in {"Asia/Shanghai", "PRC"}:
        return BEIJING
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return None
