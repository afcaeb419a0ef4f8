"""The pieces a turn is made of.

A turn keeps the order of its parts exactly. Parts are plain values; equal content means equal parts.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import Struct

Json: TypeAlias = Any
"""A decoded JSON value; narrow it where it is used."""


class Source(Struct):
    """Where the bytes of an image, document, audio or video are.

    Exactly one of ``data``, ``url``, ``file_id``, ``text`` and ``content`` is set.
    """

    data: str | None = None
    """Standard (not URL-safe) base64 without a ``data:`` prefix."""
    url: str | None = None
    file_id: str | None = None
    text: str | None = None
    """Plain text of a text document."""
    content: list[Part] | None = None
    """Content blocks of a Claude ``content`` document."""
    media_type: str | None = None
    """For instance ``image/png``; None when the client did not say."""


class Text(Struct):
    """Visible text, or a refusal shown as text."""

    text: str
    refusal: bool = False
    citations: list[Json] | None = None
    """Citations in canonical form, see :class:`cpa.conversation.events.Citation`, as sent back in history."""
    signature: str | None = None
    """Gemini thought signature that stood on a visible text part."""
    cache_control: Json | None = None


class Image(Struct):
    """An image shown to, or made by, the model."""

    source: Source
    detail: str | None = None
    """``auto``, ``low``, ``high`` or ``original``."""
    cache_control: Json | None = None


class Document(Struct):
    """A file: PDF, text or other."""

    source: Source
    filename: str | None = None
    title: str | None = None
    context: str | None = None
    citations: Json | None = None
    cache_control: Json | None = None


class Audio(Struct):
    """A sound clip."""

    source: Source
    format: str | None = None
    """Short name such as ``wav`` or ``mp3`` when the client gave one."""


class Video(Struct):
    """A video clip."""

    source: Source
    metadata: Json | None = None


class Thinking(Struct):
    """Reasoning of the model as replayed in history.

    ``signature`` is the proof the vendor attached: a Claude signature, an OpenAI ``encrypted_content`` or a
    Gemini thought signature; :func:`cpa.conversation.signatures.family_of` tells which.
    """

    text: str = ""
    signature: str | None = None
    redacted_data: str | None = None
    """Claude ``redacted_thinking.data``; ``text`` is empty then."""
    summary: list[str] | None = None
    """Summary parts one by one, when the format has them."""
    item_id: str | None = None


class ToolCall(Struct):
    """A call the model made."""

    name: str
    arguments: str = "{}"
    """JSON text exactly as received; for ``kind="custom"`` the free-form input text."""
    call_id: str | None = None
    """None when the client gave none: :func:`cpa.conversation.pairing.pair_tool_calls` fills it."""
    kind: Literal["function", "custom"] = "function"
    namespace: str | None = None
    item_id: str | None = None
    signature: str | None = None
    """Gemini thought signature of the call."""
    cache_control: Json | None = None


class ToolResult(Struct):
    """What a tool answered."""

    call_id: str | None = None
    name: str | None = None
    content: list[Part] = []
    """Text, images, documents. A plain string is one :class:`Text`; empty output is an empty list."""
    structured: Json | None = None
    """The JSON value, when the client sent one instead of text (Gemini ``response``)."""
    is_error: bool = False
    kind: Literal["function", "custom"] = "function"
    item_id: str | None = None
    cache_control: Json | None = None
    extras: dict[str, Json] | None = None


class ServerTool(Struct):
    """A tool run by the vendor (web search, code execution ...) as it stands in history."""

    type: str
    raw: Json
    format: str
    """The format ``raw`` is in; only an encoder of the same family sends it on."""


class Opaque(Struct):
    """A part or item no other format knows; re-sent only into the family it came from."""

    type: str
    raw: Json
    format: str


Part: TypeAlias = Text | Image | Document | Audio | Video | Thinking | ToolCall | ToolResult | ServerTool | Opaque
