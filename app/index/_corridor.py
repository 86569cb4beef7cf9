"""Corridors along a route: which ranges of stations may lie in one, and which stations do.

The route is cut into stretches. Only stations in the cells about a stretch are looked at, and of the stretches about a
station only those are measured that may hold its nearest passage.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from app.index._columns import CELL_ROWS, CELLS_PER_DEGREE, CELLS_PER_ROW, Columns, LongArray
from app.model.geo import EARTH_RADIUS_M, FloatArray
from app.model.route import Route, Stretches
from app.model.search import BoolArray, Corridor

_SHORTEST_M: Final = 500.0
_SHORT_M: Final = 2_000.0
_LONGEST_M: Final = 5_000.0
_LEGS: Final = 16
_MARGIN_DEGREES: Final = 1e-6
_SLACK_M: Final = 1.0
"""More than a chord of the lengths here is shorter than its arc."""

_AT_ONCE: Final = 200_000
"""How many pairs of a station and a piece of the route are in memory at once, about a hundred bytes each."""

Pairs = tuple[LongArray, LongArray]


class Trail:
    """A corridor over a snapshot: ``spans`` are the ranges that hold every station in it."""

    def __init__(self, columns: Columns, corridor: Corridor) -> None:
        """Look up which cells are about the route."""
        self._columns = columns
        self._route = Route(corridor.line)
        self._width_m = corridor.width_m
        self._stretches = self._route.stretches(_stretch_m(self._route, corridor.width_m))
        stretch, cells = _cells_about(self._stretches, corridor.width_m)
        united = _united(cells)
        spans = columns.cell.searchsorted(united)
        self.spans: list[tuple[int, int]] = [(first, end) for first, end in spans.tolist() if first < end]
        # What is about a stretch, as so many places in the spans from one on.
        first, end = columns.cell.searchsorted(cells).T
        some = np.flatnonzero(first < end)
        first, end, self._stretch = first[some], end[some], stretch[some]
        within = spans[:, 0].searchsorted(first, side="right") - 1
        lengths = spans[:, 1] - spans[:, 0]
        self._place = (np.cumsum(lengths) - lengths - spans[:, 0])[within] + first
        self._count = end - first

    def cost(self) -> int:
        """Return how many pairs of a station and a stretch have to be looked at."""
        return int(self._count.sum())

    def inside(self) -> tuple[BoolArray, FloatArray]:
        """Tell for the stations of the spans which are inside, and where: a row of metres along and metres off."""
        columns = self._columns
        axes = (columns.x, columns.y, columns.z)
        stations = np.stack([np.concatenate([axis[first:end] for first, end in self.spans]) for axis in axes])
        count = stations.shape[1]
        inside, measure = np.zeros(count, np.bool_), np.full((count, 2), np.inf)
        found = [self._passed(stations, *pairs) for pairs in self._near(stations)]
        if found:
            places, along, off = (np.concatenate(part) for part in zip(*found, strict=True))
            order = np.lexsort((along, off, places))
            nearest = order[np.flatnonzero(np.diff(places[order], prepend=-1))]
            places = places[nearest]
            inside[places] = True
            measure[places, 0], measure[places, 1] = along[nearest], off[nearest]
        return inside, measure

    def _near(self, stations: FloatArray) -> Iterator[Pairs]:
        """Pair stations, by their places in the spans, with the stretches that may be nearest to them."""
        middles, half_m = self._stretches.middles, self._stretches.reach_m
        nearest = np.full(stations.shape[1], self._width_m)
        kept = []
        for part in _parts(self._count):
            of, step = _expanded(self._count[part])
            place, stretch = self._place[part][of] + step, self._stretch[part][of]
            # `take` is several times faster than an index over two axes.
            away = stations.take(place, axis=1) - middles.take(stretch, axis=1)
            away *= away
            middle_m = np.sqrt(away[0] + away[1] + away[2]) * EARTH_RADIUS_M
            np.minimum.at(nearest, place, middle_m + _SLACK_M)  # the middle is a point of the route
            at_least = middle_m - (half_m + _SLACK_M)
            left = np.flatnonzero(at_least <= nearest[place])
            kept.append((place[left], stretch[left], at_least[left]))
        for place, stretch, at_least in kept:
            left = np.flatnonzero(at_least <= nearest[place])
            if len(left):
                yield place[left], stretch[left]

    def _passed(
        self, stations: FloatArray, places: LongArray, stretch: LongArray
    ) -> tuple[LongArray, FloatArray, FloatArray]:
        """Return the nearest passage on a stretch of each station that has one in the corridor."""
        first = self._stretches.first[stretch]
        legs = self._stretches.last[stretch] - first + 1
        off, along = np.empty(len(places)), np.empty(len(places))
        for part in _parts(legs):
            of, step = _expanded(legs[part])
            points = stations.take(places[part][of], axis=1)
            off[part], along[part] = self._route.passages(points, first[part][of] + step, np.flatnonzero(step == 0))
        inside = off <= self._width_m
        return places[inside], along[inside], off[inside]


def _stretch_m(route: Route, width_m: float) -> float:
    """Return how long stretches are: about as the corridor is wide, but shorter where they had many legs to measure."""
    return min(max(_LEGS * route.mean_leg_m, _SHORTEST_M), max(width_m, _SHORT_M), _LONGEST_M)


def _cells_about(stretches: Stretches, width_m: float) -> tuple[LongArray, npt.NDArray[np.int32]]:
    """Return ranges of cells that hold everything about the stretches: of which stretch, and first and end."""
    reach = np.degrees((stretches.reach_m + width_m) / EARTH_RADIUS_M) + _MARGIN_DEGREES
    lon, lat = stretches.positions()
    round_a_pole = np.abs(lat) + reach >= 90.0
    across = np.sin(np.radians(reach)) / np.cos(np.radians(np.where(round_a_pole, 0.0, lat)))
    half = np.degrees(np.arcsin(np.minimum(across, 1.0))) + _MARGIN_DEGREES
    low, high = (np.clip(_cells(edge + 90.0), 0, CELL_ROWS - 1) for edge in (lat - reach, lat + reach))
    west = np.where(round_a_pole, 0, _cells(lon - half + 180.0))
    east = np.where(round_a_pole, CELLS_PER_ROW - 1, _cells(lon + half + 180.0))
    stretch, step = _expanded(high - low + 1)
    row = (low[stretch] + step) * CELLS_PER_ROW
    found = []
    for turn in (-CELLS_PER_ROW, 0, CELLS_PER_ROW):
        first, last = np.maximum(west + turn, 0)[stretch], np.minimum(east + turn, CELLS_PER_ROW - 1)[stretch]
        some = np.flatnonzero(first <= last)
        found.append((stretch[some], np.column_stack([row[some] + first[some], row[some] + last[some] + 1])))
    of, bounds = (np.concatenate(part) for part in zip(*found, strict=True))
    return of, bounds.astype(np.int32)


def _cells(degrees: FloatArray) -> LongArray:
    return np.floor(degrees * CELLS_PER_DEGREE).astype(np.int64)


def _united(bounds: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the same cells as ranges that neither touch nor overlap, in order."""
    first, end = bounds[np.argsort(bounds[:, 0])].T
    reached = np.maximum.accumulate(end)
    begins = np.flatnonzero(np.concatenate([[True], first[1:] > reached[:-1]]))
    return np.column_stack([first[begins], reached[np.append(begins[1:], len(first)) - 1]])


def _expanded(counts: LongArray) -> Pairs:
    """Return for each of so many things what it is one of, and which of those: [2, 1] gives [0, 0, 1], [0, 1, 0]."""
    of = np.repeat(np.arange(len(counts)), counts)
    return of, np.arange(len(of)) - (np.cumsum(counts) - counts)[of]


def _parts(counts: LongArray) -> Iterator[slice]:
    """Cut a list so that each part counts no more than can be in memory at once, or is one item."""
    before, first = np.cumsum(counts), 0
    while first < len(counts):
        start = int(before[first - 1]) if first else 0
        end = max(int(before.searchsorted(start + _AT_ONCE, side="right")), first + 1)
        yield slice(first, end)
        first = end
