"""Top-level errors: what callers may know of them.

``extensions.code`` is stable. Refusals of ours say what is wrong, and where; whatever we did not foresee is logged
under a random number, and the caller learns that number and nothing else.
"""

import logging
import re
from enum import Enum
from secrets import token_hex
from typing import Any

from graphql import ArgumentNode, DocumentNode, GraphQLError, Node, ObjectFieldNode, print_ast

from app.errors import InvalidInputError, NotAllowedError, UnavailableError
from app.logs import Seldom

MAX_MESSAGE_CHARACTERS = 500
MAX_ERRORS = 20
_ERROR_ID_BYTES = 8
_AWAY = "Something that this needs does not answer now; try again later."
_PLACE = re.compile(r"(?:Variable '\$|Argument ')([^']{1,200})'(?: has invalid(?: default)? value at ([^: ]{1,200}):)?")
_OWN_WORDS = re.compile(
    r"(?:Cannot query field|Unknown (?:argument|directive|fragment|type)) '@?\w+'"
    r"|(?:Fragment '\w+' is|Variable '\$\w+' is) (?:never used|not defined)"
)
"""The beginnings of messages of graphql-core that hold no words but the document's."""
_REQUIRED = re.compile(r"Argument '[^']*\((\w+):\)' of type '[^']*' is required")

logger = logging.getLogger("chargegraph.schema")
logger.addFilter(Seldom())


class ErrorCode(Enum):
    """The values of ``extensions.code``; part of the public API."""

    BAD_USER_INPUT = "BAD_USER_INPUT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"
    GRAPHQL_PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
    GRAPHQL_VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
    PERSISTED_QUERY_NOT_FOUND = "PERSISTED_QUERY_NOT_FOUND"
    PERSISTED_QUERY_HASH_MISMATCH = "PERSISTED_QUERY_HASH_MISMATCH"
    DOCUMENT_NOT_FOUND = "DOCUMENT_NOT_FOUND"
    DOCUMENT_NOT_TRUSTED = "DOCUMENT_NOT_TRUSTED"
    COST_EXCEEDED = "COST_EXCEEDED"
    RATE_LIMITED = "RATE_LIMITED"


def error_body(code: ErrorCode, message: str, **extensions: Any) -> dict[str, Any]:
    """Return one error without a place in a document."""
    return {"message": message, "extensions": {"code": code.value, **extensions}}


def request_error(error: GraphQLError, code: ErrorCode, document: DocumentNode | None = None) -> dict[str, Any]:
    """Return an error of a request that was not executed, with the argument or variable that it is about."""
    extensions: dict[str, Any] = {"code": code.value}
    if field := _field_of(error.message) or _field_at(error, document):
        extensions["field"] = field
    return _with_place(error, error.message, extensions)


def discreet_error(error: GraphQLError, code: ErrorCode) -> dict[str, Any]:
    """Return an error of a document for one who may not look into the schema: nothing but what he wrote himself."""
    known = _OWN_WORDS.match(error.message)
    message = f"{known[0]}." if known else "This does not fit the schema; a key with the scope 'introspect' hears why."
    return _with_place(error, message, {"code": code.value})


def field_error(error: GraphQLError) -> dict[str, Any]:
    """Return an error of a field that was executed."""
    match error.original_error:
        case InvalidInputError() as refused:
            extensions = {"code": ErrorCode.BAD_USER_INPUT.value, "field": refused.field}
            return _with_place(error, str(refused), extensions)
        case NotAllowedError() as refused:
            return _with_place(error, str(refused), {"code": ErrorCode.FORBIDDEN.value})
        case UnavailableError() as absent:
            return _with_place(error, _AWAY, _absence(absent))
        case None:
            return request_error(error, ErrorCode.BAD_USER_INPUT)
        case GraphQLError() if _field_of(error.message):
            # A variable that is null where the argument has a default: only execution finds it.
            return request_error(error, ErrorCode.BAD_USER_INPUT)
        case unforeseen:
            return _with_place(error, "Something went wrong on our side.", _logged(unforeseen))


def unavailable_error(absent: UnavailableError) -> dict[str, Any]:
    """Return the error of a request that something needed for all of it could not serve."""
    return {"message": _AWAY, "extensions": _absence(absent)}


def internal_error(unforeseen: BaseException) -> dict[str, Any]:
    """Log what we did not foresee; return the error that refers to it."""
    return {"message": "Something went wrong on our side.", "extensions": _logged(unforeseen)}


def _field_of(message: str) -> str | None:
    """Return the argument or variable that a message of graphql-core names, with the place inside it."""
    if required := _REQUIRED.match(message):
        return required[1]
    found = _PLACE.match(message)
    return None if found is None else found[1] + (found[2] or "")


def _field_at(error: GraphQLError, document: DocumentNode | None) -> str | None:
    """Return the path of the argument in which an error of a document stands."""
    if document is None or not error.nodes:
        return None
    place = error.nodes[0]
    # A list or an object where a scalar belongs is reported as a copy that has no place: it is known by its text.
    text = print_ast(place) if place.loc is None else None
    waiting: list[tuple[Node, tuple[str, ...]]] = [(document, ())]
    while waiting:
        node, names = waiting.pop()
        if isinstance(node, ArgumentNode | ObjectFieldNode):
            names = (*names, node.name.value)
        if node is place or (text is not None and type(node) is type(place) and print_ast(node) == text):
            return ".".join(names) or None
        for key in node.keys:
            inner = getattr(node, key)
            parts = inner if isinstance(inner, tuple) else (inner,)
            waiting.extend((part, names) for part in parts if isinstance(part, Node))
    return None


def _absence(absent: UnavailableError) -> dict[str, Any]:
    """Log which store it is, and why: that is no caller's business."""
    logger.warning("unavailable: %s", absent)
    extensions: dict[str, Any] = {"code": ErrorCode.UNAVAILABLE.value}
    if absent.retry_after_s is not None:
        extensions["retryAfterS"] = absent.retry_after_s
    return extensions


def _logged(unforeseen: BaseException) -> dict[str, Any]:
    error_id = token_hex(_ERROR_ID_BYTES)
    logger.error("internal error %s", error_id, exc_info=unforeseen)
    return {"code": ErrorCode.INTERNAL.value, "errorId": error_id}


def _with_place(error: GraphQLError, message: str, extensions: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"message": message[:MAX_MESSAGE_CHARACTERS]}
    if error.locations:
        body["locations"] = [{"line": place.line, "column": place.column} for place in error.locations]
    if error.path:
        body["path"] = error.path
    body["extensions"] = extensions
    return body
