"""Finished blocks of an answer as Messages content blocks."""

from __future__ import annotations

from typing import Any

import orjson

from cpa.conversation import events as ev
from cpa.conversation.arguments import arguments_object, arguments_or_text
from cpa.conversation.names import call_id as clean_id
from cpa.conversation.reply import Block
from cpa.formats.claude.fields import Object
from cpa.formats.codec import NewId
from cpa.formats.openai.shown import client_name


def citation_block(citation: ev.Citation) -> Object:
    """One citation."""
    if citation.format == "claude" and isinstance(citation.raw, dict):
        return citation.raw
    return {
        "type": "web_search_result_location",
        "cited_text": citation.cited_text or "",
        "url": citation.url or "",
        "title": citation.title,
        "encrypted_index": "",
    }


def content_blocks(block: Block, new_id: NewId) -> list[Object]:
    """The content blocks for one block of the answer; none for what a Messages client cannot be told."""
    match block.kind:
        case "text" | "refusal" | "audio":
            if not block.text:
                return []
            content: Object = {"type": "text", "text": block.text}
            if block.citations:
                content["citations"] = [citation_block(citation) for citation in block.citations]
            return [content]
        case "reasoning":
            return _thinking(block)
        case "tool_call" if block.name:
            return [tool_block(block, new_id)]
        case "server_tool":
            return server_blocks(block, new_id)
        case "opaque" if block.format == "claude" and isinstance(block.json, dict):
            return [block.json]
    return []


def _thinking(block: Block) -> list[Object]:
    if block.redacted_data is not None:
        return [{"type": "redacted_thinking", "data": block.redacted_data}]
    if not block.text and not block.signature:
        return []
    return [{"type": "thinking", "thinking": block.text, "signature": block.signature or ""}]


def shown_call_id(call_id: str | None, new_id: NewId) -> str:
    """A call id a Messages client accepts."""
    return clean_id(call_id) if call_id else new_id("toolu_")


def whole_arguments(text: str) -> str:
    """Arguments that came to their end as the text of an object: as they are when they are one or are cut off."""
    try:
        if isinstance(orjson.loads(text), dict):
            return text
    except orjson.JSONDecodeError:
        pass
    if text.lstrip().startswith("{") and arguments_object(text) is None:
        return text
    return orjson.dumps(arguments_or_text(text)).decode()


def tool_block(block: Block, new_id: NewId) -> Object:
    """One ``tool_use``."""
    arguments: Any = {"input": block.arguments} if block.tool_type == "custom" else arguments_or_text(block.arguments)
    return {
        "type": "tool_use",
        "id": shown_call_id(block.call_id, new_id),
        "name": client_name(block.name or "", block.namespace),
        "input": arguments,
    }


def server_blocks(block: Block, new_id: NewId) -> list[Object]:
    """A vendor-run tool: its call and, when there are any, its results."""
    if block.format == "claude" and isinstance(block.json, dict):
        return [block.json]
    if block.name != "web_search" or (not block.input and not block.results):
        return []
    tool_id = block.native_id or new_id("srvtoolu_")
    use = {"type": "server_tool_use", "id": tool_id, "name": "web_search", "input": block.input or {}}
    results = [
        {
            "type": "web_search_result",
            "url": result.get("url") or "",
            "title": result.get("title") or result.get("url") or "",
            "page_age": result.get("page_age"),
            "encrypted_content": result.get("encrypted_content") or "",
        }
        for result in block.results or []
        if isinstance(result, dict)
    ]
    return [use, {"type": "web_search_tool_result", "tool_use_id": tool_id, "content": results}]
