"""What is projected: everything that is as its field promises."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Generic, NewType, TypeVar

import pytest
import strawberry
from graphql import parse, subscribe
from strawberry.schema.config import StrawberryConfig

from schema.execution import CompiledExecutor, Plans, Subscription, begin
from tests.unit.execution.asking import Asker

Moment = NewType("Moment", float)
T = TypeVar("T")


@strawberry.enum
class Colour(Enum):
    RED = "r"
    GREEN = 2


@strawberry.enum
class Shade(Enum):
    DARK = strawberry.enum_value("d", name="VERY_DARK")
    LIGHT = "l"


@strawberry.interface
class Named:
    name: str


@strawberry.type
class Cat(Named):
    lives: int


@strawberry.type
class Dog(Named):
    friend: Cat | None = None


@strawberry.type
class Stone:
    weight: float


@strawberry.type
class Box(Generic[T]):
    content: T


Thing = Annotated[Cat | Stone, strawberry.union("Thing")]


@strawberry.input
class Bounds:
    low: int
    high: int = 10


@strawberry.type
class Item:
    id: strawberry.ID
    label: str | None
    count: int
    share: float
    sure: bool
    colour: Colour
    shade: Shade | None
    at: Moment
    words: list[str]
    rows: list[list[int | None] | None]

    @strawberry.field
    def times(self, factor: int = 2, colour: Colour = Colour.RED) -> str:
        return f"{self.count * factor} {colour.name}"

    @strawberry.field
    def within(self, bounds: Bounds, words: list[str] | None = None) -> str:
        return f"{type(bounds).__name__} {bounds.low} {bounds.high} {words}"

    @strawberry.field
    def place(self, info: strawberry.Info) -> str:
        return f"{info.path.as_list()} {info.context} {info.field_name} {info.variable_values}"

    @strawberry.field
    def of_parent(parent: strawberry.Parent["Item"], more: int) -> int:  # noqa: N805 - Strawberry hands the item over
        return parent.count + more

    @strawberry.field
    @staticmethod
    def constant() -> str:
        return "c"

    @strawberry.field
    def boxes(self) -> list[Box[int]]:
        return [Box(content=1), Box(content=2)]


def _of_root(root: Item) -> int:
    return root.count


ITEM = Item(
    id=strawberry.ID("1"),
    label=None,
    count=3,
    share=0.5,
    sure=True,
    colour=Colour.GREEN,
    shade=Shade.DARK,
    at=Moment(1.5),
    words=["a", "b"],
    rows=[[1, None], None, []],
)


@strawberry.type
class Query:
    @strawberry.field
    def item(self) -> Item:
        return ITEM

    @strawberry.field
    async def items(self) -> list[Item | None]:
        return [ITEM, None]

    @strawberry.field
    def pets(self) -> list[Named]:
        return [Cat(name="Tom", lives=9), Dog(name="Rex", friend=Cat(name="Kim", lives=1))]

    @strawberry.field
    def things(self) -> tuple[Thing, ...] | None:
        return (Stone(weight=1.0), Cat(name="Tom", lives=9))

    @strawberry.field
    def number(self) -> int:
        return 5


CONFIG = StrawberryConfig(scalar_map={Moment: strawberry.scalar(name="Moment", serialize=lambda value: f"at {value}")})


@pytest.fixture
def asker() -> Asker:
    return Asker(Query, config=CONFIG, types=[Cat, Dog])


def test_leaves_of_every_kind(asker):
    data = asker.data("{ item { id label count share sure colour shade at words rows __typename } number }")
    assert list(data) == ["item", "number"]
    assert data["item"] == {
        "id": "1",
        "label": None,
        "count": 3,
        "share": 0.5,
        "sure": True,
        "colour": "GREEN",
        "shade": "VERY_DARK",
        "at": "at 1.5",
        "words": ["a", "b"],
        "rows": [[1, None], None, []],
        "__typename": "Item",
    }


def test_values_that_are_coerced_are_no_reason_to_bail():
    @strawberry.type
    class Loose:
        text: str
        number: int
        share: float
        sure: bool
        id: strawberry.ID

    @strawberry.type
    class Root:
        @strawberry.field
        def loose(self) -> Loose:
            return Loose(text=5, number=2.0, share=3, sure=0, id=7)  # type: ignore[arg-type]

    data = Asker(Root).data("{ loose { text number share sure id } }")
    assert data["loose"] == {"text": "5", "number": 2, "share": 3.0, "sure": False, "id": "7"}


def test_aliases_and_fields_that_are_asked_twice_keep_their_order(asker):
    text = (
        "{ b: item { z: count a: count count z: count } a: item { ...A count } } fragment A on Item { sure z: count }"
    )
    data = asker.data(text)
    assert list(data) == ["b", "a"]
    assert [list(item) for item in data.values()] == [["z", "a", "count"], ["sure", "z", "count"]]


def test_fragments_that_ask_one_place_are_merged(asker):
    text = """
    { pets { ...P ... on Dog { friend { lives } } } }
    fragment P on Named { name ... on Dog { friend { name } } ... on Cat { lives } __typename }
    """
    rex = {"name": "Rex", "friend": {"name": "Kim", "lives": 1}, "__typename": "Dog"}
    assert asker.data(text)["pets"] == [{"name": "Tom", "lives": 9, "__typename": "Cat"}, rex]


def test_unions_are_told_apart(asker):
    data = asker.data("{ things { __typename ... on Stone { weight } ... on Named { name } } }")
    assert data["things"] == [{"__typename": "Stone", "weight": 1.0}, {"__typename": "Cat", "name": "Tom"}]


@pytest.mark.parametrize("yes", [True, False])
@pytest.mark.parametrize("no", [True, False])
def test_skip_and_include_have_a_projection_for_each_choice(asker, yes, no):
    text = """query ($yes: Boolean!, $no: Boolean!) {
      item { id count @include(if: $yes) sure @skip(if: $no) ... @include(if: $yes) { share @skip(if: $no) label } }
    }"""
    for chosen in ({"yes": yes, "no": no}, {"yes": True, "no": False}, {"yes": yes, "no": no}):
        item = asker.data(text, chosen)["item"]
        assert ("count" in item, "sure" in item, "share" in item, "label" in item) == (
            *(chosen["yes"], not chosen["no"]),
            *(chosen["yes"] and not chosen["no"], chosen["yes"]),
        )


def test_resolvers_get_their_arguments_constant_or_not(asker):
    text = """query ($factor: Int!, $colour: Colour = GREEN) {
      item { times a: times(factor: 5) b: times(factor: $factor, colour: $colour) c: times(colour: GREEN) constant
        ofParent(more: $factor) }
    }"""
    for factor in (3, 4):
        item = asker.data(text, {"factor": factor})["item"]
        assert item["times"] == "6 RED"
        assert item["a"] == "15 RED"
        assert item["b"] == f"{3 * factor} GREEN"
        assert item["c"] == "6 GREEN"
        assert item["ofParent"] == 3 + factor
        assert item["constant"] == "c"


def test_arguments_that_can_be_changed_are_made_anew_for_each_call():
    @strawberry.type
    class Greedy:
        @strawberry.field
        def eat(self, words: list[str]) -> str:
            return words.pop()

    @strawberry.type
    class Root:
        @strawberry.field
        def greedy(self) -> list[Greedy]:
            return [Greedy(), Greedy()]

    asker = Asker(Root)
    for _ in range(2):
        assert asker.data('{ greedy { eat(words: ["a", "b"]) } }')["greedy"] == [{"eat": "b"}, {"eat": "b"}]


def test_input_objects_reach_their_resolver_as_python_objects(asker):
    text = """query ($low: Int!, $all: Bounds!) {
      items { a: within(bounds: {low: $low}) b: within(bounds: $all, words: ["x"]) }
    }"""
    found = asker.data(text, {"low": 1, "all": {"low": 2, "high": 3}})["items"]
    assert found == [{"a": "Bounds 1 10 None", "b": "Bounds 2 3 ['x']"}, None]


def test_resolvers_get_the_info_of_their_place(asker):
    answer = asker.ask(
        "query ($v: Int) { items { p: place } item { place count times(factor: $v) } }", {"v": 1}, context_value="C"
    )
    assert asker.became == "projected"
    assert answer.data["items"][0] == {"p": "['items', 0, 'p'] C place {'v': 1}"}
    assert answer.data["item"]["place"] == "['item', 'place'] C place {'v': 1}"


def test_resolvers_outside_a_class_get_their_source():
    @strawberry.type
    class Outside:
        count: int
        again: int = strawberry.field(resolver=_of_root)

    @strawberry.type
    class Root:
        @strawberry.field
        def outside(self) -> Outside:
            return Outside(count=4)

    assert Asker(Root).data("{ outside { again } }") == {"outside": {"again": 4}}


def test_generic_types(asker):
    assert asker.data("{ item { boxes { content __typename } } }")["item"]["boxes"] == [
        {"content": 1, "__typename": "IntBox"},
        {"content": 2, "__typename": "IntBox"},
    ]


def test_objects_that_are_no_strawberry_objects_are_read_by_attribute():
    @dataclass
    class Row:
        weight: float

    @strawberry.type
    class Root:
        @strawberry.field
        def stone(self) -> Stone:
            return Row(weight=2.0)  # type: ignore[return-value]

    assert Asker(Root).data("{ stone { weight } }") == {"stone": {"weight": 2.0}}


def test_a_default_resolver_of_the_schemas_own_is_called():
    @strawberry.type
    class Root:
        @strawberry.field
        def stone(self) -> Stone:
            return {"weight": 2.0}  # type: ignore[return-value]

    config = StrawberryConfig(default_resolver=lambda source, name: source[name])
    assert Asker(Root, config=config).data("{ stone { weight } }") == {"stone": {"weight": 2.0}}


def test_mutations_are_resolved_one_after_the_other_and_projected():
    log = []

    @strawberry.type
    class Change:
        @strawberry.mutation
        async def change(self, to: str) -> Stone:
            log.append(to)
            return Stone(weight=float(to))

    asker = Asker(Query, mutation=Change, config=CONFIG, types=[Dog])
    answer = asker.ask('mutation { a: change(to: "1") { weight } b: change(to: "2") { weight } }')
    assert log == ["1", "2", "1", "2"]
    assert list(answer.data or ()) == ["a", "b"]
    assert (asker.plans.projected, asker.plans.bailed) == (2, 0)


def test_each_operation_of_a_document_has_its_own_projections(asker):
    text = "query A { item { id } } query B { item { count } }"
    for _ in range(2):
        assert asker.ask(text, operation_name="A").data == {"item": {"id": "1"}}
        assert asker.ask(text, operation_name="B").data == {"item": {"count": 3}}
    assert asker.plans.projected == 4


async def test_the_events_of_subscriptions():
    @strawberry.type
    class Query:
        a: int = 1

    @strawberry.type
    class Subscriptions:
        @strawberry.subscription
        async def cats(self, count: int) -> AsyncIterator[Cat]:
            for lives in range(count):
                yield Cat(name="name", lives=lives)

    class Executor(CompiledExecutor):
        plans = Plans()

    schema = strawberry.Schema(Query, subscription=Subscriptions)._schema
    document = parse("subscription ($n: Int!) { cats(count: $n) { lives } }")
    subscribed: Any = subscribe(schema, document, variable_values={"n": 2}, executor_class=Executor)
    events = await subscribed
    assert [event.data async for event in events] == [{"cats": {"lives": 0}}, {"cats": {"lives": 1}}]
    begun = await begin(schema, document, None, {"n": 2}, None, Executor)
    assert isinstance(begun, Subscription)
    answers = [(await begun.answer(event, None)).data async for event in begun.source]
    assert answers == [{"cats": {"lives": 0}}, {"cats": {"lives": 1}}]
    assert (Executor.plans.projected, Executor.plans.bailed) == (4, 0)
    refused = await begin(schema, document, None, {"n": "two"}, None, Executor)
    assert isinstance(refused, list) and "'$n' has invalid value" in refused[0].message
