"""The durable truth of the embedded index: one SQLite file with a write-ahead log.

A station has two rows: its content (a blob that is written once and never changed), and its facts with the number of
its content. A statement being collected writes contents at once and facts into ``staged``; committing moves the facts
in one transaction, so that nothing large is written twice and an identical station is not written at all.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from app.errors import UnavailableError
from app.index._columns import FactRow
from app.index._packing import LAYOUT, PackedStation, pack_facts, unpack_station
from app.model.identity import SEPARATOR
from app.model.station import Operator

_FETCH_ROWS: Final = 10_000
_CHECKPOINT_PAGES: Final = 8_000
_LOG_LIMIT_BYTES: Final = 64 * 2**20
_PAGE_BYTES: Final = 4_096
_CACHE_KIB: Final = 64 * 1024
_BUSY_TIMEOUT_S: Final = 10.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS content (number INTEGER PRIMARY KEY, packed BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS station (
    id TEXT PRIMARY KEY, local_id TEXT NOT NULL, digest BLOB NOT NULL, content INTEGER NOT NULL,
    operator_id TEXT NOT NULL, lon REAL, lat REAL, access INTEGER NOT NULL, hours BLOB NOT NULL, text BLOB NOT NULL,
    evse_keys BLOB NOT NULL, connectors BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS statement (number INTEGER PRIMARY KEY AUTOINCREMENT, feed TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS staged (
    statement INTEGER NOT NULL, id TEXT NOT NULL, local_id TEXT, digest BLOB NOT NULL, content INTEGER,
    operator_id TEXT, lon REAL, lat REAL, access INTEGER, hours BLOB, text BLOB, evse_keys BLOB, connectors BLOB,
    PRIMARY KEY (statement, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS operator (id TEXT PRIMARY KEY, packed BLOB NOT NULL) WITHOUT ROWID;
CREATE TEMP TABLE changed (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE doomed (id TEXT PRIMARY KEY, content INTEGER NOT NULL, removed INTEGER NOT NULL) WITHOUT ROWID;
"""
# Where `staged.content` is NULL the station was identical to the committed one when it was staged.

_operator_decoder = msgspec.msgpack.Decoder(Operator)


class Change(NamedTuple):
    """What a commit did: how many stations the statement held, how many it changed, and which are gone."""

    indexed: int
    changed: int
    gone: tuple[str, ...]


@contextmanager
def answering(path: Path) -> Iterator[None]:
    """Map what SQLite and the file system raise, and content that is none, to UnavailableError."""
    try:
        yield
    except (sqlite3.Error, OSError, msgspec.DecodeError) as error:
        raise UnavailableError(f"the station index in {path} does not answer: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, cached_statements=256)
    try:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


class Writer:
    """The only connection that writes; used by one thread at a time, the one that made it."""

    def __init__(self, path: Path) -> None:
        """Open or create the file, and bring facts to today's layout."""
        self._db = _connect(path)
        try:
            self._db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            self._db.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT_BYTES}")
            self._db.executescript(_SCHEMA)
            self._adopt_layout()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def begin(self, feed: str) -> int:
        """Drop the feed's open statements and return the number of a new one."""
        with self._transaction():
            for (number,) in self._db.execute("SELECT number FROM statement WHERE feed = ?", (feed,)).fetchall():
                self._drop(number)
            return self._begin(feed)

    def stage(self, statement: int, stations: Sequence[PackedStation]) -> bool:
        """Add stations to a statement; return whether there is such a statement.

        Only those that differ from what is committed are written as a whole.
        """
        with self._transaction():
            known = self._find_feed(statement) is not None
            if known:
                self._stage(statement, stations)
            return known

    def count(self, statement: int) -> int | None:
        """Return how many stations a statement holds, or None where there is no such statement."""
        return None if self._find_feed(statement) is None else self._count(statement)

    def commit(self, statement: int, *, remove_missing: bool) -> Change | None:
        """Make a statement the truth; durable when it returns. None where there is no such statement."""
        with self._transaction(durable=True):
            feed = self._find_feed(statement)
            return None if feed is None else self._apply(statement, feed, remove_missing=remove_missing)

    def upsert(self, feed: str, stations: Sequence[PackedStation]) -> Change:
        """Add or change stations; durable when it returns."""
        with self._transaction(durable=True):
            statement = self._begin(feed)
            self._stage(statement, stations)
            return self._apply(statement, feed, remove_missing=False)

    def remove_feed(self, feed: str) -> Change:
        """Remove a feed's stations; durable when it returns."""
        with self._transaction(durable=True):
            return self._apply(self._begin(feed), feed, remove_missing=True)

    def drop(self, statement: int) -> None:
        """Forget a statement and what was written for it."""
        with self._transaction():
            self._drop(statement)

    def drop_all(self) -> None:
        """Forget every statement that is open: after a crash, before the first one begins."""
        for (number,) in self._db.execute("SELECT number FROM statement").fetchall():
            self.drop(number)

    def all_facts(self) -> Iterator[list[FactRow]]:
        """Return the facts of all stations in the order of their ids."""
        return self._facts(
            "SELECT id, operator_id, lon, lat, access, hours, text, evse_keys, connectors FROM station ORDER BY id"
        )

    def changed_facts(self) -> Iterator[list[FactRow]]:
        """Return the facts of the stations that the last commit changed, in the order of their ids."""
        return self._facts(
            "SELECT id, operator_id, lon, lat, access, hours, text, evse_keys, connectors"
            " FROM changed CROSS JOIN station USING (id) ORDER BY id"
        )

    def save_operators(self, operators: Sequence[Operator]) -> None:
        """Add or replace operators; durable when it returns."""
        rows = [(operator.id, msgspec.msgpack.encode(operator)) for operator in operators]
        with self._transaction(durable=True):
            self._db.executemany("INSERT OR REPLACE INTO operator VALUES (?, ?)", rows)

    @contextmanager
    def _transaction(self, *, durable: bool = False) -> Iterator[None]:
        """Staged stations may be lost with the power, so that they cost no sync; what is committed may not."""
        self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _begin(self, feed: str) -> int:
        number = self._db.execute("INSERT INTO statement (feed) VALUES (?)", (feed,)).lastrowid
        assert number is not None
        return number

    def _find_feed(self, statement: int) -> str | None:
        row = self._db.execute("SELECT feed FROM statement WHERE number = ?", (statement,)).fetchone()
        return None if row is None else str(row[0])

    def _count(self, statement: int) -> int:
        (count,) = self._db.execute("SELECT count(*) FROM staged WHERE statement = ?", (statement,)).fetchone()
        return int(count)

    def _drop(self, statement: int) -> None:
        self._db.execute(
            "DELETE FROM content WHERE number IN (SELECT content FROM staged WHERE statement = ?)", (statement,)
        )
        self._forget(statement)

    def _stage(self, statement: int, stations: Sequence[PackedStation]) -> None:
        db = self._db
        rows: list[tuple[object, ...]] = []
        for station in stations:
            db.execute(
                "DELETE FROM content WHERE number = (SELECT content FROM staged WHERE statement = ? AND id = ?)",
                (statement, station.id),
            )
            committed = db.execute("SELECT digest FROM station WHERE id = ?", (station.id,)).fetchone()
            if committed == (station.digest,):
                rows.append((statement, station.id, None, station.digest, *(None,) * 9))
                continue
            content = db.execute("INSERT INTO content (packed) VALUES (?)", (station.content,)).lastrowid
            rows.append((statement, station.id, station.local_id, station.digest, content, *station.facts))
        db.executemany("INSERT OR REPLACE INTO staged VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def _apply(self, statement: int, feed: str, *, remove_missing: bool) -> Change:
        db = self._db
        low, high = f"{feed}{SEPARATOR}", f"{feed}{chr(ord(SEPARATOR) + 1)}"
        db.execute("DELETE FROM changed")
        db.execute("DELETE FROM doomed")
        indexed = self._count(statement)
        changed = db.execute(
            "INSERT INTO changed SELECT staged.id FROM staged LEFT JOIN station ON station.id = staged.id"
            " WHERE statement = ? AND staged.content IS NOT NULL AND station.digest IS NOT staged.digest",
            (statement,),
        ).rowcount
        db.execute(
            "INSERT INTO doomed SELECT station.id, station.content, 0 FROM changed CROSS JOIN station USING (id)"
        )
        if remove_missing:
            db.execute(
                "INSERT INTO doomed SELECT id, content, 1 FROM station WHERE id >= ? AND id < ? AND NOT EXISTS"
                " (SELECT 1 FROM staged WHERE statement = ? AND staged.id = station.id)",
                (low, high, statement),
            )
        gone = tuple(row[0] for row in db.execute("SELECT id FROM doomed WHERE removed ORDER BY id"))
        self._preserve(statement, feed)
        db.execute("DELETE FROM content WHERE number IN (SELECT content FROM doomed)")
        db.execute("DELETE FROM station WHERE id IN (SELECT id FROM doomed)")
        db.execute(
            "DELETE FROM content WHERE number IN (SELECT content FROM staged WHERE statement = ?"
            " AND content IS NOT NULL AND id NOT IN (SELECT id FROM changed))",
            (statement,),
        )
        db.execute(
            "INSERT INTO station SELECT id, local_id, digest, content, operator_id, lon, lat, access, hours, text,"
            " evse_keys, connectors FROM staged WHERE statement = ? AND id IN (SELECT id FROM changed) ORDER BY id",
            (statement,),
        )
        self._forget(statement)
        return Change(indexed, changed, gone)

    def _preserve(self, statement: int, feed: str) -> None:
        """Hand facts and content that are about to go over to open statements which counted on them staying."""
        others = [
            number
            for (number,) in self._db.execute("SELECT number FROM statement WHERE feed = ?", (feed,))
            if number != statement
        ]
        for number in others:
            for (station_id,) in self._db.execute(
                "SELECT staged.id FROM staged JOIN doomed USING (id) WHERE statement = ? AND staged.content IS NULL",
                (number,),
            ).fetchall():
                self._db.execute(
                    "UPDATE staged SET (local_id, content, operator_id, lon, lat, access, hours, text, evse_keys,"
                    " connectors) = (SELECT local_id, content, operator_id, lon, lat, access, hours, text, evse_keys,"
                    " connectors FROM station WHERE id = ?) WHERE statement = ? AND id = ?",
                    (station_id, number, station_id),
                )
                self._db.execute("UPDATE doomed SET content = -1 WHERE id = ?", (station_id,))

    def _forget(self, statement: int) -> None:
        self._db.execute("DELETE FROM staged WHERE statement = ?", (statement,))
        self._db.execute("DELETE FROM statement WHERE number = ?", (statement,))

    def _facts(self, query: str) -> Iterator[list[FactRow]]:
        with closing(self._db.execute(query)) as cursor:
            while rows := cursor.fetchmany(_FETCH_ROWS):
                yield rows

    def _adopt_layout(self) -> None:
        """Pack the facts of every station anew where another version of the program packed them."""
        found = self._db.execute("SELECT value FROM about WHERE key = 'layout'").fetchone()
        if found == (LAYOUT,):
            return
        last = ""
        with self._transaction(durable=True):
            while rows := self._db.execute(
                "SELECT id, packed FROM station JOIN content ON content.number = station.content"
                " WHERE id > ? ORDER BY id LIMIT 1000",
                (last,),
            ).fetchall():
                facts = [(*pack_facts(unpack_station(packed)), station_id) for station_id, packed in rows]
                self._db.executemany(
                    "UPDATE station SET operator_id = ?, lon = ?, lat = ?, access = ?, hours = ?, text = ?,"
                    " evse_keys = ?, connectors = ? WHERE id = ?",
                    facts,
                )
                last = rows[-1][0]
            self._db.execute("INSERT OR REPLACE INTO about VALUES ('layout', ?)", (LAYOUT,))


class Reader:
    """A connection that only reads, by primary key; used by the thread that made it. It never waits for the writer."""

    def __init__(self, path: Path) -> None:
        """Open the file, which exists."""
        self._db = _connect(path)
        self._db.execute("PRAGMA query_only = ON")

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Go on reading the state of this moment, whatever is committed meanwhile."""
        self._db.execute("BEGIN")
        try:
            self._db.execute("SELECT count(*) FROM about").fetchone()  # only the first read fixes the state
            yield
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def contents(self, ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Return the ids and the packed content of the stations that there are."""
        query = "SELECT packed FROM station JOIN content ON content.number = station.content WHERE id = CAST(? AS TEXT)"
        for station_id in ids:
            # As bytes, for callers ask for anything, and not every str can be bound as text.
            row = self._db.execute(query, (station_id.encode(errors="surrogatepass"),)).fetchone()
            if row is not None:
                yield station_id, row[0]

    def local_ids(self, feed: str, after: str, count: int) -> list[tuple[str, str]]:
        """Return the next ids and local ids of a feed's stations after an id, in the order of ids."""
        low = max(after, f"{feed}{SEPARATOR}")
        high = f"{feed}{chr(ord(SEPARATOR) + 1)}"
        query = "SELECT id, local_id FROM station WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
        return self._db.execute(query, (low, high, count)).fetchall()

    def operators(self) -> list[Operator]:
        """Return all operators, ordered by id."""
        rows = self._db.execute("SELECT packed FROM operator ORDER BY id")
        return [_operator_decoder.decode(packed) for (packed,) in rows]
