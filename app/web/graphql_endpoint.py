"""The GraphQL endpoint: GraphQL over HTTP, as a plain ASGI function in front of everything else.

Statuses: a malformed HTTP request is a 4xx with a reason; a request that GraphQL refuses is 400 for clients that accept
``application/graphql-response+json`` and 200 for those that know ``application/json`` only; what was executed is 200.
There is no request that a browser sends without asking first: each needs a key in a header, or a JSON content type.
"""

import asyncio
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import orjson
from starlette.types import Receive, Scope, Send

from app.errors import ChargegraphError, UnavailableError
from app.services.bundle import Services
from app.services.viewer import Viewer
from app.web import ide
from app.web.auth import CHALLENGE, KEY_NEEDED, Doorkeeper
from app.web.http import (
    BODY_DEADLINE_S,
    JSON,
    BodyTooLargeError,
    BodyTooSlowError,
    ClientGoneError,
    header,
    is_json,
    negotiate,
    read_body,
    send_bytes,
)
from schema.context import Context
from schema.engine import Answer, Engine
from schema.errors import ErrorCode, error_body, internal_error, unavailable_error

GRAPHQL_JSON = "application/graphql-response+json"
MEDIA_TYPES = (GRAPHQL_JSON, JSON)
DEADLINE_S = 10.0
MAX_NESTING = 64
MAX_QUERY_PARAMETERS = 20
_PARAMETERS = ("query", "operationName", "variables", "extensions")


class GraphQLRequest(msgspec.Struct, frozen=True):
    """The body of a request. Members that we do not know are ignored, as the specification asks."""

    query: str
    operationName: str | None = None  # noqa: N815 - the wire's name
    variables: dict[str, Any] | None = None
    extensions: dict[str, Any] | None = None


class _RefusedError(ChargegraphError):
    """The HTTP request is not one that we answer."""

    def __init__(
        self, status: int, message: str, code: ErrorCode = ErrorCode.BAD_USER_INPUT, *headers: tuple[bytes, bytes]
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"errors": [error_body(code, message)]}
        self.headers = headers


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
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """Take what is asked, who may ask, what executes, and how long a body and the answer's making may be: all but
        the reading of the body, for which the client has BODY_DEADLINE_S of its own.
        """
        self._services = services
        self._doorkeeper = doorkeeper
        self._engine = engine
        self._max_body_bytes = max_body_bytes
        self._ide_page = ide_page
        self._deadline_s = deadline_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._ide_page and _is_browser(scope):
            await ide.send_page(send)
            return
        accept = header(scope, b"accept")
        media_type = negotiate(accept, MEDIA_TYPES, default=JSON)
        try:
            status, body, headers = await self._answer(scope, receive, media_type)
        except ClientGoneError:
            return
        except _RefusedError as refused:
            status, body, headers = refused.status, refused.body, refused.headers
        except TimeoutError:
            message = f"the answer took longer than {self._deadline_s:g} s; repeat a mutation with its idempotency key"
            error = error_body(ErrorCode.UNAVAILABLE, message, retryAfterS=1.0)
            status, body, headers = 503, {"errors": [error]}, ((b"retry-after", b"1"),)
        except UnavailableError as absent:
            status, body, headers = 503, {"errors": [unavailable_error(absent)]}, ()
        except Exception as unforeseen:  # noqa: BLE001 - the border: nothing of it may reach a client
            status, body, headers = 500, {"errors": [internal_error(unforeseen)]}, ()
        await send_bytes(send, status, orjson.dumps(body), media_type or JSON, headers)

    async def _answer(
        self, scope: Scope, receive: Receive, media_type: str | None
    ) -> tuple[int, dict[str, Any], tuple[tuple[bytes, bytes], ...]]:
        method = scope["method"]
        if method not in {"GET", "POST"}:
            raise _RefusedError(405, "use POST, or GET for queries", ErrorCode.BAD_USER_INPUT, (b"allow", b"GET, POST"))
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._deadline_s
        async with asyncio.timeout_at(ends_at):
            viewer = await self._doorkeeper.find_viewer(scope)
        if viewer is None:
            raise _RefusedError(401, KEY_NEEDED, ErrorCode.UNAUTHENTICATED, CHALLENGE)
        if media_type is None:
            raise _RefusedError(406, f"Accept: answers are {' or '.join(MEDIA_TYPES)}")
        began_to_read_at = loop.time()
        request = _read_query_string(scope) if method == "GET" else _read_json(await self._read_body(scope, receive))
        async with asyncio.timeout_at(ends_at + loop.time() - began_to_read_at):
            answer = await self._execute(request, viewer, queries_only=method == "GET")
        status = 200 if answer.executed or media_type == JSON else 400
        return status, answer.body, ()

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes:
        if not is_json(header(scope, b"content-type")):
            raise _RefusedError(415, f"Content-Type: send {JSON} in UTF-8")
        if (header(scope, b"content-encoding") or "identity").strip().lower() != "identity":
            raise _RefusedError(415, "Content-Encoding: send the body as it is")
        try:
            return await read_body(scope, receive, self._max_body_bytes)
        except BodyTooLargeError:
            raise _RefusedError(413, f"the body is larger than {self._max_body_bytes} bytes") from None
        except BodyTooSlowError:
            raise _RefusedError(408, f"the body was not complete after {BODY_DEADLINE_S:g} s") from None

    async def _execute(self, request: GraphQLRequest, viewer: Viewer, *, queries_only: bool) -> Answer:
        plan = self._engine.plan(request.query)
        if isinstance(plan, Answer):
            return plan
        # Forms send an empty name where they mean none.
        operation_name = request.operationName or None
        if queries_only and plan.changes(operation_name):
            raise _RefusedError(405, "a mutation needs POST", ErrorCode.BAD_USER_INPUT, (b"allow", b"POST"))
        context = Context(self._services, viewer)
        return await self._engine.execute(plan, operation_name, request.variables, context)


def _is_browser(scope: Scope) -> bool:
    """Tell whether a person opens the address: a GET that likes HTML and asks nothing."""
    if scope["method"] != "GET" or b"query=" in scope["query_string"]:
        return False
    return negotiate(header(scope, b"accept") or "", ("text/html", *MEDIA_TYPES), default=JSON) == "text/html"


def _read_json(body: bytes) -> GraphQLRequest:
    try:
        request = msgspec.json.decode(body, type=GraphQLRequest)
    except msgspec.ValidationError as error:
        raise _RefusedError(400, f"the body is not a GraphQL request: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _RefusedError(400, "the body is not JSON in UTF-8") from None
    except RecursionError:
        raise _RefusedError(400, f"variables: nested more than {MAX_NESTING} deep") from None
    if body.count(b"{") + body.count(b"[") > MAX_NESTING and _is_deep(request.variables):
        raise _RefusedError(400, f"variables: nested more than {MAX_NESTING} deep")
    return request


def _read_query_string(scope: Scope) -> GraphQLRequest:
    try:
        text = scope["query_string"].decode("ascii")
        pairs = parse_qsl(
            text, keep_blank_values=True, errors="strict", strict_parsing=True, max_num_fields=MAX_QUERY_PARAMETERS
        )
    except ValueError:
        raise _RefusedError(400, "the query string is not readable, or there is none: give query=…") from None
    given: dict[str, Any] = {}
    for name, value in pairs:
        if name not in _PARAMETERS:
            continue
        if name in given:
            raise _RefusedError(400, f"{name}: given more than once")
        given[name] = value
    for name in ("variables", "extensions"):
        if name in given:
            given[name] = _read_json_parameter(name, given[name])
    try:
        return msgspec.convert(given, GraphQLRequest)
    except msgspec.ValidationError as error:
        raise _RefusedError(400, f"the query string is not a GraphQL request: {error}") from None


def _read_json_parameter(name: str, text: str) -> Any:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise _RefusedError(400, f"{name}: not JSON") from None
    if _is_deep(value):
        raise _RefusedError(400, f"{name}: nested more than {MAX_NESTING} deep")
    return value


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_NESTING):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
