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


UNUSED = {
    "aiohttp_socks", "anyio", "bcrypt", "cpa.management.resources", "cpa.metrics.requests", "cryptography",
    "opentelemetry", "prometheus_client", "pydantic", "pydantic_core", "re2", "rich", "structlog", "tiktoken",
    "unittest", "watchfiles",
}  # fmt: skip
"""What a daemon that was just started has no use for."""

STARTED = """\
import asyncio, json, sys
from pathlib import Path
import cpa.cli.main, cpa.cli.serve
from cpa.config import ConfigStore
from cpa.daemon import Daemon
from cpa.logs import Secrets, setup_logging

async def run():
    setup_logging(Secrets())
    async with Daemon(ConfigStore(Path(sys.argv[1]), {}), {}):
        print(json.dumps([name for name, module in sys.modules.items() if module is not None]))

asyncio.run(run())
"""


def test_a_daemon_starts_with_what_it_needs(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        f"host: 127.0.0.1\nport: 0\nauth-dir: {tmp_path}\napi-keys: [k]\nusage-statistics-enabled: true\n"
        "claude-api-key: [{api-key: c, base-url: 'http://127.0.0.1:1'}]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", STARTED, str(config)],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}", "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    loaded = set(json.loads(done.stdout))
    assert {"cpa.exchange.exchange", "cpa_claude"} <= loaded
    assert not {name for name in loaded if any(name == unused or name.startswith(f"{unused}.") for unused in UNUSED)}
    commands = {name for name in loaded if name.startswith("cpa.cli.")}
    assert commands <= {f"cpa.cli.{name}" for name in ("lazy", "legacy", "main", "options", "serve")}
