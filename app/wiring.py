"""The only file that names technologies: from settings to a running hub."""

import fcntl
import os
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

import indexers.feeds  # noqa: F401 - registers every kind of feed
from app.errors import SettingsError
from app.feeds.base import FeedLedger
from app.feeds.embedded import EmbeddedFeedLedger
from app.index.base import StationIndex
from app.index.embedded import EmbeddedIndex
from app.live.base import LiveBoard
from app.live.embedded import EmbeddedLiveBoard
from app.model.clock import Clock, monotonic_s, system_clock
from app.model.feed import FeedInfo, FeedRights
from app.model.quota import Window
from app.partners.base import PartnerDirectory
from app.partners.embedded import EmbeddedPartners
from app.quotas.base import Quotas
from app.quotas.embedded import EmbeddedQuotas
from app.reservations.base import ReservationStore
from app.reservations.embedded import EmbeddedReservations
from app.services.booking import Booking
from app.services.bundle import Services
from app.services.feed_health import FeedHealth
from app.services.metering import Metering
from app.services.station_search import StationSearch
from app.services.watching import Watching
from app.settings import Settings
from indexers.base import Feed, FeedContext, InboundFeed, factories
from indexers.pipeline import Ports
from indexers.profiles import load_profiles
from indexers.runner import Runner

LOCK_FILE = "hub.lock"
_SECRET = re.compile(r"(.*_)?(secret|secret_iv|token|password)|headers")
"""The names of secrets in profiles."""


class Hub(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that runs in one process: the stores, the use cases and the feeds."""

    settings: Settings
    ports: Ports
    partners: PartnerDirectory
    quotas: Quotas
    services: Services
    feeds: tuple[Feed, ...]
    runner: Runner

    def inbound(self) -> dict[str, InboundFeed]:
        """Return the feeds whose operators call us, by the OperatorID that they call with.

        Raises SettingsError when two feeds have the same.
        """
        feeds: dict[str, InboundFeed] = {}
        for feed in self.feeds:
            if isinstance(feed, InboundFeed):
                other = feeds.setdefault(feed.inbound_party, feed)
                if other is not feed:
                    raise SettingsError(
                        f"the operators of the feeds {other.feed} and {feed.feed} call us with the same OperatorID, "
                        f"{feed.inbound_party}: give one of them another in serve.operator_id"
                    )
        return feeds


@asynccontextmanager
async def open_hub(
    settings: Settings, environment: Mapping[str, str], clock: Clock = system_clock
) -> AsyncIterator[Hub]:
    """Open the stores and make the feeds; close them all on leaving.

    Raises SettingsError when a profile is wrong, or when another process has the data folder open.
    """
    with _exclusive(settings.data_dir) if not settings.is_shared else nullcontext():
        board = _live_board(settings, clock)
        index = _station_index(settings, board)
        reservations = _reservations(settings, clock)
        ledger = _ledger(settings, clock)
        partners = _partners(settings, clock)
        quotas = _quotas(settings)
        feeds = make_feeds(settings, environment, ledger, clock)
        stores = (board, index, reservations, ledger, partners, quotas)
        watching = None
        try:
            for store in stores:
                await store.open()
            infos = _infos(feeds, await index.count_stations())
            search = StationSearch(index, board, clock, infos)
            booking = Booking(reservations, board, search)
            await booking.load()
            ports = Ports(index, board, ledger, clock)
            watching = Watching(search, board, clock)
            yield Hub(
                settings=settings,
                ports=ports,
                partners=partners,
                quotas=quotas,
                services=Services(
                    search=search,
                    booking=booking,
                    feed_health=FeedHealth(ledger, index, board, clock, infos),
                    metering=_metering(settings, quotas),
                    feeds=infos,
                    clock=clock,
                    watching=watching,
                ),
                feeds=feeds,
                runner=Runner(feeds, ports),
            )
        finally:
            if watching is not None:
                await watching.close()
            for feed in feeds:
                await feed.close()
            for store in reversed(stores):
                await store.close()


# What talks to a server is imported where it is configured: the embedded hub starts without these libraries.


def _live_board(settings: Settings, clock: Clock) -> LiveBoard:
    if settings.live_url is None:
        return EmbeddedLiveBoard(settings.data_dir / "live.sqlite")
    from app.live.redis import RedisLiveBoard  # noqa: PLC0415

    return RedisLiveBoard(settings.live_url, clock)


def _station_index(settings: Settings, board: LiveBoard) -> StationIndex:
    if not settings.station_index_urls:
        return EmbeddedIndex(settings.data_dir / "stations.sqlite", board)
    from app.index.elasticsearch import ElasticsearchIndex  # noqa: PLC0415

    return ElasticsearchIndex(settings.station_index_urls, board, settings.station_index_prefix)


def _reservations(settings: Settings, clock: Clock) -> ReservationStore:
    if settings.reservations_url is None:
        path = settings.data_dir / "reservations.sqlite"
        return EmbeddedReservations(path, clock, settings.max_live_reservations)
    from app.reservations.redis import RedisReservations  # noqa: PLC0415

    return RedisReservations(settings.reservations_url, settings.max_live_reservations)


def _ledger(settings: Settings, clock: Clock) -> FeedLedger:
    if settings.reservations_url is None:
        return EmbeddedFeedLedger(settings.data_dir / "feeds.sqlite", clock)
    from app.feeds.redis import RedisFeedLedger  # noqa: PLC0415

    return RedisFeedLedger(settings.reservations_url)


def _partners(settings: Settings, clock: Clock) -> PartnerDirectory:
    if settings.reservations_url is None:
        return EmbeddedPartners(settings.data_dir / "partners.sqlite", clock)
    from app.partners.redis import RedisPartners  # noqa: PLC0415

    return RedisPartners(settings.reservations_url, clock)


def _quotas(settings: Settings) -> Quotas:
    if settings.reservations_url is None:
        return EmbeddedQuotas(monotonic_s)
    from app.quotas.redis import RedisQuotas  # noqa: PLC0415

    return RedisQuotas(settings.reservations_url, monotonic_s)


def _metering(settings: Settings, quotas: Quotas) -> Metering:
    windows = {
        name: tuple(Window(limit=limit, period_s=period_s) for limit, period_s in stated)
        for name, stated in settings.quotas.items()
    }
    return Metering(quotas, windows)


@asynccontextmanager
async def open_partners(settings: Settings, clock: Clock = system_clock) -> AsyncIterator[PartnerDirectory]:
    """Open the partners' keys alone; a hub may be serving meanwhile."""
    partners = _partners(settings, clock)
    await partners.open()
    try:
        yield partners
    finally:
        await partners.close()


@asynccontextmanager
async def open_ledger(settings: Settings, clock: Clock = system_clock) -> AsyncIterator[FeedLedger]:
    """Open the feeds' reports alone; a hub may be serving meanwhile."""
    ledger = _ledger(settings, clock)
    await ledger.open()
    try:
        yield ledger
    finally:
        await ledger.close()


def make_feeds(
    settings: Settings, environment: Mapping[str, str], ledger: FeedLedger, clock: Clock
) -> tuple[Feed, ...]:
    """Make the feeds that the settings name from their profiles. Raises SettingsError that names the key."""
    makers = factories()
    directories = () if settings.profiles_dir is None else (settings.profiles_dir,)
    feeds = []
    for name, profile in load_profiles(settings.feeds, directories, environment):
        kind = profile["kind"]
        if kind not in makers:
            raise SettingsError(f"profile {name}: kind is {kind!r}; it must be one of {', '.join(sorted(makers))}")
        feed = makers[kind](profile, FeedContext(feed=name, clock=clock, ledger=ledger))
        if not feed.rights.may_cache:
            raise SettingsError(f"profile {name}: rights.may_cache is false; what may not be kept cannot be indexed")
        feeds.append(feed)
    return tuple(feeds)


def list_secrets(settings: Settings, environment: Mapping[str, str]) -> set[str]:
    """Return what must never be told: passwords in addresses, and the profiles' secrets. Raises SettingsError."""
    urls = (*settings.station_index_urls, settings.live_url, settings.reservations_url, settings.traces_url)
    passwords = {urlsplit(url).password or "" for url in urls if url is not None}
    directories = () if settings.profiles_dir is None else (settings.profiles_dir,)
    tables = [profile for _, profile in load_profiles(settings.feeds, directories, environment)]
    told = {*_secrets_in(tables, secret=False)}
    encoded = {b64encode(secret.encode()).decode() for secret in told}  # as OCPI sends them
    return {*passwords, *map(unquote, passwords), *told, *encoded} - {""}


def _secrets_in(value: object, *, secret: bool) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _secrets_in(inner, secret=secret or _SECRET.fullmatch(key) is not None)
    elif isinstance(value, list):
        for inner in value:
            yield from _secrets_in(inner, secret=secret)
    elif secret and isinstance(value, str):
        yield value


def _infos(feeds: tuple[Feed, ...], indexed: Mapping[str, int]) -> tuple[FeedInfo, ...]:
    """Describe the feeds. One that is indexed and no longer configured has no contract: nobody may see it."""
    configured = tuple(
        FeedInfo(
            id=feed.feed,
            title=feed.title,
            party=feed.party,
            has_live_status=feed.has_live_status,
            rights=feed.rights,
        )
        for feed in feeds
    )
    gone = sorted(indexed.keys() - {feed.feed for feed in feeds})
    withdrawn = FeedRights(may_discover=False)
    return configured + tuple(
        FeedInfo(id=name, title=name, party="", has_live_status=False, rights=withdrawn) for name in gone
    )


@contextmanager
def _exclusive(data_dir: Path) -> Iterator[None]:
    """Keep the embedded stores to one process: their columns and boards live in its memory."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / LOCK_FILE).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            msg = (
                f"{data_dir} is in use by process {lock.read().strip() or '(unknown)'}: a hub that serves also indexes "
                "on its own schedule; stop it first, or set CHARGEGRAPH_DATA_DIR to another folder"
            )
            raise SettingsError(msg) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
