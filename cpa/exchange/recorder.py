"""Note one exchange for its request history: what came in, what was sent where, what came back, what was answered.

Nothing here copies a byte of an ordinary body or does any work on it: references are kept until the exchange is over.
What is kept is bounded, per body and for all exchanges that are under way together.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from cpa.accounts.account import Account
from cpa.conversation.usage import Usage
from cpa.errors import ErrorInfo
from cpa.formats.codec import JsonObject
from cpa.logs.history import Clipped, clip

if TYPE_CHECKING:
    from cpa.exchange.call import Call
    from cpa.exchange.shape import Shaped
    from cpa.upstream.client import UpstreamResponse

SECTION_BYTES = 8 * 1024 * 1024
"""Of one body: its first and its last half are kept."""
ERROR_SECTION_BYTES = 1024 * 1024
"""The same while only failures are kept."""
LEAST_TAIL = 32 * 1024
MOST_HELD = 256 * 1024 * 1024
"""Bytes of streams under way, all together; beyond it only their ends are kept."""
MOST_ATTEMPTS = 16


CLIENT_GONE = 499


class Held:
    """How many bytes of streams are held now, all exchanges together."""

    def __init__(self, limit: int = MOST_HELD) -> None:
        self.limit = limit
        self.bytes = 0


class Capture:
    """Takes a stream piece by piece, and keeps its beginning and its end."""

    __slots__ = ("_held", "_mine", "_pieces", "_room", "_tail", "_tail_bytes", "_tail_room", "size")

    def __init__(self, held: Held, limit: int = SECTION_BYTES) -> None:
        self._held = held
        self._mine = 0
        self._room = self._tail_room = limit // 2
        self._pieces: list[bytes] = []
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self.size = 0
        """Bytes that came, kept or not."""

    def add(self, piece: bytes) -> None:
        """Take the next piece."""
        size = len(piece)
        self.size += size
        if size <= self._room and self._held.bytes <= self._held.limit:
            self._room -= size
            self._mine += size
            self._held.bytes += size
            self._pieces.append(piece)
        else:
            self._add_to_tail(piece)

    def _add_to_tail(self, piece: bytes) -> None:
        if self._room:
            head, piece = piece[: self._room], piece[self._room :]
            if self._held.bytes > self._held.limit:
                self._tail_room = LEAST_TAIL
            self._pieces.append(head)
            self._mine += len(head)
            self._held.bytes += len(head)
            self._room = 0
        piece = piece[-self._tail_room :]
        self._tail.append(piece)
        grown = len(piece)
        while self._tail_bytes + grown > self._tail_room and len(self._tail) > 1:
            grown -= len(self._tail.popleft())
        self._tail_bytes += grown
        self._mine += grown
        self._held.bytes += grown

    def clipped(self) -> Clipped:
        """What was kept."""
        head, tail = b"".join(self._pieces), b"".join(self._tail)
        return Clipped(head, self.size - len(head) - len(tail), tail)

    def release(self) -> None:
        """It is held no more."""
        self._held.bytes -= self._mine
        self._mine = 0


class AttemptNote:
    """One attempt."""

    __slots__ = (
        "account",
        "answered_at",
        "body",
        "error",
        "finished_at",
        "first_token",
        "headers",
        "method",
        "model",
        "number",
        "outcome",
        "received",
        "response_headers",
        "started_at",
        "status",
        "upstream_format",
        "url",
        "usage",
    )

    def __init__(self, shaped: Shaped, number: int, limit: int) -> None:
        request = shaped.request
        self.number = number
        self.started_at = time.time()
        self.account: Account = request.account
        self.model = shaped.target.model
        self.upstream_format = shaped.upstream.name
        self.method = request.method
        self.url = request.url
        self.headers: Mapping[str, str] = request.headers
        self.body = clip(shaped.content, limit)
        self.answered_at: float | None = None
        """When the head of the answer was there."""
        self.status = 0
        self.response_headers: Mapping[str, str] = {}
        self.received: Capture | None = None
        """The answer's body; None when it was not kept."""
        self.outcome = 0
        self.finished_at = 0.0
        self.first_token: float | None = None
        """Seconds until content came."""
        self.usage: Usage | None = None
        self.error: ErrorInfo | None = None

    def close(self, status: int, error: ErrorInfo | None, first_token: float | None, usage: Usage | None) -> None:
        """The attempt is over, with what the exchange makes of it (499 when the client went away)."""
        self.finished_at = time.time()
        self.outcome = status
        self.error, self.first_token, self.usage = error, first_token, usage


class Recorder:
    """Notes one exchange. With ``whole`` also the answers of attempts that succeed."""

    __slots__ = (
        "_held",
        "answered_at",
        "attempts",
        "begun",
        "body",
        "call",
        "edited",
        "error",
        "finished_at",
        "headers",
        "limit",
        "method",
        "omitted_attempts",
        "request_id",
        "response",
        "sent",
        "status",
        "url",
        "whole",
    )

    def __init__(
        self, held: Held, *, whole: bool, request_id: str, method: str, url: str, headers: Mapping[str, str]
    ) -> None:
        self._held = held
        self.whole = whole
        self.limit = SECTION_BYTES if whole else ERROR_SECTION_BYTES
        self.begun = time.time()
        self.request_id = request_id
        self.method = method
        self.url = url
        self.headers = headers
        self.body: Clipped | None = None
        """As received, decoded of any Content-Encoding; None when it was not read, or not as one piece."""
        self.call: Call | None = None
        """None when the request was refused before it was understood."""
        self.edited: JsonObject | None = None
        """The body after request hooks, when they changed it."""
        self.attempts: list[AttemptNote] = []
        self.omitted_attempts = 0
        self.sent: Clipped | Capture | None = None
        """None when it was not kept."""
        self.status = 0
        self.error: ErrorInfo | None = None
        """Why the client was given no answer."""
        self.response: Any = None
        """What the client got (an aiohttp response); None when it got nothing."""
        self.answered_at: float | None = None
        """When the client was given the first bytes of an answer that is a stream."""
        self.finished_at = 0.0

    def received(self, content: bytes) -> None:
        """The client's body is there."""
        self.body = clip(content, self.limit)

    def attempt(self, shaped: Shaped, number: int) -> AttemptNote:
        """An attempt begins. Of very many the first and the last are kept."""
        note = AttemptNote(shaped, number, self.limit)
        if len(self.attempts) >= MOST_ATTEMPTS:
            self.omitted_attempts += 1
            del self.attempts[1]
        self.attempts.append(note)
        return note

    def answered(self, note: AttemptNote, response: UpstreamResponse) -> UpstreamResponse:
        """The head of an answer is there; the response to read on from."""
        note.answered_at = time.time()
        note.status = response.status
        note.response_headers = response.headers
        if not self.whole and 200 <= response.status < 300:
            return response
        note.received = Capture(self._held, self.limit)
        return RecordedResponse(response, note.received)

    def sending(self, stream: Any) -> SentStream:
        """The client's stream, to be noted on its way."""
        self.sent = Capture(self._held, self.limit)
        return SentStream(stream, self.sent, self)

    def answer(self, body: bytes) -> None:
        """The client is given a whole answer."""
        self.sent = clip(body, self.limit)

    def finish(self, status: int, response: Any) -> None:
        """The exchange is over."""
        self.finished_at = time.time()
        self.status = status
        if self.attempts and self.attempts[-1].outcome == CLIENT_GONE:
            self.status = CLIENT_GONE
        self.response = response
        if isinstance(body := getattr(response, "body", None), bytes):
            self.answer(body)

    @property
    def failed(self) -> bool:
        """Whether the client was told of an error, in an answer or in the middle of one."""
        if self.status == CLIENT_GONE:
            return False
        return self.status >= 400 or (bool(self.attempts) and self.attempts[-1].error is not None)

    @property
    def held(self) -> int:
        """About how many bytes it keeps."""
        size = self.body.size if self.body is not None else 0
        size += self.sent.size if self.sent is not None else 0
        for note in self.attempts:
            size += note.body.size + (note.received.size if note.received is not None else 0)
        return size

    def release(self) -> None:
        """Nothing of it is needed any more."""
        for capture in (self.sent, *(note.received for note in self.attempts)):
            if isinstance(capture, Capture):
                capture.release()


class SentStream:
    """A stream whose pieces are noted as the client is given them. ``aclose`` closes the stream itself."""

    def __init__(self, stream: Any, capture: Capture, recorder: Recorder) -> None:
        self._stream = stream
        self._capture = capture
        self._recorder = recorder

    async def __aiter__(self) -> AsyncIterator[bytes]:
        add = self._capture.add
        async for chunk in self._stream:
            if self._recorder.answered_at is None:
                self._recorder.answered_at = time.time()
            add(chunk)
            yield chunk

    async def aclose(self) -> None:
        """Stop."""
        await self._stream.aclose()


class RecordedResponse:
    """A response whose body is noted as it is read."""

    def __init__(self, response: UpstreamResponse, capture: Capture) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._capture = capture

    async def chunks(self) -> AsyncIterator[bytes]:
        """See :class:`UpstreamResponse`."""
        add = self._capture.add
        async for chunk in self._response.chunks():
            add(chunk)
            yield chunk

    def close(self) -> None:
        """See :class:`UpstreamResponse`."""
        self._response.close()
