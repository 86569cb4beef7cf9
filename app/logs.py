"""Logs: plain lines or JSON, with the request that a line belongs to, and without secrets; and logs that stay readable,
and small, while a store is away and every request says so.
"""

import logging
import math
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, Literal

import orjson

from app.model.clock import monotonic_s
from app.telemetry import tracing

WINDOW_S = 10.0
SHOWN = 10
_KINDS: Final = 1_000
MAX_MESSAGE_CHARACTERS: Final = 4_000
MAX_TRACE_CHARACTERS: Final = 16_000

HIDDEN: Final = "***"
"""What stands in a line where a secret stood."""

_SHORTEST_SECRET: Final = 6
_PATTERNS: Final = (
    r"\bcg_[0-9a-z]{12}_[0-9A-Za-z]+",  # a partner's key, of which the id alone may be told
    r"(?i:\b(?:bearer|basic) +)[^\s\"',]+",
    r"(?<=://)[^/@\s\"']*:[^/@\s\"']*(?=@)",
)

request_id: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""The id of the request that is being answered."""

LogFormat = Literal["text", "json"]


class Hider:
    """Takes secrets out of text: those that it is told, partners' keys, and names with passwords in addresses.

    Nothing of ours logs them; but what a library says of its failure may quote what it was given.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """Take the secrets of the process; what is too short to be one is left alone."""
        known = sorted({secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}, key=len, reverse=True)
        self._found = re.compile("|".join([*map(re.escape, known), *_PATTERNS]))

    def hide(self, text: str) -> str:
        """Return the text without them."""
        return self._found.sub(HIDDEN, text)


class _Formatter(logging.Formatter):
    """What both formats share: bounded texts without secrets."""

    def __init__(self, hider: Hider) -> None:
        super().__init__()
        self._hider = hider

    def _message(self, record: logging.LogRecord) -> str:
        return self._hider.hide(record.getMessage()[:MAX_MESSAGE_CHARACTERS])

    def _trace(self, record: logging.LogRecord) -> str | None:
        if not record.exc_info or record.exc_info[0] is None:
            return None
        text = "".join(traceback.format_exception(*record.exc_info))
        return self._hider.hide(text[-MAX_TRACE_CHARACTERS:])

    def _fields(self, record: logging.LogRecord) -> Mapping[str, Any]:
        fields = getattr(record, "fields", None)
        return fields if isinstance(fields, Mapping) else {}


class JsonFormatter(_Formatter):
    """One JSON object a line: at, level, logger, message; request_id, trace_id and span_id where there are such;
    exception; and whatever ``extra={"fields": …}`` says.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "at": _at(record),
            "level": record.levelname,
            "logger": record.name,
            "message": self._message(record),
        }
        if (current := request_id.get()) is not None:
            line["request_id"] = current
        if (ids := tracing.ids()) is not None:
            line["trace_id"], line["span_id"] = ids
        if (trace := self._trace(record)) is not None:
            line["exception"] = trace
        for name, value in self._fields(record).items():
            line[name] = self._hider.hide(value) if isinstance(value, str) else value
        return self._hider.hide(orjson.dumps(line, default=str).decode())


class TextFormatter(_Formatter):
    """A line for a person: time, level, logger, message, and the request that it belongs to."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and the lines of a traceback below it."""
        fields = " ".join(f"{name}={value}" for name, value in self._fields(record).items())
        parts = [_at(record), f"{record.levelname:<7}", record.name, self._message(record), fields]
        if (current := request_id.get()) is not None:
            parts.append(f"[{current}]")
        line = self._hider.hide(" ".join(filter(None, parts)))
        trace = self._trace(record)
        return line if trace is None else f"{line}\n{trace.rstrip()}"


def configure(log_format: LogFormat, secrets: Iterable[str] = (), *, access: bool = False) -> None:
    """Write the process's log to standard error from now on. Said again, it changes how.

    A terminal is told of warnings alone; where machines read, our own parts also tell what goes well. ``access``: a
    line for each request, too.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.set_name("chargegraph")
    hider = Hider(secrets)
    handler.setFormatter(JsonFormatter(hider) if log_format == "json" else TextFormatter(hider))
    root = logging.getLogger()
    for other in [each for each in root.handlers if each.get_name() == handler.get_name()]:
        root.removeHandler(other)
    handler.addFilter(Seldom())
    root.addHandler(handler)
    logging.captureWarnings(capture=True)
    for name in ("chargegraph", "app", "indexers"):
        logging.getLogger(name).setLevel(logging.INFO if log_format == "json" else logging.WARNING)
    logging.getLogger("chargegraph.access").setLevel(logging.INFO if access else logging.WARNING)


def _at(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Seldom(logging.Filter):
    """Lets SHOWN warnings of a kind through in WINDOW_S, and tells afterwards how many it kept. All else passes."""

    def __init__(self) -> None:
        """Begin with nothing kept."""
        super().__init__()
        self._windows: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record passes."""
        if record.levelno != logging.WARNING:
            return True
        kind, now = str(record.msg), monotonic_s()
        began, count = self._windows.get(kind, (-math.inf, 0))
        if now - began >= WINDOW_S:
            if count > SHOWN:
                record.msg = f"{kind} (and {count - SHOWN} before it that were not shown)"
            began, count = now, 0
        if len(self._windows) >= _KINDS:  # the texts of programs are few, unless somebody writes names into them
            self._windows.clear()
        self._windows[kind] = began, count + 1
        return count < SHOWN
