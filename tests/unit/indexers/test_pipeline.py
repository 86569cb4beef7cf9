"""Runs of feeds against the real embedded stores; the feed is a script of what a platform says."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.errors import FeedUnreachableError
from app.feeds.embedded import EmbeddedFeedLedger
from app.index.embedded import EmbeddedIndex
from app.live.embedded import EmbeddedLiveBoard
from app.model.availability import Availability, EvseStatus
from app.model.clock import ManualClock
from app.model.feed import FeedRights, Rejection, RunKind
from app.model.geo import Point
from app.model.station import Connector, Evse, Flag, Operator, Station
from indexers.base import Schedule, StationBatch, StatusBatch
from indexers.pipeline import MAX_EVSES_A_STATION, MAX_SAMPLES, Ports, PushIntake, run_delta, run_full, run_status

OPERATOR = Operator(id="alpha:ALP", feed="alpha", party="ALP", name="Alpha")


def station(number, name="车站", feed="alpha", evses=1, flags=()):
    return Station(
        id=f"{feed}:ALP:{number}",
        feed=feed,
        operator_id=f"{feed}:ALP",
        local_id=str(number),
        name=name,
        location=Point(lon=121.0 + number / 1000, lat=31.0),
        evses=tuple(
            Evse(id=f"{feed}:ALP:{number}-{gun}", local_id=f"{number}-{gun}", connectors=(Connector(id="1"),))
            for gun in range(evses)
        ),
        flags=flags,
    )


class ScriptedFeed:
    """Says what it is told to say; an exception in the script is raised where it stands."""

    feed = "alpha"
    title = "Alpha"
    party = "ALP"
    rights = FeedRights()
    schedule = Schedule()
    has_live_status = True
    status_page_size = 2

    def __init__(self, clock, *script):
        self.clock = clock
        self.script = script
        self.asked_since = []
        self.asked_status = []

    async def stations(self, since) -> AsyncIterator[StationBatch]:
        self.asked_since.append(since)
        for step in self.script:
            if isinstance(step, BaseException):
                raise step
            yield step

    async def statuses(self, station_local_ids) -> AsyncIterator[StatusBatch]:
        self.asked_status.append(tuple(station_local_ids))
        yield StatusBatch(statuses=tuple(self.status(f"{local_id}-0") for local_id in station_local_ids))

    def status(self, local_id, availability=Availability.AVAILABLE):
        now = self.clock()
        return EvseStatus(f"alpha:ALP:{local_id}", availability, "1", now, now, now + 900)

    async def close(self):
        pass


def says(*stations, **more):
    return StationBatch(stations=stations, operators=(OPERATOR,), received=len(stations), **more)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def ports(tmp_path, clock):
    board = EmbeddedLiveBoard(tmp_path / "live.sqlite")
    index = EmbeddedIndex(tmp_path / "stations.sqlite", board)
    ledger = EmbeddedFeedLedger(tmp_path / "feeds.sqlite")
    for store in (board, index, ledger):
        await store.open()
    yield Ports(index, board, ledger, clock)
    for store in (ledger, index, board):
        await store.close()


async def known(ports):
    return (await ports.index.count_stations()).get("alpha", 0)


async def test_a_full_run_replaces_and_reports(ports, clock):
    first = await run_full(ScriptedFeed(clock, says(*map(station, range(20)))), ports)
    assert (first.indexed, first.changed, first.removed, first.error) == (20, 20, 0, None)
    assert await ports.index.list_operators() == [OPERATOR]
    clock.advance(10)
    again = await run_full(ScriptedFeed(clock, says(*map(station, range(20)))), ports)
    assert (again.indexed, again.changed, again.removed) == (20, 0, 0)
    moved = [station(0, name="新站"), *map(station, range(1, 19))]
    third = await run_full(ScriptedFeed(clock, says(*moved)), ports)
    assert (third.indexed, third.changed, third.removed) == (19, 1, 1)
    assert await ports.ledger.find_report("alpha", RunKind.FULL) == third


async def test_a_truncated_sweep_removes_nothing_unless_told(ports, clock):
    await run_full(ScriptedFeed(clock, says(*map(station, range(20)))), ports)
    report = await run_full(ScriptedFeed(clock, says(*map(station, range(17)))), ports)
    assert report.incomplete is not None and "truncated" in report.incomplete
    assert await known(ports) == 20
    report = await run_full(ScriptedFeed(clock, says(*map(station, range(17)))), ports, accept_shrink=True)
    assert (report.incomplete, report.removed) == (None, 3)
    assert await known(ports) == 17


@pytest.mark.parametrize(
    "ending",
    [says(incomplete="page 7 repeated page 1"), FeedUnreachableError("silence")],
    ids=["incomplete", "failed"],
)
async def test_a_doubtful_sweep_adds_and_removes_nothing(ports, clock, ending):
    await run_full(ScriptedFeed(clock, says(*map(station, range(20)))), ports)
    report = await run_full(ScriptedFeed(clock, says(*map(station, range(1, 22))), ending), ports)
    assert report.removed == 0
    assert report.incomplete or report.error
    assert await known(ports) == 22
    assert (await ports.ledger.find_report("alpha", RunKind.FULL)) == report


async def test_a_feed_that_fails_at_once_changes_nothing(ports, clock):
    await run_full(ScriptedFeed(clock, says(*map(station, range(5)))), ports)
    report = await run_full(ScriptedFeed(clock, FeedUnreachableError("silence")), ports)
    assert report.error == "silence"
    assert await known(ports) == 5
    good = await ports.ledger.find_report("alpha", RunKind.FULL, good=True)
    assert good is not None
    assert good.error is None


async def test_an_interrupted_run_leaves_the_last_complete_state(ports, clock):
    await run_full(ScriptedFeed(clock, says(*map(station, range(5)))), ports)
    with pytest.raises(asyncio.CancelledError):
        await run_full(ScriptedFeed(clock, says(station(1, name="半")), asyncio.CancelledError()), ports)
    (kept,) = await ports.index.find_stations(["alpha:ALP:1"])
    assert kept == station(1)
    assert (await run_full(ScriptedFeed(clock, says(*map(station, range(6)))), ports)).indexed == 6


async def test_a_delta_asks_since_the_last_good_run_and_removes_nothing(ports, clock):
    began = clock()
    await run_full(ScriptedFeed(clock, says(*map(station, range(5)))), ports)
    clock.advance(3600)
    delta = ScriptedFeed(clock, says(station(3, name="改"), station(9)))
    report = await run_delta(delta, ports)
    assert (report.kind, report.indexed, report.changed, report.removed) == (RunKind.DELTA, 2, 2, 0)
    assert delta.asked_since[0] < began
    assert await known(ports) == 6


async def test_a_delta_that_fails_on_the_way_keeps_what_came_and_asks_for_it_again(ports, clock):
    await run_full(ScriptedFeed(clock, says(*map(station, range(5)))), ports)
    began = clock()
    clock.advance(3600)
    report = await run_delta(ScriptedFeed(clock, says(station(7)), FeedUnreachableError("silence")), ports)
    assert (report.error, report.changed) == ("silence", 1)
    assert await known(ports) == 6
    again = ScriptedFeed(clock, says(station(8)))
    await run_delta(again, ports)
    assert again.asked_since[0] < began


async def test_a_delta_without_a_good_run_is_a_full_one(ports, clock):
    feed = ScriptedFeed(clock, says(station(1)))
    assert (await run_delta(feed, ports)).kind is RunKind.FULL
    assert feed.asked_since == [None]


async def test_statuses_in_the_same_answer_count_once_the_stations_are_known(ports, clock):
    feed = ScriptedFeed(clock)
    feed.script = (says(station(1), statuses=(feed.status("1-0"), feed.status("nowhere-0"))),)
    report = await run_full(feed, ports)
    assert report.statuses == 1
    assert report.rejected == {"status_of_unknown_evse": 1}
    assert ports.board.find(["alpha:ALP:1-0"]) == [feed.status("1-0")]


async def test_a_status_sweep_asks_for_every_station(ports, clock):
    feed = ScriptedFeed(clock, says(*map(station, range(95))))
    await run_full(feed, ports)
    report = await run_status(feed, ports)
    assert report.statuses == 95
    assert sorted(local_id for page in feed.asked_status for local_id in page) == sorted(map(str, range(95)))
    assert None not in ports.board.find([f"alpha:ALP:{number}-0" for number in range(95)])


async def test_flags_rejections_and_codes_are_counted_and_bounded(ports, clock):
    batch = says(
        station(1, flags=(Flag.COORDINATES_SWAPPED,)),
        station(2, evses=MAX_EVSES_A_STATION + 1),
        station(3, feed="beta"),
        rejections=tuple(Rejection("blank_id", str(number), "no StationID") for number in range(500)),
        unknown_codes=("Status=7", "Status=7", "ConnectorType=9"),
    )
    report = await run_full(ScriptedFeed(clock, batch), ports)
    assert report.repaired == {"COORDINATES_SWAPPED": 1}
    assert report.rejected == {"blank_id": 500, "too_many_evses": 1, "foreign_station": 1}
    assert report.unknown_codes == {"Status=7": 2, "ConnectorType=9": 1}
    assert len(report.samples) == MAX_SAMPLES
    assert report.indexed == 1


async def test_pushes_are_taken_and_reported(ports, clock):
    feed = ScriptedFeed(clock, says(station(1)))
    await run_full(feed, ports)
    intake = PushIntake(feed, ports)
    await intake.save()
    assert await ports.ledger.find_report("alpha", RunKind.PUSH) is None
    await intake.take(StatusBatch(statuses=(feed.status("1-0", Availability.CHARGING),)))
    (status,) = ports.board.find(["alpha:ALP:1-0"])
    assert status is not None
    assert status.availability is Availability.CHARGING
    await intake.save()
    report = await ports.ledger.find_report("alpha", RunKind.PUSH)
    assert report is not None
    assert report.statuses == 1
