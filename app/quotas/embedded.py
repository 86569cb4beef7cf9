"""Quotas of one process, in its memory: a restart forgets what was used, which costs a window at most."""

from collections.abc import Callable

from app.model.quota import Verdict, Windows
from app.quotas._bucket import Bucket
from app.quotas.base import Quotas


class EmbeddedQuotas(Quotas):
    """What the partners of one process used lately."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        """Take a clock that never steps, in seconds."""
        self._clock_s = clock_s
        self._buckets: dict[str, Bucket] = {}  # no more than there are partners

    async def open(self) -> None:
        """Nothing has to be made ready."""

    async def close(self) -> None:
        """Nothing has to be released."""

    async def check(self) -> None:
        """There are no others."""

    def take(self, partner_id: str, windows: Windows, amount: int) -> Verdict:
        """Take an amount."""
        bucket = self._buckets.get(partner_id)
        if bucket is None or bucket.windows != windows:
            bucket = self._buckets[partner_id] = Bucket(windows)
        return bucket.take(amount, self._clock_s())

    async def take_surely(self, partner_id: str, windows: Windows, amount: int) -> Verdict:
        """Take an amount; there are no others to ask."""
        return self.take(partner_id, windows, amount)
