"""A T/CEC 102 client written for these tests from the standard alone: it knows secrets, but no dialect."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from indexers.feeds.cec102.crypto import decrypt_data, encrypt_data, sign_request, sign_response
from indexers.sandbox.cec_platform import Answer, CecPlatform
from indexers.sandbox.dialects import Secrets

HUB = "MAHUB0001"


class Reply(NamedTuple):
    """An answer: HTTP status, the envelope as sent, Ret as text, and Data decrypted where there is some."""

    http_status: int
    envelope: dict[str, Any]
    ret: str
    data: dict[str, Any]


def sealed(
    message: object,
    secrets: Secrets,
    *,
    operator_id: str = HUB,
    timestamp: str = "20261125130000",
    sig: Callable[[str], str] = str.upper,
) -> dict[str, str]:
    """Return the envelope of a request."""
    data = encrypt_data(json.dumps(message).encode(), secrets.data_secret.encode(), secrets.data_secret_iv.encode())
    signature = sign_request(secrets.sig_secret.encode(), operator_id, data, timestamp, "0001")
    return {"OperatorID": operator_id, "Data": data, "TimeStamp": timestamp, "Seq": "0001", "Sig": sig(signature)}


def opened(answer: Answer, secrets: Secrets) -> Reply:
    """Return what an answer says, its signature checked where it has one."""
    envelope = {key.lower(): value for key, value in orjson.loads(answer.body).items()}
    data: Any = envelope.get("data")
    sig = envelope.get("sig")
    if sig:
        expected = sign_response(secrets.sig_secret.encode(), str(envelope["ret"]), envelope["msg"], data)
        assert sig.upper() == expected
    plain = (
        orjson.loads(decrypt_data(data, secrets.data_secret.encode(), secrets.data_secret_iv.encode()))
        if isinstance(data, str) and data
        else {}
    )
    return Reply(answer.http_status, orjson.loads(answer.body), str(envelope.get("ret")), plain)


class Client:
    """The hub's side of one platform; keys of Data are compared in lower case."""

    def __init__(self, platform: CecPlatform) -> None:
        self.platform = platform
        self.secrets = platform.dialect.call
        self.sig: Callable[[str], str] = str.lower if platform.dialect.name == "csg" else str.upper
        self.token = ""
        self.timestamp = "20261125130000"

    def call(self, interface: str, message: object) -> Reply:
        return self.send(interface, sealed(message, self.secrets, timestamp=self.timestamp, sig=self.sig))

    def send(self, interface: str, envelope: object) -> Reply:
        body = envelope if isinstance(envelope, bytes) else orjson.dumps(envelope)
        return opened(self.platform.answer(interface, f"Bearer {self.token}", body), self.secrets)

    def login(self) -> Reply:
        reply = self.call("query_token", {"OperatorID": HUB, "OperatorSecret": self.secrets.operator_secret})
        self.token = lowered(reply.data)["accesstoken"]
        return reply

    def page(self, page_no: int, page_size: int, last_query_time: str = "") -> dict[str, Any]:
        """Return one page of stations, keys in lower case; repeats a request that met a busy platform."""
        message = {"LastQueryTime": last_query_time, "PageNo": page_no, "PageSize": page_size}
        reply = self.call("query_stations_info", message)
        if reply.ret in {"-1", "500"}:
            reply = self.call("query_stations_info", message)
        assert reply.ret == "0"
        page: dict[str, Any] = lowered(reply.data)
        return page

    def stations(self, page_size: int = 50) -> list[dict[str, Any]]:
        first = self.page(1, page_size)
        pages = [first, *(self.page(number, page_size) for number in range(2, first["pagecount"] + 1))]
        return [station for page in pages for station in page["stationinfos"] or []]


def lowered(value: Any) -> Any:
    """Return a copy with every key in lower case."""
    if isinstance(value, dict):
        return {key.lower(): lowered(item) for key, item in value.items()}
    if isinstance(value, list):
        return [lowered(item) for item in value]
    return value
