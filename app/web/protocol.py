"""How requests come off the wire: uvicorn's fast protocols, with an end to what a request's head may be, and to how
long a client may leave its answer unread.
"""

import asyncio
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from app.errors import ChargegraphError
from app.web.http import JSON
from schema.errors import ErrorCode, error_body

MAX_HEAD_BYTES = 64 * 1024
MAX_PARTS = 1_000
UNREAD_S = 30.0
"""How long a client may read nothing while there is something for it, before its connection is cut."""

FIRST_REQUEST_S = 1.0
"""How long a new connection has for its first request once the server takes no more of them."""


class _HeadTooLargeError(ChargegraphError):
    """The address and the headers together are larger than we read."""


class _Impatient(asyncio.Protocol):
    """A connection that is cut when its client leaves what it was sent unread for UNREAD_S.

    Closing it would wait for the client to read the rest, which it may never do.
    """

    transport: Any
    _unread: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """Begin to wait: more is unread than is kept for the client."""
        super().pause_writing()
        self._unread = asyncio.get_running_loop().call_later(UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on."""
        self._read()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._read()
        super().connection_lost(exc)

    def _read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


class BoundedSocketProtocol(_Impatient, WebSocketsSansIOProtocol):
    """One WebSocket.

    uvicorn's keeps every part of a message until it is complete, empty ones too, and answers pings to a client that
    does not read the answers. Here a message of more than MAX_PARTS ends the connection, and such pings are ignored.
    """

    def handle_cont(self, event: Frame) -> None:
        """Take a further part of a message."""
        if len(self.frames) >= MAX_PARTS:
            self.transport.abort()
            return
        super().handle_cont(event)

    def handle_ping(self) -> None:
        """Answer a ping, unless there are answers that the client has not read yet."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()


class BoundedHttpProtocol(_Impatient, HttpToolsProtocol):
    """One connection.

    uvicorn's parser keeps what it is sent until the head is complete, which a client without a key could use to fill
    the memory. Here a head beyond MAX_HEAD_BYTES is a 400; trailers count as part of it.
    """

    _head_bytes = 0
    _since_last_part = 0
    _is_new = True  # it has not asked anything

    def data_received(self, data: bytes) -> None:
        """Parse; give up on what grows without becoming a header or a body."""
        self._since_last_part += len(data)
        super().data_received(data)
        if self._since_last_part > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        """Begin to count."""
        self._head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count a part of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header, as HTTP/2 does."""
        self._count(len(name) + len(value) + 32)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Stop counting what has not become a part yet."""
        self._is_new = False
        self._since_last_part = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on; whoever reads it knows how much it may be."""
        self._since_last_part = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Say that this is no request, in JSON as all else is said, and hang up."""
        body = orjson.dumps({"errors": [error_body(ErrorCode.BAD_USER_INPUT, msg)]})
        lines = (
            "HTTP/1.1 400 Bad Request",
            f"content-type: {JSON}",
            f"content-length: {len(body)}",
            "connection: close",
        )
        head = "".join(f"{line}\r\n" for line in (*lines, ""))
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()

    def shutdown(self) -> None:
        """End politely: what is being answered is finished, and who only just came may still ask."""
        if self._is_new:
            self._is_new = False
            self.loop.call_later(FIRST_REQUEST_S, self.shutdown)
        elif not self.transport.is_closing():
            super().shutdown()

    def _count(self, size: int) -> None:
        self._since_last_part = 0
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _HeadTooLargeError
