"""What a partner may use in a while, and what is left of it. Amounts are costs of operations; 1 is about an object."""

from typing import TypeAlias

import msgspec


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """So much in so long: all of it at once, or evenly, since what was used comes back evenly."""

    limit: int
    period_s: int


Windows: TypeAlias = tuple[Window, ...]
"""All that hold at once; none: no quota."""


class Left(msgspec.Struct, frozen=True, gc=False):
    """What is left of a window, and in how long all of it is back."""

    remaining: int
    whole_in_s: float


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """Whether an amount may be used, and what is left of each window; nothing was taken where it may not."""

    left: tuple[Left, ...]
    retry_after_s: float | None = None
    """In how long the same amount may be used; None where it may be now."""
