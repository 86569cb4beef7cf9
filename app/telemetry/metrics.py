"""What a process counts for Prometheus: every metric in one place, and no label that callers could multiply.

What each request and each search adds to is counted by ``Counts`` and ``Timings``: prometheus-client's own counters are
for any thread, and take five times as long.

Labels are names in our program or configured ones: feeds, partners. Operations' names come from partners, and are told
up to a number (``OperationNames``). What costs more than a counter is read when somebody looks (``app.web.admin``).
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from time import perf_counter
from types import TracebackType
from typing import Final

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from app.telemetry import tracing

OTHER: Final = "other"
"""What stands for all that has no place among the values of a label."""

MAX_NAMES: Final = 100
MAX_NAMES_A_PARTNER: Final = 20
MAX_PARTNERS: Final = 500
MAX_NAME_CHARACTERS: Final = 64

_REQUEST_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ENGINE_S: Final = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
_LAG_S: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Counts(Collector):
    """A counter that one thread adds to."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self._name = name
        self._documentation = documentation
        self._labelnames = tuple(labels)
        self._counts: dict[tuple[str, ...], int] = {}
        REGISTRY.register(self)

    def add(self, *labels: str) -> None:
        """Count one more."""
        self._counts[labels] = self._counts.get(labels, 0) + 1

    def collect(self) -> Iterator[Metric]:
        """Return the counts for the exposition."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labelnames)
        for labels, count in list(self._counts.items()):
            family.add_metric(labels, count)
        yield family


class Timing:
    """How often something took how long."""

    __slots__ = ("_bounds", "counts", "sum_s")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """How many fell between two bounds, and beyond the last."""
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.counts[bisect_left(self._bounds, seconds)] += 1
        self.sum_s += seconds


class Timings(Collector):
    """A histogram that one thread adds to."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._labelnames = tuple(labels)
        self.bounds = tuple(bounds)
        """Upper bounds of the buckets, without the last, which has none."""
        self._timings: dict[tuple[str, ...], Timing] = {}
        REGISTRY.register(self)

    def of(self, *labels: str) -> Timing:
        """Return what counts for these labels, to be added to."""
        timing = self._timings.get(labels)
        if timing is None:
            timing = self._timings[labels] = Timing(self.bounds)
        return timing

    def collect(self) -> Iterator[Metric]:
        """Return the histogram for the exposition."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labelnames)
        bounds = [*map(floatToGoString, self.bounds), "+Inf"]
        for labels, timing in list(self._timings.items()):
            sums = list(accumulate(timing.counts))
            family.add_metric(labels, list(zip(bounds, sums, strict=True)), timing.sum_s)
        yield family


BUILD: Final = Info("chargegraph_build", "Which program this is.")

# ------------------------------------------------------------------------------------------------------- requests

HTTP_RESPONSES: Final = Counts(
    "chargegraph_http_responses",
    "Requests that ended, by what they were for and their status; 0: the client was gone before.",
    ["surface", "status"],
)
REQUESTS: Final = Counts(
    "chargegraph_graphql_requests",
    "GraphQL requests by operation, and OK or the code of the first error.",
    ["operation", "type", "outcome"],
)
REQUEST_S: Final = Timings(
    "chargegraph_graphql_request_duration_seconds",
    "From the request's head to the end of its answer.",
    ["operation"],
    _REQUEST_S,
)
PARTNER_REQUESTS: Final = Counts("chargegraph_partner_requests", "GraphQL requests by partner.", ["partner"])
IN_FLIGHT: Final = Gauge("chargegraph_http_requests_in_flight", "Requests that are being answered.")
SOCKETS: Final = Gauge("chargegraph_sockets", "WebSockets that are open.")
SUBSCRIPTIONS: Final = Gauge("chargegraph_subscriptions", "Subscriptions to what changes at stations.")

# ------------------------------------------------------------------------------------------------------ what they do

SEARCH_S: Final = Timings("chargegraph_search_duration_seconds", "Searches for stations by kind.", ["kind"], _REQUEST_S)
RESERVATIONS: Final = Counts(
    "chargegraph_reservation_changes",
    "Wishes to reserve, extend or cancel: DONE, REPLAYED, or why not.",
    ["change", "outcome"],
)
ENGINE_S: Final = Timings(
    "chargegraph_engine_call_duration_seconds",
    "Calls of Elasticsearch and Redis, and of operators' platforms, by what was asked for.",
    ["engine", "call"],
    _ENGINE_S,
)
ENGINE_FAILURES: Final = Counter(
    "chargegraph_engine_call_failures",
    "Calls of these that failed, by the kind of error.",
    ["engine", "call", "error"],
)

# ------------------------------------------------------------------------------------------------------- live status

STATUSES: Final = Counter("chargegraph_live_statuses", "Statuses taken by this process, by feed.", ["feed"])
STATUS_CHANGES: Final = Counter(
    "chargegraph_live_status_changes", "Statuses that changed something, by feed.", ["feed"]
)
LIVE_CHANGES: Final = Gauge(
    "chargegraph_live_board_changes", "How often the board took statuses or holds since the process began."
)
LIVE_EVSES: Final = Gauge("chargegraph_live_evses", "Evses with a status: fresh, or stale by now.", ["state"])
STREAM_LAG_S: Final = Gauge(
    "chargegraph_live_stream_lag_seconds", "Age of the newest status of the entry that was last read from the stream."
)
STATUS_AT: Final = Gauge(
    "chargegraph_feed_newest_status_timestamp_seconds", "When the newest status of a feed was received.", ["feed"]
)

# ------------------------------------------------------------------------------------------------------------- feeds

STATIONS: Final = Gauge("chargegraph_feed_stations", "Stations in the index.", ["feed"])
FEED_SUCCESS_AT: Final = Gauge(
    "chargegraph_feed_last_success_timestamp_seconds", "When a kind of run last succeeded.", ["feed", "run"]
)
FEED_FAILED: Final = Gauge("chargegraph_feed_last_run_failed", "1 when the last run ended early.", ["feed", "run"])
FEED_RECORDS: Final = Gauge(
    "chargegraph_feed_last_run_records",
    "Records of the last run: received, indexed, changed, removed, statuses, repaired, unknown_codes.",
    ["feed", "run", "what"],
)
FEED_REJECTED: Final = Gauge(
    "chargegraph_feed_last_run_rejected", "Records that the last run refused, by reason.", ["feed", "run", "reason"]
)
SCRAPE_FAILURES: Final = Counter(
    "chargegraph_scrape_failures", "Parts that could not be read when somebody looked.", ["part"]
)

# ----------------------------------------------------------------------------------------------------------- process

STARTED: Final = Gauge("chargegraph_started", "1 once every store is open and loaded.")
DRAINING: Final = Gauge("chargegraph_draining", "1 from the signal to end on.")
STORE_UP: Final = Gauge("chargegraph_store_up", "1 when a store answers what /readyz asks it.", ["store"])
LOOP_LAG_S: Final = Histogram(
    "chargegraph_event_loop_lag_seconds", "How late the event loop wakes a task.", buckets=_LAG_S
)
DOCUMENTS: Final = Gauge("chargegraph_cache_documents", "GraphQL documents whose plan is remembered.")
FRAGMENT_BYTES: Final = Gauge("chargegraph_cache_fragment_bytes", "Bytes of answers' pieces that are kept.")
FRAGMENT_USES: Final = Gauge(
    "chargegraph_cache_fragment_uses", "Objects answered from pieces (hit) or projected anew (miss).", ["result"]
)
REMEMBERED_STATIONS: Final = Gauge(
    "chargegraph_cache_stations", "Stations of Elasticsearch that are remembered in this process."
)


def encode(accept: str) -> tuple[str, bytes]:
    """Return all metrics in the form that an Accept header likes best, and its media type."""
    write, content_type = choose_encoder(accept)
    return content_type.partition("; charset=")[0], write(REGISTRY)


class OperationNames:
    """Which names of operations are told: the first MAX_NAMES that were asked for, of each partner so many.

    A partner that names every request otherwise uses up its own places and nobody else's.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._known: set[str] = set()
        self._brought: dict[str, int] = {}

    def told(self, name: str, partner: str) -> str:
        """Return the name, or OTHER when it has no place."""
        if name in self._known:
            return name
        brought = self._brought.get(partner, 0)
        if len(name) > MAX_NAME_CHARACTERS or len(self._known) >= MAX_NAMES or brought >= MAX_NAMES_A_PARTNER:
            return OTHER
        self._known.add(name)
        self._brought[partner] = brought + 1
        return name


class _Timed:
    """A block that is timed and traced. What it is called is known beforehand: searches are short."""

    __slots__ = ("_began_s", "_failures", "_span", "_timing")

    def __init__(self, timing: Timing, span: tracing.Span, failures: tuple[str, str] | None = None) -> None:
        self._timing = timing
        self._span = span
        self._failures = failures
        self._began_s = 0.0

    def __enter__(self) -> tracing.Span:
        self._began_s = perf_counter()
        return self._span.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timing.add(perf_counter() - self._began_s)
        if kind is not None and self._failures is not None:
            ENGINE_FAILURES.labels(*self._failures, kind.__name__).inc()
        self._span.__exit__(kind, error, traceback)


def engine_call(engine: str, call: str, **attributes: str | int) -> _Timed:
    """Count and trace a call of a server, for a ``with`` block: how long it took, and what it failed with."""
    span = tracing.span(f"{engine} {call}", tracing.CLIENT, **attributes)
    return _Timed(ENGINE_S.of(engine, call), span, (engine, call))


def search(kind: str) -> _Timed:
    """Count and trace a search, for a ``with`` block."""
    return _Timed(SEARCH_S.of(kind), tracing.span(f"search {kind}"))
