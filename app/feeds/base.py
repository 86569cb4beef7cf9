"""The contract of the feed ledger: reports of runs, and small durable notes of each feed."""

from abc import ABC, abstractmethod

from app.model.feed import FeedReport, RunKind


class FeedLedger(ABC):
    """What each feed's last runs did, and what a feed must remember across restarts (cursors, tokens it issued)."""

    @abstractmethod
    async def open(self) -> None:
        """Make the ledger ready; needed once before anything else."""

    @abstractmethod
    async def close(self) -> None:
        """Release files and connections."""

    @abstractmethod
    async def save_report(self, report: FeedReport) -> None:
        """Keep the report as the last one of its feed and kind; and as the last good one when ``error`` is None."""

    @abstractmethod
    async def find_report(self, feed: str, kind: RunKind, *, good: bool = False) -> FeedReport | None:
        """Return the last report, or the last good one, of a feed and kind."""

    @abstractmethod
    async def find_note(self, feed: str, name: str) -> bytes | None:
        """Return what was noted last under a name."""

    @abstractmethod
    async def save_note(self, feed: str, name: str, value: bytes) -> None:
        """Note something durably; acknowledged means that it survives a crash."""

    @abstractmethod
    async def take_lease(self, feed: str, owner: str, ttl_s: float) -> int | None:
        """Take or renew the right to index a feed until ``ttl_s`` from the store's now. Return its fence, which rises
        whenever the right is taken anew; None while another owner has it.
        """

    @abstractmethod
    async def end_lease(self, feed: str, owner: str) -> None:
        """Give the right back, where it is the owner's."""
