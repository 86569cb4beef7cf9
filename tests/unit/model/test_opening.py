from datetime import datetime
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model.clock import BEIJING
from app.model.opening import OpeningHours, Period, SpecialPeriod, is_open, open_until

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


@st.composite
def weeks(draw: st.DrawFn) -> OpeningHours:
    minutes = st.integers(0, 1_440)
    periods = draw(st.lists(st.tuples(st.integers(1, 7), minutes, st.integers(1, 1_440)), max_size=4))
    starts = st.floats(-90_000, 90_000)
    exceptions = draw(st.lists(st.tuples(starts, st.floats(1, 90_000), st.booleans()), max_size=2))
    return OpeningHours(
        always_open=draw(st.sampled_from((None, None, True))),
        weekly=tuple(
            Period(day=day, start_min=start, end_min=min(start + length, 2_880)) for day, start, length in periods
        ),
        exceptions=tuple(
            SpecialPeriod(start=NOW + start, end=NOW + start + length, open=open_)
            for start, length, open_ in exceptions
        ),
    )


NOW = instant(MONDAY, "12:00")
ZONES = ("Asia/Shanghai", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", None)


@given(weeks(), st.floats(-4e7, 4e7), st.sampled_from(ZONES), st.floats(0, 1, exclude_max=True))
def test_the_answer_stays_the_same_until_then(hours, shift, zone, share):
    at = NOW + shift
    until = open_until(hours, at, zone)
    assert until > at
    later = at + (min(until, at + 1e6) - at) * share
    if later < until:
        assert is_open(hours, later, zone) is is_open(hours, at, zone)


def test_a_week_is_followed_to_its_next_edge():
    at = instant(MONDAY, "17:45")
    assert open_until(OFFICE, at, "Asia/Shanghai") - at == 15 * 60
    assert open_until(OFFICE, at + 15 * 60, "Asia/Shanghai") - at == 45 * 60, "half an hour at most"
    assert open_until(OpeningHours(always_open=True), at, None) == inf
