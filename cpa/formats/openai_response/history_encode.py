"""Write the dialogue as the ``input`` items of a Responses request."""

from __future__ import annotations

import orjson

from cpa.conversation.media import data_url
from cpa.conversation.names import NameMap, call_id, namespaced, shorten
from cpa.conversation.pairing import pair_tool_calls
from cpa.conversation.parts import (
    Audio,
    Document,
    Image,
    Opaque,
    Part,
    ServerTool,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from cpa.conversation.request import Conversation, SystemItem, Turn
from cpa.conversation.signatures import family_of
from cpa.formats.openai_response.fields import Object
from cpa.formats.openai_response.history_decode import FORMAT


def encode_input(conversation: Conversation, names: NameMap, *, instructions_apart: bool) -> list[Object]:
    """All items in order; instructions from the middle of the dialogue keep their place.

    ``instructions_apart``: items of origin ``instructions`` are written elsewhere.
    """
    return _Items(conversation, names, instructions_apart).write()


class _Items:
    """Collects items in order."""

    def __init__(self, conversation: Conversation, names: NameMap, instructions_apart: bool) -> None:
        self._names = names
        self._same = conversation.format == FORMAT
        self._items: list[Object] = []
        self._waiting = sorted(
            (item for item in conversation.system if not (instructions_apart and item.origin == "instructions")),
            key=lambda item: item.position,
        )
        self._turns = pair_tool_calls(
            conversation.turns,
            keep_orphan_results=bool(conversation.previous_response_id),
            first_result_wins=True,
        )
        self._custom = {
            part.call_id
            for turn in self._turns
            for part in turn.parts
            if isinstance(part, ToolCall) and part.kind == "custom"
        }

    def write(self) -> list[Object]:
        for index, turn in enumerate(self._turns):
            while self._waiting and self._waiting[0].position <= index and not self._inside_exchange():
                self._system(self._waiting.pop(0))
            if turn.role == "assistant":
                self._assistant(turn)
            else:
                self._user(turn)
        for item in self._waiting:
            self._system(item)
        return self._items

    def _inside_exchange(self) -> bool:
        """Whether a call still waits for its output."""
        return bool(self._items) and self._items[-1].get("type") in ("function_call", "custom_tool_call")

    def _system(self, item: SystemItem) -> None:
        content = [part for part in encode_content(item.parts, self._same) if part.get("text", "x").strip()]
        if content:
            self._items.append({"type": "message", "role": "developer", "content": content})

    def _user(self, turn: Turn) -> None:
        rest: list[Part] = []
        for part in turn.parts:
            if isinstance(part, ToolResult):
                self._output(part)
            elif isinstance(part, Opaque) and not _is_content(part):
                if part.format == FORMAT and isinstance(part.raw, dict):
                    self._items.append(part.raw)
            else:
                rest.append(part)
        content = encode_content(rest, self._same)
        if content or (not turn.parts and not self._items):
            self._items.append({"type": "message", "role": "user", "content": content})

    def _output(self, result: ToolResult) -> None:
        kind = "custom_tool_call_output" if result.call_id in self._custom else "function_call_output"
        item: Object = {"type": kind, "call_id": call_id(result.call_id or ""), "output": output_of(result)}
        self._items.append(item)

    def _assistant(self, turn: Turn) -> None:
        """Messages, calls and reasoning in their order; a message ends where another item begins."""
        content: list[Object] = []
        for part in turn.parts:
            match part:
                case Text(text=text, refusal=refused):
                    if text:
                        content.append(
                            {"type": "refusal", "refusal": text}
                            if refused
                            else {"type": "output_text", "text": text, "annotations": []}
                        )
                    continue
                case ToolCall():
                    item = self._call(part)
                case Thinking():
                    found = self._reasoning(part)
                    if found is None:
                        continue
                    item = found
                case ServerTool(raw=raw, format=source) | Opaque(raw=raw, format=source):
                    if (
                        source != FORMAT
                        or not isinstance(raw, dict)
                        or (isinstance(part, Opaque) and _is_content(part))
                    ):
                        continue
                    item = raw
                case _:
                    continue
            self._flush(turn, content)
            content = []
            self._items.append(item)
        self._flush(turn, content)

    def _flush(self, turn: Turn, content: list[Object]) -> None:
        if not content:
            return
        message: Object = {"type": "message", "role": "assistant", "content": content}
        if self._same and turn.phase:
            message["phase"] = turn.phase
        if self._same and turn.id and turn.id.startswith("msg_") and len(turn.id) <= 64:
            message["id"] = turn.id
        self._items.append(message)

    def _call(self, call: ToolCall) -> Object:
        declared = self._names.to_upstream.get((call.namespace, call.name))
        item: Object = {"type": "function_call", "call_id": call_id(call.call_id or "")}
        if self._same:
            item["name"] = call.name
            if call.namespace:
                item["namespace"] = call.namespace
        else:
            item["name"] = declared or shorten(namespaced(call.namespace, call.name))
        if call.kind == "custom":
            return {**item, "type": "custom_tool_call", "input": call.arguments}
        item["arguments"] = call.arguments or "{}"
        return item

    def _reasoning(self, part: Thinking) -> Object | None:
        """Only what this vendor made itself is taken back; the rest it could not verify."""
        if family_of(part.signature) != "gpt":
            return None
        summary = part.summary or ([part.text] if self._same and part.text else [])
        item: Object = {"type": "reasoning", "summary": [{"type": "summary_text", "text": text} for text in summary]}
        if self._same and part.item_id and part.item_id.startswith("rs_") and len(part.item_id) <= 64:
            item["id"] = part.item_id
        return {**item, "encrypted_content": part.signature}


def _is_content(part: Opaque) -> bool:
    """Whether the raw value is a part of a message, not an item."""
    return part.type.startswith("input_")


def encode_content(parts: list[Part], same: bool) -> list[Object]:
    """Content parts of a user or developer message. What has no place in Responses is left out."""
    encoded = []
    for part in parts:
        raw = _encode_part(part, same)
        if raw is not None:
            encoded.append(raw)
    return encoded


def _encode_part(part: Part, same: bool) -> Object | None:
    match part:
        case Text(text=text):
            return {"type": "input_text", "text": text} if text else None
        case Image(source=source, detail=detail):
            if source.file_id is not None:
                image: Object = {"type": "input_image", "file_id": source.file_id} if same else {}
            else:
                url = data_url(source, "image/png")
                image = {"type": "input_image", "image_url": url} if url else {}
            if image and detail:
                image["detail"] = detail
            return image or None
        case Document():
            return _encode_document(part, same)
        case Audio(source=source, format=name):
            if source.data is None:
                return None
            shown = name or (source.media_type or "audio/wav").rpartition("/")[2].replace("mpeg", "mp3")
            return {"type": "input_audio", "input_audio": {"data": source.data, "format": shown}}
        case Opaque(format=source_format, raw=raw) if same and source_format == FORMAT and _is_content(part):
            return raw if isinstance(raw, dict) else None
    return None


def _encode_document(part: Document, same: bool) -> Object | None:
    source = part.source
    if source.text is not None:
        return {"type": "input_text", "text": source.text} if source.text else None
    if source.content is not None:
        texts = [inner.text for inner in source.content if isinstance(inner, Text)]
        return {"type": "input_text", "text": "\n\n".join(texts)} if texts else None
    filename = part.filename or part.title
    if source.data is not None:
        return {
            "type": "input_file",
            "filename": filename or "document.pdf",
            "file_data": data_url(source, "application/pdf"),
        }
    file: Object = {"type": "input_file"}
    if source.url is not None:
        file["file_url"] = source.url
    elif source.file_id is not None and same:
        file["file_id"] = source.file_id
    else:
        return None
    return file


def output_of(result: ToolResult) -> str | list[Object]:
    """A tool's output: text, or parts when there is more than text in it."""
    if result.structured is not None and not result.content:
        text = orjson.dumps(result.structured).decode()
        return f"Error: {text}" if result.is_error else text
    parts: list[Object] = []
    for part in result.content:
        encoded = _encode_part(part, True)
        if encoded is not None:
            parts.append(encoded)
        elif isinstance(part, Opaque):
            parts.append({"type": "input_text", "text": orjson.dumps(part.raw).decode()})
    if len(parts) > 1 or any(part["type"] != "input_text" for part in parts):
        if result.is_error:
            parts.insert(0, {"type": "input_text", "text": "Error: "})
        return parts
    text = str(parts[0]["text"]) if parts else ""
    return f"Error: {text}" if result.is_error and not text.startswith("Error") else text
