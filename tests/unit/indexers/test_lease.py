"""One process at a time indexes a feed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.errors import FeedUnreachableError
from app.feeds.base import FeedLedger
from app.feeds.embedded import EmbeddedFeedLedger
from indexers import lease
from indexers.lease import LeaseLostError, under_lease


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[FeedLedger]:
    ledger = EmbeddedFeedLedger(tmp_path / "feeds.sqlite")
    await ledger.open()
    yield ledger
    await ledger.close()


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE_S", 0.6)
    monkeypatch.setattr(lease, "RENEW_S", 0.1)


async def test_work_is_done_and_its_result_returned(ledger: FeedLedger) -> None:
    async def work() -> str:
        return "done"

    assert await under_lease(ledger, "teld", work) == "done"
    assert await under_lease(ledger, "teld", work) == "done", "the lease was given back"


async def test_what_the_work_raises_is_raised_and_the_lease_given_back(ledger: FeedLedger) -> None:
    async def work() -> None:
        raise FeedUnreachableError("silence")

    for _ in range(2):
        with pytest.raises(FeedUnreachableError, match="silence"):
            await under_lease(ledger, "teld", work)


async def test_a_second_one_does_nothing_meanwhile_however_long_it_takes(ledger: FeedLedger) -> None:
    running, done = asyncio.Event(), asyncio.Event()

    async def work() -> str:
        running.set()
        await done.wait()
        return "first"

    async def never() -> str:
        pytest.fail("two index one feed")

    first = asyncio.create_task(under_lease(ledger, "teld", work))
    await running.wait()
    for _ in range(4):
        await asyncio.sleep(0.3)  # longer than the lease, in all: it is renewed
        assert await under_lease(ledger, "teld", never) is None
    done.set()
    assert await first == "first"


async def test_a_lease_that_passed_to_another_ends_the_work(ledger: FeedLedger) -> None:
    running, cancelled = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    task = asyncio.create_task(under_lease(ledger, "teld", work))
    await running.wait()
    await take_by_force(ledger)
    with pytest.raises(LeaseLostError):
        await asyncio.wait_for(task, 5)
    assert cancelled.is_set()
    assert await ledger.take_lease("teld", "another", 60) is not None, "it still has it"


async def test_a_ledger_that_is_away_ends_the_work_before_another_may_begin(ledger: FeedLedger) -> None:
    running = asyncio.Event()

    async def work() -> None:
        running.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(under_lease(ledger, "teld", work))
    await running.wait()
    await ledger.close()
    with pytest.raises(LeaseLostError):
        await asyncio.wait_for(task, 5)


async def take_by_force(ledger: FeedLedger) -> None:
    """Give the lease to another, as when the first one stood still for too long."""
    assert isinstance(ledger, EmbeddedFeedLedger)
    await ledger._database.write(
        lambda connection: connection.execute(
            "UPDATE lease SET owner = 'another', until = until + 60, fence = fence + 1"
        )
    )
