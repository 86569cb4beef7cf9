"""Holding an Evse over the API: one winner, safe repetition, refusals that say why, and what each answer costs."""

import asyncio
import json
import shutil
from collections import Counter
from typing import Any

import httpx
import msgspec
import pytest

from app.main import build
from app.model.availability import Availability
from app.model.feed import RunKind
from app.model.partner import Partner
from app.model.reservation import MAX_HOLD_S, Guarantee, Outcome
from app.model.station import Presence
from app.partners.embedded import EmbeddedPartners
from app.reservations.base import Command
from app.reservations.embedded import EmbeddedReservations
from app.services.agreements import Agreements
from app.services.booking import Booking
from app.services.feed_health import FeedHealth
from app.services.station_search import StationSearch
from app.web.auth import Doorkeeper
from app.web.graphql_endpoint import GraphQLEndpoint
from app.wiring import Hub
from schema.engine import Engine
from tests.builders import build_evse, build_station
from tests.integration.api import (
    NAMES,
    RESERVE,
    Api,
    Platform,
    evse_id,
    furnish,
    open_api,
    read_golden,
    station_id,
)

EVSE = "query($id: ID!) { evse(id: $id) { status heldByMe } }"
FREE = """
query { nearbyStations(near: {lon: 121.5, lat: 31.2}, radiusM: 10, filter: {availableNow: true}) { totalCount } }
"""
RESERVATION = "query($id: ID!) { reservation(id: $id) { state live ttlS endedAt } }"
EXTEND = """
mutation($input: ExtendReservationInput!) {
  extendReservation(input: $input) { reservation { id ttlS } replayed userErrors { code message field } }
}
"""
CANCEL = """
mutation($input: CancelReservationInput!) {
  cancelReservation(input: $input) { reservation { id state } replayed userErrors { code message field } }
}
"""


@pytest.fixture
async def api(tmp_path):
    async with open_api(tmp_path) as api:
        await api.index(build_station(1, feed="live", evse_count=2))
        await api.say(evse_id(1), Availability.AVAILABLE)
        yield api


def codes(payload: Any) -> list[str]:
    return [error["code"] for error in payload["userErrors"]]


async def shown(api: Api, key: str | None = None) -> tuple[str, bool]:
    evse = (await api.data(EVSE, {"id": evse_id(1)}, key=key))["evse"]
    return evse["status"], evse["heldByMe"]


# ------------------------------------------------------------------------------------------------------- races


async def test_of_a_thousand_that_want_one_evse_one_gets_it(api):
    keys = [await api.key(f"p{number}") for number in range(20)]
    payloads = await asyncio.gather(*(api.hold(evse_id(1), key=keys[number % 20]) for number in range(1_000)))
    (winner,) = [payload for payload in payloads if payload["reservation"]]
    assert winner["reservation"]["state"] == "HELD" and not winner["userErrors"]
    assert Counter(code for payload in payloads for code in codes(payload)) == {"ALREADY_RESERVED": 999}
    assert len(await api.hub.services.booking._store.list_live()) == 1
    holders = [await shown(api, key) for key in keys]
    assert sorted(holders) == [("RESERVED", False)] * 19 + [("RESERVED", True)]


async def test_of_a_hundred_repetitions_one_grants(api):
    payloads = await asyncio.gather(*(api.hold(evse_id(1), again="the same wish") for _ in range(100)))
    assert len({payload["reservation"]["id"] for payload in payloads}) == 1
    assert sorted(payload["replayed"] for payload in payloads) == [False] + [True] * 99
    assert not any(payload["userErrors"] for payload in payloads)


# ------------------------------------------------------------------------------------------------------- repetition


async def test_a_repeated_wish_is_answered_with_what_it_got(api):
    first = await api.hold(evse_id(1), again="k")
    assert not first["replayed"]
    api.clock.advance(60)
    again = await api.hold(evse_id(1), again="k")
    assert again["replayed"]
    changing = {"serverTime", "ttlS"}
    assert {name: value for name, value in again["reservation"].items() if name not in changing} == {
        name: value for name, value in first["reservation"].items() if name not in changing
    }
    assert (first["reservation"]["ttlS"], again["reservation"]["ttlS"]) == (600, 540)
    await api.data(CANCEL, {"input": {"reservationId": first["reservation"]["id"], "idempotencyKey": "c"}})
    ended = await api.hold(evse_id(1), again="k")
    assert ended["replayed"] and ended["reservation"]["state"] == "CANCELLED"
    assert await shown(api) == ("AVAILABLE", False), "a repetition holds nothing anew"


async def test_a_repetition_is_known_after_a_crash(api, tmp_path):
    """What was acknowledged stands in the files as they are at that moment."""
    first = await api.hold(evse_id(1), again="k")
    key = await api.key()
    shutil.copytree(tmp_path / "data", tmp_path / "as it stands" / "data")
    async with open_api(tmp_path / "as it stands") as restarted:
        again = await restarted.hold(evse_id(1), again="k", key=key)
        assert again["replayed"] and again["reservation"]["id"] == first["reservation"]["id"]
        assert await shown(restarted, key) == ("RESERVED", True)


@pytest.mark.parametrize("change", [{"holdS": 601}, {"evseId": evse_id(1, 2)}])
async def test_an_idempotency_key_is_good_for_one_wish(api, change):
    wish = {"evseId": evse_id(1), "holdS": 600, "idempotencyKey": "k"}
    first = (await api.data(RESERVE, {"input": wish}))["reserveEvse"]
    other = (await api.data(RESERVE, {"input": wish | change}))["reserveEvse"]
    assert other["reservation"] is None and not other["replayed"]
    (error,) = other["userErrors"]
    assert (error["code"], error["field"]) == ("IDEMPOTENCY_KEY_REUSED", "idempotencyKey")
    again = (await api.data(RESERVE, {"input": wish}))["reserveEvse"]
    assert again["replayed"] and again["reservation"]["id"] == first["reservation"]["id"]


async def test_one_key_may_serve_each_operation_and_each_partner_once(api):
    mine = (await api.hold(evse_id(1), again="k"))["reservation"]["id"]
    theirs = await api.hold(evse_id(1), again="k", key=await api.key("other"))
    assert codes(theirs) == ["ALREADY_RESERVED"] and not theirs["replayed"]
    wish = {"reservationId": mine, "holdS": 900, "idempotencyKey": "k"}
    longer = (await api.data(EXTEND, {"input": wish}))["extendReservation"]
    assert longer["reservation"] == {"id": mine, "ttlS": 900} and not longer["replayed"]
    wish = {"reservationId": mine, "idempotencyKey": "k"}
    gone = (await api.data(CANCEL, {"input": wish}))["cancelReservation"]
    assert gone["reservation"] == {"id": mine, "state": "CANCELLED"} and not gone["replayed"]


# ------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("availability", [each for each in Availability if each is not Availability.AVAILABLE])
async def test_what_is_not_free_is_refused_with_the_reason(api, availability):
    api.clock.advance(1)
    await api.say(evse_id(1), availability)
    payload = await api.hold(evse_id(1))
    nobody_knows = availability in {Availability.UNKNOWN, Availability.NOT_LIVE}
    assert codes(payload) == ["STATUS_UNKNOWN" if nobody_knows else "EVSE_NOT_AVAILABLE"]
    assert nobody_knows or availability.value in payload["userErrors"][0]["message"]
    assert payload["userErrors"][0]["field"] == "evseId"
    assert payload["reservation"] is None
    api.clock.advance(1)
    await api.say(evse_id(1), Availability.AVAILABLE)
    assert (await api.hold(evse_id(1)))["reservation"], "a refusal by status blocks nothing"


async def test_old_news_is_not_enough(api):
    api.clock.advance(899.999)
    held = await api.hold(evse_id(1), hold_s=60)
    assert held["reservation"]
    api.clock.advance(60)
    assert codes(await api.hold(evse_id(1))) == ["STATUS_UNKNOWN"]


@pytest.mark.parametrize(
    ("station", "evse", "code"),
    [
        ({"presence": Presence.TEMPORARILY_CLOSED}, {}, "EVSE_NOT_AVAILABLE"),
        ({"presence": Presence.PLANNED}, {}, "EVSE_NOT_AVAILABLE"),
        ({"presence": Presence.REMOVED}, {}, "UNKNOWN_EVSE"),
        ({"published": False}, {}, "UNKNOWN_EVSE"),
        ({}, {"presence": Presence.UNDER_CONSTRUCTION}, "EVSE_NOT_AVAILABLE"),
        ({}, {"reservable": False}, None),
    ],
)
async def test_what_is_not_in_service_is_not_held(api, station, evse, code):
    """An operator that takes no reservations is answered for by the hub's own hold."""
    await api.index(build_station(1, feed="live", evses=(build_evse(station_id(1), 1, **evse),), **station))
    payload = await api.hold(evse_id(1))
    assert codes(payload) == ([] if code is None else [code])
    assert code or payload["reservation"]["guarantee"] == "HUB_HOLD"


@pytest.mark.parametrize("hold_s", [-1, 0, 59, 3_601, 2**31 - 1, -(2**31)])
async def test_a_hold_out_of_range_is_refused(api, hold_s):
    payload = await api.hold(evse_id(1), hold_s=hold_s)
    assert codes(payload) == ["HOLD_OUT_OF_RANGE"]
    assert payload["userErrors"][0]["field"] == "holdS"
    mine = (await api.hold(evse_id(1)))["reservation"]["id"]
    wish = {"reservationId": mine, "holdS": hold_s, "idempotencyKey": "e"}
    assert codes((await api.data(EXTEND, {"input": wish}))["extendReservation"]) == ["HOLD_OUT_OF_RANGE"]


async def test_a_partner_holds_no_more_than_it_may(tmp_path):
    async with open_api(tmp_path, CHARGEGRAPH_MAX_LIVE_RESERVATIONS="2") as api:
        await api.index(build_station(1, feed="live", evse_count=3))
        for gun in (1, 2, 3):
            await api.say(evse_id(1, gun), Availability.AVAILABLE)
        for gun in (1, 2):
            assert (await api.hold(evse_id(1, gun), hold_s=60))["reservation"]
        assert codes(await api.hold(evse_id(1, 3))) == ["TOO_MANY_RESERVATIONS"]
        assert (await api.hold(evse_id(1, 3), key=await api.key("other"), hold_s=60))["reservation"]
        api.clock.advance(60)
        assert (await api.hold(evse_id(1, 3)))["reservation"]


# ------------------------------------------------------------------------------------------------------- time


async def test_a_hold_ends_by_itself(api):
    key = await api.key("other")
    mine = (await api.hold(evse_id(1), hold_s=120))["reservation"]["id"]
    assert (await api.data(FREE))["nearbyStations"]["totalCount"] == 0
    api.clock.advance(119.5)
    assert await shown(api) == ("RESERVED", True)
    assert await shown(api, key) == ("RESERVED", False)
    reservation = (await api.data(RESERVATION, {"id": mine}))["reservation"]
    assert reservation == {"state": "HELD", "live": True, "ttlS": 0, "endedAt": None}
    api.clock.advance(0.5)
    assert await shown(api) == ("AVAILABLE", False)
    assert (await api.data(FREE))["nearbyStations"]["totalCount"] == 1
    reservation = (await api.data(RESERVATION, {"id": mine}))["reservation"]
    assert (reservation["state"], reservation["live"], reservation["ttlS"]) == ("EXPIRED", False, 0)
    assert reservation["endedAt"]
    wish = {"reservationId": mine, "holdS": 600, "idempotencyKey": "late"}
    assert codes((await api.data(EXTEND, {"input": wish}))["extendReservation"]) == ["RESERVATION_ENDED"]
    assert codes((await api.data(CANCEL, {"input": wish_to_cancel(mine)}))["cancelReservation"]) == [
        "RESERVATION_ENDED"
    ]
    assert (await api.hold(evse_id(1), key=key))["reservation"]


def wish_to_cancel(reservation_id: str) -> dict[str, str]:
    return {"reservationId": reservation_id, "idempotencyKey": f"cancel {reservation_id}"}


async def test_a_hold_may_be_made_longer_and_let_go(api):
    mine = (await api.hold(evse_id(1), hold_s=60))["reservation"]["id"]
    wish = {"reservationId": mine, "holdS": MAX_HOLD_S, "idempotencyKey": "longer"}
    longer = (await api.data(EXTEND, {"input": wish}))["extendReservation"]
    assert longer["reservation"]["ttlS"] == MAX_HOLD_S
    api.clock.advance(600)
    await api.say(evse_id(1), Availability.AVAILABLE)
    assert await shown(api) == ("RESERVED", True)
    await api.data(CANCEL, {"input": wish_to_cancel(mine)})
    assert await shown(api) == ("AVAILABLE", False)
    assert (await api.hold(evse_id(1), key=await api.key("other")))["reservation"]


# ------------------------------------------------------------------------------------------------------- breakage


async def test_readiness_says_which_store_does_not_answer(api):
    response = await api.client.get("/readyz")
    names = ("index", "live", "reservations", "partners", "quotas")
    assert (response.status_code, response.json()) == (200, {"ready": True, "checks": dict.fromkeys(names, True)})
    store = api.hub.services.booking._store
    await store.close()
    response = await api.client.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"ready": False, "checks": dict.fromkeys(names, True) | {"reservations": False}}
    assert (await api.client.get("/livez")).json() == {"alive": True}
    await store.open()
    assert (await api.client.get("/readyz")).status_code == 200


async def test_without_the_reservations_all_else_is_answered(api):
    mine = (await api.hold(evse_id(1), again="k"))["reservation"]["id"]
    store = api.hub.services.booking._store
    await store.close()
    assert await shown(api) == ("RESERVED", True)
    refused = await api.hold(evse_id(1, 2))
    assert codes(refused) == ["UNAVAILABLE"] and "sqlite" not in json.dumps(refused)
    answer = await api.ask(RESERVATION, {"id": mine})
    assert answer["data"] == {"reservation": None}
    assert answer["errors"][0]["extensions"]["code"] == "UNAVAILABLE"
    assert "sqlite" not in json.dumps(answer), "which store it is, and where, is no partner's business"
    await store.open()
    assert (await api.hold(evse_id(1), again="k"))["replayed"]


async def test_without_the_index_nothing_is_made_up(api):
    await api.hub.ports.index.close()
    answer = await api.ask(FREE)
    assert answer["data"] is None
    assert answer["errors"][0]["extensions"]["code"] == "UNAVAILABLE"
    assert codes(await api.hold(evse_id(1))) == ["UNAVAILABLE"]
    await api.hub.ports.index.open()
    assert (await api.data(FREE))["nearbyStations"]["totalCount"] == 1


async def test_without_the_keys_nobody_is_let_in(api):
    key = await api.key()
    await api.hub.partners.close()
    for path in ("/graphql", "/nothing"):
        response = await api.client.post(path, json={"query": FREE}, headers={"x-api-key": key})
        assert response.status_code == 503
        assert response.json()["errors"][0]["extensions"]["code"] == "UNAVAILABLE"
    await api.hub.partners.open()


class SilentPartners(EmbeddedPartners):
    """Never says whose key it is."""

    async def find_partner(self, key_text: str) -> Partner | None:
        await asyncio.Event().wait()
        raise AssertionError


async def test_nobody_waits_for_a_key_longer_than_for_an_answer(api, tmp_path):
    services = api.hub.services
    silent = SilentPartners(tmp_path / "silent.sqlite", api.clock)
    doorkeeper = Doorkeeper(silent, Agreements(silent, services.feeds, api.clock))
    app = GraphQLEndpoint(services, doorkeeper, Engine(), max_body_bytes=10_000, ide_page=False, deadline_s=0.05)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://hub") as client:
        late = await client.post("/graphql", json={"query": FREE}, headers={"x-api-key": await api.key()})
    assert late.status_code == 503
    assert late.json()["errors"][0]["extensions"] == {"code": "UNAVAILABLE", "retryAfterS": 1.0}


class SlowReservations(EmbeddedReservations):
    """Grants at once, and says so when it is let."""

    granted: asyncio.Event
    may_tell: asyncio.Event

    async def reserve(self, command: Command, evse_id: str, hold_s: int, guarantee: Guarantee) -> Outcome:
        outcome = await super().reserve(command, evse_id, hold_s, guarantee)
        self.granted.set()
        await self.may_tell.wait()
        return outcome


async def test_a_grant_that_came_too_late_to_be_told_is_shown_and_can_be_asked_for_again(api, tmp_path):
    store = SlowReservations(tmp_path / "slow.sqlite", api.clock, 10)
    store.granted, store.may_tell = asyncio.Event(), asyncio.Event()
    await store.open()
    services = api.hub.services
    services = msgspec.structs.replace(services, booking=Booking(store, api.hub.ports.board, services.search))
    wish = {"evseId": evse_id(1), "holdS": 600, "idempotencyKey": "k"}

    async def ask(deadline_s: float) -> httpx.Response:
        doorkeeper = Doorkeeper(api.hub.partners, Agreements(api.hub.partners, services.feeds, api.clock))
        app = GraphQLEndpoint(
            services, doorkeeper, Engine(), max_body_bytes=10_000, ide_page=False, deadline_s=deadline_s
        )
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://hub") as client:
            headers = {"x-api-key": await api.key()}
            return await client.post("/graphql", json={"query": RESERVE, "variables": {"input": wish}}, headers=headers)

    late = await ask(0.05)
    assert (late.status_code, late.headers["retry-after"]) == (503, "1")
    assert late.json()["errors"][0]["extensions"] == {"code": "UNAVAILABLE", "retryAfterS": 1.0}
    assert "idempotency key" in late.json()["errors"][0]["message"]
    await store.granted.wait()
    store.may_tell.set()
    await asyncio.sleep(0.01)
    assert (await shown(api))[0] == "RESERVED"
    payload = (await ask(60)).json()["data"]["reserveEvse"]
    assert payload["replayed"] and payload["reservation"]["state"] == "HELD"
    await store.close()


# ------------------------------------------------------------------------------------------------------- pushes


class Operator(Platform):
    """An operator whose pushes come a second after one another."""

    def __init__(self, api: Api, *, prefix: bytes = b"") -> None:
        super().__init__(api.client, api.clock, prefix=prefix)
        self._advance = api.clock.advance

    async def push(self, *statuses: tuple[str, int]) -> None:
        self._advance(1)
        await super().push(*statuses)


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
async def test_a_push_is_seen_by_the_very_next_answer(api, prefix):
    operator = Operator(api, prefix=prefix)
    await operator.login()
    for status, expected in ((3, "CHARGING"), (255, "OUT_OF_ORDER"), (0, "OFFLINE"), (2, "OCCUPIED"), (1, "AVAILABLE")):
        await operator.push(("000001-1", status))
        assert await shown(api) == (expected, False)
        free = await api.data(FREE)
        assert free["nearbyStations"]["totalCount"] == (1 if expected == "AVAILABLE" else 0)
    await operator.push(("000001-1", 3), ("000001-2", 1), ("nobody knows this", 1))
    evses = await api.data("query($id: ID!) { station(id: $id) { evses { status } } }", {"id": station_id(1)})
    assert [evse["status"] for evse in evses["station"]["evses"]] == ["CHARGING", "AVAILABLE"]


async def test_a_hold_overlays_what_is_pushed(api):
    operator = Operator(api)
    await operator.login()
    mine = (await api.hold(evse_id(1)))["reservation"]["id"]
    await operator.push(("000001-1", 3))
    assert await shown(api) == ("RESERVED", True)
    await api.data(CANCEL, {"input": wish_to_cancel(mine)})
    assert await shown(api) == ("CHARGING", False)


async def test_a_push_without_a_token_changes_nothing(api):
    ret, _ = await Operator(api).call(
        "notification_stationStatus", {"ConnectorStatusInfos": [{"ConnectorID": "000001-1", "Status": 3}]}
    )
    assert ret == "4002"
    assert await shown(api) == ("AVAILABLE", False)


NO_CALLS = (
    b"",
    b"{}",
    b"[]",
    b"null",
    b"\xff",
    b'{"OperatorID": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    b'{"OperatorID": ' + b"9" * 6_000 + b"}",
    b'{"OperatorID": "395815801"}',
    b'{"OperatorID": 395815801, "Data": 1, "TimeStamp": 2, "Seq": 3, "Sig": 4}',
    b'{"OperatorID": "395815801", "Data": "x", "TimeStamp": "x", "Seq": "x", "Sig": "\\ud800"}',
    b'{"OperatorID": true}',
    b'{"operatorid": {"a": 1}}',
)


@pytest.mark.parametrize("interface", ["query_token", "notification_stationStatus", "nothing", "x" * 200, "%00", "%ff"])
async def test_what_no_operator_would_send_is_refused_by_the_standards_codes(api, interface):
    for body in NO_CALLS:
        response = await api.client.post(f"/evcs/v1/{interface}", content=body)
        assert response.status_code == 200, body
        assert response.json()["Ret"] in {4001, 4002, 4003, 4004}, body
    too_large = await api.client.post(f"/evcs/v1/{interface}", content=b"x" * 262_145)
    assert too_large.status_code == 413


# ------------------------------------------------------------------------------------------------------- costs


# Whether a piece of an answer is still true is looked up in memory, piece by piece.
UNCOUNTED = {"board.change_count", "board.find_slots", "board.last_change"}


class Counted:
    """A port that counts how often each of its methods is called; the answers are the port's own."""

    def __init__(self, name: str, port: Any, calls: Counter[str]) -> None:
        self._name = name
        self._port = port
        self._calls = calls

    def __getattr__(self, method: str) -> Any:
        if (name := f"{self._name}.{method}") not in UNCOUNTED:
            self._calls[name] += 1
        return getattr(self._port, method)


async def counted(hub: Hub) -> tuple[Hub, Counter[str]]:
    """Return a hub that answers from the same stores and counts what it asks them."""
    calls: Counter[str] = Counter()
    index: Any = Counted("index", hub.ports.index, calls)
    board: Any = Counted("board", hub.ports.board, calls)
    store: Any = Counted("reservations", hub.services.booking._store, calls)
    ledger: Any = Counted("ledger", hub.ports.ledger, calls)
    partners: Any = Counted("partners", hub.partners, calls)
    feeds, clock = hub.services.feeds, hub.services.clock
    search = StationSearch(index, board, clock, feeds)
    booking = Booking(store, board, search)
    await booking.load()
    services = msgspec.structs.replace(
        hub.services,
        search=search,
        booking=booking,
        feed_health=FeedHealth(ledger, index, board, clock, feeds),
    )
    calls.clear()
    return msgspec.structs.replace(hub, services=services, partners=partners), calls


PLACES = {"index.find_stations": 1}  # nothing live is shown of them, or there are none
STATIONS = PLACES | {"board.find": 1, "board.holds": 1}
EVSES = STATIONS | {"index.find_station_of_evse": 1}
NO_EVSES = PLACES | {"index.find_station_of_evse": 1}
SEARCH = STATIONS | {"index.search": 1}
OPERATORS = {"index.list_operators": 1}
HOLD = {"reservations.find_replay": 1, **EVSES}
GRANT = {"reservations.reserve": 1, "board.set_hold": 1, "reservations.now": 1}

# However many stations are found, Evses stand in them, or reservations are listed: the number of questions is that of
# the fields. (Reservations that a gateway asks for by key, and the feeds' reports, are looked up one by one.)
PORT_CALLS: dict[str, tuple[dict[str, int], ...]] = {
    "along_route": (SEARCH, OPERATORS),
    "along_route_antimeridian": (SEARCH, SEARCH, PLACES | {"index.search": 1}, OPERATORS),
    "clusters_antimeridian": ({"index.list_clusters": 2},),
    "map_clusters": ({"index.list_clusters": 1},),
    "area_antimeridian": (SEARCH, SEARCH, PLACES | {"index.search": 1}, OPERATORS),
    "area_box": (SEARCH, OPERATORS),
    "area_polygons": (SEARCH, SEARCH, OPERATORS),
    "cancel": ({"reservations.cancel": 1, "board.set_hold": 1, "reservations.now": 1}, EVSES, HOLD, GRANT, EVSES),
    "entities": (STATIONS, EVSES, EVSES, OPERATORS, {"reservations.find_reservation": 2, "reservations.now": 1}),
    "evse": (EVSES,),
    "extend": (
        {"reservations.extend": 1, "board.set_hold": 1, "reservations.now": 1},
        EVSES,
        PLACES,
        OPERATORS,
    ),
    "feeds": ({"index.count_stations": 1, "board.newest": 4, "ledger.find_report": 4 * len(RunKind) + 2},),
    "fleet": ({"index.search_many": 1}, STATIONS, OPERATORS),
    "nearby": (SEARCH, OPERATORS),
    "nearby_all": (SEARCH, OPERATORS),
    "on_the_map": (SEARCH, OPERATORS),
    "operators": (OPERATORS,),
    "refused": (*[HOLD] * 5, NO_EVSES, {"reservations.find_replay": 3}),
    "reservation": ({"reservations.find_reservation": 3, "reservations.now": 1}, EVSES, PLACES, OPERATORS),
    "reservations": ({"reservations.list_reservations": 2, "reservations.now": 2}, EVSES, PLACES, OPERATORS),
    "reserve": (HOLD, GRANT, EVSES),
    "station": (STATIONS, OPERATORS),
    "stations": (STATIONS, OPERATORS),
}


def test_each_golden_query_is_counted():
    assert set(PORT_CALLS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
async def test_each_golden_query_asks_the_ports_exactly_so_often(tmp_path, name):
    async with open_api(tmp_path) as api:
        await furnish(api)
        hub, calls = await counted(api.hub)
        document, variables = read_golden(api, name)
        headers = {"x-api-key": await api.key()}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=build(hub)), base_url="http://hub") as client:
            response = await client.post("/graphql", json={"query": document, "variables": variables}, headers=headers)
            assert response.status_code == 200
    expected = Counter({"partners.find_partner": 1, "partners.list_agreements": 1})
    for part in PORT_CALLS[name]:
        expected.update(part)
    for method in ("board.find", "board.holds"):  # for the first station of an answer, and then for all others
        assert expected[method] <= calls[method] <= 2 * expected[method]
        calls[method] = expected[method]
    assert calls == expected
