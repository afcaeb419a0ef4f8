"""Spans and metrics for OpenTelemetry, taken from a running daemon by exporters in memory."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode

from cpa.config import ConfigStore
from cpa.daemon import Daemon
from cpa.plugins.manager import Plugins
from cpa_otel import ContentPlugin, OtelPlugin, create_plugin
from cpa_otel.settings import read_settings

CONFIG = """
host: 127.0.0.1
port: 0
auth-dir: {folder}/auth
api-keys: [secret-client-key]
claude-api-key:
  - {{api-key: sk-secret-upstream-key, base-url: "http://127.0.0.1:9", models: [{{name: up, alias: dead}}]}}
"""
TRACE = "0af7651916cd43dd8448eb211c80319c"
SECRET = "the-words-that-were-said"


class Memory(SpanExporter):
    """Keeps the spans it is given."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Any) -> SpanExportResult:
        self.spans.extend(spans)
        return SpanExportResult.SUCCESS


class Traced:
    """A daemon whose telemetry ends in memory."""

    def __init__(self, daemon: Daemon, plugin: OtelPlugin, memory: Memory, reader: InMemoryMetricReader) -> None:
        self.daemon = daemon
        self._plugin = plugin
        self._memory = memory
        self._reader = reader

    async def ask(
        self, model: str, *, stream: bool = False, path: str = "/v1/chat/completions", more: Any = None, **headers: str
    ) -> int:
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": SECRET}], **(more or {})}
        headers = {"Authorization": "Bearer secret-client-key", **headers}
        url = f"http://{self.daemon.addresses[0]}{path}"
        async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
            await answer.read()
            return answer.status

    def metrics(self) -> dict[str, list[Any]]:
        """The data points by metric."""
        data = self._reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    async def spans(self) -> list[ReadableSpan]:
        """All spans; the daemon's telemetry is over after that."""
        await self._plugin.cpa_stop()
        return self._memory.spans


Start = Callable[..., Any]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    running: list[Daemon] = []

    async def begin(kind: type[OtelPlugin] = OtelPlugin) -> Traced:
        path = tmp_path / "config.yaml"
        path.write_text(CONFIG.format(folder=tmp_path))
        daemon = Daemon(ConfigStore(path, {}), {})
        memory, reader = Memory(), InMemoryMetricReader()
        plugin = kind(lambda settings: (memory, reader))
        daemon.plugins.register(plugin, "otel", daemon.store.current)
        running.append(daemon)
        await daemon.start()
        return Traced(daemon, plugin, memory, reader)

    yield begin
    for daemon in running:
        await daemon.stop()


async def test_a_request_is_a_span_with_its_attempts_below_it(start: Start) -> None:
    traced = await start()
    before = time.time_ns()
    more = {"temperature": 0.5, "max_tokens": 50}
    assert await traced.ask("demo", more=more, traceparent=f"00-{TRACE}-b7ad6b7169203331-01") == 200
    after = time.time_ns()
    attempt, request = await traced.spans()
    assert (request.name, request.kind) == ("chat demo", SpanKind.SERVER)
    assert (attempt.name, attempt.kind) == ("chat demo", SpanKind.CLIENT)
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == "b7ad6b7169203331"
    assert f"{request.context.trace_id:032x}" == f"{attempt.context.trace_id:032x}" == TRACE
    assert attempt.parent is not None
    assert attempt.parent.span_id == request.context.span_id
    assert before <= request.start_time <= attempt.start_time < attempt.end_time <= request.end_time + 10**6
    assert request.end_time <= after + 10**6
    said = dict(attempt.attributes)
    assert said["gen_ai.operation.name"] == "chat"
    assert said["gen_ai.provider.name"] == "demo"
    assert said["gen_ai.request.model"] == "demo"
    assert said["gen_ai.usage.output_tokens"] > 0
    assert said["http.response.status_code"] == 200
    told = dict(request.attributes)
    assert told["gen_ai.request.temperature"] == 0.5
    assert told["gen_ai.request.max_tokens"] == 50
    assert told["gen_ai.usage.input_tokens"] > 0
    assert told["cpa.client"].startswith("key-")
    assert request.status.status_code is StatusCode.UNSET
    assert request.resource.attributes["service.name"] == "cpa"


async def test_a_failure_names_its_kind(start: Start) -> None:
    traced = await start()
    assert await traced.ask("dead") == 502
    assert await traced.ask("nobody-has-it") == 404
    attempt, request, refused = await traced.spans()
    for span in (attempt, request, refused):
        assert span.status.status_code is StatusCode.ERROR
    assert attempt.attributes["gen_ai.provider.name"] == "anthropic"
    assert attempt.attributes["error.type"] == request.attributes["error.type"]
    assert refused.attributes["http.response.status_code"] == 404
    assert refused.attributes["cpa.attempts"] == 0


async def test_metrics_have_the_names_and_buckets_of_the_conventions(start: Start) -> None:
    traced = await start()
    await traced.ask("demo")
    await traced.ask("demo", stream=True)
    await traced.ask("dead")
    metrics = traced.metrics()
    assert set(metrics) == {
        "gen_ai.client.token.usage",
        "gen_ai.client.operation.duration",
        "gen_ai.client.operation.time_to_first_chunk",
        "gen_ai.server.request.duration",
        "gen_ai.server.time_to_first_token",
        "gen_ai.server.time_per_output_token",
    }
    points = metrics["gen_ai.client.token.usage"]
    assert {point.attributes["gen_ai.token.type"] for point in points} == {"input", "output"}
    assert list(points[0].explicit_bounds)[:4] == [1, 4, 16, 64]
    assert points[0].explicit_bounds[-1] == 67108864
    durations = metrics["gen_ai.server.request.duration"]
    assert list(durations[0].explicit_bounds)[:3] == [0.01, 0.02, 0.04]
    counts = {point.attributes.get("error.type", "none"): point.count for point in durations}
    assert counts == {"none": 2, "502": 1}


async def test_made_up_models_make_no_series(start: Start) -> None:
    traced = await start()
    for number in range(30):
        assert await traced.ask(f"nobody-has-{number}") == 404
    (point,) = traced.metrics()["gen_ai.server.request.duration"]
    assert point.count == 30
    assert "gen_ai.request.model" not in point.attributes


@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_said_is_left_out(start: Start, stream: bool) -> None:
    traced = await start()
    await traced.ask("demo", stream=stream)
    shown = "".join(span.to_json() for span in await traced.spans())
    for secret in (SECRET, "secret-client-key"):
        assert secret not in shown


@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_said_is_noted_for_who_asks_for_it(start: Start, stream: bool) -> None:
    traced = await start(ContentPlugin)
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    choice = {"type": "function", "function": {"name": "look"}}
    await traced.ask("demo", stream=stream)
    await traced.ask("demo", stream=stream, more={"tools": tools, "tool_choice": choice})
    requests = [span for span in await traced.spans() if span.kind is SpanKind.SERVER]
    asked, called = (dict(span.attributes) for span in requests)
    assert json.loads(asked["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": SECRET}]}
    ]
    (answer,) = json.loads(asked["gen_ai.output.messages"])
    assert (answer["role"], answer["finish_reason"]) == ("assistant", "stop")
    assert SECRET in answer["parts"][0]["content"]
    (call,) = json.loads(called["gen_ai.output.messages"])[0]["parts"]
    assert (call["type"], call["name"], call["arguments"]) == ("tool_call", "look", "{}")


def test_content_is_a_choice_of_the_settings() -> None:
    assert type(create_plugin({})) is OtelPlugin
    assert type(create_plugin({"capture-content": True})) is ContentPlugin


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"endpoint": "localhost:4318"}, "endpoint: expected a URL"),
        ({"traces": "yes"}, "traces: expected true or false"),
        ({"headers": ["a"]}, "headers: expected names with texts"),
    ],
)
def test_settings_that_cannot_be_used_are_named(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_settings(settings)


def _load(tmp_path: Path, text: str, extra: str = "otel") -> Plugins:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    plugins = Plugins(structlog.get_logger())
    point = EntryPoint("otel", f"module_that_is_not_installed [{extra}]", "cpa")
    plugins.load(ConfigStore(path, {}).current, [point])
    return plugins


def test_it_is_off_and_not_imported_unless_asked_for(tmp_path: Path) -> None:
    (status,) = _load(tmp_path, "{}\n").statuses
    assert status.state == "disabled"
    (status,) = _load(tmp_path, "plugins: {configs: {otel: {enabled: true}}}\n").statuses
    assert status.state == "failed"
    assert "No module named" in status.reason


async def test_a_receiver_that_is_gone_holds_nobody_up(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = tmp_path / "config.yaml"
    settings = f"plugins: {{configs: {{otel: {{enabled: true, endpoint: 'http://127.0.0.1:{port}'}}}}}}\n"
    path.write_text(CONFIG.format(folder=tmp_path) + settings)
    async with Daemon(ConfigStore(path, {}), {}) as daemon:
        assert [status.state for status in daemon.plugins.statuses if status.name == "otel"] == ["loaded"]
        body = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}
        headers = {"Authorization": "Bearer secret-client-key"}
        url = f"http://{daemon.addresses[0]}/v1/chat/completions"
        async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
            assert answer.status == 200
        begun = time.monotonic()
    assert time.monotonic() - begun < 6
