"""Counters and histograms of requests, attempts, tokens and money, fed as they finish."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec.structs import replace
from prometheus_client import CollectorRegistry, Counter, Histogram

from cpa.conversation.usage import Usage
from cpa.metrics.labels import NONE, Bounded, exchange_outcome, outcome_of
from cpa.plugins.values import ExchangeRecord, UsageRecord
from cpa.usage.price import NANO

MOST_MODELS = 200
"""Models with series of their own; a model gets one only once an account was asked for it."""
MOST_PROVIDERS = 50
MOST_ROUTES = 300
CLIENT_GONE = 499
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
FRACTIONS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)

Kind = TypeVar("Kind", Counter, Histogram)
Cost = Callable[[UsageRecord], int | None]
"""Nano-dollars of an attempt; None when unknown."""


class Series(Generic[Kind]):
    """The series of a metric, each found by its label values: the library's own way takes several times longer."""

    def __init__(self, metric: Kind) -> None:
        self._metric: Kind = metric
        self._found: dict[tuple[str, ...], Kind] = {}

    def __call__(self, *values: str) -> Kind:
        """The series with these label values."""
        found = self._found.get(values)
        if found is None:
            found = self._found[values] = self._metric.labels(*values) if values else self._metric
        return found


class RequestMetrics:
    """The daemon's :class:`~cpa.exchange.observers.Meter`."""

    def __init__(self, registry: CollectorRegistry, cost: Cost) -> None:
        self._cost = cost
        self._model = Bounded(MOST_MODELS)
        self._provider = Bounded(MOST_PROVIDERS)
        self._route = Bounded(MOST_ROUTES)

        def counter(name: str, text: str, *labels: str) -> Series[Counter]:
            return Series(Counter(name, text, labels, registry=registry))

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Series[Histogram]:
            return Series(Histogram(name, text, labels, buckets=buckets, registry=registry))

        self._http = counter("cpa_http_requests", "HTTP requests by route and status.", "route", "code")
        self._requests = counter(
            "cpa_requests",
            "Model requests of clients by how they ended.",
            "dialect",
            "provider",
            "model",
            "outcome",
            "stream",
        )
        self._duration = histogram(
            "cpa_request_duration_seconds",
            "From a model request to the last byte of its answer.",
            SECONDS,
            "dialect",
            "provider",
            "stream",
        )
        self._first_token = histogram(
            "cpa_time_to_first_token_seconds",
            "From a model request to the first content of its answer.",
            SECONDS,
            "dialect",
            "provider",
        )
        self._overhead = histogram(
            "cpa_overhead_seconds",
            "The part of a model request in which no upstream was being asked: cpa's own work and waits for accounts.",
            FRACTIONS,
            "dialect",
        )
        self._attempts = counter(
            "cpa_upstream_attempts", "Attempts at upstream accounts by how they ended.", "provider", "outcome"
        )
        self._tokens = counter(
            "cpa_tokens",
            "Tokens by type; cache_read and cache_write are part of input, reasoning is part of output.",
            "provider",
            "model",
            "type",
        )
        self._money = counter("cpa_cost_usd", "Cost of attempts whose model has a known price.", "provider", "model")
        self._disconnects = counter("cpa_client_disconnects", "Model requests whose client went away.")
        self._aborts = counter("cpa_stream_aborts", "Streams that ended early, by who broke them off.", "side")

    def answered(self, route: str, status: int) -> None:
        """An HTTP request was answered. ``route`` is the pattern of its path, never the path itself."""
        self._http(self._route(route), str(status)).inc()

    def attempt(self, record: UsageRecord) -> None:
        """Count an attempt."""
        provider = self._provider(record.provider)
        self._attempts(provider, outcome_of(record.status, record.error)).inc()
        if record.usage is not None:
            self._count(provider, record, record.usage)
            if (tool := record.usage.image_tool) is not None:
                self._count(provider, replace(record, model=tool.model, usage=tool.usage), tool.usage)

    def _count(self, provider: str, record: UsageRecord, usage: Usage) -> None:
        model = self._model(record.model)
        for kind, tokens in _token_types(usage):
            if tokens:
                self._tokens(provider, model, kind).inc(tokens)
        if nanos := self._cost(record):
            self._money(provider, model).inc(nanos / NANO)

    def exchange(self, record: ExchangeRecord) -> None:
        """Count a request. Counting tokens is no model request."""
        if record.operation == "count":
            return
        last = record.attempts[-1] if record.attempts else None
        provider = self._provider(last.provider) if last is not None else NONE
        model = self._model(last.model) if last is not None else NONE
        stream = "true" if record.stream else "false"
        self._requests(record.format, provider, model, exchange_outcome(record), stream).inc()
        self._duration(record.format, provider, stream).observe(record.duration)
        self._overhead(record.format).observe(record.overhead)
        if record.time_to_first_token is not None:
            self._first_token(record.format, provider).observe(record.time_to_first_token)
        if record.status == CLIENT_GONE:
            self._disconnects().inc()
        if record.stream and record.answered and (record.error is not None or record.status == CLIENT_GONE):
            self._aborts("client" if record.status == CLIENT_GONE else "upstream").inc()


def _token_types(usage: Usage) -> tuple[tuple[str, int | None], ...]:
    return (
        ("input", usage.input_total),
        ("output", usage.output_total),
        ("cache_read", usage.cache_read),
        ("cache_write", usage.cache_write),
        ("reasoning", usage.reasoning),
    )
