"""Read Gemini ``Part`` objects of a request into canonical parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import orjson

from cpa.conversation.media import (
    audio_format_of,
    media_type_of_filename,
    sniff_media_type,
    standard_base64,
)
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
from cpa.errors import InvalidRequest
from cpa.formats.gemini import fields
from cpa.formats.gemini.fields import Object, get

_META = frozenset({"thought", "thoughtSignature", "thought_signature", "videoMetadata", "video_metadata"})
_RESPONSE_TEXT = ("result", "output", "content")
"""Members under which clients put a plain text answer of a tool: Google's samples, Gemini CLI, older SDKs."""


def decode_parts(raw: list[Any], param: str) -> list[Part]:
    """Canonical parts, in order. Null holes are skipped. Raises InvalidRequest."""
    parts: list[Part] = []
    for index, part in enumerate(raw):
        if part is None:
            continue
        if isinstance(part, str):
            parts.append(Text(part))
            continue
        if not isinstance(part, dict):
            raise InvalidRequest(f"{param}[{index}] must be an object", param=f"{param}[{index}]")
        decoded = _decode_part(part, f"{param}[{index}]")
        if decoded is not None:
            parts.append(decoded)
    return parts


def signature_of(part: Object) -> str | None:
    """The thought signature of a part, wherever clients put it."""
    value = get(part, "thoughtSignature")
    if value is None:
        for name in ("functionCall", "functionResponse"):
            inner = get(part, name)
            if isinstance(inner, dict):
                value = get(inner, "thoughtSignature")
                if value is not None:
                    break
    return value if isinstance(value, str) and value else None


def _decode_part(part: Object, param: str) -> Part | None:
    text = part.get("text")
    if text is not None:
        if not isinstance(text, str):
            text = orjson.dumps(text).decode() if isinstance(text, (int, float)) else _not_text(param)
        if part.get("thought") is True:
            return Thinking(text, signature=signature_of(part))
        return Text(text, signature=signature_of(part))
    for name, decode in _KINDS.items():
        value = get(part, name)
        if value is not None:
            return decode(fields.an_object(value, f"{param}.{name}"), part, f"{param}.{name}")
    if part.get("thought") is True:
        signature = signature_of(part)
        return Thinking(signature=signature) if signature else None
    unknown = [key for key in part if key not in _META]
    if unknown:
        return Opaque(unknown[0], part, "gemini")
    signature = signature_of(part)
    return Text("", signature=signature) if signature else None


def _not_text(param: str) -> str:
    raise InvalidRequest(f"{param}.text must be a string", param=f"{param}.text")


def _inline(value: Object, part: Object, param: str) -> Part:
    data = value.get("data")
    if not isinstance(data, str):
        raise InvalidRequest(f"{param}.data must be base64 text", param=f"{param}.data")
    data = standard_base64(data)
    media_type = fields.a_string(get(value, "mimeType"), f"{param}.mimeType") or sniff_media_type(data)
    return _media(Source(data=data, media_type=media_type), value, part)


def _file(value: Object, part: Object, param: str) -> Part:
    uri = fields.a_string(get(value, "fileUri"), f"{param}.fileUri")
    if not uri:
        raise InvalidRequest(f"{param}.fileUri is missing", param=f"{param}.fileUri")
    media_type = fields.a_string(get(value, "mimeType"), f"{param}.mimeType")
    return _media(Source(url=uri, media_type=media_type or _type_by_path(uri)), value, part)


def _type_by_path(uri: str) -> str | None:
    try:
        return media_type_of_filename(urlsplit(uri).path)
    except ValueError:
        return None


def _media(source: Source, value: Object, part: Object) -> Part:
    kind = (source.media_type or "").partition("/")[0]
    if kind == "image":
        return Image(source)
    if kind == "audio":
        return Audio(source, format=audio_format_of(source.media_type))
    if kind == "video":
        return Video(source, metadata=get(part, "videoMetadata"))
    name = get(value, "displayName")
    return Document(source, filename=name if isinstance(name, str) else None)


def _call(value: Object, part: Object, param: str) -> Part:
    name = fields.a_string(value.get("name"), f"{param}.name")
    if not name:
        raise InvalidRequest(f"{param}.name is missing", param=f"{param}.name")
    arguments = value.get("args")
    return ToolCall(
        name,
        arguments="{}" if arguments is None else orjson.dumps(arguments).decode(),
        call_id=_call_id(value),
        signature=signature_of(part),
    )


def _call_id(value: Object) -> str | None:
    for key in ("id", "call_id", "callId"):
        found = value.get(key)
        if isinstance(found, str) and found:
            return found
    return None


def _response(value: Object, part: Object, param: str) -> Part:
    result = ToolResult(
        call_id=_call_id(value),
        name=fields.a_string(value.get("name"), f"{param}.name") or None,
        extras={key: value[key] for key in ("scheduling", "willContinue", "will_continue") if key in value} or None,
    )
    _read_response(value.get("response"), result)
    media = decode_parts(fields.a_list(value.get("parts"), f"{param}.parts"), f"{param}.parts")
    if media:
        head: list[Part] = list(result.content)
        if result.structured is not None:
            head.append(Text(orjson.dumps(result.structured).decode()))
            result.structured = None
        result.content = head + media
    else:
        result.content = list(result.content)
    return result


def _read_response(response: Any, result: ToolResult) -> None:
    """What the tool answered: plain text where the object only wraps a text, else the JSON value."""
    if response is None or response == {}:
        return
    if isinstance(response, str):
        result.content = [Text(response)]
        return
    if isinstance(response, dict) and len(response) == 1:
        key, value = next(iter(response.items()))
        if key == "error":
            result.is_error = True
            result.content = [Text(value if isinstance(value, str) else orjson.dumps(value).decode())]
            return
        if key in _RESPONSE_TEXT and isinstance(value, str):
            result.content = [Text(value)] if value else []
            return
        if key == "result" and value is not None:
            response = value
    result.structured = response


def _server_tool(kind: str) -> Callable[[Object, Object, str], Part]:
    def decode(value: Object, part: Object, param: str) -> Part:
        return ServerTool(kind, part, "gemini")

    return decode


_KINDS: dict[str, Callable[[Object, Object, str], Part]] = {
    "inlineData": _inline,
    "fileData": _file,
    "functionCall": _call,
    "functionResponse": _response,
    "executableCode": _server_tool("executableCode"),
    "codeExecutionResult": _server_tool("codeExecutionResult"),
}
