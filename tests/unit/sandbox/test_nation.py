import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexers.sandbox.nation import DIRT_SHARES, EPOCH, PARTIES, WEEK_S, Dirt, Nation

NOW = 1_795_600_000.0  # 2026-11-25 in Beijing
SMALL = Nation(7, 600)
LARGE = Nation(20261125, 120_000)
EVERY_SLOT = np.arange(LARGE.station_count, dtype=np.int64)

moments = st.floats(min_value=EPOCH - 90 * 86_400, max_value=EPOCH + 900 * 86_400)


def test_the_same_seed_and_count_give_the_same_nation():
    again = Nation(7, 600)
    assert [SMALL.station(slot, NOW) for slot in range(600)] == [again.station(slot, NOW) for slot in range(600)]
    slots = np.arange(600)
    assert SMALL.statuses(slots, NOW).status.tolist() == again.statuses(slots, NOW).status.tolist()


def test_another_seed_gives_another_nation():
    other = Nation(8, 600)
    same = sum(SMALL.station(slot, NOW).address == other.station(slot, NOW).address for slot in range(600))
    assert same < 60


@pytest.mark.parametrize("count", [0, -1, 1_000_001])
def test_a_count_out_of_range_is_refused(count):
    with pytest.raises(ValueError, match="station_count"):
        Nation(1, count)


def test_a_nation_of_one_station_works():
    nation = Nation(1, 1)
    assert len(nation.statuses(np.array([0]), NOW).status) == nation.station(0, NOW).gun_count


def test_sizes_follow_the_distribution():
    guns = LARGE.guns
    assert guns.min() == 1
    assert 100 < guns.max() <= 500
    assert np.median(guns) == 5
    assert 7.8 < guns.mean() < 8.7
    assert 0.42 < LARGE.dc_guns.sum() / guns.sum() < 0.50
    assert (LARGE.dc_guns <= guns).all()


def test_every_party_and_every_kind_of_dirt_has_its_share():
    for number, party in enumerate(PARTIES):
        assert (LARGE.party == number).mean() == pytest.approx(party.share, rel=0.06)
        assert len(LARGE.slots_of(party.name)) == (LARGE.party == number).sum()
    for dirt, share in DIRT_SHARES.items():
        assert (LARGE.dirt == dirt).mean() == pytest.approx(share, rel=0.25)
    assert (LARGE.dirt == Dirt.CLEAN).mean() > 0.92


def test_positions_lie_in_the_country_and_cluster():
    assert LARGE.lon.min() > 73
    assert LARGE.lon.max() < 136
    assert LARGE.lat.min() > 17.5
    assert LARGE.lat.max() < 54
    points = np.round(LARGE.lon * 1e6).astype(np.int64) * 10**9 + np.round(LARGE.lat * 1e6).astype(np.int64)
    _, which, count = np.unique(points, return_inverse=True, return_counts=True)
    assert 0.06 < (count[which] > 1).mean() < 0.08


def test_cabinets_hold_every_gun_once_and_direct_current_first():
    for slot in range(600):
        station = SMALL.station(slot, NOW)
        guns = [cabinet.first_gun + index for cabinet in station.cabinets for index in range(cabinet.gun_count)]
        assert guns == list(range(station.gun_count))
        assert [cabinet.number for cabinet in station.cabinets] == list(range(1, len(station.cabinets) + 1))
        dc_guns = sum(cabinet.gun_count for cabinet in station.cabinets if cabinet.model.is_dc)
        assert dc_guns == SMALL.dc_guns[station.slot]
        assert station.district.adcode.isdigit()
        assert len(station.district.adcode) == 6


@pytest.mark.parametrize("hour", [0, 4, 8, 12, 16, 20])
def test_statuses_have_the_shares_of_a_real_network(hour):
    slots = EVERY_SLOT[:20_000]
    status = LARGE.statuses(slots, NOW + hour * 3600).status
    assert set(np.unique(status)) <= {0, 1, 2, 3, 4, 255}
    assert 0.70 < (status == 1).mean() < 0.84
    assert 0.038 < (status == 255).mean() < 0.05
    assert 0.03 < (status == 0).mean() < 0.06
    assert (status == 4).any()


def test_fast_charging_follows_the_day():
    slots = EVERY_SLOT[LARGE.dc_guns == LARGE.guns][:5000]
    midnight_in_beijing = 1_795_536_000.0

    def charging(hour: float) -> float:
        status = LARGE.statuses(slots, midnight_in_beijing + hour * 3600).status
        return float(np.isin(status, (2, 3)).mean())

    assert charging(13) > 4 * charging(3)


def test_four_thousand_guns_change_about_once_a_second():
    slots = EVERY_SLOT[:500]
    changes = 0
    before = LARGE.statuses(slots, NOW).status
    for step in range(1, 31):
        after = LARGE.statuses(slots, NOW + 10 * step).status
        changes += int((after != before).sum())
        before = after
    assert 100 < changes < 1000


@settings(max_examples=40, deadline=None)
@given(at=moments, first=st.integers(0, 550), count=st.integers(1, 49))
def test_a_status_does_not_depend_on_who_asks(at, first, count):
    slots = np.arange(first, first + count)
    together = SMALL.statuses(slots, at)
    for index, slot in enumerate(slots.tolist()):
        alone = SMALL.statuses(np.array([slot]), at)
        mine = slice(together.offsets[index], together.offsets[index + 1])
        assert together.status[mine].tolist() == alone.status.tolist()
        assert together.since[mine].tolist() == alone.since.tolist()


@settings(max_examples=40, deadline=None)
@given(at=moments, slot=st.integers(0, 599))
def test_a_status_has_stood_since_it_says_so(at, slot):
    slots = np.array([slot])
    now = SMALL.statuses(slots, at)
    assert (now.since <= at).all()
    for gun, since in enumerate(now.since.tolist()):
        if since + 0.01 < at:
            then = SMALL.statuses(slots, since + 0.01)
            assert then.status[gun] == now.status[gun]


@settings(max_examples=60, deadline=None)
@given(at=moments, later_s=st.floats(0, 60 * 86_400), slot=st.integers(0, 599))
def test_a_station_changes_when_it_says_so_and_only_then(at, later_s, slot):
    slots = np.array([slot])
    before, after = SMALL.station(slot, at), SMALL.station(slot, at + later_s)
    modified = int(SMALL.modified_at(slots, at + later_s)[0])
    assert before.modified_at == SMALL.modified_at(slots, at)[0] <= at
    assert after.modified_at == modified
    assert (before == after) == (before.modified_at == modified)


def test_three_in_a_thousand_stations_are_replaced_in_a_week():
    replaced = LARGE.generations(EVERY_SLOT, NOW) != LARGE.generations(EVERY_SLOT, NOW + WEEK_S)
    assert 0.002 < replaced.mean() < 0.004
    slot = int(np.flatnonzero(replaced)[0])
    assert LARGE.station(slot, NOW).name != LARGE.station(slot, NOW + WEEK_S).name


def test_two_in_a_hundred_stations_change_in_a_day():
    changed = LARGE.modified_at(EVERY_SLOT, NOW) > NOW - 86_400
    assert 0.015 < changed.mean() < 0.025


def test_a_repeated_row_is_the_station_before_it():
    slots = LARGE.slots_of("teld")
    repeated = np.flatnonzero(LARGE.dirt[slots] == Dirt.REPEATED_STATION)
    position = int(repeated[repeated > 0][0])
    assert LARGE.station(slots[position], NOW) == LARGE.station(slots[position - 1], NOW)
