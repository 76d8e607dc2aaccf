"""Traces of requests for OpenTelemetry: request, and in it decode, model and capture. Needs the extra `otel`.

A span is made when its request is over, of the times that were noted on the way, so that nothing of OpenTelemetry is on
a request's way. The caller's trace (W3C `traceparent`) is taken over, and with it whether it is sampled; of requests
without one a share is. Spans leave in the background, over OTLP; a collector that is not there costs spans, no answers.
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from perennial import __version__
from perennial.errors import ConfigError
from perennial.serve.watching import Seen, version_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter  # pyright: ignore[reportMissingImports]

__all__ = ["Traces", "check_installed", "otlp"]

EXPORT_S = 5.0  # that an export may take, also at the end
_PARTS = ("decode", "model", "capture")


def check_installed() -> None:
    """Refuse to start without what traces need.

    Raises:
        ConfigError: The extra is not installed.
    """
    for name in ("opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"):
        try:
            found = find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise ConfigError(
                f"traces need the package {name}", where="otlp_endpoint", remedy='pip install "perennial[otel]"'
            )


def otlp(endpoint: str) -> SpanExporter:
    """What sends spans to the collector at this address, such as http://127.0.0.1:4318."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # pyright: ignore[reportMissingImports]

    return OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_S)


class Traces:
    """Makes spans of what was seen. `share`: of the requests whose caller has no trace, in [0, 1]."""

    def __init__(self, exporter: SpanExporter, *, share: float) -> None:
        from opentelemetry.sdk.resources import Resource  # pyright: ignore[reportMissingImports]
        from opentelemetry.sdk.trace import TracerProvider  # pyright: ignore[reportMissingImports]
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # pyright: ignore[reportMissingImports]
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # pyright: ignore[reportMissingImports]
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context  # pyright: ignore[reportMissingImports]
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # pyright: ignore[reportMissingImports]

        told = Resource({"service.name": "perennial", "service.version": __version__})
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(share)), resource=told, shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter, export_timeout_millis=EXPORT_S * 1000))
        self._tracer = self._provider.get_tracer("perennial.serve", __version__)
        self._extract = TraceContextTextMapPropagator().extract
        self._kind = SpanKind.SERVER
        self._failed = Status(StatusCode.ERROR)
        self._within = set_span_in_context

    def saw(self, seen: Seen) -> None:
        """Make the spans of this request."""
        if not seen.endpoint:  # whether the service lives is nobody's trace
            return
        offset = time.time_ns() - int(time.perf_counter() * 1e9)

        def moment(seconds: float) -> int:
            return offset + int(seconds * 1e9)

        carrier = {"traceparent": seen.traceparent, "tracestate": seen.tracestate} if seen.traceparent else {}
        span = self._tracer.start_span(
            f"predict {seen.endpoint}", self._extract(carrier), kind=self._kind, start_time=moment(seen.started)
        )
        if span.is_recording():
            span.set_attributes(_attributes(seen))
            if seen.status >= 500:
                span.set_status(self._failed)
            inside = self._within(span)
            start = seen.started
            for name, end in zip(_PARTS, (seen.decoded, seen.answered, seen.written), strict=True):
                if not end:
                    break
                self._tracer.start_span(name, inside, start_time=moment(start)).end(moment(end))
                start = end
        span.end(moment(seen.ended))

    def close(self) -> None:
        """Send what is left; blocks, for a few seconds where nobody takes it."""
        self._provider.shutdown()


def _attributes(seen: Seen) -> dict[str, Any]:
    told: dict[str, Any] = {
        "perennial.endpoint": seen.endpoint, "perennial.protocol": seen.protocol, "perennial.rows": seen.rows,
        "http.response.status_code": seen.status,
    }  # fmt: skip
    if seen.request_id:
        told["perennial.request_id"] = seen.request_id
    version = version_of(seen)
    if version is not None:
        told["perennial.version"] = str(version)
    return told
