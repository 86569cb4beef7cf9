"""Relay connections: page sizes, and cursors that hold a position and know the search that they belong to.

A cursor is base64url of JSON [version, digest of the search, order key, id]: stable while the search is the same, in
every process and after every restart. It is no secret and grants nothing: a made-up one is a position like any other.
"""

import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Any

import msgspec
import strawberry

from app.errors import InvalidInputError
from app.model.identity import MAX_ID_CHARACTERS
from app.model.search import MAX_PAGE_SIZE

DEFAULT_PAGE_SIZE = 20
MAX_CURSOR_CHARACTERS = 1_000
_VERSION = 1
_DIGEST_BYTES = 9


class Cursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A position in the answer of the search with this digest: after the item with this order key and id."""

    version: int
    digest: str
    key: float
    id: str


# Each subgraph with connections has this type; the gateway's graph has it once.
@strawberry.federation.type(shareable=True, description="Where a page stands in its connection (Relay).")
class PageInfo:
    """Relay's."""

    has_next_page: bool = strawberry.field(description="Whether more items follow this page.")
    has_previous_page: bool = strawberry.field(
        description="Whether items stand before this page: true whenever `after` was given."
    )
    start_cursor: str | None = strawberry.field(description="The cursor of the first item; null on an empty page.")
    end_cursor: str | None = strawberry.field(
        description="The cursor of the last item, to be given as `after` for the next page; null on an empty page."
    )


def page_size(first: int) -> int:
    """Return ``first`` clamped to the largest page. Raises InvalidInputError below 1."""
    if first < 1:
        raise InvalidInputError("first", f"{first} is not a page size; ask for 1 to {MAX_PAGE_SIZE}")
    return min(first, MAX_PAGE_SIZE)


def digest_of(*arguments: Any) -> str:
    """Return a short digest of the arguments that decide what a search finds and in which order."""
    packed = msgspec.json.encode([_with_sorted_sets(argument) for argument in arguments], order="deterministic")
    return urlsafe_b64encode(blake2b(packed, digest_size=_DIGEST_BYTES).digest()).decode()


def _with_sorted_sets(argument: Any) -> Any:
    """Return a Struct's members with sets as sorted lists; msgspec itself cannot sort enums."""
    if not isinstance(argument, msgspec.Struct):
        return argument
    members = msgspec.structs.asdict(argument)
    return {
        name: sorted(msgspec.to_builtins(value)) if isinstance(value, frozenset) else value
        for name, value in members.items()
    }


def write_cursor(digest: str, key: float, item_id: str) -> str:
    """Return the cursor of an item."""
    return urlsafe_b64encode(msgspec.json.encode(Cursor(_VERSION, digest, key, item_id))).decode().rstrip("=")


def read_cursor(after: str, digest: str) -> Cursor:
    """Return the position. Raises InvalidInputError for a cursor that is not of this search."""
    try:
        if len(after) > MAX_CURSOR_CHARACTERS:
            raise InvalidInputError("after", "this is not a cursor that was given out here")
        padded = after.encode("ascii") + b"=" * (-len(after) % 4)
        cursor = msgspec.json.decode(urlsafe_b64decode(padded), type=Cursor)
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise InvalidInputError("after", "this is not a cursor that was given out here") from error
    if cursor.version != _VERSION or not math.isfinite(cursor.key) or len(cursor.id) > MAX_ID_CHARACTERS:
        raise InvalidInputError("after", "this is not a cursor that was given out here")
    if cursor.digest != digest:
        problem = "this cursor belongs to another search; use it with the arguments of the query that gave it out"
        raise InvalidInputError("after", problem)
    return cursor


def page_info(cursors: list[str], *, has_next: bool, after: str | None) -> PageInfo:
    """Describe a page by the cursors of its items."""
    return PageInfo(
        has_next_page=has_next,
        has_previous_page=after is not None,
        start_cursor=cursors[0] if cursors else None,
        end_cursor=cursors[-1] if cursors else None,
    )
