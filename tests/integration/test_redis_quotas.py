"""Quotas in Redis while several processes take from them, and while it is away: reading goes on, changing does not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from app.errors import UnavailableError
from app.model.clock import monotonic_s
from app.model.quota import Verdict, Window, Windows
from app.quotas.base import SETTLED_WITHIN_S
from app.quotas.redis import SETTLE_S, RedisQuotas
from tests.integration.redis_traffic import eventually
from tests.servers.fixtures import StartRedis
from tests.servers.proxy import Proxy, answering_redis

DAY: Windows = (Window(limit=1_000, period_s=86_400),)
PATIENCE_S = 30.0


@contextlib.asynccontextmanager
async def process(url: str) -> AsyncIterator[RedisQuotas]:
    quotas = RedisQuotas(url, monotonic_s)
    await quotas.open()
    try:
        yield quotas
    finally:
        await quotas.close()


def left(verdict: Verdict) -> int:
    return verdict.left[0].remaining


def test_it_is_told_sooner_than_is_promised():
    assert SETTLE_S * 2 < SETTLED_WITHIN_S


async def test_processes_hear_of_each_others_use_while_they_serve_the_same_partner(redis_url):
    async with process(redis_url) as one, process(redis_url) as two:
        assert left(one.take("a", DAY, 600)) == 400
        assert left(two.take("a", DAY, 300)) == 700, "it does not wait to hear of it"
        await eventually(lambda: left(one.take("a", DAY, 0)) == left(two.take("a", DAY, 0)) == 100)
        assert one.take("a", DAY, 101).retry_after_s is not None
        assert (await two.take_surely("a", DAY, 101)).retry_after_s is not None
        assert (await two.take_surely("a", DAY, 100)).retry_after_s is None
        one.take("a", DAY, 0)
        await eventually(lambda: one.take("a", DAY, 1).retry_after_s is not None)


async def test_what_was_used_beyond_the_limit_is_a_debt_of_one_more_at_most(redis_url):
    async with contextlib.AsyncExitStack() as stack:
        several = [await stack.enter_async_context(process(redis_url)) for _ in range(5)]
        for each in several:
            assert each.take("a", DAY, 1_000).retry_after_s is None, "nobody knows of the others yet"
        await eventually(
            lambda: all((each.take("a", DAY, 0).left[0].whole_in_s > 86_400 * 1.9) for each in several[:1])
        )
        refused = await several[0].take_surely("a", DAY, 1)
        assert refused.retry_after_s == pytest.approx(86_400, abs=200), "not four days"


async def test_a_sure_answer_counts_what_the_process_has_not_told_yet(redis_url):
    async with process(redis_url) as one, process(redis_url) as two:
        one.take("a", DAY, 900)
        assert left(await one.take_surely("a", DAY, 50)) == 50
        assert left(await two.take_surely("a", DAY, 50)) == 0


@pytest.mark.parametrize("failure", ["refuse", "stall", "nonsense"])
async def test_reading_goes_on_within_the_quota_and_changing_waits(start_redis: StartRedis, failure: str):
    server = start_redis()
    async with Proxy(server.port) as proxy, process(f"redis://127.0.0.1:{proxy.port}/0") as quotas:
        assert left(await quotas.take_surely("a", DAY, 100)) == 900
        match failure:
            case "refuse":
                proxy.refuse()
            case "stall":
                proxy.stall()
            case _:
                proxy.replace(answering_redis(b"+WHAT\r\n"))
        assert left(quotas.take("a", DAY, 700)) == 200, "at once: nothing is awaited"
        with pytest.raises(UnavailableError):
            await quotas.take_surely("a", DAY, 1)
        with pytest.raises(UnavailableError):
            await quotas.check()
        assert left(quotas.take("a", DAY, 150)) == 50
        assert quotas.take("a", DAY, 51).retry_after_s is not None, "its own use it knows"
        proxy.resume()
        async with process(server.url) as other:
            await eventually(lambda: left(other.take("a", DAY, 0)) <= 50)
        await quotas.check()


async def test_a_server_that_lost_its_memory_begins_anew(start_redis: StartRedis):
    server = start_redis()
    async with process(server.url) as quotas:
        quotas.take("a", DAY, 800)
        assert left(await quotas.take_surely("a", DAY, 0)) == 200
        with server.client() as client:
            client.flushall()
            client.script_flush()
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(UnavailableError):
                    verdict = await quotas.take_surely("a", DAY, 0)
                    break
        assert left(verdict) == 1_000


async def test_nothing_is_kept_of_partners_who_ask_no_more(redis_url, redis_server):
    async with process(redis_url) as quotas:
        await quotas.take_surely("a", (Window(limit=10, period_s=1),), 10)
        with redis_server.client() as client:
            assert len(client.keys("*quotas*")) == 1
            await eventually(lambda: not client.keys("*quotas*"))
