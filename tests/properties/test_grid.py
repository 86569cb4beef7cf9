"""The kernel, compiled or not, answers what the numpy path answers, to the last bit."""

from collections.abc import Sequence
from functools import lru_cache
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.index import _grid, _kernel, _query
from app.index._columns import Columns, Dictionaries, merge, read_batch
from app.index._packing import pack_facts
from app.model.geo import EARTH_RADIUS_M, distance_m
from app.model.search import Near, Search, SearchPage, StationFilter
from tests.builders import NOON, PlainView
from tests.properties.test_station_search import EVERYWHERE, World, circles, make_world, searches

COMPILED = _kernel.load()
KERNELS = [
    pytest.param(_kernel.PLAIN, id="plain"),
    pytest.param(COMPILED, id="compiled", marks=pytest.mark.skipif(COMPILED is None, reason="there is no numba")),
]
ALL = 2**62


class Snapshot(msgspec.Struct, frozen=True):
    """A world as columns, and who answers about it live."""

    world: World
    columns: Columns
    dictionaries: Dictionaries
    view: PlainView


@lru_cache(maxsize=8)
def snapshot(seed: int, count: int) -> Snapshot:
    world = make_world(seed, count)
    dictionaries, view = Dictionaries(), PlainView(world.statuses.values(), world.held)
    rows = [(station.id, *pack_facts(station)) for _, station in sorted(world.stations.items())]
    batch = read_batch([rows], dictionaries)
    return Snapshot(world, merge(Columns.empty(), (), batch, view.slots(batch.evse_key)), dictionaries, view)


snapshots = st.builds(snapshot, st.integers(0, 2**32), st.integers(1, 150))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Snapshot, list[Search]]:
    known = draw(snapshots)
    return known, draw(st.lists(searches(known.world).filter(_grid.answers), min_size=5, max_size=15))


@st.composite
def batches(draw: st.DrawFn) -> tuple[Snapshot, list[Search]]:
    """Circles of one filter and one moment, each with a page of its own."""
    known = draw(snapshots)
    near = st.builds(
        lambda search, where: msgspec.structs.replace(search, where=where), searches(known.world), circles(known.world)
    )
    each = draw(st.lists(near.filter(_grid.answers), min_size=1, max_size=6))
    return known, [msgspec.structs.replace(search, filter=each[0].filter, at=each[0].at) for search in each]


def through_numpy(known: Snapshot, search: Search) -> tuple[_query.Narrowed, SearchPage]:
    question = _query.ask(known.columns, search)
    narrowed = _query.narrow(known.columns, known.dictionaries, question)
    return narrowed, _query.cut(known.columns, question, _query.see(narrowed, known.view, search))


def through_kernel(
    grid: _grid.Grid, known: Snapshot, asked: Sequence[Search]
) -> tuple[_kernel.Gathered, list[SearchPage]]:
    prepared = grid.ask(asked)
    gathered = grid.gather(prepared, ALL)
    return gathered, grid.cut(prepared, gathered, grid.see(gathered, known.view, asked[0]))


@pytest.mark.parametrize("kernel", KERNELS)
@given(case=cases())
def test_the_kernel_answers_what_numpy_answers(kernel: _kernel.Kernel, case: tuple[Snapshot, list[Search]]) -> None:
    known, asked = case
    grid = _grid.Grid(known.columns, known.dictionaries, kernel)  # one for all: it remembers filters
    for search in asked:
        narrowed, page = through_numpy(known, search)
        gathered, pages = through_kernel(grid, known, [search])
        assert pages == [page], search
        assert gathered.stations.tolist() == narrowed.stations.tolist()
        if narrowed.measure is not None:
            assert gathered.measure.tolist() == narrowed.measure.tolist()
        if narrowed.slots is not None and narrowed.owner is not None:
            assert gathered.slots.tolist() == narrowed.slots.tolist()
            assert gathered.owner.tolist() == narrowed.owner.tolist()


@pytest.mark.parametrize("kernel", KERNELS)
@given(case=batches())
def test_many_circles_at_once_are_answered_as_one_by_one(
    kernel: _kernel.Kernel, case: tuple[Snapshot, list[Search]]
) -> None:
    known, asked = case
    grid = _grid.Grid(known.columns, known.dictionaries, kernel)
    assert through_kernel(grid, known, asked)[1] == [through_numpy(known, search)[1] for search in asked]


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_remembered_filter_serves_whatever_is_asked_live(kernel: _kernel.Kernel) -> None:
    known = snapshot(1, 100)
    grid = _grid.Grid(known.columns, known.dictionaries, kernel)
    for live in (False, True, False):
        wanted = StationFilter(available_now=live)
        search = Search(where=EVERYWHERE, filter=wanted, first=100, at=NOON)
        assert through_kernel(grid, known, [search])[1] == [through_numpy(known, search)[1]]


@pytest.mark.parametrize("kernel", KERNELS)
def test_nothing_is_gathered_where_too_much_would_have_to_be_looked_at(kernel: _kernel.Kernel) -> None:
    known = snapshot(1, 100)
    grid = _grid.Grid(known.columns, known.dictionaries, kernel)
    middle = known.world.spots[0]
    search = Search(where=Near(center=middle, radius_m=1e6), filter=StationFilter(), first=5, at=0.0)
    asked = grid.ask([search])
    many = grid.gather(asked, ALL).looked_at
    assert many > 1
    assert grid.gather(asked, many).looked_at == many
    refused = grid.gather(asked, many - 1)
    assert (refused.looked_at, len(refused.stations)) == (many, 0)


def test_the_compiled_distance_is_the_models_to_the_last_bit() -> None:
    numba = pytest.importorskip("numba")
    compiled, random = numba.njit(_kernel.distance), Random(5)
    for _ in range(20_000):
        lon, lat, away = random.uniform(-180, 180), random.uniform(-90, 90), 10 ** random.uniform(-7, 1)
        there = lon + away * random.uniform(-1, 1), max(-90.0, min(90.0, lat + away * random.uniform(-1, 1)))
        assert compiled(lon, lat, *there, EARTH_RADIUS_M) == distance_m(lon, lat, *there)
