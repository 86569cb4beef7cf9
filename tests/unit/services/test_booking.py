"""Booking and search over the real embedded stores: what a driver is told, and what a partner may hold."""

import msgspec
import pytest

from app.errors import InvalidInputError, NotAllowedError
from app.index.embedded import EmbeddedIndex
from app.live.embedded import EmbeddedLiveBoard
from app.model.availability import Availability, EvseStatus
from app.model.clock import ManualClock
from app.model.feed import FeedInfo, FeedRights
from app.model.geo import Point
from app.model.partner import Partner, PartnerKind, Scope
from app.model.reservation import MAX_HOLD_S, RefusalCode, ReservationState
from app.model.search import Near, StationFilter
from app.model.station import Connector, ConnectorType, Evse, Operator, Presence, StatedFees, Station
from app.reservations.embedded import EmbeddedReservations
from app.services.booking import Booking
from app.services.station_search import StationSearch
from app.services.viewer import viewer_of

HERE = Point(lon=121.4737, lat=31.2304)
FEEDS = (
    FeedInfo(id="live", title="实时", party="LIV", has_live_status=True, rights=FeedRights()),
    FeedInfo(id="register", title="登记", party="REG", has_live_status=False, rights=FeedRights(may_republish=False)),
    FeedInfo(id="secret", title="价密", party="SEC", has_live_status=True, rights=FeedRights(may_show_price=False)),
)


def station(feed, number, presence=Presence.IN_SERVICE, evse_presence=Presence.IN_SERVICE):
    party = feed[:3].upper()
    return Station(
        id=f"{feed}:{party}:{number}",
        feed=feed,
        operator_id=f"{feed}:{party}",
        local_id=str(number),
        name=f"{feed} {number}",
        location=Point(lon=HERE.lon + number / 10_000, lat=HERE.lat),
        presence=presence,
        fees=StatedFees(electricity="1.2元/度"),
        evses=tuple(
            Evse(
                id=f"{feed}:{party}:{number}-{gun}",
                local_id=f"{number}-{gun}",
                presence=evse_presence,
                connectors=(Connector(id="1", type=ConnectorType.GBT_DC, max_power_w=120_000),),
            )
            for gun in range(2)
        ),
    )


def viewer(name="alice", kind=PartnerKind.NAVIGATION, scopes=(Scope.DISCOVER, Scope.RESERVE)):
    return viewer_of(Partner(id=name, kind=kind, scopes=frozenset(scopes)), FEEDS)


class House:
    """Everything opened, with a hand on the clock."""

    def __init__(self, folder):
        self.clock = ManualClock()
        self.folder = folder
        self.board = EmbeddedLiveBoard(folder / "live.sqlite")
        self.index = EmbeddedIndex(folder / "stations.sqlite", self.board)
        self.store = EmbeddedReservations(folder / "reservations.sqlite", self.clock, 3)
        self.search = StationSearch(self.index, self.board, self.clock, FEEDS)
        self.booking = Booking(self.store, self.board, self.search)

    async def open(self):
        for store in (self.board, self.index, self.store):
            await store.open()
        await self.booking.load()

    async def close(self):
        for store in (self.store, self.index, self.board):
            await store.close()

    async def say(self, evse_id, availability, raw="1"):
        now = self.clock()
        await self.board.record([EvseStatus(evse_id, availability, raw, now, now, now + 900)])

    async def view(self, evse_id, who=None):
        (view,) = await self.search.find_evses(who or viewer(), [evse_id])
        return view

    async def hold(self, evse_id="live:LIV:1-0", key="k1", hold_s=600, who=None):
        return await self.booking.reserve(who or viewer(), evse_id, hold_s, key)


@pytest.fixture
async def house(tmp_path):
    house = House(tmp_path)
    await house.open()
    await house.index.upsert_stations("live", [station("live", 1), station("live", 2, Presence.TEMPORARILY_CLOSED)])
    await house.index.upsert_stations("register", [station("register", 3)])
    await house.index.upsert_stations("secret", [station("secret", 4)])
    await house.index.save_operators([Operator(id="register:REG", feed="register", party="REG", name="登记")])
    await house.say("live:LIV:1-0", Availability.AVAILABLE)
    yield house
    await house.close()


async def found(house, wanted=None, who=None):
    page = await house.search.search(
        who or viewer(), Near(center=HERE, radius_m=5000), wanted or StationFilter(), 20, None
    )
    assert page.total_count == len(page.found)
    return [hit.sighting.station.id for hit in page.found]


async def test_what_may_be_claimed_of_an_evse(house):
    assert (await house.view("live:LIV:1-0")).availability is Availability.AVAILABLE
    assert (await house.view("live:LIV:1-1")).availability is Availability.UNKNOWN
    assert (await house.view("live:LIV:2-0")).availability is Availability.UNAVAILABLE
    assert (await house.view("register:REG:3-0")).availability is Availability.NOT_LIVE
    assert await house.view("live:LIV:9-0") is None


async def test_old_news_is_no_news(house):
    house.clock.advance(899)
    assert (await house.view("live:LIV:1-0")).availability is Availability.AVAILABLE
    assert await found(house, StationFilter(available_now=True)) == ["live:LIV:1"]
    assert await found(house, StationFilter(available_now=True, max_status_age_s=60)) == []
    house.clock.advance(1)
    view = await house.view("live:LIV:1-0")
    assert (view.availability, view.stale) == (Availability.UNKNOWN, True)
    assert view.at - view.status.observed_at == 900
    assert view.status.availability is Availability.AVAILABLE
    assert await found(house, StationFilter(available_now=True)) == []
    assert (await house.hold()).refusals[0].code is RefusalCode.STATUS_UNKNOWN


async def test_rights_hide_feeds_from_maps_and_prices_from_all(house):
    who = viewer(kind=PartnerKind.MAP)
    assert "register:REG:3" not in await found(house, who=who)
    assert await house.search.find_stations(who, ["register:REG:3", "live:LIV:1"]) != [None, None]
    assert (await house.search.find_stations(who, ["register:REG:3"])) == [None]
    assert await house.search.operators(who) == {}
    assert await house.view("register:REG:3-0", who) is None
    (sighting,) = await house.search.find_stations(viewer(), ["secret:SEC:4"])
    assert sighting is not None
    assert sighting.view.station.fees.electricity is None


async def test_scopes_are_required(house):
    with pytest.raises(NotAllowedError, match="reserve"):
        await house.hold(who=viewer(scopes=(Scope.DISCOVER,)))
    with pytest.raises(NotAllowedError, match="discover"):
        await found(house, who=viewer(scopes=(Scope.RESERVE,)))


async def test_too_many_ids_are_refused(house):
    with pytest.raises(InvalidInputError, match="ids"):
        await house.search.find_stations(viewer(), ["live:LIV:1"] * 101)


async def test_a_hold_shows_to_everyone_and_is_its_holders(house):
    outcome = await house.hold()
    assert outcome.reservation.state is ReservationState.HELD
    for who in (viewer(), viewer("bob")):
        assert (await house.view("live:LIV:1-0", who)).availability is Availability.RESERVED
    assert house.booking.holder("live:LIV:1-0", house.clock()) == "alice"
    assert await found(house, StationFilter(available_now=True)) == []
    refused = await house.hold(key="k2", who=viewer("bob"))
    assert refused.refusals[0].code is RefusalCode.ALREADY_RESERVED
    house.clock.advance(600)
    assert (await house.view("live:LIV:1-0")).availability is Availability.AVAILABLE
    assert house.booking.holder("live:LIV:1-0", house.clock()) is None
    assert (await house.hold(key="k3", who=viewer("bob"))).reservation is not None


async def test_holds_outlive_a_restart(house):
    await house.hold()
    await house.close()
    again = House(house.folder)
    again.clock.instant = house.clock.instant
    await again.open()
    assert (await again.view("live:LIV:1-0")).availability is Availability.RESERVED
    assert again.booking.holder("live:LIV:1-0", again.clock()) == "alice"
    await again.close()
    await house.open()


async def test_cancelling_frees_the_evse_at_once(house):
    held = await house.hold()
    outcome = await house.booking.cancel(viewer(), held.reservation.id, "c1")
    assert outcome.reservation.state is ReservationState.CANCELLED
    assert (await house.view("live:LIV:1-0")).availability is Availability.AVAILABLE


async def test_a_replay_of_the_past_does_not_lift_anothers_hold(house):
    mine = await house.hold()
    await house.booking.cancel(viewer(), mine.reservation.id, "c1")
    theirs = await house.hold(key="b1", who=viewer("bob"))
    assert theirs.reservation.fence > mine.reservation.fence
    for outcome in (await house.hold(), await house.booking.cancel(viewer(), mine.reservation.id, "c1")):
        assert outcome.replayed
    again = await house.booking.cancel(viewer(), mine.reservation.id, "c2")
    assert again.reservation.state is ReservationState.CANCELLED
    assert (await house.view("live:LIV:1-0")).availability is Availability.RESERVED
    assert house.booking.holder("live:LIV:1-0", house.clock()) == "bob"


@pytest.mark.parametrize(
    ("evse_id", "hold_s", "code"),
    [
        ("live:LIV:9-0", 600, RefusalCode.UNKNOWN_EVSE),
        ("nonsense", 600, RefusalCode.UNKNOWN_EVSE),
        ("live:LIV:2-0", 600, RefusalCode.EVSE_NOT_AVAILABLE),
        ("live:LIV:1-1", 600, RefusalCode.STATUS_UNKNOWN),
        ("register:REG:3-0", 600, RefusalCode.STATUS_UNKNOWN),
        ("live:LIV:1-0", 59, RefusalCode.HOLD_OUT_OF_RANGE),
        ("live:LIV:1-0", MAX_HOLD_S + 1, RefusalCode.HOLD_OUT_OF_RANGE),
    ],
)
async def test_refusals_say_why(house, evse_id, hold_s, code):
    outcome = await house.hold(evse_id, hold_s=hold_s)
    assert outcome.reservation is None
    assert [refusal.code for refusal in outcome.refusals] == [code]


@pytest.mark.parametrize("availability", [Availability.CHARGING, Availability.OUT_OF_ORDER, Availability.OFFLINE])
async def test_what_is_not_free_is_not_held(house, availability):
    await house.say("live:LIV:1-0", availability)
    house.clock.advance(1)
    await house.say("live:LIV:1-0", availability)
    assert (await house.hold()).refusals[0].code is RefusalCode.EVSE_NOT_AVAILABLE


async def test_a_replay_answers_even_when_the_evse_is_taken_by_now(house):
    first = await house.hold()
    house.clock.advance(1)
    await house.say("live:LIV:1-0", Availability.CHARGING)
    again = await house.hold()
    assert again.replayed
    assert again.reservation.id == first.reservation.id
    assert msgspec.structs.asdict(again.reservation) == msgspec.structs.asdict(first.reservation)


async def test_reservations_are_their_partners_own(house):
    held = await house.hold()
    assert await house.booking.find_reservation(viewer(), held.reservation.id) == held.reservation
    assert await house.booking.find_reservation(viewer("bob"), held.reservation.id) is None
    for work in (
        house.booking.extend(viewer("bob"), held.reservation.id, 600, "x"),
        house.booking.cancel(viewer("bob"), held.reservation.id, "y"),
    ):
        assert (await work).refusals[0].code is RefusalCode.UNKNOWN_RESERVATION
    assert await house.booking.list_reservations(viewer("bob"), 10, None, live_only=False) == []
    assert await house.booking.list_reservations(viewer(), 10, None, live_only=True) == [held.reservation]


async def test_news_that_comes_late_changes_nothing_that_is_known_better(house):
    """A store that many processes share tells each of them what all did, their own included, a moment later."""
    evse_id = "live:LIV:1-0"
    first = (await house.hold()).reservation
    longer = (await house.booking.extend(viewer(), first.id, 3_600, "e1")).reservation
    house.booking._show_all([first], complete=False)
    assert house.booking.holder(evse_id, first.expires_at) == "alice"
    await house.booking.cancel(viewer(), first.id, "c1")
    house.booking._show_all([first, longer], complete=False)
    assert house.booking.holder(evse_id, house.clock()) is None
    assert (await house.view(evse_id)).availability is Availability.AVAILABLE
    second = (await house.hold(key="b1", who=viewer("bob"))).reservation
    house.booking._show_all([longer, first], complete=False)
    assert house.booking.holder(evse_id, house.clock()) == "bob"
    later = msgspec.structs.replace(second, id="rsv_" + "A" * 24, partner_id="carol", fence=second.fence + 1)
    house.booking._show_all([later], complete=False)
    assert house.booking.holder(evse_id, house.clock()) == "carol"


async def test_what_is_not_among_all_that_live_is_held_no_more(house):
    held = (await house.hold()).reservation
    other = msgspec.structs.replace(held, evse_id="live:LIV:1-1", id="rsv_" + "A" * 24, partner_id="bob")
    house.booking._show_all([other], complete=True)
    assert (await house.view("live:LIV:1-0")).availability is Availability.AVAILABLE
    assert (await house.view("live:LIV:1-1")).availability is Availability.RESERVED
    # What came back has a history of its own: its fences may be lower than those that were lost with the other.
    house.booking._show_all([msgspec.structs.replace(held, fence=held.fence - 1)], complete=True)
    assert house.booking.holder("live:LIV:1-0", house.clock()) == "alice"
    assert house.booking.holder("live:LIV:1-1", house.clock()) is None


async def test_what_is_over_is_forgotten(house):
    held = (await house.hold()).reservation
    for number in range(1, 1_000):
        began = held.created_at + number
        news = msgspec.structs.replace(
            held, id=f"rsv_{number:024}", evse_id=f"live:LIV:{number}", created_at=began, expires_at=began + 60
        )
        house.booking._show_all([news], complete=False)
    assert len(house.booking._latest) < 700, "those of ten minutes, which is how long the first one lasts"
    began = held.expires_at + 1_000
    news = msgspec.structs.replace(held, evse_id="live:LIV:0", created_at=began, expires_at=began + 60)
    for _ in range(700):
        house.booking._show_all([news], complete=False)
    assert len(house.booking._latest) == 1
