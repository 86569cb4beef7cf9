from datetime import datetime

import pytest

from app.model.clock import BEIJING
from app.model.opening import OpeningHours, Period, SpecialPeriod, is_open

MONDAY = 23  # November 2026


def instant(day, clock):
    hour, minute = clock.split(":")
    return datetime(2026, 11, day, int(hour), int(minute), tzinfo=BEIJING).timestamp()


OFFICE = OpeningHours(weekly=tuple(Period(day=day, start_min=8 * 60, end_min=22 * 60) for day in range(1, 6)))
NIGHT = OpeningHours(weekly=(Period(day=7, start_min=22 * 60, end_min=30 * 60),))


@pytest.mark.parametrize(
    ("hours", "day", "clock", "expected"),
    [
        (OFFICE, MONDAY, "08:00", True),
        (OFFICE, MONDAY, "22:00", False),
        (OFFICE, MONDAY + 5, "12:00", False),
        (NIGHT, MONDAY - 1, "23:00", True),
        (NIGHT, MONDAY, "05:59", True),
        (NIGHT, MONDAY, "06:00", False),
        (NIGHT, MONDAY, "23:00", False),
        (OpeningHours(always_open=True), MONDAY, "03:00", True),
        (OpeningHours(), MONDAY, "03:00", None),
        (OpeningHours(raw="按商场营业时间"), MONDAY, "03:00", None),
    ],
)
def test_open_at_a_local_time(hours, day, clock, expected):
    assert is_open(hours, instant(day, clock), "Asia/Shanghai") is expected


def test_unknown_zones_leave_it_unknown():
    assert is_open(OFFICE, instant(MONDAY, "12:00"), None) is None
    assert is_open(OFFICE, instant(MONDAY, "12:00"), "Mars/Olympus") is None
    assert is_open(OFFICE, instant(MONDAY, "12:00"), "../../etc/passwd") is None


def test_special_periods_win():
    closed = SpecialPeriod(start=instant(MONDAY, "00:00"), end=instant(MONDAY + 1, "00:00"), open=False)
    hours = OpeningHours(always_open=True, exceptions=(closed,))
    assert is_open(hours, instant(MONDAY, "12:00"), None) is False
    assert is_open(hours, instant(MONDAY + 1, "12:00"), None) is True
