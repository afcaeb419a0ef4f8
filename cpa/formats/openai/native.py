"""Chat Completions to Chat Completions: the body and the frames pass, only what must change does."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from cpa.conversation.effort import ResolvedReasoning
from cpa.conversation.usage import Usage
from cpa.errors import ErrorInfo, bad_event
from cpa.formats.change import Note
from cpa.formats.codec import EncodedRequest, ReplyContext, Target
from cpa.formats.openai.errors import encode_error, hidden_error
from cpa.formats.openai.request_encode import write_reasoning
from cpa.formats.openai.tidy import ChunkTidier, tidy_message
from cpa.formats.openai.usage import decode_usage
from cpa.formats.sse import Framing, SseFrame
from cpa.formats.stencil import Stencil, learn

Object = dict[str, Any]


def adapt_native(body: Object, target: Target, reasoning: ResolvedReasoning) -> EncodedRequest:
    """Set the model and ask for usage on streams; all else stays (copy on write)."""
    adapted = write_reasoning({**body, "model": target.model}, reasoning)
    if target.operation == "generate":
        if target.stream:
            adapted["stream"] = True
            options = body.get("stream_options")
            if not (isinstance(options, dict) and options.get("include_usage") is True):
                adapted["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        elif body.get("stream") not in (None, False):
            adapted["stream"] = False
    return EncodedRequest(adapted)


def adapt_native_reply(body: Object, context: ReplyContext) -> Object:
    """The model name the client asked for, where it was changed; messages as OpenAI writes them."""
    choices = body.get("choices")
    if isinstance(choices, list):
        tidied = [_tidied(choice, context) if isinstance(choice, dict) else choice for choice in choices]
        if any(a is not b for a, b in zip(tidied, choices, strict=True)):
            body = {**body, "choices": tidied}
    if context.model is None or body.get("model") == context.model:
        return body
    return {**body, "model": context.model}


def _tidied(choice: Object, context: ReplyContext) -> Object:
    message = choice.get("message")
    functions = "functions" in context.request
    tidied = tidy_message(message, context.new_id, functions=functions) if isinstance(message, dict) else message
    changes: Object = {} if tidied is message else {"message": tidied}
    if choice.get("finish_reason") == "function_call" and not functions:
        changes["finish_reason"] = "tool_calls"
    return {**choice, **changes} if changes else choice


def _untidy(data: bytes) -> bool:
    """Whether a chunk may need :class:`ChunkTidier`: calls, roles, reasoning under another name, content in parts."""
    return (
        b"_call" in data
        or b'"role"' in data
        or b'"content":[' in data
        or (b'"reasoning' in data and data.count(b'"reasoning') != data.count(b'"reasoning_content":"'))
    )


_GOING_ON = (b'"finish_reason":null', b'"finish_reason": null')
"""What every choice of a chunk says that ends none, without and with a space."""


class _Choice(msgspec.Struct):
    delta: dict[str, msgspec.Raw]


class _Outline(msgspec.Struct):
    """A chunk with the members of its deltas as they are written."""

    choices: list[_Choice]


_outline = msgspec.json.Decoder(_Outline).decode
LESSONS = 8
"""How many deltas of a stream are looked at to know what the others look like."""


class ChatNativeRelay:
    """See :class:`cpa.formats.codec.NativeRelay`.

    A plain delta costs a few substring searches, a run of them as many together; one that could be out of order is
    parsed. Usage reaches a client that asked for it in one chunk at the end; for another one the finish chunk waits for
    it and carries it. What is no JSON ends the stream with an error.
    """

    def __init__(self, context: ReplyContext, framing: Framing) -> None:
        self._context = context
        self._framing = framing
        self._rename = context.model is not None
        self._old_model = b""
        """``"model":"..."`` as the upstream writes it in every chunk; empty until it is known."""
        self._new_model = b'"model":' + orjson.dumps(context.model or "")
        self._held: Object | None = None
        """The finish chunk, waiting for the usage."""
        self._usage_chunk = b""
        """The frame with the usage, for a client that asked for one."""
        self._head: Object = {}
        """What all chunks share, for one that has to be made up."""
        self._tidier = ChunkTidier(context.new_id, functions="functions" in context.request)
        self._finished = False
        self._stencil: Stencil | None = None
        self._lessons = LESSONS
        self.usage: Usage | None = None
        self.complete = False
        self.error: ErrorInfo | None = None
        self.meaningful = False
        self.served_model: str | None = None

    def pass_chunk(self, chunk: bytes, note: Note | None = None) -> tuple[bytes, int]:
        """Text deltas that look like one seen before."""
        stencil = self._stencil
        if stencil is None or self.complete or self.error is not None or self._held is not None:
            return b"", 0
        return stencil.passed(chunk, note)

    def feed(self, frame: SseFrame) -> bytes:
        """Bytes for the client."""
        data = frame.data
        if self.complete or self.error is not None:
            return b""
        if not data:
            return frame.raw if self.meaningful else b""
        if data == b"[DONE]" or data.strip() == b"[DONE]":
            return self._done()
        if (
            self.meaningful
            and (not self._rename or self._old_model)
            and data[:1] == b"{"
            and data[-1:] == b"}"
            and data.count(b"finish_reason") == data.count(_GOING_ON[b'"finish_reason": null' in data])
            and b'"error"' not in data
            and (b'"usage"' not in data or b'"usage":null' in data or b'"usage": null' in data)
            and (b'"choices":[{' in data or b'"choices": [{' in data)
            and not _untidy(data)
        ):
            shown = self._renamed(frame) if self._rename else frame.raw
            if self._lessons:
                self._lessons -= 1
                self._learn(frame.raw, shown)
            return shown
        return self._parsed(frame)

    def _learn(self, raw: bytes, shown: bytes) -> None:
        """Remember what text deltas of this stream look like around their text."""
        try:
            choices = _outline(raw[len(b"data: ") :]).choices
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return
        if len(choices) == 1 and len(choices[0].delta) == 1:
            ((name, value),) = choices[0].delta.items()
            text = bytes(value)
            if text[:1] == b'"':
                self._stencil = learn(raw, shown, b'"%b":' % name.encode(), text) or self._stencil

    def _renamed(self, frame: SseFrame) -> bytes:
        """The frame with the client's model name. A quote inside a JSON text is escaped, so the needle is a member;
        where it does not stand exactly once before the choices, the chunk is parsed."""
        data, old = frame.data, self._old_model
        at = data.find(old)
        if at < 0 or at > data.find(b'"choices"') or data.count(old) != 1:
            return self._parsed(frame)
        return self._framing.frame(None, data[:at] + self._new_model + data[at + len(old) :])

    def _parsed(self, frame: SseFrame) -> bytes:
        try:
            chunk: Any = orjson.loads(frame.data)
        except orjson.JSONDecodeError:
            self.error = bad_event()
            return b""
        if not isinstance(chunk, dict):
            return b""
        error = hidden_error(chunk, frame.event)
        if error is not None:
            self.error = error
            return b""
        return self._chunk(chunk, frame)

    def _chunk(self, chunk: Object, frame: SseFrame) -> bytes:
        original = chunk
        choices = chunk.get("choices")
        usage = chunk.get("usage")
        if usage is None and isinstance(choices, list) and choices and isinstance(choices[0], dict):
            usage = choices[0].get("usage")
        decoded = decode_usage(usage, chunk.get("service_tier")) if usage is not None else None
        if decoded is not None and (self.usage is None or decoded.sum()):
            self.usage = decoded
        if self.served_model is None and isinstance(chunk.get("model"), str):
            self.served_model = chunk["model"]
            self._old_model = b'"model":' + orjson.dumps(chunk["model"])
        if self._rename and chunk.get("model") != self._context.model:
            chunk = {**chunk, "model": self._context.model}
        if not choices or not isinstance(choices, list):
            return self._without_choices(chunk, frame, chunk is not original, decoded is not None)
        self.meaningful = True
        if not self._head:
            self._head = {key: chunk[key] for key in ("id", "object", "created", "model") if key in chunk}
        chunk = self._tidier.tidy(chunk)
        out = self._release()
        if any(isinstance(choice, dict) and choice.get("finish_reason") for choice in chunk["choices"]):
            self._finished = True
            if not self._context.include_usage:
                self._held = chunk
                return out
        if decoded is not None:
            chunk = {key: value for key, value in chunk.items() if key != "usage"}
        return out + (frame.raw if chunk is original else self._framing.frame(None, orjson.dumps(chunk)))

    def _without_choices(self, chunk: Object, frame: SseFrame, changed: bool, counted: bool) -> bytes:
        if not self._context.include_usage:
            return b""
        raw = self._framing.frame(None, orjson.dumps(chunk)) if changed else frame.raw
        if not counted:
            return raw if "choices" in chunk else b""
        self._usage_chunk = raw
        return b""

    def _release(self) -> bytes:
        """The held finish chunk, with the usage if it has come."""
        held, self._held = self._held, None
        if held is None:
            return b""
        usage = self.usage.raw if self.usage is not None and not self._context.include_usage else None
        return self._framing.frame(None, orjson.dumps(held if usage is None else {**held, "usage": usage}))

    def _done(self) -> bytes:
        if not self.meaningful:
            self.error = ErrorInfo(502, "the upstream's stream is empty", type="server_error", code="empty_stream")
            return b""
        self.complete = True
        missing = self._tidier.missing_finishes()
        if missing:
            known = self._held or {**self._head, "choices": []}
            self._held = {**known, "choices": [*known["choices"], *missing]}
        out = self._release()
        if self._context.include_usage and not self._usage_chunk and self.usage is not None:
            chunk = {**self._head, "choices": [], "usage": self.usage.raw}
            self._usage_chunk = self._framing.frame(None, orjson.dumps(chunk))
        return out + self._usage_chunk + self._framing.end()

    def close(self) -> bytes:
        """The upstream closed; without ``[DONE]`` a finish reason must have been seen."""
        if self.complete or self.error is not None:
            return b""
        if self._finished:
            return self._done()
        message = "the upstream closed the stream before it was complete"
        code = "stream_cut_off" if self.meaningful else "empty_stream"
        self.error = ErrorInfo(502, message, type="server_error", code=code)
        return b""

    def fail(self, error: ErrorInfo) -> bytes:
        """The in-band error."""
        return self._framing.frame(None, orjson.dumps(encode_error(error))) + self._framing.abort()
