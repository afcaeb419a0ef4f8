"""Traces and metrics for OpenTelemetry, in the words of its conventions for generative AI.

Off unless ``plugins.configs.otel.enabled`` is true; needs the extra ``otel``. Each request of a client is a server
span with a client span for every attempt below it; a ``traceparent`` the client sent is its parent. What was said is
left out unless ``capture-content`` is true.

https://github.com/open-telemetry/semantic-conventions-genai
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

from cpa.plugins import ClientRequest, ExchangeRecord, UsageRecord, hookimpl
from cpa_otel.content import Answers
from cpa_otel.pipeline import MakeExporters, Pipeline, otlp_exporters
from cpa_otel.settings import Settings, read_settings

LONGEST_SHUTDOWN = 3.0
"""Seconds the daemon waits for the last export when it stops."""


class OtelPlugin:
    """The plugin. ``exporters`` says where spans and metrics go."""

    def __init__(self, exporters: MakeExporters = otlp_exporters) -> None:
        self._exporters = exporters
        self._settings: Settings | None = None
        self._pipeline: Pipeline | None = None

    @hookimpl
    def cpa_configure(self, settings: Mapping[str, Any]) -> None:
        """Take the settings. Raises ValueError for what cannot be used."""
        wanted = read_settings(settings)
        if wanted == self._settings:
            return
        old, self._pipeline = self._pipeline, Pipeline(wanted, self._exporters)
        self._settings = wanted
        if old is not None:
            _shut_down(old)

    @hookimpl
    def cpa_usage(self, record: UsageRecord) -> None:
        """Measure an attempt."""
        if self._pipeline is not None:
            self._pipeline.measure_attempt(record)

    @hookimpl
    def cpa_exchange(self, record: ExchangeRecord) -> None:
        """Measure a request and trace it with its attempts."""
        if self._pipeline is not None:
            self._pipeline.measure_exchange(record)
            self._pipeline.trace(record)

    @hookimpl
    async def cpa_stop(self) -> None:
        """Send what is left."""
        pipeline, self._pipeline, self._settings = self._pipeline, None, None
        if pipeline is not None:
            await asyncio.to_thread(_shut_down(pipeline).join, LONGEST_SHUTDOWN)


def _shut_down(pipeline: Pipeline) -> threading.Thread:
    """End a pipeline in a thread that keeps nobody waiting: its receiver may be gone."""
    thread = threading.Thread(target=pipeline.shutdown, name="cpa-otel-shutdown", daemon=True)
    thread.start()
    return thread


class ContentPlugin(OtelPlugin):
    """Notes in the spans what was said, too. Answers are read for that, which passes none of them on untouched."""

    def __init__(self, exporters: MakeExporters = otlp_exporters) -> None:
        super().__init__(exporters)
        self._answers = Answers()

    @hookimpl
    def cpa_edit_reply(self, request: ClientRequest, body: dict[str, Any]) -> None:
        """Note a whole answer; it is not changed."""
        self._answers.whole(request.request_id, request.format, body)

    @hookimpl
    def cpa_stream_event(self, request: ClientRequest, event: Any) -> None:
        """Note an event of a stream."""
        self._answers.event(request.request_id, event)

    @hookimpl
    def cpa_exchange(self, record: ExchangeRecord) -> None:
        """Measure a request and trace it with what was said."""
        content = self._answers.take(record)
        if self._pipeline is not None:
            self._pipeline.measure_exchange(record)
            self._pipeline.trace(record, content)


def create_plugin(settings: Mapping[str, Any]) -> OtelPlugin:
    """The plugin object. Whether it notes content is settled at the start."""
    return ContentPlugin() if read_settings(settings).capture_content else OtelPlugin()
