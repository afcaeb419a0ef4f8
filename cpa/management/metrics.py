"""``GET /metrics`` for Prometheus: off unless ``metrics.enable`` is set, and never without a key."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from cpa.config import Config
from cpa.management.access import Gate
from cpa.management.answers import Refusal
from cpa.management.problem import refused
from cpa.metrics.metrics import Metrics


class MetricsPage:
    """The page. ``metrics.key`` opens it and nothing else; the management key opens it too."""

    def __init__(self, metrics: Metrics, gate: Gate, config: Callable[[], Config]) -> None:
        self._metrics = metrics
        self._gate = gate
        self._config = config

    async def handle(self, request: web.Request) -> web.Response:
        """Everything there is to measure, in Prometheus' text format or in OpenMetrics."""
        config = self._config()
        if not config.metrics.enable:
            return web.Response(status=404, text="404 page not found")
        try:
            if not config.metrics.key and not self._gate.enabled(config):
                raise Refusal(403, "no key", "set metrics.key, or a management key, to open this page")
            await self._gate.admit(request, config, also=config.metrics.key)
        except Refusal as refusal:
            return refused(refusal, request)
        body, content_type = await self._metrics.render(request.headers.get("Accept", ""))
        headers = {"Content-Type": content_type, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        return web.Response(body=body, headers=headers)
