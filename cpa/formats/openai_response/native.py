"""A Responses body for a Responses upstream: it passes, only what the upstream would refuse is changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cpa.conversation.effort import ResolvedReasoning
from cpa.conversation.names import call_id
from cpa.conversation.signatures import family_of
from cpa.errors import InvalidRequest
from cpa.formats.codec import EncodedRequest, ReplyContext, Target
from cpa.formats.openai_response.fields import Object
from cpa.formats.openai_response.request_decode import ENCRYPTED
from cpa.formats.openai_response.request_encode import write_reasoning
from cpa.formats.openai_response.tools import WEB_SEARCH_ALIASES

_CODEX_REFUSES = frozenset(
    [
        "previous_response_id",
        "prompt_cache_retention",
        "prompt_cache_options",
        "safety_identifier",
        "stream_options",
        "max_output_tokens",
        "max_completion_tokens",
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "n",
        "seed",
        "truncation",
        "user",
        "metadata",
        "context_management",
        "generate",
    ]
)
_ID_PREFIXES = {
    "message": "msg_",
    "reasoning": "rs_",
    "function_call": "fc_",
    "custom_tool_call": "ctc_",
    "function_call_output": "fco_",
    "custom_tool_call_output": "ctco_",
}
_LONGEST_ID = 64
_STREAM_OPTION = "reasoning_summary_delivery"
"""The only stream option that the Codex backend knows."""
_BREAKPOINT = "prompt_cache_breakpoint"
"""A mark of the public API on parts of a message."""


def adapt_native(body: Object, target: Target, reasoning: ResolvedReasoning) -> EncodedRequest:
    """The body for ``target`` (copy on write). Raises InvalidRequest for a streamed compaction."""
    if target.operation == "compact" and body.get("stream") is True:
        raise InvalidRequest("Streaming not supported for compact responses")
    adapted = body if body.get("model") == target.model else {**body, "model": target.model}
    adapted = _adapt_codex(adapted, target) if target.format == "codex" else _adapt_public(adapted, target)
    if target.operation in ("count", "compact"):
        adapted = {key: value for key, value in adapted.items() if key != "stream"} if "stream" in adapted else adapted
    return EncodedRequest(write_reasoning(adapted, reasoning, target))


def _adapt_public(body: Object, target: Target) -> Object:
    if target.operation == "generate":
        if target.stream and body.get("stream") is not True:
            return {**body, "stream": True}
        if not target.stream and body.get("stream"):
            return {**body, "stream": False}
    return body


def _adapt_codex(body: Object, target: Target) -> Object:
    websocket = "websocket" in target.quirks
    kept = {
        key: value
        for key, value in body.items()
        if key not in _CODEX_REFUSES or (websocket and key == "previous_response_id")
    }
    options = body.get("stream_options")
    if isinstance(options, dict) and _STREAM_OPTION in options:
        kept["stream_options"] = {_STREAM_OPTION: options[_STREAM_OPTION]}
    if kept.get("service_tier") == "fast":
        kept["service_tier"] = "priority"
    elif "service_tier" in kept and kept["service_tier"] != "priority":
        del kept["service_tier"]
    instructions = kept.get("instructions")
    if not isinstance(instructions, str):
        if isinstance(instructions, list):
            kept["input"] = [*_items(instructions), *_items(kept.get("input"))]
        kept["instructions"] = ""
    kept["input"] = _adapt_input(kept.get("input"), orphans="previous_response_id" in kept)
    _adapt_tools(kept)
    if target.operation == "compact":
        for name in ("store", "stream", "include"):
            kept.pop(name, None)
        return kept
    kept["stream"] = True
    kept["store"] = False
    include = kept.get("include")
    if not isinstance(include, list) or ENCRYPTED not in include:
        kept["include"] = [*(include if isinstance(include, list) else []), ENCRYPTED]
    if not isinstance(kept.get("parallel_tool_calls"), bool):
        kept["parallel_tool_calls"] = True
    return kept


def _items(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": value}]}]
    if isinstance(value, dict):
        return [value]
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidRequest("input must be a string or a list", param="input")
    return value


def _mapped(values: list[Any], adapt: Callable[[Any], Any]) -> list[Any]:
    """Every item adapted; the same list when no item changed."""
    adapted = [adapt(value) for value in values]
    return values if all(new is old for new, old in zip(adapted, values, strict=True)) else adapted


def _adapt_input(value: Any, *, orphans: bool) -> list[Any]:
    items = _mapped(_items(value), _adapt_item)
    if orphans:
        return items
    called = {item["call_id"] for item in items if _kind(item).endswith("_call") and _has_id(item)}
    kept = [item for item in items if not _is_orphan(item, called)]
    return items if len(kept) == len(items) else kept


def _kind(item: Any) -> str:
    kind = item.get("type") if isinstance(item, dict) else None
    return kind if isinstance(kind, str) else ""


def _has_id(item: Object) -> bool:
    return isinstance(item.get("call_id"), str)


def _is_orphan(item: Any, called: set[str]) -> bool:
    return (
        _kind(item) in ("function_call_output", "custom_tool_call_output")
        and _has_id(item)
        and item["call_id"] not in called
    )


def _adapt_item(item: Any) -> Any:
    if isinstance(item, str):
        return _items(item)[0]
    if not isinstance(item, dict):
        return item
    changes: Object = {}
    dropped: set[str] = set()
    if item.get("role") == "system":
        changes["role"] = "developer"
    kind = item.get("type", "message" if "role" in item else None)
    known = item.get("call_id")
    if isinstance(known, str) and len(known) > _LONGEST_ID:
        changes["call_id"] = call_id(known)
    content = item.get("content")
    if isinstance(content, list):
        parts = _mapped(content, _without_breakpoint)
        if parts is not content:
            changes["content"] = parts
    if kind == "reasoning":
        _adapt_proof(item, changes, dropped)
    item_id = item.get("id")
    prefix = _ID_PREFIXES.get(kind) if isinstance(kind, str) else None
    if prefix and "id" in item and not _is_accepted(item_id, prefix):
        dropped.add("id")
    if not changes and not dropped:
        return item
    return {key: value for key, value in {**item, **changes}.items() if key not in dropped}


def _without_breakpoint(part: Any) -> Any:
    if isinstance(part, dict) and _BREAKPOINT in part:
        return {key: value for key, value in part.items() if key != _BREAKPOINT}
    return part


def _is_accepted(item_id: Any, prefix: str) -> bool:
    return isinstance(item_id, str) and item_id.startswith(prefix) and len(item_id) <= _LONGEST_ID


def _adapt_proof(item: Object, changes: Object, dropped: set[str]) -> None:
    """A proof that is not the vendor's own would be refused; without it an id that is not stored means nothing."""
    proof = item.get("encrypted_content")
    if proof is not None and (not isinstance(proof, str) or family_of(proof) in ("claude", "gemini", "unknown")):
        dropped |= {"encrypted_content", "id"}
    if not isinstance(item.get("summary"), list):
        changes["summary"] = []


def _adapt_tools(body: Object) -> None:
    """The Codex backend knows web search under one name only."""
    tools = body.get("tools")
    if isinstance(tools, list):
        body["tools"] = _mapped(tools, _adapt_alias)
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        adapted = _adapt_alias(choice)
        allowed = choice.get("tools")
        if isinstance(allowed, list):
            renamed = _mapped(allowed, _adapt_alias)
            adapted = adapted if renamed is allowed else {**adapted, "tools": renamed}
        body["tool_choice"] = adapted


def _adapt_alias(tool: Any) -> Any:
    if isinstance(tool, dict) and isinstance(tool.get("type"), str) and tool["type"] in WEB_SEARCH_ALIASES:
        return {**tool, "type": "web_search"}
    return tool


def adapt_native_reply(body: Object, context: ReplyContext) -> Object:
    """A whole answer with the model name the client asked for, where it was changed."""
    if context.model is None or "model" not in body or body["model"] == context.model:
        return body
    return {**body, "model": context.model}
