"""Answers made smaller for clients that ask for it, at a cost that is bounded and known.

The cheapest level of zstd or gzip: twenty stations (29 kB) shrink to an eighth within 24 us by zstd, to a sixth within
63 us by gzip, whose usual level needs 220 us. What is small is sent as it is: it would cost a quarter of the request's
work, and arrive no sooner. Only answers are compressed, never what clients send; and no answer holds a secret beside a
text that somebody else chose, which is what attacks on compressed secrets need.
"""

import asyncio
import zlib
from enum import Enum

import zstandard

from app.web.http import MAX_LIST_CHARACTERS

COMPRESSED_FROM_BYTES = 4 * 1024
APART_FROM_BYTES = 128 * 1024
"""From here on gzip takes longer than other requests should wait (0.3 ms), and it is done in a thread."""

VARY = (b"vary", b"accept-encoding")
_GZIP_LEVEL = 1
_GZIP_WINDOW = 31
_ZSTD_LEVEL = 1


class Encoding(Enum):
    """What we can send, best first."""

    ZSTD = "zstd"
    GZIP = "gzip"

    @property
    def header(self) -> tuple[bytes, bytes]:
        """What says so beside the answer."""
        return (b"content-encoding", self.value.encode())


def encoding_for(accept_encoding: str) -> Encoding | None:
    """Return what an Accept-Encoding header likes best of what we can send; None for a body as it is."""
    wanted: dict[str, float] = {}
    for part in accept_encoding[:MAX_LIST_CHARACTERS].lower().split(","):
        name, _, parameter = part.partition(";")
        wanted[name.strip()] = _quality(parameter)
    others = wanted.get("*", 0.0)
    best = max(Encoding, key=lambda encoding: wanted.get(encoding.value, others))
    return best if wanted.get(best.value, others) > 0 else None


def _quality(parameter: str) -> float:
    key, _, value = parameter.partition("=")
    if key.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


async def compress(body: bytes, encoding: Encoding) -> bytes:
    """Return a body in an encoding."""
    if len(body) < APART_FROM_BYTES:
        return _compress(body, encoding)
    return await asyncio.to_thread(_compress, body, encoding)


def _compress(body: bytes, encoding: Encoding) -> bytes:
    if encoding is Encoding.ZSTD:
        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(body)
    stream = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    return stream.compress(body) + stream.flush()
