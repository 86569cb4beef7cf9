"""Reservations without a server: SQLite, where a transaction is durable before it is acknowledged."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from app.model.clock import Clock, Instant
from app.model.reservation import (
    LIVE_STATES,
    MAX_HOLD_S,
    MAX_TOTAL_HOLD_S,
    MIN_HOLD_S,
    TRANSITIONS,
    Guarantee,
    Outcome,
    Refusal,
    Reservation,
    ReservationState,
)
from app.reservations._rules import (
    ALREADY_RESERVED,
    ANSWERS_KEPT_S,
    HOLD_OUT_OF_RANGE,
    KEY_INVALID,
    KEY_REUSED,
    TOTAL_HOLD_OUT_OF_RANGE,
    UNKNOWN_RESERVATION,
    as_of,
    ended,
    is_key,
    is_reservation_id,
    make_reservation_id,
    too_many,
)
from app.reservations.base import Command, OnChange, ReservationStore
from app.sqlite import Database

_ANSWERS_TIDIED_AT_ONCE = 100

_SCHEMA = """
CREATE TABLE reservation (
    id TEXT PRIMARY KEY,
    evse_id TEXT NOT NULL,
    partner_id TEXT NOT NULL,
    state TEXT NOT NULL,
    guarantee TEXT NOT NULL,
    fence INTEGER NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    ended_at REAL,
    UNIQUE (evse_id, fence),
    CHECK ((ended_at IS NULL) = (
        state IN ('REQUESTED', 'HELD', 'PENDING_OPERATOR', 'CONFIRMED', 'ACTIVE', 'IN_DOUBT')
    ))
) STRICT;
CREATE UNIQUE INDEX one_live_reservation_per_evse ON reservation (evse_id) WHERE ended_at IS NULL;
CREATE INDEX live_by_end ON reservation (expires_at) WHERE ended_at IS NULL;
CREATE INDEX live_by_partner ON reservation (partner_id) WHERE ended_at IS NULL;
CREATE INDEX by_partner ON reservation (partner_id, created_at, id);
CREATE TABLE fence (evse_id TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE answer (
    partner_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    reservation_id TEXT,
    refusals BLOB NOT NULL,
    answered_at REAL NOT NULL,
    PRIMARY KEY (partner_id, operation, idempotency_key)
) STRICT;
CREATE INDEX answer_by_age ON answer (answered_at);
CREATE TABLE clock (latest REAL NOT NULL) STRICT;
INSERT INTO clock VALUES (0)
"""

_SELECT = """
SELECT id, evse_id, partner_id, state, guarantee, fence, created_at, expires_at, ended_at FROM reservation
"""

T = TypeVar("T")


class EmbeddedReservations(ReservationStore):
    """The ledger of one machine; several processes may share its file.

    Its time is ``clock``, and never runs backwards: where the clock was set back, the store's now stands still until
    the clock has caught up, also across processes and restarts.
    """

    def __init__(self, path: Path, clock: Clock, max_live: int) -> None:
        """Take the SQLite file's path, the only source of time, and how many live reservations a partner may have."""
        self._database = Database(path, _SCHEMA)
        self._clock = clock
        self._max_live = max_live
        self._latest: Instant = 0.0

    async def open(self) -> None:
        """Make the store ready. Raises UnavailableError."""
        await self._database.open()

    async def close(self) -> None:
        """Finish what was asked for and close the file."""
        await self._database.close()

    async def check(self) -> None:
        """Return when the file can be read. Raises UnavailableError."""
        await self.now()

    async def now(self) -> Instant:
        """Return the store's clock."""
        return await self._database.read(self._tick)

    async def find_replay(self, operation: str, command: Command) -> Outcome | None:
        """Return what was answered under a key, None when the key is new."""
        if not is_key(command.idempotency_key):
            return KEY_INVALID
        return await self._database.read(
            lambda connection: _replay(connection, operation, command, self._tick(connection))
        )

    async def reserve(self, command: Command, evse_id: str, hold_s: int, guarantee: Guarantee) -> Outcome:
        """Hold an Evse for ``hold_s`` from the store's now."""
        if not MIN_HOLD_S <= hold_s <= MAX_HOLD_S:
            return HOLD_OUT_OF_RANGE

        def decide(connection: sqlite3.Connection, now: Instant) -> Outcome:
            if _fetch(connection, "WHERE evse_id = ? AND ended_at IS NULL", evse_id) is not None:
                return ALREADY_RESERVED
            query = "SELECT count(*) FROM reservation WHERE partner_id = ? AND ended_at IS NULL"
            (live,) = connection.execute(query, (command.partner_id,)).fetchone()
            if live >= self._max_live:
                return too_many(live)
            (fence,) = connection.execute(
                "INSERT INTO fence VALUES (?, 1) ON CONFLICT DO UPDATE SET last = last + 1 RETURNING last", (evse_id,)
            ).fetchone()
            reservation = Reservation(
                id=make_reservation_id(),
                evse_id=evse_id,
                partner_id=command.partner_id,
                state=ReservationState.HELD,
                guarantee=guarantee,
                fence=fence,
                created_at=now,
                expires_at=now + hold_s,
            )
            _insert(connection, reservation)
            return Outcome(reservation=reservation)

        return await self._mutate("reserve", command, decide)

    async def extend(self, command: Command, reservation_id: str, hold_s: int) -> Outcome:
        """Let a live reservation end ``hold_s`` after the store's now, never earlier than it would have."""
        if not MIN_HOLD_S <= hold_s <= MAX_HOLD_S:
            return HOLD_OUT_OF_RANGE

        def decide(connection: sqlite3.Connection, now: Instant) -> Outcome:
            reservation = _fetch_own(connection, command.partner_id, reservation_id)
            if reservation is None:
                return UNKNOWN_RESERVATION
            if reservation.ended_at is not None:
                return ended(reservation.state)
            expires_at = max(reservation.expires_at, now + hold_s)
            if expires_at > reservation.created_at + MAX_TOTAL_HOLD_S:
                return TOTAL_HOLD_OUT_OF_RANGE
            connection.execute("UPDATE reservation SET expires_at = ? WHERE id = ?", (expires_at, reservation.id))
            return Outcome(reservation=msgspec.structs.replace(reservation, expires_at=expires_at))

        return await self._mutate("extend", command, decide)

    async def cancel(self, command: Command, reservation_id: str) -> Outcome:
        """End a live reservation."""

        def decide(connection: sqlite3.Connection, now: Instant) -> Outcome:
            reservation = _fetch_own(connection, command.partner_id, reservation_id)
            if reservation is None:
                return UNKNOWN_RESERVATION
            if reservation.state is ReservationState.CANCELLED:
                return Outcome(reservation=reservation)
            if reservation.ended_at is not None:
                return ended(reservation.state)
            return Outcome(reservation=_move(connection, reservation, ReservationState.CANCELLED, now))

        return await self._mutate("cancel", command, decide)

    async def transition(
        self, reservation_id: str, fence: int, expected: ReservationState, state: ReservationState
    ) -> bool:
        """Move a live reservation on; False, with nothing changed, where that may not be."""
        if state not in TRANSITIONS.get(expected, ()):
            return False

        def decide(connection: sqlite3.Connection, now: Instant) -> bool:
            reservation = _fetch_by_id(connection, reservation_id)
            if reservation is None or reservation.fence != fence or reservation.state is not expected:
                return False
            _move(connection, reservation, state, now)
            return True

        return await self._write(decide)

    async def find_reservation(self, partner_id: str, reservation_id: str) -> Reservation | None:
        """Return a partner's reservation as it stands now, None when unknown or another's."""

        def look(connection: sqlite3.Connection) -> Reservation | None:
            reservation = _fetch_own(connection, partner_id, reservation_id)
            return None if reservation is None else as_of(reservation, self._tick(connection))

        return await self._database.read(look)

    async def list_reservations(
        self, partner_id: str, first: int, after: tuple[Instant, str] | None, *, live_only: bool
    ) -> list[Reservation]:
        """Return a partner's reservations, newest first."""

        def look(connection: sqlite3.Connection) -> list[Reservation]:
            now = self._tick(connection)
            query = _SELECT + "WHERE partner_id = :partner_id"
            if after is not None:
                query += " AND (created_at, id) < (:created_at, :id)"
            if live_only:
                query += " AND ended_at IS NULL AND expires_at > :now"
            query += " ORDER BY created_at DESC, id DESC LIMIT :first"
            created_at, id_ = after or (now, "")
            values = {"partner_id": partner_id, "created_at": created_at, "id": id_, "now": now, "first": max(first, 0)}
            return [as_of(_read(row), now) for row in connection.execute(query, values)]

        return await self._database.read(look)

    async def list_live(self) -> list[Reservation]:
        """Return every live reservation of every partner."""

        def look(connection: sqlite3.Connection) -> list[Reservation]:
            rows = connection.execute(_SELECT + "WHERE ended_at IS NULL AND expires_at > ?", (self._tick(connection),))
            return [_read(row) for row in rows]

        return await self._database.read(look)

    async def follow(self, on_change: OnChange) -> None:
        """Tell every live reservation; the hub's one process makes all changes itself."""
        on_change(await self.list_live(), complete=True)

    def _tick(self, connection: sqlite3.Connection) -> Instant:
        """Return the store's now: the clock's, or the latest that the store ever acted at."""
        (latest,) = connection.execute("SELECT latest FROM clock").fetchone()
        self._latest = max(self._clock(), self._latest, latest)
        return self._latest

    async def _write(self, decide: Callable[[sqlite3.Connection, Instant], T]) -> T:
        """Run a transaction in which no reservation that is stored as live has expired."""

        def work(connection: sqlite3.Connection) -> T:
            now = self._tick(connection)
            before = connection.total_changes
            connection.execute(
                "UPDATE reservation SET state = ?, ended_at = expires_at WHERE ended_at IS NULL AND expires_at <= ?",
                (ReservationState.EXPIRED.value, now),
            )
            result = decide(connection, now)
            if connection.total_changes != before:
                connection.execute("UPDATE clock SET latest = ?", (now,))
            return result

        return await self._database.write(work)

    async def _mutate(
        self, operation: str, command: Command, decide: Callable[[sqlite3.Connection, Instant], Outcome]
    ) -> Outcome:
        """Decide once for each idempotency key, and remember the answer in the same transaction."""
        if not is_key(command.idempotency_key):
            return KEY_INVALID

        def answer(connection: sqlite3.Connection, now: Instant) -> Outcome:
            replay = _replay(connection, operation, command, now)
            if replay is not None:
                return replay
            outcome = decide(connection, now)
            _remember(connection, operation, command, outcome, now)
            return outcome

        return await self._write(answer)


def _replay(connection: sqlite3.Connection, operation: str, command: Command, now: Instant) -> Outcome | None:
    row = connection.execute(
        "SELECT fingerprint, reservation_id, refusals FROM answer"
        " WHERE partner_id = ? AND operation = ? AND idempotency_key = ?",
        (command.partner_id, operation, command.idempotency_key),
    ).fetchone()
    if row is None:
        return None
    fingerprint, reservation_id, refusals = row
    if fingerprint != command.fingerprint:
        return KEY_REUSED
    reservation = None if reservation_id is None else _fetch(connection, "WHERE id = ?", reservation_id)
    return Outcome(
        reservation=None if reservation is None else as_of(reservation, now),
        refusals=msgspec.msgpack.decode(refusals, type=tuple[Refusal, ...]),
        replayed=True,
    )


def _remember(connection: sqlite3.Connection, operation: str, command: Command, outcome: Outcome, now: Instant) -> None:
    connection.execute(
        "DELETE FROM answer WHERE rowid IN (SELECT rowid FROM answer WHERE answered_at < ? LIMIT ?)",
        (now - ANSWERS_KEPT_S, _ANSWERS_TIDIED_AT_ONCE),
    )
    connection.execute(
        "INSERT INTO answer VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            command.partner_id,
            operation,
            command.idempotency_key,
            command.fingerprint,
            None if outcome.reservation is None else outcome.reservation.id,
            msgspec.msgpack.encode(outcome.refusals),
            now,
        ),
    )


def _insert(connection: sqlite3.Connection, reservation: Reservation) -> None:
    connection.execute(
        "INSERT INTO reservation VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            reservation.id,
            reservation.evse_id,
            reservation.partner_id,
            reservation.state.value,
            reservation.guarantee.value,
            reservation.fence,
            reservation.created_at,
            reservation.expires_at,
            reservation.ended_at,
        ),
    )


def _move(
    connection: sqlite3.Connection, reservation: Reservation, state: ReservationState, now: Instant
) -> Reservation:
    moved = msgspec.structs.replace(reservation, state=state, ended_at=None if state in LIVE_STATES else now)
    connection.execute(
        "UPDATE reservation SET state = ?, ended_at = ? WHERE id = ?", (moved.state.value, moved.ended_at, moved.id)
    )
    return moved


def _fetch(connection: sqlite3.Connection, where: str, value: str) -> Reservation | None:
    row = connection.execute(_SELECT + where, (value,)).fetchone()
    return None if row is None else _read(row)


def _fetch_by_id(connection: sqlite3.Connection, reservation_id: str) -> Reservation | None:
    return _fetch(connection, "WHERE id = ?", reservation_id) if is_reservation_id(reservation_id) else None


def _fetch_own(connection: sqlite3.Connection, partner_id: str, reservation_id: str) -> Reservation | None:
    reservation = _fetch_by_id(connection, reservation_id)
    return reservation if reservation is not None and reservation.partner_id == partner_id else None


def _read(row: tuple[Any, ...]) -> Reservation:
    id_, evse_id, partner_id, state, guarantee, fence, created_at, expires_at, ended_at = row
    return Reservation(
        id=id_,
        evse_id=evse_id,
        partner_id=partner_id,
        state=ReservationState(state),
        guarantee=Guarantee(guarantee),
        fence=fence,
        created_at=created_at,
        expires_at=expires_at,
        ended_at=ended_at,
    )
