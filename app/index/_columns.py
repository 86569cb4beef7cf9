"""The searchable facts of all stations as columns in spatial order: an immutable snapshot, and how the next is made.

Stations lie in cells of 0.02 degrees, sorted by cell (row by row from the South Pole, in each row eastwards), then by
id. What a circle or a box touches is therefore one contiguous range of stations for each row of cells, and one of
connector rows. Stations that no search may find come last. There is no Python object per station.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Self, TypeVar, overload

import numpy as np
import numpy.typing as npt

from app.index._packing import CONNECTOR_ROW
from app.index._text import END
from app.model.agreement import Withheld
from app.model.cluster import TileArray, tiles_of
from app.model.geo import FloatArray, unit_vectors
from app.model.identity import SEPARATOR
from app.model.search import BoolArray, KeyArray, SlotArray

IntArray = npt.NDArray[np.int32]
LongArray = npt.NDArray[np.int64]
ByteArray = npt.NDArray[np.uint8]

CELLS_PER_DEGREE: Final = 50
CELLS_PER_ROW: Final = 360 * CELLS_PER_DEGREE
CELL_ROWS: Final = 180 * CELLS_PER_DEGREE
NO_CELL: Final = np.iinfo(np.int32).max

FactRow = tuple[str, str, float | None, float | None, int, bytes, bytes, bytes, bytes]
"""A station's id and its ``Facts``, as the store hands them out."""

_REMEMBERED_WITHHELD: Final = 256

_T = TypeVar("_T")


class Interned(Generic[_T]):
    """Numbers values by first sight; a value keeps its number while the process lives."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._codes: dict[_T, int] = {}
        self._values: list[_T] = []

    def __len__(self) -> int:
        return len(self._values)

    def intern(self, value: _T) -> int:
        """Return the number of a value, giving it one where it is new. One thread at a time."""
        code = self._codes.get(value)
        if code is None:
            code = len(self._values)
            self._values.append(value)
            self._codes[value] = code
        return code

    def find(self, value: _T) -> int | None:
        """Return the number of a value, or None where it was never seen."""
        return self._codes.get(value)

    def value(self, code: int) -> _T:
        """Return the value of a number."""
        return self._values[code]


class Dictionaries:
    """The numbered values that columns refer to."""

    def __init__(self) -> None:
        """Start empty."""
        self.feeds: Interned[str] = Interned()
        self.operators: Interned[str] = Interned()
        self.hours: Interned[bytes] = Interned()
        self.hours.intern(b"")
        self._seen: dict[Withheld, BoolArray] = {}

    def seen(self, hidden: Withheld) -> BoolArray:
        """Tell for the number of each operator whether its stations may be found."""
        known, count = self._seen.get(hidden), len(self.operators)
        if known is None or len(known) < count:
            if len(self._seen) >= _REMEMBERED_WITHHELD:
                self._seen.clear()
            seen = (not hidden.holds(self.operators.value(code)) for code in range(count))
            known = self._seen[hidden] = np.fromiter(seen, np.bool_, count)
        return known


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Facts of some stations in the order of their ids, as they came from the store; not yet searchable.

    ``evse_key`` and ``evse_station`` list every Evse, connector rows name their Evse by its place in that list.
    """

    lon: FloatArray
    lat: FloatArray
    cell: IntArray
    feed: IntArray
    operator: IntArray
    access: ByteArray
    hours: IntArray
    ids: bytes
    id_start: LongArray
    text: bytes
    text_start: LongArray
    row_start: LongArray
    row_kind: ByteArray
    row_power_w: IntArray
    row_evse: IntArray
    evse_key: KeyArray
    evse_station: IntArray

    def __len__(self) -> int:
        return len(self.lon)

    def id_at(self, number: int) -> bytes:
        """Return the id of a station in UTF-8."""
        return self.ids[self.id_start[number] : self.id_start[number + 1]]

    def spatial_evse_order(self) -> LongArray:
        """Return the order in which the Evses' cells ascend."""
        return np.argsort(self.cell[self.evse_station], kind="stable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """A snapshot. ``station`` numbers are places in spatial order; ``rank`` tells a station's place in order of ids.

    ``x``, ``y``, ``z`` are on the unit sphere, ``tile_x`` and ``tile_y`` of the greatest zoom. Connector rows of a
    station are those from ``row_start[station]`` to ``row_start[station + 1]``; only Evses that operate have rows.
    ``evse_key`` ascends and lists every Evse.
    """

    lon: FloatArray
    lat: FloatArray
    x: FloatArray
    y: FloatArray
    z: FloatArray
    tile_x: TileArray
    tile_y: TileArray
    cell: IntArray
    feed: IntArray
    operator: IntArray
    access: ByteArray
    hours: IntArray
    rank: IntArray
    by_id: IntArray
    ids: bytes
    id_start: LongArray
    text: bytes
    text_start: LongArray
    row_start: LongArray
    row_kind: ByteArray
    row_power_w: IntArray
    row_slot: SlotArray
    row_station: IntArray
    evse_key: KeyArray
    evse_station: IntArray

    def __len__(self) -> int:
        return len(self.lon)

    def id_at(self, station: int) -> bytes:
        """Return the id of a station in UTF-8."""
        return self.ids[self.id_start[station] : self.id_start[station + 1]]

    def rank_of(self, station_id: bytes) -> int:
        """Return how many stations have a smaller id (in order of code points, which UTF-8 keeps)."""
        return bisect_left(_SortedIds(self), station_id)

    def find(self, station_id: bytes) -> int | None:
        """Return the number of the station with this id, or None."""
        rank = self.rank_of(station_id)
        if rank < len(self):
            station = int(self.by_id[rank])
            if self.id_at(station) == station_id:
                return station
        return None

    def stations_of_evse(self, key: int) -> list[int]:
        """Return the stations that have an Evse with this key, by id: one, but for collisions and repeated Evses."""
        wanted = np.uint64(key)
        first, last = np.searchsorted(self.evse_key, wanted), np.searchsorted(self.evse_key, wanted, side="right")
        found = {int(station) for station in self.evse_station[first:last]}
        return sorted(found, key=lambda station: int(self.rank[station]))

    @classmethod
    def empty(cls) -> Self:
        """Return the snapshot of no stations."""
        floats, ints, longs = np.empty(0), np.empty(0, np.int32), np.zeros(1, np.int64)
        return cls(
            lon=floats,
            lat=floats,
            x=floats,
            y=floats,
            z=floats,
            tile_x=ints,
            tile_y=ints,
            cell=ints,
            feed=ints,
            operator=ints,
            access=np.empty(0, np.uint8),
            hours=ints,
            rank=ints,
            by_id=ints,
            ids=b"",
            id_start=longs,
            text=b"",
            text_start=longs,
            row_start=longs,
            row_kind=np.empty(0, np.uint8),
            row_power_w=ints,
            row_slot=ints,
            row_station=ints,
            evse_key=np.empty(0, np.uint64),
            evse_station=ints,
        )


class _SortedIds(Sequence[bytes]):
    """The ids of a snapshot in order, for bisect."""

    def __init__(self, columns: Columns) -> None:
        """Look at a snapshot."""
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns)

    @overload
    def __getitem__(self, rank: int) -> bytes: ...
    @overload
    def __getitem__(self, rank: slice) -> Sequence[bytes]: ...
    def __getitem__(self, rank: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(rank, slice):
            return [self[number] for number in range(*rank.indices(len(self)))]
        return self._columns.id_at(int(self._columns.by_id[rank]))


def cell_column(lon: float) -> int:
    """Return the column of the cell of a longitude of -180…180; it never falls when the longitude rises."""
    return min(int((lon + 180.0) * CELLS_PER_DEGREE), CELLS_PER_ROW - 1)


def cell_row(lat: float) -> int:
    """Return the row of the cell of a latitude of -90…90; it never falls when the latitude rises."""
    return min(int((lat + 90.0) * CELLS_PER_DEGREE), CELL_ROWS - 1)


def read_batch(chunks: Iterable[Sequence[FactRow]], dictionaries: Dictionaries) -> Batch:
    """Make a batch of rows that come in the order of their ids, some thousand at a time."""
    parts = [_read_chunk(chunk, dictionaries) for chunk in chunks if chunk]
    if not parts:
        parts = [_read_chunk([], dictionaries)]
    evses = [len(part.evse_key) for part in parts]
    first_evses = np.cumsum([0, *evses[:-1]])
    first_stations = np.cumsum([0, *(len(part) for part in parts[:-1])])
    return Batch(
        lon=np.concatenate([part.lon for part in parts]),
        lat=np.concatenate([part.lat for part in parts]),
        cell=np.concatenate([part.cell for part in parts]),
        feed=np.concatenate([part.feed for part in parts]),
        operator=np.concatenate([part.operator for part in parts]),
        access=np.concatenate([part.access for part in parts]),
        hours=np.concatenate([part.hours for part in parts]),
        ids=b"".join([part.ids for part in parts]),
        id_start=_join_starts([part.id_start for part in parts]),
        text=b"".join([part.text for part in parts]),
        text_start=_join_starts([part.text_start for part in parts]),
        row_start=_join_starts([part.row_start for part in parts]),
        row_kind=np.concatenate([part.row_kind for part in parts]),
        row_power_w=np.concatenate([part.row_power_w for part in parts]),
        row_evse=np.concatenate(
            [(part.row_evse + first).astype(np.int32) for part, first in zip(parts, first_evses, strict=True)]
        ),
        evse_key=np.concatenate([part.evse_key for part in parts]),
        evse_station=np.concatenate(
            [(part.evse_station + first).astype(np.int32) for part, first in zip(parts, first_stations, strict=True)]
        ),
    )


def _read_chunk(rows: Sequence[FactRow], dictionaries: Dictionaries) -> Batch:
    names, operators, lons, lats, accesses, hours, texts, keys, connectors = (
        zip(*rows, strict=True) if rows else [()] * 9
    )
    ids = [name.encode() for name in names]
    folded = [text + END for text in texts]
    lon, lat = np.array(lons, np.float64), np.array(lats, np.float64)  # None becomes NaN
    known = ~np.isnan(lon)
    columns = np.minimum((lon[known] + 180.0) * CELLS_PER_DEGREE, CELLS_PER_ROW - 1).astype(np.int32)
    cell_rows = np.minimum((lat[known] + 90.0) * CELLS_PER_DEGREE, CELL_ROWS - 1).astype(np.int32)
    cell = np.full(len(rows), NO_CELL, np.int32)
    cell[known] = cell_rows * CELLS_PER_ROW + columns
    evse_counts = np.fromiter(map(len, keys), np.int64, len(rows)) // 8
    row_counts = np.fromiter(map(len, connectors), np.int64, len(rows)) // CONNECTOR_ROW.itemsize
    connector_rows = np.frombuffer(b"".join(connectors), CONNECTOR_ROW)
    first_evses = np.cumsum(evse_counts) - evse_counts
    intern_feed, intern_operator = dictionaries.feeds.intern, dictionaries.operators.intern
    return Batch(
        lon=lon,
        lat=lat,
        cell=cell,
        feed=np.array([intern_feed(name[: name.index(SEPARATOR)]) for name in names], np.int32),
        operator=np.array([intern_operator(operator) for operator in operators], np.int32),
        access=np.array(accesses, np.uint8),
        hours=np.array([dictionaries.hours.intern(pattern) for pattern in hours], np.int32),
        ids=b"".join(ids),
        id_start=_starts(np.fromiter(map(len, ids), np.int64, len(rows))),
        text=b"".join(folded),
        text_start=_starts(np.fromiter(map(len, folded), np.int64, len(rows))),
        row_start=_starts(row_counts),
        row_kind=connector_rows["kind"].copy(),
        row_power_w=connector_rows["power_w"].astype(np.int32),
        row_evse=(connector_rows["evse"] + np.repeat(first_evses, row_counts)).astype(np.int32),
        evse_key=np.frombuffer(b"".join(keys), "<u8").astype(np.uint64),
        evse_station=np.repeat(np.arange(len(rows), dtype=np.int32), evse_counts),
    )


def merge(old: Columns, gone: Iterable[bytes], batch: Batch, slots: SlotArray) -> Columns:
    """Return the snapshot without the stations ``gone`` and with those of the batch added or replaced.

    ``slots`` are those of the batch's Evses. ``old`` stays as it is, for those who still read it.
    """
    keep = np.ones(len(old), np.bool_)
    for station_id in gone:
        station = old.find(station_id)
        if station is not None:
            keep[station] = False
    ranks = _ranks_in(old, batch)
    for number, rank in enumerate(ranks):
        if rank < len(old) and old.id_at(int(old.by_id[rank])) == batch.id_at(number):
            keep[old.by_id[rank]] = False

    # From here a station is known by its virtual number: the old ones as they were, then those of the batch.
    kept_by_rank = keep[old.by_id]
    kept_before = _starts(kept_by_rank.astype(np.int64))
    added = np.arange(len(old), len(old) + len(batch))
    id_order = np.insert(old.by_id[kept_by_rank].astype(np.int64), kept_before[ranks], added)
    cell = np.concatenate([old.cell, batch.cell])
    order = id_order[np.argsort(cell[id_order], kind="stable")]
    place = np.full(len(old) + len(batch), -1, np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    by_id = place[id_order]
    rank_column = np.empty(len(order), np.int32)
    rank_column[by_id] = np.arange(len(order), dtype=np.int32)

    row_counts = np.concatenate([np.diff(old.row_start), np.diff(batch.row_start)])[order]
    row_firsts = np.concatenate([old.row_start[:-1], batch.row_start[:-1] + len(old.row_kind)])[order]
    row_start = _starts(row_counts)
    rows = np.repeat(row_firsts - row_start[:-1], row_counts) + np.arange(row_start[-1])
    lon, lat = np.concatenate([old.lon, batch.lon])[order], np.concatenate([old.lat, batch.lat])[order]
    x, y, z = unit_vectors(lon, lat)
    tile_x, tile_y = tiles_of(batch.lon, batch.lat)
    ids, id_start = _splice((old.ids, old.id_start), (batch.ids, batch.id_start), order)
    text, text_start = _splice((old.text, old.text_start), (batch.text, batch.text_start), order)
    evse_key, evse_station = _merge_evses(old, keep, batch, place)
    return Columns(
        lon=lon,
        lat=lat,
        x=x,
        y=y,
        z=z,
        tile_x=np.concatenate([old.tile_x, tile_x])[order],
        tile_y=np.concatenate([old.tile_y, tile_y])[order],
        cell=cell[order],
        feed=np.concatenate([old.feed, batch.feed])[order],
        operator=np.concatenate([old.operator, batch.operator])[order],
        access=np.concatenate([old.access, batch.access])[order],
        hours=np.concatenate([old.hours, batch.hours])[order],
        rank=rank_column,
        by_id=by_id,
        ids=ids,
        id_start=id_start,
        text=text,
        text_start=text_start,
        row_start=row_start,
        row_kind=np.concatenate([old.row_kind, batch.row_kind])[rows],
        row_power_w=np.concatenate([old.row_power_w, batch.row_power_w])[rows],
        row_slot=np.concatenate([old.row_slot, slots[batch.row_evse]])[rows],
        row_station=np.repeat(np.arange(len(order), dtype=np.int32), row_counts),
        evse_key=evse_key,
        evse_station=evse_station,
    )


def _ranks_in(old: Columns, batch: Batch) -> LongArray:
    """Return for each station of the batch how many old ones have a smaller id."""
    ranks = np.zeros(len(batch), np.int64)
    if len(old):
        ids, low = _SortedIds(old), 0
        for number in range(len(batch)):
            low = bisect_left(ids, batch.id_at(number), low)
            ranks[number] = low
    return ranks


def _merge_evses(old: Columns, keep: npt.NDArray[np.bool_], batch: Batch, place: IntArray) -> tuple[KeyArray, IntArray]:
    kept = keep[old.evse_station]
    keys, stations = old.evse_key[kept], place[old.evse_station[kept]]
    order = np.argsort(batch.evse_key)
    new_keys, new_stations = batch.evse_key[order], place[len(old) + batch.evse_station[order].astype(np.int64)]
    at = np.searchsorted(keys, new_keys)
    return np.insert(keys, at, new_keys), np.insert(stations, at, new_stations)


def _splice(old: tuple[bytes, LongArray], new: tuple[bytes, LongArray], order: LongArray) -> tuple[bytes, LongArray]:
    """Join the pieces of two blobs in a new order; neighbours that stay neighbours are copied in one go."""
    (old_blob, old_start), (new_blob, new_start) = old, new
    if not len(order):
        return b"", np.zeros(1, np.int64)
    count = len(old_start) - 1
    breaks = np.flatnonzero((np.diff(order) != 1) | (order[1:] == count)) + 1
    lows, highs = order[np.insert(breaks, 0, 0)], order[np.append(breaks - 1, len(order) - 1)]
    from_old = lows < count
    low_bytes = np.concatenate([old_start[:-1], new_start])[lows].tolist()
    high_bytes = np.concatenate([old_start[1:], new_start[1:]])[highs].tolist()
    views = (memoryview(new_blob), memoryview(old_blob))
    pieces = [
        views[is_old][low:high] for is_old, low, high in zip(from_old.tolist(), low_bytes, high_bytes, strict=True)
    ]
    lengths = np.concatenate([np.diff(old_start), np.diff(new_start)])[order]
    return b"".join(pieces), _starts(lengths)


def _starts(lengths: npt.NDArray[np.int64]) -> LongArray:
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def _join_starts(parts: Sequence[LongArray]) -> LongArray:
    return _starts(np.concatenate([np.diff(part) for part in parts]))
