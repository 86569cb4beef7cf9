"""An operator calls us: its tokens, its pushes, everything that is refused, and everything that comes twice."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import msgspec
import pytest

from app.model.availability import Availability, StatusChannel
from app.model.clock import BEIJING, ManualClock
from indexers.base import InboundReply
from indexers.feeds.cec102 import inbound
from indexers.feeds.cec102.crypto import decrypt_data, encrypt_data, sign_request, sign_response
from indexers.feeds.cec102.feed import ServedCec102Feed
from tests.unit.feeds.cec102.platform import (
    IV,
    KEY,
    PARTY,
    SERVE_SECRET,
    SIG_KEY,
    MemoryLedger,
    Platform,
    open_feed,
    table,
)

STATUS = "notification_stationStatus"
ONE = {"ConnectorStatusInfo": {"ConnectorID": "0001001", "Status": 3}}
NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=BEIJING).timestamp()
NOW = "20261122120000"


class Operator:
    """The other side: makes messages by the standard, and opens the answers."""

    def __init__(self, feed: ServedCec102Feed) -> None:
        self.feed = feed
        self.seqs = itertools.count(1)

    def message(self, business: Any, **changes: Any) -> bytes:
        """A signed message; what is changed of the envelope is signed as changed, but for Sig itself."""
        data = business if isinstance(business, str) else encrypt_data(json.dumps(business).encode(), KEY, IV)
        fields = {"OperatorID": PARTY, "Data": data, "TimeStamp": NOW, "Seq": f"{next(self.seqs):04d}", **changes}
        parts = [str(fields[name]) for name in ("OperatorID", "Data", "TimeStamp", "Seq")]
        sig = sign_request(SIG_KEY, parts[0], parts[1], parts[2], parts[3])
        return json.dumps({**fields, "Sig": changes.get("Sig", sig)}).encode()

    async def send(
        self, body: bytes, token: str | None = None, interface: str = STATUS
    ) -> tuple[int, dict[str, Any], InboundReply]:
        """Ret, the business part of the answer, and the reply itself."""
        reply = await self.feed.answer(interface, body, None if token is None else f"Bearer {token}")
        assert reply.http_status == 200
        envelope = msgspec.json.decode(reply.body)
        ret, msg, data = envelope["Ret"], envelope["Msg"], envelope["Data"]
        assert envelope["Sig"] == sign_response(SIG_KEY, str(ret), msg, data)
        return ret, json.loads(decrypt_data(data, KEY, IV)) if data else {"Msg": msg}, reply

    async def fetch_token(self) -> str:
        body = self.message({"OperatorID": PARTY, "OperatorSecret": SERVE_SECRET})
        ret, granted, _ = await self.send(body, interface="query_token")
        assert (ret, granted["SuccStat"], granted["FailReason"]) == (0, 0, 0)
        token: str = granted["AccessToken"]
        return token


@asynccontextmanager
async def open_operator(
    clock: ManualClock | None = None, ledger: MemoryLedger | None = None, **changes: Any
) -> AsyncIterator[Operator]:
    async with open_feed(Platform(), clock or ManualClock(NOON), ledger, **changes) as feed:
        yield Operator(feed)


def told(reply: InboundReply) -> list[tuple[str, Availability]]:
    assert reply.batch is not None
    return [(status.evse_id.rpartition(":")[2], status.availability) for status in reply.batch.statuses]


def serve(**changes: Any) -> dict[str, Any]:
    return {"serve": {**table()["serve"], **changes}}


# ------------------------------------------------------------------------------------------------------------ tokens


async def test_a_token_is_granted_for_the_secret_that_we_gave() -> None:
    async with open_operator() as operator:
        body = operator.message({"OperatorID": PARTY, "OperatorSecret": SERVE_SECRET})
        ret, granted, reply = await operator.send(body, interface="query_token")
    assert ret == 0
    assert reply.batch is None
    assert len(granted.pop("AccessToken")) >= 32
    assert granted == {"OperatorID": PARTY, "SuccStat": 0, "TokenAvailableTime": 7200, "FailReason": 0}


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"OperatorID": PARTY, "OperatorSecret": "wrong"}, 2),
        ({"OperatorID": PARTY, "OperatorSecret": ""}, 2),
        ({"OperatorID": PARTY, "OperatorSecret": None}, 2),
        ({"OperatorID": PARTY, "OperatorSecret": ["x"]}, 2),
        ({"OperatorID": PARTY, "OperatorSecret": "密\ud800"}, 2),
        ({"OperatorID": PARTY}, 2),
        ({"OperatorID": "313744932", "OperatorSecret": SERVE_SECRET}, 1),
        ({"OperatorSecret": SERVE_SECRET}, 1),
        ({}, 1),
    ],
)
async def test_no_token_is_granted_for_anything_else(asked: Mapping[str, Any], reason: int) -> None:
    async with open_operator() as operator:
        ret, refused, _ = await operator.send(operator.message(asked), interface="query_token")
    assert ret == 0
    assert refused == {
        "OperatorID": PARTY,
        "SuccStat": 1,
        "AccessToken": "",
        "TokenAvailableTime": 0,
        "FailReason": reason,
    }


async def test_an_operator_may_call_under_another_id_than_its_partys() -> None:
    async with open_operator(**serve(operator_id="MA0000002")) as operator:
        assert operator.feed.inbound_party == "MA0000002"
        business = {"OperatorID": "MA0000002", "OperatorSecret": SERVE_SECRET}
        body = operator.message(business, OperatorID="MA0000002")
        ret, granted, _ = await operator.send(body, interface="query_token")
        assert (ret, granted["SuccStat"]) == (0, 0)
        ret, _, _ = await operator.send(operator.message(business), interface="query_token")
        assert ret == 4001


async def test_several_tokens_are_alive_at_once_and_each_dies_in_its_time() -> None:
    clock, ledger = ManualClock(NOON), MemoryLedger()
    async with open_operator(clock, ledger, **serve(token_ttl_s=60, timestamp_window_s=3_600)) as operator:
        first = await operator.fetch_token()
        clock.advance(30)
        second = await operator.fetch_token()
        assert [(await operator.send(operator.message(ONE), token))[0] for token in (first, second)] == [0, 0]
        clock.advance(30)
        assert [(await operator.send(operator.message(ONE), token))[0] for token in (first, second)] == [4002, 0]
        clock.advance(30)
        assert [(await operator.send(operator.message(ONE), token))[0] for token in (first, second)] == [4002, 4002]
        await operator.fetch_token()
    assert len(msgspec.json.decode(ledger.notes["teld", inbound.TOKENS_NOTE])) == 1


async def test_tokens_outlive_a_restart_and_are_not_kept_as_they_are() -> None:
    ledger, clock = MemoryLedger(), ManualClock(NOON)
    async with open_operator(clock, ledger) as operator:
        tokens = [await operator.fetch_token() for _ in range(3)]
    notes = b"".join(ledger.notes.values())
    assert not any(token.encode() in notes for token in tokens)
    async with open_operator(clock, ledger) as operator:
        for token in tokens:
            ret, answer, _ = await operator.send(operator.message(ONE), token)
            assert (ret, answer) == (0, {"Status": 0})
        await operator.fetch_token()
    clock.advance(7_200)
    async with open_operator(clock, ledger, **serve(timestamp_window_s=0)) as operator:
        assert (await operator.send(operator.message(ONE), tokens[0]))[0] == 4002


async def test_an_operator_that_asks_without_end_keeps_its_newest_tokens() -> None:
    ledger = MemoryLedger()
    async with open_operator(ledger=ledger) as operator:
        tokens = [await operator.fetch_token() for _ in range(inbound.MAX_LIVE_TOKENS + 1)]
        assert (await operator.send(operator.message(ONE), tokens[0]))[0] == 4002
        assert (await operator.send(operator.message(ONE), tokens[1]))[0] == 0
        assert (await operator.send(operator.message(ONE), tokens[-1]))[0] == 0
    assert len(msgspec.json.decode(ledger.notes["teld", inbound.TOKENS_NOTE])) == inbound.MAX_LIVE_TOKENS


@pytest.mark.parametrize("written", ["Bearer {}", "Bearer{}", "bearer {}", "BEARER   {} ", "{}", " {}"])
async def test_the_token_is_taken_however_it_is_written(written: str) -> None:
    async with open_operator() as operator:
        token = await operator.fetch_token()
        reply = await operator.feed.answer(STATUS, operator.message(ONE), written.format(token))
    assert msgspec.json.decode(reply.body)["Ret"] == 0


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer x", "Basic {}", "{}x", "Bearer 密\ud800"])
async def test_without_a_live_token_the_call_is_refused(header: str | None) -> None:
    async with open_operator() as operator:
        token = await operator.fetch_token()
        authorization = None if header is None else header.format(token)
        reply = await operator.feed.answer(STATUS, operator.message(ONE), authorization)
    assert msgspec.json.decode(reply.body)["Ret"] == 4002
    assert reply.batch is None


# ------------------------------------------------------------------------------------------------------------ pushes


@pytest.mark.parametrize(
    ("pushed", "statuses"),
    [
        (ONE, [("0001001", Availability.CHARGING)]),
        ({"ConnectorStatusInfo": [{"ConnectorID": "1", "Status": 1}]}, [("1", Availability.AVAILABLE)]),
        (
            {"ConnectorStatusInfos": [{"ConnectorID": "1", "Status": 0}, {"ConnectorID": "2", "Status": 255}]},
            [("1", Availability.OFFLINE), ("2", Availability.OUT_OF_ORDER)],
        ),
        ({"connectorStatusInfo": {"connectorID": "1", "status": "4"}}, [("1", Availability.RESERVED)]),
        ({"ConnectorID": "1", "Status": 2}, [("1", Availability.OCCUPIED)]),
        (
            {"ConnectorStatusInfos": None, "ConnectorStatusInfo": ONE["ConnectorStatusInfo"]},
            [("0001001", Availability.CHARGING)],
        ),
        (
            {"stationStatusInfo": {"stationID": "1", "connectorStatusInfos": {"connectorID": 1, "status": 4}}},
            [("1", Availability.RESERVED)],
        ),
        (
            {"ConnectorStatusInfos": [{"ConnectorID": "1", "Status": 1}, {"ConnectorID": "", "Status": 1}, None]},
            [("1", Availability.AVAILABLE)],
        ),
    ],
)
async def test_a_push_is_taken_in_every_shape(pushed: Any, statuses: list[tuple[str, Availability]]) -> None:
    async with open_operator() as operator:
        ret, answer, reply = await operator.send(operator.message(pushed), await operator.fetch_token())
    assert (ret, answer) == (0, {"Status": 0})
    assert told(reply) == statuses


async def test_a_pushed_status_is_observed_when_it_is_received() -> None:
    clock = ManualClock(NOON)
    async with open_operator(clock, status={"stale_after_s": 900.0, "pushed_stale_after_s": 7_200.0}) as operator:
        _, _, reply = await operator.send(operator.message(ONE), await operator.fetch_token())
    assert reply.batch is not None
    (status,) = reply.batch.statuses
    assert (status.evse_id, status.raw, status.channel) == ("teld:395815801:0001001", "3", StatusChannel.PUSH)
    assert (status.observed_at, status.received_at, status.stale_after) == (NOON, NOON, NOON + 7_200)


async def test_a_push_of_nothing_usable_is_discarded_and_counted() -> None:
    async with open_operator() as operator:
        pushed = {"ConnectorStatusInfos": [{"ConnectorID": " ", "Status": 1}, {"ConnectorID": "2"}]}
        ret, answer, reply = await operator.send(operator.message(pushed), await operator.fetch_token())
    assert (ret, answer) == (0, {"Status": 1})
    assert reply.batch is not None
    assert [rejection.reason for rejection in reply.batch.rejections] == ["connector_id_blank", "status_missing"]


async def test_an_unknown_code_is_taken_and_counted() -> None:
    async with open_operator() as operator:
        pushed = {"ConnectorStatusInfo": {"ConnectorID": "1", "Status": 6}}
        _, answer, reply = await operator.send(operator.message(pushed), await operator.fetch_token())
    assert answer == {"Status": 0}
    assert told(reply) == [("1", Availability.UNKNOWN)]
    assert reply.batch is not None
    assert reply.batch.unknown_codes == ("Status=6",)


@pytest.mark.parametrize("interface", ["notification_stationInfo", "NOTIFICATION_STATIONFEE"])
async def test_news_that_the_next_sweep_brings_is_discarded(interface: str) -> None:
    async with open_operator() as operator:
        message = operator.message({"StationInfo": {"StationID": "1"}})
        ret, answer, reply = await operator.send(message, await operator.fetch_token(), interface)
    assert (ret, answer, reply.batch) == (0, {"Status": 1}, None)


@pytest.mark.parametrize(
    "interface", ["notification_stationStatus", "notification_stationstatus", "Notification_StationStatus"]
)
async def test_interfaces_are_known_in_any_case(interface: str) -> None:
    async with open_operator() as operator:
        ret, _, _ = await operator.send(operator.message(ONE), await operator.fetch_token(), interface)
    assert ret == 0


@pytest.mark.parametrize("sig", [str.lower, str.upper])
async def test_sig_is_taken_in_any_case(sig: Any) -> None:
    async with open_operator() as operator:
        token = await operator.fetch_token()
        fields = json.loads(operator.message(ONE))
        body = json.dumps({**fields, "Sig": sig(fields["Sig"])}).encode()
        assert (await operator.send(body, token))[0] == 0


@pytest.mark.parametrize("seq", ["0001", "1", "7", "001", 12, "0842"])
async def test_seq_may_be_anything_and_say_nothing(seq: Any) -> None:
    async with open_operator() as operator:
        token = await operator.fetch_token()
        for pushed in (ONE, {"ConnectorID": "2", "Status": 1}, {"ConnectorID": "3", "Status": 1}):
            ret, answer, reply = await operator.send(operator.message(pushed, Seq=seq), token)
            assert (ret, answer) == (0, {"Status": 0})
            assert len(told(reply)) == 1


async def test_a_push_may_share_timestamp_and_seq_with_the_token_before_it() -> None:
    async with open_operator() as operator:
        asked = operator.message({"OperatorID": PARTY, "OperatorSecret": SERVE_SECRET}, Seq="0001")
        _, granted, _ = await operator.send(asked, interface="query_token")
        _, answer, reply = await operator.send(operator.message(ONE, Seq="0001"), granted["AccessToken"])
    assert answer == {"Status": 0}
    assert told(reply) == [("0001001", Availability.CHARGING)]


async def test_our_answers_follow_the_dialect() -> None:
    async with open_operator(dialect={"sig_case": "lower", "key_case": "lower_camel"}) as operator:
        body = operator.message({"operatorID": PARTY, "operatorSecret": SERVE_SECRET})
        reply = await operator.feed.answer("query_token", body, None)
    envelope = msgspec.json.decode(reply.body)
    assert list(envelope) == ["ret", "msg", "data", "sig"]
    assert envelope["sig"] == sign_response(SIG_KEY, "0", "", envelope["data"]).lower()
    assert json.loads(decrypt_data(envelope["data"], KEY, IV))["succStat"] == 0


async def test_in_a_test_environment_data_may_come_unencrypted() -> None:
    async with open_operator(dialect={"data": "plain"}) as operator:
        secret = {"OperatorID": PARTY, "OperatorSecret": SERVE_SECRET}
        reply = await operator.feed.answer("query_token", operator.message(json.dumps(secret)), None)
        granted = json.loads(msgspec.json.decode(reply.body)["Data"])
        authorization = "Bearer " + granted["AccessToken"]
        reply = await operator.feed.answer(STATUS, operator.message(json.dumps(ONE)), authorization)
    assert told(reply) == [("0001001", Availability.CHARGING)]


# ---------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("part", ["OperatorID", "Data", "TimeStamp", "Seq", "Sig"])
async def test_a_missing_part_is_4003(part: str) -> None:
    async with open_operator() as operator:
        token = await operator.fetch_token()
        fields = json.loads(operator.message(ONE))
        for body in ({**fields, part: ""}, {**fields, part: None}, {k: v for k, v in fields.items() if k != part}):
            ret, answer, reply = await operator.send(json.dumps(body).encode(), token)
            assert (ret, answer, reply.batch) == (4003, {"Msg": f"missing: {part}"}, None)


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[1]", b"<xml/>", b"\x00\xff", b'{"a":' * 50_000])
async def test_what_is_no_envelope_is_4003(body: bytes) -> None:
    async with open_operator() as operator:
        ret, _, reply = await operator.send(body, await operator.fetch_token())
    assert (ret, reply.batch) == (4003, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"Sig": "0" * 32},
        {"Sig": "x"},
        {"Sig": "签名\ud800"},
        {"OperatorID": "313744932"},
        {"OperatorID": {"x": 1}},
    ],
)
async def test_a_wrong_signature_or_operator_is_4001_whatever_the_token(changes: dict[str, Any]) -> None:
    async with open_operator() as operator:
        token = await operator.fetch_token()
        for interface in (STATUS, "query_token"):
            ret, _, reply = await operator.send(operator.message(ONE, **changes), token, interface)
            assert (ret, reply.batch) == (4001, None)


@pytest.mark.parametrize("part", ["Data", "TimeStamp", "Seq"])
async def test_a_part_that_was_changed_on_the_way_is_4001(part: str) -> None:
    async with open_operator() as operator:
        token = await operator.fetch_token()
        fields = json.loads(operator.message(ONE))
        fields[part] = fields[part][:-1] + ("1" if fields[part][-1] != "1" else "2")
        assert (await operator.send(json.dumps(fields).encode(), token))[0] == 4001


@pytest.mark.parametrize(
    "data",
    [
        "AAAA",
        "not base64",
        encrypt_data(b"{}", b"another key 1234", IV),
        encrypt_data(b"<html>", KEY, IV),
        encrypt_data(b"[]", KEY, IV),
        encrypt_data(b"null", KEY, IV),
        encrypt_data(b"[" * 50_000, KEY, IV),
        encrypt_data(b"\xff" * 100, KEY, IV),
        encrypt_data(b"", KEY, IV),
    ],
)
async def test_data_that_is_none_is_4004(data: str) -> None:
    async with open_operator() as operator:
        ret, _, reply = await operator.send(operator.message(data), await operator.fetch_token())
    assert (ret, reply.batch) == (4004, None)


@pytest.mark.parametrize(
    "pushed",
    [{}, {"ConnectorStatusInfo": None}, {"ConnectorStatusInfos": []}, {"ConnectorStatusInfo": "x"}, {"Status": 1}],
)
async def test_a_push_without_a_status_is_4004(pushed: Any) -> None:
    async with open_operator() as operator:
        ret, answer, _ = await operator.send(operator.message(pushed), await operator.fetch_token())
    assert (ret, answer) == (4004, {"Msg": "no ConnectorStatusInfo"})


@pytest.mark.parametrize("interface", ["notification_charge_order_info", "query_stations_info", "", "..", "x" * 10_000])
async def test_other_interfaces_are_4004(interface: str) -> None:
    async with open_operator() as operator:
        ret, _, _ = await operator.send(operator.message({}), await operator.fetch_token(), interface)
    assert ret == 4004


async def test_a_push_without_end_is_refused_as_a_whole() -> None:
    async with open_operator() as operator:
        token = await operator.fetch_token()
        gun = {"ConnectorID": "1", "Status": 1}
        most = inbound.MAX_STATUSES_A_PUSH
        _, answer, reply = await operator.send(operator.message({"ConnectorStatusInfos": [gun] * most}), token)
        assert (answer, len(told(reply))) == ({"Status": 0}, most)
        ret, _, reply = await operator.send(operator.message({"ConnectorStatusInfos": [gun] * (most + 1)}), token)
        assert (ret, reply.batch) == (4004, None)


# -------------------------------------------------------------------------------------------------------------- time


@pytest.mark.parametrize(
    ("timestamp", "ret"),
    [
        ("20261122120000", 0),
        ("20261122115500", 0),
        ("20261122120500", 0),
        ("20261122115459", 4003),
        ("20261122120501", 4003),
        ("20261122040000", 4003),  # Greenwich's clock
        ("202611221200", 0),
        ("202611221155", 0),
        ("202611221154", 4003),
        ("202611221205", 0),
        ("202611221206", 4003),
        ("2026-11-22 12:00:00", 0),
        (f"{NOON:.0f}", 0),
        (f"{NOON * 1000:.0f}", 0),
        (int(NOON * 1000), 0),
        (f"{NOON - 301:.0f}", 4003),
        (f"{NOON * 1000 + 301_000:.0f}", 4003),
        ("0", 4003),
        ("yesterday", 4003),
    ],
)
async def test_a_timestamp_must_be_now(timestamp: Any, ret: int) -> None:
    async with open_operator() as operator:
        token = await operator.fetch_token()
        message = operator.message(ONE, TimeStamp=timestamp)
        assert (await operator.send(message, token))[0] == ret


async def test_a_platform_whose_clock_stands_is_taken_where_that_was_agreed() -> None:
    async with open_operator(**serve(timestamp_window_s=0)) as operator:
        token = await operator.fetch_token()
        for _ in range(2):
            _, answer, reply = await operator.send(operator.message(ONE, TimeStamp="20200101000000", Seq="0001"), token)
            assert answer == {"Status": 0}
            assert len(told(reply)) == 1


# -------------------------------------------------------------------------------------------------------- repetition


async def test_a_message_that_comes_again_is_answered_as_before_and_brings_no_news() -> None:
    async with open_operator() as operator:
        token = await operator.fetch_token()
        message = operator.message(ONE)
        _, _, first = await operator.send(message, token)
        fields = json.loads(message)
        lower = json.dumps({**fields, "Sig": fields["Sig"].lower()}, indent=1).encode()
        for again in (message, message, lower):
            _, answer, reply = await operator.send(again, token)
            assert answer == {"Status": 0}
            assert reply.body == first.body
            assert reply.batch is None


async def test_a_token_that_is_asked_for_again_is_the_same_one() -> None:
    ledger = MemoryLedger()
    async with open_operator(ledger=ledger) as operator:
        message = operator.message({"OperatorID": PARTY, "OperatorSecret": SERVE_SECRET})
        _, first, reply = await operator.send(message, interface="query_token")
        _, again, reply_again = await operator.send(message, interface="query_token")
    assert first == again
    assert reply.body == reply_again.body
    assert len(msgspec.json.decode(ledger.notes["teld", inbound.TOKENS_NOTE])) == 1


async def test_a_refusal_comes_again_as_well() -> None:
    async with open_operator() as operator:
        token = await operator.fetch_token()
        message = operator.message({"ConnectorStatusInfos": []})
        _, _, first = await operator.send(message, token)
        _, _, again = await operator.send(message, token)
    assert first.body == again.body


async def test_the_same_body_at_another_interface_is_another_message() -> None:
    async with open_operator() as operator:
        token = await operator.fetch_token()
        message = operator.message(ONE)
        assert (await operator.send(message, token, "notification_stationInfo"))[1] == {"Status": 1}
        _, answer, reply = await operator.send(message, token)
    assert answer == {"Status": 0}
    assert len(told(reply)) == 1


async def test_a_message_refused_for_its_token_is_taken_when_it_comes_with_a_live_one() -> None:
    async with open_operator() as operator:
        message = operator.message(ONE)
        assert (await operator.send(message, "dead"))[0] == 4002
        _, answer, reply = await operator.send(message, await operator.fetch_token())
    assert answer == {"Status": 0}
    assert len(told(reply)) == 1


class SlowLedger(MemoryLedger):
    """Lets other calls in between; fails while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.saves = 0
        self.fails = False

    async def save_note(self, feed: str, name: str, value: bytes) -> None:
        await asyncio.sleep(0.01)
        self.saves += 1
        if self.fails:
            raise OSError("disk full")
        await super().save_note(feed, name, value)


async def test_a_message_that_comes_at_once_many_times_is_answered_once() -> None:
    ledger = SlowLedger()
    async with open_operator(ledger=ledger) as operator:
        message = operator.message({"OperatorID": PARTY, "OperatorSecret": SERVE_SECRET})
        replies = await asyncio.gather(*(operator.feed.answer("query_token", message, None) for _ in range(20)))
        assert len({reply.body for reply in replies}) == 1
        assert ledger.saves == 1
        token = await operator.fetch_token()
        pushed = operator.message(ONE)
        replies = await asyncio.gather(*(operator.feed.answer(STATUS, pushed, f"Bearer {token}") for _ in range(20)))
    assert len({reply.body for reply in replies}) == 1
    assert sum(reply.batch is not None for reply in replies) == 1


async def test_what_was_not_answered_is_not_remembered() -> None:
    ledger = SlowLedger()
    async with open_operator(ledger=ledger) as operator:
        message = operator.message({"OperatorID": PARTY, "OperatorSecret": SERVE_SECRET})
        ledger.fails = True
        first, second = await asyncio.gather(
            *(operator.feed.answer("query_token", message, None) for _ in range(2)), return_exceptions=True
        )
        assert isinstance(first, OSError)
        assert isinstance(second, OSError)
        ledger.fails = False
        _, granted, _ = await operator.send(message, interface="query_token")
        assert (await operator.send(operator.message(ONE), granted["AccessToken"]))[0] == 0


async def test_a_caller_that_hangs_up_does_not_leave_its_message_pending() -> None:
    ledger = SlowLedger()
    async with open_operator(ledger=ledger) as operator:
        message = operator.message({"OperatorID": PARTY, "OperatorSecret": SERVE_SECRET})
        task = asyncio.create_task(operator.feed.answer("query_token", message, None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            _, granted, _ = await operator.send(message, interface="query_token")
    assert granted["SuccStat"] == 0


async def test_only_so_many_messages_are_remembered() -> None:
    async with open_operator() as operator:
        token = await operator.fetch_token()
        remembered = operator.feed._inbound._answered
        remembered.update((number.to_bytes(16), b"") for number in range(inbound.MAX_REMEMBERED_MESSAGES - 1))
        oldest = next(iter(remembered))
        messages = [operator.message({"ConnectorID": str(number), "Status": 1}) for number in range(3)]
        for message in messages:
            await operator.send(message, token)
        assert len(remembered) == inbound.MAX_REMEMBERED_MESSAGES
        assert oldest not in remembered
        assert [(await operator.send(message, token))[2].batch for message in messages] == [None, None, None]
