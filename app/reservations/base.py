"""The contract of a reservation store."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import msgspec

from app.model.clock import Instant
from app.model.reservation import Guarantee, Outcome, Reservation, ReservationState


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a mutation safe to repeat: scoped by partner and operation, bound to the input by its fingerprint."""

    partner_id: str
    idempotency_key: str
    fingerprint: str


class OnChange(Protocol):
    """Hears of reservations as they were written; ``complete`` when these are all that live, and no other does."""

    def __call__(self, reservations: Sequence[Reservation], *, complete: bool) -> None:
        """Take them; must not raise, and not take long."""


class ReservationStore(ABC):
    """Who holds what until when; transactional, and acknowledged means durable.

    At most one live reservation per Evse, enforced by the store itself. A reservation is dead once the store's clock
    reaches ``expires_at``; it is then reported as EXPIRED (IN_DOUBT likewise), and the Evse may be granted anew with a
    higher fence. Every mutation records its outcome under (partner, operation, idempotency key) in the same
    transaction: the same key with the same fingerprint gives the recorded outcome with ``replayed`` and the
    reservation as it stands now; with another fingerprint, IDEMPOTENCY_KEY_REUSED. Refusals for reasons of state are
    recorded too. A partner sees its own reservations only: another's is UNKNOWN_RESERVATION.
    Raises UnavailableError when the store does not answer; then nothing was changed, or the same key replays it.
    """

    @abstractmethod
    async def open(self) -> None:
        """Make the store ready; needed once before anything else."""

    @abstractmethod
    async def close(self) -> None:
        """Release files and connections."""

    @abstractmethod
    async def check(self) -> None:
        """Return when the store answers and, once ``follow`` was called, tells what other processes do. Raises
        UnavailableError.
        """

    @abstractmethod
    async def now(self) -> Instant:
        """Return the store's clock."""

    @abstractmethod
    async def find_replay(self, operation: str, command: Command) -> Outcome | None:
        """Return the recorded outcome of a key ("reserve", "extend", "cancel"), None when the key is new."""

    @abstractmethod
    async def reserve(self, command: Command, evse_id: str, hold_s: int, guarantee: Guarantee) -> Outcome:
        """Hold an Evse for ``hold_s`` from the store's now. Refuses with ALREADY_RESERVED while one is live, and with
        TOO_MANY_RESERVATIONS when the partner has ``max_live`` live ones.
        """

    @abstractmethod
    async def extend(self, command: Command, reservation_id: str, hold_s: int) -> Outcome:
        """Let a live reservation end ``hold_s`` after the store's now, never earlier than it would have, and at most
        MAX_TOTAL_HOLD_S after it began (HOLD_OUT_OF_RANGE). Refuses with RESERVATION_ENDED when it is not live.
        """

    @abstractmethod
    async def cancel(self, command: Command, reservation_id: str) -> Outcome:
        """End a live reservation. One that is cancelled already is answered as it stands; one that ended otherwise
        is refused with RESERVATION_ENDED.
        """

    @abstractmethod
    async def transition(
        self, reservation_id: str, fence: int, expected: ReservationState, state: ReservationState
    ) -> bool:
        """Move a live reservation on (an operator's answer, a session's start or end). False, with nothing changed,
        when the fence is old, the state is another, the step is not of the state machine, or it is dead.
        """

    @abstractmethod
    async def find_reservation(self, partner_id: str, reservation_id: str) -> Reservation | None:
        """Return a partner's reservation as it stands now, None when unknown or another's."""

    @abstractmethod
    async def list_reservations(
        self, partner_id: str, first: int, after: tuple[Instant, str] | None, *, live_only: bool
    ) -> list[Reservation]:
        """Return a partner's reservations, newest first by (created_at, id), after that position."""

    @abstractmethod
    async def list_live(self) -> list[Reservation]:
        """Return every live reservation of every partner."""

    @abstractmethod
    async def follow(self, on_change: OnChange) -> None:
        """Tell every live reservation before this returns, and from then on, until ``close``, each change that another
        process makes (one's own may be told again). After a time in which changes may have been missed, every live
        one is told anew. To be called once.
        """
