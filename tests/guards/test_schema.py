"""The GraphQL schema: what is checked in is what is served, and every element says what it means."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    is_specified_scalar_type,
)

from tests.guards.schema_changes import breaking_changes

# Federation's own: its types, and the root fields that begin with an underscore.
_FEDERATION = {"FieldSet", "Import", "link__Import", "link__Purpose", "federation__FieldSet"}


def test_the_printed_schema_is_checked_in(repository: Path) -> None:
    from schema.root import schema

    printed = schema.as_str()
    snapshot = repository / "schema" / "schema.graphql"
    checked_in = snapshot.read_text(encoding="utf-8") if snapshot.exists() else ""
    assert checked_in.rstrip("\n") == printed.rstrip("\n"), (
        "run `make schema`, then look at the difference as a partner would: may an existing query break?"
    )


def test_everything_is_described() -> None:
    from schema.root import schema

    types = [
        named
        for name, named in schema._schema.type_map.items()
        if not name.startswith("_") and name not in _FEDERATION and not is_specified_scalar_type(named)
    ]
    assert types
    silent = [path for named in types for path, description in _elements(named) if not (description or "").strip()]
    assert not silent, "partners read the schema, not our code: describe these (units, errors, what null means)"


def _elements(named: GraphQLNamedType) -> Iterator[tuple[str, str | None]]:
    """Every described element of a type, as its path and its description."""
    yield named.name, named.description
    if isinstance(named, GraphQLEnumType):
        for name, value in named.values.items():
            yield f"{named.name}.{name}", value.description
    elif isinstance(named, GraphQLInputObjectType):
        for name, field in named.fields.items():
            yield f"{named.name}.{name}", field.description
    elif isinstance(named, GraphQLObjectType | GraphQLInterfaceType):
        for name, output in named.fields.items():
            if name.startswith("_"):
                continue
            yield f"{named.name}.{name}", output.description
            for argument, declared in output.args.items():
                yield f"{named.name}.{name}({argument}:)", declared.description


def test_nothing_breaks_since_the_last_release(repository: Path) -> None:
    from schema.root import sdl

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=repository, capture_output=True, text=True, check=True).stdout

    try:
        releases = git("tag", "--list", "v[0-9]*", "--merged", "HEAD", "--sort=-v:refname").split()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no clone, so that no release can be compared with")
    if not releases:
        pytest.skip("there is no release yet (a tag such as v1.0.0)")
    assert not breaking_changes(git("show", f"{releases[0]}:schema/schema.graphql"), sdl()), (
        f"partners and neighbours of {releases[0]} break: add beside the old, deprecate, and take away a year later"
    )


OLD = """
schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@key", "@shareable"]) { query: Query }
type Query { stations(first: Int! = 20, filter: Filter): [Station] station(id: ID!): Station }
type Station @key(fields: "id") @key(fields: "localId") { id: ID! localId: ID! name: String status: Status! }
type PageInfo @shareable { hasNextPage: Boolean! }
input Filter { text: String! = "" minPowerKw: Float }
enum Status { FREE TAKEN }
"""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (" name: String", "", "Field Station.name was removed."),
        ("name: String", "name: Int", "Field Station.name changed type from String to Int."),
        ("status: Status!", "status: Status", "Field Station.status changed type from Status! to Status."),
        ("FREE ", "", "Enum value Status.FREE was removed."),
        ("filter: Filter", "filter: Filter, near: ID!", "A required argument Query.stations(near:) was added."),
        ("minPowerKw: Float", "minPowerKw: Float!", "Field Filter.minPowerKw changed type from Float to Float!."),
        ("Int! = 20", "Int!", "Query.stations(first:) has no default any more, and must be given."),
        ('String! = ""', "String!", "Filter.text has no default any more, and must be given."),
        (' @key(fields: "localId")', "", 'Station is no longer @key(fields: "localId").'),
        (" @shareable {", " {", "PageInfo is no longer @shareable."),
    ],
)
def test_what_breaks_is_told(old: str, new: str, told: str) -> None:
    assert old in OLD
    assert breaking_changes(OLD, OLD.replace(old, new)) == [told]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: String", "name: String! address: String"),
        ("FREE ", "FREE UNKNOWN "),
        ("= 20", "= 10"),
        ("filter: Filter", "filter: Filter, near: ID, radiusM: Float! = 5"),
        ('@key(fields: "id")', '@key(fields: "id") @key(fields: "name")'),
        ("PageInfo @shareable", "Page @shareable { n: Int } type PageInfo @shareable"),
    ],
)
def test_what_is_added_breaks_nothing(old: str, new: str) -> None:
    assert old in OLD
    assert breaking_changes(OLD, OLD.replace(old, new)) == []
