"""The codec ``openai``: Chat Completions and its legacy completions route."""

from __future__ import annotations

from typing import Any

import orjson

from cpa.conversation.effort import KEEP, ResolvedReasoning
from cpa.conversation.events import Event
from cpa.conversation.reply import Reply
from cpa.conversation.request import Conversation, Reasoning
from cpa.conversation.usage import Usage
from cpa.errors import ErrorInfo
from cpa.formats.change import Note
from cpa.formats.codec import (
    EncodedRequest,
    JsonObject,
    NativeRelay,
    ReplyContext,
    StreamDecoder,
    StreamEncoder,
    Target,
)
from cpa.formats.openai import errors, native
from cpa.formats.openai.completions import CompletionsFraming, from_chat_reply
from cpa.formats.openai.reply_encode import encode_reply
from cpa.formats.openai.request_decode import decode_reasoning, decode_request
from cpa.formats.openai.request_encode import encode_request, write_reasoning
from cpa.formats.openai.stream_decode import CHUNK, ChatStreamDecoder, decode_reply
from cpa.formats.openai.stream_encode import ChatStreamEncoder
from cpa.formats.openai.usage import decode_usage
from cpa.formats.sse import Framing, SseFrame, SseFraming, SseParser


class OpenAICodec:
    """Chat Completions in all roles; see :class:`cpa.formats.codec.Codec`.

    ``context.alt == "completions"`` answers in the shape of the legacy completions route.
    """

    name = "openai"
    family = "openai"
    stream_only = False
    prefers_stream = False

    def decode_request(self, body: JsonObject, *, model: str, stream: bool) -> Conversation:
        """Read a client's request."""
        return decode_request(body, model=model, stream=stream)

    def encode_request(
        self, conversation: Conversation, target: Target, reasoning: ResolvedReasoning
    ) -> EncodedRequest:
        """Write an upstream request."""
        return encode_request(conversation, target, reasoning)

    def adapt_native(self, body: JsonObject, target: Target, reasoning: ResolvedReasoning) -> EncodedRequest:
        """Adapt a chat body for a chat upstream."""
        return native.adapt_native(body, target, reasoning)

    def read_reasoning(self, body: JsonObject) -> Reasoning:
        """How much thinking a body asks for."""
        return decode_reasoning(body)

    def write_reasoning(self, body: JsonObject, reasoning: ResolvedReasoning, target: Target) -> JsonObject:
        """The body with ``reasoning_effort`` as resolved."""
        return write_reasoning(body, reasoning)

    def decode_reply(self, body: JsonObject, context: ReplyContext) -> list[Event]:
        """Read a whole answer as events."""
        return decode_reply(body, context)

    def stream_decoder(self, context: ReplyContext) -> StreamDecoder:
        """Read a streamed answer."""
        return ChatStreamDecoder(context)

    def decode_error(self, status: int, body: bytes) -> ErrorInfo:
        """Read an error answer."""
        return errors.decode_error(status, body)

    def read_usage(self, body: JsonObject) -> Usage | None:
        """Token counts of a whole answer."""
        return decode_usage(body.get("usage"), body.get("service_tier"))

    def framing(self, context: ReplyContext) -> Framing:
        """SSE without event names, closed by ``[DONE]``."""
        framing = SseFraming(named=False, done=b"data: [DONE]\n\n")
        return CompletionsFraming(framing) if context.alt == "completions" else framing

    def encode_reply(self, reply: Reply, context: ReplyContext) -> JsonObject:
        """Write a whole answer."""
        body = encode_reply(reply, context)
        return from_chat_reply(body) if context.alt == "completions" else body

    def stream_encoder(self, context: ReplyContext, framing: Framing) -> StreamEncoder:
        """Write a streamed answer."""
        return ChatStreamEncoder(context, framing)

    def encode_error(self, error: ErrorInfo, *, request_id: str | None = None) -> JsonObject:
        """Write an error body."""
        return errors.encode_error(error)

    def error_status(self, error: ErrorInfo) -> int:
        """The HTTP status the client is told."""
        return error.status if 400 <= error.status <= 599 else 500

    def native_relay(self, context: ReplyContext, framing: Framing) -> NativeRelay:
        """Relay a chat stream to a chat client."""
        if isinstance(framing, CompletionsFraming):
            return _Reframed(native.ChatNativeRelay(context, framing.inner), framing)
        return native.ChatNativeRelay(context, framing)

    def adapt_native_reply(self, body: JsonObject, context: ReplyContext) -> JsonObject:
        """A whole chat answer for a chat client."""
        adapted = native.adapt_native_reply(body, context)
        return from_chat_reply(adapted) if context.alt == "completions" else adapted

    def reply_failure(self, body: JsonObject) -> ErrorInfo | None:
        """The error in a whole answer with status 200."""
        return errors.hidden_error(body)

    def is_answer(self, body: JsonObject, context: ReplyContext) -> bool:
        """It has choices, and is no chunk of a stream."""
        choices = body.get("choices")
        return isinstance(choices, list) and bool(choices) and body.get("object") != CHUNK

    def encode_count_request(self, conversation: Conversation, target: Target) -> JsonObject:
        """There is no counting endpoint: the body is counted locally."""
        return encode_request(conversation, target, KEEP).body

    def decode_count(self, body: JsonObject) -> int | None:
        """Tokens in an ``input_tokens`` answer."""
        value = body.get("input_tokens")
        return value if isinstance(value, int) else None

    def encode_count(self, tokens: int) -> JsonObject:
        """What a client is told."""
        return {"object": "response.input_tokens", "input_tokens": tokens}

    def countable_text(self, body: JsonObject) -> str:
        """Roles, texts, calls, tools; media is left out."""
        lines: list[str] = []
        for message in body.get("messages") or []:
            if isinstance(message, dict):
                _countable_message(message, lines)
        present = [
            name for name in ("tools", "functions", "tool_choice", "response_format") if body.get(name) is not None
        ]
        lines += [orjson.dumps(body[name]).decode() for name in present]
        return "\n".join(line for line in lines if line)


def _countable_message(message: dict[str, Any], lines: list[str]) -> None:
    lines += [message[name] for name in ("role", "name", "reasoning_content") if isinstance(message.get(name), str)]
    content = message.get("content")
    if isinstance(content, str):
        lines.append(content)
    elif isinstance(content, list):
        lines += [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
    if message.get("tool_calls"):
        lines.append(orjson.dumps(message["tool_calls"]).decode())


class _Reframed:
    """A native relay whose frames go through the framing, too: the completions route changes every one."""

    def __init__(self, relay: NativeRelay, framing: Framing) -> None:
        self._relay = relay
        self._framing = framing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._relay, name)

    def pass_chunk(self, chunk: bytes, note: Note | None = None) -> tuple[bytes, int]:
        """Ordinary deltas."""
        passed, used = self._relay.pass_chunk(chunk)
        return self._reframed(passed), used

    def feed(self, frame: SseFrame) -> bytes:
        """One frame."""
        return self._reframed(self._relay.feed(frame))

    def close(self) -> bytes:
        """The upstream closed."""
        return self._reframed(self._relay.close())

    def fail(self, error: ErrorInfo) -> bytes:
        """The in-band error."""
        return self._reframed(self._relay.fail(error))

    def _reframed(self, shown: bytes) -> bytes:
        return b"".join(
            self._framing.frame(frame.event, frame.data) if frame.data[:1] == b"{" else frame.raw
            for frame in SseParser().feed(shown)
        )
