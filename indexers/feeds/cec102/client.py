"""Calling an operator's platform: the token, the envelope both ways, and what each refusal means."""

import asyncio
import random
from typing import Final

import msgspec

from app.errors import FeedProtocolError, FeedUnreachableError
from app.model.clock import Clock, Instant
from indexers.feeds.cec102.envelope import (
    NO_FIELD,
    Answer,
    Field,
    Numbering,
    Ret,
    answer_is_signed,
    build_call,
    read_answer,
    unseal,
)
from indexers.feeds.cec102.profile import Cec102Profile, call_keys
from indexers.feeds.cec102.values import JsonObject, code_text, integer, number, number_text, standard_keys, text
from indexers.http_source import HttpAnswer, HttpSource

QUERY_TOKEN: Final = "query_token"  # noqa: S105 - the interface's name
STATIONS_INFO: Final = "query_stations_info"
STATION_STATUS: Final = "query_station_status"

_LONGEST_DELAY_S: Final = 60.0
_LONGEST_TTL_S: Final = 7 * 86_400.0
_TTL_WHERE_UNSTATED_S: Final = 600.0
_MAX_TOKEN_CHARACTERS: Final = 8_000
_MARGIN_SHARE: Final = 0.1
_LONGEST_MARGIN_S: Final = 60.0
_TOKEN_FAILURES: Final = {1: "no such operator", 2: "wrong OperatorSecret"}
_MEANINGS: Final[dict[int, str]] = {
    Ret.BAD_SIGNATURE: "it says that our signature is wrong",
    Ret.BAD_TOKEN: "it refused the token that it had just given",
    Ret.BAD_ENVELOPE: "it says that our envelope is not valid",
    Ret.BAD_PARAMETERS: "it says that our parameters are not valid",
}


class RefusedError(FeedProtocolError):
    """The platform answered a Ret that another try would not change."""

    def __init__(self, interface: str, ret: int, msg: str) -> None:
        """Keep the code."""
        meaning = _MEANINGS.get(ret, "") if interface != QUERY_TOKEN or ret != Ret.BAD_TOKEN else ""
        told = ": ".join(part for part in (meaning, code_text(msg)) if part)
        super().__init__(f"{interface}: Ret {ret}" + (f": {told}" if told else ""))
        self.ret = ret


class _Token(msgspec.Struct, frozen=True):
    value: str
    renew_at: Instant


class Cec102Client:
    """One partner, called. Any number of calls may be made at once; they share one token and one rate."""

    def __init__(self, feed: str, profile: Cec102Profile, clock: Clock, source: HttpSource) -> None:
        """Keep what is needed to call; nothing is sent yet."""
        self._profile = profile
        self._dialect = profile.dialect
        self._keys = call_keys(feed, profile)
        self._clock = clock
        self._source = source
        self._numbering = Numbering(profile.dialect)
        self._token: _Token | None = None
        self._renewing = asyncio.Lock()
        call = profile.call
        self._urls = {
            interface: (url or call.base_url).rstrip("/") + "/" + interface
            for interface, url in (
                (QUERY_TOKEN, call.token_url),
                (STATIONS_INFO, call.stations_url),
                (STATION_STATUS, call.status_url),
            )
        }

    async def query(self, interface: str, payload: JsonObject) -> JsonObject:
        """Return what the platform answered, under the standard's keys.

        A token is fetched when there is none, and once more on Ret 4002. Raises FeedUnreachableError (also when it
        stays busy), RefusedError, and FeedProtocolError for an answer that is not one.
        """
        token = await self._valid_token()
        answer = await self._exchange(interface, payload, token)
        if answer.ret == Ret.BAD_TOKEN:
            if self._token is not None and self._token.value == token:
                self._token = None
            answer = await self._exchange(interface, payload, await self._valid_token())
        return self._opened(interface, answer)

    async def close(self) -> None:
        """Release connections."""
        await self._source.close()

    async def _valid_token(self) -> str:
        """Return the shared token, fetched by whoever comes first when there is none or it ends soon."""
        async with self._renewing:
            if self._token is None or self._clock() >= self._token.renew_at:
                self._token = await self._fetch_token()
            return self._token.value

    async def _fetch_token(self) -> _Token:
        payload = {
            "OperatorID": self._profile.hub_operator_id,
            "OperatorSecret": self._profile.call.operator_secret,
        }
        asked_at = self._clock()
        fields = self._opened(QUERY_TOKEN, await self._exchange(QUERY_TOKEN, payload, None))
        value = _token_text(fields.get("AccessToken"))
        if integer(fields.get("SuccStat")) not in {0, None} or value is None:
            reason = integer(fields.get("FailReason"))
            told = _TOKEN_FAILURES.get(reason or 0, "no usable AccessToken")
            raise FeedProtocolError(f"{QUERY_TOKEN}: refused, FailReason {reason}: {told}")
        ttl_s = number(fields.get("TokenAvailableTime")) or 0.0
        ttl_s = min(ttl_s, _LONGEST_TTL_S) if ttl_s > 0 else _TTL_WHERE_UNSTATED_S
        return _Token(value, asked_at + ttl_s - min(_LONGEST_MARGIN_S, ttl_s * _MARGIN_SHARE))

    async def _exchange(self, interface: str, payload: JsonObject, token: str | None) -> Answer:
        """Return the first answer that is not "busy"; each try is a message of its own."""
        retries, delay_s = self._profile.limits.retries, self._profile.limits.retry_delay_s
        for attempt in range(retries + 1):
            wait_s = min(delay_s * 2.0**attempt * random.uniform(1.0, 1.25), _LONGEST_DELAY_S)
            try:
                return await self._try(interface, payload, token)
            except _BusyError as error:
                if attempt == retries:
                    raise
                wait_s = max(wait_s, min(error.retry_after_s, _LONGEST_DELAY_S))
            except FeedUnreachableError:
                if attempt == retries:
                    raise
            await asyncio.sleep(wait_s)
        raise AssertionError("the last try answers or raises")

    async def _try(self, interface: str, payload: JsonObject, token: str | None) -> Answer:
        timestamp, seq = self._numbering.next(self._clock())
        content = build_call(
            self._profile.hub_operator_id,
            payload,
            keys=self._keys,
            dialect=self._dialect,
            timestamp=timestamp,
            seq=seq,
        )
        headers = {"Content-Type": "application/json; charset=utf-8", "Accept": "application/json"}
        if token is not None:
            prefix = {"spaced": "Bearer ", "joined": "Bearer", "bare": ""}[self._dialect.bearer]
            headers["Authorization"] = prefix + token
        http = await self._source.request("POST", self._urls[interface], headers=headers, content=content)
        answer = read_answer(http.body)
        if answer is None:
            return _without_envelope(interface, http)
        if answer.ret in {Ret.BUSY, Ret.SYSTEM_ERROR}:
            raise _BusyError(f"{interface}: Ret {answer.ret}: {code_text(answer.msg.text or '')}", http)
        return answer

    def _opened(self, interface: str, answer: Answer) -> JsonObject:
        """Return the business object of a good answer. Refusals are believed unsigned: they change nothing."""
        if answer.ret != Ret.OK:
            raise RefusedError(interface, answer.ret, answer.msg.text or "")
        if not answer_is_signed(answer, self._keys, self._dialect):
            problem = "is not signed" if answer.sig is None else "has a wrong signature"
            raise FeedProtocolError(f"{interface}: the answer {problem}")
        try:
            value = unseal(answer.data, self._keys, self._dialect)
        except ValueError as error:
            raise FeedProtocolError(f"{interface}: Data cannot be read: {error}") from error
        if not isinstance(value, dict):
            raise FeedProtocolError(f"{interface}: Data is not a JSON object")
        return standard_keys(value)


def _token_text(value: object) -> str | None:
    """Return an AccessToken as it was sent, None for what no header could carry."""
    token = (value if isinstance(value, str) else number_text(value) or "").strip()
    fits = token.isascii() and token.isprintable() and 0 < len(token) <= _MAX_TOKEN_CHARACTERS
    return token if fits else None


class _BusyError(FeedUnreachableError):
    """The platform asks to come back later."""

    def __init__(self, message: str, http: HttpAnswer) -> None:
        super().__init__(message)
        self.retry_after_s = number(http.headers.get("retry-after")) or 0.0


def _without_envelope(interface: str, http: HttpAnswer) -> Answer:
    """Return the refusal that a bare 401 means; raise what any other answer without an envelope means."""
    if http.status == 401:
        return Answer(Ret.BAD_TOKEN, "", Field("HTTP 401", True), NO_FIELD, None)
    problem = f"{interface}: HTTP {http.status} without an envelope: {_excerpt(http.body)}"
    if http.status in {408, 425, 429} or http.status >= 500:
        raise _BusyError(problem, http)
    raise FeedProtocolError(problem)


def _excerpt(body: bytes) -> str:
    told, _ = text(body[:300].decode("utf-8", "replace"))
    return (told or "nothing")[:120]
