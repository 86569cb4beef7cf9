"""Find stations and say what is free there, honestly."""

from collections.abc import Iterable, Mapping, Sequence
from math import inf

import msgspec

from app.errors import InvalidInputError
from app.index.base import StationIndex
from app.live.base import LiveBoard
from app.model.agreement import Withheld
from app.model.clock import Clock, Instant
from app.model.cluster import ClusterSearch, StationCluster
from app.model.feed import FeedInfo
from app.model.geo import BoundingBox
from app.model.partner import Scope
from app.model.search import Area, Corridor, Near, Position, Search, SearchPage, StationFilter, Where
from app.model.station import Operator, Presence, Station
from app.services.sightings import EvseView, Sighting, Sightings
from app.services.viewer import Viewer
from app.telemetry import metrics

MAX_IDS = 100
OPERATORS_KEPT_S = 5.0
_REMEMBERED_LISTS = 256
_KINDS: Mapping[type, str] = {Near: "near", Area: "area", Corridor: "corridor"}


class Found(msgspec.Struct, frozen=True, gc=False):
    """One hit of a search; the figures are those of ``Hit``."""

    sighting: Sighting
    distance_m: float | None
    along_m: float | None = None


class FoundPage(msgspec.Struct, frozen=True):
    """One page of hits; ``total_count`` is exact, and may be None where it was not wanted."""

    found: tuple[Found, ...]
    total_count: int | None
    has_next: bool


class StationSearch:
    """The use case of everyone who looks for a place to charge."""

    def __init__(self, index: StationIndex, board: LiveBoard, clock: Clock, feeds: tuple[FeedInfo, ...]) -> None:
        """Keep the ports, and which feeds speak live."""
        self._index = index
        self._board = board
        self._clock = clock
        self._live_feeds = frozenset(feed.id for feed in feeds if feed.has_live_status)
        self._listed: list[Operator] = []
        self._operators: dict[Withheld, dict[str, Operator]] = {}
        self._operators_read_at: Instant = -inf

    async def search(
        self,
        viewer: Viewer,
        where: Where,
        wanted: StationFilter,
        first: int,
        after: Position | None,
        *,
        wants_total: bool = True,
    ) -> FoundPage:
        """Return one page of the stations that the viewer may see. The caller has checked and clamped the arguments."""
        viewer.require(Scope.DISCOVER)
        at = self._clock()
        visible = _visible_to(viewer, wanted)
        search = Search(where=where, filter=visible, first=first, at=at, after=after, wants_total=wants_total)
        with metrics.search(_KINDS[type(where)]):
            page = await self._index.search(search)
            stations = await self._index.find_stations([hit.station_id for hit in page.hits])
        return _found(page, self._see(viewer, stations, at))

    async def list_ids(self, viewer: Viewer, where: Where, wanted: StationFilter, at_most: int) -> list[str]:
        """Return the ids of all stations that a search would find, in its order. Raises InvalidInputError when they are
        more than ``at_most``.
        """
        viewer.require(Scope.DISCOVER)
        visible = _visible_to(viewer, wanted)
        search = Search(where=where, filter=visible, first=at_most, at=self._clock(), wants_total=False)
        page = await self._index.search(search)
        if page.has_next:
            raise InvalidInputError(
                "filter", f"more than {at_most} stations match; ask for a smaller part or for fewer"
            )
        return [hit.station_id for hit in page.hits]

    async def mark(self) -> str:
        """Return what differs once the index has changed."""
        return await self._index.mark()

    async def search_many(
        self, viewer: Viewer, wheres: Sequence[Near], wanted: StationFilter, first: int
    ) -> list[FoundPage]:
        """Return the first page of each place, in the order asked for, all as of one moment.

        The index and the board are asked as often as for one. The caller has checked and bounded the arguments.
        """
        viewer.require(Scope.DISCOVER)
        at = self._clock()
        visible = _visible_to(viewer, wanted)
        searches = [Search(where=where, filter=visible, first=first, at=at) for where in wheres]
        with metrics.search("batch"):
            pages = await self._index.search_many(searches)
            station_ids = list(dict.fromkeys([hit.station_id for page in pages for hit in page.hits]))
            stations = await self._index.find_stations(station_ids)
        seen = dict(zip(station_ids, self._see(viewer, stations, at), strict=True))
        return [_found(page, [seen[hit.station_id] for hit in page.hits]) for page in pages]

    async def list_clusters(
        self, viewer: Viewer, box: BoundingBox, zoom: int, wanted: StationFilter, *, wants_available: bool
    ) -> list[StationCluster]:
        """Count the stations that the viewer may see by tiles. The caller has checked the arguments."""
        viewer.require(Scope.DISCOVER)
        search = ClusterSearch(
            box=box,
            zoom=zoom,
            filter=_visible_to(viewer, wanted),
            at=self._clock(),
            wants_available=wants_available,
            dark=viewer.dark,
        )
        with metrics.search("clusters"):
            return await self._index.list_clusters(search)

    async def find_stations(self, viewer: Viewer, station_ids: Sequence[str]) -> list[Sighting | None]:
        """Return the stations in the order asked for, None for those that are unknown or not for this viewer."""
        viewer.require(Scope.DISCOVER)
        if len(station_ids) > MAX_IDS:
            raise InvalidInputError("ids", f"{len(station_ids)} ids are more than {MAX_IDS}; ask in several requests")
        at = self._clock()
        return self._see(viewer, await self._index.find_stations(station_ids), at)

    async def find_evses(self, viewer: Viewer, evse_ids: Sequence[str]) -> list[EvseView | None]:
        """Return the Evses in the order asked for, None for those that are unknown or not for this viewer."""
        viewer.require(Scope.DISCOVER)
        if len(evse_ids) > MAX_IDS:
            raise InvalidInputError("ids", f"{len(evse_ids)} ids are more than {MAX_IDS}; ask in several requests")
        station_ids = await self._index.find_station_of_evse(evse_ids)
        known = list(dict.fromkeys(station_id for station_id in station_ids if station_id is not None))
        stations = await self.find_stations(viewer, known)
        by_evse = {view.evse.id: view for seen in stations if seen is not None for view in seen.view.evses}
        return [by_evse.get(evse_id) for evse_id in evse_ids]

    async def operators(self, viewer: Viewer) -> Mapping[str, Operator]:
        """Return the operators whose stations the viewer may see, by id and in the order of ids, as they were at most
        OPERATORS_KEPT_S ago; those of a feed that is gone outlive its stations.
        """
        viewer.require(Scope.DISCOVER)
        now = self._clock()
        if not 0 <= now - self._operators_read_at < OPERATORS_KEPT_S:
            listed = await self._index.list_operators()
            if listed != self._listed:
                self._listed = listed
                self._operators = {}
            self._operators_read_at = now
        known = self._operators.get(viewer.hidden)
        if known is None:
            if len(self._operators) >= _REMEMBERED_LISTS:
                self._operators = {}
            known = {each.id: each for each in self._listed if viewer.grants_of(each.id, each.feed).discover}
            self._operators[viewer.hidden] = known
        return known

    def _see(self, viewer: Viewer, stations: Iterable[Station | None], at: Instant) -> list[Sighting | None]:
        """See those that the viewer may see."""
        together = Sightings(self._board, self._live_feeds, at)
        return [
            together.add(station, grants)
            if station is not None
            and station.published
            and station.presence is not Presence.REMOVED
            and (grants := viewer.grants_on(station)).discover
            else None
            for station in stations
        ]


def _visible_to(viewer: Viewer, wanted: StationFilter) -> StationFilter:
    """Return the filter that leaves out what the viewer must not find: where it asks for live status, also those
    whose status is not its to see, for to find them or not would tell it.
    """
    live = wanted.available_now or wanted.max_status_age_s is not None
    hidden = viewer.dark if live else viewer.hidden
    return msgspec.structs.replace(wanted, hidden=hidden) if hidden else wanted


def _found(page: SearchPage, sightings: Sequence[Sighting | None]) -> FoundPage:
    """Show the hits of a page. Between the search and the lookup a feed may have withdrawn a station."""
    found = [
        Found(sighting, hit.distance_m, hit.along_m)
        for hit, sighting in zip(page.hits, sightings, strict=True)
        if sighting is not None
    ]
    return FoundPage(tuple(found), page.total_count, page.has_next)
