"""The hub as one subgraph of three: composed by three libraries, and asked through two gateways that we did not write.

The neighbours are a fleet's subgraph, which needs figures of the hub's stations and Evses (`@requires`), and a
tariff's (`federation/*.graphql`, served by `federation/neighbours.mjs`).
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio

from app.model.availability import Availability
from app.model.partner import Scope
from schema.entities import MAX_REPRESENTATIONS
from schema.root import sdl
from tests.builders import PARTY
from tests.conformance.node import NodeServer, node_folder, run_node
from tests.integration.api import Api, evse_id, furnish, listening, open_api, station_id
from tests.servers.fixtures import had_or_skipped
from tests.servers.process import LOOPBACK, free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPERATOR = f"live:{PARTY}"
COMPOSERS = ("apollo", "guild", "wundergraph")
SUBGRAPHS = ("hub", "fleet", "tariff")


class World(NamedTuple):
    """A served hub with the small world in it, its served neighbours, and the schemas of all three as files."""

    api: Api
    folder: Path
    urls: dict[str, str]
    schemas: dict[str, Path]


class Gateway:
    """A partner's side of a gateway."""

    def __init__(self, world: World, server: NodeServer, client: httpx.AsyncClient) -> None:
        self.world = world
        self.server = server
        self.client = client

    async def ask(
        self, query: str, variables: Mapping[str, Any] | None = None, *, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Return the whole answer, with the key of the partner "nav" unless other headers are given."""
        if headers is None:
            headers = {"authorization": f"Bearer {await self.world.api.key()}"}
        body = {"query": query, "variables": variables}
        response = await self.client.post(self.server.url, json=body, headers=headers)
        assert response.status_code == 200, response.text
        return response.json()

    async def data(self, query: str, variables: Mapping[str, Any] | None = None) -> Any:
        """Return the data of an answer without errors."""
        answer = await self.ask(query, variables)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]


def packages(name: str) -> Path:
    with had_or_skipped():
        return node_folder(name)


def compose(composer: str, schemas: Mapping[str, Path], urls: Mapping[str, str]) -> Any:
    """Return what a library says: `errors`, `hints`, and the `supergraph` or null."""
    files = [f"{name}={path}" for name, path in schemas.items()]
    environment = {f"{name.upper()}_URL": url for name, url in urls.items()}
    done = run_node(packages("federation"), "compose.mjs", composer, *files, environment=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("federation")
    scripts = await asyncio.to_thread(packages, "federation")
    async with open_api(folder) as api, listening(api.hub) as url:
        await furnish(api)
        facts, schema = folder / "world.json", folder / "hub.graphql"
        facts.write_text(json.dumps(neighbours_know(api.names)), encoding="utf-8")
        schema.write_text(sdl(), encoding="utf-8")
        fleet, tariff = free_port(), free_port()
        urls = {"fleet": f"http://{LOOPBACK}:{fleet}/", "tariff": f"http://{LOOPBACK}:{tariff}/"}
        neighbours = NodeServer(
            folder / "neighbours",
            scripts,
            "neighbours.mjs",
            str(fleet),
            str(tariff),
            str(facts),
            urls=list(urls.values()),
        )
        await asyncio.to_thread(neighbours.start)
        schemas = {"hub": schema, **{name: scripts / f"{name}.graphql" for name in urls}}
        try:
            yield World(api, folder, {"hub": f"{url}/graphql", **urls}, schemas)
        finally:
            await asyncio.to_thread(neighbours.stop)


def neighbours_know(names: Mapping[str, str]) -> Any:
    """The facts of the neighbours: they name the hub's things by their ids, among them some that are not to be had."""
    vehicle: dict[str, Any] = {"depots": [], "evse": None, "operator": None, "reservation": None, "dueAt": None}
    missing = [station_id(99), station_id(10, "secret")]
    crowd = [station_id(number) for number in range(1, MAX_REPRESENTATIONS + 1)]
    return {
        "vehicles": [
            vehicle
            | {
                "plate": "沪A·00001",
                "dueAt": "2026-11-25T05:00:00.000Z",
                "depots": [station_id(1), *missing, station_id(2)],
                "evse": evse_id(1),
                "operator": OPERATOR,
                "reservation": names["rsv_mine"],
            },
            vehicle | {"plate": "another's", "evse": evse_id(10, feed="secret"), "reservation": names["rsv_other"]},
            vehicle | {"plate": "odd keys", "depots": ["", station_id(1), "x" * 201, station_id(1), "::"]},
            vehicle | {"plate": "many", "depots": crowd},
            vehicle | {"plate": "too many", "depots": [*crowd, "one:too:many"]},
            vehicle | {"plate": "free"},
        ],
        "tariffs": [
            {
                "id": "day",
                "title": "Daytime",
                "pricePerKwh": "1.20",
                "operator": OPERATOR,
                "stations": [station_id(1), station_id(3)],
            }
        ],
    }


@contextmanager
def apollo(world: World) -> "Any":
    """Apollo Gateway, the library, in Apollo Server."""
    folder = world.folder / "apollo"
    folder.mkdir(exist_ok=True)
    supergraph = folder / "supergraph.graphql"
    supergraph.write_text(compose("apollo", world.schemas, world.urls)["supergraph"], encoding="utf-8")
    port = free_port()
    words = "gateway.mjs", str(port), str(supergraph)
    with NodeServer(folder, packages("federation"), *words, urls=[f"http://{LOOPBACK}:{port}/"]) as server:
        yield server


@contextmanager
def hive(world: World) -> "Any":
    """Hive Gateway with the configuration of the deployment, which composes what it is given."""
    port = free_port()
    scripts = packages("hive")
    words = f"hive-gateway supergraph --config-path {scripts / 'gateway.config.mjs'} --host {LOOPBACK} --port {port}"
    services = [
        {"name": name, "url": world.urls[name], "source": "file", "schema": str(world.schemas[name])}
        for name in SUBGRAPHS
    ]
    deployed = Path(__file__).resolve().parents[2] / "deploy" / "gateway" / "gateway.config.mjs"
    with NodeServer(
        world.folder / "hive",
        scripts,
        *words.split(),
        "--fork",
        "1",
        urls=[f"http://{LOOPBACK}:{port}/graphql"],
        environment={"DEPLOYED": str(deployed), "SERVICES": json.dumps(services)},
    ) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[apollo, hive])
async def gateway(world: World, request: pytest.FixtureRequest) -> AsyncIterator[Gateway]:
    running = request.param(world)
    server = await asyncio.to_thread(running.__enter__)
    try:
        async with httpx.AsyncClient(timeout=60) as client:
            yield Gateway(world, server, client)
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


# ----------------------------------------------------------------------------------------------------- composition


@pytest.mark.parametrize("composer", COMPOSERS)
async def test_the_hub_composes_with_its_neighbours(tmp_path, composer):
    (tmp_path / "hub.graphql").write_text(sdl(), encoding="utf-8")
    scripts = packages("federation")
    schemas = {name: scripts / f"{name}.graphql" for name in ("fleet", "tariff")}
    composed = compose(composer, {"hub": tmp_path / "hub.graphql", **schemas}, {})
    assert composed["errors"] == [] and composed["hints"] == []
    assert re.search(r"type Station\b.*?advice: String!.*?\}", composed["supergraph"], re.DOTALL)

    # It would be told: a neighbour that asks for what the hub does not have is refused.
    wrong = tmp_path / "fleet.graphql"
    text = schemas["fleet"].read_text(encoding="utf-8")
    wrong.write_text(text.replace("localId", "noSuchField"), encoding="utf-8")
    refused = compose(composer, {"hub": tmp_path / "hub.graphql", **schemas, "fleet": wrong}, {})
    assert refused["supergraph"] is None
    assert any("noSuchField" in error for error in refused["errors"])


# --------------------------------------------------------------------------------------------------------- gateways

VEHICLE = """
query Vehicle($plate: ID!) {
  vehicle(plate: $plate) {
    plate
    dueAt
    depots { id name advice availability { available total } operator { name contract } tariffs { title } }
    evse { id status usable }
    operator { name contract tariffs { id stations { name } } }
    reservation { id state live vehicle { plate } evse { status usable } station { name tariffs { id } } }
  }
}
"""


async def test_entities_of_every_kind_are_found_through_a_gateway(gateway):
    answer = await gateway.ask(VEHICLE, {"plate": "沪A·00001"})
    operator = {"name": "实时充电", "contract": f"contract with {OPERATOR}"}
    assert answer["data"]["vehicle"] == {
        "plate": "沪A·00001",
        "dueAt": "2026-11-25T05:00:00.000Z",
        "depots": [
            {
                "id": station_id(1),
                "name": "人民广场超充站",
                "advice": "000001: go",
                "availability": {"available": 2, "total": 4},
                "operator": operator,
                "tariffs": [{"title": "Daytime"}],
            },
            None,
            None,
            {
                "id": station_id(2),
                "name": "外滩充电站",
                "advice": "000002: go",
                "availability": {"available": 1, "total": 3},
                "operator": operator,
                "tariffs": [],
            },
        ],
        "evse": {"id": evse_id(1), "status": "AVAILABLE", "usable": True},
        "operator": {
            **operator,
            "tariffs": [{"id": "day", "stations": [{"name": "人民广场超充站"}, {"name": "一样远的站（三）"}]}],
        },
        "reservation": {
            "id": gateway.world.api.names["rsv_mine"],
            "state": "HELD",
            "live": True,
            "vehicle": {"plate": "沪A·00001"},
            "evse": {"status": "RESERVED", "usable": False},
            "station": {"name": "外滩充电站", "tariffs": []},
        },
    }


async def test_what_is_anothers_or_hidden_is_null_through_a_gateway(gateway):
    query = '{ vehicle(plate: "another\'s") { plate evse { status } reservation { state } } }'
    answer = await gateway.ask(query)
    assert answer["data"]["vehicle"] == {"plate": "another's", "evse": None, "reservation": None}
    assert "HELD" not in json.dumps(answer)
    owner = {"authorization": f"Bearer {await gateway.world.api.key('other')}"}
    answer = await gateway.ask(query, headers=owner)
    assert answer["data"]["vehicle"] == {"plate": "another's", "evse": None, "reservation": {"state": "HELD"}}


@pytest.mark.parametrize("name", ["authorization", "x-api-key"])
async def test_a_gateway_asks_with_the_rights_of_the_partner(gateway, name):
    key = await gateway.world.api.key("reader", scopes=[Scope.DISCOVER])
    headers = {name: f"Bearer {key}" if name == "authorization" else key}
    answer = await gateway.ask(
        '{ vehicle(plate: "沪A·00001") { evse { status } reservation { state } } }', headers=headers
    )
    assert answer["data"]["vehicle"] == {"evse": {"status": "AVAILABLE"}, "reservation": None}
    (error,) = answer["errors"]
    assert error["message"] == "this key does not carry the scope 'reserve'"
    assert error["extensions"]["code"] == "FORBIDDEN"
    assert error["path"][:2] == ["vehicle", "reservation"]


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer nonsense"}])
async def test_without_a_key_the_neighbours_answer_and_the_hub_does_not(gateway, headers):
    answer = await gateway.ask('{ vehicle(plate: "沪A·00001") { plate evse { status } } }', headers=headers)
    assert answer["data"]["vehicle"] == {"plate": "沪A·00001", "evse": None}
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"UNAUTHENTICATED"}


async def test_odd_keys_of_a_neighbour_harm_no_other(gateway):
    answer = await gateway.ask('{ vehicle(plate: "odd keys") { depots { name } } }')
    there = {"name": "人民广场超充站"}
    # What is unknown and what is no key: null, or all null of a station of which nothing but the key is known.
    bare = [station if station and station["name"] else None for station in answer["data"]["vehicle"]["depots"]]
    assert bare == [None, there, None, there, None]
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"BAD_USER_INPUT"}
    assert {error["extensions"]["field"] for error in answer["errors"]} == {
        "representations[0].id",
        "representations[2].id",
    }


async def test_as_many_representations_are_answered_as_the_readme_says_and_no_more(gateway):
    query = "query($plate: ID!) { vehicle(plate: $plate) { depots { id name } } }"
    data = await gateway.data(query, {"plate": "many"})
    names = [depot["name"] for depot in data["vehicle"]["depots"]]
    assert len(names) == MAX_REPRESENTATIONS and names[0] == "人民广场超充站"
    answer = await gateway.ask(query, {"plate": "too many"})
    # One gateway reports it once, the other at each place.
    shown = {(error["extensions"]["code"], error["extensions"]["field"]) for error in answer["errors"]}
    assert shown == {("BAD_USER_INPUT", "representations")}
    assert {depot["name"] for depot in answer["data"]["vehicle"]["depots"]} == {None}


async def test_a_hold_is_made_and_handed_to_a_neighbour_through_a_gateway(gateway):
    wish = {"evseId": evse_id(4), "holdS": 600, "idempotencyKey": f"through {gateway.server.url}"}
    payload = await gateway.data(
        """
        mutation($wish: ReserveEvseInput!) {
          reserveEvse(input: $wish) {
            reservation { id state vehicle { plate } evse { status usable } station { tariffs { id } } }
            userErrors { code }
          }
        }
        """,
        {"wish": wish},
    )
    reservation = payload["reserveEvse"]["reservation"]
    assert reservation | {"id": ""} == {
        "id": "",
        "state": "HELD",
        "vehicle": None,
        "evse": {"status": "RESERVED", "usable": False},
        "station": {"tariffs": []},
    }
    dispatched = await gateway.data(
        'mutation($id: ID!) { dispatch(plate: "free", reservationId: $id) { plate reservation { state evseId } } }',
        {"id": reservation["id"]},
    )
    assert dispatched["dispatch"] == {"plate": "free", "reservation": {"state": "HELD", "evseId": evse_id(4)}}
    cancelled = await gateway.data(
        """
        mutation($wish: CancelReservationInput!) {
          cancelReservation(input: $wish) { reservation { state vehicle { plate } } userErrors { code } }
        }
        """,
        {"wish": {"reservationId": reservation["id"], "idempotencyKey": f"let go {reservation['id']}"}},
    )
    assert cancelled["cancelReservation"] == {
        "reservation": {"state": "CANCELLED", "vehicle": {"plate": "free"}},
        "userErrors": [],
    }
    refused = await gateway.data(
        "mutation($wish: ReserveEvseInput!) { reserveEvse(input: $wish) { reservation { id } userErrors { code } } }",
        {"wish": wish | {"evseId": evse_id(1, 2), "idempotencyKey": "a charging one"}},
    )
    assert refused["reserveEvse"] == {"reservation": None, "userErrors": [{"code": "EVSE_NOT_AVAILABLE"}]}


async def test_errors_of_the_hub_keep_their_codes_through_a_gateway(gateway):
    answer = await gateway.ask("{ nearbyStations(near: {lon: 500, lat: 1}, radiusM: 5) { totalCount } }")
    (error,) = answer["errors"]
    assert error["path"] == ["nearbyStations"]
    assert error["extensions"].items() >= {"code": "BAD_USER_INPUT", "field": "near.lon"}.items()


async def test_a_search_goes_through_a_gateway_with_what_the_neighbours_add(gateway):
    data = await gateway.data(
        """
        query($filter: StationFilterInput) {
          nearbyStations(near: {lon: 121.4737, lat: 31.2304}, radiusM: 2500, first: 2, filter: $filter) {
            totalCount
            edges { distanceM node { id advice location(datum: GCJ02) { lon lat } tariffs { pricePerKwh } } }
            pageInfo { hasNextPage }
          }
        }
        """,
        {"filter": {"availableNow": True, "connectorTypes": ["GBT_DC"]}},
    )
    found = data["nearbyStations"]
    assert found["pageInfo"] == {"hasNextPage": True}
    assert [edge["node"]["id"] for edge in found["edges"]] == [station_id(1), station_id(2)]
    assert found["edges"][0]["node"]["tariffs"] == [{"pricePerKwh": "1.20"}]


# ---------------------------------------------------------------------------------------------------- subscriptions


def follows(field: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(f"  {field}(" not in sdl(), reason=f"this schema has no subscription {field} yet")


FOLLOW = """
subscription Follow($ids: [ID!]) {
  availabilityChanged(stationIds: $ids) {
    changes { kind stationId station { name advice availability { available } tariffs { title } } }
  }
}
"""


@asynccontextmanager
async def subscription(
    gateway: Gateway, query: str, variables: Mapping[str, Any], *, key: str | None = None
) -> AsyncIterator[AsyncIterator[Any]]:
    """Subscribe over server-sent events; yield what `next` tells, until `complete`."""
    headers = {"accept": "text/event-stream"}
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    body = {"query": query, "variables": variables}
    async with gateway.client.stream("POST", gateway.server.url, json=body, headers=headers) as response:
        assert response.status_code == 200 and response.headers["content-type"].startswith("text/event-stream")
        yield _events(response)


async def _events(response: httpx.Response) -> AsyncIterator[Any]:
    event = ""
    async for line in response.aiter_lines():
        name, _, value = line.partition(":")
        if name == "event":
            event = value.strip()
        elif name == "data" and event == "next":
            yield json.loads(value)
        elif event == "complete":
            return


@follows("availabilityChanged")
@pytest.mark.parametrize("gateway", [hive], indirect=True)
async def test_changes_reach_a_subscriber_through_a_gateway_with_what_the_neighbours_add(gateway):
    api = gateway.world.api
    variables = {"ids": [station_id(3), station_id(10, "secret")]}
    async with subscription(gateway, FOLLOW, variables, key=await api.key()) as events:
        for availability, advice, available in (
            (None, "000003: go", 1),
            (Availability.CHARGING, "000003: wait", 0),
            (Availability.AVAILABLE, "000003: go", 1),
        ):
            if availability is not None:
                api.clock.advance(1)
                await api.say(evse_id(3), availability)
            answer = await asyncio.wait_for(anext(events), 60)
            assert answer == {
                "data": {
                    "availabilityChanged": {
                        "changes": [
                            {
                                "kind": "ENTERED" if availability is None else "CHANGED",
                                "stationId": station_id(3),
                                "station": {
                                    "name": "一样远的站（三）",
                                    "advice": advice,
                                    "availability": {"available": available},
                                    "tariffs": [{"title": "Daytime"}],
                                },
                            }
                        ]
                    }
                }
            }


@follows("reservationUpdated")
@pytest.mark.parametrize("gateway", [hive], indirect=True)
async def test_a_reservation_is_followed_to_its_end_through_a_gateway(gateway):
    api = gateway.world.api
    held = (await api.hold(evse_id(5)))["reservation"]["id"]
    query = "subscription($id: ID!) { reservationUpdated(id: $id) { state vehicle { plate } evse { usable } } }"
    async with subscription(gateway, query, {"id": held}, key=await api.key()) as events:
        first = await asyncio.wait_for(anext(events), 60)
        assert first.get("data"), first
        assert first["data"]["reservationUpdated"] == {"state": "HELD", "vehicle": None, "evse": {"usable": False}}
        wish = {"reservationId": held, "idempotencyKey": "no longer"}
        await api.data("mutation($i: CancelReservationInput!){cancelReservation(input: $i){replayed}}", {"i": wish})
        rest = [event["data"]["reservationUpdated"] async for event in events]
    assert rest == [{"state": "CANCELLED", "vehicle": None, "evse": {"usable": True}}]


@follows("availabilityChanged")
@pytest.mark.parametrize("gateway", [hive], indirect=True)
async def test_a_subscription_needs_the_partners_key(gateway):
    async with subscription(gateway, FOLLOW, {"ids": [station_id(3)]}) as events:
        told = [event async for event in events]
    assert "UNAUTHENTICATED" in json.dumps(told)
    assert not any(event.get("data") for event in told)


@follows("reservationUpdated")
@pytest.mark.parametrize("gateway", [hive], indirect=True)
async def test_a_subscription_needs_the_scope_of_what_it_follows(gateway):
    key = await gateway.world.api.key("reader", scopes=[Scope.DISCOVER])
    query = 'subscription { reservationUpdated(id: "any") { state } }'
    async with subscription(gateway, query, {}, key=key) as events:
        told = [event async for event in events]
    assert "FORBIDDEN" in json.dumps(told)


@follows("availabilityChanged")
@pytest.mark.parametrize("gateway", [apollo], indirect=True)
async def test_apollos_library_itself_takes_no_subscriptions(gateway):
    # Apollo's Router does. Whoever stands behind the library subscribes at the hub directly.
    response = await gateway.client.post(
        gateway.server.url,
        json={"query": FOLLOW, "variables": {"ids": [station_id(3)]}},
        headers={"authorization": f"Bearer {await gateway.world.api.key()}"},
    )
    (error,) = response.json()["errors"]
    assert error["message"] == "Execution of subscriptions not supported by gateway"
