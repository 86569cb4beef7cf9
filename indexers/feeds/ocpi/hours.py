"""Opening hours: OCPI's ``Hours``, as sent. What is not understood in full is not understood at all."""

import re
from functools import lru_cache
from zoneinfo import available_timezones

import orjson

from app.model.opening import DAYS, MINUTES_A_DAY, UNKNOWN_HOURS, OpeningHours, Period, SpecialPeriod
from app.model.station import Flag
from indexers.feeds.ocpi.values import Notes, Record, find_record, list_records, read_bool, read_instant, read_text

MAX_PERIODS = 200
MAX_RAW_CHARACTERS = 4_000
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::\d{2}(?:\.\d+)?)?")
_LAST_MINUTE = MINUTES_A_DAY - 1
_SUNDAY = 7


def read_hours(value: object, notes: Notes) -> OpeningHours:
    """Return the opening hours; ``raw`` is the source's object as JSON."""
    if value is None:
        return UNKNOWN_HOURS
    raw = _as_json(value)
    stated = find_record(value)
    if stated is None:
        notes.flag(Flag.VALUE_UNREADABLE)
        return OpeningHours(raw=raw)
    always = read_bool(stated.get("twentyfourseven"), notes)
    weekly: tuple[Period, ...] = ()
    regular = stated.get("regular_hours")
    if regular and not always:
        weekly = _weekly(list_records(regular, notes), notes)
        always = _covers_the_week(weekly) or (False if weekly else always)
    closings = _exceptions(stated.get("exceptional_closings"), notes, is_open=False)
    openings = _exceptions(stated.get("exceptional_openings"), notes, is_open=True)
    if always is None and not (weekly or closings or openings) and any(stated.values()):
        notes.flag(Flag.VALUE_UNREADABLE)
    return OpeningHours(always_open=always, weekly=weekly, exceptions=closings + openings, raw=raw)


def read_time_zone(value: object, notes: Notes) -> str | None:
    """Return an IANA name; one in other letters or with blanks is repaired, anything else is unknown."""
    name = read_text(value, MAX_RAW_CHARACTERS, notes)
    if name is None:
        return None
    zone = _zones().get(name.replace(" ", "_").casefold())
    if zone is None:
        notes.unknown("time_zone", name)
        notes.flag(Flag.VALUE_UNREADABLE)
    elif zone != name:
        notes.flag(Flag.TEXT_CLEANED)
    return zone


@lru_cache(maxsize=1)
def _zones() -> dict[str, str]:
    return {name.casefold(): name for name in available_timezones()}


def _as_json(value: object) -> str | None:
    try:
        return orjson.dumps(value).decode()[:MAX_RAW_CHARACTERS]
    except orjson.JSONEncodeError:  # nested deeper than anybody's hours
        return None


def _weekly(records: list[Record], notes: Notes) -> tuple[Period, ...]:
    days = [_day(record.get("weekday")) for record in records]
    if 0 in days and _SUNDAY not in days:  # counted from Sunday, as several parties do; 1 to 6 mean the same
        days = [_SUNDAY if day == 0 else day for day in days]
        notes.flag(Flag.VALUE_UNREADABLE)
    periods = [_period(day, record) for day, record in zip(days, records, strict=True)]
    understood = tuple(period for period in periods if period is not None)
    if len(understood) < len(periods) or len(periods) > MAX_PERIODS:
        notes.flag(Flag.VALUE_UNREADABLE)
        return ()
    return understood


def _day(value: object) -> int | None:
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value.strip()[:3])
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _period(day: int | None, record: Record) -> Period | None:
    begin, end = _minute(record.get("period_begin")), _minute(record.get("period_end"))
    if day is None or day not in DAYS or begin is None or end is None or begin >= MINUTES_A_DAY:
        return None
    if end in {0, _LAST_MINUTE}:  # 23:59 is the largest value that OCPI knows; it means midnight
        end = MINUTES_A_DAY
    return Period(day=day, start_min=begin, end_min=end if end > begin else end + MINUTES_A_DAY)


def _minute(value: object) -> int | None:
    match = _CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    hour, minute = int(match[1]), int(match[2])
    total = hour * 60 + minute
    return total if minute < 60 and total <= MINUTES_A_DAY else None


def _covers_the_week(weekly: tuple[Period, ...]) -> bool:
    whole = {period.day for period in weekly if period.start_min == 0 and period.end_min >= MINUTES_A_DAY}
    return len(whole) == len(DAYS)


def _exceptions(value: object, notes: Notes, *, is_open: bool) -> tuple[SpecialPeriod, ...]:
    exceptions = []
    for record in list_records(value, notes)[:MAX_PERIODS]:
        start = read_instant(record.get("period_begin"), notes)
        end = read_instant(record.get("period_end"), notes)
        if start is None or end is None or end <= start:
            notes.flag(Flag.VALUE_UNREADABLE)
        else:
            exceptions.append(SpecialPeriod(start=start, end=end, open=is_open))
    return tuple(exceptions)
