"""What every reservation store promises, whatever it is made of."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import count
from typing import Any

import pytest

from app.model.clock import Clock, ManualClock
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
from app.reservations.redis import RedisReservations

MAX_LIVE = 3
STORAGES = {"embedded": "tmp_path", "redis": "redis_url"}
"""What each implementation keeps its ledger in, by the name of the fixture."""

MAKERS: dict[str, Callable[[Any, Clock], ReservationStore]] = {
    "embedded": lambda folder, clock: EmbeddedReservations(folder / "reservations.sqlite", clock, MAX_LIVE),
    "redis": lambda url, clock: RedisReservations(url, MAX_LIVE, clock),
}
EVSE = "cec102:MA1234567:1"
S = ReservationState


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=sorted(MAKERS))
def make_store(request: pytest.FixtureRequest, clock: ManualClock) -> Callable[[], ReservationStore]:
    """Make a store over the same storage each time, as a process that starts does."""
    storage = request.getfixturevalue(STORAGES[request.param])
    return lambda: MAKERS[request.param](storage, clock)


@pytest.fixture
async def store(make_store: Callable[[], ReservationStore]) -> AsyncIterator[ReservationStore]:
    store = make_store()
    await store.open()
    yield store
    await store.close()


_numbers = count()


def command(key: str | None = None, partner_id: str = "nav", fingerprint: str = "f") -> Command:
    return Command(partner_id=partner_id, idempotency_key=key or f"key {next(_numbers)}", fingerprint=fingerprint)


def codes(outcome: Outcome) -> list[RefusalCode]:
    return [refusal.code for refusal in outcome.refusals]


async def granted(store: ReservationStore, evse_id: str = EVSE, hold_s: int = 600, partner: str = "nav") -> Reservation:
    outcome = await store.reserve(command(partner_id=partner), evse_id, hold_s, Guarantee.HUB_HOLD)
    assert outcome.reservation is not None and not outcome.refusals and not outcome.replayed
    return outcome.reservation


async def stands(store: ReservationStore, reservation: Reservation) -> Reservation:
    found = await store.find_reservation(reservation.partner_id, reservation.id)
    assert found is not None
    return found


# ------------------------------------------------------------------------------------------------------- reserve


async def test_a_grant_says_what_was_granted(store: ReservationStore, clock: ManualClock) -> None:
    outcome = await store.reserve(command(), EVSE, 600, Guarantee.HUB_HOLD)
    reservation = outcome.reservation
    assert reservation is not None
    assert reservation == Reservation(
        id=reservation.id,
        evse_id=EVSE,
        partner_id="nav",
        state=S.HELD,
        guarantee=Guarantee.HUB_HOLD,
        fence=1,
        created_at=clock(),
        expires_at=clock() + 600,
    )
    assert await store.find_reservation("nav", reservation.id) == reservation
    assert await store.list_live() == [reservation]
    assert await store.now() == clock()
    await store.check()


async def test_a_held_evse_is_refused_to_everyone(store: ReservationStore) -> None:
    first = await granted(store)
    for partner in ("nav", "map"):
        outcome = await store.reserve(command(partner_id=partner), EVSE, 600, Guarantee.HUB_HOLD)
        assert codes(outcome) == [RefusalCode.ALREADY_RESERVED]
        assert outcome.reservation is None and not outcome.replayed
    assert await store.list_live() == [first]


async def test_ids_are_never_alike(store: ReservationStore) -> None:
    ids = {(await granted(store, f"cec102:P:{number}", partner=f"p{number}")).id for number in range(50)}
    assert len(ids) == 50
    assert all(len(id_) >= 24 for id_ in ids)


async def test_a_partner_holds_no_more_than_it_may(store: ReservationStore, clock: ManualClock) -> None:
    for number in range(MAX_LIVE):
        await granted(store, f"cec102:P:{number}", 600)
    outcome = await store.reserve(command(), EVSE, 600, Guarantee.HUB_HOLD)
    assert codes(outcome) == [RefusalCode.TOO_MANY_RESERVATIONS]
    await granted(store, EVSE, partner="map")
    clock.advance(600)
    await granted(store, EVSE)


@pytest.mark.parametrize("hold_s", [-1, 0, MIN_HOLD_S - 1, MAX_HOLD_S + 1, 10**30])
async def test_a_hold_out_of_range_is_refused(store: ReservationStore, hold_s: int) -> None:
    outcome = await store.reserve(command(), EVSE, hold_s, Guarantee.HUB_HOLD)
    assert codes(outcome) == [RefusalCode.HOLD_OUT_OF_RANGE]
    reservation = await granted(store)
    outcome = await store.extend(command(), reservation.id, hold_s)
    assert codes(outcome) == [RefusalCode.HOLD_OUT_OF_RANGE]
    assert await stands(store, reservation) == reservation


# ------------------------------------------------------------------------------------------------------- the clock


async def test_a_reservation_is_dead_when_the_clock_reaches_its_end(
    store: ReservationStore, clock: ManualClock
) -> None:
    first = await granted(store, hold_s=600)
    clock.advance(599.5)
    assert (await stands(store, first)).state is S.HELD
    assert codes(await store.reserve(command(), EVSE, 600, Guarantee.HUB_HOLD)) == [RefusalCode.ALREADY_RESERVED]
    clock.advance(0.5)
    expired = await stands(store, first)
    assert (expired.state, expired.ended_at) == (S.EXPIRED, first.expires_at)
    assert await store.list_live() == []
    assert codes(await store.extend(command(), first.id, 600)) == [RefusalCode.RESERVATION_ENDED]
    assert codes(await store.cancel(command(), first.id)) == [RefusalCode.RESERVATION_ENDED]
    second = await granted(store, partner="map")
    assert second.fence > first.fence
    assert await stands(store, first) == expired
    assert await store.list_live() == [second]


async def test_a_clock_that_is_set_back_revives_nothing(
    store: ReservationStore, make_store: Callable[[], ReservationStore], clock: ManualClock
) -> None:
    first = await granted(store, hold_s=600)
    clock.advance(600)
    second = await granted(store, hold_s=600)
    latest = await store.now()
    clock.advance(-500)
    assert await store.now() == latest
    assert (await stands(store, first)).state is S.EXPIRED
    assert await store.list_live() == [second]
    await store.close()
    again = make_store()
    await again.open()
    assert await again.now() == latest
    assert await again.list_live() == [second]
    clock.advance(501)
    assert await again.now() == latest + 1
    await again.close()


# ------------------------------------------------------------------------------------------------------- extend, cancel


async def test_extending_lets_it_end_later_never_earlier(store: ReservationStore, clock: ManualClock) -> None:
    reservation = await granted(store, hold_s=600)
    clock.advance(100)
    outcome = await store.extend(command(), reservation.id, 100)
    assert outcome.reservation == reservation
    outcome = await store.extend(command(), reservation.id, 1_000)
    assert outcome.reservation is not None
    assert outcome.reservation.expires_at == clock() + 1_000
    assert outcome.reservation.fence == reservation.fence
    assert await stands(store, reservation) == outcome.reservation


async def test_a_reservation_has_a_longest_life(store: ReservationStore, clock: ManualClock) -> None:
    reservation = await granted(store, hold_s=MAX_HOLD_S)
    end = clock() + MAX_TOTAL_HOLD_S
    while clock() + MAX_HOLD_S < end:
        clock.advance(MAX_HOLD_S / 2)
        outcome = await store.extend(command(), reservation.id, MAX_HOLD_S)
        assert outcome.reservation is not None
    assert (await stands(store, reservation)).expires_at == end
    outcome = await store.extend(command(), reservation.id, int(end - clock()) + 1)
    assert codes(outcome) == [RefusalCode.HOLD_OUT_OF_RANGE]
    assert (await stands(store, reservation)).expires_at == end


async def test_cancelling_frees_the_evse(store: ReservationStore, clock: ManualClock) -> None:
    reservation = await granted(store)
    clock.advance(10)
    outcome = await store.cancel(command(), reservation.id)
    cancelled = outcome.reservation
    assert cancelled is not None
    assert (cancelled.state, cancelled.ended_at) == (S.CANCELLED, clock())
    assert await store.list_live() == []
    assert codes(await store.extend(command(), reservation.id, 600)) == [RefusalCode.RESERVATION_ENDED]
    clock.advance(10)
    again = await store.cancel(command(), reservation.id)
    assert (again.reservation, again.refusals, again.replayed) == (cancelled, (), False)
    assert (await granted(store)).fence > reservation.fence


@pytest.mark.parametrize("reservation_id", ["", "rsv_", "x" * 300, "rsv_AAAAAAAAAAAAAAAAAAAAAAAA", "\ud800", "a\0b"])
async def test_an_unknown_reservation_is_refused(store: ReservationStore, reservation_id: str) -> None:
    for outcome in (
        await store.cancel(command(), reservation_id),
        await store.extend(command(), reservation_id, 600),
    ):
        assert codes(outcome) == [RefusalCode.UNKNOWN_RESERVATION]
    assert await store.find_reservation("nav", reservation_id) is None
    assert not await store.transition(reservation_id, 1, S.HELD, S.ACTIVE)


async def test_anothers_reservation_is_as_unknown_as_none(store: ReservationStore) -> None:
    reservation = await granted(store)
    for id_ in (reservation.id, "rsv_AAAAAAAAAAAAAAAAAAAAAAAA"):
        assert await store.find_reservation("map", id_) is None
        cancelled = await store.cancel(command(partner_id="map"), id_)
        extended = await store.extend(command(partner_id="map"), id_, 600)
        assert codes(cancelled) == codes(extended) == [RefusalCode.UNKNOWN_RESERVATION]
        assert id_ not in cancelled.refusals[0].message
    assert await store.list_reservations("map", 10, None, live_only=False) == []
    assert await stands(store, reservation) == reservation


# ------------------------------------------------------------------------------------------------------- idempotency


async def test_a_repeated_command_is_answered_as_before(store: ReservationStore, clock: ManualClock) -> None:
    reserve, extend, cancel = command("one"), command("one"), command("one")
    assert await store.find_replay("reserve", reserve) is None
    first = await store.reserve(reserve, EVSE, 600, Guarantee.HUB_HOLD)
    assert first.reservation is not None
    for outcome in (
        await store.reserve(reserve, EVSE, 600, Guarantee.HUB_HOLD),
        await store.find_replay("reserve", reserve),
    ):
        assert outcome == Outcome(reservation=first.reservation, replayed=True)
    clock.advance(60)
    longer = await store.extend(extend, first.reservation.id, 600)
    clock.advance(60)
    assert await store.extend(extend, first.reservation.id, 600) == Outcome(
        reservation=longer.reservation, replayed=True
    )
    ended = await store.cancel(cancel, first.reservation.id)
    as_it_stands = Outcome(reservation=ended.reservation, replayed=True)
    assert await store.cancel(cancel, first.reservation.id) == as_it_stands
    assert await store.reserve(reserve, EVSE, 600, Guarantee.HUB_HOLD) == as_it_stands
    assert await store.extend(extend, first.reservation.id, 600) == as_it_stands
    assert await store.list_live() == []


async def test_a_replay_tells_that_the_reservation_expired(store: ReservationStore, clock: ManualClock) -> None:
    reserve = command("one")
    await store.reserve(reserve, EVSE, 600, Guarantee.HUB_HOLD)
    clock.advance(600)
    for replay in (
        await store.find_replay("reserve", reserve),
        await store.reserve(reserve, EVSE, 600, Guarantee.HUB_HOLD),
    ):
        assert replay is not None and replay.replayed and replay.reservation is not None
        assert replay.reservation.state is S.EXPIRED
    assert await store.list_live() == []


async def test_a_refusal_is_replayed_even_when_its_reason_is_gone(store: ReservationStore) -> None:
    holder = await granted(store, partner="map")
    refused = await store.reserve(command("one"), EVSE, 600, Guarantee.HUB_HOLD)
    await store.cancel(command(partner_id="map"), holder.id)
    again = await store.reserve(command("one"), EVSE, 600, Guarantee.HUB_HOLD)
    assert again == Outcome(refusals=refused.refusals, replayed=True)
    assert codes(again) == [RefusalCode.ALREADY_RESERVED]
    await granted(store)


async def test_a_key_is_bound_to_its_arguments(store: ReservationStore) -> None:
    first = await store.reserve(command("one"), EVSE, 600, Guarantee.HUB_HOLD)
    other = command("one", fingerprint="other")
    for outcome in (
        await store.reserve(other, "cec102:P:2", 600, Guarantee.HUB_HOLD),
        await store.find_replay("reserve", other),
    ):
        assert outcome is not None and codes(outcome) == [RefusalCode.IDEMPOTENCY_KEY_REUSED]
        assert outcome.reservation is None and not outcome.replayed
    assert await store.list_live() == [first.reservation]


async def test_a_key_belongs_to_one_partner_and_one_operation(store: ReservationStore) -> None:
    mine = await store.reserve(command("one"), EVSE, 600, Guarantee.HUB_HOLD)
    theirs = await store.reserve(command("one", "map", "other"), "cec102:P:2", 600, Guarantee.HUB_HOLD)
    assert mine.reservation is not None and theirs.reservation is not None
    assert mine.reservation.id != theirs.reservation.id
    cancelled = await store.cancel(command("one", fingerprint="c"), mine.reservation.id)
    assert cancelled.reservation is not None and not cancelled.replayed


@pytest.mark.parametrize("key", ["", "k" * 256, "line\nbreak", "nul\0", "\ud800", "\u202eright to left"])
async def test_an_invalid_key_is_refused_and_remembered_nowhere(store: ReservationStore, key: str) -> None:
    bad = Command(partner_id="nav", idempotency_key=key, fingerprint="f")
    for outcome in (
        await store.reserve(bad, EVSE, 600, Guarantee.HUB_HOLD),
        await store.extend(bad, "rsv_AAAAAAAAAAAAAAAAAAAAAAAA", 600),
        await store.cancel(bad, "rsv_AAAAAAAAAAAAAAAAAAAAAAAA"),
        await store.find_replay("reserve", bad),
    ):
        assert outcome is not None and codes(outcome) == [RefusalCode.IDEMPOTENCY_KEY_INVALID]
        assert not outcome.replayed
    assert await store.list_live() == []


@pytest.mark.parametrize("key", ["k", "k" * 255, "钥匙 №1"])
async def test_keys_are_any_printable_text(store: ReservationStore, key: str) -> None:
    assert (await store.reserve(command(key), EVSE, 600, Guarantee.HUB_HOLD)).reservation is not None


async def test_keys_are_remembered_for_a_day(store: ReservationStore, clock: ManualClock) -> None:
    first = await store.reserve(command("one"), EVSE, 600, Guarantee.HUB_HOLD)
    clock.advance(24 * 3_600)
    await granted(store, "cec102:P:2")
    replay = await store.find_replay("reserve", command("one"))
    assert first.reservation is not None and replay is not None and replay.reservation is not None
    assert replay.reservation.id == first.reservation.id


# ------------------------------------------------------------------------------------------------------- transitions


WAY_TO: dict[ReservationState, tuple[ReservationState, ...]] = {
    S.HELD: (),
    S.PENDING_OPERATOR: (S.PENDING_OPERATOR,),
    S.CONFIRMED: (S.PENDING_OPERATOR, S.CONFIRMED),
    S.IN_DOUBT: (S.PENDING_OPERATOR, S.IN_DOUBT),
    S.ACTIVE: (S.ACTIVE,),
    S.FULFILLED: (S.ACTIVE, S.FULFILLED),
    S.REJECTED: (S.PENDING_OPERATOR, S.REJECTED),
    S.CANCELLED: (S.CANCELLED,),
    S.CANCELLED_BY_OPERATOR: (S.PENDING_OPERATOR, S.CANCELLED_BY_OPERATOR),
    S.FAILED: (S.FAILED,),
    S.NO_SHOW: (S.PENDING_OPERATOR, S.CONFIRMED, S.NO_SHOW),
}


async def brought_to(store: ReservationStore, state: ReservationState) -> Reservation:
    reservation = await granted(store)
    before = S.HELD
    for step in WAY_TO[state]:
        assert await store.transition(reservation.id, reservation.fence, before, step)
        before = step
    return await stands(store, reservation)


@pytest.mark.parametrize("state", WAY_TO)
async def test_each_step_is_taken_exactly_where_the_state_machine_has_it(
    store: ReservationStore, clock: ManualClock, state: ReservationState
) -> None:
    for target in ReservationState:
        reservation = await brought_to(store, state)
        assert (reservation.ended_at is None) == (state in LIVE_STATES)
        clock.advance(1)
        moved = await store.transition(reservation.id, reservation.fence, state, target)
        assert moved == (target in TRANSITIONS.get(state, ()))
        after = await stands(store, reservation)
        if not moved:
            assert after == reservation
        else:
            assert after.state is target
            assert after.ended_at == (None if target in LIVE_STATES else clock())
        live = [one.id for one in await store.list_live()]
        assert live == ([reservation.id] if after.state in LIVE_STATES else [])
        await store.cancel(command(), reservation.id)


def test_the_state_machine_ends_where_it_says() -> None:
    assert set(TRANSITIONS) == LIVE_STATES
    assert all(S.EXPIRED not in targets and S.REQUESTED not in targets for targets in TRANSITIONS.values())
    assert all(S.CANCELLED in targets for targets in TRANSITIONS.values())
    reached = frozenset[ReservationState]().union(*TRANSITIONS.values())
    assert reached == set(ReservationState) - {S.EXPIRED, S.REQUESTED}
    assert set(WAY_TO) == reached


async def test_a_message_from_the_past_changes_nothing(store: ReservationStore, clock: ManualClock) -> None:
    old = await granted(store)
    await store.cancel(command(), old.id)
    new = await granted(store)
    assert not await store.transition(old.id, old.fence, S.HELD, S.ACTIVE)
    assert not await store.transition(new.id, old.fence, S.HELD, S.ACTIVE)
    assert not await store.transition(new.id, new.fence + 1, S.HELD, S.ACTIVE)
    assert not await store.transition(new.id, new.fence, S.PENDING_OPERATOR, S.CONFIRMED)
    assert await stands(store, new) == new
    assert await store.transition(new.id, new.fence, S.HELD, S.PENDING_OPERATOR)
    assert not await store.transition(new.id, new.fence, S.HELD, S.PENDING_OPERATOR), "twice"
    clock.advance(600)
    assert not await store.transition(new.id, new.fence, S.PENDING_OPERATOR, S.CONFIRMED), "it is dead"
    assert (await stands(store, new)).state is S.EXPIRED


async def test_doubt_keeps_the_evse_until_the_end(store: ReservationStore, clock: ManualClock) -> None:
    doubtful = await brought_to(store, S.IN_DOUBT)
    assert codes(await store.reserve(command(), EVSE, 600, Guarantee.HUB_HOLD)) == [RefusalCode.ALREADY_RESERVED]
    clock.advance(600)
    assert (await stands(store, doubtful)).state is S.EXPIRED
    await granted(store)


# ------------------------------------------------------------------------------------------------------- lists


async def test_lists_are_newest_first_and_paged_by_position(store: ReservationStore, clock: ManualClock) -> None:
    made = []
    for number in range(7):
        reservation = await granted(store)
        if number < 6:
            await store.cancel(command(), reservation.id)
        made.append(await stands(store, reservation))
        clock.advance(number % 2)  # some are made at the same instant
    await granted(store, "cec102:P:other", partner="map")
    expected = sorted(made, key=lambda one: (one.created_at, one.id), reverse=True)
    listed: list[Reservation] = []
    after = None
    while page := await store.list_reservations("nav", 2, after, live_only=False):
        listed += page
        after = (page[-1].created_at, page[-1].id)
    assert listed == expected
    assert await store.list_reservations("nav", 10, None, live_only=True) == [made[-1]]
    assert await store.list_reservations("nav", 0, None, live_only=False) == []
    assert await store.list_reservations("nobody", 10, None, live_only=False) == []
    clock.advance(600)
    assert await store.list_reservations("nav", 10, None, live_only=True) == []
    assert (await store.list_reservations("nav", 1, None, live_only=False))[0].state is S.EXPIRED


async def test_who_follows_is_told_every_live_reservation_at_once(store: ReservationStore) -> None:
    kept, ended = await granted(store), await granted(store, "cec102:P:2")
    await store.cancel(command(), ended.id)
    told: list[tuple[list[Reservation], bool]] = []

    def on_change(reservations: Sequence[Reservation], *, complete: bool) -> None:
        told.append((list(reservations), complete))

    await store.follow(on_change)
    assert told == [([kept], True)]


# ------------------------------------------------------------------------------------------------------- many at once


async def test_of_a_thousand_that_want_one_evse_one_gets_it(store: ReservationStore) -> None:
    outcomes = await asyncio.gather(
        *(store.reserve(command(partner_id=f"p{n}"), EVSE, 600, Guarantee.HUB_HOLD) for n in range(1_000))
    )
    winners = [outcome for outcome in outcomes if outcome.reservation is not None]
    assert len(winners) == 1
    assert sum(codes(outcome) == [RefusalCode.ALREADY_RESERVED] for outcome in outcomes) == 999
    assert await store.list_live() == [winners[0].reservation]


async def test_a_thousand_repetitions_of_one_command_grant_once(store: ReservationStore) -> None:
    outcomes = await asyncio.gather(
        *(store.reserve(command("one"), EVSE, 600, Guarantee.HUB_HOLD) for _ in range(1_000))
    )
    assert len({outcome.reservation and outcome.reservation.id for outcome in outcomes}) == 1
    assert sum(not outcome.replayed for outcome in outcomes) == 1
    assert not any(outcome.refusals for outcome in outcomes)


async def test_everything_outlives_the_process(make_store: Callable[[], ReservationStore], clock: ManualClock) -> None:
    first = make_store()
    await first.open()
    kept, gone = await granted(first), await granted(first, "cec102:P:2")
    assert await first.transition(kept.id, kept.fence, S.HELD, S.PENDING_OPERATOR)
    cancel = command("one")
    await first.cancel(cancel, gone.id)
    before = await first.list_reservations("nav", 10, None, live_only=False)
    await first.close()
    second = make_store()
    await second.open()
    assert await second.list_reservations("nav", 10, None, live_only=False) == before
    replay = await second.cancel(cancel, gone.id)
    assert replay.replayed
    assert (await granted(second, "cec102:P:2")).fence == gone.fence + 1
    assert codes(await second.reserve(command(), EVSE, 600, Guarantee.HUB_HOLD)) == [RefusalCode.ALREADY_RESERVED]
    await second.close()
