"""API keys without a server: one SQLite file, which `keys create` may write while `serve` reads it."""

import sqlite3
from pathlib import Path
from typing import Any

from app.model.clock import Clock, Instant
from app.model.partner import ApiKey, Partner, PartnerKind, Scope
from app.partners._keys import KeyDirectory, StoredKey
from app.sqlite import Database

_SCHEMA = """
CREATE TABLE key (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key_id TEXT NOT NULL UNIQUE,
    digest BLOB NOT NULL,
    partner_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at REAL NOT NULL,
    revoked_at REAL
) STRICT
"""
_SELECT = "SELECT key_id, partner_id, kind, scopes, created_at, revoked_at, digest FROM key"


class EmbeddedPartners(KeyDirectory):
    """The keys of one machine; several processes may share the file."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Take the path of the SQLite file, which is made when missing, and what tells the time."""
        super().__init__(clock)
        self._database = Database(path, _SCHEMA)

    async def open(self) -> None:
        """Make the directory ready. Raises UnavailableError."""
        await self._database.open()

    async def close(self) -> None:
        """Finish what was asked for and close the file."""
        await self._database.close()

    async def list_keys(self) -> list[ApiKey]:
        """Return all keys, revoked ones too, oldest first."""

        def look(connection: sqlite3.Connection) -> list[ApiKey]:
            return [_read(row).key for row in connection.execute(_SELECT + " ORDER BY number")]

        return await self._database.read(look)

    async def _save(self, stored: StoredKey) -> None:
        key = stored.key
        row = (
            key.key_id,
            stored.digest,
            key.partner.id,
            key.partner.kind.value,
            " ".join(sorted(scope.value for scope in key.partner.scopes)),
            key.created_at,
        )

        def save(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO key (key_id, digest, partner_id, kind, scopes, created_at) VALUES (?, ?, ?, ?, ?, ?)", row
            )

        await self._database.write(save)

    async def _find(self, key_id: str) -> StoredKey | None:
        def look(connection: sqlite3.Connection) -> StoredKey | None:
            row = connection.execute(_SELECT + " WHERE key_id = ?", (key_id,)).fetchone()
            return None if row is None else _read(row)

        return await self._database.read(look)

    async def _revoke(self, key_id: str, now: Instant) -> bool:
        def revoke(connection: sqlite3.Connection) -> bool:
            change = "UPDATE key SET revoked_at = ? WHERE key_id = ? AND revoked_at IS NULL"
            return connection.execute(change, (now, key_id)).rowcount > 0

        return await self._database.write(revoke)


def _read(row: tuple[Any, ...]) -> StoredKey:
    key_id, partner_id, kind, scopes, created_at, revoked_at, digest = row
    partner = Partner(id=partner_id, kind=PartnerKind(kind), scopes=frozenset(Scope(scope) for scope in scopes.split()))
    return StoredKey(ApiKey(key_id=key_id, partner=partner, created_at=created_at, revoked_at=revoked_at), digest)
