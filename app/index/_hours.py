"""Which opening patterns are known to be open at an Instant; each is worked out once a minute, not once a station."""

from functools import lru_cache

import numpy as np

from app.index._columns import IntArray, Interned
from app.index._packing import unpack_hours
from app.model.clock import Instant
from app.model.opening import OpeningHours, is_open
from app.model.search import BoolArray

_REMEMBERED_PATTERNS = 8_192


def known_open(codes: IntArray, patterns: Interned[bytes], at: Instant) -> BoolArray:
    """Tell for each number of a packed pattern whether it is known to be open."""
    if not len(codes):
        return np.zeros(0, np.bool_)
    answers = np.zeros(int(codes.max()) + 1, np.bool_)
    for code in np.unique(codes).tolist():
        answers[code] = is_known_open(patterns.value(code), at)
    return answers[codes]


def is_known_open(pattern: bytes, at: Instant) -> bool:
    """Tell whether a packed pattern is known to be open."""
    if not pattern:
        return False
    hours, zone = _unpack(pattern)
    if hours.exceptions:
        return is_open(hours, at, zone) is True
    return _is_open_in_minute(pattern, int(at // 60))


@lru_cache(maxsize=_REMEMBERED_PATTERNS)
def _unpack(pattern: bytes) -> tuple[OpeningHours, str | None]:
    return unpack_hours(pattern)


@lru_cache(maxsize=_REMEMBERED_PATTERNS)
def _is_open_in_minute(pattern: bytes, minute: int) -> bool:
    hours, zone = _unpack(pattern)
    return is_open(hours, minute * 60.0, zone) is True
