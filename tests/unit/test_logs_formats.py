"""Lines of the log: one object or one line each, of the request that they belong to, and without secrets."""

import json
import logging

from hypothesis import given
from hypothesis import strategies as st

from app.logs import HIDDEN, MAX_MESSAGE_CHARACTERS, Hider, JsonFormatter, TextFormatter, request_id

KEY = "cg_618bprcdf70n_0123456789abcdefghijABCDEFGHIJ12abcdef"


def record(message: object, *arguments: object, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("chargegraph.test", logging.WARNING, __file__, 1, message, arguments, None)
    made.fields = fields
    return made


def test_a_json_line_says_when_what_and_for_whom() -> None:
    token = request_id.set("abc-1")
    try:
        line = JsonFormatter(Hider()).format(record("two\nlines of %s", "text", status=200, partner="nav"))
    finally:
        request_id.reset(token)
    assert "\n" not in line
    told = json.loads(line)
    assert told.pop("at").endswith("Z")
    assert told == {
        "level": "WARNING",
        "logger": "chargegraph.test",
        "message": "two\nlines of text",
        "request_id": "abc-1",
        "status": 200,
        "partner": "nav",
    }


def test_what_is_long_is_cut_and_a_traceback_is_part_of_the_line() -> None:
    broken = record("x" * 100_000)
    problem = ValueError(f"Bearer {KEY}")
    broken.exc_info = (ValueError, problem, None)
    told = json.loads(JsonFormatter(Hider()).format(broken))
    assert len(told["message"]) == MAX_MESSAGE_CHARACTERS
    assert "ValueError" in told["exception"] and KEY not in told["exception"]
    text = TextFormatter(Hider()).format(broken)
    assert "ValueError" in text and KEY not in text


AROUND = st.text('XYZ =,:"\\\n{}中')


@given(st.text("abc/+=.%", min_size=6), AROUND, AROUND, st.sampled_from([JsonFormatter, TextFormatter]))
def test_a_known_secret_is_never_told(
    secret: str, before: str, after: str, formatter: type[JsonFormatter | TextFormatter]
) -> None:
    line = formatter(Hider([secret])).format(record("%s", before + secret + after, field=before + secret + after))
    assert secret not in line
    assert line.count(HIDDEN) >= 2


def test_keys_tokens_and_passwords_in_addresses_are_hidden_whoever_tells_them() -> None:
    hider = Hider(["operator secret!", "short"])
    for text, secret in (
        (f"Authorization: Bearer {KEY}", KEY),
        (f"key={KEY}&other", KEY),
        ("{'authorization': 'bearer abc.def-ghi'}", "abc.def-ghi"),
        ("redis://:pass:word@host:6379/0 is away", "pass:word"),
        ("https://elastic:changeme@node:9200", "changeme"),
        ("the platform said operator secret! back", "operator secret!"),
    ):
        assert secret not in hider.hide(text), text
    assert hider.hide("a short text at http://host:80/path") == "a short text at http://host:80/path"
