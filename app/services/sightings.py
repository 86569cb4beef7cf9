"""What a viewer sees of stations at one moment, and for how long that stays true."""

from collections.abc import Sequence

import msgspec

from app.live.base import LiveBoard
from app.model.agreement import Grants
from app.model.availability import Availability, EvseStatus
from app.model.clock import Instant
from app.model.opening import is_open, open_until
from app.model.station import NO_FEES, NOT_OPERATING, Evse, Presence, Station


class EvseView(msgspec.Struct, frozen=True, gc=False):
    """An Evse as it is shown to a viewer ``at`` a moment.

    ``availability`` is what may be claimed of this moment; ``status`` is the last news, None where there never was
    any. ``stale``: there was news, and it is too old to claim anything. ``held``: somebody holds it through this hub;
    of Evses whose status is not the viewer's to see this may only be shown to the holder. ``grants`` are the viewer's.
    """

    evse: Evse
    station_id: str
    availability: Availability
    status: EvseStatus | None
    at: Instant
    stale: bool
    held: bool
    grants: Grants

    @property
    def reservable(self) -> bool | None:
        """Whether its operator takes reservations of the viewer; None where it does not say."""
        return self.evse.reservable if self.grants.reserve else False


class StationView(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A station as a viewer may see it, with its Evses as they are at ``at``."""

    station: Station
    evses: tuple[EvseView, ...]
    open_now: bool | None
    at: Instant

    @property
    def as_of(self) -> Instant | None:
        """Return when the oldest news behind the counts was observed; None without any."""
        return min([view.status.observed_at for view in self.evses if view.status is not None], default=None)


class Mark(msgspec.Struct, frozen=True, gc=False):
    """What a view was made of."""

    station: Station
    slots: tuple[int, ...]
    change: int
    until: Instant
    board: LiveBoard

    def covers(self, sighting: "Sighting") -> bool:
        """Tell whether this sighting's view is the same as the one that was marked, but for ages."""
        return (
            sighting.station is self.station
            and sighting.at < self.until
            and self.board.last_change(self.slots) <= self.change
        )


class Sightings:
    """Stations seen together at one moment.

    The board is asked for the Evses of the first that is looked at, and then at once for those of all others: of an
    answer nearly all of which is kept, few are looked at.
    """

    def __init__(self, board: LiveBoard, live_feeds: frozenset[str], at: Instant) -> None:
        """See nothing yet. ``live_feeds`` are those that tell live status."""
        self.at = at
        self._board = board
        self._live_feeds = live_feeds
        self._seen: list[tuple[Station, Grants]] = []  # no Sightings: cycles are work for the garbage collector
        self._views: dict[int, tuple[StationView, int]] = {}
        """By place, and the number of the board's last change before it was looked at."""

    def add(self, station: Station, grants: Grants) -> "Sighting":
        """See a station with what the viewer may have of it."""
        self._seen.append((station, grants))
        return Sighting(station, self.at, grants, self, len(self._seen) - 1)

    def view(self, place: int) -> StationView:
        """Return the view of the station that was added in this place."""
        if place not in self._views:
            self._look(
                [other for other in range(len(self._seen)) if other not in self._views] if self._views else [place]
            )
        return self._views[place][0]

    def mark(self, place: int) -> Mark | None:
        """Return what the view in this place was made of; None while it can change without notice."""
        view = self.view(place)
        slots = self._board.find_slots([evse.evse.id for evse in view.evses])
        if slots is None:
            return None
        until = open_until(view.station.hours, self.at, view.station.time_zone)
        for evse in view.evses:
            if evse.held:
                return None
            if evse.status is not None and not evse.stale and evse.status.stale_after < until:
                until = evse.status.stale_after
        return Mark(self._seen[place][0], slots, self._views[place][1], until, self._board)

    def _look(self, places: Sequence[int]) -> None:
        change = self._board.change_count  # first: what changes while we read counts as changed since
        seen = [self._seen[place] for place in places]
        evse_ids = [evse.id for station, _ in seen for evse in station.evses]
        statuses = iter(self._board.find(evse_ids))
        holds = iter(self._board.holds(evse_ids, self.at))
        for place, (station, grants) in zip(places, seen, strict=True):
            view = StationView(
                station=station if grants.price else _without_fees(station),
                evses=tuple(
                    [self._evse_view(station, evse, next(statuses), grants, held=next(holds)) for evse in station.evses]
                ),
                open_now=is_open(station.hours, self.at, station.time_zone),
                at=self.at,
            )
            self._views[place] = view, change

    def _evse_view(
        self, station: Station, evse: Evse, status: EvseStatus | None, grants: Grants, *, held: bool
    ) -> EvseView:
        at = self.at
        if not grants.status:
            status = None
        stale = status is not None and at >= status.stale_after
        if not (_operates(station.presence) and _operates(evse.presence)):
            availability = Availability.UNAVAILABLE
        elif not grants.status:
            availability = Availability.NOT_LIVE
        elif held:
            availability = Availability.RESERVED
        elif status is not None:
            availability = Availability.UNKNOWN if stale else status.availability
        elif evse.inferred or station.feed not in self._live_feeds:
            availability = Availability.NOT_LIVE
        else:
            availability = Availability.UNKNOWN
        return EvseView(evse, station.id, availability, status, at, stale, held, grants)


class Sighting(msgspec.Struct, frozen=True, gc=False):
    """A station that a viewer may see ``at`` a moment, as it is indexed, and what the viewer may have of it."""

    station: Station
    at: Instant
    grants: Grants
    _together: Sightings
    _place: int

    @property
    def view(self) -> StationView:
        """The station with its Evses as they are shown."""
        return self._together.view(self._place)

    def mark(self) -> Mark | None:
        """Return what the view was made of; None while it can change without notice."""
        return self._together.mark(self._place)


def _operates(presence: Presence) -> bool:
    # Nearly all do, and to look for a member of an Enum in a set costs as much as all else here.
    return presence is Presence.IN_SERVICE or presence not in NOT_OPERATING


def _without_fees(station: Station) -> Station:
    return msgspec.structs.replace(station, fees=NO_FEES)
