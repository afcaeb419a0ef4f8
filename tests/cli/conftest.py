"""A configuration with accounts of every kind, used by commands with a daemon and without one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cpa.cli import asking
from cpa.cli.main import cli
from tests.management.conftest import Managed, Start, start

__all__ = ["start"]

KEYS = """\
claude-api-key:
  - {api-key: sk-key-secret-one, base-url: 'http://127.0.0.1:9', models: [{name: m}], priority: 5}
"""
LOGIN = {
    "type": "claude",
    "email": "anna@example.com",
    "access_token": "sk-ant-oat01-very-secret",
    "refresh_token": "sk-ant-ort01-very-secret",
    "expired": "2099-01-01T00:00:00Z",
}
CODEX = {
    "type": "codex",
    "email": "anna@example.com",
    "access_token": "at-secret",
    "refresh_token": "rt-secret",
    "account_id": "acc",
    "expired": "2099-01-01T00:00:00Z",
    "disabled": True,
}

Run = Callable[..., Result]


def printed_json(output: str) -> Any:
    """The JSON document of an output; the log of a daemon in this process may stand before it."""
    lines = output.splitlines(keepends=True)
    begin = next(number for number, line in enumerate(lines) if line[0] in "[{")
    return json.loads("".join(lines[begin:]))


class World:
    """``config`` names the accounts; ``run`` a command on them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        self.auth = folder / "auth"
        self.auth.mkdir(exist_ok=True)
        self.config = folder / "config.yaml"
        self.config.write_text(f"port: 0\nhost: 127.0.0.1\nauth-dir: {self.auth}\n{KEYS}")
        self.environ = {"XDG_RUNTIME_DIR": str(folder / "run")}
        monkeypatch.setenv("XDG_RUNTIME_DIR", self.environ["XDG_RUNTIME_DIR"])
        monkeypatch.setenv("HOME", str(folder / "home"))
        monkeypatch.setenv("NO_COLOR", "1")
        self.put("anna.json", LOGIN)
        self.put("codex-anna.json", CODEX)
        self.daemon: Managed | None = None

    def put(self, name: str, data: dict[str, Any]) -> None:
        """Write an auth file."""
        (self.auth / name).write_text(json.dumps(data))

    def file(self, name: str) -> dict[str, Any]:
        """Read an auth file."""
        data: dict[str, Any] = json.loads((self.auth / name).read_bytes())
        return data

    async def serve(self, start: Start) -> None:
        """Start a daemon of the configuration."""
        self.daemon = await start(KEYS, environ=self.environ)

    async def run(self, *arguments: str, answer: str | None = None) -> Result:
        """The result of ``cpa ARGUMENTS``; ``answer`` is typed on a terminal, without one there is none."""
        self._monkeypatch.setattr(asking, "has_terminal", lambda: answer is not None)
        words = [*arguments, "--config", str(self.config)]
        return await asyncio.to_thread(CliRunner().invoke, cli, words, input=answer or "")

    async def json(self, *arguments: str) -> Any:
        """What a command prints as JSON."""
        return printed_json((await self.run(*arguments, "--json")).stdout)


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Accounts without a daemon."""
    return World(tmp_path, monkeypatch)


@pytest.fixture(params=["running", "stopped"])
async def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Start) -> World:
    """Accounts with a daemon, and without one."""
    world = World(tmp_path, monkeypatch)
    if request.param == "running":
        await world.serve(start)
    return world
