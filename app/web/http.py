"""The little of HTTP that our plain ASGI endpoints need: bounded bodies, bytes out, and content negotiation."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from starlette.types import Receive, Scope, Send

from app.errors import ChargegraphError

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

JSON = "application/json"
HTML = "text/html"
UTF8_NAMES = {"utf-8", "utf8"}
BODY_DEADLINE_S = 10.0
MAX_LIST_CHARACTERS = 2_000
"""How much of a header that lists what a client takes is read; sixty thousand commas would cost 0.1 s."""


class BodyTooLargeError(ChargegraphError):
    """The body is larger than we read."""


class BodyTooSlowError(ChargegraphError):
    """The body was not complete in time."""


class ClientGoneError(ChargegraphError):
    """The client closed the connection before its request was complete."""


def header(scope: Scope, name: bytes) -> str | None:
    """Return a header's value, None when it is absent; several are joined by commas, as HTTP reads them."""
    values = [value for key, value in scope["headers"] if key == name]
    return b",".join(values).decode("latin-1") if values else None


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Return the request's body. Raises BodyTooLargeError beyond ``limit`` bytes, BodyTooSlowError after
    BODY_DEADLINE_S, ClientGoneError if it breaks off.
    """
    stated = header(scope, b"content-length")
    if stated is not None and stated.isdecimal() and (len(stated) > len(str(limit)) or int(stated) > limit):
        raise BodyTooLargeError
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            return await _receive_all(receive, limit)
    except TimeoutError:
        raise BodyTooSlowError from None


async def _receive_all(receive: Receive, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise BodyTooLargeError
        chunks.append(chunk)
        if not message.get("more_body"):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def send_bytes(
    send: Send, status: int, body: bytes, media_type: str, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Send a complete response; answers are never cached by anyone in between."""
    start = {
        "type": "http.response.start",
        "status": status,
        "headers": [
            (b"content-type", f"{media_type}; charset=utf-8".encode("latin-1")),
            (b"content-length", str(len(body)).encode("latin-1")),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            *headers,
        ],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})


def parse_media_type(text: str) -> tuple[str, dict[str, str]]:
    """Return ``type/subtype`` in lower case and its parameters."""
    name, *parameters = text.split(";")
    pairs = (parameter.partition("=") for parameter in parameters)
    return name.strip().lower(), {key.strip().lower(): value.strip().strip('"').lower() for key, _, value in pairs}


def is_json(content_type: str | None) -> bool:
    """Tell whether a Content-Type says JSON in UTF-8."""
    if content_type == JSON:
        return True
    name, parameters = parse_media_type(content_type or "")
    return name == JSON and parameters.get("charset", "utf-8") in UTF8_NAMES


def negotiate(accept: str | None, offers: Sequence[str], default: str) -> str | None:
    """Return the offer that an Accept header likes best: ``default`` for its wildcards or without one, else None."""
    if accept is None or accept == "*/*":
        return default
    best: tuple[float, str] | None = None
    for part in accept[:MAX_LIST_CHARACTERS].split(","):
        name, parameters = parse_media_type(part)
        offer = name if name in offers else default if name in {"*/*", default.partition("/")[0] + "/*"} else None
        quality = _quality(parameters.get("q"))
        if offer is None or quality == 0 or parameters.get("charset", "utf-8") not in UTF8_NAMES:
            continue
        if best is None or quality > best[0]:
            best = quality, offer
    return None if best is None else best[1]


def _quality(text: str | None) -> float:
    try:
        return 1.0 if text is None else min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0
