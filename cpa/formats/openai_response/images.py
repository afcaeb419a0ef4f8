"""The image routes of the OpenAI API, answered by a Responses run with the image generation tool.

A surface parses the client's JSON or multipart form into plain fields and calls, in this order:

- :func:`image_model` with the requested model: the model name to route by;
- :func:`generation_request` or :func:`edit_request`: a Responses body (always a stream) to run;
- :func:`images_answer` with the folded :class:`Reply`, or an :class:`ImageStreamEncoder` fed with the events.

https://platform.openai.com/docs/api-reference/images
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import orjson

from cpa.conversation import events as ev
from cpa.conversation.media import image_media_type
from cpa.conversation.reply import Block, Reply
from cpa.conversation.usage import Usage
from cpa.errors import ApiError, ErrorInfo, InvalidRequest
from cpa.formats.openai_response.errors import encode_error
from cpa.formats.openai_response.fields import Object, object_of, text
from cpa.formats.openai_response.request_decode import ENCRYPTED
from cpa.formats.openai_response.usage import IMAGE_MODEL
from cpa.formats.sse import SseFraming

MAIN_MODEL = "gpt-5.4-mini"
"""The model that is asked to call the image tool."""
_MAIN_FAMILY = "gpt-"

ImageKind = Literal["image_generation", "image_edit"]

_TEXTS = ("size", "quality", "background", "output_format", "moderation")
_NUMBERS = ("output_compression", "partial_images")
_SHOWN = ("background", "output_format", "quality", "size")


def image_model(model: Any, main: str = MAIN_MODEL) -> tuple[str, str]:
    """The model to route by, with the prefix the client wrote, and the image model for the tool.

    ``p/gpt-image-2`` gives ``("p/gpt-5.4-mini", "gpt-image-2")``; ``main`` is asked instead where it is a GPT model.
    Raises InvalidRequest for any other model.
    """
    name = model.strip() if isinstance(model, str) and model.strip() else IMAGE_MODEL
    prefix, slash, base = name.rpartition("/")
    if base != IMAGE_MODEL:
        raise InvalidRequest(
            f"Model {name} is not supported on /v1/images/generations or /v1/images/edits. Use {IMAGE_MODEL}.",
            param="model",
        )
    return f"{prefix}{slash}{main if main.startswith(_MAIN_FAMILY) else MAIN_MODEL}", base


def generation_request(fields: Object, main: str = MAIN_MODEL) -> Object:
    """The Responses body for ``POST /v1/images/generations``; ``fields`` is the client's JSON body.

    ``main``: the model that calls the image tool.
    Raises InvalidRequest when the prompt is missing or the model is not an image model.
    """
    main, model = image_model(fields.get("model"), main)
    tool = _tool("generate", model, fields)
    return _request(main, _prompt(fields), (), tool)


def edit_request(
    fields: Object, images: Sequence[str] | None = None, mask: str | None = None, *, main: str = MAIN_MODEL
) -> Object:
    """The Responses body for ``POST /v1/images/edits``.

    ``fields``: the JSON body, or the text fields of a form. ``images`` and ``mask``: data URLs of a form's files;
    None reads ``images[].image_url`` and ``mask.image_url`` from the JSON body. Raises InvalidRequest.
    """
    main, model = image_model(fields.get("model"), main)
    prompt = _prompt(fields)
    if images is None:
        images, mask = _json_images(fields), _json_mask(fields)
    if not images:
        raise InvalidRequest("Invalid request: image is required", param="image")
    tool = _tool("edit", model, fields)
    if text(fields, "input_fidelity"):
        tool["input_fidelity"] = fields["input_fidelity"]
    if mask:
        tool["input_image_mask"] = {"image_url": mask}
    return _request(main, prompt, images, tool)


def _prompt(fields: Object) -> str:
    prompt = fields.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise InvalidRequest("Invalid request: prompt is required", param="prompt")
    return prompt


def _json_images(fields: Object) -> list[str]:
    missing = "Invalid request: images[].image_url is required (file_id is not supported)"
    images = fields.get("images")
    if not isinstance(images, list) or not images:
        raise InvalidRequest(missing, param="images")
    urls = [_image_url(image) for image in images]
    found = [url for url in urls if url]
    if len(found) != len(urls):
        raise InvalidRequest(missing, param="images")
    return found


def _image_url(image: Any) -> str | None:
    if isinstance(image, str):
        return image or None
    value = object_of(image).get("image_url")
    if isinstance(value, dict):
        value = value.get("url")
    return value if isinstance(value, str) and value else None


def _json_mask(fields: Object) -> str | None:
    mask = fields.get("mask")
    if mask is None:
        return None
    url = _image_url(mask)
    if url is None and isinstance(mask, dict) and mask.get("file_id"):
        raise InvalidRequest(
            "Invalid request: mask.file_id is not supported (use mask.image_url instead)", param="mask.file_id"
        )
    return url


def _tool(action: str, model: str, fields: Object) -> Object:
    """The image tool; numbers of a form come as text."""
    tool: Object = {"type": "image_generation", "action": action, "model": model}
    for name in _TEXTS:
        if value := text(fields, name):
            tool[name] = value
    for name in _NUMBERS:
        value = fields.get(name)
        if value is None or value == "":
            continue
        try:
            tool[name] = int(value)
        except (TypeError, ValueError, OverflowError):
            raise InvalidRequest(f"Invalid request: {name} must be an integer", param=name) from None
    return tool


def _request(model: str, prompt: str, images: Iterable[str], tool: Object) -> Object:
    content: list[Object] = [{"type": "input_text", "text": prompt}]
    content += [{"type": "input_image", "image_url": url} for url in images]
    return {
        "model": model,
        "instructions": "",
        "stream": True,
        "store": False,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "parallel_tool_calls": True,
        "include": [ENCRYPTED],
        "tool_choice": {"type": "image_generation"},
        "input": [{"type": "message", "role": "user", "content": content}],
        "tools": [tool],
    }


def wants_url(fields: Object) -> bool:
    """Whether the client asked for a URL instead of base64 (``response_format``)."""
    value = fields.get("response_format")
    return isinstance(value, str) and value.strip().lower() == "url"


def images_answer(reply: Reply, *, created: int, as_url: bool = False) -> Object:
    """The answer of both routes. Raises ApiError (502) when there is no image, or what the reply failed with.

    ``created``: Unix seconds, for an upstream that gave no time.
    """
    if reply.error is not None:
        raise ApiError(reply.error)
    if not reply.ended:
        raise ApiError(DISCONNECTED)
    images = [block for block in reply.blocks if block.kind == "image" and (block.data or block.url)]
    if not images:
        raise ApiError(NO_IMAGE)
    data: list[Object] = []
    for block in images:
        entry = _picture(block, as_url)
        if block.revised_prompt:
            entry["revised_prompt"] = block.revised_prompt
        data.append(entry)
    answer: Object = {"created": reply.start.created or created, "data": data}
    options = images[0].options or {}
    answer.update({name: options[name] for name in _SHOWN if options.get(name)})
    usage = image_usage(reply.usage)
    return {**answer, "usage": usage} if usage is not None else answer


NO_IMAGE = ErrorInfo(502, "upstream did not return image output", type="server_error", code="no_image")
DISCONNECTED = ErrorInfo(502, "stream disconnected before completion", type="server_error", code="stream_cut_off")


def image_usage(usage: Usage | None) -> Object | None:
    """The tokens the image tool itself used (``tool_usage.image_gen`` of the response)."""
    raw = object_of(usage.raw) if usage is not None else {}
    found = object_of(raw.get("tool_usage")).get("image_gen")
    return found if isinstance(found, dict) else None


def _picture(block: Block, as_url: bool) -> Object:
    if block.data is None:
        return {"url": block.url}
    return _image(block.data, block.media_type, as_url)


def _image(data: str, media_type: str | None, as_url: bool) -> Object:
    return {"url": f"data:{media_type or 'image/png'};base64,{data}"} if as_url else {"b64_json": data}


class ImageStreamEncoder:
    """Writes events as the stream of an image route: partial images, then each image, nothing after them.

    ``output_format`` is what the client asked for; it names the media type of partial images. Images are held until
    the answer ends, because the last of them carries the usage.
    """

    def __init__(self, kind: ImageKind, *, as_url: bool = False, output_format: str | None = None) -> None:
        self._kind = kind
        self._as_url = as_url
        self._media_type = image_media_type(output_format)
        self._framing = SseFraming(named=True)
        self._images: list[ev.BlockEnd] = []
        self._kinds: dict[int, str] = {}
        self._usage: Usage | None = None
        self._closed = False

    def encode(self, events: Iterable[ev.Event]) -> bytes:
        """Bytes for these events."""
        out: list[bytes] = []
        for event in events:
            if self._closed:
                break
            handle = _HANDLERS.get(type(event))
            if handle is not None:
                handle(self, event, out)
        return b"".join(out)

    def _write(self, kind: str, payload: Object, out: list[bytes]) -> None:
        name = f"{self._kind}.{kind}"
        out.append(self._framing.frame(name, orjson.dumps({"type": name, **payload})))

    def _on_block(self, event: ev.BlockStart, out: list[bytes]) -> None:
        self._kinds[event.key] = event.kind

    def _on_data(self, event: ev.DataDelta, out: list[bytes]) -> None:
        if self._kinds.get(event.key) == "image":
            image = _image(event.data, self._media_type, self._as_url)
            self._write("partial_image", {"partial_image_index": event.index, **image}, out)

    def _on_block_end(self, event: ev.BlockEnd, out: list[bytes]) -> None:
        if self._kinds.pop(event.key, None) == "image" and (event.data or event.url):
            self._images.append(event)

    def _on_usage(self, event: ev.UsageReport, out: list[bytes]) -> None:
        self._usage = event.usage if self._usage is None else self._usage.merge(event.usage)

    def _on_failure(self, event: ev.Failure, out: list[bytes]) -> None:
        self._closed = True
        out.append(self._framing.frame("error", orjson.dumps(encode_error(event.error))))

    def _on_end(self, event: ev.End, out: list[bytes]) -> None:
        if not self._images:
            self._on_failure(ev.Failure(NO_IMAGE), out)
            return
        usage = image_usage(self._usage)
        for image in self._images:
            shown: Object = _image(image.data, image.media_type, self._as_url) if image.data else {"url": image.url}
            if usage is not None:
                shown["usage"] = usage
            self._write("completed", shown, out)
        self._closed = True


_HANDLERS: dict[type, Callable[[ImageStreamEncoder, Any, list[bytes]], None]] = {
    ev.BlockStart: ImageStreamEncoder._on_block,
    ev.DataDelta: ImageStreamEncoder._on_data,
    ev.BlockEnd: ImageStreamEncoder._on_block_end,
    ev.UsageReport: ImageStreamEncoder._on_usage,
    ev.Failure: ImageStreamEncoder._on_failure,
    ev.End: ImageStreamEncoder._on_end,
}
