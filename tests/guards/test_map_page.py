"""What the map page says and asks: every word in both languages, every query valid against the schema."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLEnumType, parse, validate

from schema.root import schema

PAGE = Path(__file__).resolve().parents[2] / "app" / "web" / "static" / "map"
OURS = ("actions.js", "views.js", "judge.js", "atlas.js", "main.js", "words.js")
ENUMS = {
    "status": "EvseStatus",
    "plug": "ConnectorType",
    "access": "Access",
    "presence": "Presence",
    "refusal": "UserErrorCode",
    "hold.guarantee": "Guarantee",
}
"""How the names of an enum's words begin."""

CHINESE = re.compile(r"[\u3000-\u9fff\uff00-\uffef]")
SAME = {"GraphQL", "JSON", "curl", "{kw} kW"}
"""What both languages write alike, besides the plugs' own names."""


@pytest.fixture(scope="module")
def words() -> dict[str, dict[str, str]]:
    table: dict[str, dict[str, str]] = json.loads((PAGE / "words.json").read_text(encoding="utf-8"))
    return table


def text_of(*names: str) -> str:
    return "\n".join((PAGE / name).read_text(encoding="utf-8") for name in names)


def test_every_word_is_there_in_both_languages(words: dict[str, dict[str, str]]) -> None:
    for name, said in words.items():
        assert list(said) == ["en", "zh"], name
        assert all(text.strip() for text in said.values()), name
        places = [sorted(re.findall(r"\{(\w+)\}", text)) for text in said.values()]
        assert places[0] == places[1], name
        if not name.startswith(("plug.", "language")) and said["en"] not in SAME:
            assert CHINESE.search(said["zh"]) and not CHINESE.search(said["en"]), name


def test_every_word_that_is_said_is_there_and_every_other_is_not(words: dict[str, dict[str, str]]) -> None:
    text = text_of(*OURS)
    named = {name for name in words if f'"{name}"' in text}
    said = set(re.findall(r'\bsay\("([^"]+)"', text))
    built = {begin for begin in re.findall(r"[`\"]([a-zA-Z.]+)\.\$\{", text) if any(n.startswith(begin) for n in words)}
    assert said <= set(words)
    assert not [name for name in words if name not in named and name.rpartition(".")[0] not in built]


@pytest.mark.parametrize(("begin", "enum"), ENUMS.items())
def test_every_value_of_an_enum_has_its_words(words: dict[str, dict[str, str]], begin: str, enum: str) -> None:
    kind: Any = schema._schema.type_map[enum]
    assert isinstance(kind, GraphQLEnumType)
    assert {name.removeprefix(f"{begin}.") for name in words if name.startswith(f"{begin}.")} == set(kind.values)


def test_every_query_of_the_page_is_valid() -> None:
    text = (PAGE / "documents.js").read_text(encoding="utf-8")
    pieces = dict(re.findall(r"^const (\w+) = `([^`]*)`", text, re.MULTILINE))
    exported = re.findall(r"^export const (\w+) = `([^`]*)`", text, re.MULTILINE)
    documents = {name: parse(re.sub(r"\$\{(\w+)\}", lambda piece: pieces[piece[1]], query)) for name, query in exported}
    assert len(documents) == text.count("export const")
    assert {name: found for name, query in documents.items() if (found := validate(schema._schema, query))} == {}


def test_the_page_makes_no_html_of_what_it_is_told() -> None:
    ours = text_of(*(path.name for path in PAGE.glob("*.js") if path.name not in {"leaflet.js", "preact.js"}))
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|dangerously|eval\(|new Function", ours)
    assert set(re.findall(r"\w+://[^\s\"']*", ours)) == {"http://www.w3.org/2000/svg"}  # the name of SVG
