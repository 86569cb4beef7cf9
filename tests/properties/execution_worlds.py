"""Random worlds for the executor: schemas, documents that ask them, and data that is not always what it should be."""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from random import Random
from typing import Annotated, Any, NewType

import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLString,
    GraphQLUnionType,
    Undefined,
    get_named_type,
    is_abstract_type,
    is_composite_type,
    is_enum_type,
    is_input_object_type,
    is_list_type,
    is_non_null_type,
)
from strawberry.schema.config import StrawberryConfig

LEVELS = 3
"""How deep documents ask below a root field; data is as deep."""


class Odd:
    """Nothing that a leaf type knows."""

    def __repr__(self) -> str:
        return "odd"


class Called:
    """A value that graphql-core's default resolver calls."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, info: Any, **arguments: Any) -> Any:
        return f"{info.path.as_list()} {sorted(arguments)}" if self.value is None else self.value

    def __repr__(self) -> str:
        return "called"


class Later:
    """Something to be awaited that does not mind when it is not."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self):
        yield from ()
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


class Thing:
    """An object with attributes."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)
        self.__typename = values.get("__typename")  # where graphql-core looks for it


def _stamp(value: Any) -> str:
    if not isinstance(value, float):
        raise TypeError(f"no moment: {type(value).__name__}")
    return f"T{value:.1f}"


STAMP = GraphQLScalarType("Stamp", serialize=_stamp)
ANYTHING = GraphQLScalarType("Anything", serialize=lambda value: value)
COLOUR = GraphQLEnumType("Colour", {"RED": "r", "GREEN": 2, "BLUE": (3, 4)})
GOOD: dict[GraphQLNamedType, tuple[Any, ...]] = {
    GraphQLString: ("", "text", "电"),
    GraphQLID: ("1", "a:b"),
    GraphQLInt: (0, -1, 2**31 - 1, -(2**31)),
    GraphQLFloat: (0.0, -1.5, 1e300),
    GraphQLBoolean: (True, False),
    STAMP: (0.0, 1.25),
    ANYTHING: ("x", 1, [1, None], {"a": 1.5}),
    COLOUR: ("r", 2, (3, 4)),
}
BAD: tuple[Callable[[], Any], ...] = (
    lambda: None,
    lambda: Undefined,
    lambda: True,
    lambda: 0,
    lambda: 2**31,
    lambda: 3.0,
    lambda: -1.5,
    lambda: float("nan"),
    lambda: float("inf"),
    lambda: "text",
    lambda: "1",
    lambda: b"bytes",
    Odd,
    dict,
    list,
    lambda: {"__typename": "Object0"},
    lambda: {"__typename": "Nobody"},
    lambda: [None, 1, "a"],
    lambda: [["a"], None],
    lambda: {1},
    lambda: iter((1, 2)),
    lambda: (each for each in ("a", None)),
    lambda: ValueError("a value that is an error"),
    lambda: KeyError("key"),
    lambda: Later("later"),
    lambda: Later(None),
    lambda: Later(RuntimeError("an error later")),
    lambda: [Later(1), "2"],
    lambda: Called(None),
    lambda: Called([]),
)


def _describe(source: Any, info: Any, **arguments: Any) -> str:
    seen = [info.field_name, info.path.as_list(), info.parent_type.name, len(info.field_nodes), str(info.return_type)]
    return f"{seen} {sorted(arguments.items())} {type(source).__name__} {info.context} {info.operation.name}"


def _fail(_source: Any, info: Any, **_arguments: Any) -> Any:
    raise ValueError(f"{info.field_name} fails")


def _say_later(_source: Any, info: Any, **_arguments: Any) -> Any:
    return Later(info.field_name)


async def _say_asynchronously(_source: Any, info: Any, **_arguments: Any) -> Any:
    return info.field_name


def _type_name(value: Any) -> Any:
    return value.get("__typename") if isinstance(value, dict) else getattr(value, "_Thing__typename", None)


class World:
    """A schema with data behind it. ``noise``: how much of both is not as it should be, 0 to 1."""

    def __init__(self, seed: int, *, noise: float) -> None:
        self.random = Random(seed)
        self.seed = seed
        self.noise = noise
        self.calls: list[str] = []
        """Root fields in the order in which they were resolved."""
        type_resolver = (lambda value, *_: _type_name(value)) if self._chance(0.5) else None
        self.node = GraphQLInterfaceType("Node", {"id": GraphQLField(GraphQLID)}, resolve_type=type_resolver)
        self.objects = [self._object(f"Object{number}") for number in range(4)]
        self.either = GraphQLUnionType("Either", self.objects[:3], resolve_type=type_resolver)
        self.schema = GraphQLSchema(
            GraphQLObjectType("Query", {f"root{number}": self._root() for number in range(3)}),
            GraphQLObjectType("Mutation", {f"change{number}": self._root() for number in range(3)}),
            types=[*self.objects, self.either, COLOUR, STAMP, ANYTHING],
        )

    def _chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def _object(self, name: str) -> GraphQLObjectType:
        is_type_of = (lambda value, _info: _type_name(value) == name) if self._chance(0.4) else None
        is_node = name == "Object0" or self._chance(0.5)
        return GraphQLObjectType(name, self._fields, [self.node] * is_node, is_type_of)

    def _fields(self) -> dict[str, GraphQLField]:
        fields = {f"field{number}": self._field() for number in range(self.random.randrange(2, 6))}
        return {"id": GraphQLField(GraphQLNonNull(GraphQLID) if self._chance(0.5) else GraphQLID), **fields}

    def _field(self) -> GraphQLField:
        if self._chance(0.15):
            return GraphQLField(GraphQLString, self._arguments(), _describe)
        resolve = self.random.choice((_fail, _say_later, _say_asynchronously)) if self._chance(self.noise / 8) else None
        type_ = self.random.choice((*GOOD, *self.objects, self.node, self.either))
        return GraphQLField(self._wrapped(type_), self._arguments() if self._chance(0.1) else None, resolve)

    def _root(self) -> GraphQLField:
        type_ = self._wrapped(self.random.choice((*self.objects, *self.objects, self.node, self.either, COLOUR)))
        awaited = self._chance(0.5)

        def resolve(_source: Any, info: Any, **arguments: Any) -> Any:
            self.calls.append(f"{info.path.key} {sorted(arguments.items())}")
            value = Data(self, info.path.key).value(type_, 0)
            return Later(value) if awaited else value

        return GraphQLField(type_, self._arguments(), resolve)

    def _arguments(self) -> dict[str, GraphQLArgument]:
        return {
            "number": GraphQLArgument(GraphQLInt, default_value=self.random.choice((Undefined, 3))),
            "words": GraphQLArgument(GraphQLList(GraphQLNonNull(GraphQLString))),
            "colour": GraphQLArgument(GraphQLNonNull(COLOUR) if self._chance(self.noise / 4) else COLOUR),
        }

    def _wrapped(self, type_: Any) -> Any:
        for _ in range(self.random.choice((0, 0, 0, 0, 1, 1, 1, 2))):
            type_ = GraphQLList(GraphQLNonNull(type_) if self._chance(0.6) else type_)
        return GraphQLNonNull(type_) if self._chance(0.6) else type_


class Data:
    """What a root field finds: the same each time for the same seed and response name."""

    def __init__(self, world: "World | Garden", name: object) -> None:
        self.world = world
        self.random = Random(f"{world.seed} {name}")

    def _goes_wrong(self, probability: float) -> bool:
        return self.random.random() < probability * self.world.noise

    def value(self, type_: Any, level: int) -> Any:
        """Return a value of a type, or something else."""
        if self._goes_wrong(0.1):
            return self.random.choice(BAD)()
        if is_non_null_type(type_):
            type_ = type_.of_type
        elif self.random.random() < 0.2:
            return None
        if is_list_type(type_):
            items = [self.value(type_.of_type, level) for _ in range(self.random.randrange(4))]
            return items if self.random.random() < 0.7 else tuple(items)
        if is_composite_type(type_):
            return self._thing(type_, level)
        return self.random.choice(GOOD.get(type_) or tuple(getattr(type_, "wrapped_cls", (1.5,))))

    def _thing(self, type_: Any, level: int) -> Any:
        if is_abstract_type(type_):
            possible = self.world.schema.get_possible_types(type_)
            type_ = self.random.choice(self.world.objects if self._goes_wrong(0.1) else possible)
        values = {
            name: self.value(field.type, level + 1)
            for name, field in type_.fields.items()
            if level < LEVELS or not is_composite_type(get_named_type(field.type))
        }
        definition = type_.extensions.get("strawberry-definition")
        if definition is not None:
            thing = object.__new__(definition.origin)
            names = {field.name: field.python_name for field in definition.fields if field.base_resolver is None}
            thing.__dict__.update(
                {name: values[name] for name in names if name in values and not self._goes_wrong(0.01)}
            )
            return thing
        if not self._goes_wrong(0.1):
            values["__typename"] = type_.name
        return values if self.random.random() < 0.5 else Thing(values)


@strawberry.enum
class Season(Enum):
    SPRING = "s"
    AUTUMN = 2


@strawberry.enum
class Light(Enum):
    FULL = strawberry.enum_value("f", name="FULL_SUN")
    NONE = "n"


Day = NewType("Day", float)


@strawberry.interface
class Living:
    name: str | None
    age: int


@strawberry.type
class Bee(Living):
    honey: float
    friends: list["Living | None"]


@strawberry.type
class Rock:
    weight: float | None
    words: list[str] | None


@strawberry.input
class Limit:
    at_least: int = 1
    words: list[str] | None = None
    season: Season = Season.SPRING


@strawberry.input
class Wish:
    number: int | None
    text: str = "t"
    limits: list[Limit] = strawberry.field(default_factory=lambda: [Limit(at_least=3)])


@strawberry.type
class Plant(Living):
    id: strawberry.ID
    season: Season
    light: Light | None
    day: Day
    days: list[list[Day | None]]
    visited: list[Bee]
    beside: Annotated[Bee | Rock, strawberry.union("Neighbour")] | None

    @strawberry.field
    def shout(self, number: int | None = 2, colour: Season = Season.AUTUMN) -> str:
        return f"{self.name.upper() * (number or 1)} {colour.value}"  # type: ignore[union-attr]

    @strawberry.field
    def bees(self, info: strawberry.Info, limit: Limit) -> list[Bee]:
        assert info.path.prev is not None and info.context is not None
        return self.visited[: limit.at_least]

    @strawberry.field
    def described(parent: strawberry.Parent["Plant"], words: list[str] | None = None) -> str | None:  # noqa: N805
        return f"{parent.season.name} {words}"


@strawberry.type
class Query:
    @strawberry.field
    def plant(self, info: strawberry.Info) -> Plant | None:
        found: Plant = info.context.find(info)
        return found

    @strawberry.field
    async def plants(self, info: strawberry.Info) -> list[Plant]:
        found: list[Plant] = info.context.find(info)
        return found

    @strawberry.field
    async def wished(
        self,
        info: strawberry.Info,
        wish: Wish | None = None,
        limits: list[list[Limit] | None] | None = None,
        words: list[str] | None = None,
        text: str = "x",
        number: int | None = 4,
        season: Season | None = Season.AUTUMN,
    ) -> list[Plant]:
        info.context.asked.append(repr((wish, limits, words, text, number, season)))
        found: list[Plant] = info.context.find(info)
        if wish is not None and wish.limits:
            wish.limits.append(Limit(words=["changed"]))  # nobody else may see it
        return found

    @strawberry.field
    def told(self, words: list[str], info: strawberry.Info) -> list[str]:
        info.context.asked.append(repr(words))
        words.append("more")
        return words

    @strawberry.field
    async def living(self, info: strawberry.Info) -> list[Living | None] | None:
        found: list[Living | None] = info.context.find(info)
        return found


DAY = strawberry.scalar(name="Day", serialize=_stamp)
GARDEN = strawberry.Schema(Query, types=[Bee], config=StrawberryConfig(scalar_map={Day: DAY}))._schema


class Garden:
    """Data for one schema of Strawberry's; also the context that its resolvers find it by."""

    schema = GARDEN

    def __init__(self, seed: int, *, noise: float) -> None:
        self.seed = seed
        self.noise = noise
        self.objects = [GARDEN.type_map[name] for name in ("Plant", "Bee", "Rock")]
        self.asked: list[str] = []

    def find(self, info: strawberry.Info) -> Any:
        return Data(self, info.path.key).value(info._raw_info.return_type, 0)


_VALUES: dict[str, Sequence[str]] = {
    "Int": ("$number", "5"),
    "String": ("$text", '"s"'),
    "Limit": ("{}", "{atLeast: $number, words: $words}", "{season: AUTUMN}"),
    "Wish": ("{number: null}", "{number: $number, text: $text}", "{number: 1, limits: [{words: $words}, {}]}"),
}


def is_composite_input(type_: Any) -> bool:
    """Whether a list has inputs in it."""
    return is_input_object_type(get_named_type(type_))


class Writer:
    """Writes documents for a schema. They are valid but for fields of one name that cannot be merged."""

    HEADER = '($yes: Boolean! = true, $no: Boolean!, $number: Int, $text: String = "d", $words: [String!])'

    def __init__(
        self, schema: GraphQLSchema, random: Random, *, levels: int = LEVELS, roots: Mapping[str, str] | None = None
    ) -> None:
        """Write for this schema. ``roots``: the root fields to ask, with their arguments; None: any, with any."""
        self.schema = schema
        self.random = random
        self.levels = levels
        self.roots = roots
        self.fragments: dict[str, str] = {}

    def variables(self) -> dict[str, Any]:
        """Return values for the variables of any document."""
        random = self.random
        values: dict[str, Any] = {"no": random.choice((True, False)), "yes": random.choice((True, False))}
        values |= {"number": random.choice((None, 1, 7)), "text": "t", "words": ["a", "b"]}
        return {name: value for name, value in values.items() if name == "no" or random.random() < 0.7}

    def document(self, root: Any) -> str:
        """Return a document with one operation."""
        keyword = "mutation" if root is self.schema.mutation_type else "query"
        selections = " ".join(self._root(root) for _ in range(self.random.randrange(1, 4)))
        operation = f"{keyword} Asked{self.HEADER} {{ {selections} }}"
        return "\n".join([operation, *self.fragments.values()])

    def _root(self, root: Any) -> str:
        name = self.random.choice([*(self.roots or root.fields)])
        given = self.roots[name] if self.roots else None
        return self._field(name, root.fields[name], 0, given)

    def _field(self, name: str, field: GraphQLField, level: int, given: str | None = None) -> str:
        alias = f"{self.random.choice('ab')}{self.random.randrange(3)}: " if self.random.random() < 0.3 else ""
        if given is None:
            given = " ".join(self._arguments(field))
        named = get_named_type(field.type)
        inside = self._selections(named, level + 1) if is_composite_type(named) else ""
        return f"{alias}{name}{f'({given})' if given else ''}{self._directive()} {inside}"

    def _selections(self, type_: Any, level: int) -> str:
        fields = getattr(type_, "fields", {})
        flat = [name for name, field in fields.items() if not is_composite_type(get_named_type(field.type))]
        names = list(fields) if level <= self.levels else flat
        selections = []
        for _ in range(self.random.randrange(1, self.levels + 3 - level)):
            if names and self.random.random() < 0.75:
                name = self.random.choice(names)
                selections.append(self._field(name, fields[name], level))
            elif self.random.random() < 0.5:
                selections.append(self.random.choice(("", "", "kind: ")) + "__typename")
            else:
                selections.append(self._fragment(type_, level))
        return f"{{ {' '.join(selections)} }}"

    def _fragment(self, type_: Any, level: int) -> str:
        possible = self.schema.get_possible_types(type_) if is_abstract_type(type_) else (type_,)
        on = self.random.choice([type_, *possible])
        if self.random.random() < 0.5:
            condition = f"on {on.name}" if on is not type_ or self.random.random() < 0.5 else ""
            return f"... {condition}{self._directive()} {self._selections(on, level)}"
        # Once more at the same level or nearer to the root, so that a fragment never asks deeper than the data goes.
        known = [name for name in self.fragments if name.endswith(f"{on.name}At{level}")]
        if known and self.random.random() < 0.5:
            return f"...{self.random.choice(known)}{self._directive()}"
        body = self._selections(on, level)
        name = f"Fragment{len(self.fragments)}{on.name}At{level}"
        self.fragments[name] = f"fragment {name} on {on.name} {body}"
        return f"...{name}{self._directive()}"

    def _directive(self) -> str:
        if self.random.random() < 0.85:
            return ""
        return (
            f" @{self.random.choice(('skip', 'include'))}(if: {self.random.choice(('$yes', '$no', 'true', 'false'))})"
        )

    def _arguments(self, field: GraphQLField) -> list[str]:
        return [
            f"{name}: {self._argument(argument.type)}"
            for name, argument in field.args.items()
            if is_non_null_type(argument.type) or self.random.random() < 0.4
        ]

    def _argument(self, type_: Any) -> str:
        if is_non_null_type(type_):
            type_ = type_.of_type
        written: Sequence[str] = _VALUES.get(getattr(type_, "name", ""), ())
        if is_list_type(type_):
            written = ("$words", "[]", '["a"]', '["a", $text]', '"a"')
            if is_composite_input(type_):
                written = ("[]", "null", "[{}, {season: AUTUMN}]", "[[{atLeast: $number}], null]", "{words: $words}")
        elif is_enum_type(type_):
            written = list(type_.values)
        return self.random.choice(written)
