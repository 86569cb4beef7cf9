"""What a client may send to the GraphQL endpoint, read from a body or a query string, and how it is refused."""

from typing import Any
from urllib.parse import parse_qsl

import msgspec

from app.errors import ChargegraphError
from schema.errors import ErrorCode, error_body

MAX_NESTING = 64
MAX_QUERY_PARAMETERS = 20
UNPROCESSABLE = 422
_PARAMETERS = ("query", "documentId", "operationName", "variables", "extensions")


class GraphQLRequest(msgspec.Struct, frozen=True):
    """The body of a request. Members that we do not know are ignored, as the specification asks."""

    query: str | None = None
    documentId: str | None = None  # noqa: N815 - the wire's name
    operationName: str | None = None  # noqa: N815 - the wire's name
    variables: dict[str, Any] | None = None
    extensions: dict[str, Any] | None = None


class RefusedError(ChargegraphError):
    """The HTTP request is not one that we answer. UNPROCESSABLE: it is readable, and no GraphQL request."""

    def __init__(
        self, status: int, message: str, code: ErrorCode = ErrorCode.BAD_USER_INPUT, *headers: tuple[bytes, bytes]
    ) -> None:
        """Keep the status, the headers, and a body that says what is wrong."""
        super().__init__(message)
        self.status = status
        self.body = {"errors": [error_body(code, message)]}
        self.headers = headers


def read_json(body: bytes) -> GraphQLRequest:
    """Return the request in a body. Of a member that is given twice the last one counts. Raises RefusedError."""
    try:
        request = msgspec.json.decode(body, type=GraphQLRequest)
    except msgspec.ValidationError as error:
        if body.lstrip()[:1] == b"[":
            raise RefusedError(UNPROCESSABLE, "batches are not taken: send one request at a time") from None
        raise RefusedError(UNPROCESSABLE, f"the body is not a GraphQL request: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RefusedError(400, "the body is not JSON in UTF-8") from None
    except RecursionError:
        raise RefusedError(400, f"variables: nested more than {MAX_NESTING} deep") from None
    if body.count(b"{") + body.count(b"[") > MAX_NESTING:
        for name in ("variables", "extensions"):
            if _is_deep(getattr(request, name)):
                raise RefusedError(400, f"{name}: nested more than {MAX_NESTING} deep")
    return request


def read_payload(payload: object) -> GraphQLRequest:
    """Return the request in a decoded message of a WebSocket. Raises RefusedError."""
    try:
        request = msgspec.convert(payload, GraphQLRequest)
    except msgspec.ValidationError as error:
        raise RefusedError(400, f"the payload is not a GraphQL request: {error}") from None
    if _is_deep(request.variables) or _is_deep(request.extensions):
        raise RefusedError(400, f"the payload is nested more than {MAX_NESTING} deep")
    return request


def read_query_string(query_string: bytes) -> GraphQLRequest:
    """Return the request in an address. Raises RefusedError."""
    try:
        text = query_string.decode("ascii")
        pairs = parse_qsl(
            text, keep_blank_values=True, errors="strict", strict_parsing=True, max_num_fields=MAX_QUERY_PARAMETERS
        )
    except ValueError:
        raise RefusedError(400, "the query string is not readable, or there is none: give query=…") from None
    given: dict[str, Any] = {}
    for name, value in pairs:
        if name not in _PARAMETERS:
            continue
        if name in given:
            raise RefusedError(400, f"{name}: given more than once")
        given[name] = value
    for name in ("variables", "extensions"):
        if name in given:
            given[name] = _read_json_parameter(name, given[name])
    try:
        return msgspec.convert(given, GraphQLRequest)
    except msgspec.ValidationError as error:
        raise RefusedError(UNPROCESSABLE, f"the query string is not a GraphQL request: {error}") from None


def _read_json_parameter(name: str, text: str) -> Any:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise RefusedError(400, f"{name}: not JSON") from None
    if _is_deep(value):
        raise RefusedError(400, f"{name}: nested more than {MAX_NESTING} deep")
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
