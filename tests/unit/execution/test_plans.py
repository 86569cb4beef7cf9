"""Plans are made once and remembered within bounds, and one switch turns them off."""

import gc
import weakref
from itertools import product
from typing import Any

import pytest
import strawberry
from graphql import DocumentNode, build_schema, parse
from graphql.execution.incremental import IncrementalExecutor

from schema.engine import Answer, Engine, KeepingExecutor
from schema.execution import CompiledExecutor, Plans, Projecting
from schema.execution.plans import MAX_PLANS_A_DOCUMENT, Plan

SCHEMA = build_schema("type Query { a: A } type A { a: A b: String }")


class Executor(Projecting, IncrementalExecutor):
    """Has no plans of its own: each test hands some over."""


def plan_of(plans: Plans, document: DocumentNode, variables: dict[str, Any] | None = None) -> Plan:
    executor = Executor.build(SCHEMA, document, None, None, variables or {})
    assert isinstance(executor, Executor)
    found = plans.find(executor, document)
    assert found is not None
    return found


def execute(plans: Plans, document: DocumentNode, root: Any) -> Plan:
    class Own(Executor):
        pass

    Own.plans = plans
    executor = Own.build(SCHEMA, document, root)
    assert isinstance(executor, Own)
    executor.execute_operation()
    return plan_of(plans, document)


def test_a_document_that_comes_again_finds_what_was_generated():
    plans, document = Plans(), parse("{ a { b } }")
    first = execute(plans, document, {"a": {"b": "b"}})
    generated = dict(first._projections)
    assert execute(plans, document, {"a": {"b": "b"}}) is first
    assert first._projections == generated
    assert plans.projected == 2


def test_nothing_is_generated_for_a_root_value_that_is_null():
    plan = execute(Plans(), parse("{ a { b } }"), {"a": None})
    assert plan.field_count == 0


def test_the_least_recently_used_documents_are_forgotten():
    plans = Plans(max_fields=40)
    often = parse("{ a { b } }")
    kept = execute(plans, often, {"a": {}})
    once = [parse("{ a { b } }") for _ in range(30)]
    gone = weakref.ref(once[0])
    for document in once:
        execute(plans, document, {"a": {}})
        assert plan_of(plans, often) is kept
    assert sum(document.field_count for document in plans._documents.values()) <= 40 + kept.field_count + 2
    once.clear()
    del document
    gc.collect()
    assert gone() is None


def test_a_document_that_is_larger_than_all_bounds_is_still_planned():
    plans = Plans(max_fields=1)
    document = parse("{ a { b } }")
    assert execute(plans, document, {"a": {"b": "b"}}) is plan_of(plans, document)
    assert plans.projected == 1


def test_choices_of_one_document_are_bounded():
    names = [f"v{number}" for number in range(6)]
    declared = ", ".join(f"${name}: Boolean!" for name in names)
    fields = " ".join(f"{name}: b @include(if: ${name})" for name in names)
    document, plans = parse(f"query ({declared}) {{ a {{ {fields} }} }}"), Plans()
    for chosen in product((True, False), repeat=len(names)):
        plan_of(plans, document, dict(zip(names, chosen, strict=True)))
    (known,) = plans._documents.values()
    assert len(known._plans) <= MAX_PLANS_A_DOCUMENT


def test_fragments_in_fragments_are_generated_once():
    depth = 20
    fragments = [f"fragment F{n} on A {{ a {{ ...F{n + 1} }} c: a {{ ...F{n + 1} }} }}" for n in range(depth)]
    text = "\n".join(["{ a { ...F0 } }", *fragments, f"fragment F{depth} on A {{ b }}"])
    plan = execute(Plans(), parse(text), {"a": {"a": None}})
    assert depth < plan.field_count <= 4 * depth, "and not two to the power of the depth"


@strawberry.type
class Query:
    @strawberry.field
    async def word(self) -> str:
        return "w"


@pytest.mark.parametrize("compiled", [True, False])
async def test_the_engine_answers_the_same_with_and_without(compiled):
    engine = Engine(strawberry.Schema(Query)._schema, compiled=compiled)
    projected = KeepingExecutor.plans.projected
    plan = engine.plan("{ word }")
    assert not isinstance(plan, Answer)
    answer = await engine.execute(plan, None, None, None)  # type: ignore[arg-type]
    assert answer == Answer({"data": {"word": "w"}}, executed=True)
    assert KeepingExecutor.plans.projected - projected == compiled


def test_strawberry_takes_the_executor_by_its_hook():
    @strawberry.type
    class Sync:
        @strawberry.field
        def word(self) -> str:
            return "w"

    class Own(CompiledExecutor):
        plans = Plans()

    schema = strawberry.Schema(Sync, execution_context_class=Own)
    assert schema.execute_sync("{ word }").data == {"word": "w"}
    assert Own.plans.projected == 1
