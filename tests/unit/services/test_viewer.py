"""What a partner may have: which agreement counts, and that what searches leave out is just what it may not have."""

from collections.abc import Iterable
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UnavailableError
from app.model.agreement import EVERYONE, EVERYTHING, Agreement, Grant, Grants, problem_of
from app.model.clock import ManualClock
from app.model.feed import FeedInfo, FeedRights
from app.model.partner import Partner, PartnerKind, Scope
from app.partners.embedded import EmbeddedPartners
from app.services.agreements import ASKED_AGAIN_S, READ_AGAIN_S, Agreements
from app.services.viewer import Viewer, viewer_of
from tests.builders import NOON, build_station

D, S, P, R = Grant.DISCOVER, Grant.STATUS, Grant.PRICE, Grant.RESERVE
WITHIN_S = 5.0


def feed(name: str, **rights: object) -> FeedInfo:
    return FeedInfo(
        id=name,
        title=name,
        party="x",
        has_live_status=True,
        rights=FeedRights(**rights),  # type: ignore[arg-type]
    )


def partner(name: str = "nav", kind: PartnerKind = PartnerKind.NAVIGATION) -> Partner:
    return Partner(id=name, kind=kind, scopes=frozenset(Scope))


def agreed(subject: str, with_whom: str, *grants: Grant) -> Agreement:
    return Agreement(id="agr_0", subject=subject, partner_id=with_whom, grants=frozenset(grants), made_at=NOON)


def may(viewer: Viewer, operator: str) -> set[Grant]:
    """What a viewer may have of an operator's station."""
    name = operator.partition(":")[0]
    grants = viewer.grants_on(build_station(1, feed=name, operator_id=operator))
    return {grant for grant in Grant if getattr(grants, grant.value)}


OPEN, CLOSED = feed("open"), feed("closed", offered_to_all=frozenset())


@pytest.mark.parametrize(
    ("agreements", "expected"),
    [
        ((), {"open:x": EVERYTHING, "open:y": EVERYTHING, "closed:x": (), "closed:y": ()}),
        ((agreed("closed", "nav", D, S),), {"closed:x": (D, S), "closed:y": (D, S), "open:x": EVERYTHING}),
        ((agreed("closed:x", "nav", D, P),), {"closed:x": (D, P), "closed:y": ()}),
        ((agreed("closed:x", EVERYONE, D),), {"closed:x": (D,), "closed:y": ()}),
        ((agreed("closed", EVERYONE, D),), {"closed:x": (D,), "closed:y": (D,)}),
        ((agreed("closed", EVERYONE, D), agreed("closed:x", "nav", D, S)), {"closed:x": (D, S), "closed:y": (D,)}),
        ((agreed("open", "nav"),), {"open:x": (), "open:y": (), "closed:x": ()}),
        ((agreed("open:x", "nav"),), {"open:x": (), "open:y": EVERYTHING}),
        ((agreed("open:x", EVERYONE), agreed("open:x", "nav", D)), {"open:x": (D,)}),
        ((agreed("open:x", EVERYONE), agreed("open", "nav", D, S)), {"open:x": (), "open:y": (D, S)}),
        ((agreed("open", "nav"), agreed("open:x", EVERYONE, D)), {"open:x": (), "open:y": ()}),
        ((agreed("open", "nav", D, S), agreed("open:x", "nav", D, P)), {"open:x": (D,), "open:y": (D, S)}),
        ((agreed("open", "nav", D, S, R), agreed("open", "nav", D, P, S)), {"open:x": (D, S)}),
        ((agreed("open", "nav", *EVERYTHING), agreed("open", "nav")), {"open:x": ()}),
        ((agreed("open", "other"), agreed("open:x", "other")), {"open:x": EVERYTHING}),
        ((agreed("nobody", "nav", D), agreed("nobody:x", "nav", D)), {"nobody:x": ()}),
    ],
)
def test_which_agreement_counts(agreements: tuple[Agreement, ...], expected: dict[str, Iterable[Grant]]) -> None:
    viewer = viewer_of(partner(), (OPEN, CLOSED), agreements)
    assert {operator: may(viewer, operator) for operator in expected} == {
        operator: set(grants) for operator, grants in expected.items()
    }


@pytest.mark.parametrize("subject", ["f", "f:x"])
def test_no_agreement_goes_beyond_the_feeds_rights(subject: str) -> None:
    everything = (agreed(subject, "nav", *EVERYTHING),)
    for rights, kind, expected in (
        ({"may_discover": False}, PartnerKind.NAVIGATION, set()),
        ({"may_republish": False}, PartnerKind.MAP, set()),
        ({"may_republish": False}, PartnerKind.FLEET, {D, S, P, R}),
        ({"may_show_price": False}, PartnerKind.NAVIGATION, {D, S, R}),
    ):
        viewer = viewer_of(partner(kind=kind), (feed("f", **rights),), everything)
        assert may(viewer, "f:x") == expected, (rights, kind)


SUBSETS = [
    frozenset(grant for grant, bit in zip(Grant, bits, strict=True) if bit) for bits in product((0, 1), repeat=4)
]
SOUND = [grants for grants in SUBSETS if problem_of(grants) is None]
SUBJECTS = ("open", "closed", "half", "open:x", "open:y", "closed:x", "closed:y", "half:x", "gone", "gone:x")
worlds = st.lists(
    st.builds(
        lambda subject, with_whom, grants: agreed(subject, with_whom, *grants),
        st.sampled_from(SUBJECTS),
        st.sampled_from(("nav", "other", EVERYONE)),
        st.sampled_from(SOUND),
    ),
    max_size=8,
)


@given(worlds, st.sampled_from(("nav", "other", "third")), st.sampled_from(PartnerKind))
def test_what_searches_leave_out_is_what_may_not_be_had(
    agreements: list[Agreement], name: str, kind: PartnerKind
) -> None:
    feeds = (OPEN, CLOSED, feed("half", offered_to_all=frozenset({D, P}), may_republish=False))
    viewer = viewer_of(partner(name, kind), feeds, agreements)
    for operator in (f"{each.id}:{party}" for each in feeds for party in "xyz"):
        grants = may(viewer, operator)
        assert viewer.hidden.holds(operator) == (D not in grants)
        assert viewer.dark.holds(operator) == (S not in grants)
        assert frozenset(grants) in SOUND
    for each in feeds:
        hidden = [viewer.hidden.holds(f"{each.id}:{party}") for party in "xyz"]
        assert viewer.hidden.holds_some_of(each.id) == any(hidden)
        assert viewer.hidden.holds_all_of(each.id) == all(hidden)
    again = viewer_of(partner(name, kind), feeds, agreements[::-1])
    assert (again.by_feed, again.by_operator, again.hidden, again.dark) == (
        viewer.by_feed,
        viewer.by_operator,
        viewer.hidden,
        viewer.dark,
    ), "whatever was agreed first"


def test_an_agreement_counts_from_its_beginning_until_its_end() -> None:
    one = Agreement(
        id="agr_0", subject="f", partner_id="p", grants=EVERYTHING, made_at=NOON, not_before=NOON, expires_at=NOON + 9
    )
    assert [one.is_in_force(NOON + after) for after in (-0.001, 0, 8.999, 9)] == [False, True, True, False]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def directory(tmp_path: Path, clock: ManualClock) -> EmbeddedPartners:
    return EmbeddedPartners(tmp_path / "partners.sqlite", clock)


async def test_what_is_agreed_while_the_hub_runs_counts_within_seconds(
    directory: EmbeddedPartners, clock: ManualClock
) -> None:
    await directory.open()
    agreements = Agreements(directory, (OPEN, CLOSED), clock)
    assert may(await agreements.viewer_of(partner()), "open:x") == EVERYTHING
    embargo = await directory.create_agreement("open", "nav", ())
    clock.advance(WITHIN_S)
    assert may(await agreements.viewer_of(partner()), "open:x") == set()
    assert may(await agreements.viewer_of(partner("other")), "open:x") == EVERYTHING
    assert await directory.end_agreement(embargo.id)
    clock.advance(WITHIN_S)
    assert may(await agreements.viewer_of(partner()), "open:x") == EVERYTHING
    await directory.create_agreement("open", "nav", ())
    clock.advance(-3_600)  # set back
    assert may(await agreements.viewer_of(partner()), "open:x") == set()
    await directory.close()


async def test_an_agreement_begins_and_ends_to_the_second(directory: EmbeddedPartners, clock: ManualClock) -> None:
    await directory.open()
    agreements = Agreements(directory, (OPEN,), clock)
    await directory.create_agreement("open:x", "nav", (D,), not_before=NOON + 10, expires_at=NOON + 11.5)
    seen = []
    for at in (0, 9.9, 10, 11.4, 11.5, 10.5, 9.9):
        clock.instant = NOON + at
        seen.append(len(may(await agreements.viewer_of(partner()), "open:x")))
    assert seen == [4, 4, 1, 1, 4, 1, 4]
    await directory.close()


async def test_a_viewer_is_made_once_while_nothing_changes(directory: EmbeddedPartners, clock: ManualClock) -> None:
    await directory.open()
    agreements = Agreements(directory, (OPEN,), clock)
    viewer = await agreements.viewer_of(partner())
    clock.advance(100 * READ_AGAIN_S)
    assert await agreements.viewer_of(partner()) is viewer
    map_key = await agreements.viewer_of(partner(kind=PartnerKind.MAP))
    assert map_key.partner.kind is PartnerKind.MAP
    await directory.close()


class Listening(EmbeddedPartners):
    """Counts how often it is asked."""

    asked = 0

    async def list_agreements(self) -> list[Agreement]:
        self.asked += 1
        return await super().list_agreements()


async def test_while_nobody_can_tell_what_was_read_last_stands(tmp_path: Path, clock: ManualClock) -> None:
    directory = Listening(tmp_path / "partners.sqlite", clock)
    agreements = Agreements(directory, (OPEN,), clock)
    with pytest.raises(UnavailableError):
        await agreements.viewer_of(partner())
    await directory.open()
    await directory.create_agreement("open", "nav", (D,))
    assert may(await agreements.viewer_of(partner()), "open:x") == {D}
    await directory.close()
    asked = directory.asked
    for _ in range(10):
        clock.advance(ASKED_AGAIN_S / 4)
        assert may(await agreements.viewer_of(partner()), "open:x") == {D}
    assert directory.asked - asked <= 3, "not every request asks"
    await directory.open()
    await directory.create_agreement("open", "nav", ())
    clock.advance(WITHIN_S)
    assert may(await agreements.viewer_of(partner()), "open:x") == set()
    await directory.close()


def test_grants_are_told_apart_as_keys() -> None:
    assert len({Grants.of(grants) for grants in SOUND}) == len(SOUND)
