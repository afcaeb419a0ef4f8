"""Content parts of Chat Completions messages, both ways."""

from __future__ import annotations

from typing import Any

import orjson

from cpa.conversation.media import (
    audio_format_of,
    audio_media_type,
    data_url,
    media_type_of_filename,
    sniff_media_type,
    source_from_url,
    standard_base64,
)
from cpa.conversation.parts import Audio, Document, Image, Opaque, Part, Source, Text, ToolResult, Video
from cpa.errors import InvalidRequest
from cpa.formats import members

Object = dict[str, Any]


def decode_content(content: Any, param: str) -> list[Part]:
    """Parts of a message's ``content``: string, null, number or list of parts. Raises InvalidRequest."""
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(content)] if content else []
    if isinstance(content, bool | int | float):
        return [Text(orjson.dumps(content).decode())]
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        raise InvalidRequest(f"{param} must be a string or a list of parts", param=param)
    parts: list[Part] = []
    for index, raw in enumerate(content):
        if isinstance(raw, str):
            parts.append(Text(raw))
        elif isinstance(raw, dict):
            parts.append(_decode_part(raw, f"{param}[{index}]"))
        elif raw is not None:
            raise InvalidRequest(f"{param}[{index}] must be an object", param=f"{param}[{index}]")
    return parts


def _decode_part(raw: Object, param: str) -> Part:
    kind = raw.get("type")
    cache_control = raw.get("cache_control")
    if kind is None and "text" in raw:
        kind = "text"
    match kind:
        case "text" | "input_text" | "output_text":
            return Text(_text(raw.get("text"), f"{param}.text"), cache_control=cache_control)
        case "refusal":
            return Text(_text(raw.get("refusal"), f"{param}.refusal"), refusal=True)
        case "image_url" | "input_image":
            return _image(raw, param, cache_control)
        case "input_audio":
            return _audio(raw, f"{param}.input_audio")
        case "file" | "input_file":
            file = raw.get("file") if isinstance(raw.get("file"), dict) else raw
            return _file(file, f"{param}.file", cache_control)
        case "video_url":
            value = raw.get("video_url")
            url = value.get("url") if isinstance(value, dict) else value
            return Video(source_from_url(members.name(url, f"{param}.video_url.url")))
    return Opaque(members.name(kind, f"{param}.type"), raw, "openai")


def _text(value: Any, param: str) -> str:
    """A text; numbers are written out."""
    if isinstance(value, int | float):
        return orjson.dumps(value).decode()
    return members.a_string(value, param) or ""


def _image(raw: Object, param: str, cache_control: Any) -> Part:
    value = raw.get("image_url", raw.get("url"))
    detail = raw.get("detail")
    if isinstance(value, dict):
        detail = value.get("detail", detail)
        value = value.get("url")
    if isinstance(raw.get("file_id"), str) and value is None:
        return Image(Source(file_id=raw["file_id"]), detail=detail, cache_control=cache_control)
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"{param}.image_url.url is required", param=f"{param}.image_url.url")
    source = source_from_url(value)
    if source.data is not None and not source.media_type:
        source.media_type = sniff_media_type(source.data) or "image/png"
    return Image(source, detail=detail if isinstance(detail, str) else None, cache_control=cache_control)


def _audio(raw: Object, param: str) -> Part:
    value = members.an_object(raw.get("input_audio"), param) or {}
    data = members.name(value.get("data"), f"{param}.data")
    name = value.get("format") if isinstance(value.get("format"), str) else None
    return Audio(Source(data=standard_base64(data), media_type=audio_media_type(name)), format=name)


def _file(value: Any, param: str, cache_control: Any) -> Part:
    filename = value.get("filename") if isinstance(value.get("filename"), str) else None
    data = value.get("file_data")
    if isinstance(data, str) and data:
        source = source_from_url(data) if data[:5].lower() == "data:" else Source(data=standard_base64(data))
        source.media_type = source.media_type or media_type_of_filename(filename) or sniff_media_type(source.data or "")
        return Document(source, filename=filename, cache_control=cache_control)
    if isinstance(value.get("file_url"), str):
        return Document(Source(url=value["file_url"]), filename=filename, cache_control=cache_control)
    if isinstance(value.get("file_id"), str):
        return Document(Source(file_id=value["file_id"]), filename=filename, cache_control=cache_control)
    raise InvalidRequest(f"{param} has neither file_data nor file_url nor file_id", param=param)


def encode_parts(parts: list[Part]) -> list[Object]:
    """Content parts for a user message. What Chat Completions cannot say is left out."""
    encoded = []
    for part in parts:
        raw = _encode_part(part)
        if raw is not None:
            encoded.append(raw)
    return encoded


def _encode_part(part: Part) -> Object | None:
    match part:
        case Text(text=text):
            return {"type": "text", "text": text} if text else None
        case Image(source=source, detail=detail):
            url = data_url(source, "image/png")
            if not url:
                return None
            image: Object = {"url": url}
            if detail:
                image["detail"] = "high" if detail == "original" else detail
            return {"type": "image_url", "image_url": image}
        case Document():
            return _encode_document(part)
        case Audio(source=source, format=name):
            if source.data is None:
                return None
            return {
                "type": "input_audio",
                "input_audio": {"data": source.data, "format": name or audio_format_of(source.media_type)},
            }
        case Video(source=source):
            url = data_url(source, "video/mp4")
            return {"type": "video_url", "video_url": {"url": url}} if url else None
        case Opaque(format="openai", raw=raw):
            return raw if isinstance(raw, dict) else None
    return None


def _encode_document(part: Document) -> Object | None:
    source = part.source
    if source.text is not None:
        return {"type": "text", "text": source.text} if source.text else None
    if source.content is not None:
        texts = [inner.text for inner in source.content if isinstance(inner, Text)]
        return {"type": "text", "text": "\n\n".join(texts)} if texts else None
    file: Object = {}
    filename = part.filename or part.title
    if source.data is not None:
        file["filename"] = filename or "document.pdf"
        file["file_data"] = data_url(source, "application/pdf")
    elif source.file_id is not None:
        file["file_id"] = source.file_id
    elif source.url is not None:
        return {"type": "text", "text": source.url}
    return {"type": "file", "file": file} if file else None


def plain_or_parts(parts: list[Object]) -> str | list[Object]:
    """One text alone as a string, everything else as parts."""
    if all(part.get("type") == "text" for part in parts) and len(parts) <= 1:
        return str(parts[0]["text"]) if parts else ""
    return parts


def tool_result_content(result: ToolResult) -> str | list[Object]:
    """The ``content`` of a tool message: text, or parts when there is an image among it."""
    if result.structured is not None and not result.content:
        text = orjson.dumps(result.structured).decode()
        return f"Error: {text}" if result.is_error else text
    parts = encode_parts(result.content)
    if all(part["type"] == "text" for part in parts):
        text = "\n\n".join(str(part["text"]) for part in parts)
        return f"Error: {text}" if result.is_error and not text.startswith("Error") else text
    return parts
