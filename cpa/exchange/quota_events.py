"""Quota that an upstream tells of in the events of a stream, beside the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from cpa.upstream.client import UpstreamResponse

LONGEST_LINE = 64 * 1024
"""Bytes; a longer line is no event about quota."""


class WatchedResponse:
    """A response whose stream is looked through for events that contain ``mark``; each is given to ``note``.

    The bytes pass as they are.
    """

    def __init__(self, response: UpstreamResponse, mark: bytes, note: Callable[[dict[str, Any]], None]) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._mark = mark
        self._note = note
        self._rest = b""
        """The beginning of a line whose end has not come yet."""

    async def read(self) -> bytes:
        """See :class:`UpstreamResponse`."""
        chunk = await self._response.read()
        self._look(chunk)
        return chunk

    def close(self) -> None:
        """See :class:`UpstreamResponse`."""
        self._response.close()

    def _look(self, chunk: bytes) -> None:
        data = self._rest + chunk if self._rest else chunk
        end = data.rfind(b"\n") + 1
        self._rest = data[end:] if len(data) - end <= LONGEST_LINE else b""
        if data.find(self._mark, 0, end) < 0:
            return
        for line in data[:end].splitlines():
            if self._mark in line and line.startswith(b"data:"):
                try:
                    event = orjson.loads(line[5:])
                except orjson.JSONDecodeError:
                    continue
                if isinstance(event, dict):
                    self._note(event)
