"""Sweeps over pages and batches of statuses, against platforms that page and answer in every way that was seen."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from starlette.responses import Response

from app.errors import FeedError, FeedProtocolError, FeedUnreachableError
from app.model.availability import Availability, StatusChannel
from app.model.clock import BEIJING, ManualClock
from indexers.base import FeedContext, StatusBatch
from indexers.feeds.cec102.client import STATION_STATUS, STATIONS_INFO, RefusedError
from indexers.feeds.cec102.feed import OVERLAP_S, Cec102Feed, make_feed
from tests.unit.feeds.cec102.platform import MemoryLedger, Platform, open_feed, station, sweep, table

FIVE = ["0001", "0002", "0003", "0004", "0005"]


def limits(**changes: Any) -> dict[str, Any]:
    return {"limits": {**table()["limits"], **changes}}


def paged(platform: Platform, change: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]) -> None:
    """Let the platform answer what ``change`` makes of a request and of its right answer."""
    platform.answers[STATIONS_INFO] = lambda request: change(request, platform.page(request))


def numbers(platform: Platform) -> list[int]:
    """The pages that were asked for."""
    return [request["PageNo"] for interface, request in platform.calls if interface == STATIONS_INFO]


async def swept(platform: Platform, **changes: Any) -> tuple[list[str], str | None, list[str]]:
    async with open_feed(platform, **changes) as feed:
        return await sweep(feed)


# ------------------------------------------------------------------------------------------------------- whole sweeps


@pytest.mark.parametrize("in_flight", [1, 3])
async def test_every_page_is_read_once(in_flight: int) -> None:
    platform = Platform()
    assert await swept(platform, **limits(in_flight=in_flight)) == (FIVE, None, [])
    assert numbers(platform) == [1, 2, 3]
    assert {request["PageSize"] for _, request in platform.calls[1:]} == {2}


async def test_the_first_batch_names_the_operator_and_each_what_was_announced() -> None:
    async with open_feed(Platform()) as feed:
        batches = [batch async for batch in feed.stations(None)]
    assert [len(batch.operators) for batch in batches] == [1, 0, 0]
    assert (batches[0].operators[0].id, batches[0].operators[0].name) == ("teld:395815801", "Example")
    assert [(batch.received, batch.expected_total) for batch in batches] == [(2, 5), (2, 5), (1, 5)]


async def test_beyond_page_count_nothing_is_asked() -> None:
    platform = Platform()  # would answer page 1 again, under the number asked for
    paged(platform, lambda request, page: {**page, "StationInfos": page["StationInfos"] or platform.stations[:2]})
    assert await swept(platform) == (FIVE, None, [])
    assert numbers(platform) == [1, 2, 3]


@pytest.mark.parametrize("size", [3, 50])
async def test_a_platform_may_serve_fewer_rows_than_it_was_asked_for(size: int) -> None:
    platform = Platform([station(number) for number in range(1, 8)])
    platform.answers[STATIONS_INFO] = lambda request: platform.page({**request, "PageSize": 2})
    ids, incomplete, _ = await swept(platform, **limits(page_size=size))
    assert (len(ids), incomplete) == (7, None)
    assert numbers(platform) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "counts",
    [
        {"PageCount": "3", "ItemSize": "5", "PageNo": "1"},
        {"PageCount": 3.0, "ItemSize": 5.0, "PageNo": None},
        {"PageCount": 3, "ItemSize": None},
        {"PageCount": 3, "ItemSize": -1},
        {"PageCount": 3, "ItemSize": "五"},
        {"PageCount": None, "ItemSize": 5},
        {"PageCount": 0, "ItemSize": 5},
    ],
)
async def test_either_count_in_any_writing_is_enough(counts: dict[str, Any]) -> None:
    platform = Platform()

    def write(request: dict[str, Any], page: dict[str, Any]) -> dict[str, Any]:
        return {**page, **counts, "PageNo": str(request["PageNo"]) if counts.get("PageNo") else None}

    paged(platform, write)
    assert await swept(platform) == (FIVE, None, [])
    assert numbers(platform) == [1, 2, 3]


async def test_item_size_may_count_the_page() -> None:
    platform = Platform()
    paged(platform, lambda _, page: {**page, "ItemSize": len(page["StationInfos"])})
    assert await swept(platform) == (FIVE, None, [])


async def test_a_page_count_one_too_low_loses_no_station() -> None:
    platform = Platform()
    paged(platform, lambda _, page: {**page, "PageCount": 5 // 2})
    assert await swept(platform) == (FIVE, None, [])
    assert numbers(platform) == [1, 2, 3]


@pytest.mark.parametrize("beyond", ["empty", "page 1 again"])
async def test_a_page_count_too_high_is_no_doubt_once_all_are_there(beyond: str) -> None:
    platform = Platform()
    again = platform.stations[:2] if beyond == "page 1 again" else []
    paged(platform, lambda _, page: {**page, "PageCount": 5, "StationInfos": page["StationInfos"] or again})
    assert await swept(platform) == (FIVE, None, [])
    assert numbers(platform) == [1, 2, 3, 4]


async def test_without_counts_the_end_is_a_page_without_stations() -> None:
    platform = Platform()
    paged(platform, lambda _, page: {"StationInfos": page["StationInfos"]})
    assert await swept(platform) == (FIVE, None, [])
    assert numbers(platform) == [1, 2, 3, 4]


async def test_without_counts_a_page_that_repeats_is_an_end_that_nobody_vouches_for() -> None:
    platform = Platform()
    paged(platform, lambda _, page: {"StationInfos": page["StationInfos"] or platform.stations[:2]})
    ids, incomplete, _ = await swept(platform)
    assert ids == FIVE
    assert incomplete == "page 4 repeats stations of earlier pages"
    assert numbers(platform) == [1, 2, 3, 4]


@pytest.mark.parametrize("empty", [[], None, "", {}])
@pytest.mark.parametrize("counts", [{"PageCount": 0, "ItemSize": 0}, {"PageCount": 1, "ItemSize": 0}, {}])
async def test_nothing_to_tell_is_a_whole_answer(empty: Any, counts: dict[str, int]) -> None:
    platform = Platform()
    platform.answers[STATIONS_INFO] = lambda _: {"PageNo": 1, **counts, "StationInfos": empty}
    ids, incomplete, reasons = await swept(platform)
    assert (ids, incomplete) == ([], None)
    assert reasons == (["station_id_blank"] if empty == {} else [])


async def test_one_station_may_come_without_a_list_and_under_small_keys() -> None:
    platform = Platform()
    platform.answers[STATIONS_INFO] = lambda _: {"pageNo": 1, "pageCount": 1, "itemSize": 1, "stationInfo": station(7)}
    assert await swept(platform) == (["0007"], None, [])


async def test_a_list_that_grew_is_whole_while_its_first_page_stayed() -> None:
    platform = Platform()

    def grow(request: dict[str, Any], page: dict[str, Any]) -> dict[str, Any]:
        if request["PageNo"] == 1 and len(platform.stations) == 5:
            platform.stations.append(station(6))
        return page

    paged(platform, grow)
    assert await swept(platform) == ([*FIVE, "0006"], None, [])
    assert numbers(platform) == [1, 2, 3, 1]


async def test_a_station_twice_is_counted_and_told_once() -> None:
    platform = Platform([station(1), station(1), station(2), station(2, StationID=" 0002")])
    assert await swept(platform) == (["0001", "0002"], None, ["station_repeated"] * 2)


async def test_pages_that_overlap_are_a_habit_while_the_first_page_stays() -> None:
    platform = Platform()
    platform.answers[STATIONS_INFO] = lambda request: {
        "PageNo": request["PageNo"],
        "PageCount": 4,
        "ItemSize": 5,
        "StationInfos": platform.stations[request["PageNo"] - 1 :][:2],
    }
    assert await swept(platform) == (FIVE, None, ["station_repeated"] * 3)
    assert numbers(platform) == [1, 2, 3, 4, 1]


async def test_stations_without_ids_are_counted_and_do_not_make_the_sweep_less_whole() -> None:
    platform = Platform(
        [station(1), station(2, StationID=""), station(3), station(4, StationID=None), station(5, StationID=" ")]
    )
    assert await swept(platform) == (["0001", "0003"], None, ["station_id_blank"] * 3)


async def test_rows_that_are_no_objects_are_counted() -> None:
    platform = Platform()
    platform.stations[1:3] = [None, "x"]  # type: ignore[list-item]
    assert await swept(platform) == (["0001", "0004", "0005"], None, ["station_not_an_object"] * 2)


# -------------------------------------------------------------------------------------------------- incomplete sweeps


@pytest.mark.parametrize("answered_no", [1, None, "asked"])
@pytest.mark.parametrize("blank", [False, True])
async def test_a_platform_that_ignores_page_no_is_left_at_its_second_page(answered_no: Any, blank: bool) -> None:
    platform = Platform()
    if blank:
        platform.stations[1]["StationID"] = ""

    def always_first(request: dict[str, Any], page: dict[str, Any]) -> dict[str, Any]:
        number = request["PageNo"] if answered_no == "asked" else answered_no
        return {**page, "PageNo": number, "StationInfos": platform.stations[:2]}

    paged(platform, always_first)
    ids, incomplete, _ = await swept(platform)
    assert ids == (["0001"] if blank else ["0001", "0002"])
    assert incomplete is not None
    assert "page 2" in incomplete
    assert numbers(platform) == [1, 2]


async def test_new_stations_under_another_page_number_are_taken_and_doubted() -> None:
    platform = Platform()
    paged(platform, lambda _, page: {**page, "PageNo": 1})
    ids, incomplete, _ = await swept(platform)
    assert ids == FIVE
    assert incomplete == "asked for page 2, answered page 1"


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"ItemSize": 4}, "ItemSize shrank from 5 to 4"),
        ({"PageCount": 2, "ItemSize": 5}, "PageCount shrank from 3 to 2"),
    ],
)
async def test_counts_that_shrink_are_a_doubt_and_the_rest_is_read(counts: dict[str, int], told: str) -> None:
    platform = Platform()
    paged(platform, lambda request, page: {**page, **(counts if request["PageNo"] == 2 else {})})
    ids, incomplete, _ = await swept(platform)
    assert (ids, incomplete) == (FIVE, told)


async def test_an_empty_page_inside_page_count_is_a_doubt_and_the_rest_is_read() -> None:
    platform = Platform()
    paged(platform, lambda request, page: {**page, **({"StationInfos": None} if request["PageNo"] == 2 else {})})
    ids, incomplete, _ = await swept(platform)
    assert (ids, incomplete) == (["0001", "0002", "0005"], "page 2 has no station")


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"PageCount": 3, "ItemSize": None}, "page 1 has no station"),
        ({"PageCount": 1, "ItemSize": 5}, "5 stations announced, 0 sent"),
        ({"PageCount": None, "ItemSize": 1}, "1 stations announced, 0 sent"),
    ],
)
async def test_an_empty_first_page_is_a_doubt_where_more_is_announced(counts: dict[str, Any], told: str) -> None:
    platform = Platform()
    paged(
        platform, lambda request, page: {**page, **counts, **({"StationInfos": []} if request["PageNo"] == 1 else {})}
    )
    ids, incomplete, _ = await swept(platform)
    assert ids == (FIVE[2:] if counts["PageCount"] == 3 else [])
    assert incomplete == told


async def test_pages_without_stations_end_the_sweep_after_the_third() -> None:
    platform = Platform()
    paged(platform, lambda _, page: {**page, "PageCount": 10**9, "ItemSize": None})
    ids, incomplete, _ = await swept(platform)
    assert ids == FIVE
    assert incomplete == "1000000000 pages are more than 50000"
    assert numbers(platform) == [1, 2, 3, 4, 5, 6]


async def test_fewer_stations_than_announced_are_a_doubt() -> None:
    platform = Platform()
    paged(platform, lambda _, page: {**page, "ItemSize": 9})
    ids, incomplete, _ = await swept(platform)
    assert ids == FIVE
    assert incomplete is not None
    assert numbers(platform) == [1, 2, 3, 4]


async def test_a_list_that_moved_while_it_was_read_is_a_doubt() -> None:
    platform = Platform()

    def slide(request: dict[str, Any], page: dict[str, Any]) -> dict[str, Any]:
        if request["PageNo"] == 1 and len(platform.calls) < 3:
            platform.stations.insert(0, station(9))  # the last row of this page comes again on the next
        return page

    paged(platform, slide)
    ids, incomplete, reasons = await swept(platform)
    assert sorted(ids) == [*FIVE, "0009"]
    assert incomplete == "the list moved while it was read"
    assert reasons == ["station_repeated"]


async def test_a_page_that_fails_costs_its_stations_and_not_the_others() -> None:
    platform = Platform()
    platform.raw_answers = [None, platform.refusal(4004)]
    ids, incomplete, _ = await swept(platform)
    assert ids == ["0001", "0002", "0005"]
    assert incomplete is not None
    assert incomplete.startswith("page 2 failed: query_stations_info: Ret 4004")


async def test_three_pages_that_fail_in_a_row_end_the_sweep() -> None:
    platform = Platform([station(number) for number in range(1, 20)])
    platform.raw_answers = [None, *[platform.refusal(4004)] * 9]
    with pytest.raises(RefusedError):
        await swept(platform, **limits(in_flight=3))
    assert len(numbers(platform)) <= 6


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Platform().refusal(4004), RefusedError),
        (Platform().refusal(-1), FeedUnreachableError),
        (Response('{"code":500,"msg":"","data":null}'), FeedProtocolError),
        (Platform().sealed({"StationInfos": [0] * 20_001}), FeedProtocolError),
    ],
)
async def test_without_its_first_page_there_is_no_sweep(answer: Response, error: type[FeedError]) -> None:
    platform = Platform()
    platform.answers[STATIONS_INFO] = lambda _: answer
    with pytest.raises(error):
        await swept(platform)


async def test_a_sweep_may_be_left_early() -> None:
    platform = Platform([station(number) for number in range(1, 50)])
    async with open_feed(platform, **limits(in_flight=4)) as feed:
        batches = feed.stations(None)
        assert len((await anext(batches)).stations) == 2
        await batches.aclose()  # type: ignore[attr-defined]
    assert numbers(platform) == [1]


# -------------------------------------------------------------------------------------------------------- increments


async def test_everything_is_asked_for_with_an_empty_time_or_without_one() -> None:
    platform = Platform()
    await swept(platform)
    assert platform.calls[1][1] == {"LastQueryTime": "", "PageNo": 1, "PageSize": 2}
    await swept(platform, dialect={"all_stations": "no_time"})
    assert platform.calls[5][1] == {"PageNo": 1, "PageSize": 2}


async def test_changes_are_asked_for_in_beijing_time_from_a_little_before() -> None:
    platform = Platform([])
    since = datetime(2026, 11, 22, 0, 5, 0, tzinfo=BEIJING).timestamp()
    async with open_feed(platform) as feed:
        assert await sweep(feed, since) == ([], None, [])
        assert await sweep(feed, 0.0) == ([], None, [])
    assert OVERLAP_S == 600
    assert [request.get("LastQueryTime") for _, request in platform.calls[1:]] == [
        "2026-11-21 23:55:00",
        "1970-01-01 08:00:00",
    ]


# ------------------------------------------------------------------------------------------------------------ status


async def statuses(feed: Cec102Feed, local_ids: list[str]) -> list[StatusBatch]:
    return [batch async for batch in feed.statuses(local_ids)]


def asked(platform: Platform) -> list[list[str]]:
    return [request["StationIDs"] for interface, request in platform.calls if interface == STATION_STATUS]


def told(batches: list[StatusBatch]) -> list[str]:
    return [status.evse_id.rpartition(":")[2] for batch in batches for status in batch.statuses]


def rejected(batches: list[StatusBatch]) -> list[tuple[str, str]]:
    return [(rejection.reason, rejection.record_id) for batch in batches for rejection in batch.rejections]


async def test_at_most_fifty_stations_are_asked_for_at_once() -> None:
    platform, clock = Platform(), ManualClock(1_000.0)
    ids = [f"{number:04d}" for number in range(120)]
    async with open_feed(platform, clock, **limits(in_flight=2)) as feed:
        assert feed.status_page_size == 50
        batches = await statuses(feed, ids)
    assert sorted(len(batch) for batch in asked(platform)) == [20, 50, 50]  # two are on their way at once
    assert told(batches) == [f"{local_id}001" for local_id in ids]
    first = batches[0].statuses[0]
    assert (first.evse_id, first.availability, first.raw) == ("teld:395815801:0000001", Availability.AVAILABLE, "1")
    assert (first.observed_at, first.received_at, first.stale_after) == (1_000.0, 1_000.0, 1_900.0)
    assert first.channel is StatusChannel.PULL


async def test_a_push_that_came_while_we_asked_is_newer_than_the_answer() -> None:
    platform, clock = Platform(), ManualClock(1_000.0)

    def slowly(request: dict[str, Any]) -> dict[str, Any]:
        clock.advance(5)
        answer: dict[str, Any] = platform.status(request)
        return answer

    platform.answers[STATION_STATUS] = slowly
    async with open_feed(platform, clock) as feed:
        batches = await statuses(feed, FIVE)
    assert {status.received_at for batch in batches for status in batch.statuses} == {1_000.0}


async def test_a_profile_may_ask_for_fewer_at_once_and_nobody_for_none() -> None:
    platform = Platform()
    async with open_feed(platform, **limits(status_page_size=2)) as feed:
        await statuses(feed, FIVE)
        assert await statuses(feed, []) == []
    assert asked(platform) == [["0001", "0002"], ["0003", "0004"], ["0005"]]


async def test_stations_missing_from_an_answer_have_no_status() -> None:
    platform = Platform()
    platform.answers[STATION_STATUS] = lambda request: platform.status({"StationIDs": request["StationIDs"][1:2]})
    async with open_feed(platform) as feed:
        batches = await statuses(feed, ["0001", "0002", "0003"])
    assert told(batches) == ["0002001"]
    assert rejected(batches) == []


@pytest.mark.parametrize("answer", [{}, {"Total": 0, "StationStatusInfos": []}, {"StationStatusInfos": None}])
async def test_an_answer_without_statuses_says_nothing(answer: dict[str, Any]) -> None:
    platform = Platform()
    platform.answers[STATION_STATUS] = lambda _: answer
    async with open_feed(platform) as feed:
        assert await statuses(feed, FIVE) == [StatusBatch()]


async def test_ids_are_asked_for_as_the_platform_wrote_them() -> None:
    platform = Platform([station(1, StationID=" 0001")])
    async with open_feed(platform) as feed:
        ids, _, _ = await sweep(feed)
        batches = await statuses(feed, ids)
    assert asked(platform) == [[" 0001"]]
    assert told(batches) == ["0001001"]


async def test_one_station_that_is_refused_costs_only_itself() -> None:
    platform = Platform()

    def refuse(request: dict[str, Any]) -> Any:
        return platform.refusal(4004) if "0003" in request["StationIDs"] else platform.status(request)

    platform.answers[STATION_STATUS] = refuse
    async with open_feed(platform) as feed:
        batches = await statuses(feed, FIVE)
    assert sorted(told(batches)) == ["0001001", "0002001", "0004001", "0005001"]
    assert rejected(batches) == [("status_refused", "0003")]


async def test_a_platform_that_refuses_every_station_is_not_asked_for_each() -> None:
    platform = Platform()
    platform.answers[STATION_STATUS] = lambda _: platform.refusal(4004)
    ids = [f"{number:04d}" for number in range(1_000)]
    async with open_feed(platform) as feed:
        batches = await statuses(feed, ids)
    assert sorted(rejected(batches)) == [("status_refused", local_id) for local_id in ids]
    assert len(asked(platform)) <= 20 + 64


@pytest.mark.parametrize("ret", [4001, 4002, 4003])
async def test_a_refusal_of_the_call_itself_ends_the_run_at_once(ret: int) -> None:
    platform = Platform()
    platform.answers[STATION_STATUS] = lambda _: platform.refusal(ret)
    async with open_feed(platform, **limits(status_page_size=1)) as feed:
        with pytest.raises(RefusedError):
            await statuses(feed, FIVE)
    assert len(asked(platform)) <= 2


@pytest.mark.parametrize("answer", [Platform().refusal(500), Response("", 502), Response('{"code":500}')])
async def test_a_call_that_fails_costs_its_stations_and_not_the_others(answer: Response) -> None:
    platform = Platform()

    def fail(request: dict[str, Any]) -> Any:
        return answer if "0002" in request["StationIDs"] else platform.status(request)

    platform.answers[STATION_STATUS] = fail
    async with open_feed(platform, **limits(status_page_size=2, retries=1)) as feed:
        batches = await statuses(feed, FIVE)
    assert told(batches) == ["0003001", "0004001", "0005001"]
    assert rejected(batches) == [("status_unanswered", "0001"), ("status_unanswered", "0002")]


async def test_only_failures_one_after_another_end_the_run() -> None:
    platform = Platform()
    answers = {"0001": -1, "0002": -1, "0003": 4004, "0004": -1}

    def fail(request: dict[str, Any]) -> Any:
        ret = answers.get(request["StationIDs"][0])
        return platform.status(request) if ret is None else platform.refusal(ret)

    platform.answers[STATION_STATUS] = fail
    async with open_feed(platform, **limits(status_page_size=1, retries=0)) as feed:
        batches = await statuses(feed, FIVE)
    assert told(batches) == ["0005001"]
    assert [reason for reason, _ in rejected(batches)] == [
        "status_unanswered",
        "status_unanswered",
        "status_refused",
        "status_unanswered",
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 40])
async def test_a_platform_that_fails_every_call_fails_the_run(count: int) -> None:
    platform = Platform()
    platform.answers[STATION_STATUS] = lambda _: platform.refusal(-1)
    ids = [f"{number:04d}" for number in range(count)]
    async with open_feed(platform, **limits(status_page_size=1, retries=0)) as feed:
        with pytest.raises(FeedUnreachableError):
            await statuses(feed, ids)
    assert len(asked(platform)) <= 4


async def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    platform = Platform()
    platform.answers[STATION_STATUS] = lambda _: {"ConnectorStatusInfos": [0] * 200_001}
    async with open_feed(platform) as feed:
        with pytest.raises(FeedProtocolError, match="more than 200000"):
            await statuses(feed, FIVE)


@pytest.mark.parametrize(
    ("changes", "is_live"),
    [
        ({}, True),
        ({"serve": None}, True),
        ({"schedule": {"status_every_s": "off"}}, True),
        ({"serve": None, "schedule": {"status_every_s": "off"}}, False),
    ],
)
async def test_a_feed_that_hears_no_status_has_none(changes: dict[str, Any], is_live: bool) -> None:
    profile = {key: value for key, value in table(**changes).items() if value is not None}
    feed = make_feed(profile, FeedContext(feed="teld", clock=ManualClock(), ledger=MemoryLedger()))
    assert feed.has_live_status is is_live
    await feed.close()
