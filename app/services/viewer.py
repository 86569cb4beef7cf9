"""Who asks: made at the edge of the service, obeyed by every use case."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from app.errors import NotAllowedError
from app.model.agreement import (
    EVERYONE,
    EVERYTHING,
    NO_GRANTS,
    NOTHING_WITHHELD,
    Agreement,
    Grant,
    Grants,
    Withheld,
)
from app.model.feed import FeedInfo, FeedRights
from app.model.identity import feed_of
from app.model.partner import Partner, PartnerKind, Scope
from app.model.station import Station

_NOTHING: frozenset[Grant] = frozenset()


class Viewer(msgspec.Struct, frozen=True, kw_only=True):
    """A partner and what it may have.

    ``by_operator`` holds the operators of which something was agreed, ``by_feed`` what holds for all others of each
    configured feed. ``hidden`` are the stations that it must not find, ``dark`` those and the ones without live status.
    """

    partner: Partner
    by_feed: Mapping[str, Grants]
    by_operator: Mapping[str, Grants] = {}
    hidden: Withheld = NOTHING_WITHHELD
    dark: Withheld = NOTHING_WITHHELD

    def require(self, scope: Scope) -> None:
        """Raise NotAllowedError unless the key carries the scope."""
        if scope not in self.partner.scopes:
            msg = f"this key does not carry the scope {scope.value!r}"
            raise NotAllowedError(msg)

    def grants_on(self, station: Station) -> Grants:
        """Return what it may have of a station; nothing where nobody knows the feed."""
        return self.grants_of(station.operator_id, station.feed)

    def grants_of(self, operator_id: str, feed: str) -> Grants:
        """Return what it may have of an operator's stations."""
        return self.by_operator.get(operator_id) or self.by_feed.get(feed, NO_GRANTS)


def viewer_of(partner: Partner, feeds: Sequence[FeedInfo], in_force: Sequence[Agreement] = ()) -> Viewer:
    """Return the partner with what the feeds' rights and the agreements that are in force let it have.

    The feed's agreement with the partner and the operator's, or what the operator agreed with everyone, must both
    allow a thing. Where there is neither, what the feed offers to everyone holds. Of several agreements between the
    same two all must allow it. Nothing goes beyond the feed's rights.
    """
    agreed: dict[tuple[str, str], frozenset[Grant]] = {}
    for each in in_force:
        key = each.subject, each.partner_id
        agreed[key] = agreed.get(key, EVERYTHING) & each.grants
    by_feed: dict[str, Grants] = {}
    by_operator: dict[str, Grants] = {}
    bounds = {feed.id: _bound(partner, feed.rights) for feed in feeds}
    for feed in feeds:
        offered = agreed.get((feed.id, EVERYONE), feed.rights.offered_to_all)
        by_feed[feed.id] = Grants.of(agreed.get((feed.id, partner.id), offered) & bounds[feed.id])
    for subject in dict.fromkeys(subject for subject, _ in agreed):
        feed_id = feed_of(subject)
        found = agreed.get((subject, partner.id), agreed.get((subject, EVERYONE)))
        if subject != feed_id and feed_id in bounds and found is not None:
            by_operator[subject] = Grants.of(found & agreed.get((feed_id, partner.id), EVERYTHING) & bounds[feed_id])
    return Viewer(
        partner=partner,
        by_feed=by_feed,
        by_operator=by_operator,
        hidden=_withheld(by_feed, by_operator, lambda grants: grants.discover),
        dark=_withheld(by_feed, by_operator, lambda grants: grants.status),
    )


def _bound(partner: Partner, rights: FeedRights) -> frozenset[Grant]:
    """Return the most that a feed's rights allow a partner."""
    if not rights.may_discover or (partner.kind is PartnerKind.MAP and not rights.may_republish):
        return _NOTHING
    return EVERYTHING if rights.may_show_price else EVERYTHING - {Grant.PRICE}


def _withheld(
    by_feed: Mapping[str, Grants], by_operator: Mapping[str, Grants], allowed: Callable[[Grants], bool]
) -> Withheld:
    feeds = frozenset(feed for feed, grants in by_feed.items() if not allowed(grants))
    exceptions = {operator: allowed(grants) for operator, grants in by_operator.items()}
    return Withheld(
        feeds=feeds,
        but_of=frozenset(one for one, may in exceptions.items() if may and feed_of(one) in feeds),
        operators=frozenset(one for one, may in exceptions.items() if not may and feed_of(one) not in feeds),
    )
