"""Follow what operators and partners agree on while the hub runs, and say what it means for a partner now."""

import asyncio
import logging
import math
from collections.abc import Sequence

import msgspec

from app.errors import UnavailableError
from app.model.agreement import EVERYONE, Agreement
from app.model.clock import Clock, Instant
from app.model.feed import FeedInfo
from app.model.partner import Partner
from app.partners.base import PartnerDirectory
from app.services.viewer import Viewer, viewer_of

READ_AGAIN_S = 3.0
"""How long agreements are believed without looking again: as keys are, so that an embargo holds within 5 s."""

ASKED_AGAIN_S = 2.0
"""How often one request asks a directory that did not answer; the others are not kept waiting."""

_NEVER: Instant = -math.inf

logger = logging.getLogger("chargegraph.agreements")


class _Kept(msgspec.Struct, frozen=True):
    """A viewer, and from when until when nothing begins or ends for it."""

    viewer: Viewer
    since: Instant
    until: Instant


class Agreements:
    """Turns partners into viewers.

    While the directory does not answer, what was read last stands: whoever is let in meanwhile was let in before.
    """

    def __init__(self, directory: PartnerDirectory, feeds: Sequence[FeedInfo], clock: Clock) -> None:
        """Keep where agreements are, and the feeds with what they let partners have; nothing is read yet."""
        self._directory = directory
        self._feeds = feeds
        self._clock = clock
        self._known: list[Agreement] | None = None
        self._read_at: Instant = _NEVER
        self._in_vain_at: Instant = _NEVER
        self._reading: asyncio.Task[None] | None = None
        self._viewers: dict[str, _Kept] = {}  # no more than there are partners

    async def viewer_of(self, partner: Partner) -> Viewer:
        """Return the partner with what it may have now. Raises UnavailableError where nobody could ever tell."""
        now = self._clock()
        if not 0 <= now - self._read_at < READ_AGAIN_S:
            await self._read(now)
        kept = self._viewers.get(partner.id)
        if kept is None or not kept.since <= now < kept.until or kept.viewer.partner != partner:
            kept = self._viewers[partner.id] = self._make(partner, now)
        return kept.viewer

    async def _read(self, now: Instant) -> None:
        if self._known is not None and self._in_vain_at != _NEVER:
            just_asked = 0 <= now - self._in_vain_at < ASKED_AGAIN_S
            if just_asked or self._reading is not None:
                return
        if self._reading is None:
            self._reading = asyncio.create_task(self._list(now), name="agreements")
        await asyncio.shield(self._reading)
        if self._known is None:
            raise UnavailableError("nobody can tell what was agreed with partners")

    async def _list(self, now: Instant) -> None:
        try:
            listed = await self._directory.list_agreements()
        except UnavailableError as error:
            self._in_vain_at = self._clock()
            logger.warning("agreements are those that were read last: %s", error)
        else:
            self._in_vain_at = _NEVER
            self._read_at = now
            if listed != self._known:
                self._known = listed
                self._viewers.clear()
        finally:
            self._reading = None

    def _make(self, partner: Partner, now: Instant) -> _Kept:
        mine = [
            each for each in self._known or () if each.partner_id in {partner.id, EVERYONE} and each.ended_at is None
        ]
        edges = [edge for each in mine for edge in (each.not_before, each.expires_at) if edge is not None]
        until = min([edge for edge in edges if edge > now], default=math.inf)
        viewer = viewer_of(partner, self._feeds, [each for each in mine if each.is_in_force(now)])
        return _Kept(viewer, now, until)
