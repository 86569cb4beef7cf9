"""The envelope both ways: what is sent by the dialect's switches, and what is read without any."""

import json
from datetime import datetime
from typing import Any

import msgspec
import pytest

from app.model.clock import BEIJING
from indexers.feeds.cec102.crypto import UndecryptableError, encrypt_data, sign_request, sign_response
from indexers.feeds.cec102.envelope import (
    NO_FIELD,
    Answer,
    Call,
    Field,
    Numbering,
    Ret,
    answer_is_signed,
    beijing_time,
    build_answer,
    build_call,
    call_is_signed,
    read_answer,
    read_call,
    read_fields,
    read_timestamp,
    unseal,
)
from indexers.feeds.cec102.profile import Dialect, Keys
from tests.unit.feeds.cec102.test_crypto import A_DATA, B_DATA, C_DATA, D_DATA, E_DATA, F_DATA, F_IV, F_KEY, F_SIG_KEY
from tests.unit.feeds.cec102.test_crypto import KEY as SAMPLE_KEY

SAMPLE_KEYS = Keys("1234567890abcdef", SAMPLE_KEY, SAMPLE_KEY, SAMPLE_KEY)
KEYS = Keys("secret", F_KEY, F_IV, F_SIG_KEY)
PLAIN = Dialect()
NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=BEIJING).timestamp()


def envelope(**fields: Any) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode()


def call_of(body: bytes) -> Call:
    call = read_call(body)
    assert isinstance(call, Call)
    return call


def answer_of(body: bytes) -> Answer:
    answer = read_answer(body)
    assert answer is not None
    return answer


# ------------------------------------------------------------------------------------------------- the known vectors


@pytest.mark.parametrize(
    ("keys", "operator_id", "data", "timestamp", "sig", "content"),
    [
        (SAMPLE_KEYS, "123456789", B_DATA, "20180120165755", "D2D584A14F3F284445DF85D0E8C0697C", "OperatorSecret"),
        (SAMPLE_KEYS, "123456789", D_DATA, "20180228173314", "407FED90C92965C8E456535A72B83F80", "LastQueryTime"),
        (SAMPLE_KEYS, "123456789", E_DATA, "20180508162919", "92A192D753BBEF609136620FFA7E9069", "EquipBizSeq"),
        (KEYS, "MA0000001", F_DATA, "20261122101500", "8495129A8D79A19E2356C2091A9CB477", "StationName"),
    ],
    ids=["B", "D", "E", "F"],
)
def test_the_vectors_of_requests(
    keys: Keys, operator_id: str, data: str, timestamp: str, sig: str, content: str
) -> None:
    call = call_of(envelope(OperatorID=operator_id, Data=data, TimeStamp=timestamp, Seq="0001", Sig=sig))
    assert call_is_signed(call, keys, PLAIN)
    value = unseal(call.data, keys, PLAIN)
    assert isinstance(value, dict)
    assert content in value


def test_vector_a_is_signed_but_the_standards_own_example_is_no_json() -> None:
    call = call_of(
        envelope(
            OperatorID="123456789",
            Data=A_DATA,
            TimeStamp="20160729142400",
            Seq="0001",
            Sig="745166E8C43C84D37FFEC0F529C4136F",
        )
    )
    assert call_is_signed(call, SAMPLE_KEYS, PLAIN)
    with pytest.raises(ValueError, match="property name"):
        unseal(call.data, SAMPLE_KEYS, PLAIN)


def test_vector_c_is_a_response() -> None:
    answer = answer_of(envelope(Ret=0, Msg="", Data=C_DATA, Sig="58E52010C7DEE87FE183B0AFA5B2BE30"))
    assert answer_is_signed(answer, SAMPLE_KEYS, PLAIN)
    value = unseal(answer.data, SAMPLE_KEYS, PLAIN)
    assert isinstance(value, dict)
    assert value["TokenAvailableTime"] == 7200


@pytest.mark.parametrize(
    ("ret", "msg", "data", "sig"),
    [
        (0, "成功", F_DATA, "0B49A25F1BDF50A4D726C82AA1B256C6"),
        (4002, "Token错误", "", "F882E08E4306427A77FE455F2FF4AC21"),
        (4002, "Token错误", None, "f882e08e4306427a77fe455f2ff4ac21"),
    ],
)
def test_vector_f_has_chinese_messages(ret: int, msg: str, data: str | None, sig: str) -> None:
    answer = answer_of(envelope(Ret=ret, Msg=msg, Data=data, Sig=sig))
    assert answer.ret == ret
    assert answer_is_signed(answer, KEYS, PLAIN)


# ---------------------------------------------------------------------------------------------------------- requests


def test_a_call_is_built_by_the_standard() -> None:
    body = build_call("MA0000001", {"PageNo": 1}, keys=KEYS, dialect=PLAIN, timestamp="20261122101500", seq="0001")
    fields = msgspec.json.decode(body)
    assert list(fields) == ["OperatorID", "Data", "TimeStamp", "Seq", "Sig"]
    assert fields["Data"] == encrypt_data(b'{"PageNo":1}', F_KEY, F_IV)
    assert fields["Sig"] == sign_request(F_SIG_KEY, "MA0000001", fields["Data"], "20261122101500", "0001")
    call = call_of(body)
    assert call_is_signed(call, KEYS, PLAIN)
    assert unseal(call.data, KEYS, PLAIN) == {"PageNo": 1}


def test_the_switches_of_a_dialect_change_what_is_sent() -> None:
    def built(**switches: Any) -> dict[str, Any]:
        fields: dict[str, Any] = msgspec.json.decode(
            build_call("M", {"PageNo": 1}, keys=KEYS, dialect=Dialect(**switches), timestamp="t", seq="1")
        )
        return fields

    assert built(sig_case="lower")["Sig"] == built()["Sig"].lower()
    camel = built(key_case="lower_camel")
    assert list(camel) == ["operatorID", "data", "timeStamp", "seq", "sig"]
    assert unseal(Field(camel["data"], True), KEYS, PLAIN) == {"pageNo": 1}
    assert built(data="plain")["Data"] == '{"PageNo":1}'


@pytest.mark.parametrize("sent", [str.upper, str.lower, str.title])
def test_sig_is_read_in_any_case(sent: Any) -> None:
    sig = sent("8495129A8D79A19E2356C2091A9CB477")
    call = call_of(envelope(operatorID="MA0000001", data=F_DATA, timeStamp="20261122101500", seq="0001", sig=sig))
    assert call_is_signed(call, KEYS, PLAIN)


@pytest.mark.parametrize("part", ["OperatorID", "Data", "TimeStamp", "Seq", "Sig"])
def test_a_changed_part_breaks_the_signature(part: str) -> None:
    fields = msgspec.json.decode(build_call("MA0000001", {}, keys=KEYS, dialect=PLAIN, timestamp="20261122", seq="1"))
    fields[part] = ("A" if fields[part][0] != "A" else "B") + fields[part][1:]
    assert not call_is_signed(call_of(envelope(**fields)), KEYS, PLAIN)


@pytest.mark.parametrize("part", ["OperatorID", "Data", "TimeStamp", "Seq", "Sig"])
@pytest.mark.parametrize("missing", ["absent", None, ""])
def test_a_missing_part_is_named(part: str, missing: str | None) -> None:
    fields = {"OperatorID": "M", "Data": "x", "TimeStamp": "t", "Seq": "1", "Sig": "s", part: missing}
    if missing == "absent":
        del fields[part]
    assert read_call(envelope(**fields)) == f"missing: {part}"


def test_numbers_are_signed_as_they_were_sent() -> None:
    sig = sign_request(F_SIG_KEY, "395815801", F_DATA, "1763778896789", "0001")
    body = f'{{"OperatorID":395815801,"Data":"{F_DATA}","TimeStamp":1763778896789,"Seq":"0001","Sig":"{sig}"}}'
    assert call_is_signed(call_of(body.encode()), KEYS, PLAIN)


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'"x"', b"<html></html>", b'{"OperatorID":"M"', b"\xff\xfe", b'{"a":' * 100_000]
)
def test_what_is_no_envelope_is_none(body: bytes) -> None:
    assert read_fields(body) is None
    assert read_answer(body) is None
    assert read_call(body) == "the body is not a JSON object"


# --------------------------------------------------------------------------------------------------------- responses


@pytest.mark.parametrize(
    ("ret_text", "signed"),
    [("0", "0"), ('"0"', "0"), ("0.0", "0.0"), (' "00" ', "00"), ('"0 "', "0 ")],
)
def test_ret_is_signed_as_it_was_sent(ret_text: str, signed: str) -> None:
    sig = sign_response(F_SIG_KEY, signed, "", F_DATA)
    answer = answer_of(f'{{"Ret":{ret_text},"Msg":"","Data":"{F_DATA}","Sig":"{sig}"}}'.encode())
    assert answer.ret == Ret.OK
    assert answer_is_signed(answer, KEYS, PLAIN)


@pytest.mark.parametrize("ret", [None, "", "x", True, 0.5, [], {}, "1e400"])
def test_an_answer_without_a_readable_ret_is_none(ret: object) -> None:
    assert read_answer(envelope(Ret=ret, Msg="", Data="", Sig="")) is None


@pytest.mark.parametrize("msg", ["", "null"])
def test_a_msg_of_null_is_signed_as_nothing_or_as_java_writes_it(msg: str) -> None:
    sig = sign_response(F_SIG_KEY, "0", msg, F_DATA)
    assert answer_is_signed(answer_of(envelope(Ret=0, Msg=None, Data=F_DATA, Sig=sig)), KEYS, PLAIN)
    assert not answer_is_signed(answer_of(envelope(Ret=0, Msg="x", Data=F_DATA, Sig=sig)), KEYS, PLAIN)


@pytest.mark.parametrize("sig", [None, ""])
def test_an_unsigned_answer_is_right_only_where_that_was_agreed(sig: str | None) -> None:
    answer = answer_of(envelope(Ret=0, Msg="", Data=F_DATA, Sig=sig))
    assert not answer_is_signed(answer, KEYS, PLAIN)
    assert answer_is_signed(answer, KEYS, Dialect(unsigned_answers=True))


def test_a_wrong_signature_is_wrong_even_where_none_is_needed() -> None:
    answer = answer_of(envelope(Ret=0, Msg="", Data=F_DATA, Sig="0" * 32))
    assert not answer_is_signed(answer, KEYS, Dialect(unsigned_answers=True))


@pytest.mark.parametrize("signed_data", [True, False])
def test_unencrypted_objects_may_be_signed_with_or_without_data(signed_data: bool) -> None:
    data = '{"PageNo": 1, "StationInfos": [ ]}'
    sig = sign_response(F_SIG_KEY, "0", "ok", data if signed_data else "")
    answer = answer_of(f'{{"Ret":0,"Msg":"ok","Data":{data},"Sig":"{sig}"}}'.encode())
    dialect = Dialect(data="plain")
    assert answer_is_signed(answer, KEYS, dialect)
    assert unseal(answer.data, KEYS, dialect) == {"PageNo": 1, "StationInfos": []}
    assert answer_is_signed(answer, KEYS, PLAIN) is signed_data
    with pytest.raises(UndecryptableError):
        unseal(answer.data, KEYS, PLAIN)


def test_unencrypted_data_may_be_a_text_and_encrypted_data_is_read_all_the_same() -> None:
    dialect = Dialect(data="plain")
    assert unseal(Field(' {"PageNo": 1}', True), KEYS, dialect) == {"PageNo": 1}
    assert unseal(Field(F_DATA, True), KEYS, dialect) == {"StationName": "示例充电站", "ParkNums": 0}


def test_data_broken_into_lines_is_read() -> None:
    lines = "\r\n".join(F_DATA[at : at + 24] for at in range(0, len(F_DATA), 24))
    assert unseal(Field(lines, True), KEYS, PLAIN) == {"StationName": "示例充电站", "ParkNums": 0}


@pytest.mark.parametrize("data", [NO_FIELD, Field("", True), Field("{}", False), Field("x", True), Field("数据", True)])
def test_data_that_is_none_is_undecryptable(data: Field) -> None:
    with pytest.raises(UndecryptableError):
        unseal(data, KEYS, PLAIN)


def test_decrypted_text_that_is_no_json_is_a_value_error() -> None:
    with pytest.raises(ValueError):
        unseal(Field(encrypt_data(b"<html>", F_KEY, F_IV), True), KEYS, PLAIN)


def test_an_answer_is_built_by_the_standard() -> None:
    body = build_answer(Ret.OK, "成功", {"Status": 0}, keys=KEYS, dialect=PLAIN)
    answer = answer_of(body)
    assert list(msgspec.json.decode(body)) == ["Ret", "Msg", "Data", "Sig"]
    assert answer_is_signed(answer, KEYS, PLAIN)
    assert unseal(answer.data, KEYS, PLAIN) == {"Status": 0}
    refusal = msgspec.json.decode(build_answer(Ret.BAD_TOKEN, "Token错误", None, keys=KEYS, dialect=PLAIN))
    assert refusal == {"Ret": 4002, "Msg": "Token错误", "Data": "", "Sig": "F882E08E4306427A77FE455F2FF4AC21"}


# ------------------------------------------------------------------------------------------------------ lenient JSON


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"Ret":0,"Msg":"\\u6210\\u529f","Data":"%s","Sig":"%s"}',
        b'{"ret":0,"msg":"\\u6210\\u529f","data":"%s","sig":"%s"}',
        b'{"Ret":0,"OperatorID":"any","Msg":"\\u6210\\u529f","Data":"%s","Sig":"%s","extra":NaN}',
        b'{"Ret":"0","trace":"a\nb","Msg":"\xe6\x88\x90\xe5\x8a\x9f","Data":"%s","Sig":"%s"}',
        b'{"Ret":0,"server":"\xb7\xfe\xce\xf1","Msg":"\\u6210\\u529f","Data":"%s","Sig":"%s"}',
    ],
)
def test_a_flaw_in_the_json_does_not_break_the_signature(body: bytes) -> None:
    sig = sign_response(F_SIG_KEY, "0", "成功", F_DATA)
    answer = answer_of(body % (F_DATA.encode(), sig.encode()))
    assert answer_is_signed(answer, KEYS, PLAIN)


def test_a_message_in_another_encoding_does_not_hide_the_refusal() -> None:
    body = '{"Ret":4001,"Msg":"签名错误","Data":"","Sig":""}'.encode("gbk")
    answer = answer_of(body)
    assert (answer.ret, answer.ret_text) == (4001, "4001")


@pytest.mark.parametrize("junk", [b"\\ud800", b"\xff", b"\x00", b"\xed\xa0\x80"])
def test_texts_that_cannot_be_signed_are_read_and_are_wrong(junk: bytes) -> None:
    body = b'{"OperatorID":"M%s","Data":"%s","TimeStamp":"%s","Seq":"%s","Sig":"%s"}' % ((junk,) * 5)
    assert not call_is_signed(call_of(body), KEYS, PLAIN)
    assert read_answer(b'{"Ret":"%s"}' % junk) is None


# -------------------------------------------------------------------------------------------------------------- time


def test_seq_counts_inside_a_second_and_begins_again_with_the_next() -> None:
    numbering = Numbering(PLAIN)
    assert [numbering.next(NOON + part) for part in (0.0, 0.5, 0.99)] == [
        ("20261122120000", "0001"),
        ("20261122120000", "0002"),
        ("20261122120000", "0003"),
    ]
    assert numbering.next(NOON + 1.0) == ("20261122120001", "0001")


def test_seq_has_four_digits_for_ever() -> None:
    numbering = Numbering(PLAIN)
    seqs = [numbering.next(NOON)[1] for _ in range(10_001)]
    assert (seqs[9_998], seqs[9_999], seqs[10_000]) == ("9999", "0001", "0002")


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ({"seq": "plain"}, ("20261122120000", "1")),
        ({"timestamp": "epoch_s"}, (f"{NOON:.0f}", "0001")),
        ({"timestamp": "epoch_ms"}, (f"{NOON * 1000 + 500:.0f}", "0001")),
    ],
)
def test_the_dialect_says_how_messages_are_numbered(switches: dict[str, Any], expected: tuple[str, str]) -> None:
    assert Numbering(Dialect(**switches)).next(NOON + 0.5) == expected


@pytest.mark.parametrize(
    ("timestamp", "begin", "end"),
    [
        ("20261122120000", 0.0, 0.0),
        ("2026-11-22 12:00:00", 0.0, 0.0),
        ("2026/11/22T12:00:00", 0.0, 0.0),
        ("20261122120000999", 0.0, 0.0),
        ("2026-11-22 12:00:00.999", 0.0, 0.0),
        ("202611221200", 0.0, 59.0),
        (f"{NOON:.0f}", 0.0, 0.0),
        (f"{NOON * 1000 + 250:.0f}", 0.25, 0.25),
    ],
)
def test_timestamps_are_read_in_every_form_that_was_seen(timestamp: str, begin: float, end: float) -> None:
    meant = read_timestamp(timestamp)
    assert meant is not None
    assert (meant[0] - NOON, meant[1] - NOON) == (begin, end)


@pytest.mark.parametrize(
    "timestamp",
    [
        "",
        "x",
        "2026",
        "20261322120000",
        "20260230120000",
        "20261122256161",
        "二〇二六",
        "1" * 20,
        "1" * 5_000,
        "٢" * 14,
    ],
)
def test_other_timestamps_are_none(timestamp: str) -> None:
    assert read_timestamp(timestamp) is None


def test_business_times_are_beijings() -> None:
    assert beijing_time(NOON) == "2026-11-22 12:00:00"
    assert beijing_time(0.0) == "1970-01-01 08:00:00"
