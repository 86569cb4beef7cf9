"""What every directory does alike: make and read keys, remember verdicts for a moment, and check agreements."""

import hmac
import math
import re
import secrets
import string
from abc import abstractmethod
from collections.abc import Iterable
from hashlib import sha256
from zlib import crc32

import msgspec

from app.errors import InvalidInputError, UnavailableError
from app.model.agreement import EVERYONE, Agreement, Grant, problem_of
from app.model.clock import Clock, Instant
from app.model.partner import ApiKey, Partner, PartnerKind, Scope
from app.partners.base import BELIEVED_S, PartnerDirectory

VERDICT_KEPT_S = 3.0
"""How long a verdict is believed without looking again; the contract allows 5 s."""

ASKED_AGAIN_S = 2.0
"""How often one request asks a directory that did not answer; the others are not kept waiting."""

_NEVER: Instant = -math.inf
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
_PARTNER_ID_PROBLEM = "must be 1 to 64 letters, digits, dots, hyphens or underscores, and begin with a letter or digit"
_SUBJECT = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}(:[^:\s\0]{1,100})?")
_AGREEMENT_ID = re.compile(rf"agr_[0-9A-Za-z]{{{_KEY_ID_CHARACTERS}}}")


class StoredKey(msgspec.Struct, frozen=True):
    """A key as it is kept: the SHA-256 of its secret, which is random enough to need no slow hash."""

    key: ApiKey
    digest: bytes


class _Verdict(msgspec.Struct, frozen=True):
    partner: Partner | None
    at: Instant


class KeyDirectory(PartnerDirectory):
    """A directory but for where keys are kept; several processes may share it.

    A key reads ``cg_<key id>_<secret><checksum>``. The checksum (CRC-32 of what stands before it) lets a mistyped
    key be refused without a look-up, and scanners recognise a leaked one.
    """

    def __init__(self, clock: Clock) -> None:
        """Take what tells the time."""
        self._clock = clock
        # By digest of the whole text. There are no more accepted keys than were made; refused ones need a bound.
        self._accepted: dict[bytes, _Verdict] = {}
        self._refused: dict[bytes, _Verdict] = {}
        self._in_vain_at: Instant = _NEVER

    @abstractmethod
    async def _save(self, stored: StoredKey) -> None:
        """Keep a new key; durable once it returns."""

    @abstractmethod
    async def _find(self, key_id: str) -> StoredKey | None:
        """Return a key by its id."""

    @abstractmethod
    async def _revoke(self, key_id: str, now: Instant) -> bool:
        """Note the end of a key that has none yet; False where there is no such key."""

    @abstractmethod
    async def _save_agreement(self, agreement: Agreement) -> None:
        """Keep a new agreement; durable once it returns."""

    @abstractmethod
    async def _end_agreement(self, agreement_id: str, now: Instant) -> bool:
        """Note the end of an agreement that has none yet; False where there is no such agreement."""

    async def create_key(self, partner_id: str, kind: PartnerKind, scopes: Iterable[Scope]) -> tuple[ApiKey, str]:
        """Make a key and return it with its text. Raises InvalidInputError for ``partner_id`` and ``scopes``."""
        partner = Partner(id=partner_id, kind=kind, scopes=frozenset(scopes))
        if not _PARTNER_ID.fullmatch(partner_id):
            raise InvalidInputError("partner_id", _PARTNER_ID_PROBLEM)
        if not partner.scopes:
            raise InvalidInputError("scopes", "a key without any scope would open nothing")
        key_id = _random(_KEY_ID_CHARACTERS, string.digits + string.ascii_lowercase)
        key = ApiKey(key_id=key_id, partner=partner, created_at=self._clock())
        secret = _random(_SECRET_CHARACTERS, _DIGITS)
        await self._save(StoredKey(key, sha256(secret.encode()).digest()))
        text = f"cg_{key.key_id}_{secret}"
        return key, text + _checksum(text)

    async def revoke_key(self, key_id: str) -> bool:
        """End a key for good; False when there is no such key or it was revoked before."""
        if not _KEY_ID.fullmatch(key_id):
            return False
        revoked = await self._revoke(key_id, self._clock())
        self._accepted.clear()
        return revoked

    async def find_partner(self, key_text: str) -> Partner | None:
        """Return whose key this is, None when it is unknown, damaged or revoked."""
        if not key_text.isascii():
            return None
        text_digest = sha256(key_text.encode()).digest()
        verdict = self._accepted.get(text_digest) or self._refused.get(text_digest)
        now = self._clock()
        if verdict is not None and 0 <= now - verdict.at < VERDICT_KEPT_S:
            return verdict.partner
        match = _KEY.fullmatch(key_text)
        if match is None or not hmac.compare_digest(_checksum(match[1]), match[4]):
            return None
        believed = None if verdict is None or not 0 <= now - verdict.at < BELIEVED_S else verdict.partner
        if believed is not None and 0 <= now - self._in_vain_at < ASKED_AGAIN_S:
            return believed
        if self._in_vain_at != _NEVER:
            self._in_vain_at = now
        try:
            partner = await self._judge(match[2], match[3])
        except UnavailableError:
            self._in_vain_at = self._clock()
            if believed is None:
                raise
            return believed
        self._in_vain_at = _NEVER
        if partner is not None:
            self._accepted[text_digest] = _Verdict(partner, now)
        else:
            self._accepted.pop(text_digest, None)
            if len(self._refused) >= _MAX_REFUSED_KEPT:
                self._refused.clear()
            self._refused[text_digest] = _Verdict(None, now)
        return partner

    async def create_agreement(
        self,
        subject: str,
        partner_id: str,
        grants: Iterable[Grant],
        *,
        not_before: Instant | None = None,
        expires_at: Instant | None = None,
    ) -> Agreement:
        """Keep a new agreement. Raises InvalidInputError for the argument that is wrong."""
        now = self._clock()
        agreement = Agreement(
            id=f"agr_{_random(_KEY_ID_CHARACTERS, _DIGITS)}",
            subject=subject,
            partner_id=partner_id,
            grants=frozenset(grants),
            made_at=now,
            not_before=not_before,
            expires_at=expires_at,
        )
        if not _SUBJECT.fullmatch(subject) or not _is_encodable(subject):
            raise InvalidInputError("subject", "must be the name of a feed, or the id of one of its operators")
        if partner_id != EVERYONE and not _PARTNER_ID.fullmatch(partner_id):
            raise InvalidInputError("partner_id", f"{_PARTNER_ID_PROBLEM}; or be {EVERYONE}, for all")
        if problem := problem_of(agreement.grants):
            raise InvalidInputError("grants", problem)
        if not_before is not None and not math.isfinite(not_before):
            raise InvalidInputError("not_before", "is no time")
        if expires_at is not None and not max(now, not_before or now) < expires_at < math.inf:
            raise InvalidInputError("expires_at", "must be later than now, and than not_before")
        await self._save_agreement(agreement)
        return agreement

    async def end_agreement(self, agreement_id: str) -> bool:
        """End an agreement for good; False when there is none with this id or it was ended before."""
        if not _AGREEMENT_ID.fullmatch(agreement_id):
            return False
        return await self._end_agreement(agreement_id, self._clock())

    async def _judge(self, key_id: str, secret: str) -> Partner | None:
        stored = await self._find(key_id)
        if stored is None or not hmac.compare_digest(stored.digest, sha256(secret.encode()).digest()):
            return None
        return stored.key.partner if stored.key.revoked_at is None else None


def _random(count: int, alphabet: str) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(count))


def _is_encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _checksum(text: str) -> str:
    number = crc32(text.encode())
    digits = ""
    for _ in range(_CHECKSUM_CHARACTERS):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits
