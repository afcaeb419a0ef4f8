"""JSON that is no answer, or a part of one: it never ends as if all were well."""

from __future__ import annotations

from typing import Any

import pytest
from answers import CODECS, FORMATS, context

from cpa.conversation import events as ev

ITEM = {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text", "text": "hal"}]}
RESPONSE = {"id": "r", "object": "response", "model": "m", "output": [ITEM]}
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}


@pytest.mark.parametrize(
    ("upstream", "body"),
    [
        *((upstream, body) for upstream in FORMATS for body in ({}, {"status": "ok"}, {"type": "ping"})),
        ("openai", {**CHUNK, "choices": [{"index": 0, "delta": {"content": "hal"}, "finish_reason": None}]}),
        ("claude", {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hal"}}),
        ("claude", {"type": "message_start", "message": {"id": "m", "role": "assistant", "content": []}}),
        ("openai-response", {"type": "response.output_text.delta", "delta": "hal"}),
        ("openai-response", {"type": "response.created", "response": {**RESPONSE, "status": "in_progress"}}),
        *(("openai-response", {**RESPONSE, "status": status}) for status in ("in_progress", "queued", "cancelled")),
    ],
)
def test_it_is_a_failure(upstream: str, body: dict[str, Any]) -> None:
    events = CODECS[upstream].decode_reply(body, context())
    assert isinstance(events[-1], ev.Failure)
    assert events[-1].error.status == 502


def test_a_stream_of_one_chunk_is_an_answer() -> None:
    choice = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}
    events = CODECS["openai"].decode_reply({**CHUNK, "choices": [choice]}, context())
    assert isinstance(events[-1], ev.End)
