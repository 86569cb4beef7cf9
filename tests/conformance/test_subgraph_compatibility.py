"""Apollo's suite for federated subgraphs, which we did not write, on our HTTP endpoint, engine, entities and keys."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from app.model.partner import Scope as PartnerScope
from app.services.agreements import Agreements
from app.web.auth import Doorkeeper
from app.web.graphql_endpoint import GraphQLEndpoint
from schema.engine import Engine
from tests.conformance.node import NodeServer, node_folder, run_node
from tests.conformance.products import products
from tests.integration.api import Api, open_api, serving
from tests.servers.fixtures import had_or_skipped
from tests.servers.process import LOOPBACK, free_port

SUITE = Path("node_modules", "@apollo", "federation-subgraph-compatibility-tests")
TESTS = 23


def endpoint(api: Api) -> ASGIApp:
    """The hub's own endpoint over the suite's schema, for the partners of the hub."""
    hub = api.hub
    doorkeeper = Doorkeeper(hub.partners, Agreements(hub.partners, hub.services.feeds, hub.services.clock))
    return GraphQLEndpoint(
        hub.services, doorkeeper, Engine(products._schema), max_body_bytes=hub.settings.max_body_bytes, ide_page=False
    )


def with_key(app: ASGIApp, key: str) -> ASGIApp:
    """Add the key that the suite cannot be given, as a proxy before a subgraph does."""

    async def keyed(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], (b"x-api-key", key.encode())]}
        await app(scope, receive, send)

    return keyed


async def test_apollos_compatibility_suite_is_passed(tmp_path):
    with had_or_skipped():
        folder = await asyncio.to_thread(node_folder, "federation")
    async with open_api(tmp_path) as api, AsyncExitStack() as servers:
        app = endpoint(api)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://products") as client:
            assert (await client.post("/", json={"query": "{ __typename }"})).status_code == 401
        key = await api.key(scopes=PartnerScope)  # also what it takes to ask for the schema
        urls = {"products": f"{await servers.enter_async_context(serving(with_key(app, key)))}/"}

        async def start(name: str, *command: str, **environment: str) -> None:
            server = NodeServer(
                tmp_path / name, folder, *command, urls=[urls[name]], environment={"NODE_ENV": "test", **environment}
            )
            servers.callback(server.stop)
            await asyncio.to_thread(server.start)

        schemas = {"products": tmp_path / "products.graphql"}
        schemas["products"].write_text(products.as_str(), encoding="utf-8")
        for name in ("users", "inventory"):
            port = free_port()
            urls[name] = f"http://{LOOPBACK}:{port}/"
            theirs = folder / SUITE / "dist" / "subgraphs" / name
            schemas[name] = theirs / f"{name}.graphql"
            await start(
                name,
                "--import",
                str(folder / "loopback.mjs"),
                str(theirs / "index.js"),
                **{f"{name.upper()}_PORT": str(port)},
            )
        port = free_port()
        urls["router"] = f"http://{LOOPBACK}:{port}/"
        composed = await asyncio.to_thread(
            run_node,
            folder,
            "compose.mjs",
            "apollo",
            *(f"{name}={path}" for name, path in schemas.items()),
            environment={f"{name.upper()}_URL": url for name, url in urls.items()},
        )
        assert composed.returncode == 0, composed.stderr
        supergraph = tmp_path / "supergraph.graphql"
        supergraph.write_text(json.loads(composed.stdout)["supergraph"], encoding="utf-8")
        await start("router", "gateway.mjs", str(port), str(supergraph))
        done = await asyncio.to_thread(
            run_node,
            folder,
            "jest",
            str(SUITE / "dist" / "tests"),
            "--ci",
            "--json",
            "--config",
            str(SUITE / "federation-jest.config.js"),
            "--setupFilesAfterEnv",
            str(folder / "router.cjs"),
            environment={"PRODUCTS_URL": urls["products"], "ROUTER_URL": urls["router"]},
            timeout_s=300,
        )
    report = json.loads(done.stdout)
    results = [test for file in report["testResults"] for test in file["assertionResults"]]
    assert [(test["fullName"], test["failureMessages"]) for test in results if test["status"] != "passed"] == []
    assert len(results) == report["numPassedTests"] == TESTS
