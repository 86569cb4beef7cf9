"""The station index on Elasticsearch: who serves and who indexes may be many processes on many hosts."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import numpy as np

from app.errors import UnavailableError
from app.index import _es_query, _query
from app.index._clusters import Count, as_clusters
from app.index._columns import Columns, Dictionaries, FactRow, merge, read_batch
from app.index._document import Document, operator_lines, station_documents
from app.index._es_client import READ, Cluster, RefusedError
from app.index._es_query import MARGIN_M, PAGE_HITS, RANKED_RADIUS_M, Query
from app.index._es_store import Staging, Store
from app.index._hours import is_known_open
from app.index._packing import distinct_stations, holder_of, require_feed, unpack_station
from app.index._region import Region, in_box
from app.index.base import FeedReplacement, ReplaceSummary, StationIndex
from app.model.clock import Instant
from app.model.cluster import MAX_TILE_ZOOM, ClusterSearch, Grid, StationCluster, tiles_of
from app.model.geo import distance_m
from app.model.identity import evse_key
from app.model.search import (
    Area,
    AvailabilityView,
    BoolArray,
    Corridor,
    Hit,
    KeyArray,
    Near,
    Search,
    SearchPage,
    StationFilter,
    Where,
)
from app.model.station import Operator, Station
from app.telemetry import metrics

_REMEMBERED_STATIONS: Final = 50_000
_REMEMBERED_PATTERNS: Final = 100_000
_SPARE_HITS: Final = 8
_COUNTED_ONE_BY_ONE: Final = PAGE_HITS
_THREAD_ABOVE_ROWS: Final = 2_000
_PACK_AT_ONCE: Final = 500
_FOUND_AT_ONCE: Final = 1_000
_MOVES: Final = 5
_LEARN_EVERY_S: Final = 30.0
_LEARNED_AT_ONCE: Final = 65_536
_KEEP_ALIVE: Final = "30s"
_LOW_HALF: Final = np.uint64(0xFFFF_FFFF)

_ROWS_IN_A_BATCH: Final = 1_000
_ROWS_SHOWN: Final = "hits.total.value,hits.hits.fields,aggregations"

_T = TypeVar("_T")
_Found = tuple[SearchPage, dict[str, int]]
"""A page, and the versions of the stations on it."""


class _Row(msgspec.Struct, frozen=True, gc=False):
    """The columns of a station that were asked for."""

    id: tuple[str] = ("",)
    version: tuple[int] = (0,)
    lon: tuple[float] = (0.0,)
    lat: tuple[float] = (0.0,)
    local_id: tuple[str] = ("",)
    operator: tuple[str] = ("",)
    hours_key: tuple[str] = ("",)
    hours: tuple[bytes] = (b"",)
    evse_keys: tuple[bytes] = (b"",)
    connectors: tuple[bytes] = (b"",)


class _RowHit(msgspec.Struct, frozen=True, gc=False):
    fields: _Row
    sort: msgspec.Raw = msgspec.Raw()


class _Total(msgspec.Struct, frozen=True):
    value: int = 0


class _RowHits(msgspec.Struct, frozen=True):
    total: _Total = _Total()
    hits: list[_RowHit] = []


class _Doubtful(msgspec.Struct, frozen=True):
    doc_count: int = 0


class _Aggregations(msgspec.Struct, frozen=True):
    doubtful: _Doubtful = _Doubtful()


class _RowAnswer(msgspec.Struct, frozen=True):
    hits: _RowHits = _RowHits()
    aggregations: _Aggregations = _Aggregations()
    pit_id: str = ""


class _Bucket(msgspec.Struct, frozen=True):
    key: str
    doc_count: int


class _Buckets(msgspec.Struct, frozen=True):
    buckets: list[_Bucket]
    sum_other_doc_count: int = 0


class _BucketAnswer(msgspec.Struct, frozen=True):
    aggregations: dict[str, _Buckets]


class _TileKey(msgspec.Struct, frozen=True):
    tile_x: float
    tile_y: float


class _Mean(msgspec.Struct, frozen=True):
    value: float


class _Tile(msgspec.Struct, frozen=True):
    key: _TileKey
    doc_count: int
    lon: _Mean
    lat: _Mean


class _TileBuckets(msgspec.Struct, frozen=True):
    buckets: list[_Tile]


class _TileAnswer(msgspec.Struct, frozen=True):
    aggregations: dict[str, _TileBuckets]


class _StationSource(msgspec.Struct, frozen=True):
    id: str
    version: int
    doc: bytes


class _StationHit(msgspec.Struct, frozen=True):
    source: _StationSource = msgspec.field(name="_source")


class _StationHits(msgspec.Struct, frozen=True):
    hits: list[_StationHit] = []


class _StationAnswer(msgspec.Struct, frozen=True):
    hits: _StationHits = _StationHits()


class _OperatorSource(msgspec.Struct, frozen=True):
    id: str
    doc: Operator


class _OperatorHit(msgspec.Struct, frozen=True):
    source: _OperatorSource = msgspec.field(name="_source")


class _OperatorHits(msgspec.Struct, frozen=True):
    hits: list[_OperatorHit] = []


class _OperatorAnswer(msgspec.Struct, frozen=True):
    hits: _OperatorHits = _OperatorHits()


_row_decoder = msgspec.json.Decoder(_RowAnswer)
_bucket_decoder = msgspec.json.Decoder(_BucketAnswer)
_tile_decoder = msgspec.json.Decoder(_TileAnswer)
_station_answer_decoder = msgspec.json.Decoder(_StationAnswer)
_operator_decoder = msgspec.json.Decoder(_OperatorAnswer)


class ElasticsearchIndex(StationIndex):
    """Stations in Elasticsearch, live status in this process: it is never written there.

    What only stations say, Elasticsearch answers exactly, but for positions, which are made exact here. Where live
    status has a say, polygons or a route, all candidates are read as columns and searched as the embedded index
    searches its own. Whole stations are remembered together with their versions, which every search tells.
    """

    def __init__(self, urls: Sequence[str], view: AvailabilityView, prefix: str = "chargegraph") -> None:
        """Use the nodes at these addresses; everything there is named ``prefix-…``. ``view`` is asked from the loop."""
        self._cluster = Cluster(urls)
        self._store = Store(self._cluster, prefix)
        self._view = view
        self._changing = asyncio.Lock()
        self._replacements: dict[str, _Replacement] = {}
        self._stations: OrderedDict[str, tuple[int, Station]] = OrderedDict()
        self._current: dict[str, int] = {}
        self._patterns: dict[str, bytes] = {}
        self._learner: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Make the indices where they are missing. Raises UnavailableError where the cluster does not answer."""
        self._cluster.open()
        try:
            await self._store.open()
            state = await self._store.state()
            await self._where_it_is(self._learn_all)
        except BaseException:
            await self._cluster.close()
            raise
        self._learner = asyncio.create_task(self._learn_now_and_then(state), name="station index learner")

    async def close(self) -> None:
        """Finish what is being written and close connections; a second call does nothing."""
        learner, self._learner = self._learner, None
        if learner is not None:
            learner.cancel()
            with suppress(asyncio.CancelledError):
                await learner
        async with self._changing:
            for replacement in tuple(self._replacements.values()):
                with suppress(UnavailableError):
                    await replacement.end()
            await self._cluster.close()
            self._stations.clear()

    # ------------------------------------------------------------------------------------------------------- changes

    async def open_replacement(self, feed: str) -> FeedReplacement:
        """Begin a new full statement of a feed; an older one of that feed that was left open is dropped."""
        async with self._changing:
            older = self._replacements.get(feed)
            if older is not None:
                await older.end()
            await self._store.drop_staged(feed)
            query = _es_query.of_feed(feed)
            known = await self._where_it_is(lambda: self._store.versions(self._store.alias, query))
            replacement = _Replacement(feed, known, self._store, self._changing, self._learn, self._forget)
            self._replacements[feed] = replacement
            return replacement

    async def upsert_stations(self, feed: str, stations: Sequence[Station]) -> ReplaceSummary:
        """Add or change these stations of a feed and keep all others; each station is changed in one step."""
        documents = await _documents(feed, stations)
        return await _finished(self._where_it_is(lambda: self._upsert(feed, documents)))

    async def remove_feed(self, feed: str) -> int:
        """Forget a feed's stations; return how many there were."""

        async def remove() -> int:
            async with self._changing:
                await self._preserve(feed, None)
                return (await self._store.commit(feed, {}, Staging(self._store, feed), remove_missing=True)).removed

        return await _finished(remove())

    async def save_operators(self, operators: Sequence[Operator]) -> None:
        """Add or replace operators by id."""
        if operators:
            await self._cluster.bulk(self._store.operators, [operator_lines(operator) for operator in operators])
            await self._cluster.write("POST", f"/{self._store.operators}/_refresh")

    async def _upsert(self, feed: str, documents: Sequence[Document]) -> ReplaceSummary:
        async with self._changing:
            changed: list[Document] = []
            await self._store.refresh()
            for first in range(0, len(documents), PAGE_HITS):
                part = documents[first : first + PAGE_HITS]
                query = _es_query.of_ids([document.id for document in part])
                known = await self._store.versions(self._store.alias, query)
                changed += [document for document in part if known.get(document.id) != document.version]
            if changed:
                await self._learn([document.evse_keys for document in changed])
                await self._preserve(feed, [document.id for document in changed])
                if not await self._store.upsert(changed):
                    await self._store.wait_for_successor()
                    if not await self._store.upsert(changed):
                        await self._store.upsert_beside(feed, changed)
            return ReplaceSummary(indexed=len(documents), changed=len(changed), removed=0)

    async def _preserve(self, feed: str, station_ids: Sequence[str] | None) -> None:
        """Hand documents that are about to be changed to an open statement which counts on them as they are."""
        replacement = self._replacements.get(feed)
        if replacement is not None:
            await replacement.preserve(station_ids)

    def _forget(self, replacement: "_Replacement") -> None:
        if self._replacements.get(replacement.feed) is replacement:
            del self._replacements[replacement.feed]

    # ------------------------------------------------------------------------------------------- whose status counts

    async def _learn(self, packed_keys: Iterable[bytes]) -> None:
        """Let the live board know Evses before anyone can find them, so many at a time that the loop stays free."""
        keys = np.frombuffer(b"".join(packed_keys), "<u8").astype(np.uint64)
        for first in range(0, len(keys), _LEARNED_AT_ONCE):
            self._view.slots(keys[first : first + _LEARNED_AT_ONCE])
            await asyncio.sleep(0)

    async def _learn_all(self) -> None:
        """Let the live board know all Evses."""
        async for hits in self._rows({"exists": {"field": "evse_keys"}}, ("evse_keys",)):
            await self._learn([hit.fields.evse_keys[0] for hit in hits])

    async def _learn_now_and_then(self, state: tuple[str, int]) -> None:
        """Let the live board know the Evses that other processes add."""
        while True:
            await asyncio.sleep(_LEARN_EVERY_S)
            with suppress(UnavailableError):
                found = await self._store.state()
                if found != state:
                    await self._learn_all()
                    state = found

    # ------------------------------------------------------------------------------------------------------- searches

    async def search(self, search: Search) -> SearchPage:
        """Answer one search."""
        (page,) = await self.search_many((search,))
        return page

    async def search_many(self, searches: Sequence[Search]) -> list[SearchPage]:
        """Answer several searches, which share the requests to Elasticsearch."""
        return await self._where_it_is(lambda: self._search_many(searches))

    async def _where_it_is(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask again where the index was replaced, and deleted, under the question."""
        for _ in range(_MOVES):
            try:
                return await ask()
            except RefusedError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
        return await ask()

    async def _search_many(self, searches: Sequence[Search]) -> list[SearchPage]:
        rows_at_once = PAGE_HITS if len(searches) == 1 else _ROWS_IN_A_BATCH
        questions = await self._questions(searches)
        requests = [question.request(rows_at_once) for question in questions]
        answers = await self._cluster.search_many(self._store.alias, requests, _row_decoder, _ROWS_SHOWN)
        pages: list[SearchPage] = []
        versions: dict[str, int] = {}
        for question, answer in zip(questions, answers, strict=True):
            page, seen = await (self._rank(question, answer) if question.ranked else self._enumerate(question, answer))
            pages.append(page)
            versions |= seen
            if len(searches) > 1:
                await asyncio.sleep(0)  # others get their turn
        self._vouch(versions)
        return pages

    async def _questions(self, searches: Sequence[Search]) -> list["_Question"]:
        """Make up how to put searches to Elasticsearch. Raises InvalidInputError for polygons that are none."""
        regions = [await _region(search.where) for search in searches]
        insides = [_es_query.possible(search.where, region) for search, region in zip(searches, regions, strict=True)]
        asked = list(zip(searches, regions, insides, strict=True))
        timed = [(_es_query.matching(inside, one.filter), one.at) for one, _, inside in asked if one.filter.open_now]
        patterns = iter(await self._open_patterns(timed) if timed else ())
        return [
            _question(search, region, inside, next(patterns) if search.filter.open_now else None)
            for search, region, inside in asked
        ]

    async def _rank(self, question: "_Question", answer: _RowAnswer) -> _Found:
        """Let Elasticsearch order the stations, and read a few more than are wanted to make the order exact."""
        search, size = question.search, question.first_hits
        while True:
            hits = answer.hits.hits
            page = _exact_page(search, hits, exhausted=len(hits) < size)
            if page is not None:
                found, has_next = page
                total = answer.hits.total.value
                if answer.aggregations.doubtful.doc_count:
                    total -= await self._count_outside(search, question.query)
                return SearchPage(found, total, has_next), {hit.fields.id[0]: hit.fields.version[0] for hit in hits}
            size *= 2
            if size > PAGE_HITS:
                return await self._enumerate(question, await self._ask(question.columns(PAGE_HITS), _ROWS_SHOWN))
            answer = await self._ask(question.ranking(size), _ROWS_SHOWN)

    async def _count_outside(self, search: Search, query: Query) -> int:
        count = 0
        async for hits in self._rows(_es_query.doubtful(query, search.where), ("lon", "lat")):
            count += len(hits) - int(np.count_nonzero(_is_inside(search.where, hits)))
        return count

    async def _enumerate(self, question: "_Question", answer: _RowAnswer) -> _Found:
        """Read the columns of all candidates and search them as the embedded index does."""
        read = await self._read(question, answer)
        asked = await read.run(lambda: _query.ask(read.columns, question.left))
        narrowed = await read.run(lambda: _query.narrow(read.columns, read.dictionaries, asked))
        page = _query.cut(read.columns, asked, _query.see(narrowed, self._view, question.left))
        shown = {hit.station_id for hit in page.hits}
        return page, {hit.fields.id[0]: hit.fields.version[0] for hit in read.rows if hit.fields.id[0] in shown}

    async def _read(self, question: "_Question", answer: _RowAnswer) -> "_Read":
        """Read the columns of all candidates, of which the first were answered."""
        rows = [row async for hits in self._complete(question.columns(PAGE_HITS), answer) for row in hits]
        read = _Read(rows)
        batch = await read.run(lambda: read_batch([[_facts(hit.fields) for hit in rows]], read.dictionaries))
        slots = self._view.slots(batch.evse_key)
        read.columns = await read.run(lambda: merge(Columns.empty(), (), batch, slots))
        return read

    # -------------------------------------------------------------------------------------------------------- clusters

    async def list_clusters(self, search: ClusterSearch) -> list[StationCluster]:
        """Count the stations of a box by tiles: each by itself while they fit into one answer."""
        return await self._where_it_is(lambda: self._clusters(search))

    async def _clusters(self, search: ClusterSearch) -> list[StationCluster]:
        where = Area(box=search.box)
        (question,) = await self._questions((Search(where=where, filter=search.filter, first=0, at=search.at),))
        if question.ranked:  # nothing is left to be looked for
            answer = await self._ask(_es_query.count(question.query, _COUNTED_ONE_BY_ONE + 1), "hits.total.value")
            if answer.hits.total.value > _COUNTED_ONE_BY_ONE:
                sure, doubtful = _es_query.sure(question.query, where), _es_query.doubtful(question.query, where)
                return await self._count_by_tiles(search, sure, doubtful)
        if search.wants_available:
            question = question.seen_live(by_operator=bool(search.dark))
        read = await self._read(question, await self._ask(question.columns(PAGE_HITS), _ROWS_SHOWN))
        left = msgspec.structs.replace(search, filter=question.left.filter)
        count = Count(read.columns, read.dictionaries, left)
        seen = await count.see(await read.run(count.narrow), self._view)
        return await read.run(lambda: count.count(seen))

    async def _count_by_tiles(self, search: ClusterSearch, sure: Query, doubtful: Query) -> list[StationCluster]:
        """Let Elasticsearch count what is surely inside, and count what is at the edges of the box here."""
        grid, shift = Grid.over(search.box, search.zoom), MAX_TILE_ZOOM - search.zoom
        request = _es_query.tiles(sure, search.zoom)
        answer = await self._cluster.search(self._store.alias, request, _tile_decoder, "aggregations")
        found = answer.aggregations["tiles"].buckets
        counts, lon, lat = np.zeros(len(grid), np.int64), np.zeros(len(grid)), np.zeros(len(grid))
        places = grid.places(
            np.array([tile.key.tile_x for tile in found], np.int64) >> shift,
            np.array([tile.key.tile_y for tile in found], np.int64) >> shift,
        )
        here = np.array([tile.doc_count for tile in found], np.int64)
        np.add.at(counts, places, here)
        np.add.at(lon, places, here * np.array([tile.lon.value for tile in found]))
        np.add.at(lat, places, here * np.array([tile.lat.value for tile in found]))
        async for hits in self._rows(doubtful, ("lon", "lat")):
            inside = _is_inside(Area(box=search.box), hits)
            x, y = (np.array([getattr(hit.fields, axis)[0] for hit in hits])[inside] for axis in ("lon", "lat"))
            tile_x, tile_y = tiles_of(x, y)
            places = grid.places(tile_x >> shift, tile_y >> shift)
            np.add.at(counts, places, 1)
            np.add.at(lon, places, x)
            np.add.at(lat, places, y)
        return as_clusters(grid, counts, (lon, lat))

    async def _open_patterns(self, timed: Sequence[tuple[Query, Instant]]) -> list[list[str] | None]:
        """Return the names of the opening patterns of each query's stations that are known to be open at its time.

        None where there are too many.
        """
        requests = [_es_query.patterns(query) for query, _ in timed]
        answers = await self._cluster.search_many(self._store.alias, requests, _bucket_decoder, "aggregations")
        counted = [answer.aggregations["patterns"] for answer in answers]
        named = [None if found.sum_other_doc_count else [each.key for each in found.buckets] for found in counted]
        missing = list({key: None for keys in named for key in keys or () if key not in self._patterns})
        if missing and len(self._patterns) > _REMEMBERED_PATTERNS:
            self._patterns.clear()
            missing = list({key: None for keys in named for key in keys or ()})
        for first in range(0, len(missing), _es_query.MAX_PATTERNS):
            part = missing[first : first + _es_query.MAX_PATTERNS]
            contents = await self._ask(_es_query.pattern_contents(part), "hits.hits.fields")
            self._patterns |= {hit.fields.hours_key[0]: hit.fields.hours[0] for hit in contents.hits.hits}
        known = self._patterns
        return [
            None if keys is None else [key for key in keys if key in known and is_known_open(known[key], at)]
            for keys, (_, at) in zip(named, timed, strict=True)
        ]

    # ------------------------------------------------------------------------------------------------ lookups and lists

    async def find_stations(self, station_ids: Sequence[str]) -> list[Station | None]:
        """Return the stations in the order asked for, None where there is none.

        A station that is remembered is answered where a search just said that its version is the current one.
        """
        remembered, current = self._stations, self._current
        found: dict[str, Station] = {}
        missing: list[str] = []
        for station_id in dict.fromkeys(station_ids):
            version, station = remembered.get(station_id, (None, None))
            if station is not None and current.get(station_id) == version:
                remembered.move_to_end(station_id)
                found[station_id] = station
            elif station_id and _es_query.is_encodable(station_id):
                missing.append(station_id)
        for first in range(0, len(missing), _FOUND_AT_ONCE):
            found |= await self._read_stations(missing[first : first + _FOUND_AT_ONCE])
        return [found.get(station_id) for station_id in station_ids]

    async def find_station_of_evse(self, evse_ids: Sequence[str]) -> list[str | None]:
        """Return for each Evse the id of the station that it stands in, None where it is unknown."""
        keys = {evse_id: evse_key(evse_id) for evse_id in evse_ids if _es_query.is_encodable(evse_id)}
        if not keys:
            return [None] * len(evse_ids)
        wanted = np.array(sorted(set(keys.values())), np.uint64)
        holders: dict[int, list[str]] = {}
        for first in range(0, len(wanted), PAGE_HITS):
            part = wanted[first : first + PAGE_HITS]
            for key, station_id in await self._where_it_is(lambda: self._holders(part)):  # noqa: B023
                holders.setdefault(key, []).append(station_id)
        candidates = list(dict.fromkeys(station_id for found in holders.values() for station_id in found))
        stations = dict(zip(candidates, await self.find_stations(candidates), strict=True))
        return [holder_of(evse_id, holders.get(keys.get(evse_id, -1), ()), stations) for evse_id in evse_ids]

    async def list_station_local_ids(self, feed: str, page_size: int) -> AsyncIterator[tuple[str, ...]]:
        """Return the source's own ids of a feed's stations, in pages, in the order of the stations' ids."""
        after_id, size = None, min(page_size, PAGE_HITS)
        while True:
            request = _es_query.columns(_es_query.of_feed(feed), ("id", "local_id"), size, after_id)
            hits = (await self._where_it_is(lambda: self._ask(request, "hits.hits.fields"))).hits.hits  # noqa: B023
            if hits:
                yield tuple(hit.fields.local_id[0] for hit in hits)
            if len(hits) < size:
                return
            after_id = hits[-1].fields.id[0]

    async def mark(self) -> str:
        """Return the index in force and the number of its last operation, which searches may see a moment later."""
        live, number = await self._store.state()
        return f"{live} {number}"

    async def count_stations(self) -> dict[str, int]:
        """Return how many stations each feed has; feeds without stations are absent."""
        answer = await self._where_it_is(
            lambda: self._cluster.search(self._store.alias, _es_query.feed_counts(), _bucket_decoder, "aggregations")
        )
        return {bucket.key: bucket.doc_count for bucket in answer.aggregations["feeds"].buckets}

    async def list_operators(self) -> list[Operator]:
        """Return every operator that was ever saved, ordered by id."""
        operators: list[Operator] = []
        after_id = None
        while True:
            request = _es_query.operators(after_id)
            answer = await self._cluster.search(self._store.operators, request, _operator_decoder, "hits.hits._source")
            operators += [hit.source.doc for hit in answer.hits.hits]
            if len(answer.hits.hits) < PAGE_HITS:
                return operators
            after_id = operators[-1].id

    async def _holders(self, keys: KeyArray) -> list[tuple[int, str]]:
        """Return which stations have an Evse with one of the keys, by id."""
        halves = (keys & _LOW_HALF).astype(np.uint32).view(np.int32).tolist()
        found: list[tuple[int, str]] = []
        async for hits in self._rows(_es_query.of_evses(halves), ("id", "evse_keys")):
            for hit in hits:
                packed = np.frombuffer(hit.fields.evse_keys[0], "<u8")
                found += [(key, hit.fields.id[0]) for key in np.intersect1d(packed, keys).tolist()]
        return found

    async def _read_stations(self, station_ids: Sequence[str]) -> dict[str, Station]:
        # Not by _mget: of a copy that fails it says so within its answer, where a search goes to the next one.
        request = _es_query.documents(station_ids)
        answer = await self._where_it_is(
            lambda: self._cluster.search(self._store.alias, request, _station_answer_decoder, "hits.hits._source")
        )
        remembered = self._stations
        found: dict[str, Station] = {}
        for hit in answer.hits.hits:
            name, version = hit.source.id, hit.source.version
            known_version, station = remembered.get(name, (None, None))
            if station is None or known_version != version:
                try:
                    station = unpack_station(hit.source.doc)
                except msgspec.DecodeError as error:
                    raise UnavailableError(f"the document of station {name!r} is none: {error}") from error
                remembered[name] = version, station
            remembered.move_to_end(name)
            found[name] = station
        while len(remembered) > _REMEMBERED_STATIONS:
            remembered.popitem(last=False)
        metrics.REMEMBERED_STATIONS.set(len(remembered))
        return found

    def _vouch(self, versions: dict[str, int]) -> None:
        """Let these versions count as current until the event loop turns: nothing can be known to change before."""
        self._current = versions
        asyncio.get_running_loop().call_soon(self._forget_current, versions)

    def _forget_current(self, versions: dict[str, int]) -> None:
        if self._current is versions:
            self._current = {}

    async def _rows(self, query: Query, fields: Sequence[str]) -> AsyncIterator[list[_RowHit]]:
        """Return columns of all stations that match, by id, all as of one moment."""
        request = _es_query.columns(query, fields)
        async for hits in self._complete(request, await self._ask(request, "hits.total.value,hits.hits.fields")):
            yield hits

    async def _complete(self, request: Query, answer: _RowAnswer) -> AsyncIterator[list[_RowHit]]:
        """Return the answer's rows where those are all; else read them by the request, all as of one moment."""
        if answer.hits.total.value <= len(answer.hits.hits):
            if answer.hits.hits:
                yield answer.hits.hits
            return
        opened = await self._cluster.write("POST", f"/{self._store.alias}/_pit", budget=READ, keep_alive=_KEEP_ALIVE)
        name: str = opened["id"]
        after: msgspec.Raw | None = None
        while True:
            page: dict[str, Any] = request | {"pit": {"id": name, "keep_alive": _KEEP_ALIVE}}
            if after is not None:
                page |= {"search_after": after, "track_total_hits": False}
            shown = "pit_id,hits.hits.fields,hits.hits.sort"
            answer = await self._cluster.search(None, page, _row_decoder, shown)
            name = answer.pit_id or name
            hits = answer.hits.hits
            if hits:
                yield hits
            if len(hits) < PAGE_HITS:
                break
            after = hits[-1].sort
        # Whoever gave up before, or was told to, does not wait for this: it ends by itself.
        with suppress(UnavailableError):
            await self._cluster.write("DELETE", "/_pit", {"id": name}, READ)

    async def _ask(self, request: Query, shown: str) -> _RowAnswer:
        return await self._cluster.search(self._store.alias, request, _row_decoder, shown)


class _Read:
    """Candidates of a search as columns."""

    def __init__(self, rows: Sequence[_RowHit]) -> None:
        self.rows = rows
        self.dictionaries = Dictionaries()
        self.columns = Columns.empty()

    async def run(self, work: Callable[[], _T]) -> _T:
        """Do the work, in a thread where there are many."""
        return await asyncio.to_thread(work) if len(self.rows) > _THREAD_ABOVE_ROWS else work()


class _Replacement(FeedReplacement):
    """A statement: the versions of its stations, and the documents that differ from those in force."""

    def __init__(
        self,
        feed: str,
        known: dict[str, int],
        store: Store,
        changing: asyncio.Lock,
        learn: Callable[[Iterable[bytes]], Awaitable[None]],
        forget: Callable[["_Replacement"], None],
    ) -> None:
        self.feed = feed
        self._known = known
        self._store = store
        self._staging = Staging(store, feed)
        self._changing = changing
        self._learn = learn
        self._forget = forget
        self._statement: dict[str, int] = {}
        self._evse_keys: list[bytes] = []
        self._is_ended = False

    async def add(self, stations: Sequence[Station]) -> None:
        self._require_open()
        documents = await _documents(self.feed, stations)
        self._require_open()
        fresh = [one for one in documents if one.id in self._staging or self._known.get(one.id) != one.version]
        self._statement.update([(document.id, document.version) for document in documents])
        self._evse_keys += [document.evse_keys for document in fresh]
        await self._staging.put({document.id: document.lines for document in fresh})

    async def count(self) -> int:
        self._require_open()
        return len(self._statement)

    async def commit(self, *, remove_missing: bool) -> ReplaceSummary:
        return await _finished(self._put_in_force(remove_missing=remove_missing))

    async def abort(self) -> None:
        if not self._is_ended:
            async with self._changing:
                await self.end()

    async def end(self) -> None:
        """Take nothing any more, and forget what was taken; nobody commits it meanwhile."""
        self._is_ended = True
        self._forget(self)
        await self._staging.drop()

    async def preserve(self, station_ids: Sequence[str] | None) -> None:
        """Take over documents in force that the statement counts on; None: all of them."""
        changing = list(self._known) if station_ids is None else station_ids
        for station_id in changing:
            self._known.pop(station_id, None)
        skipped = [one for one in changing if one in self._statement and one not in self._staging]
        for first in range(0, len(skipped), _FOUND_AT_ONCE):
            await self._staging.put(await self._store.documents(skipped[first : first + _FOUND_AT_ONCE]))

    async def _put_in_force(self, *, remove_missing: bool) -> ReplaceSummary:
        async with self._changing:
            self._require_open()
            try:
                await self._learn(self._evse_keys)
                return await self._store.commit(
                    self.feed, self._statement, self._staging, remove_missing=remove_missing
                )
            finally:
                await self.end()

    def _require_open(self) -> None:
        if self._is_ended:
            raise UnavailableError(
                f"this replacement of feed {self.feed!r} was committed, aborted, or dropped for a newer one"
            )


async def _documents(feed: str, stations: Sequence[Station]) -> list[Document]:
    """Make documents in a thread, some at a time, so that the loop stays responsive."""
    require_feed(feed, stations)
    distinct = distinct_stations(stations)
    documents: list[Document] = []
    for first in range(0, len(distinct), _PACK_AT_ONCE):
        documents += await asyncio.to_thread(station_documents, distinct[first : first + _PACK_AT_ONCE])
    return documents


async def _finished(work: Awaitable[_T]) -> _T:
    """Finish the work even where the caller is cancelled meanwhile."""
    return await asyncio.shield(asyncio.ensure_future(work))


class _Question(NamedTuple):
    """A search as it is put to Elasticsearch.

    ``ranked``: Elasticsearch orders the stations. Otherwise all candidates are read as columns, with their Evses where
    they are seen ``live`` and with whose they are for ``by_operator``, and ``left`` is what is still to be looked for
    among them.
    """

    search: Search
    query: Query
    ranked: bool
    live: bool
    left: Search
    by_operator: bool = False

    @property
    def first_hits(self) -> int:
        return self.search.first + _SPARE_HITS

    def request(self, rows_at_once: int) -> Query:
        """Return the request to begin with."""
        return self.ranking(self.first_hits) if self.ranked else self.columns(rows_at_once)

    def ranking(self, size: int) -> Query:
        """Return the request for the next stations in order."""
        where, after = self.search.where, self.search.after
        if isinstance(where, Near):
            return _es_query.nearest(self.query, where, size, None if after is None else after.distance_m)
        return _es_query.by_id(self.query, where, size, None if after is None else after.station_id)

    def columns(self, size: int) -> Query:
        """Return the request for the columns of all candidates."""
        fields = ["id", "version", "lon", "lat"]
        fields += ["hours"] * self.left.filter.open_now
        fields += ["evse_keys", "connectors"] * self.live
        fields += ["operator"] * self.by_operator
        return _es_query.columns(self.query, fields, size)

    def seen_live(self, *, by_operator: bool) -> "_Question":
        """Return the question whose candidates can be shown to the live board."""
        left = _left(self.search.filter, hours_left=self.left.filter.open_now, live=True)
        search = msgspec.structs.replace(self.search, filter=left)
        return self._replace(live=True, left=search, by_operator=by_operator)


async def _region(where: Where) -> Region | None:
    if isinstance(where, Area) and where.polygons:
        return await asyncio.to_thread(Region, where)
    return None


def _question(search: Search, region: Region | None, inside: Query, patterns: list[str] | None) -> _Question:
    where, wanted = search.where, search.filter
    live = _query.asks_for_live(wanted)
    far = isinstance(where, Near) and where.radius_m > RANKED_RADIUS_M
    hours_left = wanted.open_now and patterns is None
    large = search.first + _SPARE_HITS > PAGE_HITS
    along = isinstance(where, Corridor)
    return _Question(
        search=search,
        query=_es_query.matching(inside, wanted, patterns),
        ranked=not (region is not None or along or far or large or hours_left or live),
        live=live,
        left=msgspec.structs.replace(search, filter=_left(wanted, hours_left=hours_left, live=live)),
    )


def _left(wanted: StationFilter, *, hours_left: bool, live: bool) -> StationFilter:
    """Return what Elasticsearch cannot say: with live status all that must hold for one and the same Evse."""
    left = StationFilter(open_now=hours_left)
    if not live:
        return left
    return msgspec.structs.replace(
        left,
        connector_types=wanted.connector_types,
        min_power_w=wanted.min_power_w,
        available_now=wanted.available_now,
        max_status_age_s=wanted.max_status_age_s,
    )


def _is_inside(where: Where, hits: Sequence[_RowHit]) -> BoolArray:
    """Tell exactly which hits are inside a circle or a box."""
    lon = np.array([hit.fields.lon[0] for hit in hits])
    lat = np.array([hit.fields.lat[0] for hit in hits])
    if isinstance(where, Near):
        return distance_m(where.center.lon, where.center.lat, lon, lat) <= where.radius_m
    assert isinstance(where, Area)
    return np.zeros(len(hits), np.bool_) if where.box is None else in_box(where.box, lon, lat)


def _exact_page(search: Search, hits: Sequence[_RowHit], *, exhausted: bool) -> tuple[tuple[Hit, ...], bool] | None:
    """Return the page in exact order and whether more follows; None where too few hits are known to say so."""
    if isinstance(search.where, Near):
        found, sure = _in_order_of_distance(search, search.where, hits, exhausted=exhausted)
    else:
        inside = _is_inside(search.where, hits).tolist()
        found = [Hit(hit.fields.id[0], None) for hit, good in zip(hits, inside, strict=True) if good]
        if search.after is not None:
            found = [hit for hit in found if hit.station_id > search.after.station_id]
        sure = len(found)
    if not exhausted and (sure < search.first or len(found) <= search.first):
        return None
    return tuple(found[: search.first]), len(found) > search.first


def _in_order_of_distance(
    search: Search, where: Near, hits: Sequence[_RowHit], *, exhausted: bool
) -> tuple[list[Hit], int]:
    """Return what is inside in exact order, and how many of it surely come before all that is not known."""
    lon, lat = where.center.lon, where.center.lat
    keys = [(distance_m(lon, lat, hit.fields.lon[0], hit.fields.lat[0]), hit.fields.id[0]) for hit in hits]
    reach = where.radius_m if exhausted else keys[-1][0] - 2 * MARGIN_M  # what is not known is farther
    keys = [key for key in keys if key[0] <= where.radius_m]
    if search.after is not None:
        after = search.after.distance_m, search.after.station_id
        keys = [key for key in keys if key > after]
    keys.sort()
    return [Hit(name, far) for far, name in keys], sum(far <= reach for far, _ in keys)


def _facts(row: _Row) -> FactRow:
    position = row.lon[0], row.lat[0]
    return (row.id[0], row.operator[0], *position, 0, row.hours[0], b"", row.evse_keys[0], row.connectors[0])
