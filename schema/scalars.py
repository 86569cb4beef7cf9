"""Scalars of our own, and how enums of the model become enums of the API."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, NewType, TypeVar

import strawberry
from graphql import GraphQLError
from strawberry.types.enum import StrawberryEnumDefinition
from strawberry.types.scalar import ScalarDefinition

from app.model.clock import to_datetime

DateTime = NewType("DateTime", float)
"""An Instant, shown as a DateTime."""

GeoJson = NewType("GeoJson", object)
"""A GeoJSON object as it came, not yet checked."""

Milliseconds = 3
E_ = TypeVar("E_", bound=type[Enum])


def _date_time(instant: float) -> str:
    return to_datetime(instant).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _no_date_time(value: object) -> float:
    raise GraphQLError(f"a DateTime is never an input here: {value!r:.40}")


def _geo_json(value: object) -> Any:
    if not isinstance(value, dict):
        raise TypeError("a GeoJSON geometry is an object with the members type and coordinates")
    return value


SCALARS: dict[object, ScalarDefinition] = {
    DateTime: strawberry.scalar(
        name="DateTime",
        description="A moment in UTC, RFC 3339 with milliseconds: 2026-11-25T05:00:00.000Z.",
        specified_by_url="https://scalars.graphql.org/andimarek/date-time",
        serialize=_date_time,
        parse_value=_no_date_time,
    ),
    GeoJson: strawberry.scalar(
        name="GeoJSON",
        description=(
            "A GeoJSON geometry (RFC 7946): an object with `type` Polygon or MultiPolygon for an area, LineString for "
            "a route, and `coordinates` as [longitude, latitude] in degrees."
        ),
        specified_by_url="https://www.rfc-editor.org/rfc/rfc7946",
        parse_value=_geo_json,
    ),
}


def api_enum(members: E_, name: str, description: str, meanings: Mapping[str, str]) -> E_:
    """Give an enum of the model a name and a description in the API. Raises ValueError unless each member has one."""
    if missing := set(members.__members__) ^ set(meanings):
        msg = f"{name}: describe exactly its members; these differ: {sorted(missing)}"
        raise ValueError(msg)
    strawberry.enum(members, name=name, description=description)
    definition: StrawberryEnumDefinition = vars(members)["__strawberry_definition__"]
    for value in definition.values:
        value.description = meanings[value.name]
    return members
