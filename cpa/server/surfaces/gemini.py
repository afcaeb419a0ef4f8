"""generateContent routes, and the local endpoint of Gemini CLI."""

from __future__ import annotations

from cpa.errors import ApiError, ErrorInfo
from cpa.exchange.call import Answer
from cpa.formats.codec import Operation
from cpa.network import host_name
from cpa.server.request import Request
from cpa.server.surface import Routes, rest_of
from cpa.server.surfaces.calling import answer_json, guarded

_METHODS: dict[str, tuple[Operation, bool]] = {
    "generateContent": ("generate", False),
    "streamGenerateContent": ("generate", True),
    "countTokens": ("count", False),
}

_MODELS = ("/v1beta/models/", "/v1/models/")
_INTERNAL = "/v1internal:"


async def model_method(request: Request) -> Answer:
    """``POST /v1beta/models/{model}:{method}``; the model may contain slashes and colons."""
    action = rest_of(request, *_MODELS)
    model, colon, method = action.rpartition(":")
    if not colon or not model or method not in _METHODS:
        return await _refuse(request, 404, f"{request.path} not found.", "gemini")
    operation, stream = _METHODS[method]
    alt = request.query.get("alt", request.query.get("$alt", ""))
    return await answer_json(
        request,
        "gemini",
        operation=operation,
        model=model.removeprefix("models/"),
        stream=stream,
        alt="json" if stream and alt == "json" else "",
    )


async def cli_method(request: Request) -> Answer:
    """``POST /v1internal:{method}``: for Gemini CLI on this machine, when the configuration allows it; no key."""
    if not request.config.enable_gemini_cli_endpoint:
        return await _refuse(request, 403, "Gemini CLI endpoint is disabled", "gemini-cli")
    if request.remote != "127.0.0.1" or host_name(request.headers.get("Host", "")) != "127.0.0.1":
        return await _refuse(request, 403, "CLI reply only allow local access", "gemini-cli")
    method = rest_of(request, _INTERNAL)
    if method not in _METHODS:
        return await _refuse(request, 501, f"{method} is not supported", "gemini-cli")
    operation, stream = _METHODS[method]
    return await answer_json(request, "gemini-cli", operation=operation, stream=stream, authenticate=False)


async def _refuse(request: Request, status: int, message: str, format_name: str) -> Answer:
    codec = request.services.formats[format_name]

    async def refuse() -> Answer:
        raise ApiError(ErrorInfo(status, message, type="invalid_request_error"))

    return await guarded(request, codec, refuse)


def add_routes(routes: Routes) -> None:
    """Mount the routes, below both API versions that Google's SDKs use."""
    for beginning in _MODELS:
        routes.add("POST", beginning, model_method, rest="action")
    routes.add("POST", _INTERNAL, cli_method, rest="method")
