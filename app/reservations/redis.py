"""Reservations in Redis: one script a transition, decided by the server's clock, for as many hubs as there are.

What is acknowledged is on the disk of the primary (it refuses to serve without ``appendonly yes``, ``appendfsync
always`` and ``noeviction``) and, with ``replicas=N`` in the URL, in a majority of the N replicas. Hence:

- A crash of the server, or a power cut, loses nothing that was acknowledged.
- When the primary is lost or cut off, promote a replica that has the longest history (``master_repl_offset``) among
  at least N - N // 2 of them: a majority acknowledged, so one of these has everything. A cut-off primary acknowledges
  nothing, however long it believes in itself: no replica answers its WAIT. ``min-replicas-to-write`` adds that it
  refuses after its lag limit instead of leaving holds that nobody was told of; recommended, not needed for safety.
- Without replicas, a lost disk loses the ledger.

UnavailableError leaves open whether a mutation was done. The same key then tells: as it was, once it is safe; or, where
a fail-over lost it, by doing it now. Until it is asked, a hold that was never acknowledged may keep its Evse.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from app.errors import UnavailableError
from app.model.clock import Clock, Instant
from app.model.reservation import (
    LIVE_STATES,
    MAX_HOLD_S,
    MAX_TOTAL_HOLD_S,
    MIN_HOLD_S,
    TRANSITIONS,
    Guarantee,
    Outcome,
    RefusalCode,
    Reservation,
    ReservationState,
)
from app.redis import Follower, Link, Redis, load_scripts, parse_endpoint
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

LISTED_S = 90 * 24 * 3_600
"""How long a reservation is listed after it was made."""

_RESERVATIONS_KEPT_S = LISTED_S + 24 * 3_600
_CHANGES = "chargegraph:{reservations}:changes"
_REFUSALS = {
    RefusalCode.ALREADY_RESERVED: ALREADY_RESERVED,
    RefusalCode.HOLD_OUT_OF_RANGE: TOTAL_HOLD_OUT_OF_RANGE,
    RefusalCode.IDEMPOTENCY_KEY_REUSED: KEY_REUSED,
    RefusalCode.UNKNOWN_RESERVATION: UNKNOWN_RESERVATION,
}


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a script says: a reservation as it was written last, or the code of a refusal."""

    now: Instant
    reservation: Reservation | None = None
    code: RefusalCode | None = None
    detail: int | str | None = None
    replayed: bool = False

    def outcome(self) -> Outcome:
        """Return it in the words of the port."""
        reservation = None if self.reservation is None else as_of(self.reservation, self.now)
        return Outcome(reservation=reservation, refusals=self._refused().refusals, replayed=self.replayed)

    def _refused(self) -> Outcome:
        match self.code:
            case None:
                return Outcome()
            case RefusalCode.TOO_MANY_RESERVATIONS:
                return too_many(int(self.detail or 0))
            case RefusalCode.RESERVATION_ENDED:
                return ended(ReservationState(self.detail))
            case code:
                return _REFUSALS[code]


_answers = msgspec.msgpack.Decoder(_Answer)
_reservations = msgspec.msgpack.Decoder(Reservation)
_instants = msgspec.msgpack.Decoder(Instant)


class RedisReservations(ReservationStore):
    """The ledger of all hubs that name one server.

    Its time is the server's, and never runs backwards, also over a fail-over to a server whose clock is behind.
    A reservation is listed for LISTED_S.
    """

    def __init__(self, url: str, max_live: int, clock: Clock | None = None) -> None:
        """Take the server's URL (``app.redis.parse_endpoint``) and how many live reservations a partner may have;
        ``clock`` stands in for the server's, for a test that cannot wait. Raises SettingsError.
        """
        self._redis = Redis(parse_endpoint(url), load_scripts("app.reservations"), durable=True)
        self._max_live = max_live
        self._clock = clock
        self._latest: Instant = 0.0
        self._follower: Follower | None = None

    async def open(self) -> None:
        """Connect. Raises UnavailableError, also where the server is set up so that it could lose a hold."""
        await self._redis.open()

    async def close(self) -> None:
        """Finish what was asked for and drop the connections."""
        if self._follower is not None:
            await self._follower.close()
            self._follower = None
        await self._redis.close()

    async def check(self) -> None:
        """Return when the server answers and its changes are followed. Raises UnavailableError."""
        await self.now()
        if self._follower is not None and self._follower.lost is not None:
            raise UnavailableError(self._follower.lost)

    async def now(self) -> Instant:
        """Return the server's clock."""
        return (await self._ask("find")).now

    async def find_replay(self, operation: str, command: Command) -> Outcome | None:
        """Return what was answered under a key, None when the key is new."""
        if not is_key(command.idempotency_key):
            return KEY_INVALID
        answer = await self._ask("replay", **_identify(operation, command))
        return answer.outcome() if answer.replayed or answer.code is not None else None

    async def reserve(self, command: Command, evse_id: str, hold_s: int, guarantee: Guarantee) -> Outcome:
        """Hold an Evse for ``hold_s`` from the server's now."""
        if not MIN_HOLD_S <= hold_s <= MAX_HOLD_S:
            return HOLD_OUT_OF_RANGE
        return await self._mutate(
            "reserve",
            command,
            evse_id=evse_id,
            id=make_reservation_id(),
            guarantee=guarantee.value,
            hold_s=hold_s,
            max_live=self._max_live,
            listed_s=LISTED_S,
        )

    async def extend(self, command: Command, reservation_id: str, hold_s: int) -> Outcome:
        """Let a live reservation end ``hold_s`` after the server's now, never earlier than it would have."""
        if not MIN_HOLD_S <= hold_s <= MAX_HOLD_S:
            return HOLD_OUT_OF_RANGE
        return await self._mutate(
            "extend", command, id=_known_or_no_id(reservation_id), hold_s=hold_s, max_total_hold_s=MAX_TOTAL_HOLD_S
        )

    async def cancel(self, command: Command, reservation_id: str) -> Outcome:
        """End a live reservation."""
        return await self._mutate("cancel", command, id=_known_or_no_id(reservation_id))

    async def transition(
        self, reservation_id: str, fence: int, expected: ReservationState, state: ReservationState
    ) -> bool:
        """Move a live reservation on; False, with nothing changed, where that may not be."""
        if state not in TRANSITIONS.get(expected, ()) or not is_reservation_id(reservation_id):
            return False
        moved = await self._run(
            "transition",
            id=reservation_id,
            fence=fence,
            expected=expected.value,
            state=state.value,
            is_final=state not in LIVE_STATES,
            reservations_kept_s=_RESERVATIONS_KEPT_S,
        )
        return bool(moved)

    async def find_reservation(self, partner_id: str, reservation_id: str) -> Reservation | None:
        """Return a partner's reservation as it stands now, None when unknown or another's."""
        if not is_reservation_id(reservation_id):
            return None
        return (await self._ask("find", partner_id=partner_id, id=reservation_id)).outcome().reservation

    async def list_reservations(
        self, partner_id: str, first: int, after: tuple[Instant, str] | None, *, live_only: bool
    ) -> list[Reservation]:
        """Return a partner's reservations, newest first, as far back as LISTED_S."""
        if first <= 0:
            return []
        before = {} if after is None else {"before": after[0]}
        rows = await self._run(
            "list", partner_id=partner_id, live_only=live_only, first=first, listed_s=LISTED_S, **before
        )
        found = sorted(self._read_list(rows), key=_position, reverse=True)
        return [reservation for reservation in found if after is None or _position(reservation) < after][:first]

    async def list_live(self) -> list[Reservation]:
        """Return every live reservation of every partner."""
        return self._read_list(await self._run("live"))

    async def follow(self, on_change: OnChange) -> None:
        """Tell every live reservation, then every change of any hub, until ``close``. Raises UnavailableError."""

        async def load(link: Link) -> None:
            rows = await link.ask_one(self._redis.command("live", self._pack({})))
            on_change(self._read_list(rows), complete=True)

        def take(entry: Mapping[bytes, bytes]) -> None:
            on_change([_reservations.decode(entry[b"reservation"])], complete=False)

        assert self._follower is None
        follower = Follower(self._redis, _CHANGES, load, take)
        await follower.open()
        self._follower = follower

    async def _mutate(self, operation: str, command: Command, **arguments: Any) -> Outcome:
        if not is_key(command.idempotency_key):
            return KEY_INVALID
        answer = await self._ask(
            operation,
            **_identify(operation, command),
            **arguments,
            partner_id=command.partner_id,
            answers_kept_s=ANSWERS_KEPT_S,
            reservations_kept_s=_RESERVATIONS_KEPT_S,
        )
        return answer.outcome()

    async def _ask(self, script: str, **arguments: Any) -> _Answer:
        answer = _answers.decode(await self._run(script, **arguments))
        self._latest = max(self._latest, answer.now)
        return answer

    def _read_list(self, rows: list[bytes]) -> list[Reservation]:
        now = _instants.decode(rows[0])
        self._latest = max(self._latest, now)
        return [as_of(_reservations.decode(row), now) for row in rows[1:]]

    async def _run(self, script: str, **arguments: Any) -> Any:
        return await self._redis.run(script, self._pack(arguments))

    def _pack(self, arguments: dict[str, Any]) -> bytes:
        arguments["latest"] = self._latest
        if self._clock is not None:
            arguments["now"] = self._clock()
        return msgspec.msgpack.encode(arguments)


def _identify(operation: str, command: Command) -> dict[str, str]:
    # As JSON, the three cannot run into each other.
    key = msgspec.json.encode([operation, command.partner_id, command.idempotency_key]).decode()
    return {"key": key, "fingerprint": command.fingerprint}


def _known_or_no_id(text: str) -> str:
    """Return what nobody has as an id where a text cannot be one: also that answer is remembered under its key."""
    return text if is_reservation_id(text) else ""


def _position(reservation: Reservation) -> tuple[Instant, str]:
    return reservation.created_at, reservation.id
