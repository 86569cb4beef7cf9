"""Tell subscribers what changes at the stations that they watch, as it changes and no faster than they read.

Nothing is queued. A watch is what one viewer wants to know of some stations: for each of them it remembers whether it
belongs to the answer, since which round, and in which round it last changed. A follower remembers one number, the round
that it was told of last; what it is told next is what changed since. So a reader that is slow costs nothing: it is told
the newest, once, and how many rounds were joined.

The board is looked at five times a second, once for all watches: the states of all their Evses are compared with what
they were. That sees news, holds, and what passes with time alone, and costs the same however much news comes.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Hashable, Iterable, Sequence
from enum import Enum
from math import inf
from typing import Final, TypeAlias

import msgspec
import numpy as np

from app.errors import ChargegraphError, InvalidInputError, NotAllowedError, UnavailableError
from app.live.base import LiveBoard
from app.model.clock import Clock, Instant, monotonic_s
from app.model.identity import evse_key
from app.model.matching import asks_for_live, matches_record, qualifying_evses, without_live
from app.model.opening import is_open, open_until
from app.model.partner import Scope
from app.model.search import SlotArray, StationFilter, Where
from app.model.station import Station
from app.services.station_search import MAX_IDS, StationSearch
from app.services.viewer import Viewer

MAX_STATIONS_A_WATCH: Final = 2_000
MAX_CHANGES_AT_ONCE: Final = 100
"""How many changes one piece of news tells; what is more follows at once in the next."""

MAX_SUBSCRIPTIONS_A_PARTNER: Final = 10_000
MAX_WATCHED: Final = 2_000_000
"""How many stations all watches of a process may hold all together, one that several watch counted as often."""

LOOK_S: Final = 0.2
ROUND_S: Final = 1.0
"""How long a round of a watch lasts at least, after which its followers are told what changed."""

RESTLESS_S: Final = 5.0
"""How often all stations are judged anew where time alone decides: opening hours, and the age of a status."""

RECHECK_S: Final = 10.0
"""How long after a change of the index a watch looks at the earliest which stations there are."""

_LOOKED_AT_ONCE: Final = 65_536
_WOKEN_AT_ONCE: Final = 8
_MAX_GONE: Final = 2_000
_REST: Final = 4
"""What is compared with the board or with the index leaves the others this many times as long as it took."""

_log = logging.getLogger("chargegraph.watching")


class ChangeKind(Enum):
    """How a station's part in the answer changed."""

    ENTERED = "ENTERED"
    LEFT = "LEFT"
    CHANGED = "CHANGED"


class Change(msgspec.Struct, frozen=True, gc=False):
    """What became of one station."""

    kind: ChangeKind
    station_id: str


class News(msgspec.Struct, frozen=True, kw_only=True):
    """What a follower is told at once.

    ``joined``: how many rounds it joins. ``resynced``: all is told anew, from here on. ``more``: the rest follows at
    once. ``payloads`` is for those who write it: what is written for one follower is the same for all who are told the
    same object, which are all of one viewer.
    """

    changes: tuple[Change, ...]
    joined: int
    resynced: bool
    more: bool
    payloads: dict[Hashable, bytes]


class _Watched:
    """A station that somebody watches."""

    __slots__ = ("_open", "_open_until", "_qualifying", "begin", "id", "number", "record", "slots", "watches")

    def __init__(self, record: Station, slots: SlotArray) -> None:
        self.id = record.id
        self.watches: set[Watch] = set()
        self.number = self.begin = -1
        self.set(record, slots)

    def set(self, record: Station, slots: SlotArray) -> None:
        """Take a new record."""
        self.record = record
        self.slots = slots
        self._qualifying: dict[Hashable, list[int]] = {}
        self._open: bool | None = None
        self._open_until: Instant = -inf

    def qualifying(self, wanted: StationFilter) -> list[int]:
        """Return the slots of the Evses of which one has to have the status that the filter asks for."""
        key = wanted.connector_types, wanted.min_power_w
        found = self._qualifying.get(key)
        if found is None:
            found = self._qualifying[key] = [int(self.slots[place]) for place in qualifying_evses(self.record, wanted)]
        return found

    def is_open(self, at: Instant) -> bool:
        """Tell whether it is known to be open."""
        if at >= self._open_until:
            self._open = is_open(self.record.hours, at, self.record.time_zone)
            self._open_until = open_until(self.record.hours, at, self.record.time_zone)
        return self._open is True


class _Register:
    """All stations that somebody watches, and what was last seen of their Evses: one row an Evse."""

    def __init__(self, board: LiveBoard) -> None:
        self._board = board
        self._stations: dict[str, _Watched] = {}
        self._clear()

    def _clear(self) -> None:
        self._numbered: list[_Watched | None] = []
        self._free: list[int] = []
        self._slots = np.empty(0, np.int32)
        self._states = np.empty(0, np.int64)
        self._owners = np.empty(0, np.int32)
        self.count = 0
        self._dead = 0

    def add(self, records: Sequence[Station], watch: "Watch", at: Instant) -> list[_Watched]:
        """Return the stations, watched from now on by this watch too."""
        found = [self._stations.get(record.id) for record in records]
        stale = [
            place
            for place, (known, record) in enumerate(zip(found, records, strict=True))
            if known is None or (known.record is not record and known.record != record)
        ]
        if stale:
            keys = np.array([evse_key(evse.id) for place in stale for evse in records[place].evses], np.uint64)
            slots = self._board.slots(keys)
            begin = 0
            for place in stale:
                record, known = records[place], found[place]
                mine = slots[begin : begin + len(record.evses)]
                begin += len(mine)
                if known is None:
                    known = found[place] = self._stations[record.id] = _Watched(record, mine)
                    known.number = self._free.pop() if self._free else len(self._numbered)
                    self._numbered[known.number : known.number + 1] = [known]
                else:
                    self._bury(known)
                    known.set(record, mine)
                    for other in known.watches:
                        other.touch(known)
                self._append(known, at)
        stations = [known for known in found if known is not None]
        for known in stations:
            known.watches.add(watch)
        return stations

    def remove(self, known: _Watched, watch: "Watch") -> None:
        """Forget that a watch wants to know of a station."""
        known.watches.discard(watch)
        if not known.watches:
            del self._stations[known.id]
            self._numbered[known.number] = None
            self._free.append(known.number)
            self._bury(known)
        if not self._stations:
            self._clear()

    def find(self, station_ids: Iterable[str]) -> list[_Watched]:
        """Return those of these stations that somebody watches."""
        return [known for station_id in station_ids if (known := self._stations.get(station_id)) is not None]

    def look_at(self, stations: Sequence[_Watched], at: Instant) -> list[_Watched]:
        """Return those of these that look otherwise than when they were looked at last."""
        if not stations:
            return []
        rows = np.concatenate([np.arange(known.begin, known.begin + len(known.slots)) for known in stations])
        states = self._board.states(self._slots[rows], at)
        changed = np.flatnonzero(states != self._states[rows])
        if not len(changed):
            return []
        self._states[rows] = states
        owners = set(self._owners[rows[changed]].tolist())
        return [known for known in stations if known.number in owners]

    def compact(self) -> None:
        """Drop the rows of stations that nobody watches any more, once they are many."""
        if self._dead < 1_024 or 2 * self._dead < self.count:
            return
        kept = np.flatnonzero(self._owners[: self.count] >= 0)
        self._slots, self._states, self._owners = self._slots[kept], self._states[kept], self._owners[kept]
        self.count, self._dead = len(kept), 0
        first = np.ones(len(kept), np.bool_)
        np.not_equal(self._owners[1:], self._owners[:-1], out=first[1:])
        for begin in np.flatnonzero(first).tolist():
            known = self._numbered[self._owners[begin]]
            assert known is not None
            known.begin = begin

    def look(self, begin: int, at: Instant) -> list[_Watched]:
        """Return those of which something looks otherwise than when it was looked at last, of some rows."""
        end = min(begin + _LOOKED_AT_ONCE, self.count)
        states = self._board.states(self._slots[begin:end], at)
        changed = np.flatnonzero(states != self._states[begin:end])
        if not len(changed):
            return []
        self._states[begin:end] = states
        numbers = np.unique(self._owners[begin:end][changed]).tolist()
        return [known for number in numbers if number >= 0 and (known := self._numbered[number]) is not None]

    def _append(self, known: _Watched, at: Instant) -> None:
        size = len(known.slots)
        end = self.count + size
        if end > len(self._slots):
            room = max(end, 2 * len(self._slots), 1_024)
            self._slots = np.concatenate([self._slots[: self.count], np.empty(room - self.count, np.int32)])
            self._states = np.concatenate([self._states[: self.count], np.empty(room - self.count, np.int64)])
            self._owners = np.concatenate([self._owners[: self.count], np.empty(room - self.count, np.int32)])
        rows = slice(self.count, end)
        self._slots[rows] = known.slots
        self._states[rows] = self._board.states(known.slots, at)
        self._owners[rows] = known.number
        known.begin, self.count = self.count, end

    def _bury(self, known: _Watched) -> None:
        size = len(known.slots)
        self._owners[known.begin : known.begin + size] = -1
        self._dead += size


class _Seat(msgspec.Struct, frozen=True, gc=False):
    """A station's part in a watch: whether it belongs to the answer, since which round, and when it last changed."""

    member: bool
    since: int
    version: int


_OUTSIDE = _Seat(member=False, since=0, version=0)
_INSIDE = _Seat(member=True, since=0, version=0)

What: TypeAlias = tuple[str, ...] | Where
"""The stations with these ids, or those that stand somewhere."""


class Watch:
    """What one viewer wants to know of some stations; shared by all its followers."""

    def __init__(self, viewer: Viewer, what: What, wanted: StationFilter, on_touch: "Callable[[Watch], None]") -> None:
        """Know no station yet. ``on_touch`` is told when there is something to be judged in the next round."""
        self.viewer = viewer
        self.what = what
        self.wanted = wanted
        self.lasting = without_live(wanted)
        self.followers: set[Following] = set()
        self.loading: asyncio.Future[None] | None = None
        self.is_live = asks_for_live(wanted)
        self.is_restless = wanted.open_now or wanted.max_status_age_s is not None
        self.round = 0
        self.seats: dict[_Watched, _Seat] = {}
        self.dirty: set[_Watched] = set()
        self.failure: ChargegraphError | None = None
        self.next_round_at = 0.0
        self.next_judged_at = 0.0
        self.checked_at = 0.0
        self.mark: str | None = None
        self._gone: dict[str, int] = {}
        self._floor = 0
        self._latest: tuple[Change, ...] = ()
        self._shared: tuple[News, ...] | None = None
        self._is_shared = False
        self._on_touch = on_touch

    def sees(self, known: _Watched) -> bool:
        """Tell whether the station's live status is the viewer's to see."""
        return not self.viewer.dark or self.viewer.grants_on(known.record).status

    def touch(self, known: _Watched) -> None:
        """Note that a station looks otherwise."""
        self.dirty.add(known)
        self._on_touch(self)

    def take_turn(self, board: LiveBoard, at: Instant, *, all_anew: bool, gone: Iterable[_Watched] = ()) -> bool:
        """Begin the next round with what changed since the last one. False, and no round, where nothing did."""
        number = self.round + 1
        changes: list[Change] = []
        for known in gone:
            seat = self.seats.pop(known)
            if seat.member:
                changes.append(Change(ChangeKind.LEFT, known.id))
                self._gone[known.id] = number
            elif seat.since:  # who is slow may not have been told yet that it left
                self._gone[known.id] = seat.since
        dirty, self.dirty = self.dirty, set()
        judged = list(self.seats) if all_anew else [known for known in dirty if known in self.seats]
        for known, member in zip(judged, self._belong(judged, board, at), strict=True):
            seat = self.seats[known]
            if member is seat.member:
                if not member or known not in dirty:
                    continue
                changes.append(Change(ChangeKind.CHANGED, known.id))
                self.seats[known] = _Seat(member=True, since=seat.since, version=number)
            else:
                changes.append(Change(ChangeKind.ENTERED if member else ChangeKind.LEFT, known.id))
                self.seats[known] = _Seat(member=member, since=number, version=number)
        if not changes:
            return False
        self.round = number
        self._latest = tuple(changes)
        self._shared, self._is_shared = None, True
        while len(self._gone) > _MAX_GONE:
            self._floor = max(self._floor, self._gone.pop(next(iter(self._gone))))
        return True

    def seat(self, stations: Iterable[_Watched]) -> None:
        """Take stations that are to be judged in the next round."""
        for known in stations:
            left = self._gone.pop(known.id, 0)
            self.seats[known] = _Seat(member=False, since=left, version=left)
            self.dirty.add(known)

    def seat_first(self, stations: Sequence[_Watched], board: LiveBoard, at: Instant) -> None:
        """Take the stations that the first followers are told of."""
        for known, member in zip(stations, self._belong(stations, board, at), strict=True):
            self.seats[known] = _INSIDE if member else _OUTSIDE

    def tell(self, told: int | None) -> tuple[News, ...]:
        """Return what to tell somebody who was told everything up to a round; None: who was told nothing."""
        if told is None or told < self._floor:
            members = [known.id for known, seat in self.seats.items() if seat.member]
            return _news([Change(ChangeKind.ENTERED, each) for each in members], joined=1, resynced=True)
        if told != self.round - 1:
            return _news(self._changes_since(told), joined=self.round - told, resynced=False)
        news = self._shared or _news(self._latest, joined=1, resynced=False)
        if self._is_shared:
            self._shared = news
        return news

    def stop_sharing(self) -> None:
        """Free what was written for this round: all who read as fast as it goes were told."""
        self._shared, self._is_shared = None, False

    def _changes_since(self, told: int) -> list[Change]:
        changes = []
        for known, seat in self.seats.items():
            if seat.version <= told:
                continue
            if seat.member:
                changes.append(Change(ChangeKind.CHANGED if seat.since <= told else ChangeKind.ENTERED, known.id))
            elif seat.since > told:
                changes.append(Change(ChangeKind.LEFT, known.id))
        changes += [Change(ChangeKind.LEFT, each) for each, number in self._gone.items() if number > told]
        return changes

    def _belong(self, stations: Sequence[_Watched], board: LiveBoard, at: Instant) -> list[bool]:
        """Tell for each station whether it matches the filter now; its record is known to."""
        belong = [True] * len(stations)
        wanted = self.wanted
        if self.is_live and stations:
            slots = [known.qualifying(wanted) for known in stations]
            flat = np.array([slot for some in slots for slot in some], np.int32)
            if wanted.available_now:
                good = board.usable(flat, at, wanted.max_status_age_s)
            else:
                good = board.fresh(flat, at, wanted.max_status_age_s or 0.0)
            ends = np.cumsum([len(some) for some in slots]).tolist()
            found = good.tolist()
            belong = [
                True in found[end - len(some) : end] and self.sees(known)
                for known, some, end in zip(stations, slots, ends, strict=True)
            ]
        if wanted.open_now:
            belong = [yes and known.is_open(at) for yes, known in zip(belong, stations, strict=True)]
        return belong


def _news(changes: Sequence[Change], *, joined: int, resynced: bool) -> tuple[News, ...]:
    """Return changes as pieces of news; at least one, which may be empty."""
    firsts = range(0, max(1, len(changes)), MAX_CHANGES_AT_ONCE)
    return tuple(
        News(
            changes=tuple(changes[first : first + MAX_CHANGES_AT_ONCE]),
            joined=joined,
            resynced=resynced and first == 0,
            more=first + MAX_CHANGES_AT_ONCE < len(changes),
            payloads={},
        )
        for first in firsts
    )


class Following:
    """One subscriber's view of a watch. It knows the round that it was told of last, and nothing else."""

    def __init__(self, watch: Watch, watching: "Watching") -> None:
        """Begin with nothing told."""
        self.watch = watch
        self._watching = watching
        self._told: int | None = None
        self._rest: tuple[News, ...] = ()
        self._signal = asyncio.Event()
        self._ended = False

    async def ready(self) -> bool:
        """Return once there is something to take: True; False when nothing will come any more."""
        while not self._ended:
            watch = self.watch
            if self._rest or self._told is None or self._told < watch.round or watch.failure is not None:
                return True
            self._signal.clear()
            await self._signal.wait()
        return False

    def take(self) -> News:
        """Return what is to be told now: what changed up to this moment. Raises what ended the watch.

        To be called when ``ready`` said so.
        """
        watch = self.watch
        if watch.failure is not None:
            self.end()
            raise watch.failure
        if not self._rest:
            self._rest = watch.tell(self._told)
            self._told = watch.round
        news, *rest = self._rest
        self._rest = tuple(rest)
        return news

    def look(self, news: News) -> int:
        """Look at the stations of news that are about to be shown, and return what ``look_again`` has to know.

        They are shown as they are then, which may be newer than the round. What came and went between two looks at the
        board would else be told, and never be taken back.
        """
        return self._watching.look_at(news)

    def look_again(self, news: News, looked_at: int) -> None:
        """Look at the same stations once they were shown: what changed meanwhile is told again."""
        self._watching.look_again(self.watch, news, looked_at)

    def forget(self) -> None:
        """Begin anew: nothing is told."""
        self._told, self._rest = None, ()

    def wake(self) -> None:
        """Let ``ready`` look again."""
        self._signal.set()

    def end(self) -> None:
        """Let ``ready`` say that nothing will come any more."""
        self._ended = True
        self._signal.set()

    def close(self) -> None:
        """Stop following."""
        self.end()
        self._watching.leave(self)


class Watching:
    """The use case of everyone who wants to hear of changes. One for a process; idle while nobody does."""

    def __init__(self, search: StationSearch, board: LiveBoard, clock: Clock, *, round_s: float = ROUND_S) -> None:
        """Keep where stations and their news are to be had."""
        self._search = search
        self._board = board
        self._clock = clock
        self._round_s = round_s
        self._register = _Register(board)
        self._watches: dict[Hashable, Watch] = {}
        self._touched: set[Watch] = set()
        self._restless: set[Watch] = set()
        self._turned: list[Watch] = []
        self._compared_s = 0.0
        self._looked_at = 0
        self._watched = 0
        self._by_partner: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.ended = asyncio.Event()
        """Set when nothing will come any more, for the process is ending."""

    @property
    def follower_count(self) -> int:
        """How many subscribers there are."""
        return sum(self._by_partner.values())

    async def follow(self, viewer: Viewer, what: What, wanted: StationFilter) -> Following:
        """Begin to follow. Raises InvalidInputError when it is too much for one subscription, NotAllowedError for one
        partner, and UnavailableError for the process.
        """
        viewer.require(Scope.DISCOVER)
        if self.ended.is_set():
            raise UnavailableError("the server is ending", retry_after_s=1.0)
        partner = viewer.partner.id
        if self._by_partner.get(partner, 0) >= MAX_SUBSCRIPTIONS_A_PARTNER:
            raise NotAllowedError(f"a partner may have {MAX_SUBSCRIPTIONS_A_PARTNER} subscriptions at once")
        key = id(viewer), what, wanted
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = Watch(viewer, what, wanted, self._touched.add)
            watch.loading = asyncio.ensure_future(self._load(watch))
            watch.loading.add_done_callback(lambda loading: loading.cancelled() or loading.exception())
        following = Following(watch, self)
        watch.followers.add(following)
        self._by_partner[partner] = self._by_partner.get(partner, 0) + 1
        self._begin()
        try:
            if watch.loading is not None:
                await asyncio.shield(watch.loading)
        except BaseException:
            following.close()
            raise
        return following

    def end(self) -> None:
        """Tell all subscribers that nothing will come any more, and take no new ones."""
        self.ended.set()
        for watch in self._watches.values():
            for following in watch.followers:
                following.end()

    async def close(self) -> None:
        """End, and stop looking."""
        self.end()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _begin(self) -> None:
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._look_now_and_then(), name="watching the board"),
                asyncio.create_task(self._recheck_now_and_then(), name="watching the index"),
            ]

    def leave(self, following: Following) -> None:
        """Let a subscriber go."""
        watch = following.watch
        if following not in watch.followers:
            return
        watch.followers.discard(following)
        partner = watch.viewer.partner.id
        left = self._by_partner[partner] - 1
        if left:
            self._by_partner[partner] = left
        else:
            del self._by_partner[partner]
        if not watch.followers:
            self._drop(watch)

    def _drop(self, watch: Watch) -> None:
        key = id(watch.viewer), watch.what, watch.wanted
        if self._watches.get(key) is watch:
            del self._watches[key]
        self._touched.discard(watch)
        self._restless.discard(watch)
        for known in watch.seats:
            self._register.remove(known, watch)
        self._watched -= len(watch.seats)
        watch.seats = {}
        if not self._watches:
            tasks, self._tasks = self._tasks, []
            for task in tasks:
                task.cancel()

    # ------------------------------------------------------------------------------------------------ which stations

    async def _load(self, watch: Watch) -> None:
        watch.mark = await self._search.mark()
        records = await self._records(watch)
        at = self._clock()
        self._require_room(len(records))
        if watch.followers:
            watch.seat_first(self._register.add(records, watch, at), self._board, at)
            self._watched += len(watch.seats)
            if watch.is_restless:
                self._restless.add(watch)
            watch.checked_at = asyncio.get_running_loop().time()
            watch.loading = None

    async def _records(self, watch: Watch) -> list[Station]:
        """Return the stations that match the filter but for what is live, as the viewer may see them."""
        what, lasting = watch.what, watch.lasting
        if isinstance(what, tuple):
            station_ids: Sequence[str] = what
        else:
            station_ids = await self._search.list_ids(watch.viewer, what, lasting, MAX_STATIONS_A_WATCH)
        records: list[Station] = []
        for first in range(0, len(station_ids), MAX_IDS):
            seen = await self._search.find_stations(watch.viewer, station_ids[first : first + MAX_IDS])
            records += [sighting.station for sighting in seen if sighting is not None]
            await asyncio.sleep(0)
        return [record for record in records if matches_record(record, lasting)] if isinstance(what, tuple) else records

    def _require_room(self, count: int) -> None:
        if self._watched + count > MAX_WATCHED:
            raise UnavailableError(f"{self._watched} stations are watched, and {count} more are too many", 10.0)

    async def _recheck_now_and_then(self) -> None:
        loop = asyncio.get_running_loop()
        before = settled = ""
        while True:
            await asyncio.sleep(self._round_s)
            try:
                mark = await self._search.mark()
                if mark == settled:
                    continue
                for watch in list(self._watches.values()):
                    began = loop.time()
                    if watch.loading is None and watch.mark != mark and began - watch.checked_at >= RECHECK_S:
                        # What was written this very moment may not be seen by searches yet: it is looked at once more.
                        await self.recheck(watch, mark if mark == before else None)
                        await asyncio.sleep(_REST * (loop.time() - began))
                before = mark
                settled = mark if all(watch.mark == mark for watch in self._watches.values()) else ""
            except UnavailableError as error:
                _log.warning("what is watched is not compared with the index for now: %s", error)

    async def recheck(self, watch: Watch, mark: str | None) -> None:
        """Compare what is watched with the index as it was at this mark, and tell what appeared, vanished, or has
        another record.
        """
        try:
            records = await self._records(watch)
            self._require_room(len(records) - len(watch.seats))
        except InvalidInputError as error:
            watch.failure = error
            await self._wake([watch])
            return
        watch.checked_at = asyncio.get_running_loop().time()
        watch.mark = mark
        if not watch.followers:
            return
        at = self._clock()
        count = len(watch.seats)
        stations = self._register.add(records, watch, at)
        kept = set(stations)
        gone = [known for known in watch.seats if known not in kept]
        watch.seat([known for known in stations if known not in watch.seats])
        told = watch.take_turn(self._board, at, all_anew=False, gone=gone)
        for known in gone:
            self._register.remove(known, watch)
        self._watched += len(watch.seats) - count
        if told:
            await self._wake([watch])

    # ------------------------------------------------------------------------------------------------ what changes

    async def _look_now_and_then(self) -> None:
        while True:
            # Where very much is watched, it is looked at less often: the rest of the process needs its time, too.
            await asyncio.sleep(max(LOOK_S, _REST * self._compared_s))
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - whatever it is, subscribers must not be left without news for ever
                _log.exception("what changed is told later")

    def look_at(self, news: News) -> int:
        """Look at the stations of news; return how often the board had changed before."""
        count = self._board.change_count
        stations = [known for known in self._watched_in(news) if self._changed_since(known, self._looked_at)]
        self._touch(self._register.look_at(stations, self._clock()))
        return count

    def look_again(self, watch: Watch, news: News, looked_at: int) -> None:
        """Have those stations of news judged by a watch that changed since they were looked at."""
        for known in self._watched_in(news):
            if self._changed_since(known, looked_at) and watch in known.watches and watch.sees(known):
                watch.touch(known)

    def _watched_in(self, news: News) -> list[_Watched]:
        return self._register.find(change.station_id for change in news.changes)

    def _changed_since(self, known: _Watched, count: int) -> bool:
        return self._board.last_change(known.slots.tolist()) > count

    def _touch(self, stations: Iterable[_Watched]) -> None:
        for known in stations:
            for watch in known.watches:
                if watch.sees(known):
                    watch.touch(known)

    async def look(self) -> None:
        """Look at the board, and begin the next round of each watch whose time it is and where something changed."""
        for watch in self._turned:
            watch.stop_sharing()
        self._turned = []
        self._register.compact()
        looked_at, compared_s = self._board.change_count, 0.0
        for begin in range(0, self._register.count, _LOOKED_AT_ONCE):
            began = monotonic_s()
            self._touch(self._register.look(begin, self._clock()))
            compared_s += monotonic_s() - began
            await asyncio.sleep(0)
        self._looked_at, self._compared_s = looked_at, compared_s
        now = asyncio.get_running_loop().time()
        at = self._clock()
        for watch in self._due(now):
            all_anew = watch.is_restless and watch.next_judged_at <= now
            if all_anew:
                watch.next_judged_at = now + RESTLESS_S
            self._touched.discard(watch)
            if watch.take_turn(self._board, at, all_anew=all_anew):
                watch.next_round_at = now + self._round_s
                self._turned.append(watch)
        await self._wake(self._turned)

    def _due(self, now: float) -> list[Watch]:
        due = [watch for watch in self._touched if watch.next_round_at <= now and watch.loading is None]
        due += [
            watch
            for watch in self._restless
            if watch.next_judged_at <= now and watch.loading is None and watch not in self._touched
        ]
        return due

    async def _wake(self, watches: Iterable[Watch]) -> None:
        """Wake the followers, a few at a time, so that requests get their turn between."""
        woken = 0
        for watch in watches:
            for following in tuple(watch.followers):
                following.wake()
                woken += 1
                if woken % _WOKEN_AT_ONCE == 0:
                    await asyncio.sleep(0)
