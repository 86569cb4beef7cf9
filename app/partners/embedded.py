"""API keys without a server: one SQLite file, which `keys create` may write while `serve` reads it."""

import hmac
import re
import secrets
import sqlite3
import string
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec

from app.errors import InvalidInputError
from app.model.clock import Clock, Instant
from app.model.partner import ApiKey, Partner, PartnerKind, Scope
from app.partners.base import PartnerDirectory
from app.sqlite import Database

VERDICT_KEPT_S = 3.0
"""How long a verdict is believed without looking again; the contract allows 5 s."""

_MAX_REFUSED_KEPT = 4_096
_DIGITS = string.digits + string.ascii_letters
_KEY_ID_CHARACTERS = 12
_SECRET_CHARACTERS = 32  # 190 random bits
_CHECKSUM_CHARACTERS = 6
_KEY = re.compile(
    rf"(cg_([0-9a-z]{{{_KEY_ID_CHARACTERS}}})_([0-9A-Za-z]{{{_SECRET_CHARACTERS}}}))"
    rf"([0-9A-Za-z]{{{_CHECKSUM_CHARACTERS}}})"
)
_KEY_ID = re.compile(rf"[0-9a-z]{{{_KEY_ID_CHARACTERS}}}")
_PARTNER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

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


class _Verdict(msgspec.Struct, frozen=True):
    partner: Partner | None
    at: Instant


class EmbeddedPartners(PartnerDirectory):
    """The keys of one installation; several processes may share the file.

    A key reads ``cg_<key id>_<secret><checksum>``. The checksum (CRC-32 of what stands before it) lets a mistyped
    key be refused without a look-up, and scanners recognise a leaked one. Kept is the SHA-256 of the secret, which is
    random enough to need no slow hash.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        """Take the path of the SQLite file, which is made when missing, and what tells the time."""
        self._database = Database(path, _SCHEMA)
        self._clock = clock
        # By digest of the whole text. There are no more accepted keys than were made; refused ones need a bound.
        self._accepted: dict[bytes, _Verdict] = {}
        self._refused: dict[bytes, _Verdict] = {}

    async def open(self) -> None:
        """Make the directory ready. Raises UnavailableError."""
        await self._database.open()

    async def close(self) -> None:
        """Finish what was asked for and close the file."""
        await self._database.close()

    async def create_key(self, partner_id: str, kind: PartnerKind, scopes: Iterable[Scope]) -> tuple[ApiKey, str]:
        """Make a key and return it with its text. Raises InvalidInputError for ``partner_id`` and ``scopes``."""
        partner = Partner(id=partner_id, kind=kind, scopes=frozenset(scopes))
        if not _PARTNER_ID.fullmatch(partner_id):
            problem = "must be 1 to 64 letters, digits, dots, hyphens or underscores, and begin with a letter or digit"
            raise InvalidInputError("partner_id", problem)
        if not partner.scopes:
            raise InvalidInputError("scopes", "a key without any scope would open nothing")
        key = ApiKey(
            key_id=_random(_KEY_ID_CHARACTERS, string.digits + string.ascii_lowercase),
            partner=partner,
            created_at=self._clock(),
        )
        secret = _random(_SECRET_CHARACTERS, _DIGITS)
        row = (
            key.key_id,
            sha256(secret.encode()).digest(),
            partner.id,
            partner.kind.value,
            " ".join(sorted(scope.value for scope in partner.scopes)),
            key.created_at,
        )

        def save(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO key (key_id, digest, partner_id, kind, scopes, created_at) VALUES (?, ?, ?, ?, ?, ?)", row
            )

        await self._database.write(save)
        text = f"cg_{key.key_id}_{secret}"
        return key, text + _checksum(text)

    async def list_keys(self) -> list[ApiKey]:
        """Return all keys, revoked ones too, oldest first."""

        def look(connection: sqlite3.Connection) -> list[ApiKey]:
            return [_read(row) for row in connection.execute(_SELECT + " ORDER BY number")]

        return await self._database.read(look)

    async def revoke_key(self, key_id: str) -> bool:
        """End a key for good; False when there is no such key or it was revoked before."""
        if not _KEY_ID.fullmatch(key_id):
            return False
        now = self._clock()

        def revoke(connection: sqlite3.Connection) -> bool:
            change = "UPDATE key SET revoked_at = ? WHERE key_id = ? AND revoked_at IS NULL"
            return connection.execute(change, (now, key_id)).rowcount > 0

        revoked = await self._database.write(revoke)
        self._accepted.clear()
        return revoked

    async def find_partner(self, key_text: str) -> Partner | None:
        """Return whose key this is, None when it is unknown, damaged or revoked."""
        match = _KEY.fullmatch(key_text)
        if match is None or not hmac.compare_digest(_checksum(match[1]), match[4]):
            return None
        text_digest = sha256(key_text.encode()).digest()
        verdict = self._accepted.get(text_digest) or self._refused.get(text_digest)
        now = self._clock()
        if verdict is not None and 0 <= now - verdict.at < VERDICT_KEPT_S:
            return verdict.partner
        partner = await self._look_up(match[2], match[3])
        if partner is not None:
            self._accepted[text_digest] = _Verdict(partner, now)
        else:
            self._accepted.pop(text_digest, None)
            if len(self._refused) >= _MAX_REFUSED_KEPT:
                self._refused.clear()
            self._refused[text_digest] = _Verdict(None, now)
        return partner

    async def _look_up(self, key_id: str, secret: str) -> Partner | None:
        def look(connection: sqlite3.Connection) -> tuple[Any, ...] | None:
            row: tuple[Any, ...] | None = connection.execute(_SELECT + " WHERE key_id = ?", (key_id,)).fetchone()
            return row

        row = await self._database.read(look)
        if row is None or not hmac.compare_digest(row[-1], sha256(secret.encode()).digest()):
            return None
        key = _read(row)
        return key.partner if key.revoked_at is None else None


def _random(count: int, alphabet: str) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(count))


def _checksum(text: str) -> str:
    number = crc32(text.encode())
    digits = ""
    for _ in range(_CHECKSUM_CHARACTERS):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def _read(row: tuple[Any, ...]) -> ApiKey:
    key_id, partner_id, kind, scopes, created_at, revoked_at, _digest = row
    partner = Partner(id=partner_id, kind=PartnerKind(kind), scopes=frozenset(Scope(scope) for scope in scopes.split()))
    return ApiKey(key_id=key_id, partner=partner, created_at=created_at, revoked_at=revoked_at)
