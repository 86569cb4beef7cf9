"""What scanners of GraphQL find: nothing, with the key of a partner in production.

graphql-cop is not in the package index. Its probes are made here as its sources of November 2025 (1.15) make them, and
judged as it judges, also where that is more than the standards ask. clairvoyance is run itself.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from graphql import is_input_object_type, is_interface_type, is_object_type

from app.model.partner import Scope
from schema.root import schema
from tests.conformance.python_tool import python_tool, run_tool
from tests.integration.api import furnish, listening, open_api
from tests.servers.fixtures import had_or_skipped

PRODUCTION = (Scope.DISCOVER, Scope.RESERVE)
DEVELOPMENT = tuple(Scope)
SCANNED_WITHIN_S = 240
IDES = ("graphiql.min.css", "GraphQL Playground", "GraphiQL", "graphql-playground")


class Scanner:
    """Asks as graphql-cop does, with a key and whatever its HTTP client adds."""

    def __init__(self, client: httpx.AsyncClient, key: str) -> None:
        self.client = client
        self.headers = {"authorization": f"Bearer {key}", "accept": "*/*", "user-agent": "graphql-cop/1.15"}

    async def post(self, query: str) -> Any:
        body = {"query": query, "operationName": "cop"}
        return _read(await self.client.post("/graphql", json=body, headers=self.headers))

    async def request(self, method: str, path: str = "/graphql", **options: Any) -> httpx.Response:
        return await self.client.request(method, path, headers=self.headers, **options)

    async def is_graphql(self) -> bool:
        return bool((await self.post("query cop { __typename }"))["data"]["__typename"])

    async def find(self) -> dict[str, bool]:
        """Return what was found, by the name of the probe."""
        suggestion = _errors(await self.post("query cop { __schema { directive } }"))[:1]
        introspection = await self.post("query cop { __schema { types { name fields { name } } } }")
        pages = [
            await self.client.get(path, headers={**self.headers, "accept": accept})
            for path in ("/graphiql", "/playground", "/console", "/graphql")
            for accept in ("*/*", "text/html")
        ]
        by_get = _read(await self.request("GET", params={"query": "query cop {__typename}"}))
        plain_get = _read(await self.request("GET", params={"query": "{__typename}"}))
        aliases = await self.post("query cop { " + " ".join(f"alias{n}:__typename \n" for n in range(101)) + " }")
        batch = _read(
            await self.client.post("/graphql", json=[{"query": "query cop { __typename }"}] * 10, headers=self.headers)
        )
        repeated = await self.post("query cop { " + "__typename \n" * 500 + "} ")
        traced = await self.post("query cop { __typename }")
        directives = await self.post("query cop { __typename " + "@aa" * 10 + " }")
        circular = await self.post(
            "query cop { __schema { types { " + "fields { type { " * 4 + "name" + " } }" * 4 + " } } }"
        )
        mutation = _read(await self.request("GET", params={"query": "mutation cop {__typename}"}))
        form = _read(await self.request("POST", params={"query": "query cop {__typename}"}))
        encoded = _read(await self.request("POST", data={"query": "query cop {__typename}"}))
        unhandled = await self.post("qwerty cop { abc }")
        return {
            "Field Suggestions": any("Did you mean" in error["message"] for error in suggestion),
            "Introspection": bool(_data(introspection, "__schema")),
            "GraphQL IDE": any(word in page.text for page in pages for word in IDES),
            "GET Method Query Support": bool(_data(plain_get, "__typename") or _data(by_get, "__typename")),
            "Alias Overloading": bool(_data(aliases, "alias100")),
            "Array-based Query Batching": len(batch) >= 10,
            "Field Duplication": bool(_data(repeated, "__typename")),
            "Trace Mode": "tracing" in str(traced) or "stacktrace" in str(traced).lower(),
            "Directive Overloading": len(_errors(directives)) == 10,
            "Introspection-based Circular Query": bool(_data(circular, "__schema")),
            "Mutation is allowed over GET": bool(_data(mutation, "__typename")),
            "POST based url-encoded query": bool(_data(form, "__typename") or _data(encoded, "__typename")),
            "Unhandled Errors Detection": "exception" in str(unhandled).lower(),
        }


def _read(response: httpx.Response) -> Any:
    return response.json() if "json" in response.headers.get("content-type", "") else {}


def _errors(answer: Any) -> Any:
    return answer.get("errors") or []


def _data(answer: Any, name: str) -> Any:
    return (answer.get("data") or {}).get(name)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[tuple[str, str, str]]:
    """The address of a hub, a key for production and one for development."""
    async with open_api(tmp_path) as api:
        await furnish(api)
        async with listening(api.hub) as url:
            yield url, await api.key("scanner", scopes=PRODUCTION), await api.key("scanner", scopes=DEVELOPMENT)


async def test_what_graphql_cop_looks_for_is_not_there(hub: tuple[str, str, str]) -> None:
    url, production, development = hub
    async with httpx.AsyncClient(base_url=url) as client:
        scanner = Scanner(client, production)
        assert await scanner.is_graphql()
        found = await scanner.find()
        assert len(found) == 13
        assert [probe for probe, is_there in found.items() if is_there] == []
        of_developers = await Scanner(client, development).find()
        assert {probe for probe, is_there in of_developers.items() if is_there} == {
            "Field Suggestions",
            "Introspection",
        }, "the probes find what there is"
        page = await client.get("/graphql", headers={"accept": "text/html"})
        assert any(word in page.text for word in IDES), "persons, who come without a key, get the IDE"


def _words() -> list[str]:
    """The names of all our fields and arguments: more than any list of guesses."""
    types: list[Any] = [
        type_
        for type_ in schema._schema.type_map.values()
        if is_object_type(type_) or is_interface_type(type_) or is_input_object_type(type_)
    ]
    fields = {name: field for type_ in types for name, field in type_.fields.items()}
    arguments = {name for field in fields.values() for name in getattr(field, "args", {})}
    return sorted(name for name in {*fields, *arguments} if not name.startswith("_"))


async def _discovered(url: str, key: str, words: list[str], folder: Path) -> set[str]:
    """Return the fields that clairvoyance makes out; none where it gives up."""
    with had_or_skipped():
        tool = await asyncio.to_thread(python_tool, "clairvoyance")
    listed, found = folder / "words.txt", folder / "found.json"
    listed.write_text("\n".join(words), encoding="utf-8")
    found.unlink(missing_ok=True)
    options = ("-w", str(listed), "-o", str(found), "-H", f"Authorization: Bearer {key}", "-m", "1", "-p", "slow")
    command = ("clairvoyance", *options, f"{url}/graphql")
    done = await asyncio.to_thread(run_tool, tool, *command, folder=folder, timeout_s=SCANNED_WITHIN_S)
    if not found.exists():
        assert "Unable to get TypeRef" in done.stderr, done.stderr[-2_000:]
        return set()
    types = json.loads(found.read_text(encoding="utf-8"))["data"]["__schema"]["types"]
    return {field["name"] for type_ in types for field in type_.get("fields") or ()} - {"dummy"}


async def test_clairvoyance_sees_nothing_with_all_our_words(hub: tuple[str, str, str], tmp_path: Path) -> None:
    url, production, development = hub
    words = _words()
    assert len(words) > 150
    roots = sorted(set(words) & set(schema._schema.query_type.fields if schema._schema.query_type else ()))
    for few in (words, roots[:3], ["statoins", "nearbyStation", "operater"]):
        assert await _discovered(url, production, few, tmp_path) == set()
    assert "operators" in await _discovered(url, development, ["operater"], tmp_path), "it sees what is shown"
