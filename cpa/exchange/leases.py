"""The use of an account for as long as its answer lasts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from cpa.accounts.pool import Lease


class LeasedStream:
    """A client's stream that gives its account back at its end, whoever ends it."""

    def __init__(self, stream: Any, lease: Lease) -> None:
        self._stream = stream
        self._lease = lease
        lease.answering()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk: bytes = await self._stream.__anext__()
        except BaseException:
            self._lease.release()
            raise
        return chunk

    async def aclose(self) -> None:
        """Stop: cancels the upstream and gives the account back."""
        try:
            await self._stream.aclose()
        finally:
            self._lease.release()
