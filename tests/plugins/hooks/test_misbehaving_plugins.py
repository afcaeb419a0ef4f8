"""Plugins that raise, return junk, block or hang: requests are answered, the plugin is named and left alone."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import structlog

from cpa.config import ConfigStore
from cpa.daemon import Daemon
from cpa.errors import ApiError, ErrorInfo
from cpa.plugins import Account, Model, Provider, UpstreamAnswer, hookimpl
from cpa.plugins.guard import MOST_FAULTS
from cpa.plugins.manager import Plugins

KEY = "a-management-key"


class Running:
    """A daemon with plugins that misbehave."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.url = f"http://{daemon.addresses[0]}"

    async def ask(self, model: str = "demo", *, stream: bool = False, **headers: str) -> tuple[int, str]:
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hello there"}]}
        url = f"{self.url}/v1/chat/completions"
        async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
            return answer.status, await answer.text()

    async def plugins(self) -> dict[str, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {KEY}"}
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.url}/v0/management/plugins", headers=headers) as answer,
        ):
            return {entry["name"]: entry for entry in (await answer.json())["plugins"]}


Start = Callable[..., Any]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    running: list[Daemon] = []

    async def begin(plugin: object, more: str = "") -> Running:
        path = tmp_path / "config.yaml"
        path.write_text(
            f"host: 127.0.0.1\nport: 0\nauth-dir: {tmp_path}/auth\nremote-management: {{secret-key: {KEY}}}\n{more}"
        )
        daemon = Daemon(ConfigStore(path, {}), {})
        daemon.plugins.register(plugin, "mine", daemon.store.current)
        running.append(daemon)
        await daemon.start()
        return Running(daemon)

    yield begin
    for daemon in running:
        await daemon.stop()


def plugin_with(name: str, behaviour: Callable[[], Any]) -> object:
    """A plugin whose one hook does as told."""
    return type("Mine", (), {name: hookimpl(lambda self: behaviour())})()


def explode() -> None:
    raise RuntimeError("a bug")


JUNK = {
    "cpa_edit_request": 7,
    "cpa_edit_reply": ["no"],
    "cpa_choose_account": "demo",
    "cpa_models": [1, "x"],
    "cpa_formats": 3,
    "cpa_providers": ["no provider"],
    "cpa_usage": object(),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "hook",
    [
        "cpa_edit_request",
        "cpa_edit_upstream_request",
        "cpa_edit_reply",
        "cpa_stream_event",
        "cpa_choose_account",
        "cpa_usage",
        "cpa_exchange",
        "cpa_models",
        "cpa_formats",
        "cpa_routes",
        "cpa_management_routes",
        "cpa_providers",
        "cpa_start",
    ],
)
async def test_a_hook_that_raises_costs_no_answer(start: Start, hook: str, stream: bool) -> None:
    running = await start(plugin_with(hook, explode))
    status, text = await running.ask(stream=stream)
    assert status == 200, text
    assert "there" in text
    if stream:
        assert text.endswith("data: [DONE]\n\n")
    assert running.daemon.addresses


@pytest.mark.parametrize("hook", JUNK)
async def test_a_hook_that_returns_junk_costs_no_answer(start: Start, hook: str) -> None:
    running = await start(plugin_with(hook, lambda: JUNK[hook]))
    for stream in (False, True):
        status, text = await running.ask(stream=stream)
        assert status == 200, text


async def test_a_plugin_that_goes_on_failing_is_left_alone_and_shown(start: Start) -> None:
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise RuntimeError("a bug")

    running = await start(plugin_with("cpa_edit_request", fail))
    for _ in range(MOST_FAULTS + 5):
        assert (await running.ask())[0] == 200
    assert len(calls) == MOST_FAULTS
    shown = (await running.plugins())["mine"]
    assert (shown["state"], shown["faults"]) == ("suspended", MOST_FAULTS)
    assert "cpa_edit_request: RuntimeError: a bug" in shown["reason"]
    path = running.daemon.store.path
    path.write_text(path.read_text() + "debug: false\n")
    running.daemon.reload()
    assert (await running.ask())[0] == 200
    assert len(calls) == MOST_FAULTS + 1


async def test_a_fault_now_and_then_suspends_nobody(start: Start) -> None:
    calls: list[int] = []

    def sometimes() -> None:
        calls.append(1)
        if len(calls) % 3:
            raise RuntimeError("a bug")

    running = await start(plugin_with("cpa_edit_request", sometimes))
    for _ in range(MOST_FAULTS * 2):
        await running.ask()
    assert len(calls) == MOST_FAULTS * 2
    assert (await running.plugins())["mine"]["state"] == "loaded"


async def test_a_hook_that_blocks_is_named_and_left_alone(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpa.plugins.guard.LONGEST_CALL", 0.005)
    running = await start(plugin_with("cpa_exchange", lambda: time.sleep(0.01)))
    for _ in range(MOST_FAULTS):
        assert (await running.ask())[0] == 200
    shown = (await running.plugins())["mine"]
    assert shown["state"] == "suspended"
    assert "cpa_exchange blocked the daemon for" in shown["reason"]


async def test_a_refusal_in_its_own_words_is_no_fault(start: Start) -> None:
    def refuse() -> None:
        raise ApiError(ErrorInfo(451, "not about that", type="policy", code="forbidden_topic"))

    running = await start(plugin_with("cpa_edit_request", refuse))
    status, text = await running.ask()
    assert status == 451
    assert "not about that" in text
    assert (await running.plugins())["mine"]["faults"] == 0


@pytest.mark.parametrize("behaviour", [explode, lambda: 42, lambda: True, lambda: ""])
async def test_an_authenticator_that_fails_lets_nobody_in(start: Start, behaviour: Callable[[], Any]) -> None:
    class Mine:
        @hookimpl
        def cpa_authenticate(self, headers: Any) -> Any:
            return behaviour() if "X-Broken" in headers else None

    running = await start(Mine(), "api-keys: [k]\n")
    for _ in range(MOST_FAULTS + 2):
        status, text = await running.ask(**{"X-Broken": "1", "X-Api-Key": "k"})
        assert status == 500
    assert orjson.loads(text)["error"]["message"] == "Authentication service error"
    assert (await running.ask(**{"X-Api-Key": "k"}))[0] == 200
    assert (await running.ask())[0] == 401


async def test_a_start_that_hangs_keeps_nobody_waiting(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpa.plugins.manager.LONGEST_START", 0.05)

    class Mine:
        @hookimpl
        async def cpa_start(self) -> None:
            await asyncio.sleep(3600)

        @hookimpl
        async def cpa_stop(self) -> None:
            await asyncio.sleep(3600)

    begun = time.monotonic()
    running = await start(Mine())
    assert (await running.ask())[0] == 200
    await running.daemon.stop()
    assert time.monotonic() - begun < 30


def test_a_module_that_hangs_while_it_is_imported_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpa.plugins.manager.LONGEST_LOAD", 0.2)
    (tmp_path / "hanging_plugin_for_test.py").write_text("import time\ntime.sleep(3)\n")
    path = tmp_path / "config.yaml"
    path.write_text("{}\n")
    points = [EntryPoint("demo", "cpa_demo", "cpa"), EntryPoint("hangs", "hanging_plugin_for_test", "cpa")]
    sys.path.insert(0, str(tmp_path))
    try:
        plugins = Plugins(structlog.get_logger())
        begun = time.monotonic()
        plugins.load(ConfigStore(path, {}).current, points)
    finally:
        sys.path.remove(str(tmp_path))
    assert time.monotonic() - begun < 2
    states = {status.name: (status.state, status.reason) for status in plugins.statuses}
    assert states == {"demo": ("loaded", ""), "hangs": ("failed", "TimeoutError: not loaded within 0.2 seconds")}


class BrokenProvider(Provider):
    """A provider that breaks in one place."""

    name = "broken"
    format = "openai"

    def __init__(self, place: str) -> None:
        self._place = place

    def _break(self, place: str) -> None:
        if place == self._place:
            raise RuntimeError("a bug in a provider")

    def accounts_from_config(self, config: Any) -> list[Account]:
        self._break("accounts")
        return [Account(id="broken", provider="broken", kind="none", priority=9)]

    def models(self, account: Account, builtin: Any) -> list[Model]:
        self._break("models")
        return [Model(id="demo", user_defined=True)]

    def prepare(self, request: Any) -> None:
        request.url = "broken:"
        self._break("prepare")

    async def send(self, request: Any) -> UpstreamAnswer:
        self._break("send")

        async def bytes_of_it() -> AsyncIterator[bytes]:
            self._break("answer")
            yield b"{}"

        return UpstreamAnswer(500, {"Content-Type": "application/json"}, bytes_of_it())

    def read_error(self, *arguments: Any) -> Any:
        self._break("error")
        return super().read_error(*arguments)


@pytest.mark.parametrize("place", ["accounts", "models", "prepare", "send", "answer", "error"])
async def test_a_provider_that_breaks_is_an_account_that_failed(start: Start, place: str) -> None:
    class Mine:
        @hookimpl
        def cpa_providers(self) -> list[Provider]:
            return [BrokenProvider(place)]

    running = await start(Mine(), "usage-statistics-enabled: true\n")
    for stream in (False, True):
        status, text = await running.ask(stream=stream)
        assert status == 200, text
    assert running.daemon._exchange is not None
    assert running.daemon._exchange.observers.running == 0
    query = "SELECT status_code FROM usage_events WHERE final = 1"
    finals = await asyncio.to_thread(running.daemon.usage.ask, lambda c: c.execute(query).fetchall(), [])
    assert [row["status_code"] for row in finals] == [200, 200]
