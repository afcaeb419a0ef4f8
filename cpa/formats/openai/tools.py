"""Tools, tool choice and tool calls of Chat Completions, both ways."""

from __future__ import annotations

from typing import Any

import orjson

from cpa.conversation.names import NameMap, ToolIdentity, namespaced, numbered
from cpa.conversation.parts import ToolCall
from cpa.conversation.request import Conversation, Tool, ToolChoice
from cpa.errors import InvalidRequest
from cpa.formats import members

Object = dict[str, Any]

EMPTY_SCHEMA: Object = {"type": "object", "properties": {}}
INPUT_SCHEMA: Object = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
"""Schema of a free-form tool where only functions exist."""

_BUILTIN = {
    "web_search": "web_search",
    "web_search_preview": "web_search",
    "google_search": "google_search",
    "googleSearch": "google_search",
    "code_execution": "code_execution",
    "codeExecution": "code_execution",
    "code_interpreter": "code_execution",
    "url_context": "url_context",
    "urlContext": "url_context",
    "image_generation": "image_generation",
    "file_search": "file_search",
}


def decode_tools(body: Object) -> list[Tool] | None:
    """``tools``, legacy ``functions`` and ``web_search_options``. Raises InvalidRequest."""
    raw = body.get("tools")
    if raw is None and isinstance(body.get("functions"), list):
        raw = [{"type": "function", "function": function} for function in body["functions"]]
    if raw is None:
        tools: list[Tool] | None = None
    elif not isinstance(raw, list):
        raise InvalidRequest("tools must be a list", param="tools")
    else:
        tools = [_decode_tool(tool, index) for index, tool in enumerate(raw) if tool is not None]
    options = body.get("web_search_options")
    if isinstance(options, dict):
        tools = [*(tools or []), Tool("builtin", "web_search", options=options, raw=options, format="openai")]
    return tools


def _inner(raw: Object, name: str) -> Object:
    """The object under ``name``, or the outer one for clients that write its members flat."""
    inner = raw.get(name)
    return inner if isinstance(inner, dict) else raw


def _decode_tool(raw: Any, index: int) -> Tool:
    if not isinstance(raw, dict):
        raise InvalidRequest(f"tools[{index}] must be an object", param=f"tools[{index}]")
    kind = raw.get("type", "function" if "function" in raw else None)
    if kind == "function":
        function = _inner(raw, "function")
        name = function.get("name")
        if not isinstance(name, str) or not name:
            raise InvalidRequest(f"tools[{index}].function.name is required", param=f"tools[{index}].function.name")
        return Tool(
            "function",
            name,
            description=function.get("description") if isinstance(function.get("description"), str) else None,
            schema=function.get("parameters", function.get("parametersJsonSchema")),
            strict=function.get("strict") if isinstance(function.get("strict"), bool) else None,
            cache_control=raw.get("cache_control"),
            raw=raw,
            format="openai",
        )
    if kind == "custom":
        custom = _inner(raw, "custom")
        return Tool(
            "custom",
            members.name(custom.get("name"), f"tools[{index}].custom.name"),
            description=custom.get("description") if isinstance(custom.get("description"), str) else None,
            custom_format=custom.get("format"),
            raw=raw,
            format="openai",
        )
    name = members.a_string(kind, f"tools[{index}].type") or next(iter(raw), "unknown")
    options = raw.get(name) if isinstance(raw.get(name), dict) else {k: v for k, v in raw.items() if k != "type"}
    return Tool("builtin", _BUILTIN.get(name, name), options=options or {}, raw=raw, format="openai")


def decode_tool_choice(body: Object) -> ToolChoice | None:
    """``tool_choice`` or legacy ``function_call``."""
    raw = body.get("tool_choice", body.get("function_call"))
    if isinstance(raw, str):
        modes: dict[str, ToolChoice] = {
            "auto": ToolChoice("auto"),
            "none": ToolChoice("none"),
            "required": ToolChoice("required"),
            "any": ToolChoice("required"),
        }
        if raw and raw not in modes:
            raise InvalidRequest(f"tool_choice {raw[:80]!r} is unknown", param="tool_choice")
        return modes.get(raw)
    choice = members.an_object(raw, "tool_choice")
    if choice is None:
        return None
    return _named_choice(choice)


def _named_choice(raw: Object) -> ToolChoice | None:
    kind = raw.get("type")
    if kind == "allowed_tools":
        allowed = _inner(raw, "allowed_tools")
        tools = allowed.get("tools")
        names = [name for tool in tools if (name := _choice_name(tool))] if isinstance(tools, list) else []
        return ToolChoice("allowed", names=names, required=allowed.get("mode") == "required")
    name = _choice_name(raw)
    if name:
        return ToolChoice("named", names=[name])
    if isinstance(kind, str):
        return ToolChoice("named", names=[_BUILTIN.get(kind, kind)], builtin=raw)
    return None


def _choice_name(raw: Any) -> str | None:
    if not isinstance(raw, dict):
        return None
    inner = raw.get("function", raw.get("custom"))
    name = inner.get("name") if isinstance(inner, dict) else raw.get("name")
    return name if isinstance(name, str) and name else None


def encode_tools(conversation: Conversation, names: NameMap) -> list[Object]:
    """Function tools; what other formats have beside them becomes a function where it can, else is left out."""
    encoded: list[Object] = []
    for tool in conversation.tools or []:
        if tool.kind == "builtin":
            if tool.format == "openai" and isinstance(tool.raw, dict) and tool.name != "web_search":
                encoded.append(tool.raw)
            continue
        identity = ToolIdentity(tool.name, tool.namespace, tool.kind, wrapped=tool.kind == "custom")
        if (tool.namespace, tool.name) in names.to_upstream:
            continue
        name = names.add(identity, namespaced(tool.namespace, tool.name), distinguish=numbered)
        function: Object = {"name": name}
        if tool.description is not None:
            function["description"] = tool.description
        function["parameters"] = INPUT_SCHEMA if tool.kind == "custom" else _schema(tool.schema)
        if tool.strict is not None:
            function["strict"] = tool.strict
        encoded.append({"type": "function", "function": function})
    return encoded


def _schema(schema: Any) -> Object:
    if not isinstance(schema, dict) or not schema:
        return dict(EMPTY_SCHEMA)
    if schema.get("type", "object") == "object" and "properties" not in schema and "$ref" not in schema:
        return {**schema, "type": "object", "properties": {}}
    return schema


def encode_tool_choice(choice: ToolChoice | None, names: NameMap, declared: set[str]) -> Any:
    """The ``tool_choice`` member, None to leave it out."""
    if choice is None or not declared:
        return None
    if choice.mode in ("auto", "none", "required"):
        return choice.mode
    wanted = [name for name in (_upstream_name(names, name) for name in choice.names) if name in declared]
    if not wanted:
        return None
    if choice.mode == "named":
        return {"type": "function", "function": {"name": wanted[0]}}
    tools = [{"type": "function", "function": {"name": name}} for name in wanted]
    mode = "required" if choice.required else "auto"
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def _upstream_name(names: NameMap, name: str) -> str:
    for (_, known), upstream in names.to_upstream.items():
        if known == name:
            return upstream
    return name


def decode_tool_call(raw: Any, index: int, param: str) -> ToolCall:
    """One entry of an assistant message's ``tool_calls``."""
    if not isinstance(raw, dict):
        raise InvalidRequest(f"{param}[{index}] must be an object", param=f"{param}[{index}]")
    call_id = raw.get("id") if isinstance(raw.get("id"), str) and raw.get("id") else None
    if isinstance(raw.get("custom"), dict):
        custom, at = raw["custom"], f"{param}[{index}].custom"
        text = members.a_string(custom.get("input"), f"{at}.input") or ""
        return ToolCall(members.name(custom.get("name"), f"{at}.name"), text, call_id, kind="custom")
    function = members.an_object(raw.get("function"), f"{param}[{index}].function") or {}
    return ToolCall(
        members.name(function.get("name"), f"{param}[{index}].function.name"),
        arguments_text(function.get("arguments")),
        call_id,
        signature=_signature(raw, function),
    )


def arguments_text(value: Any) -> str:
    """Arguments as JSON text: providers and clients send objects, too."""
    if isinstance(value, str):
        return value
    return "{}" if value is None else orjson.dumps(value).decode()


def _signature(raw: Object, function: Object) -> str | None:
    for holder in (raw, function):
        extra = holder.get("extra_content")
        google = extra.get("google") if isinstance(extra, dict) else None
        for source in (google, holder):
            if isinstance(source, dict):
                for name in ("thought_signature", "thoughtSignature"):
                    if isinstance(source.get(name), str) and source[name]:
                        return str(source[name])
    return None


def encode_tool_call(call: ToolCall, names: NameMap) -> Object:
    """One entry of ``tool_calls``; a free-form call travels as a function with an ``input`` string."""
    name = names.to_upstream.get((call.namespace, call.name)) or namespaced(call.namespace, call.name)
    arguments = orjson.dumps({"input": call.arguments}).decode() if call.kind == "custom" else call.arguments
    return {"id": call.call_id, "type": "function", "function": {"name": name, "arguments": arguments or "{}"}}
