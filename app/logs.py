"""Logs that stay readable, and small, while a store is away and every request says so."""

import logging
import math

from app.model.clock import monotonic_s

WINDOW_S = 10.0
SHOWN = 10


class Seldom(logging.Filter):
    """Lets SHOWN warnings of a kind through in WINDOW_S, and tells afterwards how many it kept. Errors always pass."""

    def __init__(self) -> None:
        """Begin with nothing kept."""
        super().__init__()
        self._windows: dict[str, tuple[float, int]] = {}  # by the texts in our program, which are few

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record passes."""
        if record.levelno > logging.WARNING:
            return True
        kind, now = str(record.msg), monotonic_s()
        began, count = self._windows.get(kind, (-math.inf, 0))
        if now - began >= WINDOW_S:
            if count > SHOWN:
                record.msg = f"{kind} (and {count - SHOWN} before it that were not shown)"
            began, count = now, 0
        self._windows[kind] = began, count + 1
        return count < SHOWN
