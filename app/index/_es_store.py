"""The durable side of the Elasticsearch index: which index is the truth, and how the next one takes its place.

Searches go to an alias behind which there is one index with the stations of all feeds: a search over one index a feed
costs a multiple of it. A statement that changes anything is committed into a successor, which is a clone of the index
in force (files are linked, not copied) with the changes applied; one update of the alias puts it in force and removes
the old one, so that nobody ever sees half of it, and a crash leaves nothing that is seen.

Several processes may write. Nobody waits for anybody:

- Before an index is cloned it is closed to writing, for good. Whoever finds it closed writes into a successor as well.
- Taking the place of an index deletes it in the same step. Of two successors of one index the second finds that it is
  gone, and begins again with the one in force.
- An index that is being built has an alias of its own, which ends in the step that puts it in force. Who tidies up
  takes that alias away first, so that an index that is or becomes the truth is never deleted.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import blake2b
from secrets import token_hex
from typing import Any, Final, NamedTuple

import msgspec

from app.errors import UnavailableError
from app.index import _es_query
from app.index._document import (
    DOCUMENT_LAYOUT,
    OPERATOR_FIELDS,
    STATION_FIELDS,
    Document,
    delete_line,
    index_body,
    index_lines,
    station_document,
)
from app.index._es_client import TIDY, WRITE, Cluster, Pump, RefusedError, pumped, pumping
from app.index._es_query import Query
from app.index._packing import unpack_station
from app.index.base import ReplaceSummary
from app.model.station import Station

_COPIED_AT_ONCE: Final = 500
_STAGED_BYTES: Final = 4 * 2**20
_FIRST: Final = 1
_DIGITS: Final = 6
_ABANDONED_MS: Final = 10 * 60 * 1000
_STAGED_ABANDONED_MS: Final = 24 * 3600 * 1000
_COPIES_TIMEOUT: Final = "25s"
_MERGED_ABOVE_SHARE: Final = 0.1
_FEED_NAME_BYTES: Final = 6
_TRIES: Final = 10
_WAITS: Final = 40
_WAIT_S: Final = 0.25


class ReplacedError(UnavailableError):
    """The index that was to be succeeded is not in force any more."""


class _Columns(msgspec.Struct, frozen=True):
    id: tuple[str]
    version: tuple[int]


class _Hit(msgspec.Struct, frozen=True):
    fields: _Columns


class _Hits(msgspec.Struct, frozen=True):
    hits: list[_Hit] = []


class _Versions(msgspec.Struct, frozen=True):
    hits: _Hits = _Hits()


class _Source(msgspec.Struct, frozen=True):
    source: msgspec.Raw = msgspec.field(name="_source")


class _Sources(msgspec.Struct, frozen=True):
    hits: list[_Source] = []


class _SourceAnswer(msgspec.Struct, frozen=True):
    hits: _Sources = _Sources()


class _Identified(msgspec.Struct, frozen=True):
    id: str


class _Kept(msgspec.Struct, frozen=True):
    doc: bytes | Station


_versions_decoder = msgspec.json.Decoder(_Versions)
_sources_decoder = msgspec.json.Decoder(_SourceAnswer)
_identified_decoder = msgspec.json.Decoder(_Identified)
_kept_decoder = msgspec.json.Decoder(_Kept)


class Building:
    """An index that is not in force; ``alias`` stands for it as long as it is not."""

    def __init__(self, cluster: Cluster, name: str, alias: str) -> None:
        """Refer to an index that was created."""
        self._cluster = cluster
        self.name = name
        self.alias = alias

    async def write(self, lines: Sequence[bytes]) -> None:
        """Apply lines of a bulk request."""
        await self._cluster.bulk(self.alias, lines)

    async def refresh(self) -> None:
        """Make what was written visible."""
        await self._cluster.write("POST", f"/{self.name}/_refresh")


class Staging:
    """Documents of a statement that is being collected: in memory while they are few, then in an index of their own."""

    def __init__(self, store: "Store", feed: str) -> None:
        """Begin with nothing."""
        self._store = store
        self._feed = feed
        self._lines: dict[str, bytes] = {}
        self._size = 0
        self._ids: set[str] = set()
        self._pump = Pump(self._send)
        self._moving = asyncio.Lock()
        self.building: Building | None = None

    def __contains__(self, station_id: str) -> bool:
        return station_id in self._ids

    async def put(self, documents: Mapping[str, bytes]) -> None:
        """Add or replace documents, given as lines of a bulk request."""
        async with self._moving:
            if any(name in self._ids and name not in self._lines for name in documents):
                await self._pump.drain()  # lest an older document of a station arrives after its newer one
            self._ids.update(documents)
            self._lines |= documents
            self._size += sum(map(len, documents.values()))
            if self._size >= _STAGED_BYTES:
                if self.building is None:
                    self.building = await self._store.build_staged(self._feed)
                lines, self._lines, self._size = self._lines, {}, 0
                await self._pump.put(list(lines.values()))

    async def finish(self) -> None:
        """Wait until everything is where ``write_into`` finds it."""
        async with self._moving:
            if self.building is not None:
                await self._pump.put(list(self._lines.values()))
                self._lines = {}
                await self._pump.drain()
                await self.building.refresh()

    async def write_into(self, target: Building, station_ids: Sequence[str]) -> None:
        """Write documents into an index that is not in force."""
        if self.building is not None:
            await self._store.copy(self.building.name, target.write, station_ids)
        else:
            await pumped(target.write, [self._lines[station_id] for station_id in station_ids])

    async def drop(self) -> None:
        """Forget everything."""
        await self._pump.cancel()
        building, self.building, self._lines = self.building, None, {}
        if building is not None:
            await self._store.delete(building)

    async def _send(self, lines: list[bytes]) -> None:
        assert self.building is not None
        await self.building.write(lines)


class Store:
    """The indices of one hub on a cluster. Its user changes one thing at a time."""

    def __init__(self, cluster: Cluster, prefix: str) -> None:
        """Name everything ``prefix-…``."""
        self._cluster = cluster
        self._prefix = prefix
        self._closed = ""
        self.alias = f"{prefix}-stations"
        self.operators = f"{prefix}-operators"

    async def open(self) -> None:
        """Create what is missing, remove what crashes left, and bring documents to today's layout."""
        await self._create(f"{self.operators}-{_FIRST:0{_DIGITS}d}", OPERATOR_FIELDS, self.operators)
        if not await self._names(self.alias):
            first = f"{self.alias}-{_FIRST:0{_DIGITS}d}"
            await self._create(first, STATION_FIELDS, self.alias)
            if len(await self._names(self.alias)) > 1:  # another process was faster, and is further already
                await self._cluster.write("DELETE", f"/{first}")
        await self._tidy()
        await self._adopt_layout()

    async def live(self) -> str:
        """Return the name of the index in force."""
        names = await self._names(self.alias)
        if len(names) != 1:
            raise UnavailableError(f"the alias {self.alias} stands for {len(names)} indices, not for one")
        return names[0]

    async def versions(self, index: str, query: Query) -> dict[str, int]:
        """Return the ids of stations and the versions of their documents, as they were refreshed last."""
        found: dict[str, int] = {}
        after_id = None
        while True:
            request = _es_query.columns(query, ("id", "version"), after_id=after_id)
            answer = await self._cluster.search(index, request, _versions_decoder, "hits.hits.fields", WRITE)
            hits = answer.hits.hits
            found.update([(hit.fields.id[0], hit.fields.version[0]) for hit in hits])
            if len(hits) < _es_query.PAGE_HITS:
                return found
            after_id = hits[-1].fields.id[0]

    # ------------------------------------------------------------------------------------------------- in the index

    async def upsert(self, documents: Sequence[Document]) -> bool:
        """Write documents into the index in force and make them visible; False where that is closed to writing."""
        try:
            await pumped(partial(self._cluster.bulk, self.alias), [document.lines for document in documents])
        except RefusedError as error:
            if error.kind != "cluster_block_exception":
                raise
            return False
        await self.refresh()
        return True

    async def upsert_beside(self, feed: str, documents: Sequence[Document]) -> None:
        """Write documents into a successor of the index in force, which is closed to writing."""
        staging = Staging(self, feed)
        try:
            await staging.put({document.id: document.lines for document in documents})
            statement = {document.id: document.version for document in documents}
            await self.commit(feed, statement, staging, remove_missing=False)
        finally:
            await staging.drop()

    async def state(self) -> tuple[str, int]:
        """Return what differs after every change: the index in force and the number of its last operation."""
        live = await self.live()
        shown = "indices.*.shards.*.seq_no.max_seq_no"
        found = await self._cluster.look(f"/{live}/_stats", level="shards", filter_path=shown)
        copies = [copy for about in found["indices"].values() for copy in about["shards"]["0"]] if found else []
        return live, max((copy["seq_no"]["max_seq_no"] for copy in copies), default=-1)

    async def refresh(self) -> None:
        """Make what was written visible to searches; what has just been succeeded was, when it was."""
        with suppress(ReplacedError), _replaced_where_gone():
            await self._cluster.write("POST", f"/{self.alias}/_refresh")

    async def wait_for_successor(self) -> None:
        """Give another process, which closed the index in force, some time to put a successor in force."""
        closed = await self.live()
        for _ in range(_WAITS if closed != self._closed else 0):
            await asyncio.sleep(_WAIT_S)
            if await self.live() != closed:
                return

    # ------------------------------------------------------------------------------------------------ beside the index

    async def build_staged(self, feed: str) -> Building:
        """Begin an empty index for what a feed states."""
        return await self._build(f"{self._staged(feed)}-{token_hex(4)}")

    async def drop_staged(self, feed: str) -> None:
        """Delete what is staged for a feed, by whomever."""
        for name in await self._cluster.look(f"/{self._staged(feed)}-*/_alias"):
            await self.delete(Building(self._cluster, name, ""))

    async def delete(self, building: Building) -> None:
        """Delete an index that never comes into force; where that fails it is deleted later."""
        with suppress(UnavailableError):
            await self._cluster.write("DELETE", f"/{building.name}", budget=TIDY)

    async def drop(self, successor: Building) -> None:
        """Delete a successor, but for one that is in force by now."""
        claim = {"remove": {"index": successor.name, "alias": successor.alias, "must_exist": True}}
        with suppress(UnavailableError):
            await self._cluster.write("POST", "/_aliases", {"actions": [claim]}, TIDY)
            await self.delete(successor)

    async def copy(
        self, source: str, send: Callable[[list[bytes]], Awaitable[None]], station_ids: Sequence[str]
    ) -> None:
        """Read documents and send them on. Raises UnavailableError where one of them is missing."""
        async with pumping(send) as pump:
            async for documents in self._documents(source, station_ids):
                await pump.put([index_lines(_identified_decoder.decode(raw).id, bytes(raw)) for raw in documents])

    async def documents(self, station_ids: Sequence[str]) -> dict[str, bytes]:
        """Return documents in force as lines of a bulk request."""
        return {
            name: index_lines(name, bytes(raw))
            async for documents in self._documents(self.alias, station_ids)
            for raw in documents
            for name in (_identified_decoder.decode(raw).id,)
        }

    async def commit(
        self, feed: str, statement: Mapping[str, int], staging: Staging, *, remove_missing: bool
    ) -> ReplaceSummary:
        """Put a feed's statement, the versions of its stations, in force in one step; visible when it returns.

        ``staging`` holds at least the documents that differ from those in force.
        """
        await staging.finish()
        for _ in range(_TRIES):
            with suppress(ReplacedError):
                await self.refresh()
                live = await self.live()
                change = _compare(await self._feed_versions(live, feed), statement, remove_missing=remove_missing)
                if change:
                    change = await self._succeed(live, feed, statement, staging, remove_missing=remove_missing)
                return ReplaceSummary(indexed=len(statement), changed=len(change.changed), removed=len(change.gone))
        raise UnavailableError(f"other processes were faster {_TRIES} times: the statement of {feed!r} is not in force")

    async def _succeed(
        self, live: str, feed: str, statement: Mapping[str, int], staging: Staging, *, remove_missing: bool
    ) -> "_Change":
        await self._close(live)
        await self.refresh()
        before = await self._feed_versions(live, feed)
        change = _compare(before, statement, remove_missing=remove_missing)
        count = await self._count(live)
        kept = count - len(change.gone) - sum(name in before for name in change.changed)
        # Where nothing of the old index stays, what is staged takes its place as it is.
        whole = staging.building if not kept else None
        if whole is not None:
            await self._close(whole.name)
        successor = await self._clone(whole.name if whole is not None else live, live)
        try:
            if whole is None:
                await staging.write_into(successor, change.changed)
                await pumped(successor.write, [delete_line(station_id) for station_id in change.gone])
            await self._put_in_force(successor, live, kept + len(change.changed))
        except BaseException:
            await self.drop(successor)
            raise
        if len(change.changed) > _MERGED_ABOVE_SHARE * count:
            await self._merge(successor.name)
        return change

    # ------------------------------------------------------------------------------------------------- one step each

    async def _feed_versions(self, index: str, feed: str) -> dict[str, int]:
        with _replaced_where_gone():
            return await self.versions(index, _es_query.of_feed(feed))

    async def _count(self, index: str) -> int:
        with _replaced_where_gone():
            answer = await self._cluster.write("POST", f"/{index}/_count")
        return int(answer["count"])

    async def _close(self, index: str) -> None:
        """Close an index to writing: what is on its way has arrived when this returns, or is refused."""
        with _replaced_where_gone():
            await self._cluster.write("PUT", f"/{index}/_block/write")
        self._closed = index

    async def _clone(self, index: str, live: str) -> Building:
        """Begin a successor of ``live`` that holds what a closed index holds."""
        name = self._next_name(live)
        building = Building(self._cluster, name, self._building_alias(name))
        body = {"settings": {"index.blocks.write": None}, "aliases": {building.alias: {}}}
        with _replaced_where_gone(), _once():
            await self._cluster.write("POST", f"/{index}/_clone/{name}", body)
        await self._wait_for(name, "yellow")
        return building

    async def _build(self, name: str) -> Building:
        alias = self._building_alias(name)
        await self._create(name, STATION_FIELDS, alias)
        return Building(self._cluster, name, alias)

    async def _put_in_force(self, successor: Building, index: str, count: int) -> None:
        """Let a successor take the place of an index, and delete that. Raises ReplacedError where another one has."""
        await self._wait_for(successor.name, "green")
        await successor.refresh()
        found = await self._count(successor.name)
        if found != count:
            raise UnavailableError(f"{successor.name} holds {found} stations where {count} were written")
        add = {"add": {"index": successor.name, "alias": self.alias}}
        actions = [
            {"remove_index": {"index": index}},
            {"remove": {"index": successor.name, "alias": successor.alias, "must_exist": True}},
            add,
        ]
        try:
            answer = await self._cluster.write("POST", "/_aliases", {"actions": actions})
        except RefusedError as error:
            if await self._names(self.alias) != [successor.name]:  # else an earlier try arrived
                raise ReplacedError(str(error)) from error
            return
        while not answer["acknowledged"]:  # in force, and not yet known to every node
            answer = await self._cluster.write("POST", "/_aliases", {"actions": [add]})

    async def _merge(self, index: str) -> None:
        """Let the cluster join the files of an index that changed much; nobody waits for it."""
        with suppress(RefusedError):
            await self._cluster.write(
                "POST", f"/{index}/_forcemerge", max_num_segments="1", wait_for_completion="false"
            )

    async def _documents(self, index: str, station_ids: Sequence[str]) -> AsyncIterator[list[msgspec.Raw]]:
        for first in range(0, len(station_ids), _COPIED_AT_ONCE):
            part = station_ids[first : first + _COPIED_AT_ONCE]
            request = _es_query.documents(part)
            answer = await self._cluster.search(index, request, _sources_decoder, "hits.hits._source", WRITE)
            found = answer.hits.hits
            if len(found) != len(part):
                raise UnavailableError(f"{index} holds {len(found)} of {len(part)} documents that were counted on")
            yield [hit.source for hit in found]

    async def _create(self, name: str, fields: Mapping[str, Any], alias: str) -> None:
        with _once():
            await self._cluster.write("PUT", f"/{name}", index_body(fields, alias))
        await self._wait_for(name, "yellow")

    async def _wait_for(self, index: str, status: str) -> None:
        """Wait until an index has its shard (yellow), or every copy of it (green)."""
        await self._cluster.write("GET", f"/_cluster/health/{index}", wait_for_status=status, timeout=_COPIES_TIMEOUT)

    # --------------------------------------------------------------------------------------------------------- tidying

    async def _tidy(self) -> None:
        """Delete what was being built and is abandoned: by the cluster's own clock, and safely where it is not."""
        alias = self._building_alias("*")
        building = await self._cluster.look(f"/_alias/{alias}")
        if not building:
            return
        nodes = (await self._cluster.look("/_nodes/_master/stats/process", filter_path="nodes.*.timestamp"))["nodes"]
        now = max(node["timestamp"] for node in nodes.values())
        created = await self._cluster.look(f"/{alias}/_settings", filter_path="*.settings.index.creation_date")
        for name, about in created.items():
            age_ms = now - int(about["settings"]["index"]["creation_date"])
            limit_ms = _STAGED_ABANDONED_MS if name.startswith(self._staged()) else _ABANDONED_MS
            if age_ms > limit_ms:
                for found in building.get(name, {"aliases": ()})["aliases"]:
                    await self.drop(Building(self._cluster, name, found))

    async def _adopt_layout(self) -> None:
        """Build every document anew where another version of the program wrote them."""
        for _ in range(_TRIES):
            with suppress(ReplacedError):
                live = await self.live()
                (about,) = (await self._cluster.look(f"/{live}/_mapping")).values()
                if about["mappings"].get("_meta") == {"layout": DOCUMENT_LAYOUT}:
                    return
                await self._close(live)
                await self.refresh()
                versions = await self.versions(live, {"match_all": {}})
                successor = await self._build(self._next_name(live))
                try:
                    async with pumping(successor.write) as pump:
                        async for documents in self._documents(live, list(versions)):
                            await pump.put([station_document(_kept(raw)).lines for raw in documents])
                    await self._put_in_force(successor, live, len(versions))
                except BaseException:
                    await self.drop(successor)
                    raise

    async def _names(self, alias: str) -> list[str]:
        return sorted(await self._cluster.look(f"/_alias/{alias}"))

    def _next_name(self, live: str) -> str:
        number = int(live.removeprefix(f"{self.alias}-")[:_DIGITS])
        return f"{self.alias}-{number + 1:0{_DIGITS}d}-{token_hex(4)}"

    def _staged(self, feed: str | None = None) -> str:
        """Return how the names of staged indices begin: feeds' names may hold what names of indices may not."""
        name = f"{self._prefix}-staged-"
        return name if feed is None else name + blake2b(feed.encode(), digest_size=_FEED_NAME_BYTES).hexdigest()

    def _building_alias(self, name: str) -> str:
        return f"{self._prefix}-building-{name.removeprefix(self._prefix + '-')}"


def _kept(raw: msgspec.Raw) -> Station:
    """Return the station of a document of whatever layout: they were kept as JSON once."""
    doc = _kept_decoder.decode(raw).doc
    return doc if isinstance(doc, Station) else unpack_station(doc)


class _Change(NamedTuple):
    """What a statement changes: stations that are new or different, and those that it forgets."""

    changed: list[str]
    gone: list[str]

    def __bool__(self) -> bool:
        return bool(self.changed or self.gone)


def _compare(before: Mapping[str, int], statement: Mapping[str, int], *, remove_missing: bool) -> _Change:
    changed = [name for name, version in statement.items() if before.get(name) != version]
    return _Change(changed, [name for name in before if name not in statement] if remove_missing else [])


@contextmanager
def _replaced_where_gone() -> Iterator[None]:
    try:
        yield
    except RefusedError as error:
        if error.kind != "index_not_found_exception":
            raise
        raise ReplacedError(str(error)) from error


@contextmanager
def _once() -> Iterator[None]:
    """Take it that an earlier try arrived where the thing exists already: names are given once."""
    try:
        yield
    except RefusedError as error:
        if error.kind != "resource_already_exists_exception":
            raise
