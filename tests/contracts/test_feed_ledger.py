"""What every feed ledger promises, whatever it is made of."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from app.feeds.base import FeedLedger
from app.feeds.embedded import EmbeddedFeedLedger
from app.model.feed import FeedReport, Rejection, RunKind

MAKERS: dict[str, Callable[[Path], FeedLedger]] = {
    "embedded": lambda folder: EmbeddedFeedLedger(folder / "feeds.sqlite"),
}
T0 = 1_764_000_000.0


@pytest.fixture(params=sorted(MAKERS))
def maker(request: pytest.FixtureRequest) -> Callable[[Path], FeedLedger]:
    """Make a ledger over the storage in a folder."""
    return MAKERS[request.param]


@pytest.fixture
def make_ledger(maker: Callable[[Path], FeedLedger], tmp_path: Path) -> Callable[[], FeedLedger]:
    """Make a ledger over the same storage each time, as a process that starts does."""
    return lambda: maker(tmp_path)


@pytest.fixture
async def ledger(make_ledger: Callable[[], FeedLedger]) -> AsyncIterator[FeedLedger]:
    ledger = make_ledger()
    await ledger.open()
    yield ledger
    await ledger.close()


def report(feed: str = "teld", kind: RunKind = RunKind.FULL, number: int = 0, error: str | None = None) -> FeedReport:
    return FeedReport(feed=feed, kind=kind, started_at=T0 + number, ended_at=T0 + number + 0.25, error=error)


FULL = FeedReport(
    feed="teld",
    kind=RunKind.FULL,
    started_at=T0,
    ended_at=T0 + 1 / 3,
    received=2_000_000,
    indexed=1_999_000,
    changed=3,
    removed=1,
    statuses=8_000_000,
    repaired={"COORDINATES_SWAPPED": 1, "TEXT_CLEANED": 0},
    rejected={"no_id": 2, "": 1},
    unknown_codes={"StationType=充电\x00": 3},
    samples=(Rejection("no_id", "", '{"a": "特来电"}'), Rejection("bad_type", "1", "\N{REPLACEMENT CHARACTER}")),
    incomplete="a page failed",
    error=None,
)


async def test_a_report_is_found_as_it_was_saved(ledger: FeedLedger) -> None:
    assert await ledger.find_report("teld", RunKind.FULL) is None
    assert await ledger.find_report("teld", RunKind.FULL, good=True) is None
    await ledger.save_report(FULL)
    assert await ledger.find_report("teld", RunKind.FULL) == FULL
    assert await ledger.find_report("teld", RunKind.FULL, good=True) == FULL


async def test_the_last_report_and_the_last_good_one_are_told_apart(ledger: FeedLedger) -> None:
    runs = [report(number=number, error="HTTP 500" if number in {0, 2, 3} else None) for number in range(5)]
    last_good = None
    for run in runs:
        await ledger.save_report(run)
        last_good = run if run.error is None else last_good
        assert await ledger.find_report("teld", RunKind.FULL) == run
        assert await ledger.find_report("teld", RunKind.FULL, good=True) == last_good


async def test_a_run_that_was_incomplete_is_a_good_one(ledger: FeedLedger) -> None:
    incomplete = msgspec.structs.replace(report(), incomplete="taken for truncated")
    await ledger.save_report(incomplete)
    assert await ledger.find_report("teld", RunKind.FULL, good=True) == incomplete


async def test_feeds_and_kinds_are_kept_apart(ledger: FeedLedger) -> None:
    saved = [
        report(feed, kind, number)
        for number, (feed, kind) in enumerate((feed, kind) for feed in ("teld", "csg", "TELD") for kind in RunKind)
    ]
    for each in saved:
        await ledger.save_report(each)
    for each in saved:
        assert await ledger.find_report(each.feed, each.kind) == each
    assert await ledger.find_report("nobody", RunKind.FULL) is None


async def test_a_note_is_found_as_it_was_saved_last(ledger: FeedLedger) -> None:
    assert await ledger.find_note("teld", "cursor") is None
    for value in (b"1", b"", bytes(range(256)), b"x" * 1_000_000, "特来电".encode()):
        await ledger.save_note("teld", "cursor", value)
        assert await ledger.find_note("teld", "cursor") == value
    await ledger.save_note("csg", "cursor", b"2")
    await ledger.save_note("teld", "tokens", b"3")
    assert await ledger.find_note("teld", "cursor") == "特来电".encode()
    assert await ledger.find_note("csg", "cursor") == b"2"
    assert await ledger.find_note("teld", "tokens") == b"3"
    assert await ledger.find_note("csg", "tokens") is None


async def test_notes_are_no_reports(ledger: FeedLedger) -> None:
    await ledger.save_note("teld", "FULL", b"note")
    assert await ledger.find_report("teld", RunKind.FULL) is None
    await ledger.save_report(FULL)
    assert await ledger.find_note("teld", "FULL") == b"note"


async def test_everything_outlives_the_process(make_ledger: Callable[[], FeedLedger]) -> None:
    first = make_ledger()
    await first.open()
    await first.save_report(FULL)
    await first.save_report(report(number=1, error="silence"))
    await first.save_note("teld", "cursor", b"1")
    await first.close()
    second = make_ledger()
    await second.open()
    assert await second.find_report("teld", RunKind.FULL) == report(number=1, error="silence")
    assert await second.find_report("teld", RunKind.FULL, good=True) == FULL
    assert await second.find_note("teld", "cursor") == b"1"
    await second.close()


async def test_what_was_acknowledged_outlives_a_crash(maker: Callable[[Path], FeedLedger], tmp_path: Path) -> None:
    crashing = maker(tmp_path / "running")
    await crashing.open()
    await crashing.save_note("teld", "tokens", b"issued")
    await crashing.save_report(FULL)
    shutil.copytree(tmp_path / "running", tmp_path / "as it stands")
    await crashing.close()
    restarted = maker(tmp_path / "as it stands")
    await restarted.open()
    assert await restarted.find_note("teld", "tokens") == b"issued"
    assert await restarted.find_report("teld", RunKind.FULL) == FULL
    await restarted.close()


async def test_another_process_sees_what_was_saved(ledger: FeedLedger, make_ledger: Callable[[], FeedLedger]) -> None:
    beside = make_ledger()
    await beside.open()
    await ledger.save_report(FULL)
    await beside.save_note("teld", "cursor", b"1")
    assert await beside.find_report("teld", RunKind.FULL) == FULL
    assert await ledger.find_note("teld", "cursor") == b"1"
    await beside.close()


async def test_many_may_save_at_once(ledger: FeedLedger) -> None:
    feeds = [f"feed{number}" for number in range(50)]
    await asyncio.gather(
        *(ledger.save_report(report(feed)) for feed in feeds),
        *(ledger.save_note(feed, "cursor", feed.encode()) for feed in feeds),
    )
    assert await asyncio.gather(*(ledger.find_report(feed, RunKind.FULL) for feed in feeds)) == [
        report(feed) for feed in feeds
    ]
    assert await asyncio.gather(*(ledger.find_note(feed, "cursor") for feed in feeds)) == [
        feed.encode() for feed in feeds
    ]


async def test_closing_twice_is_no_error(make_ledger: Callable[[], FeedLedger]) -> None:
    ledger = make_ledger()
    await ledger.open()
    await ledger.close()
    await ledger.close()
