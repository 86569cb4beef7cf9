"""Who may ask what: keys, scopes, and what each feed's contract lets each kind of partner see, on every way in."""

import re

import pytest
from typer.testing import CliRunner

from app.cli import app as command_line
from app.model.availability import Availability
from app.model.partner import PartnerKind, Scope
from app.wiring import open_partners
from schema.root import schema
from tests.builders import PARTY, build_operator, build_station
from tests.integration.api import HERE, RESERVE, evse_id, furnish, open_api, station_id

NOBODYS = "rsv_AAAAAAAAAAAAAAAAAAAAAAAA"
ASK = {"query": "{ operators { id } }"}


@pytest.fixture
async def api(tmp_path):
    async with open_api(tmp_path) as api:
        yield api


# ------------------------------------------------------------------------------------------------------- without a key


@pytest.mark.parametrize(
    "path",
    ["/livez", "/readyz", "/", "/map/main.js", "/graphql", "/graphql/ide/ide.js", "/graphql/ide/graphiql.min.css"],
)
async def test_health_and_the_pages_answer_everyone(api, path):
    response = await api.client.get(path, headers={"accept": "text/html,*/*;q=0.8"})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/graphql"),
        ("GET", "/graphql?query={operators{id}}"),
        ("GET", "/graphql"),
        ("GET", "/"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/evcs/v1/query_token"),
        ("POST", "/evcs/v1/"),
        ("POST", "/evcs/v1/a/b"),
        ("GET", "/graphql/ide"),
        ("GET", "/metrics"),
        ("GET", "/livez/x"),
    ],
)
async def test_nothing_else_answers_without_a_key(api, method, path):
    response = await api.client.request(method, path, json=ASK if method == "POST" else None)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert response.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_operators_calls_are_let_through_to_be_checked_by_their_own_secrets(api):
    response = await api.client.post("/evcs/v1/query_token", content=b"{}")
    assert (response.status_code, response.json()["Ret"]) == (200, 4003)


async def test_the_pages_can_be_switched_off(tmp_path):
    async with open_api(tmp_path, CHARGEGRAPH_PAGES="off") as api:
        for path, status in (("/", 401), ("/map/main.js", 404), ("/graphql", 401), ("/graphql/ide/ide.js", 404)):
            assert (await api.client.get(path, headers={"accept": "text/html"})).status_code == status


@pytest.mark.parametrize("path", ["/", "/graphql"])
async def test_the_page_runs_nothing_that_is_not_ours(api, path):
    page = await api.client.get(path, headers={"accept": "text/html"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "frame-ancestors 'none'" in policy
    for attribute in ('src="', 'href="'):
        for address in (part.partition('"')[0] for part in page.text.split(attribute)[1:]):
            assert address == "data:," or (await api.client.get(address)).status_code == 200, address
    assert page.text.count("<script") == len(re.findall(r'<script (?:defer|type="module") src="/', page.text))


# ------------------------------------------------------------------------------------------------------- keys


async def test_a_key_comes_in_either_header(api):
    key = await api.key()
    for headers in (
        {"authorization": f"Bearer {key}"},
        {"authorization": f"bearer   {key} "},
        {"x-api-key": key},
        {"x-api-key": f" {key} ", "authorization": "Basic eDp5"},
    ):
        assert (await api.client.post("/graphql", json=ASK, headers=headers)).status_code == 200, headers
        assert (await api.client.get("/nothing", headers=headers)).status_code == 404, headers


async def test_what_is_not_quite_a_key_opens_nothing(api):
    key, other = await api.key(), await api.key("other")
    wrong = [
        "",
        "x",
        key[:-1],
        key + "0",
        key.upper(),
        key[:-1] + ("a" if key[-1] != "a" else "b"),
        key.replace(key[20], "-", 1),
        key[:16] + other[16:],
        "cg_" + "0" * 12 + key[15:],
        f"{key},{other}",
        f"{key}\u00e9",
        "x" * 10_000,
    ]
    for text in wrong:
        for name, value in (("authorization", f"Bearer {text}"), ("x-api-key", text)):
            response = await api.client.post("/graphql", json=ASK, headers={name: value.encode("latin-1")})
            assert response.status_code == 401, text
            assert len(text) < 30 or text not in response.text
    response = await api.client.post(f"/graphql?key={key}&access_token={key}", json=ASK)
    assert response.status_code == 401, "a key in an address would stand in every log"


async def test_a_revoked_key_is_refused_within_five_seconds(api):
    """By another process, as `keys revoke` is; the one that revokes refuses at once."""
    key = await api.key()
    assert (await api.post(json=ASK)).status_code == 200
    (made,) = await api.hub.partners.list_keys()
    async with open_partners(api.hub.settings, api.clock) as beside:
        assert await beside.revoke_key(made.key_id)
    api.clock.advance(5)
    assert (await api.post(key=key, json=ASK)).status_code == 401
    second = await api.key("second")
    assert (await api.post(key=second, json=ASK)).status_code == 200
    await api.hub.partners.revoke_key((await api.hub.partners.list_keys())[-1].key_id)
    assert (await api.post(key=second, json=ASK)).status_code == 401


async def test_a_key_that_another_process_made_is_good_at_once(api):
    async with open_partners(api.hub.settings, api.clock) as beside:
        _, text = await beside.create_key("late", PartnerKind.FLEET, [Scope.DISCOVER])
    assert (await api.post(key=text, json=ASK)).status_code == 200


async def test_no_file_holds_a_key(api, tmp_path):
    key = await api.key()
    await api.data("{ operators { id } }")
    secret = key.rsplit("_", 1)[1]
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert any(key.split("_")[1].encode() in path.read_bytes() for path in files), "its public part is kept"
    for path in files:
        content = path.read_bytes()
        assert secret.encode() not in content and secret[:16].encode() not in content, path.name
    (made,) = await api.hub.partners.list_keys()
    assert secret not in repr(made)


def test_a_key_is_shown_once(tmp_path):
    def run(*arguments, status=0):
        done = CliRunner().invoke(command_line, ["keys", *arguments], env={"CHARGEGRAPH_DATA_DIR": str(tmp_path)})
        assert done.exit_code == status, done.output
        return done.output

    line, text = run("create", "fleet-7", "--kind", "FLEET", "--scope", "discover", "--scope", "reserve").splitlines()
    key_id, secret = text.removeprefix("cg_").split("_")
    assert key_id in line and secret not in line
    listed = run("list")
    assert secret not in listed
    assert listed.split()[:4] == [key_id, "fleet-7", "FLEET", "discover,reserve"]
    assert secret not in run("revoke", key_id)
    assert "revoked" in run("list")
    run("revoke", key_id, status=2)
    assert "partner_id" in run("create", "no spaces", status=2)


# ------------------------------------------------------------------------------------------------------- scopes


WISH = '{reservationId: "x", holdS: 60, idempotencyKey: "k"}'
ROOTS = {
    "station": (Scope.DISCOVER, '{ station(id: "a") { id } }'),
    "stations": (Scope.DISCOVER, '{ stations(ids: ["a"]) { id } }'),
    "nearbyStations": (Scope.DISCOVER, "{ nearbyStations(near: {lon: 1, lat: 1}, radiusM: 5) { totalCount } }"),
    "stationClusters": (
        Scope.DISCOVER,
        "{ stationClusters(box: {west: 1, south: 1, east: 2, north: 2}, zoom: 3) { count } }",
    ),
    "stationsAlongRoute": (
        Scope.DISCOVER,
        '{ stationsAlongRoute(route: {type: "LineString", coordinates: [[1, 1], [2, 2]]}, corridorM: 5) {__typename} }',
    ),
    "nearbyStationsBatch": (Scope.DISCOVER, "{ nearbyStationsBatch(points: [], radiusM: 5) { key } }"),
    "stationsInArea": (
        Scope.DISCOVER,
        "{ stationsInArea(box: {west: 1, south: 1, east: 2, north: 2}) { totalCount } }",
    ),
    "evse": (Scope.DISCOVER, '{ evse(id: "a") { id } }'),
    "operators": (Scope.DISCOVER, "{ operators { id } }"),
    "feeds": (Scope.DISCOVER, "{ feeds { id } }"),
    "reservation": (Scope.RESERVE, '{ reservation(id: "a") { id } }'),
    "reservations": (Scope.RESERVE, "{ reservations { edges { cursor } } }"),
    "reserveEvse": (
        Scope.RESERVE,
        'mutation { reserveEvse(input: {evseId: "a", holdS: 60, idempotencyKey: "k"}) { replayed } }',
    ),
    "extendReservation": (Scope.RESERVE, f"mutation {{ extendReservation(input: {WISH}) {{ replayed }} }}"),
    "cancelReservation": (
        Scope.RESERVE,
        'mutation { cancelReservation(input: {reservationId: "x", idempotencyKey: "k"}) { replayed } }',
    ),
}


def test_each_root_field_is_tried():
    types = schema._schema.query_type, schema._schema.mutation_type
    assert {name for type_ in types if type_ for name in type_.fields} - {"_service", "_entities"} == set(ROOTS)


@pytest.mark.parametrize("held", Scope)
async def test_a_key_opens_what_its_scope_says(api, held):
    key = await api.key("one-scope", scopes=[held])
    for name, (needed, document) in ROOTS.items():
        answer = await api.ask(document, key=key)
        refusals = [error["extensions"]["code"] for error in answer.get("errors", ())]
        if held is needed and name != "reserveEvse":
            assert not refusals, name
        elif held is not needed:
            assert refusals == ["FORBIDDEN"], name
            assert not (answer["data"] or {}).get(name), name
            assert f"'{needed.value}'" in answer["errors"][0]["message"]


async def test_what_cannot_be_seen_cannot_be_reserved(api):
    answer = await api.ask(ROOTS["reserveEvse"][1], key=await api.key("blind", scopes=[Scope.RESERVE]))
    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert "'discover'" in answer["errors"][0]["message"]


@pytest.mark.parametrize(
    ("name", "needed"),
    [("Station", "discover"), ("Evse", "discover"), ("Operator", "discover"), ("Reservation", "reserve")],
)
async def test_entities_ask_for_the_scope_of_their_kind(api, name, needed):
    query = "query($k: [_Any!]!) { _entities(representations: $k) { __typename } }"
    keys = [{"__typename": name, "id": "a"}]
    for held in Scope:
        answer = await api.ask(query, {"k": keys}, key=await api.key("one-scope", scopes=[held]))
        assert answer["data"] == {"_entities": [None]}
        codes = [error["extensions"]["code"] for error in answer.get("errors", ())]
        assert codes == ([] if held.value == needed else ["FORBIDDEN"])


# ------------------------------------------------------------------------------------------------------- others' holds


EVERY_WAY = {
    "reservation": "query($id: ID!) { reservation(id: $id) { id state evseId } }",
    "entity": 'query($id: ID!) { _entities(representations: [{__typename: "Reservation", id: $id}]) { __typename } }',
    "extend": """
    mutation($id: ID!) {
      extendReservation(input: {reservationId: $id, holdS: 600, idempotencyKey: "extend"}) {
        reservation { id } replayed userErrors { code message field }
      }
    }
    """,
    "cancel": """
    mutation($id: ID!) {
      cancelReservation(input: {reservationId: $id, idempotencyKey: "cancel"}) {
        reservation { id } replayed userErrors { code message field }
      }
    }
    """,
}


@pytest.mark.parametrize("way", EVERY_WAY)
@pytest.mark.parametrize("state", ["held", "cancelled", "expired"])
async def test_anothers_reservation_is_as_unknown_as_none(api, way, state):
    """Byte by byte the same answer, at first, when repeated, and when the idempotency key was used for another id."""
    await api.index(build_station(1, feed="live"))
    await api.say(evse_id(1), Availability.AVAILABLE)
    theirs = (await api.hold(evse_id(1), key=await api.key("other")))["reservation"]["id"]
    if state == "cancelled":
        await api.data(EVERY_WAY["cancel"], {"id": theirs}, key=await api.key("other"))
    elif state == "expired":
        api.clock.advance(600)
    first, second, third = await api.key("first"), await api.key("second"), await api.key("third")

    async def ask(id_, key):
        return (await api.post(key=key, json={"query": EVERY_WAY[way], "variables": {"id": id_}})).content

    assert await ask(theirs, first) == await ask(NOBODYS, second)
    assert await ask(theirs, first) == await ask(NOBODYS, second), "repeated"
    assert await ask(NOBODYS, first) == await ask(theirs, second), "the key of the one used for the other"
    assert b"UNKNOWN_RESERVATION" in await ask(theirs, third) or way in {"reservation", "entity"}
    still = await api.data(EVERY_WAY["reservation"], {"id": theirs}, key=await api.key("other"))
    assert still["reservation"]["state"] == state.upper()


async def test_two_keys_of_one_partner_are_one_partner(api):
    await api.index(build_station(1, feed="live"))
    await api.say(evse_id(1), Availability.AVAILABLE)
    mine = (await api.hold(evse_id(1)))["reservation"]["id"]
    sister = await api.key("nav", PartnerKind.FLEET)
    assert (await api.data(EVERY_WAY["reservation"], {"id": mine}, key=sister))["reservation"]["id"] == mine
    evse = "query($id: ID!) { evse(id: $id) { status heldByMe } }"
    assert (await api.data(evse, {"id": evse_id(1)}, key=sister))["evse"] == {"status": "RESERVED", "heldByMe": True}
    stranger = await api.data(evse, {"id": evse_id(1)}, key=await api.key("other"))
    assert stranger["evse"] == {"status": "RESERVED", "heldByMe": False}


# ------------------------------------------------------------------------------------------------------- rights


EVERYTHING = """
query($station: ID!, $evse: ID!, $operator: ID!, $keys: [_Any!]!) {
  station(id: $station) { feedId fees { electricity } }
  stations(ids: [$station]) { feedId fees { electricity } }
  evse(id: $evse) { id }
  near: nearbyStations(near: {lon: 121.4737, lat: 31.2304}, radiusM: 1, filter: {operatorIds: [$operator]}) {
    totalCount edges { node { feedId fees { electricity } } }
  }
  named: nearbyStations(near: {lon: 121.4737, lat: 31.2304}, radiusM: 1) {
    totalCount edges { node { feedId fees { electricity } } }
  }
  area: stationsInArea(box: {west: 121, south: 31, east: 122, north: 32}) {
    totalCount edges { node { feedId fees { electricity } } }
  }
  operators { feedId }
  feeds { id stationCount }
  _entities(representations: $keys) {
    ... on Station { feedId fees { electricity } }
    ... on Evse { id }
    ... on Operator { feedId }
  }
}
"""
HIDDEN = {
    PartnerKind.NAVIGATION: {"secret"},
    PartnerKind.FLEET: {"secret"},
    PartnerKind.MAP: {"secret", "register"},
}


async def with_one_station_a_feed(api):
    for number, feed in enumerate(("live", "priceless", "register", "secret"), 1):
        station = build_station(number, feed=feed, location=HERE)
        await api.index(station)
        await api.hub.ports.index.save_operators([build_operator(feed=feed)])


async def seen(api, feed, number, kind):
    """Return what a partner of that kind sees of one feed's station, on each way."""
    id_ = station_id(number, feed)
    variables = {
        "station": id_,
        "evse": f"{id_}-1",
        "operator": f"{feed}:{PARTY}",
        "keys": [
            {"__typename": "Station", "id": id_},
            {"__typename": "Evse", "id": f"{id_}-1"},
            {"__typename": "Operator", "id": f"{feed}:{PARTY}"},
        ],
    }
    return await api.data(EVERYTHING, variables, key=await api.key(f"p-{kind.value}", kind))


@pytest.mark.parametrize("kind", PartnerKind)
async def test_a_feed_is_seen_by_those_whom_its_contract_allows(api, kind):
    await with_one_station_a_feed(api)
    feeds = ["live", "priceless", "register", "secret"]
    visible = [feed for feed in feeds if feed not in HIDDEN[kind]]
    for number, feed in enumerate(feeds, 1):
        data = await seen(api, feed, number, kind)
        ways = [data["station"], data["stations"][0], data["evse"], *data["_entities"]]
        assert [way is not None for way in ways] == [feed in visible] * 6, (kind, feed, ways)
        assert data["near"]["totalCount"] == len(data["near"]["edges"]) == (1 if feed in visible else 0)
        for search in (data["named"], data["area"]):
            assert search["totalCount"] == len(visible)
            assert sorted(edge["node"]["feedId"] for edge in search["edges"]) == sorted(visible)
        assert [operator["feedId"] for operator in data["operators"]] == visible
        assert [feed["id"] for feed in data["feeds"]] == visible
        payload = await api.hold(f"{station_id(number, feed)}-1", key=await api.key(f"p-{kind.value}", kind))
        codes = [error["code"] for error in payload["userErrors"]]
        assert codes == ["STATUS_UNKNOWN" if feed in visible else "UNKNOWN_EVSE"]


async def test_what_may_not_be_seen_is_answered_like_what_does_not_exist(api):
    await with_one_station_a_feed(api)
    key = await api.key()
    hidden, absent = station_id(4, "secret"), station_id(4, "nothing")
    answers = []
    for id_ in (hidden, absent):
        for document, variables in (
            ("query($id: ID!) { station(id: $id) { id } evse(id: $id) { id } }", {"id": id_}),
            ("query($ids: [ID!]!) { stations(ids: $ids) { id } }", {"ids": [id_]}),
            (RESERVE, {"input": {"evseId": f"{id_}-1", "holdS": 60, "idempotencyKey": "k"}}),
        ):
            answers.append((await api.post(key=key, json={"query": document, "variables": variables})).content)
    assert answers[:3] == answers[3:]


@pytest.mark.parametrize("kind", PartnerKind)
async def test_prices_are_shown_where_the_contract_allows(api, kind):
    await furnish(api)
    for feed, number, price in (("live", 1, {"electricity": "1.2元/度"}), ("priceless", 8, None)):
        id_ = station_id(number, feed)
        keys = [{"__typename": "Station", "id": id_}]
        document = """
        query($id: ID!, $keys: [_Any!]!, $operator: ID!) {
          station(id: $id) { id fees { electricity } }
          stations(ids: [$id]) { id fees { electricity } }
          nearbyStations(near: {lon: 121.4737, lat: 31.2304}, radiusM: 5000, filter: {operatorIds: [$operator]}) {
            edges { node { id fees { electricity } } }
          }
          stationsInArea(box: {west: 121, south: 31, east: 122, north: 32}, filter: {operatorIds: [$operator]}) {
            edges { node { id fees { electricity } } }
          }
          _entities(representations: $keys) { ... on Station { id fees { electricity } } }
        }
        """
        variables = {"id": id_, "keys": keys, "operator": f"{feed}:{PARTY}"}
        data = await api.data(document, variables, key=await api.key(f"p-{kind.value}", kind))
        shown = [data["station"], *data["stations"], *data["_entities"]]
        for name in ("nearbyStations", "stationsInArea"):
            shown += [edge["node"] for edge in data[name]["edges"] if edge["node"]["id"] == id_]
        assert shown == [{"id": id_, "fees": price}] * 5
        held = await api.hold(evse_id(number, feed=feed), key=await api.key(f"h-{kind.value}", kind))
        document = "query($id: ID!) { reservation(id: $id) { station { id fees { electricity } } } }"
        variables = {"id": held["reservation"]["id"]}
        data = await api.data(document, variables, key=await api.key(f"h-{kind.value}", kind))
        assert data["reservation"]["station"] == {"id": id_, "fees": price}


async def test_a_feed_that_is_configured_no_longer_is_hidden_and_its_reservations_stay(tmp_path):
    async with open_api(tmp_path) as api:
        await with_one_station_a_feed(api)
        await api.say(evse_id(1), Availability.AVAILABLE)
        key = await api.key()
        mine = (await api.hold(evse_id(1)))["reservation"]["id"]
        assert await api.hub.ports.index.remove_feed("register") == 1
    async with open_api(tmp_path, CHARGEGRAPH_FEEDS="priceless") as api:
        data = await api.data("{ operators { feedId } feeds { id } }", key=key)
        assert data == {"operators": [{"feedId": "priceless"}], "feeds": [{"id": "priceless"}]}
        document = "query($id: ID!) { reservation(id: $id) { state evseId evse { id } station { id } } }"
        reservation = (await api.data(document, {"id": mine}, key=key))["reservation"]
        assert reservation == {"state": "HELD", "evseId": evse_id(1), "evse": None, "station": None}
