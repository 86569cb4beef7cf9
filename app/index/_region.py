"""Circles, boxes and polygons on the sphere: which ranges of stations may lie in them, and which stations do."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import shapely

from app.errors import InvalidInputError
from app.index._columns import CELLS_PER_ROW, Columns, LongArray, cell_column, cell_row
from app.model.geo import EARTH_RADIUS_M, BoundingBox, FloatArray, Point, is_position
from app.model.search import Area, BoolArray

Span = tuple[int, int]
"""A range of stations, the end excluded."""

Cells = tuple[int, int, int, int]
"""A rectangle of cells: first and last row, first and last column, all included."""

_MARGIN_DEGREES: Final = 1e-6
"""Ten centimetres: more than all rounding in the bounds of a circle."""

_EXACT_ABOVE_M: Final = 1_000_000.0
_SLACK_M: Final = 0.002
"""More than the millimetre that distances are rounded to and the error of a chord together."""

SLACK_CHORD: Final = _SLACK_M / EARTH_RADIUS_M
"""No less than what the slack makes of a chord on the unit sphere."""

_TURNS: Final = (-360.0, 0.0, 360.0)
_MIN_RING_POINTS: Final = 4


class Ruler:
    """Measures cheaply how far stations are from a centre, in a unit of its own that grows with the distance.

    Up to a thousand kilometres this is the squared chord on the unit sphere, at a twentieth of the cost of
    ``distance_m`` and within a micrometre of it; beyond, chords say too little about arcs, and it is the distance.
    ``below`` and ``above`` bound what may be on the other side, so that only those need ``distance_m`` itself.
    """

    def __init__(self, center: Point, reach_m: float) -> None:
        """Measure from a centre up to ``reach_m``."""
        self.center = center
        self.exact = not is_short(reach_m)
        longitude, latitude = math.radians(center.lon), math.radians(center.lat)
        across = math.cos(latitude)
        self._x, self._y, self._z = across * math.cos(longitude), across * math.sin(longitude), math.sin(latitude)

    @property
    def origin(self) -> tuple[float, float, float]:
        """Return the centre as a point of the unit sphere."""
        return self._x, self._y, self._z

    def chords(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the squared chords to points of the unit sphere; the arrays are overwritten."""
        for axis, origin in ((x, self._x), (y, self._y), (z, self._z)):
            np.subtract(axis, origin, out=axis)
            np.multiply(axis, axis, out=axis)
        x += y
        x += z
        return x

    def below(self, distance_m: float) -> float:
        """Return a measure that only stations surely nearer than the distance keep within."""
        return self._measure(distance_m - _SLACK_M)

    def above(self, distance_m: float) -> float:
        """Return a measure that only stations surely farther than the distance exceed."""
        return self._measure(distance_m + _SLACK_M)

    def distance_of(self, measure: float) -> float:
        """Return the distance that a measure stands for."""
        return measure if self.exact else 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(measure) / 2))

    def _measure(self, distance_m: float) -> float:
        if self.exact:
            return distance_m
        if distance_m < 0:
            return -1.0
        return float((2 * math.sin(min(distance_m / (2 * EARTH_RADIUS_M), math.pi / 2))) ** 2)


def is_short(radius_m: float) -> bool:
    """Tell whether a ruler of this reach measures chords."""
    return radius_m <= _EXACT_ABOVE_M


def circle_cells(center: Point, radius_m: float) -> list[Cells]:
    """Return the cells that hold every station within the radius, poles and antimeridian minded."""
    if not radius_m >= 0:
        return []
    reach = min(math.degrees(radius_m / EARTH_RADIUS_M) + _MARGIN_DEGREES, 180.0)
    south, north = center.lat - reach, center.lat + reach
    if south <= -90.0 or north >= 90.0:
        return _cells(south, north, ((-180.0, 180.0),))
    across = math.sin(math.radians(reach)) / math.cos(math.radians(center.lat))
    half = math.degrees(math.asin(min(1.0, across))) + _MARGIN_DEGREES
    return _cells(south, north, _longitudes(center.lon - half, center.lon + half))


def box_cells(box: BoundingBox) -> list[Cells]:
    """Return the cells that hold every station in the box."""
    crossing = ((-180.0, box.east), (box.west, 180.0))
    return _cells(box.south, box.north, crossing if box.west > box.east else ((box.west, box.east),))


def circle_spans(columns: Columns, center: Point, radius_m: float) -> list[Span]:
    """Return the ranges that hold every station within the radius."""
    return _spans(columns, circle_cells(center, radius_m))


def box_spans(columns: Columns, box: BoundingBox) -> list[Span]:
    """Return the ranges that hold every station in the box."""
    return _spans(columns, box_cells(box))


def in_box(box: BoundingBox, lon: FloatArray, lat: FloatArray) -> BoolArray:
    """Tell which positions are in the box, edges included."""
    inside: BoolArray = (lat >= box.south) & (lat <= box.north)
    inside &= ((lon >= box.west) | (lon <= box.east)) if box.west > box.east else (lon >= box.west) & (lon <= box.east)
    return inside


class Region:
    """Polygons whose edges are straight in degrees, as GeoJSON has them; a point on an edge is inside.

    Rings are unrolled over the antimeridian. A ring that goes round a pole is closed over the pole of its hemisphere.
    Rings that cross themselves are read by the even-odd rule.
    """

    def __init__(self, polygons: Area) -> None:
        """Prepare the polygons. Raises InvalidInputError for a ring that encloses nothing for want of points."""
        self._polygons = [
            (_prepare(rings[0] if rings else ()), [_prepare(hole) for hole in rings[1:]]) for rings in polygons.polygons
        ]

    def spans(self, columns: Columns) -> list[Span]:
        """Return the ranges that hold every station in the polygons."""
        spans: list[Span] = []
        for box in self.boxes():
            spans.extend(box_spans(columns, box))
        return _united(spans)

    def boxes(self) -> list[BoundingBox]:
        """Return boxes, none over the antimeridian, that hold every station in the polygons."""
        boxes: list[BoundingBox] = []
        for outer, _ in self._polygons:
            west, south, east, north = _bounds(outer)
            # Unrolling rounds: without a margin a station on an edge may fall into the cell beside.
            boxes += [
                BoundingBox(west=low, south=south, east=high, north=north)
                for low, high in _longitudes(west - _MARGIN_DEGREES, east + _MARGIN_DEGREES)
            ]
        return boxes

    def contains(self, lon: FloatArray, lat: FloatArray) -> BoolArray:
        """Tell which positions are in one of the polygons."""
        inside = np.zeros(len(lon), np.bool_)
        for outer, holes in self._polygons:
            left = np.flatnonzero(~inside)
            left = left[_anywhere(shapely.intersects_xy, outer, lon[left], lat[left])]
            for hole in holes:
                left = left[~_anywhere(shapely.contains_xy, hole, lon[left], lat[left])]
            inside[left] = True
        return inside


def _anywhere(predicate: Any, polygon: Any, lon: FloatArray, lat: FloatArray) -> BoolArray:
    """Ask for each position and for its images whole turns east and west."""
    west, south, east, north = _bounds(polygon)
    found = np.zeros(len(lon), np.bool_)
    for turn in range(math.ceil((west - 180.0) / 360.0), math.floor((east + 180.0) / 360.0) + 1):
        image = lon + 360.0 * turn
        near = np.flatnonzero((image >= west) & (image <= east) & (lat >= south) & (lat <= north))
        found[near] |= predicate(polygon, image[near], lat[near])
    return found


def _bounds(polygon: Any) -> tuple[float, float, float, float]:
    """Return west, south, east and north."""
    west, south, east, north = (float(edge) for edge in shapely.bounds(polygon))
    return west, south, east, north


def _prepare(ring: Sequence[tuple[float, float]]) -> Any:
    points = list(ring)
    if points and points[0] != points[-1]:
        points.append(points[0])
    if len(points) < _MIN_RING_POINTS:
        raise InvalidInputError("polygons", "a ring needs at least three different points")
    if not all(is_position(lon, lat) for lon, lat in points):
        raise InvalidInputError("polygons", "a ring holds a point that is no position")
    unrolled, turn = [points[0]], 0.0
    for (before, _), (lon, lat) in pairwise(points):
        if lon - before > 180.0:
            turn -= 360.0
        elif lon - before < -180.0:
            turn += 360.0
        unrolled.append((lon + turn, lat))
    if turn:
        pole = math.copysign(90.0, sum(lat for _, lat in points))
        unrolled += [(unrolled[-1][0], pole), (unrolled[0][0], pole), unrolled[0]]
    polygon = shapely.Polygon(unrolled)
    shapely.prepare(polygon)
    return polygon


def _longitudes(west: float, east: float) -> tuple[tuple[float, float], ...]:
    """Bring a range of longitudes, which may leave -180…180, back into it as one range or two."""
    if east - west >= 360.0:
        return ((-180.0, 180.0),)
    if west > -180.0 and east < 180.0:
        return ((west, east),) if west <= east else ()
    ranges = ((max(west + turn, -180.0), min(east + turn, 180.0)) for turn in _TURNS)
    return tuple((low, high) for low, high in ranges if low <= high)


def _cells(south: float, north: float, longitudes: Iterable[tuple[float, float]]) -> list[Cells]:
    south, north = max(south, -90.0), min(north, 90.0)
    if not south <= north:
        return []
    low, high = cell_row(south), cell_row(north)
    return [(low, high, cell_column(max(west, -180.0)), cell_column(min(east, 180.0))) for west, east in longitudes]


def _spans(columns: Columns, cells: Iterable[Cells]) -> list[Span]:
    spans: list[Span] = []
    for low, high, first, last in cells:
        if first == 0 and last == CELLS_PER_ROW - 1:
            bounds = np.array([low * CELLS_PER_ROW, (high + 1) * CELLS_PER_ROW], np.int32)
        else:
            starts = np.arange(low * CELLS_PER_ROW, (high + 1) * CELLS_PER_ROW, CELLS_PER_ROW, dtype=np.int32)
            bounds = np.empty(2 * len(starts), np.int32)
            np.add(starts, first, out=bounds[::2])
            np.add(starts, last + 1, out=bounds[1::2])
        edges: LongArray = columns.cell.searchsorted(bounds).reshape(-1, 2)
        spans.extend((first, end) for first, end in edges[edges[:, 0] < edges[:, 1]].tolist())
    return _united(spans)


def _united(spans: Iterable[Span]) -> list[Span]:
    """Return the same stations as ranges that neither touch nor overlap, in order."""
    united: list[Span] = []
    for first, end in sorted(spans):
        if united and first <= united[-1][1]:
            united[-1] = (united[-1][0], max(end, united[-1][1]))
        else:
            united.append((first, end))
    return united
