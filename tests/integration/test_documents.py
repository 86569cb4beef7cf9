"""Documents that are known before they are sent: trusted ones of partners, and those of Apollo's clients."""

import json
import logging
from hashlib import md5, sha256
from pathlib import Path

import httpx
import pytest

from app.errors import SettingsError
from app.web.documents import Documents, Mode, TrustedDocuments, read_manifests
from app.web.graphql_request import GraphQLRequest, RefusedError
from schema.engine import Engine
from tests.integration.api import furnish, open_api

PREFLIGHT = {"apollo-require-preflight": "true"}
GRAPHQL = {"accept": "application/graphql-response+json"}
OPERATORS = "query Operators { operators { id } }"
STATION = "query Station($id: ID!) { station(id: $id) { id } }"
FEEDS = "{ feeds { id } }"
CANCEL = 'mutation { cancelReservation(input: {reservationId: "x", idempotencyKey: "k"}) { replayed } }'


def hash_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def relay(*texts: str) -> dict[str, str]:
    return {md5(text.encode()).hexdigest(): text for text in texts}


def codegen(*texts: str) -> dict[str, str]:
    return {f"sha256:{hash_of(text)}": text for text in texts}


def apollo(*texts: str) -> dict[str, object]:
    operations = [{"id": hash_of(text), "name": "x", "type": "query", "body": text} for text in texts]
    return {"format": "apollo-persisted-query-manifest", "version": 1, "operations": operations}


def write(folder: Path, mode: str, partner: str, manifest: object, name: str = "manifest.json") -> Path:
    path = folder / mode / partner / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(manifest if isinstance(manifest, str) else json.dumps(manifest), encoding="utf-8")
    return path


def persisted(hash_: object, version: object = 1) -> dict[str, object]:
    return {"persistedQuery": {"version": version, "sha256Hash": hash_}}


def error_of(response: httpx.Response) -> tuple[int, str]:
    (error,) = response.json()["errors"]
    assert "data" not in response.json()
    return response.status_code, error["extensions"]["code"]


# ------------------------------------------------------------------------------------- automatic persisted queries


@pytest.fixture
async def api(tmp_path):
    async with open_api(tmp_path) as api:
        await furnish(api)
        yield api


async def test_a_client_of_apollo_is_served(api):
    """Hash alone, then text and hash, then the hash alone for as long as it is remembered: by POST and by GET."""
    short = {"extensions": persisted(hash_of(STATION)), "variables": {"id": "x"}, "operationName": "Station"}
    unknown = await api.post(json=short)
    assert error_of(unknown) == (200, "PERSISTED_QUERY_NOT_FOUND")
    assert unknown.json()["errors"][0]["message"] == "PersistedQueryNotFound"
    assert error_of(await api.post(json=short, headers=GRAPHQL)) == (404, "PERSISTED_QUERY_NOT_FOUND")
    assert (await api.post(json={**short, "query": STATION})).json() == {"data": {"station": None}}
    assert (await api.post(json=short)).json() == {"data": {"station": None}}
    assert (await api.post(json={**short, "query": None}, headers=GRAPHQL)).json() == {"data": {"station": None}}
    parameters = {"extensions": json.dumps(short["extensions"]), "variables": '{"id": "x"}'}
    by_get = await api.client.get("/graphql", params=parameters, headers={"x-api-key": await api.key(), **PREFLIGHT})
    assert by_get.json() == {"data": {"station": None}}
    assert by_get.headers["cache-control"] == "no-store"
    by_id = {"documentId": f"sha256:{hash_of(STATION)}", "variables": {"id": "x"}}
    assert (await api.post(json=by_id)).json() == {"data": {"station": None}}


async def test_what_one_partner_registered_is_not_another_partners(api):
    request = {"extensions": persisted(hash_of(OPERATORS))}
    await api.post(json={**request, "query": OPERATORS})
    assert "data" in (await api.post(json=request)).json()
    assert error_of(await api.post(json=request, key=await api.key("other"))) == (200, "PERSISTED_QUERY_NOT_FOUND")


async def test_a_mutation_that_is_known_by_its_hash_needs_post_too(api):
    await api.post(json={"query": CANCEL, "extensions": persisted(hash_of(CANCEL))})
    parameters = {"extensions": json.dumps(persisted(hash_of(CANCEL)))}
    response = await api.client.get("/graphql", params=parameters, headers={"x-api-key": await api.key(), **PREFLIGHT})
    assert error_of(response) == (405, "BAD_USER_INPUT")


async def test_only_good_documents_are_remembered(api):
    for text in ("{", "{ nothing }"):
        await api.post(json={"query": text, "extensions": persisted(hash_of(text))})
        response = await api.post(json={"extensions": persisted(hash_of(text))})
        assert error_of(response) == (200, "PERSISTED_QUERY_NOT_FOUND")


@pytest.mark.parametrize("headers", [{}, GRAPHQL])
@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"query": FEEDS, "extensions": persisted(hash_of(OPERATORS))}, "PERSISTED_QUERY_HASH_MISMATCH"),
        ({"query": FEEDS, "extensions": persisted(hash_of(FEEDS).upper())}, "PERSISTED_QUERY_HASH_MISMATCH"),
        ({"extensions": persisted(hash_of(FEEDS), 2)}, "BAD_USER_INPUT"),
        ({"extensions": persisted(hash_of(FEEDS), "1")}, "BAD_USER_INPUT"),
        ({"extensions": persisted(hash_of(FEEDS), None)}, "BAD_USER_INPUT"),
        ({"extensions": persisted(5)}, "BAD_USER_INPUT"),
        ({"extensions": persisted("")}, "BAD_USER_INPUT"),
        ({"extensions": persisted("a" * 201)}, "BAD_USER_INPUT"),
        ({"extensions": {"persistedQuery": hash_of(FEEDS)}}, "BAD_USER_INPUT"),
        ({"extensions": {"persistedQuery": None}}, "BAD_USER_INPUT"),
        ({"query": FEEDS, "documentId": f"sha256:{hash_of(FEEDS)}"}, "BAD_USER_INPUT"),
        ({"documentId": 5}, "BAD_USER_INPUT"),
        ({}, "BAD_USER_INPUT"),
    ],
)
async def test_a_reference_that_is_none_is_a_400(api, request_, code, headers):
    assert error_of(await api.post(json=request_, headers=headers)) == (400, code)


async def test_who_has_no_key_learns_nothing(api):
    await api.post(json={"query": FEEDS, "extensions": persisted(hash_of(FEEDS))})
    response = await api.client.post("/graphql", json={"extensions": persisted(hash_of(FEEDS))})
    assert error_of(response) == (401, "UNAUTHENTICATED")


def test_no_more_is_remembered_than_was_said():
    documents = Documents({}, max_registered_bytes=10_000)
    texts = [f"{{ a{number} }}" + " " * 600 for number in range(40)]
    for text in texts:
        documents.register("nav", GraphQLRequest(query=text, extensions=persisted(hash_of(text))))
        # Whatever is used stays.
        assert documents.find("nav", GraphQLRequest(extensions=persisted(hash_of(texts[0])))) == texts[0]
    known = []
    for text in texts:
        try:
            known.append(documents.find("nav", GraphQLRequest(extensions=persisted(hash_of(text)))))
        except RefusedError:
            continue
    assert known[0] == texts[0]
    assert known[1:] == texts[-len(known) + 1 :]
    assert 5 <= len(known) <= 10_000 // 600


# ------------------------------------------------------------------------------------------------- trusted documents


@pytest.fixture
async def trusting(tmp_path):
    """A hub with a partner of each mode, whose documents came from a build tool each; "nav" has none."""
    folder = tmp_path / "documents"
    write(folder, "off", "free", relay(OPERATORS, STATION))
    write(folder, "log", "watched", codegen(OPERATORS, STATION))
    write(folder, "enforce", "strict", apollo(OPERATORS), "ios.json")
    write(folder, "enforce", "strict", relay(STATION, CANCEL), "web.json")
    (folder / ".hidden").mkdir()
    async with open_api(tmp_path, CHARGEGRAPH_DOCUMENTS_DIR=str(folder)) as api:
        yield api


@pytest.mark.parametrize(
    ("partner", "document_id"),
    [
        ("free", md5(OPERATORS.encode()).hexdigest()),
        ("free", f"sha256:{hash_of(OPERATORS)}"),
        ("watched", f"sha256:{hash_of(OPERATORS)}"),
        ("strict", hash_of(OPERATORS)),
        ("strict", f"sha256:{hash_of(OPERATORS)}"),
    ],
)
async def test_a_trusted_document_is_known_by_its_id(trusting, partner, document_id):
    key = await trusting.key(partner)
    assert (await trusting.post(json={"documentId": document_id}, key=key)).json() == {"data": {"operators": []}}
    by_get = await trusting.client.get(
        "/graphql", params={"documentId": document_id}, headers={"x-api-key": key, **PREFLIGHT}
    )
    assert by_get.json() == {"data": {"operators": []}}
    by_hash = {"extensions": persisted(document_id.removeprefix("sha256:"))}
    assert (await trusting.post(json=by_hash, key=key)).json() == {"data": {"operators": []}}
    response = await trusting.post(json={"documentId": document_id})
    assert error_of(response) == (200, "DOCUMENT_NOT_FOUND")
    response = await trusting.post(json={"documentId": document_id}, headers=GRAPHQL)
    assert error_of(response) == (404, "DOCUMENT_NOT_FOUND")


@pytest.mark.parametrize("headers", [{}, GRAPHQL])
async def test_where_it_is_enforced_nothing_else_is_answered(trusting, headers):
    key = await trusting.key("strict")
    for text in (FEEDS, OPERATORS + " ", "{ __typename }", "{ __schema { queryType { name } } }", "{", "{ nothing }"):
        for request in ({"query": text}, {"query": text, "extensions": persisted(hash_of(text))}):
            response = await trusting.post(json=request, key=key, headers=headers)
            assert error_of(response) == (403, "DOCUMENT_NOT_TRUSTED")
        # It was not registered either.
        response = await trusting.post(json={"extensions": persisted(hash_of(text))}, key=key)
        assert error_of(response) == (200, "PERSISTED_QUERY_NOT_FOUND")
    for text in (OPERATORS, STATION):
        response = await trusting.post(json={"query": text, "variables": {"id": "x"}}, key=key, headers=headers)
        assert "errors" not in response.json()


async def test_where_it_is_logged_everything_is_answered_and_told(trusting, caplog, monkeypatch):
    monkeypatch.setattr("app.web.documents.logger.filters", [])  # what other tests said does not count
    key = await trusting.key("watched")
    with caplog.at_level(logging.WARNING, "chargegraph.documents"):
        text = "query($id: ID!) { evse(id: $id) { id } }"
        secret = {"query": text, "variables": {"id": "secret"}}
        for _ in range(10):
            assert "errors" not in (await trusting.post(json=secret, key=key)).json()
        for known in (OPERATORS, STATION):
            await trusting.post(json={"query": known, "variables": {"id": "x"}}, key=key)
        for partner in ("free", "nav"):
            assert "errors" not in (await trusting.post(json=secret, key=await trusting.key(partner))).json()
    assert [record.getMessage() for record in caplog.records] == [
        f"a document of watched is not trusted, let through {count} times: sha256:{hash_of(text)}" for count in (1, 10)
    ]


async def test_a_mutation_among_trusted_documents_needs_post(trusting):
    parameters = {"documentId": md5(CANCEL.encode()).hexdigest()}
    response = await trusting.client.get(
        "/graphql", params=parameters, headers={"x-api-key": await trusting.key("strict"), **PREFLIGHT}
    )
    assert error_of(response) == (405, "BAD_USER_INPUT")


def test_what_is_counted_is_bounded(monkeypatch):
    monkeypatch.setattr("app.web.documents.MAX_OTHERS_COUNTED", 10)
    documents = Documents({"p": TrustedDocuments(Mode.LOG, {}, frozenset())})
    for number in range(100):
        documents.find("p", GraphQLRequest(query=f"{{ a{number} }}"))
    assert len(documents._others) == 10


@pytest.mark.parametrize(
    ("mode", "partner", "manifest", "problem"),
    [
        ("enforced", "p", {}, "enforced: here are only folders named off, log or enforce"),
        ("enforce", "p", "", "manifest.json: neither an object of ids and documents"),
        ("enforce", "p", "\udcff".encode("utf-8", "surrogateescape").decode("latin-1"), "manifest.json: neither"),
        ("enforce", "p", [OPERATORS], "manifest.json: neither an object of ids and documents"),
        ("enforce", "p", {"a": 5}, "manifest.json: neither an object of ids and documents"),
        ("enforce", "p", {"": OPERATORS}, "manifest.json: the id ''"),
        ("enforce", "p", {"a" * 201: OPERATORS}, "manifest.json: the id 'aaa"),
        ("enforce", "p", {"a": "{ nothing }"}, "manifest.json: a: Cannot query field 'nothing'"),
        ("enforce", "p", {"a": "{"}, "manifest.json: a: Syntax Error"),
        ("off", "p", {"a": "{"}, "manifest.json: a: Syntax Error"),
        ("log", "p", {f"sha256:{hash_of(FEEDS)}": OPERATORS}, "is not the SHA-256 of its document"),
        ("log", "p", {**apollo(OPERATORS), "version": 2}, "manifest.json: apollo-persisted-query-manifest 2 is not"),
        ("log", "p", {**apollo(OPERATORS), "format": "x"}, "manifest.json: x 1 is not apollo"),
        ("log", "p", {**apollo(OPERATORS), "operations": {}}, "manifest.json: neither"),
        ("log", "p", apollo("{ nothing }"), f"manifest.json: {hash_of('{ nothing }')}: Cannot query field"),
        ("log", "twice", {"a": OPERATORS}, "twice: this partner is in enforce, too"),
        ("enforce", "twice", {"b": FEEDS}, "manifest.json: b is another document in another file"),
    ],
)
def test_a_wrong_manifest_stops_the_start_and_is_named(tmp_path, mode, partner, manifest, problem):
    write(tmp_path, "enforce", "twice", {"b": OPERATORS}, "another.json")
    write(tmp_path, mode, partner, manifest)
    with pytest.raises(SettingsError) as told:
        read_manifests(tmp_path, Engine())
    assert str(told.value).startswith(str(tmp_path))
    assert problem in str(told.value)


def test_what_is_not_a_folder_of_a_partner_is_named(tmp_path):
    (tmp_path / "enforce").mkdir()
    (tmp_path / "enforce" / "nav.json").write_text("{}")
    with pytest.raises(SettingsError, match=r"nav\.json: here are only folders, one a partner"):
        read_manifests(tmp_path, Engine())
