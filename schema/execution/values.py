"""What generated functions call for a value that is not plainly what its field promises."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, cast

from graphql import GraphQLLeafType, Undefined
from graphql.pyutils import is_awaitable
from strawberry.schema.schema_converter import CustomGraphQLEnumType

MAX_PLAIN = 4096

PLAIN: set[type] = {bool, bytes, date, datetime, Decimal, dict, float, int, list, str, time, tuple}
"""Classes whose instances are neither null nor an error, and cannot be awaited. Those that are met are added."""


class Bail(Exception):  # noqa: N818 - no error: it leaves the rest to graphql-core
    """A value is not as it usually is; graphql-core shall complete the root value by its own rules."""

    def __init__(self, value: object = None) -> None:
        super().__init__()
        self.value = value


def check(value: object) -> None:
    """Let a plain value pass. Raises Bail for null, an exception and whatever can be awaited."""
    if value is None or value is Undefined or isinstance(value, BaseException) or is_awaitable(value):
        raise Bail(value)
    kind = type(value)
    # Where a class makes attributes up, what holds for one of its instances says nothing about the next.
    if kind.__getattribute__ is object.__getattribute__ and not hasattr(kind, "__getattr__") and len(PLAIN) < MAX_PLAIN:
        PLAIN.add(kind)


def default(source: Any, name: str) -> Any:
    """Return what graphql-core's default resolver returns. Raises Bail where it would call something."""
    mapping = type(source) is dict or isinstance(source, Mapping)
    value = source.get(name) if mapping else getattr(source, name, None)
    if callable(value):
        raise Bail(value)
    return value


def coercer(type_: GraphQLLeafType) -> Callable[[Any], Any]:
    """Return a function that coerces to a leaf type as graphql-core does, and raises where that would be an error."""
    coerce_output_value = type_.coerce_output_value

    def coerce(value: Any) -> Any:
        if type(value) not in PLAIN:
            check(value)
        coerced = coerce_output_value(value)
        if type(coerced) not in PLAIN:
            check(coerced)
        return coerced

    return coerce


def members_of(type_: GraphQLLeafType) -> type[Enum] | None:
    """Return the class of Strawberry's enum if each member's name in Python is its name in GraphQL; None otherwise."""
    if type(type_) is not CustomGraphQLEnumType:
        return None
    members = cast("type[Enum]", type_.wrapped_cls)
    names = {member.name for member in members}
    if names != set(type_.values) or any(type_.coerce_output_value(member) != member.name for member in members):
        return None
    return members
