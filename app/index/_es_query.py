"""How a search is put to Elasticsearch. Pure: values in, JSON out.

Elasticsearch keeps positions to about a centimetre, so that it cannot say exactly what lies within a radius or a box.
It is asked for what is ``possible`` (a little more than was asked for, so that nothing is lost) and how much of that is
not ``certain`` (nearly always nothing); exact distances and edges are worked out here, from the doubles.
"""

from collections.abc import Iterable, Sequence
from math import pi
from typing import Any, Final

from app.index._document import document_id, text_tokens
from app.index._packing import MAX_POWER_W
from app.index._region import Region
from app.index._text import split_words
from app.model.agreement import Withheld
from app.model.cluster import MAX_TILE_ZOOM, MAX_TILES
from app.model.geo import EARTH_RADIUS_M, BoundingBox, Point
from app.model.route import Route
from app.model.search import Corridor, Near, StationFilter, Where

Query = dict[str, Any]

MARGIN_M: Final = 0.02
"""Elasticsearch's distances were found up to 9.6 mm off those of the exact positions."""

RANKED_RADIUS_M: Final = 1_000_000.0
"""Up to this far Elasticsearch's order is known to be right but for the margin."""

PAGE_HITS: Final = 10_000
"""The most that one answer of Elasticsearch's may hold."""

MAX_PATTERNS: Final = 1_000
MAX_CIRCLES: Final = 128
"""With so many circles a corridor is covered; each is looked up for itself, which costs more than a few stations."""

_SHORTEST_STRETCH_M: Final = 2_000.0
_POSITION_DECIMALS: Final = 8
"""To a millimetre, which the margin allows for."""
_FAR_MARGIN_M: Final = 1_000.0
_FARTHEST_M: Final = pi * EARTH_RADIUS_M
_MARGIN_DEGREES: Final = 1e-6
_FIRST_SURROGATE, _LAST_SURROGATE = "\ud800", "\udfff"
_BEFORE_SURROGATES: Final = "\ud7ff\U0010ffff"
_NOTHING: Final[Query] = {"match_none": {}}
_LOCATED: Final[Query] = {"exists": {"field": "pos"}}


def possible(where: Where, region: Region | None) -> Query:
    """Return a query that no station there is lost by. ``region`` is that of an area's polygons."""
    if isinstance(where, Near):
        margin_m = MARGIN_M if where.radius_m <= RANKED_RADIUS_M else _FAR_MARGIN_M
        return _within(where.center, where.radius_m + margin_m)
    if isinstance(where, Corridor):
        stretches = Route(where.line).stretches(max(where.width_m, _SHORTEST_STRETCH_M), MAX_CIRCLES)
        radius_m = stretches.reach_m + where.width_m + MARGIN_M
        middles = zip(*(axis.round(_POSITION_DECIMALS).tolist() for axis in stretches.positions()), strict=True)
        return _any_of([_within(Point(lon=lon, lat=lat), radius_m) for lon, lat in middles])
    if region is not None:
        parts = [_any_of([_box(box, _MARGIN_DEGREES) for box in region.boxes()])]
        if where.box is not None:
            parts.append(_box(where.box, _MARGIN_DEGREES))
        return {"bool": {"filter": parts}}
    return _NOTHING if where.box is None else _box(where.box, _MARGIN_DEGREES)


def certain(where: Where) -> Query:
    """Return a query that only stations of a circle or a box are found by; of a corridor no station is certain."""
    if isinstance(where, Near):
        return _within(where.center, where.radius_m - MARGIN_M)
    return _NOTHING if isinstance(where, Corridor) or where.box is None else _box(where.box, -_MARGIN_DEGREES)


def matching(inside: Query, wanted: StationFilter, open_patterns: Sequence[str] | None = None) -> Query:
    """Return the query for stations inside that match as far as their documents tell.

    ``open_patterns`` are the names of the opening patterns that are open now, None where that is not asked for.
    What the live board has to say is left out.
    """
    filters = [inside]
    if wanted.operator_ids:
        filters.append(_terms("operator", wanted.operator_ids))
    if wanted.access:
        filters.append(_terms("access", (access.value for access in wanted.access)))
    kinds = sorted(kind.value for kind in wanted.connector_types)
    if wanted.min_power_w is not None:
        fields = [f"power_w.{kind}" for kind in kinds] or ["max_power_w"]
        filters.append(_any_of([_at_least(field, wanted.min_power_w) for field in fields]))
    elif kinds:
        filters.append(_terms("kinds", kinds))
    if open_patterns is not None:
        filters.append(_terms("hours_key", open_patterns))
    words = split_words(wanted.text) if wanted.text else ()
    filters += [{"match_phrase": {"text": text_tokens(word.decode(errors="surrogatepass"))}} for word in words]
    query: Query = {"filter": filters}
    if wanted.hidden:
        query["must_not"] = _hidden(wanted.hidden)
    return {"bool": query}


def nearest(query: Query, where: Near, size: int, from_m: float | None) -> Query:
    """Return the request for the next stations by distance, from a little before ``from_m``; ties by id."""
    distance = {"pos": _position(where.center), "order": "asc", "unit": "m", "distance_type": "arc"}
    request = _page(query, size, certain(where)) | {"sort": [{"_geo_distance": distance}, {"id": "asc"}]}
    if from_m is not None and from_m > MARGIN_M:
        request["search_after"] = [min(from_m, _FARTHEST_M) - MARGIN_M, ""]
    return request


def by_id(query: Query, where: Where, size: int, after_id: str | None) -> Query:
    """Return the request for the next stations by id."""
    request = _page(query, size, certain(where)) | {"sort": [{"id": "asc"}]}
    if after_id is not None:
        request["search_after"] = [_before(after_id)]
    return request


def sure(query: Query, where: Where) -> Query:
    """Return the query for the stations that are certain."""
    return {"bool": {"filter": [query, certain(where)]}}


def doubtful(query: Query, where: Where) -> Query:
    """Return the query for the stations that are possible and not certain."""
    return {"bool": {"filter": [query], "must_not": [certain(where)]}}


def columns(query: Query, fields: Sequence[str], size: int = PAGE_HITS, after_id: str | None = None) -> Query:
    """Return the request for some columns of all stations that match, by id, a page at a time."""
    request: Query = {
        "query": query,
        "size": size,
        "sort": [{"id": "asc"}],
        "_source": False,
        "stored_fields": "_none_",
        "docvalue_fields": list(fields),
        "track_total_hits": after_id is None,
    }
    if after_id is not None:
        request["search_after"] = [after_id]
    return request


def patterns(query: Query) -> Query:
    """Return the request that counts the stations of each opening pattern."""
    counts = {"terms": {"field": "hours_key", "size": MAX_PATTERNS}}
    return {"query": query, "size": 0, "track_total_hits": False, "aggs": {"patterns": counts}}


def count(query: Query, up_to: int) -> Query:
    """Return the request that counts stations, exactly up to a number."""
    return {"query": query, "size": 0, "track_total_hits": up_to}


def tiles(query: Query, zoom: int) -> Query:
    """Return the request that counts stations by tiles and tells the means of their positions."""
    width = 1 << (MAX_TILE_ZOOM - zoom)
    sources = [{axis: {"histogram": {"field": axis, "interval": width}}} for axis in ("tile_y", "tile_x")]
    means = {axis: {"avg": {"field": axis}} for axis in ("lon", "lat")}
    counts = {"composite": {"size": MAX_TILES, "sources": sources}, "aggs": means}
    return {"query": query, "size": 0, "track_total_hits": False, "aggs": {"tiles": counts}}


def pattern_contents(keys: Sequence[str]) -> Query:
    """Return the request for one station of each of these opening patterns."""
    return {
        "query": _terms("hours_key", keys),
        "size": len(keys),
        "collapse": {"field": "hours_key"},
        "_source": False,
        "docvalue_fields": ["hours_key", "hours"],
        "track_total_hits": False,
    }


def documents(station_ids: Sequence[str]) -> Query:
    """Return the request for whole documents."""
    values = [document_id(station_id) for station_id in station_ids]
    return {"query": {"ids": {"values": values}}, "size": len(values), "track_total_hits": False}


def of_ids(station_ids: Iterable[str]) -> Query:
    """Return the query for stations by their ids."""
    return {"ids": {"values": [document_id(station_id) for station_id in station_ids]}}


def of_feed(feed: str) -> Query:
    """Return the query for all stations of a feed."""
    return {"term": {"feed": feed}}


def of_evses(halves: Sequence[int]) -> Query:
    """Return the query for stations by the low halves of the keys of their Evses."""
    return {"terms": {"evses": list(halves)}}


def feed_counts() -> Query:
    """Return the request that counts the stations of each feed."""
    return {"size": 0, "track_total_hits": False, "aggs": {"feeds": {"terms": {"field": "feed", "size": PAGE_HITS}}}}


def operators(after_id: str | None) -> Query:
    """Return the request for the next operators by id."""
    request: Query = {"size": PAGE_HITS, "sort": [{"id": "asc"}], "track_total_hits": False}
    if after_id is not None:
        request["search_after"] = [after_id]
    return request


def is_encodable(text: str) -> bool:
    """Tell whether UTF-8 can hold a text; no station has an id or a name that it cannot."""
    return not any(_FIRST_SURROGATE <= character <= _LAST_SURROGATE for character in text)


def _before(text: str) -> str:
    """Return the text, or where UTF-8 cannot hold it one that comes before it and behind everything that also does."""
    for place, character in enumerate(text):
        if _FIRST_SURROGATE <= character <= _LAST_SURROGATE:
            return text[:place] + _BEFORE_SURROGATES
    return text


def _page(query: Query, size: int, sure: Query) -> Query:
    return {
        "query": query,
        "size": size,
        "_source": False,
        "stored_fields": "_none_",
        "docvalue_fields": ["id", "version", "lon", "lat"],
        "track_total_hits": True,
        "aggs": {"doubtful": {"filter": {"bool": {"must_not": [sure]}}}},
    }


def _within(center: Point, radius_m: float) -> Query:
    if not radius_m >= 0:
        return _NOTHING
    if radius_m >= _FARTHEST_M:
        return _LOCATED
    return {"geo_distance": {"distance": f"{radius_m:.4f}m", "distance_type": "arc", "pos": _position(center)}}


def _box(box: BoundingBox, margin: float) -> Query:
    """Return the query for a box that is larger by a margin on each side, or smaller."""
    south, north = max(box.south - margin, -90.0), min(box.north + margin, 90.0)
    width = (box.east - box.west) % 360.0 if box.west > box.east else box.east - box.west
    if not (south <= north and width + 2 * margin >= 0):
        return _NOTHING
    west, east = box.west - margin, box.east + margin
    if width + 2 * margin >= 360.0:
        west, east = -180.0, 180.0
    elif box.west <= box.east:
        west, east = max(west, -180.0), min(east, 180.0)
    else:
        west, east = (west + 540.0) % 360.0 - 180.0, (east + 540.0) % 360.0 - 180.0
    return {"geo_bounding_box": {"pos": {"top": north, "left": west, "bottom": south, "right": east}}}


def _at_least(field: str, power_w: int) -> Query:
    # No figure is -1: it stays below every minimum, 0 included.
    return _NOTHING if power_w > MAX_POWER_W else {"range": {field: {"gte": max(power_w, 0)}}}


def _terms(field: str, values: Iterable[str]) -> Query:
    """Return the query for one of the values; those that UTF-8 cannot hold are nowhere."""
    return {"terms": {field: sorted(filter(is_encodable, values))}}


def _hidden(hidden: Withheld) -> list[Query]:
    """Return the queries for what the caller must not find."""
    queries: list[Query] = []
    if hidden.feeds:
        feeds = _terms("feed", hidden.feeds)
        but = [_terms("operator", hidden.but_of)]
        queries.append({"bool": {"filter": [feeds], "must_not": but}} if hidden.but_of else feeds)
    if hidden.operators:
        queries.append(_terms("operator", hidden.operators))
    return queries


def _any_of(queries: Sequence[Query]) -> Query:
    if len(queries) == 1:
        return queries[0]
    return {"bool": {"should": list(queries), "minimum_should_match": 1}}


def _position(point: Point) -> tuple[float, float]:
    return point.lon, point.lat
