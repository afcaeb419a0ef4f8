"""The protocol every wire format's codec satisfies, and the values that pass through it.

A codec is pure: no I/O, no clock, no randomness. Time and ids come in through :class:`ReplyContext` and
:class:`Target`. It works in all roles: it reads what a client asks and writes what an upstream is asked, reads
what an upstream answers (whole or streamed) and writes what a client is told.

``family``: formats of one family share their body shape. When client and upstream are of one family the request
takes the native path (:meth:`Codec.adapt_native`, :meth:`Codec.native_relay`), where unknown members, bytes and
key order survive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol, TypeAlias

from msgspec import Struct, field

from cpa.conversation.effort import ResolvedReasoning
from cpa.conversation.events import ArgumentsDelta, Event, TextDelta
from cpa.conversation.models import ModelLimits
from cpa.conversation.names import NameMap, ToolIdentity
from cpa.conversation.reply import Reply
from cpa.conversation.request import Conversation, Reasoning
from cpa.conversation.usage import Usage
from cpa.errors import ErrorInfo
from cpa.formats.change import Note, Varying
from cpa.formats.runs import Around
from cpa.formats.sse import Framing, SseFrame

JsonObject: TypeAlias = dict[str, Any]

NewId: TypeAlias = Callable[[str], str]
"""``new_id("chatcmpl-")`` gives that prefix and 24 random alphanumerics (over 96 bits)."""

Operation: TypeAlias = Literal["generate", "count", "compact", "images"]


class Target(Struct):
    """Which upstream model a request is encoded for."""

    model: str
    """The upstream's own name of the model, without prefix or suffix."""
    format: str
    """The upstream format; ``codex`` and ``gemini-cli`` are dialects of their family."""
    stream: bool = False
    """Whether the upstream is asked for a stream."""
    operation: Operation = "generate"
    limits: ModelLimits = field(default_factory=ModelLimits)
    client_format: str = ""
    """The format the client spoke; some upstream rules depend on it."""
    quirks: frozenset[str] = frozenset()
    """Provider properties a codec must respect, e.g. ``vertex``, ``aistudio``, ``text-only``."""


class EncodedRequest(Struct):
    """An upstream request body and what is needed to read its answer."""

    body: JsonObject
    names: NameMap = field(default_factory=NameMap)
    """How tools were renamed."""
    headers: dict[str, str] = field(default_factory=dict)
    """Headers that the body's content asks for (Claude: ``anthropic-beta``)."""


class ReplyContext(Struct):
    """What the answer's encoder (and a decoder, for tool names) must know of the request and the moment."""

    model: str | None = None
    """Model name to show the client; None shows the upstream's own (or ``requested_model`` if it names none)."""
    requested_model: str = ""
    created: int = 0
    """Now, Unix seconds."""
    new_id: NewId = lambda prefix: prefix + "0" * 24
    names: NameMap = field(default_factory=NameMap)
    stream: bool = False
    include_usage: bool = False
    request: JsonObject = field(default_factory=dict)
    """The client's own body (the Responses codec echoes members of it)."""
    client_format: str = ""
    upstream_format: str = ""
    input_tokens_estimate: int | None = None
    """Estimated prompt tokens, for formats that report them before the upstream does."""
    codex_client: bool = False
    """The client is a Codex CLI: mid-stream errors become ``response.failed``."""
    request_id: str | None = None
    alt: str = ""
    """``json`` when a Gemini client asked for a JSON array instead of SSE; ``completions`` for the legacy route."""

    def tool(self, upstream_name: str) -> ToolIdentity:
        """How the client knows a tool. Models change the case of names now and then; Claude's clients do not forgive
        that."""
        return (
            self.names.closest(upstream_name) if self.client_format == "claude" else self.names.identity(upstream_name)
        )


class StreamDecoder(Protocol):
    """Turns upstream frames into canonical events. Never raises on upstream content: it ends with ``Failure``.

    One that does not report every count at once has ``unreported_usage()``, which gives the latest: what is recorded
    when the stream is broken off.
    """

    def feed(self, frame: SseFrame) -> list[Event]:
        """Events of one frame; empty when it has none. After the terminal event everything is ignored."""

    def close(self) -> list[Event]:
        """The upstream closed: ``[End]`` when the answer was complete (with any missing ``BlockEnd`` and
        ``Finish``), ``[Failure]`` when it was cut off, ``[]`` when a terminal event was already given."""


class RunDecoder(StreamDecoder, Protocol):
    """A decoder that need not see every delta of a text."""

    varying: tuple[Varying, ...]
    """Members of a delta that differ from one to the next and mean nothing to it."""

    def lead(self, event: TextDelta | ArgumentsDelta) -> bytes | None:
        """The name of the member that held the text of the delta just read, as ``"content":``.

        None where reading another one like it does more than give its text.
        """

    def skipped(self, key: int, texts: list[bytes]) -> None:
        """Deltas of a block were passed on that it was not shown; their JSON texts."""


class StreamEncoder(Protocol):
    """Turns canonical events into client bytes, framed by the :class:`Framing` it was made with."""

    def encode(self, events: Iterable[Event]) -> bytes:
        """Bytes to send for these events. ``End`` writes everything that ends the stream, ``Failure`` the
        format's in-band error; after either, nothing is written any more."""


class RunEncoder(StreamEncoder, Protocol):
    """An encoder that writes deltas from the JSON text of their strings."""

    around: Around | None
    """What ``repeat`` wrote around the texts just now; None when it is not the same around each."""

    def repeat(self, key: int, texts: list[bytes]) -> bytes | None:
        """More deltas of a block, as after the last one of it; None when they are to be given one by one."""


class NativeRelay(Protocol):
    """Relays an upstream stream to a client of the same family, sniffing only what must be known.

    ``feed`` gives the bytes for the client (usually the frame as it came). ``usage``, ``complete`` and ``error``
    may be read at any time.
    """

    usage: Usage | None
    complete: bool
    """The terminal event was seen."""
    error: ErrorInfo | None
    """Set when the upstream reported an error in-band or broke the protocol; ``feed`` gave nothing for it."""
    meaningful: bool
    """A frame with content of the answer was seen; from here on the attempt cannot be repeated."""
    served_model: str | None
    """The model name the upstream reported, when it did."""

    def pass_chunk(self, chunk: bytes, note: Note | None = None) -> tuple[bytes, int]:
        """Client bytes for ordinary deltas at the beginning of a chunk, and how many of its bytes they stand for.

        The chunk holds complete frames (each ended by an empty line, no CR). ``(b"", 0)``: the next frame must be fed.
        Asked only once ``meaningful``. ``note`` is told the texts where frames are alike but for them.
        """

    def feed(self, frame: SseFrame) -> bytes:
        """Bytes to send to the client for this frame."""

    def close(self) -> bytes:
        """The upstream closed: last bytes for the client. Sets ``error`` when the stream was cut off."""

    def fail(self, error: ErrorInfo) -> bytes:
        """The format's in-band error for the client."""


class Codec(Protocol):
    """One wire format in all its roles."""

    name: str
    """``openai``, ``openai-response``, ``claude``, ``gemini``, ``codex`` or ``gemini-cli``."""
    family: str
    """``openai``, ``openai-response``, ``claude`` or ``gemini``."""
    stream_only: bool
    """The upstream dialect answers streams only; a non-stream answer is folded (``codex``)."""
    prefers_stream: bool
    """Whole answers that must be translated are asked for as streams and folded: they may take longer than the vendor
    keeps a silent connection open (``claude``)."""

    # -- requests ------------------------------------------------------------------------------------------

    def decode_request(self, body: JsonObject, *, model: str, stream: bool) -> Conversation:
        """Read a client's request. ``model`` and ``stream`` as the surface found them (body or URL).

        Raises InvalidRequest for a body that is not of this format.
        """

    def encode_request(
        self, conversation: Conversation, target: Target, reasoning: ResolvedReasoning
    ) -> EncodedRequest:
        """Write an upstream request. Raises InvalidRequest when dropping something would change its meaning."""

    def adapt_native(self, body: JsonObject, target: Target, reasoning: ResolvedReasoning) -> EncodedRequest:
        """Adapt a body of the same family for this upstream: set the model, normalise what the upstream
        insists on, keep all else. Copy on write: neither ``body`` nor any value inside it is changed; members
        that stay the same stay the same object (the exchange re-sends their bytes untouched)."""

    def read_reasoning(self, body: JsonObject) -> Reasoning:
        """How much thinking a body of this format asks for."""

    def write_reasoning(self, body: JsonObject, reasoning: ResolvedReasoning, target: Target) -> JsonObject:
        """The body with its reasoning members as resolved (copy on write)."""

    # -- answers of an upstream ----------------------------------------------------------------------------

    def decode_reply(self, body: JsonObject, context: ReplyContext) -> list[Event]:
        """Read a whole answer as the events a stream of it would have had. A 200 body that is an error gives
        ``[Failure]``. Tool names are the client's again (``context.names``)."""

    def stream_decoder(self, context: ReplyContext) -> StreamDecoder:
        """Read a streamed answer."""

    def decode_error(self, status: int, body: bytes) -> ErrorInfo:
        """Read an error answer; HTML and other non-JSON give a short message, never the page."""

    def read_usage(self, body: JsonObject) -> Usage | None:
        """Token counts of a whole answer."""

    # -- answers for a client ------------------------------------------------------------------------------

    def framing(self, context: ReplyContext) -> Framing:
        """The framing a streaming client of this format expects."""

    def encode_reply(self, reply: Reply, context: ReplyContext) -> JsonObject:
        """Write a whole answer. ``reply.error`` is None."""

    def stream_encoder(self, context: ReplyContext, framing: Framing) -> StreamEncoder:
        """Write a streamed answer."""

    def encode_error(self, error: ErrorInfo, *, request_id: str | None = None) -> JsonObject:
        """Write an error body; a same-family ``error.raw`` that has the right shape is kept verbatim."""

    def error_status(self, error: ErrorInfo) -> int:
        """The HTTP status the client is told."""

    def native_relay(self, context: ReplyContext, framing: Framing) -> NativeRelay:
        """Relay a stream of the same family."""

    def adapt_native_reply(self, body: JsonObject, context: ReplyContext) -> JsonObject:
        """A whole answer of the same family for this client: only the model name and declared repairs differ.
        The same object when nothing has to change (copy on write)."""

    def reply_failure(self, body: JsonObject) -> ErrorInfo | None:
        """The error in a whole answer that came with status 200, if it is one."""

    def is_answer(self, body: JsonObject, context: ReplyContext) -> bool:
        """Whether a whole body can pass to a client of the same family as an answer: the least that tells one from
        other JSON, from a part of one and from one that is still being made.

        What it is false for is read by ``decode_reply``, which judges it.
        """

    # -- token counting ------------------------------------------------------------------------------------

    def encode_count_request(self, conversation: Conversation, target: Target) -> JsonObject:
        """Body for the upstream's counting endpoint (formats that have one), else the generate body."""

    def decode_count(self, body: JsonObject) -> int | None:
        """Tokens in the answer of the upstream's counting endpoint."""

    def encode_count(self, tokens: int) -> JsonObject:
        """What a client that asked for a count is told."""

    def countable_text(self, body: JsonObject) -> str:
        """The text of an upstream body that counts as prompt, joined by newlines; media is left out."""
