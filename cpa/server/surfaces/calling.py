"""What all surfaces share: from an aiohttp request to the exchange and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from cpa.config import Config
from cpa.errors import ApiError, ErrorInfo
from cpa.exchange.call import Answer, Call
from cpa.formats.codec import Codec, JsonObject, Operation
from cpa.plugins.values import ClientIdentity
from cpa.server.answers import error_response, send_answer, with_newlines
from cpa.server.bodies import RECORDER, model_of, read_json, wants_stream
from cpa.server.clients import Doorkeeper, peer_address
from cpa.server.keys import CONFIG, REQUEST_ID
from cpa.server.services import SERVICES, Services

DOORKEEPER: web.AppKey[Doorkeeper] = web.AppKey("doorkeeper", Doorkeeper)
EXCHANGED: web.RequestKey[bool] = web.RequestKey("exchanged", bool)

Adapt = Callable[[JsonObject], JsonObject]


async def answer_json(
    request: web.Request,
    format_name: str,
    *,
    operation: Operation = "generate",
    alt: str = "",
    adapt: Adapt | None = None,
    model: str | None = None,
    stream: bool | None = None,
    authenticate: bool = True,
) -> web.StreamResponse:
    """The whole life of a JSON request: authenticate, read, run, send; errors in the client's format.

    ``model`` and ``stream`` win over what the body says (formats that have them in the URL). ``adapt`` rewrites the
    body (legacy routes); what it raises is told to the client.
    """
    codec = request.app[SERVICES].formats[format_name]

    async def answer() -> web.StreamResponse:
        config = request[CONFIG]
        client = request.app[DOORKEEPER].admit(request, config) if authenticate else None
        body, raw = await read_json(request, config.max_body_size)
        if adapt is not None:
            adapted = adapt(body)
            raw = raw if adapted is body else b""
            body = adapted
        call = make_call(
            request,
            format_name,
            client,
            body,
            raw,
            operation=operation,
            alt=alt,
            model=model or model_of(body),
            stream=(wants_stream(body) if stream is None else stream) and operation in ("generate", "images"),
        )
        return await run_and_send(request, call, codec)

    return await guarded(request, codec, answer)


def make_call(
    request: web.Request,
    format_name: str,
    client: ClientIdentity | None,
    body: JsonObject,
    raw: bytes,
    *,
    model: str,
    stream: bool,
    operation: Operation = "generate",
    alt: str = "",
) -> Call:
    """The call for a request."""
    recorder = request.get(RECORDER)
    call = Call(
        format=format_name,
        operation=operation,
        model=model,
        stream=stream,
        body=body,
        raw=raw,
        path=request.path,
        headers=request.headers,
        query=request.query,
        address=request.remote or "",
        client=client,
        request_id=request[REQUEST_ID],
        peer=peer_address(request, request[CONFIG]),
        alt=alt,
        recorder=recorder,
    )
    if recorder is not None:
        recorder.call = call
    return call


async def run_call(request: web.Request, call: Call) -> Answer:
    """Run a call under the request's configuration snapshot."""
    request[EXCHANGED] = True
    return await request.app[SERVICES].exchange.run(call, request[CONFIG])


async def run_and_send(request: web.Request, call: Call, codec: Codec) -> web.StreamResponse:
    """Run a call and send its answer, with keep-alives as configured."""
    config = request[CONFIG]

    async def whole() -> web.StreamResponse:
        return await guarded(request, codec, lambda: _send(request, call, config))

    if not call.stream and config.nonstream_keepalive_interval > 0 and call.operation != "count":
        return await with_newlines(request, whole(), config.nonstream_keepalive_interval)
    return await _send(request, call, config)


async def _send(request: web.Request, call: Call, config: Config) -> web.StreamResponse:
    answer = await run_call(request, call)
    return await send_answer(request, answer, config.streaming.keepalive_seconds)


async def guarded(request: web.Request, codec: Codec, handler: Callable[[], Any]) -> web.StreamResponse:
    """Run a handler; what it raises becomes an error in the client's format, never a traceback."""
    try:
        response: web.StreamResponse = await handler()
        return response
    except ApiError as failure:
        if (recorder := request.get(RECORDER)) is not None:
            recorder.error = failure.error
        return error_response(failure.error, codec, request[REQUEST_ID])
    except (web.HTTPException, ConnectionError):
        raise
    except Exception:
        services: Services = request.app[SERVICES]
        services.log.exception("request failed", request_id=request[REQUEST_ID], path=request.path)
        error = ErrorInfo(500, "internal error", type="server_error", code="internal_server_error")
        return error_response(error, codec, request[REQUEST_ID])
