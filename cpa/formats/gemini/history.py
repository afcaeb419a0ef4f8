"""Write the dialogue of a Conversation as Gemini ``contents``.

What Gemini insists on: only the roles ``user`` and ``model``; ``user`` first; no empty parts; after a turn of k
calls one ``user`` content with k responses in the same order; a thought signature on the first call of a turn.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from cpa.conversation.arguments import arguments_or_text
from cpa.conversation.media import (
    audio_media_type,
    media_type_of_filename,
    sniff_media_type,
    standard_base64,
)
from cpa.conversation.names import NameMap
from cpa.conversation.pairing import pair_tool_calls
from cpa.conversation.parts import (
    Audio,
    Document,
    Image,
    Opaque,
    Part,
    ServerTool,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Video,
)
from cpa.conversation.request import Conversation, Turn
from cpa.conversation.signatures import GEMINI_SKIP_VALIDATION, family_of
from cpa.errors import InvalidRequest

Content = dict[str, Any]

FAMILY = ("gemini", "gemini-cli")
"""Formats whose raw parts Gemini understands."""

_ATTRIBUTION = "x-anthropic-billing-header:"
"""Claude Code's accounting line; means nothing to any other vendor."""

_LONG_NUMBER = re.compile(r"\d{16}")


def encode_contents(
    conversation: Conversation, names: NameMap, *, call_ids: bool
) -> tuple[list[Content], Content | None]:
    """``contents`` and ``systemInstruction`` of the dialogue.

    ``call_ids``: whether calls and responses carry their ids (Vertex refuses them). A conversation that has only
    instructions says them as the user. Raises InvalidRequest for content that Gemini can never read.
    """
    writer = _HistoryWriter(names, call_ids, thoughts=conversation.format == "openai")
    for turn in pair_tool_calls(conversation.turns):
        writer.add(turn)
    contents = writer.finish()
    system = [
        part
        for item in conversation.system
        for piece in item.parts
        if not (isinstance(piece, Text) and piece.text.startswith(_ATTRIBUTION))
        for part in writer.parts_of(piece)
    ]
    if not system:
        return contents, None
    if not contents:
        return [{"role": "user", "parts": system}], None
    return contents, {"parts": system}


class _HistoryWriter:
    """Puts contents together, merging consecutive ones of one role."""

    def __init__(self, names: NameMap, call_ids: bool, *, thoughts: bool) -> None:
        self._names = names
        self._call_ids = call_ids
        self._thoughts = thoughts
        """Unsigned thoughts are worth replaying (Chat clients, whose format has no signatures)."""
        self._contents: list[Content] = []
        self._waiting: dict[tuple[str | None, str], list[str]] = {}
        """Upstream names of the calls that wait for their result, by call id and the client's name, in order."""

    def add(self, turn: Turn) -> None:
        """Append one turn."""
        if turn.role == "assistant":
            parts: list[Content] = []
            for piece in turn.parts:
                parts.extend(self._assistant_parts(piece))
            self._append("model", parts)
            return
        responses: list[Content] = []
        rest: list[Content] = []
        for piece in turn.parts:
            if isinstance(piece, ToolResult):
                responses.extend(self._response(piece))
            else:
                rest.extend(self.parts_of(piece))
        if responses:
            self._contents.append({"role": "user", "parts": responses})
        self._append("user", rest)

    def _append(self, role: str, parts: list[Content]) -> None:
        if not parts:
            return
        last = self._contents[-1] if self._contents else None
        if last is not None and last["role"] == role and not any("functionResponse" in part for part in last["parts"]):
            last["parts"].extend(parts)
        else:
            self._contents.append({"role": role, "parts": parts})

    def finish(self) -> list[Content]:
        """The contents, begun by the user, without calls nobody answered, signed where Gemini wants it."""
        contents = self._contents
        if contents and contents[-1]["role"] == "model":
            parts = [part for part in contents[-1]["parts"] if "functionCall" not in part]
            contents = [*contents[:-1], {"role": "model", "parts": parts}] if parts else contents[:-1]
        if contents and contents[0]["role"] == "model":
            contents = [{"role": "user", "parts": [{"text": " "}]}, *contents]
        for content in contents:
            sign_first_call(content["parts"])
        return contents

    # -- parts ---------------------------------------------------------------------------------------------

    def parts_of(self, piece: Part) -> list[Content]:
        """What a part of a user turn or an instruction becomes."""
        match piece:
            case Text(text=text):
                return [{"text": text}] if text else []
            case Image(source=source):
                return self._media(source, source.media_type or _sniffed(source) or "image/png", "an image")
            case Audio(source=source, format=audio_format):
                return self._media(source, source.media_type or audio_media_type(audio_format), "a sound clip")
            case Video(source=source, metadata=metadata):
                parts = self._media(source, source.media_type or "video/mp4", "a video")
                if isinstance(metadata, dict) and parts:
                    parts[0]["videoMetadata"] = metadata
                return parts
            case Document():
                return self._document(piece)
            case ServerTool(raw=raw, format=origin) | Opaque(raw=raw, format=origin):
                return [raw] if origin in FAMILY and isinstance(raw, dict) else []
        return []

    def _assistant_parts(self, piece: Part) -> list[Content]:
        match piece:
            case Text(text=text, signature=signature):
                signed = own_signature(signature)
                if signed is not None:
                    return [{"text": text, "thoughtSignature": signed}]
                return [{"text": text}] if text else []
            case Thinking(text=text, signature=signature):
                signed = own_signature(signature)
                if signed is not None:
                    return [{"text": text, "thought": True, "thoughtSignature": signed}]
                if signature is None and text.strip() and self._thoughts:
                    return [{"text": text, "thought": True}]
                return []
            case ToolCall():
                return [self._call(piece)]
        return self.parts_of(piece)

    def _call(self, call: ToolCall) -> Content:
        name = self._names.upstream_name(call.name, call.namespace)
        self._waiting.setdefault((call.call_id, call.name), []).append(name)
        function: Content = {"name": name, "args": _arguments(call)}
        if self._call_ids and call.call_id:
            function["id"] = call.call_id
        part: Content = {"functionCall": function}
        signed = own_signature(call.signature)
        if signed is not None:
            part["thoughtSignature"] = signed
        return part

    def _response(self, result: ToolResult) -> list[Content]:
        asked = self._waiting.get((result.call_id, result.name or ""))
        name = asked.pop(0) if asked else self._names.upstream_name(result.name or "unknown")
        texts: list[str] = []
        media: list[Content] = []
        for piece in result.content:
            for part in self.parts_of(piece):
                if set(part) == {"text"}:
                    texts.append(part["text"])
                else:
                    media.append(part)
        function: Content = {"name": name, "response": _response_object(result, "\n\n".join(texts))}
        if self._call_ids and result.call_id:
            function["id"] = result.call_id
        return [{"functionResponse": function}, *media]

    def _document(self, document: Document) -> list[Content]:
        source = document.source
        if source.text is not None:
            return [{"text": source.text}] if source.text else []
        if source.content is not None:
            return [part for piece in source.content for part in self.parts_of(piece)]
        media_type = source.media_type or media_type_of_filename(document.filename) or _sniffed(source)
        return self._media(source, media_type or "application/pdf", "a file")

    def _media(self, source: Source, media_type: str, what: str) -> list[Content]:
        if source.data is not None:
            return [{"inlineData": {"mimeType": media_type, "data": standard_base64(source.data)}}]
        uri = source.url or source.file_id or ""
        if not uri:
            return []
        if source.url is None and not uri.startswith(("files/", "gs://", "https://")):
            raise InvalidRequest(
                f"{what} is stored at another vendor, where Gemini cannot read it; send its data or a URL",
                param="file_id",
            )
        guessed = source.media_type or media_type_of_filename(uri.partition("?")[0]) or media_type
        return [{"fileData": {"mimeType": guessed, "fileUri": uri}}]


def own_signature(signature: str | None) -> str | None:
    """The signature when its shape is Gemini's own, else None."""
    return signature if signature and family_of(signature) == "gemini" else None


def sign_first_call(parts: list[Content]) -> None:
    """Put the sentinel on the first call of a turn when no signature is there."""
    for part in parts:
        if "functionCall" in part:
            part.setdefault("thoughtSignature", GEMINI_SKIP_VALIDATION)
            return


def _sniffed(source: Source) -> str | None:
    return sniff_media_type(source.data) if source.data else None


def _arguments(call: ToolCall) -> Content:
    if call.kind == "custom":
        return {"input": call.arguments}
    return arguments_or_text(call.arguments)


def _response_object(result: ToolResult, text: str) -> Content:
    """The ``response`` of a tool: an object, with JSON kept as JSON."""
    if result.is_error:
        return {"error": text or _dump(result.structured)}
    if result.structured is not None and not text:
        return result.structured if isinstance(result.structured, dict) else {"result": result.structured}
    return {"result": _parsed(text)}


def _parsed(text: str) -> Any:
    """A text that is a JSON object or array, as that; long numbers would lose digits, such a text stays text."""
    stripped = text.strip()
    if stripped[:1] not in ("{", "[") or _LONG_NUMBER.search(stripped):
        return text
    try:
        value = orjson.loads(stripped)
    except orjson.JSONDecodeError:
        return text
    return value if isinstance(value, (dict, list)) else text


def _dump(value: Any) -> str:
    if value is None:
        return "error"
    return value if isinstance(value, str) else orjson.dumps(value).decode()
