"""One process at a time indexes a feed, however many hubs there are."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from secrets import token_hex
from typing import Final, TypeVar

from app.errors import UnavailableError
from app.feeds.base import FeedLedger
from app.model.clock import monotonic_s

LEASE_S: Final = 30.0
RENEW_S: Final = LEASE_S / 3

T = TypeVar("T")


class LeaseLostError(UnavailableError):
    """Another process may index the feed by now; what was being done was given up."""


async def under_lease(ledger: FeedLedger, feed: str, work: Callable[[], Awaitable[T]]) -> T | None:
    """Do the work while no other process indexes the feed; None, with nothing done, while one does.

    Raises LeaseLostError when the ledger cannot be reached for so long that another may have begun, and what the work
    raises. A process that stood still meanwhile finds its open statement dropped by the one that took over
    (``StationIndex.open_replacement``), so that the two never mix.
    """
    owner = f"{socket.gethostname()}/{os.getpid()}/{token_hex(4)}"
    if await ledger.take_lease(feed, owner, LEASE_S) is None:
        return None
    working = asyncio.ensure_future(work())
    keeping = asyncio.ensure_future(_keep(ledger, feed, owner))
    try:
        await asyncio.wait((working, keeping), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return await working
        raise LeaseLostError(f"the right to index {feed} was lost")
    finally:
        for task in (working, keeping):
            task.cancel()
        await asyncio.gather(working, keeping, return_exceptions=True)
        with suppress(UnavailableError):
            await ledger.end_lease(feed, owner)


async def _keep(ledger: FeedLedger, feed: str, owner: str) -> None:
    """Renew until that fails for good."""
    renewed_s = monotonic_s()
    while monotonic_s() < renewed_s + LEASE_S - RENEW_S:
        await asyncio.sleep(RENEW_S)
        asked_s = monotonic_s()
        with suppress(UnavailableError):
            if await ledger.take_lease(feed, owner, LEASE_S) is None:
                return
            renewed_s = asked_s
