"""The feed ledger without a server: one SQLite file."""

import sqlite3
from pathlib import Path

from app.feeds._reports import pack_report, unpack_report
from app.feeds.base import FeedLedger
from app.model.clock import Clock, system_clock
from app.model.feed import FeedReport, RunKind
from app.sqlite import Database

_SCHEMA = """
CREATE TABLE report (
    feed TEXT NOT NULL,
    kind TEXT NOT NULL,
    good INTEGER NOT NULL,
    report BLOB NOT NULL,
    PRIMARY KEY (feed, kind, good)
) STRICT, WITHOUT ROWID;
CREATE TABLE note (
    feed TEXT NOT NULL,
    name TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (feed, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE lease (
    feed TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    until REAL NOT NULL,
    fence INTEGER NOT NULL
) STRICT, WITHOUT ROWID
"""


class EmbeddedFeedLedger(FeedLedger):
    """A ledger that several processes may share: `index` writes what `serve` shows."""

    def __init__(self, path: Path, clock: Clock = system_clock) -> None:
        """Take the path of the SQLite file, which is made when missing, and what tells when a lease ends."""
        self._database = Database(path, _SCHEMA)
        self._clock = clock

    async def open(self) -> None:
        """Make the ledger ready. Raises UnavailableError."""
        await self._database.open()

    async def close(self) -> None:
        """Finish what was asked for and close the file."""
        await self._database.close()

    async def save_report(self, report: FeedReport) -> None:
        """Keep the report as the last one, and as the last good one when it has no error."""
        packed, places = pack_report(report)
        rows = [(report.feed, report.kind.value, good, packed) for good in places]

        def save(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO report VALUES (?, ?, ?, ?)", rows)

        await self._database.write(save)

    async def find_report(self, feed: str, kind: RunKind, *, good: bool = False) -> FeedReport | None:
        """Return the last report, or the last good one, of a feed and kind."""
        query = "SELECT report FROM report WHERE feed = ? AND kind = ? AND good = ?"
        return unpack_report(feed, await self._find(query, (feed, kind.value, good)))

    async def find_note(self, feed: str, name: str) -> bytes | None:
        """Return what was noted last under a name."""
        return await self._find("SELECT value FROM note WHERE feed = ? AND name = ?", (feed, name))

    async def save_note(self, feed: str, name: str, value: bytes) -> None:
        """Note something durably."""

        def save(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO note VALUES (?, ?, ?)", (feed, name, value))

        await self._database.write(save)

    async def _find(self, query: str, values: tuple[str | bool, ...]) -> bytes | None:
        def look(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute(query, values).fetchone()
            return None if row is None else bytes(row[0])

        return await self._database.read(look)

    async def take_lease(self, feed: str, owner: str, ttl_s: float) -> int | None:
        """Take or renew the right to index a feed."""
        now = self._clock()

        def take(connection: sqlite3.Connection) -> int | None:
            row = connection.execute(
                "INSERT INTO lease VALUES (:feed, :owner, :until, 1) ON CONFLICT DO UPDATE"
                " SET fence = fence + (owner <> :owner OR until <= :now), owner = :owner, until = :until"
                " WHERE owner = :owner OR until <= :now RETURNING fence",
                {"feed": feed, "owner": owner, "until": now + ttl_s, "now": now},
            ).fetchone()
            return None if row is None else int(row[0])

        return await self._database.write(take)

    async def end_lease(self, feed: str, owner: str) -> None:
        """Give the right back, where it is the owner's."""

        def end(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE lease SET until = 0 WHERE feed = ? AND owner = ?", (feed, owner))

        await self._database.write(end)
