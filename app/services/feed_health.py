"""Say how the feeds fare: what came last, how old it is, and what was refused."""

import msgspec

from app.feeds.base import FeedLedger
from app.index.base import StationIndex
from app.live.base import Freshness, LiveBoard
from app.model.clock import Clock, Instant
from app.model.feed import FeedInfo, FeedReport, RunKind
from app.model.geo import BoundingBox
from app.model.identity import feed_of
from app.model.partner import Scope
from app.model.search import Area, Search, StationFilter
from app.services.viewer import Viewer

_EVERYWHERE = BoundingBox(west=-180.0, south=-90.0, east=180.0, north=90.0)


class RunState(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of run of one feed: the last one as it ended, and when one last succeeded (None: never).

    ``lag_s`` is the time since then; None when no run of this kind ever succeeded.
    """

    last: FeedReport
    last_success_at: Instant | None
    lag_s: float | None


class FeedState(msgspec.Struct, frozen=True, kw_only=True):
    """A feed and how it fares; ``runs`` holds the kinds of run that ever ended, in the order of RunKind.

    ``station_count`` is of those that are the viewer's to find; where some are not, of those that a search finds.
    ``newest_status_at`` is None where the status of some is not the viewer's to see.
    """

    info: FeedInfo
    station_count: int
    newest_status_at: Instant | None
    runs: tuple[RunState, ...]


class FeedHealth:
    """The use case of a partner that asks how far our answers can be trusted."""

    def __init__(
        self, ledger: FeedLedger, index: StationIndex, board: LiveBoard, clock: Clock, feeds: tuple[FeedInfo, ...]
    ) -> None:
        """Keep the ports, and which feeds there are."""
        self._ledger = ledger
        self._index = index
        self._board = board
        self._clock = clock
        self._feeds = feeds

    async def list_feeds(self, viewer: Viewer) -> list[FeedState]:
        """Return the feeds of which the viewer may find stations, in the order of the configuration."""
        viewer.require(Scope.DISCOVER)
        at = self._clock()
        return [seen for state in await self.list_all() if (seen := await self._as_seen(viewer, state, at)) is not None]

    async def list_all(self) -> list[FeedState]:
        """Return all feeds, for those who run the hub."""
        counts = await self._index.count_stations()
        at = self._clock()
        return [
            FeedState(
                info=info,
                station_count=counts.get(info.id, 0),
                newest_status_at=self._board.newest(info.id),
                runs=tuple([run for kind in RunKind if (run := await self._run(info.id, kind, at)) is not None]),
            )
            for info in self._feeds
        ]

    def freshness(self) -> Freshness:
        """Return how many Evses have a status that still counts. Looks at each: for those who run the hub."""
        return self._board.freshness(self._clock())

    async def _as_seen(self, viewer: Viewer, state: FeedState, at: Instant) -> FeedState | None:
        """Return what a viewer is told of a feed; nothing where it may find none of its stations."""
        feed, count, newest = state.info.id, state.station_count, state.newest_status_at
        if viewer.hidden.holds_some_of(feed):
            count = 0 if viewer.hidden.holds_all_of(feed) else await self._count_visible(viewer, feed, at)
            if not count:
                return None
        if viewer.dark.holds_some_of(feed):
            newest = None
        return msgspec.structs.replace(state, station_count=count, newest_status_at=newest)

    async def _count_visible(self, viewer: Viewer, feed: str, at: Instant) -> int:
        """Count the stations of a feed that the viewer's searches find."""
        others = frozenset(info.id for info in self._feeds) - {feed}
        hidden = msgspec.structs.replace(viewer.hidden, feeds=viewer.hidden.feeds | others)
        mine = frozenset(operator for operator in hidden.but_of if feed_of(operator) == feed)
        wanted = StationFilter(hidden=msgspec.structs.replace(hidden, but_of=mine))
        page = await self._index.search(Search(where=Area(box=_EVERYWHERE), filter=wanted, first=0, at=at))
        return page.total_count or 0

    async def _run(self, feed: str, kind: RunKind, at: Instant) -> RunState | None:
        last = await self._ledger.find_report(feed, kind)
        if last is None:
            return None
        good = last if last.error is None else await self._ledger.find_report(feed, kind, good=True)
        return RunState(
            last=last,
            last_success_at=None if good is None else good.ended_at,
            lag_s=None if good is None else max(0.0, at - good.ended_at),
        )
