"""The checker of histories accepts what can have happened, and catches what cannot."""

import asyncio
import itertools
import math
from collections.abc import Callable, Iterable
from random import Random

from tests.linearizability import Operation, is_linearizable


def gets(client: str) -> Callable[[str], Iterable[str]]:
    return lambda holder: () if holder else (client,)


def is_refused(holder: str) -> Iterable[str]:
    return (holder,) if holder else ()


def frees(holder: str) -> Iterable[str]:
    return ("",) if holder else ()


def test_answers_that_overlap_may_have_come_in_either_order() -> None:
    assert is_linearizable([Operation(0, 2, is_refused), Operation(1, 3, gets("a"))], "")
    assert not is_linearizable([Operation(0, 1, is_refused), Operation(2, 3, gets("a"))], "")


def test_two_grants_need_an_end_between_them() -> None:
    first, second = Operation(0, 1, gets("a")), Operation(4, 5, gets("b"))
    assert not is_linearizable([first, second], "")
    assert is_linearizable([first, Operation(2, 3, frees), second], "")
    assert is_linearizable([first, Operation(2, math.inf, frees), second], ""), "an end that nobody confirmed"
    assert not is_linearizable([first, Operation(6, math.inf, frees), second], ""), "it came too late"


def test_what_was_never_answered_may_have_happened_or_not() -> None:
    unknown = Operation(0, math.inf, gets("a"))
    assert is_linearizable([unknown, Operation(1, 2, is_refused)], "")
    assert is_linearizable([unknown, Operation(1, 2, gets("b"))], "")
    assert not is_linearizable([unknown, Operation(1, 2, is_refused), Operation(3, 4, gets("b"))], "")


async def test_a_lock_that_looks_before_it_takes_is_caught_and_one_that_does_both_at_once_is_not() -> None:
    caught = {False: 0, True: 0}
    for (atomic, _), seed in itertools.product(caught.items(), range(30)):
        caught[atomic] += not is_linearizable(await _race(Random(seed), atomic=atomic), "")
    assert caught[True] == 0
    assert caught[False] > 3


async def _race(random: Random, *, atomic: bool) -> list[Operation[str]]:
    holder = ""
    ticks = itertools.count()
    history: list[Operation[str]] = []

    async def client(name: str) -> None:
        nonlocal holder
        for _ in range(6):
            for _ in range(random.randrange(4)):
                await asyncio.sleep(0)
            called = next(ticks)
            free = not holder
            if not atomic and random.random() < 0.5:
                await asyncio.sleep(0)
            if free:
                holder = name
            history.append(Operation(called, next(ticks), gets(name) if free else is_refused))
            if free:
                await asyncio.sleep(0)
                called, holder = next(ticks), ""
                history.append(Operation(called, next(ticks), lambda _: ("",)))

    await asyncio.gather(*(client(name) for name in "abcd"))
    return history
