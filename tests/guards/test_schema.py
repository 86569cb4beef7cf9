"""The GraphQL schema: what is checked in is what is served, and every element says what it means."""

from collections.abc import Iterator
from pathlib import Path

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    is_specified_scalar_type,
)

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
