"""A TCP proxy on 127.0.0.1 that fails as networks do, for tests between us and a server."""

import asyncio
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Self, TypeAlias

from tests.servers.process import LOOPBACK, free_port

StandIn: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Talks to a client in the server's place, until one of them is tired of it."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_CHUNK = 65_536


class Proxy:
    """Passes what comes to `port` on to `target_port`, and the answers back, until it is told to fail.

    It lives in the loop that entered it. Failures add up, and last until `resume`.
    """

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.target_port = target_port
        self._delay_s = 0.0
        self._requests_pass = asyncio.Event()
        self._answers_pass = asyncio.Event()
        self._stand_in: StandIn | None = None
        self._listening: socket.socket | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self.resume()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.refuse()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def cut(self) -> None:
        """Reset every connection and accept new ones: a network that lost its state."""
        for connection in self._connections:
            connection.cancel()

    def refuse(self) -> None:
        """Reset every connection and refuse new ones: a process that died."""
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None
        self.cut()

    def stall(self, *, answers_only: bool = False) -> None:
        """Keep connections open, accept new ones, and pass nothing on: a cable that was pulled.

        With `answers_only` the server still gets, and acts upon, what nobody will hear the answer to.
        """
        self._answers_pass.clear()
        if not answers_only:
            self._requests_pass.clear()

    def delay(self, seconds: float) -> None:
        """Let every piece of data wait, in each direction."""
        self._delay_s = seconds

    def replace(self, stand_in: StandIn) -> None:
        """Reset every connection, and let somebody else answer the new ones: a server that is not itself."""
        self._stand_in = stand_in
        self.cut()

    def resume(self) -> None:
        """Pass on again, without delay, what was held back included."""
        self._delay_s = 0.0
        if self._stand_in is not None:
            self._stand_in = None
            self.cut()
        self._requests_pass.set()
        self._answers_pass.set()
        if self._listening is None:
            self._listening = socket.create_server((LOOPBACK, self.port), backlog=1024)
            self._listening.setblocking(False)
            asyncio.get_running_loop().add_reader(self._listening, self._accept, self._listening)

    def _accept(self, listening: socket.socket) -> None:
        try:
            client, _ = listening.accept()
        except OSError:  # it went away while it waited
            return
        talk = self._connect(client) if self._stand_in is None else _let_talk(self._stand_in, client)
        connection = asyncio.create_task(talk)
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        connection.add_done_callback(lambda _: client.close())  # also of one that was cut before it began

    async def _connect(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        orderly = False
        try:
            for end in (client, server):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(server, (LOOPBACK, self.target_port))
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._pass_on(client, server, self._requests_pass))
                directions.create_task(self._pass_on(server, client, self._answers_pass))
            orderly = True
        except* OSError:
            pass  # one end was reset or refused, and so will be the other
        finally:
            for end in (client, server):
                if not orderly:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                end.close()

    async def _pass_on(self, source: socket.socket, sink: socket.socket, passes: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while True:
            data = await loop.sock_recv(source, _CHUNK)
            await asyncio.sleep(self._delay_s)
            await passes.wait()
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            await loop.sock_sendall(sink, data)


async def _let_talk(stand_in: StandIn, client: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=client)
    try:
        await stand_in(reader, writer)
    except (EOFError, OSError):
        pass  # the client has heard enough
    finally:
        writer.transport.abort()


def answering_http(status: int, body: bytes, *headers: str) -> StandIn:
    """Answer every request alike."""
    lines = (f"HTTP/1.1 {status} As Told", "content-type: application/json", f"content-length: {len(body)}", *headers)
    answer = "".join(f"{line}\r\n" for line in (*lines, "")).encode() + body

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            stated = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            await reader.readexactly(int(stated[1]) if stated else 0)
            writer.write(answer)

    return talk


def answering_redis(answer: bytes) -> StandIn:
    """Answer every command alike."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            for _ in range(int((await reader.readuntil(b"\r\n"))[1:])):
                size = int((await reader.readuntil(b"\r\n"))[1:])
                await reader.readexactly(size + 2)
            writer.write(answer)

    return talk


def speaking(text: bytes) -> StandIn:
    """Say something whatever is asked, and hang up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(_CHUNK)
        writer.write(text)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    return talk
