"""Where positions lie along a route."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.model.geo import DISTANCE_DECIMALS, EARTH_RADIUS_M, FloatArray, unit_vectors

LegArray = npt.NDArray[np.int64]

_TIE = 0.002 / EARTH_RADIUS_M
"""Twice the millimetre that distances are rounded to: what is farther than the nearest by more does not tie with it."""


@dataclass(frozen=True, slots=True)
class Stretches:
    """A route cut into parts of equal length: no point of a part is farther than ``reach_m`` from its middle.

    ``middles`` are points of the unit sphere, a row each of x, y and z. Part ``n`` lies on the legs ``first[n]`` to
    ``last[n]``.
    """

    middles: FloatArray
    first: LegArray
    last: LegArray
    reach_m: float

    def positions(self) -> tuple[FloatArray, FloatArray]:
        """Return longitudes and latitudes of the middles, in degrees."""
        x, y, z = self.middles
        return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))


class Route:
    """A line of at least two vertices, and between two of them a leg: the shorter great-circle arc.

    Measured by vectors on the sphere of ``app.model.geo``, to some nanometres: antimeridian and poles are places like
    any other. Points are points of the unit sphere, lengths metres.
    """

    def __init__(self, line: Sequence[tuple[float, float]]) -> None:
        """Prepare a line of (lon, lat) in degrees."""
        lon, lat = np.array([*line, line[-1]], np.float64).T
        vertices = np.stack(unit_vectors(lon, lat))
        # Each vertex begins a leg; that of the last has no length. Such a leg has no direction either.
        self._start = np.ascontiguousarray(vertices[:, :-1])
        step = np.diff(vertices)
        # By the step and not by the other end, so that a short leg has an exact direction.
        aside = _cross(self._start, step)
        size = np.sqrt(_dot(aside, aside))
        self._aside = aside / np.where(size > 0.0, size, 1.0)
        self._ahead = _cross(self._aside, self._start)
        angle = _arc(_dot(step, step))
        self._cosine, self._sine = np.cos(angle), np.sin(angle)
        self._passed_m = np.concatenate([[0.0], np.cumsum(angle[:-1] * EARTH_RADIUS_M)])

    @property
    def length_m(self) -> float:
        """Return how long it is."""
        return float(self._passed_m[-1])

    @property
    def mean_leg_m(self) -> float:
        """Return how long a leg is on average."""
        return self.length_m / max(1, len(self._passed_m) - 1)

    def stretches(self, at_most_m: float, count: int | None = None) -> Stretches:
        """Cut the route into parts of at most so many metres, but into no more than ``count``."""
        needed = max(1, math.ceil(self.length_m / at_most_m))
        edges = np.linspace(0.0, self.length_m, (needed if count is None else min(needed, count)) + 1)
        middles = (edges[:-1] + edges[1:]) / 2
        leg = self._leg_at(middles)
        angle = (middles - self._passed_m[leg]) / EARTH_RADIUS_M
        points = self._start[:, leg] * np.cos(angle) + self._ahead[:, leg] * np.sin(angle)
        return Stretches(points, self._leg_at(edges[:-1]), self._leg_at(edges[1:]), float(edges[1]) / 2)

    def passages(self, points: FloatArray, legs: LegArray, runs: LegArray) -> tuple[FloatArray, FloatArray]:
        """Return how far off a point is and how far along it is passed: nearest, and there first.

        ``points`` and ``legs`` are pairs, ``runs`` the places at which those of the next point begin. A point's legs
        must be all that may be the nearest one, and that behind it. Both figures are rounded to the millimetre, as
        distances are everywhere. Meant for points that are not farther off than some hundred kilometres.
        """
        # `take` is several times faster than an index over two axes.
        away = points - self._start.take(legs, axis=1)
        squared = _dot(away, away)
        ahead, upwards = _dot(away, self._ahead.take(legs, axis=1)), 1.0 - squared / 2.0
        # Where the end of a leg is the nearest point of it, the leg behind begins there.
        beside = np.flatnonzero((ahead > 0.0) & (ahead * self._cosine.take(legs) < upwards * self._sine.take(legs)))
        sine = _dot(away.take(beside, axis=1), self._aside.take(legs[beside], axis=1)) ** 2
        squared[beside] = sine + sine * sine / 4.0  # the chord of that arc
        limit = (np.sqrt(np.minimum.reduceat(squared, runs)) + _TIE) ** 2
        counts = np.diff(runs, append=len(legs))
        near = np.flatnonzero(squared <= np.repeat(limit, counts))
        off = np.round(_arc(squared[near]) * EARTH_RADIUS_M, DISTANCE_DECIMALS)
        is_beside = np.zeros(len(legs), np.bool_)
        is_beside[beside] = True
        turned = np.where(is_beside[near], np.arctan2(ahead[near], upwards[near]), 0.0)
        along = np.round(self._passed_m[legs[near]] + turned * EARTH_RADIUS_M, DISTANCE_DECIMALS)
        runs = near.searchsorted(runs)
        nearest = np.minimum.reduceat(off, runs)
        along[off > np.repeat(nearest, np.diff(runs, append=len(near)))] = np.inf
        return nearest, np.minimum.reduceat(along, runs)

    def _leg_at(self, along_m: FloatArray) -> LegArray:
        return self._passed_m.searchsorted(along_m, side="right") - 1


def _dot(one: FloatArray, other: FloatArray) -> FloatArray:
    product: FloatArray = one[0] * other[0] + one[1] * other[1] + one[2] * other[2]
    return product


def _cross(one: FloatArray, other: FloatArray) -> FloatArray:
    (ax, ay, az), (bx, by, bz) = one, other
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def _arc(squared_chord: FloatArray) -> FloatArray:
    arc: FloatArray = 2.0 * np.arcsin(np.minimum(np.sqrt(squared_chord) / 2.0, 1.0))
    return arc
