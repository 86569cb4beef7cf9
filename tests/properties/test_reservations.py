"""No history of holds books an Evse twice: random commands, clocks, restarts and races against a simple model.

The SQLite ledger is held to it; that Redis answers as SQLite does is what `test_ledgers` says.
"""

import asyncio
from collections.abc import Coroutine
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from app.model.clock import ManualClock
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
from app.reservations.base import Command, ReservationStore
from app.reservations.embedded import EmbeddedReservations

T = TypeVar("T")
MAX_LIVE = 3
S = ReservationState
R = RefusalCode
NOBODYS = "rsv_AAAAAAAAAAAAAAAAAAAAAAAA"

PARTNERS = st.sampled_from(["nav", "map"])
EVSES = st.sampled_from([f"cec102:P:{number}" for number in range(6)])
KEYS = st.integers(0, 20).map(str)
HOLDS = st.sampled_from([MIN_HOLD_S, 600, MAX_HOLD_S]) | st.integers(MIN_HOLD_S - 1, MAX_HOLD_S + 1)
WHICH = st.integers(0, 7)
MOSTLY = st.integers(0, 5).map(bool)


class Histories(RuleBasedStateMachine):
    """What a store was asked, and what it must answer."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = TemporaryDirectory()
        self._runner = asyncio.Runner()
        self._racers = count()
        self._clock = ManualClock()
        self._now = self._clock()
        self._store = self._opened()
        self._written: list[Reservation] = []  # as they were left by the last command that changed them
        self._fences: dict[str, int] = {}
        self._answers: dict[tuple[str, str, str], tuple[str, list[RefusalCode], str | None]] = {}

    def teardown(self) -> None:
        self._run(self._store.close())
        self._runner.close()
        self._folder.cleanup()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def _opened(self) -> ReservationStore:
        store = EmbeddedReservations(Path(self._folder.name) / "reservations.sqlite", self._clock, MAX_LIVE)
        self._run(store.open())
        return store

    # -------------------------------------------------------------------------------------------- the model

    def _standing(self, reservation: Reservation) -> Reservation:
        if reservation.ended_at is not None or self._now < reservation.expires_at:
            return reservation
        return msgspec.structs.replace(reservation, state=S.EXPIRED, ended_at=reservation.expires_at)

    def _all(self) -> list[Reservation]:
        return [self._standing(reservation) for reservation in self._written]

    def _live(self) -> list[Reservation]:
        return [reservation for reservation in self._all() if reservation.state in LIVE_STATES]

    def _one(self, which: int) -> Reservation | None:
        """Return one of the latest reservations; None for one that never was."""
        return self._all()[-1 - which] if which < len(self._written) else None

    def _change(self, changed: Reservation) -> None:
        self._written = [changed if each.id == changed.id else each for each in self._written]

    def _check(
        self,
        operation: str,
        command: Command,
        outcome: Outcome,
        expected: list[RefusalCode],
        changed: Reservation | None = None,
    ) -> None:
        """Compare an outcome with what is remembered under its key, or else with what the model says."""
        codes = [refusal.code for refusal in outcome.refusals]
        name = (operation, command.partner_id, command.idempotency_key)
        if name in self._answers:
            fingerprint, expected, reservation_id = self._answers[name]
            if fingerprint != command.fingerprint:
                assert (codes, outcome.replayed) == ([R.IDEMPOTENCY_KEY_REUSED], False)
                return
            assert (codes, outcome.replayed) == (expected, True)
            standing = {each.id: each for each in self._all()}
            assert outcome.reservation == (None if reservation_id is None else standing[reservation_id])
            return
        assert (codes, outcome.replayed) == (expected, False)
        reservation_id = None if outcome.reservation is None else outcome.reservation.id
        self._answers[name] = (command.fingerprint, expected, reservation_id)
        if changed is not None:
            assert outcome.reservation == changed
            self._change(changed)
        elif expected:
            assert outcome.reservation is None

    def _tick(self) -> None:
        self._now = max(self._now, self._clock())

    # -------------------------------------------------------------------------------------------- what happens

    @rule(partner=PARTNERS, evse_id=EVSES, hold_s=HOLDS, key=KEYS)
    def reserve(self, partner: str, evse_id: str, hold_s: int, key: str) -> None:
        command = Command(partner_id=partner, idempotency_key=key, fingerprint=f"{evse_id} {hold_s}")
        self._tick()
        outcome = self._run(self._store.reserve(command, evse_id, hold_s, Guarantee.HUB_HOLD))
        if not MIN_HOLD_S <= hold_s <= MAX_HOLD_S:
            assert [refusal.code for refusal in outcome.refusals] == [R.HOLD_OUT_OF_RANGE]
            return
        live, expected = self._live(), list[RefusalCode]()
        if any(each.evse_id == evse_id for each in live):
            expected = [R.ALREADY_RESERVED]
        elif sum(each.partner_id == partner for each in live) >= MAX_LIVE:
            expected = [R.TOO_MANY_RESERVATIONS]
        granted = outcome.reservation
        if ("reserve", partner, key) not in self._answers and not expected:
            assert granted is not None
            self._take(granted, partner, evse_id, hold_s)
        self._check("reserve", command, outcome, expected)

    def _take(self, granted: Reservation, partner: str, evse_id: str, hold_s: int) -> None:
        assert granted == Reservation(
            id=granted.id,
            evse_id=evse_id,
            partner_id=partner,
            state=S.HELD,
            guarantee=Guarantee.HUB_HOLD,
            fence=granted.fence,
            created_at=self._now,
            expires_at=self._now + hold_s,
        )
        assert granted.id not in {each.id for each in self._written}
        assert granted.fence > self._fences.get(evse_id, 0)
        self._fences[evse_id] = granted.fence
        self._written.append(granted)

    @rule(evse_id=EVSES, racers=st.integers(2, 12))
    def race(self, evse_id: str, racers: int) -> None:
        """Many partners, who hold nothing else, want one Evse at the same moment."""
        self._tick()
        commands = [
            Command(partner_id=f"racer {next(self._racers)}", idempotency_key="k", fingerprint="f")
            for _ in range(racers)
        ]

        async def run() -> list[Outcome]:
            asked = (self._store.reserve(command, evse_id, 600, Guarantee.HUB_HOLD) for command in commands)
            return await asyncio.gather(*asked)

        was_free = all(each.evse_id != evse_id for each in self._live())
        granted = [outcome.reservation for outcome in self._run(run()) if outcome.reservation is not None]
        assert len(granted) == was_free
        for reservation in granted:
            self._take(reservation, reservation.partner_id, evse_id, 600)

    @rule(partner=PARTNERS, which=WHICH, hold_s=HOLDS, key=KEYS, own=MOSTLY)
    def extend(self, partner: str, which: int, hold_s: int, key: str, *, own: bool) -> None:
        self._tick()
        reservation = self._one(which)
        id_ = NOBODYS if reservation is None else reservation.id
        partner = reservation.partner_id if own and reservation is not None else partner
        command = Command(partner_id=partner, idempotency_key=key, fingerprint=f"{id_} {hold_s}")
        outcome = self._run(self._store.extend(command, id_, hold_s))
        if not MIN_HOLD_S <= hold_s <= MAX_HOLD_S:
            assert [refusal.code for refusal in outcome.refusals] == [R.HOLD_OUT_OF_RANGE]
            return
        if reservation is None or reservation.partner_id != partner:
            self._check("extend", command, outcome, [R.UNKNOWN_RESERVATION])
        elif reservation.state not in LIVE_STATES:
            self._check("extend", command, outcome, [R.RESERVATION_ENDED])
        else:
            end = max(reservation.expires_at, self._now + hold_s)
            if end > reservation.created_at + MAX_TOTAL_HOLD_S:
                self._check("extend", command, outcome, [R.HOLD_OUT_OF_RANGE])
            else:
                self._check("extend", command, outcome, [], msgspec.structs.replace(reservation, expires_at=end))

    @rule(partner=PARTNERS, which=WHICH, key=KEYS, own=MOSTLY)
    def cancel(self, partner: str, which: int, key: str, *, own: bool) -> None:
        self._tick()
        reservation = self._one(which)
        id_ = NOBODYS if reservation is None else reservation.id
        partner = reservation.partner_id if own and reservation is not None else partner
        command = Command(partner_id=partner, idempotency_key=key, fingerprint=id_)
        outcome = self._run(self._store.cancel(command, id_))
        if reservation is None or reservation.partner_id != partner:
            self._check("cancel", command, outcome, [R.UNKNOWN_RESERVATION])
        elif reservation.state is S.CANCELLED:
            self._check("cancel", command, outcome, [], reservation)
        elif reservation.state not in LIVE_STATES:
            self._check("cancel", command, outcome, [R.RESERVATION_ENDED])
        else:
            cancelled = msgspec.structs.replace(reservation, state=S.CANCELLED, ended_at=self._now)
            self._check("cancel", command, outcome, [], cancelled)

    @precondition(lambda self: self._live())
    @rule(which=WHICH, number=st.integers(0, 30), in_time=MOSTLY, known=MOSTLY, fitting=MOSTLY)
    def transition(self, which: int, number: int, *, in_time: bool, known: bool, fitting: bool) -> None:
        """An operator's message, mostly about what is; sometimes late, or about what never was."""
        self._tick()
        reservation = self._live()[which % len(self._live())]
        expected = reservation.state if known else list(S)[number % len(S)]
        steps = sorted(TRANSITIONS.get(expected, S) if fitting else S, key=lambda each: each.value)
        state = steps[number % len(steps)]
        fence = reservation.fence - (not in_time)
        moved = self._run(self._store.transition(reservation.id, fence, expected, state))
        assert moved == (in_time and expected is reservation.state and state in TRANSITIONS[expected])
        if moved:
            ended_at = None if state in LIVE_STATES else self._now
            self._change(msgspec.structs.replace(reservation, state=state, ended_at=ended_at))

    @rule(seconds=st.sampled_from([-600.0, -1.0, 0.5, 1.0, 59.0, 600.0]))
    def wait(self, seconds: float) -> None:
        """Time goes by; now and then somebody sets the clock back."""
        self._clock.advance(seconds)

    @rule()
    def restart(self) -> None:
        self._clock.instant = max(self._clock.instant, self._now)
        self._run(self._store.close())
        self._store = self._opened()

    # -------------------------------------------------------------------------------------------- what always holds

    @invariant()
    def no_evse_is_held_twice(self) -> None:
        self._tick()
        live = self._run(self._store.list_live())
        held = [reservation.evse_id for reservation in live]
        assert len(held) == len(set(held))
        assert sorted(live, key=lambda each: each.id) == sorted(self._live(), key=lambda each: each.id)

    @invariant()
    def each_reservation_stands_as_the_model_says_and_is_its_partners_own(self) -> None:
        self._tick()
        assert self._run(self._store.now()) == self._now
        if self._written:
            latest = self._all()[-1]
            assert self._run(self._store.find_reservation(latest.partner_id, latest.id)) == latest
            assert self._run(self._store.find_reservation("stranger", latest.id)) is None
        for partner in ("nav", "map"):
            mine = [each for each in self._all() if each.partner_id == partner]
            listed = self._run(self._store.list_reservations(partner, 1_000, None, live_only=False))
            assert listed == sorted(mine, key=lambda each: (each.created_at, each.id), reverse=True)


def test_no_history_books_an_evse_twice():
    run_state_machine_as_test(Histories)
