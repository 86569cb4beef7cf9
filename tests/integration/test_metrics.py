"""Metrics: what was asked is counted by names that callers cannot multiply, and what is stored is read on demand."""

from collections.abc import AsyncIterator
from itertools import accumulate
from math import inf
from pathlib import Path

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families

from app.errors import UnavailableError
from app.main import readiness
from app.model.availability import Availability
from app.model.feed import FeedReport, RunKind
from app.telemetry import metrics
from app.web.admin import AdminApp
from app.web.lifecycle import Lifecycle
from tests.builders import NOON
from tests.integration.api import Api, evse_id, furnish, open_api

Sample = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as api:
        await furnish(api)
        yield api


async def scrape(api: Api) -> dict[Sample, float]:
    """What the admin port of a process with this hub tells."""
    lifecycle = Lifecycle()
    lifecycle.start(lambda: readiness(api.hub))
    app = AdminApp(lifecycle)
    app.tell_of(api.hub.services.feed_health)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://admin") as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def told(samples: dict[Sample, float], name: str, **labels: str) -> float:
    return samples.get((f"chargegraph_{name}", frozenset(labels.items())), 0.0)


async def test_requests_searches_and_reservations_are_counted(api: Api) -> None:
    before = await scrape(api)
    key = await api.key("counted")
    near = "query Near { nearbyStations(near: {lon: 121.47, lat: 31.23}, radiusM: 900, first: 1) { totalCount } }"
    for _ in range(3):
        await api.data(near, key=key)
    held = await api.hold(evse_id(1), key=key, again="once")
    assert held["userErrors"] == []
    await api.hold(evse_id(1), key=key, again="once")
    await api.hold(evse_id(1), key=key)
    await api.ask("{ nothing }", key=key)
    await api.post(key="cg_none", json={"query": near})
    await api.client.post("/elsewhere")
    after = await scrape(api)

    def grown(name: str, **labels: str) -> float:
        return told(after, name, **labels) - told(before, name, **labels)

    assert grown("graphql_requests_total", operation="Near", type="query", outcome="OK") == 3
    assert grown("graphql_requests_total", operation="Reserve", type="mutation", outcome="OK") == 3
    assert grown("graphql_requests_total", operation="-", type="-", outcome="GRAPHQL_VALIDATION_FAILED") == 1
    assert grown("graphql_requests_total", operation="-", type="-", outcome="UNAUTHENTICATED") == 1
    assert grown("graphql_request_duration_seconds_count", operation="Near") == 3
    assert grown("partner_requests_total", partner="counted") == 7
    assert grown("http_responses_total", surface="graphql", status="200") == 7
    assert grown("http_responses_total", surface="graphql", status="401") == 1
    assert grown("http_responses_total", surface="other", status="401") == 1
    assert grown("search_duration_seconds_count", kind="near") == 3
    for outcome in ("DONE", "REPLAYED", "ALREADY_RESERVED"):
        assert grown("reservation_changes_total", change="reserve", outcome=outcome) == 1
    assert told(after, "http_requests_in_flight") == 0
    assert told(after, "cache_documents") > 0


async def test_feeds_live_status_and_stores_are_read_when_somebody_looks(api: Api) -> None:
    report = FeedReport(
        feed="live", kind=RunKind.FULL, started_at=NOON, ended_at=NOON + 9, received=7, indexed=5,
        rejected={"no_position": 2}, unknown_codes={"ConnectorType=99": 3},
    )  # fmt: skip
    await api.hub.ports.ledger.save_report(report)
    await api.say(evse_id(1), Availability.AVAILABLE)
    samples = await scrape(api)
    run = {"feed": "live", "run": "FULL"}
    assert told(samples, "feed_last_success_timestamp_seconds", **run) == NOON + 9
    assert told(samples, "feed_last_run_failed", **run) == 0
    assert told(samples, "feed_last_run_records", what="received", **run) == 7
    assert told(samples, "feed_last_run_records", what="unknown_codes", **run) == 3
    assert told(samples, "feed_last_run_rejected", reason="no_position", **run) == 2
    assert told(samples, "feed_stations", feed="live") > 0
    assert told(samples, "feed_newest_status_timestamp_seconds", feed="live") == api.clock()
    fresh = told(samples, "live_evses", state="fresh")
    assert fresh > 0
    api.clock.advance(100_000)
    later = await scrape(api)
    assert told(later, "live_evses", state="fresh") == 0
    assert told(later, "live_evses", state="stale") == fresh + told(samples, "live_evses", state="stale")
    for store in ("index", "live", "reservations", "partners"):
        assert told(samples, "store_up", store=store) == 1
    await api.hub.ports.ledger.save_report(msgspec.structs.replace(report, rejected={}, error="away"))
    last = await scrape(api)
    assert told(last, "feed_last_run_failed", **run) == 1
    assert told(last, "feed_last_success_timestamp_seconds", **run) == NOON + 9
    assert ("chargegraph_feed_last_run_rejected", frozenset({*run.items(), ("reason", "no_position")})) not in last


async def test_a_store_that_is_away_is_told_and_takes_nothing_else_with_it() -> None:
    async def away() -> None:
        raise UnavailableError("away")

    lifecycle = Lifecycle()
    lifecycle.start(lambda: {"index": away()})
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=AdminApp(lifecycle)), base_url="http://admin"
    ) as client:
        text = (await client.get("/metrics")).text
        opened = await client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert 'chargegraph_store_up{store="index"} 0.0' in text
    assert "process_resident_memory_bytes" in text
    assert opened.headers["content-type"].startswith("application/openmetrics-text")
    assert opened.text.endswith("# EOF\n")


@given(st.lists(st.floats(0, 20), max_size=50))
def test_timings_count_as_prometheus_histograms_do(taken: list[float]) -> None:
    oracle = Histogram("oracle", "Theirs.", registry=CollectorRegistry(), buckets=metrics.SEARCH_S.bounds)
    ours = metrics.SEARCH_S.of("as theirs")
    before = [*ours.counts], ours.sum_s
    for seconds in taken:
        ours.add(seconds)
        oracle.observe(seconds)
    (family,) = oracle.collect()
    theirs = [sample.value for sample in family.samples if sample.name == "oracle_bucket"]
    grown = [now - then for now, then in zip(ours.counts, before[0], strict=True)]
    assert list(accumulate(grown)) == theirs
    assert ours.sum_s - before[1] == pytest.approx(sum(taken))
    told = [sample for family in metrics.SEARCH_S.collect() for sample in family.samples]
    mine = [sample for sample in told if sample.labels["kind"] == "as theirs"]
    buckets = {float(sample.labels["le"]): sample.value for sample in mine if sample.name.endswith("_bucket")}
    assert list(buckets) == [*metrics.SEARCH_S.bounds, inf]
    assert list(buckets.values()) == list(accumulate(ours.counts))
    assert [sample.value for sample in mine if sample.name.endswith("_count")] == [sum(ours.counts)]


def test_names_of_operations_are_bounded_in_all_and_for_each_partner() -> None:
    names = metrics.OperationNames()
    mine = [names.told(f"Mine{number}", "greedy") for number in range(1_000)]
    assert mine[: metrics.MAX_NAMES_A_PARTNER] == [f"Mine{number}" for number in range(metrics.MAX_NAMES_A_PARTNER)]
    assert set(mine[metrics.MAX_NAMES_A_PARTNER :]) == {metrics.OTHER}
    assert names.told("Theirs", "modest") == "Theirs"
    assert names.told("Theirs", "greedy") == "Theirs"
    assert names.told("x" * (metrics.MAX_NAME_CHARACTERS + 1), "modest") == metrics.OTHER
    all_told = {names.told(f"Op{number}", f"partner {number}") for number in range(1_000)}
    assert len(all_told) <= metrics.MAX_NAMES
