"""Chat Completions, legacy completions and Responses routes."""

from __future__ import annotations

from cpa.errors import ErrorInfo, InvalidRequest
from cpa.exchange.call import Answer
from cpa.formats.codec import JsonObject
from cpa.formats.openai import completions, responses_shaped
from cpa.server.answers import error_answer
from cpa.server.request import Request
from cpa.server.surface import Routes
from cpa.server.surfaces.calling import answer_json


async def chat_completions(request: Request) -> Answer:
    """``POST /v1/chat/completions``; a Responses body sent here by mistake is answered in chat shape."""

    def adapt(body: JsonObject) -> JsonObject:
        return responses_shaped.to_chat_request(body) if responses_shaped.looks_like_responses(body) else body

    return await answer_json(request, "openai", adapt=adapt)


async def legacy_completions(request: Request) -> Answer:
    """``POST /v1/completions``."""
    return await answer_json(request, "openai", alt="completions", adapt=completions.to_chat_request)


async def responses(request: Request) -> Answer:
    """``POST /v1/responses``."""
    return await answer_json(request, "openai-response")


async def compact(request: Request) -> Answer:
    """``POST /v1/responses/compact``: never a stream."""

    def adapt(body: JsonObject) -> JsonObject:
        if body.get("stream") is True:
            raise InvalidRequest("Streaming not supported for compact responses", param="stream")
        return {key: value for key, value in body.items() if key != "stream"} if "stream" in body else body

    return await answer_json(request, "openai-response", operation="compact", adapt=adapt)


async def responses_input_tokens(request: Request) -> Answer:
    """``POST /v1/responses/input_tokens``."""
    return await answer_json(request, "openai-response", operation="count")


async def responses_socket(request: Request) -> Answer:
    """``GET /v1/responses``: 426, for which Codex CLI goes on over HTTP at once instead of trying again."""
    error = ErrorInfo(426, "the Responses API is served over HTTP: use POST", code="websocket_unsupported")
    return error_answer(error, request.services.formats["openai-response"], request.request_id)


def add_routes(routes: Routes) -> None:
    """Mount the routes."""
    routes.add("POST", "/v1/chat/completions", chat_completions)
    routes.add("POST", "/v1/completions", legacy_completions)
    for base in ("/v1", "/backend-api/codex"):
        routes.add("POST", f"{base}/responses", responses)
        routes.add("GET", f"{base}/responses", responses_socket)
        routes.add("POST", f"{base}/responses/compact", compact)
    routes.add("POST", "/v1/responses/input_tokens", responses_input_tokens)
