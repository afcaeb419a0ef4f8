"""Responses bodies that clients send to the chat endpoint by mistake."""

from __future__ import annotations

from typing import Any

from cpa.formats.openai.content import Object
from cpa.formats.openai.tools import arguments_text

_COPIED = [
    "model",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "user",
    "parallel_tool_calls",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "safety_identifier",
    "top_logprobs",
]


def looks_like_responses(body: Object) -> bool:
    """Whether a body on the chat endpoint is a Responses body."""
    return "messages" not in body and ("input" in body or "instructions" in body)


def to_chat_request(body: Object) -> Object:
    """The chat body for a Responses body."""
    chat: Object = {name: body[name] for name in _COPIED if name in body}
    if "max_output_tokens" in body:
        chat["max_tokens"] = body["max_output_tokens"]
    reasoning = body.get("reasoning")
    if isinstance(reasoning, dict) and isinstance(reasoning.get("effort"), str):
        chat["reasoning_effort"] = reasoning["effort"].lower()
    text = body.get("text")
    if isinstance(text, dict):
        if isinstance(text.get("format"), dict):
            chat["response_format"] = _response_format(text["format"])
        if isinstance(text.get("verbosity"), str):
            chat["verbosity"] = text["verbosity"]
    tools = body.get("tools")
    if isinstance(tools, list):
        nested = [_nest(tool) for tool in tools if isinstance(tool, dict) and tool.get("type") == "function"]
        if nested:
            chat["tools"] = nested
            if body.get("tool_choice") is not None:
                chat["tool_choice"] = _choice(body["tool_choice"])
    chat["messages"] = _messages(body)
    return chat


def _response_format(raw: Object) -> Object:
    if raw.get("type") != "json_schema":
        return {"type": raw.get("type")}
    return {"type": "json_schema", "json_schema": {k: v for k, v in raw.items() if k != "type"}}


def _nest(tool: Object) -> Object:
    return (
        tool if "function" in tool else {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}
    )


def _choice(raw: Any) -> Any:
    if isinstance(raw, dict) and raw.get("type") == "function" and isinstance(raw.get("name"), str):
        return {"type": "function", "function": {"name": raw["name"]}}
    return raw


def _messages(body: Object) -> list[Object]:
    messages: list[Object] = []
    deferred: list[Object] = []
    waiting = 0
    if isinstance(body.get("instructions"), str) and body["instructions"]:
        messages.append({"role": "system", "content": body["instructions"]})
    items = body.get("input")
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    for item in items if isinstance(items, list) else ():
        if not isinstance(item, dict):
            continue
        match item.get("type", "message"):
            case "message":
                message = {"role": item.get("role", "user"), "content": _content(item.get("content"))}
                (deferred if waiting > 0 else messages).append(message)
            case "function_call":
                waiting += 1
                _add_call(messages, item)
            case "function_call_output":
                waiting -= 1
                messages.append(
                    {"role": "tool", "tool_call_id": item.get("call_id"), "content": _content(item.get("output"))}
                )
                if waiting <= 0:
                    messages += deferred
                    deferred = []
    return messages + deferred


def _add_call(messages: list[Object], item: Object) -> None:
    function = {"name": item.get("name"), "arguments": arguments_text(item.get("arguments"))}
    call = {"id": item.get("call_id"), "type": "function", "function": function}
    if messages and messages[-1].get("tool_calls"):
        messages[-1]["tool_calls"].append(call)
    else:
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _content(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    parts: list[Any] = []
    for part in content:
        if not isinstance(part, dict):
            continue
        match part.get("type"):
            case "input_text" | "output_text" | "text":
                parts.append({"type": "text", "text": part.get("text", "")})
            case "input_image":
                image: Object = {"url": part.get("image_url")}
                if part.get("detail"):
                    image["detail"] = part["detail"]
                parts.append({"type": "image_url", "image_url": image})
            case "input_file":
                parts.append({"type": "file", "file": {k: v for k, v in part.items() if k != "type"}})
            case _:
                parts.append(part)
    return parts
