"""The contract of live status."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import msgspec

from app.model.availability import EvseStatus
from app.model.clock import Instant
from app.model.search import BoolArray, KeyArray, SlotArray, StateArray


class RecordSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch of statuses did: taken, of these with another availability than before, and of unknown Evses."""

    taken: int
    changed: int
    unknown_evses: int


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """How many Evses have a status that still counts, how many one that is stale, and ``change_count``."""

    fresh: int
    stale: int
    changes: int


class LiveBoard(ABC):
    """What is free now, answered from this process's memory and kept durable by the implementation.

    An Evse is known from the moment the index made a slot for it (``slots``); statuses of Evses that nobody knows are
    counted and dropped, so that no sender can fill the memory. Of two statuses of one Evse the one received later
    wins (T/CEC pushes carry no event time); an equal or older ``received_at`` changes nothing.
    A status is worth nothing from ``stale_after`` on: it is then reported as it was, and never usable.
    Holds overlay the status: from ``set_hold`` until ``until`` the Evse is not usable.
    Implements ``app.model.search.AvailabilityView``.
    """

    @abstractmethod
    async def open(self) -> None:
        """Load what was known before; complete before it returns."""

    @abstractmethod
    async def close(self) -> None:
        """Write what is not yet written, and release files and connections."""

    @abstractmethod
    async def record(self, statuses: Sequence[EvseStatus]) -> RecordSummary:
        """Take statuses; visible to the very next ``find`` and ``usable``."""

    @abstractmethod
    async def flush(self) -> None:
        """Return once everything recorded is durable."""

    @abstractmethod
    def find(self, evse_ids: Sequence[str]) -> list[EvseStatus | None]:
        """Return the last status of each Evse as it was received, None where there was never one."""

    @abstractmethod
    def find_slots(self, evse_ids: Sequence[str]) -> tuple[int, ...] | None:
        """Return the slot of each Evse; None while one of them has none. A slot never changes."""

    @property
    @abstractmethod
    def change_count(self) -> int:
        """How often statuses and holds were taken so far in this process."""

    @abstractmethod
    def last_change(self, slots: Sequence[int]) -> int:
        """Return what ``change_count`` was when the status or hold of one of these slots was last taken; 0 for never.

        Whoever read them when it was at least that still knows what the board would answer now, but for what passes
        with time alone: ``stale_after``, and the ends of holds.
        """

    @abstractmethod
    def slots(self, keys: KeyArray) -> SlotArray:
        """Return the slot of each Evse key (``app.model.identity.evse_key``), making slots for new keys."""

    @abstractmethod
    def usable(self, slots: SlotArray, at: Instant, max_age_s: float | None) -> BoolArray:
        """Tell for each slot whether it is AVAILABLE, ``at`` < stale_after, not held at ``at``, and, with
        ``max_age_s``, observed no longer than that before ``at``.
        """

    @abstractmethod
    def fresh(self, slots: SlotArray, at: Instant, max_age_s: float) -> BoolArray:
        """Tell for each slot whether there is a status, whatever it says, with ``at`` < stale_after, observed no
        longer than ``max_age_s`` before ``at``.
        """

    @abstractmethod
    def states(self, slots: SlotArray, at: Instant) -> StateArray:
        """Return for each slot a number that stands for what is shown of it ``at``: what the last news said, whether
        there is any, whether it is stale, and whether and until when it is held. Equal numbers look the same, but for
        ages; news that says the same again changes nothing.
        """

    @abstractmethod
    def set_hold(self, evse_id: str, until: Instant) -> None:
        """Make the Evse unusable until an Instant; an Instant in the past lifts the hold."""

    @abstractmethod
    def holds(self, evse_ids: Iterable[str], at: Instant) -> list[bool]:
        """Tell for each Evse whether it is held at ``at``."""

    @abstractmethod
    def newest(self, feed: str) -> Instant | None:
        """Return when the last status of a feed was received, None where there was none since the process began."""

    @abstractmethod
    def freshness(self, at: Instant) -> Freshness:
        """Count the Evses with a status: fresh where ``at`` < stale_after. Looks at every Evse; from any thread."""
