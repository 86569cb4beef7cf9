"""How searches share their way to Elasticsearch: in what company each goes, and that none suffers from another."""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import msgspec
import pytest

from app.errors import UnavailableError
from app.index._es_sharing import Sharing, Told


class Way:
    """Where searches go: notes in what company they come, and answers when it is told to."""

    def __init__(self) -> None:
        self.came: list[list[bytes]] = []
        self.opened = asyncio.Event()

    async def send(self, requests: Sequence[bytes]) -> Sequence[Told]:
        self.came.append(list(requests))
        await self.opened.wait()
        return [UnavailableError("bad") if request == b"bad" else msgspec.Raw(request) for request in requests]


@pytest.fixture
async def way() -> Way:
    return Way()


def named(*numbers: int) -> list[bytes]:
    return [str(number).encode() for number in numbers]


async def test_a_search_that_is_alone_goes_at_once_and_alone(way: Way) -> None:
    way.opened.set()
    sharing = Sharing(way.send)
    for request in named(1, 2, 3):
        assert bytes(await sharing.ask(request)) == request
    assert way.came == [[b"1"], [b"2"], [b"3"]]


async def turns() -> None:
    """Let everything happen that waits for nothing but the loop."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_those_that_ask_together_go_in_few_parts_and_who_comes_later_waits(way: Way) -> None:
    sharing = Sharing(way.send)
    asked = [asyncio.create_task(sharing.ask(request)) for request in named(*range(10))]
    await turns()
    assert way.came == [named(0, 1, 2), named(3, 4, 5), named(6, 7), named(8, 9)]
    asked += [asyncio.create_task(sharing.ask(request)) for request in named(*range(10, 100))]
    await turns()
    assert len(way.came) == 4
    way.opened.set()
    assert [bytes(answer) for answer in await asyncio.gather(*asked)] == named(*range(100))
    assert [request for part in way.came for request in part] == named(*range(100))
    assert all(len(part) <= 16 for part in way.came)
    assert len(way.came) < 20


async def test_each_part_goes_in_the_name_of_the_first_that_asked_for_it() -> None:
    whose: ContextVar[bytes] = ContextVar("whose")
    told: list[tuple[bytes, bytes]] = []

    async def send(requests: Sequence[bytes]) -> Sequence[Told]:
        told.append((requests[0], whose.get()))
        await asyncio.sleep(0)
        return [msgspec.Raw(request) for request in requests]

    async def ask(request: bytes) -> None:
        whose.set(request)
        await sharing.ask(request)

    sharing = Sharing(send)
    await asyncio.gather(*[ask(request) for request in named(*range(100))])
    assert len(told) > 4
    assert all(first == name for first, name in told)


async def test_what_hangs_holds_up_nobody_for_long(way: Way) -> None:
    sharing = Sharing(way.send)
    asked = []
    for request in named(*range(4)):
        asked.append(asyncio.create_task(sharing.ask(request)))
        await turns()
    asked += [asyncio.create_task(sharing.ask(request)) for request in named(4, 5)]
    async with asyncio.timeout(10):
        while sum(map(len, way.came)) < 6:  # noqa: ASYNC110 - what is waited for is counted
            await asyncio.sleep(0.001)
    way.opened.set()
    assert [bytes(answer) for answer in await asyncio.gather(*asked)] == named(*range(6))
    await turns()
    way.came.clear()
    way.opened.clear()
    asked = []
    for request in named(*range(6)):
        asked.append(asyncio.create_task(sharing.ask(request)))
        await turns()
    assert way.came == [[request] for request in named(0, 1, 2, 3)], "room was made once for each part"
    way.opened.set()
    await asyncio.gather(*asked)


async def test_who_fails_or_gives_up_takes_nobody_along(way: Way) -> None:
    sharing = Sharing(way.send)
    first = [asyncio.create_task(sharing.ask(request)) for request in named(*range(8))]
    await turns()
    bad, gone, good = (asyncio.create_task(sharing.ask(request)) for request in (b"bad", b"gone", b"good"))
    await turns()
    gone.cancel()
    way.opened.set()
    assert bytes(await good) == b"good"
    with pytest.raises(UnavailableError, match="bad"):
        await bad
    await asyncio.gather(*first)
    assert gone.cancelled()


async def test_a_mistake_of_ours_is_not_swallowed(way: Way) -> None:
    async def broken(requests: Sequence[bytes]) -> Sequence[Told]:
        raise KeyError(requests[0])

    with pytest.raises(KeyError):
        await Sharing(broken).ask(b"1")
