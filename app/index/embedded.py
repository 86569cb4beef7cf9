"""The station index without servers: SQLite keeps it, columns in memory answer searches."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from app.errors import UnavailableError
from app.index import _grid, _kernel, _query
from app.index._clusters import Count
from app.index._columns import Batch, Columns, Dictionaries, merge, read_batch
from app.index._packing import holder_of, pack_stations, require_feed, unpack_station
from app.index._store import Change, Reader, Writer, answering
from app.index.base import FeedReplacement, ReplaceSummary, StationIndex
from app.model.clock import Instant
from app.model.cluster import ClusterSearch, StationCluster
from app.model.identity import evse_key
from app.model.search import Area, AvailabilityView, Near, Search, SearchPage, SlotArray, StationFilter
from app.model.station import Operator, Station

_REMEMBERED_STATIONS: Final = 50_000
_SLOTS_AT_ONCE: Final = 65_536
_THREAD_ABOVE_COST: Final = 20_000
_LARGE_AT_ONCE: Final = 4
"""A search of the whole Earth takes some hundred bytes for each station: as many at once as memory is to be had for."""

_PACK_AT_ONCE: Final = 500
_ALIKE_AT_ONCE: Final = 25

_T = TypeVar("_T")
_Changed = TypeVar("_Changed", bound=Change | None)


class EmbeddedIndex(StationIndex):
    """Everything in one process: a file, one thread that writes it, and an immutable snapshot of columns.

    Searches read the snapshot that is in force when they begin; a commit builds the next one beside it and puts it in
    force in one assignment. A file belongs to one process at a time (the wiring sees to it).
    """

    def __init__(self, path: Path, view: AvailabilityView) -> None:
        """Keep stations in the file ``path``; ``view`` is asked from the event loop only."""
        self._path = path
        self._view = view
        self._dictionaries = Dictionaries()
        self._columns: Columns | None = None
        self._kernel: _kernel.Kernel | None = None
        self._grid: _grid.Grid | None = None
        self._stations: OrderedDict[str, Station] = OrderedDict()
        self._changing = asyncio.Lock()
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)
        self._thread: ThreadPoolExecutor | None = None
        self._writer: Writer | None = None
        self._reader: Reader | None = None
        self._behind = False
        self._swaps = 0

    async def open(self) -> None:
        """Open the file and read the columns. Raises UnavailableError where that fails."""
        with answering(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="station-index")
        try:
            self._kernel = await self._run(_kernel.load)
            self._writer = await self._run(partial(Writer, self._path))
            with answering(self._path):
                self._reader = Reader(self._path)
            await self._read_all(self._writer)
            # Searches need not wait for the traces of a crash to go; whoever writes queues behind. What fails is left
            # to the feed's next statement, or to the next start.
            self._thread.submit(self._writer.drop_all)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish what is being written and release everything; a second call does nothing."""
        async with self._changing:
            thread, writer, reader = self._thread, self._writer, self._reader
            self._thread = self._writer = self._reader = self._columns = self._grid = None
            self._stations.clear()
            if reader is not None:
                reader.close()  # first: whoever closes last writes the log back, and that is work for the thread
            if thread is not None:
                try:
                    if writer is not None:
                        await asyncio.get_running_loop().run_in_executor(thread, writer.close)
                finally:
                    thread.shutdown(wait=True)

    async def open_replacement(self, feed: str) -> FeedReplacement:
        """Begin a new full statement of a feed; an older one of that feed that was left open is dropped."""
        writer = self._require_writer()
        statement = await self._run(partial(writer.begin, feed))
        return _EmbeddedReplacement(
            stage=partial(self._stage, statement, feed),
            count=partial(self._count, statement, feed),
            commit=partial(self._commit, statement, feed),
            abort=partial(self._abort, statement),
        )

    async def upsert_stations(self, feed: str, stations: Sequence[Station]) -> ReplaceSummary:
        """Add or change these stations of a feed and keep all others."""
        writer = self._require_writer()
        require_feed(feed, stations)
        packed = await self._run(partial(pack_stations, stations))
        return _summary(await self._change(partial(writer.upsert, feed, packed)))

    async def remove_feed(self, feed: str) -> int:
        """Forget a feed's stations; return how many there were."""
        writer = self._require_writer()
        return len((await self._change(partial(writer.remove_feed, feed))).gone)

    async def search(self, search: Search) -> SearchPage:
        """Answer one search; a large one leaves the event loop free while it looks."""
        grid = self._grid
        if grid is not None and _grid.answers(search):
            smaller = grid.smaller(search)
            if smaller is not None:
                (page,) = await self._search_alike(grid, (smaller,))
                if page.has_next:
                    return SearchPage(page.hits, None, has_next=True)
            return (await self._search_alike(grid, (search,)))[0]
        columns = self._require_columns()
        ask = partial(_query.ask, columns, search)
        has_polygons = isinstance(search.where, Area) and search.where.polygons
        question = await self._aside(ask) if has_polygons else ask()
        narrow = partial(_query.narrow, columns, self._dictionaries, question)
        narrowed = await self._aside(narrow) if question.cost() > _THREAD_ABOVE_COST else narrow()
        return _query.cut(columns, question, _query.see(narrowed, self._view, search))

    async def search_many(self, searches: Sequence[Search]) -> list[SearchPage]:
        """Answer several searches; circles of one filter and one moment at once, and others get their turn between."""
        grid = self._grid
        found: dict[int, SearchPage] = {}
        alike: dict[tuple[StationFilter, Instant], list[int]] = {}
        for number, search in enumerate(searches):
            if grid is not None and isinstance(search.where, Near) and _grid.answers(search):
                alike.setdefault((search.filter, search.at), []).append(number)
            else:
                found[number] = await self.search(search)
                await asyncio.sleep(0)
        for numbers in alike.values():
            for first in range(0, len(numbers), _ALIKE_AT_ONCE):
                assert grid is not None
                part = numbers[first : first + _ALIKE_AT_ONCE]
                pages = await self._search_alike(grid, [searches[number] for number in part])
                found |= zip(part, pages, strict=True)
                await asyncio.sleep(0)
        return [found[number] for number in range(len(searches))]

    async def list_clusters(self, search: ClusterSearch) -> list[StationCluster]:
        """Count the stations of a box by tiles; where there are many the event loop stays free."""
        count = Count(self._require_columns(), self._dictionaries, search)
        large = count.cost() > _THREAD_ABOVE_COST
        seen = await count.see(await self._aside(count.narrow) if large else count.narrow(), self._view)
        return await self._aside(partial(count.count, seen)) if large else count.count(seen)

    async def _search_alike(self, grid: _grid.Grid, searches: Sequence[Search]) -> list[SearchPage]:
        """Answer searches that the grid can, all of one filter and one moment; the view is asked once for all."""
        asked = grid.ask(searches)
        gathered = grid.gather(asked, _THREAD_ABOVE_COST)
        if gathered.looked_at > _THREAD_ABOVE_COST:
            gathered = await self._aside(partial(grid.gather, asked))
        return grid.cut(asked, gathered, grid.see(gathered, self._view, searches[0]))

    async def find_stations(self, station_ids: Sequence[str]) -> list[Station | None]:
        """Return the stations in the order asked for, None where there is none."""
        reader, known = self._require_reader(), self._stations
        found: dict[str, Station] = {}
        missing: list[str] = []
        for station_id in dict.fromkeys(station_ids):
            station = known.get(station_id)
            if station is None:
                missing.append(station_id)
            else:
                known.move_to_end(station_id)
                found[station_id] = station
        if missing:
            with answering(self._path):
                for station_id, content in reader.contents(missing):
                    found[station_id] = known[station_id] = unpack_station(content)
            while len(known) > _REMEMBERED_STATIONS:
                known.popitem(last=False)
        return [found.get(station_id) for station_id in station_ids]

    async def find_station_of_evse(self, evse_ids: Sequence[str]) -> list[str | None]:
        """Return for each Evse the id of the station that it stands in, None where it is unknown."""
        columns = self._require_columns()
        candidates = [
            [columns.id_at(station).decode() for station in columns.stations_of_evse(evse_key(evse_id))]
            for evse_id in evse_ids
        ]
        wanted = list(dict.fromkeys(station_id for ids in candidates for station_id in ids))
        stations = dict(zip(wanted, await self.find_stations(wanted), strict=True))
        return [holder_of(evse_id, ids, stations) for evse_id, ids in zip(evse_ids, candidates, strict=True)]

    async def list_station_local_ids(self, feed: str, page_size: int) -> AsyncIterator[tuple[str, ...]]:
        """Return the source's own ids of a feed's stations, in pages, in the order of the stations' ids."""
        after = ""
        while True:
            with answering(self._path):
                rows = self._require_reader().local_ids(feed, after, page_size)
            if not rows:
                return
            yield tuple(local_id for _, local_id in rows)
            after = rows[-1][0]

    async def mark(self) -> str:
        """Return the number of the snapshot that is in force."""
        return str(self._swaps)

    async def count_stations(self) -> dict[str, int]:
        """Return how many stations each feed has; feeds without stations are absent."""
        counts = np.bincount(self._require_columns().feed).tolist()
        return {self._dictionaries.feeds.value(code): count for code, count in enumerate(counts) if count}

    async def list_operators(self) -> list[Operator]:
        """Return every operator that was ever saved, ordered by id."""
        with answering(self._path):
            return self._require_reader().operators()

    async def save_operators(self, operators: Sequence[Operator]) -> None:
        """Add or replace operators by id."""
        async with self._changing:  # during a change the reader would not see them
            await self._run(partial(self._require_writer().save_operators, operators))

    async def _stage(self, statement: int, feed: str, stations: Sequence[Station]) -> None:
        """Add stations to an open statement, some at a time, so that other feeds get their turn."""
        writer = self._require_writer()
        require_feed(feed, stations)

        def stage_part(part: Sequence[Station]) -> bool:
            return writer.stage(statement, pack_stations(part))

        for first in range(0, len(stations), _PACK_AT_ONCE):
            if not await self._run(partial(stage_part, stations[first : first + _PACK_AT_ONCE])):
                raise _ended(feed)

    async def _count(self, statement: int, feed: str) -> int:
        count = await self._run(partial(self._require_writer().count, statement))
        if count is None:
            raise _ended(feed)
        return count

    async def _commit(self, statement: int, feed: str, remove_missing: bool) -> ReplaceSummary:
        writer = self._require_writer()
        change = await self._change(partial(writer.commit, statement, remove_missing=remove_missing))
        if change is None:
            raise _ended(feed)
        return _summary(change)

    async def _abort(self, statement: int) -> None:
        await self._run(partial(self._require_writer().drop, statement))

    async def _change(self, commit: Callable[[], _Changed]) -> _Changed:
        """Commit and put the next snapshot in force; finishes even where the caller is cancelled meanwhile."""
        return await asyncio.shield(asyncio.ensure_future(self._commit_and_swap(commit)))

    async def _commit_and_swap(self, commit: Callable[[], _Changed]) -> _Changed:
        async with self._changing:
            writer, reader, columns = self._require_writer(), self._require_reader(), self._require_columns()
            if self._behind:
                columns = await self._read_all(writer)

            def commit_and_read() -> tuple[_Changed, Batch]:
                change = commit()
                return change, read_batch(writer.changed_facts() if change else (), self._dictionaries)

            # Until the next snapshot is in force the reader goes on with what the present one was made of.
            with answering(self._path), reader.held():
                self._behind = True
                change, batch = await self._run(commit_and_read)
                if change is not None and (change.changed or change.gone):
                    slots = await self._slots(batch)
                    gone = [station_id.encode() for station_id in change.gone]
                    self._columns, self._grid = await self._run(partial(self._merged, columns, gone, batch, slots))
                    self._swaps += 1
                    for station_id in change.gone:
                        self._stations.pop(station_id, None)
                    for number in range(len(batch)):
                        self._stations.pop(batch.id_at(number).decode(), None)
                self._behind = False
            return change

    async def _read_all(self, writer: Writer) -> Columns:
        batch = await self._run(lambda: read_batch(writer.all_facts(), self._dictionaries))
        slots = await self._slots(batch)
        columns, self._grid = await self._run(partial(self._merged, Columns.empty(), (), batch, slots))
        self._columns = columns
        self._swaps += 1
        self._stations.clear()
        self._behind = False
        return columns

    def _merged(
        self, columns: Columns, gone: Sequence[bytes], batch: Batch, slots: SlotArray
    ) -> tuple[Columns, _grid.Grid | None]:
        """Return the next snapshot, and where there is a kernel its grid."""
        merged = merge(columns, gone, batch, slots)
        return merged, None if self._kernel is None else _grid.Grid(merged, self._dictionaries, self._kernel)

    async def _slots(self, batch: Batch) -> SlotArray:
        """Ask for the slots of a batch's Evses, so many at a time that the event loop stays responsive.

        Asked in spatial order, new slots lie beside those of their neighbours, as searches will want them.
        """
        order = await self._run(batch.spatial_evse_order)
        slots = np.empty(len(order), np.int32)
        for first in range(0, len(order), _SLOTS_AT_ONCE):
            part = order[first : first + _SLOTS_AT_ONCE]
            slots[part] = self._view.slots(batch.evse_key[part])
            await asyncio.sleep(0)
        return slots

    async def _aside(self, work: Callable[[], _T]) -> _T:
        """Do the work, which only reads a snapshot, in a thread, a few such at a time."""
        async with self._large:
            return await asyncio.to_thread(work)

    async def _run(self, work: Callable[[], _T]) -> _T:
        """Do the work in the one thread that may write."""
        if self._thread is None:
            raise _closed()

        def guarded() -> _T:
            with answering(self._path):
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)

    def _require_columns(self) -> Columns:
        if self._columns is None:
            raise _closed()
        return self._columns

    def _require_writer(self) -> Writer:
        if self._writer is None:
            raise _closed()
        return self._writer

    def _require_reader(self) -> Reader:
        if self._reader is None:
            raise _closed()
        return self._reader


class _EmbeddedReplacement(FeedReplacement):
    def __init__(
        self,
        *,
        stage: Callable[[Sequence[Station]], Awaitable[None]],
        count: Callable[[], Awaitable[int]],
        commit: Callable[[bool], Awaitable[ReplaceSummary]],
        abort: Callable[[], Awaitable[None]],
    ) -> None:
        self._stage = stage
        self._count = count
        self._commit = commit
        self._abort = abort

    async def add(self, stations: Sequence[Station]) -> None:
        await self._stage(stations)

    async def count(self) -> int:
        return await self._count()

    async def commit(self, *, remove_missing: bool) -> ReplaceSummary:
        return await self._commit(remove_missing)

    async def abort(self) -> None:
        await self._abort()


def _summary(change: Change) -> ReplaceSummary:
    return ReplaceSummary(indexed=change.indexed, changed=change.changed, removed=len(change.gone))


def _closed() -> UnavailableError:
    return UnavailableError("the station index is not open")


def _ended(feed: str) -> UnavailableError:
    return UnavailableError(f"this replacement of feed {feed!r} was committed, aborted, or dropped for a newer one")
