"""How stations are counted by tiles from a snapshot: narrowed and seen as searches are, then counted at once."""

import asyncio
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from app.index import _query
from app.index._columns import Columns, Dictionaries, LongArray
from app.index._query import Narrowed, Question
from app.model.cluster import CENTER_DECIMALS, MAX_TILE_ZOOM, ClusterSearch, Grid, StationCluster
from app.model.geo import Point
from app.model.search import Area, AvailabilityView, Search, StationFilter

_NOBODY: Final = -1
_SEEN_AT_ONCE: Final = 262_144
"""How many Evses the live board is asked about before others get their turn on the event loop."""


class Count:
    """One search for clusters, answered in steps: ``see`` asks the live board, the others may run in a thread."""

    def __init__(self, columns: Columns, dictionaries: Dictionaries, search: ClusterSearch) -> None:
        """Prepare the search."""
        self._columns = columns
        self._dictionaries = dictionaries
        self._search = search
        self._all = self._ask(search.filter)
        free = msgspec.structs.replace(search.filter, available_now=True, hidden=search.dark or search.filter.hidden)
        self._free = self._ask(free) if search.wants_available else None

    def cost(self) -> int:
        """Return how many stations have to be looked at."""
        return self._all.cost()

    def narrow(self) -> tuple[Narrowed, Narrowed | None]:
        """Find the stations that match, and those that may be free as well, as far as the snapshot knows."""
        free = None if self._free is None else _query.narrow(self._columns, self._dictionaries, self._free)
        if free is not None and not self._search.dark and _query.asks_for_evse(self._search.filter):
            return free, free
        return _query.narrow(self._columns, self._dictionaries, self._all), free

    async def see(
        self, narrowed: tuple[Narrowed, Narrowed | None], view: AvailabilityView
    ) -> tuple[LongArray, LongArray | None]:
        """Return the stations that are as the search wants them now, and those of them that are free."""
        found, free = narrowed
        stations = found.stations
        if _query.asks_for_live(self._search.filter):
            stations = await _seen(found, view, self._all.search)
        if free is None or self._free is None:
            return stations, None
        return stations, await _seen(free, view, self._free.search)

    def count(self, seen: tuple[LongArray, LongArray | None]) -> list[StationCluster]:
        """Count what is left."""
        columns, (stations, free) = self._columns, seen
        grid = Grid.over(self._search.box, self._search.zoom)
        places = self._places(grid, stations)
        counts = np.bincount(places, minlength=len(grid))
        one = np.full(len(grid), _NOBODY)
        one[places] = stations
        one[counts != 1] = _NOBODY
        names = [columns.id_at(station).decode() if station != _NOBODY else None for station in one.tolist()]
        available = None
        if free is not None:
            available = np.bincount(self._places(grid, free), minlength=len(grid))
        lon, lat = (np.bincount(places, axis[stations], len(grid)) for axis in (columns.lon, columns.lat))
        return as_clusters(grid, counts, (lon, lat), available, names)

    def _ask(self, wanted: StationFilter) -> Question:
        search = self._search
        return _query.ask(self._columns, Search(where=Area(box=search.box), filter=wanted, first=0, at=search.at))

    def _places(self, grid: Grid, stations: LongArray) -> LongArray:
        shift = MAX_TILE_ZOOM - grid.zoom
        return grid.places(self._columns.tile_x[stations] >> shift, self._columns.tile_y[stations] >> shift)


async def _seen(narrowed: Narrowed, view: AvailabilityView, search: Search) -> LongArray:
    """Return the stations of which an Evse is as the search wants it now, in order."""
    slots, owner = narrowed.slots, narrowed.owner
    if slots is None or owner is None:
        return narrowed.stations
    seen = np.zeros(int(narrowed.stations.max(initial=-1)) + 1, np.bool_)
    for first in range(0, len(slots), _SEEN_AT_ONCE):
        part = slice(first, first + _SEEN_AT_ONCE)
        seen[_query.see(Narrowed(narrowed.stations, None, slots[part], owner[part]), view, search).stations] = True
        await asyncio.sleep(0)
    return np.flatnonzero(seen)


def as_clusters(
    grid: Grid,
    counts: npt.NDArray[np.int64],
    sums: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    available: npt.NDArray[np.int64] | None = None,
    names: list[str | None] | None = None,
) -> list[StationCluster]:
    """Return the clusters of a grid from what was counted for each of its places; ``sums`` are of lon and of lat."""
    found = []
    for place in np.flatnonzero(counts).tolist():
        count = int(counts[place])
        x, y = grid.tile(place)
        lon, lat = (round(float(axis[place]) / count, CENTER_DECIMALS) for axis in sums)
        found.append(
            StationCluster(
                x=x,
                y=y,
                count=count,
                available=None if available is None else int(available[place]),
                center=Point(lon=lon, lat=lat),
                station_id=None if names is None else names[place],
            )
        )
    return found
