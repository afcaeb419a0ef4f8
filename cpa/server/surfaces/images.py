"""Image routes: a Responses run with the image tool, answered in the shape of the Images API."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from aiohttp import BodyPartReader
from aiohttp.http_exceptions import HttpProcessingError

from cpa.conversation import events as ev
from cpa.conversation.media import sniff_media_type
from cpa.conversation.reply import fold
from cpa.errors import InvalidRequest
from cpa.exchange.call import Answer, Call
from cpa.formats.codec import Codec, JsonObject, ReplyContext
from cpa.formats.openai_response import images
from cpa.formats.sse import SseParser
from cpa.server.answers import json_answer
from cpa.server.bodies import read_json, too_large
from cpa.server.request import Request
from cpa.server.surface import Routes
from cpa.server.surfaces.calling import guarded, make_call, run_call

FORMAT = "openai-response"
_TRUE = frozenset({"1", "true", "yes", "on"})


class _Form:
    """A multipart form: its text fields and its pictures as data URLs."""

    def __init__(self) -> None:
        self.fields: JsonObject = {}
        self.images: list[str] = []
        self.mask: str | None = None


async def generations(request: Request) -> Answer:
    """``POST /v1/images/generations``."""

    async def read() -> tuple[JsonObject, JsonObject]:
        fields, _ = await read_json(request, request.config.max_body_size)
        return fields, images.generation_request(fields, request.config.gpt_image_2_base_model)

    return await _answer(request, "image_generation", read)


async def edits(request: Request) -> Answer:
    """``POST /v1/images/edits``, JSON or multipart."""

    async def read() -> tuple[JsonObject, JsonObject]:
        kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        main = request.config.gpt_image_2_base_model
        if kind == "application/json":
            fields, _ = await read_json(request, request.config.max_body_size)
            return fields, images.edit_request(fields, main=main)
        if kind not in ("multipart/form-data", "application/octet-stream", ""):
            raise InvalidRequest(f'Invalid request: unsupported Content-Type "{kind}"')
        form = await _read_form(request, request.config.max_body_size)
        return form.fields, images.edit_request(form.fields, form.images, form.mask, main=main)

    return await _answer(request, "image_edit", read)


async def _answer(request: Request, kind: images.ImageKind, read: Any) -> Answer:
    services = request.services
    codec = services.formats["openai"]

    async def answer() -> Answer:
        config = request.config
        client = request.door.admit(request, config)
        if config.disable_image_generation == "all":
            return Answer(status=404, body=b"")
        fields, body = await read()
        call = make_call(request, FORMAT, client, body, b"", model=body["model"], stream=True, operation="images")
        upstream = await run_call(request, call)
        if str(fields.get("stream", "")).lower() in _TRUE:
            encoder = images.ImageStreamEncoder(
                kind, as_url=images.wants_url(fields), output_format=fields.get("output_format")
            )
            stream = _translated(_events(upstream, services.formats[FORMAT], call), encoder)
            return Answer(content_type="text/event-stream", stream=stream)
        events = [event async for event in _events(upstream, services.formats[FORMAT], call)]
        shown = images.images_answer(fold(events), created=int(time.time()), as_url=images.wants_url(fields))
        return json_answer(shown)

    return await guarded(request, codec, answer)


async def _events(answer: Answer, codec: Codec, call: Call) -> AsyncGenerator[ev.Event, None]:
    """The events of the Responses stream the exchange gives."""
    stream: Any = answer.stream
    parser = SseParser()
    decoder = codec.stream_decoder(ReplyContext(requested_model=call.model, upstream_format=FORMAT))
    try:
        async for chunk in stream:
            for frame in parser.feed(chunk):
                for event in decoder.feed(frame):
                    yield event
        for event in decoder.close():
            yield event
    finally:
        await stream.aclose()


async def _translated(
    events: AsyncGenerator[ev.Event, None], encoder: images.ImageStreamEncoder
) -> AsyncIterator[bytes]:
    try:
        async for event in events:
            if out := encoder.encode([event]):
                yield out
    finally:
        await events.aclose()


async def _read_form(request: Request, limit: int) -> _Form:
    """The parts of a multipart form, at most ``limit`` bytes together. Raises InvalidRequest and ApiError 413."""
    form = _Form()
    size = 0
    try:
        reader = await request.body.multipart()
        while (part := await reader.next()) is not None:
            if not isinstance(part, BodyPartReader):
                raise InvalidRequest("Invalid request: nested multipart bodies are not supported")
            content = bytearray()
            while chunk := await part.read_chunk():
                size += len(chunk)
                if size > limit:
                    raise too_large(limit)
                content += chunk
            _take_part(form, part, bytes(content))
    except (ValueError, AssertionError, HttpProcessingError):
        raise InvalidRequest("Invalid request: the multipart body cannot be read") from None
    return form


def _take_part(form: _Form, part: BodyPartReader, content: bytes) -> None:
    name = part.name or ""
    if name in ("image", "image[]"):
        form.images.append(_data_url(part, content))
    elif name == "mask":
        form.mask = _data_url(part, content)
    elif name:
        text = content.decode("utf-8", "replace")
        form.fields[name] = (
            int(text) if name in ("output_compression", "partial_images", "n") and text.isdigit() else text
        )


def _data_url(part: BodyPartReader, content: bytes) -> str:
    data = base64.b64encode(content).decode()
    media_type = part.headers.get("Content-Type", "").partition(";")[0].strip()
    if not media_type or media_type == "application/octet-stream":
        media_type = sniff_media_type(data) or "image/png"
    return f"data:{media_type};base64,{data}"


def add_routes(routes: Routes) -> None:
    """Mount the routes."""
    routes.add("POST", "/v1/images/generations", generations)
    routes.add("POST", "/v1/images/edits", edits)
