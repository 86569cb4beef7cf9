"""Everything that callers may do here, in one value: made by the wiring, handed to the schema."""

import msgspec

from app.model.clock import Clock
from app.model.feed import FeedInfo
from app.services.booking import Booking
from app.services.feed_health import FeedHealth
from app.services.metering import Metering
from app.services.station_search import StationSearch
from app.services.watching import Watching


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """The use cases, and what they all share."""

    search: StationSearch
    booking: Booking
    feed_health: FeedHealth
    metering: Metering
    feeds: tuple[FeedInfo, ...]
    clock: Clock
    watching: Watching
