"""Hold an Evse, hold it longer, let it go.

Operators without a reservation interface (all of T/CEC 102) are answered for by the hub's own hold, and the
reservation says so: ``Guarantee.HUB_HOLD``.
"""

import asyncio
import logging
from collections.abc import Awaitable
from hashlib import sha256

import msgspec

from app.errors import UnavailableError
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
from app.services.station_search import EvseView, StationSearch
from app.services.viewer import Viewer

logger = logging.getLogger("chargegraph.booking")


class Booking:
    """The use case of a partner that wants an Evse to be free when its driver arrives."""

    def __init__(self, store: ReservationStore, board: LiveBoard, search: StationSearch) -> None:
        """Keep the store of the truth, and the board that shows it."""
        self._store = store
        self._board = board
        self._search = search
        self._latest: dict[str, Reservation] = {}

    async def load(self) -> int:
        """Show every live reservation on the board; needed once after a start. Return how many there are."""
        live = await self._store.list_live()
        for reservation in live:
            self._show(reservation)
        return len(live)

    async def now(self) -> Instant:
        """Return the store's clock, against which ``expires_at`` counts."""
        return await self._store.now()

    async def reserve(self, viewer: Viewer, evse_id: str, hold_s: int, idempotency_key: str) -> Outcome:
        """Hold an Evse for ``hold_s``. Only one that is known, in operation, and AVAILABLE with fresh news is held."""
        viewer.require(Scope.RESERVE)
        command = _command(viewer, idempotency_key, evse_id, hold_s)
        return await self._answer(self._reserve(viewer, command, evse_id, hold_s))

    async def extend(self, viewer: Viewer, reservation_id: str, hold_s: int, idempotency_key: str) -> Outcome:
        """Let a live reservation end ``hold_s`` from now, if that is later than it would have ended."""
        viewer.require(Scope.RESERVE)
        if refusal := _hold_out_of_range(hold_s):
            return Outcome(refusals=(refusal,))
        command = _command(viewer, idempotency_key, reservation_id, hold_s)
        return await self._answer(self._store.extend(command, reservation_id, hold_s))

    async def cancel(self, viewer: Viewer, reservation_id: str, idempotency_key: str) -> Outcome:
        """End a live reservation; the Evse is free for others at once."""
        viewer.require(Scope.RESERVE)
        command = _command(viewer, idempotency_key, reservation_id)
        return await self._answer(self._store.cancel(command, reservation_id))

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

    async def _answer(self, work: Awaitable[Outcome]) -> Outcome:
        """Finish even when the caller gives up waiting: what the store grants, the board shows."""
        return await asyncio.shield(asyncio.ensure_future(self._finish(work)))

    async def _finish(self, work: Awaitable[Outcome]) -> Outcome:
        try:
            outcome = await work
        except UnavailableError as error:
            logger.warning("unavailable: %s", error)
            message = "a store does not answer now; repeat this later with the same idempotency key"
            return Outcome(refusals=(Refusal(RefusalCode.UNAVAILABLE, message),))
        if outcome.reservation is not None:
            self._show(outcome.reservation)
        return outcome

    def holder(self, evse_id: str, at: Instant) -> str | None:
        """Return the id of the partner that holds an Evse at an Instant, None when nobody does."""
        latest = self._latest.get(evse_id)
        return latest.partner_id if latest is not None and at < latest.expires_at else None

    def _show(self, reservation: Reservation) -> None:
        """Put a reservation on the board, unless a later one of the same Evse is shown: replays speak of the past."""
        latest = self._latest.get(reservation.evse_id)
        if latest is not None and latest.fence > reservation.fence:
            return
        if reservation.state in LIVE_STATES:
            self._latest[reservation.evse_id] = reservation
            self._board.set_hold(reservation.evse_id, reservation.expires_at)
        else:
            self._latest.pop(reservation.evse_id, None)
            self._board.set_hold(reservation.evse_id, 0.0)


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
    if view.held:
        return Refusal(RefusalCode.ALREADY_RESERVED, "somebody holds this Evse", "evseId")
    if view.availability in {Availability.UNKNOWN, Availability.NOT_LIVE}:
        return Refusal(RefusalCode.STATUS_UNKNOWN, "nobody knows whether this Evse is free", "evseId")
    if view.availability is not Availability.AVAILABLE:
        return Refusal(RefusalCode.EVSE_NOT_AVAILABLE, f"this Evse is {view.availability.value} now", "evseId")
    return None
