"""The image routes."""

from __future__ import annotations

import orjson
import pytest

from cpa.conversation import events as ev
from cpa.conversation.reply import fold
from cpa.conversation.usage import Usage
from cpa.errors import ApiError, InvalidRequest
from cpa.formats.openai_response import images
from cpa.formats.sse import SseParser

DONE = ev.BlockEnd(0, data="aGk=", media_type="image/png", revised_prompt="cat", options={"size": "1024x1024"})
RUN: list[ev.Event] = [
    ev.Start("resp_1", created=5),
    ev.BlockStart(0, "image"),
    ev.DataDelta(0, "cGE=", 0),
    DONE,
    ev.UsageReport(Usage(input_total=1, raw={"tool_usage": {"image_gen": {"total_tokens": 9}}})),
    ev.Finish("stop"),
    ev.End(),
]


def test_a_generation_asks_for_the_image_tool() -> None:
    body = images.generation_request(
        {"model": "p/gpt-image-2", "prompt": "a cat", "size": "1x1", "partial_images": "2"}
    )
    assert body["model"] == "p/gpt-5.4-mini"
    tool = {"type": "image_generation", "action": "generate", "model": "gpt-image-2", "size": "1x1"}
    assert body["tools"] == [{**tool, "partial_images": 2}]
    assert body["tool_choice"] == {"type": "image_generation"}


def test_an_edit_brings_its_images() -> None:
    body = images.edit_request({"prompt": "x", "images": [{"image_url": "data:a"}], "mask": {"image_url": "data:m"}})
    assert body["input"][0]["content"][1] == {"type": "input_image", "image_url": "data:a"}
    assert body["tools"][0]["input_image_mask"] == {"image_url": "data:m"}
    assert body["tools"][0]["action"] == "edit"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "Invalid request: prompt is required"),
        ({"prompt": "x"}, "Invalid request: images[].image_url is required (file_id is not supported)"),
        (
            {"prompt": "x", "images": [{"image_url": "u"}], "mask": {"file_id": "f"}},
            "Invalid request: mask.file_id is not supported (use mask.image_url instead)",
        ),
        (
            {"prompt": "x", "model": "gpt-5"},
            "Model gpt-5 is not supported on /v1/images/generations or /v1/images/edits. Use gpt-image-2.",
        ),
    ],
)
def test_a_wrong_edit_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        images.edit_request(fields)
    assert refused.value.error.message == message


def test_the_answer_carries_the_image_and_its_usage() -> None:
    assert images.images_answer(fold(RUN), created=9, as_url=True) == {
        "created": 5,
        "data": [{"url": "data:image/png;base64,aGk=", "revised_prompt": "cat"}],
        "size": "1024x1024",
        "usage": {"total_tokens": 9},
    }


def test_no_image_is_an_error() -> None:
    with pytest.raises(ApiError, match="upstream did not return image output"):
        images.images_answer(fold([ev.Start(), ev.Finish("stop"), ev.End()]), created=9)
    with pytest.raises(ApiError, match="stream disconnected before completion"):
        images.images_answer(fold(RUN[:3]), created=9)


def test_a_streamed_edit() -> None:
    raw = images.ImageStreamEncoder("image_edit").encode(RUN)
    shown = [(frame.event, orjson.loads(frame.data)) for frame in SseParser().feed(raw)]
    assert shown == [
        (
            "image_edit.partial_image",
            {"type": "image_edit.partial_image", "partial_image_index": 0, "b64_json": "cGE="},
        ),
        (
            "image_edit.completed",
            {"type": "image_edit.completed", "b64_json": "aGk=", "usage": {"total_tokens": 9}},
        ),
    ]
