"""Keep feeds fresh: each on its own rhythm, with back-off, and none in the way of another."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b

from app.errors import ChargegraphError, UnavailableError
from app.model.clock import BEIJING, Instant
from app.model.feed import FeedReport, RunKind
from indexers.base import AvailabilityFeed, Feed, Schedule, StationFeed, StatusBatch
from indexers.lease import RENEW_S, under_lease
from indexers.pipeline import Ports, PushIntake, run_delta, run_full, run_status

logger = logging.getLogger(__name__)

FIRST_BACK_OFF_S = 30.0
LONGEST_BACK_OFF_S = 1_800.0
PUSH_REPORT_EVERY_S = 5.0
IDLE_S = 3_600.0


def next_full(schedule: Schedule, feed: str, last: Instant | None, now: Instant) -> Instant:
    """Return when the next full sweep is due; at once without a last one.

    With ``full_at`` it is that time of day in Beijing, later by up to ten minutes that differ from feed to feed, so
    that operators of one schedule are not all asked in the same second.
    """
    if last is None:
        return now
    if schedule.full_at is None:
        return last + schedule.full_every_s
    hour, minute = (int(part) for part in schedule.full_at.split(":"))
    begin = datetime.fromtimestamp(last, BEIJING)
    due = begin.replace(hour=hour, minute=minute, second=0, microsecond=0)
    due += timedelta(seconds=int.from_bytes(blake2b(feed.encode(), digest_size=2).digest(), "big") % 600)
    return (due if due > begin else due + timedelta(days=1)).timestamp()


class Runner:
    """Runs the feeds of one process until it is stopped."""

    def __init__(self, feeds: Sequence[Feed], ports: Ports) -> None:
        """Keep the feeds and what they write to; nothing runs yet."""
        self._feeds = tuple(feeds)
        self._ports = ports
        self._tasks: list[asyncio.Task[None]] = []
        self._intakes: Mapping[str, PushIntake] = {feed.feed: PushIntake(feed, ports) for feed in feeds}

    def start(self) -> None:
        """Begin to run every feed, each in a task of its own."""
        self._tasks = [asyncio.create_task(self._take_turns(feed), name=f"feed {feed.feed}") for feed in self._feeds]
        self._tasks.append(asyncio.create_task(self._save_push_reports(), name="push reports"))

    async def stop(self) -> None:
        """Stop all runs; what was not complete leaves no trace."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._save_intakes()

    async def take_push(self, feed: str, batch: StatusBatch) -> None:
        """Take what an operator pushed."""
        await self._intakes[feed].take(batch)

    async def _save_push_reports(self) -> None:
        while True:
            await asyncio.sleep(PUSH_REPORT_EVERY_S)
            await self._save_intakes()

    async def _save_intakes(self) -> None:
        for feed, intake in self._intakes.items():
            try:
                await intake.save()
            except ChargegraphError as error:
                logger.warning("feed %s: the report of its pushes was not saved: %s", feed, error)

    async def _take_turns(self, feed: Feed) -> None:
        """Keep the feed fresh while this process is the one that may; stand by while another does."""
        while True:
            try:
                await under_lease(self._ports.ledger, feed.feed, lambda: self._keep_fresh(feed))
            except UnavailableError as error:
                logger.warning("feed %s: %s", feed.feed, error)
            await asyncio.sleep(RENEW_S)

    async def _keep_fresh(self, feed: Feed) -> None:
        """Run what is due, soonest first. A restart sweeps the status at once: pushes were missed meanwhile."""
        now = self._ports.clock()
        due: dict[RunKind, Instant] = {}
        if isinstance(feed, StationFeed):
            last = await self._ports.ledger.find_report(feed.feed, RunKind.FULL, good=True)
            due[RunKind.FULL] = next_full(feed.schedule, feed.feed, None if last is None else last.started_at, now)
            if feed.schedule.delta_every_s is not None:
                due[RunKind.DELTA] = max(now, due[RunKind.FULL]) + feed.schedule.delta_every_s
                if due[RunKind.FULL] > now:
                    due[RunKind.DELTA] = now
        if isinstance(feed, AvailabilityFeed) and feed.schedule.status_every_s is not None:
            due[RunKind.STATUS] = now
        failures = 0
        while due:
            kind = min(due, key=lambda candidate: (due[candidate], candidate is RunKind.STATUS))
            await asyncio.sleep(min(max(0.0, due[kind] - self._ports.clock()), IDLE_S))
            if due[kind] > self._ports.clock():
                continue
            report = await self._run(feed, kind)
            failures = 0 if report is not None and report.error is None else failures + 1
            due[kind] = self._next(feed, kind, failures)

    def _next(self, feed: Feed, kind: RunKind, failures: int) -> Instant:
        now = self._ports.clock()
        if failures:
            return now + min(FIRST_BACK_OFF_S * 2.0 ** (failures - 1), LONGEST_BACK_OFF_S)
        if kind is RunKind.FULL:
            return next_full(feed.schedule, feed.feed, now, now)
        interval_s = feed.schedule.delta_every_s if kind is RunKind.DELTA else feed.schedule.status_every_s
        return now + (IDLE_S if interval_s is None else interval_s)

    async def _run(self, feed: Feed, kind: RunKind) -> FeedReport | None:
        """Run once; whatever goes wrong stays inside this feed. None when our own stores failed."""
        try:
            report = await self._run_kind(feed, kind)
        except ChargegraphError as error:
            logger.warning("feed %s: %s run failed: %s", feed.feed, kind.value, error)
            return None
        except Exception:
            logger.exception("feed %s: %s run broke", feed.feed, kind.value)
            return None
        if report.error is not None:
            logger.warning("feed %s: %s run ended early: %s", feed.feed, kind.value, report.error)
        return report

    async def _run_kind(self, feed: Feed, kind: RunKind) -> FeedReport:
        if kind is RunKind.STATUS:
            assert isinstance(feed, AvailabilityFeed)
            return await run_status(feed, self._ports)
        assert isinstance(feed, StationFeed)
        return await (run_full if kind is RunKind.FULL else run_delta)(feed, self._ports)
