"""Profiles: every shipped one loads, the blueprint is complete, a mistake is named, and a tenth operator is a file."""

import asyncio
import json
import re
import socket
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn

from app.errors import SettingsError
from app.model.availability import Availability
from app.model.clock import ManualClock
from app.model.datum import Datum
from app.settings import read_settings
from app.wiring import open_hub
from indexers.base import AvailabilityFeed, FeedContext, InboundFeed, StationFeed
from indexers.feeds.cec102.crypto import decrypt_data, encrypt_data, sign_request
from indexers.feeds.cec102.feed import make_feed
from indexers.feeds.cec102.profile import Cec102Profile, call_keys, read_cec102_profile
from indexers.pipeline import run_full, run_status
from indexers.profiles import SHIPPED, list_profiles, load_profiles
from tests.unit.feeds.cec102.platform import IV, KEY, SIG_KEY, MemoryLedger, Platform, table

OPERATORS = {
    "teld": "395815801",
    "starcharge": "313744932",
    "stategrid": "MA002TMQX",
    "csg": "MA5DT8Q54",
    "wancheng": "MA59J8YL8",
    "naerchong": "MA4KLMAK4",
    "tewate": "MASBX0TWT",
    "yilaite": "MASBX0YLT",
    "yunpu": "MASBX0YPC",
}
BLUEPRINT = SHIPPED / "_blueprint.toml"
VARIABLE = re.compile(r"\$\{(\w+)\}")


def environment_of(path: Path) -> dict[str, str]:
    """Every variable that the file asks for."""
    names = set(VARIABLE.findall(path.read_text(encoding="utf-8"))) - {"VARIABLE"}
    return {
        name: "https://operator.example/evcs/v1" if name.endswith("_URL") else f"{len(name):016d}" for name in names
    }


def read(name: str, table_: dict[str, Any]) -> Cec102Profile:
    return read_cec102_profile(name, table_)


# ----------------------------------------------------------------------------------------------------------- shipped


def test_the_nine_operators_are_shipped() -> None:
    shipped = [name for name, profile in _shipped() if profile["kind"] == "cec102"]
    assert sorted(shipped) == sorted(OPERATORS)


def _shipped() -> list[tuple[str, dict[str, Any]]]:
    return [(name, tomllib.loads((SHIPPED / f"{name}.toml").read_text(encoding="utf-8"))) for name in list_profiles()]


@pytest.mark.parametrize(("name", "party"), OPERATORS.items())
async def test_a_shipped_profile_makes_a_feed_of_every_capability(name: str, party: str) -> None:
    path = SHIPPED / f"{name}.toml"
    ((loaded, profile),) = load_profiles([name], [], environment_of(path))
    feed = make_feed(profile, FeedContext(feed=loaded, clock=ManualClock(), ledger=MemoryLedger()))
    try:
        assert (feed.feed, feed.party) == (name, party)
        assert isinstance(feed, StationFeed)
        assert isinstance(feed, AvailabilityFeed)
        assert isinstance(feed, InboundFeed)
        assert feed.inbound_party == party
        assert feed.has_live_status
        assert feed.schedule.full_at == "05:30"
    finally:
        await feed.close()


@pytest.mark.parametrize("name", OPERATORS)
def test_no_secret_and_no_address_stands_in_a_shipped_profile(name: str) -> None:
    profile = tomllib.loads((SHIPPED / f"{name}.toml").read_text(encoding="utf-8"))
    for section, keys in (("call", ("base_url",)), ("call", _SECRETS), ("serve", _SECRETS)):
        for key in keys:
            assert VARIABLE.fullmatch(profile[section][key]), f"{section}.{key}"
    assert len(environment_of(SHIPPED / f"{name}.toml")) == 9


_SECRETS = ("operator_secret", "data_secret", "data_secret_iv", "sig_secret")


@pytest.mark.parametrize("name", OPERATORS)
def test_each_variable_that_is_not_set_is_named_with_its_key_and_file(name: str) -> None:
    environment = environment_of(SHIPPED / f"{name}.toml")
    for variable in environment:
        for value in ({}, {variable: ""}):
            wanting = {key: text for key, text in environment.items() if key != variable} | value
            with pytest.raises(SettingsError) as caught:
                load_profiles([name], [], wanting)
            key = "call.base_url" if variable.endswith("_URL") else _key_of(variable)
            assert f"{name}.toml: {key} needs the environment variable {variable}" in str(caught.value)


def _key_of(variable: str) -> str:
    _, section, key = variable.lower().split("_", 2)
    return f"{section}.{key}"


# --------------------------------------------------------------------------------------------------------- blueprint


def _blueprint() -> dict[str, Any]:
    """The blueprint with every key that it only mentions filled in."""
    lines = BLUEPRINT.read_text(encoding="utf-8").splitlines()
    return tomllib.loads("\n".join(re.sub(r"^# (?=[a-z_]+ = )", "", line) for line in lines))


def _tables(kind: Any) -> dict[str, type[msgspec.Struct]]:
    """The tables of a profile by their name, the whole file under ''."""
    found: dict[str, type[msgspec.Struct]] = {"": kind}
    hint = msgspec.inspect.type_info(kind)
    assert isinstance(hint, msgspec.inspect.StructType)
    for field in hint.fields:
        choices = field.type.types if isinstance(field.type, msgspec.inspect.UnionType) else (field.type,)
        for choice in choices:
            if isinstance(choice, msgspec.inspect.StructType):
                found[field.name] = choice.cls
    return found


def test_the_blueprint_lists_every_key_there_is() -> None:
    blueprint = _blueprint()
    for name, kind in _tables(Cec102Profile).items():
        listed = blueprint[name] if name else blueprint
        assert sorted(listed) == sorted(field.name for field in msgspec.structs.fields(kind)), name


def test_the_blueprint_loads_when_it_is_copied_and_filled(tmp_path: Path) -> None:
    for name, text in (
        ("plain", BLUEPRINT.read_text(encoding="utf-8")),
        ("full", re.sub(r"(?m)^# (?=[a-z_]+ = )", "", BLUEPRINT.read_text(encoding="utf-8"))),
    ):
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
        ((_, profile),) = load_profiles([name], [tmp_path], environment_of(BLUEPRINT))
        assert read(name, profile).hub_operator_id == "MAHUB0001"


def test_what_the_blueprint_shows_is_the_default_unless_it_says_needed() -> None:
    blueprint = tomllib.loads(BLUEPRINT.read_text(encoding="utf-8"))
    for name in ("dialect", "limits", "status", "schedule", "rights"):
        kind = _tables(Cec102Profile)[name]
        shown = msgspec.convert({**blueprint[name], "full_at": None} if name == "schedule" else blueprint[name], kind)
        assert shown == kind(), name


def test_a_blueprint_is_no_profile() -> None:
    assert "_blueprint" not in list_profiles()
    with pytest.raises(SettingsError, match="no feed profile '_blueprint'"):
        load_profiles(["_blueprint"], [], environment_of(BLUEPRINT))


# ---------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"titel": "x"}, "titel is not a key; the keys there are call, dialect, hub_operator_id"),
        ({"dialect": {"sigcase": "lower"}}, "dialect.sigcase is not a key; the keys there are all_stations, bearer"),
        ({"serve": {**table()["serve"], "token": 1}}, "serve.token is not a key; the keys there are data_secret"),
        ({"limits": {"pagesize": 1}}, "limits.pagesize is not a key"),
        ({"rights": {"may_publish": True}}, "rights.may_publish is not a key"),
        ({"schedule": {"full_every": 1}}, "schedule.full_every is not a key"),
        ({"call": {"base_url": "http://x.example"}}, "call.operator_secret is missing"),
        ({"serve": {}}, "serve.operator_secret is missing"),
        ({"title": " "}, "title must not be empty"),
        ({"party": "39581-5801"}, "party is '39581-5801'"),
        ({"party": ""}, "party"),
        ({"hub_operator_id": "枢纽"}, "hub_operator_id"),
        (
            {"call": {**table()["call"], "base_url": "operator.example/evcs"}},
            "call.base_url is 'operator.example/evcs'",
        ),
        ({"call": {**table()["call"], "base_url": "https://x.example:99999/"}}, "call.base_url is not an address"),
        ({"call": {**table()["call"], "status_url": "ftp://x.example"}}, "call.status_url"),
        ({"call": {**table()["call"], "data_secret": "short"}}, "call.data_secret must be 16, 24 or 32 bytes long"),
        ({"call": {**table()["call"], "data_secret_iv": "short"}}, "call.data_secret_iv must be 16 bytes long"),
        ({"call": {**table()["call"], "sig_secret": ""}}, "call.sig_secret must not be empty"),
        ({"call": {**table()["call"], "key_decoding": "hex", "data_secret": "xyz"}}, "call.data_secret is not hex"),
        ({"call": {**table()["call"], "key_decoding": "utf8"}}, "call.key_decoding"),
        ({"serve": {**table()["serve"], "operator_id": "a b"}}, "serve.operator_id"),
        ({"serve": {**table()["serve"], "token_ttl_s": 10}}, "serve.token_ttl_s is 10; it must be from 60 to 604800"),
        ({"serve": {**table()["serve"], "timestamp_window_s": -1}}, "serve.timestamp_window_s"),
        ({"dialect": {"sig_case": "Lower"}}, "dialect.sig_case"),
        ({"dialect": {"datum": "GCJ-02"}}, "dialect.datum"),
        ({"limits": {"page_size": 101}}, "limits.page_size is 101; it must be from 1 to 100"),
        ({"limits": {"status_page_size": 51}}, "limits.status_page_size is 51; it must be from 1 to 50"),
        ({"limits": {"requests_per_s": 0}}, "limits.requests_per_s"),
        ({"limits": {"retries": "3"}}, "limits.retries"),
        ({"status": {"stale_after_s": 0}}, "status.stale_after_s"),
        ({"schedule": {"full_at": "5:30"}}, "schedule.full_at is '5:30'"),
        ({"schedule": {"full_at": "24:00"}}, "schedule.full_at"),
        ({"schedule": {"status_every_s": 0}}, "schedule.status_every_s"),
        ({"schedule": {"status_every_s": "never"}}, "schedule.status_every_s"),
        ({"schedule": {"full_every_s": "off"}}, "schedule.full_every_s"),
        ({"schedule": 300}, "schedule"),
    ],
)
def test_a_mistake_is_named_with_its_key_and_profile(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read("teld", table(**changes))
    assert str(caught.value).startswith("profile teld: ")
    assert told in str(caught.value)


@pytest.mark.parametrize("key", ["title", "party", "hub_operator_id", "call"])
def test_a_needed_key_that_is_missing_is_named(key: str) -> None:
    wanting = {name: value for name, value in table().items() if name != key}
    with pytest.raises(SettingsError, match=f"profile teld: {key} is missing"):
        read("teld", wanting)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind = ", "tenth.toml cannot be read"),
        ("title = 'x'", "tenth.toml: kind is missing"),
        ("kind = 'cec102'\ntitle = '${no-name}'", "tenth.toml: title asks for ${no-name}, which is no name"),
        (
            "kind = 'cec102'\n[call]\nbase_url = '${NOT_SET}'",
            "tenth.toml: call.base_url needs the environment variable NOT_SET",
        ),
        ("kind = 'cec102'\nlist = [{x = '${NOT_SET}'}]", "tenth.toml: list[0].x needs"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_named(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "tenth.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load_profiles(["tenth"], [tmp_path], {})
    assert told in str(caught.value)


@pytest.mark.parametrize("name", ["nobody", "../teld", "TELD", "", "_blueprint", "a" * 41])
def test_a_profile_that_is_not_there_is_an_error_that_lists_those_that_are(name: str) -> None:
    with pytest.raises(SettingsError, match="the profiles are csg, naerchong"):
        load_profiles([name], [], {})


def test_a_feed_named_twice_is_an_error() -> None:
    with pytest.raises(SettingsError, match="named twice"):
        load_profiles(["teld", "teld"], [], environment_of(SHIPPED / "teld.toml"))


def test_secrets_are_never_printed() -> None:
    profile = read("teld", table())
    printed = repr(profile) + repr(call_keys("teld", profile)) + str(profile)
    assert not [
        secret for secret in (KEY, IV, SIG_KEY, b"theirs", b"hub-operator-secret") if secret.decode() in printed
    ]


# ------------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("decoding", "secret", "key"),
    [
        ("raw", KEY.decode(), KEY),
        ("raw", "0123456789ABCDEF0123456789ABCDEF", b"0123456789ABCDEF0123456789ABCDEF"),
        ("hex", "30313233343536373839414243444546", KEY),
        ("base64", "MDEyMzQ1Njc4OUFCQ0RFRg==", KEY),
    ],
)
def test_keys_are_decoded_as_was_agreed(decoding: str, secret: str, key: bytes) -> None:
    call = {**table()["call"], "key_decoding": decoding, "data_secret": secret}
    keys = call_keys("teld", read("teld", table(call=call)))
    assert (keys.data_key, keys.data_iv, keys.sig_key) == (key, IV, SIG_KEY)


def test_intervals_may_be_off() -> None:
    schedule = read("teld", table(schedule={"delta_every_s": "off", "status_every_s": "off"})).schedule
    assert (schedule.delta_every_s, schedule.status_every_s, schedule.full_every_s) == (None, None, 86_400.0)


def test_a_plain_partner_needs_only_what_is_needed() -> None:
    call = {key: value for key, value in table()["call"].items() if key in {"base_url", *_SECRETS}}
    needed = {key: table()[key] for key in ("kind", "title", "party", "hub_operator_id")}
    profile = read("teld", {**needed, "call": call})
    assert profile.serve is None
    assert (profile.limits.page_size, profile.limits.status_page_size, profile.dialect.datum) == (100, 50, Datum.GCJ02)


def test_a_file_in_a_further_folder_wins_over_ours(tmp_path: Path) -> None:
    (tmp_path / "teld.toml").write_text("kind = 'cec102'\ntitle = 'ours'", encoding="utf-8")
    (tmp_path / "Not-A-Name.toml").write_text("", encoding="utf-8")
    assert load_profiles(["teld"], [tmp_path], {}) == [("teld", {"kind": "cec102", "title": "ours"})]
    assert list_profiles([tmp_path]) == list_profiles()


# ---------------------------------------------------------------------------------------------------- a tenth operator

TENTH = """
kind = "cec102"
title = "第十家充电"
party = "MA0000010"
hub_operator_id = "MAHUB0001"

[call]
base_url = "${TENTH_URL}"
operator_secret = "${TENTH_SECRET}"
data_secret = "${TENTH_KEY}"
data_secret_iv = "${TENTH_IV}"
sig_secret = "${TENTH_SIG}"

[serve]
operator_secret = "${TENTH_SECRET}"
data_secret = "${TENTH_KEY}"
data_secret_iv = "${TENTH_IV}"
sig_secret = "${TENTH_SIG}"

[limits]
requests_per_s = 100
"""


@asynccontextmanager
async def listening(platform: Platform) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app = platform.app()
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", log_config=None, access_log=False))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/tenth/evcs/v20191230"
        finally:
            server.should_exit = True
            await task


def push(business: dict[str, Any], seq: str) -> bytes:
    data = encrypt_data(json.dumps(business).encode(), KEY, IV)
    sig = sign_request(SIG_KEY, "MA0000010", data, "20251125000000", seq)
    fields = {"OperatorID": "MA0000010", "Data": data, "TimeStamp": "20251125000000", "Seq": seq, "Sig": sig}
    return json.dumps(fields).encode()


async def test_a_tenth_operator_is_one_new_file(tmp_path: Path) -> None:
    profiles, clock = tmp_path / "profiles", ManualClock()
    profiles.mkdir()
    (profiles / "tenth.toml").write_text(TENTH, encoding="utf-8")
    platform = Platform()
    async with listening(platform) as url:
        environment = {
            "CHARGEGRAPH_DATA_DIR": str(tmp_path / "data"),
            "CHARGEGRAPH_FEEDS": "tenth",
            "CHARGEGRAPH_PROFILES_DIR": str(profiles),
            "TENTH_URL": url,
            "TENTH_SECRET": "tenth secret",
            "TENTH_KEY": KEY.decode(),
            "TENTH_IV": IV.decode(),
            "TENTH_SIG": SIG_KEY.decode(),
        }
        settings = read_settings({key: value for key, value in environment.items() if key.startswith("CHARGEGRAPH_")})
        async with open_hub(settings, environment, clock) as hub:
            (feed,) = hub.feeds
            assert isinstance(feed, StationFeed)
            assert isinstance(feed, AvailabilityFeed)

            report = await run_full(feed, hub.ports)
            assert (report.error, report.incomplete, report.indexed) == (None, None, 5)
            (found,) = await hub.ports.index.find_stations(["tenth:MA0000010:0003"])
            assert found is not None
            assert (found.name, found.evses[0].id) == ("站3", "tenth:MA0000010:0003001")

            report = await run_status(feed, hub.ports)
            assert (report.error, report.statuses) == (None, 5)
            (status,) = hub.ports.board.find(["tenth:MA0000010:0003001"])
            assert status is not None
            assert status.availability is Availability.AVAILABLE

            clock.advance(1)
            inbound = hub.inbound()["MA0000010"]
            asked = push({"OperatorID": "MA0000010", "OperatorSecret": "tenth secret"}, "0001")
            reply = await inbound.answer("query_token", asked, None)
            granted = json.loads(decrypt_data(msgspec.json.decode(reply.body)["Data"], KEY, IV))
            pushed = push({"ConnectorStatusInfo": {"ConnectorID": "0003001", "Status": 3}}, "0002")
            reply = await inbound.answer("notification_stationStatus", pushed, f"Bearer {granted['AccessToken']}")
            assert reply.batch is not None
            await hub.runner.take_push("tenth", reply.batch)
            (status,) = hub.ports.board.find(["tenth:MA0000010:0003001"])
            assert status is not None
            assert status.availability is Availability.CHARGING
    assert platform.calls[0] == ("query_token", {"OperatorID": "MAHUB0001", "OperatorSecret": "tenth secret"})
