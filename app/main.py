"""One process that serves: the hub, its feeds and its web server begin and end together."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Literal

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.supervisors import Multiprocess

from app import __version__, logs
from app.errors import ChargegraphError, SettingsError
from app.settings import Settings, read_settings
from app.telemetry import metrics, tracing
from app.web.admin import AdminApp, watch_loop
from app.web.asgi import build_app
from app.web.lifecycle import Checks, Lifecycle
from app.web.protocol import BoundedHttpProtocol, BoundedSocketProtocol
from app.wiring import Hub, list_secrets, open_hub

Started = Callable[[Hub, str], Awaitable[None]]
"""Told once the server listens: the hub, and the URL that it answers on."""

SHUTDOWN_S = 10
MAX_WORKERS = 256

_ADMIN_PORT = "CHARGEGRAPH_ADMIN_PORT"

logger = logging.getLogger("chargegraph.process")


def build(hub: Hub, lifecycle: Lifecycle | None = None) -> ASGIApp:
    """Return the ASGI application of a hub, whose life begins with it unless another is given."""
    if lifecycle is None:
        lifecycle = Lifecycle()
        lifecycle.start(lambda: readiness(hub))
    return build_app(
        settings=hub.settings,
        services=hub.services,
        partners=hub.partners,
        inbound=hub.inbound(),
        on_push=hub.runner.take_push,
        lifecycle=lifecycle,
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
    """Serve until told to stop (SIGINT, SIGTERM). Raises SettingsError when a port is taken.

    What keeps stations and statuses in this process keeps the feeds fresh here; where all of it is shared, only a
    process that is told to (``feeds``) does, and of several one runs each feed.
    """
    with listen(settings.host, settings.port) as listener:
        async with _observed(settings, environment) as (lifecycle, admin), open_hub(settings, environment) as hub:
            config = server_config(build(hub, lifecycle), settings)
            server = _Server(config, lambda: started(hub, _url_of(listener)))
            if feeds or not settings.is_shared:
                hub.runner.start()
            _open_for_business(hub, lifecycle, admin)
            try:
                with _drained_first(lifecycle, settings.drain_s, server.end):
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
    logs.configure(settings.log_format, list_secrets(settings, os.environ), access=settings.access_log)
    told(_url_of(listener))
    config = server_config("app.main:Worker", settings, lifespan="on", workers=workers)
    _Workers(config, sockets=[listener]).run()


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
            settings = read_settings(os.environ)
            async with (
                _observed(settings, os.environ, share=MAX_WORKERS) as (lifecycle, admin),
                open_hub(settings, os.environ) as hub,
            ):
                self._app = build(hub, lifecycle)
                _open_for_business(hub, lifecycle, admin)
                with _drained_first(lifecycle, settings.drain_s, _as_before()):
                    await send({"type": "lifespan.startup.complete"})
                    await receive()
        except ChargegraphError as error:
            await send({"type": "lifespan.startup.failed", "message": f"chargegraph: {error}"})
        else:
            await send({"type": "lifespan.shutdown.complete"})


class _Workers(Multiprocess):
    """uvicorn's supervisor, which else would keep the port open after the last worker closed it, and answer nobody."""

    def terminate_all(self) -> None:
        for listener in self.sockets:
            listener.close()
        super().terminate_all()


# ------------------------------------------------------------------------------------------------- what is told of it


@asynccontextmanager
async def _observed(
    settings: Settings, environment: Mapping[str, str], share: int = 1
) -> AsyncIterator[tuple[Lifecycle, AdminApp]]:
    """Log, trace and answer on the admin port for as long as the block takes.

    Of ``share`` processes each takes the first free port from the settings' on. Raises SettingsError.
    """
    logs.configure(settings.log_format, list_secrets(settings, environment), access=settings.access_log)
    metrics.BUILD.info({"version": __version__})
    lifecycle = Lifecycle()
    admin = AdminApp(lifecycle)
    listener = _listen_for_admins(settings, share)
    if settings.traces_url is not None:
        tracing.begin(settings.traces_url, settings.traces_ratio, __version__)
    tasks = []
    server = None
    if listener is not None:
        server = _AdminServer(server_config(admin, settings))
        tasks = [asyncio.create_task(server.serve(sockets=[listener])), asyncio.create_task(watch_loop())]
        logger.info("metrics and health are on %s", _url_of(listener))
    try:
        yield lifecycle, admin
    finally:
        if server is not None:
            server.should_exit = server.force_exit = True
            tasks[-1].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(tracing.end)


def _open_for_business(hub: Hub, lifecycle: Lifecycle, admin: AdminApp) -> None:
    lifecycle.start(lambda: readiness(hub))
    lifecycle.at_draining(hub.services.watching.end)
    admin.tell_of(hub.services.feed_health)


def _listen_for_admins(settings: Settings, share: int) -> socket.socket | None:
    first = settings.admin_port
    if first is None:
        return None
    last = min(first + share - 1, 65_535) if first else first
    for port in range(first, last):
        with suppress(SettingsError):
            return _listen_now(settings.admin_host, port)
    return _listen_now(settings.admin_host, last)


def _listen_now(host: str, port: int) -> socket.socket:
    listener = listen(host, port, _ADMIN_PORT)
    try:
        listener.listen()  # at once: until then another process could bind it, too
    except OSError as error:
        listener.close()
        raise SettingsError(f"cannot listen on {host} port {port}: {error.strerror}; set {_ADMIN_PORT}") from error
    return listener


# --------------------------------------------------------------------------------------------------------- how it ends


@contextmanager
def _drained_first(lifecycle: Lifecycle, drain_s: float, end: Callable[[], None]) -> Iterator[None]:
    """Until the block ends, SIGTERM drains for ``drain_s`` before it ends the server, and SIGINT ends it at once.

    A second signal of either kind does not wait any longer.
    """
    loop = asyncio.get_running_loop()

    def drain() -> None:
        if lifecycle.draining or not drain_s:
            stop()
        else:
            logger.info("draining for %g s", drain_s)
            lifecycle.drain()
            loop.call_later(drain_s, end)

    def stop() -> None:
        lifecycle.drain()
        end()

    loop.add_signal_handler(signal.SIGTERM, drain)
    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _as_before() -> Callable[[], None]:
    """Return what ends the server that runs this process: its own handler of SIGTERM."""
    handler = signal.getsignal(signal.SIGTERM)
    assert callable(handler)
    return lambda: handler(signal.SIGTERM, None)


def server_config(
    app: ASGIApp | str, settings: Settings, *, lifespan: Literal["on", "off"] = "off", workers: int | None = None
) -> uvicorn.Config:
    """Return how uvicorn serves the application, or the one that is made by what has this name."""
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=workers,
        http=BoundedHttpProtocol,
        ws=BoundedSocketProtocol,
        ws_max_size=settings.max_body_bytes,
        ws_per_message_deflate=False,  # it would cost a window of memory for each socket, and more CPU than the answers
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan=lifespan,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )


def _url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def listen(host: str, port: int, setting: str = "CHARGEGRAPH_PORT") -> socket.socket:
    """Return a bound socket. Raises SettingsError, which names the setting, when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # asyncio sets this only on sockets that it opened itself; without it answers wait 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        msg = f"cannot listen on {host} port {port}: {error.strerror}; set {setting} (0 takes a free one)"
        raise SettingsError(msg) from error
    return listener


class _Server(uvicorn.Server):
    """uvicorn's server, that tells when it listens.

    uvicorn raises the signal that ended it once more, which would cut our own closing short; here whoever runs it asks
    it to end, and a second time to end at once.
    """

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._on_started = on_started

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def end(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            await self._on_started()


class _AdminServer(uvicorn.Server):
    """The second server of a process, which ends with the first."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
