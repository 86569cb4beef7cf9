"""Calling a platform: one token for all, renewed in time and once on refusal; and what each failure means."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from app.errors import FeedProtocolError, FeedUnreachableError
from app.model.clock import ManualClock
from indexers.base import FeedContext
from indexers.feeds.cec102.client import STATION_STATUS, STATIONS_INFO, Cec102Client, RefusedError
from indexers.feeds.cec102.crypto import encrypt_data, sign_response
from indexers.feeds.cec102.feed import Cec102Feed, make_feed
from tests.unit.feeds.cec102.platform import IV, KEY, SIG_KEY, MemoryLedger, Platform, open_feed, table

STATUS_OF_ONE = {"StationIDs": ["0001"]}


@asynccontextmanager
async def open_client(
    platform: Platform, clock: ManualClock | None = None, **changes: Any
) -> AsyncIterator[Cec102Client]:
    async with open_feed(platform, clock, **changes) as feed:
        yield feed._client


def limits(**changes: Any) -> dict[str, Any]:
    return {"limits": {**table()["limits"], **changes}}


async def ask(client: Cec102Client) -> None:
    answer = await client.query(STATION_STATUS, STATUS_OF_ONE)
    assert answer["StationStatusInfos"][0]["StationID"] == "0001"


# ------------------------------------------------------------------------------------------------------------ tokens


async def test_one_token_serves_all_calls() -> None:
    platform = Platform()
    async with open_client(platform) as client:
        for _ in range(3):
            await ask(client)
    assert platform.calls[0] == ("query_token", {"OperatorID": "MAHUB0001", "OperatorSecret": "theirs"})
    assert (platform.count("query_token"), platform.count(STATION_STATUS)) == (1, 3)
    assert "authorization" not in platform.headers[0]
    assert platform.headers[1]["authorization"] == "Bearer token-1"
    assert platform.headers[1]["content-type"] == "application/json; charset=utf-8"


async def test_calls_at_once_share_the_token_that_the_first_fetches() -> None:
    platform = Platform()
    async with open_client(platform, **limits(in_flight=10)) as client:
        await asyncio.gather(*(ask(client) for _ in range(10)))
    assert (platform.count("query_token"), platform.count(STATION_STATUS)) == (1, 10)


@pytest.mark.parametrize(
    ("ttl", "good_for_s"),
    [
        (7200, 7140.0),
        ("7200", 7140.0),
        (7200.000012, 7140.0),
        ("7200.000012", 7140.0),
        (100, 90.0),
        (604_800, 604_740.0),
        (99_999_999, 604_740.0),
        (0, 540.0),
        (-5, 540.0),
        (None, 540.0),
        ("", 540.0),
        ("soon", 540.0),
    ],
)
async def test_a_token_is_renewed_before_it_ends(ttl: Any, good_for_s: float) -> None:
    platform, clock = Platform(), ManualClock()
    platform.ttl = ttl
    async with open_client(platform, clock) as client:
        await ask(client)
        clock.advance(good_for_s - 0.5)
        await ask(client)
        assert platform.count("query_token") == 1
        clock.advance(1.0)
        await ask(client)
        assert platform.count("query_token") == 2
    assert platform.headers[-1]["authorization"] == "Bearer token-2"


async def test_a_token_that_was_refused_is_renewed_once_and_the_call_repeated_once() -> None:
    platform = Platform()
    async with open_client(platform) as client:
        await ask(client)
        platform.live.clear()
        await ask(client)
    assert (platform.count("query_token"), platform.count(STATION_STATUS)) == (2, 3)


@pytest.mark.parametrize("style", ["envelope", "bare 401"])
async def test_a_platform_that_refuses_every_token_is_asked_no_more_than_twice(style: str) -> None:
    platform = Platform()
    refusal = platform.refusal(4002) if style == "envelope" else Response("Unauthorized", 401)
    platform.answers[STATION_STATUS] = lambda _: refusal
    async with open_client(platform) as client:
        with pytest.raises(RefusedError, match="query_station_status: Ret 4002") as caught:
            await ask(client)
    assert caught.value.ret == 4002
    assert (platform.count("query_token"), platform.count(STATION_STATUS)) == (2, 2)


async def test_calls_at_once_on_a_dead_token_renew_it_once() -> None:
    platform = Platform()
    async with open_client(platform, **limits(in_flight=10)) as client:
        await ask(client)
        platform.live.clear()
        await asyncio.gather(*(ask(client) for _ in range(10)))
    assert platform.count("query_token") == 2


class LatePlatform(Platform):
    """Keeps the answer of its second status call back."""

    def __init__(self) -> None:
        super().__init__()
        self.was_asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def endpoint(self, request: Request) -> Response:
        response = await super().endpoint(request)
        if self.count(STATION_STATUS) == 2:
            self.was_asked.set()
            await self.may_answer.wait()
        return response


async def test_a_late_refusal_of_an_older_token_does_not_cost_the_newer_one() -> None:
    platform = LatePlatform()
    async with open_client(platform, **limits(in_flight=10)) as client:
        await ask(client)
        platform.live.clear()
        late = asyncio.create_task(ask(client))
        await platform.was_asked.wait()
        await ask(client)
        platform.may_answer.set()
        await late
    assert platform.tokens == 2


async def test_a_platform_that_kills_older_tokens_is_never_raced() -> None:
    platform, clock = Platform(), ManualClock()
    platform.ttl = 100
    async with open_client(platform, clock, **limits(in_flight=10)) as client:
        for _ in range(5):
            clock.advance(95)
            await asyncio.gather(*(ask(client) for _ in range(10)))
    assert platform.tokens == 5
    assert platform.count(STATION_STATUS) == 50


@pytest.mark.parametrize(
    ("reason", "told"), [(1, "no such operator"), (2, "wrong OperatorSecret"), (7, "no usable AccessToken")]
)
async def test_a_refused_operator_says_why(reason: int, told: str) -> None:
    platform = Platform()
    refusal = {"SuccStat": 1, "AccessToken": "", "TokenAvailableTime": 0, "FailReason": reason}
    platform.answers["query_token"] = lambda _: refusal
    async with open_client(platform) as client:
        with pytest.raises(FeedProtocolError, match=f"FailReason {reason}: {told}"):
            await ask(client)
    assert (platform.count("query_token"), platform.count(STATION_STATUS)) == (1, 0)


@pytest.mark.parametrize("token", [None, "", "  ", "令牌", "a\nb", "x" * 8_001, ["x"], True])
async def test_what_cannot_be_a_token_is_none(token: Any) -> None:
    platform = Platform()
    platform.answers["query_token"] = lambda _: {"SuccStat": 0, "AccessToken": token, "TokenAvailableTime": 7200}
    async with open_client(platform) as client:
        with pytest.raises(FeedProtocolError, match="no usable AccessToken"):
            await ask(client)


@pytest.mark.parametrize(
    ("token", "sent"),
    [("a&amp;b<c>d", "a&amp;b<c>d"), (" padded ", "padded"), (123456789, "123456789"), ("x" * 3_000,) * 2],
)
async def test_a_token_is_sent_as_it_came(token: Any, sent: str) -> None:
    platform = Platform()
    platform.checks_tokens = False
    platform.answers["query_token"] = lambda _: {"SuccStat": "0", "AccessToken": token, "TokenAvailableTime": 7200}
    async with open_client(platform) as client:
        await ask(client)
    assert platform.headers[-1]["authorization"] == f"Bearer {sent}"


@pytest.mark.parametrize(
    ("bearer", "sent"), [("spaced", "Bearer token-1"), ("joined", "Bearertoken-1"), ("bare", "token-1")]
)
async def test_the_dialect_says_how_the_token_is_sent(bearer: str, sent: str) -> None:
    platform = Platform()
    async with open_client(platform, dialect={"bearer": bearer}) as client:
        await ask(client)
    assert platform.headers[-1]["authorization"] == sent


# -------------------------------------------------------------------------------------------------- busy and failing


def busy_answers() -> list[Any]:
    platform = Platform()
    return [
        pytest.param(platform.refusal(-1), id="Ret -1"),
        pytest.param(platform.refusal(500), id="Ret 500"),
        pytest.param(platform.refusal(-1, status=500), id="Ret -1, HTTP 500"),
        pytest.param(platform.refusal(500, data="{}"), id="Ret 500, Data {}"),
        pytest.param(Response('{"Ret":"-1"}'), id="Ret as text, alone"),
        pytest.param(Response("<html>Bad Gateway</html>", 502), id="HTTP 502"),
        pytest.param(Response("", 503), id="HTTP 503"),
        pytest.param(Response('{"status":500,"error":"Internal Server Error"}', 500), id="Spring's HTTP 500"),
        pytest.param(Response("slow down", 429, headers={"Retry-After": "0.05"}), id="HTTP 429"),
        pytest.param(Response("", 408, headers={"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}), id="HTTP 408"),
    ]


@pytest.mark.parametrize("busy", busy_answers())
async def test_a_busy_platform_is_tried_again(busy: Response) -> None:
    platform = Platform()
    platform.raw_answers = [busy, busy]
    async with open_client(platform) as client:
        await ask(client)
    assert (platform.count("query_token"), platform.count(STATION_STATUS)) == (1, 3)
    assert len(set(platform.numbers)) == len(platform.numbers)  # each try is a message of its own


@pytest.mark.parametrize("busy", busy_answers())
async def test_a_platform_that_stays_busy_is_unreachable_after_the_retries(busy: Response) -> None:
    platform = Platform()
    platform.answers[STATION_STATUS] = lambda _: busy
    async with open_client(platform, **limits(retries=2)) as client:
        with pytest.raises(FeedUnreachableError, match="query_station_status"):
            await ask(client)
    assert platform.count(STATION_STATUS) == 3


async def test_a_busy_platform_gives_its_token_later() -> None:
    platform = Platform()
    answers = [platform.refusal(-1), platform.refusal(500)]
    platform.answers["query_token"] = lambda request: answers.pop() if answers else platform.token(request)
    async with open_client(platform) as client:
        await ask(client)
    assert platform.count("query_token") == 3


@pytest.mark.parametrize(
    ("ret", "told"),
    [
        (4001, "our signature is wrong: no"),
        (4003, "our envelope is not valid: no"),
        (4004, "our parameters are not valid: no"),
        (4999, "Ret 4999: no"),
    ],
)
async def test_a_refusal_is_believed_unsigned_and_not_tried_again(ret: int, told: str) -> None:
    platform = Platform()
    platform.answers[STATION_STATUS] = lambda _: platform.refusal(ret, data="null")
    async with open_client(platform) as client:
        with pytest.raises(RefusedError, match=told) as caught:
            await ask(client)
    assert caught.value.ret == ret
    assert (platform.count("query_token"), platform.count(STATION_STATUS)) == (1, 1)


async def test_an_operator_refused_by_http_is_a_refusal() -> None:
    platform = Platform()
    platform.answers["query_token"] = lambda _: Response('{"detail":"unknown operator"}', 401)
    async with open_client(platform) as client:
        with pytest.raises(RefusedError, match="query_token: Ret 4002: HTTP 401"):
            await ask(client)
    assert platform.count("query_token") == 1


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Response('{"code":500,"msg":"padding","data":null}'), 'HTTP 200 without an envelope: {"code":500'),
        (Response('{"detail":"unparsable"}', 400), "HTTP 400 without an envelope"),
        (Response("", 404), "HTTP 404 without an envelope: nothing"),
        (Response("", 302, headers={"Location": "https://elsewhere.example/"}), "HTTP 302 without an envelope"),
        (Response("<h1>" * 9_999), "HTTP 200 without an envelope: nothing"),
        (Response('["Ret"]'), "without an envelope"),
        (Response(b"\xff\xfe\x00\x01"), "without an envelope"),
    ],
)
async def test_an_answer_without_an_envelope_is_told_and_not_tried_again(answer: Response, told: str) -> None:
    platform = Platform()
    platform.answers[STATION_STATUS] = lambda _: answer
    async with open_client(platform) as client:
        with pytest.raises(FeedProtocolError) as caught:
            await ask(client)
    assert told in str(caught.value)
    assert len(str(caught.value)) < 300
    assert platform.count(STATION_STATUS) == 1


async def test_nobody_listening_is_unreachable(free_port: int) -> None:
    call = {**table()["call"], "base_url": f"http://127.0.0.1:{free_port}/evcs/v1"}
    context = FeedContext(feed="teld", clock=ManualClock(), ledger=MemoryLedger())
    feed = make_feed(table(call=call, **limits(retries=1)), context)
    assert isinstance(feed, Cec102Feed)
    try:
        with pytest.raises(FeedUnreachableError):
            await ask(feed._client)
    finally:
        await feed.close()


# ------------------------------------------------------------------------------------------------------ good answers


@pytest.mark.parametrize("ret_text", ["0", '"0"', "0.0"])
@pytest.mark.parametrize("lower_sig", [False, True])
async def test_answers_of_every_dialect_are_understood(ret_text: str, lower_sig: bool) -> None:
    platform = Platform()
    platform.ret_text, platform.lower_sig = ret_text, lower_sig
    async with open_client(platform) as client:
        await ask(client)


def signed(data: str, sig_key: bytes = SIG_KEY) -> Response:
    return Response(f'{{"Ret":0,"Msg":"","Data":"{data}","Sig":"{sign_response(sig_key, "0", "", data)}"}}')


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (signed(encrypt_data(b"{}", KEY, IV), b"another key"), "has a wrong signature"),
        (Response('{"Ret":0,"Msg":"","Data":"x","Sig":null}'), "is not signed"),
        (Response('{"Ret":0,"Msg":"","Data":"x"}'), "is not signed"),
        (signed(encrypt_data(b"{}", b"another key 1234", IV)), "Data cannot be read"),
        (signed("AAAA"), "Data cannot be read"),
        (signed(""), "Data cannot be read: Data is empty"),
        (signed(encrypt_data(b"<html>", KEY, IV)), "Data cannot be read"),
        (signed(encrypt_data(b"[]", KEY, IV)), "Data is not a JSON object"),
        (signed(encrypt_data(b"null", KEY, IV)), "Data is not a JSON object"),
    ],
)
async def test_an_answer_that_cannot_be_trusted_or_read_is_an_error(answer: Response, told: str) -> None:
    platform = Platform()
    platform.answers[STATION_STATUS] = lambda _: answer
    async with open_client(platform) as client:
        with pytest.raises(FeedProtocolError, match=told):
            await ask(client)
    assert platform.count(STATION_STATUS) == 1


async def test_a_token_that_is_not_signed_is_not_used() -> None:
    platform = Platform()
    token = encrypt_data(b'{"SuccStat":0,"AccessToken":"x","TokenAvailableTime":7200}', KEY, IV)
    platform.answers["query_token"] = lambda _: signed(token, b"another key")
    async with open_client(platform) as client:
        with pytest.raises(FeedProtocolError, match="query_token: the answer has a wrong signature"):
            await ask(client)
    assert platform.count(STATION_STATUS) == 0


async def test_each_group_of_interfaces_may_have_its_own_address() -> None:
    platform = Platform()
    platform.checks_tokens = False
    call = {
        **table()["call"],
        "base_url": "http://operator.test/evcs/v1/",
        "token_url": "http://operator.test/evcs/sdk",
        "status_url": "http://operator.test/",
    }
    async with open_client(platform, call=call) as client:
        await ask(client)
        await client.query(STATIONS_INFO, {"PageNo": 1, "PageSize": 2})
    assert platform.paths == ["/evcs/sdk/query_token", "/query_station_status", "/evcs/v1/query_stations_info"]
