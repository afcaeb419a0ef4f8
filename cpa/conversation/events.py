"""The canonical stream: what a model answers, one event at a time.

Grammar: ``Start`` first and once; blocks open with ``BlockStart``, grow by deltas and close with ``BlockEnd``;
several may be open at once; ``UsageReport`` and ``Finish`` come in any order; the last event is ``End`` or
``Failure``. A decoder never sends a delta for a block that is not open and never reopens a key.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from cpa.conversation.parts import Json
from cpa.conversation.usage import Usage
from cpa.errors import ErrorInfo

BlockKind: TypeAlias = Literal["text", "refusal", "reasoning", "tool_call", "server_tool", "image", "audio", "opaque"]

StopReason: TypeAlias = Literal[
    "stop",
    "stop_sequence",
    "length",
    "tool_calls",
    "content_filter",
    "refusal",
    "pause",
    "context_exceeded",
    "malformed_call",
]


class Citation(Struct, omit_defaults=True):
    """A source for a piece of visible text. Offsets count code points inside the text block."""

    url: str | None = None
    title: str | None = None
    start: int | None = None
    end: int | None = None
    cited_text: str | None = None
    raw: Json | None = None
    format: str | None = None
    """The format ``raw`` is in."""


class Start(Struct, gc=False):
    """The answer begins. Sent with the first meaningful frame."""

    id: str | None = None
    model: str | None = None
    created: int | None = None
    """Unix seconds."""
    service_tier: str | None = None
    system_fingerprint: str | None = None
    trace_id: str | None = None


class BlockStart(Struct):
    """A block opens. ``key`` is unique in the stream. Fields beside ``kind`` belong to the kinds named."""

    key: int
    kind: BlockKind
    choice: int = 0
    native_id: str | None = None
    """Id of the item in the upstream (reasoning, tool_call, server_tool, image)."""
    message_key: str | None = None
    """text, refusal: which assistant message of the answer it belongs to, when the upstream has several."""
    phase: str | None = None
    style: Literal["summary", "full"] = "full"
    """reasoning: whether the text is a summary or the full chain."""
    call_id: str | None = None
    """tool_call; may be learnt later through :class:`ToolCallInfo`."""
    name: str | None = None
    """tool_call, server_tool."""
    tool_type: Literal["function", "custom"] = "function"
    namespace: str | None = None
    input: Json | None = None
    """server_tool."""
    json: Json | None = None
    """opaque: the raw part."""
    format: str | None = None
    """opaque, server_tool: the format ``json`` / ``raw`` is in."""


class TextDelta(Struct, gc=False):
    """More text of a ``text``, ``refusal``, ``reasoning`` or ``audio`` (transcript) block."""

    key: int
    text: str
    logprobs: Json | None = None


class ArgumentsDelta(Struct, gc=False):
    """More of a tool call's JSON arguments, or of a custom call's input."""

    key: int
    text: str


class SignatureDelta(Struct, gc=False):
    """The proof of a reasoning block; sent once, after its text."""

    key: int
    signature: str


class CitationDelta(Struct):
    """A citation of a text block."""

    key: int
    citation: Citation


class PartBreak(Struct, gc=False):
    """A new summary part of a reasoning block begins."""

    key: int


class DataDelta(Struct, gc=False):
    """A partial image (``index`` counts them) or a piece of audio, base64."""

    key: int
    data: str
    index: int = 0


class ToolCallInfo(Struct, gc=False):
    """Identity of a tool call learnt after its block opened; each field is set at most once."""

    key: int
    call_id: str | None = None
    name: str | None = None
    native_id: str | None = None


class BlockEnd(Struct):
    """A block closes. Final values, when given, win over what the deltas added up to."""

    key: int
    text: str | None = None
    arguments: str | None = None
    citations: list[Citation] | None = None
    signature: str | None = None
    """reasoning: the proof; text, tool_call: Gemini's signature on that part."""
    redacted_data: str | None = None
    """reasoning: Claude ``redacted_thinking.data``."""
    summary: list[str] | None = None
    """reasoning: all summary parts."""
    content: list[str] | None = None
    """reasoning: full reasoning texts (Responses ``content``)."""
    status: str | None = None
    input: Json | None = None
    """server_tool."""
    results: list[Json] | None = None
    """server_tool web_search: ``{url, title, page_age?, encrypted_content?}``."""
    error_code: str | None = None
    media_type: str | None = None
    """image, audio."""
    data: str | None = None
    """image, audio: base64."""
    url: str | None = None
    revised_prompt: str | None = None
    options: dict[str, Json] | None = None
    """image: size, quality, background, output_format; audio: id, expires_at."""
    json: Json | None = None
    """opaque, server_tool: the raw part as it ended."""


class UsageReport(Struct):
    """Token counts so far, cumulative; a later report overwrites field by field."""

    usage: Usage


class Finish(Struct):
    """One choice ended for ``reason``. At most one per choice."""

    reason: StopReason
    choice: int = 0
    native: str | None = None
    """The upstream's own word, e.g. ``end_turn`` or ``SAFETY``."""
    stop_sequence: str | None = None
    details: Json | None = None


class Failure(Struct):
    """The answer failed; nothing follows."""

    error: ErrorInfo


class End(Struct, gc=False):
    """The answer is complete; nothing follows."""


class Ping(Struct, gc=False):
    """The upstream is alive; may be dropped."""


class Passthrough(Struct):
    """An upstream event without canonical meaning; only an encoder of the same format re-sends it."""

    format: str
    json: Json
    event: str | None = None


Event: TypeAlias = (
    Start
    | BlockStart
    | TextDelta
    | ArgumentsDelta
    | SignatureDelta
    | CitationDelta
    | PartBreak
    | DataDelta
    | ToolCallInfo
    | BlockEnd
    | UsageReport
    | Finish
    | Failure
    | End
    | Ping
    | Passthrough
)
