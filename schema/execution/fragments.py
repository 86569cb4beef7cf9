"""Pieces of answers kept as bytes: an object that did not change is not projected and written again."""

from abc import abstractmethod
from collections.abc import Callable, Hashable
from typing import Any

import msgspec
import orjson

MAX_FRAGMENT_BYTES = 128 * 2**20
"""How many bytes of answers are kept in a process."""

HOLE = orjson.Fragment(b"\x00")
"""Stands in a piece for an age. No JSON has this byte: in a string it is written as an escape."""

_ENTRY_BYTES = 400


class Fragmented:
    """A Strawberry type whose objects' JSON may be kept, as the first of its bases.

    What all fields below it show, whoever asks, must be told by the key, by the mark, or be an age (``fields.ages``).
    """

    @abstractmethod
    def fragment_key(self) -> Hashable:
        """Return what the object is called, and all that makes it look otherwise for others who ask."""

    @abstractmethod
    def fragment_mark(self) -> object | None:
        """Return what the object was made of; None where its JSON must not be kept. Asked after all was read."""

    @abstractmethod
    def fragment_fits(self, mark: Any) -> bool:
        """Tell whether an object with this key that was made of ``mark`` looked as this one does but for ages."""

    @abstractmethod
    def fragment_now(self) -> float:
        """Return the moment that ages are told at."""


class _Piece(msgspec.Struct, frozen=True, gc=False):
    """The JSON of an object; with ``since`` it is a template of them, with a place for each age."""

    mark: object
    text: bytes
    fragment: orjson.Fragment | None
    since: tuple[float, ...]
    size: int


class Fragments:
    """All pieces of a process; those that were made first are forgotten first."""

    def __init__(self, max_bytes: int = MAX_FRAGMENT_BYTES) -> None:
        """Keep pieces up to this many bytes all together."""
        self.hits = 0
        """How many objects were answered from what was kept."""
        self.misses = 0
        """How many objects had to be projected."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._pieces: dict[Hashable, _Piece] = {}

    @property
    def size_bytes(self) -> int:
        """How many bytes of memory the pieces take."""
        return self._bytes

    def find(self, key: Hashable, value: Fragmented) -> orjson.Fragment | None:
        """Return the JSON that is kept for a value, if it still shows it."""
        piece = self._pieces.get(key)
        if piece is None or not value.fragment_fits(piece.mark):
            return None
        self.hits += 1
        return piece.fragment or _aged(piece.text, piece.since, value.fragment_now())

    def make(
        self, key: Hashable, value: Fragmented, project: Callable[[Any], Any], since: list[float]
    ) -> orjson.Fragment:
        """Project a value, and keep its JSON. ``project`` puts HOLE for each age, and adds to ``since``."""
        self.misses += 1
        since.clear()
        text = orjson.dumps(project(value))
        mark = value.fragment_mark()
        if since:
            text = b"%.3f".join([part.replace(b"%", b"%%") for part in text.split(b"\x00")])
            fragment = _aged(text, tuple(since), value.fragment_now())
        else:
            fragment = orjson.Fragment(text)
        if mark is not None:
            self._keep(key, _Piece(mark, text, None if since else fragment, tuple(since), len(text) + _ENTRY_BYTES))
        return fragment

    def resize(self, max_bytes: int) -> None:
        """Keep pieces up to this many bytes from now on; 0 keeps none."""
        self._max_bytes = max_bytes
        self._make_room()

    def _keep(self, key: Hashable, piece: _Piece) -> None:
        older = self._pieces.pop(key, None)
        self._bytes += piece.size - (0 if older is None else older.size)
        self._pieces[key] = piece
        self._make_room()

    def _make_room(self) -> None:
        while self._bytes > self._max_bytes:
            oldest = next(iter(self._pieces))
            self._bytes -= self._pieces.pop(oldest).size


def _aged(template: bytes, since: tuple[float, ...], now: float) -> orjson.Fragment:
    return orjson.Fragment(template % tuple([now - at if now > at else 0.0 for at in since]))
