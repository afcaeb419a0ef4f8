"""A whole answer as one write: what most requests get, so it goes past aiohttp's machinery for headers."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from cpa.exchange.call import Answer
from cpa.server.headers import common_headers

DRAINED_FROM = 64 * 1024
"""A body of so many bytes waits until the client has taken it."""

_TOLD = frozenset({"content-type", "content-length", "transfer-encoding", "connection", "date"})
"""Headers that every answer has of its own; an upstream's are left out."""


def whole_answer(request: web.Request, answer: Answer) -> web.StreamResponse:
    """The response for an answer with a body. Raises ValueError for a header that would break out of its line."""
    if request.version != HttpVersion11:
        return web.Response(
            status=answer.status, body=answer.body or b"", content_type=answer.content_type, headers=answer.headers
        )
    return WholeAnswer(request, answer)


class WholeAnswer(web.StreamResponse):
    """See :func:`whole_answer`. aiohttp asks it to ``prepare``, to ``write_eof`` and whether to ``keep_alive``."""

    def __init__(self, request: web.Request, answer: Answer) -> None:
        super().__init__(status=answer.status)
        self._kept = bool(request.keep_alive)
        self.body = answer.body or b""
        lines = [
            f"HTTP/1.1 {answer.status} {_reason(answer.status)}",
            f"Content-Type: {answer.content_type}",
            f"Content-Length: {len(self.body)}",
            f"Date: {_date(int(time.time()))}",
        ]
        common = common_headers(request)
        lines += [f"{name}: {value}" for name, value in common.items()]
        if answer.headers:
            told = _TOLD.union(map(str.lower, common))
            lines += [f"{name}: {value}" for name, value in answer.headers.items() if name.lower() not in told]
        if not self._kept:
            lines.append("Connection: close")
        head = "\r\n".join(lines)
        if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1 or "\0" in head:
            raise ValueError("a header holds a line break")
        self._head = head.encode("utf-8", "surrogateescape")

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection stays open."""
        return self._kept

    @property
    def headers(self) -> CIMultiDict[str]:
        """What is sent, for those who look at it afterwards."""
        lines = (line.partition(": ") for line in self._head.decode("utf-8", "surrogateescape").split("\r\n")[1:])
        return CIMultiDict((name, value) for name, _, value in lines)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write everything."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has closed the connection")
        body = self.body
        transport.write(b"%b\r\n\r\n%b" % (self._head, body))
        if len(body) >= DRAINED_FROM:
            await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Everything is written."""


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


@lru_cache(maxsize=4)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
