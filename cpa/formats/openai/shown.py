"""What every frame of one Chat Completions answer shares: id, time, model; and media for clients."""

from __future__ import annotations

from typing import Any

from cpa.conversation import events as ev
from cpa.conversation.reply import Block
from cpa.formats.codec import ReplyContext

Object = dict[str, Any]


def head(context: ReplyContext, start: ev.Start, kind: str) -> Object:
    """The constant members."""
    prefix = "cmpl-" if kind == "text_completion" else "chatcmpl-"
    shared: Object = {
        "id": start.id or context.new_id(prefix),
        "object": kind,
        "created": start.created or context.created,
        "model": context.model or start.model or context.requested_model,
    }
    if start.service_tier:
        shared["service_tier"] = start.service_tier
    if start.system_fingerprint:
        shared["system_fingerprint"] = start.system_fingerprint
    return shared


def annotation(citation: ev.Citation, index: int | None = None) -> Object:
    """One ``url_citation``; streamed ones carry an index, by which the SDK puts them together."""
    if citation.format == "openai" and isinstance(citation.raw, dict):
        shown = citation.raw
    else:
        inner = {
            "start_index": citation.start or 0,
            "end_index": citation.end or 0,
            "title": citation.title or "",
            "url": citation.url or "",
        }
        shown = {"type": "url_citation", "url_citation": inner}
    return shown if index is None else {"index": index, **shown}


def image(block: Block, index: int) -> Object | None:
    """One entry of ``images``."""
    url = f"data:{block.media_type or 'image/png'};base64,{block.data}" if block.data else block.url
    return {"type": "image_url", "index": index, "image_url": {"url": url}} if url else None


def client_arguments(block: Block) -> str:
    """A call's arguments as a Chat client reads them: the raw input of a free-form call."""
    return block.arguments or ("" if block.tool_type == "custom" else "{}")


def client_name(name: str, namespace: str | None) -> str:
    """A tool's name for a client that knows no namespaces."""
    if not namespace or name.startswith(namespace):
        return name
    return namespace + name if namespace.endswith("__") else f"{namespace}__{name}"
