"""No partner learns what was not agreed with it, by whatever entry: each field of each root × two partners × grants.

What a partner must not have is marked in the world (names, words of status and price), and must not stand in any of its
answers; and no answer may change when only such things change.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from graphql import (
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLUnionType,
    get_named_type,
    is_leaf_type,
    is_required_argument,
)

from app.model.agreement import EVERYTHING, Grant
from app.model.availability import Availability
from app.model.geo import Point
from app.model.identity import feed_of
from app.model.station import StatedFees, Station
from schema.root import schema
from tests.builders import build_evse, build_operator, build_station, build_status
from tests.integration.api import HERE, Api, listening, open_api
from tests.integration.streams import events_of

D, S, P, R = Grant.DISCOVER, Grant.STATUS, Grant.PRICE, Grant.RESERVE
LEVELS: tuple[frozenset[Grant], ...] = (
    frozenset(),
    frozenset({D}),
    frozenset({D, P}),
    frozenset({D, S}),
    frozenset({D, S, R}),
    EVERYTHING,
)
OPERATORS = ("open:ONE", "closed:ONE", "mixed:ONE", "mixed:TWO")
PARTNERS = ("A", "B")
PROFILE = """
kind = "ocpi"
title = "{name}"
party = "NLONE"
url = "file:never-read.json"
[rights]
{rights}
"""
PROFILES = {"open": "", "closed": "offered_to_all = []", "mixed": 'offered_to_all = ["discover", "status"]'}
OFFERED = {"open": EVERYTHING, "closed": frozenset[Grant](), "mixed": frozenset({D, S})}
BOX = "box: {west: 121, south: 31, east: 122, north: 32}"
NEAR = f"near: {{lon: {HERE.lon}, lat: {HERE.lat}}}, radiusM: 5000"
ROUTE = json.dumps({"type": "LineString", "coordinates": [[121.45, 31.2304], [121.5, 31.2304]]}).replace(
    '"type"', "type"
)
ROUTE = ROUTE.replace('"coordinates"', "coordinates")
RING = '{type: "Polygon", coordinates: [[[121, 31], [122, 31], [122, 32], [121, 32], [121, 31]]]}'
FREE = "filter: {availableNow: true}"
FRESH = "filter: {maxStatusAgeS: 600}"
MINE = f"filter: {{operatorIds: {json.dumps(list(OPERATORS))}}}"


class World(NamedTuple):
    """What each operator has, found or unpublished; the reservations of each partner; and where to subscribe."""

    stations: dict[str, Station]
    unpublished: dict[str, Station]
    reservations: dict[tuple[str, str], str]
    url: str

    def station_ids(self) -> list[str]:
        return [station.id for station in (*self.stations.values(), *self.unpublished.values())]

    def evse_ids(self) -> list[str]:
        return [evse.id for station in (*self.stations.values(), *self.unpublished.values()) for evse in station.evses]


def mark(operator: str, kind: str) -> str:
    """A word that stands only where something of an operator is shown: of its stations, its status or its prices."""
    return f"{kind}-of-{operator.replace(':', '-')}"


def build_world(url: str = "") -> World:
    stations: dict[str, Station] = {}
    unpublished: dict[str, Station] = {}
    for number, operator in enumerate(OPERATORS, 1):
        feed = feed_of(operator)
        for where, published in ((stations, True), (unpublished, False)):
            local = number if published else 100 + number
            station = build_station(local, feed=feed)
            where[operator] = build_station(
                local,
                feed=feed,
                operator_id=operator,
                name=mark(operator, "STATION" if published else "UNPUBLISHED"),
                location=Point(lon=HERE.lon + number / 1_000, lat=HERE.lat),
                fees=StatedFees(electricity=mark(operator, "PRICE")),
                published=published,
                evses=tuple(build_evse(station.id, gun, reservable=True) for gun in (1, 2, 3)),
            )
    return World(stations, unpublished, {}, url)


async def say(api: Api, world: World, operators: Iterable[str], availability: Availability, word: str) -> None:
    """Let all Evses of operators, unpublished ones too, have news that came a moment after what they had before."""
    at = api.clock()
    api.clock.advance(1)
    statuses = [
        build_status(
            evse.id, availability, raw=mark(operator, word), observed_at=at, received_at=at, stale_after=at + 3_600
        )
        for operator in operators
        for station in (world.stations[operator], world.unpublished[operator])
        for evse in station.evses
    ]
    assert (await api.hub.ports.board.record(statuses)).taken == len(statuses)


@asynccontextmanager
async def open_tenants(folder: Path, **environment: str) -> AsyncIterator[tuple[Api, World]]:
    profiles = folder / "tenants"
    profiles.mkdir()
    for name, rights in PROFILES.items():
        (profiles / f"{name}.toml").write_text(PROFILE.format(name=name, rights=rights), encoding="utf-8")
    settings = {"CHARGEGRAPH_PROFILES_DIR": str(profiles), "CHARGEGRAPH_FEEDS": ",".join(PROFILES), **environment}
    async with open_api(folder, **settings) as api, listening(api.hub) as url:
        world = build_world(url)
        index = api.hub.ports.index
        await index.save_operators(
            [
                build_operator(party, feed=feed, name=mark(f"{feed}:{party}", "STATION"))
                for feed, party in (operator.split(":") for operator in OPERATORS)
            ]
        )
        await api.index(*world.stations.values(), *world.unpublished.values())
        await say(api, world, OPERATORS, Availability.AVAILABLE, "STATUS")
        yield api, world


async def agree(api: Api, given: dict[tuple[str, str], frozenset[Grant]]) -> None:
    """Let partners have this of operators, and nothing that was agreed before."""
    for agreement in await api.hub.partners.list_agreements():
        await api.hub.partners.end_agreement(agreement.id)
    for (partner, operator), grants in given.items():
        await api.hub.partners.create_agreement(operator, partner, grants)
    api.clock.advance(5)


def shifted(shift: int) -> dict[tuple[str, str], frozenset[Grant]]:
    """Different grants for each operator and each partner; over all shifts everybody has each of everything."""
    return {
        (partner, operator): LEVELS[(shift + 2 * number + 3 * place) % len(LEVELS)]
        for number, partner in enumerate(PARTNERS)
        for place, operator in enumerate(OPERATORS)
    }


# ------------------------------------------------------------------------------------------------------ the entries


Row = Callable[[World], Sequence[str]]


def ids(found: Sequence[str]) -> str:
    return json.dumps(found)


def each_by_id(found: Sequence[str]) -> list[str]:
    return [f"(id: {json.dumps(one)})" for one in found]


def mutation(**wish: str) -> str:
    return "(input: {" + ", ".join(f"{name}: {value}" for name, value in wish.items()) + "})"


def entities(world: World) -> list[dict[str, str]]:
    keys = {
        "Station": world.station_ids(),
        "Evse": world.evse_ids(),
        "Operator": list(OPERATORS),
        "Reservation": list(world.reservations.values()),
    }
    return [{"__typename": name, "id": key} for name, found in keys.items() for key in found]


ROWS: dict[str, Row] = {
    "Query._service": lambda _: ["{ sdl }"],
    "Query._entities": lambda world: [
        "(representations: ["
        + ", ".join(f'{{__typename: "{one["__typename"]}", id: "{one["id"]}"}}' for one in entities(world))
        + "])"
    ],
    "Query.station": lambda world: each_by_id(world.station_ids()),
    "Query.stations": lambda world: [f"(ids: {ids(world.station_ids())})"],
    "Query.nearbyStations": lambda _: [f"({NEAR})", f"({NEAR}, {FREE})", f"({NEAR}, {FRESH})", f"({NEAR}, {MINE})"],
    "Query.stationsInArea": lambda _: [
        f"({BOX})",
        f"({BOX}, {FREE})",
        f"(polygon: {RING})",
        f"(polygon: {RING}, {FREE})",
    ],
    "Query.stationsAlongRoute": lambda _: [
        f"(route: {ROUTE}, corridorM: 500)",
        f"(route: {ROUTE}, corridorM: 500, {FRESH})",
    ],
    "Query.nearbyStationsBatch": lambda _: [
        f"(points: [{{lon: {HERE.lon}, lat: {HERE.lat}}}, {{lon: 121.475, lat: 31.23}}], radiusM: 3000{also})"
        for also in ("", f", {FREE}")
    ],
    "Query.stationClusters": lambda _: [
        f"({BOX}, zoom: {zoom}{also})" for zoom in (5, 14) for also in ("", f", {FREE}", f", {MINE}")
    ],
    "Query.evse": lambda world: each_by_id(world.evse_ids()),
    "Query.operators": lambda _: [""],
    "Query.feeds": lambda _: [""],
    "Query.reservation": lambda world: each_by_id(list(world.reservations.values())),
    "Query.reservations": lambda _: ["(first: 20)"],
    # What these ask for is refused: other partners' reservations, and a hold that is none. See below for those granted.
    "Mutation.reserveEvse": lambda world: [
        mutation(evseId=json.dumps(evse), holdS="1", idempotencyKey=f'"no {evse}"') for evse in world.evse_ids()
    ],
    "Mutation.extendReservation": lambda world: [
        mutation(reservationId=f'"{one}"', holdS="1", idempotencyKey=f'"no {one}"')
        for one in world.reservations.values()
    ],
    "Subscription.availabilityChanged": lambda world: [
        f"(stationIds: {ids(world.station_ids())})",
        f"(stationIds: {ids(world.station_ids())}, {FREE})",
        f"({NEAR}, {FRESH})",
        f"({BOX})",
        f"({BOX}, {FREE})",
        f"(polygon: {RING})",
        f"(route: {ROUTE}, corridorM: 500)",
    ],
    "Subscription.reservationUpdated": lambda world: each_by_id(list(world.reservations.values())),
    "Mutation.cancelReservation": lambda _: [mutation(reservationId='"rsv_none"', idempotencyKey='"no"')],
}
"""For each field of a root its arguments, in all the ways in which it may tell of stations. A new one needs a row."""


def test_every_entry_has_a_row() -> None:
    core = schema._schema
    roots = [root for root in (core.query_type, core.mutation_type, core.subscription_type) if root is not None]
    assert {f"{root.name}.{name}" for root in roots for name in root.fields} == ROWS.keys()


def test_every_entity_is_asked_for() -> None:
    union = schema._schema.type_map["_Entity"]
    assert isinstance(union, GraphQLUnionType)
    world = build_world()._replace(reservations={("A", "x"): "rsv"})
    assert {member.name for member in union.types} == {one["__typename"] for one in entities(world)}


def everything_of(kind: GraphQLOutputType, above: tuple[str, ...] = ()) -> str:
    """Every field of a type that needs no argument, down to the leaves; a type is not entered below itself."""
    named = get_named_type(kind)
    if is_leaf_type(named):
        return ""
    if isinstance(named, GraphQLUnionType):
        return "{ __typename " + " ".join(f"... on {one.name} {everything_of(one)}" for one in named.types) + " }"
    assert isinstance(named, GraphQLObjectType)
    parts = ["__typename"]
    for name, field in named.fields.items():
        below = get_named_type(field.type)
        if below.name in above or any(is_required_argument(argument) for argument in field.args.values()):
            continue
        parts.append(f"{name} {everything_of(field.type, (*above, named.name))}".strip())
    return "{ " + " ".join(parts) + " }"


def documents(world: World) -> list[tuple[str, str]]:
    """All requests of the matrix, each with the name of its row."""
    core = schema._schema
    asked = []
    for row, arguments_of in ROWS.items():
        root, _, name = row.partition(".")
        kind = core.type_map[root]
        assert isinstance(kind, GraphQLObjectType)
        below = everything_of(kind.fields[name].type)
        for arguments in arguments_of(world):
            shown = arguments if arguments.startswith("{") else f"{arguments} {below}"
            asked.append((row, f"{root.lower()} {{ {name}{shown} }}"))
    return asked


async def answers(api: Api, world: World, partner: str) -> dict[str, bytes]:
    """What a partner is told, on every entry."""
    key = await api.key(partner)
    told = {}
    for row, document in documents(world):
        if row.startswith("Subscription."):
            async with events_of(world.url, key, document) as events:
                _, first = await events.next()
            told[document] = json.dumps(first, ensure_ascii=False).encode()
            continue
        response = await api.post(key=key, json={"query": document})
        assert response.status_code == 200, (document, response.text)
        assert "errors" not in response.json(), (document, response.text)
        told[document] = response.content.replace(b'"replayed":true', b'"replayed":false')  # asked before or not
    return told


# ------------------------------------------------------------------------------------------------------- the matrix


def check_marks(world: World, told: dict[str, bytes], grants: dict[str, frozenset[Grant]]) -> None:
    """Nothing that was not granted stands in any answer; all that was stands in all those where it belongs."""
    for row, document in documents(world):
        answer = told[document].decode()
        assert "UNPUBLISHED" not in answer, document
        for operator, granted in grants.items():
            station = world.stations[operator]
            for kind, needed in (("STATION", D), ("STATUS", S), ("PRICE", P)):
                if needed not in granted:
                    assert mark(operator, kind) not in answer, (kind, document)
            if D not in granted and station.id not in document:
                assert station.id not in answer, document
            if D in granted and row in {"Query.stations", "Query._entities"}:
                assert mark(operator, "STATION") in answer, document
                assert (mark(operator, "STATUS") in answer) == (S in granted), document
                assert (mark(operator, "PRICE") in answer) == (P in granted), document


def check_counts(world: World, told: dict[str, bytes], grants: dict[str, frozenset[Grant]]) -> None:
    """Searches find and count what may be found, and by live status what may be seen live."""
    for row, document in documents(world):
        data = json.loads(told[document])["data"]
        live = FREE in document or FRESH in document
        seen = {world.stations[operator].id for operator, granted in grants.items() if (S if live else D) in granted}
        match row.removeprefix("Query."):
            case "nearbyStations" | "stationsInArea" | "stationsAlongRoute" as name:
                pages = [data[name]]
            case "nearbyStationsBatch":
                pages = [each["stations"] for each in data["nearbyStationsBatch"]]
            case "stationClusters":
                free = [one for one, granted in grants.items() if S in granted]
                clusters = data["stationClusters"]
                assert sum(one["count"] for one in clusters) == len(seen), document
                assert sum(one["available"] for one in clusters) == len(free), document
                continue
            case "feeds":
                feeds = {feed["id"]: feed for feed in data["feeds"]}
                assert feeds.keys() == {feed_of(one) for one, granted in grants.items() if D in granted}
                for name, feed in feeds.items():
                    found = [D in granted for operator, granted in grants.items() if feed_of(operator) == name]
                    if name == "mixed":  # the others offer to all, or to nobody; unpublished ones count with them
                        assert feed["stationCount"] == (4 if all(found) else 1)
                    lit = [S in granted for operator, granted in grants.items() if feed_of(operator) == name]
                    assert feed["newestStatusAt"] is None or all(lit)
                    rights, default = feed["dataRights"], OFFERED[name]
                    shown = rights["maySeeStatus"], rights["mayShowPrice"], rights["mayReserve"]
                    assert shown == (S in default, P in default, R in default), "of operators without an agreement"
                continue
            case "Subscription.availabilityChanged":
                changes = data["availabilityChanged"]["changes"]
                assert {change["stationId"] for change in changes} == seen, document
                for change in changes:
                    check_station(change["station"], grants[change["station"]["operator"]["id"]])
                continue
            case "operators":
                assert [one["id"] for one in data["operators"]] == sorted(
                    o for o, granted in grants.items() if D in granted
                )
                continue
            case _:
                continue
        for page in pages:
            assert {edge["node"]["id"] for edge in page["edges"]} == seen, document
            assert page["totalCount"] == len(seen), document
            for edge in page["edges"]:
                check_station(edge["node"], grants[edge["node"]["operator"]["id"]])


def check_station(node: Any, granted: frozenset[Grant]) -> None:
    """A station says honestly what its reader may not have."""
    rights = node["dataRights"]
    assert (rights["maySeeStatus"], rights["mayShowPrice"], rights["mayReserve"]) == (
        S in granted,
        P in granted,
        R in granted,
    )
    counts = node["availability"]
    status = "AVAILABLE" if S in granted else "NOT_LIVE"
    assert (counts["available"], counts["unknown"]) == ((3, 0) if S in granted else (0, 3))
    assert (counts["asOf"] is None) == (S not in granted)
    for evse in node["evses"]:
        assert (evse["status"], evse["reservable"]) == (status, R in granted)
        assert (evse["statusAgeS"] is None) == (S not in granted)
        assert (evse["lastKnownStatus"] is None) == (S not in granted)


async def check_matrix(api: Api, world: World, shifts: Iterable[int]) -> None:
    for shift in shifts:
        given = shifted(shift)
        await agree(api, given)
        order = (*PARTNERS, *PARTNERS) if shift % 2 else (*PARTNERS[::-1], *PARTNERS[::-1])
        before: dict[str, dict[str, bytes]] = {}
        for partner in order:
            told = await answers(api, world, partner)
            grants = {operator: given[partner, operator] for operator in OPERATORS}
            check_marks(world, told, grants)
            check_counts(world, told, grants)
            assert before.setdefault(partner, told) == told, "whoever asked in between"


async def test_no_entry_tells_a_partner_what_was_not_granted(tmp_path: Path) -> None:
    async with open_tenants(tmp_path) as (api, world):
        await check_matrix(api, world, range(len(LEVELS)))


async def change_price(api: Api, world: World, operator: str, number: int) -> None:
    fees = StatedFees(electricity=f"{mark(operator, 'PRICE')} {number}", service="more")
    world.stations[operator] = msgspec.structs.replace(world.stations[operator], fees=fees)
    await api.index(world.stations[operator])


async def change_status(api: Api, world: World, operator: str, number: int) -> None:
    """Let each Evse do something else, and somebody hold one."""
    key, evses, now = await api.key("holder"), world.stations[operator].evses, api.clock()
    news = (Availability.CHARGING, Availability.AVAILABLE, Availability.OFFLINE)
    for evse, availability in zip(evses, news, strict=True):
        before = {"observed_at": now - 0.5, "received_at": now - 0.5, "stale_after": now + 900}
        status = build_status(evse.id, availability, raw=f"news {number}", **before)
        assert (await api.hub.ports.board.record([status])).taken == 1
    assert (await api.hold(evses[1].id, key=key))["userErrors"] == []


async def change_all(api: Api, world: World, operator: str, number: int) -> None:
    moved = Point(lon=HERE.lon, lat=HERE.lat + 0.001 * number)
    world.stations[operator] = msgspec.structs.replace(world.stations[operator], location=moved)
    await change_price(api, world, operator, number)
    await change_status(api, world, operator, number)


async def change_back(api: Api, world: World, operator: str) -> None:
    key = await api.key("holder")
    listed = await api.data("{ reservations(liveOnly: true) { edges { node { id } } } }", key=key)
    for edge in listed["reservations"]["edges"]:
        wish = {"reservationId": edge["node"]["id"], "idempotencyKey": edge["node"]["id"]}
        document = "mutation($i: CancelReservationInput!) { cancelReservation(input: $i) { replayed } }"
        await api.data(document, {"i": wish}, key=key)
    await say(api, world, [operator], Availability.AVAILABLE, "STATUS")


BLIND = (
    ("A", frozenset[Grant](), change_all),
    ("B", frozenset({D, P}), change_status),
    ("A", frozenset({D, S, R}), change_price),
    ("B", frozenset[Grant](), change_all),
    ("A", frozenset({D}), change_status),
)


async def check_blindness(api: Api, world: World) -> None:
    """What a partner may not have may change, and none of its answers does."""
    for number, (partner, granted, change) in enumerate(BLIND, 1):
        blind = OPERATORS[number % len(OPERATORS)]
        given = {(who, operator): EVERYTHING for who in (partner, "holder") for operator in OPERATORS}
        await agree(api, given | {(partner, blind): granted})
        before = await answers(api, world, partner)
        await change(api, world, blind, number)
        await api.index(msgspec.structs.replace(world.unpublished[blind], name=f"UNPUBLISHED {number}"))
        assert await answers(api, world, partner) == before, (partner, granted, blind)
        await agree(api, given)
        seeing = await answers(api, world, partner)
        await change(api, world, blind, number + 100) if change is change_price else await change_back(
            api, world, blind
        )
        assert await answers(api, world, partner) != seeing, "who may have it sees it change"
        await change_back(api, world, blind)


async def test_what_a_partner_may_not_have_changes_none_of_its_answers(tmp_path: Path) -> None:
    async with open_tenants(tmp_path) as (api, world):
        await check_blindness(api, world)


async def test_a_subscriber_is_told_nothing_of_what_it_may_not_see(tmp_path: Path) -> None:
    async with open_tenants(tmp_path) as (api, world):
        news: Any = None
        dark, lit = world.stations["open:ONE"], world.stations["mixed:ONE"]
        await agree(api, {("A", "open:ONE"): frozenset({D, P}), ("A", "mixed:ONE"): EVERYTHING})
        document = "subscription { availabilityChanged(" + BOX + "{}) { resynced changes { kind stationId } } }"
        for also, kind in (("", "CHANGED"), (f", {FREE}", "LEFT")):
            async with events_of(world.url, await api.key("A"), document.replace("{}", also, 1)) as events:
                first = (await events.event())["availabilityChanged"]
                assert lit.id in {change["stationId"] for change in first["changes"]}
                await say(api, world, ["open:ONE"], Availability.CHARGING, "STATUS")
                await say(api, world, ["mixed:ONE"], Availability.CHARGING, "STATUS")
                news = (await events.event())["availabilityChanged"]
                assert news == {"resynced": False, "changes": [{"kind": kind, "stationId": lit.id}]}
                for _ in range(2):
                    await say(api, world, ["open:ONE", "mixed:ONE"], Availability.AVAILABLE, "STATUS")
        assert dark.id not in str(news)


async def test_a_stream_ends_when_what_its_partner_may_have_changes(tmp_path: Path) -> None:
    async with open_tenants(tmp_path) as (api, world):
        document = f"subscription {{ availabilityChanged({BOX}) {{ changes {{ stationId }} }} }}"
        async with (
            events_of(world.url, await api.key("A"), document) as events,
            events_of(world.url, await api.key("B"), document) as other,
        ):
            await events.event()
            await other.event()
            await api.hub.partners.create_agreement("open", "A", ())
            api.clock.advance(5)
            name, answer = await events.next()
            assert name == "next" and "errors" in answer
            assert await events.next() == ("complete", None)
            await say(api, world, ["open:ONE"], Availability.CHARGING, "STATUS")
            assert (await other.event())["availabilityChanged"]["changes"] == [
                {"stationId": world.stations["open:ONE"].id}
            ]


# ----------------------------------------------------------------------------------------------------- reservations


async def check_reservations(api: Api, world: World) -> None:
    """Holds are granted where reserve was; nobody finds another's; an embargo ends none."""
    given = {(partner, operator): EVERYTHING for partner in PARTNERS for operator in OPERATORS}
    given |= {
        ("B", "open:ONE"): frozenset({D, S}),
        ("B", "closed:ONE"): frozenset(),
        ("A", "mixed:TWO"): frozenset({D, P}),
    }
    await agree(api, given)
    for number, partner in enumerate(PARTNERS):
        key = await api.key(partner)
        for operator, station in world.stations.items():
            granted = given[partner, operator]
            payload = await api.hold(station.evses[number].id, hold_s=3_600, key=key)
            codes = [error["code"] for error in payload["userErrors"]]
            assert codes == ([] if R in granted else ["NOT_RESERVABLE"] if D in granted else ["UNKNOWN_EVSE"])
            if R in granted:
                world.reservations[partner, operator] = payload["reservation"]["id"]
        for station in world.unpublished.values():
            payload = await api.hold(station.evses[number].id, key=key)
            assert [error["code"] for error in payload["userErrors"]] == ["UNKNOWN_EVSE"]
    told = {partner: await answers(api, world, partner) for partner in PARTNERS}
    for partner, answered in told.items():
        for (owner, _), reservation in world.reservations.items():
            for document, answer in answered.items():
                if owner != partner and reservation not in document:
                    assert reservation not in answer.decode(), document
            mine = next(doc for doc in answered if doc.startswith(f'query {{ reservation(id: "{reservation}")'))
            assert (json.loads(answered[mine])["data"]["reservation"] is not None) == (owner == partner)
        stranger = next(one for (owner, _), one in world.reservations.items() if owner != partner)
        document = next(doc for doc in answered if doc.startswith("mutation { extend") and stranger in doc)
        codes = [error["code"] for error in json.loads(answered[document])["data"]["extendReservation"]["userErrors"]]
        assert codes == ["HOLD_OUT_OF_RANGE"], "what is refused at sight is refused alike"
    await check_embargo(api, world)


async def check_embargo(api: Api, world: World) -> None:
    operator, key = "open:ONE", await api.key("A")
    reservation, station = world.reservations["A", operator], world.stations[operator]
    await api.hub.partners.create_agreement(operator, "A", ())
    api.clock.advance(5)
    shown = "query($id: ID!) { reservation(id: $id) { state live evseId evse { id } station { id } } }"
    data = await api.data(shown, {"id": reservation}, key=key)
    assert data["reservation"] == {
        "state": "HELD", "live": True, "evseId": station.evses[0].id, "evse": None, "station": None,
    }  # fmt: skip
    assert (await api.hold(station.evses[2].id, key=key))["userErrors"][0]["code"] == "UNKNOWN_EVSE"
    other = await api.data(
        "query($id: ID!) { evse(id: $id) { status } }", {"id": station.evses[0].id}, key=await api.key("B")
    )
    assert other["evse"]["status"] == "RESERVED", "for others it is held as before"
    for name, wish in (("extendReservation", {"holdS": 3_600}), ("cancelReservation", {})):
        kind = name[0].upper() + name[1:] + "Input"
        document = f"mutation($i: {kind}!) {{ {name}(input: $i) {{ reservation {{ state }} userErrors {{ code }} }} }}"
        payload = (
            await api.data(document, {"i": {"reservationId": reservation, "idempotencyKey": name, **wish}}, key=key)
        )[name]
        assert payload["userErrors"] == [], name
        assert payload["reservation"]["state"] == ("CANCELLED" if name == "cancelReservation" else "HELD")


async def test_holds_are_granted_where_they_were_agreed_and_an_embargo_ends_none(tmp_path: Path) -> None:
    async with open_tenants(tmp_path) as (api, world):
        await check_reservations(api, world)


async def test_ones_own_hold_is_known_where_status_is_no_longer_shared(tmp_path: Path) -> None:
    async with open_tenants(tmp_path) as (api, world):
        await agree(api, {("A", "open:ONE"): EVERYTHING, ("B", "open:ONE"): frozenset({D})})
        evse = world.stations["open:ONE"].evses[0].id
        assert (await api.hold(evse, hold_s=3_600, key=await api.key("A")))["userErrors"] == []
        await agree(api, {(partner, "open:ONE"): frozenset({D}) for partner in PARTNERS})
        document = "query($id: ID!) { evse(id: $id) { status heldByMe } }"
        for partner in PARTNERS:
            shown = (await api.data(document, {"id": evse}, key=await api.key(partner)))["evse"]
            assert shown == {"status": "NOT_LIVE", "heldByMe": partner == "A"}


async def test_what_may_not_be_reserved_is_refused_alike_whatever_it_does(tmp_path: Path) -> None:
    async with open_tenants(tmp_path) as (api, world):
        await agree(api, {("A", "open:ONE"): frozenset({D, P})})
        evses = [evse.id for evse in world.stations["open:ONE"].evses]
        await api.hold(evses[0], key=await api.key("B"))
        await api.say(evses[1], Availability.CHARGING)
        payloads = [await api.hold(evse, key=await api.key("A")) for evse in evses]
        assert payloads[0] == payloads[1] == payloads[2]
        assert payloads[0]["userErrors"][0]["code"] == "NOT_RESERVABLE"


async def test_an_embargo_holds_for_a_key_in_use_within_seconds(tmp_path: Path) -> None:
    async with open_tenants(tmp_path) as (api, world):
        key, id_ = await api.key("A"), world.stations["open:ONE"].id
        document = "query($id: ID!) { station(id: $id) { id } }"
        assert (await api.data(document, {"id": id_}, key=key))["station"] == {"id": id_}
        embargo = await api.hub.partners.create_agreement("open", "A", ())
        api.clock.advance(5)
        assert (await api.data(document, {"id": id_}, key=key))["station"] is None
        assert (await api.data(document, {"id": id_}, key=await api.key("B")))["station"] == {"id": id_}
        assert await api.hub.partners.end_agreement(embargo.id)
        api.clock.advance(5)
        assert (await api.data(document, {"id": id_}, key=key))["station"] == {"id": id_}


# -------------------------------------------------------------------------------------------------------- on servers


@pytest.fixture
def servers(elasticsearch_url: str, index_prefix: str, redis_url: str) -> dict[str, str]:
    return {
        "CHARGEGRAPH_STATION_INDEX_URL": f"{elasticsearch_url}/{index_prefix}",
        "CHARGEGRAPH_LIVE_URL": redis_url,
        "CHARGEGRAPH_RESERVATIONS_URL": redis_url,
    }


async def test_where_everything_is_on_servers_no_more_is_told(tmp_path: Path, servers: dict[str, str]) -> None:
    async with open_tenants(tmp_path, **servers) as (api, world):
        await check_matrix(api, world, (0, 3))
        await check_blindness(api, world)
        await check_reservations(api, world)
