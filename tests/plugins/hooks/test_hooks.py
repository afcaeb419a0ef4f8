"""Every hook: it exists, it is documented, it does what it says, in a running daemon."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import click
import orjson
import pytest
from aiohttp import web

from cpa.config import ConfigStore
from cpa.daemon import Daemon
from cpa.plugins import Account, ClientIdentity, Model, Provider, UpstreamAnswer, hookimpl, hookspecs
from cpa.plugins.manager import Plugins

ROOT = Path(__file__).resolve().parents[3]
HOOKS = [name for name, _ in inspect.getmembers(hookspecs, inspect.isfunction) if name.startswith("cpa_")]


def test_every_hook_is_documented_and_tested() -> None:
    page = (ROOT / "docs/plugins.md").read_text()
    source = "".join(path.read_text() for path in Path(__file__).parent.glob("*.py"))
    for name in HOOKS:
        assert f"`{name}(" in page or f", `{name}(" in page, f"docs/plugins.md does not mention {name}"
        assert f"def {name}(" in source, f"no test implements {name}"
        assert inspect.getdoc(getattr(hookspecs, name))


class EchoProvider(Provider):
    """Answers what it was asked, as Chat Completions, without a network."""

    name = "echo"
    format = "openai"

    def accounts_from_config(self, config: Any) -> list[Account]:
        return [Account(id=f"echo-{n}", provider="echo", kind="none", label=f"echo {n}") for n in (1, 2)]

    def models(self, account: Account, builtin: Any) -> list[Model]:
        return [Model(id="echo", user_defined=True)]

    def prepare(self, request: Any) -> None:
        request.url = "echo:"

    async def send(self, request: Any) -> UpstreamAnswer:
        seen = orjson.dumps({"account": request.account.id, "body": request.body}).decode()
        message = {"role": "assistant", "content": seen}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = {"id": "c", "object": "chat.completion", "created": 1, "model": request.model, "choices": [choice]}

        async def once() -> AsyncIterator[bytes]:
            yield orjson.dumps(body)

        return UpstreamAnswer(200, {"Content-Type": "application/json"}, once())


class Running:
    """A daemon in this process with one plugin."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.url = f"http://{daemon.addresses[0]}"

    async def ask(self, body: dict[str, Any] | None = None, path: str = "/v1/chat/completions", **headers: str) -> Any:
        body = body or {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url + path, json=body, headers=headers) as answer,
        ):
            text = await answer.text()
            return answer.status, text

    async def seen(self, body: dict[str, Any] | None = None, **headers: str) -> dict[str, Any]:
        status, text = await self.ask(body, **headers)
        assert status == 200, text
        parsed: dict[str, Any] = orjson.loads(orjson.loads(text)["choices"][0]["message"]["content"])
        return parsed


Start = Callable[[object], Any]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start a daemon with the echo provider and one plugin."""
    running: list[Daemon] = []

    async def begin(plugin: object, more: str = "") -> Running:
        path = tmp_path / "config.yaml"
        path.write_text(f"host: 127.0.0.1\nport: 0\nauth-dir: {tmp_path}/auth\n{more}")
        daemon = Daemon(ConfigStore(path, {}), {})

        class EchoPlugin:
            @hookimpl
            def cpa_providers(self) -> list[Provider]:
                return [EchoProvider()]

        daemon.plugins.register(EchoPlugin(), "echo", daemon.store.current)
        daemon.plugins.register(plugin, "mine", daemon.store.current)
        running.append(daemon)
        await daemon.start()
        return Running(daemon)

    yield begin
    for daemon in running:
        await daemon.stop()


async def test_configure_receives_its_settings_and_may_refuse_them(start: Start) -> None:
    taken: list[dict[str, Any]] = []

    class Plugin:
        @hookimpl
        def cpa_configure(self, config: Any, settings: dict[str, Any]) -> None:
            if settings.get("level") == "wrong":
                raise ValueError("level must be right")
            taken.append(settings)

    more = "plugins: {configs: {mine: {level: right}}}\n"
    running = await start(Plugin(), more)
    assert taken == [{"level": "right"}]
    path = running.daemon.store.path
    path.write_text(path.read_text().replace("right", "left"))
    running.daemon.reload()
    assert taken[-1] == {"level": "left"}
    path.write_text(path.read_text().replace("left", "wrong"))
    running.daemon.reload()
    assert taken[-1] == {"level": "left"}


async def test_edit_request_and_upstream_request(start: Start) -> None:
    originals: list[Any] = []

    class Plugin:
        @hookimpl
        def cpa_edit_request(self, request: Any, body: dict[str, Any]) -> dict[str, Any] | None:
            assert request.format == "openai"
            return {**body, "user": "edited"}

        @hookimpl
        def cpa_edit_upstream_request(self, request: Any, original: Any) -> None:
            originals.append(original())
            request.body = {**request.body, "seed": 7}

    seen = await (await start(Plugin())).seen()
    assert seen["body"]["user"] == "edited"
    assert seen["body"]["seed"] == 7
    assert "user" not in originals[0]


async def test_edit_reply(start: Start) -> None:
    class Plugin:
        @hookimpl
        def cpa_edit_reply(self, request: Any, body: dict[str, Any]) -> dict[str, Any] | None:
            return {**body, "id": "mine"}

    status, text = await (await start(Plugin())).ask()
    assert status == 200
    assert orjson.loads(text)["id"] == "mine"


async def test_stream_events_are_observed(start: Start) -> None:
    events: list[str] = []

    class Plugin:
        @hookimpl
        def cpa_stream_event(self, event: Any) -> None:
            events.append(type(event).__name__)

    body = {"model": "demo", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    status, text = await (await start(Plugin())).ask(body)
    assert status == 200
    assert "[DONE]" in text
    assert events[0] == "Start"
    assert events[-1] == "End"
    assert "TextDelta" in events


async def test_authenticate_recognises_clients(start: Start) -> None:
    class Plugin:
        @hookimpl
        def cpa_authenticate(self, headers: Any) -> ClientIdentity | None:
            return ClientIdentity("friend", "mine") if headers.get("X-Friend") else None

    running = await start(Plugin(), "api-keys: [only-this-key]\n")
    assert (await running.ask())[0] == 401
    assert (await running.ask(**{"X-Friend": "yes"}))[0] == 200
    assert (await running.ask(Authorization="Bearer only-this-key"))[0] == 200


async def test_choose_account(start: Start) -> None:
    class Plugin:
        @hookimpl
        def cpa_choose_account(self, model: str, candidates: list[Account]) -> Account | None:
            return max(candidates, key=lambda account: account.id)

    running = await start(Plugin())
    assert {(await running.seen())["account"] for _ in range(3)} == {"echo-2"}


async def test_models_formats_and_usage(start: Start) -> None:
    records: list[Any] = []

    class Plugin:
        @hookimpl
        def cpa_models(self, account: Account) -> list[Model]:
            return [Model(id="extra", user_defined=True)] if account.provider == "echo" else []

        @hookimpl
        def cpa_formats(self) -> list[Any]:
            class Mine:
                name = "mine"
                family = "mine"

            return [Mine()]

        @hookimpl
        def cpa_usage(self, record: Any) -> None:
            records.append(record)

    running = await start(Plugin())
    assert "mine" in running.daemon.formats
    await running.seen({"model": "extra", "messages": [{"role": "user", "content": "hi"}]})
    assert [(record.provider, record.model, record.status, record.attempt) for record in records] == [
        ("echo", "extra", 200, 1)
    ]


async def test_a_finished_request_is_told_with_its_attempts(start: Start) -> None:
    records: list[Any] = []

    class Plugin:
        @hookimpl
        def cpa_exchange(self, record: Any) -> None:
            records.append(record)

    running = await start(Plugin())
    await running.seen(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    await running.ask({"model": "nobody-has-it", "messages": [{"role": "user", "content": "hi"}]})
    await running.ask({"model": "demo", "stream": True, "messages": [{"role": "user", "content": "hi"}]})
    whole, refused, stream = records
    assert (whole.format, whole.path, whole.status, whole.error) == ("openai", "/v1/chat/completions", 200, None)
    assert whole.answered
    assert whole.headers["Traceparent"].startswith("00-0af7")
    assert whole.body["messages"][0]["content"] == "hi"
    assert [attempt.provider for attempt in whole.attempts] == ["echo"]
    assert 0 <= whole.overhead < whole.duration
    assert (refused.status, refused.attempts, refused.answered) == (404, (), False)
    assert refused.requested_model == "nobody-has-it"
    assert stream.stream
    assert stream.answered
    assert stream.attempts[0].usage.output_total > 0
    assert 0 < stream.attempts[0].time_to_first_token <= stream.time_to_first_token <= stream.duration


async def test_routes_start_and_stop(start: Start) -> None:
    calls: list[str] = []

    class Plugin:
        @hookimpl
        def cpa_routes(self, router: web.UrlDispatcher) -> None:
            async def hello(request: web.Request) -> web.Response:
                return web.Response(text="hello")

            router.add_post("/mine", hello)

        @hookimpl
        async def cpa_start(self, host: Any) -> None:
            calls.append(f"start {host.config().host}")

        @hookimpl
        def cpa_stop(self) -> None:
            calls.append("stop")

    running = await start(Plugin())
    assert await running.ask({}, "/mine") == (200, "hello")
    await running.daemon.stop()
    assert calls[:2] == ["start 127.0.0.1", "stop"]


async def test_models_are_announced_and_a_raising_or_hanging_listener_harms_nobody(start: Start) -> None:
    seen: list[tuple[str, str, list[str]]] = []

    class Plugin:
        @hookimpl
        async def cpa_models_registered(self, provider: str, account: Account, models: list[Model]) -> None:
            seen.append((provider, account.id, [model.id for model in models]))
            raise RuntimeError("no")

        @hookimpl
        def cpa_models_unregistered(self, provider: str, account: Account) -> None:
            seen.append((provider, account.id, []))

    running = await start(Plugin())
    roster = running.daemon.roster
    roster.put_runtime(Account(id="echo-3", provider="echo", kind="none"))
    roster.drop_runtime("echo-3")
    for _ in range(100):
        ours = [announced for announced in seen if announced[0] == "echo"]
        if len(ours) == 4:
            break
        await asyncio.sleep(0.01)
    assert ours == [
        ("echo", "echo-1", ["echo"]),
        ("echo", "echo-2", ["echo"]),
        ("echo", "echo-3", ["echo"]),
        ("echo", "echo-3", []),
    ]
    assert (await running.ask())[0] == 200


def test_commands() -> None:
    from cpa.cli.plugin_commands import collect

    class Plugin:
        @hookimpl
        def cpa_commands(self, group: click.Group) -> None:
            group.add_command(click.Command("mine"))

    group = click.Group("cpa")
    collect(group, [("mine", Plugin())])
    assert "mine" in group.commands


async def test_a_broken_plugin_is_reported_and_left_out(tmp_path: Path) -> None:
    from importlib.metadata import EntryPoint

    import structlog

    path = tmp_path / "config.yaml"
    path.write_text("plugins: {configs: {off: {enabled: false}}}\n")
    config = ConfigStore(path, {}).current
    (tmp_path / "broken_plugin_for_test.py").write_text("raise RuntimeError('no')\n")
    points = [
        EntryPoint("broken", "broken_plugin_for_test", "cpa"),
        EntryPoint("missing", "there_is_no_such_module", "cpa"),
        EntryPoint("off", "cpa_demo", "cpa"),
        EntryPoint("demo", "cpa_demo", "cpa"),
    ]
    import sys

    sys.path.insert(0, str(tmp_path))
    try:
        plugins = Plugins(structlog.get_logger())
        plugins.load(config, points)
    finally:
        sys.path.remove(str(tmp_path))
    states = {status.name: status.state for status in plugins.statuses}
    assert states == {"broken": "failed", "missing": "failed", "off": "disabled", "demo": "loaded"}
    assert [provider.name for provider in plugins.providers] == ["demo"]
    assert re.search("RuntimeError: no", next(s.reason for s in plugins.statuses if s.name == "broken"))


async def test_management_routes_are_served_to_whoever_has_the_key(start: Start) -> None:
    class Plugin:
        @hookimpl
        def cpa_management_routes(self, router: web.UrlDispatcher) -> None:
            router.add_get("/mine/{name}", self.mine)

        async def mine(self, request: web.Request) -> web.Response:
            return web.json_response({"name": request.match_info["name"]})

    running = await start(Plugin(), "remote-management: {secret-key: a-key}\n")
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{running.url}/v0/management/mine/x") as refused:
            assert refused.status == 401
        headers = {"Authorization": "Bearer a-key"}
        async with session.get(f"{running.url}/v0/management/mine/x", headers=headers) as answer:
            assert await answer.json() == {"name": "x"}


async def test_a_configuration_can_be_refused_before_it_is_written(start: Start) -> None:
    class Plugin:
        @hookimpl
        def cpa_check_config(self, config: Any) -> list[str]:
            return ["debug: not here"] if config.debug else []

    running = await start(Plugin(), "remote-management: {secret-key: a-key}\n")
    headers = {"Authorization": "Bearer a-key"}
    before = running.daemon.store.path.read_bytes()
    async with aiohttp.ClientSession() as session:
        url = f"{running.url}/v0/management/config.yaml"
        async with session.put(url, data=before + b"debug: true\n", headers=headers) as answer:
            assert answer.status == 400
            assert (await answer.json())["message"] == "debug: not here"
    assert running.daemon.store.path.read_bytes() == before


async def test_create_plugin_may_take_the_settings(tmp_path: Path) -> None:
    from importlib.metadata import EntryPoint

    import structlog

    (tmp_path / "choosy_plugin_for_test.py").write_text(
        "taken = []\ndef create_plugin(settings):\n    taken.append(settings)\n    return object()\n"
    )
    path = tmp_path / "config.yaml"
    path.write_text("plugins: {configs: {choosy: {level: 3}}}\n")
    import sys

    sys.path.insert(0, str(tmp_path))
    try:
        plugins = Plugins(structlog.get_logger())
        plugins.load(ConfigStore(path, {}).current, [EntryPoint("choosy", "choosy_plugin_for_test", "cpa")])
        from choosy_plugin_for_test import taken
    finally:
        sys.path.remove(str(tmp_path))
    assert [status.state for status in plugins.statuses] == ["loaded"]
    assert taken == [{"level": 3}]
