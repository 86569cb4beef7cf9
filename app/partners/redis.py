"""API keys in Redis: one directory for as many hubs as there are, as durable as the reservations beside it."""

import msgspec

from app.model.clock import Clock, Instant
from app.model.partner import ApiKey
from app.partners._keys import KeyDirectory, StoredKey
from app.redis import Redis, load_scripts, parse_endpoint

_decoder = msgspec.msgpack.Decoder(StoredKey)


class RedisPartners(KeyDirectory):
    """The keys of all hubs that name one server."""

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
        return [_decoder.decode(packed).key for packed in await self._redis.run("list")]

    async def _save(self, stored: StoredKey) -> None:
        await self._redis.run("save", stored.key.key_id.encode(), msgspec.msgpack.encode(stored))

    async def _find(self, key_id: str) -> StoredKey | None:
        packed = await self._redis.run("find", key_id.encode())
        return None if packed is None else _decoder.decode(packed)

    async def _revoke(self, key_id: str, now: Instant) -> bool:
        packed = await self._redis.run("find", key_id.encode())
        stored = None if packed is None else _decoder.decode(packed)
        if stored is None or stored.key.revoked_at is not None:
            return False
        revoked = StoredKey(msgspec.structs.replace(stored.key, revoked_at=now), stored.digest)
        # As it was read: a set of scopes that is written again may come out in another order.
        return bool(await self._redis.run("replace", key_id.encode(), packed, msgspec.msgpack.encode(revoked)))
