"""Whatever happens, and however slowly one reads: who applies what is told knows what a fresh search would answer."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from app.index.embedded import EmbeddedIndex
from app.live.embedded import EmbeddedLiveBoard
from app.model.agreement import EVERYONE, Agreement, Grant
from app.model.clock import ManualClock
from app.model.feed import FeedInfo, FeedRights
from app.model.geo import BoundingBox, Point
from app.model.partner import Partner, PartnerKind, Scope
from app.model.search import Area, Corridor, Near, StationFilter
from app.model.station import Access, ConnectorType, Station
from app.services import watching as module
from app.services.station_search import StationSearch
from app.services.viewer import Viewer, viewer_of
from app.services.watching import ChangeKind, Following, News, Watching, What
from tests.builders import NOON, PARTY, random_station, random_status, scatter

HERE = Point(lon=121.5, lat=31.2)
FEEDS = (
    FeedInfo(id="teld", title="Teld", party=PARTY, has_live_status=True, rights=FeedRights()),
    FeedInfo(id="star", title="Star", party=PARTY, has_live_status=False, rights=FeedRights()),
    FeedInfo(id="hidden", title="Hidden", party=PARTY, has_live_status=True, rights=FeedRights(may_republish=False)),
)
AGREED = (
    Agreement(id="1", subject="teld:a", partner_id=EVERYONE, grants=frozenset({Grant.DISCOVER}), made_at=NOON),
    Agreement(id="2", subject="teld:b", partner_id="FLEET", grants=frozenset(), made_at=NOON),
)
"""Stations without status for everyone, and others that fleets must not find."""

EVERYWHERE = Area(box=BoundingBox(west=-180, south=-90, east=180, north=90))
STATIONS_A_FEED = 7
STEPS = 25


class Still(Watching):
    """Looks when it is told to."""

    def _begin(self) -> None:
        pass

    async def look_at_all(self) -> None:
        for watch in self._watches.values():
            watch.next_round_at = watch.next_judged_at = 0.0
        await self.look()

    async def recheck_all(self) -> None:
        for watch in list(self._watches.values()):
            await self.recheck(watch, None)


class Reader:
    """A subscriber that applies what it is told."""

    def __init__(self, viewer: Viewer, what: What, wanted: StationFilter, following: Following) -> None:
        self.viewer = viewer
        self.what = what
        self.wanted = wanted
        self.following = following
        self.known: dict[str, Any] = {}
        self.in_step = True

    async def read(self, search: StationSearch, stir: Callable[[], Awaitable[None]]) -> None:
        """Take what is told, and show it as it is then; ``stir`` lets something happen meanwhile."""
        news = self.following.take()
        await stir()
        looked_at = self.following.look(news)
        assert len(news.changes) == len({change.station_id for change in news.changes}) <= module.MAX_CHANGES_AT_ONCE
        if news.resynced:
            self.known.clear()
        before = set(self.known)
        await stir()
        seen = await search.find_stations(self.viewer, [change.station_id for change in news.changes])
        views = [None if sighting is None else shown(self.viewer, sighting) for sighting in seen]
        await stir()
        self.following.look_again(news, looked_at)
        for change, view in zip(news.changes, views, strict=True):
            if self.in_step and news.joined == 1:
                self._is_exact(change.kind, change.station_id in before, news)
            if change.kind is ChangeKind.LEFT:
                self.known.pop(change.station_id, None)
            elif view is not None:
                self.known[change.station_id] = view

    def _is_exact(self, kind: ChangeKind, known: bool, news: News) -> None:
        assert known == (kind is not ChangeKind.ENTERED), news


def shown(viewer: Viewer, sighting: Any) -> Any:
    # Who may not see the status does not hear of holds, either.
    sees = viewer.grants_on(sighting.station).status
    return [(view.evse.id, view.availability, view.stale, view.held and sees) for view in sighting.view.evses]


async def fresh(search: StationSearch, reader: Reader, clock: ManualClock) -> dict[str, Any]:
    """Return what a search answers now: all that match, and how they look."""
    if isinstance(reader.what, tuple):
        page = await search.search(reader.viewer, EVERYWHERE, reader.wanted, 1_000, None)
        sightings = [found.sighting for found in page.found if found.sighting.station.id in reader.what]
    else:
        page = await search.search(reader.viewer, reader.what, reader.wanted, 1_000, None)
        sightings = [found.sighting for found in page.found]
    return {sighting.station.id: shown(reader.viewer, sighting) for sighting in sightings}


def _filters(random: Random) -> StationFilter:
    return StationFilter(
        connector_types=frozenset(random.choice(((), (), (ConnectorType.GBT_DC,), (ConnectorType.GBT_AC,)))),
        min_power_w=random.choice((None, None, 60_000)),
        available_now=random.random() < 0.5,
        max_status_age_s=random.choice((None, None, 30.0, 600.0)),
        access=frozenset(random.choice(((), (), (Access.PUBLIC,)))),
        operator_ids=frozenset(random.choice(((), (), ("teld:a", "star:b")))),
        open_now=random.random() < 0.2,
    )


def _whats(random: Random, station_ids: Sequence[str]) -> What:
    return random.choice(
        (
            tuple(random.sample(station_ids, 9)),
            Near(center=HERE, radius_m=random.choice((500.0, 5_000.0, 50_000.0))),
            Area(box=BoundingBox(west=121.49, south=31.1, east=121.6, north=31.3)),
            Corridor(line=((121.4, 31.2), (121.6, 31.2)), width_m=2_000.0),
        )
    )


@given(st.integers(0, 2**32))
@example(6778)  # a station that left, and stood among those to be judged again before a slow reader heard of it
def test_who_applies_what_is_told_knows_what_a_search_answers(seed: int) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(_replay(Random(seed), Path(folder)))


async def _replay(random: Random, folder: Path) -> None:
    clock = ManualClock(NOON)
    board = EmbeddedLiveBoard(folder / "live.sqlite")
    index = EmbeddedIndex(folder / "stations.sqlite", board)
    await board.open()
    await index.open()
    search = StationSearch(index, board, clock, FEEDS)
    watching = Still(search, board, clock)
    stations: dict[str, Station] = {}

    async def state(feed: str) -> None:
        """Let a feed state some of its stations anew, and forget others."""
        points = scatter(random, STATIONS_A_FEED, [HERE], 0.03)
        made = [random_station(random, number, feed=feed, location=point) for number, point in enumerate(points)]
        kept = [station for station in stations.values() if station.feed == feed]
        chosen = {each.id: each for each in [*random.sample(kept, len(kept) * 2 // 3), *random.sample(made, 4)]}
        replacement = await index.open_replacement(feed)
        await replacement.add(list(chosen.values()))
        await replacement.commit(remove_missing=True)
        for station in kept:
            del stations[station.id]
        stations.update(chosen)

    former: dict[str, Any] = {}

    async def stir() -> None:
        """Let an Evse change now and then, or be again what it was before."""
        evses = [evse.id for station in stations.values() for evse in station.evses]
        if not evses or random.random() < 0.7:
            return
        clock.advance(0.001)
        evse_id = random.choice([*former, random.choice(evses)])
        told = former.pop(evse_id, None)
        if told is None:
            (former[evse_id],) = board.find([evse_id])
            told = random_status(random, evse_id)
        await board.record([msgspec.structs.replace(told, received_at=clock(), stale_after=clock() + 900.0)])

    async def nothing() -> None:
        pass

    try:
        for feed in FEEDS:
            await state(feed.id)
        every_id = [f"{feed.id}:{PARTY}:{number:06d}" for feed in FEEDS for number in range(STATIONS_A_FEED)]
        readers: list[Reader] = []
        for step in range(STEPS):
            if len(readers) < 4 or random.random() < 0.1:
                kind = random.choice((PartnerKind.MAP, PartnerKind.FLEET))
                viewer = viewer_of(Partner(id=kind.value, kind=kind, scopes=frozenset(Scope)), FEEDS, AGREED)
                what, wanted = _whats(random, every_id), _filters(random)
                following = await watching.follow(viewer, what, wanted)
                readers.append(Reader(viewer, what, wanted, following))
                if random.random() < 0.5:
                    readers.append(Reader(viewer, what, wanted, await watching.follow(viewer, what, wanted)))
            for _ in range(random.randrange(6)):
                clock.advance(random.choice((0.0, 0.5, 20.0)))
                evses = [evse.id for station in stations.values() for evse in station.evses]
                evse_id = random.choice(evses or ["nobody"])
                match random.randrange(4):
                    case 0:
                        board.set_hold(evse_id, clock() + random.choice((-1.0, 5.0, 100.0)))
                    case _:
                        told = random_status(random, evse_id)
                        age, worth = clock() - NOON, random.choice((1.0, 30.0, 900.0))
                        told = msgspec.structs.replace(
                            told, observed_at=told.observed_at + age, received_at=clock(), stale_after=clock() + worth
                        )
                        await board.record([told])
            if random.random() < 0.2:
                await state(random.choice(FEEDS).id)
                await watching.recheck_all()
            await watching.look_at_all()
            reading = [reader for reader in readers if random.random() < 0.6 or step == STEPS - 1]
            for reader in readers:
                if reader not in reading:
                    reader.in_step = False
                while reader in reading and _is_ready(reader.following):
                    await reader.read(search, stir)
            await watching.look_at_all()
            for reader in reading:
                while _is_ready(reader.following):
                    await reader.read(search, nothing)
                reader.in_step = True
                assert reader.known == await fresh(search, reader, clock)
        for reader in readers:
            reader.following.close()
        assert not watching._watches and not watching._register.count and not watching._watched
    finally:
        await index.close()
        await board.close()


def _is_ready(following: Following) -> bool:
    """Tell whether there is something to take, without waiting for it."""
    waiting = following.ready()
    try:
        waiting.send(None)
    except StopIteration as done:
        return bool(done.value)
    waiting.close()
    return False
