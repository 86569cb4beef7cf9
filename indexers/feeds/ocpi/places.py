"""Where a location stands: its country by any spelling, and its coordinates, mistakes included."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from app.model.datum import Datum, to_wgs84
from app.model.geo import Point, is_position
from app.model.station import Flag, OriginalPosition
from indexers.feeds.ocpi.values import Notes, Record, find_record, read_number

_ROUNDED_GAP_DEGREES = 0.5
_FAR_DEGREES = 5.0
_WIDE_DEGREES = 40.0
_SAME_PLACE_DEGREES = 0.01
_MOST_SLIP_DEGREES = 0.5


class _Box(NamedTuple):
    west: float
    south: float
    east: float
    north: float

    def gap(self, lon: float, lat: float) -> float:
        """Return how many degrees a position lies outside, on its worse axis; 0 inside."""
        return max(self.west - lon, lon - self.east, self.south - lat, lat - self.north, 0.0)


class _Position(NamedTuple):
    lon: float
    lat: float

    @property
    def is_placeholder(self) -> bool:
        """(0, 0), (1, 1), (-1, 0) and their like, which stand for nothing."""
        return abs(self.lon) <= 1 and abs(self.lat) <= 1 and self.lon.is_integer() and self.lat.is_integer()


class Site(NamedTuple):
    """Where it stands, in WGS-84, and what the party wrote."""

    location: Point | None = None
    original: OriginalPosition | None = None


def _read_table() -> tuple[dict[str, str], dict[str, tuple[_Box, ...]]]:
    codes: dict[str, str] = {}
    boxes: dict[str, tuple[_Box, ...]] = {}
    for line in Path(__file__).with_name("countries.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        spellings, areas, names = line.split(";")
        alpha2, alpha3 = spellings.split()
        for spelling in (alpha2, alpha3, *names.split("|")):
            codes[spelling.strip().casefold()] = alpha2
        boxes[alpha2] = tuple(_Box(*map(float, area.split())) for area in areas.split(",") if area.strip())
    return codes, boxes


_CODES, _BOXES = _read_table()
_ALL_BOXES = tuple(box for boxes in _BOXES.values() for box in boxes)


@lru_cache(maxsize=1_024)
def find_country(text: str) -> str | None:
    """Return ISO 3166-1 alpha-2 of a code or a name, or None for whatever else stands there."""
    return _CODES.get(text.strip().casefold())


def lies_in(country: str, point: Point) -> bool:
    """Tell whether a position may lie in a country; False as well where the country's extent is not known."""
    return any(box.gap(point.lon, point.lat) == 0 for box in _BOXES.get(country, ()))


def locate(
    stated: object, of_evses: list[object], country: str | None, party_country: str | None, datum: Datum, notes: Notes
) -> Site:
    """Return the position of a location.

    ``country`` is what the location says of itself, ``party_country`` what its party says, in alpha-2. Axes are
    swapped back only where one reading alone is possible (COORDINATES_SWAPPED). Without a position of its own a
    location is where its Evses are (COORDINATES_FROM_EVSES). A position outside the stated country is kept and
    COORDINATES_DOUBTFUL.
    """
    position = _read_position(stated, notes)
    original = None if position is None else OriginalPosition(lon=position.lon, lat=position.lat, datum=datum)
    if position is None or position.is_placeholder or position.lon == position.lat:
        position = _from_evses(position, of_evses)
        if position is not None:
            notes.flag(Flag.COORDINATES_FROM_EVSES)
            if original is not None and not _close(position, original):
                notes.flag(Flag.COORDINATES_DOUBTFUL)
    if position is not None:
        position = _in_country(
            position, _BOXES.get(country or party_country or "", ()), notes, sure=country is not None
        )
    if position is None:
        notes.flag(Flag.COORDINATES_MISSING)
        return Site(None, original)
    return Site(to_wgs84(position.lon, position.lat, datum), original)


def _read_position(value: object, notes: Notes) -> _Position | None:
    record: Record | None
    if isinstance(value, str) and value.count(",") == 1:
        lat_text, lon_text = value.split(",")
        record = {"latitude": lat_text, "longitude": lon_text}
    else:
        record = find_record(value)
    if record is None:
        return None
    lat = read_number(record.get("latitude", record.get("lat")), notes)
    lon = read_number(record.get("longitude", record.get("lon", record.get("lng"))), notes)
    return None if lat is None or lon is None else _Position(lon, lat)


def _from_evses(stated: _Position | None, of_evses: list[object]) -> _Position | None:
    """Return the Evses' position. A location that repeats one number has at least that one right: they must agree."""
    positions = [
        position
        for position in (_read_position(value, Notes()) for value in of_evses)
        if position is not None
        and not position.is_placeholder
        and position.lon != position.lat
        and is_position(position.lon, position.lat)
    ]
    if not positions:
        return None
    if stated is None or stated.is_placeholder:
        return positions[0]
    nearest = min(positions, key=lambda position: _slip(position, stated.lat))
    return nearest if _slip(nearest, stated.lat) <= _MOST_SLIP_DEGREES else None


def _slip(position: _Position, axis: float) -> float:
    return min(abs(position.lat - axis), abs(position.lon - axis))


def _close(position: _Position, original: OriginalPosition) -> bool:
    repeated = original.lat == original.lon and not _Position(original.lon, original.lat).is_placeholder
    return not repeated or _slip(position, original.lat) <= _SAME_PLACE_DEGREES


def _in_country(position: _Position, boxes: tuple[_Box, ...], notes: Notes, *, sure: bool) -> _Position | None:
    lon, lat = position
    swapped = _Position(lat, lon)
    if not is_position(lon, lat):
        if is_position(lat, lon) and (not boxes or boxes[0].gap(lat, lon) == 0):
            notes.flag(Flag.COORDINATES_SWAPPED)
            return swapped
        notes.flag(Flag.VALUE_UNREADABLE)
        return None
    gap = min((box.gap(lon, lat) for box in boxes), default=0.0)
    if gap == 0:
        return position
    if 0.0 in position:  # one axis is filled in by nobody
        return None
    if boxes[0].gap(lat, lon) == 0 and is_position(lat, lon) and _is_impossible(position, boxes[0], gap):
        notes.flag(Flag.COORDINATES_SWAPPED)
        return swapped
    if sure and gap > _ROUNDED_GAP_DEGREES:
        notes.flag(Flag.COORDINATES_DOUBTFUL)
    return position


def _is_impossible(position: _Position, country: _Box, gap: float) -> bool:
    """Tell whether a position cannot be meant as it stands: far from its country, or in none at all.

    In a country as wide as a continent nearly any pair of numbers falls, swapped or not: there only a position in no
    country at all is impossible. A neighbour's town is possible.
    """
    if country.east - country.west <= _WIDE_DEGREES and gap > _FAR_DEGREES:
        return True
    return all(box.gap(position.lon, position.lat) > 0 for box in _ALL_BOXES)
