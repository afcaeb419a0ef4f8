"""Note one exchange for its request history: what came in, what was sent where, what came back, what was answered.

Nothing here copies a byte of an ordinary body or does any work on it: references are kept until the exchange is over.
What is kept is bounded, per body and for all exchanges that are under way together.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from cpa.conversation.usage import Usage
from cpa.errors import ErrorInfo
from cpa.exchange.capture import SECTION_BYTES, Capture, Held
from cpa.exchange.trace import Trace
from cpa.formats.codec import JsonObject

if TYPE_CHECKING:
    from cpa.exchange.call import Call
    from cpa.exchange.shape import Shaped
    from cpa.upstream.client import UpstreamResponse

ERROR_SECTION_BYTES = 1024 * 1024
"""Of one body, while only failures are kept."""
Write = Callable[[bytes], Awaitable[None]]
"""Takes the next piece of a stream to where it goes."""
MOST_ATTEMPTS = 16
CLIENT_GONE = 499


class AttemptNote:
    """One attempt."""

    def __init__(self, shaped: Shaped, number: int) -> None:
        self.number = number
        self.started_at = time.time()
        self.shaped = shaped

    answered_at: float | None = None
    """When the head of the answer was there."""
    status = 0
    response_headers: Mapping[str, str] = {}
    received: Capture | None = None
    """The answer's body; None when it was not kept."""
    outcome = 0
    finished_at = 0.0
    first_token: float | None = None
    """Seconds until content came."""
    usage: Usage | None = None
    error: ErrorInfo | None = None

    def traced(self, begun: bytes) -> Trace | None:
        """Notes how the client's stream is made of the answer, of which ``begun`` was read last and is read on from.

        None when the answer is not kept, or ``begun`` is not a piece of it.
        """
        received = self.received
        if received is None or received.omitted or not received.pieces or received.pieces[-1] is not begun:
            return None
        return Trace(b"".join(received.pieces[:-1]))

    def close(self, status: int, error: ErrorInfo | None, first_token: float | None, usage: Usage | None) -> None:
        """The attempt is over, with what the exchange makes of it (499 when the client went away)."""
        self.finished_at = time.time()
        self.outcome = status
        self.error, self.first_token, self.usage = error, first_token, usage


class Recorder:
    """Notes one exchange. With ``whole`` also the answers of attempts that succeed."""

    def __init__(
        self, held: Held, *, whole: bool, request_id: str, method: str, url: str, headers: Mapping[str, str]
    ) -> None:
        self._held = held
        self.whole = whole
        self.begun = time.time()
        self.request_id = request_id
        self.method = method
        self.url = url
        self.headers = headers
        self.attempts: list[AttemptNote] = []

    body: bytes | None = None
    """As received, decoded of any Content-Encoding; None when it was not read, or not as one piece."""
    came = b""
    """What came of a body of which not all did."""
    call: Call | None = None
    """None when the request was refused before it was understood."""
    edited: JsonObject | None = None
    """The body after request hooks, when they changed it."""
    omitted_attempts = 0
    sent: bytes | Capture | None = None
    """None when it was not kept."""
    trace: Trace | None = None
    """How it was made of the last attempt's answer, where that is known."""
    status = 0
    error: ErrorInfo | None = None
    """Why the client was given no answer."""
    response: Any = None
    """What the client got (an aiohttp response); None when it got nothing."""
    finished_at = 0.0

    @property
    def limit(self) -> int:
        """The most bytes of one body."""
        return SECTION_BYTES if self.whole else ERROR_SECTION_BYTES

    def attempt(self, shaped: Shaped, number: int) -> AttemptNote:
        """An attempt begins. Of very many the first and the last are kept."""
        note = AttemptNote(shaped, number)
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

    def writing(self, write: Write, trace: Trace | None) -> Write:
        """What writes the stream that the client is sent, and notes it; ``trace`` knows what it is made of."""
        self.trace = trace
        sent = self.sent = Capture(self._held, self.limit)
        add = sent.add

        def note_and_write(chunk: bytes) -> Awaitable[None]:
            add(chunk)
            return write(chunk)

        return note_and_write

    def finish(self, status: int, response: Any) -> None:
        """The exchange is over."""
        self.finished_at = time.time()
        self.status = status
        if self.attempts and self.attempts[-1].outcome == CLIENT_GONE:
            self.status = CLIENT_GONE
        self.response = response
        if isinstance(body := getattr(response, "body", None), bytes):
            if isinstance(self.sent, Capture):
                self.sent.release()
            self.sent = body

    @property
    def failed(self) -> bool:
        """Whether the client was told of an error, in an answer or in the middle of one."""
        if self.status == CLIENT_GONE:
            return False
        return self.status >= 400 or (bool(self.attempts) and self.attempts[-1].error is not None)

    @property
    def held(self) -> int:
        """About how many bytes it keeps, once it is lightened."""
        size = len(self.body or self.came) * (1 if self.edited is None else 2) + _size(self.sent)
        for note in self.attempts:
            size += len(note.shaped.content) + _size(note.received)
        return size

    def lighten(self) -> None:
        """The exchange is over, and this one has to wait: keep only what will be noted.

        Bodies are, as bytes. What was read in them takes up to five times as much.
        """
        if self.call is not None and self.body is not None:
            self.call = replace(self.call, body={})
        for note in self.attempts:
            note.shaped = replace(note.shaped, request=replace(note.shaped.request, body={}, conversation=None))

    def release(self) -> None:
        """Nothing of it is needed any more."""
        if isinstance(self.sent, Capture):
            self.sent.release()
        for note in self.attempts:
            if note.received is not None:
                note.received.release()
        self.call = None  # which knows its recorder: the two would wait for the garbage collector


def _size(kept: bytes | Capture | None) -> int:
    return kept.size if isinstance(kept, Capture) else len(kept or b"")


class RecordedResponse:
    """A response whose body is noted as it is read."""

    def __init__(self, response: UpstreamResponse, capture: Capture) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._capture = capture

    async def read(self) -> bytes:
        """See :class:`UpstreamResponse`."""
        chunk = await self._response.read()
        if chunk:
            self._capture.add(chunk)
        return chunk

    def close(self) -> None:
        """See :class:`UpstreamResponse`."""
        self._response.close()
