"""The metrics of one daemon: switched on and off with the configuration, shown on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cpa.plugins.values import UsageRecord

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from cpa.metrics.requests import RequestMetrics
    from cpa.metrics.state import Sources


class Metrics:
    """Owns the registry and the task that watches the event loop.

    ``sources`` is asked once, when metrics are first switched on. Counters live on when they are switched off and on.
    """

    def __init__(self, sources: Callable[[], Sources], cost: Callable[[UsageRecord], int | None]) -> None:
        self._sources = sources
        self._cost = cost
        self._registry: Any = None
        self._requests: RequestMetrics | None = None
        self._observe_lag: Callable[[float], None] | None = None
        self._lag: asyncio.Task[None] | None = None
        self.meter: RequestMetrics | None = None
        """What counts requests; None while metrics are off."""

    def configure(self, *, enabled: bool) -> None:
        """Follow the configuration. Call it on the event loop."""
        if not enabled:
            self.meter = None
            self._end()
            return
        if self._requests is None:
            self._build()
        self.meter = self._requests
        if self._lag is None and self._observe_lag is not None:
            from cpa.metrics.lag import watch_lag

            self._lag = asyncio.get_running_loop().create_task(watch_lag(self._observe_lag))

    def _build(self) -> None:
        from prometheus_client import CollectorRegistry, GCCollector, Histogram, ProcessCollector

        from cpa.metrics.lag import BUCKETS
        from cpa.metrics.requests import RequestMetrics
        from cpa.metrics.state import StateCollector

        registry = self._registry = CollectorRegistry()
        self._requests = RequestMetrics(registry, self._cost)
        lag = Histogram(
            "cpa_event_loop_lag_seconds", "How late timers of the event loop run.", buckets=BUCKETS, registry=registry
        )
        self._observe_lag = lag.observe
        registry.register(StateCollector(self._sources()))
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)

    async def render(self, accept: str) -> tuple[bytes, str]:
        """Everything in the text format a scraper's ``Accept`` header asks for, and its content type."""
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(accept)
        families = _Families([_without_creation(family) for family in self._registry.collect()])
        return await asyncio.to_thread(encode, families), content_type

    async def stop(self) -> None:
        """Watch the event loop no more."""
        task = self._end()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

    def _end(self) -> asyncio.Task[None] | None:
        task, self._lag = self._lag, None
        if task is not None:
            task.cancel()
        return task


class _Families:
    """What was collected, in the place of the registry it came from."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _without_creation(family: Metric) -> Metric:
    """The family without the times its series began, which would double the page."""
    family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
    return family
