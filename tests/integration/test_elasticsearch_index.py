"""The station index on a real Elasticsearch: what the contract suite cannot say for every technology."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import httpx
import msgspec
import pytest
from elasticsearch import Elasticsearch

from app.errors import UnavailableError
from app.index import _document, _es_store, elasticsearch
from app.index._document import index_lines, text_tokens
from app.index._es_client import READ, Budget, RefusedError
from app.index._packing import PackedStation, pack_station
from app.index._text import fold
from app.index.base import ReplaceSummary, StationIndex
from app.index.elasticsearch import ElasticsearchIndex
from app.index.embedded import EmbeddedIndex
from app.live.embedded import EmbeddedLiveBoard
from app.model.agreement import NOTHING_WITHHELD, Withheld
from app.model.availability import Availability
from app.model.cluster import ClusterSearch
from app.model.geo import BoundingBox, Point, distance_m
from app.model.search import Area, AvailabilityView, Corridor, Near, Position, Search, SearchPage, StationFilter, Where
from app.model.station import Access, ConnectorType, Station
from tests.builders import NOON, PlainView, build_station, build_status, random_station, random_status, scatter
from tests.integration.redis_traffic import eventually
from tests.servers.elasticsearch import ElasticsearchCluster
from tests.servers.fixtures import StartElasticsearch
from tests.servers.process import LOOPBACK
from tests.servers.proxy import Proxy

HERE = Point(lon=121.5, lat=31.2)
EVERYWHERE = Area(box=BoundingBox(west=-180, south=-90, east=180, north=90))
NEARBY = Near(center=HERE, radius_m=1_000)
FEEDS = ("teld", "star", "ocpi")


@pytest.fixture
async def opened() -> AsyncIterator[AsyncExitStack]:
    """What a test opened, closed when it ends."""
    async with AsyncExitStack() as stack:
        yield stack


async def open_index(opened: AsyncExitStack, urls: Sequence[str], prefix: str, view: Any = None) -> ElasticsearchIndex:
    index = ElasticsearchIndex(urls, PlainView() if view is None else view, prefix)
    await index.open()
    opened.push_async_callback(index.close)
    return index


async def replace(index: StationIndex, statement: Sequence[Station], feed: str = "teld") -> ReplaceSummary:
    replacement = await index.open_replacement(feed)
    for first in range(0, len(statement), 1_000):
        await replacement.add(statement[first : first + 1_000])
    return await replacement.commit(remove_missing=True)


async def look(index: StationIndex, where: Where = EVERYWHERE, first: int = 100, **wanted: Any) -> SearchPage:
    return await index.search(Search(where=where, filter=StationFilter(**wanted), first=first, at=NOON))


def names_of(client: Elasticsearch, prefix: str) -> set[str]:
    return set(client.indices.get(index=f"{prefix}*", expand_wildcards="all"))


# ------------------------------------------------------------------------------------------------- as the embedded one


async def open_both(
    opened: AsyncExitStack, folder: Path, url: str, prefix: str
) -> tuple[EmbeddedIndex, ElasticsearchIndex, EmbeddedLiveBoard]:
    board = EmbeddedLiveBoard(folder / "live.sqlite")
    await board.open()
    opened.push_async_callback(board.close)
    embedded = EmbeddedIndex(folder / "stations.sqlite", board)
    await embedded.open()
    opened.push_async_callback(embedded.close)
    return embedded, await open_index(opened, [url], prefix, board), board


def random_where(random: Random, stations: Sequence[Station]) -> Where:
    near = random.choice(stations).location or HERE
    other = random.choice(stations).location or HERE
    kind = random.random()
    if kind < 0.2:
        ways = [
            random.choice((near, other, Point(lon=near.lon, lat=near.lat * 0.97))) for _ in range(random.randint(2, 5))
        ]
        width_m = random.choice((0.0, 50.0, 2_000.0, 20_000.0))
        return Corridor(line=tuple((way.lon, way.lat) for way in ways), width_m=width_m)
    if kind < 0.5:
        center = near if random.random() < 0.5 else Point(lon=near.lon, lat=max(-90.0, near.lat - 0.01))
        exact = distance_m(center.lon, center.lat, other.lon, other.lat)
        return Near(center=center, radius_m=random.choice((0.0, 50.0, 2_000.0, 20_000.0, 100_000.0, exact)))
    west, east = (near.lon, other.lon) if random.random() < 0.5 else (near.lon - 0.02, near.lon + 0.02)
    south, north = sorted((near.lat, other.lat if random.random() < 0.5 else near.lat + 0.02))
    box = BoundingBox(west=max(-180.0, west), south=south, east=min(180.0, east), north=min(90.0, north))
    if kind < 0.8:
        return Area(box=box)
    ring = ((box.west, south), (near.lon, south), (box.east, box.north), (box.west, box.north))
    return Area(polygons=((ring,),), box=random.choice((None, box)))


def random_withheld(random: Random) -> Withheld:
    operators = [f"{feed}:{party}" for feed in FEEDS for party in "abc"]
    return Withheld(
        feeds=frozenset(random.sample(FEEDS, random.choice((0, 1)))),
        but_of=frozenset(random.sample(operators, random.choice((0, 2)))),
        operators=frozenset(random.sample(operators, random.choice((0, 2)))),
    )


def random_filter(random: Random) -> StationFilter:
    def some(share: float) -> bool:
        return random.random() < share

    types = (ConnectorType.GBT_DC, ConnectorType.GBT_AC, ConnectorType.UNKNOWN, ConnectorType.MCS)
    operators = [f"{feed}:{party}" for feed in FEEDS for party in "abc"]
    texts = ("特来电", "充电", "ark", "1", "Straße juni", "上海市 路", "(虹桥)", "x", "İ", "")
    return StationFilter(
        connector_types=frozenset(random.sample(types, random.choice((1, 1, 2)))) if some(0.4) else frozenset(),
        min_power_w=random.choice((0, 1, 7_000, 60_000, 60_001, 500_000)) if some(0.3) else None,
        available_now=some(0.25),
        max_status_age_s=random.choice((0.0, 5.0, 60.0, 3_600.0)) if some(0.15) else None,
        operator_ids=frozenset(random.sample(operators, 3)) if some(0.2) else frozenset(),
        access=frozenset(random.sample(tuple(Access), 3)) if some(0.2) else frozenset(),
        open_now=some(0.2),
        text=random.choice(texts) if some(0.3) else None,
        hidden=random_withheld(random) if some(0.3) else NOTHING_WITHHELD,
    )


async def fill_both(
    random: Random, indexes: Sequence[StationIndex], board: EmbeddedLiveBoard, count: int
) -> list[Station]:
    around = [Point(lon=random.uniform(100, 122), lat=random.uniform(22, 41)) for _ in range(max(3, count // 500))]
    around += [Point(lon=180.0, lat=0.0), Point(lon=-179.99, lat=-17.0), Point(lon=0.0, lat=89.99)]
    everything: list[Station] = []
    for feed in FEEDS:
        spots: list[Point | None] = [*scatter(random, count // len(FEEDS), around, 0.1), None]
        stations = [random_station(random, number, feed=feed, location=spot) for number, spot in enumerate(spots)]
        for index in indexes:
            await replace(index, stations, feed)
        everything += stations
    evse_ids = [evse.id for station in everything for evse in station.evses]
    await board.record([random_status(random, evse_id) for evse_id in evse_ids if random.random() < 0.8])
    for evse_id in random.sample(evse_ids, len(evse_ids) // 20):
        board.set_hold(evse_id, NOON + 60)
    return everything


async def agree(
    opened: AsyncExitStack, folder: Path, url: str, prefix: str, *, count: int, searches: int, seed: int
) -> None:
    random = Random(seed)
    embedded, elastic, board = await open_both(opened, folder, url, prefix)
    stations = await fill_both(random, (embedded, elastic), board, count)
    located = [station for station in stations if station.location is not None]
    found = 0
    for number in range(searches):
        search = Search(
            where=random_where(random, located),
            filter=random_filter(random),
            first=random.choice((1, 5, 20, 100)),
            at=NOON + random.choice((0.0, 0.7, 30.0)),
        )
        for _ in range(3):
            expected, answered = await embedded.search(search), await elastic.search(search)
            assert answered == expected, (number, search)
            found += len(expected.hits)
            if not expected.has_next:
                break
            last = expected.hits[-1]
            key = (last.distance_m or 0.0) if last.along_m is None else last.along_m
            search = msgspec.structs.replace(search, after=Position(key, last.station_id))
    assert found > searches
    wanted = [station.id for station in random.sample(stations, min(200, len(stations)))]
    evses = [evse.id for station in stations[:100] for evse in station.evses]
    assert await elastic.find_stations(wanted) == await embedded.find_stations(wanted)
    assert await elastic.find_station_of_evse(evses) == await embedded.find_station_of_evse(evses)


async def test_stations_are_counted_by_tiles_as_by_the_embedded_index(
    opened: AsyncExitStack,
    tmp_path: Path,
    elasticsearch_url: str,
    index_prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exactly, edges of tiles and boxes included, whether it looks at each station or lets Elasticsearch count."""
    random = Random(3)
    embedded, elastic, board = await open_both(opened, tmp_path, elasticsearch_url, index_prefix)
    stations = await fill_both(random, (embedded, elastic), board, 2_000)
    spots = [station.location for station in stations if station.location is not None]
    for number in range(60):
        one, other, zoom = random.choice(spots), random.choice(spots), random.choice((0, 3, 6, 6, 10, 14, 20))
        if zoom > 6:
            other = Point(lon=min(one.lon + 0.1 / 2 ** (zoom - 10), 180.0), lat=one.lat)
        south, north = sorted((one.lat, other.lat))
        search = ClusterSearch(
            box=BoundingBox(west=one.lon, south=south, east=other.lon, north=north),
            zoom=zoom,
            filter=random_filter(random),
            at=NOON,
        )
        expected = await embedded.list_clusters(search)
        assert await elastic.list_clusters(search) == expected, (number, search)
        with monkeypatch.context() as patched:
            patched.setattr(elasticsearch, "_COUNTED_ONE_BY_ONE", -1)
            numbers = await elastic.list_clusters(search)
        assert [(one.x, one.y, one.count) for one in numbers] == [(one.x, one.y, one.count) for one in expected]
        for counted, known in zip(numbers, expected, strict=True):
            assert (counted.center.lon, counted.center.lat) == pytest.approx(
                (known.center.lon, known.center.lat), rel=0, abs=2e-7
            )


async def test_random_searches_are_answered_as_by_the_embedded_index(
    opened: AsyncExitStack, tmp_path: Path, elasticsearch_url: str, index_prefix: str
) -> None:
    await agree(opened, tmp_path, elasticsearch_url, index_prefix, count=2_000, searches=150, seed=1)


@pytest.mark.soak
async def test_two_thousand_searches_over_fifty_thousand_stations_are_answered_as_by_the_embedded_index(
    opened: AsyncExitStack, tmp_path: Path, start_elasticsearch: StartElasticsearch
) -> None:
    # Its columns of everything, thousands of times, are more than the 256 MB of the shared node can take.
    url = start_elasticsearch(heap="1g").url
    await agree(opened, tmp_path, url, "soak", count=50_000, searches=2_000, seed=2)


async def test_more_stations_than_one_answer_holds_are_counted_listed_and_searched_exactly(
    opened: AsyncExitStack, elasticsearch_url: str, index_prefix: str
) -> None:
    view = PlainView()
    index = await open_index(opened, [elasticsearch_url], index_prefix, view)
    stations = [build_station(number) for number in range(10_050)]
    assert (await replace(index, stations)).changed == 10_050
    assert await replace(index, stations) == ReplaceSummary(indexed=10_050, changed=0, removed=0)
    view.tell([build_status(station.evses[0].id) for station in stations[::2]])
    free = await look(index, available_now=True)
    assert (free.total_count, free.has_next) == (5_025, True)
    assert [hit.station_id for hit in free.hits] == [station.id for station in stations[:200:2]]
    # They all stand on one point, so that distances say nothing: the last ones come by their ids alone.
    late = Search(where=NEARBY, filter=StationFilter(), first=10, at=NOON, after=Position(0.0, stations[10_044].id))
    page = await index.search(late)
    assert [hit.station_id for hit in page.hits] == [station.id for station in stations[10_045:]]
    assert (page.total_count, page.has_next) == (10_050, False)
    listed = [local_id async for part in index.list_station_local_ids("teld", 100_000) for local_id in part]
    assert listed == [station.local_id for station in stations]


# ----------------------------------------------------------------------------------------------------------------- text


async def test_the_analyzer_makes_one_token_of_each_character(elasticsearch_url: str, index_prefix: str) -> None:
    every = "".join(chr(code) for code in (*range(0x20, 0x2E00), *range(0x3000, 0xA000), *range(0xF900, 0x10000)))
    parts = [fold(every[first : first + 1_000]) for first in range(0, len(every), 1_000)]
    parts.append(fold("👩‍👩‍👧 e\u0301 \U00020000\U0001f1e8\U0001f1f3 “x”…\n特来电7号"))
    with Elasticsearch(elasticsearch_url) as client:
        client.indices.create(index=index_prefix, settings={"index.analyze.max_token_count": 100_000})
        for part in parts:
            found = client.indices.analyze(index=index_prefix, analyzer="standard", text=text_tokens(part))
            assert len(found["tokens"]) == len(part)
            assert [token["position"] for token in found["tokens"]] == list(range(len(part)))


async def test_the_plain_analyzer_would_not_find_parts_of_words(elasticsearch_url: str, index_prefix: str) -> None:
    """Why text is written as one token a character: what match_phrase over ``standard`` finds and what it loses."""
    with Elasticsearch(elasticsearch_url) as client:
        client.indices.create(index=index_prefix, mappings={"properties": {"text": {"type": "text"}}})
        client.index(index=index_prefix, document={"text": "ladepark 特来电第77充电站 a-b"}, refresh=True)
        finds = {
            word: client.count(index=index_prefix, query={"match_phrase": {"text": word}})["count"]
            for word in ("特来电", "ladepark", "park", "特来电第7", "-", "a-b", "a b")
        }
    assert finds == {"特来电": 1, "ladepark": 1, "park": 0, "特来电第7": 0, "-": 0, "a-b": 1, "a b": 1}


# -------------------------------------------------------------------------------------------------------- several at it


async def test_what_another_process_commits_is_seen_at_once_and_nothing_old_is_remembered(
    opened: AsyncExitStack, elasticsearch_url: str, index_prefix: str
) -> None:
    mine = await open_index(opened, [elasticsearch_url], index_prefix)
    theirs = await open_index(opened, [elasticsearch_url], index_prefix)
    (station_id,) = [build_station(1).id]
    await replace(mine, [build_station(1, name="0")])
    for number in range(1, 4):
        assert [hit.station_id for hit in (await look(mine, NEARBY)).hits] == [station_id]
        assert (await mine.find_stations([station_id]))[0] == build_station(1, name=str(number - 1))
        await look(mine, NEARBY)
        await theirs.upsert_stations("teld", [build_station(1, name=str(number))])
        assert (await mine.find_stations([station_id]))[0] == build_station(1, name=str(number))
        await look(mine, NEARBY)
        await replace(theirs, [build_station(1, name="replaced")])
        assert (await mine.find_stations([station_id]))[0] == build_station(1, name="replaced")
        await theirs.upsert_stations("teld", [build_station(1, name=str(number))])


async def test_stations_just_found_are_not_asked_for_again(
    opened: AsyncExitStack, elasticsearch_url: str, index_prefix: str
) -> None:
    index = await open_index(opened, [elasticsearch_url], index_prefix)
    await replace(index, [build_station(number) for number in range(20)])
    first = await index.find_stations([hit.station_id for hit in (await look(index, NEARBY)).hits])
    again = await index.find_stations([hit.station_id for hit in (await look(index, NEARBY)).hits])
    assert len(first) == 20
    assert all(one is other for one, other in zip(first, again, strict=True))


def searches_asked(client: Elasticsearch) -> dict[str, int]:
    """How many requests for searches the node was sent so far, by their route."""
    found: dict[str, int] = {}
    for node in client.nodes.stats(metric="http")["nodes"].values():
        for route, told in node["http"]["routes"].items():
            if "search" in route or "_pit" in route:
                found[route] = found.get(route, 0) + told["requests"]["count"]
    return found


async def test_a_batch_is_one_request_and_its_stations_are_not_asked_for_again(
    opened: AsyncExitStack, start_elasticsearch: StartElasticsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    for budget in ("READ", "BATCH"):  # requests are counted: a slow machine must not make it two
        monkeypatch.setattr(f"app.index._es_client.{budget}", Budget(60.0, 1, 60.0))
    node = start_elasticsearch()
    view = PlainView()
    index = await open_index(opened, [node.url], "batch", view)
    random = Random(4)

    def somewhere() -> Point:
        return Point(lon=HERE.lon + random.uniform(-0.1, 0.1), lat=HERE.lat + random.uniform(-0.1, 0.1))

    stations = [build_station(number, location=somewhere()) for number in range(200)]
    await replace(index, stations)
    view.tell([build_status(station.evses[0].id) for station in stations[::2]])
    assert None not in await index.find_stations([station.id for station in stations])

    async def asked_for(searches: Sequence[Search]) -> tuple[list[SearchPage], dict[str, int]]:
        before = searches_asked(client)
        pages = await index.search_many(searches)
        found = await index.find_stations([hit.station_id for page in pages for hit in page.hits])
        assert None not in found
        after = searches_asked(client)
        return pages, {route: count - before.get(route, 0) for route, count in after.items()}

    near = [Near(center=somewhere(), radius_m=5_000) for _ in range(100)]
    plain = [Search(where=where, filter=StationFilter(), first=5, at=NOON) for where in near]
    free = [msgspec.structs.replace(search, filter=StationFilter(available_now=True)) for search in plain]
    with node.client() as client:
        pages, requests = await asked_for(plain)
        assert (requests.pop("/{index}/_msearch"), sum(requests.values())) == (1, 0)
        assert sum(len(page.hits) for page in pages) > 300
        few, requests = await asked_for(free[:12])
        assert (requests.pop("/{index}/_msearch"), sum(requests.values())) == (1, 0)
        many, requests = await asked_for(free)
        assert 1 < requests.pop("/{index}/_msearch") < 10, "large answers are not asked for all at once"
        assert (sum(requests.values()), many[:12]) == (0, few)
        before = searches_asked(client)
        at_once = await asyncio.gather(*(index.search(search) for search in plain))
        after = searches_asked(client)
        assert (list(at_once), sum(after.values()) - sum(before.values()) < 80) == (pages, True), "they share requests"
        alone, requests = await asked_for(plain[:1])
        assert (requests.pop("/{index}/_search"), sum(requests.values()), alone) == (1, 0, pages[:1])


async def test_what_is_refused_of_a_batch_is_refused_as_alone(
    opened: AsyncExitStack, elasticsearch_url: str, index_prefix: str
) -> None:
    index = await open_index(opened, [elasticsearch_url], index_prefix)
    decoder = msgspec.json.Decoder(dict[str, Any])
    good, bad = {"query": {"match_all": {}}, "size": 1}, {"query": {"no_such": {}}, "size": 1}

    async def kind_of(name: str, requests: Sequence[dict[str, Any]]) -> tuple[int, str]:
        with pytest.raises(RefusedError) as caught:
            await index._cluster.search_many(name, requests, decoder, "hits.total.value")
        return caught.value.status, caught.value.kind

    alias = index._store.alias
    counted = {"hits": {"total": {"value": 0}}, "status": 200}
    assert await index._cluster.search_many(alias, [good, good], decoder, "hits.total.value") == [counted, counted]
    assert await kind_of(alias, [good, bad]) == await kind_of(alias, [bad])
    assert (
        await kind_of("nobody", [good, good]) == await kind_of("nobody", [good]) == (404, "index_not_found_exception")
    )


async def test_processes_that_commit_at_the_same_time_lose_nothing(
    opened: AsyncExitStack, elasticsearch_url: str, index_prefix: str
) -> None:
    indexes = [await open_index(opened, [elasticsearch_url], index_prefix) for _ in range(3)]

    async def state(index: ElasticsearchIndex, feed: str) -> None:
        for turn in range(4):
            statement = [build_station(number, feed=feed, name=f"turn {turn}") for number in range(30 + turn)]
            assert (await replace(index, statement, feed)).indexed == 30 + turn

    async def upsert(index: ElasticsearchIndex) -> None:
        for number in range(25):
            summary = await index.upsert_stations("delta", [build_station(number, feed="delta")])
            assert summary.changed == 1

    await asyncio.gather(state(indexes[0], "teld"), state(indexes[1], "star"), upsert(indexes[2]))
    for index in indexes:
        assert await index.count_stations() == {"teld": 33, "star": 33, "delta": 25}
        assert (await look(index, text="turn")).total_count == 66
        assert (await look(index, text="3 turn", hidden=Withheld(feeds=frozenset({"delta"})))).total_count == 66


async def test_evses_that_another_process_adds_become_known_to_the_live_board(
    opened: AsyncExitStack, elasticsearch_url: str, index_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.index.elasticsearch._LEARN_EVERY_S", 0.1)
    theirs = await open_index(opened, [elasticsearch_url], index_prefix)
    await replace(theirs, [build_station(1)])
    board = EmbeddedLiveBoard(tmp_path / "live.sqlite")
    await board.open()
    opened.push_async_callback(board.close)
    await open_index(opened, [elasticsearch_url], index_prefix, board)
    assert (await board.record([build_status(build_station(1).evses[0].id)])).taken == 1
    added = build_status(build_station(2).evses[0].id)
    assert (await board.record([added])).unknown_evses == 1
    await theirs.upsert_stations("teld", [build_station(2)])
    async with asyncio.timeout(20):
        while (await board.record([added])).unknown_evses:  # noqa: ASYNC110 - nobody says when
            await asyncio.sleep(0.05)


async def test_live_status_is_never_written_to_elasticsearch(
    opened: AsyncExitStack, elasticsearch_url: str, index_prefix: str, tmp_path: Path
) -> None:
    board = EmbeddedLiveBoard(tmp_path / "live.sqlite")
    await board.open()
    opened.push_async_callback(board.close)
    index = await open_index(opened, [elasticsearch_url], index_prefix, board)
    stations = [build_station(number) for number in range(30)]
    await replace(index, stations)
    before = await index._store.state()
    for availability in (Availability.AVAILABLE, Availability.CHARGING):
        statuses = [build_status(one.evses[0].id, availability, received_at=board_time()) for one in stations]
        assert (await board.record(statuses)).taken == 30
        expected = 30 if availability is Availability.AVAILABLE else 0
        assert (await look(index, NEARBY, available_now=True)).total_count == expected
    assert await index._store.state() == before


_received = [NOON]


def board_time() -> float:
    """A moment later than the last one: of two statuses the board takes the one that was received later."""
    _received[0] += 1
    return _received[0]


# --------------------------------------------------------------------------------------------------------- what is left


def noise(seed: int) -> str:
    """Text that takes as much space however it is packed."""
    return Random(seed).randbytes(2_000).hex()


async def test_a_commit_leaves_one_index_and_a_failed_one_the_old_one(
    opened: AsyncExitStack, elasticsearch_url: str, index_prefix: str
) -> None:
    index = await open_index(opened, [elasticsearch_url], index_prefix)
    with Elasticsearch(elasticsearch_url) as client:
        large = [build_station(number, remark=noise(number)) for number in range(4_000)]
        await replace(index, large)
        (stations, operators) = sorted(names_of(client, index_prefix), reverse=True)
        assert stations.startswith(f"{index_prefix}-stations-000002-") and "-operators-" in operators

        replacement = await index.open_replacement("teld")
        await replacement.add([build_station(number, remark=noise(4_000 + number)) for number in range(4_000)])
        staged = names_of(client, index_prefix) - {stations, operators}
        assert len(staged) == 1
        for name in staged:  # as if the node with it had burnt down
            client.indices.delete(index=name)
        with pytest.raises(UnavailableError):
            await replacement.commit(remove_missing=True)
        assert names_of(client, index_prefix) == {stations, operators}
    assert await index.find_stations([large[7].id]) == [large[7]]


async def test_what_a_crash_left_is_removed(
    opened: AsyncExitStack, elasticsearch_url: str, index_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashed = await open_index(opened, [elasticsearch_url], index_prefix)
    await replace(crashed, [build_station(1)])
    with Elasticsearch(elasticsearch_url) as client:
        whole = names_of(client, index_prefix)
        await crashed._store.build_staged("teld")
        other = await crashed._store.build_staged("star")
        live = await crashed._store.live()
        await crashed._store._close(live)
        successor = await crashed._store._clone(live, live)
        index = await open_index(opened, [elasticsearch_url], index_prefix)
        left = whole | {other.name, successor.name}
        await index.open_replacement("teld")
        assert names_of(client, index_prefix) == left, "of the feed, and nothing that may be in use"
        monkeypatch.setattr(_es_store, "_ABANDONED_MS", 0)
        monkeypatch.setattr(_es_store, "_STAGED_ABANDONED_MS", 0)
        reopened = await open_index(opened, [elasticsearch_url], index_prefix)
        assert names_of(client, index_prefix) == whole
    # The crash left the index closed to writing: whoever writes next goes on in a successor.
    assert (await reopened.upsert_stations("teld", [build_station(2)])).changed == 1
    assert (await look(reopened)).total_count == 2
    assert (await reopened.upsert_stations("teld", [build_station(3)])).changed == 1
    assert (await look(index)).total_count == 3


async def test_a_successor_that_is_in_force_is_never_taken_for_left_over(
    opened: AsyncExitStack, elasticsearch_url: str, index_prefix: str
) -> None:
    index = await open_index(opened, [elasticsearch_url], index_prefix)
    await replace(index, [build_station(1)])
    store = index._store
    live = await store.live()
    await store._close(live)
    successor, slower = await store._clone(live, live), await store._clone(live, live)
    await store._put_in_force(successor, live, 1)
    await store._put_in_force(successor, live, 1)  # as after an answer that was lost
    await store.drop(successor)
    assert (await look(index)).total_count == 1
    with pytest.raises(_es_store.ReplacedError):
        await store._put_in_force(slower, live, 1)
    await store.drop(slower)
    assert await store.live() == successor.name


def pack_as_json(station: Station) -> PackedStation:
    """Pack a station as it was kept once."""
    content: Any = msgspec.Raw(msgspec.json.encode(station))
    return pack_station(station)._replace(content=content)


async def test_documents_of_another_layout_are_built_anew(
    opened: AsyncExitStack, elasticsearch_url: str, index_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(_document, "DOCUMENT_LAYOUT", "an older one")
        patched.setattr(_es_store, "DOCUMENT_LAYOUT", "an older one")
        patched.setattr(_document, "text_tokens", lambda text: "older")
        patched.setitem(_document.STATION_FIELDS, "doc", {"type": "object", "enabled": False})
        patched.setattr(_document, "pack_station", pack_as_json)
        older = await open_index(opened, [elasticsearch_url], index_prefix)
        stations = [build_station(number) for number in range(700)]
        await replace(older, stations)
        before = await older._store.live()
    assert (await look(older, text="充电站")).total_count == 0
    newer = await open_index(opened, [elasticsearch_url], index_prefix)
    assert await newer._store.live() != before
    assert (await look(newer, text="充电站")).total_count == 700
    assert await newer.find_stations([stations[5].id]) == [stations[5]]
    assert await replace(newer, stations) == ReplaceSummary(indexed=700, changed=0, removed=0)


async def test_documents_that_are_refused_are_named(
    opened: AsyncExitStack, elasticsearch_url: str, index_prefix: str
) -> None:
    index = await open_index(opened, [elasticsearch_url], index_prefix)
    good, bad = index_lines("good", b'{"id":"good"}'), index_lines("bad", b'{"no_such_field":1}')
    with pytest.raises(RefusedError, match="1 of 2 documents were refused: bad: strict_dynamic_mapping") as caught:
        await index._cluster.bulk(index._store.alias, [good, bad])
    assert caught.value.status == 400
    with pytest.raises(RefusedError, match="index_not_found"):
        await index._cluster.bulk(f"{index_prefix}-mistyped", [good])


# ------------------------------------------------------------------------------------------------------------- failures


async def test_a_cluster_that_is_not_there_is_unavailable(free_port: int) -> None:
    view: AvailabilityView = PlainView()
    index = ElasticsearchIndex([f"http://127.0.0.1:{free_port}"], view)
    with pytest.raises(UnavailableError):
        await look(index)
    index._cluster.open()
    async with asyncio.timeout(10):
        with pytest.raises(UnavailableError) as caught:
            await look(index)
    assert caught.value.retry_after_s
    await index.close()
    await index.close()


async def test_who_stops_waiting_for_a_long_search_does_not_wait_for_its_end(
    opened: AsyncExitStack, elasticsearch_url: str, index_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.index.elasticsearch.PAGE_HITS", 5)  # so that it reads page by page, as of one moment
    port = httpx.URL(elasticsearch_url).port
    assert port is not None
    proxy = await opened.enter_async_context(Proxy(port))
    index = await open_index(opened, [f"http://{LOOPBACK}:{proxy.port}"], index_prefix, PlainView())
    await replace(index, [build_station(number) for number in range(12)])
    client = opened.enter_context(Elasticsearch(elasticsearch_url))

    def searches() -> int:
        about: dict[str, Any] = client.indices.stats(index=f"{index_prefix}*", metric="search").body["_all"]
        count: int = about["total"]["search"]["query_total"]
        return count

    before = searches()
    proxy.delay(0.2)
    searching = asyncio.create_task(look(index, available_now=True))
    await eventually(lambda: asyncio.to_thread(lambda: searches() >= before + 2))
    proxy.stall()
    searching.cancel()
    await asyncio.wait([searching], timeout=READ.try_s)
    assert searching.done()
    proxy.resume()


async def test_a_hung_node_is_unavailable_in_time_and_answers_again_when_it_goes_on(
    opened: AsyncExitStack, start_elasticsearch: StartElasticsearch
) -> None:
    node = start_elasticsearch()
    index = await open_index(opened, [node.url], "hung")
    await replace(index, [build_station(1)])
    node.pause()
    async with asyncio.timeout(15):
        with pytest.raises(UnavailableError):
            await look(index)
    node.resume()
    async with asyncio.timeout(60):
        while True:
            try:
                assert (await look(index)).total_count == 1
                break
            except UnavailableError:
                await asyncio.sleep(0.2)


async def test_the_death_of_the_node_with_the_primary_stops_no_search_and_loses_nothing_acknowledged(
    opened: AsyncExitStack, elasticsearch_cluster: ElasticsearchCluster
) -> None:
    cluster = elasticsearch_cluster
    index = await open_index(opened, cluster.urls, "kill")
    steady = [build_station(number) for number in range(200)]
    await replace(index, steady)
    acknowledged: list[Station] = []
    statements = searches = 0
    enough: tuple[float, float] = (inf, inf)

    def goes_on() -> bool:
        return len(acknowledged) < enough[0] or statements < enough[1]

    async def search() -> None:
        nonlocal searches
        while goes_on():
            assert ((await look(index, NEARBY, first=5)).total_count or 0) >= 200
            searches += 1

    async def upsert() -> None:
        while goes_on():
            station = build_station(1_000 + len(acknowledged))
            await index.upsert_stations("teld", [station])
            acknowledged.append(station)

    async def state() -> None:
        nonlocal statements
        while goes_on():
            statement = [build_station(number, feed="star", name=f"turn-{statements}") for number in range(50)]
            assert (await replace(index, statement, "star")).changed == 50
            statements += 1

    async def kill() -> None:
        nonlocal enough
        while len(acknowledged) < 3 or not statements:  # noqa: ASYNC110 - what is waited for is counted
            await asyncio.sleep(0.01)
        node = await asyncio.to_thread(cluster.holder_of_primary, "kill-stations")
        await asyncio.to_thread(node.kill)
        enough = len(acknowledged) + 5, statements + 2

    async with asyncio.timeout(150):
        await asyncio.gather(search(), search(), upsert(), state(), kill())
    assert searches > 20 and len(acknowledged) >= 8
    found = await index.find_stations([station.id for station in (*steady, *acknowledged)])
    assert found == [*steady, *acknowledged]
    assert (await look(index, text=f"turn-{statements - 1}")).total_count == 50, "the last acknowledged statement"
