"""What the demo model answers: it says what it understood, and uses tools when it is asked to."""

from __future__ import annotations

import base64
import re
import struct
from typing import Any

import orjson
from msgspec import Struct, field

Object = dict[str, Any]

LONGEST_ECHO = 400


class Thought(Struct):
    """An answer before it is written down."""

    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    """(tool name, arguments as JSON text)."""
    finish: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0


def think(body: Object, *, aloud: bool) -> Thought:
    """The answer to a chat body."""
    messages = [message for message in body.get("messages") or [] if isinstance(message, dict)]
    thought = Thought(prompt_tokens=_tokens(orjson.dumps(messages).decode()))
    last = next((m for m in reversed(messages) if m.get("role") in ("user", "tool")), {})
    prompt = _text(last)
    effort = body.get("reasoning_effort")
    if aloud or effort not in (None, "none"):
        thought.reasoning = f"The last message has {len(prompt.split())} words. I will say what I understood."
    tool = _wanted_tool(body, last, prompt)
    if tool is not None:
        thought.calls = [(tool["name"], orjson.dumps(example(tool.get("parameters") or {})).decode())]
        thought.finish = "tool_calls"
    else:
        thought.text = _reply(body, last, prompt)
        _limit(thought, body)
    thought.reasoning_tokens = _tokens(thought.reasoning)
    thought.completion_tokens = (
        _tokens(thought.text) + sum(_tokens(text) for _, text in thought.calls) + thought.reasoning_tokens
    )
    return thought


def _reply(body: Object, last: Object, prompt: str) -> str:
    wanted = body.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        schema = (wanted.get("json_schema") or {}).get("schema")
        return orjson.dumps(example(schema if isinstance(schema, dict) else {})).decode()
    if isinstance(wanted, dict) and wanted.get("type") == "json_object":
        return orjson.dumps({"echo": prompt[:LONGEST_ECHO]}).decode()
    if last.get("role") == "tool":
        return f"The tool answered: {prompt[:LONGEST_ECHO]}"
    seen = "".join(f" I see {picture}." for picture in _pictures(last))
    return f"This is the demo model. You said: {prompt[:LONGEST_ECHO]}{seen}"


def _wanted_tool(body: Object, last: Object, prompt: str) -> Object | None:
    """The tool to call: the one that is forced, or named in the last user message."""
    tools = [tool["function"] for tool in body.get("tools") or [] if isinstance(tool, dict) and "function" in tool]
    choice = body.get("tool_choice")
    if not tools or choice == "none" or last.get("role") == "tool":
        return None
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        return next((tool for tool in tools if tool.get("name") == name), None)
    named = [tool for tool in tools if re.search(rf"\b{re.escape(str(tool.get('name')))}\b", prompt)]
    return named[0] if named else tools[0] if choice == "required" else None


def _limit(thought: Thought, body: Object) -> None:
    stops = body.get("stop")
    for stop in [stops] if isinstance(stops, str) else stops or []:
        if isinstance(stop, str) and stop and stop in thought.text:
            thought.text = thought.text[: thought.text.index(stop)]
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if isinstance(limit, int) and 0 < limit < _tokens(thought.text):
        thought.text = thought.text[: limit * 4]
        thought.finish = "length"


def _text(message: Object) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(str(part.get("text")) for part in parts if isinstance(part, dict) and part.get("type") == "text")


def _pictures(message: Object) -> list[str]:
    content = message.get("content")
    found = []
    for part in content if isinstance(content, list) else []:
        url = (part.get("image_url") or {}).get("url") if isinstance(part, dict) else None
        if isinstance(url, str):
            found.append(_describe(url))
    return found


def _describe(url: str) -> str:
    head, _, data = url.partition(",")
    if not head.startswith("data:"):
        return f"a picture at {url}"
    media_type = head[5:].partition(";")[0] or "image/png"
    size = _png_size(data)
    return f"a picture ({media_type}{f', {size[0]}x{size[1]} pixels' if size else ''})"


def _png_size(data: str) -> tuple[int, int] | None:
    try:
        head = base64.b64decode(data[:44] + "=" * (-len(data[:44]) % 4))
    except ValueError:
        return None
    return struct.unpack(">II", head[16:24]) if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) >= 24 else None


def example(schema: Object, depth: int = 0) -> Any:
    """A value that fits a JSON schema."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return example(schema[key][0], depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = next((name for name in kind if name != "null"), "null") if isinstance(kind, list) else kind
    match str(kind).lower():
        case "object":
            properties = schema.get("properties")
            wanted = schema.get("required") or list(properties or {})
            known = properties if isinstance(properties, dict) and depth < 8 else {}
            return {name: example(known[name], depth + 1) for name in wanted if isinstance(known.get(name), dict)}
        case "array":
            items = schema.get("items")
            return [example(items, depth + 1)] if isinstance(items, dict) and depth < 8 else []
        case "integer":
            return int(schema.get("minimum", 1))
        case "number":
            return float(schema.get("minimum", 1.0))
        case "boolean":
            return True
        case "null":
            return None
    return "demo"


def _tokens(text: str) -> int:
    return -(-len(text.encode()) // 4)
