"""Envelopes and Link headers."""

import pytest

from app.errors import FeedProtocolError
from indexers.feeds.ocpi.pull import find_next_link, read_envelope


@pytest.mark.parametrize(
    "body",
    [
        b"[1]",
        b'\xef\xbb\xbf{"data": [1]}',
        b'{"data": [1], "status_code": 1000}',
        b'{"data": [1], "status_code": "Success"}',
        b'{"status_code": "1000", "data": {"items": [1]}}',
        b'{"locations": [1]}',
        '{"data": [1]}'.encode("utf-16"),
    ],
)
def test_roots(body: bytes):
    assert read_envelope(body) == ([1], None)


@pytest.mark.parametrize("body", [b'{"status_code": 1000, "data": null}', b'{"status_code": "1000"}', b'{"data": []}'])
def test_nothing_to_tell(body: bytes):
    assert read_envelope(body) == ([], None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"7",
        b'"x"',
        b"{}",
        b'{"data": null}',
        b'{"data": 3}',
        b'{"data": [1], "status_code": 2001, "status_message": "no"}',
        b'{"data": [1], "status_code": "3000"}',
        b"[" * 100_000,
        b'{"data": [1]',
    ],
)
def test_what_is_no_list_is_a_protocol_error(body: bytes):
    with pytest.raises(FeedProtocolError):
        read_envelope(body)


def test_one_broken_character_does_not_lose_the_page():
    locations, _ = read_envelope(b'[{"id": "1", "name": "a\xff\x01", "latitude": NaN, "note": "\\ud800"}]')
    assert locations[0]["id"] == "1"
    assert locations[0]["latitude"] is None


def test_a_next_page_that_ocpi_does_not_know_makes_the_answer_incomplete():
    locations, incomplete = read_envelope(b'{"items": [1], "next": "abc"}')
    assert locations == [1]
    assert incomplete is not None


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ('<https://a.example/l?offset=50>; rel="next"', "https://a.example/l?offset=50"),
        ("<https://a.example/l>;rel=next", "https://a.example/l"),
        ('</l>; title="x, y"; REL="last next"', "/l"),
        ('<https://a.example/1>; rel="prev", <https://a.example/3>; rel="next"', "https://a.example/3"),
        ('<https://a.example/l>; rel="prev"', None),
        ('<https://a.example/l>; rel="nextish"', None),
        ("https://a.example/l", None),
        ("", None),
        ("<" * 50_000, None),
    ],
)
def test_the_next_link(header: str, target: str | None):
    assert find_next_link(header) == target
