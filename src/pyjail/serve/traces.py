"""Spans for OpenTelemetry: one for each request, one for each run of it. None has a user's text.

Where they go is what its own variables say, such as OTEL_EXPORTER_OTLP_ENDPOINT; nothing else here connects to anybody.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

_NAME = "pyjail.serve"
_PARENT = ("traceparent", "tracestate")


class Traces:
    """Spans of one service. ``provider``: whose they are; None: one that exports by OTLP over HTTP."""

    def __init__(self, provider: Any = None) -> None:
        self._provider = _exporting() if provider is None else provider
        self._tracer = self._provider.get_tracer(_NAME)

    @contextmanager
    def request(self, headers: Mapping[str, str]) -> Iterator[Any]:
        """A span that is current within; below that of the client where its headers name one."""
        given = {name: headers[name] for name in _PARENT if name in headers}
        with self._tracer.start_as_current_span(
            "request", propagate.extract(given), SpanKind.SERVER, record_exception=False, set_status_on_exception=False
        ) as span:
            yield span

    def ended(self, span: Any, method: str, route: str, status: int) -> None:
        """What is known of a request when it has been answered."""
        span.update_name(f"{method} {route}")
        span.set_attributes({"http.request.method": method, "http.route": route, "http.response.status_code": status})
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))

    def run(self, seconds: float, about: Mapping[str, Any]) -> None:
        """A run that ended now, and took so long."""
        now = time.time_ns()
        known = {f"pyjail.{name}": value for name, value in about.items() if value is not None}
        span = self._tracer.start_span("run", attributes=known, start_time=now - round(seconds * 1e9))
        if about["verdict"] == "jail_error":
            span.set_status(Status(StatusCode.ERROR))
        span.end(now)

    def end(self) -> None:
        """All of them are sent."""
        self._provider.shutdown()


def _exporting() -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    if trace.get_tracer_provider().__class__ is not trace.ProxyTracerProvider:
        return trace.get_tracer_provider()  # of the program that has the service in it
    provider = TracerProvider(resource=Resource.create({"service.name": "pyjail-serve"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
