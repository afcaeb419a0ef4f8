"""Read the tools and the tool choice of a Gemini request."""

from __future__ import annotations

from typing import Any

from cpa.conversation.request import Tool, ToolChoice
from cpa.errors import InvalidRequest
from cpa.formats.gemini import fields
from cpa.formats.gemini.fields import Object, get
from cpa.formats.json_schema import from_openapi

BUILTINS = {
    "googleSearch": "google_search",
    "googleSearchRetrieval": "google_search",
    "enterpriseWebSearch": "google_search",
    "urlContext": "url_context",
    "codeExecution": "code_execution",
    "googleMaps": "google_maps",
    "fileSearch": "file_search",
    "computerUse": "computer",
    "mcpServers": "mcp",
}
"""Tools Google runs itself, by member name, and their canonical names."""


def decode_tools(value: Any) -> list[Tool] | None:
    """The declared tools; None when the client sent no list at all."""
    if value is None:
        return None
    tools: list[Tool] = []
    for index, entry in enumerate(fields.a_list(value, "tools")):
        param = f"tools[{index}]"
        for key, member in fields.an_object(entry, param).items():
            name = fields.CAMEL.get(key, key)
            if member is None:
                continue
            if name == "functionDeclarations":
                declared = fields.a_list(member, f"{param}.{name}")
                tools.extend(_function(item, f"{param}.{name}[{position}]") for position, item in enumerate(declared))
            else:
                tools.append(_builtin(name, member))
    return tools


def _function(value: Any, param: str) -> Tool:
    declaration = fields.an_object(value, param)
    name = fields.a_string(declaration.get("name"), f"{param}.name")
    if not name:
        raise InvalidRequest(f"{param}.name is missing", param=f"{param}.name")
    return Tool(
        "function",
        name,
        description=fields.a_string(declaration.get("description"), f"{param}.description"),
        schema=_schema(declaration, "parametersJsonSchema", "parameters"),
        response_schema=_schema(declaration, "responseJsonSchema", "response"),
        raw=declaration,
        format="gemini",
    )


def _schema(declaration: Object, json_schema: str, openapi: str) -> Any:
    found = get(declaration, json_schema)
    return from_openapi(declaration.get(openapi) if found is None else found)


def _builtin(name: str, member: Any) -> Tool:
    options: Object = {}
    if isinstance(member, dict):
        excluded = get(member, "excludeDomains")
        if isinstance(excluded, list):
            options["blocked_domains"] = excluded
    return Tool(
        "builtin",
        BUILTINS.get(name, fields.snake_case(name)),
        options=options,
        raw={name: member},
        format="gemini",
    )


def decode_tool_choice(value: Any) -> ToolChoice | None:
    """The ``functionCallingConfig``; None when there is none or it says nothing."""
    config = fields.an_object(value, "toolConfig")
    param = "toolConfig.functionCallingConfig"
    calling = fields.an_object(get(config, "functionCallingConfig"), param)
    mode = (fields.a_string(calling.get("mode"), f"{param}.mode") or "").upper()
    names = [
        name
        for name in fields.a_list(get(calling, "allowedFunctionNames"), f"{param}.allowedFunctionNames")
        if isinstance(name, str)
    ]
    if mode == "NONE":
        return ToolChoice("none")
    if mode == "ANY":
        if len(names) == 1:
            return ToolChoice("named", names)
        return ToolChoice("allowed", names, required=True) if names else ToolChoice("required")
    if mode in ("AUTO", "VALIDATED"):
        return ToolChoice("allowed", names) if names else ToolChoice("auto")
    return None
