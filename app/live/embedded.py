"""The live board without a server: arrays in memory, written to SQLite in the background."""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.errors import UnavailableError
from app.live._board import PAGE_SLOTS, SLOT, ArrayBoard, IntArray
from app.live.base import RecordSummary
from app.model.availability import EvseStatus
from app.sqlite import Database

WRITE_INTERVAL_S = 1.0
_PAGES_PER_READ = 1_024

_SCHEMA = """
CREATE TABLE page (number INTEGER PRIMARY KEY, slots BLOB NOT NULL) STRICT;
CREATE TABLE raw_text (code INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT
"""

_log = logging.getLogger(__name__)


class EmbeddedLiveBoard(ArrayBoard):
    """A live board of one process, which keeps others out of its file.

    A crash loses at most the statuses of the last WRITE_INTERVAL_S or so.
    """

    def __init__(self, path: Path) -> None:
        """Take the path of the SQLite file; it is made when missing."""
        super().__init__()
        self._path = path
        self._database = Database(path, _SCHEMA, exclusive=True)
        self._saved_raw_texts = 0
        self._saving = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Load what was known before. Raises UnavailableError when the file cannot be read."""
        await self._database.open()
        try:
            await self._database.read(self._load_all)
        except BaseException:
            await self._database.close()
            raise
        self._writer = asyncio.create_task(self._write_now_and_then(), name="live board writer")

    async def close(self) -> None:
        """Write what is not yet written, and close the file."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writer
        try:
            await self._save()
        finally:
            await self._database.close()

    async def record(self, statuses: Sequence[EvseStatus]) -> RecordSummary:
        """Take statuses; durable within about WRITE_INTERVAL_S, or after ``flush``."""
        return self._take(statuses)

    async def flush(self) -> None:
        """Return once everything recorded is durable. Raises UnavailableError when it cannot be written."""
        await self._save()

    async def _write_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(WRITE_INTERVAL_S)
            try:
                await self._save()
            except UnavailableError as error:
                _log.warning("live statuses are not durable yet, trying again: %s", error)

    async def _save(self) -> None:
        async with self._saving:
            if not self._dirty.any():
                return
            if self._forget_unused_raw_texts():
                self._saved_raw_texts = 0
            taken: list[IntArray] = []
            try:
                self._saved_raw_texts = await self._database.write(lambda connection: self._write(connection, taken))
            except BaseException:
                for pages in taken:
                    self._mark_dirty(pages)
                raise

    def _write(self, connection: sqlite3.Connection, taken: list[IntArray]) -> int:
        taken.append(self._take_dirty_pages())
        connection.executemany("INSERT OR REPLACE INTO page VALUES (?, ?)", self._encode_pages(taken[-1]))
        # After the pages: statuses that came in between may have brought texts.
        saved, count = self._saved_raw_texts, len(self._raw_texts)
        texts = enumerate(self._raw_texts[saved:count], saved)
        connection.executemany("INSERT OR REPLACE INTO raw_text VALUES (?, ?)", texts)
        connection.execute("DELETE FROM raw_text WHERE code >= ?", (count,))
        return count

    def _load_all(self, connection: sqlite3.Connection) -> None:
        summary = "SELECT count(*), coalesce(max(number) + 1, 0), total(length(slots)) FROM page"
        pages, end, size = connection.execute(summary).fetchone()
        texts = connection.execute("SELECT code, text FROM raw_text ORDER BY code").fetchall()
        count = int(size) // SLOT.itemsize
        whole = pages == end == -(-count // PAGE_SLOTS) and [code for code, _ in texts] == list(range(len(texts)))
        if not whole:
            raise self._damaged("pages or texts are missing")
        try:
            self._load([text for _, text in texts], count, _read_blocks(connection))
        except ValueError as error:
            raise self._damaged(str(error)) from error
        self._saved_raw_texts = len(texts)

    def _damaged(self, problem: str) -> UnavailableError:
        return UnavailableError(f"{self._path.name} is damaged ({problem}); remove it to begin anew")


def _read_blocks(connection: sqlite3.Connection) -> Iterator[bytes]:
    cursor = connection.execute("SELECT slots FROM page ORDER BY number")
    while rows := cursor.fetchmany(_PAGES_PER_READ):
        yield b"".join([blob for (blob,) in rows])
