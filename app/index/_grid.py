"""Common searches through the compiled kernel: circles and boxes, every filter, one search or many of one filter.

The steps are those of ``_query``: ``ask`` and ``gather`` do not change by the second and may run in a thread, ``see``
asks the live board, once for all, and ``cut`` orders and pages. What they answer is what ``_query`` answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, radians, sqrt
from typing import Final, NamedTuple

import msgspec
import numpy as np

from app.index import _kernel
from app.index._columns import (
    CELL_ROWS,
    CELLS_PER_DEGREE,
    CELLS_PER_ROW,
    NO_CELL,
    ByteArray,
    Columns,
    Dictionaries,
    IntArray,
    LongArray,
    cell_column,
    cell_row,
)
from app.index._kernel import Gathered, Kernel, Picked
from app.index._packing import ACCESSES, KINDS, MAX_POWER_W
from app.index._query import asks_for_evse, asks_for_live, by_hours_and_text, codes, first_rank_after, see_slots
from app.index._region import SLACK_CHORD, Cells, Ruler, box_cells, circle_cells, is_short
from app.model.geo import EARTH_RADIUS_M, FloatArray, distance_m
from app.model.search import Area, AvailabilityView, BoolArray, Hit, Near, Search, SearchPage, StationFilter

_POWERS_W: Final = np.array([20_000, 50_000, 100_000, 150_000, 250_000, 350_000, 480_000, 600_000], np.int32)
_LISTED_SHARE: Final = 1 / 2
"""A filter that leaves more than this of all stations is not worth a list."""

_UNITED_SHARE: Final = 1 / 8
"""As much of them may be in a list that is made of others and remembered with its filter."""

_REMEMBERED_FILTERS: Final = 128
_CODES: Final = 256
"""Kinds and accesses are one byte."""

_BLOCK: Final = 25
"""Stations are counted in blocks of so many cells by so many."""

_BLOCKS_PER_ROW: Final = CELLS_PER_ROW // _BLOCK
_METRES_PER_DEGREE: Final = pi * EARTH_RADIUS_M / 180.0
_PAGES_LOOKED_AT: Final = 10
"""A smaller circle has room for so many pages of stations, were they spread evenly about its block."""

_NOTHING: Final = np.zeros(0, np.bool_)
_NO_STATIONS: Final = np.zeros(0, np.int32)

_FilterKey = tuple[frozenset[object], int | None, frozenset[str], frozenset[object]]


class _Wanted(NamedTuple):
    """A filter but for what is live, words and hours, in the kernel's terms.

    ``posting`` are the only stations that may match, None where that says little.
    """

    operators: BoolArray
    accesses: BoolArray
    kinds: BoolArray
    min_power_w: int
    posting: IntArray | None


class _Postings(NamedTuple):
    """For each code the stations that have it, ascending: those from ``starts[code]`` to ``starts[code + 1]``."""

    stations: IntArray
    starts: LongArray

    def of(self, code: int) -> IntArray:
        """Return the stations of a code; none for one that came later."""
        first, end = self.starts[code : code + 2] if code + 1 < len(self.starts) else (0, 0)
        return self.stations[first:end]


@dataclass(frozen=True, slots=True)
class Asked:
    """Searches of one filter and one moment as the kernel takes them. ``rulers`` is empty for a box."""

    searches: Sequence[Search]
    rulers: list[Ruler]
    wanted: _Wanted
    probes: FloatArray
    ranges: LongArray


class Grid:
    """A snapshot with what the kernel needs beside it: where each row of cells begins, and lists of stations."""

    def __init__(self, columns: Columns, dictionaries: Dictionaries, kernel: Kernel) -> None:
        """Make the lists; this takes some tens of milliseconds for half a million stations."""
        self.columns = columns
        self._dictionaries = dictionaries
        self._kernel = kernel
        self._row_first = columns.cell.searchsorted(np.arange(CELL_ROWS + 1, dtype=np.int32) * CELLS_PER_ROW)
        self._by_operator = _by_code(columns.operator)
        self._by_access = _by_code(columns.access.astype(np.int32))
        self._by_connector = _by_connector(columns, kernel)
        located = columns.cell[columns.cell != NO_CELL].astype(np.int64)
        block = located // CELLS_PER_ROW // _BLOCK * _BLOCKS_PER_ROW + located % CELLS_PER_ROW // _BLOCK
        self._in_block = np.bincount(block, minlength=_BLOCKS_PER_ROW * (CELL_ROWS // _BLOCK)).astype(np.int32)
        self._wanted: dict[_FilterKey, _Wanted] = {}

    def smaller(self, search: Search) -> Search | None:
        """Return the search in a smaller circle that likely fills its page; None where it may have to look at all.

        If more match than the page holds, it is the page of the larger circle, too.
        """
        where = search.where
        if search.wants_total or search.after is not None or not isinstance(where, Near):
            return None
        center = where.center
        block = cell_row(center.lat) // _BLOCK * _BLOCKS_PER_ROW + cell_column(center.lon) // _BLOCK
        count = int(self._in_block[block])
        if not count:
            return None
        block_m2 = (_BLOCK / CELLS_PER_DEGREE * _METRES_PER_DEGREE) ** 2 * max(0.01, cos(radians(center.lat)))
        radius_m = sqrt(_PAGES_LOOKED_AT * (search.first + 1) * block_m2 / (pi * count))
        if radius_m > where.radius_m / 2:
            return None
        return msgspec.structs.replace(search, where=Near(center=center, radius_m=radius_m))

    def ask(self, searches: Sequence[Search]) -> Asked:
        """Prepare searches that ``answers``, all of one filter and one moment, or a single one in a box."""
        rulers: list[Ruler] = []
        probes: list[tuple[float, ...]] = []
        ranges: list[tuple[int, int, int, int, int]] = []
        for number, search in enumerate(searches):
            where = search.where
            cells: list[Cells] = []
            if isinstance(where, Near):
                ruler = Ruler(where.center, where.radius_m)
                rulers.append(ruler)
                probes.append((*ruler.origin, ruler.below(where.radius_m), ruler.above(where.radius_m)))
                cells = circle_cells(where.center, where.radius_m)
            elif isinstance(where, Area) and where.box is not None:
                box = where.box
                probes.append((box.west, box.south, box.east, box.north, 0.0))
                cells = box_cells(box)
            ranges.extend([(number, *each) for each in cells])
        wanted = self._prepare(searches[0].filter)
        return Asked(searches, rulers, wanted, np.array(probes), np.array(ranges, np.int64).reshape(-1, 5))

    def gather(self, asked: Asked, most: int = 2**62) -> Gathered:
        """Find the stations that match as far as the snapshot knows; none where ``looked_at`` is more than ``most``."""
        columns, wanted, search = self.columns, asked.wanted, asked.searches[0]
        in_box = not asked.rulers
        gathered = Gathered(
            *self._kernel.gather(
                self._row_first,
                CELLS_PER_ROW,
                columns.cell,
                columns.lon if in_box else columns.x,
                columns.lat if in_box else columns.y,
                columns.z,
                columns.rank,
                columns.operator,
                columns.access,
                columns.row_start,
                columns.row_kind,
                columns.row_power_w,
                columns.row_slot,
                _NO_STATIONS if wanted.posting is None else wanted.posting,
                wanted.operators,
                wanted.accesses,
                wanted.kinds if asks_for_evse(search.filter) else _NOTHING,
                wanted.min_power_w,
                wanted.posting is not None,
                asks_for_live(search.filter),
                in_box,
                asked.probes,
                asked.ranges,
                most,
            )
        )
        if gathered.looked_at > most:
            return gathered
        if len(gathered.doubtful):
            gathered = _kept(gathered, self._truly_within(asked, gathered))
        kept = by_hours_and_text(columns, self._dictionaries, search, gathered.stations)
        return gathered if kept is None else _kept(gathered, kept)

    def see(self, gathered: Gathered, view: AvailabilityView, search: Search) -> BoolArray | None:
        """Tell which of the slots are as the search wants them now; None where it does not ask."""
        return see_slots(gathered.slots, view, search) if asks_for_live(search.filter) else None

    def cut(self, asked: Asked, gathered: Gathered, good: BoolArray | None) -> list[SearchPage]:
        """Return the page of each search, of the stations that ``see`` left."""
        columns, searches = self.columns, asked.searches
        picked = Picked(
            *self._kernel.pick(
                gathered.stations,
                gathered.measure,
                gathered.ends,
                gathered.owner,
                _NOTHING if good is None else good,
                good is not None,
                columns.lon,
                columns.lat,
                columns.rank,
                columns.id_start,
                np.array([self._cursor(asked, number) for number in range(len(searches))]),
                not asked.rulers,
                SLACK_CHORD,
                EARTH_RADIUS_M,
            )
        )
        ids, distances = columns.ids, picked.distances.tolist()
        names = [ids[first:end] for first, end in picked.ids.tolist()]
        pages: list[SearchPage] = []
        begin = 0
        for search, (end, total, later) in zip(searches, picked.tallies.tolist(), strict=True):
            if search.after is not None and asked.rulers:
                after = (search.after.distance_m, search.after.station_id.encode(errors="surrogatepass"))
                while begin < end and (distances[begin], names[begin]) <= after:
                    begin += 1
            shown = min(end, begin + search.first)
            hits = [
                Hit(name.decode(), away if asked.rulers else None)
                for name, away in zip(names[begin:shown], distances[begin:shown], strict=True)
            ]
            pages.append(SearchPage(tuple(hits), total, max(later, end - begin) > search.first))
            begin = end
        return pages

    def _cursor(self, asked: Asked, number: int) -> tuple[float, float, int, float, float]:
        """Return what the kernel has to know of a search's page."""
        search = asked.searches[number]
        after = search.after
        if not asked.rulers:
            between = -1.0 if after is None else first_rank_after(self.columns, after) - 0.5
            return 0.0, 0.0, search.first, between, between
        ruler = asked.rulers[number]
        center = ruler.center
        if after is None:
            return center.lon, center.lat, search.first, -1.0, -1.0
        return center.lon, center.lat, search.first, ruler.below(after.distance_m), ruler.above(after.distance_m)

    def _truly_within(self, asked: Asked, gathered: Gathered) -> LongArray:
        """Return the places without those of the doubtful ones that are outside."""
        columns, doubtful = self.columns, gathered.doubtful
        inside = np.ones(len(gathered.stations), np.bool_)
        for place, number in zip(
            doubtful.tolist(), np.searchsorted(gathered.ends, doubtful, side="right").tolist(), strict=True
        ):
            where, station = asked.searches[number].where, gathered.stations[place : place + 1]
            assert isinstance(where, Near)
            lon, lat = columns.lon[station], columns.lat[station]
            inside[place] = distance_m(where.center.lon, where.center.lat, lon, lat)[0] <= where.radius_m
        return np.flatnonzero(inside)

    def _prepare(self, wanted: StationFilter) -> _Wanted:
        key = (
            frozenset(wanted.connector_types),
            wanted.min_power_w,
            frozenset(wanted.operator_ids),
            frozenset(wanted.access),
        )
        known = self._wanted.get(key)
        if known is None:
            if len(self._wanted) >= _REMEMBERED_FILTERS:
                self._wanted.clear()
            known = self._wanted[key] = self._in_codes(wanted)
        if not wanted.hidden:
            return known
        seen = self._dictionaries.seen(wanted.hidden)
        if wanted.operator_ids:
            seen = known.operators & seen[: len(known.operators)]
        return known._replace(operators=seen)

    def _in_codes(self, wanted: StationFilter) -> _Wanted:
        dictionaries = self._dictionaries
        operators = codes(dictionaries.operators, wanted.operator_ids)
        accesses = [ACCESSES[access] for access in wanted.access]
        kinds = [KINDS[kind] for kind in wanted.connector_types]
        # No figure is -1: it stays below every minimum, 0 included.
        min_power_w = -1 if wanted.min_power_w is None else min(max(wanted.min_power_w, 0), MAX_POWER_W + 1)
        lists: list[list[IntArray]] = []
        if wanted.operator_ids:
            lists.append([self._by_operator.of(code) for code in operators])
        if wanted.access:
            lists.append([self._by_access.of(code) for code in accesses])
        if kinds or wanted.min_power_w is not None:
            steps = range(int(_POWERS_W.searchsorted(min_power_w, side="right")), len(_POWERS_W) + 1)
            among = kinds or range(_kernel.KINDS)
            lists.append(
                [self._by_connector.of(kind * (len(_POWERS_W) + 1) + step) for kind in among for step in steps]
            )
        return _Wanted(
            operators=_marked(len(dictionaries.operators), operators) if wanted.operator_ids else _NOTHING,
            accesses=_marked(_CODES, accesses) if accesses else _NOTHING,
            kinds=_marked(_CODES, kinds or range(_CODES)),
            min_power_w=min_power_w,
            posting=self._shortest(lists),
        )

    def _shortest(self, lists: list[list[IntArray]]) -> IntArray | None:
        """Return, ascending, the union of the lists that are the fewest stations; None where these are many."""
        if not lists:
            return None
        parts = [part for part in min(lists, key=lambda parts: sum(map(len, parts))) if len(part)]
        if len(parts) == 1:
            return parts[0] if len(parts[0]) <= _LISTED_SHARE * len(self.columns) else None
        if sum(map(len, parts)) > _UNITED_SHARE * len(self.columns):
            return None
        united = np.zeros(len(self.columns), np.bool_)
        for part in parts:
            united[part] = True
        return np.flatnonzero(united).astype(np.int32)


def answers(search: Search) -> bool:
    """Tell whether a grid can answer a search: a circle of up to a thousand kilometres, or a box."""
    where = search.where
    if isinstance(where, Near):
        return is_short(where.radius_m)
    return isinstance(where, Area) and where.box is not None and not where.polygons


def _by_code(values: IntArray | ByteArray) -> _Postings:
    short = values.astype(np.uint16) if len(values) and values.max() < 2**16 else values  # those are sorted by radix
    counts = np.bincount(values)
    return _Postings(short.argsort(kind="stable").astype(np.int32), np.append(0, counts.cumsum()))


def _by_connector(columns: Columns, kernel: Kernel) -> _Postings:
    rows = columns.row_start, columns.row_kind, columns.row_power_w, _POWERS_W
    unseen = np.full(_kernel.KINDS * (len(_POWERS_W) + 1), -1, np.int64)
    counts = np.zeros(len(unseen), np.int64)
    kernel.list_stations(*rows, unseen.copy(), counts, _NO_STATIONS)
    starts = np.append(0, counts.cumsum())
    stations = np.empty(starts[-1], np.int32)
    kernel.list_stations(*rows, unseen, starts[:-1].copy(), stations)
    return _Postings(stations, starts)


def _marked(count: int, places: Sequence[int]) -> BoolArray:
    marked = np.zeros(count, np.bool_)
    marked[list(places)] = True
    return marked


def _kept(gathered: Gathered, kept: LongArray) -> Gathered:
    """Return what was gathered with only the stations at these places."""
    place = np.full(len(gathered.stations), -1, np.int64)
    place[kept] = np.arange(len(kept))
    owner = place[gathered.owner]
    left = owner >= 0
    return gathered._replace(
        stations=gathered.stations[kept],
        measure=gathered.measure[kept],
        slots=gathered.slots[left],
        owner=owner[left],
        ends=kept.searchsorted(gathered.ends),
    )
