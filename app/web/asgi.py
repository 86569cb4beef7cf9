"""The whole HTTP surface as one ASGI application.

The GraphQL endpoint stands in front as a plain function (a framework's route costs more than a search); FastAPI serves
the rest. Without a key nothing answers but health, the pages for people, and the addresses that operators call, which
have keys of their own.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

import orjson
from fastapi import FastAPI
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import UnavailableError
from app.partners.base import PartnerDirectory
from app.services.agreements import Agreements
from app.services.bundle import Services
from app.settings import Settings
from app.telemetry import metrics
from app.web import pages
from app.web.auth import CHALLENGE, KEY_NEEDED, Doorkeeper
from app.web.documents import Documents, read_manifests
from app.web.exchange import Observer
from app.web.graphql_endpoint import GraphQLEndpoint
from app.web.health import PAGES, send_health
from app.web.http import HTML, JSON, header, negotiate, send_bytes
from app.web.inbound import OnPush, inbound_router
from app.web.lifecycle import Lifecycle
from app.web.websocket import WebSocketEndpoint, refuse_socket
from indexers.base import InboundFeed
from schema.engine import FRAGMENTS, Engine
from schema.errors import ErrorCode, error_body, unavailable_error

GRAPHQL_PATH = "/graphql"
START_PATH = "/"
_PAGE_PATHS = tuple(page.path + "/" for page in pages.PAGES)

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def build_app(
    settings: Settings,
    services: Services,
    partners: PartnerDirectory,
    inbound: Mapping[str, InboundFeed],
    on_push: OnPush,
    lifecycle: Lifecycle,
    lifespan: Lifespan | None = None,
) -> ASGIApp:
    """Assemble the application: nothing is opened until the server runs ``lifespan``.

    Reads the partners' trusted documents; raises SettingsError when one of them is none.
    """
    rest = FastAPI(title="Chargegraph", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    if settings.pages:
        for page in pages.PAGES:
            rest.mount(page.path, StaticFiles(packages=[("app.web", page.folder)]))
    rest.include_router(inbound_router(settings.inbound_path, inbound, on_push, settings.max_body_bytes))
    doorkeeper = Doorkeeper(partners, Agreements(partners, services.feeds, services.clock))
    engine = Engine(compiled=settings.compiled)
    _count_caches(engine)
    graphql = GraphQLEndpoint(
        services,
        doorkeeper,
        engine,
        documents=Documents({} if settings.documents_dir is None else read_manifests(settings.documents_dir, engine)),
        statuses=settings.statuses,
        max_body_bytes=settings.max_body_bytes,
        ide_page=settings.pages,
        compressed=settings.compression,
    )
    sockets = WebSocketEndpoint(services, doorkeeper, engine, graphql.admit)
    metrics.SOCKETS.set_function(lambda: sockets.socket_count)
    metrics.SUBSCRIPTIONS.set_function(lambda: services.watching.follower_count)

    async def keyed(scope: Scope, receive: Receive, send: Send) -> None:
        if await _admits(doorkeeper, scope, send):
            await rest(scope, receive, send)

    async def health(scope: Scope, receive: Receive, send: Send) -> None:
        await send_health(lifecycle, scope, receive, send)

    async def start(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - as ASGI has it
        await pages.send_page(send, pages.MAP)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await (sockets if scope["path"] == GRAPHQL_PATH else refuse_socket)(scope, receive, send)
            return
        if scope["type"] != "http":
            await rest(scope, receive, send)
            return
        path: str = scope["path"]
        app: ASGIApp
        if path == GRAPHQL_PATH:
            app, surface = graphql, "graphql"
        elif path in PAGES:
            app, surface = health, "health"
        elif settings.pages and _opens_the_start(scope):
            app, surface = start, "pages"
        elif path.startswith(_PAGE_PATHS):
            app, surface = rest, "pages"
        elif _is_operators(scope, settings.inbound_path):
            app, surface = rest, "operators"
        else:
            app, surface = keyed, metrics.OTHER
        await observer.observe(app, scope, receive, send, surface)

    observer = Observer(lifecycle)
    return application


def _count_caches(engine: Engine) -> None:
    metrics.DOCUMENTS.set_function(lambda: engine.remembered_documents)
    metrics.FRAGMENT_BYTES.set_function(lambda: FRAGMENTS.size_bytes)
    metrics.FRAGMENT_USES.labels("hit").set_function(lambda: FRAGMENTS.hits)
    metrics.FRAGMENT_USES.labels("miss").set_function(lambda: FRAGMENTS.misses)


def _opens_the_start(scope: Scope) -> bool:
    """Tell whether a person opens the start page: a GET that likes HTML."""
    if scope["path"] != START_PATH or scope["method"] != "GET":
        return False
    return negotiate(header(scope, b"accept") or "", (HTML, JSON), default=JSON) == HTML


def _is_operators(scope: Scope, inbound_path: str) -> bool:
    folder, _, interface = scope["path"].rpartition("/")
    return scope["method"] == "POST" and folder == inbound_path and bool(interface)


async def _admits(doorkeeper: Doorkeeper, scope: Scope, send: Send) -> bool:
    """Tell whether the request has a key; answer it otherwise."""
    try:
        if await doorkeeper.find_viewer(scope) is not None:
            return True
    except UnavailableError as absent:
        await send_bytes(send, 503, orjson.dumps({"errors": [unavailable_error(absent)]}), JSON)
        return False
    error = error_body(ErrorCode.UNAUTHENTICATED, KEY_NEEDED)
    await send_bytes(send, 401, orjson.dumps({"errors": [error]}), JSON, (CHALLENGE,))
    return False
