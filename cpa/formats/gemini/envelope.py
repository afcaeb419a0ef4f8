"""The envelope of Gemini CLI's backend: ``{"model", "project", "request"}`` around requests, ``{"response"}`` around
answers. Errors and token counts are not wrapped."""

from __future__ import annotations

from cpa.errors import InvalidRequest
from cpa.formats.gemini.fields import Object, get


def request_of(body: Object) -> Object:
    """The ``generateContent`` body inside, or the body itself when it is bare. Raises InvalidRequest."""
    inner = body.get("request")
    if inner is None or "contents" in body:
        return body
    if not isinstance(inner, dict):
        raise InvalidRequest("request must be an object", param="request")
    return inner


def is_wrapped(body: Object) -> bool:
    """Whether a request body is an envelope."""
    return request_of(body) is not body


def wrap_request(request: Object, model: str, envelope: Object | None = None) -> Object:
    """``request`` in an envelope for ``model``; other members of the client's own envelope are kept.

    ``project`` stays empty unless the client named one: it belongs to the account, whose provider sets it.
    """
    own = {key: value for key, value in (envelope or {}).items() if key not in ("model", "request")}
    return {"model": model, "project": "", **own, "request": request}


def response_of(body: Object) -> Object:
    """The response inside an envelope, or the body itself."""
    inner = body.get("response")
    return inner if isinstance(inner, dict) and "candidates" not in body else body


def count_request(request: Object, model: str, quirks: frozenset[str]) -> Object:
    """A body for ``countTokens`` that counts tools and instructions too, not only the dialogue.

    Google's API takes the whole request as ``generateContentRequest``; Vertex takes its parts side by side.
    """
    if "vertex" in quirks:
        kept = ("contents", "systemInstruction", "tools", "generationConfig")
        return {name: value for name in kept if (value := get(request, name)) is not None}
    whole = {key: value for key, value in request.items() if key not in ("safetySettings", "safety_settings", "model")}
    name = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
    return {"generateContentRequest": {"model": name, **whole}}
