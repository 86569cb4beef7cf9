"""An operator's T/CEC 102 platform, as the hub meets it: query_token, query_stations_info, query_station_status.

Written from the standard and from what running platforms do; it shares with the feed that reads it nothing but the
cryptography. It checks a request as a strict platform does: the envelope (4003), its signature (4001), the token
(4002), then the business parameters (4004).
"""

import secrets as random_secrets
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from hmac import compare_digest
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from indexers.feeds.cec102.crypto import (
    UndecryptableError,
    decrypt_data,
    encrypt_data,
    sign_request,
    sign_response,
)
from indexers.sandbox.dialects import HUB_OPERATOR_ID, Dialect, ErrorData, Keys, SigCase, TokenRule
from indexers.sandbox.nation import Nation
from indexers.sandbox.wording import Wording, Words, small_first, with_small_keys

BEIJING: Final = timezone(timedelta(hours=8))
INTERFACES: Final = frozenset({"query_token", "query_stations_info", "query_station_status"})
MAX_STATUS_STATIONS: Final = 50
_MAX_TOKENS: Final = 1000
_ENVELOPE_KEYS: Final = ("OperatorID", "Data", "TimeStamp", "Seq", "Sig")
_DEFAULT_PAGE_SIZE: Final = 10


class Answer(NamedTuple):
    """What goes back over HTTP."""

    http_status: int
    body: bytes


class _Refusal(Exception):  # noqa: N818  a refusal is a normal answer here, not a fault of ours
    def __init__(self, ret: int, msg: str, http_status: int = 200) -> None:
        super().__init__(msg)
        self.ret = ret
        self.msg = msg
        self.http_status = http_status


class CecPlatform:
    """One operator's platform over its share of the nation. Keeps only the tokens it gave out."""

    def __init__(
        self,
        dialect: Dialect,
        nation: Nation,
        now: Callable[[], float],
        *,
        hub_operator_id: str = HUB_OPERATOR_ID,
        ignores_page_no: bool = False,
    ) -> None:
        """``now`` gives seconds since 1970; ``ignores_page_no`` answers page 1 whatever page is asked for."""
        self.dialect = dialect
        self._nation = nation
        self._now = now
        self._hub_operator_id = hub_operator_id
        self._ignores_page_no = ignores_page_no
        self._wording = Wording(dialect, nation)
        self._slots = nation.slots_of(dialect.name)
        self._tokens: OrderedDict[str, float] = OrderedDict()
        self._data_requests = 0
        self._key = dialect.call.data_secret.encode()
        self._iv = dialect.call.data_secret_iv.encode()
        self._sig_secret = dialect.call.sig_secret.encode()

    def answer(self, interface: str, authorization: str, body: bytes) -> Answer:
        """Answer one POST to ``{base}/{interface}``; ``interface`` is one of INTERFACES."""
        try:
            envelope = self._open_envelope(body)
            if interface != "query_token":
                self._check_token(authorization)
            plaintext = decrypt_data(envelope["Data"], self._key, self._iv)
            reply = self._reply(interface, _parameters(plaintext))
        except UndecryptableError as error:
            if self.dialect.http_errors:
                return Answer(200, orjson.dumps({"code": 500, "msg": f"Bad padding: {error}", "data": None}))
            return self._refuse(_Refusal(4004, "Data解密失败"))
        except _Refusal as refusal:
            return self._refuse(refusal)
        text = orjson.dumps(with_small_keys(reply) if self.dialect.keys is Keys.LOWER_CAMEL else reply)
        return self._seal(0, "", encrypt_data(text, self._key, self._iv))

    def _open_envelope(self, body: bytes) -> dict[str, str]:
        """Return the envelope's five texts, its signature checked."""
        strict = self.dialect.http_errors
        try:
            received = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise _Refusal(4003, "请求体不是JSON", 400 if strict else 200) from None
        if not isinstance(received, dict):
            raise _Refusal(4003, "请求体不是对象", 400 if strict else 200)
        envelope = {}
        for key in _ENVELOPE_KEYS:
            value = received.get(key, received.get(small_first(key)))
            if not isinstance(value, str) or not value:
                raise _Refusal(4003, f"缺少{key}")
            envelope[key] = value
        if envelope["OperatorID"] != self._hub_operator_id:
            raise _Refusal(4001, "OperatorID未注册", 401 if strict else 200)
        expected = sign_request(
            self._sig_secret, envelope["OperatorID"], envelope["Data"], envelope["TimeStamp"], envelope["Seq"]
        )
        if not self._sig_is_right(expected, envelope["Sig"]):
            raise _Refusal(4001, "签名错误")
        self._check_timestamp(envelope["TimeStamp"])
        return envelope

    def _sig_is_right(self, expected: str, received: str) -> bool:
        match self.dialect.sig_case:
            case SigCase.LOWER:
                expected = expected.lower()
            case SigCase.ANY:
                received = received.upper()
            case SigCase.UPPER:
                pass
        return compare_digest(expected.encode(), received.encode("utf-8", "replace"))

    def _check_timestamp(self, timestamp: str) -> None:
        window_s = self.dialect.timestamp_window_s
        if window_s is None:
            return
        try:
            sent = datetime.strptime(timestamp, "%Y%m%d%H%M%S").replace(tzinfo=BEIJING).timestamp()
        except ValueError:
            raise _Refusal(4003, "TimeStamp格式错误") from None
        if abs(sent - self._now()) > window_s:
            raise _Refusal(4003, "TimeStamp超时")

    def _check_token(self, authorization: str) -> None:
        if self.dialect.token_rule is TokenRule.CHECKS_NONE:
            return
        token = authorization.removeprefix("Bearer").strip()
        if self._tokens.get(token, 0.0) <= self._now():
            raise _Refusal(4002, "Token错误")

    def _reply(self, interface: str, parameters: dict[str, Any]) -> dict[str, Words]:
        if interface == "query_token":
            return self._give_token(parameters)
        self._data_requests += 1
        times_busy, rest = divmod(self._data_requests, self.dialect.busy_every or self._data_requests + 1)
        if rest == 0:
            raise _Refusal(-1 if times_busy % 2 else 500, "系统繁忙，请稍后重试")
        if interface == "query_stations_info":
            return self._stations(parameters)
        return self._statuses(parameters)

    def _give_token(self, parameters: dict[str, Any]) -> dict[str, Words]:
        dialect = self.dialect
        fail_reason = 0
        if parameters.get("OperatorID") != self._hub_operator_id:
            fail_reason = 1
        elif not compare_digest(str(parameters.get("OperatorSecret")), dialect.call.operator_secret):
            fail_reason = 2
        token, ttl_s = ("", 0.0) if fail_reason else self._new_token()
        return {
            "OperatorID": dialect.operator_id,
            "SuccStat": 1 if fail_reason else 0,
            "AccessToken": token,
            "TokenAvailableTime": int(ttl_s) if ttl_s == int(ttl_s) else ttl_s,
            "FailReason": fail_reason,
        }

    def _new_token(self) -> tuple[str, float]:
        """Return a token and the seconds it is good for."""
        now, rule = self._now(), self.dialect.token_rule
        if rule is TokenRule.REPEATS_UNTIL_EXPIRY:
            for token, expires_at in self._tokens.items():
                if expires_at > now + 1:
                    return token, float(int(expires_at - now))
        if rule is TokenRule.KILLS_OLDER:
            self._tokens.clear()
        token = random_secrets.token_hex(32)
        self._tokens[token] = now + self.dialect.token_ttl_s
        if len(self._tokens) > _MAX_TOKENS:
            self._tokens.popitem(last=False)
        return token, self.dialect.token_ttl_s

    def _stations(self, parameters: dict[str, Any]) -> dict[str, Words]:
        dialect, now = self.dialect, self._now()
        page_no = _positive_integer(parameters, "PageNo", 1)
        page_size = _positive_integer(parameters, "PageSize", _DEFAULT_PAGE_SIZE)
        if page_size > dialect.max_page_size:
            if not dialect.caps_page_size:
                raise _Refusal(4004, f"PageSize最大{dialect.max_page_size}")
            page_size = dialect.max_page_size
        slots = self._slots
        since = _last_query_time(parameters.get("LastQueryTime"))
        if since is not None:
            slots = slots[self._nation.modified_at(slots, now) >= since]
        page_count = -(-len(slots) // page_size)
        shown = 1 if self._ignores_page_no or (dialect.first_page_beyond_end and page_no > page_count) else page_no
        page = slots[(shown - 1) * page_size : shown * page_size]
        infos = [self._wording.station(self._nation.station(slot, now)) for slot in page.tolist()]
        return {
            "PageNo": page_no,
            "PageCount": page_count,
            "ItemSize": len(slots),
            "StationInfos": infos or (None if dialect.empty_list_is_null else []),
        }

    def _statuses(self, parameters: dict[str, Any]) -> dict[str, Words]:
        station_ids = parameters.get("StationIDs")
        if not isinstance(station_ids, list) or not all(isinstance(one, str) for one in station_ids):
            raise _Refusal(4004, "StationIDs须为字符串数组")
        if not 1 <= len(station_ids) <= MAX_STATUS_STATIONS:
            raise _Refusal(4004, f"StationIDs须为1至{MAX_STATUS_STATIONS}个")
        now = self._now()
        found = (self._wording.find_slot(station_id, now) for station_id in dict.fromkeys(station_ids))
        slots = np.array([slot for slot in found if slot is not None], dtype=np.int64)
        infos = self._wording.station_statuses(slots, now)
        return {
            "Total": str(len(infos)) if self.dialect.total_is_text else len(infos),
            "StationStatusInfos": infos or (None if self.dialect.empty_list_is_null else []),
        }

    def _seal(self, ret: int, msg: str, data: str) -> Answer:
        dialect = self.dialect
        sig = sign_response(self._sig_secret, str(ret), msg, data)
        envelope: dict[str, Words] = {
            "Ret": str(ret) if dialect.ret_is_text else ret,
            "Msg": msg,
            "Data": data,
            "Sig": sig.lower() if dialect.sig_case is SigCase.LOWER else sig,
        }
        return self._send(200, envelope)

    def _refuse(self, refusal: _Refusal) -> Answer:
        dialect = self.dialect
        if dialect.error_data is ErrorData.EMPTY_SIGNED:
            answer = self._seal(refusal.ret, refusal.msg, "")
            return Answer(refusal.http_status, answer.body)
        envelope: dict[str, Words] = {
            "Ret": str(refusal.ret) if dialect.ret_is_text else refusal.ret,
            "Msg": refusal.msg,
        }
        if dialect.error_data is not ErrorData.MISSING:
            envelope["Data"] = {} if dialect.error_data is ErrorData.OBJECT else None
            envelope["Sig"] = None
        return self._send(refusal.http_status, envelope)

    def _send(self, http_status: int, envelope: dict[str, Words]) -> Answer:
        if self.dialect.response_operator_id is not None:
            envelope["OperatorID"] = self.dialect.response_operator_id
        if self.dialect.keys is Keys.LOWER_CAMEL:
            envelope = {small_first(key): value for key, value in envelope.items()}
        return Answer(http_status, orjson.dumps(envelope))


def _parameters(plaintext: bytes) -> dict[str, Any]:
    try:
        parameters = orjson.loads(plaintext)
    except orjson.JSONDecodeError:
        raise _Refusal(4004, "Data不是JSON") from None
    if not isinstance(parameters, dict):
        raise _Refusal(4004, "Data不是对象")
    return parameters


def _positive_integer(parameters: dict[str, Any], key: str, default: int) -> int:
    value = parameters.get(key, default)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:9])
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 10**9:
        raise _Refusal(4004, f"{key}须为正整数")
    return value


def _last_query_time(text: object) -> float | None:
    """Return seconds since 1970 of ``2016-1-2 12:12:12`` (padded or not, Beijing time); None when empty."""
    if text is None or text == "":
        return None
    try:
        return datetime.strptime(str(text), "%Y-%m-%d %H:%M:%S").replace(tzinfo=BEIJING).timestamp()
    except ValueError:
        raise _Refusal(4004, "LastQueryTime格式错误") from None
