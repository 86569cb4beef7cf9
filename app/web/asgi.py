"""The whole HTTP surface as one ASGI application.

The GraphQL endpoint stands in front as a plain function (a framework's route costs more than a search); FastAPI serves
the rest. Without a key nothing answers but health, the IDE's page, and the addresses that operators call, which have
keys of their own.
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
from app.web import ide
from app.web.auth import CHALLENGE, KEY_NEEDED, Doorkeeper
from app.web.documents import Documents, read_manifests
from app.web.graphql_endpoint import GraphQLEndpoint
from app.web.health import Checks, health_router
from app.web.http import JSON, send_bytes
from app.web.inbound import OnPush, inbound_router
from indexers.base import InboundFeed
from schema.engine import Engine
from schema.errors import ErrorCode, error_body, unavailable_error

GRAPHQL_PATH = "/graphql"
HEALTH_PATHS = frozenset({"/livez", "/readyz"})

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def build_app(
    settings: Settings,
    services: Services,
    partners: PartnerDirectory,
    inbound: Mapping[str, InboundFeed],
    on_push: OnPush,
    ready: Callable[[], Checks],
    lifespan: Lifespan | None = None,
) -> ASGIApp:
    """Assemble the application: nothing is opened until the server runs ``lifespan``.

    Reads the partners' trusted documents; raises SettingsError when one of them is none.
    """
    rest = FastAPI(title="Chargegraph", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    rest.include_router(health_router(ready))
    if settings.ide:
        rest.mount(ide.PATH, StaticFiles(packages=[("app.web", "static/ide")]))
    rest.include_router(inbound_router(settings.inbound_path, inbound, on_push, settings.max_body_bytes))
    doorkeeper = Doorkeeper(partners, Agreements(partners, services.feeds, services.clock))
    engine = Engine(compiled=settings.compiled)
    graphql = GraphQLEndpoint(
        services,
        doorkeeper,
        engine,
        documents=Documents({} if settings.documents_dir is None else read_manifests(settings.documents_dir, engine)),
        statuses=settings.statuses,
        max_body_bytes=settings.max_body_bytes,
        ide_page=settings.ide,
        compressed=settings.compression,
    )

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await rest(scope, receive, send)
        elif scope["path"] == GRAPHQL_PATH:
            await graphql(scope, receive, send)
        elif _is_open(scope, settings.inbound_path) or await _admits(doorkeeper, scope, send):
            await rest(scope, receive, send)

    return application


def _is_open(scope: Scope, inbound_path: str) -> bool:
    path: str = scope["path"]
    if path in HEALTH_PATHS or path.startswith(ide.PATH + "/"):
        return True
    folder, _, interface = path.rpartition("/")
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
