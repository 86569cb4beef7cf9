"""Answering an operator that calls us: ``query_token`` and ``notification_stationStatus``.

The order is: all parts of the envelope there (else Ret 4003), signature right (4001), token alive (4002), TimeStamp
inside the window (4003), the message not seen before, Data decrypted and JSON (4004). The standard names no code for
a stale TimeStamp and an undecryptable body; these are what the most careful public implementation answers.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from app.feeds.base import FeedLedger
from app.model.availability import StatusChannel
from app.model.clock import Clock, Instant
from indexers.base import FeedContext, InboundReply
from indexers.feeds.cec102.envelope import (
    Call,
    Field,
    Ret,
    build_answer,
    call_is_signed,
    read_call,
    read_timestamp,
    unseal,
)
from indexers.feeds.cec102.mapping import Mapper, status_records
from indexers.feeds.cec102.profile import Cec102Profile, ServeTable, serve_keys
from indexers.feeds.cec102.values import JsonObject, identifier, standard_keys

MAX_STATUSES_A_PUSH: Final = 10_000
MAX_REMEMBERED_MESSAGES: Final = 65_536
MAX_LIVE_TOKENS: Final = 256
TOKENS_NOTE: Final = "tokens-issued"

_TOKEN_BYTES: Final = 32
_BEARER: Final = "bearer"
_TAKEN: Final = {"Status": 0}
_DISCARDED: Final = {"Status": 1}


class _IssuedToken(msgspec.Struct, frozen=True):
    digest: str
    expires_at: Instant


_NOTE: Final = msgspec.json.Decoder(list[_IssuedToken])


class IssuedTokens:
    """The tokens that we gave to one partner: several alive at once, kept as hashes, and longer than this process."""

    def __init__(self, feed: str, ledger: FeedLedger, clock: Clock, ttl_s: float) -> None:
        """Know none yet; what was issued before is read when it is first needed."""
        self._feed = feed
        self._ledger = ledger
        self._clock = clock
        self._ttl_s = ttl_s
        self._expiries: OrderedDict[str, Instant] | None = None
        self._lock = asyncio.Lock()

    async def issue(self) -> str:
        """Return a new token, durable before it is returned. The oldest of too many dies."""
        async with self._lock:
            expiries = await self._load()
            now = self._clock()
            for digest in [digest for digest, expires_at in expiries.items() if expires_at <= now]:
                del expiries[digest]
            while len(expiries) >= MAX_LIVE_TOKENS:
                expiries.popitem(last=False)
            token = secrets.token_urlsafe(_TOKEN_BYTES)
            expiries[_digest(token)] = now + self._ttl_s
            note = [_IssuedToken(digest, expires_at) for digest, expires_at in expiries.items()]
            await self._ledger.save_note(self._feed, TOKENS_NOTE, msgspec.json.encode(note))
            return token

    async def is_alive(self, authorization: str | None) -> bool:
        """Tell whether the header carries a live token: ``Bearer x``, ``Bearerx`` and a bare ``x`` are taken."""
        if self._expiries is None:
            async with self._lock:
                await self._load()
        assert self._expiries is not None
        written = (authorization or "").strip()
        candidates = [written]
        if written[: len(_BEARER)].lower() == _BEARER:
            candidates.append(written[len(_BEARER) :].strip())
        now = self._clock()
        return any(self._expiries.get(_digest(token), now) > now for token in candidates if token)

    async def _load(self) -> OrderedDict[str, Instant]:
        if self._expiries is None:
            note = await self._ledger.find_note(self._feed, TOKENS_NOTE)
            issued = [] if note is None else _NOTE.decode(note)
            self._expiries = OrderedDict((token.digest, token.expires_at) for token in issued)
        return self._expiries


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


class Inbound:
    """One partner's calls, answered."""

    def __init__(self, profile: Cec102Profile, serve: ServeTable, context: FeedContext, mapper: Mapper) -> None:
        """Keep what is needed to answer; nothing is read yet."""
        self.party = serve.operator_id or profile.party
        self._serve = serve
        self._dialect = profile.dialect
        self._keys = serve_keys(context.feed, serve)
        self._clock = context.clock
        self._mapper = mapper
        self._tokens = IssuedTokens(context.feed, context.ledger, context.clock, serve.token_ttl_s)
        status = profile.status
        self._stale_after_s = status.pushed_stale_after_s or status.stale_after_s
        self._answered: OrderedDict[bytes, bytes] = OrderedDict()
        self._pending: dict[bytes, asyncio.Event] = {}
        self._taken = self._reply(_TAKEN)
        self._discarded = self._reply(_DISCARDED)
        self._interfaces: dict[str, Callable[[JsonObject], Awaitable[InboundReply]]] = {
            "query_token": self._query_token,
            "notification_stationstatus": self._station_status,
            "notification_stationinfo": self._discard,
            "notification_stationfee": self._discard,
        }

    async def answer(self, interface: str, body: bytes, authorization: str | None) -> InboundReply:
        """Answer one call. Never raises for what a caller sent."""
        call = read_call(body)
        if isinstance(call, str):
            return self._refuse(Ret.BAD_ENVELOPE, call)
        if call.operator_id.strip() != self.party or not call_is_signed(call, self._keys, self._dialect):
            return self._refuse(Ret.BAD_SIGNATURE, "wrong Sig")
        name = interface.strip().lower()
        if name != "query_token" and not await self._tokens.is_alive(authorization):
            return self._refuse(Ret.BAD_TOKEN, "wrong or expired token")
        window_s = self._serve.timestamp_window_s
        if not window_s:
            return await self._fresh(name, call.data)
        if not self._is_timely(call, window_s):
            return self._refuse(Ret.BAD_ENVELOPE, "TimeStamp is not now, in Beijing time")
        return await self._once(name, call)

    def _is_timely(self, call: Call, window_s: float) -> bool:
        meant = read_timestamp(call.timestamp)
        return meant is not None and meant[0] - window_s <= self._clock() <= meant[1] + window_s

    async def _once(self, name: str, call: Call) -> InboundReply:
        """Answer a message that came before, or is being answered, as the first time, without its news."""
        message = hashlib.sha256(f"{name}\n{call.sig.strip().upper()}".encode("utf-8", "replace")).digest()[:16]
        while (running := self._pending.get(message)) is not None:
            await running.wait()
        answered = self._answered.get(message)
        if answered is not None:
            return InboundReply(body=answered)
        self._pending[message] = asyncio.Event()
        try:
            reply = await self._fresh(name, call.data)
            while len(self._answered) >= MAX_REMEMBERED_MESSAGES:
                self._answered.popitem(last=False)
            self._answered[message] = reply.body
            return reply
        finally:
            self._pending.pop(message).set()

    async def _fresh(self, name: str, data: Field) -> InboundReply:
        try:
            value = unseal(data, self._keys, self._dialect)
        except ValueError:
            return self._refuse(Ret.BAD_PARAMETERS, "Data cannot be decrypted or is no JSON")
        if not isinstance(value, dict):
            return self._refuse(Ret.BAD_PARAMETERS, "Data is not a JSON object")
        answer = self._interfaces.get(name)
        if answer is None:
            return self._refuse(Ret.BAD_PARAMETERS, "this interface is not served")
        return await answer(standard_keys(value))

    async def _query_token(self, fields: JsonObject) -> InboundReply:
        caller = identifier(fields.get("OperatorID"))
        secret = fields.get("OperatorSecret")
        offered = secret.encode("utf-8", "replace") if isinstance(secret, str) else b""
        fits = hmac.compare_digest(offered, self._serve.operator_secret.encode())
        known = caller is not None and caller[1] == self.party
        payload: JsonObject = {
            "OperatorID": self.party,
            "SuccStat": 0 if known and fits else 1,
            "AccessToken": "",
            "TokenAvailableTime": 0,
            "FailReason": 0 if known and fits else (2 if known else 1),
        }
        if known and fits:
            payload["AccessToken"] = await self._tokens.issue()
            payload["TokenAvailableTime"] = self._serve.token_ttl_s
        return InboundReply(body=self._reply(payload))

    async def _station_status(self, fields: JsonObject) -> InboundReply:
        pushed = status_records(fields)
        if not pushed:
            return self._refuse(Ret.BAD_PARAMETERS, "no ConnectorStatusInfo")
        if len(pushed) > MAX_STATUSES_A_PUSH:
            return self._refuse(Ret.BAD_PARAMETERS, f"more than {MAX_STATUSES_A_PUSH} statuses")
        now = self._clock()
        batch = self._mapper.statuses(pushed, at=now, stale_after=now + self._stale_after_s, channel=StatusChannel.PUSH)
        return InboundReply(body=self._taken if batch.statuses else self._discarded, batch=batch)

    async def _discard(self, _fields: JsonObject) -> InboundReply:
        """Answer news that we do not take from pushes: the next sweep brings them. Not to be sent again."""
        return InboundReply(body=self._discarded)

    def _reply(self, payload: JsonObject) -> bytes:
        return build_answer(Ret.OK, "", payload, keys=self._keys, dialect=self._dialect)

    def _refuse(self, ret: Ret, msg: str) -> InboundReply:
        return InboundReply(body=build_answer(ret, msg, None, keys=self._keys, dialect=self._dialect))
