"""How a field below the root is read: what Strawberry's own resolvers do, without what they need not do."""

from collections.abc import Callable
from inspect import iscoroutinefunction
from keyword import iskeyword
from operator import attrgetter
from typing import Any, TypeAlias, cast

import msgspec
from graphql import (
    FieldNode,
    GraphQLArgument,
    GraphQLField,
    GraphQLNamedType,
    VariableNode,
    get_argument_values,
    is_enum_type,
    is_non_null_type,
    is_scalar_type,
    is_specified_scalar_type,
)
from graphql.execution import Executor
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.arguments import convert_arguments
from strawberry.types.field import StrawberryField
from strawberry.types.fields.resolver import StrawberryResolver

from schema.execution.fragments import Fragmented

AGE_DIGITS = 3
Arguments: TypeAlias = Callable[[Executor[Any]], dict[str, Any]]
"""Returns a field's arguments by the names of the resolver's parameters."""


def reads(path: str) -> Callable[[Any], Any]:
    """Return a resolver that reads attributes of its source, such as ``station.name``; projections do so in place.

    Raises ValueError where the path is not names with dots between.
    """
    if not all(name.isidentifier() and not iskeyword(name) for name in path.split(".")):
        msg = f"not a path of attributes: {path!r}"
        raise ValueError(msg)
    read = attrgetter(path)

    def resolve(self: Any) -> Any:
        return read(self)

    resolve.__dict__["reads_path"] = path
    return resolve


def ages(since: Callable[[Any], float | None], now: Callable[[Any], float]) -> Callable[[Any], float | None]:
    """Return a resolver for the seconds between a moment of its source and now, to the millisecond and never negative.

    Null where there was no such moment. It may stand below what is kept as bytes, for there it is told anew each time.
    """

    def resolve(self: Any) -> float | None:
        at = since(self)
        return None if at is None else round(max(0.0, now(self) - at), AGE_DIGITS)

    resolve.__dict__["ages_since"] = since
    return resolve


class Declined(Exception):  # noqa: N818 - no error: it leaves a root field to graphql-core
    """No function can be generated for this."""


class Attribute(msgspec.Struct, frozen=True):
    """Read an attribute of the source, or one of its attribute's."""

    path: str


class Method(msgspec.Struct, frozen=True):
    """Call a resolver of Strawberry's that takes no ``Info``, and only arguments that nobody can change."""

    function: Callable[..., Any]
    takes_self: bool
    source_names: tuple[str, ...]
    arguments: Arguments | None
    constant: bool
    """Whether the arguments are the same in each request."""


class Age(msgspec.Struct, frozen=True):
    """Tell how long ago a moment of the source was, by a resolver; or put a hole, and note the moment."""

    since: Callable[[Any], float | None]
    resolve: Callable[[Any], float | None]


class Resolver(msgspec.Struct, frozen=True):
    """Call a resolver as graphql-core does. None is its default resolver."""

    function: Callable[..., Any] | None
    arguments: Arguments | None


Reader: TypeAlias = Attribute | Age | Method | Resolver


def is_fragmented(type_: GraphQLNamedType) -> bool:
    """Tell whether a type is one of Strawberry's whose objects may be kept as bytes."""
    definition = type_.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    origin = getattr(definition, "origin", None)
    return isinstance(origin, type) and issubclass(origin, Fragmented)


def reader_of(field: GraphQLField, node: FieldNode, executor: Executor[Any]) -> Reader:
    """Return how a field is read. Raises Declined for asynchronous resolvers, and for extensions and permissions."""
    definition = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if iscoroutinefunction(field.resolve) or getattr(definition, "extensions", None):
        raise Declined
    arguments = _arguments(field, node) if field.args or node.arguments else None
    if isinstance(definition, StrawberryField) and type(definition).get_result is StrawberryField.get_result:
        closure = closure_of(field)
        if closure == "_get_basic_result" and _reads_attribute(definition):
            return Attribute(definition.python_name)
        resolver = definition.base_resolver
        if closure == "_resolver" and resolver is not None and _is_simple(resolver, field):
            if path := getattr(resolver.wrapped_func, "reads_path", None):
                return Attribute(path)
            if since := getattr(resolver.wrapped_func, "ages_since", None):
                return Age(since, cast("Callable[[Any], float | None]", resolver.wrapped_func))
            named = (resolver.parent_parameter, resolver.root_parameter)
            return Method(
                cast("Callable[..., Any]", resolver.wrapped_func),
                takes_self=resolver.self_parameter is not None,
                source_names=tuple(parameter.name for parameter in named if parameter is not None),
                arguments=arguments and _converted(arguments, definition, executor),
                constant=not any(isinstance(argument.value, VariableNode) for argument in node.arguments or ()),
            )
    return Resolver(field.resolve, arguments)


def closure_of(field: GraphQLField) -> str:
    """Return the name of the function within Strawberry's converter that a field's resolver is; empty for others."""
    name: str = getattr(getattr(field.resolve, "__code__", None), "co_qualname", "")
    place, _, closure = name.rpartition(".<locals>.")
    return closure if place == GraphQLCoreConverter.from_resolver.__qualname__ else ""


def _reads_attribute(definition: StrawberryField) -> bool:
    name = definition.python_name
    return definition.default_resolver is getattr and name.isidentifier() and not iskeyword(name)


def _is_simple(resolver: StrawberryResolver[Any], field: GraphQLField) -> bool:
    return (
        type(resolver) is StrawberryResolver
        and callable(resolver.wrapped_func)
        and resolver.info_parameter is None
        and all(map(_is_immutable, field.args.values()))
    )


def _is_immutable(argument: GraphQLArgument) -> bool:
    type_: Any = argument.type.of_type if is_non_null_type(argument.type) else argument.type
    return is_enum_type(type_) or (is_scalar_type(type_) and is_specified_scalar_type(type_))


def _arguments(field: GraphQLField, node: FieldNode) -> Arguments:
    return lambda executor: get_argument_values(field, node, executor.variable_values, None, executor.hide_suggestions)


def _converted(given: Arguments, definition: StrawberryField, executor: Executor[Any]) -> Arguments:
    schema = executor.schema._strawberry_schema  # type: ignore[attr-defined] # noqa: SLF001 - as Strawberry's Info does
    registry, config = schema.schema_converter.scalar_registry, schema.config
    return lambda executor: convert_arguments(given(executor), definition.arguments, registry, config)
