"""What a request has to pass over HTTP: who may see the schema, what it costs, and what its partner's quota holds."""

import msgspec
import pytest

from app.errors import SettingsError, UnavailableError
from app.model.partner import PartnerKind, Scope
from app.model.quota import Verdict, Windows
from app.quotas.embedded import EmbeddedQuotas
from app.services.metering import Metering
from app.settings import read_settings
from app.web.asgi import build_app
from app.web.lifecycle import Lifecycle
from schema.cost import INTROSPECTION_COST, MAX_COST
from tests.integration.api import RESERVE, furnish, open_api

PRODUCTION = (Scope.DISCOVER, Scope.RESERVE)
SEARCH = "query($first: Int!) { stationsInArea(box: {west: 120, south: 30, east: 122, north: 32}, first: $first) %s }"
PAGE = SEARCH % "{ edges { node { id } } }"


@pytest.fixture
async def api(tmp_path):
    async with open_api(tmp_path) as api:
        yield api


@pytest.fixture
async def tight(tmp_path):
    """A hub whose fleets may use 100 in a day and 1,000 in a month's time, and one of them as much as it likes."""
    quotas = "FLEET=100/d,MAP = 1000/d + 30/s , unbounded=off"
    async with open_api(tmp_path, CHARGEGRAPH_QUOTAS=quotas) as api:
        yield api


# ------------------------------------------------------------------------------------------------------- the schema


@pytest.mark.parametrize(
    "document",
    [
        "{ __schema { types { name } } }",
        '{ __type(name: "Station") { name } }',
        "{ _service { sdl } }",
        "{ operators { id } ...F } fragment F on Query { ... { secret: __schema { queryType { name } } } }",
        "mutation { __schema { queryType { name } } }",
        "query A { operators { id } } query B { __schema { queryType { name } } }",
        "{ __schema { directive } }",
    ],
)
async def test_the_schema_is_shown_to_keys_with_the_scope(api, document):
    production = await api.key("p", scopes=PRODUCTION)
    body = {"query": document, "operationName": "A" if "query A" in document else None}
    for _ in range(2):  # planned anew, and remembered
        refused = (await api.post(key=production, json=body)).json()
        assert refused["errors"][0]["extensions"] == {"code": "FORBIDDEN"}
        assert "'introspect'" in refused["errors"][0]["message"] and "data" not in refused
        shown = (await api.post(json=body)).json()
        if "directive" not in document and not document.startswith("mutation"):
            assert shown["data"] and "errors" not in shown
    assert (await api.data("{ __typename operators { __typename } }", key=production))["__typename"] == "Query"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{ statoin { id } }", "Cannot query field 'statoin'."),
        ('{ station(id: "a") { nam } }', "Cannot query field 'nam'."),
        ('{ station(idd: "a") { name } }', "Unknown argument 'idd'."),
        ("{ station { name } }", None),
        ('{ station(id: "a") }', None),
        ("{ operators { name { x } } }", None),
        ("{ operators { name @skipp(if: true) } }", "Unknown directive '@skipp'."),
        ("query($n: Strin) { station(id: $n) { name } }", "Unknown type 'Strin'."),
        ("query($n: String) { operators { name } }", "Variable '$n' is never used."),
        ("query($n: String) { station(id: $n) { name } }", None),
        ("{ nearbyStations(near: {lat: 1}, radiusM: 5) { totalCount } }", None),
        ("{ stationsInArea(filter: {access: [NOBODY]}) { totalCount } }", None),
        ('{ station(id: "a") { ... on Evse { id } } }', None),
        ("{ operators { name } ...F }", "Unknown fragment 'F'."),
    ],
)
async def test_others_hear_nothing_of_the_schema_but_their_own_words(api, document, said):
    production = await api.key("p", scopes=PRODUCTION)
    answer = await api.ask(document, key=production)
    assert "data" not in answer
    hidden = "This does not fit the schema; a key with the scope 'introspect' hears why."
    assert said in {None, *(error["message"] for error in answer["errors"])}
    for error in answer["errors"]:
        assert error["message"] in {hidden, said}, "no type, no suggestion, no name of an argument"
        assert error["extensions"] == {"code": "GRAPHQL_VALIDATION_FAILED"} and error["locations"]
    told = await api.ask(document)
    assert hidden not in {error["message"] for error in told["errors"]}, "who may see the schema hears all"


async def test_suggestions_are_made_to_keys_with_the_scope(api):
    assert "Did you mean 'station'" in (await api.ask("{ statoin { id } }"))["errors"][0]["message"]


# ------------------------------------------------------------------------------------------------------- costs


async def test_what_a_request_costs_is_told_where_it_is_asked(api):
    await furnish(api)
    cost = {"headers": {"x-cost": "1"}}
    for first in (1, 100, 7_000):
        answer = (await api.post(json={"query": PAGE, "variables": {"first": first}}, **cost)).json()
        expected = 20 + 2 * min(first, 100)
        assert answer["data"] and answer["extensions"] == {"cost": {"requested": expected, "max": MAX_COST}}
    assert "extensions" not in (await api.post(json={"query": PAGE, "variables": {"first": 1}})).json()
    schema = (await api.post(json={"query": "{ __schema { types { name } } }"}, **cost)).json()
    assert schema["extensions"]["cost"]["requested"] == INTROSPECTION_COST
    refused = (await api.post(json={"query": "{ nothing }"}, **cost)).json()
    assert refused["extensions"]["cost"]["requested"] == 10


async def test_too_much_at_once_is_not_executed(api):
    everything = "{ edges { node { evses { id connectors { type } } operator { id } location { lon } } } }"
    parts = " ".join(f"a{number}: {_area(everything)}" for number in range(9))
    answer = await api.ask(f"{{ {parts} }}")
    error = answer["errors"][0]
    assert error["extensions"] == {"code": "COST_EXCEEDED", "cost": 9 * (20 + 100 * 20), "max": MAX_COST}
    assert "data" not in answer and "ask for less" in error["message"]
    accept = {"accept": "application/graphql-response+json"}
    assert (await api.post(json={"query": f"{{ {parts} }}"}, headers=accept)).status_code == 400


def _area(selection: str) -> str:
    return f"stationsInArea(box: {{west: 120, south: 30, east: 122, north: 32}}, first: 100) {selection}"


async def test_a_batch_of_requests_is_none(api):
    response = await api.post(json=[{"query": "{ __typename }"}] * 10)
    assert response.status_code == 400 and "errors" in response.json()


# ------------------------------------------------------------------------------------------------------- quotas


async def test_an_answer_says_what_is_left(api):
    response = await api.post(json={"query": PAGE, "variables": {"first": 100}})
    policy = '"1s";q=2000000;qu="cost";w=1, "3600s";q=6000000000;qu="cost";w=3600'
    assert response.headers["ratelimit-policy"] == policy
    assert response.headers["ratelimit"] == '"1s";r=1999780;t=1, "3600s";r=5999999780;t=1'
    assert "retry-after" not in response.headers


async def test_beyond_the_quota_nothing_is_executed(tight):
    fleet = await tight.key("fleet", PartnerKind.FLEET)
    body = {"query": PAGE, "variables": {"first": 30}}
    first = await tight.post(key=fleet, json=body)
    assert first.status_code == 200 and first.headers["ratelimit"].startswith('"86400s";r=20;t=')
    for accept in ("application/json", "application/graphql-response+json"):
        over = await tight.post(key=fleet, json=body, headers={"accept": accept})
        assert over.status_code == 429
        error = over.json()["errors"][0]
        assert error["extensions"]["code"] == "RATE_LIMITED" and "data" not in over.json()
        assert int(over.headers["retry-after"]) == pytest.approx(error["extensions"]["retryAfterS"], abs=1)
        assert error["extensions"]["retryAfterS"] == pytest.approx(86_400 * 0.6, abs=600)
        assert over.headers["ratelimit"].startswith('"86400s";r=20;t=')
    assert (await tight.post(key=fleet, json={"query": "{ operators { id } }"})).status_code == 200
    assert (await tight.post(key=fleet, json={"query": "{ __typename }"})).status_code == 429


async def test_a_quota_is_the_partners_whatever_its_key(tight):
    first, second = await tight.key("fleet", PartnerKind.FLEET), await tight.key("fleet", PartnerKind.FLEET, PRODUCTION)
    body = {"query": PAGE, "variables": {"first": 40}}
    assert (await tight.post(key=first, json=body)).status_code == 200
    assert (await tight.post(key=second, json=body)).status_code == 429
    assert (await tight.post(key=await tight.key("other", PartnerKind.FLEET), json=body)).status_code == 200


async def test_documents_that_are_refused_are_counted_too(tight):
    fleet = await tight.key("fleet", PartnerKind.FLEET)
    for query in ("{", "{ nothing }") * 5:
        assert (await tight.post(key=fleet, json={"query": query})).status_code == 200
    assert (await tight.post(key=fleet, json={"query": "{"})).status_code == 429


async def test_a_hold_beyond_the_quota_is_not_made(tight):
    await furnish(tight)
    fleet = await tight.key("fleet", PartnerKind.FLEET)
    assert (await tight.post(key=fleet, json={"query": PAGE, "variables": {"first": 40}})).status_code == 200
    wish = {"evseId": "live:395815801:000001-1", "holdS": 60, "idempotencyKey": "k"}
    response = await tight.post(key=fleet, json={"query": RESERVE, "variables": {"input": wish}})
    assert response.status_code == 429
    unbounded = await tight.key("unbounded", PartnerKind.FLEET)
    again = await tight.post(key=unbounded, json={"query": RESERVE, "variables": {"input": wish}})
    assert again.status_code == 200 and "ratelimit" not in again.headers


async def test_kinds_that_are_not_named_keep_their_default(tight):
    assert '"1s";q=200000' in (await tight.post(json={"query": "{ __typename }"})).headers["ratelimit-policy"]
    map_ = await tight.key("map", PartnerKind.MAP)
    policy = (await tight.post(key=map_, json={"query": "{ __typename }"})).headers["ratelimit-policy"]
    assert policy == '"86400s";q=1000;qu="cost";w=86400, "1s";q=30;qu="cost";w=1'


async def test_quotas_can_be_off(tmp_path):
    async with open_api(tmp_path, CHARGEGRAPH_QUOTAS="off") as api:
        response = await api.post(json={"query": "{ __typename }"})
        assert response.status_code == 200 and "ratelimit" not in response.headers


@pytest.mark.parametrize(
    "stated", ["FLEET", "FLEET=", "FLEET=5", "FLEET=5/year", "FLEET=0/s", "=5/s", "FLEET=5/s+6/s", "FLEET=-1/s", "on"]
)
def test_a_quota_that_is_none_stops_the_start(stated):
    with pytest.raises(SettingsError, match=r"CHARGEGRAPH_QUOTAS has .*write it like"):
        read_settings({"CHARGEGRAPH_QUOTAS": stated})


class SilentQuotas(EmbeddedQuotas):
    """Knows what this process did, and nothing of others."""

    async def take_surely(self, partner_id: str, windows: Windows, amount: int) -> Verdict:
        raise UnavailableError("nobody answers", retry_after_s=2.0)


async def test_while_nobody_knows_what_is_left_reading_goes_on_and_changing_does_not(api):
    await furnish(api)
    hub = api.hub
    metering = Metering(SilentQuotas(lambda: 0.0), hub.services.metering._windows)
    services = msgspec.structs.replace(hub.services, metering=metering)
    app = build_app(hub.settings, services, hub.partners, {}, hub.runner.take_push, Lifecycle())
    api.client._transport.app = app
    assert (await api.data(PAGE, {"first": 1}))["stationsInArea"]["edges"]
    wish = {"evseId": "live:395815801:000001-1", "holdS": 60, "idempotencyKey": "k"}
    response = await api.post(json={"query": RESERVE, "variables": {"input": wish}})
    assert response.status_code == 503
    assert response.json()["errors"][0]["extensions"] == {"code": "UNAVAILABLE", "retryAfterS": 2.0}
    api.client._transport.app = api.app
    assert (await api.hold(wish["evseId"]))["reservation"]["state"] == "HELD", "it was not made before"
