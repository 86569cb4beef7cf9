"""Hold an Evse, hold it longer, let it go.

Operators without a reservation interface (all of T/CEC 102) are answered for by the hub's own hold, and the
reservation says so: ``Guarantee.HUB_HOLD``.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Sequence
from hashlib import sha256
from itertools import islice

import msgspec

from app.errors import NotAllowedError, UnavailableError
from app.live.base import LiveBoard
from app.model.availability import Availability
from app.model.clock import Instant
from app.model.partner import Scope
from app.model.reservation import (
    LIVE_STATES,
    MAX_HOLD_S,
    MIN_HOLD_S,
    Guarantee,
    Outcome,
    Refusal,
    RefusalCode,
    Reservation,
)
from app.reservations.base import Command, ReservationStore
from app.services.sightings import EvseView
from app.services.station_search import StationSearch
from app.services.viewer import Viewer
from app.telemetry import metrics, tracing

MAX_LISTENERS_A_PARTNER = 1_000

logger = logging.getLogger("chargegraph.booking")


class Booking:
    """The use case of a partner that wants an Evse to be free when its driver arrives."""

    def __init__(self, store: ReservationStore, board: LiveBoard, search: StationSearch) -> None:
        """Keep the store of the truth, and the board that shows it."""
        self._store = store
        self._board = board
        self._search = search
        self._latest: dict[str, Reservation] = {}
        self._listeners: dict[str, set[asyncio.Event]] = {}
        self._listener_counts: Counter[str] = Counter()

    async def load(self) -> int:
        """Show every live reservation on the board, and from now on what other processes do; needed once after a start.
        Return how many there are.
        """
        await self._store.follow(self._show_all)
        return len(self._latest)

    async def check(self) -> None:
        """Return when holds can be taken, and those of other processes are shown. Raises UnavailableError."""
        await self._store.check()

    async def now(self) -> Instant:
        """Return the store's clock, against which ``expires_at`` counts."""
        return await self._store.now()

    async def reserve(self, viewer: Viewer, evse_id: str, hold_s: int, idempotency_key: str) -> Outcome:
        """Hold an Evse for ``hold_s``. Only one that is known, in operation, AVAILABLE with fresh news, and whose
        operator lets the viewer reserve is held.
        """
        viewer.require(Scope.RESERVE)
        command = _command(viewer, idempotency_key, evse_id, hold_s)
        return await self._answer("reserve", self._reserve(viewer, command, evse_id, hold_s))

    async def extend(self, viewer: Viewer, reservation_id: str, hold_s: int, idempotency_key: str) -> Outcome:
        """Let a live reservation end ``hold_s`` from now, if that is later than it would have ended. It was promised,
        and goes on whatever the operator and the partner have agreed since.
        """
        viewer.require(Scope.RESERVE)
        if refusal := _hold_out_of_range(hold_s):
            return _counted("extend", Outcome(refusals=(refusal,)))
        command = _command(viewer, idempotency_key, reservation_id, hold_s)
        return await self._answer("extend", self._store.extend(command, reservation_id, hold_s))

    async def cancel(self, viewer: Viewer, reservation_id: str, idempotency_key: str) -> Outcome:
        """End a live reservation; the Evse is free for others at once."""
        viewer.require(Scope.RESERVE)
        command = _command(viewer, idempotency_key, reservation_id)
        return await self._answer("cancel", self._store.cancel(command, reservation_id))

    async def find_reservation(self, viewer: Viewer, reservation_id: str) -> Reservation | None:
        """Return the viewer's reservation; another's is as unknown as one that never was."""
        viewer.require(Scope.RESERVE)
        return await self._store.find_reservation(viewer.partner.id, reservation_id)

    async def list_reservations(
        self, viewer: Viewer, first: int, after: tuple[Instant, str] | None, *, live_only: bool
    ) -> list[Reservation]:
        """Return the viewer's reservations, newest first."""
        viewer.require(Scope.RESERVE)
        return await self._store.list_reservations(viewer.partner.id, first, after, live_only=live_only)

    def listen(self, viewer: Viewer, reservation_id: str) -> asyncio.Event:
        """Return what is set whenever a reservation may have changed, here or in another process, but for its time
        running out. Raises NotAllowedError when the viewer's partner listens to MAX_LISTENERS_A_PARTNER already.
        """
        viewer.require(Scope.RESERVE)
        if self._listener_counts[viewer.partner.id] >= MAX_LISTENERS_A_PARTNER:
            raise NotAllowedError(f"a partner may follow {MAX_LISTENERS_A_PARTNER} reservations at once")
        self._listener_counts[viewer.partner.id] += 1
        signal = asyncio.Event()
        self._listeners.setdefault(reservation_id, set()).add(signal)
        return signal

    def ignore(self, viewer: Viewer, reservation_id: str, signal: asyncio.Event) -> None:
        """Forget what ``listen`` returned."""
        listeners = self._listeners[reservation_id]
        listeners.remove(signal)
        if not listeners:
            del self._listeners[reservation_id]
        self._listener_counts[viewer.partner.id] -= 1
        if not self._listener_counts[viewer.partner.id]:
            del self._listener_counts[viewer.partner.id]

    async def _reserve(self, viewer: Viewer, command: Command, evse_id: str, hold_s: int) -> Outcome:
        replay = await self._store.find_replay("reserve", command)
        if replay is not None:
            return replay
        if refusal := _hold_out_of_range(hold_s):
            return Outcome(refusals=(refusal,))
        (view,) = await self._search.find_evses(viewer, [evse_id])
        if refusal := _not_holdable(view):
            return Outcome(refusals=(refusal,))
        return await self._store.reserve(command, evse_id, hold_s, Guarantee.HUB_HOLD)

    async def _answer(self, change: str, work: Awaitable[Outcome]) -> Outcome:
        """Finish even when the caller gives up waiting: what the store grants, the board shows."""
        with tracing.span(f"reservation {change}"):
            return await asyncio.shield(asyncio.ensure_future(self._finish(change, work)))

    async def _finish(self, change: str, work: Awaitable[Outcome]) -> Outcome:
        try:
            outcome = _counted(change, await work)
        except UnavailableError as error:
            logger.warning("unavailable: %s", error)
            message = "a store does not answer now; repeat this later with the same idempotency key"
            return _counted(change, Outcome(refusals=(Refusal(RefusalCode.UNAVAILABLE, message),)))
        if outcome.reservation is not None:
            self._show(outcome.reservation)
        return outcome

    def holder(self, evse_id: str, at: Instant) -> str | None:
        """Return the id of the partner that holds an Evse at an Instant, None when nobody does."""
        latest = self._latest.get(evse_id)
        return latest.partner_id if latest is not None and at < _held_until(latest) else None

    def _show_all(self, reservations: Sequence[Reservation], *, complete: bool) -> None:
        """Show what the store tells; where that is all that live, lift every other hold."""
        if complete:
            for evse_id in self._latest.keys() - {reservation.evse_id for reservation in reservations}:
                self._board.set_hold(evse_id, 0.0)
            self._latest.clear()
        for reservation in reservations:
            self._show(reservation)

    def _show(self, reservation: Reservation) -> None:
        """Put a reservation on the board, unless we know better: replays and other processes speak of the past."""
        for signal in self._listeners.get(reservation.id, ()):
            signal.set()
        latest = self._latest.get(reservation.evse_id)
        if latest is not None and not _is_news(reservation, latest):
            return
        self._latest.pop(reservation.evse_id, None)
        self._latest[reservation.evse_id] = reservation
        self._board.set_hold(reservation.evse_id, _held_until(reservation))
        # The one that nothing was heard of for longest comes first; once its time is over, nothing about it matters.
        for evse_id in list(islice(self._latest, 2)):
            if self._latest[evse_id].expires_at < reservation.created_at:
                del self._latest[evse_id]


def _counted(change: str, outcome: Outcome) -> Outcome:
    """Return an outcome that metrics know of."""
    told = outcome.refusals[0].code.value if outcome.refusals else "REPLAYED" if outcome.replayed else "DONE"
    metrics.RESERVATIONS.add(change, told)
    return outcome


def _is_news(reservation: Reservation, latest: Reservation) -> bool:
    """Tell whether a reservation of the same Evse stands later in its history: a later grant, or the same one moved on,
    which ends once and is never cut short without ending.
    """
    if reservation.id != latest.id:
        return reservation.fence >= latest.fence
    return latest.ended_at is None and (reservation.ended_at is not None or reservation.expires_at >= latest.expires_at)


def _held_until(reservation: Reservation) -> Instant:
    return reservation.expires_at if reservation.state in LIVE_STATES else 0.0


def _command(viewer: Viewer, idempotency_key: str, *parts: str | int) -> Command:
    fingerprint = sha256(msgspec.json.encode(parts)).hexdigest()
    return Command(partner_id=viewer.partner.id, idempotency_key=idempotency_key, fingerprint=fingerprint)


def _hold_out_of_range(hold_s: int) -> Refusal | None:
    if MIN_HOLD_S <= hold_s <= MAX_HOLD_S:
        return None
    message = f"holdS is {hold_s}; a hold lasts from {MIN_HOLD_S} to {MAX_HOLD_S} seconds"
    return Refusal(RefusalCode.HOLD_OUT_OF_RANGE, message, "holdS")


def _not_holdable(view: EvseView | None) -> Refusal | None:
    if view is None:
        return Refusal(RefusalCode.UNKNOWN_EVSE, "there is no such Evse", "evseId")
    if not view.grants.reserve:
        return Refusal(RefusalCode.NOT_RESERVABLE, "this Evse's operator takes no reservations of yours", "evseId")
    if view.held:
        return Refusal(RefusalCode.ALREADY_RESERVED, "somebody holds this Evse", "evseId")
    if view.availability in {Availability.UNKNOWN, Availability.NOT_LIVE}:
        return Refusal(RefusalCode.STATUS_UNKNOWN, "nobody knows whether this Evse is free", "evseId")
    if view.availability is not Availability.AVAILABLE:
        return Refusal(RefusalCode.EVSE_NOT_AVAILABLE, f"this Evse is {view.availability.value} now", "evseId")
    return None
