"""The feed itself: pulls Locations, maps them, and reports what it had to refuse."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from app.model.availability import EvseStatus
from app.model.clock import Instant
from app.model.feed import Rejection
from app.model.station import Flag, Operator, Station
from indexers.base import FeedContext, StationBatch, feed
from indexers.feeds.ocpi.mapping import Mapped, Mapper, add_operator
from indexers.feeds.ocpi.profile import FILE_PREFIX, read_profile
from indexers.feeds.ocpi.pull import Page, Puller, read_file
from indexers.http_source import HttpSource

BATCH_STATIONS = 500


@feed("ocpi")
class OcpiFeed:
    """The Locations of one OCPI party, 2.1.1 to 2.3.0, pulled without a handshake.

    Live status comes with the Locations. A delta asks by ``date_from``; a file, and a server that does not know the
    parameter, answers everything each time.
    """

    def __init__(self, profile: dict[str, Any], context: FeedContext) -> None:
        """Check the profile and open nothing. Raises SettingsError that names the key."""
        settings = read_profile(context.feed, profile)
        self.feed = context.feed
        self.title = settings.title
        self.party = settings.party or context.feed.upper()
        self.rights = settings.rights
        self.schedule = settings.schedule
        self.has_live_status = settings.has_live_status
        self._profile = settings
        self._clock = context.clock
        self._mapper = Mapper(
            feed=self.feed,
            party=self.party,
            title=self.title,
            datum=settings.datum,
            language=settings.language,
            repair_power=settings.repair_power,
            has_live_status=settings.has_live_status,
            stale_after_s=settings.stale_after_s,
        )
        limits = settings.limits
        self._source: HttpSource | None = None
        if not settings.url.startswith(FILE_PREFIX):
            self._source = HttpSource(
                requests_per_s=limits.requests_per_s,
                in_flight=limits.in_flight,
                timeout_s=limits.timeout_s,
                max_body_bytes=limits.max_body_bytes,
            )
            self._puller = Puller(settings, self._source)

    async def close(self) -> None:
        """Release connections."""
        if self._source is not None:
            await self._source.close()

    async def stations(self, since: Instant | None) -> AsyncIterator[StationBatch]:
        """Return everything, or what changed since an Instant. Raises FeedError when the platform fails.

        Of Locations with one id the one updated last counts; each other one is a rejection ``duplicate_location``.
        """
        seen: dict[str, Instant] = {}
        operators: dict[str, Operator] = {}
        async for page in self._pages(since):
            received_at = self._clock()
            pieces = [page.locations[at : at + BATCH_STATIONS] for at in range(0, len(page.locations), BATCH_STATIONS)]
            for number, piece in enumerate(pieces or [[]], 1):
                is_last = number >= len(pieces)
                batch = self._batch(piece, received_at, seen, operators)
                yield msgspec.structs.replace(
                    batch,
                    expected_total=page.expected_total,
                    incomplete=page.incomplete if is_last else None,
                )
                await asyncio.sleep(0)  # a page of 100,000 locations must not hold up everyone else

    async def _pages(self, since: Instant | None) -> AsyncIterator[Page]:
        if self._source is None:
            yield await read_file(self._profile)
            return
        async for page in self._puller.pages(since):
            yield page

    def _batch(
        self,
        locations: Sequence[object],
        received_at: Instant,
        seen: dict[str, Instant],
        operators: dict[str, Operator],
    ) -> StationBatch:
        kept: dict[str, Mapped] = {}
        rejections: list[Rejection] = []
        codes: list[str] = []
        for location in locations:
            mapped = self._mapper.read(location, received_at)
            if isinstance(mapped, Rejection):
                rejections.append(mapped)
                continue
            station = mapped.station
            updated_at = station.source_updated_at or 0.0
            before = seen.get(station.id)
            if before is not None:
                rejections.append(Rejection("duplicate_location", station.id, "one id in several locations"))
                if updated_at <= before:
                    kept_one = kept.get(station.id)
                    if kept_one is not None:
                        kept[station.id] = _flagged(kept_one)
                    continue
                mapped = _flagged(mapped)
            seen[station.id] = updated_at
            kept[station.id] = mapped
        stations: list[Station] = []
        statuses: list[EvseStatus] = []
        named: dict[str, None] = {}
        for mapped in kept.values():
            stations.append(mapped.station)
            statuses.extend(mapped.statuses)
            for operator in mapped.operators:
                add_operator(operators, operator)
                named[operator.id] = None
            codes.extend(mapped.unknown_codes)
            rejections.extend(mapped.rejections)
        return StationBatch(
            stations=tuple(stations),
            statuses=tuple(statuses),
            operators=tuple(operators[name] for name in named),
            rejections=tuple(rejections),
            unknown_codes=tuple(codes),
            received=len(locations),
        )


def _flagged(mapped: Mapped) -> Mapped:
    if Flag.DUPLICATE_DROPPED in mapped.station.flags:
        return mapped
    station = msgspec.structs.replace(mapped.station, flags=(*mapped.station.flags, Flag.DUPLICATE_DROPPED))
    return msgspec.structs.replace(mapped, station=station)
