"""The management API for the daemon's owner: on a socket only the owner can open, without a key."""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from aiohttp import web

from cpa.management.answers import Refusal
from cpa.management.mount import mount
from cpa.management.route import Route
from cpa.management.services import Management


class ControlSocket:
    """Serves the routes on a Unix socket. Without it the daemon works all the same: failures are only logged."""

    def __init__(self, path: Path, management: Management, routes: Callable[[], Iterable[Route]]) -> None:
        self._path = path
        self._log = management.log
        app = web.Application(client_max_size=1 << 30)
        mount(app.router, management, routes, admit=_owner_only)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        self._serving = False

    async def start(self) -> None:
        """Listen, unless another daemon does already."""
        try:
            listening = self._bind()
        except OSError as fault:
            self._log.warning("no control socket", path=str(self._path), reason=fault.strerror or str(fault))
            return
        await self._runner.setup()
        await web.SockSite(self._runner, listening).start()
        self._serving = True

    async def stop(self) -> None:
        """Stop listening and remove the socket."""
        if self._serving:
            self._serving = False
            self._path.unlink(missing_ok=True)
            await self._runner.cleanup()

    def _bind(self) -> socket.socket:
        folder = self._path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o022:
            raise OSError(f"{folder} can be written by others")
        if self._path.exists():
            self._refuse_living()
            self._path.unlink()
        listening = socket.socket(socket.AF_UNIX)
        mask = os.umask(0o177)
        try:
            listening.bind(str(self._path))
        except BaseException:
            listening.close()
            raise
        finally:
            os.umask(mask)
        listening.setblocking(False)
        return listening

    def _refuse_living(self) -> None:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(0.5)
            try:
                probe.connect(str(self._path))
            except OSError:
                return
        raise OSError("another daemon of the same configuration file is running")


async def _owner_only(request: web.Request, config: Any) -> None:
    """Whoever opened the socket must be the daemon's own user, or root."""
    peer = request.transport.get_extra_info("socket") if request.transport is not None else None
    if peer is None:
        raise Refusal(403, "not the owner")
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    if uid not in (0, os.getuid()):
        raise Refusal(403, "not the owner")
