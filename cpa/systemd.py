"""Talk to systemd: readiness, watchdog, inherited sockets. Does nothing where systemd is not the parent."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping

FIRST_INHERITED = 3


class Notifier:
    """Sends states to ``NOTIFY_SOCKET`` (sd_notify protocol)."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_seconds = _watchdog(environ)

    def ready(self, status: str) -> None:
        """Start or reload is complete."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """A reload begins; :meth:`ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The stop has begun."""
        self._send("STOPPING=1")

    async def watchdog(self, alive: Callable[[], bool]) -> None:
        """Ping at half the watchdog interval while ``alive()``; returns at once when there is no watchdog."""
        if not self._watchdog_seconds:
            return
        while True:
            if alive():
                self._send("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_seconds / 2)

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.connect(self._address)
                channel.sendall(message.encode())
        except OSError:
            return


def _watchdog(environ: Mapping[str, str]) -> float:
    try:
        if int(environ.get("WATCHDOG_PID", os.getpid())) != os.getpid():
            return 0.0
        return int(environ.get("WATCHDOG_USEC", "0")) / 1e6
    except ValueError:
        return 0.0


def inherited_sockets(environ: Mapping[str, str] = os.environ) -> list[socket.socket]:
    """Listening sockets that systemd passed on (socket activation)."""
    try:
        if int(environ.get("LISTEN_PID", "0")) != os.getpid():
            return []
        count = int(environ.get("LISTEN_FDS", "0"))
    except ValueError:
        return []
    return [socket.socket(fileno=FIRST_INHERITED + number) for number in range(count)]
