"""The way to an Elasticsearch cluster: requests as bytes, answers as typed values, one home for time-outs and retries.

Whatever the client library raises becomes UnavailableError here. What the cluster refused is a RefusedError with the
name that Elasticsearch gives to the problem, for those who know an answer to it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from http import HTTPStatus
from random import random
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlencode

import elastic_transport
import msgspec
from elasticsearch import AsyncElasticsearch

from app.errors import UnavailableError
from app.index._es_sharing import Sharing, Told
from app.telemetry import metrics, tracing

_T = TypeVar("_T")


class Budget(NamedTuple):
    """How long one try may take, how many tries there are, and how long all of them may take together."""

    try_s: float
    tries: int
    total_s: float


READ: Final = Budget(1.5, 5, 6.0)
"""A driver waits. A hung node costs one try, and the next goes to another node."""
BATCH: Final = Budget(3.0, 5, 6.0)
"""A hundred searches at once take longer than one, and drivers wait for them no longer."""
WRITE: Final = Budget(30.0, 15, 120.0)
"""Feeds can wait for a new master. Everything written may be written twice: documents have fixed ids."""
TIDY: Final = Budget(10.0, 3, 15.0)
"""What is not tidied up now is tidied up later."""

_RETRIED: Final = frozenset({429, 502, 503, 504})
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
_RETRY_AFTER_S: Final = 2.0
_CONNECTIONS_PER_NODE: Final = 32
_BULK_BYTES: Final = 2**20 - 2**16
"""Larger bodies are sent by aiohttp only with a warning, for they may hold up the event loop."""
_REQUESTS_IN_FLIGHT: Final = 4
_PARTS_WAITING: Final = 8
_SEARCHES_AT_ONCE: Final = 100
_HITS_AT_ONCE: Final = 12_000
_PARTS_IN_FLIGHT: Final = 2
_SHARED_HITS: Final = 200
_SEARCH_LINES: Final = b'{"allow_partial_search_results":false}\n%b\n'
_SHOWN: Final = 3
_CALLS: Final = frozenset(
    {"_alias", "_aliases", "_block", "_bulk", "_clone", "_cluster", "_count", "_forcemerge", "_mapping", "_msearch"}
    | {"_nodes", "_pit", "_refresh", "_search", "_settings", "_stats"}
)
_DB: Final = {"db.system.name": "elasticsearch"}
_TYPE: Final = "application/vnd.elasticsearch+{}; compatible-with=9"
_JSON: Final = {"accept": _TYPE.format("json"), "content-type": _TYPE.format("json")}
_LINES: Final = {"accept": _TYPE.format("json"), "content-type": _TYPE.format("x-ndjson")}


class RefusedError(UnavailableError):
    """The cluster answered and said no; ``kind`` is Elasticsearch's own name of the reason."""

    def __init__(self, status: int, kind: str, detail: str) -> None:
        """Keep what was answered."""
        passes = status in _RETRIED or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        retry_after_s = _RETRY_AFTER_S if passes else None
        super().__init__(f"Elasticsearch answered {status} {kind}: {detail}", retry_after_s)
        self.status = status
        self.kind = kind


class _Bytes(elastic_transport.Serializer):
    """Leaves bodies as they are: they are encoded and decoded here, with types."""

    def loads(self, data: bytes) -> bytes:
        return data

    def dumps(self, data: bytes) -> bytes:
        return data


class _Error(msgspec.Struct, frozen=True):
    type: str = "unknown"
    reason: str | None = None


class _ErrorAnswer(msgspec.Struct, frozen=True):
    error: _Error | str = "unknown"


class _Outcome(msgspec.Struct, frozen=True):
    status: int
    error: _Error | str = "unknown"


class _Outcomes(msgspec.Struct, frozen=True):
    responses: list[msgspec.Raw]


class _BulkItem(msgspec.Struct, frozen=True):
    id: str = msgspec.field(name="_id")
    status: int
    error: _Error | None = None


class _BulkAnswer(msgspec.Struct, frozen=True):
    errors: bool
    items: list[dict[str, _BulkItem]]


_error_decoder = msgspec.json.Decoder(_ErrorAnswer)
_outcome_decoder = msgspec.json.Decoder(_Outcome)
_outcomes_decoder = msgspec.json.Decoder(_Outcomes)
_bulk_decoder = msgspec.json.Decoder(_BulkAnswer)
_any_decoder = msgspec.json.Decoder()


@contextmanager
def answering() -> Iterator[None]:
    """Map what the client library raises, and answers that cannot be read, to UnavailableError."""
    try:
        yield
    except elastic_transport.ApiError as error:
        raise _refused(error.meta.status, error.body) from error
    except elastic_transport.TransportError as error:
        # Its own text leaves out what happened once the error went through the transport.
        problem = f"{type(error).__name__}: {error.message}"
        raise UnavailableError(f"Elasticsearch does not answer: {problem}", _RETRY_AFTER_S) from error
    except msgspec.DecodeError as error:
        raise UnavailableError(f"Elasticsearch answers what cannot be read: {error}", _RETRY_AFTER_S) from error


def _refused(status: int, body: object) -> RefusedError:
    error: _Error | str = str(body)
    if isinstance(body, bytes):
        try:
            error = _error_decoder.decode(body).error
        except msgspec.DecodeError:
            error = body[:200].decode(errors="replace")
    return _refusal(status, error)


def _refusal(status: int, error: _Error | str) -> RefusedError:
    if isinstance(error, _Error):
        return RefusedError(status, error.type, error.reason or "")
    return RefusedError(status, "unknown", error)


class Cluster:
    """The nodes of one cluster. Knows no station."""

    def __init__(self, urls: Sequence[str]) -> None:
        """Keep the addresses of nodes; a name and password in them are used."""
        self._urls = tuple(urls)
        self._client: AsyncElasticsearch | None = None
        self._sharings: dict[tuple[str, str], Sharing] = {}

    def open(self) -> None:
        """Make the client; connections are opened as they are needed."""
        raw = _Bytes()
        # No sniffing: one sniff that times out is raised again at every later request.
        self._client = AsyncElasticsearch(
            list(self._urls),
            serializers={"application/json": raw, "application/x-ndjson": raw, "text/*": raw},
            connections_per_node=_CONNECTIONS_PER_NODE,
            meta_header=False,
        )

    async def close(self) -> None:
        """Close all connections; a second call does nothing."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def search(
        self, index: str | None, request: object, answer: msgspec.json.Decoder[_T], shown: str, budget: Budget = READ
    ) -> _T:
        """Search an index, or in a point in time that the request names; decode the parts of the answer to be shown.

        A copy that does not answer is never left out: then another one is asked, or all fails.
        """
        found = await self._search(index, shown, msgspec.json.encode(request), budget)
        with answering():
            return answer.decode(found)

    async def search_many(
        self, index: str, requests: Sequence[Mapping[str, Any]], answer: msgspec.json.Decoder[_T], shown: str
    ) -> list[_T]:
        """Search an index for several requests, each as ``search`` does; return the answers in their order.

        They share as few requests as may be large, and a small one those of others that ask at the same time.
        """
        if len(requests) == 1:
            (request,) = requests
            if request["size"] > _SHARED_HITS:
                return [await self.search(index, request, answer, shown)]
            told = [await self._shared(index, shown).ask(msgspec.json.encode(request))]
        else:
            told = await self._search_parts(index, shown, search_parts(requests))
        with answering():
            return [answer.decode(each) for each in told]

    def _shared(self, index: str, shown: str) -> Sharing:
        sharing = self._sharings.get((index, shown))
        if sharing is None:
            send = partial(self._search_part, index, shown, budget=READ)
            sharing = self._sharings[index, shown] = Sharing(send)
        return sharing

    async def _search_parts(self, index: str, shown: str, parts: Iterable[Sequence[bytes]]) -> list[msgspec.Raw]:
        """Return the answers as they came. Raises what the first of those that failed did with."""
        room = asyncio.Semaphore(_PARTS_IN_FLIGHT)

        async def search(part: Sequence[bytes]) -> list[msgspec.Raw]:
            async with room:
                found: list[msgspec.Raw] = []
                for each in await self._search_part(index, shown, part, BATCH):
                    if isinstance(each, UnavailableError):
                        raise each
                    found.append(each)
                return found

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(search(part)) for part in parts]
        except ExceptionGroup as failures:
            raise failures.exceptions[0]  # noqa: B904 - with the cause that it has
        return [each for task in tasks for each in task.result()]

    async def _search_part(self, index: str, shown: str, requests: Sequence[bytes], budget: Budget) -> list[Told]:
        """Return for each of some searches its answer, or what it failed with.

        Those that the cluster was too busy for are asked again, without the others.
        """
        if len(requests) == 1:
            try:
                return [msgspec.Raw(await self._search(index, shown, requests[0], budget))]
            except UnavailableError as error:
                return [error]
        target = f"/{index}/_msearch?filter_path=responses.status,responses.error,{_below('responses', shown)}"
        found: list[Told] = [msgspec.Raw()] * len(requests)
        left = list(range(len(requests)))

        async def send() -> None:
            nonlocal left
            again: list[int] = []
            failure: RefusedError | None = None
            told = await self._try(budget, "POST", target, search_lines([requests[place] for place in left]), _LINES)
            with answering():
                for place, raw in zip(left, _outcomes_decoder.decode(told).responses, strict=True):
                    outcome = _outcome_decoder.decode(raw)
                    found[place] = raw
                    if outcome.status >= HTTPStatus.MULTIPLE_CHOICES:
                        found[place] = refusal = _refusal(outcome.status, outcome.error)
                        if _is_worth_a_try(refusal):
                            again.append(place)
                            failure = refusal
            left = again
            if failure is not None:
                raise failure

        try:
            await _persistently(budget, send)
        except UnavailableError as error:
            for place in left:
                found[place] = error
        return found

    async def _search(self, index: str | None, shown: str, request: bytes, budget: Budget) -> bytes:
        path = "/_search" if index is None else f"/{index}/_search"
        target = f"{path}?allow_partial_search_results=false&filter_path={shown}"
        return await _persistently(budget, partial(self._try, budget, "POST", target, request))

    async def look(self, path: str, **parameters: Any) -> Any:
        """Return a decoded answer about the cluster; an empty one where there is no such thing."""
        try:
            return await self.write("GET", path, **parameters)
        except RefusedError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return {}
            raise

    async def write(
        self, method: str, path: str, body: object = None, budget: Budget = WRITE, **parameters: str
    ) -> Any:
        """Change something, or wait for something; return the decoded answer."""
        target = f"{path}?{urlencode(parameters)}" if parameters else path
        encoded = None if body is None else msgspec.json.encode(body)
        found = await _persistently(budget, partial(self._try, budget, method, target, encoded))
        with answering():
            return _any_decoder.decode(found)

    async def bulk(self, alias: str, lines: Sequence[bytes]) -> None:
        """Apply lines of a bulk request to an alias, those that the cluster was too busy for again.

        Raises RefusedError that names the documents that it does not take, and when there is no such alias.
        """

        async def send() -> None:
            nonlocal lines
            lines, refusal = await self._bulk(alias, lines)
            if refusal is not None:
                raise refusal

        await _persistently(WRITE, send)

    async def _bulk(self, alias: str, lines: Sequence[bytes]) -> tuple[Sequence[bytes], RefusedError | None]:
        """Send lines once; return those to be sent again, and why."""
        target = f"/{alias}/_bulk?require_alias=true&filter_path=errors,items.*._id,items.*.status,items.*.error"
        answer = await self._try(WRITE, "POST", target, b"".join(lines), _LINES)
        if answer.startswith(b'{"errors":false'):
            return (), None
        with answering():
            items = _bulk_decoder.decode(answer).items
        again: list[bytes] = []
        refused: list[tuple[str, int, _Error]] = []
        for line, results in zip(lines, items, strict=True):
            for item in results.values():
                if item.error is not None:
                    refused.append((item.id, item.status, item.error))
                    again.append(line)
        final = [entry for entry in refused if entry[1] not in _RETRIED]
        if not refused:
            return (), None
        _, status, error = (final or refused)[0]
        shown = "; ".join(f"{name}: {each.type}: {each.reason}" for name, _, each in (final or refused)[:_SHOWN])
        detail = f"{len(final or refused)} of {len(lines)} documents were refused: {shown}"
        return again, RefusedError(status, error.type, detail)

    async def _try(
        self, budget: Budget, method: str, target: str, body: bytes | None, headers: Mapping[str, str] = _JSON
    ) -> bytes:
        if self._client is None:
            raise UnavailableError("the station index is not open")
        with answering(), metrics.engine_call("elasticsearch", _call_of(target), **_DB) as span:
            # The client's own layer above its transport costs a tenth of a search, and all that it adds stands here.
            meta, answer = await self._client.transport.perform_request(
                method,
                target,
                body=body,
                headers=tracing.carry(headers),
                request_timeout=budget.try_s,
                max_retries=0,
            )
            if meta.status >= HTTPStatus.BAD_REQUEST:
                span.fail(str(meta.status))
        if meta.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise _refused(meta.status, answer)
        if meta.headers.get("x-elastic-product") != "Elasticsearch":  # `{}` would read as "nothing found"
            raise UnavailableError("something answers that is not Elasticsearch", _RETRY_AFTER_S)
        found: bytes = answer
        return found


def _call_of(target: str) -> str:
    """Return what a request is called in metrics: the part of its path that is Elasticsearch's own name."""
    names = (part for part in target.partition("?")[0].split("/") if part in _CALLS)
    return next(names, "other")


def search_parts(requests: Iterable[Mapping[str, Any]]) -> Iterator[list[bytes]]:
    """Return encoded requests in parts, each bounded by what it holds and by the hits of its answers."""
    part: list[bytes] = []
    size = hits = 0
    for request in requests:
        encoded = msgspec.json.encode(request)
        size, hits = size + len(encoded), hits + request["size"]
        if part and (len(part) >= _SEARCHES_AT_ONCE or size > _BULK_BYTES or hits > _HITS_AT_ONCE):
            yield part
            part, size, hits = [], len(encoded), request["size"]
        part.append(encoded)
    if part:
        yield part


def search_lines(requests: Iterable[bytes]) -> bytes:
    """Return the body of an ``_msearch``. A copy that does not answer is never left out."""
    return b"".join([_SEARCH_LINES % request for request in requests])


async def _persistently(budget: Budget, send: Callable[[], Awaitable[_T]]) -> _T:
    """Try until it works, or the budget is used up, or the answer is one that another try would not change."""
    failure: UnavailableError | None = None
    try:
        async with asyncio.timeout(budget.total_s):
            for tries in range(budget.tries):
                if failure is not None:
                    await asyncio.sleep(random() * min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**tries))
                try:
                    return await send()
                except UnavailableError as error:
                    if not _is_worth_a_try(error):
                        raise
                    failure = error
    except TimeoutError as error:
        raise failure or UnavailableError("Elasticsearch does not answer in time", _RETRY_AFTER_S) from error
    assert failure is not None
    raise failure


def _below(name: str, paths: str) -> str:
    return ",".join(f"{name}.{path}" for path in paths.split(","))


def _is_worth_a_try(error: UnavailableError) -> bool:
    if isinstance(error, RefusedError):
        return error.status in _RETRIED
    return isinstance(error.__cause__, elastic_transport.ConnectionError | elastic_transport.ConnectionTimeout)


class Pump:
    """Sends parts of something large, a few at a time: whoever puts more waits until there is room.

    There is room for more than is on the way, so that whoever makes the parts and who takes them work side by side.
    """

    def __init__(self, send: Callable[[list[bytes]], Awaitable[None]]) -> None:
        """Begin with nothing on the way."""
        self._send = send
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_flight = asyncio.Semaphore(_REQUESTS_IN_FLIGHT)

    async def put(self, lines: Sequence[bytes]) -> None:
        """Send lines; returns when there was room for the last of them. Raises what an earlier part failed with."""
        part: list[bytes] = []
        size = 0
        for line in lines:
            if part and size + len(line) > _BULK_BYTES:
                await self._start(part)
                part, size = [], 0
            part.append(line)
            size += len(line)
        if part:
            await self._start(part)

    async def drain(self) -> None:
        """Wait until everything arrived. Raises what a part failed with."""
        await self._wait_for(0)

    async def cancel(self) -> None:
        """Give up what is on its way."""
        for task in self._tasks:
            task.cancel()
        while self._tasks:
            with suppress(UnavailableError, asyncio.CancelledError):
                await self._tasks.pop()

    async def _start(self, part: list[bytes]) -> None:
        await self._wait_for(_PARTS_WAITING + _REQUESTS_IN_FLIGHT - 1)
        self._tasks.add(asyncio.create_task(self._send_in_turn(part)))

    async def _send_in_turn(self, part: list[bytes]) -> None:
        async with self._in_flight:
            await self._send(part)

    async def _wait_for(self, room: int) -> None:
        while len(self._tasks) > room:
            done, self._tasks = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()


@asynccontextmanager
async def pumping(send: Callable[[list[bytes]], Awaitable[None]]) -> AsyncIterator[Pump]:
    """Give a pump; when the block ends everything has arrived, or what is on its way is given up."""
    pump = Pump(send)
    try:
        yield pump
        await pump.drain()
    except BaseException:
        await pump.cancel()
        raise


async def pumped(send: Callable[[list[bytes]], Awaitable[None]], lines: Sequence[bytes]) -> None:
    """Send all lines, and wait until they have arrived."""
    async with pumping(send) as pump:
        await pump.put(lines)
