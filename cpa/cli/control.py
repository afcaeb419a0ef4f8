"""Ask the running daemon, over the socket that only its owner can open."""

from __future__ import annotations

import http.client
import json
import os
import select
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cpa.errors import CpaError
from cpa.runtime import control_socket

SECONDS = 30.0


class DaemonUnreachable(CpaError):
    """No daemon serves this configuration file, or it does not answer."""


class DaemonRefused(CpaError):
    """The daemon answered with an error."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def daemon_listens(config_path: Path, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a daemon serves this configuration file."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(control_socket(config_path, environ)))
        except OSError:
            return False
    return True


def ask_daemon(
    config_path: Path,
    method: str,
    path: str,
    body: Any = None,
    environ: Mapping[str, str] = os.environ,
    *,
    seconds: float = SECONDS,
) -> Any:
    """Call a route below ``/v0/management``; its JSON. ``body`` is sent as JSON, bytes as they are.

    Raises DaemonUnreachable and DaemonRefused.
    """
    connection = _Connection(control_socket(config_path, environ), seconds)
    try:
        content = body if body is None or isinstance(body, bytes) else json.dumps(body)
        connection.request(method, f"/v0/management{path}", content)
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException) as fault:
        raise DaemonUnreachable(f"no running daemon serves {config_path} ({fault})") from None
    finally:
        connection.close()
    try:
        told = json.loads(content)
    except ValueError:
        if answer.status in (404, 405):
            raise DaemonRefused("the running daemon is another version of cpa: restart it") from None
        raise DaemonRefused(f"the daemon answered {answer.status} without JSON") from None
    if answer.status >= 400:
        raise DaemonRefused(str(told.get("message") or told.get("error") or answer.status))
    return told


def follow_daemon(
    config_path: Path, path: str, tick: float, environ: Mapping[str, str] = os.environ
) -> Iterator[bytes]:
    """The lines of a route that does not end; an empty one whenever ``tick`` seconds were silent.

    Ends with the daemon. Raises DaemonUnreachable and DaemonRefused.
    """
    connection = _Connection(control_socket(config_path, environ), SECONDS)
    try:
        connection.request("GET", f"/v0/management{path}")
        answer = connection.getresponse()
        if answer.status != 200:
            raise DaemonRefused(f"the daemon answered {answer.status}: is it another version of cpa? restart it")
        rest = b""
        while True:
            readable, _, _ = select.select([connection.sock], [], [], tick)
            if not readable:
                yield b""
                continue
            try:
                piece = answer.read1(65536)
            except (ConnectionError, http.client.IncompleteRead):
                return
            if not piece:
                return
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines
    except (OSError, http.client.HTTPException) as fault:
        raise DaemonUnreachable(f"no running daemon serves {config_path} ({fault})") from None
    finally:
        connection.close()
