"""The nine platforms, spoken to by a client that knows the standard and none of their dialects."""

from collections import Counter
from dataclasses import replace
from datetime import datetime

import orjson
import pytest

from indexers.feeds.cec102.crypto import encrypt_data
from indexers.sandbox.cec_platform import BEIJING, CecPlatform
from indexers.sandbox.dialects import DIALECTS, Dialect, Secrets, TokenRule, environment
from indexers.sandbox.nation import Dirt, Nation
from tests.unit.sandbox.cec_client import Client, lowered, sealed

NOW = 1_795_582_800.0  # 2026-11-25 13:00 in Beijing
NATION = Nation(20261125, 4000)
BY_NAME = {dialect.name: dialect for dialect in DIALECTS}


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def time() -> Time:
    return Time()


def client_of(name: str, time: Time, *, ignores_page_no: bool = False) -> Client:
    client = Client(CecPlatform(BY_NAME[name], NATION, time, ignores_page_no=ignores_page_no))
    client.login()
    return client


@pytest.fixture(params=[dialect.name for dialect in DIALECTS])
def client(request: pytest.FixtureRequest, time: Time) -> Client:
    return client_of(request.param, time)


def test_every_row_is_listed_and_every_station_has_a_status_for_every_gun(client: Client):
    slots = NATION.slots_of(client.platform.dialect.name)
    stations = client.stations()
    assert len(stations) == len(slots)
    for row, slot in zip(stations, slots.tolist(), strict=True):
        station = NATION.station(slot, NOW)
        guns = [gun for cabinet in row["equipmentinfos"] or [] for gun in cabinet["connectorinfos"]]
        expected = 0 if station.dirt is Dirt.NO_EQUIPMENT else station.gun_count
        assert len(guns) == expected + (station.dirt is Dirt.REPEATED_CONNECTOR)
        assert row["operatorid"] == client.platform.dialect.operator_id
    ids = list(dict.fromkeys(row["stationid"] for row in stations if row["stationid"]))[:50]
    reply = lowered(client.call("query_station_status", {"StationIDs": ids}).data)
    assert int(reply["total"]) == len(ids)
    assert [info["stationid"] for info in reply["stationstatusinfos"]] == ids
    listed = {row["stationid"]: row for row in stations}
    for info in reply["stationstatusinfos"]:
        guns = [
            gun for cabinet in listed[info["stationid"]]["equipmentinfos"] or [] for gun in cabinet["connectorinfos"]
        ]
        told = [gun["connectorid"] for gun in info["connectorstatusinfos"]]
        assert not guns or told == list(dict.fromkeys(gun["connectorid"] for gun in guns))


def test_ids_are_unique_but_for_repeated_and_blank_rows(client: Client):
    stations = client.stations()
    ids = Counter(row["stationid"] for row in stations)
    ids.pop("", None)
    slots = NATION.slots_of(client.platform.dialect.name)
    repeats = int((NATION.dirt[slots[1:]] == Dirt.REPEATED_STATION).sum())
    assert sum(ids.values()) - len(ids) == pytest.approx(repeats, abs=1)
    guns = Counter(
        gun["connectorid"]
        for row in {row["stationid"]: row for row in stations}.values()
        for cabinet in row["equipmentinfos"] or []
        for gun in cabinet["connectorinfos"]
    )
    guns.pop("", None)
    dirty = int((NATION.dirt[slots] == Dirt.REPEATED_CONNECTOR).sum())
    assert sum(guns.values()) - len(guns) <= dirty


def test_the_positions_are_those_of_the_nation(client: Client):
    slots = NATION.slots_of(client.platform.dialect.name).tolist()
    for row, slot in zip(client.stations(), slots, strict=True):
        station = NATION.station(slot, NOW)
        if station.dirt is Dirt.CLEAN:
            assert (float(row["stationlng"]), float(row["stationlat"])) == (station.lon, station.lat)


@pytest.mark.parametrize("missing", ["OperatorID", "Data", "TimeStamp", "Seq", "Sig"])
def test_a_missing_envelope_key_is_4003(client: Client, missing: str):
    envelope = sealed({}, client.secrets, sig=client.sig)
    del envelope[missing]
    assert client.send("query_stations_info", envelope).ret == "4003"


def test_a_body_that_is_no_envelope_is_4003(client: Client):
    for body in (b"", b"[]", b"\xff\xfe", b"null", b'{"OperatorID": 1}'):
        assert client.send("query_stations_info", body).ret == "4003"


def test_a_wrong_signature_is_4001(client: Client):
    envelope = sealed({}, client.secrets, sig=client.sig)
    for wrong in ("0" * 32, "签名", envelope["Sig"][:-1], envelope["Sig"].swapcase() + "0"):
        assert client.send("query_stations_info", {**envelope, "Sig": wrong}).ret == "4001"


def test_an_unknown_operator_is_4001(client: Client):
    envelope = sealed({}, client.secrets, operator_id="MAOTHER01", sig=client.sig)
    assert client.send("query_stations_info", envelope).ret == "4001"


def test_a_dead_token_is_4002(client: Client):
    client.token = "dead"
    expected = "0" if client.platform.dialect.token_rule is TokenRule.CHECKS_NONE else "4002"
    assert client.call("query_stations_info", {"PageNo": 1, "PageSize": 1}).ret == expected


def test_a_token_dies_of_age(client: Client, time: Time):
    dialect = client.platform.dialect
    time.at += dialect.token_ttl_s - 1
    client.timestamp = datetime.fromtimestamp(time.at, BEIJING).strftime("%Y%m%d%H%M%S")
    assert client.call("query_stations_info", {}).ret == "0"
    time.at += 2
    expected = "0" if dialect.token_rule is TokenRule.CHECKS_NONE else "4002"
    assert client.call("query_stations_info", {}).ret == expected


@pytest.mark.parametrize(
    ("interface", "message"),
    [
        ("query_stations_info", {"PageNo": 0}),
        ("query_stations_info", {"PageNo": "one"}),
        ("query_stations_info", {"PageNo": True}),
        ("query_stations_info", {"PageSize": -1}),
        ("query_stations_info", {"PageSize": 10**30}),
        ("query_stations_info", {"LastQueryTime": "yesterday"}),
        ("query_stations_info", []),
        ("query_station_status", {}),
        ("query_station_status", {"StationIDs": []}),
        ("query_station_status", {"StationIDs": "1"}),
        ("query_station_status", {"StationIDs": [1]}),
        ("query_station_status", {"StationIDs": [str(number) for number in range(51)]}),
    ],
)
def test_bad_parameters_are_4004(client: Client, interface: str, message: object):
    assert client.call(interface, message).ret == "4004"


def test_data_under_another_key_is_refused(client: Client):
    other = replace(client.secrets, data_secret="ANOTHERSECRETKEY")
    reply = client.send("query_stations_info", sealed({"PageNo": 1}, other, sig=client.sig))
    if client.platform.dialect.http_errors:
        assert reply.http_status == 200
        assert reply.envelope["code"] == 500
    else:
        assert reply.ret == "4004"


@pytest.mark.parametrize(
    ("message", "fail_reason"),
    [
        ({"OperatorID": "MAOTHER01", "OperatorSecret": "x"}, 1),
        ({"OperatorID": "MAHUB0001", "OperatorSecret": "x"}, 2),
        ({"OperatorID": "MAHUB0001"}, 2),
    ],
)
def test_wrong_credentials_get_no_token(client: Client, message: object, fail_reason: int):
    reply = client.call("query_token", message)
    data = lowered(reply.data)
    assert (reply.ret, data["succstat"], data["failreason"], data["accesstoken"]) == ("0", 1, fail_reason, "")


def test_unknown_stations_are_missing_from_the_answer(client: Client):
    reply = client.call("query_station_status", {"StationIDs": ["", "x", "99999999999999999999", "313744932^sx", "²"]})
    assert reply.ret == "0"
    assert not lowered(reply.data)["stationstatusinfos"]


def test_an_increment_holds_what_changed_since_then(client: Client, time: Time):
    slots = NATION.slots_of(client.platform.dialect.name)
    changed = int((NATION.modified_at(slots, NOW) >= 1_795_104_000).sum())
    assert 0 < changed < len(slots) / 3
    for last_query_time in ("2026-11-20 00:00:00", "2026-11-20 0:0:0"):
        assert client.page(1, 50, last_query_time)["itemsize"] == changed
    assert client.page(1, 50, "2026-11-25 13:00:00")["itemsize"] == 0


def test_a_page_beyond_the_end(client: Client):
    last = client.page(1, 50)["pagecount"]
    page = client.page(last + 3, 50)
    assert page["pageno"] == last + 3
    if client.platform.dialect.name == "wancheng":
        assert page["stationinfos"] == client.page(1, 50)["stationinfos"]
    else:
        assert not page["stationinfos"]


def test_too_large_a_page(client: Client):
    reply = client.call("query_stations_info", {"PageNo": 1, "PageSize": 101})
    if client.platform.dialect.name == "wancheng":
        data = lowered(reply.data)
        assert len(data["stationinfos"]) == 50
        assert data["pagecount"] == -(-data["itemsize"] // 50)
    else:
        assert reply.ret == "4004"


def test_ignoring_page_no_is_a_switch(time: Time):
    client = client_of("yunpu", time, ignores_page_no=True)
    first, second = client.page(1, 10), client.page(2, 10)
    assert first["pagecount"] > 2
    assert first["stationinfos"] == second["stationinfos"]


# ------------------------------------------------------------------------------------------------------------- dialects


@pytest.mark.parametrize("name", ["teld", "stategrid"])
def test_some_refuse_a_lower_case_signature(time: Time, name: str):
    client = client_of(name, time)
    client.sig = str.lower
    assert client.call("query_stations_info", {}).ret == "4001"


def test_csg_speaks_lower_case_signatures_only(time: Time):
    client = client_of("csg", time)
    sig = client.call("query_stations_info", {}).envelope["Sig"]
    assert sig == sig.lower()
    client.sig = str.upper
    refusal = client.call("query_stations_info", {})
    assert refusal.ret == "4001"
    assert "Data" not in refusal.envelope


def test_csg_writes_ids_small_in_statuses_and_powers_as_text(time: Time):
    client = client_of("csg", time)
    assert client.login().data["TokenAvailableTime"] == 7200.000012
    row = client.call("query_stations_info", {"PageSize": 1}).data["StationInfos"][0]
    assert isinstance(row["EquipmentInfos"][0]["ConnectorInfos"][0]["Power"], str)
    data = client.call("query_station_status", {"StationIDs": [row["StationID"]]}).data
    info = data["StationStatusInfos"][0]
    assert set(info) == {"stationID", "ConnectorStatusInfos"}
    assert set(info["ConnectorStatusInfos"][0]) == {"connectorID", "Status"}


def test_starcharge_kills_older_tokens(time: Time):
    client = client_of("starcharge", time)
    older = client.token
    client.login()
    assert client.call("query_stations_info", {}).ret == "0"
    client.token = older
    assert client.call("query_stations_info", {}).ret == "4002"


def test_starcharge_writes_positions_as_text_and_has_long_secrets(time: Time):
    client = client_of("starcharge", time)
    row = client.call("query_stations_info", {}).data["StationInfos"][0]
    assert isinstance(row["StationLng"], str)
    assert len(client.secrets.operator_secret) == len(client.secrets.sig_secret) == 32
    assert len(row["EquipmentInfos"][0]["ConnectorInfos"][0]["ConnectorID"]) == 26


def test_yilaite_repeats_its_token_until_it_expires(time: Time):
    client = client_of("yilaite", time)
    first = client.token
    time.at += 7000
    assert client.login().data["TokenAvailableTime"] == 200
    assert client.token == first
    time.at += 300
    client.login()
    assert client.token != first
    assert client.call("query_stations_info", {}).envelope["OperatorID"] == "MAHUB0001"


def test_stategrid_writes_ret_and_total_as_text_and_null_on_errors(time: Time):
    client = client_of("stategrid", time)
    row = client.call("query_stations_info", {}).data["StationInfos"][0]
    reply = client.call("query_station_status", {"StationIDs": [row["StationID"]]})
    assert reply.envelope["Ret"] == "0"
    assert reply.data["Total"] == "1"
    refusal = client.call("query_station_status", {"StationIDs": []}).envelope
    assert (refusal["Ret"], refusal["Data"], refusal["Sig"]) == ("4004", None, None)


def test_naerchong_writes_small_keys_is_busy_at_times_and_knows_four_statuses(time: Time):
    client = client_of("naerchong", time)
    assert set(client.call("query_stations_info", {}).envelope) == {"ret", "msg", "data", "sig"}
    rets = Counter(client.call("query_stations_info", {"PageSize": 1}).ret for _ in range(194))
    assert rets["-1"] == rets["500"] == 1
    slots = NATION.slots_of("naerchong")
    ids = [row["stationid"] for row in client.stations() if row["stationid"]]
    seen = set()
    for start in range(0, len(ids), 50):
        data = client.call("query_station_status", {"StationIDs": ids[start : start + 50]}).data
        seen |= {gun["status"] for info in data["stationStatusInfos"] for gun in info["connectorStatusInfos"]}
    assert seen == {0, 1, 3, 255}
    assert {2, 4} <= set(NATION.statuses(slots, NOW).status.tolist())


def test_wancheng_writes_null_for_nothing(time: Time):
    client = client_of("wancheng", time)
    rows = client.stations()
    assert any(row["remark"] is None for row in rows)
    assert all(row["serialversionuid"] == 1 for row in rows)
    assert all(int(row["stationid"]) > 2**53 for row in rows if row["stationid"])
    assert client.call("query_station_status", {"StationIDs": ["x"]}).data["StationStatusInfos"] is None


def test_tewate_is_strict_about_http_and_time_and_writes_integers_as_text(time: Time):
    client = client_of("tewate", time)
    stale = sealed({}, client.secrets, timestamp="20261125125400")
    assert client.send("query_stations_info", stale).ret == "4003"
    assert client.send("query_stations_info", b"{").http_status == 400
    assert client.send("query_stations_info", sealed({}, client.secrets, operator_id="X")).http_status == 401
    rows = client.stations()
    assert all(row["supportorder"] in {"0", "1", None} for row in rows if "supportorder" in row)
    assert any(isinstance(row.get("pictures"), str) and "," in row["pictures"] for row in rows)


def test_yunpu_spells_its_own_way(time: Time):
    client = client_of("yunpu", time)
    row = client.call("query_stations_info", {}).data["StationInfos"][0]
    assert {"BusinetHours", "payMent"} <= set(row)
    refusal = client.call("query_stations_info", {"PageNo": 0}).envelope
    assert (refusal["Data"], refusal["Sig"]) == ({}, None)


# -------------------------------------------------------------------------------------------------- published vectors

VECTOR_SECRETS = Secrets("1234567890abcdef", "1234567890abcdef", "1234567890abcdef", "1234567890abcdef")


def vector_platform(dialect: Dialect, time: Time) -> CecPlatform:
    return CecPlatform(replace(dialect, call=VECTOR_SECRETS), NATION, time, hub_operator_id="123456789")


def test_the_published_query_token_request_gets_a_token(time: Time):
    client = Client(vector_platform(BY_NAME["teld"], time))
    reply = client.send(
        "query_token",
        {
            "OperatorID": "123456789",
            "Data": "mYvffpNoFf4E/ZTC1tOw41TC5OlkEobfAYCm5N8hEusaLUaUIqOrXtdbMrSck0DSmfM7mRuOGMoCQzH0nWPGuw==",
            "TimeStamp": "20180120165755",
            "Seq": "0001",
            "Sig": "D2D584A14F3F284445DF85D0E8C0697C",
        },
    )
    assert reply.data["SuccStat"] == 0


def test_the_published_query_stations_info_request_gets_its_page(time: Time):
    client = Client(vector_platform(BY_NAME["yunpu"], time))
    reply = client.send(
        "query_stations_info",
        {
            "OperatorID": "123456789",
            "Data": "X9a+F3ql9vfyO5tcQV4srGaZm116ly2hAhG1fc0n+TMshLTw1Ax/8AT0NpZRvEhz"
            "XPqLeD1n3cVywfU+WScy7a6M9flwrOkJC5QIsp2RlFE=",
            "TimeStamp": "20180228173314",
            "Seq": "0001",
            "Sig": "407FED90C92965C8E456535A72B83F80",
        },
    )
    assert (reply.data["PageNo"], len(reply.data["StationInfos"])) == (2, 1)
    assert reply.data["ItemSize"] == len(NATION.slots_of("yunpu"))


# --------------------------------------------------------------------------------------------------------- environment


def test_the_environment_names_every_secret_of_both_directions():
    names = environment("http://127.0.0.1:1")
    assert len(names) == 9 * 9 + 2
    assert names["TELD_URL"] == "http://127.0.0.1:1/teld/evcs/v20161110"
    for dialect in DIALECTS:
        for direction, secrets in (("CALL", dialect.call), ("SERVE", dialect.serve)):
            prefix = f"{dialect.name.upper()}_{direction}_"
            assert names[prefix + "DATA_SECRET"] == secrets.data_secret
            assert len(secrets.data_secret) == len(secrets.data_secret_iv) == 16
            assert {len(secrets.operator_secret), len(secrets.sig_secret)} <= {16, 32}
    assert len({value for name, value in names.items() if "SECRET" in name}) == 72


def test_operator_ids_have_nine_characters_and_are_their_own():
    ids = [dialect.operator_id for dialect in DIALECTS]
    assert {len(operator_id) for operator_id in ids} == {9}
    assert len(set(ids)) == 9


def test_an_answer_is_what_the_cipher_says(time: Time):
    client = client_of("teld", time)
    reply = client.call("query_station_status", {"StationIDs": ["x"]})
    secrets = client.secrets
    assert reply.envelope["Data"] == encrypt_data(
        orjson.dumps({"Total": 0, "StationStatusInfos": []}),
        secrets.data_secret.encode(),
        secrets.data_secret_iv.encode(),
    )
