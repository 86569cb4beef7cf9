"""What ends a stream that would go on for ever: a key that is no longer good, and the end of the server."""

import asyncio
from contextlib import suppress

from starlette.types import Scope

from app.errors import UnavailableError
from app.services.viewer import Viewer
from app.services.watching import Watching
from app.web.auth import Doorkeeper

KEY_CHECKED_S = 2.0
"""How often a stream's key is looked at again; a directory of keys may believe its verdict for some seconds more."""

KEY_REVOKED = "the key is no longer valid, or what it may do has changed"


class Guard:
    """Watches over one connection."""

    def __init__(self, doorkeeper: Doorkeeper, watching: Watching, scope: Scope) -> None:
        """Take the scope that holds the key."""
        self._doorkeeper = doorkeeper
        self._watching = watching
        self._scope: Scope = {"headers": scope["headers"]}

    async def find_viewer(self) -> Viewer | None:
        """Return who it is; None without a valid key. Raises UnavailableError when nobody can tell."""
        return await self._doorkeeper.find_viewer(self._scope)

    async def until_over(self, viewer: Viewer) -> str | None:
        """Return once the stream has to end: KEY_REVOKED, or None where the server is ending."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(KEY_CHECKED_S):
                    await self._watching.ended.wait()
                    return None
            with suppress(UnavailableError):  # who was let in stays while nobody can tell
                if await self.find_viewer() != viewer:
                    return KEY_REVOKED
