"""Start real daemons and scripted upstreams on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

ROOT = Path(__file__).resolve().parents[2]
KEY = "client-key-for-tests"


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Upstream:
    """An aiohttp application served from a thread of its own."""

    def __init__(self, app: web.Application) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._app = app
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = web.AppRunner(self._app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", self.port).start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    def call(self, function: Callable[[], object]) -> None:
        """Call ``function`` in the loop that serves."""
        self._loop.call_soon_threadsafe(function)

    def stop(self) -> None:
        """Stop serving."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


def base_config(upstream: str, directory: Path, port: int) -> dict[str, Any]:
    """One account of each provider at ``upstream``; models ``oc``, ``claude``, ``gemini`` and ``codex``."""

    def entry(kind: str) -> dict[str, Any]:
        return {
            "api-key": f"up-{kind}",
            "base-url": f"{upstream}/{kind}",
            "models": [{"name": f"{kind}-up", "alias": kind}],
        }

    return {
        "host": "127.0.0.1",
        "port": port,
        "auth-dir": str(directory / "auth"),
        "api-keys": [KEY],
        "usage-database-path": str(directory / "usage.sqlite"),
        "claude-api-key": [entry("claude")],
        "codex-api-key": [entry("codex")],
        "gemini-api-key": [entry("gemini")],
        "openai-compatibility": [
            {
                "name": "compat",
                "base-url": f"{upstream}/oc/v1",
                "api-key-entries": [{"api-key": "up-oc"}],
                "models": [{"name": "oc-up", "alias": "oc"}],
            }
        ],
    }


class RunningDaemon:
    """``cpa serve`` in a process of its own."""

    def __init__(
        self,
        config: dict[str, Any] | str,
        directory: Path,
        environ: dict[str, str] | None = None,
        command: Sequence[str] = ("serve", "--config"),
        *,
        files: int = 0,
    ) -> None:
        """``config`` as data or as the file's text; its path follows ``command``.

        ``files`` is how many file descriptors it may have; 0 is as many as we may.
        """
        self.directory = directory
        self.config_path = directory / "config.yaml"
        text = config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False)
        self.config_path.write_text(text)
        self.port = int(yaml.safe_load(text)["port"])
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = directory / "daemon.log"
        paths = f"{ROOT}{os.pathsep}{ROOT / 'plugins'}"
        limited = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh"] if files else []
        self._log = self.log_path.open("wb")
        self.process = subprocess.Popen(
            [*limited, sys.executable, "-m", "cpa", *command, str(self.config_path)],
            cwd=directory,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths, **(environ or {})},
        )
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(self.url + "/healthz", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                if self.process.poll() is not None:
                    break
                time.sleep(0.05)
        raise RuntimeError(f"the daemon does not answer:\n{self.output()}")

    def output(self) -> str:
        """What it printed so far."""
        return self.log_path.read_text(errors="replace")

    def processor_seconds(self) -> float:
        """Processor time it has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def open_files(self) -> int:
        """File descriptors it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident(self) -> float:
        """Memory it holds, in MB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stop(self) -> int:
        """Ask it to stop; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._log.close()
        return int(self.process.returncode)
