"""Starts the sandbox: nine T/CEC 102 platforms, their pushers and an OCPI party, in one process on one port."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from html import escape
from typing import Final
from urllib.parse import urlsplit

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from indexers.sandbox.cec_platform import INTERFACES, CecPlatform
from indexers.sandbox.dialects import DIALECTS, HUB_OPERATOR_ID, OCPI_PATH, OCPI_TOKEN, Dialect, Secrets, environment
from indexers.sandbox.nation import PARTIES, Nation
from indexers.sandbox.ocpi_party import OcpiParty
from indexers.sandbox.pusher import PushService

_MAX_BODY_BYTES: Final = 1_048_576
_MAX_URL_LENGTH: Final = 2000
_GRACE_S: Final = 2
_READ_BYTES: Final = 4_096


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """What a sandbox is made of. ``port`` 0 takes a free one; ``push_to`` is the hub's base URL for pushes."""

    seed: int = 20261125
    station_count: int = 2000
    host: str = "127.0.0.1"
    port: int = 0
    push_to: str | None = None
    pushes_per_s: float = 10.0
    ignores_page_no: frozenset[str] = frozenset()
    """Names of operators that answer page 1 with a true PageCount whatever page is asked for."""


class Sandbox:
    """The operators over one nation: an ASGI application, and pushers that the caller runs beside it."""

    def __init__(self, config: SandboxConfig, base_url: str, now: Callable[[], float] = time.time) -> None:
        """``base_url`` is where the application will be reached; ``now`` gives seconds since 1970."""
        self._config = config
        self._base_url = base_url
        self._nation = Nation(config.seed, config.station_count)
        self._ocpi = OcpiParty(self._nation, now)
        self.pushers = PushService(self._nation, now, pushes_per_s=config.pushes_per_s, hub=config.push_to)
        platforms = [
            CecPlatform(dialect, self._nation, now, ignores_page_no=dialect.name in config.ignores_page_no)
            for dialect in DIALECTS
        ]
        self.app = Starlette(
            routes=[
                Route("/", self._front_page),
                Route("/control/push_to", self._push_to, methods=["POST"]),
                Route("/control/pushes", self._pushes),
                Route(OCPI_PATH, self._ocpi_locations),
                Route(OCPI_PATH + "/{location_id}", self._ocpi_location),
                *(
                    Route(f"{platform.dialect.base_path}/{interface}", _endpoint(platform, interface), methods=["POST"])
                    for platform in platforms
                    for interface in sorted(INTERFACES)
                ),
            ]
        )

    async def _ocpi_locations(self, request: Request) -> Response:
        answer = self._ocpi.locations(
            self._base_url + OCPI_PATH, request.query_params, request.headers.get("authorization", "")
        )
        return Response(answer.body, answer.http_status, answer.headers, "application/json")

    async def _ocpi_location(self, request: Request) -> Response:
        answer = self._ocpi.location(request.path_params["location_id"], request.headers.get("authorization", ""))
        return Response(answer.body, answer.http_status, answer.headers, "application/json")

    async def _push_to(self, request: Request) -> Response:
        body = await _bounded_body(request)
        url = _push_url(body) if body is not None else None
        if url is None:
            return _json({"error": 'send {"url": "http://…"}, the base URL of the hub\'s inbound interface'}, 400)
        self.pushers.push_to(url)
        return _json({"push_to": self.pushers.hub})

    async def _pushes(self, _: Request) -> Response:
        return _json({"push_to": self.pushers.hub, "operators": self.pushers.counts()})

    async def _front_page(self, _: Request) -> Response:
        rows = "".join(_row(dialect, self._base_url, self._nation) for dialect in DIALECTS)
        page = _PAGE.format(
            count=self._nation.station_count,
            seed=self._nation.seed,
            hub=HUB_OPERATOR_ID,
            rows=rows,
            ocpi_url=escape(self._base_url + OCPI_PATH),
            ocpi_token=OCPI_TOKEN,
        )
        return HTMLResponse(page)


async def serve(config: SandboxConfig, started: Callable[[str], None]) -> None:
    """Run a sandbox until cancelled; call ``started`` with its base URL once it listens.

    Raises OSError when the port is taken.
    """
    with socket.create_server((config.host, config.port)) as listener:
        # asyncio sets this only where it opened the socket itself; without it every answer waits 40 ms for an ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        base_url = f"http://{config.host}:{listener.getsockname()[1]}"
        sandbox = Sandbox(config, base_url)
        server = _Server(
            uvicorn.Config(
                sandbox.app,
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_GRACE_S,
            ),
            lambda: started(base_url),
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        pushing = asyncio.create_task(sandbox.pushers.run())
        try:
            await asyncio.wait((serving, pushing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            pushing.cancel()
            server.should_exit = True
            await asyncio.gather(serving, pushing, return_exceptions=True)
        for task in (serving, pushing):
            if not task.cancelled():
                task.result()


def run(config: SandboxConfig, *, as_json: bool = False, until_eof: bool = False) -> None:
    """Run a sandbox until Ctrl-C or SIGTERM, and say on stdout where it is and what the hub needs to call it.

    One line of JSON ``{"base_url": …, "environment": {…}}``, or one ``export NAME=value`` a line. With ``until_eof``
    it also ends when its standard input does: whoever started it is gone then, however it ended.
    """

    def started(base_url: str) -> None:
        names = environment(base_url)
        if as_json:
            sys.stdout.write(orjson.dumps({"base_url": base_url, "environment": names}).decode() + "\n")
        else:
            sys.stdout.writelines(f"export {name}={value}\n" for name, value in names.items())
        sys.stdout.flush()

    async def until_stopped() -> None:
        task = asyncio.ensure_future(serve(config, started))
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signal_number, task.cancel)
        if until_eof:
            loop.add_reader(sys.stdin.fileno(), lambda: os.read(sys.stdin.fileno(), _READ_BYTES) or task.cancel())
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(until_stopped())


class _Server(uvicorn.Server):
    """A server that says when it listens and leaves the process's signals to whoever started it."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()


def _endpoint(platform: CecPlatform, interface: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        body = await _bounded_body(request)
        if body is None:
            return Response(status_code=413)
        answer = platform.answer(interface, request.headers.get("authorization", ""), body)
        return Response(answer.body, answer.http_status, media_type="application/json; charset=utf-8")

    return endpoint


async def _bounded_body(request: Request) -> bytes | None:
    """Return the body, or None when it is longer than a request may be."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _MAX_BODY_BYTES:
            return None
    return bytes(body)


def _push_url(body: bytes) -> str | None:
    try:
        sent = orjson.loads(body)
        url = sent.get("url") if isinstance(sent, dict) else None
        if not isinstance(url, str) or len(url) > _MAX_URL_LENGTH:
            return None
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in {"http", "https"} and parts.hostname else None


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def _row(dialect: Dialect, base_url: str, nation: Nation) -> str:
    brand = next(party.brand for party in PARTIES if party.name == dialect.name)
    cells = (
        f"{brand} ({dialect.name})",
        dialect.operator_id,
        base_url + dialect.base_path,
        str(len(nation.slots_of(dialect.name))),
        _secrets_text(dialect.call),
        _secrets_text(dialect.serve),
    )
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>\n"


def _secrets_text(secrets: Secrets) -> str:
    return "\n".join(
        (
            f"OperatorSecret {secrets.operator_secret}",
            f"DataSecret {secrets.data_secret}",
            f"DataSecretIV {secrets.data_secret_iv}",
            f"SigSecret {secrets.sig_secret}",
        )
    )


_PAGE: Final = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>Chargegraph sandbox</title>
<style>body{{font:15px sans-serif;margin:2em}}table{{border-collapse:collapse}}
td,th{{border:1px solid #999;padding:.4em;vertical-align:top;text-align:left;white-space:pre}}</style>
<h1>Chargegraph sandbox</h1>
<p>{count} made-up stations, seed {seed}. Nothing here is real; the secrets are published and open nothing else.</p>
<p>Each operator answers POST query_token, query_stations_info and query_station_status of T/CEC 102 under its URL,
to the hub with the OperatorID {hub}. Each pushes notification_stationStatus to the hub named by POST /control/push_to
{{"url": "http://…"}}; GET /control/pushes counts what became of the pushes.</p>
<table>
<tr><th>operator<th>OperatorID<th>URL<th>rows<th>the hub calls the operator with<th>the operator calls the hub with</tr>
{rows}</table>
<p>OCPI 2.2.1 locations: GET {ocpi_url} with the token {ocpi_token} in Base64.</p>
</html>
"""
