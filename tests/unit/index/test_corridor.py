"""Corridors that are too large to be looked at in one go."""

import math
from random import Random

import numpy as np
import pytest

from app.errors import InvalidInputError
from app.index import _corridor, _query
from app.index._corridor import Trail
from app.model.route import Route
from app.model.search import Corridor, Search, StationFilter
from tests.unit.index.test_region import columns_of

SHANGHAI = (121.5, 31.2)


@pytest.mark.parametrize("at_once", [1, 7, 100])
@pytest.mark.parametrize("width_m", [500.0, 3_000.0, 20_000.0])
def test_it_is_the_same_however_much_is_looked_at_at_once(
    monkeypatch: pytest.MonkeyPatch, width_m: float, at_once: int
) -> None:
    random = Random(11)

    def spot(spread: float) -> tuple[float, float]:
        return SHANGHAI[0] + random.uniform(-spread, spread), SHANGHAI[1] + random.uniform(-spread, spread)

    columns = columns_of([spot(0.2) for _ in range(300)])
    corridor = Corridor(line=tuple(spot(0.1) for _ in range(40)), width_m=width_m)
    trail = Trail(columns, corridor)
    inside, measure = trail.inside()
    assert inside.sum() > 30
    assert np.isfinite(measure[inside]).all()
    assert sum(end - first for first, end in trail.spans) == len(inside) <= trail.cost()
    monkeypatch.setattr(_corridor, "_AT_ONCE", at_once)
    again, measured = Trail(columns, corridor).inside()
    assert np.array_equal(again, inside)
    assert np.allclose(measured[inside], measure[inside], rtol=0, atol=0.0011)


@pytest.mark.parametrize("count", [None, 1, 3, 1_000])
def test_stretches_cover_a_route_and_name_the_legs_they_lie_on(count: int | None) -> None:
    random = Random(4)
    line = [((359.9 + random.random()) % 360 - 180, 60 + random.random()) for _ in range(9)]
    route = Route(line)
    stretches = route.stretches(5_000.0, count)
    parts = len(stretches.first)
    assert parts == min(count or 1_000, math.ceil(route.length_m / 5_000))
    assert route.length_m == pytest.approx(2 * stretches.reach_m * parts)
    assert (stretches.first[0], stretches.last[-1]) == (0, len(line) - 1)
    assert (stretches.first[1:] == stretches.last[:-1]).all(), "no leg is left out"
    legs = np.arange(len(line))
    every = np.repeat(stretches.middles, len(line), axis=1), np.tile(legs, parts), np.arange(parts) * len(line)
    off, along = route.passages(*every)
    assert off == pytest.approx(np.zeros(parts), abs=0.001)
    assert along == pytest.approx((2 * np.arange(parts) + 1) * stretches.reach_m, abs=0.001)


def test_a_route_that_stays_where_it_is_is_one_stretch() -> None:
    route = Route([SHANGHAI] * 3)
    assert route.length_m == 0.0
    stretches = route.stretches(1_000.0)
    assert (len(stretches.first), stretches.reach_m) == (1, 0.0)
    lon, lat = stretches.positions()
    assert (lon[0], lat[0]) == pytest.approx(SHANGHAI)


def test_a_corridor_that_holds_too_much_is_refused_before_anything_is_measured() -> None:
    columns = columns_of([SHANGHAI] * 12_000)
    zigzag = tuple((SHANGHAI[0] + (0.05 if number % 2 else -0.05), SHANGHAI[1]) for number in range(200))
    for width_m, refused in ((20_000.0, True), (100.0, False)):
        where = Corridor(line=zigzag[: 200 if refused else 2], width_m=width_m)
        search = Search(where=where, filter=StationFilter(), first=5, at=0.0)
        if refused:
            with pytest.raises(InvalidInputError, match="corridorM"):
                _query.ask(columns, search)
        else:
            assert len(_query.ask(columns, search).spans) == 1
