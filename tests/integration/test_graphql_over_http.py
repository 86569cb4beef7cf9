"""GraphQL over HTTP beyond what the audit asks: both tables of statuses, compression, leaving clients, raw requests."""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
import zstandard
from graphql import (
    GraphQLField,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    GraphQLString,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from app.services.agreements import Agreements
from app.web.auth import Doorkeeper
from app.web.compression import APART_FROM_BYTES, COMPRESSED_FROM_BYTES, encoding_for
from app.web.graphql_endpoint import GraphQLEndpoint
from schema.engine import Engine
from tests.integration.api import Api, furnish, listening, open_api, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
OPERATORS = "{ operators { id } }"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(tmp_path_factory):
    async with open_api(tmp_path_factory.mktemp("over_http"), CHARGEGRAPH_PAGES="off") as api:
        await furnish(api)
        yield api


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api_2026(tmp_path_factory):
    async with open_api(tmp_path_factory.mktemp("over_http_2026"), CHARGEGRAPH_STATUSES="2026") as api:
        await furnish(api)
        yield api


# ------------------------------------------------------------------------------------------------------- statuses

TWO = "query A { operators { id } } query B { feeds { id } }"
PARTIAL = '{ operators { id } nearbyStations(near: {lon: 1, lat: 1}, radiusM: 5, after: "x") { totalCount } }'
ENTITIES = "query($k: [_Any!]!) { operators { id } _entities(representations: $k) { __typename } }"

CASES: dict[str, tuple[Any, int, int, int, int]] = {
    # What is sent; then the statuses: 2025 in JSON and in GraphQL's type, 2026 the same.
    "answered": ({"query": OPERATORS}, 200, 200, 200, 200),
    "data beside errors": ({"query": ENTITIES, "variables": {"k": [{"__typename": "X"}]}}, 200, 200, 200, 294),
    "no data but errors": ({"query": PARTIAL}, 200, 200, 200, 294),
    "no JSON": (b"{", 400, 400, 400, 400),
    "no request": (b"{}", 400, 400, 422, 422),
    "a batch": ([{"query": OPERATORS}], 400, 400, 422, 422),
    "variables a list": ({"query": OPERATORS, "variables": []}, 400, 400, 422, 422),
    "no document": ({"query": "{"}, 200, 400, 400, 400),
    "not valid": ({"query": "{ nothing }"}, 200, 400, 422, 422),
    "no operation of this name": ({"query": TWO, "operationName": "C"}, 200, 400, 422, 422),
    "which operation": ({"query": TWO}, 200, 400, 422, 422),
    "no such value": ({"query": "query($i: ID!) { station(id: $i) { id } }", "variables": {}}, 200, 400, 422, 422),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("edition", "accept"), [("2025", JSON), ("2025", GRAPHQL), ("2026", JSON), ("2026", GRAPHQL)])
async def test_statuses_are_those_of_the_chosen_table(api, api_2026, case, edition, accept):
    sent, *statuses = CASES[case]
    status = statuses[(edition == "2026") * 2 + (accept == GRAPHQL)]
    body = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    hub = api if edition == "2025" else api_2026
    response = await hub.post(content=body, headers={"accept": accept, "content-type": JSON})
    assert response.status_code == status, response.text
    told = GRAPHQL if accept == GRAPHQL or (edition == "2026" and status >= 400) else JSON
    assert response.headers["content-type"] == f"{told}; charset=utf-8"
    assert ("errors" in response.json()) == (case != "answered")


async def test_a_mutation_by_get_is_a_405_in_both_tables(api, api_2026):
    document = 'mutation { cancelReservation(input: {reservationId: "x", idempotencyKey: "k"}) { replayed } }'
    for hub in (api, api_2026):
        headers = {"x-api-key": await hub.key(), "apollo-require-preflight": "true"}
        response = await hub.client.get("/graphql", params={"query": document}, headers=headers)
        assert response.status_code == 405


# ------------------------------------------------------------------------------------------------------- other sites


@pytest.mark.parametrize(
    ("headers", "parameters"),
    [
        ({}, {}),
        ({"cookie": "key=KEY; authorization=Bearer KEY; x-api-key=KEY"}, {}),
        ({}, {"key": "KEY", "api_key": "KEY", "x-api-key": "KEY", "authorization": "Bearer KEY"}),
        ({"accept": "KEY", "accept-language": "KEY", "content-language": "KEY", "content-type": "text/plain"}, {}),
    ],
)
async def test_no_request_that_a_browser_sends_unasked_is_answered(api, headers, parameters):
    """Such requests carry cookies and simple headers only; a password that the browser knows comes as Basic."""
    key = await api.key()
    headers = {name: value.replace("KEY", key) for name, value in headers.items()}
    parameters = {name: value.replace("KEY", key) for name, value in parameters.items()}
    for more in ({}, {"authorization": f"Basic {key}"}):
        response = await api.client.get(
            "/graphql", params={"query": OPERATORS, **parameters}, headers={**headers, **more}
        )
        assert response.status_code == 401
        assert response.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    "preflight",
    [
        {"apollo-require-preflight": "true"},
        {"x-apollo-operation-name": ""},
        {"content-type": JSON},
        {"sec-fetch-mode": "cors"},
    ],
)
@pytest.mark.parametrize(
    "simple", [{}, {"content-type": "text/plain"}, {"accept": GRAPHQL}, {"sec-fetch-mode": "no-cors"}]
)
@pytest.mark.parametrize("name", ["x-api-key", "authorization"])
async def test_a_query_by_get_needs_what_no_page_of_another_site_can_send_unasked(api, preflight, simple, name):
    key = await api.key()
    headers = {**simple, name: key if name == "x-api-key" else f"Bearer {key}"}
    response = await api.client.get("/graphql", params={"query": OPERATORS}, headers=headers)
    assert response.status_code == 400
    assert "Apollo-Require-Preflight" in response.json()["errors"][0]["message"]
    response = await api.client.get("/graphql", params={"query": OPERATORS}, headers={**headers, **preflight})
    assert response.status_code == 200
    assert "errors" not in response.json()
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["OPTIONS", "GET", "POST", "HEAD"])
async def test_no_other_site_is_let_in(api, method):
    headers = {
        "origin": "https://elsewhere.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    response = await api.client.request(method, "/graphql", headers=headers)
    assert response.status_code in {401, 405}
    assert not [name for name in response.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    ("accept", "status", "media_type"),
    [
        ("multipart/mixed;deferSpec=20220824, application/json", 200, JSON),
        ('multipart/mixed; boundary="graphql"; subscriptionSpec="1.0", application/json', 200, JSON),
        ("multipart/mixed", 406, JSON),
        (f"{GRAPHQL}, {JSON}, multipart/mixed, text/event-stream", 200, GRAPHQL),
        (f"{GRAPHQL}; charset=utf-8, {JSON}; charset=utf-8", 200, GRAPHQL),
        (f"{GRAPHQL};q=0.5, {JSON};q=0.9", 200, JSON),
        ("application/*", 200, JSON),
        ("," * 5_000, 406, JSON),
    ],
)
async def test_what_clients_accept_is_understood(api, accept, status, media_type):
    response = await api.post(json={"query": OPERATORS}, headers={"accept": accept})
    assert (response.status_code, response.headers["content-type"]) == (status, f"{media_type}; charset=utf-8")


# ------------------------------------------------------------------------------------------------------- compression

INTROSPECTION = "{ __schema { types { name description fields { name description } } } }"


@pytest.mark.parametrize(
    ("accept_encoding", "wanted"),
    [
        ("gzip", "gzip"),
        ("GZip;q=1", "gzip"),
        ("gzip, deflate, br", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.9", "gzip"),
        ("br;q=1.0, gzip;q=0.001", "gzip"),
        ("*", "zstd"),
        ("zstd;q=0, *;q=0.5", "gzip"),
        ("*;q=0, gzip", "gzip"),
        ("gzip;q=0", None),
        ("gzip; q=0.000", None),
        ("*;q=0", None),
        ("identity", None),
        ("br, x-zstd", None),
        ("", None),
        ("gzip;q", None),
        ("gzip;q=lots", None),
        ("gzip;q=nan, zstd;q=-1", None),
        (";,;,gzip;;;", "gzip"),
        ("," * 60_000 + "gzip", None),
    ],
)
async def test_what_is_sent_is_what_the_client_likes_best(accept_encoding, wanted):
    encoding = encoding_for(accept_encoding)
    assert (encoding and encoding.value) == wanted


LARGE = "{" + " ".join(f"a{number}: {INTROSPECTION.strip('{}')}" for number in range(5)) + "}"


@pytest.mark.parametrize("encoding", ["zstd", "gzip"])
@pytest.mark.parametrize("document", [INTROSPECTION, LARGE], ids=["usual", "large"])
async def test_larger_answers_are_compressed_and_say_the_same(api, encoding, document):
    plain = await api.post(json={"query": document}, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == "accept-encoding"
    assert len(plain.content) > (APART_FROM_BYTES if document == LARGE else COMPRESSED_FROM_BYTES)
    headers = {"x-api-key": await api.key(), "accept-encoding": encoding}
    async with listening(api.hub) as url, httpx.AsyncClient() as client:
        request = client.build_request("POST", f"{url}/graphql", json={"query": document}, headers=headers)
        response = await client.send(request, stream=True)
        raw = b"".join([chunk async for chunk in response.aiter_raw()])
    assert response.headers["content-encoding"] == encoding
    assert int(response.headers["content-length"]) == len(raw) < len(plain.content) / 3
    assert (gzip.decompress(raw) if encoding == "gzip" else zstandard.decompress(raw)) == plain.content


async def test_what_is_small_is_sent_as_it_is(api):
    response = await api.post(json={"query": OPERATORS}, headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in response.headers


async def test_compression_can_be_left_to_others(tmp_path):
    async with open_api(tmp_path, CHARGEGRAPH_COMPRESSION="off") as api:
        response = await api.post(json={"query": INTROSPECTION}, headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in response.headers
    assert "vary" not in response.headers


# ------------------------------------------------------------------------------------------------------- leaving


class Hanging:
    """A schema whose fields never answer; it tells who came, and who was sent away."""

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self.may_end = asyncio.Event()
        self.ended = asyncio.Event()
        self.sent_away = asyncio.Event()
        hanging = GraphQLField(GraphQLString, resolve=self._hang)
        self.schema = GraphQLSchema(
            GraphQLObjectType("Query", {"hang": hanging}), GraphQLObjectType("M", {"do": hanging})
        )

    async def _hang(self, _source: object, _info: GraphQLResolveInfo[Any]) -> str:
        self.came.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.sent_away.set()
            raise
        self.ended.set()
        return "ended"


@asynccontextmanager
async def hanging(api: Api, deadline_s: float) -> AsyncIterator[tuple[Hanging, str]]:
    world = Hanging()
    services = api.hub.services
    endpoint = GraphQLEndpoint(
        services,
        Doorkeeper(api.hub.partners, Agreements(api.hub.partners, services.feeds, api.clock)),
        Engine(world.schema, compiled=False),
        max_body_bytes=10_000,
        ide_page=False,
        deadline_s=deadline_s,
    )
    async with serving(endpoint) as url:
        yield world, url


async def send(url: str, key: str, document: str) -> asyncio.StreamWriter:
    address = httpx.URL(url)
    _, writer = await asyncio.open_connection(address.host, address.port)
    body = json.dumps({"query": document}).encode()
    head = f"POST /graphql HTTP/1.1\r\nHost: hub\r\nX-API-Key: {key}\r\nContent-Type: {JSON}\r\n"
    writer.write(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()
    return writer


async def leave(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


async def test_a_query_ends_when_its_client_leaves(api):
    async with hanging(api, deadline_s=600) as (world, url), asyncio.timeout(300):
        writer = await send(url, await api.key(), "{ hang }")
        await world.came.wait()
        await leave(writer)
        await world.sent_away.wait()
    assert not world.ended.is_set()


async def test_a_mutation_is_brought_to_its_end_when_its_client_leaves(api):
    async with hanging(api, deadline_s=600) as (world, url), asyncio.timeout(300):
        writer = await send(url, await api.key(), "mutation { do }")
        await world.came.wait()
        await leave(writer)
        await asyncio.sleep(0.3)  # longer than it takes to notice
        world.may_end.set()
        await world.ended.wait()
    assert not world.sent_away.is_set()


@pytest.mark.parametrize("document", ["{ hang }", "mutation { do }"])
async def test_no_answer_takes_longer_than_the_deadline(api, document):
    async with hanging(api, deadline_s=0.3) as (world, url), httpx.AsyncClient(timeout=300) as client:
        response = await client.post(f"{url}/graphql", json={"query": document}, headers={"x-api-key": await api.key()})
        assert world.sent_away.is_set()
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["errors"][0]["extensions"] == {"code": "UNAVAILABLE", "retryAfterS": 1.0}


async def test_an_answer_that_takes_its_time_arrives(api):
    """Whoever is watched over and stays gets the answer."""
    async with hanging(api, deadline_s=600) as (world, url), httpx.AsyncClient(timeout=300) as client:
        asking = asyncio.create_task(
            client.post(f"{url}/graphql", json={"query": "{ hang }"}, headers={"x-api-key": await api.key()})
        )
        await world.came.wait()
        await asyncio.sleep(0.3)
        world.may_end.set()
        assert (await asking).json() == {"data": {"hang": "ended"}}


# ------------------------------------------------------------------------------------------------------- raw requests


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address(api):
    async with listening(api.hub) as url:
        yield httpx.URL(url)


async def exchange(address: httpx.URL, request: bytes) -> bytes:
    """Send bytes, and nothing after them; return what came back until the server closed."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(request)
        async with asyncio.timeout(300):
            return await reader.read()
    finally:
        await leave(writer)


def read(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split()[1]), headers, body


def checked(answer: bytes) -> tuple[int, Any]:
    """Return status and body of an answer; no answer may be less than this."""
    status, headers, body = read(answer)
    assert status < 500, answer
    assert headers["content-type"].startswith(("application/json", GRAPHQL)), answer
    assert int(headers["content-length"]) == len(body), answer
    content = json.loads(body)
    for error in content.get("errors", ()):
        assert error["message"]
        assert re.fullmatch(r"[A-Z_]+", error["extensions"]["code"])
        assert error["extensions"]["code"] not in {"INTERNAL", "UNAVAILABLE"}
    assert "errors" in content or status == 200
    return status, content


def raw(key: str, *lines: str, body: bytes = b"", first: str = "POST /graphql HTTP/1.1") -> bytes:
    head = (first, "Host: hub", f"X-API-Key: {key}", "Connection: close", *lines, "", "")
    return "\r\n".join(head).encode("latin-1") + body


QUERY = json.dumps({"query": OPERATORS}).encode()
LENGTH = f"Content-Length: {len(QUERY)}"
TYPE = "Content-Type: application/json"
PREFLIGHT = "Apollo-Require-Preflight: true"
CHUNKED = b"5\r\n" + QUERY[:5] + b"\r\n" + f"{len(QUERY) - 5:x}".encode() + b";x=y\r\n" + QUERY[5:] + b"\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("first", "lines", "body", "status"),
    [
        ("POST /graphql HTTP/1.1", (TYPE, LENGTH), QUERY, 200),
        ("POST /graphql HTTP/1.0", (TYPE, LENGTH), QUERY, 200),
        ("POST /graphql HTTP/1.1", (TYPE, "Transfer-Encoding: chunked"), CHUNKED, 200),
        ("POST /graphql HTTP/1.1", (TYPE, "Content-Length: 0"), b"", 400),
        ("POST /graphql HTTP/1.1", (TYPE,), b"", 400),
        ("POST /graphql HTTP/1.1", (), b"", 415),
        ("POST /graphql HTTP/1.1", ("Content-Type: application/json; charset=utf-16", LENGTH), QUERY, 415),
        ("POST /graphql HTTP/1.1", ("Content-Type: application/json; charset=\xff\xfe", LENGTH), QUERY, 415),
        ("POST /graphql HTTP/1.1", ("Content-Type: application/json;;;charset", LENGTH), QUERY, 415),
        ("POST /graphql HTTP/1.1", (TYPE, TYPE, LENGTH), QUERY, 415),
        ("POST /graphql HTTP/1.1", (TYPE, "Content-Encoding: gzip", LENGTH), QUERY, 415),
        ("POST /graphql HTTP/1.1", (TYPE, "Transfer-Encoding: gzip, chunked"), CHUNKED, 200),
        ("POST /graphql?query=%7Boperators%7Bid%7D%7D HTTP/1.1", (TYPE, "Content-Length: 2"), b"{}", 400),
        ("GET /graphql?query=%7Boperators%7Bid%7D%7D HTTP/1.1", (), b"", 400),
        ("GET /graphql?query=%7Boperators%7Bid%7D%7D HTTP/1.1", (PREFLIGHT,), b"", 200),
        ("GET /graphql?query=%7Boperators%7Bid%7D%7D HTTP/1.0", (PREFLIGHT,), b"", 200),
        ("GET /graphql?query=%7Boperators%7Bid%7D%7D HTTP/1.1", (TYPE, "Content-Length: 1"), b"{", 200),
        ("GET /graphql HTTP/1.1", (PREFLIGHT,), b"", 400),
        ("QUERY /graphql HTTP/1.1", (TYPE, LENGTH), QUERY, 405),
        ("PUT /graphql HTTP/1.1", (TYPE, LENGTH), QUERY, 405),
        ("TRACE /graphql HTTP/1.1", (), b"", 405),
        ("POST /graphql HTTP/1.1", (TYPE, "Content-Length: 1", "Content-Length: 2"), b"{}", 400),
        ("POST /graphql HTTP/1.1", (TYPE, LENGTH, "Transfer-Encoding: chunked"), QUERY, 400),
        ("POST /graphql HTTP/9.9", (TYPE, LENGTH), QUERY, 400),
        ("POST /graphql HTTP/1.1", ("no colon here", TYPE, LENGTH), QUERY, 400),
    ],
)
async def test_requests_of_every_form_are_answered_in_json(api, address, first, lines, body, status):
    answer = await exchange(address, raw(await api.key(), *lines, body=body, first=first))
    assert checked(answer)[0] == status, answer


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
async def test_what_has_no_body_has_none(api, address, method):
    status, headers, body = read(await exchange(address, raw(await api.key(), first=f"{method} /graphql HTTP/1.1")))
    assert status == 405
    assert headers["allow"] == "GET, POST"
    assert (body == b"") == (method == "HEAD")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"query": "# only a comment"}, "Syntax Error"),
        ({"query": ""}, "Syntax Error"),
        ({"query": OPERATORS, "operationName": "x" * 200_000}, "Unknown operation named"),
        ({"query": OPERATORS, "operationName": "\u202e\n\0"}, "Unknown operation named"),
        ({"query": None}, "there is no document"),
        ({"query": OPERATORS, "extensions": []}, "`object | null`, got `array` - at `$.extensions`"),
        ({"query": OPERATORS, "extensions": {"a": json.loads("[" * 80 + "]" * 80)}}, "extensions: nested more than 64"),
        ([{"query": OPERATORS}] * 2, "batches are not taken"),
        ([], "batches are not taken"),
    ],
)
async def test_what_is_wrong_is_said(api, request_, message):
    response = await api.post(json=request_)
    (error,) = response.json()["errors"]
    assert message in error["message"]
    assert len(error["message"]) <= 500


async def test_of_a_member_that_is_given_twice_the_last_one_counts(api):
    body = b'{"query": "{ nothing }", "query": "{ operators { id } }", "variables": [], "variables": {}}'
    response = await api.post(content=body, headers={"content-type": JSON})
    assert response.status_code == 400  # each of them has to be of its type
    body = b'{"query": "{ nothing }", "query": "{ operators { id } }"}'
    response = await api.post(content=body, headers={"content-type": JSON})
    assert "errors" not in response.json()


TOKENS = st.text("abcxyzABC0123456789-_./;,=*\"' \t(){}[]%?&#\xe9\xff", max_size=40)
TYPES = st.sampled_from(["application/json", "application/json; charset=utf-8", "text/plain", "application/graphql"])
ACCEPTS = st.sampled_from(["*/*", JSON, GRAPHQL, "text/html", "multipart/mixed, application/json;q=0.5"])
HEADERS = st.lists(
    st.one_of(
        st.tuples(st.just("Content-Type"), TYPES | TOKENS),
        st.tuples(st.just("Accept"), ACCEPTS | TOKENS),
        st.tuples(st.just("Accept-Encoding"), st.sampled_from(["gzip", "gzip;q=0", "*"]) | TOKENS),
        st.tuples(st.just("Content-Encoding"), st.sampled_from(["gzip", "identity", "br"]) | TOKENS),
        st.tuples(st.sampled_from(["X-API-Key", "Authorization", "Cookie", "Origin", "X-A", "Host"]), TOKENS),
    ),
    max_size=5,
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=True)
    | st.text(max_size=10)
    | st.sampled_from([OPERATORS, "query($a: ID!) { station(id: $a) { id } }", "{ __typename }", "1", "a" * 64]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "version", "sha256Hash", "persistedQuery"]), inner, max_size=3)
    ),
    max_leaves=6,
)
MEMBERS = st.dictionaries(
    st.sampled_from(["query", "operationName", "variables", "extensions", "documentId", "id"]), VALUES, max_size=5
)
DOCUMENTS = st.builds(lambda value: json.dumps({"query": OPERATORS, **value}).encode(), MEMBERS)
BODIES = DOCUMENTS | MEMBERS.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60) | st.just(QUERY)
TARGETS = st.sampled_from(["/graphql", "/graphql?", "/graphql?query=%7Boperators%7Bid%7D%7D"]) | st.builds(
    lambda pairs: "/graphql?" + "&".join(f"{name}={value}" for name, value in pairs),
    st.lists(
        st.tuples(
            st.sampled_from(["query", "variables", "extensions", "operationName", "documentId", "%ff", ""]),
            st.text('abc%{}[]:"0129+$', max_size=20),
        ),
        max_size=4,
    ),
)


@settings(max_examples=300)
@given(
    method=st.sampled_from(["POST", "GET", "PUT", "DELETE", "PATCH"]),
    target=TARGETS,
    version=st.sampled_from(["1.1", "1.0"]),
    headers=HEADERS,
    body=BODIES,
    chunk=st.none() | st.integers(1, 40),
    with_key=st.integers(0, 9).map(bool),
    with_type=st.integers(0, 5).map(bool),
)
async def test_whatever_is_sent_over_a_socket_is_answered_in_json(
    api, address, method, target, version, headers, body, chunk, with_key, with_type
):
    """Requests that the parser of HTTP understands, and some that it does not."""
    lines = [f"{method} {target} HTTP/{version}", "Host: hub", "Connection: close"]
    lines += [f"X-API-Key: {await api.key()}"] if with_key else []
    lines += [TYPE] if with_type else []
    lines += [f"{name}: {value}" for name, value in headers]
    if chunk is None or version == "1.0":
        lines.append(f"Content-Length: {len(body)}")
    else:
        lines.append("Transfer-Encoding: chunked")
        parts = [body[at : at + chunk] for at in range(0, len(body), chunk)]
        body = b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts) + b"0\r\n\r\n"
    request = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
    answer = await exchange(address, request)
    if coded := re.search(rb"content-encoding: (\w+)", answer):
        head, _, rest = answer.partition(b"\r\n\r\n")
        body = gzip.decompress(rest) if coded[1] == b"gzip" else zstandard.decompress(rest)
        answer = re.sub(rb"content-length: \d+", b"content-length: %d" % len(body), head) + b"\r\n\r\n" + body
    checked(answer)
