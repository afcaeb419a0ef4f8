"""What all surfaces share: from a request to the exchange and back to an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cpa.errors import ApiError, ErrorInfo
from cpa.exchange.call import Answer, Call
from cpa.formats.codec import Codec, JsonObject, Operation
from cpa.plugins.values import ClientIdentity
from cpa.server.answers import error_answer, with_newlines
from cpa.server.bodies import model_of, read_json, wants_stream
from cpa.server.request import Request

Adapt = Callable[[JsonObject], JsonObject]


async def answer_json(
    request: Request,
    format_name: str,
    *,
    operation: Operation = "generate",
    alt: str = "",
    adapt: Adapt | None = None,
    model: str | None = None,
    stream: bool | None = None,
    authenticate: bool = True,
) -> Answer:
    """The whole life of a JSON request: authenticate, read, run; errors in the client's format.

    ``model`` and ``stream`` win over what the body says (formats that have them in the URL). ``adapt`` rewrites the
    body (legacy routes); what it raises is told to the client.
    """
    config = request.config

    async def answer() -> Answer:
        client = request.door.admit(request, config) if authenticate else None
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
        if call.stream or config.nonstream_keepalive_interval <= 0 or operation == "count":
            return await run_call(request, call)
        running = guarded(request, codec, lambda: run_call(request, call))
        return await with_newlines(running, config.nonstream_keepalive_interval)

    codec = request.services.formats[format_name]
    return await guarded(request, codec, answer)


def make_call(
    request: Request,
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
    recorder = request.recorder
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
        address=request.remote,
        client=client,
        request_id=request.request_id,
        peer=request.peer,
        alt=alt,
        recorder=recorder,
    )
    if recorder is not None:
        recorder.call = call
    return call


async def run_call(request: Request, call: Call) -> Answer:
    """Run a call under the request's configuration snapshot. Raises ApiError."""
    request.exchanged = True
    return await request.services.exchange.run(call, request.config)


async def guarded(request: Request, codec: Codec, handler: Callable[[], Awaitable[Answer]]) -> Answer:
    """Run a handler; what it raises becomes an error in the client's format, never a traceback."""
    try:
        return await handler()
    except ApiError as failure:
        if request.recorder is not None:
            request.recorder.error = failure.error
        return error_answer(failure.error, codec, request.request_id)
    except ConnectionError:
        raise
    except Exception:
        request.services.log.exception("request failed", request_id=request.request_id, path=request.path)
        error = ErrorInfo(500, "internal error", type="server_error", code="internal_server_error")
        return error_answer(error, codec, request.request_id)
