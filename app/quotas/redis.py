"""Quotas that the processes of many hosts share through Redis, which is never waited for by what only reads.

Each process takes from buckets of its own, tells Redis every SETTLE_S what it took, and hears how far ahead of the
clock the partner is with everybody's use. So N processes may let a partner use more than its limit by what N - 1 of
them serve it within SETTLE_S and a round trip; Redis keeps that as a debt (of one more limit at most), which all
buckets then wait for. What was sent and not acknowledged is sent again: it may count twice.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from app.model.quota import Verdict, Windows
from app.quotas._bucket import Bucket
from app.quotas.base import Quotas
from app.redis import Redis, load_scripts, parse_endpoint

SETTLE_S = 0.1
"""How long use is collected before it is told."""

_AGAIN_S = 1.0

_log = logging.getLogger(__name__)


class RedisQuotas(Quotas):
    """What partners used lately in all processes that name one server."""

    def __init__(self, url: str, clock_s: Callable[[], float]) -> None:
        """Take the server's URL (``app.redis.parse_endpoint``) and a clock that never steps. Raises SettingsError."""
        # What a crash of the server forgets is what was used in a window: not worth waiting for its disk.
        self._redis = Redis(parse_endpoint(url), load_scripts("app.quotas"), durable=False)
        self._clock_s = clock_s
        self._buckets: dict[str, Bucket] = {}  # no more than there are partners
        self._owing: set[str] = set()
        self._settler: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect. Raises UnavailableError."""
        await self._redis.open()

    async def close(self) -> None:
        """Drop the connection; what was not told yet is forgotten."""
        settler, self._settler = self._settler, None
        if settler is not None:
            settler.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await settler
        await self._redis.close()

    async def check(self) -> None:
        """Ask the server. Raises UnavailableError."""
        await self._redis.run("take", b"", b"0", b"0")

    def take(self, partner_id: str, windows: Windows, amount: int) -> Verdict:
        """Take an amount by what this process knows."""
        bucket = self._bucket(partner_id, windows)
        verdict = bucket.take(amount, self._clock_s())
        if verdict.retry_after_s is None:
            bucket.owe(amount)
            self._owing.add(partner_id)
            if self._settler is None or self._settler.done():
                self._settler = asyncio.create_task(self._settle(), name="settle quotas")
        return verdict

    async def take_surely(self, partner_id: str, windows: Windows, amount: int) -> Verdict:
        """Take an amount by what the server knows. Raises UnavailableError."""
        bucket = self._bucket(partner_id, windows)
        wait_s, ahead_s = await self._tell(partner_id, bucket, amount)
        return bucket.verdict(ahead_s, wait_s or None)

    def _bucket(self, partner_id: str, windows: Windows) -> Bucket:
        bucket = self._buckets.get(partner_id)
        if bucket is None or bucket.windows != windows:
            bucket = self._buckets[partner_id] = Bucket(windows)
        return bucket

    async def _settle(self) -> None:
        """Tell what is owed until nothing is; one that has begun answers for all that comes while it works."""
        while self._owing:
            await asyncio.sleep(SETTLE_S)
            owing, self._owing = self._owing, set()
            told = await asyncio.gather(
                *(self._tell(partner_id, self._buckets[partner_id], 0) for partner_id in owing), return_exceptions=True
            )
            failures = {
                partner_id: outcome
                for partner_id, outcome in zip(owing, told, strict=True)
                if isinstance(outcome, BaseException)
            }
            if failures:
                reason = next(iter(failures.values()))
                _log.warning("quotas are counted by this process alone: %s", reason)
                self._owing |= failures.keys()
                await asyncio.sleep(_AGAIN_S)

    async def _tell(self, partner_id: str, bucket: Bucket, amount: int) -> tuple[float, list[float]]:
        """Tell what is owed and ask for an amount; return how long to wait for it, and how far ahead each window is."""
        owed, bucket.owed = bucket.owed, 0
        windows = [b"%d" % number for window in bucket.windows for number in (window.period_s, window.limit)]
        try:
            answer = await self._redis.run("take", partner_id.encode(), b"%d" % owed, b"%d" % amount, *windows)
        except BaseException:
            bucket.owe(owed)
            raise
        wait_s, *ahead_s = map(float, answer)
        bucket.learn(ahead_s, self._clock_s())
        return wait_s, ahead_s
