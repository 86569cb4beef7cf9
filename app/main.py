"""One process that serves: the hub, its feeds and its web server begin and end together."""

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.supervisors import Multiprocess

from app.errors import ChargegraphError, SettingsError
from app.settings import Settings, read_settings
from app.web.asgi import build_app
from app.web.health import Checks
from app.web.protocol import BoundedHttpProtocol
from app.wiring import Hub, open_hub

Started = Callable[[Hub, str], Awaitable[None]]
"""Told once the server listens: the hub, and the URL that it answers on."""

SHUTDOWN_S = 10


def build(hub: Hub) -> ASGIApp:
    """Return the ASGI application of a hub."""
    return build_app(
        settings=hub.settings,
        services=hub.services,
        partners=hub.partners,
        inbound=hub.inbound(),
        on_push=hub.runner.take_push,
        ready=lambda: readiness(hub),
    )


def readiness(hub: Hub) -> Checks:
    """Ask each store something that it can answer when it is ready."""
    return {
        "index": hub.ports.index.count_stations(),
        "live": hub.ports.board.flush(),
        "reservations": hub.services.booking.check(),
        "partners": hub.partners.list_keys(),
        "quotas": hub.quotas.check(),
    }


async def serve(settings: Settings, environment: Mapping[str, str], started: Started, *, feeds: bool = False) -> None:
    """Serve until told to stop (SIGINT, SIGTERM). Raises SettingsError when the port is taken.

    What keeps stations and statuses in this process keeps the feeds fresh here; where all of it is shared, only a
    process that is told to (``feeds``) does, and of several one runs each feed.
    """
    listener = listen(settings.host, settings.port)
    async with open_hub(settings, environment) as hub:
        server = _Server(_server_config(build(hub), lifespan="off"), lambda: started(hub, _url_of(listener)))
        if feeds or not settings.is_shared:
            hub.runner.start()
        try:
            await server.serve(sockets=[listener])
        finally:
            await hub.runner.stop()


def serve_in_workers(settings: Settings, workers: int, told: Callable[[str], None]) -> None:
    """Serve from several processes on one port until told to stop; one that dies is replaced.

    They read their settings from the environment, as this process did. Raises SettingsError when the port is taken,
    and unless everything they share is on servers.
    """
    if not settings.is_shared:
        raise SettingsError(
            f"{workers} workers cannot share what one process keeps: set CHARGEGRAPH_STATION_INDEX_URL, "
            "CHARGEGRAPH_LIVE_URL and CHARGEGRAPH_RESERVATIONS_URL, or serve from one process"
        )
    listener = listen(settings.host, settings.port)
    told(_url_of(listener))
    Multiprocess(_server_config("app.main:Worker", lifespan="on", workers=workers), sockets=[listener]).run()


class Worker:
    """The application of a process that others started: opens its hub when the server begins, and closes it."""

    def __init__(self) -> None:
        """Open nothing yet."""
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or live through the server's life."""
        if scope["type"] != "lifespan":
            assert self._app is not None
            await self._app(scope, receive, send)
            return
        await receive()
        try:
            async with open_hub(read_settings(os.environ), os.environ) as hub:
                self._app = build(hub)
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except ChargegraphError as error:
            await send({"type": "lifespan.startup.failed", "message": f"chargegraph: {error}"})
        else:
            await send({"type": "lifespan.shutdown.complete"})


def _server_config(app: ASGIApp | str, *, lifespan: Literal["on", "off"], workers: int | None = None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=workers,
        http=BoundedHttpProtocol,
        log_level="warning",
        access_log=False,
        lifespan=lifespan,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )


def _url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket. Raises SettingsError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # asyncio sets this only on sockets that it opened itself; without it answers wait 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        msg = f"cannot listen on {host} port {port}: {error.strerror}; set CHARGEGRAPH_PORT (0 takes a free one)"
        raise SettingsError(msg) from error
    return listener


class _Server(uvicorn.Server):
    """uvicorn's server, that tells when it listens.

    uvicorn raises the signal that ended it once more, which would cut our own closing short; here SIGINT and SIGTERM
    only ask it to end, and a second one to end at once.
    """

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._on_started = on_started

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _end(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            await self._on_started()
