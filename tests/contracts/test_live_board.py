"""What every live board promises, whatever it is made of."""

import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from app.live.base import LiveBoard
from app.live.embedded import EmbeddedLiveBoard
from app.live.redis import RedisLiveBoard
from app.model.availability import Availability, EvseStatus, StatusChannel
from app.model.identity import evse_key
from app.model.search import KeyArray

MAKERS: dict[str, Callable[[Path, str], LiveBoard]] = {
    "embedded": lambda folder, _: EmbeddedLiveBoard(folder / "live.sqlite"),
    "redis": lambda _, url: RedisLiveBoard(url),
}
T0 = 1_764_000_000.0
EVSES = tuple(f"cec102:MA1234567:{number}" for number in range(8))


@pytest.fixture(params=sorted(MAKERS))
def maker(request: pytest.FixtureRequest) -> Callable[[Path], LiveBoard]:
    """Make a board over the storage in a folder, or in the test's server where it is kept in one."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    return lambda folder: MAKERS[request.param](folder, url)


@pytest.fixture
def make_board(maker: Callable[[Path], LiveBoard], tmp_path: Path) -> Callable[[], LiveBoard]:
    """Make a board over the same storage each time, as a process that starts does."""
    return lambda: maker(tmp_path)


@pytest.fixture
async def board(make_board: Callable[[], LiveBoard]) -> AsyncIterator[LiveBoard]:
    """An open board that knows EVSES."""
    board = make_board()
    await board.open()
    board.slots(keys_of(EVSES))
    yield board
    await board.close()


def keys_of(evse_ids: Sequence[str]) -> KeyArray:
    return np.array([evse_key(evse_id) for evse_id in evse_ids], np.uint64)


def status(
    evse_id: str,
    availability: Availability = Availability.AVAILABLE,
    received_at: float = T0,
    *,
    raw: str = "1",
    observed_at: float | None = None,
    stale_after: float = T0 + 900,
    channel: StatusChannel = StatusChannel.PUSH,
) -> EvseStatus:
    observed_at = received_at if observed_at is None else observed_at
    return EvseStatus(evse_id, availability, raw, observed_at, received_at, stale_after, channel)


def usable(board: LiveBoard, at: float, max_age_s: float | None = None) -> list[str]:
    answer = board.usable(board.slots(keys_of(EVSES)), at, max_age_s)
    return [evse_id for evse_id, yes in zip(EVSES, answer.tolist(), strict=True) if yes]


def fresh(board: LiveBoard, at: float, max_age_s: float) -> list[str]:
    answer = board.fresh(board.slots(keys_of(EVSES)), at, max_age_s)
    return [evse_id for evse_id, yes in zip(EVSES, answer.tolist(), strict=True) if yes]


async def test_a_status_is_found_as_it_was_received(board: LiveBoard) -> None:
    sent = [
        status(EVSES[number % len(EVSES)], availability, T0 + number, raw=f"状态 {number}", observed_at=T0 - number / 3)
        for number, availability in enumerate(Availability)
    ]
    for one in sent:
        await board.record([one])
        assert board.find([one.evse_id]) == [one]


async def test_find_keeps_the_order_and_says_none_where_there_was_never_a_status(board: LiveBoard) -> None:
    first, second = status(EVSES[0]), status(EVSES[1], channel=StatusChannel.PULL)
    await board.record([first, second])
    asked = [EVSES[1], "nobody:knows:this", EVSES[2], EVSES[0], EVSES[1]]
    assert board.find(asked) == [second, None, None, first, second]
    assert board.find(["nobody:knows:this"]) == [None]
    assert board.find([]) == []


async def test_statuses_of_unknown_evses_are_counted_and_dropped(board: LiveBoard) -> None:
    summary = await board.record([status("cec102:MA1234567:new"), status(EVSES[0]), status("cec102:MA1234567:newer")])
    assert (summary.taken, summary.changed, summary.unknown_evses) == (1, 1, 2)
    assert board.find(["cec102:MA1234567:new", EVSES[0]]) == [None, status(EVSES[0])]
    nothing = await board.record([])
    assert (nothing.taken, nothing.changed, nothing.unknown_evses) == (0, 0, 0)


async def test_an_evse_is_known_once_it_has_a_slot(board: LiveBoard) -> None:
    late = status("cec102:MA1234567:late")
    assert (await board.record([late])).unknown_evses == 1
    assert board.find([late.evse_id]) == [None]
    board.slots(keys_of([late.evse_id]))
    assert (await board.record([late])).taken == 1
    assert board.find([late.evse_id]) == [late]


@pytest.mark.parametrize("received_at", [T0, T0 - 1])
async def test_what_was_not_received_later_changes_nothing(board: LiveBoard, received_at: float) -> None:
    kept = status(EVSES[0], Availability.CHARGING)
    await board.record([kept])
    late = status(EVSES[0], Availability.AVAILABLE, received_at, observed_at=T0 + 60)
    summary = await board.record([late])
    assert (summary.taken, summary.changed) == (0, 0)
    assert board.find([EVSES[0]]) == [kept]


async def test_a_batch_is_taken_as_if_one_after_another(board: LiveBoard) -> None:
    summary = await board.record(
        [
            status(EVSES[0], Availability.CHARGING, T0),
            status(EVSES[1], Availability.OFFLINE, T0),
            status(EVSES[0], Availability.OFFLINE, T0 - 1),  # older
            status(EVSES[0], Availability.CHARGING, T0 + 1),  # taken, the same
            status(EVSES[0], Availability.OCCUPIED, T0 + 1),  # as old
            status(EVSES[0], Availability.AVAILABLE, T0 + 2),
        ]
    )
    assert (summary.taken, summary.changed, summary.unknown_evses) == (4, 3, 0)
    assert [one and one.availability for one in board.find(EVSES[:2])] == [Availability.AVAILABLE, Availability.OFFLINE]


async def test_usable_is_available_and_neither_stale_nor_too_old(board: LiveBoard) -> None:
    await board.record(
        [
            status(EVSES[0], observed_at=T0 - 50, stale_after=T0 + 10),
            status(EVSES[1], observed_at=T0 - 100, stale_after=T0 + 20),
            status(EVSES[2], Availability.CHARGING),
        ]
    )
    assert usable(board, T0) == [EVSES[0], EVSES[1]]
    assert usable(board, T0 + 9.999) == [EVSES[0], EVSES[1]]
    assert usable(board, T0 + 10) == [EVSES[1]]
    assert usable(board, T0 + 20) == []
    assert usable(board, T0, max_age_s=99) == [EVSES[0]]
    assert usable(board, T0, max_age_s=100) == [EVSES[0], EVSES[1]]


async def test_fresh_asks_for_any_status_that_is_neither_stale_nor_too_old(board: LiveBoard) -> None:
    await board.record(
        [
            status(EVSES[0], Availability.UNKNOWN, stale_after=T0 + 10),
            status(EVSES[1], Availability.CHARGING, observed_at=T0 - 100),
        ]
    )
    assert fresh(board, T0, 100) == [EVSES[0], EVSES[1]]
    assert fresh(board, T0, 99) == [EVSES[0]]
    assert fresh(board, T0 + 10, 900) == [EVSES[1]]
    assert fresh(board, 0.0, 1e12) == [EVSES[0], EVSES[1]], "and no Evse that never had a status"


async def test_a_stale_status_is_still_reported(board: LiveBoard) -> None:
    old = status(EVSES[0], stale_after=T0 - 1)
    await board.record([old])
    assert board.find([EVSES[0]]) == [old]
    assert usable(board, T0) == []


async def test_freshness_counts_every_evse_with_a_status(board: LiveBoard) -> None:
    assert (board.freshness(T0).fresh, board.freshness(T0).stale) == (0, 0)
    await board.record([status(EVSES[0], Availability.OFFLINE), status(EVSES[1], stale_after=T0 + 60)])
    assert [(each.fresh, each.stale) for each in map(board.freshness, (T0, T0 + 60, T0 + 900))] == [
        (2, 0),
        (1, 1),
        (0, 2),
    ]
    assert board.freshness(T0).changes == board.change_count


async def test_a_held_evse_is_not_usable_until_its_hold_ends(board: LiveBoard) -> None:
    await board.record([status(evse_id) for evse_id in EVSES[:2]])
    board.set_hold(EVSES[0], T0 + 60)
    assert usable(board, T0 + 59.999) == [EVSES[1]]
    assert usable(board, T0 + 60) == [EVSES[0], EVSES[1]]
    asked = [EVSES[0], EVSES[1], "nobody:knows:this"]
    assert board.holds(asked, T0) == [True, False, False]
    assert board.holds(asked, T0 + 60) == [False, False, False]
    assert board.holds([], T0) == []
    assert board.find([EVSES[0]]) == [status(EVSES[0])], "a hold is no status"
    board.set_hold(EVSES[0], T0 - 1)
    assert usable(board, T0) == [EVSES[0], EVSES[1]]


async def test_a_hold_may_come_before_the_index_knows_the_evse(board: LiveBoard) -> None:
    early = status("cec102:MA1234567:early")
    board.set_hold(early.evse_id, T0 + 60)
    slots = board.slots(keys_of([early.evse_id]))
    await board.record([early])
    assert board.holds([early.evse_id], T0) == [True]
    assert not board.usable(slots, T0, None)[0]
    assert board.usable(slots, T0 + 60, None)[0]


async def test_slots_stay_the_same_and_differ_from_each_other(board: LiveBoard) -> None:
    known = board.slots(keys_of(EVSES))
    rng = np.random.default_rng(7)
    keys = rng.integers(0, 2**64, 200_000, dtype=np.uint64)
    keys[:3] = 0, 2**64 - 1, 1
    slots = board.slots(keys)
    assert slots.dtype == np.int32
    assert len(np.unique(slots)) == len(np.unique(keys)) == len(keys)
    again = rng.permutation(len(keys))
    assert (board.slots(keys[again]) == slots[again]).all()
    assert (board.slots(keys_of(EVSES)) == known).all()
    assert not set(known.tolist()) & set(slots.tolist())
    assert len(board.slots(keys[:0])) == 0


async def test_a_new_key_that_comes_twice_gets_one_slot(board: LiveBoard) -> None:
    slots = board.slots(np.array([5, 9, 5, 7, 9], np.uint64))
    assert slots[0] == slots[2] and slots[1] == slots[4]
    assert len(set(slots.tolist())) == 3


async def test_keys_that_begin_alike_are_told_apart(board: LiveBoard) -> None:
    keys = (np.uint64(0xFFF) << np.uint64(52)) + np.arange(300, dtype=np.uint64)
    slots = board.slots(keys)
    assert len(np.unique(slots)) == len(keys)
    assert (board.slots(keys[::-1]) == slots[::-1]).all()


async def test_newest_is_told_by_feed(board: LiveBoard) -> None:
    board.slots(keys_of(["ocpi:NL-ABC:1"]))
    assert board.newest("cec102") is None
    await board.record([status(EVSES[0], received_at=T0 + 5), status("ocpi:NL-ABC:1"), status(EVSES[1])])
    await board.record([status(EVSES[2], received_at=T0 + 2)])
    assert board.newest("cec102") == T0 + 5
    assert board.newest("ocpi") == T0
    assert board.newest("cec") is None


async def test_what_was_recorded_outlives_the_process(make_board: Callable[[], LiveBoard]) -> None:
    many = [f"cec102:MA1234567:{number}" for number in range(1_000)]
    first = make_board()
    await first.open()
    first.slots(keys_of(many))
    sent = [status(evse_id, raw=f"r{number % 7}") for number, evse_id in enumerate(many)]
    await first.record(sent[:600])
    await first.close()
    second = make_board()
    await second.open()
    assert second.find(many) == [*sent[:600], *[None] * 400]
    assert second.newest("cec102") is None
    assert (await second.record(sent)).taken == 400
    await second.close()
    third = make_board()
    await third.open()
    assert third.find(many) == sent
    assert len(np.unique(third.slots(keys_of(many)))) == len(many)
    await third.close()


async def test_what_was_flushed_outlives_a_crash(maker: Callable[[Path], LiveBoard], tmp_path: Path) -> None:
    (tmp_path / "running").mkdir()
    crashing = maker(tmp_path / "running")
    await crashing.open()
    crashing.slots(keys_of(EVSES))
    await crashing.record([status(EVSES[0])])
    await crashing.flush()
    shutil.copytree(tmp_path / "running", tmp_path / "as it stands")
    restarted = maker(tmp_path / "as it stands")
    await restarted.open()
    assert restarted.find(EVSES[:2]) == [status(EVSES[0]), None]
    await restarted.close()
    await crashing.close()


async def test_closing_twice_and_flushing_nothing_is_no_error(make_board: Callable[[], LiveBoard]) -> None:
    board = make_board()
    await board.open()
    await board.flush()
    await board.close()
    await board.close()


async def test_a_state_is_another_once_something_looks_otherwise(board: LiveBoard) -> None:
    slots = board.slots(keys_of(EVSES[:2]))
    seen = [board.states(slots, T0).tolist()]

    def changed(at: float = T0) -> list[bool]:
        seen.append(board.states(slots, at).tolist())
        return [new != old for new, old in zip(seen[-1], seen[-2], strict=True)]

    await board.record([status(EVSES[0])])
    assert changed() == [True, False]
    await board.record([status(EVSES[0], received_at=T0 + 1, raw="free", stale_after=T0 + 950)])  # the same again
    assert changed() == [False, False]
    await board.record([status(EVSES[1], Availability.CHARGING), status(EVSES[0], Availability.CHARGING, T0 + 2)])
    assert changed() == [True, True]
    board.set_hold(EVSES[0], T0 + 60)
    assert changed() == [True, False]
    board.set_hold(EVSES[0], T0 + 90)  # extended, or another's
    assert changed() == [True, False]
    assert changed(T0 + 89.9) == [False, False]
    assert changed(T0 + 90) == [True, False]
    assert changed(T0 + 899.9) == [False, False]
    assert changed(T0 + 900) == [True, True]  # both said anew when they go stale
    assert board.states(slots[:0], T0).tolist() == []


async def test_every_change_of_a_status_or_a_hold_is_numbered(board: LiveBoard) -> None:
    all_slots, (one, other) = board.find_slots(EVSES), board.find_slots(EVSES[:2]) or ()
    assert all_slots is not None
    assert board.last_change([]) == 0
    seen = board.change_count
    assert board.last_change(all_slots) <= seen
    await board.record([status(EVSES[0])])
    assert board.last_change([other]) <= seen < board.last_change([one]) == board.last_change(all_slots)
    seen = board.change_count
    assert board.last_change(all_slots) <= seen
    await board.record([status(EVSES[0]), status(EVSES[1], received_at=T0 - 1), status(EVSES[1])])
    assert board.last_change([one]) <= seen < board.last_change([other])
    for until in (T0 + 60, 0.0):
        seen = board.change_count
        board.set_hold(EVSES[0], until)
        assert board.last_change([other]) <= seen < board.last_change([one])


async def test_numbers_of_changes_outlive_that_a_board_grows(board: LiveBoard) -> None:
    await board.record([status(EVSES[0])])
    slots, seen = board.find_slots(EVSES), board.change_count
    assert slots is not None
    board.slots(keys_of([f"cec102:MA1234567:more{number}" for number in range(1_000)]))
    assert board.find_slots(EVSES) == slots
    assert board.last_change(slots) == seen
    await board.record([status(EVSES[7], received_at=T0 + 1)])
    assert board.last_change(slots) > seen


async def test_slots_are_found_once_all_have_one(board: LiveBoard) -> None:
    late = "cec102:MA1234567:late"
    assert board.find_slots([EVSES[0], late]) is None
    (slot,) = board.slots(keys_of([late])).tolist()
    assert board.find_slots([late]) == (slot,)
    assert board.find_slots([]) == ()
