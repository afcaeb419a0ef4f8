"""Read request bodies: any encoding, within limits, as a JSON object."""

from __future__ import annotations

import asyncio

import orjson

from cpa.errors import ApiError, ErrorInfo, InvalidRequest
from cpa.formats.codec import JsonObject
from cpa.server.request import Body, Request
from cpa.upstream.decoding import check_ends, decoders, unpack

PARSE_OFF_LOOP = 4 * 1024 * 1024
BODY_SECONDS = 30.0
"""Between two pieces of a request's body."""
CODINGS = ("gzip", "x-gzip", "deflate", "br", "zstd", "identity")


async def read_json(request: Request, limit: int) -> tuple[JsonObject, bytes]:
    """The JSON object in a body and its decoded bytes. Raises ApiError 400, 413, 415."""
    content = await read_body(request, limit)
    if request.recorder is not None:
        request.recorder.body = content
    try:
        if len(content) > PARSE_OFF_LOOP:
            body = await asyncio.to_thread(orjson.loads, content)
        else:
            body = orjson.loads(content)
    except orjson.JSONDecodeError as fault:
        where = f" at byte {fault.pos}" if content else ": it is empty"
        raise InvalidRequest(f"the body is not valid JSON{where}") from None
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object")
    return body, content


async def read_body(request: Request, limit: int) -> bytes:
    """The body, decoded of its Content-Encoding; at most ``limit`` bytes, also after decoding."""
    content = await _received(request, limit)
    if encoding := request.headers.get("Content-Encoding"):
        codings = [coding.strip().lower() for coding in encoding.split(",")]
        for coding in reversed([coding for coding in codings if coding and coding != "identity"]):
            content = await _decode(content, coding, limit)
    if len(content) > limit:
        raise too_large(limit)
    return content


async def _received(request: Request, limit: int) -> bytes:
    """The body as it came. One that is announced or turns out to be too large is not taken into memory."""
    body = request.body
    announced = body.announced
    if announced is not None and announced > limit:
        raise too_large(limit)
    if (whole := body.at_once()) is not None:
        return whole
    content = bytearray()
    try:
        while chunk := await _next_piece(body):
            content += chunk
            if len(content) > limit:
                raise too_large(limit)
    except BaseException:
        if request.recorder is not None:
            request.recorder.came = bytes(content)
        raise
    return bytes(content)


async def _next_piece(body: Body) -> bytes:
    """What has come of a body since; empty at its end. Raises ApiError 408 when it stops coming."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await body.next_piece()
    except TimeoutError:
        message = f"the body stopped coming for {BODY_SECONDS:.0f} seconds"
        raise ApiError(ErrorInfo(408, message, type="invalid_request_error", code="request_timeout")) from None


async def _decode(content: bytes, coding: str, limit: int) -> bytes:
    if coding not in CODINGS:
        message = f"Invalid request: unsupported request content encoding: {coding[:40]}"
        raise ApiError(ErrorInfo(415, message, type="invalid_request_error", code="unsupported_encoding"))
    try:
        return await asyncio.to_thread(_unpacked, content, coding, limit)
    except ValueError:
        if content[:1] == b"{":
            return content
        raise InvalidRequest(f"the body is not valid {coding}") from None


def _unpacked(content: bytes, coding: str, limit: int) -> bytes:
    """The content without one coding. Raises ValueError when it is not of it, ApiError when it swells too far."""
    chain, pieces, size = decoders(coding), [], 0
    for piece in unpack(chain, content):
        size += len(piece)
        if size > limit:
            raise too_large(limit)
        pieces.append(piece)
    check_ends(chain)
    return b"".join(pieces)


def too_large(limit: int) -> ApiError:
    """The error for a body over the limit."""
    message = f"the body exceeds {limit} bytes (max-body-size)"
    return ApiError(ErrorInfo(413, message, type="invalid_request_error", code="request_too_large"))


def model_of(body: JsonObject) -> str:
    """The ``model`` member. Raises InvalidRequest when it is missing."""
    model = body.get("model")
    if not isinstance(model, str) or not model.strip():
        raise InvalidRequest("model is required", param="model")
    return model.strip()


def wants_stream(body: JsonObject) -> bool:
    """Only JSON ``true`` streams."""
    return body.get("stream") is True
