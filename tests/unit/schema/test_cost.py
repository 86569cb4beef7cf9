"""What operations cost: by hand, and as a walk without any memory would count."""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from graphql import FieldNode, FragmentSpreadNode, get_named_type, parse, validate
from hypothesis import given
from hypothesis import strategies as st

from schema import cost as cost_module
from schema import limits
from schema.cost import INTROSPECTION_COST, MAX_COST, Costs, CostTable
from schema.engine import Engine, Plan
from schema.limits import check_limits
from schema.root import schema

SCHEMA = schema._schema
TABLE = CostTable(SCHEMA)
GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "queries"
EVSES = "evses { id connectors { type } }"
STATION = f"name operator {{ name }} location {{ lon }} availability {{ available }} {EVSES}"
PER_STATION = 1 + 3 + 8 * (1 + 1)


def cost(document: str, variables: Any = None, name: str | None = None) -> int:
    parsed = parse(document)
    assert not validate(SCHEMA, parsed)
    return Costs(parsed, TABLE).of(name, variables)


def test_every_list_of_objects_says_how_long_it_is() -> None:
    assert not TABLE.lists_without_size(), "give these `directives=[about(…)]`, or what schema/cost.py offers"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("{ __typename }", 1),
        ("{ operators { name } }", 20),
        (f'{{ station(id: "a") {{ {STATION} }} }}', PER_STATION),
        (f'{{ stations(ids: ["a", "b", "c"]) {{ {STATION} }} }}', 3 * PER_STATION),
        (f'{{ stations(ids: "a") {{ {STATION} }} }}', PER_STATION),
        ("{ stations(ids: []) { name } }", 0 + 1),
        ("{ nearbyStations(near: {lon: 1, lat: 1}, radiusM: 5) { totalCount } }", 20),
        (
            f"{{ nearbyStations(near: {{lon: 1, lat: 1}}, radiusM: 5) {{ edges {{ node {{ {STATION} }} }} }} }}",
            20 + 20 * (1 + PER_STATION),
        ),
        (
            "{ reservations(first: 7) { edges { node { id } } pageInfo { endCursor } } }",
            1 + 7 * 2 + 1,
        ),
        ("{ reservations(first: 999) { edges { node { evse { id } } } } }", 1 + 100 * 3),
        ("{ reservations(first: 2147483647) { edges { cursor } } }", 1 + 100),
        ("{ reservations(first: -5) { edges { cursor } } }", 1),
        ("{ a: operators { name } b: operators { name } }", 40),
        ("{ operators { name } operators { party } }", 20),
        ("{ operators @skip(if: true) { name } }", 1),
        ("{ ... @include(if: false) { operators { name } } feeds { id } }", 10),
        ("{ ...Q ...Q } fragment Q on Query { operators { name } }", 20),
        ('mutation { cancelReservation(input: {reservationId: "a", idempotencyKey: "k"}) { replayed } }', 10),
        ('subscription { availabilityChanged(stationIds: ["a", "b"]) { changes { station { id } } } }', 50 + 2 * 2),
        (
            "subscription { availabilityChanged(box: {west: 1, south: 1, east: 2, north: 2}) { changes { kind } } }",
            50 + 100,
        ),
        ("{ __schema { types { name } } }", INTROSPECTION_COST),
        ("{ _service { sdl } }", INTROSPECTION_COST),
        (
            "{ _entities(representations: [{a: 1}, {b: 2}]) { ... on Station { evses { id } } ... on Evse { id } } }",
            2 * (1 + 8),
        ),
    ],
)
def test_by_hand(document: str, expected: int) -> None:
    assert cost(document) == expected


BATCH = f"""
query($points: [BatchPointInput!]!, $first: Int!) {{
  nearbyStationsBatch(points: $points, radiusM: 5, first: $first) {{ stations {{ edges {{ node {{ {STATION} }} }} }} }}
}}
"""


def test_the_largest_batch_is_within_the_limit() -> None:
    points = [{"lon": 1.0, "lat": 1.0}] * 100
    largest = cost(BATCH, {"points": points, "first": 5})
    assert largest == 100 * (1 + 20 + 5 * (1 + PER_STATION)) <= MAX_COST
    assert cost(BATCH, {"points": points[:3], "first": 500}) == 3 * (1 + 20 + 10 * (1 + PER_STATION))


@pytest.mark.parametrize("first", [None, True, "5", -1, 10**400, 1e308, float("inf"), float("nan"), [], {}, [[1]]])
@pytest.mark.parametrize("ids", [None, "a", 5, {}, ["a"] * 5_000, [None]])
def test_variables_that_are_wrong_cost_something(first: Any, ids: Any) -> None:
    document = "query($f: Int!, $i: [ID!]!) { reservations(first: $f) { edges { cursor } } stations(ids: $i) { id } }"
    assert 1 <= cost(document, {"f": first, "i": ids}) <= 201


def test_variables_decide_as_in_execution() -> None:
    document = """
    query($first: Int! = 3, $all: Boolean! = true) {
      reservations(first: $first) { edges @include(if: $all) { cursor } }
    }
    """
    assert [cost(document, given) for given in (None, {"first": 9}, {"all": False}, {"first": 0})] == [4, 10, 1, 1]


def test_little_is_remembered() -> None:
    document = "query A($f: Int!) { reservations(first: $f) { edges { cursor } } }"
    costs = Costs(parse(document), TABLE)
    for number in range(1_000):
        assert costs.of("A", {"f": number, "other": number}) == 1 + min(number, 100)
        assert costs.of("x" * number, {"f": number}) == 1
    assert len(costs._known) <= cost_module.MAX_REMEMBERED


def test_of_several_operations_the_one_that_is_named_counts() -> None:
    document = "query A { operators { id } } query B { feeds { id } }"
    assert [cost(document, None, name) for name in ("A", "B", "C", None)] == [20, 10, 1, 1]


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.graphql")), ids=lambda path: path.stem)
def test_what_partners_ask_is_far_from_the_limit(path: Path) -> None:
    variables = GOLDEN / f"{path.stem}.variables.json"
    given = json.loads(variables.read_text(encoding="utf-8")) if variables.exists() else None
    assert cost(path.read_text(encoding="utf-8"), given) < MAX_COST / 10


# ------------------------------------------------------------------------------------------------------- any document


TREES = st.recursive(
    st.integers(0, 999),
    lambda inner: st.lists(st.tuples(st.integers(0, 999), inner), min_size=1, max_size=4),
    max_leaves=30,
)


def write(tree: Any, type_name: str, fragments: list[str], numbers: Iterator[int]) -> str:
    """Write a selection of a type from any tree of numbers, some of it in fragments; no name comes twice."""
    type_: Any = SCHEMA.type_map[type_name]
    fields = {name: field for name, field in type_.fields.items() if not name.startswith("_")}
    names = [name for name, field in fields.items() if not field.args or name in {"reservations", "location"}]
    parts = []
    for chosen, inner in tree if isinstance(tree, list) else [(tree, 0)]:
        name, number = names[chosen % len(names)], next(numbers)
        named = get_named_type(fields[name].type)
        arguments = f"(first: {chosen % 120})" if name == "reservations" else ""
        below = f" {{ {write(inner, named.name, fragments, numbers)} }}" if hasattr(named, "fields") else ""
        part = f"f{number}: {name}{arguments}{below}"
        if chosen % 3 == 0:
            fragments.append(f"fragment F{number} on {type_name} {{ {part} }}")
            part = f"...F{number}" + (f" ...F{number}" if chosen % 2 else "")
        elif chosen % 3 == 1:
            part = f"... on {type_name} {{ {part} }}"
        parts.append(part)
    return " ".join(parts)


def plainly(node: Any, type_name: str, fragments: dict[str, Any], page: int | None) -> int:
    """Count without memory: no field merges with another, but fragments that are spread twice."""
    total, spread = 0, set()
    type_: Any = SCHEMA.type_map[type_name]
    for each in node.selection_set.selections:
        if isinstance(each, FragmentSpreadNode):
            if each.name.value not in spread:
                spread.add(each.name.value)
                total += plainly(fragments[each.name.value], type_name, fragments, page)
        elif not isinstance(each, FieldNode):
            total += plainly(each, type_name, fragments, page)
        elif each.selection_set:
            name = each.name.value
            rule = TABLE.rule(type_, name)
            size = page if name == "edges" and page is not None else rule.listed
            firsts = [int(given.value.value) for given in each.arguments or () if given.name.value == "first"]  # type: ignore[attr-defined]
            below = get_named_type(type_.fields[name].type).name
            total += size * (rule.weight + plainly(each, below, fragments, min(firsts[0], 100) if firsts else None))
    return total


@given(TREES)
def test_any_document_costs_what_a_walk_without_memory_counts(tree: Any) -> None:
    written: list[str] = []
    document = parse("{ " + write(tree, "Query", written, count()) + " } " + " ".join(written))
    operation, *fragments = document.definitions
    expected = plainly(operation, "Query", {node.name.value: node for node in fragments}, None)  # type: ignore[attr-defined]
    assert Costs(document, TABLE).of(None, None) == max(1, expected)


# ------------------------------------------------------------------------------------------------------- doubling


def doubling(levels: int) -> str:
    """Fragments that each spread the next one twice: 2^levels selections for whoever walks each spread."""
    chain = [f"fragment F{n} on Station {{ ...F{n + 1} ...F{n + 1} }}" for n in range(levels)]
    return " ".join(["{ station(id: 1) { ...F0 ...F0 } }", *chain, f"fragment F{levels} on Station {{ id }}"])


def test_the_limiter_and_the_cost_are_linear_in_fragments_that_double() -> None:
    limiting, costing = {}, {}
    for levels in (50, 100, 200):
        document = parse(doubling(levels))
        assert check_limits(document) is None
        operation: Any = document.definitions[0]
        walk = limits._Walk(document)
        walk.descend(walk.collect([operation.selection_set]))
        limiting[levels] = walk.steps
        query: Any = SCHEMA.query_type
        spending = cost_module._Walk(TABLE, walk.fragments, {})
        assert spending.below([operation.selection_set], query, ()) == 1
        costing[levels] = spending.steps
    for steps in (limiting, costing):
        assert steps[200] - steps[100] == 2 * (steps[100] - steps[50]), "twice the levels, twice the steps"
        assert steps[200] < 5 * 200


def test_the_engine_takes_them() -> None:
    plan = Engine().plan(doubling(190))  # 200 are more tokens than a document may have
    assert isinstance(plan, Plan)
    assert Engine().weigh(plan, None, None) == 1
