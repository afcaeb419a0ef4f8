"""Two protocols on one port: the first byte of a connection says which."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

WAIT_SECONDS = 10.0

Factory: TypeAlias = Callable[[], asyncio.BaseProtocol]
Other: TypeAlias = Callable[[int], asyncio.Protocol | None]
"""``other(first_byte)``: the protocol for such a connection; None leaves it to HTTP."""


class FirstByte(asyncio.Protocol):
    """Waits for the first byte and hands the connection over. A connection that stays silent is closed."""

    def __init__(self, http: Factory, other: Other) -> None:
        self._http = http
        self._other = other
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "set_protocol")
        self._transport = transport  # type: ignore[assignment]
        self._timer = asyncio.get_running_loop().call_later(WAIT_SECONDS, transport.close)

    def data_received(self, data: bytes) -> None:
        """Hand over."""
        self._cancel()
        transport = self._transport
        if transport is None:
            return
        self._transport = None
        protocol = self._other(data[0]) or self._http()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)  # type: ignore[attr-defined]

    def connection_lost(self, exc: Exception | None) -> None:
        """The client left without a word."""
        self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
