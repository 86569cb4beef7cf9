"""One SQLite file worked by one thread of its own: the event loop never waits for a disk, and writers share fsyncs."""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from app.errors import UnavailableError

BUSY_TIMEOUT_S = 5.0
MAX_QUEUED_JOBS = 20_000
_MAX_JOBS_PER_COMMIT = 256
_OPEN_RETRY_S = 0.02
_LAYOUT = 1
_WAL_SIZE_LIMIT_BYTES = 64 * 2**20

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class _Job:
    __slots__ = ("error", "future", "loop", "result", "work", "writes")

    def __init__(self, work: Work[Any], *, writes: bool) -> None:
        self.work = work
        self.writes = writes
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.result: Any = None
        self.error: Exception | None = None


class Database:
    """A SQLite file in WAL mode with synchronous=FULL: what ``write`` acknowledged survives a power cut.

    Jobs run in the order they came, one at a time, in one thread. Those that wait while another commits share the
    next transaction, and are acknowledged after its commit. A job that raises changes nothing and harms no other;
    it may be run twice. Every ``sqlite3.Error`` becomes UnavailableError, also after waiting BUSY_TIMEOUT_S for
    another process's lock.
    """

    def __init__(self, path: Path, schema: str, *, exclusive: bool = False) -> None:
        """Take the file's path and the statements that make its tables; ``exclusive`` keeps other processes out."""
        self._path = path
        self._schema = schema
        self._exclusive = exclusive
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def open(self) -> None:
        """Open or make the file and its folder. Raises UnavailableError when that fails."""
        if self._thread is not None:
            return
        thread = threading.Thread(target=self._run, name=f"sqlite {self._path.name}", daemon=True)
        # The first job is the opening itself; the thread ends with it where it fails.
        ready = _Job(lambda _connection: None, writes=False)
        self._jobs = queue.SimpleQueue()
        self._jobs.put(ready)
        self._thread = thread
        thread.start()
        try:
            await ready.future
        except BaseException:
            self._thread = None
            raise

    async def close(self) -> None:
        """Finish what was asked for and close the file."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._jobs.put(None)
        await asyncio.to_thread(thread.join)

    async def read(self, work: Work[T]) -> T:
        """Return what ``work`` returns; it sees one consistent state and must not write."""
        result: T = await self._submit(_Job(work, writes=False))
        return result

    async def write(self, work: Work[T]) -> T:
        """Return what ``work`` returns once its transaction is durable."""
        result: T = await self._submit(_Job(work, writes=True))
        return result

    async def _submit(self, job: _Job) -> Any:
        if self._thread is None:
            raise UnavailableError(f"{self._path.name} is not open")
        if self._jobs.qsize() >= MAX_QUEUED_JOBS:
            raise UnavailableError(f"{self._path.name} has too much to do", retry_after_s=1.0)
        self._jobs.put(job)
        return await job.future

    def _run(self) -> None:
        first = self._jobs.get()
        assert first is not None
        try:
            connection = self._connect()
        except (sqlite3.Error, OSError, UnavailableError) as error:
            first.error = self._unavailable(error)
            _settle([first])
            return
        with contextlib.closing(connection):
            batch, open_ = [first], True
            while open_:
                while open_ and len(batch) < _MAX_JOBS_PER_COMMIT:
                    try:
                        job = self._jobs.get(block=not batch)
                    except queue.Empty:
                        break
                    if job is None:
                        open_ = False
                    else:
                        batch.append(job)
                self._perform(connection, batch)
                _settle(batch)
                batch = []

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if self._exclusive:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        # SQLite does not wait for the lock that the step to WAL needs; processes that begin together meet there.
        deadline = time.perf_counter() + BUSY_TIMEOUT_S
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError:
                if time.perf_counter() > deadline:
                    raise
                time.sleep(_OPEN_RETRY_S)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_SIZE_LIMIT_BYTES}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._make_tables(connection)
            connection.execute("COMMIT")
        except BaseException:
            _roll_back(connection)
            raise

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in self._schema.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {_LAYOUT}")
        elif version != _LAYOUT:
            raise UnavailableError(f"written by another version of this program (layout {version})")

    def _perform(self, connection: sqlite3.Connection, batch: list[_Job]) -> None:
        if not batch:
            return
        try:
            connection.execute("BEGIN IMMEDIATE" if any(job.writes for job in batch) else "BEGIN")
        except sqlite3.Error as error:
            self._fail(batch, error)
            return
        for job in batch:
            try:
                job.result = job.work(connection)
            except Exception as error:  # noqa: BLE001 (whoever awaits the job gets it)
                _roll_back(connection)
                if len(batch) == 1:
                    job.error = self._unavailable(error) if isinstance(error, sqlite3.Error) else error
                    return
                for each in batch:
                    self._perform(connection, [each])
                return
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            _roll_back(connection)
            self._fail(batch, error)

    def _fail(self, batch: list[_Job], error: Exception) -> None:
        for job in batch:
            job.error = self._unavailable(error)

    def _unavailable(self, error: Exception) -> UnavailableError:
        mapped = UnavailableError(f"{self._path.name}: {error}")
        mapped.__cause__ = error
        return mapped


def _roll_back(connection: sqlite3.Connection) -> None:
    # Some errors (a full disk) have rolled back already.
    with contextlib.suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _settle(batch: list[_Job]) -> None:
    for loop in {job.loop for job in batch}:
        # A loop that was closed meanwhile has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_deliver, [job for job in batch if job.loop is loop])


def _deliver(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
