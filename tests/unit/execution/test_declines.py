"""What no projection is generated for: graphql-core executes it as if nothing else were there."""

from typing import Any

import pytest
import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLInt,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLString,
    build_schema,
    get_introspection_query,
)
from strawberry.extensions import FieldExtension, SchemaExtension
from strawberry.permission import BasePermission

from schema.execution import CompiledExecutor, Plans, generator
from tests.unit.execution.asking import Asker


class Louder(FieldExtension):
    def resolve(self, next_, source, info, **arguments):
        return str(next_(source, info, **arguments)).upper()


class Never(BasePermission):
    message = "never"

    def has_permission(self, source, info, **arguments):
        return False


@strawberry.type
class Item:
    name: str = "name"
    loud: str | None = strawberry.field(default="loud", extensions=[Louder()])
    secret: str | None = strawberry.field(default="secret", permission_classes=[Never])

    @strawberry.field
    async def later(self) -> str:
        return "later"


@strawberry.type
class Query:
    @strawberry.field
    def item(self) -> Item:
        return Item()


@pytest.mark.parametrize(
    ("field", "value"),
    [("later", "later"), ("loud", "LOUD"), ("secret", None)],
    ids=["async", "extension", "permission"],
)
def test_fields_with_more_than_a_plain_resolver(field, value):
    asker = Asker(Query)
    assert asker.ask(f"{{ item {{ name {field} }} }}").data == {"item": {"name": "name", field: value}}
    assert asker.became == "declined"
    assert asker.data("{ item { name } }") == {"item": {"name": "name"}}


def test_only_the_root_field_that_asks_for_them():
    asker = Asker(Query)
    asker.ask("{ a: item { later } b: item { name } }")
    assert (asker.plans.projected, asker.plans.bailed) == (1, 0)


def test_extensions_of_the_schema_that_see_every_field():
    seen = []

    class Watcher(SchemaExtension):
        def resolve(self, _next, root, info, *args, **kwargs):
            seen.append(info.field_name)
            return _next(root, info, *args, **kwargs)

    class Executor(CompiledExecutor):
        plans = Plans()

    schema = strawberry.Schema(Query, extensions=[Watcher], execution_context_class=Executor)
    assert schema.execute_sync("{ item { name } }").data == {"item": {"name": "name"}}
    assert seen == ["item", "name"]
    assert Executor.plans.projected == 0


def test_introspection():
    asker = Asker(Query)
    asker.ask(get_introspection_query())
    asker.ask('{ __type(name: "Item") { name fields { name } } }')
    assert asker.became == "declined"


@pytest.mark.parametrize(
    "text",
    [
        "{ a { b @upper } }",
        "query @upper { a { b } }",
        "{ a @upper { b } }",
        "{ a { ...F } } fragment F on A @upper { b }",
        "{ a { ...F @upper } } fragment F on A { b }",
    ],
)
def test_directives_that_may_mean_anything(text):
    directive = "directive @upper on FIELD | QUERY | FRAGMENT_DEFINITION | FRAGMENT_SPREAD"
    asker = Asker(build_schema(f"{directive} type Query {{ a: A }} type A {{ b: String }}"))
    assert asker.ask(text, root_value={"a": {"b": "b"}}).data == {"a": {"b": "b"}}
    assert asker.became == "declined"


def test_deferred_fragments():
    asker = Asker(build_schema("type Query { a: A } type A { b: String }"))
    asker.ask("query ($d: Boolean!) { a { ... @defer(if: $d) { b } } }", {"d": False}, root_value={"a": {"b": "b"}})
    assert asker.became == "declined"


def test_a_condition_that_is_null_is_reported_by_graphql_core():
    asker = Asker(Query)
    text = "query ($yes: Boolean = true) { item { name @include(if: $yes) } }"
    answer = asker.ask(text, {"yes": None})
    assert answer.errors
    assert asker.became == "declined"
    assert asker.data(text) == {"item": {"name": "name"}}


def test_a_condition_that_validation_would_have_refused():
    asker = Asker(build_schema("type Query { a: A } type A { b: String }"))
    for condition in ([], [True], None):
        text = "query ($yes: [Boolean!]) { a { b @include(if: $yes) } }"
        asker.ask(text, {"yes": condition}, root_value={"a": {"b": "b"}})
    assert asker.became == "declined"


def test_resolvers_that_the_caller_puts_in_the_place_of_the_default_ones():
    asker = Asker(build_schema("type Query { a: A } type A { b: String }"))
    answer = asker.ask("{ a { b } }", field_resolver=lambda _source, info: info.field_name)
    assert answer.data == {"a": {"b": "b"}}
    assert asker.became == "declined"


def test_async_type_resolvers():
    async def resolve_type(*_: Any) -> str:
        return "A"

    schema = build_schema(
        "type Query { named: Named } interface Named { name: String } type A implements Named { name: String }"
    )
    schema.type_map["Named"].resolve_type = resolve_type  # type: ignore[attr-defined]
    asker = Asker(schema)
    assert asker.ask("{ named { name } }", root_value={"named": {"name": "n"}}).data == {"named": {"name": "n"}}
    assert asker.became == "declined"


def test_selections_that_are_too_deep_or_too_many():
    schema = build_schema("type Query { a: A } type A { a: A b: String }")
    asker = Asker(schema)
    depth = generator.MAX_DEPTH + 1
    asker.ask("{ a" * depth + "{ b }" + "}" * depth, root_value={"a": {"a": None}})
    names = " ".join(f"b{number}: b" for number in range(generator.MAX_FIELDS + 1))
    asker.ask(f"{{ a {{ {names} }} }}", root_value={"a": {"b": "b"}})
    assert asker.became == "declined"
    asker.ask("{ a" * (depth - 1) + "{ b }" + "}" * (depth - 1), root_value={"a": {"a": None}})
    assert asker.became == "projected"


def test_arguments_that_cannot_be_had():
    inner = GraphQLObjectType(
        "A", {"b": GraphQLField(GraphQLString, {"c": GraphQLArgument(GraphQLNonNull(GraphQLInt))})}
    )
    asker = Asker(GraphQLSchema(GraphQLObjectType("Query", {"a": GraphQLField(inner)})))
    answer = asker.ask("{ a { b } }", root_value={"a": {"b": "b"}})
    assert answer.data == {"a": {"b": None}}
    assert asker.plans.projected == 0
