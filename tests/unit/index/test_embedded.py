"""The embedded index among changes, cancellations, a full disk and damaged files."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app.errors import UnavailableError
from app.index import embedded
from app.index.embedded import EmbeddedIndex
from app.model.geo import BoundingBox, Point
from app.model.search import Area, KeyArray, Near, Search, SlotArray, StationFilter
from app.model.station import Station
from tests.builders import NOON, PlainView, build_operator, build_station, build_status

HERE = Point(lon=121.5, lat=31.2)
TRIANGLE = (((120.0, 30.0), (123.0, 30.0), (121.5, 33.0)),)
IDS = [build_station(number).id for number in range(1, 6)]


class WatchedView(PlainView):
    """A live view that tells when the index asks it for slots: after a commit, before the snapshot that shows it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    def slots(self, keys: KeyArray) -> SlotArray:
        self.asked.set()
        return super().slots(keys)


@pytest.fixture
def view() -> WatchedView:
    return WatchedView()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index" / "stations.sqlite"


@pytest.fixture
async def index(path: Path, view: WatchedView) -> AsyncIterator[EmbeddedIndex]:
    """An open index of the stations 1 to 3."""
    index = EmbeddedIndex(path, view)
    await index.open()
    await index.upsert_stations("teld", stations(1, 2, 3))
    view.asked.clear()
    yield index
    await index.close()


def stations(*numbers: int, **changes: Any) -> list[Station]:
    return [build_station(number, **changes) for number in numbers]


async def found(index: EmbeddedIndex, where: Near | Area | None = None, **wanted: Any) -> list[str]:
    where = where or Area(box=BoundingBox(west=-180, south=-90, east=180, north=90))
    page = await index.search(Search(where=where, filter=StationFilter(**wanted), first=10_000, at=NOON))
    return [hit.station_id for hit in page.hits]


async def state_of(index: EmbeddedIndex) -> Any:
    return (
        await index.find_stations(IDS),
        await found(index, text="充电站"),
        await index.find_station_of_evse([f"{station_id}-1" for station_id in IDS]),
        [page async for page in index.list_station_local_ids("teld", 10)],
        await index.count_stations(),
    )


async def reopened(path: Path) -> Any:
    index = EmbeddedIndex(path, PlainView())
    await index.open()
    try:
        return await state_of(index)
    finally:
        await index.close()


async def commit_of(index: EmbeddedIndex, statement: Sequence[Station]) -> Callable[[], Awaitable[Any]]:
    replacement = await index.open_replacement("teld")
    await replacement.add(statement)
    return lambda: replacement.commit(remove_missing=True)


# ------------------------------------------------------------------------------------------------------------- changes


async def test_until_a_change_is_in_force_every_answer_is_of_the_state_before(
    index: EmbeddedIndex, view: WatchedView
) -> None:
    before = await state_of(index)
    moved = build_station(4, evses=build_station(1).evses)
    statement = [build_station(1, evses=()), build_station(2, name="changed"), moved]
    committing = asyncio.ensure_future((await commit_of(index, statement))())
    await view.asked.wait()
    assert await state_of(index) == before
    await committing
    assert await index.find_stations(IDS) == [*statement[:2], None, moved, None]
    assert await found(index, text="充电站") == [IDS[0], IDS[3]]
    assert await index.find_station_of_evse([f"{IDS[0]}-1", f"{IDS[2]}-1"]) == [IDS[3], None]


async def test_operators_that_were_saved_during_a_change_are_listed_at_once(
    index: EmbeddedIndex, view: WatchedView
) -> None:
    committing = asyncio.ensure_future(index.upsert_stations("teld", stations(4)))
    await view.asked.wait()
    await index.save_operators([build_operator()])
    assert await index.list_operators() == [build_operator()]
    await committing


async def test_changes_that_are_asked_for_at_once_come_one_after_the_other(index: EmbeddedIndex) -> None:
    changes = [index.upsert_stations("teld", stations(number, name=f"n{number}")) for number in range(1, 40)]
    feeds = [index.upsert_stations(f"f{n}", stations(1, feed=f"f{n}")) for n in range(20)]
    removals = [index.remove_feed(f"f{n}") for n in range(0, 20, 2)]
    await asyncio.gather(*changes, *feeds)
    assert await asyncio.gather(*removals) == [1] * 10
    assert len(await found(index)) == 39 + 10
    assert await index.find_stations([IDS[4]]) == stations(5, name="n5")


async def test_a_search_in_a_thread_answers_from_the_snapshot_it_began_with(
    index: EmbeddedIndex, view: WatchedView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_THREAD_ABOVE_COST", -1)
    view.tell([build_status(f"{station_id}-1") for station_id in IDS])
    for where in (Near(center=HERE, radius_m=10), Area(polygons=(TRIANGLE,))):
        searching = asyncio.ensure_future(found(index, where, available_now=True))
        await asyncio.sleep(0)
        await index.remove_feed("teld")
        assert await searching == IDS[:3]
        assert await found(index, where, available_now=True) == []
        await index.upsert_stations("teld", stations(1, 2, 3))


# ------------------------------------------------------------------------------------------------------- cancellation


async def cancel(task: asyncio.Future[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_commit_whose_caller_is_gone_is_finished(index: EmbeddedIndex, view: WatchedView, path: Path) -> None:
    committing = asyncio.ensure_future((await commit_of(index, stations(1, 4)))())
    await view.asked.wait()
    await cancel(committing)
    await index.upsert_stations("teld", stations(5))
    expected = await state_of(index)
    assert expected[0] == [*stations(1), None, None, *stations(4, 5)]
    assert expected[1] == [IDS[0], IDS[3], IDS[4]]
    await index.close()
    assert await reopened(path) == expected


async def test_a_commit_that_waited_for_another_is_given_up_by_aborting_it(
    index: EmbeddedIndex, view: WatchedView
) -> None:
    replacement = await index.open_replacement("teld")
    await replacement.add(stations(4))
    other = asyncio.ensure_future(index.upsert_stations("star", stations(1, feed="star")))
    await view.asked.wait()
    committing = asyncio.ensure_future(replacement.commit(remove_missing=True))
    await asyncio.sleep(0)
    await cancel(committing)
    await replacement.abort()
    await other
    await index.upsert_stations("teld", stations(5))
    assert await index.find_stations(IDS) == [*stations(1, 2, 3), None, *stations(5)]


async def test_stations_whose_adding_was_cancelled_go_with_the_replacement(index: EmbeddedIndex) -> None:
    replacement = await index.open_replacement("teld")
    adding = asyncio.ensure_future(replacement.add(stations(*range(2_000), name="never")))
    await asyncio.sleep(0)
    await cancel(adding)
    await replacement.abort()
    assert await found(index) == IDS[:3]
    again = await index.open_replacement("teld")
    assert await again.count() == 0


# ------------------------------------------------------------------------------------------------------------- closing


async def test_closing_lets_a_search_finish(index: EmbeddedIndex) -> None:
    searching = asyncio.ensure_future(found(index, Area(polygons=(TRIANGLE,))))
    await asyncio.sleep(0)
    await index.close()
    assert await searching == IDS[:3]


async def test_closing_lets_a_commit_finish(index: EmbeddedIndex, view: WatchedView, path: Path) -> None:
    committing = asyncio.ensure_future((await commit_of(index, stations(1, 5)))())
    await view.asked.wait()
    await index.close()
    assert (await committing).removed == 2
    assert (await reopened(path))[0] == [*stations(1), None, None, None, *stations(5)]


async def test_closing_ends_what_is_being_collected(index: EmbeddedIndex, path: Path) -> None:
    expected = await state_of(index)
    replacement = await index.open_replacement("teld")
    adding = asyncio.ensure_future(replacement.add(stations(*range(2_000), name="never")))
    await asyncio.sleep(0)
    await index.close()
    with pytest.raises(UnavailableError, match="not open"):
        await adding
    assert await reopened(path) == expected
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM staged").fetchone() == (0,)
        assert database.execute("SELECT count(*) FROM content").fetchone() == (3,)


async def test_an_index_that_is_not_open_says_so(index: EmbeddedIndex) -> None:
    replacement = await index.open_replacement("teld")
    await index.close()
    await index.close()
    uses: list[Callable[[], Awaitable[Any]]] = [
        lambda: replacement.add(stations(1)),
        replacement.count,
        lambda: replacement.commit(remove_missing=True),
        replacement.abort,
        lambda: index.open_replacement("teld"),
        lambda: index.upsert_stations("teld", []),
        lambda: index.remove_feed("teld"),
        lambda: found(index),
        lambda: index.find_stations(IDS),
        lambda: index.find_station_of_evse(IDS),
        lambda: anext(index.list_station_local_ids("teld", 1)),
        index.count_stations,
        index.list_operators,
        lambda: index.save_operators([]),
    ]
    for use in uses:
        with pytest.raises(UnavailableError, match="not open"):
            await use()


async def test_an_index_may_be_opened_again(index: EmbeddedIndex) -> None:
    expected = await state_of(index)
    await index.close()
    await index.open()
    assert await state_of(index) == expected


# -------------------------------------------------------------------------------------------------------------- damage


async def limit_pages(index: EmbeddedIndex, count: int) -> None:
    """Let the file grow no further than this, as a full disk does; 0 lets it grow as it likes."""
    writer = index._require_writer()
    await index._run(lambda: writer._db.execute(f"PRAGMA max_page_count = {count or 2**30}"))


async def test_a_full_disk_changes_nothing_and_the_next_change_works(index: EmbeddedIndex, path: Path) -> None:
    expected = await state_of(index)
    replacement = await index.open_replacement("teld")
    await replacement.add(stations(1))
    await limit_pages(index, 1)
    with pytest.raises(UnavailableError, match="full"):
        await index.upsert_stations("teld", stations(*range(1_000), name="too many"))
    with pytest.raises(UnavailableError, match="full"):
        await replacement.add(stations(*range(1_000), name="too many"))
    assert await state_of(index) == expected
    await limit_pages(index, 0)
    await index.upsert_stations("teld", stations(4))
    assert await index.find_stations(IDS) == [*stations(1, 2, 3, 4), None]
    assert await found(index) == IDS[:4]
    await replacement.commit(remove_missing=True)
    expected = await state_of(index)
    assert expected[1] == IDS[:1]
    await index.close()
    assert await reopened(path) == expected


async def test_a_commit_whose_snapshot_failed_is_shown_by_the_next_change(
    index: EmbeddedIndex, view: WatchedView, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_keys: KeyArray) -> SlotArray:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(view, "slots", fail)
        with pytest.raises(MemoryError):
            await index.upsert_stations("teld", stations(2, name="changed"))
    await index.upsert_stations("teld", stations(4))
    assert await index.find_stations(IDS[:4]) == [*stations(1), *stations(2, name="changed"), *stations(3, 4)]
    assert await found(index, text="changed") == IDS[1:2]
    assert len(await found(index)) == 4


@pytest.mark.parametrize("content", [b"\0", b"x\x9c\x03\0\0\0\0\1"])
async def test_content_that_is_none_is_no_answer(index: EmbeddedIndex, path: Path, content: bytes) -> None:
    await index.save_operators([build_operator()])
    await index.close()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE content SET packed = ?", (content,))
        database.execute("UPDATE operator SET packed = ?", (content,))
    await index.open()
    assert await found(index) == IDS[:3], "what searches need stands elsewhere"
    with pytest.raises(UnavailableError, match="does not answer"):
        await index.find_stations(IDS)
    with pytest.raises(UnavailableError, match="does not answer"):
        await index.list_operators()
    await index.close()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE about SET value = 'of another version' WHERE key = 'layout'")
    with pytest.raises(UnavailableError, match="does not answer"):
        await index.open()


@pytest.fixture
def garbage(path: Path) -> Path:
    """A file in the index's place that is none."""
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 1_000)
    return path


async def test_a_file_that_is_no_index_is_refused(garbage: Path, tmp_path: Path) -> None:
    for place in (garbage, garbage / "under a file.sqlite", tmp_path):
        index = EmbeddedIndex(place, PlainView())
        with pytest.raises(UnavailableError, match="does not answer"):
            await index.open()
        with pytest.raises(UnavailableError, match="not open"):
            await found(index)


async def test_facts_that_another_version_packed_are_packed_anew(index: EmbeddedIndex, path: Path) -> None:
    expected = await state_of(index)
    await index.close()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE about SET value = 'of another version' WHERE key = 'layout'")
        database.execute("UPDATE station SET lon = NULL, lat = NULL, text = x'', evse_keys = x'', connectors = x''")
    assert await reopened(path) == expected
