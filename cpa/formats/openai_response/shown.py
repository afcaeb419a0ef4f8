"""What a Responses client is shown: the response object and its ids."""

from __future__ import annotations

import base64
import re

from cpa.conversation import events as ev
from cpa.conversation.signatures import GEMINI_SKIP_VALIDATION
from cpa.conversation.usage import Usage
from cpa.formats.codec import ReplyContext
from cpa.formats.openai_response.fields import Object, object_of
from cpa.formats.openai_response.history_decode import CARRIER_PREFIX, FORMAT
from cpa.formats.openai_response.usage import encode_usage

_ECHOED: Object = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": None,
    "store": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": None,
    "top_p": None,
    "truncation": None,
    "user": None,
    "metadata": None,
}
"""Members of the request that a response repeats, with what stands for those the client did not send. What has no
default is left out."""

_ALWAYS = frozenset(
    {
        "parallel_tool_calls",
        "tool_choice",
        "tools",
        "instructions",
        "temperature",
        "top_p",
        "metadata",
        "reasoning",
        "text",
    }
)
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9_-]")


def response_id(start: ev.Start, context: ReplyContext) -> str:
    """``resp_...``: the upstream's own id, or a new one."""
    if not start.id:
        return context.new_id("resp_")
    clean = _NOT_IN_ID.sub("_", start.id)
    return clean if clean.startswith("resp_") else f"resp_{clean}"


def skeleton(start: ev.Start, context: ReplyContext) -> Object:
    """The response object as it is at the start of the answer."""
    request = context.request
    shown: Object = {
        "id": response_id(start, context),
        "object": "response",
        "created_at": start.created or context.created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": context.model or start.model or context.requested_model,
        "output": [],
    }
    for name, default in _ECHOED.items():
        value = request.get(name)
        if value is not None:
            shown[name] = value
        elif name in _ALWAYS:
            shown[name] = default
    if start.service_tier:
        shown["service_tier"] = start.service_tier
    return shown


def with_usage(response: Object, usage: Usage | None, context: ReplyContext) -> Object:
    """The response with its token counts."""
    response = {**response, "usage": encode_usage(usage, context.input_tokens_estimate)}
    tool_usage = object_of(usage.raw).get("tool_usage") if usage is not None else None
    return {**response, "tool_usage": tool_usage} if tool_usage is not None else response


def annotation(citation: ev.Citation) -> Object | None:
    """One annotation of a text part; None for a citation Responses cannot express."""
    if citation.format == FORMAT and isinstance(citation.raw, dict):
        return citation.raw
    if not citation.url:
        return None
    return {
        "type": "url_citation",
        "start_index": citation.start or 0,
        "end_index": citation.end or 0,
        "url": citation.url,
        "title": citation.title or "",
    }


def carrier(signature: str, kind: str) -> str | None:
    """A Gemini signature on a text or call, packed so that a Responses client brings it back."""
    if signature == GEMINI_SKIP_VALIDATION:
        return None
    packed = base64.b64encode(signature.encode()).decode().rstrip("=")
    return f"{CARRIER_PREFIX}previous:{'function' if kind == 'tool_call' else 'text'}:{packed}"


def search_item(item_id: str, end: ev.BlockEnd | None, status: str) -> Object:
    """A ``web_search_call``."""
    item: Object = {"id": item_id, "type": "web_search_call", "status": status}
    if end is None:
        # The SDKs' types know no search without an action.
        return {**item, "action": {"type": "search", "query": ""}}
    if isinstance(end.json, dict) and end.json.get("type") == "web_search_call":
        return {**item, "action": {"type": "search", "query": ""}, **end.json, "id": item_id, "status": status}
    wanted = object_of(end.input)
    action: Object = {"type": "search", "query": str(wanted.get("query") or "")}
    sources = [{"type": "url", "url": found["url"]} for found in end.results or [] if object_of(found).get("url")]
    if sources:
        action["sources"] = sources
    return {**item, "action": action}
