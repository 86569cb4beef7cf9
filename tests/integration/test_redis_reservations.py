"""The ledger in Redis where servers die, replicas fall behind and networks fail: nothing acknowledged is lost, no Evse
is granted twice, and a repeated key tells the truth.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from app.errors import UnavailableError
from app.model.reservation import Guarantee, Outcome, RefusalCode, Reservation, ReservationState
from app.redis import ANSWER_S, WAIT_MS
from app.reservations.base import ReservationStore
from app.reservations.redis import RedisReservations
from tests.integration.redis_storm import CLIENTS
from tests.integration.redis_traffic import Traffic, command, eventually
from tests.servers.fixtures import StartRedis
from tests.servers.process import LOOPBACK
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisServer

EVSES = tuple(f"cec102:MA1234567:{number}" for number in range(24))
EVSE = EVSES[0]


def through(proxy: Proxy, replicas: int = 0) -> str:
    return f"redis://{LOOPBACK}:{proxy.port}/0?replicas={replicas}"


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RedisReservations]:
    store = RedisReservations(url, 1_000)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def reserve(store: ReservationStore, key: str | None = None, evse_id: str = EVSE) -> Awaitable[Outcome]:
    return store.reserve(command(key=key), evse_id, 600, Guarantee.HUB_HOLD)


async def granted(store: ReservationStore, evse_id: str = EVSE) -> Reservation:
    outcome = await reserve(store, evse_id=evse_id)
    assert outcome.reservation is not None
    return outcome.reservation


async def start(start_redis: StartRedis, replica_of: int | None = None) -> RedisServer:
    """Start a server while this loop, which may be the network before it, goes on."""
    server = await asyncio.to_thread(start_redis, replica_of=replica_of)
    if replica_of is not None:
        await asyncio.to_thread(server.wait_until_linked)
        with server.client() as client:  # a replica that writes its first log does not end when it is told to
            await eventually(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
    return server


# ------------------------------------------------------------------------------------------------------- who may serve


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("appendonly", "no"),
        ("appendfsync", "everysec"),
        ("no-appendfsync-on-rewrite", "yes"),
        ("maxmemory-policy", "allkeys-lru"),
    ],
)
async def test_a_server_that_could_lose_a_hold_does_not_serve(start_redis: StartRedis, name: str, value: str) -> None:
    server = start_redis(options={name: value})
    with pytest.raises(UnavailableError, match=f"{name} is '{value}' and must be"):
        await RedisReservations(server.url, 10).open()


async def test_nor_does_a_replica_or_one_with_replicas_that_its_url_does_not_tell_of(start_redis: StartRedis) -> None:
    primary = await start(start_redis)
    replica = await start(start_redis, primary.port)
    with pytest.raises(UnavailableError, match="is a replica"):
        await RedisReservations(replica.url, 10).open()
    with pytest.raises(UnavailableError, match="replicas=1"):
        await RedisReservations(primary.url, 10).open()
    async with opened(f"{primary.url}?replicas=1") as store:
        await granted(store)


async def test_a_server_that_comes_back_unfit_is_not_trusted_any_more(start_redis: StartRedis) -> None:
    server = start_redis()
    async with opened(server.url) as store:
        await granted(store)
        server.options["appendfsync"] = "everysec"
        await asyncio.to_thread(server.restart)
        with pytest.raises(UnavailableError, match="appendfsync"):
            await store.now()
        with server.client() as client:
            client.config_set("appendfsync", "always")
        await store.now()


async def test_the_clock_is_the_servers(redis_url: str) -> None:
    before = time.time()  # noqa: TID251 (the server's clock is this machine's)
    async with opened(redis_url) as store:
        reservation = await granted(store)
        after = time.time()  # noqa: TID251
        assert before <= reservation.created_at <= after
        assert reservation.expires_at == pytest.approx(reservation.created_at + 600, abs=1e-6)
        assert reservation.created_at <= await store.now()


async def test_a_password_a_database_and_a_socket_are_read_from_the_url(start_redis: StartRedis) -> None:
    # A socket's path may not be as long as a test's folder.
    with tempfile.TemporaryDirectory() as folder:
        server = start_redis(options={"unixsocket": f"{folder}/redis"})
        with server.client() as client:
            client.config_set("requirepass", "open@sesame")
            for url in (f"redis://{LOOPBACK}:{server.port}", f"redis://:wrong@{LOOPBACK}:{server.port}"):
                with pytest.raises(UnavailableError, match=r"[Aa]uthentication|password") as refused:
                    await RedisReservations(url, 10).open()
                assert "wrong" not in str(refused.value)
            for url in (
                f"redis://:open%40sesame@{LOOPBACK}:{server.port}/3",
                f"unix://:open%40sesame@{folder}/redis?db=4",
            ):
                async with opened(url) as store:
                    await granted(store)
            assert sorted(client.info("keyspace")) == ["db3", "db4"]


async def test_a_script_that_the_server_forgot_is_brought_again(redis_url: str, redis_server: RedisServer) -> None:
    async with opened(redis_url) as store:
        with redis_server.client() as client:
            client.script_flush()
        with pytest.raises(UnavailableError, match="No matching script"):
            await granted(store)
        await granted(store)


async def test_a_full_server_refuses_before_it_begins_and_still_answers_what_is_known(start_redis: StartRedis) -> None:
    server = start_redis()
    async with opened(server.url) as store:
        first = await reserve(store, "one")
        assert first.reservation is not None
        with server.client() as client:
            client.config_set("maxmemory", "1mb")
            keys = set(client.scan_iter())
            for outcome in (reserve(store, "two", EVSES[1]), store.cancel(command(), first.reservation.id)):
                with pytest.raises(UnavailableError, match="maxmemory"):
                    await outcome
            assert set(client.scan_iter()) == keys
            assert await store.find_replay("reserve", command(key="one")) == Outcome(
                reservation=first.reservation, replayed=True
            )
            client.config_set("maxmemory", "0")
        assert not (await reserve(store, "two", EVSES[1])).replayed


# ------------------------------------------------------------------------------------------------------- the network


@pytest.mark.parametrize("failure", ["cut", "refuse", "stall", "answers"])
async def test_a_command_whose_answer_was_lost_is_done_once_and_its_key_tells(
    redis_url: str, redis_server: RedisServer, failure: str
) -> None:
    async with Proxy(redis_server.port) as proxy, opened(through(proxy)) as store, opened(redis_url) as other:
        proxy.delay(0.05)
        pending = asyncio.ensure_future(reserve(store, "one"))
        match failure:
            case "cut":
                await asyncio.sleep(0.02)
                proxy.cut()
            case "refuse":
                proxy.refuse()
            case "stall":
                proxy.stall()
            case _:
                proxy.stall(answers_only=True)
        began = time.perf_counter()
        with pytest.raises(UnavailableError):
            await pending
        assert time.perf_counter() - began < ANSWER_S + 1
        live = await other.list_live()
        assert len(live) == (failure == "answers"), "the server acted upon what it got"
        proxy.resume()
        outcome = await reserve(store, "one")
        assert outcome.reservation is not None
        # What was held back on the way may arrive at any time later.
        assert outcome.replayed == bool(live) or failure == "stall"
        assert await other.list_live() == [outcome.reservation]


async def test_while_the_network_is_stalled_everyone_hears_so_in_time(
    redis_url: str, redis_server: RedisServer
) -> None:
    async with Proxy(redis_server.port) as proxy, opened(through(proxy)) as store:
        proxy.stall()
        began = time.perf_counter()
        outcomes = await asyncio.gather(
            *(reserve(store, evse_id=f"f:p:{number}") for number in range(1_000)), return_exceptions=True
        )
        assert time.perf_counter() - began < ANSWER_S + 2
        assert {type(outcome) for outcome in outcomes} == {UnavailableError}
        assert {str(outcome) for outcome in outcomes} == {"Redis does not answer"}, "and not where it is"
        proxy.resume()
        await granted(store)


async def test_a_connection_that_was_reset_while_nobody_used_it_is_not_used(
    redis_url: str, redis_server: RedisServer
) -> None:
    async with Proxy(redis_server.port) as proxy, opened(through(proxy)) as store:
        link = store._redis._link
        assert link is not None and not await link.is_stale()
        proxy.cut()
        await eventually(link.is_stale)
        assert await store.now()


async def test_a_slow_server_has_one_deadline_for_all_that_a_question_needs(
    redis_url: str, redis_server: RedisServer
) -> None:
    async with Proxy(redis_server.port) as proxy, opened(through(proxy)) as store:
        proxy.cut()
        proxy.delay(ANSWER_S / 5)  # to connect, to look at the server and to ask take longer than ANSWER_S together
        began = time.perf_counter()
        outcomes = await asyncio.gather(*(store.now() for _ in range(600)), return_exceptions=True)
        assert time.perf_counter() - began < ANSWER_S + 1
        assert {type(outcome) for outcome in outcomes} == {UnavailableError}
        proxy.resume()
        assert await store.now()


async def test_who_stops_waiting_does_not_confuse_the_others(redis_url: str, redis_server: RedisServer) -> None:
    async with Proxy(redis_server.port) as proxy, opened(through(proxy)) as store:
        proxy.delay(0.01)
        for turn in range(10):
            asked = {
                evse_id: asyncio.ensure_future(reserve(store, evse_id=evse_id))
                for evse_id in (f"f:{turn}:{number}" for number in range(20))
            }
            await asyncio.sleep(0.01 * (turn % 4))
            for future in list(asked.values())[::3]:
                future.cancel()
            outcomes = await asyncio.gather(*asked.values(), return_exceptions=True)
            for evse_id, outcome in zip(asked, outcomes, strict=True):
                assert isinstance(outcome, asyncio.CancelledError) or (
                    isinstance(outcome, Outcome) and outcome.reservation and outcome.reservation.evse_id == evse_id
                )


# ------------------------------------------------------------------------------------------------------- crashes


async def test_a_killed_server_loses_nothing_that_was_acknowledged(start_redis: StartRedis) -> None:
    server = start_redis()
    traffic = Traffic(EVSES)
    async with opened(server.url) as first, opened(server.url) as second:
        async with asyncio.TaskGroup() as clients:
            for number in range(12):
                store = (first, second)[number % 2]
                clients.create_task(traffic.client(store, f"p{number}", number, repeats=number % 3 != 0))
            for _ in range(3):
                await traffic.goes_on()
                server.kill()
                await asyncio.sleep(0.1)
                await asyncio.to_thread(server.start)
            await traffic.goes_on()
            traffic.is_over = True
        assert traffic.unanswered
        assert await traffic.lost(first) == []
    assert traffic.fences_rise()
    assert traffic.is_linearizable()


async def test_a_log_that_is_cut_off_behind_its_last_fsync_has_all_or_nothing_of_what_comes_after(
    start_redis: StartRedis,
) -> None:
    server = await start(start_redis)
    log = server.folder / "appendonlydir" / "appendonly.aof.1.incr.aof"
    kept, synced = [], 0
    async with Proxy(server.port) as proxy:
        store = RedisReservations(through(proxy), 1_000)
        await store.open()
        for number in range(20):
            kept.append(await granted(store, f"f:p:{number}"))
            synced = log.stat().st_size  # the answer came after the fsync
        proxy.stall(answers_only=True)
        with pytest.raises(UnavailableError):
            await reserve(store, "never heard of", EVSE)
        server.kill()
        proxy.resume()
        await store.close()
    whole = log.read_bytes()
    assert len(whole) > synced
    step = (len(whole) - synced) // 5
    found = []
    for size in (*range(synced, len(whole), step), len(whole)):
        log.write_bytes(whole[:size])
        await asyncio.to_thread(server.start)
        async with opened(server.url) as store:
            live = await store.list_live()
            tail = [reservation for reservation in live if reservation.evse_id == EVSE]
            assert sorted(kept, key=lambda each: each.id) == sorted(set(live) - set(tail), key=lambda each: each.id)
            answered = await store.find_replay("reserve", command(key="never heard of"))
            assert (answered is not None) == bool(tail)
            repeated = await reserve(store, "never heard of", EVSE)
            assert repeated.replayed == bool(tail)
            assert repeated.reservation is not None
            assert repeated.reservation.fence == 1
            found.append(bool(tail))
        server.kill()
    assert found[0] is False
    assert found[-1] is True


# ------------------------------------------------------------------------------------------------------- replicas


async def test_what_no_replica_has_is_not_acknowledged_and_its_key_tells_once_one_has_it(
    start_redis: StartRedis,
) -> None:
    primary = await start(start_redis)
    replica = await start(start_redis, primary.port)
    async with opened(f"{primary.url}?replicas=1") as store:
        before = await granted(store, EVSES[1])
        replica.pause()
        began = time.perf_counter()
        with pytest.raises(UnavailableError, match="only 0 of the 1 replicas"):
            await reserve(store, "one")
        assert time.perf_counter() - began < WAIT_MS / 1_000 + 1
        # Nor is anybody told of a hold that could still be lost, whichever way they ask.
        answers = await asyncio.gather(
            reserve(store, "one"),
            reserve(store, "two"),
            store.find_replay("reserve", command(key="one")),
            store.find_reservation("nav", before.id),
            store.list_reservations("nav", 10, None, live_only=True),
            store.list_live(),
            store.now(),
            return_exceptions=True,
        )
        assert {type(answer) for answer in answers} == {UnavailableError}
        replica.resume()
        await eventually(lambda: _answers(store))
        outcome = await reserve(store, "one")
        assert outcome.replayed
        assert outcome.reservation is not None and outcome.reservation.state is ReservationState.HELD
        refused = await reserve(store, "two")
        assert [refusal.code for refusal in refused.refusals] == [RefusalCode.ALREADY_RESERVED]


async def _answers(store: ReservationStore) -> bool:
    try:
        await store.now()
    except UnavailableError:
        return False
    return True


async def test_with_three_replicas_two_are_a_majority(start_redis: StartRedis) -> None:
    primary = await start(start_redis)
    replicas = [await start(start_redis, primary.port) for _ in range(3)]
    async with opened(f"{primary.url}?replicas=3") as store:
        replicas[0].pause()
        await granted(store)
        replicas[1].pause()
        with pytest.raises(UnavailableError, match="only 1 of the 2 replicas"):
            await granted(store, EVSES[1])
        for replica in replicas:
            replica.resume()


async def test_a_primary_that_is_told_to_want_replicas_refuses_before_it_writes(start_redis: StartRedis) -> None:
    server = start_redis(options={"min-replicas-to-write": "1"})
    async with opened(f"{server.url}?replicas=1") as store:
        with pytest.raises(UnavailableError, match="Not enough good replicas"):
            await granted(store)
    with server.client() as client:
        assert list(client.scan_iter()) == []


class Failover:
    """A primary, its replica behind a network of its own, and the address that clients use."""

    def __init__(self, primary: RedisServer, replica: RedisServer, between: Proxy, address: Proxy) -> None:
        self.primary, self.replica, self.between, self.address = primary, replica, between, address

    def cut_off(self) -> None:
        """The primary and its replica do not hear of each other any more."""
        self.between.refuse()

    def promote(self, spare: RedisServer) -> None:
        """The replica becomes the primary at the address; the spare server follows it."""
        with self.replica.client() as client:
            client.replicaof("NO", "ONE")
        with spare.client() as client:
            client.replicaof(LOOPBACK, str(self.replica.port))
        self.address.target_port = self.replica.port
        self.address.cut()


@asynccontextmanager
async def failing_over(start_redis: StartRedis) -> AsyncIterator[Failover]:
    async with AsyncExitStack() as stack:
        primary = await start(start_redis)
        between = await stack.enter_async_context(Proxy(primary.port))
        replica = await start(start_redis, between.port)
        address = await stack.enter_async_context(Proxy(primary.port))
        yield Failover(primary, replica, between, address)


@pytest.mark.parametrize("waits", [True, False], ids=["as we do", "without WAIT"])
async def test_a_failover_loses_no_acknowledged_hold_and_grants_none_twice(
    start_redis: StartRedis, *, waits: bool
) -> None:
    traffic = Traffic(EVSES)
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(failing_over(start_redis))
        spare = await start(start_redis)
        stores = [await stack.enter_async_context(opened(through(servers.address, 1))) for _ in range(2)]
        # These never hear of the new address: they go on asking the old primary, which still believes in itself.
        stale = await stack.enter_async_context(opened(f"{servers.primary.url}?replicas=1"))
        if not waits:
            for store in (*stores, stale):
                store._redis._acknowledging = 0
        async with asyncio.TaskGroup() as clients:
            for number in range(8):
                store = stores[number % 2]
                clients.create_task(traffic.client(store, f"p{number}", number, repeats=number % 4 != 0))
            for number in range(4):
                clients.create_task(traffic.client(stale, f"stale {number}", number, repeats=True))
            await traffic.goes_on()
            servers.cut_off()
            if waits:
                await eventually(lambda: traffic.unanswered > 10, within_s=30)
            else:
                await traffic.goes_on()
            servers.promote(spare)
            await traffic.goes_on()
            traffic.is_over = True
        lost = await traffic.lost(stores[0])
        unheard = [
            reservation.id
            for reservation in await _live_of(servers.primary)
            if await stores[0].find_reservation(reservation.partner_id, reservation.id) is None
        ]
    if waits:
        assert lost == []
        assert traffic.is_linearizable()
        assert traffic.fences_rise()
        assert unheard, "the old one wrote holds after it was cut off; nobody was told of them"
        assert not traffic.granted.keys() & set(unheard)
    else:
        # So that this test is known to see what it is there to see.
        assert not traffic.is_linearizable()


async def _live_of(server: RedisServer) -> Sequence[Reservation]:
    async with opened(server.url) as store:
        return await store.list_live()


# ------------------------------------------------------------------------------------------------------- many processes


async def storm(root: Path, url: str, wish: str) -> list[list[str]]:
    """What the clients of four processes got that all asked at once."""
    arguments = [sys.executable, "-m", "tests.integration.redis_storm", url, wish]
    async with asyncio.timeout(60):
        processes = [
            await asyncio.create_subprocess_exec(
                *arguments, f"process {number}", stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root
            )
            for number in range(4)
        ]
        for process in processes:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
        answers = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    return [json.loads(answer) for answer, _ in answers]


async def test_of_a_thousand_clients_in_four_processes_one_gets_the_evse(repository: Path, redis_url: str) -> None:
    got = [each for answers in await storm(repository, redis_url, "one") for each in answers]
    assert len(got) == 4 * CLIENTS
    winners = [each for each in got if each != RefusalCode.ALREADY_RESERVED.value]
    async with opened(redis_url) as store:
        assert winners == [reservation.id for reservation in await store.list_live()]
    assert len(winners) == 1


async def test_a_command_that_four_processes_repeat_has_one_outcome(repository: Path, redis_url: str) -> None:
    first, *others = await storm(repository, redis_url, "same")
    assert len(set(first)) == CLIENTS
    assert all(other == first for other in others)
    async with opened(redis_url) as store:
        assert {reservation.id for reservation in await store.list_live()} == set(first)
