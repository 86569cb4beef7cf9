"""Subscriptions over both transports, as frames and events on real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.model.availability import Availability
from app.model.partner import Scope
from app.web import guard, websocket
from tests.integration.api import GOLDEN, Api, evse_id, furnish, listening, open_api, station_id
from tests.integration.streams import CHANGED, Socket, events_of, eventually, kinds, socket_to

BOX = {"west": 121.4, "south": 31.1, "east": 121.6, "north": 31.3}
UPDATED = "subscription ($id: ID!) { reservationUpdated(id: $id) { id state live ttlS evse { status heldByMe } } }"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        await furnish(opened)
        yield opened


@pytest.fixture
async def url(api: Api) -> AsyncIterator[str]:
    async with listening(api.hub) as address:
        yield address


@pytest.fixture
async def socket(api: Api, url: str) -> AsyncIterator[Socket]:
    async with socket_to(url) as opened:
        await opened.init(await api.key())
        yield opened


async def revoke_all(api: Api) -> None:
    for key in await api.hub.partners.list_keys():
        await api.hub.partners.revoke_key(key.key_id)
    api.clock.advance(10)  # what was found good is believed for some seconds


def unheard(api: Api) -> bool:
    """Tell whether nobody is followed any more, and nothing looked at."""
    watching = api.hub.services.watching
    return not watching.follower_count and not watching._register.count and not watching._tasks


# ---------------------------------------------------------------------------------------------- what is told


async def test_stations_by_id_enter_change_and_say_who_holds_them(api: Api, socket: Socket) -> None:
    await socket.subscribe("a", CHANGED, {"ids": [station_id(3), station_id(10, "secret"), "nobody", station_id(3)]})
    first = (await socket.event("a"))["availabilityChanged"]
    assert (first["resynced"], first["more"], first["joined"]) == (True, False, 1)
    assert kinds(first) == {"3": "ENTERED"}
    assert first["changes"][0]["station"]["availability"] == {"available": 1, "total": 1}
    held = await api.hold(evse_id(3))
    news = (await socket.event("a"))["availabilityChanged"]
    assert (news["resynced"], kinds(news)) == (False, {"3": "CHANGED"})
    assert news["changes"][0]["station"]["evses"] == [{"id": evse_id(3), "status": "RESERVED", "heldByMe": True}]
    api.clock.advance(601)  # the hold ends with time alone
    assert held["reservation"]["ttlS"] == 600
    news = (await socket.event("a"))["availabilityChanged"]
    assert news["changes"][0]["station"]["evses"][0]["status"] == "AVAILABLE"
    api.clock.advance(900)  # and so does what the news is worth
    news = (await socket.event("a"))["availabilityChanged"]
    assert news["changes"][0]["station"]["evses"][0]["status"] == "UNKNOWN"


async def test_news_that_says_the_same_again_is_no_change(api: Api, socket: Socket) -> None:
    await socket.subscribe("a", CHANGED, {"ids": [station_id(3)]})
    await socket.event("a")
    api.clock.advance(1)
    await api.say(evse_id(3), Availability.AVAILABLE)
    await asyncio.sleep(0.5)
    api.clock.advance(1)
    await api.say(evse_id(3), Availability.CHARGING)
    news = (await socket.event("a"))["availabilityChanged"]
    assert news["changes"][0]["station"]["evses"][0]["status"] == "CHARGING"


@pytest.mark.parametrize(
    "place",
    [
        {"box": BOX},
        {"near": {"lon": 121.4737, "lat": 31.2304}, "radiusM": 5000},
        {"polygon": {"type": "Polygon", "coordinates": [[[121, 31], [122, 31], [122, 32], [121, 32], [121, 31]]]}},
        {"route": {"type": "LineString", "coordinates": [[121.47, 31.2304], [121.52, 31.2304]]}, "corridorM": 500},
        {"ids": [station_id(number) for number in range(1, 8)]},
    ],
    ids=lambda place: next(iter(place)),
)
async def test_with_a_filter_stations_enter_and_leave(api: Api, socket: Socket, place: dict[str, Any]) -> None:
    await socket.subscribe("a", CHANGED, {**place, "filter": {"availableNow": True, "minPowerKw": 120}})
    first = (await socket.event("a"))["availabilityChanged"]
    assert kinds(first) == dict.fromkeys("134", "ENTERED")  # of 2 the fast Evses are held, 7 is closed
    await api.say(evse_id(3), Availability.CHARGING)
    await api.say(evse_id(5), Availability.CHARGING)  # never fast enough
    await api.say(evse_id(6), Availability.AVAILABLE)
    news = (await socket.event("a"))["availabilityChanged"]
    assert kinds(news) == {"3": "LEFT", "6": "ENTERED"}
    await api.hold(evse_id(4), key=await api.key("other"))
    news = (await socket.event("a"))["availabilityChanged"]
    assert kinds(news) == {"4": "LEFT"}


async def test_stations_appear_vanish_and_are_renamed(
    api: Api, socket: Socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.watching.RECHECK_S", 0.0)
    await socket.subscribe("a", CHANGED, {"ids": [station_id(number) for number in (1, 3, 77)]})
    assert kinds((await socket.event("a"))["availabilityChanged"]) == {"1": "ENTERED", "3": "ENTERED"}
    (first,) = await api.hub.ports.index.find_stations([station_id(1)])
    assert first is not None
    import msgspec

    from tests.builders import build_station

    hidden = msgspec.structs.replace(first, published=False)
    await api.index(build_station(77, feed="live", name="新站"), hidden)
    assert kinds((await socket.event("a"))["availabilityChanged"]) == {"77": "ENTERED", "1": "LEFT"}
    await api.index(build_station(77, feed="live", name="更新"), first)
    news = (await socket.event("a"))["availabilityChanged"]
    assert kinds(news) == {"77": "CHANGED", "1": "ENTERED"}
    assert {change["station"]["name"] for change in news["changes"]} == {"更新", "人民广场超充站"}


async def test_a_map_sees_no_feed_that_it_may_not_show(api: Api, url: str) -> None:
    from app.model.partner import PartnerKind

    async with events_of(url, await api.key("map", PartnerKind.MAP), CHANGED, {"box": BOX}) as events:
        shown = kinds((await events.event())["availabilityChanged"])
    assert "9" not in shown and "10" not in shown and "8" in shown


async def test_a_reservation_is_told_until_its_end(api: Api, socket: Socket) -> None:
    held = (await api.hold(evse_id(4)))["reservation"]["id"]
    await socket.subscribe("a", UPDATED, {"id": held})
    first = (await socket.event("a"))["reservationUpdated"]
    assert first == {
        "id": held, "state": "HELD", "live": True, "ttlS": 600, "evse": {"status": "RESERVED", "heldByMe": True}
    }  # fmt: skip
    api.clock.advance(100)
    wish = {"reservationId": held, "holdS": 1200, "idempotencyKey": "longer"}
    await api.data("mutation($i: ExtendReservationInput!){extendReservation(input: $i){replayed}}", {"i": wish})
    assert (await socket.event("a"))["reservationUpdated"]["ttlS"] == 1200
    wish = {"reservationId": held, "idempotencyKey": "no more"}
    await api.data("mutation($i: CancelReservationInput!){cancelReservation(input: $i){replayed}}", {"i": wish})
    last = (await socket.event("a"))["reservationUpdated"]
    assert (last["state"], last["live"], last["evse"]["status"]) == ("CANCELLED", False, "AVAILABLE")
    assert await socket.next() == {"type": "complete", "id": "a"}


async def test_a_reservation_whose_time_runs_out_is_told_so(api: Api, url: str) -> None:
    held = (await api.hold(evse_id(4)))["reservation"]["id"]
    async with events_of(url, await api.key(), UPDATED, {"id": held}) as events:
        assert (await events.event())["reservationUpdated"]["state"] == "HELD"
        api.clock.advance(601)
        assert (await events.event())["reservationUpdated"]["state"] == "EXPIRED"
        assert await events.next() == ("complete", None)


async def test_anothers_reservation_is_as_unknown_as_one_that_never_was(api: Api, socket: Socket) -> None:
    refused = []
    for each in (api.names["rsv_other"], "rsv_never"):
        await socket.subscribe(each, UPDATED, {"id": each})
        message = await socket.next()
        assert (message["type"], message["id"]) == ("error", each)
        refused.append(message["payload"])
    assert refused[0] == refused[1]
    assert refused[0][0]["extensions"] == {"code": "BAD_USER_INPUT", "field": "id"}
    assert not api.hub.services.booking._listeners


@pytest.mark.parametrize(
    ("variables", "field"),
    [
        ({}, "stationIds"),
        ({"ids": [], "box": BOX}, "stationIds"),
        ({"near": {"lon": 1, "lat": 1}}, "radiusM"),
        ({"radiusM": 5, "box": BOX}, "radiusM"),
        ({"box": BOX, "corridorM": 9}, "corridorM"),
        ({"near": {"lon": 1, "lat": 91}, "radiusM": 9}, "near.lat"),
        ({"near": {"lon": 1, "lat": 1}, "radiusM": -9}, "radiusM"),
        ({"ids": [str(number) for number in range(2_001)]}, "stationIds"),
        ({"ids": ["a"], "filter": {"text": "b"}}, "filter.text"),
        ({"box": BOX, "filter": {"minPowerKw": -1}}, "filter.minPowerKw"),
    ],
)
async def test_wrong_arguments_are_named(api: Api, socket: Socket, variables: Any, field: str) -> None:
    await socket.subscribe("a", CHANGED, variables)
    message = await socket.next()
    assert message["type"] == "error"
    assert message["payload"][0]["extensions"] == {"code": "BAD_USER_INPUT", "field": field}
    assert unheard(api)


async def test_too_many_stations_are_refused(api: Api, socket: Socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.services.watching.MAX_STATIONS_A_WATCH", 2)
    await socket.subscribe("a", CHANGED, {"box": BOX})
    message = await socket.next()
    assert message["payload"][0]["message"].startswith("filter: more than 2 stations match")
    await eventually(lambda: unheard(api))


async def test_a_key_without_the_scope_is_told_so(api: Api, url: str) -> None:
    async with socket_to(url) as socket:
        await socket.init(await api.key(scopes=[Scope.RESERVE]))
        await socket.subscribe("a", CHANGED, {"box": BOX})
        assert (await socket.next())["payload"][0]["extensions"] == {"code": "FORBIDDEN"}


async def test_what_is_told_at_once_is_bounded(api: Api, socket: Socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.services.watching.MAX_CHANGES_AT_ONCE", 3)
    await socket.subscribe("a", CHANGED, {"box": BOX})
    events = [(await socket.event("a"))["availabilityChanged"]]
    while events[-1]["more"]:
        events.append((await socket.event("a"))["availabilityChanged"])
    assert [event["resynced"] for event in events] == [True, False, False]
    assert [len(event["changes"]) for event in events] == [3, 3, 3]


# ---------------------------------------------------------------------------------------------- the socket's protocol


async def test_queries_and_mutations_go_over_a_socket_too(api: Api, socket: Socket) -> None:
    await socket.subscribe("q", "{ feeds { id } }")
    assert await socket.event("q") == {"feeds": [{"id": name} for name in ("live", "priceless", "register")]}
    assert await socket.next() == {"type": "complete", "id": "q"}
    wish = {"evseId": evse_id(3), "holdS": 60, "idempotencyKey": "over a socket"}
    query = "mutation ($i: ReserveEvseInput!) { reserveEvse(input: $i) { reservation { state } } }"
    await socket.subscribe("q", query, {"i": wish})  # the name is free again
    assert await socket.event("q") == {"reserveEvse": {"reservation": {"state": "HELD"}}}
    assert await socket.next() == {"type": "complete", "id": "q"}
    await socket.subscribe("q", "{ nothing }")
    refused = await socket.next()
    assert (refused["type"], refused["id"]) == ("error", "q")
    assert refused["payload"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
    await socket.send(type="subscribe", id="q", payload={})
    assert (await socket.next())["payload"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    await socket.subscribe("q", "subscription { a: availabilityChanged(stationIds: []) { at } b: __typename }")
    assert (await socket.next())["payload"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"


async def test_pings_are_answered_before_and_after_the_key(api: Api, url: str) -> None:
    async with socket_to(url) as socket:
        await socket.send(type="ping", payload={"a": 1})
        assert await socket.next() == {"type": "pong", "payload": {"a": 1}}
        await socket.init(await api.key())
        await socket.send(type="ping")
        await socket.send(type="pong")
        assert await socket.next() == {"type": "pong"}


async def test_complete_ends_a_subscription_and_frees_its_name(api: Api, socket: Socket) -> None:
    await socket.subscribe("a", CHANGED, {"box": BOX})
    await socket.event("a")
    assert not unheard(api)
    await socket.send(type="complete", id="a")
    await socket.send(type="complete", id="unknown")
    await eventually(lambda: unheard(api))
    await socket.subscribe("a", CHANGED, {"box": BOX})
    await socket.event("a")


async def test_a_client_that_goes_leaves_nothing_behind(api: Api, url: str) -> None:
    async with socket_to(url) as socket:
        await socket.init(await api.key())
        for name in "abc":
            await socket.subscribe(name, CHANGED, {"box": {**BOX, "west": 121.4 + ord(name) / 10_000}})
            await socket.event(name)
        assert api.hub.services.watching.follower_count == 3
        socket.connection.transport.abort()
    await eventually(lambda: unheard(api))


MESSAGES: dict[str, tuple[str | bytes, int]] = {
    "not JSON": ("{", 4400),
    "no object": ("[]", 4400),
    "no type": ('{"id": "1"}', 4400),
    "deep": ('{"type": "ping", "payload": ' + "[" * 5_000 + "]" * 5_000 + "}", 4400),
    "bytes": (b"{}", 4400),
    "unknown type": ('{"type": "start", "id": "1"}', 4400),
    "a server's type": ('{"type": "next", "id": "1"}', 4400),
    "no id": ('{"type": "subscribe", "payload": {"query": "{a}"}}', 4400),
    "long id": (json.dumps({"type": "subscribe", "id": "x" * 201, "payload": {"query": "{a}"}}), 4400),
    "wrong query": ('{"type": "subscribe", "id": "1", "payload": {"query": 1}}', 4400),
    "deep variables": (
        json.dumps({"type": "subscribe", "id": "1", "payload": {"query": "{a}"}})[:-2]
        + ', "variables": {"a": ' + "[" * 100 + "]" * 100 + "}}}",
        4400,
    ),
    "second init": ('{"type": "connection_init"}', 4429),
    "too large": ("x" * 300_000, 1009),
}  # fmt: skip


@pytest.mark.parametrize("name", MESSAGES)
async def test_a_message_that_is_none_closes_the_socket(socket: Socket, name: str) -> None:
    message, code = MESSAGES[name]
    await socket.connection.send(message)
    assert (await socket.closed())[0] == code


async def test_a_message_in_endless_parts_ends_the_connection(socket: Socket) -> None:
    await socket.connection.send(['{"type"', ': "pi', "", 'ng"}'])
    assert await socket.next() == {"type": "pong"}
    with suppress(ConnectionClosed):
        await socket.connection.send([""] * 5_000)
    assert await socket.closed() == (0, "")


async def test_the_same_name_twice_closes_the_socket(socket: Socket) -> None:
    for _ in range(2):
        await socket.subscribe("a", CHANGED, {"box": BOX})
    assert await socket.closed() == (4409, "Subscriber for a already exists")


async def test_operations_of_a_socket_are_counted(socket: Socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "MAX_OPERATIONS", 2)
    for name in "abc":
        await socket.subscribe(name, CHANGED, {"box": BOX})
    told = {(message["type"], message["id"]) for message in [await socket.next() for _ in "abc"]}
    assert told == {("next", "a"), ("next", "b"), ("error", "c")}


async def test_sockets_of_a_partner_are_counted(api: Api, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "MAX_SOCKETS_A_PARTNER", 1)
    async with socket_to(url) as first, socket_to(url) as second, socket_to(url) as third:
        await first.init(await api.key())
        await second.send(type="connection_init", payload={"key": await api.key()})
        assert (await second.closed())[0] == 4403
        await third.init(await api.key("other"))


async def test_subscriptions_of_a_partner_are_counted(
    api: Api, socket: Socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.watching.MAX_SUBSCRIPTIONS_A_PARTNER", 1)
    await socket.subscribe("a", CHANGED, {"box": BOX})
    await socket.event("a")
    await socket.subscribe("b", CHANGED, {"box": BOX})
    assert (await socket.next())["payload"][0]["extensions"] == {"code": "FORBIDDEN"}
    await socket.send(type="complete", id="a")
    await eventually(lambda: unheard(api))
    await socket.subscribe("b", CHANGED, {"box": BOX})
    await socket.event("b")


# ---------------------------------------------------------------------------------------------- who may


async def test_a_socket_that_says_nothing_is_closed(api: Api, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    del url
    app = websocket.WebSocketEndpoint(api.hub.services, None, None, None, init_within_s=0.05)  # type: ignore[arg-type]
    sent: list[Any] = []
    said = asyncio.Queue[Any]()
    said.put_nowait({"type": "websocket.connect"})

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "websocket", "subprotocols": ["graphql-transport-ws"], "headers": []}, said.get, send)
    assert sent[-1] == {"type": "websocket.close", "code": 4408, "reason": "connection_init did not come in time"}


async def test_nothing_is_served_before_the_key(api: Api, url: str) -> None:
    async with socket_to(url) as socket:
        await socket.subscribe("a", "{ feeds { id } }")
        assert (await socket.closed())[0] == 4401
    payload: Any
    for payload in (None, {}, {"key": "cg_wrong"}, {"Authorization": "Bearer nonsense"}, {"key": "ключ"}, [], "x"):
        async with socket_to(url) as socket:
            await socket.send(type="connection_init", payload=payload)
            assert (await socket.closed())[0] == 4403


async def test_the_key_comes_in_a_header_or_in_the_first_message(api: Api, url: str) -> None:
    key = await api.key()
    for payload in (
        {"Authorization": f"Bearer {key}"},
        {"authorization": f"bearer {key}"},
        {"key": key},
        {"X-API-Key": key},
    ):
        async with socket_to(url) as socket:
            await socket.send(type="connection_init", payload=payload)
            assert await socket.next() == {"type": "connection_ack"}
    for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
        async with socket_to(url, additional_headers=headers) as socket:
            await socket.send(type="connection_init")
            assert await socket.next() == {"type": "connection_ack"}


async def test_another_sites_page_needs_the_key_in_its_own_hands(api: Api, url: str) -> None:
    key = await api.key()
    headers = {"X-API-Key": key}
    async with socket_to(url, additional_headers=headers, origin="https://evil.example") as socket:
        await socket.send(type="connection_init")
        assert (await socket.closed())[0] == 4403
    async with socket_to(url, origin="https://map.example") as socket:
        await socket.init(key)
    async with socket_to(url, additional_headers=headers, origin=url) as socket:
        await socket.send(type="connection_init")
        assert await socket.next() == {"type": "connection_ack"}


async def test_the_legacy_protocol_is_refused_and_other_addresses_have_no_sockets(url: str) -> None:
    async with socket_to(url, "graphql-ws") as socket:
        assert (await socket.closed())[0] == 4406
    with pytest.raises(InvalidStatus):
        async with socket_to(url.replace("127", "127", 1) + "/elsewhere"):
            pass


async def test_a_revoked_key_ends_its_streams(api: Api, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "KEY_CHECKED_S", 0.1)
    async with socket_to(url) as socket, events_of(url, await api.key(), CHANGED, {"box": BOX}) as events:
        await socket.init(await api.key())
        await socket.subscribe("a", CHANGED, {"box": BOX})
        await socket.event("a")
        await events.event()
        await revoke_all(api)
        assert await socket.closed() == (4403, guard.KEY_REVOKED)
        told: list[Any] = []
        while not told or told[-1][0] != "complete":
            told.append(await events.next())
        assert told[-2][1]["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}
    await eventually(lambda: unheard(api))


async def test_the_end_of_the_server_is_told(api: Api) -> None:
    async with listening(api.hub) as url:
        async with socket_to(url) as socket, events_of(url, await api.key(), CHANGED, {"box": BOX}) as events:
            await socket.init(await api.key())
            await socket.subscribe("a", CHANGED, {"box": BOX})
            await socket.event("a")
            await events.event()
            api.hub.services.watching.end()
            assert (await socket.closed())[0] == 1001
            assert await events.next() == ("complete", None)
        with pytest.raises(InvalidStatus):
            async with socket_to(url):
                pass
    await eventually(lambda: unheard(api))


# ---------------------------------------------------------------------------------------------- server-sent events


SUBSCRIPTIONS = GOLDEN.parent / "subscriptions"


@pytest.mark.parametrize("name", sorted(path.stem for path in SUBSCRIPTIONS.glob("*.graphql")))
async def test_golden_subscriptions_begin_as_they_did(api: Api, url: str, name: str) -> None:
    document = (SUBSCRIPTIONS / f"{name}.graphql").read_text(encoding="utf-8")
    variables = json.loads((SUBSCRIPTIONS / f"{name}.variables.json").read_text(encoding="utf-8"))
    expected = SUBSCRIPTIONS / f"{name}.json"
    async with events_of(url, await api.key(), document, variables) as events:
        told = await events.event()
    if not expected.exists():
        expected.write_text(json.dumps(told, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        pytest.fail(f"{expected.name} was missing and has been written: read it as a partner would, and commit it")
    assert told == json.loads(expected.read_text(encoding="utf-8"))


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_events_are_lines_with_lf(api: Api, url: str, method: str) -> None:
    async with events_of(url, await api.key(), CHANGED, {"ids": [station_id(3)]}, method=method) as events:
        assert events.response.status_code == 200
        assert events.response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert events.response.headers["cache-control"] == "no-store"
        assert kinds((await events.event())["availabilityChanged"]) == {"3": "ENTERED"}
        await api.say(evse_id(3), Availability.CHARGING)
        assert kinds((await events.event())["availabilityChanged"]) == {"3": "CHANGED"}
        assert b"\r" not in events.raw
    await eventually(lambda: unheard(api))


async def test_silence_is_filled_with_comments(api: Api, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.web.sse.HEARTBEAT_S", 0.05)
    async with events_of(url, await api.key(), CHANGED, {"ids": [station_id(3)]}) as events:
        await events.event()
        async with asyncio.timeout(20):
            assert await anext(events._chunks) == b":\n\n"


async def test_answers_and_refusals_are_events_too(api: Api, url: str) -> None:
    key = await api.key()
    async with events_of(url, key, "{ feeds { id } }") as events:
        assert await events.event() == {"feeds": [{"id": name} for name in ("live", "priceless", "register")]}
        assert await events.next() == ("complete", None)
    for query, code in (("{ nothing }", "GRAPHQL_VALIDATION_FAILED"), (CHANGED, "BAD_USER_INPUT")):
        async with events_of(url, key, query) as events:
            name, answer = await events.next()
            assert (name, answer["errors"][0]["extensions"]["code"]) == ("next", code)
            assert await events.next() == ("complete", None)


async def test_what_is_wrong_before_the_stream_is_ordinary_http(api: Api, url: str) -> None:
    stream = {"accept": "text/event-stream"}
    key = {"authorization": f"Bearer {await api.key()}"}
    first = {"apollo-require-preflight": "true"}
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        answers = [
            await client.post("/graphql", headers=stream, json={"query": "{feeds{id}}"}),
            await client.post("/graphql", headers=stream | key, content=b"{" ),
            await client.post("/graphql", headers=stream | key, json={"query": 1}),
            await client.get("/graphql", headers=stream | key | first, params={"query": "mutation { a }"}),
            await client.post("/graphql", headers=key, json={"query": CHANGED}),
        ]  # fmt: skip
    assert [answer.status_code for answer in answers] == [401, 415, 400, 200, 406]
    for answer in (answers[0], answers[1], answers[2], answers[4]):
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        assert answer.json()["errors"][0]["message"]
