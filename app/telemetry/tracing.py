"""Traces by OTLP over HTTP, if the settings name a collector; otherwise a span costs one comparison.

Spans hold names of ours, statuses and counts: never a query's variables, a key, an address with its query, or the text
of an error. The SDK's own ``OTEL_…`` variables (headers, certificates, attributes of the process) hold.
"""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self

if TYPE_CHECKING:  # tens of milliseconds of a start that most processes need not spend
    from opentelemetry.context import Context
    from opentelemetry.trace import Span as OtelSpan

Kind = Literal["INTERNAL", "SERVER", "CLIENT"]
INTERNAL: Final = "INTERNAL"
SERVER: Final = "SERVER"
CLIENT: Final = "CLIENT"

EXPORT_S: Final = 5.0
"""How long one export may take, and how long the end of the process waits for the last one."""

_TRACES_PATH: Final = "/v1/traces"


class Span(Protocol):
    """Something that takes time."""

    is_on: bool
    """Whether anybody will see it; what only it needs is not worked out otherwise."""

    def set(self, name: str, value: str | float) -> None:
        """Say something of it."""

    def fail(self, kind: str) -> None:
        """Say that it went wrong, and how it is called."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End."""


class _Nothing:
    """The span of a process without traces."""

    __slots__ = ()
    is_on = False

    def set(self, name: str, value: str | float) -> None: ...

    def fail(self, kind: str) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


_NOTHING: Final = _Nothing()


class _Traces:
    """What makes spans and sends them, once it is begun."""

    def __init__(self, url: str, ratio: float, version: str) -> None:
        from opentelemetry import context, trace  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        named = {"service.name": "chargegraph", "service.version": version}
        self.provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(ratio)),
            resource=Resource.create(named),
            shutdown_on_exit=False,
        )
        endpoint = url if url.count("/") > 2 else url + _TRACES_PATH
        exporter = OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_S)
        self.provider.add_span_processor(BatchSpanProcessor(exporter, export_timeout_millis=EXPORT_S * 1_000))
        self.tracer = self.provider.get_tracer("chargegraph", version)
        self.kinds = {kind.name: kind for kind in trace.SpanKind}
        self.error = trace.Status(trace.StatusCode.ERROR)
        self.current: Callable[[], OtelSpan] = trace.get_current_span
        self.within: Callable[[OtelSpan], Context] = trace.set_span_in_context
        self.attach, self.detach = context.attach, context.detach
        self.propagator = TraceContextTextMapPropagator()


class _Open:
    """A span that is sent when it ends, if it is sampled."""

    __slots__ = ("_span", "_token", "_traces", "is_on")

    def __init__(self, traces: _Traces, span: "OtelSpan") -> None:
        self._traces = traces
        self._span = span
        self._token: Any = None
        self.is_on = span.is_recording()

    def set(self, name: str, value: str | float) -> None:
        self._span.set_attribute(name, value)

    def fail(self, kind: str) -> None:
        self._span.set_attribute("error.type", kind)
        self._span.set_status(self._traces.error)

    def __enter__(self) -> Self:
        self._token = self._traces.attach(self._traces.within(self._span))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:  # its text may hold anything
            self.fail(kind.__name__)
        self._traces.detach(self._token)
        self._span.end()


_traces: _Traces | None = None


def begin(url: str, ratio: float, version: str) -> None:
    """Trace from now on: send spans to a collector, of those requests whose caller did not decide a share."""
    global _traces  # noqa: PLW0603 - one for a process, as its log is
    _traces = _Traces(url, ratio, version)


def end() -> None:
    """Trace no more, and send what is left; blocks for EXPORT_S at most where the collector does not answer."""
    global _traces
    traces, _traces = _traces, None
    if traces is not None:
        traces.provider.shutdown()


def is_on() -> bool:
    """Tell whether this process traces."""
    return _traces is not None


def span(name: str, kind: Kind = INTERNAL, **attributes: str | int) -> Span:
    """Return a span within the current one, for a ``with`` block; an error that leaves it is told by its kind."""
    if _traces is None:
        return _NOTHING
    kinds = _traces.kinds
    return _Open(_traces, _traces.tracer.start_span(name, kind=kinds[kind], attributes=attributes))


def request_span(name: str, headers: Mapping[str, str], **attributes: str | int) -> Span:
    """Return the span of a request, within the caller's if its W3C ``traceparent`` says so."""
    if _traces is None:
        return _NOTHING
    parent = _traces.propagator.extract(headers)
    kind = _traces.kinds[SERVER]
    return _Open(_traces, _traces.tracer.start_span(name, context=parent, kind=kind, attributes=attributes))


def carry(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers of a request to another server with the current span in them; the same where there is none."""
    if _traces is None or not _traces.current().get_span_context().is_valid:
        return headers
    carried = dict(headers)
    _traces.propagator.inject(carried)
    return carried


def ids() -> tuple[str, str] | None:
    """Return the current trace's and span's id in hexadecimal, None where there is none."""
    if _traces is None:
        return None
    context = _traces.current().get_span_context()
    return (f"{context.trace_id:032x}", f"{context.span_id:016x}") if context.is_valid else None
