import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model.identity import evse_key, make_id, parse_id

PART = st.text(st.characters(exclude_characters=":", codec="utf-8"), min_size=1, max_size=20)


@given(PART, PART, st.text(min_size=1, max_size=40))
def test_an_id_gives_its_parts_back(feed, party, local):
    assert parse_id(make_id(feed, party, local)) == (feed, party, local)


@pytest.mark.parametrize("text", ["", "a", "a:b", "a::c", ":b:c", "a:b:", "x" * 201])
def test_what_is_no_id(text):
    assert parse_id(text) is None


@pytest.mark.parametrize(
    "parts", [("", "b", "c"), ("a", "", "c"), ("a", "b", ""), ("a:x", "b", "c"), ("a", "b:x", "c")]
)
def test_parts_that_make_no_id(parts):
    with pytest.raises(ValueError, match="not the parts"):
        make_id(*parts)


def test_keys_are_the_same_on_every_machine():
    assert evse_key("teld:395815801:3101150001001") == 0x27C4BF6DA63C2BFE
