"""The GraphQL endpoint: GraphQL over HTTP, as a plain ASGI function in front of everything else.

A subscription is answered as server-sent events, and so is all else for whoever accepts nothing but them.

Statuses: a malformed HTTP request is a 4xx with a reason; a request that GraphQL refuses is 400 for clients that accept
``application/graphql-response+json`` and 200 for those that know ``application/json`` only; what was executed is 200.
``statuses="2026"`` is the table of the specification's first edition instead.

There is no request that a browser sends without asking first: each needs a key in a header, and beside it a JSON
content type, or for GET a header of PREFLIGHTED. No cookie, password or part of an address stands for a key.
"""

import asyncio
from typing import Any, Literal, NamedTuple

import orjson
from starlette.types import Receive, Scope, Send

from app.errors import UnavailableError
from app.model.partner import Scope as PartnerScope
from app.services.bundle import Services
from app.services.viewer import Viewer
from app.web import exchange, pages
from app.web.admission import Admitted, Gate, OverQuotaError
from app.web.auth import CHALLENGE, KEY_HEADERS, KEY_NEEDED, Doorkeeper
from app.web.compression import COMPRESSED_FROM_BYTES, VARY, compress, encoding_for
from app.web.documents import Documents, UnknownDocumentError
from app.web.exchange import Exchange
from app.web.graphql_request import UNPROCESSABLE, GraphQLRequest, RefusedError, read_json, read_query_string
from app.web.guard import Guard
from app.web.http import (
    BODY_DEADLINE_S,
    HTML,
    JSON,
    BodyTooLargeError,
    BodyTooSlowError,
    ClientGoneError,
    Headers,
    header,
    is_json,
    negotiate,
    read_body,
    send_bytes,
)
from app.web.sse import EVENT_STREAM, send_answer, send_stream
from schema.context import Context
from schema.cost import MAX_COST
from schema.engine import Answer, Engine, Plan, Stream
from schema.errors import ErrorCode, error_body, internal_error, unavailable_error

GRAPHQL_JSON = "application/graphql-response+json"
MEDIA_TYPES = (GRAPHQL_JSON, JSON, EVENT_STREAM)
DEADLINE_S = 10.0
TRACE_HEADER = b"apollo-federation-include-trace"
PREFLIGHTED = frozenset({b"apollo-require-preflight", b"x-apollo-operation-name"})
"""Header fields for which browsers ask first. A GET needs one of them, whatever it says, or a JSON Content-Type; or a
browser's word that it keeps the answer from pages of other sites (Sec-Fetch-Mode: cors), which no page can make up. A
stream needs none: what gateways send for a subscription has none, and pages of other sites cannot read it."""

COST_WANTED = b"x-cost"
"""The header field of requests whose answers are to say what they cost, in ``extensions.cost``."""

PREFLIGHT_NEEDED = "GET: send Apollo-Require-Preflight: true with it, which no page of another site can do unasked"

WATCHED_AFTER_S = 0.1
"""How long a request is under way before it is looked whether its client is still there."""

PARTIAL_SUCCESS = 294
_QUESTIONS = (b"query=", b"documentId=", b"extensions=")


class GraphQLEndpoint:
    """Answers at one address. Never raises for anything that a client can cause."""

    def __init__(
        self,
        services: Services,
        doorkeeper: Doorkeeper,
        engine: Engine,
        *,
        max_body_bytes: int,
        ide_page: bool,
        documents: Documents | None = None,
        statuses: Literal["2025", "2026"] = "2025",
        compressed: bool = True,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """Take what is asked, who may ask, what executes, and how long a body and the answer's making may be: all but
        the reading of the body, for which the client has BODY_DEADLINE_S of its own.
        """
        self._services = services
        self._doorkeeper = doorkeeper
        self._engine = engine
        self._gate = Gate(engine, services.metering)
        self._documents = documents or Documents({})
        self._statuses = statuses
        self._compressed = compressed
        self._max_body_bytes = max_body_bytes
        self._ide_page = ide_page
        self._deadline_s = deadline_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._ide_page and _is_browser(scope):
            await pages.send_page(send, pages.IDE)
            return
        accept = header(scope, b"accept")
        media_type = negotiate(accept, MEDIA_TYPES, default=JSON)
        try:
            answered = await self._answer(scope, receive, send, media_type)
            if answered is None:
                return
            status, body, headers = answered
        except ClientGoneError:
            if (observed := exchange.of(scope)) is not None:
                observed.outcome = "GONE"
            return
        except RefusedError as refused:
            status, body, headers = self._status_of(refused, media_type), refused.body, refused.headers
        except TimeoutError:
            message = f"the answer took longer than {self._deadline_s:g} s; repeat a mutation with its idempotency key"
            error = error_body(ErrorCode.UNAVAILABLE, message, retryAfterS=1.0)
            status, body, headers = 503, {"errors": [error]}, ((b"retry-after", b"1"),)
        except OverQuotaError as over:
            status, body, headers = 429, over.body, over.headers
        except UnavailableError as absent:
            status, body, headers = 503, {"errors": [unavailable_error(absent)]}, ()
        except Exception as unforeseen:  # noqa: BLE001 - the border: nothing of it may reach a client
            status, body, headers = 500, {"errors": [internal_error(unforeseen)]}, ()
        if (observed := exchange.of(scope)) is not None:
            observed.answers(body)
        if self._statuses == "2026" and status >= 400:
            media_type = GRAPHQL_JSON  # whoever knows only the other type believes no body but that of a 2xx
        if media_type is None or media_type == EVENT_STREAM:
            media_type = JSON
        await self._send(send, status, orjson.dumps(body), media_type, headers, header(scope, b"accept-encoding"))

    async def admit(self, request: GraphQLRequest, viewer: Viewer) -> Admitted:
        """Plan a request and take its cost from the quota of who asks, however it came.

        Raises RefusedError for a document that is not known, or not trusted; OverQuotaError; and UnavailableError for a
        mutation while nobody can tell what is left.
        """
        text = self._documents.find(viewer.partner.id, request)
        # Forms send an empty name where they mean none.
        admitted = await self._gate.admit(text, request.operationName or None, request.variables, viewer)
        if request.extensions and isinstance(admitted.plan, Plan):
            self._documents.register(viewer.partner.id, request)
        return admitted

    async def _send(
        self,
        send: Send,
        status: int,
        body: bytes,
        media_type: str,
        headers: Headers,
        accept_encoding: str | None,
    ) -> None:
        if self._compressed and len(body) >= COMPRESSED_FROM_BYTES:
            headers = (*headers, VARY)
            if accept_encoding is not None and (encoding := encoding_for(accept_encoding)) is not None:
                body = await compress(body, encoding)
                headers = (*headers, encoding.header)
        await send_bytes(send, status, body, media_type, headers)

    def _status_of(self, refused: RefusedError, media_type: str | None) -> int:
        """Return the status of a request that was not understood, or may not be asked."""
        if isinstance(refused, UnknownDocumentError) and media_type == JSON:
            return 200
        return 400 if refused.status == UNPROCESSABLE and self._statuses == "2025" else refused.status

    def _status(self, answer: Answer, media_type: str) -> int:
        """Return the status of an answer of GraphQL."""
        if self._statuses == "2025":
            return 200 if answer.executed or media_type == JSON else 400
        if answer.executed:
            return PARTIAL_SUCCESS if "errors" in answer.body and media_type != JSON else 200
        parsed = answer.body["errors"][0]["extensions"]["code"] != ErrorCode.GRAPHQL_PARSE_FAILED.value
        return UNPROCESSABLE if parsed else 400

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, media_type: str | None
    ) -> tuple[int, dict[str, Any], Headers] | None:
        """Return the answer; None where it was sent as a stream."""
        method = scope["method"]
        if method not in {"GET", "POST"}:
            raise RefusedError(405, "use POST, or GET for queries", ErrorCode.BAD_USER_INPUT, (b"allow", b"GET, POST"))
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._deadline_s
        async with asyncio.timeout_at(ends_at):
            viewer = await self._doorkeeper.find_viewer(scope)
        if viewer is not None and method == "GET" and media_type != EVENT_STREAM and not _asks_first(scope):
            raise RefusedError(400, PREFLIGHT_NEEDED)
        if viewer is None:
            raise RefusedError(401, KEY_NEEDED, ErrorCode.UNAUTHENTICATED, CHALLENGE)
        if (observed := exchange.of(scope)) is not None:
            observed.partner = viewer.partner.id
        if media_type is None:
            raise RefusedError(406, f"Accept: answers are {' or '.join(MEDIA_TYPES)}")
        began_to_read_at = loop.time()
        request = (
            read_query_string(scope["query_string"])
            if method == "GET"
            else read_json(await self._read_body(scope, receive))
        )
        ends_at += loop.time() - began_to_read_at
        terms = _Terms(
            queries_only=method == "GET",
            streamed=media_type == EVENT_STREAM,
            traced=_wants_trace(scope, viewer),
            observed=exchange.of(scope),
        )
        answer, admitted = await self._execute(request, viewer, receive, ends_at, terms)
        if isinstance(answer, Stream):
            guard = Guard(self._doorkeeper, self._services.watching, scope)
            await send_stream(receive, send, answer, _revoked(guard, viewer), admitted.headers)
            return None
        if header(scope, COST_WANTED) is not None:
            told = answer.body.setdefault("extensions", {})
            told["cost"] = {"requested": admitted.cost, "max": MAX_COST}
        if terms.streamed:
            if terms.observed is not None:
                terms.observed.answers(answer.body)
            await send_answer(send, answer.body, admitted.headers)
            return None
        return self._status(answer, media_type), answer.body, admitted.headers

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes:
        if not is_json(header(scope, b"content-type")):
            raise RefusedError(415, f"Content-Type: send {JSON} in UTF-8")
        if (header(scope, b"content-encoding") or "identity").strip().lower() != "identity":
            raise RefusedError(
                415,
                "Content-Encoding: send the body as it is",
                ErrorCode.BAD_USER_INPUT,
                (b"accept-encoding", b"identity"),
            )
        try:
            return await read_body(scope, receive, self._max_body_bytes)
        except BodyTooLargeError:
            raise RefusedError(413, f"the body is larger than {self._max_body_bytes} bytes") from None
        except BodyTooSlowError:
            raise RefusedError(408, f"the body was not complete after {BODY_DEADLINE_S:g} s") from None

    async def _execute(
        self, request: GraphQLRequest, viewer: Viewer, receive: Receive, ends_at: float, terms: "_Terms"
    ) -> tuple[Answer | Stream, Admitted]:
        watch = _Watch(receive)
        try:
            async with asyncio.timeout_at(ends_at) as patience:
                admitted = await self.admit(request, viewer)
                plan, operation_name = admitted.plan, admitted.operation_name
                if isinstance(plan, Answer):
                    return plan, admitted
                if terms.observed is not None:
                    terms.observed.executes(plan.operation(operation_name), admitted.text)
                changes = plan.changes(operation_name)
                if terms.queries_only and changes:
                    raise RefusedError(405, "a mutation needs POST", ErrorCode.BAD_USER_INPUT, (b"allow", b"POST"))
                context = Context(self._services, viewer)
                if plan.subscribes(operation_name):
                    if not terms.streamed:
                        raise RefusedError(406, f"a subscription is answered as {EVENT_STREAM}, or over a WebSocket")
                    return await self._engine.subscribe(plan, operation_name, request.variables, context), admitted
                if not changes:
                    watch.begin(patience)
                try:
                    answer = await self._engine.execute(
                        plan, operation_name, request.variables, context, traced=terms.traced
                    )
                finally:
                    watch.end()
                return answer, admitted
        except TimeoutError:
            if watch.client_is_gone:
                raise ClientGoneError from None
            raise


def _wants_trace(scope: Scope, viewer: Viewer) -> bool:
    """Tell whether a gateway asks how long each field took, with a key that may know."""
    return PartnerScope.TRACE in viewer.partner.scopes and header(scope, TRACE_HEADER) == "ftv1"


class _Terms(NamedTuple):
    """What a request may ask for and how it is answered, and who is told of it."""

    queries_only: bool
    streamed: bool
    traced: bool
    observed: Exchange | None


class _Watch:
    """Ends work that nobody waits for any more: when the client has gone, the time is over at once.

    Most answers are out before it begins to look, and pay for a timer only. What changes something is brought to its
    end: who lost a connection asks again, and hears what was done.
    """

    def __init__(self, receive: Receive) -> None:
        self.client_is_gone = False
        self._receive = receive
        self._timer: asyncio.TimerHandle | None = None
        self._watching: asyncio.Task[None] | None = None

    def begin(self, patience: asyncio.Timeout) -> None:
        self._timer = asyncio.get_running_loop().call_later(WATCHED_AFTER_S, self._look, patience)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()

    def _look(self, patience: asyncio.Timeout) -> None:
        self._watching = asyncio.create_task(self._wait(patience))

    async def _wait(self, patience: asyncio.Timeout) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not patience.expired():
            self.client_is_gone = True
            patience.reschedule(asyncio.get_running_loop().time())


def _asks_first(scope: Scope) -> bool:
    """Tell whether a browser would have asked before it sent this, or keeps the answer from pages of others."""
    if any(name in PREFLIGHTED for name, _ in scope["headers"]) or is_json(header(scope, b"content-type")):
        return True
    return header(scope, b"sec-fetch-mode") == "cors"


async def _revoked(guard: Guard, viewer: Viewer) -> dict[str, Any] | None:
    """Return once the stream has to end, with what is to be told."""
    reason = await guard.until_over(viewer)
    return None if reason is None else {"errors": [error_body(ErrorCode.UNAUTHENTICATED, reason)]}


def _is_browser(scope: Scope) -> bool:
    """Tell whether a person opens the address: a GET that likes HTML, asks nothing, and brings no key."""
    if scope["method"] != "GET" or any(name in scope["query_string"] for name in _QUESTIONS):
        return False
    if any(name in KEY_HEADERS for name, _ in scope["headers"]):
        return False
    return negotiate(header(scope, b"accept") or "", (HTML, *MEDIA_TYPES), default=JSON) == HTML
