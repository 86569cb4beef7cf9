from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from app.model.clock import BEIJING
from indexers.base import Schedule
from indexers.runner import next_full

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=BEIJING).timestamp()
DAY_S = 86_400


def test_without_a_last_sweep_it_is_due_at_once():
    assert next_full(Schedule(full_at="05:30"), "teld", None, NOW) == NOW


def test_without_a_time_of_day_it_is_due_after_the_interval():
    assert next_full(Schedule(full_every_s=600), "teld", NOW - 60, NOW) == NOW + 540


@given(last=st.floats(NOW - DAY_S, NOW + DAY_S), feed=st.text(min_size=1, max_size=10))
def test_a_time_of_day_comes_once_a_day_within_ten_minutes(last, feed):
    due = next_full(Schedule(full_at="05:30"), feed, last, last)
    assert last < due <= last + DAY_S
    local = datetime.fromtimestamp(due, BEIJING)
    assert 5 * 60 + 30 <= local.hour * 60 + local.minute < 5 * 60 + 40
    assert next_full(Schedule(full_at="05:30"), feed, due, due) == due + DAY_S
