"""Geodetic datums of Chinese maps: WGS-84, GCJ-02 (state surveying) and BD-09 (Baidu).

The published formulas lie within 0.75 m of the official service; the inverse is iterated to less than a millimetre.
Outside the box to which GCJ-02 applies, the datums are one.
"""

import math
from collections.abc import Callable
from enum import Enum

from app.model.geo import Point

_SEMI_MAJOR_M = 6_378_245.0
_ECCENTRICITY_SQUARED = 0.00669342162296594323
_BAIDU_TURN = math.pi * 3000.0 / 180.0
_INVERSE_STEPS = 4
_WEST, _SOUTH, _EAST, _NORTH = 72.004, 0.8293, 137.8347, 55.8271


class Datum(Enum):
    """What a pair of degrees is measured against."""

    WGS84 = "WGS84"
    GCJ02 = "GCJ02"
    BD09 = "BD09"


def to_wgs84(lon: float, lat: float, datum: Datum) -> Point:
    """Return the position in WGS-84, exact to a millimetre against the forward formula."""
    if datum is Datum.WGS84:
        return Point(lon=lon, lat=lat)
    gcj02 = _inverse(lon, lat, _gcj02_to_bd09) if datum is Datum.BD09 else (lon, lat)
    wgs84 = _inverse(*gcj02, _wgs84_to_gcj02)
    return Point(lon=wgs84[0], lat=wgs84[1]) if _applies(*wgs84) else Point(lon=lon, lat=lat)


def from_wgs84(point: Point, datum: Datum) -> tuple[float, float]:
    """Return (lon, lat) of a WGS-84 position in the datum."""
    lon, lat = point.lon, point.lat
    if datum is Datum.WGS84 or not _applies(lon, lat):
        return lon, lat
    lon, lat = _wgs84_to_gcj02(lon, lat)
    return _gcj02_to_bd09(lon, lat) if datum is Datum.BD09 else (lon, lat)


def _applies(lon: float, lat: float) -> bool:
    return _WEST <= lon <= _EAST and _SOUTH <= lat <= _NORTH


def _inverse(lon: float, lat: float, forward: Callable[[float, float], tuple[float, float]]) -> tuple[float, float]:
    guess_lon, guess_lat = lon, lat
    for _ in range(_INVERSE_STEPS):
        seen_lon, seen_lat = forward(guess_lon, guess_lat)
        guess_lon += lon - seen_lon
        guess_lat += lat - seen_lat
    return guess_lon, guess_lat


def _wgs84_to_gcj02(lon: float, lat: float) -> tuple[float, float]:
    x, y = lon - 105.0, lat - 35.0
    root = 0.1 * math.sqrt(abs(x))
    wave = (20.0 * math.sin(6.0 * x * math.pi) + 20.0 * math.sin(2.0 * x * math.pi)) * 2.0 / 3.0
    north = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 2.0 * root + wave
    north += (20.0 * math.sin(y * math.pi) + 40.0 * math.sin(y / 3.0 * math.pi)) * 2.0 / 3.0
    north += (160.0 * math.sin(y / 12.0 * math.pi) + 320.0 * math.sin(y * math.pi / 30.0)) * 2.0 / 3.0
    east = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + root + wave
    east += (20.0 * math.sin(x * math.pi) + 40.0 * math.sin(x / 3.0 * math.pi)) * 2.0 / 3.0
    east += (150.0 * math.sin(x / 12.0 * math.pi) + 300.0 * math.sin(x / 30.0 * math.pi)) * 2.0 / 3.0
    latitude = math.radians(lat)
    magic = 1.0 - _ECCENTRICITY_SQUARED * math.sin(latitude) ** 2
    meridian_m = _SEMI_MAJOR_M * (1.0 - _ECCENTRICITY_SQUARED) / (magic * math.sqrt(magic))
    parallel_m = _SEMI_MAJOR_M / math.sqrt(magic) * math.cos(latitude)
    return lon + math.degrees(east / parallel_m), lat + math.degrees(north / meridian_m)


def _gcj02_to_bd09(lon: float, lat: float) -> tuple[float, float]:
    radius = math.hypot(lon, lat) + 0.00002 * math.sin(lat * _BAIDU_TURN)
    angle = math.atan2(lat, lon) + 0.000003 * math.cos(lon * _BAIDU_TURN)
    return radius * math.cos(angle) + 0.0065, radius * math.sin(angle) + 0.006
