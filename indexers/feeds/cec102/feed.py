"""The feed: one partner's stations and statuses asked for, and its pushes answered."""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec

from app.errors import FeedError, FeedProtocolError
from app.model.availability import StatusChannel
from app.model.clock import Instant
from app.model.feed import Rejection
from app.model.identity import operator_id
from app.model.station import Operator
from indexers.base import Feed, FeedContext, InboundReply, StationBatch, StatusBatch, feed
from indexers.feeds.cec102.client import STATION_STATUS, STATIONS_INFO, Cec102Client, RefusedError
from indexers.feeds.cec102.envelope import Ret, beijing_time
from indexers.feeds.cec102.inbound import Inbound
from indexers.feeds.cec102.mapping import Mapper, Notes, station_local_id, status_records
from indexers.feeds.cec102.profile import Cec102Profile, ServeTable, read_cec102_profile
from indexers.feeds.cec102.values import JsonObject, integer, objects
from indexers.http_source import HttpSource

OVERLAP_S: Final = 600.0
"""Increments are asked for from this long before: the partner's clock is its own."""

_MAX_PAGES: Final = 50_000
_MAX_ROWS_A_PAGE: Final = 20_000
_MAX_FAILED_CALLS: Final = 3
_MAX_BARREN_PAGES: Final = 3
_MAX_STATIONS: Final = 2_000_000
_MAX_SPLIT_CALLS: Final = 64
_MAX_STATUSES_A_CALL: Final = 200_000


@feed("cec102")
def make_feed(table: dict[str, Any], context: FeedContext) -> Feed:
    """Return the feed of a profile. Raises SettingsError that names a wrong or missing key."""
    profile = read_cec102_profile(context.feed, table)
    limits = profile.limits
    source = HttpSource(
        requests_per_s=limits.requests_per_s,
        in_flight=limits.in_flight,
        timeout_s=limits.timeout_s,
        max_body_bytes=limits.max_body_bytes,
    )
    if profile.serve is None:
        return Cec102Feed(profile, context, source)
    return ServedCec102Feed(profile, profile.serve, context, source)


class Cec102Feed:
    """A partner whom we ask: StationFeed and AvailabilityFeed."""

    def __init__(self, profile: Cec102Profile, context: FeedContext, source: HttpSource) -> None:
        """Make the feed ready; nothing is sent yet."""
        self.feed = context.feed
        self.title = profile.title
        self.party = profile.party
        self.rights = profile.rights
        self.schedule = profile.schedule
        self.status_page_size = profile.limits.status_page_size
        self.has_live_status = profile.serve is not None or profile.schedule.status_every_s is not None
        self._profile = profile
        self._clock = context.clock
        self._client = Cec102Client(context.feed, profile, context.clock, source)
        self._mapper = Mapper(context.feed, profile.party, profile.dialect.datum)

    async def close(self) -> None:
        """Release connections."""
        await self._client.close()

    # ----------------------------------------------------------------------------------------------------- stations

    async def stations(self, since: Instant | None) -> AsyncIterator[StationBatch]:
        """Return everything, or what changed since an Instant, page by page (102.2, query_stations_info).

        Ends at PageCount, and before it where a page repeats known stations only. Goes on beyond it, page by page,
        while the platform announced more than it sent, or announces nothing. Whatever makes the sweep less than whole
        is said in the last batch. Raises FeedError when the first page cannot be had, or one page after another.
        """
        sweep = _Sweep(self._profile.limits.page_size)
        first = await self._page(1, since)
        sweep.take_counts(first)
        operator = Operator(
            id=operator_id(self.feed, self.party), feed=self.feed, party=self.party, name=self._profile.title
        )
        batch = await asyncio.to_thread(self._map_page, first, 1, sweep)
        yield msgspec.structs.replace(batch, operators=(operator,))
        pending: deque[tuple[int, asyncio.Task[JsonObject]]] = deque()
        number, failed = 2, 0
        try:
            while not sweep.has_ended:
                while number <= sweep.page_count and len(pending) < self._profile.limits.in_flight:
                    pending.append((number, asyncio.create_task(self._page(number, since))))
                    number += 1
                if not pending:
                    break
                page_no, task = pending.popleft()
                try:
                    page = await task
                except FeedError as error:
                    failed += 1
                    sweep.doubt(f"page {page_no} failed: {error}")
                    if failed >= _MAX_FAILED_CALLS:
                        raise
                    continue
                failed = 0
                sweep.take_counts(page)
                yield await asyncio.to_thread(self._map_page, page, page_no, sweep)
            if sweep.needs_second_look and sweep.incomplete is None:
                again = await self._page(1, since)
                sweep.look_again(again)
                yield await asyncio.to_thread(self._map_page, again, 1, sweep)
        finally:
            for _, task in pending:
                task.cancel()
            await asyncio.gather(*(task for _, task in pending), return_exceptions=True)
        sweep.finish()
        if sweep.incomplete is not None:
            yield StationBatch(incomplete=sweep.incomplete, expected_total=sweep.item_size)

    async def _page(self, number: int, since: Instant | None) -> JsonObject:
        payload: JsonObject = {"PageNo": number, "PageSize": self._profile.limits.page_size}
        if since is not None:
            payload = {"LastQueryTime": beijing_time(max(0.0, since - OVERLAP_S)), **payload}
        elif self._profile.dialect.all_stations == "empty_time":
            payload = {"LastQueryTime": "", **payload}
        page = await self._client.query(STATIONS_INFO, payload)
        if len(objects(page.get("StationInfos"))) > _MAX_ROWS_A_PAGE:
            raise FeedProtocolError(f"{STATIONS_INFO}: a page of more than {_MAX_ROWS_A_PAGE} stations")
        return page

    def _map_page(self, page: JsonObject, page_no: int, sweep: "_Sweep") -> StationBatch:
        rows = objects(page.get("StationInfos"))
        notes = Notes()
        fresh = sweep.take_rows(rows, page_no, integer(page.get("PageNo")), notes)
        stations = [station for raw in fresh if (station := self._mapper.station(raw, notes)) is not None]
        return StationBatch(
            stations=tuple(stations),
            rejections=tuple(notes.rejections),
            unknown_codes=tuple(notes.unknown_codes),
            received=len(fresh),
            expected_total=sweep.item_size,
        )

    # ------------------------------------------------------------------------------------------------------- status

    async def statuses(self, station_local_ids: Sequence[str]) -> AsyncIterator[StatusBatch]:
        """Return the live status of the guns of these stations (102.2, query_station_status).

        Stations that the platform leaves out get none: they stay what they were until that is stale. Where it refuses
        a call because of one station, the others are asked for again without it. A call that fails costs its stations
        their news, not the others. A status counts as received when it was asked for: a push that came meanwhile may
        be newer, and is never older. Raises FeedError when all calls fail, or one after another.
        """
        size = min(self.status_page_size, self._profile.limits.status_page_size)
        waiting = deque(list(station_local_ids[at : at + size]) for at in range(0, len(station_local_ids), size))
        splits = _MAX_SPLIT_CALLS
        failed, answered = 0, False
        pending: deque[tuple[list[str], Instant, asyncio.Task[JsonObject]]] = deque()
        try:
            while waiting or pending:
                while waiting and len(pending) < self._profile.limits.in_flight:
                    ids = waiting.popleft()
                    query = self._client.query(STATION_STATUS, {"StationIDs": ids})
                    pending.append((ids, self._clock(), asyncio.create_task(query)))
                ids, asked_at, task = pending.popleft()
                try:
                    answer = await task
                except RefusedError as error:
                    if error.ret != Ret.BAD_PARAMETERS:
                        raise
                    failed, answered = 0, True
                    if len(ids) > 1 and splits > 0:
                        splits -= 2
                        waiting.extendleft((ids[: len(ids) // 2], ids[len(ids) // 2 :]))
                    else:
                        yield _refused("status_refused", ids, error)
                except FeedError as error:
                    failed += 1
                    if failed >= _MAX_FAILED_CALLS or not (answered or waiting or pending):
                        raise
                    yield _refused("status_unanswered", ids, error)
                else:
                    failed, answered = 0, True
                    yield self._status_batch(answer, asked_at)
        finally:
            for _, _, task in pending:
                task.cancel()
            await asyncio.gather(*(task for _, _, task in pending), return_exceptions=True)

    def _status_batch(self, answer: JsonObject, asked_at: Instant) -> StatusBatch:
        records = status_records(answer)
        if len(records) > _MAX_STATUSES_A_CALL:
            raise FeedProtocolError(f"{STATION_STATUS}: more than {_MAX_STATUSES_A_CALL} statuses in an answer")
        stale_after = asked_at + self._profile.status.stale_after_s
        return self._mapper.statuses(records, at=asked_at, stale_after=stale_after, channel=StatusChannel.PULL)


class ServedCec102Feed(Cec102Feed):
    """A partner whom we ask and who calls us: InboundFeed as well."""

    def __init__(self, profile: Cec102Profile, serve: ServeTable, context: FeedContext, source: HttpSource) -> None:
        """Make the feed ready; nothing is sent yet."""
        super().__init__(profile, context, source)
        self._inbound = Inbound(profile, serve, context, self._mapper)
        self.inbound_party = self._inbound.party

    async def answer(self, interface: str, body: bytes, authorization: str | None) -> InboundReply:
        """Answer one call of the operator; never raises for bad input."""
        return await self._inbound.answer(interface, body, authorization)


def _refused(reason: str, local_ids: Sequence[str], error: FeedError) -> StatusBatch:
    return StatusBatch(rejections=tuple(Rejection(reason, local_id, str(error)) for local_id in local_ids))


class _Sweep:
    """What one sweep over the pages has seen, and why it may not be whole."""

    def __init__(self, page_size: int) -> None:
        """Begin before the first page."""
        self.page_count = 1
        self.item_size: int | None = None
        self.incomplete: str | None = None
        self.has_ended = False
        self.needs_second_look = False
        self._page_size = page_size
        self._announced_pages: int | None = None
        self._pages = 0
        self._barren_pages = 0
        self._rows = 0
        self._seen: set[str] = set()
        self._first_ids: list[str | None] = []
        self._counts_total = True
        self._is_second_look = False

    def doubt(self, reason: str) -> None:
        """Keep the first reason."""
        self.incomplete = self.incomplete or reason

    def take_counts(self, page: JsonObject) -> None:
        """Take PageCount and ItemSize. Where they shrink while we read, stations slid past us; where they grow, a
        second look at the first page tells whether the list moved.
        """
        rows = len(objects(page.get("StationInfos")))
        pages, items = integer(page.get("PageCount")), integer(page.get("ItemSize"))
        if self._pages == 0 and pages is not None and pages > 1 and items is not None and items <= rows:
            self._counts_total = False  # this platform counts the stations of the page
        if items is not None and (items < 0 or not self._counts_total):
            items = None
        if items is not None and self.item_size is not None and items != self.item_size:
            self.needs_second_look = True
            if items < self.item_size:
                self.doubt(f"ItemSize shrank from {self.item_size} to {items}")
        if items is not None:
            self.item_size = max(items, self.item_size or 0)
        if pages is not None:
            if self._announced_pages is not None and pages < self._announced_pages:
                self.doubt(f"PageCount shrank from {self._announced_pages} to {pages}")
            if pages > _MAX_PAGES:
                self.doubt(f"{pages} pages are more than {_MAX_PAGES}")
            self._announced_pages = max(pages, self._announced_pages or 0)
        elif self._pages == 0 and items is not None:
            pages = math.ceil(items / (rows or self._page_size))
        if pages is not None:
            self.page_count = max(self.page_count, min(pages, _MAX_PAGES))
        self._pages += 1

    def take_rows(self, rows: list[Any], page_no: int, answered_no: int | None, notes: Notes) -> list[Any]:
        """Return the rows not seen before; end the sweep at a page that is another one in disguise."""
        ids = [station_local_id(raw) for raw in rows]
        known = [local_id is not None and local_id in self._seen for local_id in ids]
        has_news = any(local_id is not None and local_id not in self._seen for local_id in ids)
        if page_no > 1 and answered_no is not None and answered_no != page_no:
            self.doubt(f"asked for page {page_no}, answered page {answered_no}")
        if page_no == 1 and not self._is_second_look:
            self._first_ids = ids
        if not has_news and not self._is_second_look and self.page_count > 1:
            return self._take_barren_page(rows, page_no, repeats=any(known))
        self._barren_pages = 0
        fresh: list[Any] = []
        for raw, local_id, was_known in zip(rows, ids, known, strict=True):
            if local_id is None or local_id not in self._seen:
                fresh.append(raw)
            elif not self._is_second_look:
                notes.reject("station_repeated", local_id, f"again on page {page_no}")
                self.needs_second_look |= was_known
            if local_id is not None:
                self._seen.add(local_id)
        if self._is_second_look:
            return [raw for raw in fresh if station_local_id(raw) is not None]
        self._rows += len(rows)
        if self._rows > _MAX_STATIONS:
            self.has_ended = True
            self.doubt(f"more than {_MAX_STATIONS} stations")
        is_more_expected = self._is_uncounted or (self.item_size is not None and self._rows < self.item_size)
        if has_news and is_more_expected and self.page_count == page_no < _MAX_PAGES:
            self.page_count += 1
        return fresh

    def _take_barren_page(self, rows: list[Any], page_no: int, *, repeats: bool) -> list[Any]:
        """Take a page without a new station: the end where all that was announced is there, else a doubt."""
        if not repeats:
            self._rows += len(rows)
        self._barren_pages += 1
        is_whole = self._is_uncounted and not repeats if self.item_size is None else self._rows >= self.item_size
        if not is_whole:
            self.doubt(f"page {page_no} {'repeats stations of earlier pages' if repeats else 'has no station'}")
        self.has_ended = is_whole or repeats or self._barren_pages >= _MAX_BARREN_PAGES
        return [] if repeats else rows

    @property
    def _is_uncounted(self) -> bool:
        """Whether the platform states neither PageCount nor ItemSize: then only a page without news tells the end."""
        return self._announced_pages is None and self.item_size is None

    def look_again(self, first_page: JsonObject) -> None:
        """Compare the first page with what it was: pages that overlap are a platform's habit only where it stayed."""
        self._is_second_look = True
        if [station_local_id(raw) for raw in objects(first_page.get("StationInfos"))] != self._first_ids:
            self.doubt("the list moved while it was read")

    def finish(self) -> None:
        """Compare what came with what was announced."""
        if self.item_size is not None and self._rows < self.item_size:
            self.doubt(f"{self.item_size} stations announced, {self._rows} sent")
