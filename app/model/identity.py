"""Identifiers: ``feed:party:local``, unique only as a whole, and the 64-bit key of an Evse."""

from hashlib import blake2b
from typing import NamedTuple

SEPARATOR = ":"
MAX_ID_CHARACTERS = 200


class Identity(NamedTuple):
    """The three parts of an identifier."""

    feed: str
    party: str
    local: str


def make_id(feed: str, party: str, local: str) -> str:
    """Return ``feed:party:local``. Raises ValueError when a part is empty or the first two hold a colon."""
    if not feed or not party or not local or SEPARATOR in feed or SEPARATOR in party:
        msg = f"not the parts of an identifier: {feed!r}, {party!r}, {local!r}"
        raise ValueError(msg)
    return f"{feed}{SEPARATOR}{party}{SEPARATOR}{local}"


def operator_id(feed: str, party: str) -> str:
    """Return the identifier of an operator, ``feed:party``."""
    return f"{feed}{SEPARATOR}{party}"


def feed_of(identifier: str) -> str:
    """Return the first part of an identifier, whatever it is of."""
    return identifier.partition(SEPARATOR)[0]


def parse_id(text: str) -> Identity | None:
    """Return the parts of an identifier of a station or an Evse, or None where the text is not one."""
    if len(text) > MAX_ID_CHARACTERS:
        return None
    parts = text.split(SEPARATOR, 2)
    return Identity(*parts) if len(parts) == len(Identity._fields) and all(parts) else None


def evse_key(evse_id: str) -> int:
    """Return the 64-bit key under which boards and columns know an Evse (BLAKE2b, big-endian, unsigned).

    Two of four million identifiers collide with a probability of about 4e-7; whoever builds columns checks it.
    """
    return int.from_bytes(evse_digest(evse_id), "big")


def evse_digest(evse_id: str) -> bytes:
    """Return the eight bytes of an Evse's key, the highest first."""
    return blake2b(evse_id.encode(), digest_size=8).digest()
