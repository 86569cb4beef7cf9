"""Who asks: made once at the edge of the service, obeyed by every use case."""

import msgspec

from app.errors import NotAllowedError
from app.model.feed import FeedInfo, FeedRights
from app.model.partner import Partner, PartnerKind, Scope


class Viewer(msgspec.Struct, frozen=True, kw_only=True):
    """A partner and what it may see: ``hidden_feeds`` for its kind and agreement, ``priceless_feeds`` without fees."""

    partner: Partner
    hidden_feeds: frozenset[str]
    priceless_feeds: frozenset[str]

    def require(self, scope: Scope) -> None:
        """Raise NotAllowedError unless the key carries the scope."""
        if scope not in self.partner.scopes:
            msg = f"this key does not carry the scope {scope.value!r}"
            raise NotAllowedError(msg)


def viewer_of(partner: Partner, feeds: tuple[FeedInfo, ...]) -> Viewer:
    """Return the partner with what the feeds' rights let it see."""
    return Viewer(
        partner=partner,
        hidden_feeds=frozenset(feed.id for feed in feeds if not _may_see(partner, feed.rights)),
        priceless_feeds=frozenset(feed.id for feed in feeds if not feed.rights.may_show_price),
    )


def _may_see(partner: Partner, rights: FeedRights) -> bool:
    return rights.may_discover and (rights.may_republish or partner.kind is not PartnerKind.MAP)
