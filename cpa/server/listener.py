"""The sockets: listen, drain, stop."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

from aiohttp import web

from cpa.config import Config
from cpa.server.app import client_routes, create_app
from cpa.server.clients import Doorkeeper
from cpa.server.connections import HEAD_SECONDS, Connections, Other, places
from cpa.server.direct import Direct
from cpa.server.head import HEAD_LIMIT
from cpa.server.services import Services
from cpa.systemd import inherited_sockets

BACKLOG = 1024
CERTIFICATE_POLL = 30.0


class Listener:
    """Serves clients until told to stop."""

    def __init__(
        self,
        services: Services,
        config: Config,
        log: Any,
        base: Path,
        other: Other = lambda first: None,
    ) -> None:
        """``other`` may claim connections by their first byte."""
        door, routes = Doorkeeper(services), client_routes()
        self._direct = Direct(services, door, routes)
        self._runner = web.AppRunner(
            create_app(services, door, routes),
            access_log=None,
            handler_cancellation=True,
            auto_decompress=False,  # bodies are unpacked within max-body-size, see bodies
            max_line_size=HEAD_LIMIT,
            max_field_size=HEAD_LIMIT,
            max_headers=512,
            shutdown_timeout=config.shutdown_timeout,
            keepalive_timeout=3600.0,
        )
        self._config = config
        self._log = log
        self._base = base
        self._other = other
        self._servers: list[asyncio.Server] = []
        self._tls: ssl.SSLContext | None = None
        self._certificate: tuple[float, float] = (0.0, 0.0)
        self.connections: Connections | None = None
        """Set once it listens."""
        self.addresses: list[str] = []
        """``host:port`` of every socket."""

    async def start(self) -> None:
        """Bind and accept. Raises OSError when the port is taken, ConfigError-like OSError for a bad certificate."""
        await self._runner.setup()
        self._tls = self._context() if self._config.tls.enable else None
        sockets = inherited_sockets() or bind(self._config.host, self._config.port)
        http = self._runner.server
        assert http is not None
        loop = asyncio.get_running_loop()
        self.connections = Connections(self._direct, http, self._other, places())
        for sock in sockets:
            sock.setblocking(False)
            server = await loop.create_server(
                self.connections.make,
                sock=sock,
                ssl=self._tls,
                backlog=BACKLOG,
                ssl_handshake_timeout=HEAD_SECONDS if self._tls is not None else None,
            )
            self._servers.append(server)
        self.addresses = [_shown(sock.getsockname()) for sock in sockets]

    async def stop(self) -> None:
        """Stop accepting, let running answers finish within the configured time, then cut them off."""
        for server in self._servers:
            server.close()
        if self.connections is not None:
            self.connections.end()
        await asyncio.gather(self._direct.stop(self._config.shutdown_timeout), self._runner.cleanup())

    async def watch_certificate(self) -> None:
        """Load a renewed certificate without a restart; returns at once without TLS."""
        while self._tls is not None:
            await asyncio.sleep(CERTIFICATE_POLL)
            if self._stamp() != self._certificate:
                try:
                    self._load(self._tls)
                    self._log.info("certificate reloaded")
                except (OSError, ssl.SSLError) as fault:
                    self._log.error("certificate not reloaded, the old one stays", reason=str(fault))

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._load(context)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        self._certificate = self._stamp()
        cert, key = self._path(self._config.tls.cert), self._path(self._config.tls.key)
        for name, path in (("tls.cert", cert), ("tls.key", key)):
            if not path.is_file():
                raise FileNotFoundError(f"{name}: there is no file {path}")
        context.load_cert_chain(cert, key)

    def _stamp(self) -> tuple[float, float]:
        paths = (self._path(self._config.tls.cert), self._path(self._config.tls.key))
        first, second = (path.stat().st_mtime if path.exists() else 0.0 for path in paths)
        return first, second

    def _path(self, name: str) -> Path:
        """As given, or beside the configuration file."""
        path = Path(name).expanduser()
        return path if path.is_absolute() or path.exists() else self._base / path


def bind(host: str, port: int) -> list[socket.socket]:
    """Listening sockets for a host name or address; '' is every address, IPv4 and IPv6 on one port."""
    if not host:
        if socket.has_dualstack_ipv6():
            both = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
            return [_prompt(both)]
        return [_prompt(socket.create_server(("", port), backlog=BACKLOG))]
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    for family, _, _, _, address in dict.fromkeys(found):
        sockets.append(_prompt(socket.create_server(address[:2], family=family, backlog=BACKLOG)))
        if port == 0:
            break
    return sockets


def _prompt(sock: socket.socket) -> socket.socket:
    """The socket, which knows its protocol: asyncio writes without delay only to sockets that say they are TCP's."""
    return socket.socket(fileno=sock.detach())


def _shown(address: Any) -> str:
    if isinstance(address, tuple):
        host, port = address[0], address[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return str(address)
