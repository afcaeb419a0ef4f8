"""Tools and tool choice of Responses, both ways."""

from __future__ import annotations

from typing import Any, Literal

from cpa.conversation.names import NameMap, ToolIdentity, namespaced, numbered, shorten
from cpa.conversation.request import Conversation, Tool, ToolChoice
from cpa.errors import InvalidRequest
from cpa.formats import members
from cpa.formats.codec import Target
from cpa.formats.openai_response.fields import Object, flag, object_of, objects, strings, text

FORMAT = "openai-response"

WEB_SEARCH_ALIASES = frozenset({"web_search_preview", "web_search_preview_2025_03_11", "web_search_2025_08_26"})
"""Dated and preview names of ``web_search``."""

_BUILTIN = {
    "web_search": "web_search",
    "code_interpreter": "code_execution",
    "computer_use_preview": "computer",
    "computer": "computer",
    "shell": "bash",
}
_SCHEMAS = ("parameters", "parametersJsonSchema", "input_schema")
_NOT_IN_SCHEMA = ("$schema", "cache_control", "defer_loading")


def decode_tools(raw: Any, extra: list[Any] | None = None) -> list[Tool] | None:
    """``tools``, and those that input items of type ``additional_tools`` bring. Raises InvalidRequest."""
    if raw is not None and not isinstance(raw, list):
        raise InvalidRequest("tools must be a list", param="tools")
    if raw is None and not extra:
        return None
    tools: list[Tool] = []
    for index, tool in enumerate([*(raw or []), *(extra or [])]):
        if tool is None:
            continue
        param = f"tools[{index}]"
        if not isinstance(tool, dict):
            raise InvalidRequest(f"{param} must be an object", param=param)
        if tool.get("type") == "namespace":
            namespace = text(tool, "name")
            tools += [_decode_tool(child, f"{param}.tools", namespace) for child in objects(tool.get("tools"))]
        else:
            tools.append(_decode_tool(tool, param, None))
    return tools


def _decode_tool(raw: Object, param: str, namespace: str | None) -> Tool:
    kind = raw.get("type", "function" if "name" in raw or "function" in raw else None)
    if kind in ("function", "custom"):
        inner = raw.get(kind)
        return _decode_named(raw, inner if isinstance(inner, dict) else raw, kind, param, namespace)
    name = members.name(kind, f"{param}.type")
    options = {key: value for key, value in raw.items() if key != "type"}
    if name == "web_search" or name in WEB_SEARCH_ALIASES:
        name = "web_search"
        filters = object_of(options.pop("filters", None))
        options = {**options, **filters}
    return Tool("builtin", _BUILTIN.get(name, name), options=options, raw=raw, format=FORMAT)


def _decode_named(raw: Object, inner: Object, kind: Any, param: str, namespace: str | None) -> Tool:
    name = inner.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f"{param}.name is required", param=f"{param}.name")
    schema = next((inner[member] for member in _SCHEMAS if member in inner), None)
    return Tool(
        "custom" if kind == "custom" else "function",
        name,
        description=text(inner, "description"),
        schema=None if kind == "custom" else schema,
        strict=flag(inner, "strict"),
        namespace=namespace,
        custom_format=inner.get("format") if kind == "custom" else None,
        raw=raw,
        format=FORMAT,
    )


def decode_tool_choice(raw: Any) -> ToolChoice | None:
    """``tool_choice``. Raises InvalidRequest."""
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
    if members.an_object(raw, "tool_choice") is None:
        return None
    kind = raw.get("type")
    if kind == "allowed_tools":
        allowed = raw.get("allowed_tools") if isinstance(raw.get("allowed_tools"), dict) else raw
        names = [name for tool in objects(object_of(allowed).get("tools")) if (name := _chosen(tool))]
        return ToolChoice("allowed", names=names, required=object_of(allowed).get("mode") == "required")
    if kind in ("function", "custom", None):
        name = _chosen(raw)
        return ToolChoice("named", names=[name]) if name else None
    if isinstance(kind, str):
        name = "web_search" if kind in WEB_SEARCH_ALIASES else _BUILTIN.get(kind, kind)
        return ToolChoice("named", names=[name], builtin=raw)
    return None


def _chosen(raw: Object) -> str | None:
    inner = raw.get("function", raw.get("custom"))
    name = inner.get("name") if isinstance(inner, dict) else raw.get("name")
    if isinstance(name, str) and name:
        return name
    kind = raw.get("type")
    if not isinstance(kind, str):
        return None
    return "web_search" if kind in WEB_SEARCH_ALIASES else _BUILTIN.get(kind, kind)


def encode_tools(conversation: Conversation, target: Target, names: NameMap) -> list[Object]:
    """Tools for the upstream; names longer than it takes are cut, and kept apart."""
    encoded: list[Object] = []
    namespaces: dict[str, Object] = {}
    same = conversation.format == FORMAT
    for tool in conversation.tools or []:
        if tool.kind == "builtin":
            builtin = _encode_builtin(tool, target)
            if builtin is not None and builtin not in encoded:
                encoded.append(builtin)
            continue
        if (tool.namespace, tool.name) in names.to_upstream:
            continue
        if same and tool.namespace:
            group = namespaces.get(tool.namespace)
            if group is None:
                group = namespaces[tool.namespace] = {"type": "namespace", "name": tool.namespace, "tools": []}
                encoded.append(group)
            group["tools"].append(_encode_named(tool, tool.name, conversation.format))
            continue
        name = tool.name if same else shorten(namespaced(tool.namespace, tool.name))
        upstream = names.add(ToolIdentity(tool.name, tool.namespace, tool.kind), name, distinguish=numbered)
        encoded.append(_encode_named(tool, upstream, conversation.format))
    return encoded


def _encode_named(tool: Tool, name: str, client_format: str) -> Object:
    kind: Literal["function", "custom"] = "custom" if tool.kind == "custom" else "function"
    encoded: Object = {"type": kind, "name": name}
    if tool.description is not None:
        encoded["description"] = tool.description
    if kind == "custom":
        if tool.custom_format is not None:
            encoded["format"] = _custom_format(tool.custom_format)
        return encoded
    encoded["parameters"] = _schema(tool.schema, client_format)
    if tool.strict is not None:
        encoded["strict"] = tool.strict
    elif client_format in ("claude", "gemini", "gemini-cli"):
        # Responses counts a missing `strict` as true, which would refuse ordinary schemas.
        encoded["strict"] = False
    return encoded


def _custom_format(raw: Any) -> Any:
    """Chat nests a grammar once more than Responses does."""
    if isinstance(raw, dict) and isinstance(raw.get("grammar"), dict):
        return {"type": "grammar", **raw["grammar"]}
    return raw


def _schema(schema: Any, client_format: str) -> Object:
    if not isinstance(schema, dict):
        return {"type": "object", "properties": {}}
    if client_format == FORMAT and schema:
        return schema
    cleaned = {key: value for key, value in schema.items() if key not in _NOT_IN_SCHEMA}
    if client_format in ("gemini", "gemini-cli"):
        cleaned = _lower_types(cleaned)
        cleaned.setdefault("additionalProperties", False)
    if not isinstance(cleaned.get("type"), str):
        cleaned = {"type": "object", **{key: value for key, value in cleaned.items() if key != "type"}}
    if cleaned["type"] == "object" and not isinstance(cleaned.get("properties"), dict):
        cleaned["properties"] = {}
    return cleaned


def _lower_types(value: Any, *, in_properties: bool = False) -> Any:
    """Google writes ``STRING``; JSON Schema ``string``. A property that is called ``type`` is no type."""
    if isinstance(value, list):
        return [_lower_types(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: item.lower()
        if key == "type" and isinstance(item, str) and not in_properties
        else item
        if key in ("enum", "const", "default", "example", "examples") and not in_properties
        else _lower_types(item, in_properties=key == "properties" and not in_properties)
        for key, item in value.items()
    }


def _encode_builtin(tool: Tool, target: Target) -> Object | None:
    raw = tool.raw if isinstance(tool.raw, dict) else {}
    if tool.format == FORMAT:
        return {**raw, "type": "web_search"} if tool.name == "web_search" else raw
    match tool.name:
        case "web_search" | "google_search":
            return _web_search(tool)
        case "image_generation":
            return (
                raw if raw.get("type") == "image_generation" else {"type": "image_generation", "output_format": "png"}
            )
        case "code_execution" if target.format != "codex" and tool.format != "openai":
            return {"type": "code_interpreter", "container": {"type": "auto"}}
    return raw if tool.format == "openai" and isinstance(raw.get("type"), str) else None


def _web_search(tool: Tool) -> Object:
    encoded: Object = {"type": "web_search"}
    options = tool.options
    if domains := strings(options.get("allowed_domains")):
        encoded["filters"] = {"allowed_domains": domains}
    elif isinstance(options.get("filters"), dict):
        encoded["filters"] = options["filters"]
    location = options.get("user_location")
    if isinstance(location, dict):
        approximate = location.get("approximate")
        encoded["user_location"] = {"type": "approximate", **approximate} if isinstance(approximate, dict) else location
    if isinstance(options.get("search_context_size"), str):
        encoded["search_context_size"] = options["search_context_size"]
    if isinstance(options.get("external_web_access"), bool):
        encoded["external_web_access"] = options["external_web_access"]
    return encoded


def encode_tool_choice(choice: ToolChoice | None, names: NameMap, sent: list[Object]) -> Any:
    """The ``tool_choice`` member; None to leave it out, as with a choice of a tool that is not among those sent."""
    if choice is None or not sent:
        return None
    if choice.mode in ("auto", "none", "required"):
        return choice.mode
    # A function may have the name of a builtin; then the function is meant.
    kinds = {
        text(tool, "name") or text(tool, "type"): tool.get("type") for tool in sorted(sent, key=lambda t: "name" in t)
    }
    for tool in sent:
        kinds.update({text(child, "name"): child.get("type") for child in objects(tool.get("tools"))})
    wanted = [encoded for name in choice.names if (encoded := _choice(name, kinds, names))]
    if choice.mode == "named":
        return wanted[0] if wanted else None
    mode = "required" if choice.required else "auto"
    return {"type": "allowed_tools", "mode": mode, "tools": wanted} if wanted else mode


def _choice(name: str, kinds: dict[Any, Any], names: NameMap) -> Object | None:
    for (_, known), upstream in names.to_upstream.items():
        if known == name:
            name = upstream
            break
    if name == "google_search":
        name = "web_search"
    kind = kinds.get(name)
    if kind is None:
        return None
    return {"type": kind, "name": name} if kind in ("function", "custom") else {"type": kind}
