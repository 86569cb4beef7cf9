"""From a root field's selections to one Python function that projects its value to plain dicts and lists.

An example stands in README.md. In generated code ``v`` is the value, ``x`` the executor, ``p`` the path and ``i`` the
info of the field. What cannot be projected raises, and any exception is a bail.
"""

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, TypeAlias

import msgspec
from graphql import (
    GraphQLAbstractType,
    GraphQLBoolean,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLLeafType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLString,
    default_field_resolver,
    default_type_resolver,
    get_named_type,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetailsList
from graphql.pyutils import Path
from graphql.type.scalars import GRAPHQL_MAX_INT, GRAPHQL_MIN_INT

from schema.execution.fields import Age, Attribute, Declined, Method, Reader, is_fragmented, reader_of
from schema.execution.fragments import HOLE, Fragments
from schema.execution.values import PLAIN, Bail, check, coercer, default, members_of

Projection: TypeAlias = Callable[[Any, Executor[Any], Path, Any], Any]
Lines: TypeAlias = list[str]

MAX_FIELDS = 2_000
MAX_DEPTH = 40
"""Deeper ones are left to graphql-core, which may come to the end of the interpreter's stack and says so."""

_UNUSUAL: dict[GraphQLNamedType, str] = {
    GraphQLString: "type({0}) is not str",
    GraphQLID: "type({0}) is not str",
    GraphQLBoolean: "type({0}) is not bool",
    GraphQLFloat: "(type({0}) is not float or {0} - {0} != 0.0)",
    GraphQLInt: f"(type({{0}}) is not int or not {GRAPHQL_MIN_INT} <= {{0}} <= {GRAPHQL_MAX_INT})",
}
"""When a value of a specified scalar is not yet what it is coerced to. (Infinity minus infinity is not zero.)"""

_NAMES = {"PLAIN": PLAIN, "Bail": Bail, "check": check, "default": default, "Path": Path, "HOLE": HOLE}


class Place(msgspec.Struct, frozen=True):
    """A generated function that completes objects of one type with one set of selections."""

    name: str
    needs_path: bool
    """Whether it takes the path of the object, because a field below needs an info."""
    needs_info: bool
    """Whether it takes the info of the field that the object is the value of."""

    def call(self, value: str, path: str) -> str:
        """Return the call of it for these variables; it is also how it is declared."""
        return f"{self.name}({value}{f', {path}' * self.needs_path}{', i' * self.needs_info})"


class _PieceOfSource:
    """What is known of an object that may be kept, while the function that projects it is generated."""

    def __init__(self) -> None:
        self.is_whole = True
        """Whether it has none of another such object in it, which changes in its own time."""
        self.values: list[str] = []
        """The names of the values of variables that it is made with."""


class Generated(msgspec.Struct, frozen=True):
    """A projection, and of how many fields it consists."""

    project: Projection
    field_count: int


def generate(
    executor: Executor[Any], type_: GraphQLOutputType, selected: FieldDetailsList, fragments: Fragments | None = None
) -> Generated:
    """Return the projection of a root field of this type.

    With ``fragments`` it returns some objects as ``orjson.Fragment``, and only orjson can write it. Of the variables
    only those count that decide which fields are included. Raises Declined, or what graphql-core raises, where none can
    be generated.
    """
    generator = Generator(executor, fragments)
    source = generator.source(type_, selected)
    exec(compile(source, "<projection>", "exec"), generator.names)  # noqa: S102 - made here, of names in the schema
    projection: Projection = generator.names["project"]
    return Generated(projection, generator.field_count)


class Generator:
    """The state of one generation."""

    def __init__(self, executor: Executor[Any], fragments: Fragments | None = None) -> None:
        """Begin with what all projections know."""
        self.executor = executor
        self.field_count = 0
        self.names: dict[str, Any] = _NAMES.copy()
        self._fragments = fragments
        self._piece: _PieceOfSource | None = None
        self._hoisted: Lines = []
        self._functions: Lines = []
        self._places: dict[tuple[object, ...], Place] = {}

    def source(self, type_: GraphQLOutputType, selected: FieldDetailsList) -> str:
        """Return the source of the function ``project``; ``names`` then holds what it refers to."""
        place = self._place(get_named_type(type_), selected, depth=1)
        completed = self._complete(type_, "v", "p", place)
        body = [*self._hoisted, *self._functions, *completed, "return v"]
        return "\n".join(["def project(v, x, p, i):", *_indented(body)])

    def _constant(self, letter: str, value: object) -> str:
        """Give a value a name in the generated source."""
        name = f"{letter}{len(self.names)}"
        self.names[name] = value
        return name

    def _place(self, type_: GraphQLNamedType, selected: FieldDetailsList, depth: int) -> Place | None:
        """Return the function that completes what a field selects of a type, None for leaf types."""
        if is_leaf_type(type_):
            return None
        # The same selections in many places, by fragments in fragments, are one function.
        key = (type_, self._piece, *(id(details.node) for details in selected))
        if key not in self._places:
            if depth > MAX_DEPTH or type_.name.startswith("__"):
                raise Declined
            make = self._abstract if is_abstract_type(type_) else self._kept if self._is_kept(type_) else self._object
            self._places[key] = make(type_, selected, depth)  # type: ignore[arg-type]
        return self._places[key]

    def _is_kept(self, type_: GraphQLNamedType) -> bool:
        """Tell whether objects of a type may be kept as bytes."""
        if self._fragments is None:
            return False
        if self._piece is not None:
            self._piece.is_whole = self._piece.is_whole and not is_fragmented(type_)
            return False
        return is_fragmented(type_)

    def _kept(self, type_: GraphQLObjectType, selected: FieldDetailsList, depth: int) -> Place:
        """Return the function that completes objects which may be kept; it calls the one that projects them."""
        assert self._fragments is not None
        self._piece = piece = _PieceOfSource()
        projecting = self._object(type_, selected, depth)
        self._piece = None
        if not piece.is_whole or projecting.needs_path or projecting.needs_info:
            # Generated as a part of a piece, it would put holes.
            return self._object(type_, selected, depth)
        kept = self._constant("s", self._fragments)
        here = self._constant("h", object())
        values = "".join(f", *{name}.values()" for name in piece.values)
        self._hoisted.append("g = []")
        lines = [
            "if type(v) not in PLAIN: check(v)",
            f"k = ({here}, v.fragment_key(){values})",
            f"b = {kept}.find(k, v)",
            f"return b if b is not None else {kept}.make(k, v, {projecting.name}, g)",
        ]
        return self._function(lines, needs_path=False, needs_info=False)

    def _object(self, type_: GraphQLObjectType, selected: FieldDetailsList, depth: int) -> Place:
        lines = ["if type(v) not in PLAIN: check(v)"]
        if type_.is_type_of:
            lines += [f"b = {self._synchronous(type_.is_type_of)}(v, i)", "if b is not True: raise Bail(b)"]
        needs_path = False
        entries = []
        for key, fields in self.executor.collect_subfields(type_, selected).grouped_field_set.items():
            name = fields[0].node.name.value
            field = self.executor.schema.get_field(type_, name)
            if field is None:
                continue
            if name == "__typename":
                entries.append(f"{key!r}: {type_.name!r}")
                continue
            variable = f"f{len(entries)}"
            entries.append(f"{key!r}: {variable}")
            place = self._place(get_named_type(field.type), fields, depth + 1)
            reader = reader_of(field, fields[0].node, self.executor)
            if self._piece is not None and isinstance(reader, Age):
                lines += [f"{variable} = {self._constant('m', reader.since)}(v)", *_hole(field.type, variable)]
                continue
            value, needs_info = self._read(reader, fields)
            if place is not None:
                needs_info = needs_info or place.needs_info
            if needs_info or (place is not None and place.needs_path):
                needs_path = True
                lines.append(f"q = Path(p, {key!r}, {type_.name!r})")
            if needs_info:
                nodes = [details.node for details in fields]
                constants = [self._constant("d", field), self._constant("n", nodes), self._constant("t", type_)]
                lines.append(f"i = x.build_resolve_info({', '.join(constants)}, q)")
            lines += [f"{variable} = {value}", *self._complete(field.type, variable, "q", place)]
        self.field_count += len(entries)
        if self.field_count > MAX_FIELDS:
            raise Declined
        lines.append(f"return {{{', '.join(entries)}}}")
        return self._function(lines, needs_path=needs_path, needs_info=bool(type_.is_type_of))

    def _abstract(self, type_: GraphQLAbstractType, selected: FieldDetailsList, depth: int) -> Place:
        resolve_type = self._synchronous(type_.resolve_type or default_type_resolver)
        lines = ["if type(v) not in PLAIN: check(v)", f"b = {resolve_type}(v, i, {self._constant('t', type_)})"]
        needs_path = False
        for possible in self.executor.schema.get_possible_types(type_):
            place = self._place(possible, selected, depth)
            assert place is not None
            needs_path = needs_path or place.needs_path
            lines.append(f"if b == {possible.name!r}: return {place.call('v', 'p')}")
        lines.append("raise Bail(b)")
        return self._function(lines, needs_path=needs_path, needs_info=True)

    def _function(self, lines: Lines, *, needs_path: bool, needs_info: bool) -> Place:
        place = Place(self._constant("o", None), needs_path, needs_info)
        self._functions += [f"def {place.call('v', 'p')}:", *_indented(lines)]
        return place

    def _synchronous(self, function: Callable[..., Any]) -> str:
        if iscoroutinefunction(function):
            raise Declined
        return self._constant("t", function)

    def _read(self, reader: Reader, selected: FieldDetailsList) -> tuple[str, bool]:
        """Return the expression that reads a field of ``v``, and whether it needs the field's info in ``i``."""
        match reader:
            case Age(_, resolve):
                return f"{self._constant('m', resolve)}(v)", False
            case Attribute(path):
                return f"v.{path}", False
            case Method() as method:
                given = ["v"] * method.takes_self + [f"{name}=v" for name in method.source_names]
                if method.arguments is not None and method.constant:
                    given.append(f"**{self._constant('k', method.arguments(self.executor))}")
                elif method.arguments is not None:
                    values = self._constant("k", None)
                    self._hoisted.append(f"{values} = {self._constant('a', method.arguments)}(x)")
                    if self._piece is not None:
                        self._piece.values.append(values)
                    given.append(f"**{values}")
                return f"{self._constant('m', method.function)}({', '.join(given)})", False
            case resolver:
                if resolver.function is None and resolver.arguments is None:
                    return f"default(v, {selected[0].node.name.value!r})", False
                arguments = f", **{self._constant('a', resolver.arguments)}(x)" if resolver.arguments else ""
                return f"{self._constant('r', resolver.function or default_field_resolver)}(v, i{arguments})", True

    def _complete(self, type_: GraphQLOutputType, v: str, path: str, place: Place | None) -> Lines:
        """Return the statements that replace the value in a variable by the completed one."""
        nullable = not is_non_null_type(type_)
        if is_non_null_type(type_):
            type_ = type_.of_type
        if is_leaf_type(type_):
            return self._coerce(type_, v, nullable=nullable)
        if is_list_type(type_):
            lines = self._complete_list(type_.of_type, v, path, place)
        else:
            assert place is not None
            lines = [f"{v} = {place.call(v, path)}"]
        return [f"if {v} is not None:", *_indented(lines)] if nullable else lines

    def _complete_list(self, item_type: GraphQLOutputType, v: str, path: str, place: Place | None) -> Lines:
        loop = [f"for {v}_ in {v}:"]
        if place is not None and place.needs_path:
            loop = [f"for n, {v}_ in enumerate({v}):", f"    {path}_ = Path({path}, n, None)"]
        return [
            f"if type({v}) is not list and type({v}) is not tuple: raise Bail({v})",
            f"{v}_s = []",
            *loop,
            *_indented([*self._complete(item_type, f"{v}_", f"{path}_", place), f"{v}_s.append({v}_)"]),
            f"{v} = {v}_s",
        ]

    def _coerce(self, type_: GraphQLLeafType, v: str, *, nullable: bool) -> Lines:
        coerced = f"{v} = {self._constant('c', coercer(type_))}({v})"
        if members := members_of(type_):
            otherwise = f"elif {v} is not None:" if nullable else "else:"
            return [f"if type({v}) is {self._constant('e', members)}: {v} = {v}._name_", f"{otherwise} {coerced}"]
        conditions = [_UNUSUAL[type_].format(v)] if type_ in _UNUSUAL else []
        if nullable:
            conditions.append(f"{v} is not None")
        return [f"if {' and '.join(conditions)}: {coerced}" if conditions else coerced]


def _hole(type_: GraphQLOutputType, v: str) -> Lines:
    """Return the statements that note an age, and put a hole in its place."""
    lines = [f"if {v} is not None:", f"    g.append({v})", f"    {v} = HOLE"]
    return [*lines, f"else: raise Bail({v})"] if is_non_null_type(type_) else lines


def _indented(lines: Lines) -> Lines:
    return [f"    {line}" for line in lines]
