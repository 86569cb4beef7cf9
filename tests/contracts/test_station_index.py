"""What every station index promises, whatever it is made of."""

import asyncio
import math
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from app.errors import InvalidInputError, UnavailableError
from app.index.base import ReplaceSummary, StationIndex
from app.index.elasticsearch import ElasticsearchIndex
from app.index.embedded import EmbeddedIndex
from app.model.agreement import Withheld
from app.model.availability import Availability
from app.model.cluster import ClusterSearch, StationCluster
from app.model.geo import BoundingBox, Point, distance_m
from app.model.opening import OpeningHours, Period, SpecialPeriod
from app.model.search import (
    Area,
    AvailabilityView,
    Corridor,
    Hit,
    Near,
    Position,
    Search,
    SearchPage,
    StationFilter,
    Where,
)
from app.model.station import NOT_OPERATING, Access, Address, ConnectorType, Presence, Station
from tests.builders import (
    NOON,
    PARTY,
    PlainView,
    build_connector,
    build_evse,
    build_operator,
    build_station,
    build_status,
    random_station,
    random_status,
)

Maker = Callable[[Path, AvailabilityView], StationIndex]


def make_embedded(request: pytest.FixtureRequest) -> Maker:
    return lambda folder, view: EmbeddedIndex(folder / "stations.sqlite", view)


def make_elasticsearch(request: pytest.FixtureRequest) -> Maker:
    """Over one cluster, whatever the folder: that is made for tests which copy it."""
    url, prefix = request.getfixturevalue("elasticsearch_url"), request.getfixturevalue("index_prefix")

    def make(folder: Path, view: AvailabilityView) -> StationIndex:
        folder.mkdir(parents=True, exist_ok=True)
        return ElasticsearchIndex([url], view, prefix)

    return make


MAKERS = {"embedded": make_embedded, "elasticsearch": make_elasticsearch}
HERE = Point(lon=121.5, lat=31.2)
"""Where `build_station` puts stations."""

EVERYWHERE = Area(box=BoundingBox(west=-180, south=-90, east=180, north=90))
SQUARE = ((121.4, 31.1), (121.6, 31.1), (121.6, 31.3), (121.4, 31.3))
PAST_HERE = Corridor(line=((121.4, 31.2), (121.6, 31.2)), width_m=5_000)


@pytest.fixture(params=sorted(MAKERS))
def maker(request: pytest.FixtureRequest) -> Maker:
    """Make an index over the storage in a folder."""
    return MAKERS[request.param](request)


@pytest.fixture
def view() -> PlainView:
    """What is known live; a test tells it more."""
    return PlainView()


@pytest.fixture
def make_index(maker: Maker, tmp_path: Path, view: PlainView) -> Callable[[], StationIndex]:
    """Make an index over the same storage each time, as a process that starts does."""
    return lambda: maker(tmp_path / "index", view)


@pytest.fixture
async def index(make_index: Callable[[], StationIndex]) -> AsyncIterator[StationIndex]:
    """An open index without stations."""
    index = make_index()
    await index.open()
    yield index
    await index.close()


def ids(*numbers: int, feed: str = "teld") -> list[str]:
    return [f"{feed}:{PARTY}:{number:06d}" for number in numbers]


def stations(*numbers: int, **changes: Any) -> list[Station]:
    return [build_station(number, **changes) for number in numbers]


async def replace(
    index: StationIndex, statement: Sequence[Station], feed: str = "teld", *, remove_missing: bool = True
) -> ReplaceSummary:
    replacement = await index.open_replacement(feed)
    await replacement.add(statement)
    return await replacement.commit(remove_missing=remove_missing)


async def search(
    index: StationIndex,
    where: Where = EVERYWHERE,
    *,
    first: int = 100,
    after: Position | None = None,
    at: float = NOON,
    **wanted: Any,
) -> SearchPage:
    return await index.search(Search(where=where, filter=StationFilter(**wanted), first=first, at=at, after=after))


async def found(index: StationIndex, where: Where = EVERYWHERE, *, at: float = NOON, **wanted: Any) -> list[str]:
    page = await search(index, where, at=at, **wanted)
    assert page.total_count == len(page.hits) and not page.has_next
    return [hit.station_id for hit in page.hits]


async def local_ids(index: StationIndex, feed: str = "teld", page_size: int = 2) -> list[str]:
    return [local_id async for page in index.list_station_local_ids(feed, page_size) for local_id in page]


async def everything(index: StationIndex, known: Sequence[str], feeds: Sequence[str] = ("teld",)) -> Any:
    """All that an index says about some ids."""
    evses = [f"{station_id}-1" for station_id in known]
    return (
        await search(index),
        await search(index, Near(center=HERE, radius_m=50_000)),
        await index.find_stations(known),
        await index.find_station_of_evse(evses),
        [await local_ids(index, feed) for feed in feeds],
        await index.count_stations(),
        await index.list_operators(),
    )


# ------------------------------------------------------------------------------------------------------- replacements


async def test_nothing_of_a_replacement_is_seen_before_its_commit(index: StationIndex) -> None:
    await replace(index, stations(1, 2))
    before = await everything(index, ids(1, 2, 3))
    replacement = await index.open_replacement("teld")
    await replacement.add([build_station(1, name="changed"), build_station(3)])
    assert await everything(index, ids(1, 2, 3)) == before
    assert await replacement.commit(remove_missing=True) == ReplaceSummary(indexed=2, changed=2, removed=1)
    assert await index.find_stations(ids(1, 2, 3)) == [build_station(1, name="changed"), None, build_station(3)]
    assert await found(index) == ids(1, 3)
    assert await index.find_station_of_evse([f"{one}-1" for one in ids(1, 2, 3)]) == [ids(1)[0], None, ids(3)[0]]
    assert await local_ids(index) == ["000001", "000003"]
    assert await index.count_stations() == {"teld": 2}


async def test_searches_see_a_commit_in_one_step(index: StationIndex) -> None:
    numbers = range(1, 301)
    await replace(index, stations(*numbers, name="before"))
    replacement = await index.open_replacement("teld")
    await replacement.add(stations(*numbers, name="after"))
    commit = asyncio.create_task(replacement.commit(remove_missing=True))
    seen = []
    while not commit.done():
        seen += [(text, (await search(index, text=text)).total_count) for text in ("before", "after")]
        await asyncio.sleep(0.001)
    assert (await commit).changed == 300
    assert {count for _, count in seen} == {0, 300}, "never a part of it"
    assert (await search(index, text="before")).total_count == 0
    assert (await search(index, text="after")).total_count == 300
    last_before = max(place for place, one in enumerate(seen) if one == ("before", 300))
    assert ("after", 300) not in seen[:last_before], "and never back"


async def test_what_a_statement_does_not_mention_is_forgotten_only_with_remove_missing(index: StationIndex) -> None:
    await replace(index, stations(1, 2, 3))
    kept = await replace(index, stations(4), remove_missing=False)
    assert kept == ReplaceSummary(indexed=1, changed=1, removed=0)
    assert await found(index) == ids(1, 2, 3, 4)
    removed = await replace(index, stations(2, 4), remove_missing=True)
    assert removed == ReplaceSummary(indexed=2, changed=0, removed=2)
    assert await found(index) == ids(2, 4)
    nothing = await replace(index, [], remove_missing=False)
    assert nothing == ReplaceSummary(indexed=0, changed=0, removed=0)
    emptied = await replace(index, [])
    assert emptied == ReplaceSummary(indexed=0, changed=0, removed=2)
    assert await found(index) == []
    assert await index.count_stations() == {}


async def test_identical_stations_count_as_neither_changed_nor_removed(index: StationIndex) -> None:
    statement = [build_station(1), build_station(2, name=None), build_station(3, evse_count=3)]
    assert await replace(index, statement) == ReplaceSummary(indexed=3, changed=3, removed=0)
    before = await everything(index, ids(1, 2, 3))
    assert await replace(index, statement[::-1]) == ReplaceSummary(indexed=3, changed=0, removed=0)
    assert await index.upsert_stations("teld", statement) == ReplaceSummary(indexed=3, changed=0, removed=0)
    assert await everything(index, ids(1, 2, 3)) == before
    hardly = [*statement[:2], build_station(3, evse_count=3, remark="seen only in the station itself")]
    assert await replace(index, hardly) == ReplaceSummary(indexed=3, changed=1, removed=0)
    assert await index.find_stations(ids(3)) == hardly[2:]


async def test_of_two_stations_with_one_id_the_later_wins(index: StationIndex) -> None:
    replacement = await index.open_replacement("teld")
    assert await replacement.count() == 0
    await replacement.add([build_station(1, name="a"), build_station(2), build_station(1, name="b")])
    assert await replacement.count() == 2
    await replacement.add([build_station(2, name="c"), build_station(3)])
    await replacement.add([])
    assert await replacement.count() == 3
    assert await replacement.commit(remove_missing=True) == ReplaceSummary(indexed=3, changed=3, removed=0)
    winners = [build_station(1, name="b"), build_station(2, name="c"), build_station(3)]
    assert await index.find_stations(ids(1, 2, 3)) == winners
    summary = await index.upsert_stations("teld", [build_station(1, name="d"), build_station(1, name="e")])
    assert summary == ReplaceSummary(indexed=1, changed=1, removed=0)
    assert await index.find_stations(ids(1)) == [build_station(1, name="e")]


async def test_the_later_wins_also_where_it_is_what_was_known_before(index: StationIndex) -> None:
    known = stations(1, 2)
    await replace(index, known)
    replacement = await index.open_replacement("teld")
    await replacement.add([build_station(1, name="for a moment"), known[1]])
    await replacement.add([known[0], build_station(2, name="to stay")])
    assert await replacement.commit(remove_missing=True) == ReplaceSummary(indexed=2, changed=1, removed=0)
    assert await index.find_stations(ids(1, 2)) == [known[0], build_station(2, name="to stay")]


FOREIGNERS = (
    build_station(9, feed="star"),
    build_station(9, id=f"star:{PARTY}:000009"),
    build_station(9, feed="star", id=f"teld:{PARTY}:000009"),
    build_station(9, feed="teld2"),
    build_station(9, id="teld"),
    build_station(9, operator_id=f"star:{PARTY}"),
    build_station(9, operator_id="teld"),
)


@pytest.mark.parametrize("foreigner", FOREIGNERS, ids=lambda one: f"{one.feed}-{one.id}-{one.operator_id}")
async def test_a_station_of_another_feed_is_refused_with_all_that_came_with_it(
    index: StationIndex, foreigner: Station
) -> None:
    replacement = await index.open_replacement("teld")
    await replacement.add(stations(1))
    with pytest.raises(ValueError, match="feed"):
        await replacement.add([*stations(*range(2, 1_200)), foreigner])
    with pytest.raises(ValueError, match="feed"):
        await index.upsert_stations("teld", [build_station(3), foreigner])
    assert await replacement.count() == 1
    await replacement.add(stations(4))
    await replacement.commit(remove_missing=True)
    assert await found(index) == ids(1, 4)
    assert await index.count_stations() == {"teld": 2}


async def test_an_aborted_replacement_leaves_no_trace(index: StationIndex) -> None:
    await replace(index, stations(1, 2))
    before = await everything(index, ids(1, 2, 3))
    replacement = await index.open_replacement("teld")
    await replacement.add([build_station(1, name="changed"), build_station(2), build_station(3)])
    await replacement.abort()
    await replacement.abort()
    assert await everything(index, ids(1, 2, 3)) == before
    assert await replace(index, stations(1, 2)) == ReplaceSummary(indexed=2, changed=0, removed=0)


async def is_ended(index: StationIndex, replacement: Any, known: Sequence[str]) -> bool:
    before = await everything(index, known)
    with pytest.raises(UnavailableError):
        await replacement.add(stations(7))
    with pytest.raises(UnavailableError):
        await replacement.count()
    with pytest.raises(UnavailableError):
        await replacement.commit(remove_missing=True)
    await replacement.abort()
    return bool(await everything(index, known) == before)


async def test_a_replacement_that_ended_changes_nothing_any_more(index: StationIndex) -> None:
    committed = await index.open_replacement("teld")
    await committed.add(stations(1, 2))
    await committed.commit(remove_missing=True)
    assert await is_ended(index, committed, ids(1, 2, 7))
    aborted = await index.open_replacement("teld")
    await aborted.add(stations(3))
    await aborted.abort()
    assert await is_ended(index, aborted, ids(1, 2, 3, 7))


async def test_a_new_replacement_drops_an_older_open_one_of_the_feed(index: StationIndex) -> None:
    await replace(index, stations(1))
    older = await index.open_replacement("teld")
    await older.add(stations(1, 2))
    newer = await index.open_replacement("teld")
    assert await newer.count() == 0
    await newer.add(stations(1, 3))
    assert await is_ended(index, older, ids(1, 2, 3, 7))
    assert await newer.count() == 2
    assert await newer.commit(remove_missing=True) == ReplaceSummary(indexed=2, changed=1, removed=0)
    assert await found(index) == ids(1, 3)


async def test_replacements_of_different_feeds_do_not_meet(index: StationIndex) -> None:
    await replace(index, stations(1, feed="star"), "star")
    one = await index.open_replacement("teld")
    other = await index.open_replacement("star")
    await one.add(stations(1, 2))
    await other.add(stations(2, 3, feed="star"))
    assert (await one.count(), await other.count()) == (2, 2)
    assert await one.commit(remove_missing=True) == ReplaceSummary(indexed=2, changed=2, removed=0)
    assert await found(index) == [*ids(1, feed="star"), *ids(1, 2)]
    assert await other.commit(remove_missing=True) == ReplaceSummary(indexed=2, changed=2, removed=1)
    assert await found(index) == [*ids(2, 3, feed="star"), *ids(1, 2)]


@pytest.mark.parametrize("is_changed_back", [False, True])
async def test_a_statement_holds_although_its_stations_were_changed_meanwhile(
    index: StationIndex, is_changed_back: bool
) -> None:
    known = stations(1, 2, 3)
    await replace(index, known)
    replacement = await index.open_replacement("teld")
    await replacement.add([known[0], known[1], build_station(3, name="new")])
    await index.upsert_stations("teld", [build_station(1, name="meanwhile"), build_station(3, name="new")])
    if is_changed_back:
        await index.upsert_stations("teld", [known[0]])
    summary = await replacement.commit(remove_missing=True)
    assert summary == ReplaceSummary(indexed=3, changed=0 if is_changed_back else 1, removed=0)
    assert await index.find_stations(ids(1, 2, 3)) == [known[0], known[1], build_station(3, name="new")]
    assert await found(index, text="充电站") == ids(1, 2)


async def test_a_statement_holds_although_its_feed_was_removed_meanwhile(index: StationIndex) -> None:
    known = stations(1, 2)
    await replace(index, known)
    replacement = await index.open_replacement("teld")
    await replacement.add(known)
    assert await index.remove_feed("teld") == 2
    assert await index.find_stations(ids(1, 2)) == [None, None]
    assert await replacement.commit(remove_missing=True) == ReplaceSummary(indexed=2, changed=2, removed=0)
    assert await index.find_stations(ids(1, 2)) == known
    assert await found(index) == ids(1, 2)


async def test_many_statements_one_after_the_other_leave_only_the_last(index: StationIndex) -> None:
    random = Random(4)
    for _ in range(12):
        numbers = random.sample(range(1, 40), 25)
        statement = {number: build_station(number, name=random.choice("ab")) for number in numbers}
        for part in (numbers[:10], numbers[10:]):
            await index.upsert_stations("teld", [statement[number] for number in random.sample(part, 5)])
        await replace(index, list(statement.values()))
        expected = [statement.get(number) for number in range(1, 40)]
        assert await index.find_stations(ids(*range(1, 40))) == expected
        for text in "ab":
            named = [number for number in sorted(numbers) if statement[number].name == text]
            assert await found(index, text=text) == ids(*named)


# ---------------------------------------------------------------------------------------------------- changes, by id


async def test_upserting_adds_and_changes_and_keeps_all_others(index: StationIndex) -> None:
    await replace(index, stations(1, 2))
    summary = await index.upsert_stations("teld", [build_station(2, name="changed"), *stations(3, 1)])
    assert summary == ReplaceSummary(indexed=3, changed=2, removed=0)
    assert await index.find_stations(ids(1, 2, 3)) == [build_station(1), build_station(2, name="changed"), *stations(3)]
    assert await found(index) == ids(1, 2, 3)
    nothing = await index.upsert_stations("teld", [])
    assert nothing == ReplaceSummary(indexed=0, changed=0, removed=0)
    assert await found(index) == ids(1, 2, 3)


async def test_a_station_that_moves_is_found_only_where_it_is_now(index: StationIndex) -> None:
    away = Point(lon=-0.1, lat=51.5)
    await replace(index, stations(1, 2))
    await index.upsert_stations("teld", [build_station(2, location=away)])
    assert await found(index, Near(center=HERE, radius_m=1_000)) == ids(1)
    assert await found(index, Near(center=away, radius_m=1_000)) == ids(2)


async def test_removing_a_feed_forgets_its_stations_and_no_others(index: StationIndex) -> None:
    for feed in ("teld", "tel", "teld2", "teld-x"):
        await replace(index, stations(1, 2, feed=feed), feed)
    assert await index.count_stations() == {"teld": 2, "tel": 2, "teld2": 2, "teld-x": 2}
    assert await index.remove_feed("teld") == 2
    assert await index.remove_feed("teld") == 0
    assert await index.remove_feed("never heard of") == 0
    assert await index.count_stations() == {"tel": 2, "teld2": 2, "teld-x": 2}
    assert await index.find_stations([*ids(1), *ids(1, feed="tel")]) == [None, *stations(1, feed="tel")]
    assert await local_ids(index) == []
    assert await local_ids(index, "tel") == ["000001", "000002"]
    assert (await search(index)).total_count == 6
    await replace(index, stations(3))
    assert await index.count_stations() == {"teld": 1, "tel": 2, "teld2": 2, "teld-x": 2}


async def test_the_mark_is_another_after_each_change(index: StationIndex) -> None:
    marks = [await index.mark()]
    await index.upsert_stations("teld", [build_station(1)])
    marks.append(await index.mark())
    await index.upsert_stations("teld", [build_station(1, name="更新")])
    marks.append(await index.mark())
    replacement = await index.open_replacement("teld")
    await replacement.add([build_station(2)])
    await replacement.commit(remove_missing=True)
    marks.append(await index.mark())
    await index.remove_feed("teld")
    marks.append(await index.mark())
    assert len(set(marks)) == len(marks)
    assert await index.mark() == marks[-1]


async def test_stations_are_found_by_id_as_they_were_stated(index: StationIndex) -> None:
    random = Random(1)
    spot = Point(lon=0.125, lat=-45.5)
    statement = [random_station(random, number, feed="teld", location=spot) for number in range(60)]
    await replace(index, statement)
    assert await index.find_stations([station.id for station in statement]) == statement


async def test_stations_are_found_in_the_order_asked_for_and_none_where_there_is_none(index: StationIndex) -> None:
    await replace(index, stations(1, 2))
    one, two = stations(1, 2)
    assert await index.find_stations(ids(2, 9, 1, 2, 9)) == [two, None, one, two, None]
    assert await index.find_stations([]) == []
    strange = ["", "teld", f"{one.id} ", one.id.upper(), f"{one.id}\0", "\ud800", f"teld:{PARTY}:%"]
    assert await index.find_stations([*strange, one.id]) == [*[None] * len(strange), one]


async def test_ids_are_told_apart_whatever_characters_they_hold(index: StationIndex) -> None:
    locals_ = ["x", "x\0y", "x y", "x:y", "X", "电", "\u00e9", "e\u0301", "'x\"", "x%", "x_"]
    statement = [
        build_station(number, id=f"teld:{PARTY}:{local}", local_id=local) for number, local in enumerate(locals_)
    ]
    replacement = await index.open_replacement("teld")
    for station in statement:
        await replacement.add([station])
    assert await replacement.count() == len(statement)
    await replacement.commit(remove_missing=True)
    assert await index.find_stations([station.id for station in statement]) == statement
    assert await found(index) == sorted(station.id for station in statement)
    assert sorted(await local_ids(index)) == sorted(locals_)


async def test_an_evse_leads_to_its_station(index: StationIndex) -> None:
    first, second = build_station(1, evse_count=2), build_station(2, evse_count=3, location=None, published=False)
    await replace(index, [first, second])
    asked = [second.evses[2].id, "teld:x:nothing", first.evses[0].id, second.evses[2].id, first.id, ""]
    assert await index.find_station_of_evse(asked) == [second.id, None, first.id, second.id, None, None]
    assert await index.find_station_of_evse([]) == []
    moved = msgspec.structs.replace(first, evses=(*first.evses, second.evses[2]))
    left = msgspec.structs.replace(second, evses=second.evses[:2])
    await index.upsert_stations("teld", [moved, left])
    assert await index.find_station_of_evse([second.evses[2].id, second.evses[1].id]) == [first.id, second.id]
    await replace(index, [left])
    assert await index.find_station_of_evse([second.evses[2].id, second.evses[1].id]) == [None, second.id]


@pytest.mark.parametrize("page_size", [1, 2, 3, 5, 100])
async def test_local_ids_are_listed_in_pages_each_once_and_in_a_stable_order(
    index: StationIndex, page_size: int
) -> None:
    own = {f"teld:{PARTY}:{name}": f" {name} as written" for name in ("B", "a", "电", "b:c", "10")}
    await replace(index, [build_station(1, id=one, local_id=local) for one, local in own.items()])
    await replace(index, stations(1, 2, feed="teld2"), "teld2")
    pages = [page async for page in index.list_station_local_ids("teld", page_size)]
    assert all(0 < len(page) <= page_size for page in pages)
    assert sorted(local_id for page in pages for local_id in page) == sorted(own.values())
    assert pages == [page async for page in index.list_station_local_ids("teld", page_size)]
    assert [page async for page in index.list_station_local_ids("tel", page_size)] == []


async def test_operators_are_listed_by_id_and_saved_over_older_ones(index: StationIndex) -> None:
    assert await index.list_operators() == []
    b, a, other = build_operator("B"), build_operator("A", website="https://a.example"), build_operator(feed="star")
    await index.save_operators([b, a])
    await index.save_operators([])
    await index.save_operators([other])
    assert await index.list_operators() == [other, a, b]
    renamed = build_operator("B", name="特来电")
    await index.save_operators([renamed])
    await index.remove_feed("star")
    assert await index.list_operators() == [other, a, renamed]


# ------------------------------------------------------------------------------------------------- what is searchable

UNSEARCHABLE = (
    {"published": False},
    {"presence": Presence.REMOVED},
    {"location": None},
    {"location": Point(lon=200.0, lat=31.2)},
    {"location": Point(lon=121.5, lat=90.001)},
)


@pytest.mark.parametrize("changes", UNSEARCHABLE, ids=repr)
async def test_what_may_not_be_searched_is_found_by_id_only(index: StationIndex, changes: dict[str, Any]) -> None:
    hidden = build_station(1, **changes)
    await replace(index, [hidden, build_station(2)])
    for where in (EVERYWHERE, Near(center=HERE, radius_m=20_100_000)):
        assert await found(index, where) == ids(2)
        assert await found(index, where, connector_types=frozenset({ConnectorType.GBT_DC})) == ids(2)
        assert await found(index, where, text="充电站") == ids(2)
    assert await index.find_stations(ids(1)) == [hidden]
    assert await index.find_station_of_evse([hidden.evses[0].id]) == ids(1)
    assert await local_ids(index) == ["000001", "000002"]
    assert await index.count_stations() == {"teld": 2}
    await index.upsert_stations("teld", [build_station(1), build_station(2, **changes)])
    assert await found(index) == ids(1)


@pytest.mark.parametrize("presence", [presence for presence in Presence if presence is not Presence.REMOVED])
async def test_a_station_that_does_not_operate_is_found_but_by_no_evse(index: StationIndex, presence: Presence) -> None:
    await replace(index, [build_station(1, presence=presence)])
    assert await found(index) == ids(1)
    expected = [] if presence in NOT_OPERATING else ids(1)
    assert await found(index, connector_types=frozenset({ConnectorType.GBT_DC})) == expected
    assert await found(index, min_power_w=1) == expected


# ------------------------------------------------------------------------------------------------------------ filters

DC, AC = ConnectorType.GBT_DC, ConnectorType.GBT_AC


def evses_of(number: int, *evses: dict[str, Any]) -> Station:
    station_id = ids(number)[0]
    return build_station(
        number, evses=tuple(build_evse(station_id, place, **changes) for place, changes in enumerate(evses, 1))
    )


def plug(kind: ConnectorType, max_power_w: int | None) -> Any:
    return build_connector(type=kind, max_power_w=max_power_w)


EVSES = (
    evses_of(1, {"connectors": (plug(DC, 120_000),)}),
    evses_of(2, {"connectors": (plug(DC, 60_000),)}, {"connectors": (plug(AC, 7_000),)}),
    evses_of(3, {"connectors": (plug(DC, 30_000), plug(AC, 120_000))}),
    evses_of(4, {"connectors": (plug(DC, None),)}),
    evses_of(5),
    evses_of(6, {"connectors": ()}),
    evses_of(7, {"connectors": (plug(DC, 120_000),), "presence": Presence.TEMPORARILY_CLOSED}),
    evses_of(8, {"connectors": (plug(DC, 120_000),)}),  # held
    evses_of(9, {"connectors": (plug(DC, 120_000),)}),  # stale at NOON + 30
    evses_of(10, {"connectors": (plug(DC, 120_000),)}),  # observed 300 s ago
    evses_of(11, {"connectors": (plug(DC, 120_000),)}),  # no status
    evses_of(12, {"connectors": (plug(ConnectorType.UNKNOWN, 0),)}),
)
STATUSES = (
    build_status(EVSES[0].evses[0].id),
    build_status(EVSES[1].evses[0].id, Availability.CHARGING),
    build_status(EVSES[1].evses[1].id),
    build_status(EVSES[2].evses[0].id),
    build_status(EVSES[3].evses[0].id),
    build_status(EVSES[5].evses[0].id),
    build_status(EVSES[6].evses[0].id),
    build_status(EVSES[7].evses[0].id),
    build_status(EVSES[8].evses[0].id, stale_after=NOON + 30),
    build_status(EVSES[9].evses[0].id, observed_at=NOON - 300),
    build_status(EVSES[11].evses[0].id, Availability.UNKNOWN),
)


@pytest.mark.parametrize(
    ("wanted", "at", "expected"),
    [
        ({}, NOON, range(1, 13)),
        ({"connector_types": {DC}}, NOON, [1, 2, 3, 4, 8, 9, 10, 11]),
        ({"connector_types": {AC}}, NOON, [2, 3]),
        ({"connector_types": {DC, AC}}, NOON, [1, 2, 3, 4, 8, 9, 10, 11]),
        ({"connector_types": {ConnectorType.UNKNOWN}}, NOON, [12]),
        ({"connector_types": {ConnectorType.MCS}}, NOON, []),
        ({"min_power_w": 0}, NOON, [1, 2, 3, 8, 9, 10, 11, 12]),
        ({"min_power_w": 60_000}, NOON, [1, 2, 3, 8, 9, 10, 11]),
        ({"min_power_w": 60_001}, NOON, [1, 3, 8, 9, 10, 11]),
        ({"min_power_w": 120_001}, NOON, []),
        ({"min_power_w": 2**40}, NOON, []),
        # type and power on the same connector
        ({"connector_types": {DC}, "min_power_w": 60_000}, NOON, [1, 2, 8, 9, 10, 11]),
        ({"connector_types": {AC}, "min_power_w": 7_001}, NOON, [3]),
        # and the status on the same Evse
        ({"available_now": True}, NOON, [1, 2, 3, 4, 6, 9, 10]),
        ({"available_now": True, "connector_types": {DC}}, NOON, [1, 3, 4, 9, 10]),
        ({"available_now": True, "connector_types": {AC}}, NOON, [2, 3]),
        ({"available_now": True, "min_power_w": 7_001}, NOON, [1, 3, 9, 10]),
        ({"available_now": True, "connector_types": {DC}, "min_power_w": 60_000}, NOON, [1, 9, 10]),
        ({"available_now": True}, NOON + 29.9, [1, 2, 3, 4, 6, 9, 10]),
        ({"available_now": True}, NOON + 30, [1, 2, 3, 4, 6, 10]),
        ({"available_now": True}, NOON + 600, []),
        ({"available_now": True, "max_status_age_s": 299.9}, NOON, [1, 2, 3, 4, 6, 9]),
        ({"available_now": True, "max_status_age_s": 300.0}, NOON, [1, 2, 3, 4, 6, 9, 10]),
        # an age alone asks for any status, held or not
        ({"max_status_age_s": 0.0}, NOON, [1, 2, 3, 4, 6, 8, 9, 12]),
        ({"max_status_age_s": 300.0}, NOON, [1, 2, 3, 4, 6, 8, 9, 10, 12]),
        ({"max_status_age_s": 300.0}, NOON + 30, [1, 2, 3, 4, 6, 8, 12]),
        ({"max_status_age_s": 1e9}, NOON + 600, []),
        ({"max_status_age_s": 10.0, "connector_types": {DC}, "min_power_w": 60_000}, NOON, [1, 2, 8, 9]),
    ],
)
@pytest.mark.parametrize("where", [EVERYWHERE, Near(center=HERE, radius_m=0), PAST_HERE], ids=["area", "near", "route"])
async def test_one_single_evse_has_to_be_all_that_is_wanted(
    index: StationIndex, view: PlainView, where: Where, wanted: dict[str, Any], at: float, expected: Sequence[int]
) -> None:
    view.tell(STATUSES[:5])
    await replace(index, EVSES)
    view.tell(STATUSES[5:], held=[EVSES[7].evses[0].id])
    assert await found(index, where, at=at, **wanted) == ids(*expected)


async def test_what_is_free_is_what_is_free_at_the_moment_of_the_search(index: StationIndex, view: PlainView) -> None:
    await replace(index, stations(1))
    evse_id = build_station(1).evses[0].id
    assert await found(index, available_now=True) == []
    view.tell([build_status(evse_id)])
    assert await found(index, available_now=True) == ids(1)
    view.tell(held=[evse_id])
    assert await found(index, available_now=True) == []
    view.tell([build_status(evse_id, Availability.CHARGING)])
    assert await found(index, max_status_age_s=5.0) == ids(1)


async def test_operators_and_access_choose_stations(index: StationIndex) -> None:
    await replace(index, [build_station(1), build_station(2, operator_id="teld:x", access=Access.PRIVATE)])
    await replace(index, [build_station(3, feed="star", access=Access.UNKNOWN)], "star")
    three = ids(3, feed="star")
    assert await found(index, operator_ids={f"teld:{PARTY}"}) == ids(1)
    assert await found(index, operator_ids={"teld:x", f"star:{PARTY}", "teld:nobody"}) == [*three, *ids(2)]
    assert await found(index, operator_ids={"teld:nobody"}) == []
    assert await found(index, access={Access.PUBLIC}) == ids(1)
    assert await found(index, access={Access.UNKNOWN, Access.PRIVATE}) == [*three, *ids(2)]
    assert await found(index, access={Access.TEST}) == []
    assert await found(index, operator_ids={"teld:x"}, access={Access.PUBLIC}) == []
    assert await found(index, operator_ids={"teld:x"}, access={Access.PRIVATE}, min_power_w=1) == ids(2)


@pytest.mark.parametrize(
    "where", [EVERYWHERE, Near(center=HERE, radius_m=5_000), PAST_HERE, Area(polygons=((SQUARE,),))]
)
async def test_what_is_hidden_is_not_found(index: StationIndex, view: PlainView, where: Where) -> None:
    parties = ("a", "b", "c")
    await replace(
        index, [build_station(number, operator_id=f"teld:{party}") for number, party in enumerate(parties, 1)]
    )
    await replace(index, [build_station(4, feed="star", operator_id="star:a")], "star")
    view.tell([build_status(f"{one}-1") for one in (*ids(1, 2, 3), *ids(4, feed="star"))])
    for hidden, left in (
        (Withheld(), {1, 2, 3, 4}),
        (Withheld(feeds=frozenset({"teld"})), {4}),
        (Withheld(feeds=frozenset({"star", "never heard of"})), {1, 2, 3}),
        (Withheld(feeds=frozenset({"star", "teld"})), set()),
        (Withheld(feeds=frozenset({"teld"}), but_of=frozenset({"teld:b", "teld:x"})), {2, 4}),
        (Withheld(operators=frozenset({"teld:b", "star:a", "nobody:x"})), {1, 3}),
        (Withheld(feeds=frozenset({"star"}), but_of=frozenset({"star:a"}), operators=frozenset({"teld:c"})), {1, 2, 4}),
        (Withheld(but_of=frozenset({"teld:a"})), {1, 2, 3, 4}),
    ):
        for also in ({}, {"available_now": True}, {"min_power_w": 1, "max_status_age_s": 60.0}, {"text": "充电站"}):
            page = await search(index, where, hidden=hidden, **also)
            assert {int(hit.station_id[-6:]) for hit in page.hits} == left, (hidden, also)
            assert page.total_count == len(left)
        chosen = await search(index, where, hidden=hidden, operator_ids={"teld:a", "star:a"})
        assert {int(hit.station_id[-6:]) for hit in chosen.hits} == left & {1, 4}, hidden


TEXTS = (
    build_station(1, name="特来电 虹桥（火车站）", address=Address(text="上海市闵行区申贵路1500号", city="上海市")),
    build_station(2, name="Straße des 17. Juni", address=Address(city="Berlin", region="Brandenburg")),
    build_station(3, name="ＡＢＣ ｃｈａｒｇｅ", address=Address(text="10 Downing St", postal_code="SW1A 2AA")),
    build_station(4, name=None, address=Address()),
    build_station(5, name="ΟΔΟΣ Café", address=Address(text="É 1")),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("特来电", [1]),
        ("来", [1]),
        ("虹桥(火车站)", [1]),
        ("闵行 火车", [1]),
        ("闵行　火车", [1]),
        ("1500 虹桥\t申贵路", [1]),
        ("虹桥 Berlin", []),
        ("STRASSE", [2]),
        ("straße", [2]),
        ("berlin brandenburg", [2]),
        ("17.", [2]),
        ("abc", [3]),
        ("ａＢc CHARGE", [3]),
        ("sw1a", [3]),
        ("abccharge", []),
        ("charge10", []),
        ("οδος", [5]),
        ("ΟΔΟΣ", [5]),
        ("café", [5]),
        ("CAFÉ", [5]),
        ("1", [1, 2, 3, 5]),
        ("1 1 1", [1, 2, 3, 5]),
        ("", [1, 2, 3, 4, 5]),
        (" \t\u3000", [1, 2, 3, 4, 5]),
        ("%", []),
        ("_", []),
        ("*", []),
        ("\\", []),
        ("\0", []),
        ("\ud800", []),
    ],
)
async def test_every_word_is_part_of_the_name_or_the_address(
    index: StationIndex, text: str, expected: Sequence[int]
) -> None:
    await replace(index, TEXTS)
    assert await found(index, text=text) == ids(*expected)
    assert await found(index, Near(center=HERE, radius_m=0), text=text) == ids(*expected)


# NOON is Tuesday 00:00 in Beijing and Monday 17:00 in Berlin.
MONDAY_LATE = OpeningHours(weekly=(Period(day=1, start_min=960, end_min=1_440),))
MONDAY_OVER_MIDNIGHT = OpeningHours(weekly=(Period(day=1, start_min=1_320, end_min=1_500),))
TUESDAY = OpeningHours(weekly=(Period(day=2, start_min=0, end_min=1),))
CLOSED_BEFORE = SpecialPeriod(start=NOON - 9, end=NOON + 0.5, open=False)
HOURS = (
    build_station(1),
    build_station(2, hours=OpeningHours(always_open=True), time_zone=None),
    build_station(3, hours=OpeningHours(always_open=False)),
    build_station(4, hours=MONDAY_LATE),
    build_station(5, hours=MONDAY_LATE, time_zone="Europe/Berlin"),
    build_station(6, hours=MONDAY_OVER_MIDNIGHT),
    build_station(7, hours=TUESDAY),
    build_station(8, hours=TUESDAY, time_zone=None),
    build_station(9, hours=TUESDAY, time_zone="Mars/Olympus"),
    build_station(10, hours=OpeningHours(always_open=True, exceptions=(CLOSED_BEFORE,))),
    build_station(11, hours=OpeningHours(exceptions=(SpecialPeriod(start=NOON + 0.5, end=NOON + 90, open=True),))),
)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (NOON - 60, [2, 4, 5, 6, 10]),
        (NOON - 0.001, [2, 4, 5, 6]),
        (NOON, [2, 5, 6, 7]),
        (NOON + 0.5, [2, 5, 6, 7, 10, 11]),
        (NOON + 59.999, [2, 5, 6, 7, 10, 11]),
        (NOON + 60, [2, 5, 6, 10, 11]),
        (NOON + 90, [2, 5, 6, 10]),
        (NOON + 3_600, [2, 5, 10]),
    ],
)
async def test_open_now_asks_for_stations_known_to_be_open(
    index: StationIndex, at: float, expected: Sequence[int]
) -> None:
    await replace(index, HOURS)
    assert await found(index, at=at, open_now=True) == ids(*expected)
    assert await found(index, at=at, open_now=True, text="充电站", min_power_w=1) == ids(*expected)


async def test_all_criteria_must_hold(index: StationIndex, view: PlainView) -> None:
    hours = OpeningHours(always_open=True)
    whole = build_station(1, hours=hours, name="whole")
    view.tell([build_status(evse_id=f"{one}-1") for one in ids(*range(1, 9))])
    lacking = [
        build_station(2, name="whole"),
        build_station(3, hours=hours, name="other"),
        build_station(4, hours=hours, name="whole", access=Access.TEST),
        build_station(5, hours=hours, name="whole", operator_id="teld:x"),
        build_station(6, hours=hours, name="whole", evses=()),
        build_station(7, hours=hours, name="whole", location=Point(lon=121.6, lat=31.2)),
        build_station(9, hours=hours, name="whole"),  # no status
    ]
    await replace(index, [whole, *lacking])
    wanted: dict[str, Any] = {
        "open_now": True,
        "text": "whole",
        "access": {Access.PUBLIC},
        "operator_ids": {whole.operator_id},
        "available_now": True,
        "connector_types": {DC},
        "min_power_w": 50_000,
        "max_status_age_s": 60.0,
        "hidden": Withheld(feeds=frozenset({"star"}), operators=frozenset({"teld:y"})),
    }
    assert await found(index, Near(center=HERE, radius_m=5_000), **wanted) == ids(1)


# ---------------------------------------------------------------------------------------------------------- geometry


async def test_the_nearest_comes_first_and_ties_go_by_id(index: StationIndex) -> None:
    spots = {3: (121.5, 31.2), 1: (121.51, 31.2), 9: (121.5, 31.2), 4: (121.49, 31.2), 2: (121.5, 31.25)}
    await replace(index, [build_station(number, location=Point(lon=x, lat=y)) for number, (x, y) in spots.items()])
    page = await search(index, Near(center=HERE, radius_m=100_000))
    distances = {number: distance_m(HERE.lon, HERE.lat, *spot) for number, spot in spots.items()}
    assert distances[1] == distances[4], "east and west are as far"
    assert page.hits == tuple(Hit(ids(number)[0], distances[number]) for number in (3, 9, 1, 4, 2))
    assert (page.total_count, page.has_next) == (5, False)


@pytest.mark.parametrize("lat", [31.2001, 31.25, 32.0, 60.0])
async def test_the_radius_is_inclusive(index: StationIndex, lat: float) -> None:
    await replace(index, [build_station(1, location=Point(lon=121.5, lat=lat))])
    radius_m = distance_m(HERE.lon, HERE.lat, 121.5, lat)
    assert await found(index, Near(center=HERE, radius_m=radius_m)) == ids(1)
    assert await found(index, Near(center=HERE, radius_m=radius_m + 0.001)) == ids(1)
    assert await found(index, Near(center=HERE, radius_m=radius_m - 0.001)) == []


async def test_a_radius_of_nothing_finds_what_stands_on_the_point(index: StationIndex) -> None:
    await replace(index, [build_station(1), build_station(2, location=Point(lon=121.5, lat=31.20001))])
    assert await found(index, Near(center=HERE, radius_m=0)) == ids(1)


ROUND_THE_WORLD = {
    1: (179.999, 0.0),
    2: (-179.999, 0.0),
    3: (180.0, 0.0),
    4: (-180.0, 0.0),
    5: (0.0, 89.999),
    6: (180.0, 89.999),
    7: (77.0, 90.0),
    8: (-100.0, -90.0),
    9: (0.0, -89.999),
    10: (10.0, 0.0),
}


@pytest.mark.parametrize(
    ("center", "radius_m", "expected"),
    [
        ((180.0, 0.0), 150.0, [3, 4, 1, 2]),
        ((-179.999, 0.0), 250.0, [2, 3, 4, 1]),
        ((-179.999, 0.0), 200.0, [2, 3, 4]),
        ((12.0, 90.0), 112.0, [7, 5, 6]),
        ((90.0, 89.999), 160.0, [7, 5, 6]),
        ((0.0, 89.999), 223.0, [5, 7, 6]),
        ((0.0, -89.9995), 60.0, [8, 9]),
        ((10.0, 0.0), 20_100_000.0, None),
    ],
)
async def test_a_circle_reaches_over_the_antimeridian_and_the_poles(
    index: StationIndex, center: tuple[float, float], radius_m: float, expected: Sequence[int] | None
) -> None:
    statement = [build_station(number, location=Point(lon=x, lat=y)) for number, (x, y) in ROUND_THE_WORLD.items()]
    await replace(index, statement)
    hits = await found(index, Near(center=Point(lon=center[0], lat=center[1]), radius_m=radius_m))
    if expected is None:
        assert sorted(hits) == ids(*sorted(ROUND_THE_WORLD))
    else:
        assert hits == ids(*expected)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((-180, -90, 180, 90), range(1, 11)),
        ((10, 0, 10, 0), [10]),
        ((9, -1, 9.999, 1), []),
        ((0, 0, 10, 90), [5, 10]),
        ((179, -1, -179, 1), [1, 2, 3, 4]),
        ((179.9995, -1, -179.9995, 1), [3, 4]),
        ((77, 89, 180, 90), [6, 7]),
        ((-180, -90, 180, -89.999), [8, 9]),
        ((20, -1, 5, 1), [1, 2, 3, 4]),
        ((0, 1, 20, -1), []),
    ],
)
async def test_a_box_holds_its_edges_and_may_cross_the_antimeridian(
    index: StationIndex, box: tuple[float, float, float, float], expected: Sequence[int]
) -> None:
    statement = [build_station(number, location=Point(lon=x, lat=y)) for number, (x, y) in ROUND_THE_WORLD.items()]
    await replace(index, statement)
    west, south, east, north = box
    page = await search(index, Area(box=BoundingBox(west=west, south=south, east=east, north=north)))
    assert page.hits == tuple(Hit(station_id, None) for station_id in ids(*expected))


def square(west: float, south: float, east: float, north: float) -> tuple[tuple[float, float], ...]:
    return ((west, south), (east, south), (east, north), (west, north), (west, south))


GRID = {10 * x + y: (float(x), float(y)) for x in range(1, 9) for y in range(9)}
"""Station 10x + y stands at (x, y)."""


@pytest.mark.parametrize(
    ("polygons", "expected"),
    [
        pytest.param([[square(1, 1, 2, 2)]], [11, 12, 21, 22], id="edges included"),
        pytest.param([[square(1, 1, 2, 2)[::-1]]], [11, 12, 21, 22], id="clockwise"),
        pytest.param([[square(1, 1, 2, 2)[:-1]]], [11, 12, 21, 22], id="left open"),
        pytest.param([[((1, 1), (3, 3), (1, 3), (1, 1))]], [11, 12, 13, 22, 23, 33], id="a slanting edge"),
        pytest.param([[((1.1, 1.1), (1.9, 1.1), (1.5, 1.9), (1.1, 1.1))]], [], id="between stations"),
        pytest.param([[square(1, 1, 3, 3), square(1.5, 1.5, 2.5, 2.5)]], [11, 12, 13, 21, 23, 31, 32, 33], id="hole"),
        pytest.param([[square(1, 1, 3, 3), square(1, 1, 3, 3)]], [11, 12, 13, 21, 23, 31, 32, 33], id="hole's edges"),
        pytest.param([[square(1, 1, 1.5, 1.5)], [square(8, 8, 9, 9)]], [11, 88], id="two"),
        pytest.param([[square(1, 1, 3, 3), square(1, 1, 3, 3)], [square(2, 2, 2.5, 2.5)]], None, id="in a hole"),
        pytest.param([[((1, 1), (3, 1), (1, 3), (3, 3), (1, 1))]], [11, 13, 21, 22, 23, 31, 33], id="crosses itself"),
    ],
)
async def test_polygons_hold_their_edges_but_not_their_holes(
    index: StationIndex, polygons: Any, expected: Sequence[int] | None
) -> None:
    await replace(index, [build_station(number, location=Point(lon=x, lat=y)) for number, (x, y) in GRID.items()])
    where = Area(polygons=tuple(tuple(rings) for rings in polygons))
    page = await search(index, where)
    everything_in = [11, 12, 13, 21, 22, 23, 31, 32, 33] if expected is None else expected
    assert page.hits == tuple(Hit(station_id, None) for station_id in ids(*everything_in))


@pytest.mark.parametrize("reverse", [False, True])
async def test_an_edge_of_more_than_half_a_turn_crosses_the_antimeridian(index: StationIndex, reverse: bool) -> None:
    statement = [build_station(number, location=Point(lon=x, lat=y)) for number, (x, y) in ROUND_THE_WORLD.items()]
    await replace(index, [*statement, build_station(11, location=Point(lon=-178.0, lat=0.0))])
    ring = ((179.0, -1.0), (-177.0, -1.0), (-177.0, 1.0), (179.0, 1.0), (179.0, -1.0))
    hole = ((-179.9995, -0.5), (179.9995, -0.5), (179.9995, 0.5), (-179.9995, 0.5), (-179.9995, -0.5))
    if reverse:
        ring, hole = ring[::-1], hole[::-1]
    assert await found(index, Area(polygons=((ring,),))) == ids(1, 2, 3, 4, 11)
    assert await found(index, Area(polygons=((ring, hole),))) == ids(1, 2, 11)


# ------------------------------------------------------------------------------------------------------------- routes


EAST = ((10.0, 0.0), (10.1, 0.0), (10.2, 0.0))
"""Along the equator, where what is off and along a route is plain."""


async def passed(index: StationIndex, line: Any, width_m: float, **wanted: Any) -> list[tuple[int, float, float]]:
    """The numbers of the stations along a route, and how far each is off and along."""
    page = await search(index, Corridor(line=tuple(line), width_m=width_m), **wanted)
    assert page.total_count == len(page.hits)
    return [(int(hit.station_id[-6:]), hit.distance_m or 0.0, hit.along_m or 0.0) for hit in page.hits]


async def put(index: StationIndex, *spots: tuple[float, float]) -> None:
    """Let the index know a station at each spot, numbered from 1."""
    located = [Point(lon=lon, lat=lat) for lon, lat in spots]
    await replace(index, [build_station(number, location=spot) for number, spot in enumerate(located, 1)])


async def test_stations_come_in_the_order_in_which_a_route_passes_them(index: StationIndex) -> None:
    await put(index, (10.15, 0.01), (10.05, -0.02), (10.1, 0.0), (10.05, 0.015), (10.15, 0.04))
    expected = [
        (2, distance_m(0, 0, 0, 0.02), distance_m(0, 0, 0.05, 0)),
        (4, distance_m(0, 0, 0, 0.015), distance_m(0, 0, 0.05, 0)),
        (3, 0.0, distance_m(0, 0, 0.1, 0)),
        (1, distance_m(0, 0, 0, 0.01), distance_m(0, 0, 0.15, 0)),
    ]
    assert await passed(index, EAST, 3_000) == expected
    back = await passed(index, EAST[::-1], 3_000)
    assert [number for number, _, _ in back] == [1, 3, 2, 4]
    assert [off for _, off, _ in back] == [expected[place][1] for place in (3, 2, 0, 1)]


async def test_the_width_is_inclusive(index: StationIndex) -> None:
    await put(index, (10.05, 0.02), (9.99, 0.0), (10.21, 0.001))
    for number, off, _ in await passed(index, EAST, 20_000):
        assert number in {one for one, _, _ in await passed(index, EAST, off)}
        assert number not in {one for one, _, _ in await passed(index, EAST, off - 0.001)}


async def test_before_the_start_and_behind_the_end_counts_how_far_it_is_to_there(index: StationIndex) -> None:
    await put(index, (9.99, 0.005), (9.99, -0.02), (10.21, 0.0), (10.25, 0.0))
    length = distance_m(0, 0, 0.2, 0)
    assert await passed(index, EAST, 2_000) == [
        (1, distance_m(10.0, 0, 9.99, 0.005), 0.0),
        (3, distance_m(10.2, 0, 10.21, 0), length),
    ]


async def test_of_several_passages_the_nearest_decides(index: StationIndex) -> None:
    hairpin = ((10.0, 0.0), (10.2, 0.0), (10.2, 0.02), (10.0, 0.02))
    await put(index, (10.1, 0.009), (10.1, 0.011), (10.1, 0.0), (10.1, 0.02))
    there, across = distance_m(0, 0, 0.1, 0), distance_m(0, 0, 0, 0.02)
    found = await passed(index, hairpin, 5_000)
    assert [number for number, _, _ in found] == [1, 3, 2, 4]
    offs = [distance_m(0, 0, 0, off) for off in (0.009, 0.0, 0.009, 0.0)]
    assert [off for _, off, _ in found] == pytest.approx(offs, abs=0.01), "the way back is no parallel"
    assert [along for _, _, along in found] == pytest.approx([there, there, *[3 * there + across] * 2], abs=0.01)


async def test_of_several_passages_as_near_the_first_decides(index: StationIndex) -> None:
    """There and back on one road, twice."""
    away = ((10.0, 0.0), (10.07, 0.001), (10.2, 0.0))
    await put(index, (10.03, 0.01), (10.1, 0.004), (10.2, 0.0))
    once = await passed(index, away, 3_000)
    assert len(once) == 3
    assert await passed(index, (*away, *away[-2::-1], *away[1:], *away[-2::-1]), 3_000) == once


async def test_a_leg_is_the_shortest_way_and_no_parallel(index: StationIndex) -> None:
    crest = math.degrees(math.atan(math.tan(math.radians(60)) / math.cos(math.radians(5))))
    await put(index, (5.0, 60.0), (5.0, crest), (-175.0, 60.0))
    found = await passed(index, ((0.0, 60.0), (10.0, 60.0)), 20_000)
    (_, parallel_off, parallel_along), (_, crest_off, crest_along) = sorted(found)
    assert (parallel_off, crest_off) == (distance_m(5.0, 60.0, 5.0, crest), 0.0)
    half = distance_m(0.0, 60.0, 10.0, 60.0) / 2
    assert (parallel_along, crest_along) == pytest.approx((half, half), abs=0.002)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (((179.99, 0.0), (-179.99, 0.0)), [1, 3, 4, 2]),
        (((-179.99, 0.0), (179.99, 0.0)), [2, 3, 4, 1]),
        (((180.0, -0.001), (-180.0, 0.001)), [1, 2, 3, 4]),
        (((0.0, 89.998), (180.0, 89.998)), [5, 7, 6]),
        (((90.0, 89.999), (90.0, 90.0), (-90.0, 89.9)), [5, 6, 7]),
        (((-100.0, -90.0), (0.0, -89.99)), [8, 9]),
        (((10.0, 0.0), (10.0, 0.0)), [10]),
    ],
)
async def test_a_route_leads_over_the_antimeridian_and_the_poles(
    index: StationIndex, line: tuple[tuple[float, float], ...], expected: Sequence[int]
) -> None:
    spots = {number: Point(lon=lon, lat=lat) for number, (lon, lat) in ROUND_THE_WORLD.items()}
    await replace(index, [build_station(number, location=spot) for number, spot in spots.items()])
    assert [number for number, _, _ in await passed(index, line, 150)] == expected


async def test_along_a_route_all_criteria_hold_as_anywhere(index: StationIndex, view: PlainView) -> None:
    spots = [(10.0 + 0.01 * number, 0.0) for number in range(1, 7)]
    free, weak, busy, closed, hidden, other = (Point(lon=lon, lat=lat) for lon, lat in spots)
    evse = {"connectors": (plug(ConnectorType.GBT_DC, 7_000),)}
    await replace(
        index,
        [
            build_station(6, location=free, hours=OpeningHours(always_open=True)),
            msgspec.structs.replace(evses_of(5, evse), location=weak, hours=OpeningHours(always_open=True)),
            build_station(4, location=busy, hours=OpeningHours(always_open=True)),
            build_station(3, location=closed),
            build_station(1, location=other, name="elsewhere"),
        ],
    )
    await replace(index, [build_station(2, feed="star", location=hidden)], "star")
    view.tell([build_status(f"{one}-1") for one in (*ids(1, 3, 5, 6), *ids(2, feed="star"))])
    assert [number for number, _, _ in await passed(index, EAST, 10)] == [6, 5, 4, 3, 2, 1]
    star = Withheld(feeds=frozenset({"star"}))
    for wanted, expected in (
        ({"available_now": True}, [6, 5, 3, 2, 1]),
        ({"open_now": True}, [6, 5, 4]),
        ({"min_power_w": 60_000}, [6, 4, 3, 2, 1]),
        ({"text": "充电站"}, [6, 5, 4, 3, 2]),
        ({"hidden": star}, [6, 5, 4, 3, 1]),
        ({"available_now": True, "min_power_w": 60_000, "hidden": star, "open_now": True}, [6]),
    ):
        assert [number for number, _, _ in await passed(index, EAST, 10, **wanted)] == expected, wanted


async def test_a_page_of_a_route_begins_after_a_place_along_it(index: StationIndex) -> None:
    await put(index, (10.05, 0.01), (10.05, 0.0), (10.1, 0.0))
    where, along = Corridor(line=EAST, width_m=3_000), distance_m(0, 0, 0.05, 0)
    for after, expected in (
        (Position(0.0, ids(9)[0]), [1, 2, 3]),
        (Position(along - 0.001, ids(9)[0]), [1, 2, 3]),
        (Position(along, ids(1)[0]), [2, 3]),
        (Position(along, ids(0)[0]), [1, 2, 3]),
        (Position(along, ids(2)[0]), [3]),
        (Position(along + 0.001, ""), [3]),
        (Position(1e9, ""), []),
    ):
        page = await search(index, where, after=after)
        assert [hit.station_id for hit in page.hits] == ids(*expected), after
        assert page.total_count == 3


# ----------------------------------------------------------------------------------------------------------- clusters


def tile(lon: float, lat: float, zoom: int) -> tuple[int, int]:
    """The tile of a web map, by the formula that everyone copies."""
    x, radians = (lon + 180) / 360, math.radians(lat)
    return int(x * 2**zoom), int((1 - math.asinh(math.tan(radians)) / math.pi) / 2 * 2**zoom)


async def counted(
    index: StationIndex, box: tuple[float, float, float, float], zoom: int, *, at: float = NOON, **wanted: Any
) -> list[StationCluster]:
    west, south, east, north = box
    bounds = BoundingBox(west=west, south=south, east=east, north=north)
    return await index.list_clusters(ClusterSearch(box=bounds, zoom=zoom, filter=StationFilter(**wanted), at=at))


CHINA = (73.0, 18.0, 135.0, 54.0)


async def test_stations_are_counted_by_tiles(index: StationIndex, view: PlainView) -> None:
    shanghai, beijing = (121.4737, 31.2304), (116.3974, 39.9093)
    await put(index, shanghai, (121.4739, 31.2302), beijing)
    view.tell([build_status(f"{ids(2)[0]}-1")])
    assert tile(*shanghai, 10) == (857, 418), "as on any map"
    (x, y), (beijing_x, beijing_y) = tile(*shanghai, 10), tile(*beijing, 10)
    middle = Point(lon=121.4738, lat=31.2303)
    assert await counted(index, CHINA, 10) == [
        StationCluster(
            x=beijing_x,
            y=beijing_y,
            count=1,
            available=0,
            center=Point(lon=beijing[0], lat=beijing[1]),
            station_id=ids(3)[0],
        ),
        StationCluster(x=x, y=y, count=2, available=1, center=middle, station_id=None),
    ]
    both = await counted(index, CHINA, 0)
    assert [(one.x, one.y, one.count, one.available) for one in both] == [(0, 0, 3, 1)]
    finest = await counted(index, (121.473, 31.229, 121.475, 31.231), 20)
    assert [(one.x, one.y, one.station_id) for one in finest] == [
        (*tile(*shanghai, 20), ids(1)[0]),
        (*tile(121.4739, 31.2302, 20), ids(2)[0]),
    ]
    without = ClusterSearch(
        box=BoundingBox(west=121, south=31, east=122, north=32),
        zoom=5,
        filter=StationFilter(),
        at=NOON,
        wants_available=False,
    )
    assert [(one.count, one.available) for one in await index.list_clusters(without)] == [(2, None)]


async def test_clusters_count_what_a_search_finds(index: StationIndex, view: PlainView) -> None:
    random = Random(7)
    spots = [Point(lon=121.5 + random.uniform(-0.1, 0.1), lat=31.2 + random.uniform(-0.1, 0.1)) for _ in range(60)]
    crowd = [random_station(random, number, feed="teld", location=spot) for number, spot in enumerate(spots)]
    await replace(index, crowd)
    view.tell([random_status(random, evse.id) for station in crowd for evse in station.evses])
    box = (121.45, 31.15, 121.6, 31.25)
    where = Area(box=BoundingBox(west=box[0], south=box[1], east=box[2], north=box[3]))
    known = {station.id: station.location for station in crowd}
    wishes: tuple[dict[str, Any], ...] = (
        {},
        {"available_now": True},
        {"max_status_age_s": 60.0},
        {"connector_types": {ConnectorType.GBT_DC}, "min_power_w": 60_000},
        {"open_now": True, "access": {Access.PUBLIC, Access.MEMBERS}},
        {"text": "充电"},
        {"hidden": Withheld(feeds=frozenset({"teld"}), but_of=frozenset({"teld:a"}))},
    )
    for wanted in wishes:
        expected = [known[one] for one in await found(index, where, **wanted)]
        free = [known[one] for one in await found(index, where, **wanted | {"available_now": True})]
        clusters = await counted(index, box, 13, **wanted)
        shown = {(one.x, one.y): (one.count, one.available) for one in clusters}
        tiles, free_tiles = ([tile(spot.lon, spot.lat, 13) for spot in some if spot] for some in (expected, free))
        assert shown == {one: (tiles.count(one), free_tiles.count(one)) for one in tiles}, wanted
        assert [(one.y, one.x) for one in clusters] == sorted((one.y, one.x) for one in clusters)


@pytest.mark.parametrize("wanted", [{}, {"min_power_w": 60_000}, {"operator_ids": {"teld:a", "teld:b"}}])
async def test_what_is_dark_is_counted_and_never_counts_as_free(
    index: StationIndex, view: PlainView, wanted: dict[str, Any]
) -> None:
    parties = ("a", "a", "b", "c", "b")
    await replace(
        index, [build_station(number, operator_id=f"teld:{party}") for number, party in enumerate(parties, 1)]
    )
    view.tell([build_status(f"{one}-1") for one in ids(1, 3, 4)])
    box = BoundingBox(west=121, south=31, east=122, north=32)
    hidden = Withheld(operators=frozenset({"teld:c"}))
    for dark, available in (
        (hidden, 2),
        (Withheld(operators=frozenset({"teld:c", "teld:b"})), 1),
        (Withheld(feeds=frozenset({"teld"}), but_of=frozenset({"teld:b"})), 1),
        (Withheld(feeds=frozenset({"teld"})), 0),
    ):
        asked = ClusterSearch(box=box, zoom=5, filter=StationFilter(hidden=hidden, **wanted), at=NOON, dark=dark)
        assert [(one.count, one.available) for one in await index.list_clusters(asked)] == [(4, available)], dark


async def test_a_box_of_tiles_holds_its_edges_and_crosses_the_antimeridian(index: StationIndex) -> None:
    await put(index, *ROUND_THE_WORLD.values())
    assert [(one.x, one.y, one.count) for one in await counted(index, (179.0, -1.0, -179.0, 1.0), 3)] == [
        (7, 4, 2),
        (0, 4, 2),
    ]
    assert sum(one.count for one in await counted(index, (179.999, 0.0, 180.0, 0.0), 5)) == 2
    assert sum(one.count for one in await counted(index, (180.0, 0.0, -179.999, 0.0), 5)) == 3
    around = await counted(index, (10.1, -90.0, 10.0, 90.0), 2)
    assert sum(one.count for one in around) == 10
    everywhere = await counted(index, (-180.0, -90.0, 180.0, 90.0), 1)
    assert {(one.x, one.y): one.count for one in everywhere} == {(1, 0): 3, (0, 1): 3, (1, 1): 4}
    assert await counted(index, (20.0, 20.0, 30.0, 30.0), 4) == []


# ------------------------------------------------------------------------------------------------------------- paging


async def read_pages(index: StationIndex, where: Where, first: int, **wanted: Any) -> list[SearchPage]:
    pages, after = [], None
    while True:
        page = await search(index, where, first=first, after=after, **wanted)
        pages.append(page)
        if not page.has_next:
            return pages
        last = page.hits[-1]
        after = Position((last.distance_m or 0.0) if last.along_m is None else last.along_m, last.station_id)


@pytest.mark.parametrize("first", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(
    "where", [EVERYWHERE, Near(center=HERE, radius_m=5_000), PAST_HERE], ids=["area", "near", "route"]
)
async def test_pages_follow_each_other_and_all_tell_the_exact_count(
    index: StationIndex, where: Where, first: int
) -> None:
    random = Random(5)
    spots = [Point(lon=121.5 + random.choice((0, 0.001, 0.002)), lat=31.2) for _ in range(20)]
    statement = [build_station(number, location=spot) for number, spot in enumerate(spots)]
    await replace(index, [*statement, build_station(99, name="not wanted")])
    whole = await search(index, where, text="充电站")
    assert whole.total_count == len(whole.hits) == 20
    pages = await read_pages(index, where, first, text="充电站")
    assert tuple(hit for page in pages for hit in page.hits) == whole.hits
    assert all(page.total_count == 20 for page in pages)
    assert all(len(page.hits) == first for page in pages[:-1])


@pytest.mark.parametrize("where", [EVERYWHERE, Near(center=HERE, radius_m=5_000)], ids=["area", "near"])
async def test_a_page_begins_after_a_position_whether_or_not_its_station_is_still_there(
    index: StationIndex, where: Where
) -> None:
    await replace(index, stations(1, 2, 4, 5))
    for place, expected in ((0, [1, 2, 4, 5]), (1, [2, 4, 5]), (2, [4, 5]), (3, [4, 5]), (4, [5]), (5, []), (6, [])):
        page = await search(index, where, after=Position(0.0, ids(place)[0]))
        assert [hit.station_id for hit in page.hits] == ids(*expected)
        assert (page.total_count, page.has_next) == (4, False)
    strange = await search(index, where, after=Position(0.0, "\ud800"))
    assert strange.hits == ()
    last = await search(index, where, first=1, after=Position(0.0, ids(4)[0]))
    assert (len(last.hits), last.has_next) == (1, False)


async def test_a_position_between_two_distances_begins_with_the_farther(index: StationIndex) -> None:
    farther = Point(lon=121.51, lat=31.2)
    await replace(index, [build_station(1, location=farther), build_station(2), build_station(3, location=farther)])
    where = Near(center=HERE, radius_m=5_000)
    away = distance_m(HERE.lon, HERE.lat, farther.lon, farther.lat)
    for after, expected in (
        (Position(0.0, ids(1)[0]), [2, 1, 3]),
        (Position(0.0, ids(2)[0]), [1, 3]),
        (Position(0.001, ""), [1, 3]),
        (Position(away - 0.001, ids(9)[0]), [1, 3]),
        (Position(away, ids(0)[0]), [1, 3]),
        (Position(away, ids(1)[0]), [3]),
        (Position(away, ids(3)[0]), []),
        (Position(away + 0.001, ""), []),
    ):
        page = await search(index, where, after=after)
        assert [hit.station_id for hit in page.hits] == ids(*expected), after
        assert page.total_count == 3


async def test_an_empty_index_answers_everything_with_nothing(index: StationIndex) -> None:
    areas = Area(polygons=((square(0, 0, 9, 9),),)), Area()
    for where in (EVERYWHERE, Near(center=HERE, radius_m=1e6), PAST_HERE, *areas):
        page = await search(index, where, available_now=True, text="x", open_now=True, operator_ids={"a"})
        assert page == SearchPage((), 0, has_next=False)
    assert await index.count_stations() == {}
    assert await local_ids(index) == []
    assert await index.find_stations(ids(1)) == [None]
    assert await index.find_station_of_evse(["teld:x:1"]) == [None]


# ------------------------------------------------------------------------------------------------------------- batches


CROWD = Point(lon=121.6, lat=31.2)
"""Where more stations stand than the first answer to a batch holds."""


@pytest.fixture
async def mixed(index: StationIndex, view: PlainView) -> list[Search]:
    """Searches of every kind over some stations, with hits for nearly all."""
    random = Random(3)
    spots = [Point(lon=121.5 + random.choice((0, 0.001, 0.02)), lat=31.2 + random.random() / 50) for _ in range(60)]
    statement = [random_station(random, number, feed="teld", location=spot) for number, spot in enumerate(spots, 100)]
    await replace(index, [*statement, *HOURS], "teld")
    await replace(index, [build_station(number, feed="star", location=CROWD) for number in range(1_100)], "star")
    view.tell([build_status(evse.id) for station in statement for evse in station.evses])
    wheres = (
        Near(center=HERE, radius_m=3_000),
        Near(center=CROWD, radius_m=50),
        Near(center=HERE, radius_m=2_000_000),
        Near(center=Point(lon=0.0, lat=0.0), radius_m=1),
        Near(center=HERE, radius_m=-1),
        Area(box=BoundingBox(west=121.5, south=31.19, east=121.51, north=31.22)),
        Area(polygons=((square(121.4, 31.1, 121.59, 31.21),),)),
        Area(),
    )
    wanted = (
        StationFilter(),
        StationFilter(connector_types=frozenset({DC}), min_power_w=7_000),
        StationFilter(available_now=True),
        StationFilter(open_now=True),
        StationFilter(open_now=True, available_now=True, text="站"),
        StationFilter(hidden=Withheld(feeds=frozenset({"teld"})), max_status_age_s=60.0),
    )
    searches = [
        Search(where=where, filter=each, first=first, at=NOON + 60 * (first % 2))
        for where in wheres
        for each in wanted
        for first in (0, 1, 20)
    ]
    after = Position(300.0, ids(5)[0])
    searches += [msgspec.structs.replace(search, after=after) for search in searches[::7]]
    random.shuffle(searches)
    return searches


async def test_what_need_not_be_counted_is_found_all_the_same(index: StationIndex, mixed: Sequence[Search]) -> None:
    for search in mixed:
        page = await index.search(search)
        uncounted = await index.search(msgspec.structs.replace(search, wants_total=False))
        assert (uncounted.hits, uncounted.has_next) == (page.hits, page.has_next), search
        assert uncounted.total_count in {None, page.total_count}


async def test_many_searches_are_answered_as_one_by_one(index: StationIndex, mixed: Sequence[Search]) -> None:
    expected = [await index.search(search) for search in mixed]
    assert sum(len(page.hits) for page in expected) > len(mixed)
    assert await index.search_many(mixed) == expected
    twice = [*mixed[:5], *mixed[:5]]
    assert await index.search_many(twice) == [*expected[:5], *expected[:5]]
    assert await index.search_many(mixed[:1]) == expected[:1]
    assert await index.search_many([]) == []


async def test_what_many_searches_found_is_found_by_id(index: StationIndex, mixed: Sequence[Search]) -> None:
    pages = await index.search_many(mixed)
    wanted = list(dict.fromkeys(hit.station_id for page in pages for hit in page.hits))
    found = await index.find_stations(wanted)
    assert [None if station is None else station.id for station in found] == wanted
    await index.upsert_stations("teld", [build_station(1, name="changed")])
    await index.search_many(mixed[:3])
    assert await index.find_stations(ids(1)) == [build_station(1, name="changed")]


async def test_one_search_that_is_none_fails_all(index: StationIndex, mixed: Sequence[Search]) -> None:
    bad = msgspec.structs.replace(mixed[0], where=Area(polygons=((((1.0, math.nan), (2.0, 1.0), (2.0, 2.0)),),)))
    with pytest.raises(InvalidInputError):
        await index.search(bad)
    with pytest.raises(InvalidInputError):
        await index.search_many([*mixed[:3], bad, *mixed[3:6]])


async def test_many_searches_go_on_while_stations_are_replaced(index: StationIndex) -> None:
    await replace(index, stations(*range(1, 31)))
    searches = [Search(where=Near(center=HERE, radius_m=9), filter=StationFilter(), first=5, at=NOON)] * 30

    async def state() -> None:
        for turn in range(8):
            await replace(index, stations(*range(1, 31), name=f"turn {turn}"))

    replacing = asyncio.create_task(state())
    while not replacing.done():
        for page in await index.search_many(searches):
            assert (page.total_count, [hit.station_id for hit in page.hits]) == (30, ids(1, 2, 3, 4, 5))
    await replacing


# ------------------------------------------------------------------------------------------------------------ restarts


async def fill(index: StationIndex) -> None:
    random = Random(2)
    for feed in ("teld", "star"):
        statement = [random_station(random, number, feed=feed, location=HERE) for number in range(50)]
        await replace(index, statement, feed)
    await index.upsert_stations("teld", [build_station(7, name="upserted")])
    await replace(index, stations(1, 2, 3, feed="gone"), "gone")
    await index.remove_feed("gone")
    await index.save_operators([build_operator("a"), build_operator("b", feed="star")])


ALL = [one for feed in ("teld", "star", "gone") for one in ids(*range(50), feed=feed)]


async def test_a_restart_keeps_everything(make_index: Callable[[], StationIndex], view: PlainView) -> None:
    first = make_index()
    await first.open()
    await fill(first)
    left_open = await first.open_replacement("teld")
    await left_open.add([build_station(1, name="never committed"), build_station(777)])
    view.tell([build_status(f"{one}-1") for one in ALL])
    before = await everything(first, [*ALL, *ids(777)], ("teld", "star", "gone"))
    free = await found(first, available_now=True)
    assert free
    await first.close()
    second = make_index()
    await second.open()
    assert await everything(second, [*ALL, *ids(777)], ("teld", "star", "gone")) == before
    assert await found(second, available_now=True) == free
    stated = [station for station in before[2] if station is not None and station.feed == "star"]
    again = await replace(second, stated, "star")
    await second.close()
    assert again == ReplaceSummary(indexed=50, changed=0, removed=0)


async def test_a_crash_leaves_what_was_committed_and_no_trace_of_what_was_not(
    maker: Maker, tmp_path: Path, view: PlainView
) -> None:
    crashing = maker(tmp_path / "running", view)
    await crashing.open()
    await fill(crashing)
    left_open = await crashing.open_replacement("teld")
    await left_open.add([build_station(1, name="never committed"), build_station(777)])
    expected = await everything(crashing, [*ALL, *ids(777)], ("teld", "star", "gone"))
    shutil.copytree(tmp_path / "running", tmp_path / "as it stands")
    await crashing.close()
    restarted = maker(tmp_path / "as it stands", view)
    await restarted.open()
    assert await everything(restarted, [*ALL, *ids(777)], ("teld", "star", "gone")) == expected
    replacement = await restarted.open_replacement("teld")
    assert await replacement.count() == 0
    await replacement.add(stations(777))
    assert await replacement.commit(remove_missing=False) == ReplaceSummary(indexed=1, changed=1, removed=0)
    await restarted.close()
