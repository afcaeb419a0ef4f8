"""The codec ``claude``: Anthropic Messages."""

from __future__ import annotations

from typing import Any

import orjson

from cpa.conversation.effort import ResolvedReasoning
from cpa.conversation.events import Event
from cpa.conversation.reply import Reply
from cpa.conversation.request import Conversation, Reasoning
from cpa.conversation.usage import Usage
from cpa.errors import ErrorInfo
from cpa.formats.claude import errors, native
from cpa.formats.claude.fields import a_list, an_object
from cpa.formats.claude.reasoning import write_reasoning
from cpa.formats.claude.reply_encode import encode_reply
from cpa.formats.claude.request_decode import decode_reasoning, decode_request
from cpa.formats.claude.request_encode import count_request, encode_request
from cpa.formats.claude.stream_decode import ClaudeStreamDecoder, decode_reply
from cpa.formats.claude.stream_encode import ClaudeStreamEncoder
from cpa.formats.claude.usage import decode_usage
from cpa.formats.codec import (
    EncodedRequest,
    JsonObject,
    NativeRelay,
    ReplyContext,
    StreamDecoder,
    StreamEncoder,
    Target,
)
from cpa.formats.sse import Framing, SseFraming

PING = b'event: ping\ndata: {"type":"ping"}\n\n'


class ClaudeCodec:
    """Messages in all roles; see :class:`cpa.formats.codec.Codec`."""

    name = "claude"
    family = "claude"
    stream_only = False
    prefers_stream = True

    def decode_request(self, body: JsonObject, *, model: str, stream: bool) -> Conversation:
        """Read a client's request."""
        return decode_request(body, model=model, stream=stream)

    def encode_request(
        self, conversation: Conversation, target: Target, reasoning: ResolvedReasoning
    ) -> EncodedRequest:
        """Write an upstream request."""
        return encode_request(conversation, target, reasoning)

    def adapt_native(self, body: JsonObject, target: Target, reasoning: ResolvedReasoning) -> EncodedRequest:
        """Adapt a Messages body for a Messages upstream."""
        return native.adapt_native(body, target, reasoning)

    def read_reasoning(self, body: JsonObject) -> Reasoning:
        """How much thinking a body asks for."""
        return decode_reasoning(body)

    def write_reasoning(self, body: JsonObject, reasoning: ResolvedReasoning, target: Target) -> JsonObject:
        """The body with its thinking as resolved."""
        return write_reasoning(body, reasoning, target.limits)

    def decode_reply(self, body: JsonObject, context: ReplyContext) -> list[Event]:
        """Read a whole answer as events."""
        return decode_reply(body, context)

    def stream_decoder(self, context: ReplyContext) -> StreamDecoder:
        """Read a streamed answer."""
        return ClaudeStreamDecoder(context)

    def decode_error(self, status: int, body: bytes) -> ErrorInfo:
        """Read an error answer."""
        return errors.decode_error(status, body)

    def read_usage(self, body: JsonObject) -> Usage | None:
        """Token counts of a whole answer."""
        return decode_usage(body.get("usage"))

    def framing(self, context: ReplyContext) -> Framing:
        """SSE with event names; kept alive by ``ping`` events."""
        return SseFraming(named=True, keep_alive=PING)

    def encode_reply(self, reply: Reply, context: ReplyContext) -> JsonObject:
        """Write a whole answer."""
        return encode_reply(reply, context)

    def stream_encoder(self, context: ReplyContext, framing: Framing) -> StreamEncoder:
        """Write a streamed answer."""
        return ClaudeStreamEncoder(context, framing)

    def encode_error(self, error: ErrorInfo, *, request_id: str | None = None) -> JsonObject:
        """Write an error body."""
        return errors.encode_error(error, request_id)

    def error_status(self, error: ErrorInfo) -> int:
        """The HTTP status the client is told."""
        return error.status if 400 <= error.status <= 599 else 500

    def native_relay(self, context: ReplyContext, framing: Framing) -> NativeRelay:
        """Relay a Messages stream to a Messages client."""
        return native.ClaudeNativeRelay(context, framing)

    def adapt_native_reply(self, body: JsonObject, context: ReplyContext) -> JsonObject:
        """A whole Messages answer for a Messages client."""
        return native.adapt_native_reply(body, context)

    def reply_failure(self, body: JsonObject) -> ErrorInfo | None:
        """The error in a whole answer with status 200."""
        if body.get("type") == "error" or ("error" in body and "content" not in body):
            return errors.error_event(body)
        return None

    def is_answer(self, body: JsonObject, context: ReplyContext) -> bool:
        """It has content."""
        return isinstance(body.get("content"), list)

    def encode_count_request(self, conversation: Conversation, target: Target) -> JsonObject:
        """Body for ``/v1/messages/count_tokens``."""
        return count_request(conversation, target)

    def decode_count(self, body: JsonObject) -> int | None:
        """Tokens in the answer of the counting endpoint."""
        value = body.get("input_tokens")
        return value if isinstance(value, int) else None

    def encode_count(self, tokens: int) -> JsonObject:
        """What a client is told."""
        return {"input_tokens": tokens}

    def countable_text(self, body: JsonObject) -> str:
        """System, messages and tools as text; media is left out."""
        lines: list[str] = []
        _collect(body.get("system"), lines)
        for message in a_list(body.get("messages")):
            _collect(an_object(message).get("content"), lines)
        lines += [orjson.dumps(tool).decode() for tool in a_list(body.get("tools"))]
        return "\n".join(line for line in lines if line)


def _collect(content: Any, lines: list[str]) -> None:
    if isinstance(content, str):
        lines.append(content)
        return
    for block in a_list(content):
        block = an_object(block)
        lines += [block[name] for name in ("text", "thinking", "name") if isinstance(block.get(name), str)]
        if block.get("input"):
            lines.append(orjson.dumps(block["input"]).decode())
        if "content" in block:
            _collect(block["content"], lines)
