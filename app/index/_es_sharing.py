"""Searches that are asked for at the same time share requests: the way there and back costs more than the answer."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from typing import Final, NamedTuple

import msgspec

from app.errors import UnavailableError

Told = msgspec.Raw | UnavailableError
"""The answer to a search as it came, or what it failed with."""

_ON_THEIR_WAY: Final = 4
_AT_ONCE: Final = 16
_LONGEST_WAIT_S: Final = 0.05


class _Asked(NamedTuple):
    request: bytes
    answer: asyncio.Future[msgspec.Raw]
    context: Context
    """Whose request it belongs to, for traces and logs; of several that go together, the first one's counts."""


class Sharing:
    """Sends searches at once while few requests are on their way; others wait for one of these, and go together.

    None of them waits for longer than ``_LONGEST_WAIT_S``: what hangs holds up nobody else.
    """

    def __init__(self, send: Callable[[Sequence[bytes]], Awaitable[Sequence[Told]]]) -> None:
        """Send by ``send``, which answers for each of up to 16 searches."""
        self._send = send
        self._waiting: list[_Asked] = []
        self._carrying: set[asyncio.Task[None]] = set()
        self._on_their_way = 0

    async def ask(self, request: bytes) -> msgspec.Raw:
        """Return the answer to one search. Raises UnavailableError."""
        answer: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Asked(request, answer, copy_context()))
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._start)  # with those that ask in this same turn
        return await answer

    def _start(self) -> None:
        while self._waiting and self._on_their_way < _ON_THEIR_WAY:
            share = -(-len(self._waiting) // (_ON_THEIR_WAY - self._on_their_way))
            size = min(share, _AT_ONCE)
            part, self._waiting = self._waiting[:size], self._waiting[size:]
            self._on_their_way += 1
            task = asyncio.create_task(self._carry(part), context=part[0].context)
            self._carrying.add(task)
            task.add_done_callback(self._carrying.discard)

    async def _carry(self, part: Sequence[_Asked]) -> None:
        is_counted = True

        def make_room() -> None:
            nonlocal is_counted
            if is_counted:
                is_counted = False
                self._on_their_way -= 1
                asyncio.get_running_loop().call_soon(self._start)  # with those that are answered now and ask again

        waited = asyncio.get_running_loop().call_later(_LONGEST_WAIT_S, make_room)
        try:
            told = await self._send([asked.request for asked in part])
            for asked, each in zip(part, told, strict=True):
                answer = asked.answer
                if answer.done():  # who asked was cancelled
                    continue
                if isinstance(each, UnavailableError):
                    answer.set_exception(each)
                else:
                    answer.set_result(each)
        except BaseException as error:
            for asked in part:
                if not asked.answer.done():
                    asked.answer.set_exception(error)
            raise
        finally:
            waited.cancel()
            make_room()
