"""Tell a partner what becomes of one of its reservations."""

import asyncio
from contextlib import suppress
from typing import Final

from app.errors import InvalidInputError, UnavailableError
from app.model.reservation import LIVE_STATES, Reservation
from app.services.booking import Booking
from app.services.viewer import Viewer

LOOK_S: Final = 2.0
"""How often a reservation is looked at that nobody told of: its time may have run out."""


class ReservationFollowing:
    """One subscriber's view of one reservation, until that has ended."""

    def __init__(self, booking: Booking, viewer: Viewer, reservation_id: str) -> None:
        """Begin with nothing told. Raises NotAllowedError when the partner follows too many."""
        self._booking = booking
        self._viewer = viewer
        self._id = reservation_id
        self._told: Reservation | None = None
        self._closed = False
        self._signal = booking.listen(viewer, reservation_id)

    async def ready(self) -> bool:
        """Return once the reservation is otherwise than it was told: True; False when it has ended and that was told.

        Raises InvalidInputError when the partner has no such reservation.
        """
        while not self._closed and (self._told is None or self._told.state in LIVE_STATES):
            self._signal.clear()
            try:
                if await self._find() != self._told:
                    return True
            except UnavailableError:
                if self._told is None:
                    raise
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._signal.wait()
        return False

    async def take(self) -> Reservation:
        """Return the reservation as it stands now; it is told with that."""
        self._told = await self._find()
        return self._told

    def forget(self) -> None:
        """Begin anew: nothing is told."""
        self._told = None

    def close(self) -> None:
        """Follow no longer."""
        if not self._closed:
            self._closed = True
            self._booking.ignore(self._viewer, self._id, self._signal)
            self._signal.set()

    async def _find(self) -> Reservation:
        found = await self._booking.find_reservation(self._viewer, self._id)
        if found is None:
            raise InvalidInputError("id", "this key's partner has no such reservation")
        return found
