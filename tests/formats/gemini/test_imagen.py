"""Imagen: a prompt goes out of the dialogue, pictures come back as parts of an answer."""

from __future__ import annotations

from typing import Any

import pytest

from cpa.conversation.reply import fold
from cpa.errors import InvalidRequest
from cpa.formats.codec import ReplyContext
from cpa.formats.gemini import GeminiCodec
from cpa.formats.gemini.imagen import predict_request

PICTURE = {"bytesBase64Encoded": "UElD", "mimeType": "image/jpeg"}


def test_what_the_user_said_last_is_the_prompt() -> None:
    body: dict[str, Any] = {
        "contents": [
            {"role": "user", "parts": [{"text": "a cat"}]},
            {"role": "model", "parts": [{"text": "here"}]},
            {"role": "user", "parts": [{"text": "a dog"}, {"text": "in snow"}]},
        ]
    }
    assert predict_request(body) == {"instances": [{"prompt": "a dog\nin snow"}], "parameters": {"sampleCount": 1}}
    config = {"candidateCount": 2, "imageConfig": {"aspectRatio": "16:9"}}
    more = predict_request({**body, "generationConfig": config, "negativePrompt": "rain"})
    assert more["parameters"] == {"sampleCount": 2, "aspectRatio": "16:9"}
    assert more["instances"][0]["negativePrompt"] == "rain"


SILENT = [{"role": "user", "parts": [{"inlineData": {}}]}, {"role": "model", "parts": [{"text": "x"}]}]


@pytest.mark.parametrize("contents", [None, [], [5], SILENT])
def test_without_a_prompt_nothing_is_asked(contents: Any) -> None:
    with pytest.raises(InvalidRequest):
        predict_request({"contents": contents})


def test_pictures_are_parts_of_an_answer() -> None:
    codec, context = GeminiCodec(), ReplyContext()
    body = {"predictions": [PICTURE, {"bytesBase64Encoded": "UElE"}, {"raiFilteredReason": "no"}, 5]}
    assert codec.reply_failure(body) is None
    reply = fold(codec.decode_reply(body, context))
    pictures = [(block.kind, block.data, block.media_type) for block in reply.blocks]
    assert (reply.ended, pictures) == (True, [("image", "UElD", "image/jpeg"), ("image", "UElE", "image/png")])
    shown = codec.adapt_native_reply(body, context)
    assert [part["inlineData"]["data"] for part in shown["candidates"][0]["content"]["parts"]] == ["UElD", "UElE"]


@pytest.mark.parametrize("predictions", [[], [{"raiFilteredReason": "no"}]])
def test_pictures_that_were_withheld_are_a_blocked_answer(predictions: list[Any]) -> None:
    reply = fold(GeminiCodec().decode_reply({"predictions": predictions}, ReplyContext()))
    assert (reply.ended, reply.blocks, reply.finishes[0].reason) == (True, [], "content_filter")
