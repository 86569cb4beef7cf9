"""Geometry in and out: positions, boxes, polygons and routes, each in the datum that the caller names."""

import math
from collections.abc import Sequence

import shapely
import strawberry

from app.errors import InvalidInputError
from app.model import geo
from app.model.datum import Datum, from_wgs84, to_wgs84
from app.model.geo import is_position
from app.model.route import Route
from app.model.search import MAX_POLYGON_VERTICES, MAX_ROUTE_M, MAX_ROUTE_VERTICES
from app.model.station import OriginalPosition
from schema.scalars import api_enum

Pair = tuple[float, float]
Ring = tuple[Pair, ...]
Rings = tuple[Ring, ...]

_CLOSED_RING = 4
_SHORTEST_LINE = 2
_KM = 1_000.0
_TURN = 360.0
_HALF_TURN = 180.0

api_enum(
    Datum,
    "Datum",
    "What degrees are measured against. Outside China the datums are one.",
    {
        "WGS84": "World Geodetic System 1984: GPS, and every map outside China.",
        "GCJ02": "The Chinese surveying datum: AMap, Tencent and other maps of China; up to 700 m from WGS84.",
        "BD09": "Baidu Maps: GCJ02, shifted once more.",
    },
)


@strawberry.input(
    name="PositionInput", description="A position in degrees, in the datum that the field's `datum` names."
)
class PositionInput:
    """A position that a caller states."""

    lon: float = strawberry.field(description="Longitude in degrees, -180 to 180.")
    lat: float = strawberry.field(description="Latitude in degrees, -90 to 90.")


@strawberry.input(
    name="BoundingBoxInput",
    description=(
        "A box in degrees, edges included, in the datum that the field's `datum` names; its corners are converted."
    ),
)
class BoundingBoxInput:
    """A box that a caller states."""

    west: float = strawberry.field(
        description="Longitude of the western edge, -180 to 180. Greater than `east`: the box crosses the antimeridian."
    )
    south: float = strawberry.field(description="Latitude of the southern edge, -90 to 90.")
    east: float = strawberry.field(description="Longitude of the eastern edge, -180 to 180.")
    north: float = strawberry.field(description="Latitude of the northern edge, -90 to 90, not below `south`.")


@strawberry.type(description="A position in degrees.")
class Position:
    """A position in the datum that was asked for."""

    lon: float = strawberry.field(description="Longitude in degrees, in the datum that was asked for.")
    lat: float = strawberry.field(description="Latitude in degrees, in the datum that was asked for.")


@strawberry.type(description="A position exactly as the source stated it, wrong values included.")
class StatedPosition:
    """What the source wrote."""

    lon: float = strawberry.field(description="What the source gave as longitude.")
    lat: float = strawberry.field(description="What the source gave as latitude.")
    datum: Datum = strawberry.field(description="The datum that the source's protocol or profile prescribes.")

    @classmethod
    def of(cls, position: OriginalPosition | None) -> "StatedPosition | None":
        """Show what the source stated."""
        return None if position is None else cls(lon=position.lon, lat=position.lat, datum=position.datum)


def shown_in(point: geo.Point | None, datum: Datum) -> Position | None:
    """Return a position of ours in a datum."""
    if point is None:
        return None
    lon, lat = from_wgs84(point, datum)
    return Position(lon=lon, lat=lat)


def read_position(field: str, lon: float, lat: float, datum: Datum) -> geo.Point:
    """Return the position in WGS-84. Raises InvalidInputError that names ``field.lon`` or ``field.lat``."""
    _check_degrees(f"{field}.lon", lon, _HALF_TURN)
    _check_degrees(f"{field}.lat", lat, _HALF_TURN / 2)
    point = to_wgs84(lon, lat, datum)
    if not is_position(point.lon, point.lat):
        raise InvalidInputError(field, f"{lon}, {lat} in {datum.value} is no position on Earth")
    return point


def read_box(box: BoundingBoxInput, datum: Datum) -> geo.BoundingBox:
    """Return the box in WGS-84. Raises InvalidInputError that names the edge."""
    south_west = read_position("box", box.west, box.south, datum)
    north_east = read_position("box", box.east, box.north, datum)
    if box.south > box.north:
        raise InvalidInputError("box.south", f"{box.south} lies north of north, {box.north}")
    west, east = south_west.lon, north_east.lon
    if (west > east) != (box.west > box.east):
        # Corners are moved by different amounts: a narrow box must not become one round the Earth, or the reverse.
        west, east = east, west
    return geo.BoundingBox(
        west=west,
        south=min(south_west.lat, north_east.lat),
        east=east,
        north=max(south_west.lat, north_east.lat),
    )


def read_polygons(geometry: object, datum: Datum) -> tuple[Rings, ...]:
    """Return the polygons of a GeoJSON geometry in WGS-84: per polygon its outer ring, then its holes.

    Raises InvalidInputError that names the place, unless it is a Polygon or MultiPolygon of closed rings within the
    limits that do not cross themselves. A third coordinate (height) is ignored.
    """
    kind, coordinates = _read_geometry("polygon", geometry)
    if kind not in {"Polygon", "MultiPolygon"}:
        raise InvalidInputError("polygon.type", "only Polygon and MultiPolygon are areas")
    place = "polygon.coordinates"
    parts = [coordinates] if kind == "Polygon" else _list(place, coordinates)
    if _count_vertices(parts) > MAX_POLYGON_VERTICES:
        raise InvalidInputError(place, f"more than {MAX_POLYGON_VERTICES} vertices; simplify the outline")
    if not parts:
        raise InvalidInputError(place, "there is no polygon in it")
    return tuple(
        _read_polygon(place if kind == "Polygon" else f"{place}[{number}]", part, datum)
        for number, part in enumerate(parts)
    )


def read_route(geometry: object, datum: Datum) -> Ring:
    """Return the vertices of a GeoJSON LineString in WGS-84.

    Raises InvalidInputError that names the place, unless it is a line within the limits. A third coordinate (height) is
    ignored.
    """
    kind, coordinates = _read_geometry("route", geometry)
    if kind != "LineString":
        raise InvalidInputError("route.type", "only a LineString is a route")
    place = "route.coordinates"
    positions = _list(place, coordinates)
    if not _SHORTEST_LINE <= len(positions) <= MAX_ROUTE_VERTICES:
        problem = f"{len(positions)} vertices: a route has {_SHORTEST_LINE} to {MAX_ROUTE_VERTICES}; simplify the line"
        raise InvalidInputError(place, problem)
    line = _in_wgs84(place, _read_pairs(place, positions), datum)
    length_m = Route(line).length_m
    if length_m > MAX_ROUTE_M:
        problem = f"{length_m / _KM:.0f} km are more than {MAX_ROUTE_M / _KM:.0f}; ask for a part of the route"
        raise InvalidInputError(place, problem)
    return line


def _read_geometry(field: str, geometry: object) -> tuple[object, object]:
    """Return the type and the coordinates of a GeoJSON geometry, not yet checked."""
    if not isinstance(geometry, dict):
        raise InvalidInputError(field, "a GeoJSON geometry is an object")
    if unknown := set(geometry) - {"type", "coordinates", "bbox"}:
        raise InvalidInputError(field, f"unknown members: {', '.join(sorted(map(str, unknown)))[:100]}")
    kind = geometry.get("type")
    return kind if isinstance(kind, str) else None, geometry.get("coordinates")


def _read_polygon(place: str, coordinates: object, datum: Datum) -> Rings:
    rings = tuple(
        _read_ring(f"{place}[{number}]", ring, datum) for number, ring in enumerate(_list(place, coordinates))
    )
    if not rings:
        raise InvalidInputError(place, "a polygon has at least an outer ring")
    outer = _unwrap(place, rings[0])
    middle = (min(lon for lon, _ in outer) + max(lon for lon, _ in outer)) / 2
    holes = [_near(middle, _unwrap(place, ring)) for ring in rings[1:]]
    shape = shapely.Polygon(outer, holes)
    if not shape.is_valid:
        raise InvalidInputError(place, f"not a valid polygon: {shapely.is_valid_reason(shape)[:100]}")
    return rings


def _read_ring(place: str, positions: object, datum: Datum) -> Ring:
    stated = _read_pairs(place, _list(place, positions))
    if len(stated) < _CLOSED_RING or stated[0] != stated[-1]:
        raise InvalidInputError(place, "a ring has at least four positions, the last of them equal to the first")
    return _in_wgs84(place, stated, datum)


def _read_pairs(place: str, positions: Sequence[object]) -> list[Pair]:
    return [_read_pair(f"{place}[{number}]", position) for number, position in enumerate(positions)]


def _in_wgs84(place: str, stated: Sequence[Pair], datum: Datum) -> Ring:
    points = [read_position(f"{place}[{number}]", lon, lat, datum) for number, (lon, lat) in enumerate(stated)]
    return tuple((point.lon, point.lat) for point in points)


def _read_pair(place: str, position: object) -> Pair:
    match position:
        case [int() | float() as lon, int() | float() as lat] | [
            int() | float() as lon,
            int() | float() as lat,
            int() | float(),
        ] if not isinstance(lon, bool) and not isinstance(lat, bool):
            try:
                return float(lon), float(lat)
            except OverflowError:
                raise InvalidInputError(place, "a number that is no angle") from None
        case _:
            raise InvalidInputError(place, "a position is [longitude, latitude], two numbers")


def _unwrap(place: str, ring: Ring) -> list[Pair]:
    """Lay a ring that crosses the antimeridian out in one plane, each step less than half a turn."""
    laid = [ring[0]]
    for lon, lat in ring[1:]:
        before = laid[-1][0]
        laid.append((lon - _TURN * round((lon - before) / _TURN), lat))
    if abs(laid[0][0] - laid[-1][0]) > _HALF_TURN:
        raise InvalidInputError(place, "a ring round a pole; split it at a meridian")
    return laid


def _near(middle: float, ring: list[Pair]) -> list[Pair]:
    shift = _TURN * round((ring[0][0] - middle) / _TURN)
    return [(lon - shift, lat) for lon, lat in ring]


def _count_vertices(parts: Sequence[object]) -> int:
    return sum(
        len(ring) if isinstance(ring, list) else 1
        for part in parts
        for ring in (part if isinstance(part, list) else [part])
    )


def _list(place: str, value: object) -> list[object]:
    if not isinstance(value, list):
        raise InvalidInputError(place, "a list is expected here")
    return value


def _check_degrees(field: str, degrees: float, limit: float) -> None:
    if not math.isfinite(degrees) or abs(degrees) > limit:
        raise InvalidInputError(field, f"{degrees} is not between {-limit:g} and {limit:g} degrees")
