"""API keys and agreements in Redis: one directory for as many hubs as there are, as durable as the reservations."""

import msgspec

from app.model.agreement import Agreement
from app.model.clock import Clock, Instant
from app.model.partner import ApiKey
from app.partners._keys import KeyDirectory, StoredKey
from app.redis import Redis, load_scripts, parse_endpoint

_KEYS = (b"keys", b"order")
"""What holds all keys by id, and the list of their ids."""

_AGREEMENTS = (b"agreements", b"agreements:order")

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(StoredKey)
_agreement_decoder = msgspec.msgpack.Decoder(Agreement)


class RedisPartners(KeyDirectory):
    """The keys and agreements of all hubs that name one server."""

    def __init__(self, url: str, clock: Clock) -> None:
        """Take the server's URL (``app.redis.parse_endpoint``) and what tells the time. Raises SettingsError."""
        super().__init__(clock)
        self._redis = Redis(parse_endpoint(url), load_scripts("app.partners"), durable=True)

    async def open(self) -> None:
        """Connect. Raises UnavailableError."""
        await self._redis.open()

    async def close(self) -> None:
        """Finish what was asked for and drop the connection."""
        await self._redis.close()

    async def list_keys(self) -> list[ApiKey]:
        """Return all keys, revoked ones too, oldest first."""
        return [_decoder.decode(packed).key for packed in await self._redis.run("list", *_KEYS)]

    async def list_agreements(self) -> list[Agreement]:
        """Return all agreements, ended ones too, oldest first."""
        return [_agreement_decoder.decode(packed) for packed in await self._redis.run("list", *_AGREEMENTS)]

    async def _save(self, stored: StoredKey) -> None:
        await self._redis.run("save", *_KEYS, stored.key.key_id.encode(), _encoder.encode(stored))

    async def _find(self, key_id: str) -> StoredKey | None:
        packed = await self._redis.run("find", _KEYS[0], key_id.encode())
        return None if packed is None else _decoder.decode(packed)

    async def _revoke(self, key_id: str, now: Instant) -> bool:
        packed = await self._redis.run("find", _KEYS[0], key_id.encode())
        stored = None if packed is None else _decoder.decode(packed)
        if stored is None or stored.key.revoked_at is not None:
            return False
        revoked = StoredKey(msgspec.structs.replace(stored.key, revoked_at=now), stored.digest)
        # As it was read: a set of scopes that is written again may come out in another order.
        return bool(await self._redis.run("replace", _KEYS[0], key_id.encode(), packed, _encoder.encode(revoked)))

    async def _save_agreement(self, agreement: Agreement) -> None:
        packed = _encoder.encode(agreement)
        await self._redis.run("save", *_AGREEMENTS, agreement.id.encode(), packed)

    async def _end_agreement(self, agreement_id: str, now: Instant) -> bool:
        packed = await self._redis.run("find", _AGREEMENTS[0], agreement_id.encode())
        agreement = None if packed is None else _agreement_decoder.decode(packed)
        if agreement is None or agreement.ended_at is not None:
            return False
        ended = _encoder.encode(msgspec.structs.replace(agreement, ended_at=now))
        return bool(await self._redis.run("replace", _AGREEMENTS[0], agreement_id.encode(), packed, ended))
