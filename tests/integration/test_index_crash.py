"""What is left of the embedded index when its process is killed, or when the end of its log is torn off or garbled.

Run as a program, this file is the process that is killed: it indexes one statement after the other into a folder, and
says on its output which it begins and which are committed.
"""

import asyncio
import shutil
import sqlite3
import struct
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random, randrange
from typing import Any

from app.index.embedded import EmbeddedIndex
from app.model.geo import BoundingBox, Point
from app.model.search import Area, Search, StationFilter
from app.model.station import Operator, Station
from tests.builders import NOON, PlainView, build_operator, build_station

ROOT = Path(__file__).parents[2]
FEED, OTHER = "teld", "star"
NUMBERS = range(200)
BATCH = 40
EVERYWHERE = Area(box=BoundingBox(west=-180, south=-90, east=180, north=90))
WORDS = (None, "ever", "version")
OPERATORS = [build_operator(feed=OTHER)]

# A log is a header and then frames of a header and a page each; a frame's header begins with the number of the page.
# A transaction counts when all its frames are whole, and all those before them.
LOG_HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
PAGE_BYTES = 4_096


def statement(version: int) -> list[Station]:
    """What the feed says for the so-manyth time: some stations are as ever, some changed, some new, some gone."""
    return [
        build_station(
            number,
            name="as ever" if number % 3 == 0 else f"version {version}",
            location=Point(lon=121.5 + number / 10_000, lat=31.2 + (number % 3) * version / 10_000),
            evse_count=1 + number % 3,
        )
        for number in NUMBERS
        if (number + version) % 5
    ]


OTHERS = [build_station(number, name="as ever", feed=OTHER) for number in range(10)]
IDS = [build_station(number, feed=feed).id for feed in (FEED, OTHER) for number in NUMBERS]


def expected(*parts: Sequence[Station], operators: Sequence[Operator] = OPERATORS) -> Any:
    """What ``state_of`` tells of an index that holds these stations."""
    stations = {station.id: station for part in parts for station in part}
    feeds = [station.feed for station in stations.values()]
    return (
        [stations.get(station_id) for station_id in IDS],
        [sorted(one.id for one in stations.values() if word is None or word in (one.name or "")) for word in WORDS],
        [station_id if station_id in stations else None for station_id in IDS],
        {feed: sorted(one.local_id for one in stations.values() if one.feed == feed) for feed in (FEED, OTHER)},
        {feed: feeds.count(feed) for feed in feeds},
        [*operators],
    )


async def state_of(index: EmbeddedIndex) -> Any:
    """Everything that the index holds, as each of its answers tells it."""
    filters = [StationFilter(text=word) for word in WORDS]
    asked = [Search(where=EVERYWHERE, filter=wanted, first=len(IDS), at=NOON) for wanted in filters]
    return (
        await index.find_stations(IDS),
        [[hit.station_id for hit in (await index.search(search)).hits] for search in asked],
        await index.find_station_of_evse([f"{station_id}-1" for station_id in IDS]),
        {
            feed: [one async for page in index.list_station_local_ids(feed, 50) for one in page]
            for feed in (FEED, OTHER)
        },
        await index.count_stations(),
        await index.list_operators(),
    )


async def open_index(folder: Path) -> EmbeddedIndex:
    index = EmbeddedIndex(folder / "stations.sqlite", PlainView())
    await index.open()
    return index


async def replace(index: EmbeddedIndex, feed: str, stations: Sequence[Station]) -> None:
    replacement = await index.open_replacement(feed)
    for first in range(0, len(stations), BATCH):
        await replacement.add(stations[first : first + BATCH])
    await replacement.commit(remove_missing=True)


async def read_state(folder: Path) -> Any:
    index = await open_index(folder)
    try:
        return await state_of(index)
    finally:
        await index.close()


def leftovers(folder: Path) -> list[int]:
    """How many contents there are without a station, stations without content, and open statements."""
    with closing(sqlite3.connect(folder / "stations.sqlite")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        queries = (
            "SELECT count(*) FROM content WHERE number NOT IN (SELECT content FROM station)",
            "SELECT count(*) FROM station WHERE content NOT IN (SELECT number FROM content)",
            "SELECT count(*) FROM statement",
            "SELECT count(*) FROM staged",
        )
        return [database.execute(query).fetchone()[0] for query in queries]


# ------------------------------------------------------------------------------------------------------------- killing


async def index_versions(folder: Path, first: int, end: int) -> None:
    """Index these statements one after the other; this is what is killed."""
    index = await open_index(folder)
    for version in range(first, end):
        print(f"begin {version}", flush=True)  # noqa: T201 - the parent process reads it
        await replace(index, FEED, statement(version))
        print(f"committed {version}", flush=True)  # noqa: T201 - as above
    await index.close()


def start(folder: Path, first: int, end: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.integration.test_index_crash", str(folder), str(first), str(end)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def kill_at_random(folder: Path, version: int, random: Random, *, lines: int) -> dict[str, int]:
    """Kill a run a random moment after it said so many lines; return the last version that it told for each word."""
    with start(folder, version, version + 1_000) as process:
        assert process.stdout is not None
        said = "".join(process.stdout.readline() for _ in range(lines))
        time.sleep(random.uniform(0, 0.4 if lines else 0.8))
        process.kill()
        said += process.stdout.read()
    # The last line may be torn as well.
    return {line.split()[0]: int(line.split()[1]) for line in said.splitlines(keepends=True) if line.endswith("\n")}


async def begin(folder: Path) -> None:
    index = await open_index(folder)
    await replace(index, OTHER, OTHERS)
    await index.save_operators(OPERATORS)
    await index.close()


def test_killed_at_any_moment_it_holds_the_last_commit_and_the_next_run_finishes(tmp_path: Path) -> None:
    random, folder = Random(randrange(2**32)), tmp_path / "index"
    asyncio.run(begin(folder))
    known: int | None = None
    next_version = 0
    for number, lines in enumerate((2, 1, 1, 1, 1, 0, 3, 1, 0, 1)):
        told = kill_at_random(folder, next_version, random, lines=lines)
        # Looked at in a copy, so that the next run meets the folder as the killed process left it.
        copy = shutil.copytree(folder, tmp_path / f"copy {number}")
        state = asyncio.run(read_state(copy))
        assert leftovers(copy) == [0, 0, 0, 0]
        known, begun = told.get("committed", known), told.get("begin")
        if begun is not None and state == expected(statement(begun), OTHERS):
            known = begun  # killed between the commit and the news of it
        assert state == expected([] if known is None else statement(known), OTHERS)
        next_version = next_version if begun is None else begun + 1
    with start(folder, next_version, next_version + 1) as last:
        assert last.wait(60) == 0
    assert asyncio.run(read_state(folder)) == expected(statement(next_version), OTHERS)
    assert leftovers(folder) == [0, 0, 0, 0]


# ------------------------------------------------------------------------------------------------------------- tearing


class Torn:
    """A database and its log as they lie on the disk, and at which lengths of the log which state is complete."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ends: list[int] = []
        self.states: list[Any] = []
        self.database = self.log = b""

    async def fill(self) -> None:
        index = await open_index(self.folder)
        self._note(operators=[])
        await replace(index, OTHER, OTHERS)
        self._note(OTHERS, operators=[])
        await index.save_operators(OPERATORS)
        self._note(OTHERS)
        for version in range(3):
            await replace(index, FEED, statement(version)[:60])
            self._note(OTHERS, statement(version)[:60])
        changed = statement(7)[:5]
        await index.upsert_stations(FEED, changed)
        self._note(OTHERS, statement(2)[:60], changed)
        await index.remove_feed(OTHER)
        self._note(statement(2)[:60], changed)
        # What is left open lies in the log as well, and is part of no state.
        left_open = await index.open_replacement(FEED)
        await left_open.add(statement(3))
        self.database, self.log = self._path("").read_bytes(), self._path("-wal").read_bytes()
        await index.close()

    def _note(self, *parts: Sequence[Station], operators: Sequence[Operator] = OPERATORS) -> None:
        self.ends.append(self._path("-wal").stat().st_size if self.ends else 0)
        self.states.append(expected(*parts, operators=operators))

    def _path(self, suffix: str) -> Path:
        return self.folder / f"stations.sqlite{suffix}"

    def state_at(self, length: int) -> Any:
        """The last state whose commit lies in so many bytes of the log."""
        return self.states[bisect_right(self.ends, length) - 1]

    @staticmethod
    def write(folder: Path, database: bytes, log: bytes) -> Path:
        folder.mkdir()
        (folder / "stations.sqlite").write_bytes(database)
        (folder / "stations.sqlite-wal").write_bytes(log)
        return folder

    def places(self, random: Random, count: int) -> list[int]:
        """Where to tear: in the header, about each commit, and anywhere."""
        about = [end + near for end in self.ends for near in (-1, 0, 1) if end + near >= 0]
        return [*about, LOG_HEADER_BYTES - 1, *(random.randrange(len(self.log)) for _ in range(count))]


async def fill(folder: Path) -> Torn:
    torn = Torn(folder)
    await torn.fill()
    assert len(torn.ends) == len(set(torn.ends)) and torn.ends[-1] < len(torn.log)
    return torn


async def test_a_log_that_ends_anywhere_opens_with_the_last_whole_commit(tmp_path: Path) -> None:
    torn, random = await fill(tmp_path / "whole"), Random(randrange(2**32))
    for number, length in enumerate(torn.places(random, 40)):
        folder = torn.write(tmp_path / f"{number}", torn.database, torn.log[:length])
        assert await read_state(folder) == torn.state_at(length), length
        assert leftovers(folder) == [0, 0, 0, 0]


async def test_a_log_that_is_garbled_anywhere_opens_with_the_last_whole_commit_before(tmp_path: Path) -> None:
    torn, random = await fill(tmp_path / "whole"), Random(randrange(2**32))
    for number, place in enumerate(torn.places(random, 40)):
        log = bytearray(torn.log)
        if number % 2:
            log[place] ^= random.randrange(1, 256)
        else:  # the disk promised more than it wrote: from a sector on there are only zeros
            log[place:] = bytes(len(log) - place)
        harmed = next((at for at in range(place, len(log)) if log[at] != torn.log[at]), len(log))
        folder = torn.write(tmp_path / f"{number}", torn.database, bytes(log))
        assert await read_state(folder) == torn.state_at(harmed), (place, harmed)


async def test_what_was_torn_takes_the_next_statement(tmp_path: Path) -> None:
    torn, random = await fill(tmp_path / "whole"), Random(randrange(2**32))
    for number, length in enumerate(random.sample(torn.places(random, 10), 10)):
        folder = torn.write(tmp_path / f"{number}", torn.database, torn.log[:length])
        index = await open_index(folder)
        await replace(index, FEED, statement(9))
        await replace(index, OTHER, OTHERS)
        await index.save_operators(OPERATORS)
        await index.close()
        assert await read_state(folder) == expected(statement(9), OTHERS)
        assert leftovers(folder) == [0, 0, 0, 0]


async def test_a_log_that_was_written_back_in_part_loses_nothing(tmp_path: Path) -> None:
    torn, random = await fill(tmp_path / "whole"), Random(randrange(2**32))
    frames = range(LOG_HEADER_BYTES, len(torn.log), FRAME_HEADER_BYTES + PAGE_BYTES)
    pages = {struct.unpack_from(">I", torn.log, frame)[0]: frame + FRAME_HEADER_BYTES for frame in frames}
    for number in range(20):
        database = bytearray(torn.database)
        for page in random.sample(sorted(pages), random.randrange(1, len(pages))):
            at, written = (page - 1) * PAGE_BYTES, random.choice((PAGE_BYTES, 512, 1_024))
            database.extend(bytes(max(0, at + PAGE_BYTES - len(database))))
            database[at : at + written] = torn.log[pages[page] : pages[page] + written]
        folder = torn.write(tmp_path / f"{number}", bytes(database), torn.log)
        assert await read_state(folder) == torn.states[-1]
        assert leftovers(folder) == [0, 0, 0, 0]


if __name__ == "__main__":
    asyncio.run(index_versions(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
