"""Messages to Messages: body and frames pass, only what must change does."""

from __future__ import annotations

from typing import Any

import orjson

from cpa.conversation.effort import ResolvedReasoning
from cpa.conversation.signatures import family_of
from cpa.conversation.usage import Usage
from cpa.errors import ErrorInfo, bad_event
from cpa.formats.change import Note
from cpa.formats.claude.caching import with_cache_marks
from cpa.formats.claude.errors import error_event, error_frame
from cpa.formats.claude.fields import Object, a_list, an_object, without
from cpa.formats.claude.reasoning import DEFAULT_MAX_TOKENS, consistent, write_reasoning
from cpa.formats.claude.request_encode import COUNTED
from cpa.formats.claude.usage import decode_usage
from cpa.formats.codec import EncodedRequest, ReplyContext, Target
from cpa.formats.sse import Framing, SseFrame
from cpa.formats.stencil import FrameKind


def adapt_native(body: Object, target: Target, reasoning: ResolvedReasoning) -> EncodedRequest:
    """Set the model, write the thinking, keep to Anthropic's rules; all else stays (copy on write)."""
    bare, flags = _without_betas(body)
    headers = {"anthropic-beta": flags} if flags else {}
    adapted: Object = {**bare, "model": target.model}
    adapted = write_reasoning(adapted, reasoning, target.limits)
    counting = target.operation == "count"
    if counting:
        adapted = {name: value for name, value in adapted.items() if name in COUNTED}
    else:
        if adapted.get("max_tokens") is None:
            adapted["max_tokens"] = target.limits.max_output_tokens or DEFAULT_MAX_TOKENS
        if "stream" in body or target.stream:
            adapted["stream"] = target.stream
    adapted = consistent(adapted)
    adapted = _without_foreign_thinking(adapted)
    adapted = _without_empty_domains(adapted)
    return EncodedRequest(with_cache_marks(adapted, inject=not counting), headers=headers)


def settled(body: Object) -> tuple[Object, str]:
    """A body that operator rules have changed, so that Anthropic takes it, and the beta flags it named."""
    body, flags = _without_betas(body)
    return with_cache_marks(consistent(body), inject=False), flags


def _without_betas(body: Object) -> tuple[Object, str]:
    """The body without ``betas``, and these as a comma list: Anthropic wants them in a header."""
    if "betas" not in body:
        return body, ""
    named = body["betas"]
    flags = [flag for flag in ([named] if isinstance(named, str) else a_list(named)) if isinstance(flag, str)]
    return without(body, "betas"), ",".join(flags)


def _without_foreign_thinking(body: Object) -> Object:
    """Thinking that another vendor signed is refused by Anthropic: such blocks go, empty messages with them."""
    messages = a_list(body.get("messages"))
    changed = False
    kept: list[Any] = []
    for message in messages:
        content = an_object(message).get("content")
        if not isinstance(content, list) or not any(_is_foreign(block) for block in content):
            kept.append(message)
            continue
        changed = True
        blocks = [block for block in content if not _is_foreign(block)]
        if blocks:
            kept.append({**message, "content": blocks})
    return {**body, "messages": kept} if changed else body


def _is_foreign(block: Any) -> bool:
    if not isinstance(block, dict) or block.get("type") != "thinking":
        return False
    signature = block.get("signature")
    return family_of(signature if isinstance(signature, str) else None) == "gpt" or not signature


def _without_empty_domains(body: Object) -> Object:
    tools = a_list(body.get("tools"))
    fixed = []
    for tool in tools:
        empty = [n for n in ("allowed_domains", "blocked_domains") if isinstance(tool, dict) and tool.get(n) == []]
        fixed.append(without(tool, *empty) if empty else tool)
    if all(a is b for a, b in zip(fixed, tools, strict=True)):
        return body
    return {**body, "tools": fixed}


def adapt_native_reply(body: Object, context: ReplyContext) -> Object:
    """The model name the client asked for, where it was changed."""
    if context.model is None or body.get("model") == context.model:
        return body
    return {**body, "model": context.model}


_DELTAS = FrameKind(b"event: content_block_delta\ndata: {", b"}\n\n")


class ClaudeNativeRelay:
    """See :class:`cpa.formats.codec.NativeRelay`. A delta passes after one substring test."""

    def __init__(self, context: ReplyContext, framing: Framing) -> None:
        self._context = context
        self._framing = framing
        self._seen: Object = {}
        self._finished = False
        """The reason of the end was told."""
        self.usage: Usage | None = None
        self.complete = False
        self.error: ErrorInfo | None = None
        self.meaningful = False
        self.served_model: str | None = None

    def pass_chunk(self, chunk: bytes, note: Note | None = None) -> tuple[bytes, int]:
        """The deltas."""
        if self.complete or self.error is not None:
            return b"", 0
        used = _DELTAS.reach(chunk)
        return chunk[:used], used

    def feed(self, frame: SseFrame) -> bytes:
        """Bytes for the client."""
        if self.complete or self.error is not None:
            return b""
        data = frame.data
        if frame.event == "content_block_delta" and data[:1] == b"{" and data[-1:] == b"}":
            self.meaningful = True
            return frame.raw
        if not data:
            return frame.raw if self.meaningful else b""
        try:
            event: Any = orjson.loads(data)
        except orjson.JSONDecodeError:
            self.error = bad_event()
            return b""
        return self._event(event, frame) if isinstance(event, dict) else b""

    def _event(self, event: Object, frame: SseFrame) -> bytes:
        kind = event.get("type")
        match kind:
            case "message_start":
                return self._start(event, frame)
            case "message_delta":
                self._report(event.get("usage"))
                self.meaningful = True
                self._finished = bool(an_object(event.get("delta")).get("stop_reason"))
            case "message_stop":
                self.complete = True
            case "error":
                self.error = error_event(event)
                return b""
            case None if "error" in event:
                self.error = error_event(event)
                return b""
            case "content_block_start" | "content_block_delta":
                self.meaningful = True
        return frame.raw if frame.event is not None else self._framing.frame(str(kind), frame.data)

    def _start(self, event: Object, frame: SseFrame) -> bytes:
        message = an_object(event.get("message"))
        self._report(message.get("usage"))
        model = message.get("model")
        self.served_model = model if isinstance(model, str) else None
        if self._context.model is None or model == self._context.model:
            return frame.raw if frame.event is not None else self._framing.frame("message_start", frame.data)
        renamed = {**event, "message": {**message, "model": self._context.model}}
        return self._framing.frame("message_start", orjson.dumps(renamed))

    def _report(self, raw: Any) -> None:
        usage = decode_usage(raw, self._seen)
        if usage is not None:
            self._seen = an_object(usage.raw)
            self.usage = usage

    def close(self) -> bytes:
        """The upstream closed; where only ``message_stop`` is missing it is added, else the answer was cut off."""
        if self.complete or self.error is not None:
            return b""
        if self._finished:
            self.complete = True
            return self._framing.frame("message_stop", b'{"type":"message_stop"}')
        message = "the upstream closed the stream before it was complete"
        code = "stream_cut_off" if self.meaningful else "empty_stream"
        self.error = ErrorInfo(502, message, type="server_error", code=code)
        return b""

    def fail(self, error: ErrorInfo) -> bytes:
        """The in-band error."""
        return self._framing.frame("error", error_frame(error)) + self._framing.abort()
