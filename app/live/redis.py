"""The live board of many processes: each answers from its own arrays, and Redis carries the news between them.

A stream brings every change to everyone; hashes keep the last status of each Evse for those that start. A process
that is cut off goes on with what it has: ages grow, and each status ends at its ``stale_after``. When the server
answers again, nothing is missing: what came meanwhile is read from the stream, or all of it anew.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from app.errors import UnavailableError
from app.live._board import AVAILABILITIES, CHANNELS, SLOT, ArrayBoard, RecordArray
from app.live.base import RecordSummary
from app.model.availability import EvseStatus
from app.model.clock import Clock, Instant, system_clock
from app.model.search import SlotArray
from app.redis import Follower, Link, Redis, load_scripts, parse_endpoint
from app.telemetry import metrics

SEND_INTERVAL_S = 0.05
_RETRY_S = 0.5
_RECORDS_AT_ONCE = 1_000
_PAGES = 65_536
_PAGES_AT_ONCE = 1_024
_STREAM = "chargegraph:{live}:changes"
_KEY_BYTES = SLOT["key"].itemsize
_VALUE_BYTES = SLOT.itemsize - _KEY_BYTES

_log = logging.getLogger(__name__)
_texts = msgspec.msgpack.Decoder(list[str])
_newest = msgspec.msgpack.Decoder(dict[str, Instant])


class RedisLiveBoard(ArrayBoard):
    """A live board of as many processes as name one server.

    What is recorded reaches the others within about SEND_INTERVAL_S; of several changes of one Evse in that time, the
    last. ``flush`` returns once the server has them; what a crash of it loses is its own setting (appendonly), and the
    next news of the feed replaces. An Evse that one process knows is known to all.
    """

    def __init__(self, url: str, clock: Clock = system_clock) -> None:
        """Take the server's URL (``app.redis.parse_endpoint``). Raises SettingsError."""
        super().__init__()
        self._clock = clock
        self._redis = Redis(parse_endpoint(url), load_scripts("app.live"), durable=False)
        self._follower = Follower(self._redis, _STREAM, self._load_all, self._take_entry)
        self._unsent: set[int] = set()
        self._unsent_newest: dict[str, Instant] = {}
        self._sending = asyncio.Lock()
        self._sender: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Load what every process recorded before. Raises UnavailableError when the server does not answer."""
        await self._redis.open()
        try:
            await self._follower.open()
        except BaseException:
            await self._redis.close()
            raise
        self._sender = asyncio.create_task(self._send_now_and_then(), name="live board sender")

    async def close(self) -> None:
        """Send what is not yet sent, if the server answers, and drop the connections."""
        sender, self._sender = self._sender, None
        if sender is None:
            return
        sender.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sender
        try:
            await self._send()
        except UnavailableError as error:
            _log.warning("%d live statuses were not sent: %s", len(self._unsent), error)
        await self._follower.close()
        await self._redis.close()

    async def record(self, statuses: Sequence[EvseStatus]) -> RecordSummary:
        """Take statuses; others hear of them within about SEND_INTERVAL_S, or before ``flush`` returns."""
        return self._take(statuses)

    async def flush(self) -> None:
        """Return once the server has everything recorded. Raises UnavailableError when it does not answer, or when
        this board does not hear of others' statuses.
        """
        await self._send()
        if self._follower.lost is not None:
            raise UnavailableError(self._follower.lost)

    # ------------------------------------------------------------------------------------------------ to the others

    def _mark(self, slots: SlotArray) -> None:
        self._unsent.update(slots.tolist())

    def _note_newest(self, statuses: Sequence[EvseStatus]) -> None:
        before = self._newest.copy()
        super()._note_newest(statuses)
        self._unsent_newest |= {name: at for name, at in self._newest.items() if before.get(name) != at}

    async def _send_now_and_then(self) -> None:
        waiting = False
        while True:
            await asyncio.sleep(_RETRY_S if waiting else SEND_INTERVAL_S)
            try:
                await self._send()
            except UnavailableError as error:
                if not waiting:
                    _log.warning("live statuses stay here for now, trying again: %s", error)
                waiting = True
            else:
                waiting = False

    async def _send(self) -> None:
        async with self._sending:
            self._forget_unused_raw_texts()
            with self._lock:
                unsent, self._unsent = self._unsent, set()
            newest, self._unsent_newest = self._unsent_newest, {}
            slots = np.array(list(unsent), np.int32)
            try:
                for start in range(0, len(slots), _RECORDS_AT_ONCE):
                    records, texts = self._make_records(slots[start : start + _RECORDS_AT_ONCE])
                    packed = (msgspec.msgpack.encode(texts), msgspec.msgpack.encode(newest))
                    await self._redis.run("record", records.tobytes(), *packed)
                    unsent.difference_update(slots[start : start + _RECORDS_AT_ONCE].tolist())
            except BaseException:
                with self._lock:
                    self._unsent |= unsent
                self._unsent_newest = newest | self._unsent_newest
                raise

    # ------------------------------------------------------------------------------------------------ from the others

    async def _load_all(self, link: Link) -> None:
        for first in range(0, _PAGES, _PAGES_AT_ONCE):
            bounds = str(first).encode(), str(first + _PAGES_AT_ONCE).encode()
            parts = await link.ask_one(self._redis.command("pages", *bounds))
            self._take_pages(parts)

    def _take_pages(self, parts: list[bytes]) -> None:
        """Take keys and values in turn; a value is a record without its key, and then its text."""
        positions: dict[bytes, int] = {}
        raw = [positions.setdefault(value[_VALUE_BYTES:], len(positions)) for value in parts[1::2]]
        parts[1::2] = [value[:_VALUE_BYTES] for value in parts[1::2]]
        records = _read_records(b"".join(parts))
        records["raw"] = raw
        self._take_known(records, [text.decode() for text in positions])

    def _take_entry(self, entry: Mapping[bytes, bytes]) -> None:
        self._take_known(_read_records(entry[b"records"]), _texts.decode(entry[b"texts"]))
        newest = _newest.decode(entry[b"newest"])
        for name, received_at in newest.items():
            self._newest[name] = max(received_at, self._newest.get(name, received_at))
        if newest:
            metrics.STREAM_LAG_S.set(max(0.0, self._clock() - max(newest.values())))

    def _take_known(self, records: RecordArray, texts: list[str]) -> None:
        if (
            records["availability"].max(initial=0) >= len(AVAILABILITIES)
            or records["channel"].max(initial=0) >= len(CHANNELS)
            or records["raw"].max(initial=0) >= max(1, len(texts))
        ):
            raise ValueError("a code that nobody knows")
        self._forget_unused_raw_texts()
        self._take_records(records, texts)


def _read_records(packed: bytes) -> RecordArray:
    return np.frombuffer(bytearray(packed), SLOT)
