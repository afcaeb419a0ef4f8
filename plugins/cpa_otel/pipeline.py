"""One set-up of the OpenTelemetry SDK: spans and metrics in, exporters out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from opentelemetry.metrics import Histogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cpa.plugins import ExchangeRecord, UsageRecord
from cpa_otel.names import Value, attempt_attributes, error_type, exchange_attributes, operation_of, provider_of
from cpa_otel.settings import Settings

TOKEN_BUCKETS = [float(4**power) for power in range(14)]
SECOND_BUCKETS = [0.01 * 2**power for power in range(14)]
SCOPE = "cpa"
NANO = 10**9
CLIENT_GONE = 499

MakeExporters: TypeAlias = Callable[[Settings], tuple[SpanExporter | None, MetricReader | None]]
"""Where spans and metrics go; None for what is switched off."""


def otlp_exporters(settings: Settings) -> tuple[SpanExporter | None, MetricReader | None]:
    """OTLP over HTTP."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    headers = dict(settings.headers) or None
    base = settings.endpoint
    spans = reader = None
    if settings.traces:
        spans = OTLPSpanExporter(endpoint=f"{base}/v1/traces" if base else None, headers=headers)
    if settings.metrics:
        exporter = OTLPMetricExporter(endpoint=f"{base}/v1/metrics" if base else None, headers=headers)
        reader = PeriodicExportingMetricReader(exporter)
    return spans, reader


class Pipeline:
    """Takes records without blocking; the SDK's own threads export them, and drop what nobody takes."""

    def __init__(self, settings: Settings, exporters: MakeExporters) -> None:
        spans, reader = exporters(settings)
        resource = Resource.create({"service.name": settings.service_name})
        self._tracers = TracerProvider(resource=resource, shutdown_on_exit=False) if spans is not None else None
        if self._tracers is not None and spans is not None:
            self._tracers.add_span_processor(BatchSpanProcessor(spans))
            self._tracer = self._tracers.get_tracer(SCOPE)
        views = [
            View(instrument_unit="{token}", aggregation=ExplicitBucketHistogramAggregation(TOKEN_BUCKETS)),
            View(instrument_unit="s", aggregation=ExplicitBucketHistogramAggregation(SECOND_BUCKETS)),
        ]
        readers = [reader] if reader is not None else []
        self._meters = MeterProvider(readers, resource, shutdown_on_exit=False, views=views)
        self._measures = reader is not None
        self._propagator = TraceContextTextMapPropagator()
        meter = self._meters.get_meter(SCOPE)

        def seconds(name: str, text: str) -> Histogram:
            return meter.create_histogram(name, "s", text)

        self._tokens = meter.create_histogram("gen_ai.client.token.usage", "{token}", "Tokens of an attempt")
        self._attempt = seconds("gen_ai.client.operation.duration", "Duration of an attempt at an upstream")
        self._attempt_first = seconds(
            "gen_ai.client.operation.time_to_first_chunk", "From an attempt's start to its first content"
        )
        self._request = seconds("gen_ai.server.request.duration", "Duration of a client's request")
        self._request_first = seconds(
            "gen_ai.server.time_to_first_token", "From a client's request to the first content of its answer"
        )
        self._per_token = seconds(
            "gen_ai.server.time_per_output_token", "Time per token after the first, of answers that succeeded"
        )

    def measure_attempt(self, record: UsageRecord) -> None:
        """Count an attempt. Only names that the configuration and the catalogue know become attributes."""
        if not self._measures:
            return
        attributes: dict[str, Value] = {
            "gen_ai.operation.name": operation_of(record.operation, record.upstream_format),
            "gen_ai.provider.name": provider_of(record.provider),
            "gen_ai.request.model": record.model,
        }
        if record.usage is not None:
            for kind, count in (("input", record.usage.input_total), ("output", record.usage.output_total)):
                if count is not None:
                    self._tokens.record(count, {**attributes, "gen_ai.token.type": kind})
        if record.time_to_first_token is not None:
            self._attempt_first.record(record.time_to_first_token, attributes)
        self._attempt.record(record.duration, _with_error(attributes, record.status))

    def measure_exchange(self, record: ExchangeRecord) -> None:
        """Count a request."""
        if not self._measures:
            return
        attributes: dict[str, Value] = {
            "gen_ai.operation.name": operation_of(record.operation, record.format),
            "gen_ai.provider.name": SCOPE,
        }
        if record.attempts:
            last = record.attempts[-1]
            attributes["gen_ai.provider.name"] = provider_of(last.provider)
            attributes["gen_ai.request.model"] = last.model
        self._request.record(record.duration, _with_error(attributes, record.status))
        if (first := record.time_to_first_token) is None:
            return
        self._request_first.record(first, attributes)
        usage = record.attempts[-1].usage if record.attempts else None
        if record.status == 200 and usage is not None and (usage.output_total or 0) > 1:
            self._per_token.record((record.duration - first) / ((usage.output_total or 0) - 1), attributes)

    def trace(self, record: ExchangeRecord, content: Mapping[str, str] | None = None) -> None:
        """Make the spans of a request; ``content`` are attributes that say what was said."""
        if self._tracers is None:
            return
        attributes = {**exchange_attributes(record), **(content or {})}
        span = self._tracer.start_span(
            f"{attributes['gen_ai.operation.name']} {record.requested_model[:100]}",
            context=self._propagator.extract(record.headers),
            kind=SpanKind.SERVER,
            start_time=_nanoseconds(record.started_at),
            attributes=attributes,
        )
        parent = set_span_in_context(span)
        for attempt in record.attempts:
            made = attempt_attributes(attempt)
            child = self._tracer.start_span(
                f"{made['gen_ai.operation.name']} {attempt.model}",
                context=parent,
                kind=SpanKind.CLIENT,
                start_time=_nanoseconds(attempt.started_at),
                attributes=made,
            )
            _end(child, attempt.status, attempt.error, attempt.started_at + attempt.duration)
        _end(span, record.status, record.error, record.started_at + record.duration)

    def shutdown(self) -> None:
        """Export what is left and end the threads. Blocks."""
        if self._tracers is not None:
            self._tracers.shutdown()
        if self._measures:
            self._meters.shutdown()


def _with_error(attributes: dict[str, Value], status: int) -> dict[str, Value]:
    """With the status as ``error.type``: error codes of upstreams are too many for metrics."""
    kind = error_type(status, None)
    return attributes if kind is None else {**attributes, "error.type": kind}


def _end(span: Span, status: int, error: str | None, at: float) -> None:
    if (kind := error_type(status, error)) is not None:
        span.set_status(Status(StatusCode.ERROR, "client disconnected" if status == CLIENT_GONE else kind))
    span.end(end_time=_nanoseconds(at))


def _nanoseconds(at: float) -> int:
    return int(at * NANO)
