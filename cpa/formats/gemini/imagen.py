"""Imagen on Vertex AI: ``:predict`` with a prompt, answered with pictures, told as ``generateContent`` tells them.

https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/imagen-api
"""

from __future__ import annotations

from typing import Any

from cpa.errors import InvalidRequest
from cpa.formats.gemini.fields import Object, get

_BLOCKED = "IMAGE_SAFETY"


def predict_request(body: Object) -> Object:
    """The ``:predict`` body for a ``generateContent`` body: what the user said last is the prompt.

    Raises InvalidRequest when nothing was said.
    """
    prompt = next((text for text in map(_text_of, reversed(_objects(body.get("contents")))) if text), "")
    if not prompt.strip():
        raise InvalidRequest("an image needs a prompt", param="contents")
    config = get(body, "generationConfig")
    config = config if isinstance(config, dict) else {}
    image = get(config, "imageConfig")
    ratio = get(image, "aspectRatio") if isinstance(image, dict) else None
    count = get(config, "candidateCount")
    instance: Object = {"prompt": prompt}
    if isinstance(unwanted := body.get("negativePrompt"), str):
        instance["negativePrompt"] = unwanted
    parameters: Object = {"sampleCount": count if isinstance(count, int) and count > 0 else 1}
    if isinstance(ratio, str):
        parameters["aspectRatio"] = ratio
    return {"instances": [instance], "parameters": parameters}


def answer_of(body: Object) -> Object:
    """An answer of ``generateContent`` for one of ``:predict``; any other body as it is."""
    predictions = body.get("predictions")
    if not isinstance(predictions, list) or "candidates" in body:
        return body
    parts = [
        {"inlineData": {"mimeType": one.get("mimeType") or "image/png", "data": one["bytesBase64Encoded"]}}
        for one in _objects(predictions)
        if isinstance(one.get("bytesBase64Encoded"), str)
    ]
    if not parts:
        return {"promptFeedback": {"blockReason": _BLOCKED}}
    content = {"role": "model", "parts": parts}
    return {"candidates": [{"content": content, "finishReason": "STOP", "index": 0}]}


def _text_of(content: Object) -> str:
    if content.get("role") == "model":
        return ""
    texts = (part.get("text") for part in _objects(content.get("parts")))
    return "\n".join(text for text in texts if isinstance(text, str) and text)


def _objects(value: Any) -> list[Object]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
