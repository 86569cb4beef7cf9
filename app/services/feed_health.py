"""Say how the feeds fare: what came last, how old it is, and what was refused."""

import msgspec

from app.feeds.base import FeedLedger
from app.index.base import StationIndex
from app.live.base import LiveBoard
from app.model.clock import Clock, Instant
from app.model.feed import FeedInfo, FeedReport, RunKind
from app.model.partner import Scope
from app.services.viewer import Viewer


class RunState(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of run of one feed: the last one as it ended, and when one last succeeded (None: never).

    ``lag_s`` is the time since then; None when no run of this kind ever succeeded.
    """

    last: FeedReport
    last_success_at: Instant | None
    lag_s: float | None


class FeedState(msgspec.Struct, frozen=True, kw_only=True):
    """A feed and how it fares; ``runs`` holds the kinds of run that ever ended, in the order of RunKind."""

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
        """Return the feeds that the viewer may see, in the order of the configuration."""
        viewer.require(Scope.DISCOVER)
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
            if info.id not in viewer.hidden_feeds
        ]

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
