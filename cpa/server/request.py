"""One HTTP request of a client, whichever way it came in, from its head to its access line."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import parse_qsl

from aiohttp import MultipartReader
from multidict import MultiDict, MultiDictProxy

from cpa.config import Config
from cpa.exchange.recorder import Recorder
from cpa.exchange.request_ids import new_request_id
from cpa.server.clients import Doorkeeper, peer_address
from cpa.server.services import Services

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SECRET_QUERY = re.compile(r"(?i)([?&](?:key|[^=&]*(?:api-?_?key|token|secret)[^=&]*|code|state)=)[^&]*")
_NO_QUERY: MultiDictProxy[str] = MultiDictProxy(MultiDict())


class Body(Protocol):
    """A request's body on its way in."""

    @property
    def announced(self) -> int | None:
        """Its length as the head says; None when it does not."""

    def at_once(self) -> bytes | None:
        """The whole body when all of it is there already."""

    async def next_piece(self) -> bytes:
        """What has come since; empty at its end."""

    async def multipart(self) -> MultipartReader:
        """The parts of a form. Raises ValueError when it is none."""


class Sent(Protocol):
    """What the client was sent, for the request's history."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's headers; its ``body``, if it has one, are the bytes that were sent whole."""


class Request:
    """What surfaces see of a request. It keeps the configuration snapshot that it began with."""

    __slots__ = (
        "_query",
        "begun",
        "body",
        "config",
        "door",
        "exchanged",
        "headers",
        "method",
        "path",
        "recorder",
        "remote",
        "request_id",
        "services",
        "target",
    )

    def __init__(
        self,
        services: Services,
        door: Doorkeeper,
        method: str,
        path: str,
        target: str,
        headers: Mapping[str, str],
        remote: str,
        body: Body,
    ) -> None:
        self.services = services
        self.door = door
        self.method = method
        self.path = path
        """Decoded, without the query."""
        self.target = target
        """Path and query as they came."""
        self.headers = headers
        """Case-insensitive."""
        self.remote = remote
        """Where the connection comes from."""
        self.body = body
        self.config: Config = services.config()
        wanted = headers.get("X-Request-Id")
        self.request_id = wanted if wanted and _REQUEST_ID.fullmatch(wanted) else new_request_id()
        self.exchanged = False
        """Whether the exchange writes the access line."""
        self.begun = time.monotonic()
        self._query: Mapping[str, str] | None = None
        self.recorder: Recorder | None = None
        """What notes the request for its history; None when none is kept."""
        if services.histories is not None:
            self.recorder = services.histories.begin(self.config, self.request_id, method, path, target, headers)

    @property
    def query(self) -> Mapping[str, str]:
        """Decoded; of a name that comes twice the first counts."""
        if self._query is None:
            _, mark, text = self.target.partition("?")
            self._query = (
                MultiDictProxy(MultiDict(parse_qsl(text, keep_blank_values=True, errors="surrogateescape")))
                if mark
                else _NO_QUERY
            )
        return self._query

    @property
    def peer(self) -> str:
        """The client's address: the connection's, or what a trusted proxy says."""
        return peer_address(self.remote, self.headers, self.config)

    def finish(self, route: str, status: int, sent: Sent | None) -> None:
        """The request is answered, or its client is gone: history, count of answers, access line."""
        services = self.services
        if self.recorder is not None and services.histories is not None:
            self.recorder.finish(status, sent)
            services.histories.end(self.recorder)
        if services.count_answer is not None:
            services.count_answer(route, status)
        if self.exchanged:
            return
        log = services.log
        level = log.error if status >= 500 else log.warning if status >= 400 else log.info
        level(
            "request",
            request_id=self.request_id,
            peer=self.peer,
            method=self.method,
            path=_SECRET_QUERY.sub(r"\1***", self.target),
            status=status,
            duration_ms=round((time.monotonic() - self.begun) * 1000),
        )
