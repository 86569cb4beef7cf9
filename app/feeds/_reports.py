"""What every ledger does alike with reports: where they are kept, and how they are packed."""

import msgspec

from app.errors import UnavailableError
from app.model.feed import FeedReport

_decoder = msgspec.msgpack.Decoder(FeedReport)


def pack_report(report: FeedReport) -> tuple[bytes, tuple[bool, ...]]:
    """Return the report packed, and where it is kept: as the last one (False), and as the last good one (True)."""
    return msgspec.msgpack.encode(report), (False,) if report.error is not None else (False, True)


def unpack_report(feed: str, packed: bytes | None) -> FeedReport | None:
    """Return the report, None where there is none. Raises UnavailableError where it cannot be read."""
    try:
        return None if packed is None else _decoder.decode(packed)
    except msgspec.DecodeError as error:
        raise UnavailableError(f"the report of {feed} cannot be read: {error}") from error
