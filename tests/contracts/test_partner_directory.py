"""What every partners' directory promises of keys and agreements, whatever it is made of."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.errors import InvalidInputError, UnavailableError
from app.model.agreement import EVERYONE, EVERYTHING, Agreement, Grant
from app.model.clock import Clock, ManualClock
from app.model.partner import ApiKey, Partner, PartnerKind, Scope
from app.partners.base import BELIEVED_S, PartnerDirectory
from app.partners.embedded import EmbeddedPartners
from app.partners.redis import RedisPartners

STORAGES = {"embedded": "tmp_path", "redis": "redis_url"}
"""What each implementation keeps its keys in, by the name of the fixture."""

MAKERS: dict[str, Callable[[Any, Clock], PartnerDirectory]] = {
    "embedded": lambda folder, clock: EmbeddedPartners(folder / "partners.sqlite", clock),
    "redis": RedisPartners,
}
REVOKED_WITHIN_S = 5
BOTH = frozenset(Scope)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=sorted(MAKERS))
def make_directory(request: pytest.FixtureRequest, clock: ManualClock) -> Callable[[], PartnerDirectory]:
    """Make a directory over the same storage each time, as a process that starts does."""
    storage = request.getfixturevalue(STORAGES[request.param])
    return lambda: MAKERS[request.param](storage, clock)


@pytest.fixture
async def directory(make_directory: Callable[[], PartnerDirectory]) -> AsyncIterator[PartnerDirectory]:
    directory = make_directory()
    await directory.open()
    yield directory
    await directory.close()


async def made(directory: PartnerDirectory, partner_id: str = "nav") -> tuple[ApiKey, str]:
    return await directory.create_key(partner_id, PartnerKind.NAVIGATION, BOTH)


@pytest.fixture
def content(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], bytes]:
    """All that is on the disk of whatever keeps the keys."""
    folder = tmp_path
    if request.node.callspec.params["make_directory"] == "redis":
        folder = request.getfixturevalue("redis_server").folder
    return lambda: b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", PartnerKind)
@pytest.mark.parametrize("scopes", [{Scope.DISCOVER}, {Scope.RESERVE}, BOTH])
async def test_a_key_tells_whose_it_is(
    directory: PartnerDirectory, clock: ManualClock, kind: PartnerKind, scopes: frozenset[Scope]
) -> None:
    key, text = await directory.create_key("map-1.cn_a", kind, scopes)
    partner = Partner(id="map-1.cn_a", kind=kind, scopes=frozenset(scopes))
    assert key == ApiKey(key_id=key.key_id, partner=partner, created_at=clock())
    assert await directory.find_partner(text) == partner
    assert await directory.find_partner(text) == partner, "again"
    assert await directory.list_keys() == [key]


async def test_a_partner_may_have_several_keys_and_none_are_alike(directory: PartnerDirectory) -> None:
    keys = [await made(directory, f"p{number % 2}") for number in range(20)]
    assert len({key.key_id for key, _ in keys}) == len({text for _, text in keys}) == 20
    for key, text in keys:
        assert await directory.find_partner(text) == key.partner


async def test_keys_are_listed_oldest_first_revoked_ones_too(directory: PartnerDirectory, clock: ManualClock) -> None:
    keys = []
    for number in range(5):
        keys.append((await made(directory, f"p{number}"))[0])
        clock.advance(-1 if number == 2 else 1)  # clocks are set back now and then
    assert [key.key_id for key in await directory.list_keys()] == [key.key_id for key in keys]
    assert await directory.revoke_key(keys[1].key_id)
    listed = await directory.list_keys()
    assert [key.key_id for key in listed] == [key.key_id for key in keys]
    assert [key.revoked_at for key in listed] == [None, clock(), None, None, None]


async def test_what_is_kept_does_not_hold_the_secret(directory: PartnerDirectory, content: Callable[[], bytes]) -> None:
    key, text = await made(directory)
    await directory.find_partner(text)
    secret = text.rpartition("_")[2]
    assert secret not in repr(key) and secret not in repr(await directory.list_keys())
    kept = content()
    assert key.key_id.encode() in kept
    assert secret.encode() not in kept and secret[:20].encode() not in kept


async def test_a_key_that_was_changed_is_nobodys(directory: PartnerDirectory) -> None:
    _, text = await made(directory)
    _, other = await made(directory, "other")
    for place in range(len(text)):
        changed = text[:place] + ("x" if text[place] != "x" else "y") + text[place + 1 :]
        assert await directory.find_partner(changed) is None, place
    for damaged in (text[:-1], text + "0", text[1:], f" {text}", f"{text}\n", text.upper(), text[:20] + other[20:]):
        assert await directory.find_partner(damaged) is None, damaged


@pytest.mark.parametrize("text", ["", "cg_", "x", "\0", "充电", "\ud800", "cg_" + "0" * 1_000_000, "' OR 1=1 --"])
async def test_what_is_no_key_is_nobodys(directory: PartnerDirectory, text: str) -> None:
    await made(directory)
    assert await directory.find_partner(text) is None


async def test_who_was_let_in_is_believed_for_a_while_where_nobody_answers(
    make_directory: Callable[[], PartnerDirectory], clock: ManualClock
) -> None:
    here, there = make_directory(), make_directory()
    await here.open()
    await there.open()
    key, text = await made(there)
    _, never_seen = await made(there, "other")
    partner = await here.find_partner(text)
    assert partner is not None
    assert await here.find_partner(never_seen[:-6] + "000000") is None
    asked_at = clock()
    await here.close()
    for _ in range(3):
        clock.advance(REVOKED_WITHIN_S)
        assert [await here.find_partner(text) for _ in range(3)] == [partner] * 3
        with pytest.raises(UnavailableError):
            await here.find_partner(never_seen)
    assert await there.revoke_key(key.key_id)
    assert await here.find_partner(text) == partner, "nobody can tell"
    clock.instant = asked_at + BELIEVED_S
    with pytest.raises(UnavailableError):
        await here.find_partner(text)
    clock.instant = asked_at + BELIEVED_S - 1
    assert await here.find_partner(text) == partner
    await here.open()
    clock.instant += REVOKED_WITHIN_S - 4
    assert await here.find_partner(never_seen) is not None
    assert await here.find_partner(text) is None, "seen as soon as somebody can"
    await here.close()
    await there.close()


async def test_a_revocation_is_for_good(directory: PartnerDirectory, clock: ManualClock) -> None:
    key, text = await made(directory)
    _, other = await made(directory, "other")
    assert await directory.revoke_key(key.key_id)
    revoked_at = clock()
    clock.advance(REVOKED_WITHIN_S)
    assert await directory.find_partner(text) is None
    assert await directory.find_partner(other) is not None
    assert not await directory.revoke_key(key.key_id), "it was revoked before"
    assert (await directory.list_keys())[0].revoked_at == revoked_at


@pytest.mark.parametrize("key_id", ["", "nothing", "000000000000", "\0", "\ud800", "%"])
async def test_a_key_that_is_not_there_cannot_be_revoked(directory: PartnerDirectory, key_id: str) -> None:
    _, text = await made(directory)
    assert not await directory.revoke_key(key_id)
    assert await directory.find_partner(text) is not None


@pytest.mark.parametrize("used_before", [True, False])
async def test_a_revocation_by_another_process_is_seen_in_time(
    directory: PartnerDirectory,
    make_directory: Callable[[], PartnerDirectory],
    clock: ManualClock,
    *,
    used_before: bool,
) -> None:
    key, text = await made(directory)
    if used_before:
        assert await directory.find_partner(text) is not None
    beside = make_directory()
    await beside.open()
    assert await beside.find_partner(text) == key.partner
    assert await beside.revoke_key(key.key_id)
    clock.advance(REVOKED_WITHIN_S)
    assert await directory.find_partner(text) is None
    clock.advance(-2 * REVOKED_WITHIN_S)  # a clock that is set back does not bring it to life
    assert await directory.find_partner(text) is None
    await beside.close()


async def test_a_key_made_by_another_process_is_found(
    directory: PartnerDirectory, make_directory: Callable[[], PartnerDirectory]
) -> None:
    beside = make_directory()
    await beside.open()
    key, text = await made(beside)
    assert await directory.find_partner(text) == key.partner
    assert await directory.list_keys() == [key]
    await beside.close()


@pytest.mark.parametrize("partner_id", ["", " ", "-a", "a b", "a" * 65, "充电", "a\n", "a:b", "\ud800", "a/b"])
async def test_a_name_that_is_none_is_refused(directory: PartnerDirectory, partner_id: str) -> None:
    with pytest.raises(InvalidInputError, match="partner_id"):
        await directory.create_key(partner_id, PartnerKind.MAP, [Scope.DISCOVER])
    assert await directory.list_keys() == []


async def test_a_key_without_scopes_is_refused(directory: PartnerDirectory) -> None:
    with pytest.raises(InvalidInputError, match="scopes"):
        await directory.create_key("nav", PartnerKind.MAP, [])
    assert await directory.list_keys() == []


async def test_keys_outlive_the_process(make_directory: Callable[[], PartnerDirectory], clock: ManualClock) -> None:
    first = make_directory()
    await first.open()
    kept, text = await made(first)
    gone, gone_text = await made(first, "gone")
    await first.revoke_key(gone.key_id)
    listed = await first.list_keys()
    await first.close()
    second = make_directory()
    await second.open()
    assert await second.list_keys() == listed
    assert await second.find_partner(text) == kept.partner
    assert await second.find_partner(gone_text) is None
    await second.close()


async def test_many_may_ask_at_once(directory: PartnerDirectory) -> None:
    key, text = await made(directory)
    wrong = [text[:-8] + f"{number:08d}" for number in range(200)]
    found = await asyncio.gather(*(directory.find_partner(each) for each in [text, *wrong] * 3))
    assert found == [key.partner, *[None] * 200] * 3


# -------------------------------------------------------------------------------------------------------- agreements


async def test_agreements_are_kept_and_listed_oldest_first(directory: PartnerDirectory, clock: ManualClock) -> None:
    now = clock()
    assert await directory.list_agreements() == []
    first = await directory.create_agreement("teld", "nav", EVERYTHING)
    clock.advance(-1)  # clocks are set back now and then
    second = await directory.create_agreement(
        "long-tail:运营商/1", EVERYONE, [Grant.DISCOVER], not_before=now + 5, expires_at=now + 6.5
    )
    third = await directory.create_agreement("teld", "nav", ())
    assert [first, second, third] == [
        Agreement(id=first.id, subject="teld", partner_id="nav", grants=EVERYTHING, made_at=now),
        Agreement(
            id=second.id,
            subject="long-tail:运营商/1",
            partner_id=EVERYONE,
            grants=frozenset({Grant.DISCOVER}),
            made_at=now - 1,
            not_before=now + 5,
            expires_at=now + 6.5,
        ),
        Agreement(id=third.id, subject="teld", partner_id="nav", grants=frozenset(), made_at=now - 1),
    ]
    assert await directory.list_agreements() == [first, second, third]
    assert len({first.id, second.id, third.id}) == 3


async def test_an_agreement_is_ended_once_and_for_good(directory: PartnerDirectory, clock: ManualClock) -> None:
    kept = await directory.create_agreement("teld", "nav", EVERYTHING)
    ended = await directory.create_agreement("teld", "other", ())
    clock.advance(7)
    assert await directory.end_agreement(ended.id)
    clock.advance(7)
    assert not await directory.end_agreement(ended.id), "it was ended before"
    assert await directory.list_agreements() == [kept, msgspec.structs.replace(ended, ended_at=clock() - 7)]
    for nothing in ("", "agr_", "agr_000000000000", "\0", "\ud800", "%", kept.id.upper()):
        assert not await directory.end_agreement(nothing), nothing
    assert (await directory.list_agreements())[0] == kept


async def test_agreements_of_another_process_are_seen_at_once_and_outlive_both(
    directory: PartnerDirectory, make_directory: Callable[[], PartnerDirectory]
) -> None:
    beside = make_directory()
    await beside.open()
    made_there = await beside.create_agreement("teld", "nav", EVERYTHING)
    made_here = await directory.create_agreement("teld:x", "nav", ())
    assert await directory.end_agreement(made_there.id)
    assert await beside.list_agreements() == await directory.list_agreements()
    await beside.close()
    third = make_directory()
    await third.open()
    assert [each.id for each in await third.list_agreements()] == [made_there.id, made_here.id]
    await third.close()


async def test_many_may_agree_at_once(directory: PartnerDirectory) -> None:
    made = await asyncio.gather(*(directory.create_agreement("teld", f"p{number}", ()) for number in range(100)))
    assert sorted(each.id for each in await directory.list_agreements()) == sorted(each.id for each in made)
    await asyncio.gather(*(directory.end_agreement(each.id) for each in made))
    assert all(each.ended_at is not None for each in await directory.list_agreements())


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"subject": ""}, "subject"),
        ({"subject": "Teld"}, "subject"),
        ({"subject": "teld:"}, "subject"),
        ({"subject": "teld:a:b"}, "subject"),
        ({"subject": "teld:a b"}, "subject"),
        ({"subject": "teld:\ud800"}, "subject"),
        ({"subject": "teld\n"}, "subject"),
        ({"subject": "teld:" + "x" * 101}, "subject"),
        ({"partner_id": ""}, "partner_id"),
        ({"partner_id": "**"}, "partner_id"),
        ({"partner_id": "a b"}, "partner_id"),
        ({"grants": [Grant.STATUS]}, "grants"),
        ({"grants": [Grant.RESERVE, Grant.STATUS]}, "grants"),
        ({"grants": [Grant.DISCOVER, Grant.RESERVE]}, "grants"),
        ({"not_before": float("nan")}, "not_before"),
        ({"not_before": float("-inf")}, "not_before"),
        ({"expires_at": float("nan")}, "expires_at"),
        ({"expires_at": float("inf")}, "expires_at"),
        ({"expires_at": 0.0}, "expires_at"),
        ({"not_before": 2e9, "expires_at": 2e9}, "expires_at"),
    ],
)
async def test_what_cannot_be_agreed_on_is_refused(
    directory: PartnerDirectory, wrong: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await directory.create_agreement(**{"subject": "teld", "partner_id": "nav", "grants": EVERYTHING} | wrong)
    assert caught.value.field == field
    assert await directory.list_agreements() == []


async def test_without_its_store_nothing_is_agreed_or_listed(make_directory: Callable[[], PartnerDirectory]) -> None:
    directory = make_directory()
    await directory.open()
    agreement = await directory.create_agreement("teld", "nav", ())
    await directory.close()
    with pytest.raises(UnavailableError):
        await directory.list_agreements()
    with pytest.raises(UnavailableError):
        await directory.create_agreement("teld", "nav", ())
    with pytest.raises(UnavailableError):
        await directory.end_agreement(agreement.id)


async def test_closing_twice_is_no_error(make_directory: Callable[[], PartnerDirectory]) -> None:
    directory = make_directory()
    await directory.open()
    await directory.close()
    await directory.close()
