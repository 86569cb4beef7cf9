"""Run a feed once: validate what it says, write it to the ports, and report exactly what happened."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec

from app.errors import FeedError
from app.feeds.base import FeedLedger
from app.index.base import ReplaceSummary, StationIndex
from app.live.base import LiveBoard
from app.model.availability import EvseStatus
from app.model.clock import Clock, Instant
from app.model.feed import FeedReport, Rejection, RunKind
from app.model.station import Operator, Station
from app.telemetry import metrics
from indexers.base import AvailabilityFeed, Feed, StationBatch, StationFeed, StatusBatch

MAX_SAMPLES = 200
MAX_UNKNOWN_CODES = 500
KEPT_SHARE = 0.9
"""A full statement with less than this share of the stations known before is taken for truncated."""
MAX_EVSES_A_STATION = 2_000
STATUS_PAGES_A_CALL = 20
DELTA_OVERLAP_S = 120.0
STATIONS_A_WRITE = 5_000
"""A change of the index has a price of its own: what a delta brings is written in parts of this size."""
CURSOR_NOTE = "stations-since"

Progress = Callable[[str, int, int | None], None]
"""Told as a run goes on: feed, records received so far, and how many the platform announced (None: it did not say)."""


def no_progress(feed: str, received: int, expected: int | None) -> None:
    """Tell nobody."""


class Ports(msgspec.Struct, frozen=True):
    """What the indexers write to."""

    index: StationIndex
    board: LiveBoard
    ledger: FeedLedger
    clock: Clock


class _Tally:
    """The counts of one run, growing."""

    def __init__(self, feed: str, kind: RunKind, started_at: Instant) -> None:
        self.feed = feed
        self.kind = kind
        self.started_at = started_at
        self.received = 0
        self.statuses = 0
        self.repaired: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.unknown_codes: Counter[str] = Counter()
        self.samples: list[Rejection] = []
        self.expected: int | None = None
        self.incomplete: str | None = None
        self.error: str | None = None
        self.summary = ReplaceSummary(indexed=0, changed=0, removed=0)

    def take_batch(self, batch: StationBatch) -> None:
        self.received += batch.received
        self.expected = batch.expected_total if batch.expected_total is not None else self.expected
        self.incomplete = self.incomplete or batch.incomplete
        self.reject(batch.rejections)
        self.count_codes(batch.unknown_codes)

    def reject(self, rejections: Iterable[Rejection]) -> None:
        for rejection in rejections:
            self.rejected[rejection.reason] += 1
            if len(self.samples) < MAX_SAMPLES:
                self.samples.append(rejection)

    def count_codes(self, codes: Iterable[str]) -> None:
        for code in codes:
            if code in self.unknown_codes or len(self.unknown_codes) < MAX_UNKNOWN_CODES:
                self.unknown_codes[code] += 1

    def count_flags(self, station: Station) -> None:
        """Count each flag once per thing that carries it."""
        for flag in station.flags:
            self.repaired[flag.value] += 1
        for evse in station.evses:
            for flag in evse.flags:
                self.repaired[flag.value] += 1
            for connector in evse.connectors:
                for flag in connector.flags:
                    self.repaired[flag.value] += 1

    def add_summary(self, summary: ReplaceSummary) -> None:
        self.summary = ReplaceSummary(
            indexed=self.summary.indexed + summary.indexed,
            changed=self.summary.changed + summary.changed,
            removed=self.summary.removed + summary.removed,
        )

    def report(self, ended_at: Instant) -> FeedReport:
        return FeedReport(
            feed=self.feed,
            kind=self.kind,
            started_at=self.started_at,
            ended_at=ended_at,
            received=self.received,
            indexed=self.summary.indexed,
            changed=self.summary.changed,
            removed=self.summary.removed,
            statuses=self.statuses,
            repaired=dict(self.repaired),
            rejected=dict(self.rejected),
            unknown_codes=dict(self.unknown_codes),
            samples=tuple(self.samples),
            incomplete=self.incomplete,
            error=self.error,
        )


async def run_full(
    feed: StationFeed, ports: Ports, progress: Progress = no_progress, *, accept_shrink: bool = False
) -> FeedReport:
    """Replace everything that the feed said before by what it says now.

    What it no longer mentions is removed, but for a sweep that is incomplete, failed on the way, or shrank by more
    than a tenth (but with ``accept_shrink``): then what arrived is taken, nothing is removed, and the report says so.
    Cancelling it, or a crash, leaves the last complete state.
    """
    tally = _Tally(feed.feed, RunKind.FULL, ports.clock())
    operators: dict[str, Operator] = {}
    statuses: list[EvseStatus] = []
    replacement = await ports.index.open_replacement(feed.feed)
    try:
        try:
            async for batch in feed.stations(None):
                tally.take_batch(batch)
                await replacement.add(_accepted(feed, batch.stations, tally))
                operators.update((operator.id, operator) for operator in batch.operators)
                statuses.extend(batch.statuses)
                progress(feed.feed, tally.received, tally.expected)
        except FeedError as error:
            tally.error = str(error)
        await ports.index.save_operators([*operators.values()])
        known = (await ports.index.count_stations()).get(feed.feed, 0)
        count = await replacement.count()
        if tally.error is None and tally.incomplete is None and count < known * KEPT_SHARE and not accept_shrink:
            tally.incomplete = f"{count} stations where {known} were known: taken for truncated, nothing removed"
        whole = tally.error is None and tally.incomplete is None
        if count or whole:
            tally.add_summary(await replacement.commit(remove_missing=whole))
        else:
            await replacement.abort()
    except BaseException:
        await replacement.abort()
        raise
    await _record(ports, statuses, tally)
    if whole:
        await _save_cursor(ports, tally)
    return await _finish(ports, tally)


async def run_delta(feed: StationFeed, ports: Ports, progress: Progress = no_progress) -> FeedReport:
    """Take what changed since the last good run; nothing is removed. Without a last run this is a full one."""
    cursor = await ports.ledger.find_note(feed.feed, CURSOR_NOTE)
    if cursor is None:
        return await run_full(feed, ports, progress)
    tally = _Tally(feed.feed, RunKind.DELTA, ports.clock())
    since = float(cursor) - DELTA_OVERLAP_S
    operators: dict[str, Operator] = {}
    stations: list[Station] = []
    statuses: list[EvseStatus] = []

    async def write() -> None:
        await ports.index.save_operators([*operators.values()])
        tally.add_summary(await ports.index.upsert_stations(feed.feed, stations))
        await _record(ports, statuses, tally)
        operators.clear()
        stations.clear()
        statuses.clear()

    try:
        async for batch in feed.stations(since):
            tally.take_batch(batch)
            stations.extend(_accepted(feed, batch.stations, tally))
            operators.update((operator.id, operator) for operator in batch.operators)
            statuses.extend(batch.statuses)
            if len(stations) >= STATIONS_A_WRITE:
                await write()
            progress(feed.feed, tally.received, tally.expected)
    except FeedError as error:
        tally.error = str(error)
    if operators or stations or statuses:
        await write()
    if tally.error is None and tally.incomplete is None:
        await _save_cursor(ports, tally)
    return await _finish(ports, tally)


async def run_status(feed: AvailabilityFeed, ports: Ports, progress: Progress = no_progress) -> FeedReport:
    """Ask for the live status of every station of the feed."""
    tally = _Tally(feed.feed, RunKind.STATUS, ports.clock())
    tally.expected = (await ports.index.count_stations()).get(feed.feed, 0)
    page_size = feed.status_page_size * STATUS_PAGES_A_CALL
    try:
        async for local_ids in ports.index.list_station_local_ids(feed.feed, page_size):
            async for batch in feed.statuses(local_ids):
                await _take_statuses(ports, batch, tally)
            tally.received += len(local_ids)
            progress(feed.feed, tally.received, tally.expected)
    except FeedError as error:
        tally.error = str(error)
    return await _finish(ports, tally)


class PushIntake:
    """Takes what operators push; its counts since the start are one report of kind PUSH."""

    def __init__(self, feed: Feed, ports: Ports) -> None:
        """Begin counting."""
        self._ports = ports
        self._tally = _Tally(feed.feed, RunKind.PUSH, ports.clock())
        self._saved = 0

    async def take(self, batch: StatusBatch) -> None:
        """Write the statuses to the board; they are seen by the next search."""
        self._tally.received += len(batch.statuses) + len(batch.rejections)
        await _take_statuses(self._ports, batch, self._tally)

    async def save(self) -> None:
        """Save the report when something arrived since the last time."""
        if self._tally.received != self._saved:
            self._saved = self._tally.received
            await _finish(self._ports, self._tally)


def _accepted(feed: Feed, stations: Sequence[Station], tally: _Tally) -> list[Station]:
    """Keep the stations that are the feed's own and of a size that we answer for."""
    accepted = []
    for station in stations:
        if not station.is_of(feed.feed):
            tally.reject([Rejection("foreign_station", station.id, f"does not belong to feed {feed.feed}")])
        elif len(station.evses) > MAX_EVSES_A_STATION:
            problem = f"{len(station.evses)} Evses are more than {MAX_EVSES_A_STATION}"
            tally.reject([Rejection("too_many_evses", station.id, problem)])
        else:
            tally.count_flags(station)
            accepted.append(station)
    return accepted


async def _take_statuses(ports: Ports, batch: StatusBatch, tally: _Tally) -> None:
    tally.reject(batch.rejections)
    tally.count_codes(batch.unknown_codes)
    await _record(ports, batch.statuses, tally)


async def _record(ports: Ports, statuses: Sequence[EvseStatus], tally: _Tally) -> None:
    if not statuses:
        return
    summary = await ports.board.record(statuses)
    metrics.STATUSES.labels(tally.feed).inc(summary.taken)
    metrics.STATUS_CHANGES.labels(tally.feed).inc(summary.changed)
    tally.statuses += summary.taken
    if summary.unknown_evses:
        tally.rejected["status_of_unknown_evse"] += summary.unknown_evses


async def _save_cursor(ports: Ports, tally: _Tally) -> None:
    await ports.ledger.save_note(tally.feed, CURSOR_NOTE, repr(tally.started_at).encode())


async def _finish(ports: Ports, tally: _Tally) -> FeedReport:
    report = tally.report(ports.clock())
    await ports.ledger.save_report(report)
    return report
