"""Read the ``input`` of a Responses request as turns.

https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Literal

from cpa.conversation.media import (
    audio_media_type,
    media_type_of_filename,
    sniff_media_type,
    source_from_url,
    standard_base64,
)
from cpa.conversation.parts import (
    Audio,
    Document,
    Image,
    Json,
    Opaque,
    Part,
    ServerTool,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from cpa.conversation.request import SystemItem, Turn
from cpa.errors import InvalidRequest
from cpa.formats import members
from cpa.formats.openai_response.fields import Object, json_text, objects, text

FORMAT = "openai-response"

REDACTED_PREFIX = "claude-redacted-thinking:"
"""Marks an ``encrypted_content`` that carries Claude's redacted thinking through a Responses client."""
CARRIER_PREFIX = "cpa-gemini-responses-carrier-v1:"
"""Marks an ``encrypted_content`` that carries the Gemini signature of a neighbouring item."""

_SERVER_CALLS = frozenset(
    ["web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "mcp_call"]
)
_TEXTS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})


class History:
    """What ``input`` holds: the dialogue, instructions inside it, and tools brought along."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.system: list[SystemItem] = []
        self.tools: list[Json] = []
        self._carried: str | None = None
        """A Gemini signature that waits for the next item."""

    def read(self, value: Any) -> History:
        """Read ``input``. Raises InvalidRequest."""
        if isinstance(value, str):
            value = [{"role": "user", "content": value}]
        if value is None:
            value = []
        if isinstance(value, dict):
            value = [value]
        if not isinstance(value, list):
            raise InvalidRequest("input must be a string or a list", param="input")
        for index, item in enumerate(value):
            if item is None:
                continue
            param = f"input[{index}]"
            if isinstance(item, str):
                item = {"role": "user", "content": item}
            if not isinstance(item, dict):
                raise InvalidRequest(f"{param} must be an object", param=param)
            self._item(item, param)
        return self

    def _item(self, item: Object, param: str) -> None:
        kind = item.get("type", "message" if "role" in item or "content" in item else None)
        match kind:
            case "message":
                self._message(item, param)
            case "reasoning":
                self._reasoning(item)
            case "function_call" | "custom_tool_call":
                self._call(item, kind, param)
            case "function_call_output" | "custom_tool_call_output":
                self._output(item, kind, param)
            case "additional_tools":
                tools = item.get("tools")
                self.tools += tools if isinstance(tools, list) else []
            case _:
                self._other(item, kind, param)

    def _message(self, item: Object, param: str) -> None:
        role = item.get("role", "user")
        parts = decode_content(item.get("content"), f"{param}.content")
        if role in ("system", "developer"):
            origin: Literal["system", "developer"] = "developer" if role == "developer" else "system"
            if parts:
                self.system.append(SystemItem(parts, origin, position=len(self.turns)))
        elif role == "assistant":
            turn = self._assistant(message=True)
            turn.id, turn.phase = text(item, "id"), text(item, "phase")
            if parts and isinstance(parts[0], Text) and self._carried:
                parts[0].signature, self._carried = self._carried, None
            turn.parts += parts
        else:
            self.turns.append(Turn("user", parts, id=text(item, "id")))

    def _assistant(self, *, message: bool = False) -> Turn:
        """The assistant turn an item belongs to. A turn holds one message at most, so that its id stays its own."""
        last = self.turns[-1] if self.turns else None
        if last is not None and last.role == "assistant":
            has_message = any(isinstance(part, Text | Image | Document) for part in last.parts)
            if not (message and (has_message or last.id)):
                return last
        turn = Turn("assistant", [])
        self.turns.append(turn)
        return turn

    def _reasoning(self, item: Object) -> None:
        proof = text(item, "encrypted_content")
        if proof is not None and proof.startswith(CARRIER_PREFIX):
            self._carrier(proof)
            return
        summary = [part["text"] for part in objects(item.get("summary")) if isinstance(part.get("text"), str)]
        content = [part["text"] for part in objects(item.get("content")) if isinstance(part.get("text"), str)]
        thinking = Thinking("\n\n".join(summary or content), summary=summary or None, item_id=text(item, "id"))
        if proof is not None and proof.startswith(REDACTED_PREFIX):
            thinking.redacted_data = proof.removeprefix(REDACTED_PREFIX)
        else:
            thinking.signature = proof
        self._assistant().parts.append(thinking)

    def _carrier(self, proof: str) -> None:
        """Give a carried Gemini signature back to the part it came from; a malformed one is ignored."""
        direction, _, rest = proof.removeprefix(CARRIER_PREFIX).partition(":")
        _, _, packed = rest.partition(":")
        try:
            signature = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True).decode()
        except (binascii.Error, ValueError):
            return
        if direction == "next":
            self._carried = signature
        elif direction == "previous" and self.turns and self.turns[-1].role == "assistant":
            for part in reversed(self.turns[-1].parts):
                if isinstance(part, ToolCall | Text):
                    part.signature = signature
                    return

    def _call(self, item: Object, kind: str, param: str) -> None:
        custom = kind == "custom_tool_call"
        arguments = item.get("input") if custom else item.get("arguments")
        signature, self._carried = self._carried, None
        call = ToolCall(
            members.name(item.get("name"), f"{param}.name"),
            ("" if arguments is None else json_text(arguments)) if custom else json_text(arguments),
            text(item, "call_id") or text(item, "id"),
            kind="custom" if custom else "function",
            namespace=text(item, "namespace"),
            item_id=text(item, "id"),
            signature=signature,
        )
        self._assistant().parts.append(call)

    def _output(self, item: Object, kind: str, param: str) -> None:
        output = item.get("output")
        result = ToolResult(
            text(item, "call_id"),
            text(item, "name"),
            kind="custom" if kind == "custom_tool_call_output" else "function",
            item_id=text(item, "id"),
        )
        if isinstance(output, str):
            result.content = [Text(output)] if output else []
        elif isinstance(output, list) and all(isinstance(part, dict) and "type" in part for part in output):
            result.content = [
                Text(json_text(part.raw)) if isinstance(part, Opaque) else part
                for part in decode_content(output, f"{param}.output")
            ]
        elif output is not None:
            result.structured = output
            result.content = [Text(json_text(output))]
        self._user_parts(result)

    def _user_parts(self, part: Part) -> None:
        """Results in a row belong to one turn."""
        last = self.turns[-1] if self.turns else None
        if last is not None and last.role == "user" and all(isinstance(known, ToolResult) for known in last.parts):
            last.parts.append(part)
        else:
            self.turns.append(Turn("user", [part]))

    def _other(self, item: Object, kind: Any, param: str) -> None:
        name = members.name(kind, f"{param}.type")
        if name in _SERVER_CALLS:
            self._assistant().parts.append(ServerTool(name, item, FORMAT))
        elif name.endswith("_call"):
            self._assistant().parts.append(Opaque(name, item, FORMAT))
        else:
            self.turns.append(Turn("user", [Opaque(name, item, FORMAT)]))


def decode_content(content: Any, param: str) -> list[Part]:
    """Parts of a message or of a tool's output. Raises InvalidRequest."""
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(content)] if content else []
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        raise InvalidRequest(f"{param} must be a string or a list", param=param)
    return [_part(part, f"{param}[{index}]") for index, part in enumerate(content) if part is not None]


def _part(raw: Any, param: str) -> Part:
    if isinstance(raw, str):
        return Text(raw)
    if not isinstance(raw, dict):
        raise InvalidRequest(f"{param} must be an object", param=param)
    kind = raw.get("type", "input_text" if "text" in raw else None)
    if isinstance(kind, str) and kind in _TEXTS:
        return Text(members.a_string(raw.get("text"), f"{param}.text") or "", cache_control=raw.get("cache_control"))
    match kind:
        case "refusal":
            refused = raw.get("refusal", raw.get("text"))
            return Text(members.a_string(refused, f"{param}.refusal") or "", refusal=True)
        case "input_image" | "image_url":
            return _image(raw, param)
        case "input_file" | "file":
            return _file(raw, param)
        case "input_audio":
            return _audio(raw, f"{param}.input_audio")
    return Opaque(members.name(kind, f"{param}.type"), raw, FORMAT)


def _image(raw: Object, param: str) -> Part:
    value, detail = raw.get("image_url"), raw.get("detail")
    if isinstance(value, dict):
        detail, value = value.get("detail", detail), value.get("url")
    shown = detail if isinstance(detail, str) else None
    if not value and isinstance(raw.get("file_id"), str):
        return Image(Source(file_id=raw["file_id"]), detail=shown)
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"{param}.image_url is required", param=f"{param}.image_url")
    source = source_from_url(value)
    if source.data is not None and not source.media_type:
        source.media_type = "image/png"
    return Image(source, detail=shown)


def _file(raw: Object, param: str) -> Part:
    inner = raw.get("file")
    holder = inner if isinstance(inner, dict) else raw
    filename = text(holder, "filename")
    if data := text(holder, "file_data"):
        source = source_from_url(data) if data[:5].lower() == "data:" else Source(data=standard_base64(data))
        source.media_type = source.media_type or media_type_of_filename(filename) or sniff_media_type(source.data or "")
        return Document(source, filename=filename)
    if url := text(holder, "file_url"):
        return Document(Source(url=url), filename=filename)
    if file_id := text(holder, "file_id"):
        return Document(Source(file_id=file_id), filename=filename)
    raise InvalidRequest(f"{param} has neither file_data nor file_url nor file_id", param=param)


def _audio(raw: Object, param: str) -> Part:
    inner = members.an_object(raw.get("input_audio"), param)
    value = raw if inner is None else inner
    data = members.name(value.get("data"), f"{param}.data")
    name = text(value, "format")
    return Audio(Source(data=standard_base64(data), media_type=audio_media_type(name)), format=name)
