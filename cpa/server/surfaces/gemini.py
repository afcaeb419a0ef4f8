"""generateContent routes, and the local endpoint of Gemini CLI."""

from __future__ import annotations

from aiohttp import web

from cpa.errors import ApiError, ErrorInfo
from cpa.formats.codec import Operation
from cpa.network import host_name
from cpa.server.keys import CONFIG
from cpa.server.services import SERVICES
from cpa.server.surfaces.calling import answer_json, guarded

_METHODS: dict[str, tuple[Operation, bool]] = {
    "generateContent": ("generate", False),
    "streamGenerateContent": ("generate", True),
    "countTokens": ("count", False),
}


async def model_method(request: web.Request) -> web.StreamResponse:
    """``POST /v1beta/models/{model}:{method}``; the model may contain slashes and colons."""
    action = request.match_info["action"]
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


async def cli_method(request: web.Request) -> web.StreamResponse:
    """``POST /v1internal:{method}``: for Gemini CLI on this machine, when the configuration allows it; no key."""
    if not request[CONFIG].enable_gemini_cli_endpoint:
        return await _refuse(request, 403, "Gemini CLI endpoint is disabled", "gemini-cli")
    if request.remote != "127.0.0.1" or host_name(request.headers.get("Host", "")) != "127.0.0.1":
        return await _refuse(request, 403, "CLI reply only allow local access", "gemini-cli")
    method = request.match_info["method"]
    if method not in _METHODS:
        return await _refuse(request, 501, f"{method} is not supported", "gemini-cli")
    operation, stream = _METHODS[method]
    return await answer_json(request, "gemini-cli", operation=operation, stream=stream, authenticate=False)


async def _refuse(request: web.Request, status: int, message: str, format_name: str) -> web.StreamResponse:
    codec = request.app[SERVICES].formats[format_name]

    async def refuse() -> web.StreamResponse:
        raise ApiError(ErrorInfo(status, message, type="invalid_request_error"))

    return await guarded(request, codec, refuse)


def add_routes(router: web.UrlDispatcher) -> None:
    """Mount the routes, below both API versions that Google's SDKs use."""
    for version in ("v1beta", "v1"):
        router.add_post(f"/{version}/models/{{action:.+}}", model_method)
    router.add_post("/v1internal:{method}", cli_method)
