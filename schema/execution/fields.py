"""How a field below the root is read: what Strawberry's own resolvers do, without what they need not do."""

from collections.abc import Callable
from inspect import iscoroutinefunction
from keyword import iskeyword
from typing import Any, TypeAlias, cast

import msgspec
from graphql import (
    FieldNode,
    GraphQLArgument,
    GraphQLField,
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

Arguments: TypeAlias = Callable[[Executor[Any]], dict[str, Any]]
"""Returns a field's arguments by the names of the resolver's parameters."""


class Declined(Exception):  # noqa: N818 - no error: it leaves a root field to graphql-core
    """No function can be generated for this."""


class Attribute(msgspec.Struct, frozen=True):
    """Read an attribute of the source."""

    name: str


class Method(msgspec.Struct, frozen=True):
    """Call a resolver of Strawberry's that takes no ``Info``, and only arguments that nobody can change."""

    function: Callable[..., Any]
    takes_self: bool
    source_names: tuple[str, ...]
    arguments: Arguments | None
    constant: bool
    """Whether the arguments are the same in each request."""


class Resolver(msgspec.Struct, frozen=True):
    """Call a resolver as graphql-core does. None is its default resolver."""

    function: Callable[..., Any] | None
    arguments: Arguments | None


def reader_of(field: GraphQLField, node: FieldNode, executor: Executor[Any]) -> Attribute | Method | Resolver:
    """Return how a field is read. Raises Declined for asynchronous resolvers, and for extensions and permissions."""
    definition = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if iscoroutinefunction(field.resolve) or getattr(definition, "extensions", None):
        raise Declined
    arguments = _arguments(field, node) if field.args or node.arguments else None
    if isinstance(definition, StrawberryField) and type(definition).get_result is StrawberryField.get_result:
        closure = _closure(field)
        if closure == "_get_basic_result" and _reads_attribute(definition):
            return Attribute(definition.python_name)
        resolver = definition.base_resolver
        if closure == "_resolver" and resolver is not None and _is_simple(resolver, field):
            named = (resolver.parent_parameter, resolver.root_parameter)
            return Method(
                cast("Callable[..., Any]", resolver.wrapped_func),
                takes_self=resolver.self_parameter is not None,
                source_names=tuple(parameter.name for parameter in named if parameter is not None),
                arguments=arguments and _converted(arguments, definition, executor),
                constant=not any(isinstance(argument.value, VariableNode) for argument in node.arguments or ()),
            )
    return Resolver(field.resolve, arguments)


def _closure(field: GraphQLField) -> str:
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
