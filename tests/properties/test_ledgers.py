"""The ledger in Redis and the one in SQLite give the same answers to the same commands, whatever these are."""

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from random import Random

import msgspec
import pytest

from app.model.clock import ManualClock
from app.model.reservation import Guarantee, Outcome, Reservation, ReservationState
from app.reservations.base import Command, ReservationStore
from app.reservations.embedded import EmbeddedReservations
from app.reservations.redis import RedisReservations

STEPS = 250
_EVSES = ("f:p:1", "f:p:2", "f:p:3", "f:p:4")
_PARTNERS = ("nav", "map")
_STATES = tuple(ReservationState)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def ledgers(tmp_path: Path, redis_url: str, clock: ManualClock) -> AsyncIterator[tuple[ReservationStore, ...]]:
    stores = EmbeddedReservations(tmp_path / "ledger.sqlite", clock, 3), RedisReservations(redis_url, 3, clock)
    for store in stores:
        await store.open()
    yield stores
    for store in stores:
        await store.close()


class Twins:
    """One sequence of commands to two ledgers. Ids are theirs; here each grant is known by its number."""

    def __init__(self, stores: tuple[ReservationStore, ...], clock: ManualClock, random: Random) -> None:
        self.stores = stores
        self.clock = clock
        self.random = random
        self.grants: list[tuple[str, ...]] = [("rsv_" + "A" * 24,) * len(stores)]
        self.numbers: dict[str, int] = {}
        self.keys = count()

    async def step(self) -> None:
        random = self.random
        self.clock.advance(0.001)  # of what is made at one instant the ids decide, and they are different ones
        match random.choice(("reserve", "reserve", "extend", "cancel", "move", "move", "wait", "look", "step back")):
            case "reserve":
                command, evse_id, hold_s = self._command(), random.choice(_EVSES), random.choice((59, 60, 90.5, 3_600))
                await self._ask(lambda store, _: store.reserve(command, evse_id, int(hold_s), Guarantee.HUB_HOLD))
            case "extend":
                command, hold_s = self._command(), random.choice((60, 600, 3_600))
                await self._ask(lambda store, id_: store.extend(command, id_, hold_s))
            case "cancel":
                command = self._command()
                await self._ask(lambda store, id_: store.cancel(command, id_))
            case "move":
                await self._move()
            case "wait":
                self.clock.advance(random.choice((0.25, 30, 59.5, 1_800, 3_600)))
            case "step back":
                await self._look()
                self.clock.advance(-20)
                await self._look()
                self.clock.advance(20)
            case _:
                await self._look()

    def _command(self) -> Command:
        number = next(self.keys)
        key = number if self.random.random() < 0.7 else self.random.randrange(number + 1)
        return Command(
            partner_id=self.random.choice(_PARTNERS),
            idempotency_key=str(key),
            fingerprint=self.random.choice("aaab"),
        )

    async def _ask(self, ask) -> None:
        ids = self.random.choice(self.grants[-6:])
        outcomes: list[Outcome] = [await ask(store, id_) for store, id_ in zip(self.stores, ids, strict=True)]
        granted = [outcome.reservation.id for outcome in outcomes if outcome.reservation is not None]
        if len(granted) == len(outcomes) and granted[0] not in self.numbers:
            self.numbers |= dict.fromkeys(granted, len(self.grants))
            self.grants.append(tuple(granted))
        self._compare([msgspec.structs.replace(one, reservation=self._named(one.reservation)) for one in outcomes])

    async def _move(self) -> None:
        ids = self.random.choice(self.grants[-6:])
        fence, state = self.random.choice((1, 1, 2, 3)), self.random.choice(_STATES)
        expected = self.random.choice((ReservationState.HELD, *_STATES))
        self._compare(
            [await store.transition(id_, fence, expected, state) for store, id_ in zip(self.stores, ids, strict=True)]
        )

    async def _look(self) -> None:
        partner_id, first, live_only = (
            self.random.choice(_PARTNERS),
            self.random.randrange(6),
            self.random.random() < 0.3,
        )
        self._compare([await store.now() for store in self.stores])
        self._compare([{self._named(one) for one in await store.list_live()} for store in self.stores])
        ids = self.random.choice(self.grants)
        found = [await store.find_reservation(partner_id, id_) for store, id_ in zip(self.stores, ids, strict=True)]
        self._compare([self._named(one) for one in found])
        after = [None if one is None else (one.created_at, one.id) for one in found]
        pages = [
            await store.list_reservations(partner_id, first, position, live_only=live_only)
            for store, position in zip(self.stores, after, strict=True)
        ]
        self._compare([[self._named(one) for one in page] for page in pages])

    def _named(self, reservation: Reservation | None) -> Reservation | None:
        if reservation is None:
            return None
        return msgspec.structs.replace(reservation, id=f"grant {self.numbers[reservation.id]}")

    def _compare(self, answers: list[object]) -> None:
        assert answers[0] == answers[1]


@pytest.mark.parametrize("seed", range(8))
async def test_the_same_commands_have_the_same_outcomes(
    ledgers: tuple[ReservationStore, ...], clock: ManualClock, seed: int
) -> None:
    twins = Twins(ledgers, clock, Random(seed))
    for _ in range(STEPS):
        await twins.step()
    assert len(twins.grants) > 10
