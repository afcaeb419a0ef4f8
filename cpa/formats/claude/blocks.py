"""Content blocks of Messages requests, both ways."""

from __future__ import annotations

from typing import Any

import orjson

from cpa.conversation.arguments import arguments_or_text
from cpa.conversation.media import media_type_of_filename, sniff_media_type, standard_base64
from cpa.conversation.names import NameMap, namespaced
from cpa.conversation.names import call_id as clean_id
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
from cpa.conversation.signatures import family_of
from cpa.errors import InvalidRequest
from cpa.formats import members
from cpa.formats.claude.fields import Object, text_of

_SERVER_BLOCKS = ("server_tool_use", "mcp_tool_use", "mcp_tool_result")
_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


def decode_blocks(content: Any, param: str) -> list[Part]:
    """Parts of a ``content``: string or list of blocks. Raises InvalidRequest."""
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(content)] if content else []
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        raise InvalidRequest(f"{param} must be a string or a list of blocks", param=param)
    parts: list[Part] = []
    for index, raw in enumerate(content):
        if isinstance(raw, str):
            parts.append(Text(raw))
        elif isinstance(raw, dict):
            parts.append(_decode_block(raw, f"{param}.{index}"))
        elif raw is not None:
            raise InvalidRequest(f"{param}.{index} must be an object", param=f"{param}.{index}")
    return parts


def _decode_block(raw: Object, param: str) -> Part:
    kind = raw.get("type", "text" if "text" in raw else None)
    cache = raw.get("cache_control")
    match kind:
        case "text":
            citations = raw.get("citations") if isinstance(raw.get("citations"), list) else None
            return Text(_text(raw.get("text"), f"{param}.text"), citations=citations, cache_control=cache)
        case "image":
            return Image(decode_source(raw, param), cache_control=cache)
        case "document":
            return Document(
                decode_source(raw, param),
                title=text_of(raw.get("title")),
                context=text_of(raw.get("context")),
                citations=raw.get("citations"),
                cache_control=cache,
            )
        case "thinking":
            thought = members.a_string(raw.get("thinking"), f"{param}.thinking") or ""
            return Thinking(thought, signature=text_of(raw.get("signature")))
        case "redacted_thinking":
            return Thinking(redacted_data=members.a_string(raw.get("data"), f"{param}.data") or "")
        case "tool_use":
            arguments = raw.get("input")
            text = "{}" if arguments is None else orjson.dumps(arguments).decode()
            return ToolCall(
                members.name(raw.get("name"), f"{param}.name"), text, text_of(raw.get("id")), cache_control=cache
            )
        case "tool_result":
            return ToolResult(
                text_of(raw.get("tool_use_id")),
                None,
                decode_blocks(raw.get("content"), f"{param}.content"),
                is_error=raw.get("is_error") is True,
                cache_control=cache,
            )
        case str() if kind in _SERVER_BLOCKS or kind.endswith("_tool_result"):
            return ServerTool(kind, raw, "claude")
    return Opaque(members.name(kind, f"{param}.type"), raw, "claude")


def _text(value: Any, param: str) -> str:
    """A text; numbers are written out."""
    if isinstance(value, int | float):
        return orjson.dumps(value).decode()
    return members.a_string(value, param) or ""


def decode_source(block: Object, param: str) -> Source:
    """A block's ``source``; compatible clients also write ``base64`` and ``mime_type``."""
    raw = members.an_object(block.get("source"), f"{param}.source") or {}
    data = raw.get("data", raw.get("base64"))
    media_type = text_of(raw.get("media_type")) or text_of(raw.get("mime_type"))
    match raw.get("type"):
        case "url":
            return Source(url=members.name(raw.get("url"), f"{param}.source.url"), media_type=media_type)
        case "file":
            return Source(file_id=members.name(raw.get("file_id"), f"{param}.source.file_id"))
        case "text":
            return Source(text=_text(data, f"{param}.source.data"), media_type=media_type or "text/plain")
        case "content":
            return Source(content=decode_blocks(raw.get("content"), f"{param}.source.content"))
    if isinstance(data, str):
        clean = standard_base64(data)
        return Source(data=clean, media_type=media_type or sniff_media_type(clean))
    if data is not None:
        raise InvalidRequest(f"{param}.source.data must be a string", param=f"{param}.source.data")
    return Source(url=members.name(raw.get("url") or block.get("url"), f"{param}.source"))


def encode_blocks(parts: list[Part], names: NameMap) -> list[Object]:
    """Blocks of one message. Empty texts, foreign thinking and what Messages cannot say are left out."""
    encoded = []
    for part in parts:
        block = encode_block(part, names)
        if block is not None:
            encoded.append(block)
    return encoded


def encode_block(part: Part, names: NameMap) -> Object | None:
    """One block, None for what has no place."""
    match part:
        case Text(text=text, cache_control=cache):
            return _cached({"type": "text", "text": text}, cache) if text else None
        case Image(source=source, cache_control=cache):
            encoded = _source(source, "image/png")
            return _cached({"type": "image", "source": encoded}, cache) if encoded else None
        case Document():
            return _document(part)
        case Thinking():
            return _thinking(part)
        case ToolCall():
            return _tool_use(part, names)
        case ToolResult():
            return _tool_result(part, names)
        case ServerTool(format="claude", raw=raw) | Opaque(format="claude", raw=raw):
            return raw if isinstance(raw, dict) else None
        case Audio() | Video():
            return None
    return None


def _cached(block: Object, cache: Any) -> Object:
    return {**block, "cache_control": cache} if cache is not None else block


def _source(source: Source, default_type: str) -> Object | None:
    if source.data is not None:
        media_type = source.media_type or sniff_media_type(source.data) or default_type
        return {"type": "base64", "media_type": media_type, "data": source.data}
    if source.url:
        return {"type": "url", "url": source.url}
    if source.file_id:
        return {"type": "file", "file_id": source.file_id}
    return None


def _document(part: Document) -> Object | None:
    source = part.source
    encoded: Object | None
    if source.text is not None:
        encoded = {"type": "text", "media_type": "text/plain", "data": source.text}
    elif source.content is not None:
        encoded = {"type": "content", "content": encode_blocks(source.content, NameMap())}
    else:
        encoded = _source(source, media_type_of_filename(part.filename) or "application/pdf")
    if encoded is None:
        return None
    media_type = encoded.get("media_type")
    if encoded["type"] == "base64" and media_type in _IMAGES:
        return _cached({"type": "image", "source": encoded}, part.cache_control)
    if encoded["type"] == "base64" and str(media_type).startswith("text/"):
        text = _decoded_text(encoded["data"])
        if text is not None:
            encoded = {"type": "text", "media_type": "text/plain", "data": text}
    block: Object = {"type": "document", "source": encoded}
    for name, value in (
        ("title", part.title or part.filename),
        ("context", part.context),
        ("citations", part.citations),
    ):
        if value is not None:
            block[name] = value
    return _cached(block, part.cache_control)


def _decoded_text(data: str) -> str | None:
    import base64

    try:
        return base64.b64decode(data).decode("utf-8")
    except ValueError:
        return None


def _thinking(part: Thinking) -> Object | None:
    """Only what Claude itself signed may come back to it."""
    if part.redacted_data is not None:
        return {"type": "redacted_thinking", "data": part.redacted_data}
    if family_of(part.signature) != "claude":
        return None
    return {"type": "thinking", "thinking": part.text, "signature": part.signature}


def _tool_use(part: ToolCall, names: NameMap) -> Object:
    name = names.to_upstream.get((part.namespace, part.name)) or namespaced(part.namespace, part.name)
    arguments = {"input": part.arguments} if part.kind == "custom" else arguments_or_text(part.arguments)
    block = {"type": "tool_use", "id": clean_id(part.call_id or ""), "name": name, "input": arguments}
    return _cached(block, part.cache_control)


def _tool_result(part: ToolResult, names: NameMap) -> Object:
    block: Object = {"type": "tool_result", "tool_use_id": clean_id(part.call_id or "")}
    if part.structured is not None and not part.content:
        value = part.structured
        if isinstance(value, dict) and set(value) == {"result"} and isinstance(value["result"], str):
            block["content"] = value["result"]
        else:
            block["content"] = value if isinstance(value, str) else orjson.dumps(value).decode()
    else:
        blocks = encode_blocks(part.content, names)
        if not blocks:
            block["content"] = ""
        elif len(blocks) == 1 and set(blocks[0]) == {"type", "text"}:
            block["content"] = blocks[0]["text"]
        else:
            block["content"] = blocks
    if part.is_error:
        block["is_error"] = True
    return _cached(block, part.cache_control)
