"""Redis as our stores use it: scripts that share round trips, and streams that are followed without gaps.

Nothing is ever sent twice by itself: whoever hears UnavailableError decides. Each question has one deadline, ANSWER_S,
from when it is asked: waiting for others, connecting and all.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from hashlib import sha1
from importlib import resources
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.retry import Retry

from app.errors import SettingsError, UnavailableError
from app.telemetry import metrics

ANSWER_S = 3.0
"""How long an answer, or a new connection, is waited for."""

WAIT_MS = 1_000
"""How long replicas have to acknowledge; shorter than ANSWER_S."""

MAX_QUEUED_CALLS = 20_000
_MAX_CALLS_AT_ONCE = 256
_BLOCK_MS = 1_000
_ENTRIES_AT_ONCE = 64
_RECONNECT_S = 0.5
_MOST_REPLICAS = 100

Command = Sequence[bytes | str | int]

_log = logging.getLogger(__name__)
_DB = {"db.system.name": "redis"}


class Endpoint(msgspec.Struct, frozen=True):
    """Where a server is, and how many replicas it has. ``url`` may hold a password: never show it."""

    url: str
    replicas: int

    @property
    def acknowledging(self) -> int:
        """Return how many replicas have to acknowledge a change: the majority of them, 0 where there are none."""
        return self.replicas // 2 + 1 if self.replicas else 0


def parse_endpoint(text: str) -> Endpoint:
    """Read ``redis://host:port/db``, ``rediss://…`` (TLS; ``ssl_…`` options as redis-py names them) or
    ``unix:///path?db=…``; ``replicas=N`` says how many replicas the server has. Raises SettingsError.
    """
    try:
        parts = urlsplit(text)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        well_formed = parts.scheme in {"redis", "rediss", "unix"} and parts.port != 0
    except ValueError:
        raise SettingsError("a Redis URL is malformed") from None
    if not well_formed:
        raise SettingsError("a Redis URL begins with redis://, rediss:// or unix://, and its port is not 0")
    if parts.scheme != "unix" and not re.fullmatch(r"/?\d*", parts.path, re.ASCII):
        raise SettingsError("what follows the address in a Redis URL is the number of a database, as in redis://host/0")
    replicas = options.pop("replicas", "0")
    if not re.fullmatch(r"\d{1,3}", replicas, re.ASCII) or int(replicas) > _MOST_REPLICAS:
        raise SettingsError(f"replicas in a Redis URL is a whole number from 0 to {_MOST_REPLICAS}")
    if any(name != "db" and not name.startswith("ssl_") for name in options):
        raise SettingsError("the options of a Redis URL are replicas, db and ssl_…")
    endpoint = Endpoint("?".join(filter(None, (text.partition("?")[0], urlencode(options)))), int(replicas))
    try:
        _make_connection(endpoint)
    except (TypeError, ValueError, RedisError) as error:
        raise SettingsError(f"a Redis URL has an option that does not fit: {error}") from error
    return endpoint


def load_scripts(package: str) -> dict[str, str]:
    """Return the scripts (``*.lua``) of a package by name; what begins with an underscore is put before the others.

    The first line of each says what it may do (``#!lua flags=no-writes``): the server then refuses, before a script
    begins, what it could not finish.
    """
    files = [file for file in resources.files(package).iterdir() if file.name.endswith(".lua")]
    texts = {file.name.removesuffix(".lua"): file.read_text(encoding="utf-8") for file in files}
    shared = [text for name, text in sorted(texts.items()) if name.startswith("_")]
    common = "\n".join([resources.files("app").joinpath("redis.lua").read_text(encoding="utf-8"), *shared])
    scripts = {}
    for name, text in texts.items():
        if not name.startswith("_"):
            flags, _, body = text.partition("\n")
            scripts[name] = f"{flags}\n{common}\n{body}"
    return scripts


class Link:
    """One connection to a server. After an UnavailableError it is of no more use."""

    def __init__(self, connection: AbstractConnection) -> None:
        """Take a connection; ``lineage`` names the server's process and its line of history."""
        self._connection = connection
        self.lineage = ""

    async def open(self) -> None:
        """Connect. Raises UnavailableError."""
        async with self._closing_on_failure(ANSWER_S):
            await self._connection.connect()  # type: ignore[no-untyped-call]

    async def ask(self, *commands: Command, within_s: float = ANSWER_S) -> list[Any]:
        """Return the answer to each command; where that is an error, a ResponseError. Raises UnavailableError."""
        if not self._connection.is_connected:  # redis-py would connect, and nobody would look whether it is fit
            raise UnavailableError("Redis closed the connection")
        async with self._closing_on_failure(within_s):
            await self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)
            return [await self._answer() for _ in commands]

    async def ask_one(self, command: Command) -> Any:
        """Return the answer to a command. Raises UnavailableError, also where it is an error."""
        (answer,) = await self.ask(command)
        if isinstance(answer, ResponseError):
            raise UnavailableError(f"Redis: {answer}") from answer
        return answer

    @contextlib.asynccontextmanager
    async def _closing_on_failure(self, within_s: float) -> AsyncIterator[None]:
        # What comes after an answer that nobody waited for would be taken for another's.
        try:
            async with asyncio.timeout(within_s):
                yield
        except (RedisError, OSError) as error:  # a TimeoutError is an OSError
            await self.close()
            refuses = isinstance(error, AuthenticationError | ResponseError)
            raise UnavailableError(f"Redis: {error}" if refuses else "Redis does not answer") from error
        except BaseException:
            await self.close()
            raise

    async def _answer(self) -> Any:
        try:
            return await self._connection.read_response()
        except ResponseError as error:
            return error

    async def is_stale(self) -> bool:
        """Tell whether the server closed the connection while nobody used it."""
        writer = self._connection._writer  # noqa: SLF001 (redis-py sees an orderly end, and no reset)
        try:
            return writer is None or writer.is_closing() or await self._connection.can_read()
        except (RedisError, OSError):
            return True

    async def close(self) -> None:
        """Drop the connection."""
        with contextlib.suppress(RedisError, OSError):
            await self._connection.disconnect(nowait=True)


class Redis:
    """A server that runs our scripts. Calls that wait while others are answered share the next round trip.

    An answer is given once the server wrote what it depends on to its disk (``durable``), and once a majority of the
    replicas has it (``Endpoint.replicas``): also an answer that changed nothing, since it may speak of a change that
    only this server has yet. What is not acknowledged within WAIT_MS is UnavailableError, and may have been done.
    """

    def __init__(self, endpoint: Endpoint, scripts: Mapping[str, str], *, durable: bool) -> None:
        """Take the address and the scripts; ``durable`` asks for a server that loses nothing that it answered."""
        self._endpoint = endpoint
        self._scripts = scripts
        self._digests = {name: sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in scripts.items()}
        self._durable = durable
        self._acknowledging = endpoint.acknowledging if durable else 0
        self._link: Link | None = None
        self._calls: list[tuple[Command, asyncio.Future[Any]]] = []
        self._worker: asyncio.Task[None] | None = None
        self._open = False
        self._failing = False

    async def open(self) -> None:
        """Connect. Raises UnavailableError when the server does not answer, or is not set up as it must be."""
        self._link = await self.connect()
        self._open = True

    async def close(self) -> None:
        """Finish what was asked for and drop the connection."""
        self._open = False
        if self._worker is not None:
            await self._worker
        if self._link is not None:
            await self._link.close()
            self._link = None

    async def run(self, script: str, *arguments: bytes) -> Any:
        """Return what a script returns. Raises UnavailableError."""
        if not self._open:
            raise UnavailableError("the connection to Redis is not open")
        if len(self._calls) >= MAX_QUEUED_CALLS:
            raise UnavailableError("Redis has too much to do", retry_after_s=1.0)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls.append((self.command(script, *arguments), future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work(), name="redis calls")
        with metrics.engine_call("redis", script, **_DB):
            async with _in_time():
                return await future

    def command(self, script: str, *arguments: bytes) -> Command:
        """Return the command that runs a script, for a Link."""
        return ("EVALSHA", self._digests[script], 0, *arguments)

    async def connect(self) -> Link:
        """Return a new connection to a server that is fit to serve. Raises UnavailableError."""
        link = Link(_make_connection(self._endpoint))
        await link.open()
        info, config, *loaded = await link.ask(
            ("INFO", "server", "replication"),
            ("CONFIG", "GET", "*append*", "maxmemory-policy"),
            *(("SCRIPT", "LOAD", text) for text in self._scripts.values()),
        )
        problem = next((str(answer) for answer in (info, *loaded) if isinstance(answer, ResponseError)), None)
        if problem is None:
            try:
                told = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
                link.lineage = f"{told.get('run_id')} {told.get('master_replid')}"
                problem = self._unfit(told, config)
            except (AttributeError, TypeError, ValueError):
                problem = "it does not answer as Redis does"
        if problem is not None:
            await link.close()
            raise UnavailableError(f"Redis cannot serve: {problem}")
        return link

    def _unfit(self, info: Mapping[str, str], config: Any) -> str | None:
        """Say what is wrong with a server, None when it is as it must be."""
        if info.get("role") != "master":
            return "it is a replica"
        if not self._durable:
            return None
        if isinstance(config, ResponseError):
            return f"whether it keeps what it acknowledges cannot be told ({config})"
        values = {name.decode(): value.decode() for name, value in zip(config[::2], config[1::2], strict=True)}
        for name, wanted in _DURABLE.items():
            if values.get(name) != wanted:
                return f"{name} is {values.get(name)!r} and must be {wanted!r}, or acknowledged holds can be lost"
        replicas = int(info.get("connected_slaves", 0))
        if replicas > self._endpoint.replicas:
            return (
                f"it has {replicas} replicas where its URL says {self._endpoint.replicas}: one that never had to"
                f" acknowledge could be promoted; write replicas={replicas}"
            )
        return None

    async def _work(self) -> None:
        while self._calls:
            waited_for = [call for call in self._calls if not call[1].done()]
            calls, self._calls = waited_for[:_MAX_CALLS_AT_ONCE], waited_for[_MAX_CALLS_AT_ONCE:]
            if not calls:
                return
            try:
                async with _in_time():
                    answers = await self._ask([command for command, _ in calls])
            except Exception as error:  # noqa: BLE001 (whoever waits for the call gets it)
                # Who waited for the same dead server would only wait longer.
                calls, self._calls = calls + self._calls, []
                answers = [error] * len(calls)
                if not self._failing:
                    _log.warning("calls fail: %s", _details(error))
                self._failing = True
            else:
                if self._failing:
                    _log.info("calls are answered again")
                self._failing = False
            for (_, future), answer in zip(calls, answers, strict=True):
                if future.done():  # nobody waits for it any more
                    continue
                if isinstance(answer, UnavailableError | ResponseError):
                    future.set_exception(_copy(answer))
                elif isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    async def _ask(self, commands: list[Command]) -> list[Any]:
        link, self._link = self._link, None
        if link is None or await link.is_stale():
            if link is not None:
                await link.close()
            link = await self.connect()
        # On the same connection and after all of them: WAIT speaks of what its connection has seen.
        wait: list[Command] = [("WAIT", self._acknowledging, WAIT_MS)] if self._acknowledging else []
        answers = await link.ask(*commands, *wait)
        if any(isinstance(answer, ResponseError) for answer in answers):
            await link.close()  # it lost our scripts, or became a replica: look again before the next call
        else:
            self._link = link
        if not wait:
            return answers
        *answers, acknowledged = answers
        if isinstance(acknowledged, ResponseError):
            doubt: Exception = acknowledged
        elif acknowledged < self._acknowledging:
            missing = f"only {acknowledged} of the {self._acknowledging} replicas that make it safe have the answer"
            doubt = UnavailableError(missing, retry_after_s=1.0)
        else:
            return answers
        return [answer if isinstance(answer, ResponseError) else doubt for answer in answers]


_DURABLE = {
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "maxmemory-policy": "noeviction",
}


class Follower:
    """Follows a stream that scripts ``tell``: what ``load`` reads, and then each entry, once and in order.

    Where entries may have been missed (the server restarted, another took over, the stream was cut off before we
    came to it), it loads again. What is loaded may already contain the next few entries.
    """

    def __init__(
        self,
        redis: Redis,
        stream: str,
        load: Callable[[Link], Awaitable[None]],
        take: Callable[[Mapping[bytes, bytes]], None],
    ) -> None:
        """Take the server, the stream's key, and who wants to know. Both may raise ValueError at what they get."""
        self._redis = redis
        self._stream = stream
        self._load = load
        self._take = take
        self._link: Link | None = None
        self._lineage = ""
        self._position: tuple[int, int] = _NOWHERE
        self._task: asyncio.Task[None] | None = None
        self.lost: str | None = "not open"
        """Why it does not follow now; None while it does."""

    async def open(self) -> None:
        """Return once everything was loaded and taken. Raises UnavailableError."""
        try:
            await self._catch_up()
        except BaseException:
            await self.close()
            raise
        self._task = asyncio.create_task(self._follow(), name=f"follower of {self._stream}")

    async def close(self) -> None:
        """Follow no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._link is not None:
            await self._link.close()
            self._link = None
        self.lost = "not open"

    async def _follow(self) -> None:
        while True:
            try:
                if self._link is None:
                    await self._catch_up()
                    _log.info("following %s again", self._stream)
                await self._read(_BLOCK_MS)
            except Exception as error:  # noqa: BLE001 (one that ended would look like one that hears nothing new)
                if self.lost is None:
                    unforeseen = not isinstance(error, UnavailableError)
                    _log.warning("lost %s: %s", self._stream, _details(error), exc_info=unforeseen)
                self.lost = str(error)
                if self._link is not None:
                    await self._link.close()
                    self._link = None
                await asyncio.sleep(_RECONNECT_S)

    async def _catch_up(self) -> None:
        self._link = await self._redis.connect()
        if self._link.lineage != self._lineage:
            self._position = _NOWHERE
            self._lineage = self._link.lineage
        while await self._read(None):
            pass
        self.lost = None

    async def _read(self, block_ms: int | None) -> bool:
        """Take the next entries, loading first where that is due; tell whether there were any."""
        assert self._link is not None
        if self._position == _NOWHERE:
            await self._reload(self._link)
        blocking = () if block_ms is None else ("BLOCK", block_ms)
        position = "{}-{}".format(*self._position)
        # A server that became a replica goes on answering, and its history may be another's.
        role, answer = await self._link.ask(
            ("ROLE",),
            ("XREAD", "COUNT", _ENTRIES_AT_ONCE, *blocking, "STREAMS", self._stream, position),
            within_s=ANSWER_S + (block_ms or 0) / 1_000,
        )
        if isinstance(role, ResponseError) or isinstance(answer, ResponseError) or role[0] != b"master":
            raise UnavailableError(f"Redis: {answer if isinstance(answer, ResponseError) else 'it became a replica'}")
        entries = answer[0][1] if answer else []
        for id_, fields in entries:
            came = _parse_id(id_)
            before = (came[0], came[1] - 1) if came[1] else _BEFORE_THE_FIRST
            if self._position != before:
                self._position = _NOWHERE
                return True
            with _readable():
                self._take(dict(zip(fields[::2], fields[1::2], strict=True)))
            self._position = came
        return bool(entries)

    async def _reload(self, link: Link) -> None:
        last = await link.ask_one(("XREVRANGE", self._stream, "+", "-", "COUNT", 1))
        with _readable():
            await self._load(link)
        self._position = _parse_id(last[0][0]) if last else _BEFORE_THE_FIRST


_NOWHERE = (-1, -1)
_BEFORE_THE_FIRST = (0, 0)


def _parse_id(id_: bytes) -> tuple[int, int]:
    epoch, _, number = id_.partition(b"-")
    return int(epoch), int(number)


@contextlib.asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(ANSWER_S):
            yield
    except TimeoutError as error:
        raise UnavailableError("Redis does not answer") from error


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (LookupError, ValueError) as error:
        raise UnavailableError(f"Redis holds what this program cannot read: {error}") from error


def _copy(error: UnavailableError | ResponseError) -> UnavailableError:
    """Return the error for one of several that wait: each adds its own traceback."""
    retry_after_s = error.retry_after_s if isinstance(error, UnavailableError) else None
    copy = UnavailableError(str(error), retry_after_s)
    copy.__cause__ = error
    return copy


def _details(error: Exception) -> str:
    """Return what the log may know and a partner need not, such as addresses."""
    cause = error.__cause__
    return str(error) if cause is None else f"{error} ({str(cause) or type(cause).__name__})"


def _make_connection(endpoint: Endpoint) -> AbstractConnection:
    pool = ConnectionPool.from_url(
        endpoint.url,
        client_name="chargegraph",
        driver_info=None,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=None,
        socket_timeout=None,
    )
    connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]
    return connection
