"""The page about the executor shows what is generated."""

import re
from enum import Enum
from pathlib import Path

import strawberry
from graphql import parse
from graphql.execution.collect_fields import collect_fields

from schema.execution import CompiledExecutor
from schema.execution.generator import Generator


@strawberry.enum
class Unit(Enum):
    EURO = "€"


@strawberry.type
class Price:
    amount: float


@strawberry.type
class Book:
    title: str
    isbns: list[str] | None

    @strawberry.field
    def price(self, unit: Unit = Unit.EURO) -> Price:
        return Price(amount=float(len(unit.value)))


@strawberry.type
class Query:
    books: list[Book]


def test_the_example_is_what_is_generated(repository: Path) -> None:
    page = (repository / "schema" / "execution" / "README.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"`(query [^`]+)`", page)
    (example,) = re.findall(r"```text\n(.*?)\n```", page, re.DOTALL)
    schema = strawberry.Schema(Query)._schema
    executor = CompiledExecutor.build(schema, parse(text), None, None, {"unit": "EURO"})
    assert isinstance(executor, CompiledExecutor)
    query = schema.query_type
    assert query is not None
    collected = collect_fields(schema, executor.fragments, executor.variable_values, query, executor.operation)
    books = collected.grouped_field_set["books"]
    assert Generator(executor).source(query.fields["books"].type, books) == example
