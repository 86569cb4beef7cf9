"""Clients that reserve and cancel a few Evses at once, note what they were told, and check that it can be true."""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from itertools import count, pairwise
from random import Random

from app.errors import UnavailableError
from app.model.reservation import Guarantee, Outcome, RefusalCode, Reservation, ReservationState
from app.reservations.base import Command, ReservationStore
from tests.linearizability import Operation, is_linearizable

_FREE = ""
_MOST_PENDING = 4  # operations of one Evse without an answer: each doubles what the checker has to try
_REPEAT_S = 0.1
_MANY = 40

_numbers = count()


def command(partner_id: str = "nav", key: str | None = None) -> Command:
    return Command(partner_id=partner_id, idempotency_key=key or f"key {next(_numbers)}", fingerprint="f")


async def eventually(holds: Callable[[], bool | Awaitable[bool]], within_s: float = 10.0) -> None:
    """Return once a condition holds."""
    async with asyncio.timeout(within_s):
        while not (result if isinstance(result := holds(), bool) else await result):  # noqa: ASYNC110 (of elsewhere)
            await asyncio.sleep(0.02)


class Traffic:
    """What clients did and were told; they go on until `is_over`. `granted` holds what was acknowledged."""

    def __init__(self, evse_ids: Sequence[str]) -> None:
        self.evse_ids = evse_ids
        self.granted: dict[str, Reservation] = {}
        self.maybe_cancelled: set[str] = set()
        self.unanswered = 0
        self.is_over = False
        self._pending: dict[str, int] = defaultdict(int)
        self._history: dict[str, list[Operation[str]]] = defaultdict(list)

    async def client(self, store: ReservationStore, name: str, seed: int, *, repeats: bool) -> None:
        """Reserve and cancel; who gets no answer repeats the command with its key, or gives up."""
        random = Random(seed)
        while not self.is_over:
            evse_id = random.choice(self.evse_ids)
            reservation = await self._reserve(store, name, evse_id, repeats=repeats)
            if reservation is not None and random.random() < 0.95:
                await asyncio.sleep(random.random() * 0.02)
                await self._cancel(store, name, reservation, repeats=repeats)
            await asyncio.sleep(random.random() * 0.02)

    async def _reserve(self, store: ReservationStore, name: str, evse_id: str, *, repeats: bool) -> Reservation | None:
        key = command(name)
        called, outcome, returned = await self._ask(
            evse_id, lambda: store.reserve(key, evse_id, 3_600, Guarantee.HUB_HOLD), repeats=repeats
        )
        if outcome is None:
            step = _step(_FREE, f"whoever sent {key.idempotency_key}")
        elif outcome.reservation is not None:
            assert outcome.reservation.state is ReservationState.HELD
            self.granted[outcome.reservation.id] = outcome.reservation
            step = _step(_FREE, outcome.reservation.id)
        else:
            assert [refusal.code for refusal in outcome.refusals] == [RefusalCode.ALREADY_RESERVED]
            step = _is_held
        self._history[evse_id].append(Operation(called, returned, step))
        return None if outcome is None else outcome.reservation

    async def _cancel(self, store: ReservationStore, name: str, reservation: Reservation, *, repeats: bool) -> None:
        key = command(name)
        self.maybe_cancelled.add(reservation.id)
        called, outcome, returned = await self._ask(
            reservation.evse_id, lambda: store.cancel(key, reservation.id), repeats=repeats
        )
        # It was acknowledged, is not over and nobody else may end it: to be told that it is gone can never be right.
        gone = outcome is not None and outcome.reservation is None
        step = _never if gone else _step(reservation.id, _FREE)
        self._history[reservation.evse_id].append(Operation(called, returned, step))

    async def _ask(
        self, evse_id: str, ask: Callable[[], Awaitable[Outcome]], *, repeats: bool
    ) -> tuple[float, Outcome | None, float]:
        called = time.perf_counter()
        while True:
            try:
                return called, await ask(), time.perf_counter()
            except UnavailableError:
                self.unanswered += 1
                if self.is_over or (not repeats and self._pending[evse_id] < _MOST_PENDING):
                    self._pending[evse_id] += 1
                    return called, None, math.inf
                await asyncio.sleep(_REPEAT_S)

    async def goes_on(self, more: int = _MANY) -> None:
        """Return after so many more grants."""
        enough = len(self.granted) + more
        await eventually(lambda: len(self.granted) >= enough, within_s=60)

    def is_linearizable(self) -> bool:
        return all(is_linearizable(history, _FREE) for history in self._history.values())

    async def lost(self, store: ReservationStore) -> list[Reservation]:
        """Acknowledged holds that nobody tried to end and that are not live any more."""
        live = {reservation.id: reservation for reservation in await store.list_live()}
        kept = [each for each in self.granted.values() if each.id not in self.maybe_cancelled]
        return [each for each in kept if live.get(each.id) != each]

    def fences_rise(self) -> bool:
        """The fences of acknowledged grants of one Evse rise with time."""
        ordered = sorted(self.granted.values(), key=lambda each: (each.evse_id, each.created_at))
        return all(before.fence < after.fence for before, after in pairwise(ordered) if before.evse_id == after.evse_id)


def _step(before: str, after: str) -> Callable[[str], tuple[str, ...]]:
    return lambda holder: (after,) if holder == before else ()


def _never(_: str) -> tuple[str, ...]:
    return ()


def _is_held(holder: str) -> tuple[str, ...]:
    return () if holder == _FREE else (holder,)
