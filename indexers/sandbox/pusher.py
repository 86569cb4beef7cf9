"""The operators' other side: they take a token from the hub and push the statuses that changed.

Each operator remembers the status it last told the hub of each gun it watches, and tells the difference, as the
platforms do. A hub that is away, slow or wrong costs an operator time, never its life.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from random import shuffle
from typing import Any, Final

import httpx
import numpy as np
import orjson
from numpy.typing import NDArray

from indexers.feeds.cec102.crypto import (
    UndecryptableError,
    decrypt_data,
    encrypt_data,
    sign_request,
    sign_response,
    signature_matches,
)
from indexers.sandbox.cec_platform import BEIJING
from indexers.sandbox.dialects import (
    DIALECTS,
    Dialect,
    Keys,
    PushRenewal,
    PushSeq,
    PushShape,
    SigCase,
)
from indexers.sandbox.nation import PARTIES, Dirt, Nation, Slots
from indexers.sandbox.wording import Wording, Words, with_small_keys

_TICK_S: Final = 1.0
_BLOCK_GUNS: Final = 50_000
"""How many guns an operator looks at in one tick."""
_SECONDS_PER_CHANGE: Final = 5000
"""A gun changes about this seldom: it says how many guns must be watched to have something to tell."""
_MAX_IN_ARRAY: Final = 20
_MAX_ANSWER_BYTES: Final = 65_536
_TIMEOUT_S: Final = 10.0
_LONGEST_BACKOFF_S: Final = 30.0
_WAITING_CACHE_S: Final = 60.0


@dataclass(slots=True)
class PushCounts:
    """What became of one operator's pushes since the start."""

    tokens: int = 0
    accepted: int = 0
    discarded: int = 0
    refused: int = 0
    lost: int = 0
    unanswered: int = 0


class _HubAwayError(Exception):
    """The hub did not answer, or answered nothing that could be read."""


class _TokenDeadError(Exception):
    """The hub answered Ret 4002."""


@dataclass(frozen=True, slots=True)
class _Change:
    """A gun (by its place in a block) whose status is not the one last told."""

    block: int
    place: int
    slot: int
    gun: int
    status: int


class _Watch:
    """The guns that one operator watches, block by block, and what it last told of each."""

    def __init__(self, dialect: Dialect, nation: Nation, since: float, max_guns: float) -> None:
        slots = nation.slots_of(dialect.name)
        slots = slots[~np.isin(nation.dirt[slots], (Dirt.NO_EQUIPMENT, Dirt.REPEATED_STATION))]
        guns = np.cumsum(nation.guns[slots].astype(np.int64))
        slots = slots[: max(50, int(np.searchsorted(guns, max_guns)))]
        self._blocks: list[Slots] = np.split(slots, np.flatnonzero(np.diff(guns[: len(slots)] // _BLOCK_GUNS)) + 1)
        self._told: list[NDArray[np.uint8] | None] = [None] * len(self._blocks)
        self._nation = nation
        self._since = since
        self._coarse = dialect.coarse_status

    def blocks(self) -> Iterator[int]:
        """Go round the blocks for ever."""
        return itertools.cycle(range(len(self._blocks)))

    def changes(self, block: int, at: float) -> list[_Change]:
        """Return what is to be told of one block."""
        slots = self._blocks[block]
        offsets, now = self._statuses(slots, at)
        told = self._told[block]
        if told is None:
            told = self._told[block] = self._statuses(slots, self._since)[1]
        places = np.flatnonzero(now != told)
        stations = np.searchsorted(offsets, places, side="right") - 1
        return [
            _Change(block, place, slot, gun, status)
            for place, slot, gun, status in zip(
                places.tolist(),
                slots[stations].tolist(),
                (places - offsets[stations]).tolist(),
                now[places].tolist(),
                strict=True,
            )
        ]

    def told(self, changes: list[_Change]) -> None:
        """Remember that this was told, whether the hub took it or not."""
        for change in changes:
            block = self._told[change.block]
            if block is not None:
                block[change.place] = change.status

    def _statuses(self, slots: Slots, at: float) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        guns = self._nation.statuses(slots, at)
        status = guns.status
        if self._coarse:
            status = np.where((status == 2) | (status == 4), np.uint8(3), status).astype(np.uint8)
        return guns.offsets, status


class _Operator:
    """One operator as a client of the hub: its token, its counter, its way of wording a push."""

    def __init__(self, dialect: Dialect, nation: Nation, now: Callable[[], float], http: httpx.AsyncClient) -> None:
        self.dialect = dialect
        self.counts = PushCounts()
        self._wording = Wording(dialect, nation)
        self._nation = nation
        self._now = now
        self._http = http
        self._token = ""
        self._token_until = 0.0
        self._counter = 0
        self._second = ""

    def forget_token(self) -> None:
        """Ask for a new one before the next push: the hub is another one."""
        self._token_until = 0.0

    async def push(self, hub: str, changes: list[_Change]) -> None:
        """Tell the hub once, or once more after a dead token. Raises _HubAwayError: tell it again later."""
        try:
            await self._notify(hub, changes)
        except _TokenDeadError:
            match self.dialect.push_renewal:
                case PushRenewal.REPEATS:
                    self.forget_token()
                    try:
                        await self._notify(hub, changes)
                    except _TokenDeadError:
                        msg = "the hub refuses the token that it gave out"
                        raise _HubAwayError(msg) from None
                case PushRenewal.LOSES:
                    self.forget_token()
                    self.counts.lost += len(changes)
                case PushRenewal.WAITS:
                    self.counts.lost += len(changes)

    async def _notify(self, hub: str, changes: list[_Change]) -> None:
        if self._token_until <= self._now():
            await self._renew_token(hub)
        ret, reply = await self._call(hub, "notification_stationStatus", self._message(changes))
        if ret == 4002:
            raise _TokenDeadError
        if ret in {-1, 500}:
            msg = f"the hub is busy: Ret {ret}"
            raise _HubAwayError(msg)
        if ret != 0:
            self.counts.refused += len(changes)
        elif str(reply.get("status")) == "0":
            self.counts.accepted += len(changes)
        else:
            self.counts.discarded += len(changes)

    async def _renew_token(self, hub: str) -> None:
        dialect = self.dialect
        ret, reply = await self._call(
            hub,
            "query_token",
            {"OperatorID": dialect.operator_id, "OperatorSecret": dialect.serve.operator_secret},
        )
        token, ttl_s = reply.get("accesstoken"), reply.get("tokenavailabletime")
        if ret != 0 or not isinstance(token, str) or not token or not isinstance(ttl_s, int | float):
            msg = f"no token from the hub: Ret {ret}"
            raise _HubAwayError(msg)
        if dialect.push_renewal is PushRenewal.WAITS:
            ttl_s = min(ttl_s, _WAITING_CACHE_S)
        self._token, self._token_until = token, self._now() + ttl_s - min(10.0, ttl_s / 2)
        self.counts.tokens += 1

    def _message(self, changes: list[_Change]) -> dict[str, Words]:
        now = self._now()
        infos = [
            self._wording.status(self._nation.station(change.slot, now), change.gun, change.status)
            for change in changes
        ]
        shape = self.dialect.push_shape
        key = "ConnectorStatusInfos" if shape is PushShape.ARRAY else "ConnectorStatusInfo"
        message = {key: infos[0] if shape is PushShape.ONE else infos}
        return with_small_keys(message) if self.dialect.keys is Keys.LOWER_CAMEL else message

    async def _call(self, hub: str, interface: str, message: dict[str, Words]) -> tuple[int, dict[str, Any]]:
        """POST one message; return Ret and what Data holds, its keys in lower case."""
        dialect, secrets = self.dialect, self.dialect.serve
        data = encrypt_data(orjson.dumps(message), secrets.data_secret.encode(), secrets.data_secret_iv.encode())
        timestamp, seq = self._stamp()
        sig = sign_request(secrets.sig_secret.encode(), dialect.operator_id, data, timestamp, seq)
        envelope = {
            "OperatorID": dialect.operator_id,
            "Data": data,
            "TimeStamp": timestamp,
            "Seq": seq,
            "Sig": sig.lower() if dialect.sig_case is SigCase.LOWER else sig,
        }
        headers = {"Content-Type": "application/json; charset=utf-8"}
        if interface != "query_token":
            headers["Authorization"] = f"{dialect.push_bearer}{self._token}"
        answer = await self._post(f"{hub}/{interface}", orjson.dumps(envelope), headers)
        return self._open(answer)

    async def _post(self, url: str, content: bytes, headers: dict[str, str]) -> dict[str, Any]:
        try:
            async with self._http.stream("POST", url, content=content, headers=headers) as response:
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > _MAX_ANSWER_BYTES:
                        msg = "the hub's answer is too long"
                        raise _HubAwayError(msg)
            answer = orjson.loads(body)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # ValueError: no JSON, or a token not in ASCII
            msg = f"no answer from the hub: {error}"
            raise _HubAwayError(msg) from error
        if not isinstance(answer, dict):
            msg = "the hub's answer is no envelope"
            raise _HubAwayError(msg)
        return {key.lower(): value for key, value in answer.items()}

    def _open(self, answer: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        secrets = self.dialect.serve
        ret, msg, data, sig = (answer.get(key) for key in ("ret", "msg", "data", "sig"))
        try:
            code = int(str(ret))
        except ValueError:
            error = f"the hub's answer has no Ret: {ret!r}"
            raise _HubAwayError(error) from None
        if code != 0:
            return code, {}
        if not isinstance(data, str) or not isinstance(sig, str):
            error = "the hub's answer has no Data or no Sig"
            raise _HubAwayError(error)
        if not signature_matches(sign_response(secrets.sig_secret.encode(), str(ret), str(msg or ""), data), sig):
            error = "the hub's answer is signed wrong"
            raise _HubAwayError(error)
        try:
            reply = orjson.loads(decrypt_data(data, secrets.data_secret.encode(), secrets.data_secret_iv.encode()))
        except (UndecryptableError, orjson.JSONDecodeError) as cause:
            error = "the hub's Data cannot be read"
            raise _HubAwayError(error) from cause
        return code, {key.lower(): value for key, value in reply.items()} if isinstance(reply, dict) else {}

    def _stamp(self) -> tuple[str, str]:
        """Return TimeStamp and Seq of the next message."""
        now = self._now()
        text = datetime.fromtimestamp(now, BEIJING).strftime("%Y%m%d%H%M%S")
        timestamp = text[: self.dialect.push_timestamp_digits]
        self._counter = self._counter % 9999 + 1
        match self.dialect.push_seq:
            case PushSeq.COUNTER:
                if text != self._second:
                    self._second, self._counter = text, 1
                return timestamp, f"{self._counter:04d}"
            case PushSeq.ALWAYS_0001:
                return timestamp, "0001"
            case PushSeq.UNPADDED:
                return timestamp, str(self._counter ^ 1)
            case PushSeq.MILLISECONDS:
                return timestamp, f"{int(now * 1000) % 10_000:04d}"


class PushService:
    """All nine operators pushing to one hub, as soon as its address is known."""

    def __init__(
        self, nation: Nation, now: Callable[[], float], *, pushes_per_s: float, hub: str | None = None
    ) -> None:
        """Tell what changes from now on, at most ``pushes_per_s`` changes a second over all operators."""
        self._nation = nation
        self._now = now
        self._pushes_per_s = pushes_per_s
        self._since = now()
        self._hub = hub.rstrip("/") if hub else None
        self._hub_known = asyncio.Event()
        if self._hub:
            self._hub_known.set()
        self._operators: list[_Operator] = []

    @property
    def hub(self) -> str | None:
        """The hub's base URL, without a final slash."""
        return self._hub

    def push_to(self, hub: str) -> None:
        """Push to this base URL from now on."""
        self._hub = hub.rstrip("/")
        self._hub_known.set()
        for operator in self._operators:
            operator.forget_token()

    def counts(self) -> dict[str, dict[str, int]]:
        """Return what became of each operator's pushes."""
        return {operator.dialect.name: asdict(operator.counts) for operator in self._operators}

    async def run(self) -> None:
        """Push until cancelled."""
        limits = httpx.Limits(max_connections=len(DIALECTS) * 2)
        async with httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False, limits=limits) as http:
            self._operators = [_Operator(dialect, self._nation, self._now, http) for dialect in DIALECTS]
            async with asyncio.TaskGroup() as group:
                for operator in self._operators:
                    group.create_task(self._run_operator(operator))

    async def _run_operator(self, operator: _Operator) -> None:
        dialect = operator.dialect
        rate = self._pushes_per_s * next(party.share for party in PARTIES if party.name == dialect.name)
        watch = _Watch(dialect, self._nation, self._since, rate * _SECONDS_PER_CHANGE)
        at_once = 1 if dialect.push_shape is PushShape.ONE else _MAX_IN_ARRAY
        allowance, backoff_s = 1.0, _TICK_S
        await self._hub_known.wait()
        for block in watch.blocks():
            await asyncio.sleep(_TICK_S)
            allowance = min(allowance + rate * _TICK_S, max(2.0, 3 * rate))
            changes = watch.changes(block, self._now())
            shuffle(changes)
            allowed = changes[: int(allowance)]
            try:
                for start in range(0, len(allowed), at_once):
                    batch = allowed[start : start + at_once]
                    await operator.push(self._hub or "", batch)
                    watch.told(batch)
                    allowance -= len(batch)
                backoff_s = _TICK_S
            except _HubAwayError:
                operator.counts.unanswered += 1
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)
