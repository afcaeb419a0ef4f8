"""The configuration is edited while the daemon runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from running import KEY, RunningDaemon, Upstream, free_port
from scripted import ScriptedUpstream

Live = tuple[RunningDaemon, ScriptedUpstream, Upstream, dict[str, Any]]


def provider(url: str, models: list[str]) -> dict[str, Any]:
    return {
        "name": "up",
        "base-url": url + "/v1",
        "api-key-entries": [{"api-key": "first"}],
        "models": [{"name": f"{model}-up", "alias": model} for model in models],
    }


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    model = ScriptedUpstream()
    upstream = Upstream(model.app)
    config = {
        "host": "127.0.0.1",
        "port": free_port(),
        "auth-dir": str(tmp_path / "auth"),
        "api-keys": [KEY],
        "plugins": {"configs": {"demo": {"enabled": False}}},
        "usage-database-path": str(tmp_path / "usage.sqlite"),
        "openai-compatibility": [provider(upstream.url, ["old"])],
    }
    daemon = RunningDaemon(config, tmp_path)
    yield daemon, model, upstream, config
    assert daemon.stop() == 0, daemon.output()
    upstream.stop()


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def by_rename(path: Path, text: str) -> None:
    fresh = path.with_name(".config.yaml.swp")
    fresh.write_text(text)
    os.replace(fresh, path)


async def models(daemon: RunningDaemon, key: str = KEY) -> set[str] | int:
    """The models offered to ``key``, or the status it is refused with."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(daemon.url + "/v1/models", headers={"Authorization": f"Bearer {key}"}) as answer,
    ):
        if answer.status != 200:
            return answer.status
        return {model["id"] for model in (await answer.json())["data"]}


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    for _ in range(200):
        if await condition():
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"never happened: {what}")


@pytest.mark.parametrize("save", [in_place, by_rename])
async def test_new_models_and_keys_serve_without_a_restart(live: Live, save: Callable[[Path, str], None]) -> None:
    daemon, _, upstream, config = live
    assert await models(daemon) == {"old"}
    for step in range(3):  # an editor that renames leaves a new file each time
        key, model = f"key-{step}", f"new-{step}"
        save(
            daemon.config_path,
            yaml.safe_dump({**config, "api-keys": [key], "openai-compatibility": [provider(upstream.url, [model])]}),
        )

        async def changed(key: str = key, model: str = model) -> bool:
            return await models(daemon, key) == {model}

        await until(changed, f"{model} offered to {key}")
    assert await models(daemon) == 401


async def test_a_stream_under_way_outlives_the_account_it_uses(live: Live) -> None:
    daemon, model, upstream, config = live
    model.hold.clear()
    body = {"model": "old", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            daemon.url + "/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {KEY}"}
        ) as answer,
    ):
        first = await answer.content.readuntil(b"\n\n")
        assert b"by first" in first
        in_place(
            daemon.config_path,
            yaml.safe_dump({**config, "openai-compatibility": [provider(upstream.url, ["other"])]}),
        )

        async def changed() -> bool:
            return await models(daemon) == {"other"}

        await until(changed, "the other model is offered")
        upstream.call(model.hold.set)
        assert (await answer.read()).endswith(b"data: [DONE]\n\n")


async def test_a_broken_file_changes_nothing_and_the_log_says_where(live: Live) -> None:
    daemon, _, _, config = live
    in_place(daemon.config_path, yaml.safe_dump(config) + "\nport: [8317\n")

    async def told() -> bool:
        return "line " in daemon.output() and "config" in daemon.output()

    await until(told, "the fault is logged")
    assert await models(daemon) == {"old"}
    assert "Traceback" not in daemon.output()
    assert daemon.process.poll() is None


async def test_what_needs_a_restart_is_named(live: Live) -> None:
    daemon, _, _, config = live
    in_place(daemon.config_path, yaml.safe_dump({**config, "port": free_port()}))

    async def told() -> bool:
        return "restart" in daemon.output()

    await until(told, "the restart is asked for")
    assert await models(daemon) == {"old"}
    assert "port" in daemon.output()
