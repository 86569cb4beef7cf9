"""Where operators call us (T/CEC 102): find whose call it is, let its feed answer, and take the news first."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import msgspec
from fastapi import APIRouter, Request, Response

from app.errors import UnavailableError
from app.web.http import JSON, BodyTooLargeError, BodyTooSlowError, ClientGoneError, read_body
from indexers.base import InboundFeed, StatusBatch

OnPush: TypeAlias = Callable[[str, StatusBatch], Awaitable[None]]
"""Takes the news of a feed; durable, or at least visible, once it returns."""

ENVELOPE_INVALID = 4003
SYSTEM_ERROR = 500
NOT_TAKEN = "not taken; send it again later"
MAX_INTERFACE_CHARACTERS = 100
_OPERATOR_ID = "operatorid"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

logger = logging.getLogger("chargegraph.inbound")


def inbound_router(path: str, feeds: Mapping[str, InboundFeed], on_push: OnPush, max_body_bytes: int) -> APIRouter:
    """Return the routes under ``path``. ``feeds`` maps an envelope's OperatorID to the feed that it belongs to."""
    router = APIRouter()

    @router.post(path + "/{interface}")
    async def call(interface: str, request: Request) -> Response:
        try:
            body = await read_body(request.scope, request.receive, max_body_bytes)
        except BodyTooLargeError:
            return Response(status_code=413)
        except BodyTooSlowError:
            return Response(status_code=408)
        except ClientGoneError:
            return Response(status_code=400)
        feed = feeds.get(_caller(body) or "")
        if feed is None or len(interface) > MAX_INTERFACE_CHARACTERS:
            return _refusal(ENVELOPE_INVALID, "not an envelope of an operator known here")
        try:
            reply = await feed.answer(interface, body, request.headers.get("authorization"))
            if reply.batch is not None:
                await on_push(feed.feed, reply.batch)
        except UnavailableError as absent:
            logger.warning("a call of %s was not answered: %s", feed.feed, absent)
            return _refusal(SYSTEM_ERROR, NOT_TAKEN)
        except Exception:
            logger.exception("a call of %s was not answered", feed.feed)
            return _refusal(SYSTEM_ERROR, NOT_TAKEN)
        return Response(reply.body, status_code=reply.http_status, media_type=f"{JSON}; charset=utf-8")

    return router


def _caller(body: bytes) -> str | None:
    """Return the OperatorID of an envelope; some platforms write its name, or all names, with small letters."""
    try:
        envelope = msgspec.json.decode(body.removeprefix(_BYTE_ORDER_MARK))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(envelope, dict):
        return None
    value = next((value for name, value in envelope.items() if name.lower() == _OPERATOR_ID), None)
    return value.strip() if isinstance(value, str) else str(value) if isinstance(value, int) else None


def _refusal(code: int, message: str) -> Response:
    body = msgspec.json.encode({"Ret": code, "Msg": message, "Data": "", "Sig": ""})
    return Response(body, media_type=f"{JSON}; charset=utf-8")
