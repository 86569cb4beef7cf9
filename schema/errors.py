"""Top-level errors: what callers may know of them.

``extensions.code`` is stable. Refusals of ours say what is wrong, and where; whatever we did not foresee is logged
under a random number, and the caller learns that number and nothing else.
"""

import logging
import re
from enum import Enum
from secrets import token_hex
from typing import Any

from graphql import GraphQLError

from app.errors import InvalidInputError, NotAllowedError, UnavailableError

MAX_MESSAGE_CHARACTERS = 500
MAX_ERRORS = 20
_ERROR_ID_BYTES = 8
_PLACE = re.compile(r"at '([^']{1,100})'|Variable '\$([^']{1,100})'|Argument '([^']{1,100})'")

logger = logging.getLogger("chargegraph.schema")


class ErrorCode(Enum):
    """The values of ``extensions.code``; part of the public API."""

    BAD_USER_INPUT = "BAD_USER_INPUT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"
    GRAPHQL_PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
    GRAPHQL_VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"


def error_body(code: ErrorCode, message: str, **extensions: Any) -> dict[str, Any]:
    """Return one error without a place in a document."""
    return {"message": message, "extensions": {"code": code.value, **extensions}}


def request_error(error: GraphQLError, code: ErrorCode) -> dict[str, Any]:
    """Return an error of a request that was not executed."""
    extensions: dict[str, Any] = {"code": code.value}
    if isinstance(error.original_error, InvalidInputError):
        extensions["field"] = error.original_error.field
    elif found := _PLACE.search(error.message):
        extensions["field"] = next(group for group in found.groups() if group)
    return _with_place(error, error.message, extensions)


def field_error(error: GraphQLError) -> dict[str, Any]:
    """Return an error of a field that was executed."""
    match error.original_error:
        case InvalidInputError() as refused:
            extensions = {"code": ErrorCode.BAD_USER_INPUT.value, "field": refused.field}
            return _with_place(error, str(refused), extensions)
        case NotAllowedError() as refused:
            return _with_place(error, str(refused), {"code": ErrorCode.FORBIDDEN.value})
        case UnavailableError() as absent:
            return _with_place(error, str(absent), _absence(absent))
        case None:
            return request_error(error, ErrorCode.BAD_USER_INPUT)
        case unforeseen:
            return _with_place(error, "Something went wrong on our side.", _logged(unforeseen))


def unavailable_error(absent: UnavailableError) -> dict[str, Any]:
    """Return the error of a request that something needed for all of it could not serve."""
    return {"message": str(absent)[:MAX_MESSAGE_CHARACTERS], "extensions": _absence(absent)}


def internal_error(unforeseen: BaseException) -> dict[str, Any]:
    """Log what we did not foresee; return the error that refers to it."""
    return {"message": "Something went wrong on our side.", "extensions": _logged(unforeseen)}


def _absence(absent: UnavailableError) -> dict[str, Any]:
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
