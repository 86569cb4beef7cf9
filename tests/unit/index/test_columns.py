"""Snapshots: made at once or step by step, of rows that come in any portions, they are the same."""

from collections.abc import Sequence
from dataclasses import fields
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest

from app.index._columns import Batch, Columns, Dictionaries, FactRow, merge, read_batch
from app.index._packing import pack_facts
from app.index._query import _SCAN_TEXT_ABOVE, _holds
from app.index._text import split_words
from app.model.geo import Point
from app.model.station import Station
from tests.builders import PlainView, build_station, random_station, scatter

PLACES = (Point(lon=121.5, lat=31.2), Point(lon=180.0, lat=0.0), Point(lon=0.0, lat=-90.0))


def rows_of(stations: Sequence[Station]) -> list[FactRow]:
    return [(station.id, *pack_facts(station)) for station in sorted(stations, key=lambda station: station.id)]


def crowd(random: Random, count: int) -> dict[str, Station]:
    spots = [*scatter(random, count, PLACES, 0.05), None, None]
    numbers = random.sample(range(3 * count), count)
    made = [random_station(random, n, feed=random.choice(("a", "ab")), location=random.choice(spots)) for n in numbers]
    return {station.id: station for station in made}


def merged(old: Columns, gone: Sequence[str], batch: Batch, view: PlainView) -> Columns:
    return merge(old, [one.encode() for one in gone], batch, view.slots(batch.evse_key))


def assert_same(one: Any, other: Any) -> None:
    for field in fields(one):
        ours, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(ours, np.ndarray):
            assert ours.dtype == theirs.dtype, field.name
            np.testing.assert_array_equal(ours, theirs, err_msg=field.name)
        else:
            assert ours == theirs, field.name


@pytest.mark.parametrize("portion", [1, 7, 40])
def test_rows_may_come_in_portions(portion: int) -> None:
    rows = rows_of(list(crowd(Random(1), 100).values()))
    portions = [rows[first : first + portion] for first in range(0, len(rows), portion)]
    assert_same(read_batch([[], *portions, []], Dictionaries()), read_batch([rows], Dictionaries()))
    assert len(read_batch([], Dictionaries())) == 0


def test_a_snapshot_that_was_changed_step_by_step_is_the_one_made_at_once() -> None:
    random, dictionaries, view = Random(2), Dictionaries(), PlainView()
    columns, known = Columns.empty(), dict[str, Station]()
    for _ in range(12):
        gone = random.sample(sorted(known), len(known) // 3)
        told = crowd(random, random.choice((0, 1, 25)))
        gone = [one for one in gone if one not in told]
        before = msgspec.json.encode({field.name: repr(getattr(columns, field.name)) for field in fields(columns)})
        changed = merged(columns, gone, read_batch([rows_of(list(told.values()))], dictionaries), view)
        after = msgspec.json.encode({field.name: repr(getattr(columns, field.name)) for field in fields(columns)})
        assert before == after, "those who still read the older snapshot are not disturbed"
        known = {one: station for one, station in known.items() if one not in gone} | told
        columns = changed
        at_once = read_batch([rows_of(list(known.values()))], dictionaries)
        assert_same(columns, merged(Columns.empty(), [], at_once, view))
        assert [columns.id_at(int(station)).decode() for station in columns.by_id] == sorted(known)
        assert columns.find(b"nobody") is None


def test_a_word_is_found_in_the_same_stations_whether_texts_are_scanned_or_looked_into() -> None:
    random = Random(3)
    base = pack_facts(build_station(1, evses=()))
    texts = ["", *("".join(random.choices("ab电站\n", k=6)) for _ in range(200))]
    count = _SCAN_TEXT_ABOVE + 1
    rows: list[FactRow] = [
        (f"a:b:{number:06d}", *base._replace(text=random.choice(texts).encode())) for number in range(count)
    ]
    columns = merged(Columns.empty(), [], read_batch([rows], Dictionaries()), PlainView())
    everyone, some = np.arange(count), np.arange(0, count, 3)
    for text in ("a", "电站", "ab电", "aaaaaa", "站", "c"):
        (word,) = split_words(text)
        scanned = _holds(columns, everyone, word)
        np.testing.assert_array_equal(scanned[some], _holds(columns, some, word))
        ends = [(first, end - 1) for first, end in zip(columns.text_start[:-1], columns.text_start[1:], strict=True)]
        assert scanned.tolist() == [word in columns.text[first:end] for first, end in ends]
