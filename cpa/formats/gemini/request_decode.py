"""Read a ``generateContent`` request into a :class:`Conversation`.

https://ai.google.dev/api/generate-content. Accepts both spellings of every member, and tolerates the roles
``function``, ``tool``, ``assistant`` and none at all, which clients of older SDKs send.
"""

from __future__ import annotations

from typing import Any, Literal

from cpa.conversation.request import Conversation, OutputFormat, Reasoning, Sampling, SystemItem, Turn
from cpa.errors import InvalidRequest
from cpa.formats.gemini import fields
from cpa.formats.gemini.fields import Object, get
from cpa.formats.gemini.part_decode import decode_parts
from cpa.formats.gemini.tool_decode import decode_tool_choice, decode_tools
from cpa.formats.json_schema import from_openapi

Role = Literal["user", "assistant"]

_KNOWN = frozenset(
    key
    for name in (
        "contents",
        "tools",
        "model",
        "store",
        "systemInstruction",
        "toolConfig",
        "safetySettings",
        "generationConfig",
        "cachedContent",
        "serviceTier",
        "generateContentRequest",
        "sessionId",
    )
    for key in (name, fields.SNAKE.get(name, name))
)


def decode_request(body: Object, *, model: str, stream: bool) -> Conversation:
    """Read a request body. Raises InvalidRequest naming the member that is wrong."""
    wrapped = get(body, "generateContentRequest")
    if wrapped is not None:
        body = fields.an_object(wrapped, "generateContentRequest")
    system = _decode_system(get(body, "systemInstruction"))
    contents = body.get("contents")
    if contents is None and not system:
        raise InvalidRequest("contents is not specified", param="contents")
    turns: list[Turn] = []
    _decode_contents(contents, turns, system)
    config = fields.an_object(get(body, "generationConfig"), "generationConfig")
    image_config = fields.an_object(get(config, "imageConfig"), "generationConfig.imageConfig")
    modalities = get(config, "responseModalities")
    return Conversation(
        format="gemini",
        model=model,
        stream=stream,
        turns=turns,
        system=system,
        tools=decode_tools(body.get("tools")),
        tool_choice=decode_tool_choice(get(body, "toolConfig")),
        reasoning=decode_reasoning(config),
        sampling=_decode_sampling(config),
        output_format=_decode_output_format(config),
        modalities=None
        if modalities is None
        else [text.lower() for text in _strings(modalities, "generationConfig.responseModalities")],
        image_config=_image_config(image_config),
        audio=get(config, "speechConfig"),
        media_resolution=fields.a_string(get(config, "mediaResolution"), "generationConfig.mediaResolution"),
        safety_settings=None
        if get(body, "safetySettings") is None
        else fields.a_list(get(body, "safetySettings"), "safetySettings"),
        cached_content=fields.a_string(get(body, "cachedContent"), "cachedContent"),
        service_tier=fields.a_string(get(body, "serviceTier"), "serviceTier"),
        store=body["store"] if isinstance(body.get("store"), bool) else None,
        extras={key: value for key, value in body.items() if key not in _KNOWN},
    )


def decode_reasoning(config: Object) -> Reasoning:
    """The thinking a ``generationConfig`` asks for. A level beats a budget."""
    param = "generationConfig.thinkingConfig"
    thinking = fields.an_object(get(config, "thinkingConfig"), param)
    include = fields.a_boolean(get(thinking, "includeThoughts"), f"{param}.includeThoughts")
    level = fields.a_string(get(thinking, "thinkingLevel"), f"{param}.thinkingLevel")
    budget = fields.an_integer(get(thinking, "thinkingBudget"), f"{param}.thinkingBudget")
    if level and level.upper() != "THINKING_LEVEL_UNSPECIFIED":
        name = level.lower()
        if name in ("none", "auto"):
            return Reasoning(mode="off" if name == "none" else "auto", include_thoughts=include)
        return Reasoning(mode="level", level=name, include_thoughts=include)
    if budget is None:
        return Reasoning(include_thoughts=include)
    if budget in (0, -1):
        return Reasoning(mode="off" if budget == 0 else "auto", include_thoughts=include)
    return Reasoning(mode="budget", budget=budget, include_thoughts=include)


# -- dialogue ----------------------------------------------------------------------------------------------


def _decode_system(value: Any) -> list[SystemItem]:
    if value is None:
        return []
    parts = decode_parts(_parts_of(value, "systemInstruction"), "systemInstruction.parts")
    return [SystemItem(parts)] if parts else []


def _decode_contents(value: Any, turns: list[Turn], system: list[SystemItem]) -> None:
    contents: list[Any] = [value] if isinstance(value, str) else fields.a_list(value, "contents")
    previous: Role | None = None
    for index, content in enumerate(contents):
        if content is None:
            continue
        param = f"contents[{index}]"
        raw = _parts_of(content, param)
        parts = decode_parts(raw, f"{param}.parts")
        name = content.get("role") if isinstance(content, dict) else None
        if name in ("system", "developer"):
            system.append(SystemItem(parts, origin=name, position=len(turns)))
            continue
        previous = role_of(name, raw, previous)
        if parts:
            turns.append(Turn(previous, parts))


def role_of(name: Any, parts: list[Any], previous: Role | None) -> Role:
    """Whose turn a content is: what its role says, else what its parts imply, else the other one's."""
    if name in ("user", "function", "tool"):
        return "user"
    if name in ("model", "assistant"):
        return "assistant"
    for part in parts:
        if isinstance(part, dict):
            if get(part, "functionCall") is not None:
                return "assistant"
            if get(part, "functionResponse") is not None:
                return "user"
    return "assistant" if previous == "user" else "user"


def _parts_of(content: Any, param: str) -> list[Any]:
    """The parts of a content; a plain string is one text part."""
    if isinstance(content, str):
        return [{"text": content}]
    if not isinstance(content, dict):
        raise InvalidRequest(f"{param} must be an object", param=param)
    parts = content.get("parts")
    if parts is None and isinstance(content.get("text"), str):
        return [content]
    if isinstance(parts, str):
        return [{"text": parts}]
    return fields.a_list(parts, f"{param}.parts")


# -- generationConfig --------------------------------------------------------------------------------------


def _decode_sampling(config: Object) -> Sampling:
    def number(name: str) -> float | int | None:
        return fields.a_number(get(config, name), f"generationConfig.{name}")

    def integer(name: str) -> int | None:
        return fields.an_integer(get(config, name), f"generationConfig.{name}")

    stop = get(config, "stopSequences")
    return Sampling(
        temperature=number("temperature"),
        top_p=number("topP"),
        top_k=integer("topK"),
        seed=integer("seed"),
        presence_penalty=number("presencePenalty"),
        frequency_penalty=number("frequencyPenalty"),
        n=integer("candidateCount"),
        stop=None if stop is None else _strings(stop, "generationConfig.stopSequences"),
        max_output_tokens=integer("maxOutputTokens"),
        logprobs=fields.a_boolean(get(config, "responseLogprobs"), "generationConfig.responseLogprobs"),
        top_logprobs=integer("logprobs"),
    )


def _decode_output_format(config: Object) -> OutputFormat | None:
    mime = fields.a_string(get(config, "responseMimeType"), "generationConfig.responseMimeType")
    schema = get(config, "responseJsonSchema")
    if schema is None:
        schema = from_openapi(get(config, "responseSchema"))
    if mime == "application/json" or (mime is None and schema is not None):
        return OutputFormat("json_object") if schema is None else OutputFormat("json_schema", schema=schema)
    return OutputFormat("text") if mime else None


def _image_config(config: Object) -> dict[str, Any] | None:
    found = {"aspect_ratio": get(config, "aspectRatio"), "size": get(config, "imageSize")}
    return {key: value for key, value in found.items() if value is not None} or None


def _strings(value: Any, param: str) -> list[str]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidRequest(f"{param} must be an array of strings", param=param)
    return list(value)
