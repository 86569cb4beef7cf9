"""Vectors A to F of the reference: the standard's worked example, a partner document's, and one with distinct keys."""

import json

import pytest

from indexers.feeds.cec102.crypto import (
    UndecryptableError,
    decrypt_data,
    encrypt_data,
    sign_request,
    sign_response,
    signature_matches,
)

KEY = b"1234567890abcdef"
A_PLAIN = (
    b'{"total":1,"stationStatusInfo":{"operationID":"123456789","stationID":"111111111111111","connectorStatusInfos":'
    b'{"connectorID":1,"equipmentID":"10000000000000000000001","status":4,"currentA":0,"currentB":0,"currentC":0,'
    b'"voltageA":0,"voltageB":0,"voltageC":0,"soc":10,}}}'
)
A_DATA = (
    "il7B0BSEjFdzpyKzfOFpvg/Se1CP802RItKYFPfSLRxJ3jf0bVl9hvYOEktPAYW2nd7S8MBcyHYyacHKbISq5iTmDzG+ivnR+SZJv3USNTYVMz9rCQVS"
    "xd0cLlqsJauko79NnwQJbzDTyLooYoIwz75qBOH2/xOMirpeEqRJrF/EQjWekJmGk9RtboXePu2rka+Xm51syBPhiXJAq0GfbfaFu9tNqs/e2Vjja/lt"
    "E1M0lqvxfXQ6da6HrThsm5id4ClZFIi0acRfrsPLRixS/IQYtksxghvJwbqOsbIsITail9Ayy4tKcogeEZiOO+4Ed264NSKmk7l3wKwJLAFjCFogBx8G"
    "E3OBz4pqcAn/ydA="
)
B_DATA = "mYvffpNoFf4E/ZTC1tOw41TC5OlkEobfAYCm5N8hEusaLUaUIqOrXtdbMrSck0DSmfM7mRuOGMoCQzH0nWPGuw=="
C_DATA = (
    "uxeKP0ezR5yL8xSg4/ZCDh/N91/u86NXFxd2DrwZVW8zCPYcpl59Twz/yQZ3RaO4rDDrGmkvQignmNEJ+k4PGxdmIC+4fpJ8rU6osSobY+AeA0uueuQ5"
    "+eQiWBL6p6v5XMMm91brtK8yfFELYUWQzVcxABnAwK/+dyxtUhqLIxUpkwTEU/4ktN40df9IzzlLO5uvUknPGYu9yL0pp5w9vdRxmA1RiiTDNCysz6kl"
    "r9bunGV3VJa2qpLcgeZMf/oG"
)
D_DATA = "X9a+F3ql9vfyO5tcQV4srGaZm116ly2hAhG1fc0n+TMshLTw1Ax/8AT0NpZRvEhzXPqLeD1n3cVywfU+WScy7a6M9flwrOkJC5QIsp2RlFE="
E_DATA = "C3z0fu4xW72dJMOsgcVyPrbHOqzQcIwSexeW7b4wPcAV8qQvECycER60lBJpW5v7+Ex6pAYvDgrImQh3fhqEujP4AICBew296s71WAwpOBM="
F_KEY, F_IV, F_SIG_KEY = b"0123456789ABCDEF", b"FEDCBA9876543210", b"ABCDEF0123456789ABCDEF0123456789"
F_DATA = "uMEo1OeTzHwNgDF41Ldb6XS/bSdbK/KW++nhflQbopECAitE+lgB+RB0nL+afZRn"


def test_vector_a_is_the_standards_own_example() -> None:
    assert len(A_PLAIN) == 269
    assert encrypt_data(A_PLAIN, KEY, KEY) == A_DATA
    assert decrypt_data(A_DATA, KEY, KEY) == A_PLAIN
    assert sign_request(KEY, "123456789", A_DATA, "20160729142400", "0001") == "745166E8C43C84D37FFEC0F529C4136F"


def test_vector_b_is_a_token_request() -> None:
    plain = b'{"OperatorID":"123456789",\n"OperatorSecret":"1234567890abcdef"}'
    assert encrypt_data(plain, KEY, KEY) == B_DATA
    assert sign_request(KEY, "123456789", B_DATA, "20180120165755", "0001") == "D2D584A14F3F284445DF85D0E8C0697C"


def test_vector_c_is_a_signed_response() -> None:
    assert sign_response(KEY, "0", "", C_DATA) == "58E52010C7DEE87FE183B0AFA5B2BE30"
    plain = decrypt_data(C_DATA, KEY, KEY)
    assert b"\r\n" in plain
    assert json.loads(plain) == {
        "OperatorID": "123456789",
        "SuccStat": 0,
        "AccessToken": "kVnStIRknCCOBdXgJrmu8rb3pcccifKW2NcQrysKKIzb7iQBxkkjeq3WoGdjgrIL",
        "TokenAvailableTime": 7200,
        "FailReason": 0,
    }


def test_vector_d_is_a_stations_request_with_an_unpadded_date() -> None:
    assert sign_request(KEY, "123456789", D_DATA, "20180228173314", "0001") == "407FED90C92965C8E456535A72B83F80"
    assert json.loads(decrypt_data(D_DATA, KEY, KEY)) == {
        "LastQueryTime": "2016-1-2 12:12:12",
        "PageNo": 2,
        "PageSize": 1,
    }


def test_vector_e_is_a_policy_request() -> None:
    assert sign_request(KEY, "123456789", E_DATA, "20180508162919", "0001") == "92A192D753BBEF609136620FFA7E9069"
    assert json.loads(decrypt_data(E_DATA, KEY, KEY)) == {
        "EquipBizSeq": "123456789201805081628123456",
        "ConnectorID": "3702120244401",
    }


def test_vector_f_has_distinct_keys_and_chinese_text() -> None:
    plain = '{"StationName":"示例充电站","ParkNums":0}'.encode()
    assert encrypt_data(plain, F_KEY, F_IV) == F_DATA
    assert sign_request(F_SIG_KEY, "MA0000001", F_DATA, "20261122101500", "0001") == "8495129A8D79A19E2356C2091A9CB477"
    assert sign_response(F_SIG_KEY, "0", "成功", F_DATA) == "0B49A25F1BDF50A4D726C82AA1B256C6"
    assert sign_response(F_SIG_KEY, "4002", "Token错误", "") == "F882E08E4306427A77FE455F2FF4AC21"


def test_whole_blocks_get_a_block_of_padding() -> None:
    assert encrypt_data(b'{"PageNo":10000}', F_KEY, F_IV) == "2NPcFm40WzdjtPbkNOEMeB9Gd2EvRRNMgpwKiS/qex4="


def test_signatures_are_compared_in_any_case() -> None:
    assert signature_matches("0B49A25F", " 0b49a25f ")
    assert not signature_matches("0B49A25F", "0b49a25e")
    assert not signature_matches("0B49A25F", "签名")


@pytest.mark.parametrize("data", ["", "x", "AAAA", "AAAAAAAAAAAAAAAAAAAAAA==", "数据", F_DATA[:-4]])
def test_damage_is_one_kind_of_error(data: str) -> None:
    with pytest.raises(UndecryptableError):
        decrypt_data(data, F_KEY, F_IV)
