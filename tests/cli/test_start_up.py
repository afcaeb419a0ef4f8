"""Commands begin quickly: they load what they need and no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.cli.conftest import World
from tests.management.conftest import Start

ROOT = Path(__file__).resolve().parents[2]
LOADED = """\
import json, sys
from cpa.cli.main import main
try:
    main({0})
except SystemExit:
    pass
print(json.dumps(list(sys.modules)), file=sys.stderr)
"""


def modules_of(*arguments: str, environ: dict[str, str] | None = None) -> set[str]:
    """What a command has loaded when it ends."""
    paths = f"{ROOT}{os.pathsep}{ROOT / 'plugins'}"
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(list(arguments))],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": paths, **(environ or {})},
    )
    loaded: list[str] = json.loads(done.stderr.splitlines()[-1])
    return set(loaded)


HEAVY = {"aiohttp", "pydantic", "structlog", "cryptography", "asyncio", "cpa.config", "cpa.plugins"}


@pytest.mark.parametrize("arguments", [("--help",), ("accounts", "--help"), ("accounts", "list", "--help")])
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert not modules_of(*arguments) & HEAVY


async def test_asking_a_running_daemon_loads_nothing_heavy(stopped: World, start: Start) -> None:
    import asyncio

    await stopped.serve(start)
    for command in (("accounts", "list"), ("quota",), ("accounts", "list", "--json"), ("accounts", "why", "m")):
        loaded = await asyncio.to_thread(modules_of, *command, "--config", str(stopped.config))
        assert not loaded & HEAVY, command


def test_without_a_daemon_no_server_is_loaded(stopped: World) -> None:
    loaded = modules_of("accounts", "list", "--config", str(stopped.config))
    assert "cpa.accounts.files" in loaded
    assert not {"aiohttp", "aiohttp.web", "structlog", "cpa.server.app", "cpa.daemon"} & loaded


def test_no_plugin_of_ours_adds_commands() -> None:
    from cpa.plugins.manager import create

    points = [point for point in entry_points(group="cpa") if point.dist is not None and point.dist.name == "cpa"]
    assert points
    plugins = [create(point.load(), {}) for point in points if not point.extras]
    assert not [plugin for plugin in plugins if hasattr(plugin, "cpa_commands")]
