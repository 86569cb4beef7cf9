"""What every quota promises, whatever it is made of."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model.clock import ManualClock, monotonic_s
from app.model.quota import Verdict, Window, Windows
from app.quotas.base import Quotas
from app.quotas.embedded import EmbeddedQuotas
from app.quotas.redis import RedisQuotas

Maker: TypeAlias = Callable[[], Quotas]
Take: TypeAlias = Callable[[Quotas, str, Windows, int], Any]

DAY = 86_400
A_DAY: Windows = (Window(limit=1_000, period_s=DAY),)
"""Nothing of it comes back while a test runs: a unit takes 86 seconds."""

TWO: Windows = (Window(limit=100, period_s=DAY), Window(limit=1_000, period_s=30 * DAY))


def make(kind: str, request: pytest.FixtureRequest) -> Maker:
    if kind == "embedded":
        return lambda: EmbeddedQuotas(monotonic_s)
    url = request.getfixturevalue("redis_url")
    return lambda: RedisQuotas(url, monotonic_s)


@pytest.fixture(params=["embedded", "redis"])
def maker(request: pytest.FixtureRequest) -> Maker:
    return make(request.param, request)


@pytest.fixture
async def quotas(maker: Maker) -> AsyncIterator[Quotas]:
    quotas = maker()
    await quotas.open()
    yield quotas
    await quotas.close()


async def take(quotas: Quotas, partner: str, windows: Windows, amount: int) -> Verdict:
    return quotas.take(partner, windows, amount)


async def take_surely(quotas: Quotas, partner: str, windows: Windows, amount: int) -> Verdict:
    return await quotas.take_surely(partner, windows, amount)


WAYS = pytest.mark.parametrize("way", [take, take_surely])


def remaining(verdict: Verdict) -> list[int]:
    return [left.remaining for left in verdict.left]


@WAYS
async def test_all_of_a_window_may_be_used_at_once_and_no_more(quotas: Quotas, way: Take) -> None:
    assert remaining(await way(quotas, "a", A_DAY, 400)) == [600]
    verdict = await way(quotas, "a", A_DAY, 600)
    assert verdict.retry_after_s is None and remaining(verdict) == [0]
    assert verdict.left[0].whole_in_s == pytest.approx(DAY, abs=60)
    refused = await way(quotas, "a", A_DAY, 1)
    assert refused.retry_after_s == pytest.approx(DAY / 1_000, abs=60)
    assert remaining(refused) == [0]


@WAYS
async def test_what_is_refused_takes_nothing(quotas: Quotas, way: Take) -> None:
    assert remaining(await way(quotas, "a", A_DAY, 900)) == [100]
    for _ in range(5):
        refused = await way(quotas, "a", A_DAY, 300)
        assert refused.retry_after_s == pytest.approx(DAY / 5, abs=60) and remaining(refused) == [100]
    assert (await way(quotas, "a", A_DAY, 100)).retry_after_s is None


@WAYS
async def test_the_tightest_window_decides_and_all_are_taken_from_or_none(quotas: Quotas, way: Take) -> None:
    assert remaining(await way(quotas, "a", TWO, 100)) == [0, 900]
    refused = await way(quotas, "a", TWO, 50)
    assert refused.retry_after_s == pytest.approx(DAY / 2, abs=60)
    assert remaining(refused) == [0, 900]


@WAYS
async def test_partners_do_not_share(quotas: Quotas, way: Take) -> None:
    assert (await way(quotas, "a", A_DAY, 1_000)).retry_after_s is None
    assert (await way(quotas, "b", A_DAY, 1_000)).retry_after_s is None
    assert (await way(quotas, "a", A_DAY, 1)).retry_after_s is not None


@WAYS
async def test_what_costs_more_than_a_window_needs_all_of_it(quotas: Quotas, way: Take) -> None:
    verdict = await way(quotas, "a", TWO, 500)
    assert verdict.retry_after_s is None and remaining(verdict) == [0, 500]
    assert remaining(await way(quotas, "b", TWO, 1)) == [99, 999]
    assert (await way(quotas, "b", TWO, 500)).retry_after_s == pytest.approx(DAY / 100, abs=60)


@WAYS
async def test_nothing_is_free_and_always_there(quotas: Quotas, way: Take) -> None:
    await way(quotas, "a", A_DAY, 1_000)
    assert (await way(quotas, "a", A_DAY, 0)).retry_after_s is None


@WAYS
async def test_what_was_used_comes_back(quotas: Quotas, way: Take) -> None:
    quick = (Window(limit=20, period_s=1),)
    assert (await way(quotas, "a", quick, 20)).retry_after_s is None
    refused = await way(quotas, "a", quick, 10)
    while refused.retry_after_s is not None:
        assert refused.retry_after_s <= 1.0
        await asyncio.sleep(refused.retry_after_s)
        refused = await way(quotas, "a", quick, 10)


async def test_both_ways_take_from_the_same(quotas: Quotas) -> None:
    assert quotas.take("a", A_DAY, 300).retry_after_s is None
    assert remaining(await quotas.take_surely("a", A_DAY, 300)) == [400]
    assert remaining(quotas.take("a", A_DAY, 300)) == [100]
    assert (await quotas.take_surely("a", A_DAY, 300)).retry_after_s is not None


async def test_many_at_once_never_take_more_than_there_is(quotas: Quotas) -> None:
    verdicts = await asyncio.gather(*(quotas.take_surely("a", A_DAY, 7) for _ in range(300)))
    assert sum(verdict.retry_after_s is None for verdict in verdicts) == 1_000 // 7


async def test_it_is_ready(quotas: Quotas) -> None:
    await quotas.check()


@given(
    st.lists(st.tuples(st.floats(0, 50), st.integers(0, 40)), max_size=60),
    st.integers(1, 30),
    st.integers(1, 40),
)
def test_no_stretch_of_time_holds_more_than_the_limit_and_what_came_back(
    steps: list[tuple[float, int]], limit: int, period_s: int
) -> None:
    clock = ManualClock(0.0)
    quotas = EmbeddedQuotas(clock)
    windows = (Window(limit=limit, period_s=period_s),)
    taken: list[tuple[float, int]] = []
    for wait_s, amount in steps:
        clock.advance(wait_s)
        verdict = quotas.take("a", windows, amount)
        if verdict.retry_after_s is None:
            taken.append((clock(), min(amount, limit)))
        else:
            assert quotas.take("a", windows, amount) == verdict
            clock.advance(verdict.retry_after_s)
            assert quotas.take("a", windows, amount).retry_after_s is None, "it may be used when that was said"
            taken.append((clock(), min(amount, limit)))
        (left,) = quotas.take("a", windows, 0).left
        assert 0 <= left.remaining <= limit
        assert left.remaining >= limit - sum(amount for _, amount in taken) - 1
    for number, (began, _) in enumerate(taken):
        total = 0
        for at, amount in taken[number:]:
            total += amount
            assert total <= limit * (1 + (at - began) / period_s) + 1e-3
