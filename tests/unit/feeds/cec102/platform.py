"""A T/CEC 102 platform for tests: an ASGI application that checks and signs every message, and misbehaves on demand."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.feeds.base import FeedLedger
from app.model.clock import ManualClock
from app.model.feed import FeedReport, RunKind
from indexers.base import FeedContext
from indexers.feeds.cec102.crypto import decrypt_data, encrypt_data, sign_request, sign_response, signature_matches
from indexers.feeds.cec102.feed import Cec102Feed, ServedCec102Feed
from indexers.feeds.cec102.profile import read_cec102_profile
from indexers.http_source import HttpSource

KEY = b"0123456789ABCDEF"
IV = b"FEDCBA9876543210"
SIG_KEY = b"ABCDEF0123456789ABCDEF0123456789"
PARTY = "395815801"
HUB = "MAHUB0001"
SERVE_SECRET = "hub-operator-secret"

Business = Callable[[dict[str, Any]], Any]


def table(**changes: Any) -> dict[str, Any]:
    """The profile of the platform."""
    secrets = {"data_secret": KEY.decode(), "data_secret_iv": IV.decode(), "sig_secret": SIG_KEY.decode()}
    return {
        "kind": "cec102",
        "title": "Example",
        "party": PARTY,
        "hub_operator_id": HUB,
        "call": {"base_url": "http://operator.test/evcs/v1", "operator_secret": "theirs", **secrets},
        "serve": {"operator_secret": SERVE_SECRET, **secrets},
        "limits": {"requests_per_s": 1000.0, "retry_delay_s": 0.0, "timeout_s": 5.0, "page_size": 2, "in_flight": 1},
        **changes,
    }


class MemoryLedger(FeedLedger):
    """Notes that outlive the feed of one test."""

    def __init__(self) -> None:
        self.notes: dict[tuple[str, str], bytes] = {}

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def save_report(self, report: FeedReport) -> None: ...

    async def find_report(self, feed: str, kind: RunKind, *, good: bool = False) -> FeedReport | None:
        return None

    async def find_note(self, feed: str, name: str) -> bytes | None:
        return self.notes.get((feed, name))

    async def save_note(self, feed: str, name: str, value: bytes) -> None:
        self.notes[feed, name] = value


def station(number: int, **changes: Any) -> dict[str, Any]:
    """A StationInfo with one gun."""
    gun = {"ConnectorID": f"{number:04d}001", "ConnectorType": 4, "Power": 60.0, "NationalStandard": 2}
    return {
        "StationID": f"{number:04d}",
        "StationName": f"站{number}",
        "StationStatus": 50,
        "StationLng": 121.5,
        "StationLat": 31.2,
        "EquipmentInfos": [{"EquipmentID": f"E{number}", "EquipmentType": 1, "ConnectorInfos": [gun]}],
        **changes,
    }


class Platform:
    """Answers by the standard, but for what a test changes."""

    def __init__(self, stations: list[dict[str, Any]] | None = None) -> None:
        self.stations = [station(number) for number in range(1, 6)] if stations is None else stations
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.numbers: list[tuple[str, str]] = []
        self.tokens = 0
        self.live: set[str] = set()
        self.ttl: Any = 7200
        self.kills_older = True
        self.checks_tokens = True
        self.lower_sig = False
        self.ret_text = "0"
        self.answers: dict[str, Business] = {
            "query_token": self.token,
            "query_stations_info": self.page,
            "query_station_status": self.status,
        }
        self.raw_answers: list[Response | None] = []

    def token(self, _request: dict[str, Any]) -> Any:
        self.tokens += 1
        if self.kills_older:
            self.live.clear()
        self.live.add(f"token-{self.tokens}")
        return {
            "OperatorID": PARTY,
            "SuccStat": 0,
            "AccessToken": f"token-{self.tokens}",
            "TokenAvailableTime": self.ttl,
            "FailReason": 0,
        }

    def page(self, request: dict[str, Any]) -> Any:
        size, number = request["PageSize"], request["PageNo"]
        return {
            "PageNo": number,
            "PageCount": -(-len(self.stations) // size),
            "ItemSize": len(self.stations),
            "StationInfos": self.stations[(number - 1) * size : number * size],
        }

    def status(self, request: dict[str, Any]) -> Any:
        infos = [
            {"StationID": local_id, "ConnectorStatusInfos": [{"ConnectorID": local_id + "001", "Status": 1}]}
            for local_id in request["StationIDs"]
        ]
        return {"Total": len(infos), "StationStatusInfos": infos}

    def sealed(self, business: Any) -> Response:
        data = encrypt_data(json.dumps(business).encode(), KEY, IV)
        sig = sign_response(SIG_KEY, self.ret_text.strip('"'), "", data)
        sig = sig.lower() if self.lower_sig else sig
        return Response(f'{{"Ret":{self.ret_text},"Msg":"","Data":"{data}","Sig":"{sig}"}}')

    def refusal(self, ret: int, data: str = '""', status: int = 200) -> Response:
        return Response(f'{{"Ret":{ret},"Msg":"no","Data":{data},"Sig":null}}', status)

    async def endpoint(self, request: Request) -> Response:
        interface = request.path_params["interface"]
        envelope = json.loads(await request.body())
        parts = [envelope[name] for name in ("OperatorID", "Data", "TimeStamp", "Seq")]
        assert signature_matches(sign_request(SIG_KEY, *parts), envelope["Sig"])
        business = json.loads(decrypt_data(envelope["Data"], KEY, IV))
        self.calls.append((interface, business))
        self.headers.append(dict(request.headers))
        self.paths.append(request.url.path)
        self.numbers.append((envelope["TimeStamp"], envelope["Seq"]))
        if interface == "query_token":
            await asyncio.sleep(0)  # a real platform's answer lets other calls go on
        else:
            if self.checks_tokens and self.bearer(request.headers) not in self.live:
                return self.refusal(4002)
            raw = self.raw_answers.pop(0) if self.raw_answers else None
            if raw is not None:
                return raw
        answer = self.answers[interface](business)
        return answer if isinstance(answer, Response) else self.sealed(answer)

    @staticmethod
    def bearer(headers: Mapping[str, str]) -> str:
        return headers.get("authorization", "").removeprefix("Bearer").strip()

    def app(self) -> Starlette:
        """Every address is this platform's."""
        paths = ("/{interface}", "/{prefix:path}/{interface}")
        return Starlette(routes=[Route(path, self.endpoint, methods=["POST"]) for path in paths])

    def count(self, interface: str) -> int:
        return sum(1 for called, _ in self.calls if called == interface)


@asynccontextmanager
async def open_feed(
    platform: Platform, clock: ManualClock | None = None, ledger: FeedLedger | None = None, **changes: Any
) -> AsyncIterator[ServedCec102Feed]:
    """Return a feed that calls the platform through the real client and HTTP layer."""
    profile = read_cec102_profile("teld", table(**changes))
    assert profile.serve is not None
    source = HttpSource(
        requests_per_s=profile.limits.requests_per_s,
        in_flight=profile.limits.in_flight,
        timeout_s=profile.limits.timeout_s,
        max_body_bytes=profile.limits.max_body_bytes,
        transport=httpx.ASGITransport(app=platform.app()),
    )
    context = FeedContext(feed="teld", clock=clock or ManualClock(), ledger=ledger or MemoryLedger())
    feed = ServedCec102Feed(profile, profile.serve, context, source)
    try:
        yield feed
    finally:
        await feed.close()


async def sweep(feed: Cec102Feed, since: float | None = None) -> tuple[list[str], str | None, list[str]]:
    """Return the StationIDs, why the sweep is incomplete, and the reasons of rejections."""
    ids: list[str] = []
    reasons: list[str] = []
    incomplete = None
    async for batch in feed.stations(since):
        ids += [each.local_id for each in batch.stations]
        reasons += [rejection.reason for rejection in batch.rejections]
        incomplete = incomplete or batch.incomplete
    return ids, incomplete, reasons
