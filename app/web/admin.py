"""The admin port: metrics and health, for those who run the hub. It has no keys; nobody else may reach it.

It answers from the first moment of a start on, so that what still starts is not taken for dead.
"""

import asyncio
import logging
from collections.abc import Awaitable
from time import perf_counter
from typing import Final

from starlette.types import Receive, Scope, Send

from app.errors import ChargegraphError
from app.model.feed import FeedReport
from app.services.feed_health import FeedHealth, FeedState
from app.telemetry import metrics
from app.web.health import PAGES, answer_checks, send_health
from app.web.http import JSON, header, send_bytes
from app.web.lifecycle import Lifecycle

METRICS_PATH: Final = "/metrics"
READ_S: Final = 6.0
LOOP_CHECK_S: Final = 0.5

logger = logging.getLogger("chargegraph.admin")


class AdminApp:
    """Answers on the admin port, as an ASGI application."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        """Take the life of the process; of a hub there is nothing to tell yet."""
        self._lifecycle = lifecycle
        self._feed_health: FeedHealth | None = None
        self._reading = asyncio.Lock()

    def tell_of(self, feed_health: FeedHealth) -> None:
        """Tell of the feeds and their live status, too."""
        self._feed_health = feed_health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if scope["path"] in PAGES:
            await send_health(self._lifecycle, scope, receive, send)
        elif scope["path"] != METRICS_PATH or scope["method"] not in {"GET", "HEAD"}:
            pages = ", ".join([METRICS_PATH, *PAGES])
            await send_bytes(send, 404, f'{{"error": "there are {pages}"}}'.encode(), JSON)
        else:
            await self._send_metrics(scope, send)

    async def _send_metrics(self, scope: Scope, send: Send) -> None:
        async with self._reading:
            await self._read()
            media_type, body = await asyncio.to_thread(metrics.encode, header(scope, b"accept") or "")
        await send_bytes(send, 200, body, media_type)

    async def _read(self) -> None:
        """Read what is worth knowing only when somebody looks; what cannot be read is counted, and not told."""
        parts: dict[str, Awaitable[None]] = {"stores": self._read_stores()}
        if self._feed_health is not None:
            parts["feeds"] = _read_feeds(self._feed_health)
            parts["live"] = _read_live(self._feed_health)
        await asyncio.gather(*[_read_part(name, part) for name, part in parts.items()])

    async def _read_stores(self) -> None:
        for store, is_up in (await answer_checks(self._lifecycle.checks())).items():
            metrics.STORE_UP.labels(store).set(is_up)


async def _read_part(name: str, part: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(READ_S):
            await part
    except (ChargegraphError, TimeoutError) as error:
        logger.warning("metrics of %s cannot be read: %s", name, error)
        metrics.SCRAPE_FAILURES.labels(name).inc()
    except Exception:
        logger.exception("metrics of %s cannot be read", name)
        metrics.SCRAPE_FAILURES.labels(name).inc()


async def _read_live(feed_health: FeedHealth) -> None:
    freshness = await asyncio.to_thread(feed_health.freshness)
    metrics.LIVE_EVSES.labels("fresh").set(freshness.fresh)
    metrics.LIVE_EVSES.labels("stale").set(freshness.stale)
    metrics.LIVE_CHANGES.set(freshness.changes)


async def _read_feeds(feed_health: FeedHealth) -> None:
    feeds = await feed_health.list_all()
    for gauge in (metrics.FEED_SUCCESS_AT, metrics.FEED_FAILED, metrics.FEED_RECORDS, metrics.FEED_REJECTED):
        gauge.clear()  # a reason that is no longer given ends
    for feed in feeds:
        _tell_feed(feed)


def _tell_feed(feed: FeedState) -> None:
    metrics.STATIONS.labels(feed.info.id).set(feed.station_count)
    if feed.newest_status_at is not None:
        metrics.STATUS_AT.labels(feed.info.id).set(feed.newest_status_at)
    for run in feed.runs:
        labels = feed.info.id, run.last.kind.value
        if run.last_success_at is not None:
            metrics.FEED_SUCCESS_AT.labels(*labels).set(run.last_success_at)
        metrics.FEED_FAILED.labels(*labels).set(run.last.error is not None)
        for what, count in _counts(run.last).items():
            metrics.FEED_RECORDS.labels(*labels, what).set(count)
        for reason, count in run.last.rejected.items():
            metrics.FEED_REJECTED.labels(*labels, reason).set(count)


def _counts(report: FeedReport) -> dict[str, int]:
    return {
        "received": report.received,
        "indexed": report.indexed,
        "changed": report.changed,
        "removed": report.removed,
        "statuses": report.statuses,
        "repaired": sum(report.repaired.values()),
        "unknown_codes": sum(report.unknown_codes.values()),
    }


async def watch_loop() -> None:
    """Measure how late the event loop is, until cancelled."""
    while True:
        due_s = perf_counter() + LOOP_CHECK_S
        await asyncio.sleep(LOOP_CHECK_S)
        metrics.LOOP_LAG_S.observe(max(0.0, perf_counter() - due_s))
