"""Relay a Gemini stream to a Gemini client: frames as they came, looked into only where something must be known.

In JSON text a quote inside a string is always escaped, so a byte sequence such as ``"finishReason"`` can only be a
member's name (or a whole string of just that): searching for it before parsing misses nothing.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
import orjson

from cpa.conversation.usage import Usage
from cpa.errors import ErrorInfo, bad_event
from cpa.formats.change import Note
from cpa.formats.codec import ReplyContext
from cpa.formats.gemini.envelope import response_of
from cpa.formats.gemini.errors import encode_error, error_of, info_of
from cpa.formats.gemini.fields import Object
from cpa.formats.gemini.usage import counts_of, decode_usage
from cpa.formats.sse import Framing, SseFrame, SseFraming
from cpa.formats.stencil import Stencil, learn

_split = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_CLOSING_BRACE = ord("}")
_SSE_OVERHEAD = len(b"data: \n\n")


_TELLING = (b'"finishReason"', b'"error"', b'"blockReason"', b'"usageMetadata"')
"""Members that make a frame one to be looked into."""
_LATER_CANDIDATE = re.compile(rb'"index"\s*+:\s*+(?!0[\s,}])')
_USAGE = b'"usageMetadata"'
_COUNTS = (b':{"', b': {"')
"""What follows the name where there are counts."""
LESSONS = 4
"""How many frames of a stream are looked at to know what the others look like."""
_LEADS = (b'"text":', b'"text": ')
_NOTHING = msgspec.Raw(b"")


class _Part(msgspec.Struct):
    text: msgspec.Raw = _NOTHING


class _Content(msgspec.Struct):
    parts: list[_Part] = []


class _Candidate(msgspec.Struct):
    content: _Content | None = None


class _Outline(msgspec.Struct):
    """A frame with its texts as they are written, in the envelope of Gemini CLI's backend or without."""

    candidates: list[_Candidate] = []
    response: _Outline | None = None


_outline = msgspec.json.Decoder(_Outline).decode


class GeminiNativeRelay:
    """See :class:`cpa.formats.codec.NativeRelay`.

    ``wrap``: the client wants the envelope of Gemini CLI's backend; the upstream has it when it speaks
    ``gemini-cli``. Where both agree nothing is unpacked.
    """

    def __init__(self, context: ReplyContext, framing: Framing, *, wrap: bool) -> None:
        self.complete = False
        self.error: ErrorInfo | None = None
        self.meaningful = False
        self.served_model: str | None = None
        self._framing = framing
        self._frame = framing.frame
        self._sse = isinstance(framing, SseFraming)
        self._wrap = wrap
        self._wrapped = context.upstream_format == "gemini-cli"
        self._model = orjson.dumps(context.model) if context.model else b""
        self._rebuild = bool(self._model) or self._wrapped != wrap
        self._stencil: Stencil | None = None
        self._lessons = LESSONS
        self._usage_data = b""
        self._usage: Usage | None = None
        self._began: set[int] = set()
        self._finished: set[int] = set()
        """Candidates, by index."""
        self._blocked = False
        self._ended = False

    @property
    def usage(self) -> Usage | None:
        """Counts of the last frame that had any; read only when somebody asks."""
        if self._usage_data:
            data, self._usage_data = self._usage_data, b""
            try:
                found = decode_usage(counts_of(response_of(orjson.loads(data))))
            except (orjson.JSONDecodeError, AttributeError):
                found = None
            self._usage = found or self._usage
        return self._usage

    @usage.setter
    def usage(self, value: Usage | None) -> None:
        self._usage, self._usage_data = value, b""

    def _note_doubtful(self, data: bytes) -> None:
        """Keep a frame unread in which there may be no counts in truth: then those before it count, which are read."""
        self._usage = self.usage
        self._usage_data = data

    def pass_chunk(self, chunk: bytes, note: Note | None = None) -> tuple[bytes, int]:
        """Frames that look like one seen before, but for their text: they hold nothing else that it did not."""
        stencil = self._stencil
        if stencil is None or self._ended or self.error is not None:
            return b"", 0
        return stencil.passed(chunk, note)

    def feed(self, frame: SseFrame) -> bytes:
        """Bytes for the client."""
        data = frame.data
        if not data or self._ended or self.error is not None:
            return b""
        at = data.find(_USAGE)
        if at >= 0:
            if data.startswith(_COUNTS, at + len(_USAGE)) and b'"functionCall"' not in data:
                self._usage_data = data
            else:
                self._note_doubtful(data)
        if (
            not self.meaningful
            or b'"finishReason"' in data
            or b'"error"' in data
            or b'"blockReason"' in data
            or data[-1] != _CLOSING_BRACE
            or not self._goes_on(data)
        ) and not self._look(data):
            return b""
        shown = self._shown(frame, data)
        if self._lessons and self._sse and self.meaningful:
            self._lessons -= 1
            self._learn(frame.raw, shown)
        return shown

    def _goes_on(self, data: bytes) -> bool:
        """Whether a frame can only tell of the first candidate: no other one begins unnoticed."""
        return 0 in self._began and data.count(b'"content"') < 2 and _LATER_CANDIDATE.search(data) is None

    def _shown(self, frame: SseFrame, data: bytes) -> bytes:
        if self._rebuild:
            data = self._rebuilt(data)
            return self._frame(None, data) if data else b""
        if self._sse and frame.event is None and len(frame.raw) - len(data) == _SSE_OVERHEAD:
            return frame.raw
        return self._frame(None, data if b"\n" not in data else _one_line(data))

    def _learn(self, raw: bytes, shown: bytes) -> None:
        """Remember what ordinary frames of this stream look like around their text."""
        if any(name in raw for name in _TELLING) or not raw.startswith(b"data: {"):
            return
        try:
            outline = _outline(raw[len(b"data: ") :])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return
        candidates = (outline.response or outline).candidates
        content = candidates[0].content if len(candidates) == 1 else None
        if content is None or len(content.parts) != 1:
            return
        text = bytes(content.parts[0].text)
        if text.startswith(b'"'):
            found = (learn(raw, shown, lead, text) for lead in _LEADS)
            self._stencil = next(filter(None, found), self._stencil)

    def _look(self, data: bytes) -> bool:
        """Parse a frame for what must be known; False when the client gets nothing of it."""
        if data == b"[DONE]":
            return False
        try:
            value: Any = orjson.loads(data)
        except orjson.JSONDecodeError:
            self._broken()
            return False
        error = error_of(value)
        if error is not None:
            self.error = info_of(error)
            return False
        if not isinstance(value, dict):
            return False
        response = response_of(value)
        if "usage_metadata" in response:
            self._note_doubtful(data)
        model = response.get("modelVersion")
        if self.served_model is None and isinstance(model, str):
            self.served_model = model
        self._note_candidates(response)
        return True

    def _note_candidates(self, response: Object) -> None:
        candidates = response.get("candidates")
        for position, candidate in enumerate(candidates if isinstance(candidates, list) else ()):
            if not isinstance(candidate, dict):
                continue
            index = candidate.get("index", position)
            index = index if isinstance(index, int) else position
            content = candidate.get("content")
            if isinstance(content, dict) and content.get("parts"):
                self.meaningful = True
                self._began.add(index)
            if candidate.get("finishReason"):
                self.meaningful = True
                self._finished.add(index)
        feedback = response.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            self._blocked = self.meaningful = True

    def _broken(self) -> bytes:
        self.error = bad_event()
        return b""

    def _rebuilt(self, data: bytes) -> bytes:
        """The payload in the client's envelope and with the client's model name; all other bytes as they came."""
        try:
            members = _split(data)
            inner = members.get("response") if "candidates" not in members else None
            trace = members.get("traceId")
            response = bytes(inner) if inner is not None else data
            if self._model and b'"modelVersion"' in response:
                own = members if inner is None else _split(response)
                if "modelVersion" in own:
                    own["modelVersion"] = msgspec.Raw(self._model)
                    response = msgspec.json.encode(own)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self._broken()
        if not self._wrap:
            return response
        if trace is not None:
            return b'{"response":%b,"traceId":%b}' % (response, bytes(trace))
        return b'{"response":%b}' % response

    def close(self) -> bytes:
        """The upstream closed; an answer without ``finishReason`` was cut off.

        Counts and other candidates may follow a ``finishReason``: only now is the answer known to be complete.
        """
        if self._ended or self.error is not None:
            return b""
        if self._blocked or (self._finished and self._began <= self._finished):
            self.complete = self._ended = True
            return self._framing.end()
        if self.meaningful:
            message, code = "the upstream's stream ended before the answer was complete", "stream_cut_off"
        else:
            message, code = "the upstream's answer is empty", "empty_stream"
        self.error = ErrorInfo(502, message, type="server_error", code=code)
        return b""

    def fail(self, error: ErrorInfo) -> bytes:
        """The in-band error, once."""
        if self._ended:
            return b""
        self._ended = True
        return self._frame(None, orjson.dumps(encode_error(error))) + self._framing.abort()


def _one_line(data: bytes) -> bytes:
    try:
        return orjson.dumps(orjson.loads(data))
    except orjson.JSONDecodeError:
        return data.replace(b"\n", b" ")


def adapt_native_reply(body: Object, context: ReplyContext, *, wrap: bool) -> Object:
    """A whole answer for a client of the same family: its envelope and model name; else the same object."""
    response = response_of(body)
    if context.model and "modelVersion" in response and response["modelVersion"] != context.model:
        response = {**response, "modelVersion": context.model}
    if not wrap:
        return response
    if response is body.get("response"):
        return body
    trace = {"traceId": body["traceId"]} if isinstance(body.get("traceId"), str) else {}
    return {"response": response, **trace}
