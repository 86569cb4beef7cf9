"""Opening hours in the free text of T/CEC 102 (``BusineHours``): the common Chinese forms, and nothing guessed."""

import re
from functools import lru_cache
from typing import Final

from app.model.opening import DAYS, MINUTES_A_DAY, OpeningHours, Period

_WIDTHS: Final = str.maketrans("０１２３４５６７８９：；，（）～〜﹣－—–―﹕；　", "0123456789:;,()~~-----:; ")
_DAILY: Final = ("周一至周日", "周一到周日", "周一~周日", "周一-周日", "星期一至星期日", "每天", "每日", "天天")
_ALWAYS_IN_LINES: Final = """
    24 24h 24hours 24hour 24小时 24小時 24时 24小时营业 24小时开放 24小时运营 24小时服务 24小时全天 24小时全天开放
    全天 全天候 全天开放 全天营业 全天候开放 全天24小时 全天24小时营业 全天24小时开放 全日 全日开放
    7*24 7*24h 7*24小时 7x24 7x24小时 24*7 24/7 24x7 24h/7d
    """
_ALWAYS: Final = frozenset(_ALWAYS_IN_LINES.split())
_DAY_NUMBERS: Final = {letter: day for day, letter in enumerate("一二三四五六日", start=1)} | {
    "天": 7, "1": 1, "2": 2, "3": 3, "4": 4, "5": 5, "6": 6, "7": 7,
}  # fmt: skip
_WORKING_DAYS, _WEEKEND = range(1, 6), range(6, 8)
_DAY_GROUPS: Final = {
    "工作日": _WORKING_DAYS,
    "平日": _WORKING_DAYS,
    "周末": _WEEKEND,
    "双休日": _WEEKEND,
} | dict.fromkeys(("每天", "每日", "天天"), DAYS)
_DASH = r"(?:-|~|至|到)"
_TIME = r"(\d{1,2})(?::(\d{2})(?::(\d{2}))?|[点时](?:(\d{1,2})分?|(半))?)"
_RANGE = re.compile(rf"(次日)?{_TIME}{_DASH}(次日|第二天|翌日)?{_TIME}")
_WEEKDAY = r"([一二三四五六日天]|[1-7](?![0-9:点时]))"
_DAY_SPAN = re.compile(rf"(?:周|星期|礼拜){_WEEKDAY}(?:{_DASH}(?:周|星期|礼拜)?{_WEEKDAY})?")
_IDLE_SPACE = re.compile(r"(?<!\d) +| +(?!\d)")
_PREFIX = re.compile(r"^(?:营业时间|开放时间|运营时间|充电时间|服务时间):?")
_MAX_CHARACTERS: Final = 200
_PAST_ALL: Final = 2 * MINUTES_A_DAY


@lru_cache(maxsize=4_096)
def read_hours(raw: str | None) -> OpeningHours:
    """Return what is understood of the text; the rest stays unknown, with the text kept in ``raw``.

    Understood: round the clock in its usual wordings; one or more time ranges, each list of them under the weekdays
    that stand before it (none means daily); full-width punctuation, 24:00 and 23:59 as midnight, ranges over midnight.
    A text of which any part is not understood is not understood at all.
    """
    if raw is None:
        return OpeningHours()
    compact = raw[: _MAX_CHARACTERS + 1].translate(_WIDTHS).lower()
    compact = _PREFIX.sub("", _IDLE_SPACE.sub("", " ".join(compact.split())))
    if not compact or len(compact) > _MAX_CHARACTERS:
        return OpeningHours(raw=raw)
    if _is_always(compact):
        return OpeningHours(always_open=True, raw=raw)
    weekly = _weekly(compact)
    if weekly is None:
        return OpeningHours(raw=raw)
    if _covers_week(weekly):
        return OpeningHours(always_open=True, raw=raw)
    return OpeningHours(always_open=False, weekly=weekly, raw=raw)


def _is_always(compact: str) -> bool:
    for words in (compact, compact.replace("(", "").replace(")", "")):
        if words in _ALWAYS:
            return True
        for prefix in _DAILY:
            if words.startswith(prefix) and words[len(prefix) :].lstrip(",: ") in _ALWAYS:
                return True
    return False


def _weekly(compact: str) -> tuple[Period, ...] | None:
    """Read ``[days] ranges [days] ranges …``; None where anything is left over."""
    days: tuple[int, ...] = ()
    pending: list[int] = []
    named: set[int] = set()
    has_ranges = False
    periods: set[tuple[int, int, int]] = set()
    at = 0
    while at < len(compact):
        if compact[at] in " ,;、/|:()和及与。.":
            at += 1
            continue
        found_days = _days_at(compact, at)
        if found_days is not None:
            at, more = found_days
            if has_ranges and not pending and not days:
                return None  # "08:00-22:00 周末 …": whose hours the first are is not said
            pending.extend(more)
            continue
        if compact.startswith("24小时", at) or compact.startswith("全天", at):
            at += 4 if compact.startswith("24小时", at) else 2
            start, end = 0, MINUTES_A_DAY
        else:
            match = _RANGE.match(compact, at)
            minutes = None if match is None else _minutes(match)
            if match is None or minutes is None:
                return None
            at = match.end()
            start, end = minutes
        if pending:
            if named & set(pending):
                return None  # a day named twice: which hours hold is not said
            days, pending = tuple(sorted(set(pending))), []
            named |= set(days)
        has_ranges = True
        periods |= {(day, start, end) for day in days or DAYS}
    if pending or not has_ranges:
        return None
    return tuple(Period(day=day, start_min=start, end_min=end) for day, start, end in sorted(periods))


def _days_at(compact: str, at: int) -> tuple[int, list[int]] | None:
    for word, group in _DAY_GROUPS.items():
        if compact.startswith(word, at):
            return at + len(word), list(group)
    match = _DAY_SPAN.match(compact, at)
    if match is None:
        return None
    first = _DAY_NUMBERS[match.group(1)]
    end = match.end()
    if match.group(2) is None:
        more = [first]
        # 周六日, 周一三五: further days follow without the word for week
        while end < len(compact) and compact[end] in "一二三四五六日天" and not compact.startswith("日常", end):
            more.append(_DAY_NUMBERS[compact[end]])
            end += 1
        return end, more
    last = _DAY_NUMBERS[match.group(2)]
    return end, list(range(first, last + 1)) if first <= last else [*range(first, 8), *range(1, last + 1)]


def _minutes(match: re.Match[str]) -> tuple[int, int] | None:
    """Return start and end in minutes; the end lies after the start, past midnight where it must."""
    groups = match.groups()
    start, end = _minute_of_day(*groups[1:6]), _minute_of_day(*groups[7:12])
    if groups[0] is not None or start is None or end is None or start >= MINUTES_A_DAY:
        return None
    if end % 60 == 59 and end // 60 == 23:
        end = MINUTES_A_DAY  # 23:59 is how forms write midnight
    if groups[6] is not None:
        end += MINUTES_A_DAY
    elif end <= start:
        # Of 08:00-08:00 it is not said whether it means the whole day; the one common exception is midnight.
        if end == start and start != 0:
            return None
        end += MINUTES_A_DAY
    return (start, end) if end - start <= MINUTES_A_DAY and end <= _PAST_ALL else None


def _minute_of_day(
    hour: str, minute: str | None, _second: str | None, spoken: str | None, half: str | None
) -> int | None:
    minutes = 30 if half is not None else int(minute or spoken or 0)
    total = int(hour) * 60 + minutes
    return total if minutes < 60 and total <= MINUTES_A_DAY else None


def _covers_week(weekly: tuple[Period, ...]) -> bool:
    """Tell whether every minute of every day is covered."""
    for day in DAYS:
        before = 7 if day == 1 else day - 1
        spans = sorted(
            [(period.start_min, period.end_min) for period in weekly if period.day == day]
            + [
                (period.start_min - MINUTES_A_DAY, period.end_min - MINUTES_A_DAY)
                for period in weekly
                if period.day == before
            ]
        )
        reached = 0
        for start, end in spans:
            if start <= reached:
                reached = max(reached, end)
        if reached < MINUTES_A_DAY:
            return False
    return True
