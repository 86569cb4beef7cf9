"""What may stand in a Redis URL, what a script may do, and that no error of the client library passes the border."""

import inspect

import pytest
import redis.exceptions
from redis.exceptions import RedisError

from app.errors import SettingsError, UnavailableError
from app.redis import Redis, load_scripts, parse_endpoint


@pytest.mark.parametrize(
    ("text", "url", "replicas", "acknowledging"),
    [
        ("redis://h", "redis://h", 0, 0),
        ("redis://h:7000/3?replicas=1", "redis://h:7000/3", 1, 1),
        ("redis://:p%40ss@h/0?replicas=2", "redis://:p%40ss@h/0", 2, 2),
        ("rediss://h/?ssl_cert_reqs=none&replicas=3", "rediss://h/?ssl_cert_reqs=none", 3, 2),
        ("unix:///run/redis.sock?db=2&replicas=5", "unix:///run/redis.sock?db=2", 5, 3),
    ],
)
def test_a_url_says_where_the_server_is_and_how_many_replicas_it_has(
    text: str, url: str, replicas: int, acknowledging: int
) -> None:
    endpoint = parse_endpoint(text)
    assert (endpoint.url, endpoint.replicas, endpoint.acknowledging) == (url, replicas, acknowledging)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h:6379",
        "http://:secret@h",
        "redis://:secret@h:0",
        "redis://:secret@h:99999",
        "redis://:secret@[h",
        "redis://:secret@h/none",
        "redis://:secret@h/0?replicas=",
        "redis://:secret@h/0?replicas=-1",
        "redis://:secret@h/0?replicas=one",
        "redis://:secret@h/0?replicas=1000",
        "redis://:secret@h/0?retry_on_timeout=yes",
        "redis://:secret@h/0?nonsense",
        "redis://:secret@h/0?ssl_nonsense=1",
    ],
)
def test_a_url_that_is_wrong_is_refused_without_telling_its_password(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_endpoint(text)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("package", ["app.live", "app.reservations"])
def test_every_script_says_what_it_may_do(package: str) -> None:
    scripts = load_scripts(package)
    assert scripts
    for text in scripts.values():
        assert text.splitlines()[0] in {"#!lua", "#!lua flags=no-writes"}
        assert "local function tell" in text


# What a client for clusters and a pool shared by forked processes raise; we use neither.
_OF_CLUSTERS_AND_FORKS = (
    redis.exceptions.ChildDeadlockedError,
    redis.exceptions.IncorrectPolicyType,
    redis.exceptions.InvalidPipelineStack,
    redis.exceptions.RedisClusterException,
)


def test_every_error_of_the_client_library_is_of_the_kinds_that_become_ours() -> None:
    errors = [
        each
        for each in vars(redis.exceptions).values()
        if inspect.isclass(each) and issubclass(each, Exception)
        if not issubclass(each, _OF_CLUSTERS_AND_FORKS)
    ]
    assert len(errors) > 20
    assert [error for error in errors if not issubclass(error, RedisError | OSError)] == []


async def test_nothing_is_asked_before_it_is_open() -> None:
    server = Redis(parse_endpoint("redis://127.0.0.1:1"), {}, durable=True)
    with pytest.raises(UnavailableError, match="not open"):
        await server.run("any")
    with pytest.raises(UnavailableError):
        await server.open()
    await server.close()
