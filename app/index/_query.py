"""How one search is answered from a snapshot, in three steps.

``narrow`` applies everything that does not change by the second; it may run in a thread, for it touches nothing but
the snapshot. ``see`` asks the live board about the Evses that are left. ``cut`` orders, counts and pages.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.errors import InvalidInputError
from app.index._columns import Columns, Dictionaries, Interned, LongArray
from app.index._corridor import Trail
from app.index._hours import known_open
from app.index._packing import ACCESSES, KINDS
from app.index._region import Region, Ruler, Span, box_spans, circle_spans, in_box
from app.index._text import END, split_words
from app.model.geo import FloatArray, distance_m
from app.model.search import (
    Area,
    AvailabilityView,
    BoolArray,
    Corridor,
    Hit,
    Near,
    Position,
    Search,
    SearchPage,
    SlotArray,
    StationFilter,
)

_MOST_PAIRS: Final = 4_000_000
"""Pairs of a station and a stretch of a route take up to 0.4 us each. A route through all of China has some 100,000."""

_SCAN_TEXT_ABOVE: Final = 50_000
"""From this many stations on, one pass over the whole text is cheaper than looking into each."""


@dataclass(frozen=True, slots=True)
class Question:
    """A search, and the ranges of stations that it has to look at."""

    search: Search
    spans: list[Span]
    ruler: Ruler | None
    region: Region | None
    trail: Trail | None = None

    def cost(self) -> int:
        """Return how many stations have to be looked at; one polygon test counts like ten."""
        if self.trail is not None:
            return self.trail.cost()
        stations = sum(end - first for first, end in self.spans)
        return stations * 10 if self.region is not None else stations


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Stations that match but for what is live: ``measure`` is how far they are, None in an area.

    In a corridor ``measure`` has a row for each: metres along, and metres off.
    ``slots`` are the Evses of which one has to be seen live, ``owner`` for each the place of its station in
    ``stations``; both None where nothing live is asked for.
    """

    stations: LongArray
    measure: FloatArray | None
    slots: SlotArray | None = None
    owner: LongArray | None = None


def ask(columns: Columns, search: Search) -> Question:
    """Prepare a search. Raises InvalidInputError for polygons that are none, and corridors that hold too much."""
    where = search.where
    if isinstance(where, Near):
        ruler = Ruler(where.center, where.radius_m)
        return Question(search, circle_spans(columns, where.center, where.radius_m), ruler, None)
    if isinstance(where, Corridor):
        trail = Trail(columns, where)
        if trail.cost() > _MOST_PAIRS:
            raise InvalidInputError("corridorM", "too many stations along this route; ask for less width, or in parts")
        return Question(search, trail.spans, None, None, trail)
    region = Region(where) if where.polygons else None
    if region is not None:
        return Question(search, region.spans(columns), None, region)
    return Question(search, [] if where.box is None else box_spans(columns, where.box), None, None)


def narrow(columns: Columns, dictionaries: Dictionaries, question: Question) -> Narrowed:
    """Find the stations that match as far as the snapshot knows."""
    search, spans = question.search, question.spans
    wanted = search.filter
    if not spans:
        return Narrowed(np.zeros(0, np.int64), np.zeros(0) if question.ruler is not None else None)
    matching, measure = _inside(columns, question)
    _keep_codes(matching, columns, spans, dictionaries, wanted)
    rows = owner = None
    if asks_for_evse(wanted):
        rows, owner = _matching_rows(columns, spans, wanted)
        alive = matching[owner]
        rows, owner = rows[alive], owner[alive]
        matching = _marked(len(matching), owner)
    local = np.flatnonzero(matching)
    stations = _numbers(spans)[local]
    kept = by_hours_and_text(columns, dictionaries, search, stations)
    if kept is not None:
        local, stations = local[kept], stations[kept]
    found = Narrowed(stations, None if measure is None else measure[local])
    if rows is None or owner is None or not asks_for_live(wanted):
        return found
    place = np.full(len(matching), -1, np.int64)
    place[local] = np.arange(len(local))
    owner = place[owner]
    if kept is not None:
        rows, owner = rows[owner >= 0], owner[owner >= 0]
    return Narrowed(found.stations, found.measure, _joined(columns.row_slot, _row_spans(columns, spans))[rows], owner)


def see(narrowed: Narrowed, view: AvailabilityView, search: Search) -> Narrowed:
    """Keep the stations of which one of the Evses left is as the search wants it now."""
    slots, owner = narrowed.slots, narrowed.owner
    if slots is None or owner is None:
        return narrowed
    good = see_slots(slots, view, search)
    left = np.flatnonzero(_marked(len(narrowed.stations), owner[good]))
    measure = narrowed.measure
    return Narrowed(narrowed.stations[left], None if measure is None else measure[left])


def see_slots(slots: SlotArray, view: AvailabilityView, search: Search) -> BoolArray:
    """Tell which slots are as the search, which asks for something live, wants them now."""
    wanted = search.filter
    if wanted.available_now:
        return view.usable(slots, search.at, wanted.max_status_age_s)
    assert wanted.max_status_age_s is not None
    return view.fresh(slots, search.at, wanted.max_status_age_s)


def cut(columns: Columns, question: Question, seen: Narrowed) -> SearchPage:
    """Order what matches and return the page asked for."""
    search = question.search
    total, stations, measure = len(seen.stations), seen.stations, seen.measure
    if question.trail is not None and measure is not None:
        return _cut_along(columns, search, stations, measure)
    if question.ruler is None or measure is None:
        return _cut_by_id(columns, search, stations)
    if search.after is not None:
        later = _is_after(columns, question.ruler, search.after, stations, measure)
        stations, measure = stations[later], measure[later]
    has_next = len(stations) > search.first
    if not search.first:
        return SearchPage((), total, has_next)
    if has_next:
        farthest = question.ruler.distance_of(float(np.partition(measure, search.first - 1)[search.first - 1]))
        stations = stations[measure <= question.ruler.above(farthest)]
    center = question.ruler.center
    distances = distance_m(center.lon, center.lat, columns.lon[stations], columns.lat[stations])
    order = np.lexsort((columns.rank[stations], distances))[: search.first]
    found = zip(stations[order].tolist(), distances[order].tolist(), strict=True)
    hits = tuple(Hit(columns.id_at(station).decode(), distance) for station, distance in found)
    return SearchPage(hits, total, has_next)


def asks_for_evse(wanted: StationFilter) -> bool:
    """Tell whether a station matches only by one of its Evses."""
    return bool(wanted.connector_types) or wanted.min_power_w is not None or asks_for_live(wanted)


def asks_for_live(wanted: StationFilter) -> bool:
    """Tell whether the live board has a say."""
    return wanted.available_now or wanted.max_status_age_s is not None


def _inside(columns: Columns, question: Question) -> tuple[BoolArray, FloatArray | None]:
    where, spans, ruler = question.search.where, question.spans, question.ruler
    if question.trail is not None:
        return question.trail.inside()
    if isinstance(where, Area):
        lon, lat = _joined(columns.lon, spans), _joined(columns.lat, spans)
        inside = in_box(where.box, lon, lat) if where.box is not None else np.ones(len(lon), np.bool_)
        if question.region is not None:
            left = np.flatnonzero(inside)
            inside[left] = question.region.contains(lon[left], lat[left])
        return inside, None
    assert isinstance(where, Near)
    assert ruler is not None
    if ruler.exact:
        lon, lat = _joined(columns.lon, spans), _joined(columns.lat, spans)
        measure = distance_m(where.center.lon, where.center.lat, lon, lat)
        return measure <= where.radius_m, measure
    measure = ruler.chords(*(_copied(axis, spans) for axis in (columns.x, columns.y, columns.z)))
    inside = measure <= ruler.above(where.radius_m)
    doubtful = np.flatnonzero(inside & (measure > ruler.below(where.radius_m)))
    if len(doubtful):
        stations = _numbers(spans)[doubtful]
        distances = distance_m(where.center.lon, where.center.lat, columns.lon[stations], columns.lat[stations])
        inside[doubtful] = distances <= where.radius_m
    return inside, measure


def _keep_codes(
    matching: BoolArray, columns: Columns, spans: list[Span], dictionaries: Dictionaries, wanted: StationFilter
) -> None:
    """Take out, in place, the stations of other operators and accesses, and those that the caller must not find."""
    if wanted.hidden:
        matching &= dictionaries.seen(wanted.hidden)[_joined(columns.operator, spans)]
    if wanted.operator_ids:
        operators = codes(dictionaries.operators, wanted.operator_ids)
        matching &= _any_of(_joined(columns.operator, spans), operators)
    if wanted.access:
        matching &= _any_of(_joined(columns.access, spans), [ACCESSES[access] for access in wanted.access])


def codes(known: Interned[str], values: Iterable[str]) -> list[int]:
    """Return the numbers of those values that have one."""
    return [code for value in values if (code := known.find(value)) is not None]


def _matching_rows(columns: Columns, spans: list[Span], wanted: StationFilter) -> tuple[LongArray, LongArray]:
    """Return the connector rows that match, as places in the joined ranges, and the places of their stations."""
    rows = _row_spans(columns, spans)
    count = sum(end - first for first, end in rows)
    matching: BoolArray | None = None
    if wanted.connector_types:
        matching = _any_of(_joined(columns.row_kind, rows), [KINDS[kind] for kind in wanted.connector_types])
    if wanted.min_power_w is not None:
        # No figure is -1: it stays below every minimum, 0 included.
        strong = _joined(columns.row_power_w, rows) >= max(wanted.min_power_w, 0)
        matching = strong if matching is None else np.logical_and(matching, strong, out=strong)
    found = np.arange(count) if matching is None else np.flatnonzero(matching)
    if len(spans) == 1:
        return found, columns.row_station[rows[0][0] : rows[0][1]][found].astype(np.int64) - spans[0][0]
    owner = np.empty(count, np.int32)
    filled = before = 0
    for (first, end), (first_row, end_row) in zip(spans, rows, strict=True):
        out = owner[filled : filled + end_row - first_row]
        np.subtract(columns.row_station[first_row:end_row], first - before, out=out)
        filled += end_row - first_row
        before += end - first
    return found, owner[found].astype(np.int64)


def by_hours_and_text(
    columns: Columns, dictionaries: Dictionaries, search: Search, stations: LongArray
) -> LongArray | None:
    """Return which of the stations are open and hold the words, as places; None where neither is asked for."""
    wanted = search.filter
    words = split_words(wanted.text) if wanted.text else ()
    if not words and not wanted.open_now:
        return None
    kept = np.arange(len(stations))
    if wanted.open_now:
        kept = np.flatnonzero(known_open(columns.hours[stations], dictionaries.hours, search.at))
    for word in sorted(words, key=len, reverse=True):
        kept = kept[_holds(columns, stations[kept], word)]
    return kept


def _holds(columns: Columns, stations: LongArray, word: bytes) -> BoolArray:
    text, starts = columns.text, columns.text_start
    if len(stations) <= _SCAN_TEXT_ABOVE:
        places = zip(starts[stations].tolist(), starts[stations + 1].tolist(), strict=True)
        return np.array([text.find(word, first, end) >= 0 for first, end in places], np.bool_)
    found: list[int] = []
    at = text.find(word)
    while at >= 0:
        found.append(at)
        at = text.find(word, text.index(END, at))
    holding = np.zeros(len(columns), np.bool_)
    holding[np.searchsorted(starts, np.array(found, np.int64), side="right") - 1] = True
    return holding[stations]


def _is_after(columns: Columns, ruler: Ruler, after: Position, stations: LongArray, measure: FloatArray) -> BoolArray:
    """Tell which stations come after a position in the order of distance, then id."""
    later: BoolArray = measure > ruler.above(after.distance_m)
    doubtful = np.flatnonzero(~later & (measure >= ruler.below(after.distance_m)))
    close = stations[doubtful]
    distances = distance_m(ruler.center.lon, ruler.center.lat, columns.lon[close], columns.lat[close])
    same = (distances == after.distance_m) & (columns.rank[close] >= first_rank_after(columns, after))
    later[doubtful] = (distances > after.distance_m) | same
    return later


def _cut_by_id(columns: Columns, search: Search, stations: LongArray) -> SearchPage:
    total = len(stations)
    ranks = columns.rank[stations]
    if search.after is not None:
        ranks = ranks[ranks >= first_rank_after(columns, search.after)]
    has_next = len(ranks) > search.first
    if has_next:
        ranks = np.partition(ranks, search.first)[: search.first]
    found = columns.by_id[np.sort(ranks)].tolist()
    return SearchPage(tuple(Hit(columns.id_at(station).decode(), None) for station in found), total, has_next)


def _cut_along(columns: Columns, search: Search, stations: LongArray, measure: FloatArray) -> SearchPage:
    total, ranks, (along, off) = len(stations), columns.rank[stations], measure.T
    order = np.lexsort((ranks, along))
    if search.after is not None:
        later = (ranks >= first_rank_after(columns, search.after)) & (along == search.after.distance_m)
        later |= along > search.after.distance_m
        order = order[later[order]]
    page = order[: search.first]
    found = zip(stations[page].tolist(), off[page].tolist(), along[page].tolist(), strict=True)
    hits = tuple(Hit(columns.id_at(station).decode(), *figures) for station, *figures in found)
    return SearchPage(hits, total, len(order) > search.first)


def first_rank_after(columns: Columns, after: Position) -> int:
    """Return the rank of the first station whose id comes after a cursor's."""
    station_id = after.station_id.encode(errors="surrogatepass")
    return columns.rank_of(station_id) + (columns.find(station_id) is not None)


def _any_of(values: npt.NDArray[Any], wanted: list[int]) -> BoolArray:
    """Tell which values are among the wanted ones; a few comparisons beat a lookup."""
    if not wanted:
        return np.zeros(len(values), np.bool_)
    matching: BoolArray = values == wanted[0]
    for value in wanted[1:]:
        matching |= values == value
    return matching


def _marked(count: int, places: LongArray) -> BoolArray:
    marked = np.zeros(count, np.bool_)
    marked[places] = True
    return marked


def _joined(column: npt.NDArray[Any], spans: list[Span]) -> npt.NDArray[Any]:
    """Return the parts of a column one after the other; a view of it where there is one part. Not to be written to."""
    if len(spans) == 1:
        return column[spans[0][0] : spans[0][1]]
    return np.concatenate([column[first:end] for first, end in spans])


def _copied(column: FloatArray, spans: list[Span]) -> FloatArray:
    return np.concatenate([column[first:end] for first, end in spans])


def _row_spans(columns: Columns, spans: list[Span]) -> list[Span]:
    """Return the ranges of connector rows that belong to ranges of stations."""
    edges: list[int] = columns.row_start[np.array(spans, np.int64)].ravel().tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def _numbers(spans: list[Span]) -> LongArray:
    return np.concatenate([np.arange(first, end) for first, end in spans])
