"""What is kept as bytes is answered while it fits, within bounds, and ages in it are told anew."""

from collections.abc import Hashable
from typing import Any

import orjson
import pytest
import strawberry
from graphql import parse

from schema.execution import CompiledExecutor, Fragmented, Fragments, Operations, Plans, ages, reads


@strawberry.type
class Part:
    at: strawberry.Private[float | None]
    now: strawberry.Private[float]

    age_s: float | None = strawberry.field(resolver=ages(lambda part: part.at, lambda part: part.now))


@strawberry.type
class Thing(Fragmented):
    name: str
    version: strawberry.Private[int | None]
    now: strawberry.Private[float]
    since: strawberry.Private[tuple[float | None, ...]]
    inner: "Thing | None" = None

    same: str = strawberry.field(resolver=reads("name"))

    @strawberry.field
    def parts(self) -> list[Part]:
        return [Part(at=at, now=self.now) for at in self.since]

    @strawberry.field
    def twice(self, times: int = 2) -> str:
        return self.name * times

    def fragment_key(self) -> Hashable:
        return self.name

    def fragment_mark(self) -> object | None:
        return self.version

    def fragment_fits(self, mark: Any) -> bool:
        return bool(mark == self.version)

    def fragment_now(self) -> float:
        return self.now


@strawberry.type
class Query:
    @strawberry.field
    def things(self, info: strawberry.Info) -> list[Thing]:
        found: list[Thing] = info.context
        return found


SCHEMA = strawberry.Schema(Query)._schema


class Asked:
    """A schema with pieces of its own."""

    def __init__(self, max_bytes: int = 10_000) -> None:
        self.fragments = fragments = Fragments(max_bytes)

        class Own(CompiledExecutor):
            plans = Plans(fragments=fragments)

        self.operations = Operations(SCHEMA, Own)
        self.documents: dict[str, Any] = {}

    async def __call__(self, text: str, *things: Thing, **given: Any) -> Any:
        document = self.documents.setdefault(text, parse(text))
        answer = await self.operations.execute(document, None, given, list(things))
        assert not answer.errors
        assert answer.data is not None
        return orjson.loads(orjson.dumps(answer.data["things"]))


def thing(name: str, version: int | None = 1, now: float = 10.0, since: tuple[float | None, ...] = ()) -> Thing:
    return Thing(name=name, version=version, now=now, since=since)


async def test_a_piece_is_answered_while_its_mark_fits() -> None:
    asked = Asked()
    text = "{ things { name same } }"
    assert await asked(text, thing("a"), thing("b")) == [{"name": "a", "same": "a"}, {"name": "b", "same": "b"}]
    assert (asked.fragments.hits, asked.fragments.misses) == (0, 2)
    await asked(text, thing("a"), thing("b", version=2))
    assert (asked.fragments.hits, asked.fragments.misses) == (1, 3)
    await asked(text, thing("b", version=2))
    assert (asked.fragments.hits, asked.fragments.misses) == (2, 3)


async def test_what_has_no_mark_is_not_kept() -> None:
    asked = Asked()
    for _ in range(2):
        aged = await asked("{ things { name parts { ageS } } }", thing("a", None, since=(9.0,)))
        assert aged == [{"name": "a", "parts": [{"ageS": 1.0}]}]
    assert (asked.fragments.hits, asked.fragments.misses) == (0, 2)


async def test_ages_are_told_anew_and_texts_stay_as_they_are() -> None:
    asked = Asked()
    name = '100 % "\\ %.3f \x00 %s'
    text = "{ things { name parts { ageS } same } }"
    for now, expected in ((10.0, (7.25, 0.0, None)), (12.3456, (9.596, 1.346, None)), (1.0, (0.0, 0.0, None))):
        (found,) = await asked(text, thing(name, now=now, since=(2.75, 11.0, None)))
        assert found == {"name": name, "parts": [{"ageS": age} for age in expected], "same": name}
    assert asked.fragments.hits == 2


async def test_values_of_variables_are_part_of_the_name() -> None:
    asked = Asked()
    text = "query ($times: Int!) { things { twice(times: $times) } }"
    for times in (1, 3, 1, 3):
        assert await asked(text, thing("a"), times=times) == [{"twice": "a" * times}]
    assert (asked.fragments.hits, asked.fragments.misses) == (2, 2)


async def test_a_piece_with_another_in_it_is_not_kept_whole() -> None:
    asked = Asked()
    text = "{ things { name inner { name parts { ageS } } } }"
    for version in (1, 2):
        outer = thing("outer")
        outer.inner = thing(f"inner {version}", version=version, since=(9.0,))
        assert (await asked(text, outer))[0]["inner"] == {"name": f"inner {version}", "parts": [{"ageS": 1.0}]}


async def test_the_oldest_pieces_make_room() -> None:
    asked = Asked(max_bytes=2_000)
    text = "{ things { name } }"
    for number in range(50):
        await asked(text, thing(f"{number}"))
    assert 1 < len(asked.fragments._pieces) < 6
    assert asked.fragments._bytes == sum(piece.size for piece in asked.fragments._pieces.values()) <= 2_000
    await asked(text, thing("49"))
    await asked(text, thing("0"))
    assert (asked.fragments.hits, asked.fragments.misses) == (1, 51)


@pytest.mark.parametrize("path", ["", "a.", "a b", "class", "a.1"])
def test_a_path_is_names_with_dots(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        reads(path)
