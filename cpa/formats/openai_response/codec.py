"""The codecs ``openai-response`` and ``codex``."""

from __future__ import annotations

from cpa.conversation.effort import KEEP, ResolvedReasoning
from cpa.conversation.events import Event
from cpa.conversation.reply import Reply
from cpa.conversation.request import Conversation, Reasoning
from cpa.conversation.usage import Usage
from cpa.errors import ErrorInfo
from cpa.formats.codec import (
    EncodedRequest,
    JsonObject,
    NativeRelay,
    ReplyContext,
    StreamDecoder,
    StreamEncoder,
    Target,
)
from cpa.formats.openai_response import errors, native, request_encode, stream_encode
from cpa.formats.openai_response.count import countable_text
from cpa.formats.openai_response.relay import ResponseNativeRelay
from cpa.formats.openai_response.request_decode import decode_reasoning, decode_request
from cpa.formats.openai_response.stream_decode import UNFINISHED, ResponseStreamDecoder, decode_reply
from cpa.formats.openai_response.usage import read_usage
from cpa.formats.openai_response.whole_stream import ResponseStreamReader
from cpa.formats.sse import Framing, SseFraming
from cpa.formats.whole_stream import StreamReader


class OpenAIResponseCodec:
    """Responses in all roles; see :class:`cpa.formats.codec.Codec`."""

    name = "openai-response"
    family = "openai-response"
    stream_only = False
    prefers_stream = False

    def decode_request(self, body: JsonObject, *, model: str, stream: bool) -> Conversation:
        """Read a client's request."""
        return decode_request(body, model=model, stream=stream)

    def encode_request(
        self, conversation: Conversation, target: Target, reasoning: ResolvedReasoning
    ) -> EncodedRequest:
        """Write an upstream request."""
        return request_encode.encode_request(conversation, target, reasoning)

    def adapt_native(self, body: JsonObject, target: Target, reasoning: ResolvedReasoning) -> EncodedRequest:
        """Adapt a Responses body for this upstream."""
        return native.adapt_native(body, target, reasoning)

    def read_reasoning(self, body: JsonObject) -> Reasoning:
        """How much thinking a body asks for."""
        return decode_reasoning(body)

    def write_reasoning(self, body: JsonObject, reasoning: ResolvedReasoning, target: Target) -> JsonObject:
        """The body with ``reasoning`` as resolved."""
        return request_encode.write_reasoning(body, reasoning, target)

    def decode_reply(self, body: JsonObject, context: ReplyContext) -> list[Event]:
        """Read a whole answer as events."""
        return decode_reply(body, context)

    def stream_decoder(self, context: ReplyContext) -> StreamDecoder:
        """Read a streamed answer."""
        return ResponseStreamDecoder(context)

    def stream_reader(self, context: ReplyContext) -> StreamReader:
        """Read a streamed answer of which only the whole is wanted."""
        return ResponseStreamReader(context)

    def decode_error(self, status: int, body: bytes) -> ErrorInfo:
        """Read an error answer."""
        return errors.decode_error(status, body)

    def read_usage(self, body: JsonObject) -> Usage | None:
        """Token counts of a whole answer."""
        return read_usage(body)

    def framing(self, context: ReplyContext) -> Framing:
        """SSE with event names; nothing closes the stream but its terminal event."""
        return SseFraming(named=True)

    def encode_reply(self, reply: Reply, context: ReplyContext) -> JsonObject:
        """Write a whole answer."""
        return stream_encode.encode_reply(reply, context)

    def stream_encoder(self, context: ReplyContext, framing: Framing) -> StreamEncoder:
        """Write a streamed answer."""
        return stream_encode.ResponseStreamEncoder(context, framing)

    def encode_error(self, error: ErrorInfo, *, request_id: str | None = None) -> JsonObject:
        """Write an error body."""
        return errors.encode_error(error)

    def error_status(self, error: ErrorInfo) -> int:
        """The HTTP status the client is told."""
        return error.status if 400 <= error.status <= 599 else 500

    def native_relay(self, context: ReplyContext, framing: Framing) -> NativeRelay:
        """Relay a Responses stream to a Responses client."""
        return ResponseNativeRelay(context, framing)

    def adapt_native_reply(self, body: JsonObject, context: ReplyContext) -> JsonObject:
        """A whole Responses answer for a Responses client."""
        return native.adapt_native_reply(body, context)

    def reply_failure(self, body: JsonObject) -> ErrorInfo | None:
        """The error in a whole answer with status 200."""
        return errors.reply_failure(body)

    def is_answer(self, body: JsonObject, context: ReplyContext) -> bool:
        """It has output and is not under way, unless it was asked to be made in the background."""
        return isinstance(body.get("output"), list) and (
            body.get("status") not in UNFINISHED or bool(context.request.get("background"))
        )

    def encode_count_request(self, conversation: Conversation, target: Target) -> JsonObject:
        """The body whose input is counted."""
        body = request_encode.encode_request(conversation, target, KEEP).body
        return {key: value for key, value in body.items() if key != "stream"}

    def decode_count(self, body: JsonObject) -> int | None:
        """Tokens in an ``input_tokens`` answer."""
        value = body.get("input_tokens")
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def encode_count(self, tokens: int) -> JsonObject:
        """What a client that asked for a count is told."""
        return {"object": "response.input_tokens", "input_tokens": tokens}

    def countable_text(self, body: JsonObject) -> str:
        """Instructions, texts, calls, tools; media is left out."""
        return countable_text(body)


class CodexCodec(OpenAIResponseCodec):
    """The dialect of the Codex backend, which answers in streams only."""

    name = "codex"
    stream_only = True
