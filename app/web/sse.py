"""GraphQL over server-sent events, as graphql-sse's "distinct connections": one request, one stream of answers.

Lines end with LF alone: there are gateways that read nothing of a stream with CRLF.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any

import orjson
from starlette.types import Receive, Send

from app.web.http import Headers
from schema.engine import Stream

EVENT_STREAM = "text/event-stream"
HEARTBEAT_S = 12.0
_HEARTBEAT = b":\n\n"
_COMPLETE = b"event: complete\ndata: \n\n"


async def send_answer(send: Send, body: dict[str, Any], headers: Headers) -> None:
    """Send one answer and its end as a stream."""
    await _begin(send, headers)
    await _write(send, _next(orjson.dumps(body)) + _COMPLETE, more=False)


async def send_stream(
    receive: Receive, send: Send, stream: Stream, revoked: Awaitable[dict[str, Any] | None], headers: Headers
) -> None:
    """Send what a subscription answers until it ends, or the client is gone. ``revoked`` returns once it has to end:
    with the errors to be told, None where there is nothing to tell.
    """
    gone = asyncio.create_task(_until_gone(receive))
    ending = asyncio.ensure_future(revoked)
    ready: asyncio.Task[bool] | None = None
    try:
        await _begin(send, headers)
        while True:
            ready = ready or asyncio.create_task(stream.ready())
            waiting = {gone, ending, ready}
            done, _ = await asyncio.wait(waiting, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
            if gone in done:
                return
            if ending in done:
                body = ending.result()
                await _write(send, (b"" if body is None else _next(orjson.dumps(body))) + _COMPLETE, more=False)
                return
            if not done:
                await _write(send, _HEARTBEAT, more=True)
            elif ready.result():
                ready = None
                await _write(send, _next(await stream.answer()), more=True)
            else:
                await _write(send, _COMPLETE, more=False)
                return
    finally:
        stream.close()
        for task in (gone, ending, ready):
            if task is not None:
                task.cancel()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _next(answer: bytes) -> bytes:
    return b"event: next\ndata: " + answer + b"\n\n"


async def _begin(send: Send, headers: Headers) -> None:
    stated = [
        (b"content-type", f"{EVENT_STREAM}; charset=utf-8".encode()),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),  # nginx would keep events back
        (b"x-content-type-options", b"nosniff"),
        *headers,
    ]
    await send({"type": "http.response.start", "status": 200, "headers": stated})
    await _write(send, _HEARTBEAT, more=True)


async def _write(send: Send, body: bytes, *, more: bool) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})
