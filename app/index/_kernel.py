"""The inner loops of common searches, written for numba: plain functions over arrays, which ``load`` compiles.

They do what ``_query.narrow`` and ``_query.cut`` do with numpy, in the same order and with the same arithmetic, but
look at each station once. Numba's cache notices changes of this file only: nothing compiled here may depend on another.
"""

import logging
import math
from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from app.index._columns import ByteArray, IntArray, LongArray
from app.model.geo import FloatArray
from app.model.search import BoolArray, SlotArray

KINDS: Final = 64
"""Kinds from here on, as that of an Evse without connectors, are in no list."""

_log = logging.getLogger(__name__)


class Gathered(NamedTuple):
    """Stations that match but for what is live, probe after probe; ``ends`` says where each probe's stations end.

    ``measure`` is what the ruler says of each, in a box its rank. ``slots`` are the Evses of which one has to be seen
    live, ``owner`` for each the place of its station. ``doubtful`` are the places that lie between a probe's bounds.
    ``looked_at`` is how many stations were looked at, or would have to be where that is more than allowed.
    """

    stations: LongArray
    measure: FloatArray
    slots: SlotArray
    owner: LongArray
    ends: LongArray
    doubtful: LongArray
    looked_at: int


class Picked(NamedTuple):
    """The stations that may be on each probe's page, in order: their distances, 0 in a box, and where their ids stand.

    Each row of ``ids`` is a station's first byte and the end. Each row of ``tallies`` is where a probe's page ends, how
    many stations it sees in all, and how many of them surely come after the cursor.
    """

    distances: FloatArray
    ids: LongArray
    tallies: LongArray


class Kernel(NamedTuple):
    """The functions of this module, compiled or (for tests) as they stand here."""

    gather: Callable[..., tuple[LongArray, FloatArray, SlotArray, LongArray, LongArray, LongArray, int]]
    pick: Callable[..., tuple[FloatArray, LongArray, LongArray]]
    list_stations: Callable[[LongArray, ByteArray, IntArray, IntArray, LongArray, LongArray, IntArray], None]


def gather(
    row_first: LongArray,
    cells_per_row: int,
    cell: IntArray,
    x: FloatArray,
    y: FloatArray,
    z: FloatArray,
    rank: IntArray,
    operator: IntArray,
    access: ByteArray,
    row_start: LongArray,
    row_kind: ByteArray,
    row_power_w: IntArray,
    row_slot: SlotArray,
    posting: IntArray,
    operators: BoolArray,
    accesses: BoolArray,
    kinds: BoolArray,
    min_power_w: int,
    by_posting: bool,
    by_slot: bool,
    in_box: bool,
    probes: FloatArray,
    ranges: LongArray,
    most: int,
) -> tuple[LongArray, FloatArray, SlotArray, LongArray, LongArray, LongArray, int]:
    """Return ``Gathered`` for probes of one filter.

    A probe is (x, y, z, below, above), in a box (west, south, east, north, 0) over ``x`` and ``y`` in degrees. A range
    is (probe, first row of cells, last row, first column, last column), those of a probe together and from west to
    east. ``operators``, ``accesses`` and ``kinds`` say yes or no to each code, or are empty where all are
    welcome; without ``kinds`` Evses do not matter. ``posting`` are, ascending, the only stations that may match, where
    ``by_posting``. Nothing is gathered where more than ``most`` stations would have to be looked at.
    """
    span_count = 0
    for part in range(len(ranges)):
        span_count += ranges[part, 2] - ranges[part, 1] + 1
    spans = np.empty((span_count, 2), np.int64)
    span_ends = np.zeros(len(probes), np.int64)
    used = looked_at = rows = part = 0
    for probe in range(len(probes)):
        beyond = part
        while beyond < len(ranges) and ranges[beyond, 0] == probe:
            beyond += 1
        if beyond > part:
            for row in range(ranges[part, 1], ranges[part, 2] + 1):
                done, end_of_row = row_first[row], row_first[row + 1]
                if done == end_of_row:
                    continue
                for each in range(part, beyond):
                    first = lower_bound(cell, row * cells_per_row + ranges[each, 3], done, end_of_row)
                    end = lower_bound(cell, row * cells_per_row + ranges[each, 4] + 1, first, end_of_row)
                    done = end
                    if by_posting:
                        first = lower_bound(posting, first, 0, len(posting))
                        end = lower_bound(posting, end, first, len(posting))
                    if first == end:
                        continue
                    spans[used, 0], spans[used, 1] = first, end
                    used += 1
                    looked_at += end - first
                    if by_slot and not by_posting:
                        rows += row_start[end] - row_start[first]
        span_ends[probe] = used
        part = beyond
    if by_slot and by_posting:
        for span in range(used):
            for number in range(spans[span, 0], spans[span, 1]):
                rows += row_start[posting[number] + 1] - row_start[posting[number]]

    room = looked_at if looked_at <= most else 0
    stations = np.empty(room, np.int64)
    measures = np.empty(room, np.float64)
    doubtful = np.empty(room, np.int64)
    slots = np.empty(rows if looked_at <= most else 0, np.int32)
    owner = np.empty(len(slots), np.int64)
    ends = np.zeros(len(probes), np.int64)
    if looked_at > most:
        return stations, measures, slots, owner, ends, doubtful, looked_at
    # What is looked at is written down, and kept by counting on: branches that are guessed wrong cost more.
    found = taken = doubts = span = 0
    for probe in range(len(probes)):
        begin = found
        while span < span_ends[probe]:
            first, end = spans[span, 0], spans[span, 1]
            for number in range(first, end):
                stations[found + number - first] = posting[number] if by_posting else number
            found += end - first
            span += 1
        if in_box:
            found = keep_in_box(stations, measures, begin, found, x, y, rank, probes[probe])
        else:
            found = keep_near(stations, measures, begin, found, x, y, z, probes[probe])
        if len(operators):
            found = keep(stations, measures, begin, found, operator, operators)
        if len(accesses):
            found = keep(stations, measures, begin, found, access, accesses)
        if len(kinds) and by_slot:
            left, found = found, begin
            for place in range(begin, left):
                station, before = stations[place], taken
                for row in range(row_start[station], row_start[station + 1]):
                    if row_power_w[row] >= min_power_w and kinds[row_kind[row]]:
                        slots[taken] = row_slot[row]
                        owner[taken] = found
                        taken += 1
                stations[found] = station
                measures[found] = measures[place]
                found += taken > before
        elif len(kinds):
            left, found = found, begin
            for place in range(begin, left):
                station, matching = stations[place], False
                for row in range(row_start[station], row_start[station + 1]):
                    matching |= kinds[row_kind[row]] & (row_power_w[row] >= min_power_w)
                stations[found] = station
                measures[found] = measures[place]
                found += matching
        if not in_box:
            for place in range(begin, found):
                if measures[place] > probes[probe, 3]:
                    doubtful[doubts] = place
                    doubts += 1
        ends[probe] = found
    return stations[:found], measures[:found], slots[:taken], owner[:taken], ends, doubtful[:doubts], looked_at


def pick(
    stations: LongArray,
    measures: FloatArray,
    ends: LongArray,
    owner: LongArray,
    good: BoolArray,
    by_slot: bool,
    lon: FloatArray,
    lat: FloatArray,
    rank: IntArray,
    id_start: LongArray,
    cursors: FloatArray,
    in_box: bool,
    slack: float,
    radius_m: float,
) -> tuple[FloatArray, LongArray, LongArray]:
    """Return ``Picked``: of the stations with a good slot those that may be on the page after a cursor.

    A cursor is (longitude and latitude of the centre, length of the page, low, high). What measures below ``low`` is
    surely before it, above ``high`` surely after it; what lies between is picked too. Chords that differ by no more
    than ``slack`` may be the other way round in truth; ``radius_m`` is the Earth's.
    """
    count = len(stations)
    alive = np.ones(count, np.bool_)
    if by_slot:
        alive[:] = False
        for number in range(len(good)):
            if good[number]:
                alive[owner[number]] = True
    tallies = np.empty((len(ends), 3), np.int64)
    places = np.empty(count, np.int64)
    largest = 1
    for probe in range(len(ends)):
        largest = max(largest, int(cursors[probe, 2]))
    heap = np.empty(largest, np.float64)
    picked = begin = 0
    for probe in range(len(ends)):
        first, low, high = int(cursors[probe, 2]), cursors[probe, 3], cursors[probe, 4]
        total = after = held = 0
        for place in range(begin, ends[probe]):
            measure = measures[place]
            total += alive[place]
            if not alive[place] or measure <= high:
                continue
            after += 1
            if held < first:
                sift_up(heap, held, measure)
                held += 1
            elif first and measure < heap[0]:
                sift_down(heap, held, measure)
        limit = np.inf if first else -np.inf
        if first and after > first:
            limit = heap[0] if in_box else (np.sqrt(heap[0]) + slack) ** 2
        for place in range(begin, ends[probe]):
            measure = measures[place]
            if alive[place] and measure >= low and (measure <= high or measure <= limit):
                places[picked] = place
                picked += 1
        tallies[probe, 0], tallies[probe, 1], tallies[probe, 2] = picked, total, after
        begin = ends[probe]

    chosen = np.empty(picked, np.int64)
    distances = np.zeros(picked, np.float64)
    for place in range(picked):
        chosen[place] = stations[places[place]]
    begin = 0
    for probe in range(len(ends)):
        if not in_box:
            for place in range(begin, tallies[probe, 0]):
                station = chosen[place]
                distances[place] = distance(cursors[probe, 0], cursors[probe, 1], lon[station], lat[station], radius_m)
        sort(chosen, distances, begin, tallies[probe, 0], rank)
        begin = tallies[probe, 0]
    ids = np.empty((picked, 2), np.int64)
    for place in range(picked):
        ids[place, 0], ids[place, 1] = id_start[chosen[place]], id_start[chosen[place] + 1]
    return distances, ids, tallies


def list_stations(
    row_start: LongArray,
    row_kind: ByteArray,
    row_power_w: IntArray,
    powers_w: IntArray,
    last: LongArray,
    places: LongArray,
    stations: IntArray,
) -> None:
    """Put each station, in ascending order, at the place of each class of connectors that it has; move the place on.

    The class of a connector is its kind * (len(powers_w) + 1) + the number of ``powers_w``, which ascend, that it
    reaches. Without room for ``stations`` only places move: that counts them. ``last`` is -1 for each class.
    """
    steps, room = len(powers_w) + 1, len(stations)
    for station in range(len(row_start) - 1):
        for row in range(row_start[station], row_start[station + 1]):
            if row_kind[row] >= KINDS:
                continue
            reached = int(row_kind[row]) * steps
            for step in range(steps - 1):
                reached += row_power_w[row] >= powers_w[step]
            if last[reached] != station:
                last[reached] = station
                if room > 0:
                    stations[places[reached]] = station
                places[reached] += 1


def lower_bound(values: IntArray, wanted: int, low: int, high: int) -> int:
    """Return the first place from ``low`` on whose value is not below the wanted one; ``high`` where all are."""
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


def keep_near(
    stations: LongArray,
    measures: FloatArray,
    begin: int,
    end: int,
    x: FloatArray,
    y: FloatArray,
    z: FloatArray,
    probe: FloatArray,
) -> int:
    """Measure the stations from ``begin`` to ``end``, and ``keep`` those that may lie in a circle."""
    east, north, up, above = probe[0], probe[1], probe[2], probe[4]
    kept = begin
    for place in range(begin, end):
        station = stations[place]
        across, along, upwards = x[station] - east, y[station] - north, z[station] - up
        measure = across * across + along * along + upwards * upwards
        stations[kept] = station
        measures[kept] = measure
        kept += measure <= above
    return kept


def keep_in_box(
    stations: LongArray,
    measures: FloatArray,
    begin: int,
    end: int,
    lon: FloatArray,
    lat: FloatArray,
    rank: IntArray,
    probe: FloatArray,
) -> int:
    """Measure the stations from ``begin`` to ``end`` by their rank, and ``keep`` those in a box."""
    west, south, east, north = probe[0], probe[1], probe[2], probe[3]
    kept = begin
    for place in range(begin, end):
        station = stations[place]
        beyond_west, before_east = lon[station] >= west, lon[station] <= east
        across = (beyond_west | before_east) if west > east else (beyond_west & before_east)
        stations[kept] = station
        measures[kept] = rank[station]
        kept += across & (lat[station] >= south) & (lat[station] <= north)
    return kept


def keep(
    stations: LongArray, measures: FloatArray, begin: int, end: int, codes: IntArray | ByteArray, wanted: BoolArray
) -> int:
    """Move the stations whose code is wanted to the front of those from ``begin`` to ``end``; return their new end."""
    kept = begin
    for place in range(begin, end):
        station = stations[place]
        stations[kept] = station
        measures[kept] = measures[place]
        kept += wanted[codes[station]]
    return kept


def distance(lon_a: float, lat_a: float, lon_b: float, lat_b: float, radius_m: float) -> float:
    """Return what ``app.model.geo.distance_m`` returns for two points, bit for bit."""
    half_lat = math.sin(math.radians(lat_b - lat_a) / 2)
    half_lon = math.sin(math.radians(lon_b - lon_a) / 2)
    cosines = math.cos(math.radians(lat_a)) * math.cos(math.radians(lat_b))
    chord = min(half_lat * half_lat + cosines * half_lon * half_lon, 1.0)
    return float(np.rint(2 * radius_m * math.asin(math.sqrt(chord)) * 1000.0) / 1000.0)


def sort(stations: LongArray, distances: FloatArray, begin: int, end: int, rank: IntArray) -> None:
    """Order stations from ``begin`` to ``end`` by distance, then rank (Shell's way: pages are short)."""
    gap = (end - begin) // 2
    while gap > 0:
        for place in range(begin + gap, end):
            station, away, to = stations[place], distances[place], place
            while to - gap >= begin:
                other = to - gap
                if distances[other] < away or (distances[other] == away and rank[stations[other]] < rank[station]):
                    break
                stations[to], distances[to] = stations[other], distances[other]
                to = other
            stations[to], distances[to] = station, away
        gap //= 2


def sift_up(heap: FloatArray, held: int, value: float) -> None:
    """Add a value to a heap of ``held`` values, the largest first."""
    place = held
    while place > 0:
        parent = (place - 1) >> 1
        if heap[parent] >= value:
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = value


def sift_down(heap: FloatArray, held: int, value: float) -> None:
    """Put a value in the place of the largest."""
    place = 0
    while True:
        child = 2 * place + 1
        if child >= held:
            break
        if child + 1 < held and heap[child + 1] > heap[child]:
            child += 1
        if heap[child] <= value:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = value


PLAIN: Final = Kernel(gather, pick, list_stations)
"""The kernel without a compiler, for tests: thousands of times slower."""

_GATHER: Final = (
    "(i8[::1],i8,i4[::1],f8[::1],f8[::1],f8[::1],i4[::1],i4[::1],u1[::1],i8[::1],u1[::1],i4[::1],i4[::1],"
    "i4[::1],b1[::1],b1[::1],b1[::1],i8,b1,b1,b1,f8[:,::1],i8[:,::1],i8)"
)
_PICK: Final = "(i8[::1],f8[::1],i8[::1],i8[::1],b1[::1],b1,f8[::1],f8[::1],i4[::1],i8[::1],f8[:,::1],b1,f8,f8)"
_LIST_STATIONS: Final = "(i8[::1],u1[::1],i4[::1],i4[::1],i8[::1],i8[::1],i4[::1])"


@cache
def load() -> Kernel | None:
    """Return the compiled kernel, None (and a line in the log) where there is no numba.

    The first process on a machine compiles for some seconds; others read what it left in numba's cache: the folder
    NUMBA_CACHE_DIR, ``__pycache__`` beside this file or the user's cache, whichever may be written to.
    """
    try:
        import numba  # noqa: PLC0415 - it takes most of a second, and some machines have none
        from numba.extending import register_jitable  # noqa: PLC0415
    except ImportError as error:
        _log.warning("searches go without the compiled kernel, several times slower: %s", error)
        return None
    for helper in (lower_bound, keep_near, keep_in_box, keep, distance, sort, sift_up, sift_down):
        register_jitable(helper)

    def compiled(function: Callable[..., Any], signature: str) -> Any:
        try:
            return numba.njit(signature, cache=True, nogil=True)(function)
        except RuntimeError:  # nowhere to keep it
            return numba.njit(signature, nogil=True)(function)

    return Kernel(compiled(gather, _GATHER), compiled(pick, _PICK), compiled(list_stations, _LIST_STATIONS))
