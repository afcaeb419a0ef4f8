"""Adapt a Gemini client's own body for a Gemini upstream. Copy on write: what stays the same stays the same object.

Only what an upstream would refuse is touched: roles, answers of functions without a name, foreign or missing thought
signatures, the OpenAPI spelling of schemas beside its JSON Schema twin, and what single upstreams do not know.
"""

from __future__ import annotations

from typing import Any

from cpa.conversation.effort import ResolvedReasoning
from cpa.conversation.signatures import GEMINI_SKIP_VALIDATION
from cpa.formats.codec import EncodedRequest, Target
from cpa.formats.gemini import fields
from cpa.formats.gemini.envelope import count_request, is_wrapped, request_of, wrap_request
from cpa.formats.gemini.fields import Object, get
from cpa.formats.gemini.history import own_signature
from cpa.formats.gemini.part_decode import signature_of
from cpa.formats.gemini.reasoning import write_thinking
from cpa.formats.gemini.request_decode import Role, role_of
from cpa.formats.gemini.request_encode import AISTUDIO_REFUSES, safety_defaults
from cpa.formats.json_schema import from_openapi

_WIRE_ROLES: dict[Role, str] = {"user": "user", "assistant": "model"}
_SCHEMA_TWINS = (("parameters", "parametersJsonSchema"), ("response", "responseJsonSchema"))


def adapt_native(body: Object, target: Target, reasoning: ResolvedReasoning, *, wrap: bool) -> EncodedRequest:
    """The body for ``target``; ``wrap`` for an upstream that wants the envelope of Gemini CLI's backend."""
    request = request_of(body)
    counted = get(request, "generateContentRequest") if target.operation == "count" else None
    if isinstance(counted, dict):
        request = counted
    adapted = _adapt_request(request, target, wrap=wrap)
    if target.operation == "count":
        return EncodedRequest(_count_body(adapted, target, wrap=wrap))
    adapted = write_thinking(adapted, reasoning)
    if not wrap:
        return EncodedRequest(adapted)
    envelope = body if is_wrapped(body) else None
    return EncodedRequest(wrap_request(adapted, target.model, envelope))


def _count_body(request: Object, target: Target, *, wrap: bool) -> Object:
    if wrap:
        return {"request": fields.without(request, "safetySettings")}
    return count_request(request, target.model, target.quirks)


def _adapt_request(request: Object, target: Target, *, wrap: bool) -> Object:
    changes: Object = {}
    contents = request.get("contents")
    if isinstance(contents, list):
        adapted = _adapt_contents(contents)
        changes["contents"] = _mapped(adapted, _without_ids) if "vertex" in target.quirks else adapted
    tools = request.get("tools")
    if isinstance(tools, list):
        changes["tools"] = _mapped(tools, _adapt_tool)
    key = "generationConfig" if "generationConfig" in request else "generation_config"
    config = request.get(key)
    if isinstance(config, dict):
        changes[key] = _adapt_config(config, target)
    if get(request, "safetySettings") is None:
        changes["safetySettings"] = safety_defaults()
    changes = {name: value for name, value in changes.items() if request.get(name) is not value}
    changed = {**request, **changes} if changes else request
    if wrap and "system_instruction" in changed:
        instruction = get(changed, "systemInstruction")
        changed = {**fields.without(changed, "systemInstruction"), "systemInstruction": instruction}
    return fields.without(changed, *(("model",) if wrap else ("model", "sessionId")))


def _mapped(values: list[Any], adapt: Any) -> list[Any]:
    """Every item adapted; the same list when no item changed."""
    adapted = [adapt(value) for value in values]
    return values if all(new is old for new, old in zip(adapted, values, strict=True)) else adapted


# -- contents ----------------------------------------------------------------------------------------------


def _adapt_contents(contents: list[Any]) -> list[Any]:
    adapted: list[Any] = []
    previous: Role | None = None
    calls: list[Object] = []
    for content in contents:
        if not isinstance(content, dict):
            if content is not None:
                adapted.append(content)
            continue
        parts = content.get("parts")
        if not isinstance(parts, list):
            adapted.append(content)
            continue
        present = parts if None not in parts else [part for part in parts if part is not None]
        if not present:
            continue
        previous = role_of(content.get("role"), present, previous)
        if previous == "assistant":
            present = _signed(present)
            calls = [call for part in present if isinstance(call := _member(part, "functionCall"), dict)] or calls
        else:
            present = _named(_unsigned(present), calls)
        role = _WIRE_ROLES[previous]
        if present is not parts or content.get("role") != role:
            content = {**content, "role": role, "parts": present}
        adapted.append(content)
    if adapted and isinstance(adapted[0], dict) and adapted[0].get("role") == "model":
        adapted.insert(0, {"role": "user", "parts": [{"text": " "}]})
    if not adapted:
        return contents
    same = len(adapted) == len(contents) and all(new is old for new, old in zip(adapted, contents, strict=True))
    return contents if same else adapted


def _without_ids(content: Any) -> Any:
    """A content whose calls and their answers bear no ids, which Vertex refuses."""
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list):
        return content
    bare = _mapped(parts, _without_id)
    return content if bare is parts else {**content, "parts": bare}


def _without_id(part: Any) -> Any:
    for name in ("functionCall", "function_call", "functionResponse", "function_response"):
        value = part.get(name) if isinstance(part, dict) else None
        if isinstance(value, dict) and "id" in value:
            part = {**part, name: {key: member for key, member in value.items() if key != "id"}}
    return part


def _member(part: Any, name: str) -> Any:
    return get(part, name) if isinstance(part, dict) else None


def _signed(parts: list[Any]) -> list[Any]:
    """A model's parts with proofs Gemini accepts: its own stay, foreign ones go, the first call has one."""
    first = next((part for part in parts if isinstance(_member(part, "functionCall"), dict)), None)

    def adapt(part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        leads = part is first
        signature = signature_of(part)
        if signature is None:
            return {**part, "thoughtSignature": GEMINI_SKIP_VALIDATION} if leads else part
        if own_signature(signature) is not None:
            return part
        bare = fields.without(part, "thoughtSignature")
        for key in ("functionCall", "function_call"):
            call = bare.get(key)
            if isinstance(call, dict):
                bare = {**bare, key: fields.without(call, "thoughtSignature")}
        return {**bare, "thoughtSignature": GEMINI_SKIP_VALIDATION} if leads else bare

    return _mapped(parts, adapt)


def _unsigned(parts: list[Any]) -> list[Any]:
    """A user's parts; only a model signs."""

    def adapt(part: Any) -> Any:
        if isinstance(part, dict) and _member(part, "functionResponse") is not None:
            return fields.without(part, "thoughtSignature")
        return part

    return _mapped(parts, adapt)


def _named(parts: list[Any], calls: list[Object]) -> list[Any]:
    """Responses without a name get the name of the call they answer: of the same id, else at the same place."""
    position = -1

    def adapt(part: Any) -> Any:
        nonlocal position
        response = _member(part, "functionResponse")
        if not isinstance(response, dict):
            return part
        position += 1
        if response.get("name"):
            return part
        name = _name_for(response, position, calls)
        if name is None:
            return part
        key = "functionResponse" if "functionResponse" in part else "function_response"
        return {**part, key: {**response, "name": name}}

    return _mapped(parts, adapt)


def _name_for(response: Object, position: int, calls: list[Object]) -> Any:
    if response.get("id"):
        for call in calls:
            if call.get("id") == response["id"]:
                return call.get("name")
    return calls[position].get("name") if position < len(calls) else None


# -- tools and configuration -------------------------------------------------------------------------------


def _adapt_tool(tool: Any) -> Any:
    if not isinstance(tool, dict):
        return tool
    key = "functionDeclarations" if "functionDeclarations" in tool else "function_declarations"
    declarations = tool.get(key)
    if not isinstance(declarations, list):
        return tool
    adapted = _mapped(declarations, _adapt_declaration)
    return tool if adapted is declarations else {**tool, key: adapted}


def _adapt_declaration(declaration: Any) -> Any:
    """Schemas as JSON Schema, which the API prefers; both spellings at once it refuses."""
    if not isinstance(declaration, dict):
        return declaration
    for openapi, json_schema in _SCHEMA_TWINS:
        if openapi not in declaration:
            continue
        twin = get(declaration, json_schema)
        rest = {name: value for name, value in declaration.items() if name != openapi}
        if twin is None and isinstance(declaration[openapi], dict):
            rest[json_schema] = from_openapi(declaration[openapi])
        declaration = rest
    return declaration


def _within_limit(config: Object, target: Target) -> Object:
    """No more output is asked for than the model gives: Google refuses that."""
    key = "maxOutputTokens" if "maxOutputTokens" in config else "max_output_tokens"
    wanted, most = config.get(key), target.limits.max_output_tokens
    return {**config, key: most} if isinstance(wanted, int) and most and wanted > most else config


def _adapt_config(config: Object, target: Target) -> Object:
    schema = get(config, "responseSchema")
    if schema is not None:
        twin = get(config, "responseJsonSchema")
        config = fields.without(config, "responseSchema")
        if twin is None:
            config = {**config, "responseJsonSchema": from_openapi(schema)}
    config = _within_limit(config, target)
    return fields.without(config, *AISTUDIO_REFUSES) if "aistudio" in target.quirks else config
