"""What a request brings to its resolvers: who asks, what may be done, and what was looked up already."""

from abc import abstractmethod
from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from functools import cached_property
from typing import Generic, Protocol, TypeAlias, TypeVar

import strawberry
from strawberry.dataloader import DataLoader

from app.errors import InvalidInputError
from app.model.feed import FeedInfo
from app.model.identity import SEPARATOR
from app.model.station import Operator
from app.services.bundle import Services
from app.services.sightings import EvseView, Sighting
from app.services.station_search import MAX_IDS
from app.services.viewer import Viewer

MAX_STATIONS_A_REQUEST = 200
"""How many stations, Evses, operators and reservations the fields of one request may ask for, all together."""

MAX_STATIONS_A_BATCH = 500
"""How many stations the batches of one request may ask for, all together: a hundred vehicles, five stations each."""


class Context:
    """One request. Made anew for each, never shared."""

    def __init__(self, services: Services, viewer: Viewer) -> None:
        """Keep who asks; nothing is looked up yet."""
        self.services = services
        self.viewer = viewer
        self._allowance = MAX_STATIONS_A_REQUEST
        self._batch_allowance = MAX_STATIONS_A_BATCH
        self._operators: Mapping[str, Operator] | None = None

    # No caching: a mutation may have changed an Evse since it was looked up for the field before.

    @cached_property
    def evses(self) -> DataLoader[str, EvseView | None]:
        """What looks up the Evses that several fields ask for, all at once."""
        return DataLoader(self._load_evses, max_batch_size=MAX_IDS, cache=False)

    @cached_property
    def stations(self) -> DataLoader[str, Sighting | None]:
        """What looks up the stations that several fields ask for, all at once."""
        return DataLoader(self._load_stations, max_batch_size=MAX_IDS, cache=False)

    def charge(self, field: str, things: int) -> None:
        """Take ``things`` from the request's allowance. Raises InvalidInputError that names the argument."""
        self._allowance -= things
        if self._allowance < 0:
            problem = f"the fields of one request may ask for {MAX_STATIONS_A_REQUEST} things all together"
            raise InvalidInputError(field, problem)

    def charge_batch(self, field: str, things: int) -> None:
        """Take ``things`` from what batches may ask for. Raises InvalidInputError that names the argument."""
        self._batch_allowance -= things
        if self._batch_allowance < 0:
            problem = f"the batches of one request may ask for {MAX_STATIONS_A_BATCH} stations all together"
            raise InvalidInputError(field, problem)

    async def operators(self) -> Mapping[str, Operator]:
        """Return the operators that the viewer may see, by id; looked up once a request."""
        if self._operators is None:
            self._operators = await self.services.search.operators(self.viewer)
        return self._operators

    def operator(self, operator_id: str) -> Operator:
        """Return an operator of those that were looked up; else one of which no more is known than its id says."""
        known = self._operators
        if known is not None and operator_id in known:
            return known[operator_id]
        feed, _, party = operator_id.partition(SEPARATOR)
        return Operator(id=operator_id, feed=feed, party=party)

    def feed(self, feed_id: str) -> FeedInfo | None:
        """Return a configured feed; None when it was configured once and is no longer."""
        return next((feed for feed in self.services.feeds if feed.id == feed_id), None)

    def holds(self, view: EvseView) -> bool:
        """Tell whether it is the viewer that holds the Evse."""
        if not view.held:
            return False
        return self.services.booking.holder(view.evse.id, self.services.clock()) == self.viewer.partner.id

    async def _load_evses(self, evse_ids: Sequence[str]) -> list[EvseView | None]:
        return await self.services.search.find_evses(self.viewer, evse_ids)

    async def _load_stations(self, station_ids: Sequence[str]) -> list[Sighting | None]:
        return await self.services.search.find_stations(self.viewer, station_ids)


class Told(Protocol):
    """Something that a subscriber is told."""

    @property
    def payloads(self) -> dict[Hashable, bytes]:
        """What it was written as, by what was asked of it; the same for all who are told the same object."""
        ...


Told_ = TypeVar("Told_", bound=Told)
Shown_ = TypeVar("Shown_")


class Source(AsyncIterator[Shown_], Generic[Told_, Shown_]):
    """Where the events of a subscription come from. Nothing is taken before somebody is ready to write it."""

    def __init__(self, context: Context) -> None:
        """Take the context that the subscription began in."""
        self._context = context

    @abstractmethod
    async def ready(self) -> bool:
        """Return once there is something to take: True; False when nothing will come any more."""

    @abstractmethod
    def take(self) -> Told_:
        """Return what is to be told now; to be called when ``ready`` said so."""

    @abstractmethod
    async def show(self, told: Told_, context: Context) -> Shown_:
        """Return the root value that shows it."""

    def written(self, told: Told_) -> None:
        """Hear that what was shown is written down: it is from before this moment, and after ``show`` was called."""

    @abstractmethod
    def retell(self) -> None:
        """Tell all anew, for what was taken last could not be shown."""

    @abstractmethod
    def close(self) -> None:
        """Follow no longer."""

    async def __anext__(self) -> Shown_:
        """Return the next root value, as graphql-core's own executor asks for it."""
        if not await self.ready():
            raise StopAsyncIteration
        return await self.show(self.take(), self._context)


Info: TypeAlias = strawberry.Info[Context, None]
