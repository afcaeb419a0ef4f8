"""Members of Gemini JSON objects, whose names arrive in camelCase or snake_case.

Google's API reads proto JSON: every field may be spelled either way, and the official Python SDK mixes both in one
body. Numbers may be strings. Wrong types raise InvalidRequest with the path of the member.
"""

from __future__ import annotations

import re
from math import inf
from typing import Any

from cpa.errors import InvalidRequest
from cpa.formats import members

Object = dict[str, Any]

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_NAMES = """
systemInstruction toolConfig safetySettings generationConfig cachedContent serviceTier inlineData fileData
functionCall functionResponse functionDeclarations functionCallingConfig allowedFunctionNames thinkingConfig
includeThoughts thinkingBudget thinkingLevel thoughtSignature mimeType fileUri displayName executableCode
codeExecutionResult videoMetadata topP topK candidateCount maxOutputTokens stopSequences presencePenalty
frequencyPenalty responseLogprobs responseMimeType responseSchema responseJsonSchema responseModalities
imageConfig aspectRatio imageSize speechConfig mediaResolution parametersJsonSchema googleSearch
googleSearchRetrieval urlContext codeExecution googleMaps fileSearch computerUse enterpriseWebSearch
mcpServers callId willContinue generateContentRequest retrievalConfig excludeDomains sessionId
"""


def snake_case(name: str) -> str:
    """``functionCall`` as ``function_call``."""
    return _HUMP.sub("_", name).lower()


SNAKE = {name: snake_case(name) for name in _NAMES.split()}
"""The other spelling of every member this package reads."""

CAMEL = {snake: name for name, snake in SNAKE.items()}


def get(source: Object, name: str) -> Any:
    """The member, in whichever spelling; None when absent or null."""
    value = source.get(name)
    if value is not None:
        return value
    other = SNAKE.get(name)
    return source.get(other) if other is not None else None


def without(source: Object, *names: str) -> Object:
    """``source`` without these members in both spellings; the same object when it has none of them."""
    gone = [key for name in names for key in (name, SNAKE.get(name, name)) if key in source]
    if not gone:
        return source
    return {key: value for key, value in source.items() if key not in gone}


def an_object(value: Any, param: str) -> Object:
    """``value`` as an object; an absent one is empty."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"{param} must be an object", param=param)
    return value


def a_list(value: Any, param: str) -> list[Any]:
    """``value`` as a list; a single object stands for a list of one, as proto JSON parsers tolerate it."""
    if value is None:
        return []
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise InvalidRequest(f"{param} must be an array", param=param)
    return value


def a_string(value: Any, param: str) -> str | None:
    """``value`` as a string."""
    if value is None or isinstance(value, str):
        return value
    raise InvalidRequest(f"{param} must be a string", param=param)


def a_boolean(value: Any, param: str) -> bool | None:
    """``value`` as a boolean."""
    if value is None or isinstance(value, bool):
        return value
    raise InvalidRequest(f"{param} must be a boolean", param=param)


def a_number(value: Any, param: str) -> float | int | None:
    """``value`` as a number; numeric strings count."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = float(value) if not value.strip().lstrip("-").isdigit() else int(value)
        except ValueError:
            value = None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < inf:
        return value
    raise InvalidRequest(f"{param} must be a number", param=param)


def an_integer(value: Any, param: str) -> int | None:
    """``value`` as an integer; ``40.0`` and ``"40"`` count."""
    return members.an_integer(a_number(value, param), param)
