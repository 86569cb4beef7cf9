"""Who asks: the partner's key in the request's header, and nothing else."""

from starlette.types import Scope

from app.partners.base import PartnerDirectory
from app.services.agreements import Agreements
from app.services.viewer import Viewer
from app.web.http import header

MAX_KEY_CHARACTERS = 200
CHALLENGE = (b"www-authenticate", b'Bearer realm="chargegraph"')
"""What a 401 carries, as HTTP demands."""

KEY_HEADERS = frozenset({b"authorization", b"x-api-key"})
"""Where a key may be: no browser sends one of these by itself when a person opens an address."""

KEY_NEEDED = "a valid key is needed: Authorization: Bearer KEY, or X-API-Key: KEY"
"""What a 401 says."""

_BEARER = "bearer "


class Doorkeeper:
    """Turns keys into viewers. Keys come as ``Authorization: Bearer …`` or ``X-API-Key``; never in an address."""

    def __init__(self, partners: PartnerDirectory, agreements: Agreements) -> None:
        """Keep the directory of keys, and what tells who may have what."""
        self._partners = partners
        self._agreements = agreements

    async def find_viewer(self, scope: Scope) -> Viewer | None:
        """Return who asks, and what it may have by now; None without a valid key. Raises UnavailableError when nobody
        can tell.
        """
        key = _key(scope)
        if key is None:
            return None
        partner = await self._partners.find_partner(key)
        return None if partner is None else await self._agreements.viewer_of(partner)


def _key(scope: Scope) -> str | None:
    authorization = header(scope, b"authorization") or ""
    if authorization[: len(_BEARER)].lower() == _BEARER:
        key = authorization[len(_BEARER) :].strip()
    else:
        key = (header(scope, b"x-api-key") or "").strip()
    return key if key and key.isascii() and key.isprintable() and len(key) <= MAX_KEY_CHARACTERS else None
