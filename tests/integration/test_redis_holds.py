"""Several hubs over one ledger: what one of them grants, moves on or ends shows on the boards of all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from app.errors import UnavailableError
from app.index.embedded import EmbeddedIndex
from app.live.redis import RedisLiveBoard
from app.model.availability import Availability
from app.model.clock import system_clock
from app.model.feed import FeedInfo, FeedRights
from app.model.partner import Partner, PartnerKind, Scope
from app.model.reservation import Guarantee, RefusalCode, Reservation, ReservationState
from app.reservations.redis import RedisReservations
from app.services.booking import Booking
from app.services.station_search import StationSearch
from app.services.viewer import Viewer, viewer_of
from tests.builders import build_station, build_status
from tests.integration.redis_traffic import command, eventually
from tests.servers.fixtures import StartRedis
from tests.servers.process import LOOPBACK
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisServer

FEED = FeedInfo(id="teld", title="特来电", party="395815801", has_live_status=True, rights=FeedRights())
STATION = build_station(1, evse_count=3)
FIRST, SECOND, THIRD = (evse.id for evse in STATION.evses)


def viewer(name: str) -> Viewer:
    return viewer_of(Partner(id=name, kind=PartnerKind.NAVIGATION, scopes=frozenset(Scope)), (FEED,))


class Hub:
    """One process' stores and use cases."""

    def __init__(self, folder: Path, live_url: str, ledger_url: str) -> None:
        self.board = RedisLiveBoard(live_url)
        self.index = EmbeddedIndex(folder / "stations.sqlite", self.board)
        self.store = RedisReservations(ledger_url, 10)
        self.search = StationSearch(self.index, self.board, system_clock, (FEED,))
        self.booking = Booking(self.store, self.board, self.search)

    async def shows(self, evse_id: str) -> Availability:
        (view,) = await self.search.find_evses(viewer("anyone"), [evse_id])
        assert view is not None
        return view.availability

    def holder(self, evse_id: str) -> str | None:
        return self.booking.holder(evse_id, system_clock())

    async def hold(self, evse_id: str, name: str = "alice") -> Reservation:
        outcome = await self.booking.reserve(viewer(name), evse_id, 600, f"hold {evse_id}")
        assert outcome.reservation is not None, outcome
        return outcome.reservation


@asynccontextmanager
async def opened(folder: Path, live_url: str, ledger_url: str | None = None) -> AsyncIterator[Hub]:
    hub = Hub(folder, live_url, ledger_url or live_url)
    stores = (hub.board, hub.index, hub.store)
    try:
        for store in stores:
            await store.open()
        await hub.index.upsert_stations("teld", [STATION])
        now = system_clock()
        await hub.board.record(
            [build_status(evse.id, observed_at=now, received_at=now, stale_after=now + 900) for evse in STATION.evses]
        )
        await hub.booking.load()
        yield hub
    finally:
        for store in reversed(stores):
            await store.close()


async def test_a_hold_shows_on_every_board_and_so_does_its_end(tmp_path: Path, redis_url: str) -> None:
    async with AsyncExitStack() as stack:
        here, there = [await stack.enter_async_context(opened(tmp_path / name, redis_url)) for name in "ab"]
        held = await here.hold(FIRST)
        assert await here.shows(FIRST) is Availability.RESERVED
        await eventually(lambda: there.holder(FIRST) == "alice")
        assert await there.shows(FIRST) is Availability.RESERVED
        refused = await there.booking.reserve(viewer("bob"), FIRST, 600, "b1")
        assert [refusal.code for refusal in refused.refusals] == [RefusalCode.ALREADY_RESERVED]
        # Whoever comes later sees it at once.
        late = await stack.enter_async_context(opened(tmp_path / "c", redis_url))
        assert late.holder(FIRST) == "alice"
        # It may end in any of them.
        await there.booking.cancel(viewer("alice"), held.id, "a2")
        assert await there.shows(FIRST) is Availability.AVAILABLE
        await eventually(lambda: here.holder(FIRST) is None and late.holder(FIRST) is None)
        for hub in (here, late):
            assert await hub.shows(FIRST) is Availability.AVAILABLE
        again = await late.hold(FIRST, "bob")
        assert again.fence == held.fence + 1
        await eventually(lambda: here.holder(FIRST) == "bob")
        # A replay of the past lifts nobody's hold.
        replayed = await there.booking.cancel(viewer("alice"), held.id, "a2")
        assert replayed.replayed
        assert there.holder(FIRST) == "bob"


async def test_what_an_operator_says_to_one_hub_shows_on_all(tmp_path: Path, redis_url: str) -> None:
    async with AsyncExitStack() as stack:
        here, there = [await stack.enter_async_context(opened(tmp_path / name, redis_url)) for name in "ab"]
        held = await here.hold(FIRST)
        await eventually(lambda: there.holder(FIRST) == "alice")
        longer = await there.booking.extend(viewer("alice"), held.id, 3_600, "a2")
        assert longer.reservation is not None
        await eventually(lambda: here.booking.holder(FIRST, held.expires_at) == "alice")
        assert await there.store.transition(held.id, held.fence, ReservationState.HELD, ReservationState.FAILED)
        await eventually(lambda: here.holder(FIRST) is None and there.holder(FIRST) is None)
        for hub in (here, there):
            assert await hub.shows(FIRST) is Availability.AVAILABLE


async def test_one_who_was_cut_off_hears_of_all_that_he_missed(
    tmp_path: Path, redis_url: str, redis_server: RedisServer
) -> None:
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(redis_server.port))
        here = await stack.enter_async_context(opened(tmp_path / "a", redis_url))
        away = await stack.enter_async_context(opened(tmp_path / "b", redis_url, f"redis://{LOOPBACK}:{proxy.port}/0"))
        held = await here.hold(FIRST)
        await eventually(lambda: away.holder(FIRST) == "alice")
        proxy.refuse()
        await here.booking.cancel(viewer("alice"), held.id, "a2")
        await here.hold(SECOND)
        refused = await away.booking.reserve(viewer("bob"), THIRD, 600, "b1")
        assert [refusal.code for refusal in refused.refusals] == [RefusalCode.UNAVAILABLE]
        assert away.holder(FIRST) == "alice", "all that it knows"
        assert away.holder(SECOND) is None
        proxy.resume()
        await eventually(lambda: away.holder(SECOND) == "alice")
        assert away.holder(FIRST) is None
        assert (await away.booking.reserve(viewer("bob"), THIRD, 600, "b1")).reservation is not None


async def test_one_who_does_not_understand_what_others_do_says_so(
    tmp_path: Path, redis_url: str, redis_server: RedisServer
) -> None:
    async with opened(tmp_path, redis_url) as hub:
        await hub.booking.check()
        with redis_server.client() as client:
            client.xadd("chargegraph:{reservations}:changes", {"reservation": "of a later version"}, id="1-0")

        async def is_lost() -> bool:
            try:
                await hub.booking.check()
            except UnavailableError as error:
                return "cannot read" in str(error)
            return False

        await eventually(is_lost)
        await hub.hold(FIRST)  # the server decides, and it is well
        assert hub.holder(FIRST) == "alice"


async def test_a_stream_that_was_cut_off_before_one_came_back_is_loaded_anew(
    tmp_path: Path, redis_url: str, redis_server: RedisServer
) -> None:
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(redis_server.port))
        here = await stack.enter_async_context(opened(tmp_path / "a", redis_url))
        away = await stack.enter_async_context(opened(tmp_path / "b", redis_url, f"redis://{LOOPBACK}:{proxy.port}/0"))
        held = await here.hold(FIRST)
        await eventually(lambda: away.holder(FIRST) == "alice")
        proxy.refuse()
        await here.booking.cancel(viewer("alice"), held.id, "a2")
        await here.hold(SECOND)
        await here.hold(THIRD)
        with redis_server.client() as client:
            client.xtrim("chargegraph:{reservations}:changes", maxlen=1, approximate=False)
        proxy.resume()
        await eventually(lambda: away.holder(THIRD) == "alice")
        assert away.holder(SECOND) == "alice"
        assert away.holder(FIRST) is None


async def test_holds_that_a_failover_lost_are_lifted_everywhere(tmp_path: Path, start_redis: StartRedis) -> None:
    live = await asyncio.to_thread(start_redis)
    primary = await asyncio.to_thread(start_redis)
    async with AsyncExitStack() as stack:
        between = await stack.enter_async_context(Proxy(primary.port))
        replica = await asyncio.to_thread(lambda: start_redis(replica_of=between.port))
        await asyncio.to_thread(replica.wait_until_linked)
        address = await stack.enter_async_context(Proxy(primary.port))
        url = f"redis://{LOOPBACK}:{address.port}/0?replicas=1"
        here, there = [await stack.enter_async_context(opened(tmp_path / name, live.url, url)) for name in "ab"]
        await here.hold(FIRST)
        between.refuse()
        with pytest.raises(UnavailableError, match="only 0 of the 1 replicas"):
            await here.store.reserve(command("alice"), SECOND, 600, Guarantee.HUB_HOLD)
        await eventually(lambda: there.holder(SECOND) == "alice")  # nobody was granted it, and nobody else may have it
        with replica.client() as client:
            client.replicaof("NO", "ONE")
        spare = await asyncio.to_thread(lambda: start_redis(replica_of=replica.port))
        await asyncio.to_thread(spare.wait_until_linked)
        address.target_port = replica.port
        address.cut()
        await eventually(lambda: here.holder(SECOND) is None and there.holder(SECOND) is None)
        for hub in (here, there):
            assert hub.holder(FIRST) == "alice"
            assert await hub.shows(SECOND) is Availability.AVAILABLE
        await eventually(lambda: _answers(there))
        assert (await there.hold(SECOND, "bob")).partner_id == "bob"
        await eventually(lambda: here.holder(SECOND) == "bob")


async def _answers(hub: Hub) -> bool:
    try:
        await hub.booking.now()
    except UnavailableError:
        return False
    return True
