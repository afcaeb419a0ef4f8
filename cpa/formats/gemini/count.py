"""Token counting: the bodies of ``countTokens`` and the text that is counted where nobody else counts."""

from __future__ import annotations

from typing import Any

import orjson

from cpa.formats.gemini.envelope import request_of, response_of
from cpa.formats.gemini.fields import Object, get

_FUNCTIONS = (("functionCall", "args"), ("functionResponse", "response"))


def decode_count(body: Object) -> int | None:
    """``totalTokens`` of an answer, in the envelope or not."""
    total = response_of(body).get("totalTokens")
    return total if isinstance(total, int) and not isinstance(total, bool) else None


def encode_count(tokens: int) -> Object:
    """The answer of ``countTokens``; all that was counted here is text."""
    return {"totalTokens": tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}]}


def countable_text(body: Object) -> str:
    """Every text of a request that counts as prompt, one per line; media are left out."""
    request = request_of(body)
    request = _object(get(request, "generateContentRequest")) or request
    texts = _content_texts(get(request, "systemInstruction"))
    for content in _objects(request.get("contents")):
        texts += _content_texts(content)
    for entry in _objects(request.get("tools")):
        for declaration in _objects(get(entry, "functionDeclarations")):
            texts += [_text(declaration.get("name")), _text(declaration.get("description"))]
            texts.append(_json(get(declaration, "parametersJsonSchema") or declaration.get("parameters")))
    return "\n".join(text for text in texts if text)


def _content_texts(content: Any) -> list[str]:
    texts: list[str] = []
    for part in _objects(_object(content).get("parts")):
        texts.append(_text(part.get("text")))
        for name, member in _FUNCTIONS:
            function = get(part, name)
            if isinstance(function, dict):
                texts += [_text(function.get("name")), _json(function.get(member))]
    return texts


def _object(value: Any) -> Object:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[Object]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _json(value: Any) -> str:
    return orjson.dumps(value).decode() if value else ""
