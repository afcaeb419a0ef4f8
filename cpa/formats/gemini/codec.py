"""The codecs ``gemini`` (``generateContent``) and ``gemini-cli`` (the same in the envelope of Gemini CLI's backend)."""

from __future__ import annotations

from msgspec.structs import replace

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
from cpa.formats.gemini import count, errors, fields, imagen, native, relay, request_encode, stream_decode
from cpa.formats.gemini.envelope import count_request, is_wrapped, request_of, response_of, wrap_request
from cpa.formats.gemini.reasoning import write_thinking
from cpa.formats.gemini.reply_encode import encode_reply
from cpa.formats.gemini.request_decode import decode_reasoning, decode_request
from cpa.formats.gemini.stream_encode import GeminiStreamEncoder
from cpa.formats.gemini.usage import counts_of, decode_usage
from cpa.formats.sse import Framing, JsonArrayFraming, SseFraming


class GeminiCodec:
    """Gemini's ``generateContent`` in all roles; see :class:`cpa.formats.codec.Codec`.

    What is read may come in the CLI's envelope or not; ``wraps`` says how it is written.
    """

    name = "gemini"
    family = "gemini"
    stream_only = False
    prefers_stream = False
    wraps = False

    # -- requests ------------------------------------------------------------------------------------------

    def decode_request(self, body: JsonObject, *, model: str, stream: bool) -> Conversation:
        """Read a client's request."""
        conversation = decode_request(request_of(body), model=model, stream=stream)
        conversation.format = self.name
        return conversation

    def encode_request(
        self, conversation: Conversation, target: Target, reasoning: ResolvedReasoning
    ) -> EncodedRequest:
        """Write an upstream request."""
        encoded = request_encode.encode_request(conversation, target, reasoning)
        if self.wraps:
            encoded.body = wrap_request(encoded.body, target.model)
        return encoded

    def adapt_native(self, body: JsonObject, target: Target, reasoning: ResolvedReasoning) -> EncodedRequest:
        """Adapt a body of either dialect for this one."""
        return native.adapt_native(body, target, reasoning, wrap=self.wraps)

    def read_reasoning(self, body: JsonObject) -> Reasoning:
        """How much thinking a body asks for."""
        config = fields.get(request_of(body), "generationConfig")
        return decode_reasoning(fields.an_object(config, "generationConfig"))

    def write_reasoning(self, body: JsonObject, reasoning: ResolvedReasoning, target: Target) -> JsonObject:
        """The body with its ``thinkingConfig`` as resolved."""
        request = request_of(body)
        written = write_thinking(request, reasoning)
        if written is request:
            return body
        return {**body, "request": written} if is_wrapped(body) else written

    # -- answers of an upstream ----------------------------------------------------------------------------

    def decode_reply(self, body: JsonObject, context: ReplyContext) -> list[Event]:
        """Read a whole answer as events."""
        return stream_decode.decode_reply(imagen.answer_of(body), context)

    def stream_decoder(self, context: ReplyContext) -> StreamDecoder:
        """Read a streamed answer."""
        return stream_decode.GeminiStreamDecoder(context)

    def decode_error(self, status: int, body: bytes) -> ErrorInfo:
        """Read an error answer."""
        return errors.decode_error(status, body)

    def read_usage(self, body: JsonObject) -> Usage | None:
        """Token counts of a whole answer."""
        return decode_usage(counts_of(response_of(body)))

    # -- answers for a client ------------------------------------------------------------------------------

    def framing(self, context: ReplyContext) -> Framing:
        """SSE without event names; a JSON array when the client asked for one.

        Google's SDKs take every line that does not begin with ``data: `` for JSON: a blank line keeps the connection
        busy, a comment would break them.
        """
        if context.alt == "json":
            return JsonArrayFraming()
        return SseFraming(named=False, keep_alive=b"\n")

    def encode_reply(self, reply: Reply, context: ReplyContext) -> JsonObject:
        """Write a whole answer."""
        body = encode_reply(reply, context)
        if not self.wraps:
            return body
        return {"response": body, "traceId": reply.start.trace_id} if reply.start.trace_id else {"response": body}

    def stream_encoder(self, context: ReplyContext, framing: Framing) -> StreamEncoder:
        """Write a streamed answer."""
        return GeminiStreamEncoder(context, framing, wrap=self.wraps)

    def encode_error(self, error: ErrorInfo, *, request_id: str | None = None) -> JsonObject:
        """Write an error body; errors are never wrapped."""
        return errors.encode_error(error)

    def error_status(self, error: ErrorInfo) -> int:
        """The HTTP status the client is told."""
        return errors.error_status(error)

    def native_relay(self, context: ReplyContext, framing: Framing) -> NativeRelay:
        """Relay a stream of either dialect to a client of this one."""
        return relay.GeminiNativeRelay(context, framing, wrap=self.wraps)

    def adapt_native_reply(self, body: JsonObject, context: ReplyContext) -> JsonObject:
        """A whole answer of either dialect for a client of this one."""
        return relay.adapt_native_reply(imagen.answer_of(body), context, wrap=self.wraps)

    def reply_failure(self, body: JsonObject) -> ErrorInfo | None:
        """The error in an answer with status 200; an answer that says nothing at all is one, too."""
        error = errors.error_of(body)
        if error is not None:
            return errors.info_of(error)
        response = response_of(body)
        says = ("candidates", "promptFeedback", "totalTokens", "predictions")
        if any(response.get(name) for name in says) or not ({"usageMetadata", "modelVersion"} & response.keys()):
            return None
        return ErrorInfo(502, "the upstream's answer is empty", type="server_error", code="empty_stream")

    def is_answer(self, body: JsonObject, context: ReplyContext) -> bool:
        """It has candidates, pictures, or a reason why there are none."""
        response = response_of(body)
        return bool(response.get("candidates") or response.get("promptFeedback") or response.get("predictions"))

    # -- token counting ------------------------------------------------------------------------------------

    def encode_count_request(self, conversation: Conversation, target: Target) -> JsonObject:
        """Body for ``countTokens``; it counts instructions and tools, too."""
        counting = replace(target, operation="count")
        body = request_encode.encode_request(conversation, counting, KEEP).body
        if self.wraps:
            return {"request": fields.without(body, "safetySettings")}
        return count_request(body, target.model, target.quirks)

    def decode_count(self, body: JsonObject) -> int | None:
        """Tokens in the answer of ``countTokens``."""
        return count.decode_count(body)

    def encode_count(self, tokens: int) -> JsonObject:
        """What a client that asked for a count is told."""
        return count.encode_count(tokens)

    def countable_text(self, body: JsonObject) -> str:
        """The text of an upstream body that counts as prompt."""
        return count.countable_text(body)


class GeminiCliCodec(GeminiCodec):
    """The dialect of Gemini CLI's backend (Cloud Code)."""

    name = "gemini-cli"
    wraps = True
