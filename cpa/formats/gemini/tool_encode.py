"""Write tools and the tool choice for Gemini, renaming what its names may not hold."""

from __future__ import annotations

from typing import Any

from cpa.conversation.names import (
    NameMap,
    ToolIdentity,
    hashed_suffix,
    namespaced,
    numbered,
    sanitise_for_gemini,
)
from cpa.conversation.parts import ToolCall
from cpa.conversation.request import Conversation, Tool, ToolChoice
from cpa.formats.gemini.fields import CAMEL
from cpa.formats.gemini.history import FAMILY
from cpa.formats.json_schema import clean_for_gemini

Object = dict[str, Any]

_INPUT_SCHEMA: Object = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}

_GENERAL = {"web_search": "googleSearch", "web_fetch": "urlContext"}
"""Other vendors' tools that Google has an equal of. Older models refuse them beside functions: then the functions,
which the client depends on, stay alone."""

_GOOGLE = {
    "google_search": "googleSearch",
    "url_context": "urlContext",
    "code_execution": "codeExecution",
    "google_maps": "googleMaps",
}
"""Tools a client asked for in Google's own words."""


def name_tools(conversation: Conversation) -> NameMap:
    """The upstream names of every tool that is declared or called."""
    names = NameMap()
    for tool in conversation.tools or ():
        if tool.kind != "builtin" and tool.name:
            _add(names, ToolIdentity(tool.name, tool.namespace, tool.kind, wrapped=tool.kind == "custom"))
    for turn in conversation.turns:
        for part in turn.parts:
            if isinstance(part, ToolCall) and part.name:
                _add(names, ToolIdentity(part.name, part.namespace, part.kind, wrapped=part.kind == "custom"))
    return names


def _add(names: NameMap, identity: ToolIdentity) -> None:
    original = namespaced(identity.namespace, identity.name)

    def distinguish(wanted: str, attempt: int) -> str:
        unique = hashed_suffix(f"{identity.namespace or ''}\0{original}", wanted)
        return unique if attempt == 1 else numbered(unique, attempt)

    names.add(identity, sanitise_for_gemini(original), distinguish=distinguish)


def encode_tools(conversation: Conversation, names: NameMap) -> list[Object]:
    """The ``tools`` entries: one with all functions, then one for each of Google's own tools."""
    declarations: dict[str, Object] = {}
    own: list[Object] = []
    general: list[str] = []
    for tool in conversation.tools or ():
        if tool.kind != "builtin":
            if tool.name:
                name = names.upstream_name(tool.name, tool.namespace)
                declarations.setdefault(name, _declaration(tool, name))
        elif tool.format in FAMILY and isinstance(tool.raw, dict):
            raw: Object = tool.raw
            own.append({CAMEL.get(key, key): value for key, value in raw.items()})
        elif tool.name in _GOOGLE:
            own.append({_GOOGLE[tool.name]: {}})
        elif tool.name in _GENERAL:
            general.append(_GENERAL[tool.name])
    if not declarations:
        own.extend({name: {}} for name in general)
    unique: list[Object] = []
    for entry in own:
        if entry not in unique:
            unique.append(entry)
    return [{"functionDeclarations": list(declarations.values())}, *unique] if declarations else unique


def _declaration(tool: Tool, name: str) -> Object:
    declaration: Object = {"name": name}
    if tool.description:
        declaration["description"] = tool.description
    declaration["parametersJsonSchema"] = _INPUT_SCHEMA if tool.kind == "custom" else clean_for_gemini(tool.schema)
    if isinstance(tool.response_schema, dict):
        declaration["responseJsonSchema"] = clean_for_gemini(tool.response_schema)
    return declaration


def encode_tool_choice(choice: ToolChoice | None, conversation: Conversation, names: NameMap) -> Object | None:
    """``toolConfig`` for a choice; None when it says nothing or speaks of tools that are not declared.

    A set of allowed names is only legal with the modes ANY and VALIDATED (call one of them, or answer in text).
    """
    if choice is None:
        return None
    declared: dict[str, str] = {}
    for tool in conversation.tools or ():
        if tool.kind != "builtin" and tool.name:
            upstream = names.upstream_name(tool.name, tool.namespace)
            declared.setdefault(tool.name, upstream)
            declared.setdefault(namespaced(tool.namespace, tool.name), upstream)
    if not declared:
        return None
    allowed = list(dict.fromkeys(declared[name] for name in choice.names if name in declared))
    calling: Object | None = None
    if choice.mode == "auto":
        calling = {"mode": "AUTO"}
    elif choice.mode == "none":
        calling = {"mode": "NONE"}
    elif choice.mode == "required":
        calling = {"mode": "ANY"}
    elif allowed:
        forced = choice.mode == "named" or choice.required
        calling = {"mode": "ANY" if forced else "VALIDATED", "allowedFunctionNames": allowed}
    return {"functionCallingConfig": calling} if calling is not None else None
