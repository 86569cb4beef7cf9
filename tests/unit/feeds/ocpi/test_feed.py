"""The feed against a real party on loopback: paging, tokens, deltas, deletes, and what the public may see."""

import asyncio
import base64
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import orjson
import pytest

from app.errors import FeedProtocolError, FeedUnreachableError
from app.feeds.embedded import EmbeddedFeedLedger
from app.index.embedded import EmbeddedIndex
from app.live.embedded import EmbeddedLiveBoard
from app.model.availability import Availability
from app.model.clock import Clock, ManualClock
from app.model.geo import Point
from app.model.search import Near, Search, StationFilter
from app.model.station import ConnectorType, PowerBasis, Presence
from indexers.base import FeedContext, StationBatch
from indexers.feeds.ocpi import OcpiFeed
from indexers.feeds.ocpi.profile import read_profile
from indexers.feeds.ocpi.pull import Puller
from indexers.http_source import HttpSource
from indexers.pipeline import Ports, run_delta, run_full

UTRECHT = Point(lon=5.12142, lat=52.09074)
PATH = "/ocpi/2.2.1/locations"


def location(number: int, **changes: Any) -> dict[str, Any]:
    connector = {"id": "1", "standard": "IEC_62196_T2", "power_type": "AC_3_PHASE", "max_electric_power": 22000}
    return {
        "country_code": "NL",
        "party_id": "TST",
        "id": f"L{number}",
        "publish": True,
        "country": "NLD",
        "coordinates": {"latitude": "52.09074", "longitude": "5.12142"},
        "evses": [{"uid": "E1", "status": "AVAILABLE", "connectors": [connector]}],
        "last_updated": "2026-01-01T00:00:00Z",
        **changes,
    }


def evse(status: str, uid: str = "E1") -> dict[str, Any]:
    return {"uid": uid, "status": status}


class Party:
    """Answers each address with what a test put there; ``{own}`` in a header is the server's address."""

    def __init__(self) -> None:
        self.url = ""
        self.pages: dict[str, tuple[Any, dict[str, str]]] = {PATH: ([], {})}
        self.statuses: list[int] = []
        """What the next requests are answered with instead of 200."""
        self.admits: Callable[[str | None], bool] = lambda _: True
        self.refusal = 401
        self.heard: list[tuple[str, dict[str, str]]] = []

    def says(self, *locations: Any) -> None:
        self.pages = {PATH: (list(locations), {})}

    def links(self, *pages: list[Any], last: str | None = None) -> None:
        """Lay out pages, each linked to the next one; the last one to whatever the test says."""
        self.pages = {}
        for number, page in enumerate(pages):
            following = f"{{own}}{PATH}?page={number + 1}" if number + 1 < len(pages) else last
            path = PATH if number == 0 else f"{PATH}?page={number}"
            self.pages[path] = (page, {} if following is None else {"Link": f'<{following}>; rel="next"'})

    def asked(self) -> list[str]:
        return [path for path, _ in self.heard]

    def answer(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        self.heard.append((path, headers))
        if self.statuses:
            return self.statuses.pop(0), {"Retry-After": "0"}, b"{}"
        if not self.admits(headers.get("authorization")):
            return self.refusal, {}, orjson.dumps({"status_code": 2001, "timestamp": "2026-01-01T00:00:00Z"})
        page, extra = self.pages.get(path, self.pages.get(path.partition("?")[0], ([], {})))
        body = page if isinstance(page, dict) else {"data": page, "status_code": 1000}
        return 200, {name: value.format(own=self.url) for name, value in extra.items()}, orjson.dumps(body)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                status, extra, body = self.answer(first.split(" ")[1], headers)
                head = [
                    f"HTTP/1.1 {status} X",
                    f"Content-Length: {len(body)}",
                    *(f"{k}: {v}" for k, v in extra.items()),
                ]
                writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def listening() -> AsyncIterator[Party]:
    party = Party()
    server = await asyncio.start_server(party.converse, "127.0.0.1", 0)
    party.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield party
    finally:
        server.close()


@pytest.fixture
async def party() -> AsyncIterator[Party]:
    async with listening() as listener:
        yield listener


@pytest.fixture
async def ports(tmp_path: Path) -> AsyncIterator[Ports]:
    board = EmbeddedLiveBoard(tmp_path / "live.sqlite")
    index = EmbeddedIndex(tmp_path / "stations.sqlite", board)
    ledger = EmbeddedFeedLedger(tmp_path / "feeds.sqlite")
    for store in (board, index, ledger):
        await store.open()
    yield Ports(index, board, ledger, ManualClock())
    for store in (ledger, index, board):
        await store.close()


@asynccontextmanager
async def feed_of(party: Party, clock: Clock, /, **profile: Any) -> AsyncIterator[OcpiFeed]:
    table = {
        "kind": "ocpi",
        "title": "Test Laden",
        "url": party.url + PATH,
        "party": "NLTST",
        "limits": {"requests_per_s": 1000.0, "retry_wait_s": 0.0, "timeout_s": 5.0},
    }
    ledger = EmbeddedFeedLedger(Path("never-opened.sqlite"))
    feed = OcpiFeed({**table, **profile}, FeedContext(feed="demo", clock=clock, ledger=ledger))
    try:
        yield feed
    finally:
        await feed.close()


async def crawl(party: Party, /, **profile: Any) -> list[StationBatch]:
    async with feed_of(party, ManualClock(), **profile) as feed:
        return [batch async for batch in feed.stations(None)]


def ids_of(batches: list[StationBatch]) -> list[str]:
    return [station.local_id for batch in batches for station in batch.stations]


async def found_by_search(ports: Ports) -> list[str]:
    search = Search(where=Near(center=UTRECHT, radius_m=10), filter=StationFilter(), first=100, at=ports.clock())
    return [hit.station_id.rpartition(":")[2] for hit in (await ports.index.search(search)).hits]


# ------------------------------------------------------------------------------------------------------------ paging


async def test_pages_are_followed_to_the_end(party: Party):
    party.links([location(1), location(2)], [location(3)])
    batches = await crawl(party)
    assert ids_of(batches) == ["L1", "L2", "L3"]
    assert [batch.incomplete for batch in batches] == [None, None]
    requests = [headers for _, headers in party.heard]
    assert len({headers["x-request-id"] for headers in requests}) == 2


async def test_a_page_size_is_asked_for_beside_the_address_s_own_parameters(party: Party):
    party.says(location(1))
    await crawl(party, url=f"{party.url}{PATH}?hub=a%20b", page_limit=50)
    assert parse_qs(urlsplit(party.asked()[0]).query) == {"hub": ["a b"], "offset": ["0"], "limit": ["50"]}


async def test_a_link_to_another_host_is_refused(party: Party):
    async with listening() as elsewhere:
        party.links([location(1)], last=f"{elsewhere.url}{PATH}")
        batches = await crawl(party, token="secret")
        assert elsewhere.heard == []
    assert ids_of(batches) == ["L1"]
    assert batches[-1].incomplete is not None and "another origin" in batches[-1].incomplete


@pytest.mark.parametrize("back_to", [f"{{own}}{PATH}?page=1", f"{{own}}{PATH}", PATH, ""])
async def test_a_link_to_a_page_read_before_stops(party: Party, back_to: str):
    party.links([location(1)], [location(2)], last=back_to)
    batches = await crawl(party)
    assert len(party.heard) == 2
    assert ids_of(batches) == ["L1", "L2"]
    assert batches[-1].incomplete is not None


async def test_empty_pages_are_passed_but_not_without_end(party: Party):
    party.links([location(1)], [], [], [location(2)])
    batches = await crawl(party)
    assert ids_of(batches) == ["L1", "L2"]
    assert batches[-1].incomplete is None
    party.links([location(1)], [], [], [], [], [location(2)])
    batches = await crawl(party)
    assert ids_of(batches) == ["L1"]
    assert batches[-1].incomplete is not None and "empty pages" in batches[-1].incomplete


async def test_pages_have_a_limit(party: Party):
    party.links(*([location(number)] for number in range(10)))
    batches = await crawl(party, limits={"max_pages": 3, "requests_per_s": 1000.0})
    assert ids_of(batches) == ["L0", "L1", "L2"]
    assert batches[-1].incomplete is not None


@pytest.mark.parametrize(("totals", "is_incomplete"), [(["2", "2"], False), (["5", "5"], True), (["9", "2"], True)])
async def test_the_total_that_is_announced_is_held_against_what_came(
    party: Party, totals: list[str], is_incomplete: bool
):
    party.links([location(1)], [location(2)])
    for (_, headers), total in zip(party.pages.values(), totals, strict=True):
        headers["X-Total-Count"] = total
    batches = await crawl(party)
    assert batches[-1].expected_total == int(totals[-1])
    assert (batches[-1].incomplete is not None) == is_incomplete


async def test_a_server_behind_a_proxy_that_takes_itself_for_http_is_asked_by_https():
    asked: list[str] = []

    class Proxied(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            asked.append(str(request.url))
            link = {"Link": '<http://ocpi.example/locations?offset=1>; rel="next"'} if len(asked) == 1 else {}
            return httpx.Response(200, headers=link, stream=httpx.ByteStream(b'{"data": []}'))

    profile = read_profile("demo", {"kind": "ocpi", "title": "x", "url": "https://ocpi.example/locations"})
    source = HttpSource(requests_per_s=1000, in_flight=1, timeout_s=1, max_body_bytes=1000, transport=Proxied())
    pages = [page async for page in Puller(profile, source).pages(None)]
    await source.close()
    assert asked == ["https://ocpi.example/locations", "https://ocpi.example/locations?offset=1"]
    assert pages[-1].incomplete is None


async def test_of_one_location_on_two_pages_the_newest_counts(party: Party, ports: Ports):
    older = location(1, name="older", last_updated="2025-01-01T00:00:00Z")
    newer = location(1, name="newer", last_updated="2026-01-01T00:00:00Z")
    for pages in ([older], [newer]), ([newer], [older]):
        party.links(*pages)
        async with feed_of(party, ports.clock) as feed:
            report = await run_full(feed, ports)
        assert (report.received, report.indexed, report.rejected) == (2, 1, {"duplicate_location": 1})
        (station,) = await ports.index.find_stations(["demo:NLTST:L1"])
        assert station is not None and station.name == "newer"


# ------------------------------------------------------------------------------------------------------------ tokens


def encoded(token: str) -> str:
    return base64.b64encode(token.encode()).decode()


@pytest.mark.parametrize("token", ["plain-token-1", "c2VjcmV0IQ==", "3f2504e04f8911d39a0c0305e82c3301"])
@pytest.mark.parametrize("version", ["2.1.1", "2.2.1", "2.3.0"])
@pytest.mark.parametrize("takes", ["raw", "base64"])
@pytest.mark.parametrize("refusal", [401, 403])
async def test_the_token_is_sent_as_the_version_says_and_then_as_the_party_takes_it(
    party: Party, token: str, version: str, takes: str, refusal: int
):
    party.links([location(1)], [location(2)])
    wanted = token if takes == "raw" else encoded(token)
    party.admits = lambda sent: sent == f"Token {wanted}"
    party.refusal = refusal
    batches = await crawl(party, token=token, version=version)
    assert ids_of(batches) == ["L1", "L2"]
    is_first_guess = (takes == "raw") == (version == "2.1.1")
    assert len(party.heard) == (2 if is_first_guess else 3)


async def test_a_token_that_is_refused_in_both_ways_ends_the_run_and_loses_nothing(party: Party, ports: Ports):
    party.says(location(1))
    async with feed_of(party, ports.clock, token="right") as feed:
        assert (await run_full(feed, ports)).error is None
    party.admits = lambda _: False
    async with feed_of(party, ports.clock, token="wrong") as feed:
        report = await run_full(feed, ports)
    assert report.error is not None and "token was refused" in report.error
    assert [headers["authorization"] for _, headers in party.heard[-2:]] == [f"Token {encoded('wrong')}", "Token wrong"]
    assert await found_by_search(ports) == ["L1"]


async def test_a_token_that_no_header_can_hold_is_only_sent_as_base64(party: Party):
    party.admits = lambda _: False
    with pytest.raises(FeedProtocolError):
        await crawl(party, token="密")
    assert [headers["authorization"] for _, headers in party.heard] == [f"Token {encoded('密')}"]


# ------------------------------------------------------------------------------------------------------------ trouble


async def test_an_ocpi_error_in_an_http_success_is_an_error(party: Party):
    party.pages = {PATH: ({"status_code": 3000, "status_message": "broken", "data": []}, {})}
    with pytest.raises(FeedProtocolError, match="3000: broken"):
        await crawl(party)


async def test_a_busy_party_is_asked_again_but_not_for_ever(party: Party):
    party.says(location(1))
    party.statuses = [429, 503]
    assert ids_of(await crawl(party)) == ["L1"]
    party.statuses = [503] * 10
    with pytest.raises(FeedUnreachableError):
        await crawl(party)
    assert len(party.statuses) == 7


# ------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"], ids=["", "byte order mark"])
async def test_a_file_is_read_packed_or_not(
    party: Party, tmp_path: Path, pack: Callable[[bytes], bytes], prefix: bytes
):
    path = tmp_path / "an answer.json"
    path.write_bytes(pack(prefix + orjson.dumps({"data": [location(1), location(2)]})))
    for url in (f"file:{path}", path.as_uri()):
        assert ids_of(await crawl(party, url=url)) == ["L1", "L2"]


@pytest.mark.parametrize("body", [None, gzip.compress(b"[" + b" " * 10_000 + b"]")[:-20]], ids=["absent", "broken off"])
async def test_a_file_that_cannot_be_read_is_unreachable(party: Party, tmp_path: Path, body: bytes | None):
    if body is not None:
        (tmp_path / "locations.json.gz").write_bytes(body)
    with pytest.raises(FeedUnreachableError, match=r"locations\.json\.gz cannot be read"):
        await crawl(party, url=f"file:{tmp_path}/locations.json.gz")


async def test_a_file_may_not_be_larger_than_agreed_nor_unpack_to_more(party: Party, tmp_path: Path):
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(b"[" + b" " * 100_000 + b"]"))
    with pytest.raises(FeedProtocolError, match="larger than 5000 bytes"):
        await crawl(party, url=f"file:{path}", limits={"max_body_bytes": 5_000})


# ----------------------------------------------------------------------------------- deltas, deletes, publication


async def test_a_delta_asks_since_the_last_good_run_and_keeps_all_others(party: Party, ports: Ports):
    party.says(*(location(number) for number in range(20)))
    assert isinstance(ports.clock, ManualClock)
    started_at = ports.clock()
    async with feed_of(party, ports.clock) as feed:
        await run_full(feed, ports)
        ports.clock.advance(3600)
        party.says(location(3, name="changed"), location(20))
        report = await run_delta(feed, ports)
    assert (report.received, report.changed, report.removed) == (2, 2, 0)
    assert len(await found_by_search(ports)) == 21
    (date_from,) = parse_qs(urlsplit(party.asked()[-1]).query)["date_from"]
    assert started_at == 1_764_000_000.0
    assert date_from == "2025-11-24T15:57:00Z"  # 120 s of the pipeline and 60 s of ours before 16:00


async def test_what_a_full_list_no_longer_names_is_gone(party: Party, ports: Ports):
    party.says(*(location(number) for number in range(20)))
    async with feed_of(party, ports.clock) as feed:
        await run_full(feed, ports)
        party.says(*(location(number) for number in range(1, 20)))
        report = await run_full(feed, ports)
    assert (report.removed, report.incomplete) == (1, None)
    assert await ports.index.find_stations(["demo:NLTST:L0"]) == [None]


async def test_a_list_that_ends_in_doubt_removes_nothing(party: Party, ports: Ports):
    party.says(*(location(number) for number in range(20)))
    async with feed_of(party, ports.clock) as feed:
        await run_full(feed, ports)
        party.links([location(number) for number in range(1, 20)], last="http://elsewhere.example/")
        report = await run_full(feed, ports)
    assert (report.removed, len(await found_by_search(ports))) == (0, 20)
    assert report.incomplete is not None


async def test_removed_evses_stay_as_removed_and_a_place_of_removed_ones_is_found_no_more(party: Party, ports: Ports):
    half = location(1, evses=[evse("AVAILABLE", "E1"), evse("REMOVED", "E2")])
    party.says(half, location(2, evses=[evse("REMOVED")]), location(3, evses=[evse("PLANNED")]))
    async with feed_of(party, ports.clock) as feed:
        await run_full(feed, ports)
    stations = await ports.index.find_stations([f"demo:NLTST:L{number}" for number in (1, 2, 3)])
    assert [station and station.presence for station in stations] == [
        Presence.IN_SERVICE, Presence.REMOVED, Presence.PLANNED,
    ]  # fmt: skip
    assert stations[0] is not None
    assert [each.presence for each in stations[0].evses] == [Presence.IN_SERVICE, Presence.REMOVED]
    assert await found_by_search(ports) == ["L1", "L3"]
    statuses = ports.board.find(["demo:NLTST:L1/E2", "demo:NLTST:L2/E1"])
    assert [status and status.availability for status in statuses] == [Availability.UNAVAILABLE] * 2


@pytest.mark.parametrize("publish", [False, "false", 0, "no", "nein", 7, [], {}])
async def test_what_is_not_published_is_never_public(party: Party, ports: Ports, publish: object):
    party.says(location(1), location(2, publish=publish))
    async with feed_of(party, ports.clock) as feed:
        await run_full(feed, ports)
        assert await found_by_search(ports) == ["L1"]
        party.says(location(1, publish=publish, last_updated="2026-02-01T00:00:00Z"))
        await run_delta(feed, ports)
    assert await found_by_search(ports) == []


@pytest.mark.parametrize("publish", [True, "true", 1, None, ""])
async def test_what_is_published_or_knows_no_such_word_is_public(party: Party, ports: Ports, publish: object):
    party.says(location(1, publish=publish))
    async with feed_of(party, ports.clock) as feed:
        await run_full(feed, ports)
    assert await found_by_search(ports) == ["L1"]


# ------------------------------------------------------------------------------------------------------------ versions


async def test_2_1_1_names_its_party_nowhere_and_states_volts_and_amperes(party: Party):
    connector = {
        "id": "1",
        "standard": "IEC_62196_T2",
        "power_type": "AC_3_PHASE",
        "voltage": 230,
        "amperage": 32,
        "tariff_id": "11",
    }
    party.says(
        {
            "id": "LOC1",
            "type": "UNDERGROUND_GARAGE",
            "country": "BEL",
            "coordinates": {"latitude": "51.047599", "longitude": "3.729944"},
            "evses": [{"uid": "3256", "status": "INOPERATIVE", "connectors": [connector]}],
            "last_updated": "2015-06-29T20:39:09Z",
        }
    )
    (batch,) = await crawl(party, version="2.1.1", party="BEBEC")
    (station,) = batch.stations
    assert (station.id, station.operator_id, station.published) == ("demo:BEBEC:LOC1", "demo:BEBEC", True)
    assert [operator.name for operator in batch.operators] == ["Test Laden"]
    (read,) = station.evses[0].connectors
    assert (read.max_power_w, read.power_basis) == (22_080, PowerBasis.DERIVED)
    assert "x-request-id" not in party.heard[0][1]


async def test_2_3_0_adds_plugs_restrictions_and_a_phone(party: Party):
    plugs = [{"id": str(number), "standard": name} for number, name in enumerate(("MCS", "SAE_J3400"))]
    fresh = {
        "uid": "E1",
        "status": "AVAILABLE",
        "connectors": plugs,
        "parking_restrictions": ["TENANTS"],
        "parking": [{"parking_id": "P1", "evse_position": "LEFT"}],
        "accepted_service_providers": ["x"],
    }
    party.says(location(1, evses=[fresh], help_phone="+31 30 1", parking_places=[{"id": "P1", "roofed": True}]))
    (batch,) = await crawl(party, version="2.3.0")
    (station,) = batch.stations
    assert [connector.type for connector in station.evses[0].connectors] == [ConnectorType.MCS, ConnectorType.NACS]
    assert (station.phones, station.access.value, station.flags) == (("+31 30 1",), "RESTRICTED_FLEET", ())
    assert batch.unknown_codes == ()
