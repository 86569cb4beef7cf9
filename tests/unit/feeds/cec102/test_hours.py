"""Opening hours: the common forms are understood, the others stay unknown with their wording kept."""

import pytest

from indexers.feeds.cec102.hours import read_hours


@pytest.mark.parametrize(
    "raw",
    [
        "24小时",
        "24 小时",
        "24",
        "全天",
        "全天开放",
        "全天24小时",
        "7*24小时",
        "00:00-24:00",
        "00:00-23:59",
        "0:00~23:59:59",
        "周一至周日00:00-24:00",
        "周一至周日：00：00～24：00",
        "周一到周日 全天",
        "每天24小时营业",
        "00:00-12:00,12:00-24:00",
        "0:00-0:00",
    ],
)
def test_round_the_clock(raw: str) -> None:
    hours = read_hours(raw)
    assert hours.always_open is True
    assert hours.weekly == ()
    assert hours.raw == raw


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("08:00-22:00", {(day, 480, 1320) for day in range(1, 8)}),
        ("08：00～22：00", {(day, 480, 1320) for day in range(1, 8)}),
        ("周一至周日 08:00-22:00", {(day, 480, 1320) for day in range(1, 8)}),
        ("8点-22点", {(day, 480, 1320) for day in range(1, 8)}),
        ("8:00 至 24:00", {(day, 480, 1440) for day in range(1, 8)}),
        ("7:00－23:59", {(day, 420, 1440) for day in range(1, 8)}),
        ("08:00-12:00、14:00-18:00", {(day, *span) for day in range(1, 8) for span in ((480, 720), (840, 1080))}),
        ("周一至周五 08:00-18:00", {(day, 480, 1080) for day in range(1, 6)}),
        (
            "周一至周五 08:00-18:00；周六日 09:00-17:00",
            {(d, 480, 1080) for d in range(1, 6)} | {(6, 540, 1020), (7, 540, 1020)},
        ),
        ("工作日08:00-18:00,周末09:00-17:00", {(d, 480, 1080) for d in range(1, 6)} | {(6, 540, 1020), (7, 540, 1020)}),
        ("周六至周一 10:00-12:00", {(6, 600, 720), (7, 600, 720), (1, 600, 720)}),
        ("周1至周5 08:00-18:00", {(day, 480, 1080) for day in range(1, 6)}),
        ("22:00-06:00", {(day, 1320, 1800) for day in range(1, 8)}),
        ("周六22:00-次日06:00", {(6, 1320, 1800)}),
    ],
)
def test_weekly(raw: str, expected: set[tuple[int, int, int]]) -> None:
    hours = read_hours(raw)
    assert hours.always_open is False
    assert {(period.day, period.start_min, period.end_min) for period in hours.weekly} == expected
    assert hours.raw == raw


@pytest.mark.parametrize(
    "raw",
    [
        "以现场为准",
        "营业时间内",
        "08:00-22:00(周末除外)",
        "08:00-08:00",
        "25:00-26:00",
        "08:61-09:00",
        "2024-01-01",
        "周一至周五",
        "法定节假日 08:00-10:00",
        "周一至周五08:00-18:00,周一09:00-10:00",
        "08:00-22:00周末",
        "x" * 500,
        "08:00-22:00,以实际为准",
    ],
)
def test_anything_else_is_unknown(raw: str) -> None:
    hours = read_hours(raw)
    assert hours.always_open is None
    assert hours.weekly == ()
    assert hours.raw == raw


def test_nothing_said_is_unknown() -> None:
    assert read_hours(None).always_open is None
