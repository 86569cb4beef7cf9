"""Positions and distances on the sphere. Degrees are WGS-84 unless a name says otherwise."""

import math
from typing import overload

import msgspec
import numpy as np
import numpy.typing as npt

EARTH_RADIUS_M = 6_371_008.7714
"""Mean radius of the Earth (IUGG), the one that Elasticsearch's geo_distance uses as well."""

DISTANCE_DECIMALS = 3
_DISTANCE_STEPS = float(10**DISTANCE_DECIMALS)
FloatArray = npt.NDArray[np.float64]


class Point(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A position in degrees, WGS-84. Always written ``Point(lon=…, lat=…)``."""

    lon: float
    lat: float


class BoundingBox(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A box in degrees, edges included. ``west > east`` means that it crosses the antimeridian."""

    west: float
    south: float
    east: float
    north: float


def is_position(lon: float, lat: float) -> bool:
    """Tell whether the numbers are finite and inside -180…180, -90…90."""
    return math.isfinite(lon) and math.isfinite(lat) and -180 <= lon <= 180 and -90 <= lat <= 90


@overload
def distance_m(lon_a: float, lat_a: float, lon_b: float, lat_b: float) -> float: ...
@overload
def distance_m(
    lon_a: float | FloatArray, lat_a: float | FloatArray, lon_b: FloatArray, lat_b: FloatArray
) -> FloatArray: ...
def distance_m(
    lon_a: float | FloatArray, lat_a: float | FloatArray, lon_b: float | FloatArray, lat_b: float | FloatArray
) -> float | FloatArray:
    """Return great-circle distances in metres, rounded to the millimetre (haversine).

    This rounded figure is the one that is compared with radii, ordered by and shown, so that all places agree and
    stations on one point tie exactly.
    """
    if not isinstance(lon_b, np.ndarray):
        assert not isinstance(lon_a, np.ndarray)
        assert not isinstance(lat_a, np.ndarray)
        assert not isinstance(lat_b, np.ndarray)
        return _one_distance_m(lon_a, lat_a, lon_b, lat_b)
    half_lat = np.sin(np.radians(np.subtract(lat_b, lat_a)) / 2)
    half_lon = np.sin(np.radians(np.subtract(lon_b, lon_a)) / 2)
    cosine = np.cos(np.radians(lat_a)) if isinstance(lat_a, np.ndarray) else math.cos(math.radians(lat_a))
    chord = half_lat * half_lat + cosine * np.cos(np.radians(lat_b)) * half_lon * half_lon
    arc = 2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(np.minimum(chord, 1.0)))
    rounded: FloatArray = np.rint(arc * _DISTANCE_STEPS) / _DISTANCE_STEPS
    return rounded


def unit_vectors(lon: FloatArray, lat: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return positions as points of the unit sphere."""
    longitude, latitude = np.radians(lon), np.radians(lat)
    across = np.cos(latitude)
    return across * np.cos(longitude), across * np.sin(longitude), np.sin(latitude)


def _one_distance_m(lon_a: float, lat_a: float, lon_b: float, lat_b: float) -> float:
    """Return the same for one pair; a call of numpy's for a single number costs ten times as much."""
    half_lat = math.sin(math.radians(lat_b - lat_a) / 2)
    half_lon = math.sin(math.radians(lon_b - lon_a) / 2)
    cosines = math.cos(math.radians(lat_a)) * math.cos(math.radians(lat_b))
    chord = min(half_lat * half_lat + cosines * half_lon * half_lon, 1.0)
    return round(2 * EARTH_RADIUS_M * math.asin(math.sqrt(chord)) * _DISTANCE_STEPS) / _DISTANCE_STEPS
