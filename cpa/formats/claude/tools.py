"""Tools and tool choice of Messages, both ways."""

from __future__ import annotations

from typing import Any

from cpa.conversation.names import NameMap, ToolIdentity, namespaced, numbered, sanitise_for_claude
from cpa.conversation.request import Conversation, Tool, ToolChoice
from cpa.errors import InvalidRequest
from cpa.formats import members
from cpa.formats.claude.fields import Object, a_list, an_object, without

EMPTY_SCHEMA: Object = {"type": "object", "properties": {}}
INPUT_SCHEMA: Object = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
WEB_SEARCH = "web_search_20250305"
_DRAFT_7 = "http://json-schema.org/draft-07/schema#"
"""What a schema in Google's own dialect is written as, closed: Gemini takes no member that is not declared."""

_TYPED = {
    "web_search": "web_search",
    "web_fetch": "web_fetch",
    "code_execution": "code_execution",
    "bash": "bash",
    "text_editor": "text_editor",
    "computer": "computer",
    "memory": "memory",
    "tool_search": "tool_search",
    "mcp": "mcp",
}
_OPTIONS = ("max_uses", "allowed_domains", "blocked_domains", "user_location")


def decode_tools(raw: Any) -> list[Tool] | None:
    """``tools``. Raises InvalidRequest."""
    if raw is None:
        return None
    if not isinstance(raw, list):
        raise InvalidRequest("tools must be a list", param="tools")
    tools = []
    for index, tool in enumerate(raw):
        if not isinstance(tool, dict):
            raise InvalidRequest(f"tools.{index} must be an object", param=f"tools.{index}")
        tools.append(_decode_tool(tool, index))
    return tools


def _decode_tool(raw: Object, index: int) -> Tool:
    kind = raw.get("type", "custom")
    if kind in ("custom", "function", None) or "input_schema" in raw:
        name = raw.get("name")
        if not isinstance(name, str) or not name:
            raise InvalidRequest(f"tools.{index}.name is required", param=f"tools.{index}.name")
        return Tool(
            "function",
            name,
            description=raw.get("description") if isinstance(raw.get("description"), str) else None,
            schema=raw.get("input_schema"),
            strict=raw.get("strict") if isinstance(raw.get("strict"), bool) else None,
            cache_control=raw.get("cache_control"),
            raw=raw,
            format="claude",
        )
    name = next((name for stem, name in _TYPED.items() if str(kind).startswith(stem)), str(kind))
    options = without(raw, "type", "name", "cache_control")
    return Tool("builtin", name, options=options, cache_control=raw.get("cache_control"), raw=raw, format="claude")


def decode_tool_choice(raw: Any) -> tuple[ToolChoice | None, bool | None]:
    """The choice and whether calls may be parallel."""
    choice = members.an_object(raw, "tool_choice") or {}
    disabled = choice.get("disable_parallel_tool_use")
    parallel = not disabled if isinstance(disabled, bool) else None
    match choice.get("type"):
        case "auto":
            return ToolChoice("auto"), parallel
        case "any":
            return ToolChoice("required"), parallel
        case "none":
            return ToolChoice("none"), parallel
        case "tool":
            return ToolChoice("named", names=[members.name(choice.get("name"), "tool_choice.name")]), parallel
        case None:
            return None, parallel
    raise InvalidRequest("tool_choice.type must be auto, any, tool or none", param="tool_choice.type")


def encode_tools(conversation: Conversation, names: NameMap) -> list[Object]:
    """Function tools, free-form ones as functions with an ``input`` string, web search as Claude's own."""
    allowed = _allowed(conversation.tool_choice)
    encoded: list[Object] = []
    for tool in conversation.tools or []:
        if allowed is not None and tool.name not in allowed:
            continue
        block = _encode_builtin(tool) if tool.kind == "builtin" else _encode_function(tool, names)
        if block is not None:
            encoded.append(block)
    return encoded


def _allowed(choice: ToolChoice | None) -> set[str] | None:
    """There is no ``allowed_tools``: only those are declared."""
    return set(choice.names) if choice is not None and choice.mode == "allowed" else None


def _encode_function(tool: Tool, names: NameMap) -> Object | None:
    if (tool.namespace, tool.name) in names.to_upstream:
        return None
    wanted = sanitise_for_claude(namespaced(tool.namespace, tool.name))
    identity = ToolIdentity(
        tool.name, tool.namespace, tool.kind if tool.kind == "custom" else "function", tool.kind == "custom"
    )
    if tool.namespace and wanted in names.to_client:
        return None
    name = names.add(identity, wanted, distinguish=lambda text, n: numbered(text, n, 128))
    block: Object = {"name": name}
    if tool.description is not None:
        block["description"] = tool.description
    block["input_schema"] = INPUT_SCHEMA if tool.kind == "custom" else clean_schema(tool.schema)
    if tool.format in ("gemini", "gemini-cli"):
        block["input_schema"] = {"$schema": _DRAFT_7, "additionalProperties": False, **block["input_schema"]}
    if tool.strict is True:
        block["strict"] = True
    if tool.cache_control is not None:
        block["cache_control"] = tool.cache_control
    return block


def _encode_builtin(tool: Tool) -> Object | None:
    if tool.format == "claude":
        return tool.raw if isinstance(tool.raw, dict) else None
    if tool.name not in ("web_search", "google_search"):
        return None
    options = tool.options
    if options.get("external_web_access") is False:
        return None
    block: Object = {"type": WEB_SEARCH, "name": "web_search"}
    filters = an_object(options.get("filters"))
    for name in _OPTIONS:
        value = options.get(name, filters.get(name))
        if value not in (None, [], {}):
            block[name] = value
    return block


def clean_schema(schema: Any) -> Object:
    """A schema Claude accepts: an object at its root, without ``anyOf``, ``oneOf`` or ``allOf`` there."""
    if not isinstance(schema, dict):
        return dict(EMPTY_SCHEMA)
    unions = [key for key in ("anyOf", "oneOf", "allOf") if isinstance(schema.get(key), list)]
    clean = without(schema, "anyOf", "oneOf", "allOf") if unions else schema
    if unions:
        properties = dict(an_object(schema.get("properties")))
        required = [name for name in a_list(schema.get("required")) if isinstance(name, str)]
        for key in unions:
            for branch in schema[key]:
                properties = {**an_object(an_object(branch).get("properties")), **properties}
                if key == "allOf":
                    required += [name for name in a_list(an_object(branch).get("required")) if name not in required]
        clean = {**clean, "properties": properties}
        if required:
            clean["required"] = required
    if clean.get("type") != "object" or not isinstance(clean.get("properties"), dict):
        clean = {**clean, "type": "object", "properties": an_object(clean.get("properties"))}
    lowered: Object = _lower_types(clean)
    return lowered


def _lower_types(value: Any) -> Any:
    """Google writes types in capitals."""
    if isinstance(value, dict):
        changed = {
            key: inner.lower() if key == "type" and isinstance(inner, str) and inner.isupper() else _lower_types(inner)
            for key, inner in value.items()
        }
        return value if all(changed[key] is value[key] for key in value) else changed
    if isinstance(value, list):
        items = [_lower_types(item) for item in value]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    return value


def encode_tool_choice(conversation: Conversation, names: NameMap, tools: list[Object]) -> Object | None:
    """``tool_choice``, None to leave it out. Raises InvalidRequest for a tool that is not declared."""
    choice, parallel = conversation.tool_choice, conversation.parallel_tool_calls
    if not tools:
        return None
    encoded: Object | None = None
    match choice.mode if choice is not None else None:
        case "auto":
            encoded = {"type": "auto"}
        case "none":
            return {"type": "none"}
        case "required":
            encoded = {"type": "any"}
        case "allowed":
            encoded = {"type": "any" if choice is not None and choice.required else "auto"}
        case "named":
            encoded = _named(choice, names, tools)
    if parallel is False:
        encoded = {**(encoded or {"type": "auto"}), "disable_parallel_tool_use": True}
    return encoded


def _named(choice: ToolChoice | None, names: NameMap, tools: list[Object]) -> Object | None:
    wanted = choice.names[0] if choice is not None and choice.names else ""
    upstream = next((up for (_, name), up in names.to_upstream.items() if name == wanted), wanted)
    declared = {tool.get("name") for tool in tools}
    if upstream in declared:
        return {"type": "tool", "name": upstream}
    if choice is not None and choice.builtin is not None:
        return None
    raise InvalidRequest(f"tool_choice names {wanted!r}, which is not among the tools", param="tool_choice")
