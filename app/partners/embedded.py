"""Keys and agreements without a server: SQLite files, which `keys create` may write while `serve` reads them."""

import sqlite3
from pathlib import Path
from typing import Any

from app.model.agreement import Agreement, Grant
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
_AGREEMENTS_SCHEMA = """
CREATE TABLE agreement (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    subject TEXT NOT NULL,
    partner_id TEXT NOT NULL,
    grants TEXT NOT NULL,
    made_at REAL NOT NULL,
    not_before REAL,
    expires_at REAL,
    ended_at REAL
) STRICT
"""
_SELECT_AGREEMENTS = (
    "SELECT id, subject, partner_id, grants, made_at, not_before, expires_at, ended_at FROM agreement ORDER BY number"
)
_INSERT_AGREEMENT = (
    "INSERT INTO agreement (id, subject, partner_id, grants, made_at, not_before, expires_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_SELECT = "SELECT key_id, partner_id, kind, scopes, created_at, revoked_at, digest FROM key"


class EmbeddedPartners(KeyDirectory):
    """The keys and agreements of one machine; several processes may share the files."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Take the path of the keys' SQLite file, and what tells the time; that of the agreements is beside it. They
        are made when missing.
        """
        super().__init__(clock)
        self._database = Database(path, _SCHEMA)
        self._agreements = Database(path.with_name(f"{path.stem}-agreements{path.suffix}"), _AGREEMENTS_SCHEMA)

    async def open(self) -> None:
        """Make the directory ready. Raises UnavailableError."""
        await self._database.open()
        await self._agreements.open()

    async def close(self) -> None:
        """Finish what was asked for and close the files."""
        await self._agreements.close()
        await self._database.close()

    async def list_keys(self) -> list[ApiKey]:
        """Return all keys, revoked ones too, oldest first."""

        def look(connection: sqlite3.Connection) -> list[ApiKey]:
            return [_read(row).key for row in connection.execute(_SELECT + " ORDER BY number")]

        return await self._database.read(look)

    async def list_agreements(self) -> list[Agreement]:
        """Return all agreements, ended ones too, oldest first."""

        def look(connection: sqlite3.Connection) -> list[Agreement]:
            return [_read_agreement(row) for row in connection.execute(_SELECT_AGREEMENTS)]

        return await self._agreements.read(look)

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

    async def _save_agreement(self, agreement: Agreement) -> None:
        row = (
            agreement.id,
            agreement.subject,
            agreement.partner_id,
            " ".join(sorted(grant.value for grant in agreement.grants)),
            agreement.made_at,
            agreement.not_before,
            agreement.expires_at,
        )

        def save(connection: sqlite3.Connection) -> None:
            connection.execute(_INSERT_AGREEMENT, row)

        await self._agreements.write(save)

    async def _end_agreement(self, agreement_id: str, now: Instant) -> bool:
        def end(connection: sqlite3.Connection) -> bool:
            change = "UPDATE agreement SET ended_at = ? WHERE id = ? AND ended_at IS NULL"
            return connection.execute(change, (now, agreement_id)).rowcount > 0

        return await self._agreements.write(end)


def _read_agreement(row: tuple[Any, ...]) -> Agreement:
    agreement_id, subject, partner_id, grants, made_at, not_before, expires_at, ended_at = row
    return Agreement(
        id=agreement_id,
        subject=subject,
        partner_id=partner_id,
        grants=frozenset(Grant(grant) for grant in grants.split()),
        made_at=made_at,
        not_before=not_before,
        expires_at=expires_at,
        ended_at=ended_at,
    )


def _read(row: tuple[Any, ...]) -> StoredKey:
    key_id, partner_id, kind, scopes, created_at, revoked_at, digest = row
    partner = Partner(id=partner_id, kind=PartnerKind(kind), scopes=frozenset(Scope(scope) for scope in scopes.split()))
    return StoredKey(ApiKey(key_id=key_id, partner=partner, created_at=created_at, revoked_at=revoked_at), digest)
