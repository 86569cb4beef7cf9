"""What makes a projection bail: graphql-core then completes the same root value, and the answer is its answer."""

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any

import pytest
import strawberry
from graphql import Undefined, build_schema

from tests.unit.execution.asking import Asker


@strawberry.enum
class Colour(Enum):
    RED = "r"


@strawberry.interface
class Named:
    name: str


@strawberry.type
class Cat(Named):
    lives: int


@strawberry.type
class Stone:
    weight: float


@strawberry.type
class Item:
    text: str | None = None
    number: int = 1
    share: float = 0.5
    sure: bool = True
    colour: Colour = Colour.RED
    words: list[str] = strawberry.field(default_factory=list)
    stone: Stone | None = None
    stones: list[Stone | None] = strawberry.field(default_factory=list)
    named: Named | None = None
    either: Annotated[Cat | Stone, strawberry.union("Either")] | None = None


class Awaited:
    def __await__(self):
        yield from ()
        return "awaited"


class Broken:
    @property
    def weight(self) -> float:
        raise ValueError("broken")


def asker_of(make: Callable[[], Any]) -> tuple[Asker, list[str]]:
    """Return who asks for an item that is made anew for each answer, and the list of these makings."""
    made = []

    @strawberry.type
    class Query:
        @strawberry.field
        async def item(self) -> Item:
            made.append("item")
            found: Item = make()
            return found

        @strawberry.field
        def other(self) -> Item | None:
            return Item()

    return Asker(Query, types=[Cat]), made


EVERYTHING = """{ item { text number share sure colour words stone { weight } stones { weight } named { name }
  either { ... on Cat { lives } ... on Stone { weight } __typename } } other { number } }"""


@pytest.mark.parametrize(
    ("changed", "value"),
    [
        ("number", None),
        ("number", 2**31),
        ("number", "many"),
        ("number", Undefined),
        ("text", ValueError("an error as a value")),
        ("text", Awaited()),
        ("text", object),
        ("share", float("nan")),
        ("share", float("inf")),
        ("sure", "yes"),
        ("colour", "purple"),
        ("colour", None),
        ("words", None),
        ("words", ["a", None]),
        ("words", "word"),
        ("words", {"a"}),
        ("words", 5),
        ("stone", Broken()),
        ("stone", Stone(weight=None)),  # type: ignore[arg-type]
        ("stone", KeyError("a key")),
        ("stone", 5),
        ("stones", [Stone(weight=1.0), Broken()]),
        ("stones", [ValueError("one of them")]),
        ("named", Stone(weight=1.0)),
        ("named", "nobody"),
        ("either", Item()),
        ("either", Awaited()),
    ],
)
def test_what_is_not_as_promised_is_completed_by_graphql_core(changed, value):
    asker, made = asker_of(lambda: Item(**{changed: value}))
    asker.ask(EVERYTHING)
    assert asker.plans.bailed == 1
    assert made == ["item", "item"], "once for each executor"
    assert asker.plans.projected == 1, "the other root field does not suffer"


def test_what_only_looks_unusual_is_projected():
    class Subclass(Stone):
        pass

    asker, _ = asker_of(lambda: Item(text="", share=-0.0, words=["a"], stone=Subclass(weight=1.0), stones=[None]))
    asker.ask(EVERYTHING)
    assert asker.became == "projected"


def test_an_iterator_is_not_used_up_before_graphql_core_sees_it():
    asker, _ = asker_of(lambda: Item(words=(word for word in ("a", "b"))))  # type: ignore[arg-type]
    assert asker.ask("{ item { words } }").data == {"item": {"words": ["a", "b"]}}
    assert asker.became == "bailed"


def test_an_error_in_a_nullable_place_leaves_the_rest():
    asker, _ = asker_of(lambda: Item(stones=[Stone(weight=1.0), Broken(), None]))  # type: ignore[list-item]
    answer = asker.ask("{ item { stones { weight } number } }")
    assert answer.data == {"item": {"stones": [{"weight": 1.0}, None, None], "number": 1}}
    assert [error.path for error in answer.errors or ()] == [["item", "stones", 1, "weight"]]


def test_a_root_resolver_that_raises_is_graphql_cores_alone():
    def fail() -> Item:
        raise ValueError("no item")

    asker, made = asker_of(fail)
    answer = asker.ask("{ other { number } item { number } }")
    assert answer.data is None
    assert made == ["item", "item"]


def test_a_field_resolver_that_raises_may_run_again_and_a_root_resolver_not():
    calls = []

    @strawberry.type
    class Fickle:
        @strawberry.field
        def word(self) -> str:
            calls.append("word")
            raise ValueError("no word")

    @strawberry.type
    class Query:
        @strawberry.field
        def fickle(self) -> Fickle | None:
            calls.append("fickle")
            return Fickle()

    Asker(Query).ask("{ fickle { word } }")
    assert calls.count("fickle") == 2, "once for each executor"
    assert calls.count("word") == 3, "and once more after the bail"


async def _say() -> str:
    await asyncio.sleep(0)
    return "said"


def test_a_coroutine_that_nobody_will_await_is_closed():
    @strawberry.type
    class Talker:
        @strawberry.field
        def word(self) -> str:
            return _say()  # type: ignore[return-value]

    @strawberry.type
    class Query:
        @strawberry.field
        def talker(self) -> Talker:
            return Talker()

    asker = Asker(Query)
    assert asker.ask("{ talker { word } }").data == {"talker": {"word": "said"}}
    assert asker.became == "bailed"  # and no warning: they are errors here


def test_a_coroutine_that_belongs_to_the_value_is_awaited():
    asker, _ = asker_of(lambda: Item(text=_say()))  # type: ignore[arg-type]
    assert asker.ask("{ item { text } }").data == {"item": {"text": "said"}}
    assert asker.became == "bailed"


def test_a_type_resolver_that_names_a_type_of_another_interface_is_reported():
    named = "interface Named { name: String } type A implements Named { name: String } type B { name: String }"
    asker = Asker(build_schema(f"type Query {{ named: Named }} {named}"))
    for name in ("A", "B", "C", None):
        asker.ask("{ named { name } }", root_value={"named": {"__typename": name, "name": "n"}})
    assert (asker.plans.projected, asker.plans.bailed) == (1, 3)


@pytest.mark.parametrize("serialized", [None, Undefined, Awaited(), ValueError("returned")], ids=type)
def test_a_scalar_that_serializes_to_nothing_of_use(serialized):
    schema = build_schema("scalar Stamp type Query { a: A } type A { stamp: Stamp stamps: [Stamp!] }")
    schema.type_map["Stamp"].coerce_output_value = lambda _value: serialized  # type: ignore[attr-defined]
    asker = Asker(schema)
    asker.ask("{ a { stamp } }", root_value={"a": {"stamp": 1}})
    asker.ask("{ a { stamps } }", root_value={"a": {"stamps": [1]}})
    assert (asker.plans.projected, asker.plans.bailed) == (0, 2)


def test_values_that_the_default_resolver_calls_are_called_by_graphql_core():
    asker = Asker(build_schema("type Query { a: A } type A { b(c: Int): String d: String }"))
    value = {"b": lambda _info, c=0: f"called with {c}", "d": "d"}
    answer = asker.ask("{ a { b(c: 3) d } }", root_value={"a": value})
    assert answer.data == {"a": {"b": "called with 3", "d": "d"}}
    assert asker.became == "projected"
    answer = asker.ask("{ a { d } }", root_value={"a": {"d": lambda _info: "called"}})
    assert answer.data == {"a": {"d": "called"}}
    assert asker.became == "bailed"
