"""A request and its answer as logs, metrics and traces tell of them; nothing here knows what it is about."""

import logging
import re
import secrets
from hashlib import sha256
from time import perf_counter
from typing import Any, Final

from graphql import OperationDefinitionNode
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import logs
from app.telemetry import metrics, tracing
from app.web.lifecycle import Lifecycle

SCOPE_KEY: Final = "chargegraph.exchange"
"""Where an ASGI scope has its Exchange."""

_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_NO_TRACE: Final = b"0" * 32
_UNKNOWN: Final = "-"  # no operation's name
_CLOSE: Final = (b"connection", b"close")

access = logging.getLogger("chargegraph.access")


class Exchange:
    """One request, from its head to the end of its answer. Whoever answers it says what is known of it."""

    __slots__ = (
        "_lifecycle",
        "_send",
        "bytes_sent",
        "document",
        "id",
        "operation",
        "outcome",
        "partner",
        "status",
        "surface",
        "type",
    )

    def __init__(self, scope: Scope, send: Send, surface: str, lifecycle: Lifecycle) -> None:
        self.id = _request_id(scope["headers"])
        """The caller's ``x-request-id``, or its trace's id, where these are sane; else a new one."""
        self.surface = surface
        """Which part of us answers: one of a few."""
        self.partner = ""
        """The partner's id, empty while nobody knows it."""
        self.operation = ""
        """The operation's name as the partner wrote it."""
        self.type = ""
        """query, mutation or subscription; empty while that is not known."""
        self.document = ""
        """The text of the document, which is told by its hash alone."""
        self.outcome = "OK"
        """OK, or the code of the first error."""
        self.status = 0
        self.bytes_sent = 0
        self._send = send
        self._lifecycle = lifecycle

    async def send(self, message: Message) -> None:
        """Pass a part of the answer on, with the request's id in it."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), (b"x-request-id", self.id.encode("ascii"))]
            if self._lifecycle.draining.is_set():
                headers.append(_CLOSE)
            message = {**message, "headers": headers}
        else:
            self.bytes_sent += len(message.get("body", b""))
        await self._send(message)

    def executes(self, operation: OperationDefinitionNode | None, document: str) -> None:
        """Say which operation it asks for, of which document."""
        self.document = document
        if operation is not None:
            self.operation = "" if operation.name is None else operation.name.value
            self.type = operation.operation.value

    def answers(self, body: dict[str, Any]) -> None:
        """Say what the answer is: the code of its first error counts."""
        if errors := body.get("errors"):
            self.outcome = errors[0].get("extensions", {}).get("code", "INTERNAL")


class Observer:
    """Watches over all requests of a process."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        """Take the life of the process, which ends connections politely."""
        self._lifecycle = lifecycle
        self._names = metrics.OperationNames()
        self._children: dict[tuple[str, str, str], tuple[Any, Any]] = {}
        self._responses: dict[tuple[str, int], Any] = {}
        self._by_partner: dict[str, Any] = {}

    async def observe(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, surface: str) -> None:
        """Let an application answer a request, and tell of it."""
        began_s = perf_counter()
        exchange = Exchange(scope, send, surface, self._lifecycle)
        scope[SCOPE_KEY] = exchange
        token = logs.request_id.set(exchange.id)
        metrics.IN_FLIGHT.inc()
        span = _span(scope, exchange) if tracing.is_on() else None
        try:
            if span is None:
                await app(scope, receive, exchange.send)
            else:
                with span:
                    await app(scope, receive, exchange.send)
                    _describe(span, exchange)
        finally:
            metrics.IN_FLIGHT.dec()
            self._end(scope, exchange, perf_counter() - began_s)
            logs.request_id.reset(token)

    def _end(self, scope: Scope, exchange: Exchange, took_s: float) -> None:
        key = exchange.surface, exchange.status
        counter = self._responses.get(key)
        if counter is None:
            counter = self._responses[key] = metrics.HTTP_RESPONSES.labels(exchange.surface, str(exchange.status))
        counter.inc()
        if exchange.partner:
            self._count_operation(exchange, took_s)
        elif exchange.surface == "graphql":
            metrics.REQUESTS.labels(_UNKNOWN, _UNKNOWN, exchange.outcome).inc()
        if access.isEnabledFor(logging.INFO):
            fields = {
                "surface": exchange.surface,
                "method": scope["method"],
                "status": exchange.status,
                "duration_ms": round(took_s * 1_000, 3),
                "bytes": exchange.bytes_sent,
            }
            if exchange.surface == "graphql":
                fields |= {
                    "operation": exchange.operation[: metrics.MAX_NAME_CHARACTERS],
                    "type": exchange.type,
                    "outcome": exchange.outcome,
                    "partner": exchange.partner,
                }
            access.info("request", extra={"fields": fields})

    def _count_operation(self, exchange: Exchange, took_s: float) -> None:
        partner = exchange.partner
        name = self._names.told(exchange.operation, partner) if exchange.operation else _UNKNOWN
        key = name, exchange.type or _UNKNOWN, exchange.outcome
        children = self._children.get(key)
        if children is None:
            children = self._children[key] = metrics.REQUESTS.labels(*key), metrics.REQUEST_S.labels(name)
        counter, histogram = children
        counter.inc()
        histogram.observe(took_s)
        by_partner = self._by_partner.get(partner)
        if by_partner is None:
            told = partner if len(self._by_partner) < metrics.MAX_PARTNERS else metrics.OTHER
            by_partner = metrics.PARTNER_REQUESTS.labels(told)
            if told != metrics.OTHER:
                self._by_partner[partner] = by_partner
        by_partner.inc()


def of(scope: Scope) -> Exchange | None:
    """Return the exchange of a request; None where nobody observes it."""
    return scope.get(SCOPE_KEY)


def _request_id(headers: list[tuple[bytes, bytes]]) -> str:
    traceparent = None
    for name, value in headers:
        if name == b"x-request-id" and _ID.fullmatch(value):
            return value.decode("ascii")
        if name == b"traceparent":
            traceparent = _TRACEPARENT.fullmatch(value)
    if traceparent is not None and traceparent[1] != _NO_TRACE:
        return traceparent[1].decode("ascii")
    return secrets.token_hex(16)


def _span(scope: Scope, exchange: Exchange) -> tracing.Span:
    headers = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in {b"traceparent", b"tracestate"}
    }
    attributes = {"http.request.method": scope["method"], "chargegraph.request_id": exchange.id}
    return tracing.request_span(exchange.surface, headers, **attributes)


def _describe(span: tracing.Span, exchange: Exchange) -> None:
    if not span.is_on:
        return
    span.set("http.response.status_code", exchange.status)
    if exchange.partner:
        span.set("chargegraph.partner", exchange.partner)
    if exchange.type:
        span.set("graphql.operation.type", exchange.type)
        span.set("graphql.operation.name", exchange.operation[: metrics.MAX_NAME_CHARACTERS])
        span.set("graphql.document.sha256", sha256(exchange.document.encode(errors="surrogatepass")).hexdigest())
    if exchange.outcome != "OK":
        span.fail(exchange.outcome)
