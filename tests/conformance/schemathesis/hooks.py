"""What schemathesis cannot know: values of our own scalars, right ones and wrong ones."""

from typing import Any

import schemathesis
from graphql import ValueNode, parse_value
from hypothesis import strategies as st

LON_LAT = st.lists(st.floats(-200, 200, allow_nan=False).map(lambda degrees: round(degrees, 6)), min_size=1, max_size=3)
LINES = st.lists(LON_LAT, max_size=6)
RINGS = LINES.map(lambda line: [*line, *line[:1]])
NEAR = st.tuples(st.floats(121, 122), st.floats(31, 32)).map(list)
GEOMETRIES = st.one_of(
    st.fixed_dictionaries({"type": st.just("LineString"), "coordinates": st.lists(NEAR, min_size=2, max_size=5)}),
    st.fixed_dictionaries(
        {
            "type": st.just("Polygon"),
            "coordinates": st.just([[[121, 31], [122, 31], [122, 32], [121, 32], [121, 31]]]),
        }
    ),
    st.fixed_dictionaries({"type": st.sampled_from(["LineString", "Polygon", "Point"]), "coordinates": LINES}),
    st.fixed_dictionaries({"type": st.just("Polygon"), "coordinates": st.lists(RINGS, max_size=2)}),
    st.fixed_dictionaries({"type": st.just("MultiPolygon"), "coordinates": st.lists(st.lists(RINGS), max_size=2)}),
    st.dictionaries(st.sampled_from(["type", "coordinates", "a"]), st.none() | st.integers() | st.booleans()),
)


def literal(value: Any) -> str:
    """Write a value of JSON as GraphQL does."""
    match value:
        case dict():
            return "{" + ", ".join(f"{name}: {literal(inner)}" for name, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(literal, value)) + "]"
        case str():
            return f'"{value}"'
        case bool() | None:
            return {True: "true", False: "false", None: "null"}[value]
        case _:
            return repr(value)


def node(value: Any) -> ValueNode:
    """Return a value of JSON as a part of a document."""
    return parse_value(literal(value), no_location=True)


schemathesis.graphql.scalar("GeoJSON", GEOMETRIES.map(node))
