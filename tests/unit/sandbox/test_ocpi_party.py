import base64
from collections import Counter
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import orjson
import pytest

from indexers.sandbox.dialects import OCPI_TOKEN
from indexers.sandbox.nation import Dirt, Nation
from indexers.sandbox.ocpi_party import OcpiAnswer, OcpiParty

NOW = 1_795_582_800.0  # 2026-11-25 05:00 UTC
URL = "http://127.0.0.1:1/ocpi/2.2.1/locations"
NATION = Nation(20261125, 6000)
PARTY = OcpiParty(NATION, lambda: NOW)
TOKEN = "Token " + base64.b64encode(OCPI_TOKEN.encode()).decode()


def data_of(answer: OcpiAnswer) -> Any:
    assert answer.http_status == 200
    envelope = orjson.loads(answer.body)
    assert envelope["status_code"] == 1000
    return envelope["data"]


def crawl(query: dict[str, str]) -> list[dict[str, Any]]:
    """Follow rel="next" to the end, as a receiver does."""
    found = []
    while True:
        answer = PARTY.locations(URL, query, TOKEN)
        found += data_of(answer)
        link = answer.headers.get("Link")
        if link is None:
            assert answer.headers["X-Total-Count"] == str(len(found))
            return found
        target = link.partition(";")[0].strip("<>")
        assert target.startswith(URL + "?")
        assert link.endswith('; rel="next"')
        query = dict(parse_qsl(urlsplit(target).query))


@pytest.mark.parametrize(
    "authorization", ["", "Token", f"Token {OCPI_TOKEN}", f"Bearer {TOKEN[6:]}", "Token ☂", TOKEN + "x"]
)
def test_without_its_token_nothing_is_told(authorization: str):
    for answer in (PARTY.locations(URL, {}, authorization), PARTY.location("SBX000000G0", authorization)):
        assert answer.http_status == 401
        assert "data" not in orjson.loads(answer.body)


def test_the_crawl_gives_every_location_once_but_repeated_rows():
    slots = NATION.slots_of("ocpi_sandbox")
    locations = crawl({"limit": "37"})
    assert len(locations) == len(slots)
    repeats = int((NATION.dirt[slots] == Dirt.REPEATED_STATION).sum())
    ids = Counter(location["id"] for location in locations)
    assert sum(ids.values()) - len(ids) == pytest.approx(repeats, abs=1)


def test_the_limit_is_capped():
    answer = PARTY.locations(URL, {"limit": "1000"}, TOKEN)
    assert len(data_of(answer)) == int(answer.headers["X-Limit"]) == 100


@pytest.mark.parametrize(
    "query", [{"offset": "-1"}, {"limit": "x"}, {"offset": "9" * 40}, {"date_from": "now"}, {"date_to": ""}]
)
def test_bad_parameters_are_refused(query: dict[str, str]):
    answer = PARTY.locations(URL, query, TOKEN)
    assert answer.http_status == 400
    assert orjson.loads(answer.body)["status_code"] == 2001


def test_dates_cut_the_list_in_two():
    middle = "2026-11-25T04:40:00Z"
    newer, older = crawl({"date_from": middle}), crawl({"date_to": middle})
    assert newer
    assert older
    assert len(newer) + len(older) == len(crawl({}))
    assert all(location["last_updated"].removesuffix("Z") >= middle.removesuffix("Z") for location in newer)
    assert all(location["last_updated"].removesuffix("Z") < middle.removesuffix("Z") for location in older)


def test_a_location_is_never_older_than_its_evses():
    for location in crawl({}):
        for evse in location["evses"]:
            assert evse["last_updated"] <= location["last_updated"].removesuffix("Z") + "Z"


def test_a_single_location_is_that_of_the_list():
    for listed in crawl({})[:20]:
        assert data_of(PARTY.location(listed["id"], TOKEN)) == listed


@pytest.mark.parametrize("unknown", ["", "x", "SBX", "SBX999999G0", "SBX000000G9", "SBX00000²G0"])
def test_an_unknown_location_is_2003(unknown: str):
    answer = PARTY.location(unknown, TOKEN)
    assert (answer.http_status, orjson.loads(answer.body)["status_code"]) == (404, 2003)


def test_the_party_has_its_share_of_dirt_and_most_is_right():
    locations = crawl({})
    evses = [evse for location in locations for evse in location["evses"]]
    connectors = [connector for evse in evses for connector in evse["connectors"]]
    powers = [connector.get("max_electric_power") for connector in connectors]
    assert 0.1 < np.mean([power is None for power in powers]) < 0.35
    assert 0.1 < np.mean([power is not None and power < 1000 for power in powers]) < 0.4
    assert 0.05 < np.mean([isinstance(location["coordinates"]["latitude"], float) for location in locations]) < 0.2
    assert 0.08 < np.mean([evse["status"].endswith(" ") for evse in evses]) < 0.25
    statuses = Counter(evse["status"].strip() for evse in evses)
    assert set(statuses) <= {
        "AVAILABLE", "CHARGING", "RESERVED", "OUTOFORDER", "UNKNOWN", "INOPERATIVE", "PLANNED", "REMOVED",
    }  # fmt: skip
    assert statuses["AVAILABLE"] > len(evses) / 2
    assert {location["country"] for location in locations if "country" in location} == {"HKG", "MAC", "CHN"}
    assert {connector["standard"] for connector in connectors} >= {"GBT_AC", "GBT_DC", "IEC_62196_T2"}
