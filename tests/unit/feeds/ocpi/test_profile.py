"""A profile with a mistake fails at once and names the key."""

from typing import Any

import pytest

from app.errors import SettingsError
from indexers.feeds.ocpi.profile import read_profile
from indexers.profiles import load_profiles

GOOD: dict[str, Any] = {"kind": "ocpi", "title": "Fastned", "url": "https://ocpi.example/cpo/2.2.1/locations"}


def test_the_least_profile():
    profile = read_profile("fastned", GOOD)
    assert (profile.version, profile.first_encoding, profile.has_live_status) == ("2.2.1", "base64", True)
    assert profile.stale_after_s > profile.schedule.full_every_s


def test_the_version_says_how_the_token_is_sent_unless_stated():
    assert read_profile("f", {**GOOD, "version": "2.1.1"}).first_encoding == "raw"
    assert read_profile("f", {**GOOD, "version": "2.1.1", "token_encoding": "base64"}).first_encoding == "base64"


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"titel": "x"}, "titel"),
        ({"title": " "}, "title"),
        ({"url": "ftp://x.example/"}, "url"),
        ({"url": "https://me:secret@x.example/"}, "url"),
        ({"url": "file:"}, "url"),
        ({"url": "file:a.json", "token": "x"}, "token"),
        ({"token": "  "}, "token"),
        ({"token": "密", "version": "2.1.1"}, "token"),
        ({"token_encoding": "hex"}, "token_encoding"),
        ({"version": "1.0"}, "version"),
        ({"party": "nl fas"}, "party"),
        ({"headers": {"X Bad": "1"}}, "headers.X Bad"),
        ({"headers": {"X-Bad": "a\r\nb: c"}}, "headers.X-Bad"),
        ({"limits": {"requests_per_s": 0}}, "limits.requests_per_s"),
        ({"limits": {"speed": 1}}, "limits.speed"),
        ({"schedule": {"full_every": 1}}, "schedule.full_every"),
        ({"rights": {"may_publish": True}}, "rights.may_publish"),
        ({"rights": {"offered_to_all": ["find"]}}, "rights.offered_to_all"),
        ({"rights": {"offered_to_all": ["status"]}}, "discover is missing"),
        ({"rights": {"offered_to_all": ["discover", "reserve"]}}, "reserve needs status"),
        ({"datum": "WGS-84"}, "datum"),
        ({"page_limit": 0}, "page_limit"),
        ({"stale_after_s": 0}, "stale_after_s"),
    ],
)
def test_a_mistake_names_its_key(change: dict[str, Any], key: str):
    with pytest.raises(SettingsError) as caught:
        read_profile("fastned", {**GOOD, **change})
    assert "fastned" in str(caught.value)
    assert key in str(caught.value)


def test_a_missing_key_is_named():
    with pytest.raises(SettingsError, match="url"):
        read_profile("fastned", {"kind": "ocpi", "title": "x"})


def test_the_sandbox_profile_is_right():
    environment = {"OCPI_SANDBOX_URL": "http://127.0.0.1:1/ocpi/2.2.1/locations", "OCPI_SANDBOX_TOKEN": "made-up"}
    ((name, table),) = load_profiles(["ocpi_sandbox"], [], environment)
    profile = read_profile(name, table)
    assert (profile.party, profile.token) == ("HKSBX", "made-up")
    assert profile.stale_after_s > profile.schedule.full_every_s
