"""Find stations and say what is free there, honestly."""

from collections.abc import Iterable, Sequence

import msgspec

from app.errors import InvalidInputError
from app.index.base import StationIndex
from app.live.base import LiveBoard
from app.model.availability import Availability, EvseStatus
from app.model.clock import Clock, Instant
from app.model.feed import FeedInfo
from app.model.opening import is_open
from app.model.partner import Scope
from app.model.search import Area, Near, Position, Search, StationFilter
from app.model.station import NO_FEES, NOT_OPERATING, Evse, Operator, Presence, Station
from app.services.viewer import Viewer

MAX_IDS = 100


class EvseView(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An Evse as it is shown now.

    ``availability`` is what may be claimed at this moment; ``status`` is the last news, None where there never was
    any. ``stale``: there was news, and it is too old to claim anything. ``held``: somebody holds it through this hub.
    """

    evse: Evse
    station_id: str
    availability: Availability
    status: EvseStatus | None
    age_s: float | None
    stale: bool
    held: bool


class StationView(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A station as a viewer may see it, with its Evses as they are at ``at``."""

    station: Station
    evses: tuple[EvseView, ...]
    open_now: bool | None
    at: Instant

    @property
    def as_of(self) -> Instant | None:
        """Return when the oldest news behind the counts was observed; None without any."""
        return min((view.status.observed_at for view in self.evses if view.status), default=None)


class Found(msgspec.Struct, frozen=True, gc=False):
    """One hit of a search."""

    view: StationView
    distance_m: float | None


class FoundPage(msgspec.Struct, frozen=True):
    """One page of hits; ``total_count`` is exact."""

    found: tuple[Found, ...]
    total_count: int
    has_next: bool


class StationSearch:
    """The use case of everyone who looks for a place to charge."""

    def __init__(self, index: StationIndex, board: LiveBoard, clock: Clock, feeds: tuple[FeedInfo, ...]) -> None:
        """Keep the ports, and which feeds speak live."""
        self._index = index
        self._board = board
        self._clock = clock
        self._feeds = frozenset(feed.id for feed in feeds)
        self._live_feeds = frozenset(feed.id for feed in feeds if feed.has_live_status)

    async def search(
        self, viewer: Viewer, where: Near | Area, wanted: StationFilter, first: int, after: Position | None
    ) -> FoundPage:
        """Return one page of the stations that the viewer may see. The caller has checked and clamped the arguments."""
        viewer.require(Scope.DISCOVER)
        at = self._clock()
        visible = msgspec.structs.replace(wanted, hidden_feeds=wanted.hidden_feeds | viewer.hidden_feeds)
        page = await self._index.search(Search(where=where, filter=visible, first=first, at=at, after=after))
        stations = await self._index.find_stations([hit.station_id for hit in page.hits])
        views = self._views(viewer, stations, at)
        # Between the two questions a feed may have withdrawn a station.
        found = tuple(Found(views[hit.station_id], hit.distance_m) for hit in page.hits if hit.station_id in views)
        return FoundPage(found, page.total_count, page.has_next)

    async def find_stations(self, viewer: Viewer, station_ids: Sequence[str]) -> list[StationView | None]:
        """Return the stations in the order asked for, None for those that are unknown or not for this viewer."""
        viewer.require(Scope.DISCOVER)
        if len(station_ids) > MAX_IDS:
            raise InvalidInputError("ids", f"{len(station_ids)} ids are more than {MAX_IDS}; ask in several requests")
        at = self._clock()
        views = self._views(viewer, await self._index.find_stations(station_ids), at)
        return [views.get(station_id) for station_id in station_ids]

    async def find_evses(self, viewer: Viewer, evse_ids: Sequence[str]) -> list[EvseView | None]:
        """Return the Evses in the order asked for, None for those that are unknown or not for this viewer."""
        viewer.require(Scope.DISCOVER)
        if len(evse_ids) > MAX_IDS:
            raise InvalidInputError("ids", f"{len(evse_ids)} ids are more than {MAX_IDS}; ask in several requests")
        station_ids = await self._index.find_station_of_evse(evse_ids)
        known = list(dict.fromkeys(station_id for station_id in station_ids if station_id is not None))
        views = await self.find_stations(viewer, known)
        by_evse = {view.evse.id: view for station in views if station is not None for view in station.evses}
        return [by_evse.get(evse_id) for evse_id in evse_ids]

    async def list_operators(self, viewer: Viewer) -> list[Operator]:
        """Return the operators whose feeds the viewer may see; those of a feed that is gone outlive its stations."""
        viewer.require(Scope.DISCOVER)
        visible = self._feeds - viewer.hidden_feeds
        return [operator for operator in await self._index.list_operators() if operator.feed in visible]

    def _visible(self, viewer: Viewer, station: Station) -> bool:
        return (
            station.published and station.feed not in viewer.hidden_feeds and station.presence is not Presence.REMOVED
        )

    def _views(self, viewer: Viewer, stations: Iterable[Station | None], at: Instant) -> dict[str, StationView]:
        """Show those that the viewer may see, by id; the board is asked once for the Evses of all of them."""
        seen = [station for station in stations if station is not None and self._visible(viewer, station)]
        evse_ids = [evse.id for station in seen for evse in station.evses]
        statuses = iter(self._board.find(evse_ids))
        holds = iter(self._board.holds(evse_ids, at))
        return {
            station.id: StationView(
                station=_without_fees(station) if station.feed in viewer.priceless_feeds else station,
                evses=tuple(
                    self._evse_view(station, evse, next(statuses), at, held=next(holds)) for evse in station.evses
                ),
                open_now=is_open(station.hours, at, station.time_zone),
                at=at,
            )
            for station in seen
        }

    def _evse_view(
        self, station: Station, evse: Evse, status: EvseStatus | None, at: Instant, *, held: bool
    ) -> EvseView:
        stale = status is not None and at >= status.stale_after
        if station.presence in NOT_OPERATING or evse.presence in NOT_OPERATING:
            availability = Availability.UNAVAILABLE
        elif held:
            availability = Availability.RESERVED
        elif status is not None:
            availability = Availability.UNKNOWN if stale else status.availability
        elif evse.inferred or station.feed not in self._live_feeds:
            availability = Availability.NOT_LIVE
        else:
            availability = Availability.UNKNOWN
        return EvseView(
            evse=evse,
            station_id=station.id,
            availability=availability,
            status=status,
            age_s=None if status is None else max(0.0, at - status.observed_at),
            stale=stale,
            held=held,
        )


def _without_fees(station: Station) -> Station:
    return msgspec.structs.replace(station, fees=NO_FEES)
