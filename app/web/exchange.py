"""A request and its answer as logs, metrics and traces tell of them; nothing here knows what it is about."""

import logging
import re
import secrets
from hashlib import sha256
from itertools import count
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
_OF_THIS_PROCESS: Final = secrets.token_hex(8)
_numbers: Final = count(1)
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
            if self._lifecycle.draining:
                headers.append(_CLOSE)
            message["headers"] = headers
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
        self._partners: set[str] = set()
        self._in_flight = 0
        metrics.IN_FLIGHT.set_function(lambda: self._in_flight)

    async def observe(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, surface: str) -> None:
        """Let an application answer a request, and tell of it."""
        began_s = perf_counter()
        exchange = Exchange(scope, send, surface, self._lifecycle)
        scope[SCOPE_KEY] = exchange
        token = logs.request_id.set(exchange.id)
        self._in_flight += 1
        span = _span(scope, exchange) if tracing.is_on() else None
        try:
            if span is None:
                await app(scope, receive, exchange.send)
            else:
                with span:
                    await app(scope, receive, exchange.send)
                    _describe(span, exchange)
        finally:
            self._in_flight -= 1
            self._end(scope, exchange, perf_counter() - began_s)
            logs.request_id.reset(token)

    def _end(self, scope: Scope, exchange: Exchange, took_s: float) -> None:
        metrics.HTTP_RESPONSES.add(exchange.surface, str(exchange.status))
        if exchange.surface == "graphql":
            self._count(exchange, took_s)
        if access.isEnabledFor(logging.INFO):
            access.info("request", extra={"fields": _fields(scope, exchange, took_s)})

    def _count(self, exchange: Exchange, took_s: float) -> None:
        partner = exchange.partner
        name = self._names.told(exchange.operation, partner) if exchange.operation else _UNKNOWN
        metrics.REQUESTS.add(name, exchange.type or _UNKNOWN, exchange.outcome)
        if not partner:
            return
        if exchange.type != "subscription":  # how long somebody listens is no matter of speed
            metrics.REQUEST_S.of(name).add(took_s)
        if partner not in self._partners:
            if len(self._partners) >= metrics.MAX_PARTNERS:
                partner = metrics.OTHER
            else:
                self._partners.add(partner)
        metrics.PARTNER_REQUESTS.add(partner)


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
    return f"{_OF_THIS_PROCESS}{next(_numbers):016x}"


def _span(scope: Scope, exchange: Exchange) -> tracing.Span:
    headers = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in {b"traceparent", b"tracestate"}
    }
    attributes = {"http.request.method": scope["method"], "chargegraph.request_id": exchange.id}
    return tracing.request_span(exchange.surface, headers, **attributes)


def _fields(scope: Scope, exchange: Exchange, took_s: float) -> dict[str, str | float]:
    """Return what the log says of a request."""
    fields: dict[str, str | float] = {
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
    return fields


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
