"""Traces: one request is one tree, from the caller to the engines, and holds nothing that is nobody's business."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from app.index._es_client import Cluster
from app.redis import Redis, load_scripts, parse_endpoint
from app.telemetry import tracing
from indexers.http_source import HttpSource
from tests.integration.api import RESERVE, evse_id, furnish, open_api, station_id

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
QUERY = """
query Nearby($lon: Float!, $lat: Float!) {
  nearbyStations(near: {lon: $lon, lat: $lat}, radiusM: 5000, first: 3) { totalCount edges { node { id name } } }
}
"""


class Receiver:
    """A collector on loopback: keeps what it was sent, and the headers of whatever else it was asked."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.asked: list[dict[str, str]] = []
        self.status = 200
        self.answer = b"{}"
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                answer = receiver.answer
                if self.path == "/v1/traces":
                    receiver.bodies.append(body)
                    answer = ExportTraceServiceResponse().SerializeToString()
                receiver.asked.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(receiver.status)
                self.send_header("x-elastic-product", "Elasticsearch")
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST  # noqa: N815 - the name that the base class looks for

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def spans(self) -> list[Span]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@contextmanager
def traced(url: str, ratio: float = 1.0) -> Iterator[None]:
    """Trace for as long as the block takes; at its end everything was sent."""
    tracing.begin(url, ratio, "0")
    try:
        yield
    finally:
        tracing.end()


def attributes(span: Span) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "") for each in span.attributes}


async def test_a_request_is_one_tree_within_its_callers(tmp_path: Path, receiver: Receiver) -> None:
    async with open_api(tmp_path) as api:
        await furnish(api)
        key = await api.key("spy")
        headers = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
        wish = {"evseId": evse_id(1), "holdS": 600, "idempotencyKey": "nobody's business"}
        with traced(receiver.url):
            found = await api.post(
                key=key, headers=headers, json={"query": QUERY, "variables": {"lon": 121.4737, "lat": 31.2304}}
            )
            await api.post(key=key, headers=headers, json={"query": RESERVE, "variables": {"input": wish}})
            await api.post(key=key, headers=headers, json={"query": "{ nothing }"})
            await api.post(key="cg_wrong", headers=headers, json={"query": QUERY})
    assert found.headers["x-request-id"] == TRACE
    spans = receiver.spans()
    roots = [span for span in spans if span.name == "graphql"]
    assert [span.parent_span_id.hex() for span in roots] == [CALLER] * 4
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    search, reserve, invalid, stranger = map(attributes, roots)
    assert search["chargegraph.partner"] == reserve["chargegraph.partner"] == "spy"
    assert (search["graphql.operation.name"], search["graphql.operation.type"]) == ("Nearby", "query")
    assert (reserve["graphql.operation.name"], reserve["graphql.operation.type"]) == ("Reserve", "mutation")
    assert len(search["graphql.document.sha256"]) == 64
    assert (invalid["error.type"], invalid["http.response.status_code"]) == ("GRAPHQL_VALIDATION_FAILED", 200)
    assert (stranger["error.type"], stranger["http.response.status_code"]) == ("UNAUTHENTICATED", 401)
    parents = {span.name: span.parent_span_id for span in spans}
    assert parents["search near"] == roots[0].span_id
    assert parents["reservation reserve"] == roots[1].span_id
    sent = b"".join(receiver.bodies)
    for secret in (key, key[-20:], "cg_wrong", "nobody's business", "121.4737", evse_id(1), station_id(1), "radiusM"):
        assert secret.encode() not in sent, secret


async def test_the_caller_decides_and_otherwise_the_share(tmp_path: Path, receiver: Receiver) -> None:
    async with open_api(tmp_path) as api:
        with traced(receiver.url, ratio=0.0):
            await api.post(json={"query": "{ __typename }"})
            await api.post(headers={"traceparent": f"00-{TRACE}-{CALLER}-00"}, json={"query": "{ __typename }"})
            await api.post(headers={"traceparent": f"00-{TRACE}-{CALLER}-01"}, json={"query": "{ __typename }"})
        assert [span.parent_span_id.hex() for span in receiver.spans()] == [CALLER]
        receiver.bodies.clear()
        with traced(receiver.url):
            for broken in ("00-0-0-01", f"00-{'0' * 32}-{CALLER}-01", "é" * 500, f"ff-{TRACE}-{CALLER}-01"):
                answer = await api.post(
                    headers={"traceparent": broken.encode("latin-1", "replace")}, json={"query": "{ __typename }"}
                )
                assert answer.json() == {"data": {"__typename": "Query"}}
        assert [span.parent_span_id for span in receiver.spans()] == [b""] * 4


async def test_a_collector_that_fails_or_is_away_hurts_nobody(
    tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_api(tmp_path) as api:
        receiver.status = 400
        for url in (receiver.url, "http://127.0.0.1:9"):
            with traced(url):
                assert await api.data("{ __typename }") == {"__typename": "Query"}
    assert receiver.bodies
    assert {record.name.split(".")[0] for record in caplog.records} <= {"opentelemetry", "urllib3"}


async def test_elasticsearch_and_operators_are_told_of_the_trace(receiver: Receiver) -> None:
    source = HttpSource(requests_per_s=100.0, in_flight=1, timeout_s=5.0, max_body_bytes=1_000)
    cluster = Cluster([receiver.url])
    cluster.open()
    try:
        with traced(receiver.url):
            with tracing.span("outer"):
                ids = tracing.ids()
                await cluster.look("/somewhere/_settings")
                await source.request("POST", f"{receiver.url}/query?key=hidden", headers={"a": "b"}, content=b"")
            assert ids is not None
        carried = [asked["traceparent"].split("-") for asked in receiver.asked if "traceparent" in asked]
    finally:
        await cluster.close()
        await source.close()
    spans = {span.name: span for span in receiver.spans()}
    assert {span.trace_id.hex() for span in spans.values()} == {ids[0]}
    assert [(trace, span) for _, trace, span, _ in carried] == [
        (ids[0], spans["elasticsearch _settings"].span_id.hex()),
        (ids[0], spans["operator post"].span_id.hex()),
    ]
    assert attributes(spans["operator post"])["server.address"] == "127.0.0.1"
    assert b"hidden" not in b"".join(receiver.bodies)


async def test_scripts_of_redis_are_spans_by_their_names(receiver: Receiver, redis_url: str) -> None:
    redis = Redis(parse_endpoint(redis_url), load_scripts("app.partners"), durable=False)
    await redis.open()
    try:
        with traced(receiver.url), tracing.span("outer"):
            await asyncio.gather(*[redis.run("list", b"keys", b"order") for _ in range(3)])
    finally:
        await redis.close()
    spans = receiver.spans()
    (outer,) = [span for span in spans if span.name == "outer"]
    assert [span.parent_span_id for span in spans if span.name == "redis list"] == [outer.span_id] * 3


def test_without_a_collector_what_makes_and_sends_spans_is_not_even_imported(repository: Path) -> None:
    program = "import sys, app.main; print(*sorted(name for name in sys.modules if name.startswith('opentelemetry.')))"
    told = subprocess.run([sys.executable, "-c", program], cwd=repository, capture_output=True, check=True, text=True)
    # FastAPI asks whether the interfaces are there.
    assert not [name for name in told.stdout.split() if name.split(".")[1] in {"sdk", "exporter", "proto"}]


async def test_what_a_span_failed_with_is_told_by_its_kind_alone(receiver: Receiver) -> None:
    with traced(receiver.url), pytest.raises(KeyError), tracing.span("broken"):
        raise KeyError("a text that may hold anything")
    (span,) = receiver.spans()
    assert attributes(span) == {"error.type": "KeyError"}
    assert b"may hold" not in b"".join(receiver.bodies)
