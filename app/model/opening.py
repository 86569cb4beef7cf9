"""Opening hours: what a source said, and what of it is understood."""

from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from math import inf
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from app.model.clock import BEIJING, Instant

MINUTES_A_DAY = 24 * 60
DAYS = range(1, 8)
_MINUTES_A_WEEK = 7 * MINUTES_A_DAY
_HALF_HOUR_S = 1_800.0


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


def open_until(hours: OpeningHours, at: Instant, time_zone: str | None) -> Instant:
    """Return until when ``is_open`` surely answers what it answers at an Instant; infinity where it always will.

    Weeks are followed to their next edge, and no further than half an hour: local clocks may be put forward or back.
    """
    edges = [edge for exception in hours.exceptions for edge in (exception.start, exception.end) if edge > at]
    zone = _zone(time_zone)
    if hours.weekly and not hours.always_open and zone is not None:
        edges.append((at // _HALF_HOUR_S + 1) * _HALF_HOUR_S)
        local = datetime.fromtimestamp(at, zone)
        now_min = (local.isoweekday() - 1) * MINUTES_A_DAY + local.hour * 60 + local.minute
        turns = [
            ((period.day - 1) * MINUTES_A_DAY + edge_min - now_min - 1) % _MINUTES_A_WEEK + 1
            for period in hours.weekly
            for edge_min in (period.start_min, period.end_min)
        ]
        edges.append((at // 60 + min(turns)) * 60)
    return min(edges, default=inf)


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
