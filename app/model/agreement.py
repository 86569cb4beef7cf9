"""What operators let partners have, and whose stations are withheld from whom."""

from enum import Enum

import msgspec

from app.model.clock import Instant
from app.model.identity import feed_of

EVERYONE = "*"
"""Stands for all partners that no agreement names."""


class Grant(Enum):
    """What an operator may let a partner have of its stations."""

    DISCOVER = "discover"
    STATUS = "status"
    PRICE = "price"
    RESERVE = "reserve"


EVERYTHING = frozenset(Grant)


class Grants(msgspec.Struct, frozen=True, kw_only=True, gc=False, cache_hash=True):
    """Grants as answers: whether stations may be found, live status and fees be seen, and Evses be held."""

    discover: bool = False
    status: bool = False
    price: bool = False
    reserve: bool = False

    @classmethod
    def of(cls, grants: frozenset[Grant]) -> "Grants":
        """Return the answers for a set of grants."""
        return cls(
            discover=Grant.DISCOVER in grants,
            status=Grant.STATUS in grants,
            price=Grant.PRICE in grants,
            reserve=Grant.RESERVE in grants,
        )


NO_GRANTS = Grants()


def problem_of(grants: frozenset[Grant]) -> str | None:
    """Return what is wrong with a set of grants; None where it can be agreed on. The empty set is an embargo."""
    if grants and Grant.DISCOVER not in grants:
        return "what may not be found has neither status nor price: discover is missing"
    if Grant.RESERVE in grants and Grant.STATUS not in grants:
        return "whether a hold is granted tells whether the Evse is free: reserve needs status"
    return None


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """What a feed, or one operator of it, lets a partner have from ``not_before`` until ``expires_at``.

    ``subject`` is the feed's name or the operator's id, ``partner_id`` a partner's or EVERYONE. No grants at all are
    an embargo. An agreement is never changed; ``ended_at`` is set where it was ended for good.
    """

    id: str
    subject: str
    partner_id: str
    grants: frozenset[Grant]
    made_at: Instant
    not_before: Instant | None = None
    expires_at: Instant | None = None
    ended_at: Instant | None = None

    def is_in_force(self, at: Instant) -> bool:
        """Tell whether it counts at an Instant."""
        return (
            self.ended_at is None
            and (self.not_before is None or self.not_before <= at)
            and (self.expires_at is None or at < self.expires_at)
        )


class Withheld(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """Stations by who runs them: those of ``operators``, and all of ``feeds`` but those of the operators ``but_of``."""

    feeds: frozenset[str] = frozenset()
    but_of: frozenset[str] = frozenset()
    operators: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """Tell whether anything is withheld."""
        return bool(self.feeds or self.operators)

    def holds(self, operator_id: str) -> bool:
        """Tell whether the stations of an operator are among them."""
        if operator_id in self.operators:
            return True
        return operator_id not in self.but_of and feed_of(operator_id) in self.feeds

    def holds_all_of(self, feed: str) -> bool:
        """Tell whether the stations of each operator of a feed are among them."""
        return feed in self.feeds and all(feed_of(operator) != feed for operator in self.but_of)

    def holds_some_of(self, feed: str) -> bool:
        """Tell whether there may be an operator of a feed whose stations are among them."""
        return feed in self.feeds or any(feed_of(operator) == feed for operator in self.operators)


NOTHING_WITHHELD = Withheld()
