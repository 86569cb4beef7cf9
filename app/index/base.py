"""The contract of a station index."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence

import msgspec

from app.model.cluster import ClusterSearch, StationCluster
from app.model.search import Search, SearchPage
from app.model.station import Operator, Station


class ReplaceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a replacement changed: identical stations count as neither changed nor removed.

    ``indexed`` is how many different stations were stated.
    """

    indexed: int
    changed: int
    removed: int


class FeedReplacement(ABC):
    """A feed's new full statement, being collected; nothing of it is seen by searches before ``commit``.

    A replacement that is neither committed nor aborted (a crash) leaves no trace: the last commit stands.
    Of two stations with one id in the same replacement the later one wins. Once it was committed, aborted, or dropped
    for a newer one, everything but ``abort`` raises UnavailableError and changes nothing.
    """

    @abstractmethod
    async def add(self, stations: Sequence[Station]) -> None:
        """Take stations of this feed. Raises ValueError, and takes none, when one belongs to another feed."""

    @abstractmethod
    async def count(self) -> int:
        """Return how many different stations were added so far."""

    @abstractmethod
    async def commit(self, *, remove_missing: bool) -> ReplaceSummary:
        """Make the statement the truth in one step; with ``remove_missing`` forget what it does not mention."""

    @abstractmethod
    async def abort(self) -> None:
        """Forget what was collected; where that is nothing any more, do nothing."""


class StationIndex(ABC):
    """Where stations are. Everything answered is the last committed state, also after a crash.

    Searches are exact: they equal a scan of all stations by ``app.model.geo.distance_m``, the same filter rules
    (``StationFilter``), and the stated order. Stations that are not ``published``, that are REMOVED, or that have no
    location are found by id only. Raises UnavailableError when its store does not answer.
    """

    @abstractmethod
    async def open(self) -> None:
        """Make the index ready to answer; needed once before anything else."""

    @abstractmethod
    async def close(self) -> None:
        """Release files, threads and connections."""

    @abstractmethod
    async def open_replacement(self, feed: str) -> FeedReplacement:
        """Begin a new full statement of a feed; an older one of that feed that was left open is dropped."""

    @abstractmethod
    async def upsert_stations(self, feed: str, stations: Sequence[Station]) -> ReplaceSummary:
        """Add or change these stations of a feed and keep all others; of two with one id the later one wins.

        Raises ValueError, and changes nothing, when one belongs to another feed.
        """

    @abstractmethod
    async def remove_feed(self, feed: str) -> int:
        """Forget a feed's stations; return how many there were."""

    @abstractmethod
    async def search(self, search: Search) -> SearchPage:
        """Answer one search.

        Raises InvalidInputError for polygons that are none, and for corridors about which too many stations stand.
        """

    @abstractmethod
    async def search_many(self, searches: Sequence[Search]) -> list[SearchPage]:
        """Answer several searches in the order asked for, each as ``search`` does; what fails for one fails for all."""

    @abstractmethod
    async def list_clusters(self, search: ClusterSearch) -> list[StationCluster]:
        """Count the stations of a box by tiles, from the north-west row by row; empty tiles are absent.

        Counts are exact. An index that would have to look at more stations than it does at once leaves ``available``
        and ``station_id`` None in all clusters; where the filter itself asks for live status it looks at any number.
        """

    @abstractmethod
    async def find_stations(self, station_ids: Sequence[str]) -> list[Station | None]:
        """Return the stations in the order asked for, None where there is none."""

    @abstractmethod
    async def find_station_of_evse(self, evse_ids: Sequence[str]) -> list[str | None]:
        """Return for each Evse the id of the station that it stands in, None where it is unknown."""

    @abstractmethod
    def list_station_local_ids(self, feed: str, page_size: int) -> AsyncIterator[tuple[str, ...]]:
        """Return the source's own ids of a feed's stations (``Station.local_id``), in pages, in a stable order."""

    @abstractmethod
    async def mark(self) -> str:
        """Return a text that is another one after each change of stations that searches see, and at times without."""

    @abstractmethod
    async def count_stations(self) -> dict[str, int]:
        """Return how many stations each feed has; feeds without stations are absent."""

    @abstractmethod
    async def list_operators(self) -> list[Operator]:
        """Return every operator that was ever saved, ordered by id."""

    @abstractmethod
    async def save_operators(self, operators: Sequence[Operator]) -> None:
        """Add or replace operators by id."""
