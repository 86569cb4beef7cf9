"""Stations counted by the tiles of a web map."""

import math
from typing import Final, Self

import msgspec
import numpy as np
import numpy.typing as npt

from app.model.agreement import NOTHING_WITHHELD, Withheld
from app.model.clock import Instant
from app.model.geo import BoundingBox, FloatArray, Point
from app.model.search import StationFilter

MAX_TILE_ZOOM: Final = 20
MAX_TILES: Final = 4_096
CENTER_DECIMALS: Final = 7

TileArray = npt.NDArray[np.int32]

_FINEST: Final = 1 << MAX_TILE_ZOOM
_MERCATOR_LAT: Final = 85.0511287798066


class ClusterSearch(msgspec.Struct, frozen=True, kw_only=True):
    """The stations of a box (edges included), counted by tiles of a zoom of 0…MAX_TILE_ZOOM, evaluated at ``at``.

    Tiles are those of web maps (XYZ, spherical Mercator over WGS-84); what lies beyond them counts to the outermost
    row. ``wants_available`` asks as well how many of the stations could be used now, those aside that are ``dark`` to
    the caller; what is hidden from it is among these.
    """

    box: BoundingBox
    zoom: int
    filter: StationFilter
    at: Instant
    wants_available: bool = True
    dark: Withheld = NOTHING_WITHHELD


class StationCluster(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The stations of a search in one tile.

    ``available`` is how many of them the same search would find with ``available_now``, dark ones aside; None where
    that was not asked for or not counted. ``center`` is the mean of their longitudes and latitudes, to seven decimals.
    ``station_id`` is the one station where there is one; None where it was not looked up.
    """

    x: int
    y: int
    count: int
    available: int | None
    center: Point
    station_id: str | None


class Grid(msgspec.Struct, frozen=True, kw_only=True):
    """The tiles that a box touches, row by row from its north-western corner."""

    zoom: int
    west: int
    north: int
    columns: int
    rows: int

    @classmethod
    def over(cls, box: BoundingBox, zoom: int) -> Self:
        """Return the tiles of a box."""
        west, north = (number >> (MAX_TILE_ZOOM - zoom) for number in tile_of(box.west, box.north))
        east, south = (number >> (MAX_TILE_ZOOM - zoom) for number in tile_of(box.east, box.south))
        columns = (east - west) % (1 << zoom) + 1
        if box.west > box.east and west == east:
            columns = 1 << zoom  # all round the Earth, into the tile where it began
        return cls(zoom=zoom, west=west, north=north, columns=columns, rows=south - north + 1)

    def __len__(self) -> int:
        return self.columns * self.rows

    def places(self, x: npt.NDArray[np.integer], y: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Return the places of tiles of this zoom in the grid."""
        # A position on an edge of the box may be rounded to the other side of it.
        column = np.minimum((x.astype(np.int64) - self.west) & ((1 << self.zoom) - 1), self.columns - 1)
        places: npt.NDArray[np.int64] = np.clip(y.astype(np.int64) - self.north, 0, self.rows - 1)
        places *= self.columns
        places += column
        return places

    def tile(self, place: int) -> tuple[int, int]:
        """Return x and y of the tile at a place."""
        row, column = divmod(place, self.columns)
        return (self.west + column) % (1 << self.zoom), self.north + row


def tile_of(lon: float, lat: float) -> tuple[int, int]:
    """Return x and y of the tile of the greatest zoom that a position is in; shift them right for a smaller zoom."""
    sine = math.sin(math.radians(max(-_MERCATOR_LAT, min(lat, _MERCATOR_LAT))))
    x, y = (lon + 180.0) / 360.0 * _FINEST, (0.5 - math.atanh(sine) / (2 * math.pi)) * _FINEST
    return min(int(x), _FINEST - 1), max(0, min(int(y), _FINEST - 1))


def tiles_of(lon: FloatArray, lat: FloatArray) -> tuple[TileArray, TileArray]:
    """Return the same for many positions; NaN is somewhere."""
    sine = np.sin(np.radians(np.clip(np.nan_to_num(lat), -_MERCATOR_LAT, _MERCATOR_LAT)))
    x, y = (np.nan_to_num(lon) + 180.0) / 360.0 * _FINEST, (0.5 - np.arctanh(sine) / (2 * math.pi)) * _FINEST
    return np.minimum(x, _FINEST - 1).astype(np.int32), np.clip(y, 0, _FINEST - 1).astype(np.int32)
