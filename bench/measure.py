"""Processes under measurement: start, wait until they answer, read CPU time and memory."""

from __future__ import annotations

import asyncio
import compileall
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import aiohttp


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def compile_as_installed(root: Path) -> None:
    """Leave bytecode beside the sources of a checkout, as pip does when it installs cpa.

    Without it every start would parse all modules again where Python is told to write no bytecode.
    """
    for folder in ("cpa", "plugins"):
        compileall.compile_dir(root / folder, quiet=1)


class Process:
    """One child process that listens on a port."""

    def __init__(self, arguments: list[str], port: int, *, cwd: Path) -> None:
        self.port = port
        self.started = time.monotonic()
        self._child = subprocess.Popen(
            [sys.executable, *arguments], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def wait(self, limit: float = 20.0) -> float:
        """Wait until it answers; seconds since its start."""
        async with aiohttp.ClientSession() as session:
            while time.monotonic() - self.started < limit:
                try:
                    async with session.get(self.url + "/healthz"):
                        return time.monotonic() - self.started
                except aiohttp.ClientError:
                    if self._child.poll() is not None:
                        raise RuntimeError(f"process ended with status {self._child.returncode}") from None
                    await asyncio.sleep(0.01)
        raise RuntimeError("process does not answer")

    def cpu(self, *, main: bool = False) -> float:
        """CPU seconds used so far by all its threads, or by the main one, user and system, counted in nanoseconds."""
        tasks = Path(f"/proc/{self._child.pid}/task")
        chosen = [tasks / str(self._child.pid)] if main else tasks.iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in chosen) / 1e9

    def resident_mb(self) -> float:
        """Resident memory in MB."""
        pages = int(Path(f"/proc/{self._child.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stop(self) -> None:
        """End it."""
        self._child.terminate()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
