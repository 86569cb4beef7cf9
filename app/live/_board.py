"""The arrays that each process answers from: one row (slot) an Evse, one numpy column a field."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from app.live.base import Freshness, LiveBoard, RecordSummary
from app.model.availability import Availability, EvseStatus, StatusChannel
from app.model.clock import Instant
from app.model.identity import SEPARATOR, evse_digest
from app.model.search import BoolArray, KeyArray, SlotArray, StateArray

SLOT = np.dtype(
    [
        ("key", "<u8"),
        ("observed_at", "<f8"),
        ("received_at", "<f8"),
        ("stale_after", "<f8"),
        ("raw", "<u4"),
        ("availability", "u1"),
        ("channel", "u1"),
    ]
)
"""One Evse as it is written to disk, or sent to other processes."""

PAGE_SLOTS = 106
"""Slots written together: what fits into one page of SQLite's, 4,096 bytes."""

# A code on disk is a position here: append only. 0 stands for "there was never a status".
AVAILABILITIES: tuple[Availability | None, ...] = (
    None,
    Availability.UNKNOWN,
    Availability.AVAILABLE,
    Availability.CHARGING,
    Availability.OCCUPIED,
    Availability.RESERVED,
    Availability.BLOCKED,
    Availability.OUT_OF_ORDER,
    Availability.UNAVAILABLE,
    Availability.OFFLINE,
    Availability.NOT_LIVE,
)
CHANNELS = (StatusChannel.PULL, StatusChannel.PUSH)

_CODES = {availability: code for code, availability in enumerate(AVAILABILITIES)}
_CHANNEL_CODES = {channel: code for code, channel in enumerate(CHANNELS)}
_AVAILABLE = _CODES[Availability.AVAILABLE]
_STALE_BIT = np.uint8(7)
_HELD_BITS = 8
_MS = 1_000
_UNKNOWN_SLOT = -1
_MIN_INDEX_BITS = 12
_KEYS_AT_ONCE = 65_536
_PAGES_PER_LOCK = 128
_MAX_REMEMBERED_IDS = 131_072
_MIN_RAW_TEXTS = 65_536

IntArray = npt.NDArray[np.intp]
RecordArray = npt.NDArray[np.void]
"""Of SLOT."""


class _Columns(NamedTuple):
    """The fields of SLOT, until when each Evse is held, and the number of the last change of either.

    Columns grow by being replaced all together.
    """

    key: npt.NDArray[np.uint64]
    observed_at: npt.NDArray[np.float64]
    received_at: npt.NDArray[np.float64]
    stale_after: npt.NDArray[np.float64]
    raw: npt.NDArray[np.uint32]
    availability: npt.NDArray[np.uint8]
    channel: npt.NDArray[np.uint8]
    held_until: npt.NDArray[np.float64]
    change: npt.NDArray[np.int64]


class _Index(NamedTuple):
    """A hash table of slots by key, at most half full: keys are uniform already, so their first bits say where to look.

    A slot stands at its place or, where that is taken, behind it without a gap.
    """

    table: SlotArray
    shift: np.uint64


class ArrayBoard(LiveBoard):
    """A live board in memory: everything of the contract but what outlives the process.

    About 60 bytes an Evse. ``slots``, ``usable``, ``fresh`` and ``states`` may be called from any thread, the others
    from one.
    """

    def __init__(self) -> None:
        """Begin with no slots."""
        self._lock = threading.Lock()
        self._count = 0
        self._set_columns(_make_columns(1))
        self._dirty = np.zeros(1, np.bool_)
        self._index = _make_index(0)
        self._raw_texts: list[str] = []
        self._raw_codes: dict[str, int] = {}
        self._newest: dict[str, Instant] = {}
        self._remembered: dict[str, int] = {}
        self._any_hold = False
        self._change_count = 0

    def _set_columns(self, columns: _Columns) -> None:
        self._columns = columns
        self._changes = columns.change.data  # reads single numbers five times as fast as an array

    # ------------------------------------------------------------------------------------------------ which slot

    def slots(self, keys: KeyArray) -> SlotArray:
        """Return the slot of each key, making slots for new keys."""
        found = np.empty(len(keys), np.int32)
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            part = keys[start : start + _KEYS_AT_ONCE]
            slots = self._look_up(part)
            if slots.min() < 0:
                with self._lock:
                    self._mark(self._add(part[slots < 0]))
                slots = self._look_up(part)
            found[start : start + len(part)] = slots
        return found

    def _look_up(self, keys: KeyArray) -> SlotArray:
        """Return the slot of each key, _UNKNOWN_SLOT for keys that have none."""
        table, shift = self._index
        at = (keys >> shift).astype(np.intp)
        found = table.take(at)
        # The columns are read after the table, and so hold every slot that stands in it.
        astray = np.flatnonzero((found >= 0) & (self._columns.key.take(found) != keys))
        while len(astray):
            at[astray] = (at[astray] + 1) & (len(table) - 1)
            next_found = table.take(at[astray])
            found[astray] = next_found
            astray = astray[(next_found >= 0) & (self._columns.key.take(next_found) != keys[astray])]
        return found

    def _add(self, keys: KeyArray) -> SlotArray:
        """Make slots for those keys that have none, in the order given, and return these; the lock is held."""
        new, first = np.unique(keys[self._look_up(keys) < 0], return_index=True)
        slots = np.empty(len(new), np.int32)
        if not len(new):
            return slots
        slots[np.argsort(first)] = np.arange(self._count, self._count + len(new), dtype=np.int32)
        self._grow(self._count + len(new))
        self._columns.key[slots] = new
        self._count += len(new)
        if 2 * self._count > len(self._index.table):
            index = _make_index(self._count)
            _insert(index, self._columns.key[: self._count])
            self._index = index
        else:
            _insert_part(self._index, new, slots)
        return slots

    def _grow(self, count: int) -> None:
        capacity = len(self._columns.key)
        if count <= capacity:
            return
        pages = -(-max(count, 2 * capacity) // PAGE_SLOTS)
        grown = _make_columns(pages)
        for name in _Columns._fields:
            getattr(grown, name)[:capacity] = getattr(self._columns, name)
        self._set_columns(grown)
        dirty = np.zeros(pages, np.bool_)
        dirty[: len(self._dirty)] = self._dirty
        self._dirty = dirty

    def _slots_of(self, evse_ids: Sequence[str]) -> list[int]:
        """Return the slot of each Evse, _UNKNOWN_SLOT where it has none. Slots never change, so they are remembered."""
        remembered = self._remembered
        slots = [remembered.get(evse_id, _UNKNOWN_SLOT) for evse_id in evse_ids]
        if _UNKNOWN_SLOT in slots:
            places = [place for place, slot in enumerate(slots) if slot < 0]
            found = self._look_up(_keys([evse_ids[place] for place in places])).tolist()
            if len(remembered) + len(places) > _MAX_REMEMBERED_IDS:
                remembered = self._remembered = {}
            for place, slot in zip(places, found, strict=True):
                slots[place] = slot
                if slot >= 0 and len(remembered) < _MAX_REMEMBERED_IDS:
                    remembered[evse_ids[place]] = slot
        return slots

    # ------------------------------------------------------------------------------------------------ statuses

    def _take(self, statuses: Sequence[EvseStatus]) -> RecordSummary:
        """Apply statuses as if one after another."""
        slots = self._look_up(_keys([status.evse_id for status in statuses]))
        known = slots >= 0
        unknown_evses = len(statuses) - int(np.count_nonzero(known))
        if unknown_evses:
            statuses = list(compress(statuses, known.tolist()))
            slots = slots[known]
        if not statuses:
            return RecordSummary(taken=0, changed=0, unknown_evses=unknown_evses)
        self._note_newest(statuses)
        received_at = np.array([status.received_at for status in statuses])
        codes = np.array([_CODES[status.availability] for status in statuses], np.uint8)
        with self._lock:
            columns = self._columns
            order = np.argsort(slots, kind="stable")
            taken = order[_newer(slots[order], received_at[order], columns.received_at)]
            slots, codes = slots[taken], codes[taken]
            first = _starts(slots)
            before = np.where(first, columns.availability[slots], np.roll(codes, 1))
            changed = int(np.count_nonzero(before != codes))
            last = np.roll(first, -1)
            slots, chosen = slots[last], taken[last]
            winners = [statuses[place] for place in chosen.tolist()]
            columns.observed_at[slots] = [status.observed_at for status in winners]
            columns.received_at[slots] = received_at[chosen]
            columns.stale_after[slots] = [status.stale_after for status in winners]
            columns.raw[slots] = [self._raw_code(status.raw) for status in winners]
            columns.availability[slots] = codes[last]
            columns.channel[slots] = [_CHANNEL_CODES[status.channel] for status in winners]
            self._count_change(slots)
            self._mark(slots)
        return RecordSummary(taken=len(taken), changed=changed, unknown_evses=unknown_evses)

    def _take_records(self, records: RecordArray, texts: Sequence[str]) -> None:
        """Apply what another process took, each Evse at most once; Evses get slots, they are known to somebody.

        ``raw`` is a position in ``texts``. What is as new as ours wins too: who recorded both has chosen.
        """
        keys = records["key"].copy()
        codes = np.array([self._raw_code(text) for text in texts] or [0], np.uint32)
        with self._lock:
            self._add(keys)
            slots, columns = self._look_up(keys), self._columns
            newer = (records["availability"] != 0) & (records["received_at"] >= columns.received_at[slots])
            slots, records = slots[newer], records[newer]
            for name in ("observed_at", "received_at", "stale_after", "availability", "channel"):
                getattr(columns, name)[slots] = records[name]
            columns.raw[slots] = codes[records["raw"]]
            self._count_change(slots)

    def _make_records(self, slots: SlotArray) -> tuple[RecordArray, list[str]]:
        """Return slots as ``_take_records`` takes them."""
        records = np.empty(len(slots), SLOT)
        with self._lock:
            for name in SLOT.names or ():
                records[name] = getattr(self._columns, name)[slots]
        used, records["raw"] = np.unique(records["raw"], return_inverse=True)
        # Where there was never a status there may be no text.
        return records, [self._raw_texts[code] if code < len(self._raw_texts) else "" for code in used.tolist()]

    def _note_newest(self, statuses: Sequence[EvseStatus]) -> None:
        newest: dict[str, Instant] = {}
        feed = prefix = ""
        for status in statuses:
            if not prefix or not status.evse_id.startswith(prefix):
                feed = status.evse_id.partition(SEPARATOR)[0]
                prefix = feed + SEPARATOR
            if status.received_at > newest.get(feed, -np.inf):
                newest[feed] = status.received_at
        for name, received_at in newest.items():
            self._newest[name] = max(received_at, self._newest.get(name, received_at))

    def _raw_code(self, text: str) -> int:
        code = self._raw_codes.get(text)
        if code is None:
            code = self._raw_codes[text] = len(self._raw_texts)
            self._raw_texts.append(text)
        return code

    def find(self, evse_ids: Sequence[str]) -> list[EvseStatus | None]:
        """Return the last status of each Evse as it was received, None where there was never one."""
        slots = self._slots_of(evse_ids)
        if not slots:
            return []
        columns, texts = self._columns, self._raw_texts
        where = np.array(slots)
        if where.max() < 0:
            return [None] * len(slots)
        codes = np.where(where >= 0, columns.availability[where], 0)
        found: list[EvseStatus | None] = []
        for evse_id, code, raw, observed_at, received_at, stale_after, channel in zip(
            evse_ids,
            codes.tolist(),
            columns.raw[where].tolist(),
            columns.observed_at[where].tolist(),
            columns.received_at[where].tolist(),
            columns.stale_after[where].tolist(),
            columns.channel[where].tolist(),
            strict=True,
        ):
            availability = AVAILABILITIES[code]
            found.append(
                None
                if availability is None
                else EvseStatus(
                    evse_id, availability, texts[raw], observed_at, received_at, stale_after, CHANNELS[channel]
                )
            )
        return found

    def usable(self, slots: SlotArray, at: Instant, max_age_s: float | None) -> BoolArray:
        """Tell for each slot whether it is AVAILABLE, not stale at ``at``, not too old and not held."""
        columns, rows = self._columns, slots.astype(np.intp)  # once, and not at each take
        usable: BoolArray = columns.availability.take(rows) == _AVAILABLE
        usable &= columns.stale_after.take(rows) > at
        if max_age_s is not None:
            usable &= at - columns.observed_at.take(rows) <= max_age_s
        if self._any_hold:
            usable &= columns.held_until.take(rows) <= at
        return usable

    def fresh(self, slots: SlotArray, at: Instant, max_age_s: float) -> BoolArray:
        """Tell for each slot whether there is a status that is neither stale nor too old."""
        columns, rows = self._columns, slots.astype(np.intp)
        fresh: BoolArray = columns.availability.take(rows) != 0
        fresh &= columns.stale_after.take(rows) > at
        fresh &= at - columns.observed_at.take(rows) <= max_age_s
        return fresh

    def states(self, slots: SlotArray, at: Instant) -> StateArray:
        """Return for each slot a number that stands for what is shown of it."""
        columns, rows = self._columns, slots.astype(np.intp)
        small = columns.availability.take(rows)
        small |= (columns.stale_after.take(rows) <= at).view(np.uint8) << _STALE_BIT
        states: StateArray = small.astype(np.int64)
        if self._any_hold:
            until = columns.held_until.take(rows)
            held = np.flatnonzero(until > at)
            states[held] |= (until[held] * _MS).astype(np.int64) << _HELD_BITS
        return states

    def newest(self, feed: str) -> Instant | None:
        """Return when the last status of a feed's known Evses was received since the process began."""
        return self._newest.get(feed)

    def freshness(self, at: Instant) -> Freshness:
        """Count the Evses with a status, and those of them whose status is not stale at ``at``."""
        columns = self._columns
        known = columns.availability != 0
        with_status = int(np.count_nonzero(known))
        fresh = int(np.count_nonzero(known & (columns.stale_after > at)))
        return Freshness(fresh=fresh, stale=with_status - fresh, changes=self._change_count)

    # ------------------------------------------------------------------------------------------------ changes

    @property
    def change_count(self) -> int:
        """How often statuses and holds were taken so far in this process."""
        return self._change_count

    def last_change(self, slots: Sequence[int]) -> int:
        """Return what ``change_count`` was when one of these slots was last taken; 0 for never."""
        changes = self._changes
        return max([changes[slot] for slot in slots]) if slots else 0

    def find_slots(self, evse_ids: Sequence[str]) -> tuple[int, ...] | None:
        """Return the slot of each Evse; None while one of them has none."""
        slots = self._slots_of(evse_ids)
        return None if _UNKNOWN_SLOT in slots else tuple(slots)

    def _count_change(self, slots: SlotArray | int) -> None:
        """Note that slots changed; the lock is held."""
        self._columns.change[slots] = self._change_count + 1
        self._change_count += 1

    # ------------------------------------------------------------------------------------------------ holds

    def set_hold(self, evse_id: str, until: Instant) -> None:
        """Make the Evse unusable until an Instant; it gets a slot if it has none."""
        slot = self.slots(_keys([evse_id]))[0]
        with self._lock:
            self._columns.held_until[slot] = until
            self._any_hold = True
            self._count_change(slot)

    def holds(self, evse_ids: Iterable[str], at: Instant) -> list[bool]:
        """Tell for each Evse whether it is held at ``at``."""
        asked = list(evse_ids)
        if not asked or not self._any_hold:
            return [False] * len(asked)
        slots = np.array(self._slots_of(asked), np.intp)
        held: list[bool] = ((slots >= 0) & (self._columns.held_until[slots] > at)).tolist()
        return held

    # ------------------------------------------------------------------------------------------------ pages

    def _mark(self, slots: SlotArray) -> None:
        """Note slots that are new or have a new status, to be written; the lock is held."""
        self._dirty[slots // PAGE_SLOTS] = True

    def _take_dirty_pages(self) -> IntArray:
        """Return the pages that changed since they were last taken, ascending."""
        with self._lock:
            pages = np.flatnonzero(self._dirty)
            self._dirty[pages] = False
        return pages

    def _mark_dirty(self, pages: IntArray) -> None:
        with self._lock:
            self._dirty[pages] = True

    def _encode_pages(self, pages: IntArray) -> Iterator[tuple[int, bytes]]:
        """Yield the number and the bytes of each page; statuses may come in between."""
        for start in range(0, len(pages), _PAGES_PER_LOCK):
            numbers = pages[start : start + _PAGES_PER_LOCK]
            block = np.empty((len(numbers), PAGE_SLOTS), SLOT)
            with self._lock:
                for name in SLOT.names or ():
                    block[name] = getattr(self._columns, name).reshape(-1, PAGE_SLOTS)[numbers]
                count = self._count
            for number, page in zip(numbers.tolist(), block, strict=True):
                yield number, page[: count - number * PAGE_SLOTS].tobytes()

    def _load(self, raw_texts: list[str], count: int, blocks: Iterable[bytes]) -> None:
        """Begin anew with ``count`` slots out of the bytes of all pages in order. Raises ValueError where they lie."""
        with self._lock:
            columns = _make_columns(max(1, -(-count // PAGE_SLOTS)))
            loaded = 0
            for block in blocks:
                page = np.frombuffer(block, SLOT)
                if loaded + len(page) > count:
                    raise ValueError("more slots than pages")
                for name in SLOT.names or ():
                    getattr(columns, name)[loaded : loaded + len(page)] = page[name]
                loaded += len(page)
            if loaded != count:
                raise ValueError("fewer slots than pages")
            used = columns.availability[:count] != 0
            if used.any() and (
                columns.availability[:count].max() >= len(AVAILABILITIES)
                or columns.channel[:count].max() >= len(CHANNELS)
                or columns.raw[:count][used].max() >= len(raw_texts)
            ):
                raise ValueError("a code that nobody knows")
            index = _make_index(count)
            _insert(index, columns.key[:count])
            self._set_columns(columns)
            self._index, self._count = index, count
            self._dirty = np.zeros(len(columns.key) // PAGE_SLOTS, np.bool_)
            self._raw_texts = raw_texts
            self._raw_codes = {text: code for code, text in enumerate(raw_texts)}
            self._remembered = {}

    def _forget_unused_raw_texts(self) -> bool:
        """Keep the table of source texts in proportion to the Evses; True when codes changed and all pages are dirty.

        To be called where ``find`` is: in between, codes and texts would not fit together.
        """
        if len(self._raw_texts) < max(_MIN_RAW_TEXTS, 2 * self._count):
            return False
        with self._lock:
            raw = self._columns.raw[: self._count]
            used, codes = np.unique(raw, return_inverse=True)
            raw[:] = codes
            self._raw_texts = [self._raw_texts[code] for code in used.tolist()]
            self._raw_codes = {text: code for code, text in enumerate(self._raw_texts)}
            self._dirty[: -(-self._count // PAGE_SLOTS)] = True
        return True


def _make_columns(pages: int) -> _Columns:
    # Zeroed memory that nobody has touched yet costs nothing.
    capacity = pages * PAGE_SLOTS
    return _Columns(
        key=np.zeros(capacity, np.uint64),
        observed_at=np.zeros(capacity),
        received_at=np.zeros(capacity),
        stale_after=np.zeros(capacity),
        raw=np.zeros(capacity, np.uint32),
        availability=np.zeros(capacity, np.uint8),
        channel=np.zeros(capacity, np.uint8),
        held_until=np.zeros(capacity),
        change=np.zeros(capacity, np.int64),
    )


def _keys(evse_ids: Iterable[str]) -> KeyArray:
    """``app.model.identity.evse_key`` of many."""
    digests = b"".join([evse_digest(evse_id) for evse_id in evse_ids])
    return np.frombuffer(digests, ">u8").astype(np.uint64)


def _make_index(count: int) -> _Index:
    bits = max(_MIN_INDEX_BITS, (2 * count - 1).bit_length())
    return _Index(np.full(1 << bits, _UNKNOWN_SLOT, np.int32), np.uint64(64 - bits))


def _insert(index: _Index, keys: KeyArray) -> None:
    """Put the slots 0, 1, … of these keys in."""
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        part = keys[start : start + _KEYS_AT_ONCE]
        _insert_part(index, part, np.arange(start, start + len(part), dtype=np.int32))


def _insert_part(index: _Index, keys: KeyArray, slots: SlotArray) -> None:
    """Put slots in, all at once: of those that want one place the last gets it, the others go on to the next."""
    table, shift = index
    at = (keys >> shift).astype(np.intp)
    while len(slots):
        free = table.take(at) < 0
        table[at[free]] = slots[free]
        lost = table.take(at) != slots
        slots = slots[lost]
        at = (at[lost] + 1) & (len(table) - 1)


def _starts(slots: SlotArray) -> BoolArray:
    """Tell where in ascending slots a new slot begins."""
    starts = np.ones(len(slots), np.bool_)
    np.not_equal(slots[1:], slots[:-1], out=starts[1:])
    return starts


def _newer(slots: SlotArray, received_at: npt.NDArray[np.float64], stored: npt.NDArray[np.float64]) -> BoolArray:
    """Tell for each status, in the order of slots, whether it came later than the stored one and all before it."""
    starts = _starts(slots)
    rank = np.unique(received_at, return_inverse=True)[1]
    height = np.cumsum(starts) * len(slots) + rank  # rises from slot to slot, and within one by time
    highest_before = np.roll(np.maximum.accumulate(height), 1)
    newer: BoolArray = (starts | (height > highest_before)) & (received_at > stored[slots])
    return newer
