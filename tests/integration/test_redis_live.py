"""Live boards of several processes over one Redis: what happens to them when the server and the network fail."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import numpy as np
import pytest

from app.errors import UnavailableError
from app.live.redis import RedisLiveBoard
from app.model.availability import Availability, EvseStatus
from app.model.identity import evse_key
from app.model.search import KeyArray
from app.redis import ANSWER_S
from tests.integration.redis_traffic import eventually
from tests.servers.fixtures import StartRedis
from tests.servers.process import LOOPBACK
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisServer

T0 = 1_764_000_000.0
EVSES = tuple(f"teld:395815801:{number}" for number in range(2_000))
FIRST = EVSES[0]
STREAM = "chargegraph:{live}:changes"


def keys_of(evse_ids: Sequence[str]) -> KeyArray:
    return np.array([evse_key(evse_id) for evse_id in evse_ids], np.uint64)


def status(
    evse_id: str, at: float = T0, availability: Availability = Availability.AVAILABLE, raw: str = "1"
) -> EvseStatus:
    return EvseStatus(evse_id, availability, raw, at, at, at + 900)


def through(proxy: Proxy) -> str:
    return f"redis://{LOOPBACK}:{proxy.port}/0"


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RedisLiveBoard]:
    board = RedisLiveBoard(url)
    await board.open()
    try:
        yield board
    finally:
        await board.close()


def usable(board: RedisLiveBoard, at: float) -> list[str]:
    answer = board.usable(board.slots(keys_of(EVSES[:3])), at, None)
    return [evse_id for evse_id, yes in zip(EVSES, answer.tolist(), strict=False) if yes]


def same(boards: Sequence[RedisLiveBoard], evse_ids: Sequence[str] = EVSES) -> bool:
    """All boards say the same of all Evses, and each has something to say."""
    first, *others = (board.find(evse_ids) for board in boards)
    return None not in first and all(other == first for other in others)


def is_following(board: RedisLiveBoard) -> bool:
    return board._follower.lost is None


async def test_what_one_process_records_every_other_finds(redis_url: str) -> None:
    async with opened(redis_url) as writer, opened(redis_url) as reader:
        writer.slots(keys_of(EVSES))
        sent = [status(evse_id, raw=f"状态 {number % 9}") for number, evse_id in enumerate(EVSES)]
        await writer.record(sent)
        await eventually(lambda: reader.find(EVSES) == sent)
        assert usable(reader, T0) == list(EVSES[:3])
        assert reader.newest("teld") == T0
        # The Evses that one knows are known to the other, also before they have a status.
        assert (await reader.record([status(FIRST, T0 + 1, Availability.CHARGING)])).changed == 1
        await eventually(lambda: writer.find([FIRST]) == [status(FIRST, T0 + 1, Availability.CHARGING)])
        writer.slots(keys_of(["teld:395815801:new"]))
        await writer.flush()
        await eventually(lambda: bool(reader._look_up(keys_of(["teld:395815801:new"]))[0] >= 0))
        # What one only heard of, it does not send again.
        assert not reader._unsent


async def test_two_that_record_at_one_instant_end_up_alike(redis_url: str) -> None:
    async with opened(redis_url) as one, opened(redis_url) as other:
        for board in (one, other):
            board.slots(keys_of(EVSES))
        await asyncio.gather(
            one.record([status(evse_id, availability=Availability.CHARGING) for evse_id in EVSES]),
            other.record([status(evse_id, availability=Availability.OFFLINE) for evse_id in reversed(EVSES)]),
        )
        await asyncio.gather(one.flush(), other.flush())
        await eventually(lambda: same([one, other]))


async def test_a_board_is_complete_when_it_is_open_whatever_comes_meanwhile(redis_url: str) -> None:
    few = EVSES[:300]
    over = asyncio.Event()

    async def write(board: RedisLiveBoard) -> float:
        at = T0
        while not over.is_set():
            at += 1
            await board.record([status(evse_id, at, raw=str(at % 7)) for evse_id in few])
            await board.flush()
        return at

    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(opened(redis_url))
        writer.slots(keys_of(few))
        writing = asyncio.create_task(write(writer))
        await asyncio.sleep(0.3)
        boards = []
        for _ in range(3):
            known = writer.find(few)
            board = await stack.enter_async_context(opened(redis_url))
            assert all(
                before is not None and after is not None and after.received_at >= before.received_at - 1
                for before, after in zip(known, board.find(few), strict=True)
            ), "all but what was still on its way to the server"
            boards.append(board)
        over.set()
        at = await writing
        await eventually(lambda: same([writer, *boards], few))
        assert {found.received_at for found in boards[0].find(few) if found} == {at}


@pytest.mark.parametrize("failure", ["stall", "refuse"])
async def test_a_board_that_is_cut_off_ages_says_so_and_catches_up_without_a_gap(
    redis_url: str, redis_server: RedisServer, failure: str
) -> None:
    async with (
        Proxy(redis_server.port) as proxy,
        opened(redis_url) as writer,
        opened(through(proxy)) as away,
    ):
        writer.slots(keys_of(EVSES))
        await writer.record([status(evse_id) for evse_id in EVSES])
        await eventually(lambda: same([writer, away]))
        proxy.stall() if failure == "stall" else proxy.refuse()
        for turn in range(1, 6):
            await writer.record([status(evse_id, T0 + turn, raw=str(turn)) for evse_id in EVSES[turn::7]])
            await writer.flush()
        # It answers at once with what it has, which grows old and ends.
        began = time.perf_counter()
        assert away.find([EVSES[1]]) == [status(EVSES[1])]
        assert usable(away, T0 + 899) == list(EVSES[:3])
        assert usable(away, T0 + 900) == []
        assert time.perf_counter() - began < 0.2
        # Whoever asks hears in time that it follows no more, and what it records itself is kept.
        await away.record([status(FIRST, T0 + 99, Availability.CHARGING)])
        began = time.perf_counter()
        with pytest.raises(UnavailableError):
            await away.flush()
        assert time.perf_counter() - began < 2 * ANSWER_S + 1
        await eventually(lambda: not is_following(away))
        assert away.find([FIRST]) == [status(FIRST, T0 + 99, Availability.CHARGING)]
        assert away.find([EVSES[1]]) == [status(EVSES[1])]
        loads = _count_loads(redis_server)
        proxy.resume()
        await eventually(lambda: same([writer, away]))
        assert writer.find([FIRST, EVSES[1]]) == [
            status(FIRST, T0 + 99, Availability.CHARGING),
            status(EVSES[1], T0 + 1, raw="1"),
        ]
        await eventually(lambda: is_following(away))
        await away.flush()
        assert _count_loads(redis_server) == loads, "the stream had all that it missed"


def _count_loads(server: RedisServer) -> int:
    with server.client() as client:
        stats: dict[str, int] = client.info("commandstats").get("cmdstat_hgetall", {"calls": 0})
        return stats["calls"]


async def test_a_board_whose_place_in_the_stream_is_gone_loads_everything_anew(
    redis_url: str, redis_server: RedisServer
) -> None:
    async with (
        Proxy(redis_server.port) as proxy,
        opened(redis_url) as writer,
        opened(through(proxy)) as away,
    ):
        writer.slots(keys_of(EVSES))
        await writer.record([status(evse_id) for evse_id in EVSES])
        await eventually(lambda: same([writer, away]))
        proxy.refuse()
        for turn in range(1, 6):
            await writer.record([status(evse_id, T0 + turn) for evse_id in EVSES[turn::7]])
            await writer.flush()
        with redis_server.client() as client:
            client.xtrim(STREAM, maxlen=1, approximate=False)
        loads = _count_loads(redis_server)
        proxy.resume()
        await eventually(lambda: same([writer, away]))
        assert _count_loads(redis_server) > loads


async def test_the_stream_stays_bounded(redis_url: str, redis_server: RedisServer) -> None:
    async with opened(redis_url) as writer:
        writer.slots(keys_of([FIRST]))
        await writer.flush()
        records, _ = writer._make_records(writer.slots(keys_of([FIRST])))
        script = writer._redis._scripts["record"]
        with redis_server.client() as client, client.pipeline(transaction=False) as pipeline:
            for turn in range(2_500):
                records["received_at"] = turn + 1
                pipeline.eval(script, 0, records.tobytes(), b"\x91\xa11", b"\x80")
            pipeline.execute()
            assert 2_048 <= client.xlen(STREAM) < 2_200


async def test_boards_outlive_the_death_of_their_server(start_redis: StartRedis) -> None:
    server = start_redis()
    async with opened(server.url) as one, opened(server.url) as other:
        one.slots(keys_of(EVSES))
        await one.record([status(evse_id) for evse_id in EVSES])
        await one.flush()
        await eventually(lambda: same([one, other]))
        server.kill()
        await one.record([status(FIRST, T0 + 1, Availability.CHARGING)])
        await other.record([status(EVSES[1], T0 + 1, Availability.OFFLINE)])
        for board in (one, other):
            with pytest.raises(UnavailableError):
                await board.flush()
        await asyncio.to_thread(server.start)
        await eventually(
            lambda: (
                same([one, other])
                and one.find(EVSES[:2])
                == [status(FIRST, T0 + 1, Availability.CHARGING), status(EVSES[1], T0 + 1, Availability.OFFLINE)]
            )
        )
        await eventually(lambda: is_following(one) and is_following(other))
        for board in (one, other):
            await board.flush()
    async with opened(server.url) as restarted, opened(server.url) as again:
        assert same([restarted, again])


async def test_a_board_notices_that_its_server_became_a_replica(start_redis: StartRedis) -> None:
    server, other = start_redis(), start_redis()
    async with opened(server.url) as board:
        with server.client() as client:
            client.replicaof(LOOPBACK, str(other.port))
        await eventually(lambda: "replica" in (board._follower.lost or ""))
        with pytest.raises(UnavailableError, match="replica"):
            await board.flush()
        with server.client() as client:
            client.replicaof("NO", "ONE")
        await eventually(lambda: is_following(board))
        await board.flush()


async def test_a_server_that_is_emptied_does_not_silence_a_board(redis_url: str, redis_server: RedisServer) -> None:
    async with opened(redis_url) as one, opened(redis_url) as other:
        for turn in range(3):
            one.slots(keys_of(EVSES))
            await one.record([status(evse_id, T0 + turn) for evse_id in EVSES])
            await eventually(lambda: same([one, other]))
            with redis_server.client() as client:
                client.flushall()


async def test_a_board_does_not_open_without_its_server(free_port: int) -> None:
    board = RedisLiveBoard(f"redis://{LOOPBACK}:{free_port}")
    with pytest.raises(UnavailableError):
        await board.open()
    await board.close()


@pytest.mark.soak
async def test_five_thousand_changes_a_second_reach_every_board_within_a_second(redis_url: str) -> None:
    evse_ids = [f"teld:395815801:{number}" for number in range(20_000)]
    async with AsyncExitStack() as stack:
        writer, *readers = [await stack.enter_async_context(opened(redis_url)) for _ in range(3)]
        writer.slots(keys_of(evse_ids))
        await writer.flush()
        began = time.perf_counter()
        lags = []
        for turn in range(300):
            part = [evse_ids[(turn * 500 + number) % len(evse_ids)] for number in range(500)]
            await writer.record([status(evse_id, T0 + turn, raw=str(turn % 5)) for evse_id in part])
            sent = time.perf_counter()
            if turn % 10 == 0:
                await eventually(partial(same, [writer, *readers], part))
                lags.append(time.perf_counter() - sent)
            await asyncio.sleep(max(0.0, began + (turn + 1) * 0.1 - time.perf_counter()))
        assert time.perf_counter() - began < 32, "the writer keeps the pace"
        assert sorted(lags)[len(lags) * 9 // 10] < 1
