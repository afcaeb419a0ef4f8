"""Whole answers: read as what they are, whatever type an upstream says they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from cpa.conversation.names import NameMap
from cpa.conversation.usage import Usage
from cpa.exchange.collect import Failed, collect
from cpa.exchange.shape import Shaped
from cpa.formats.codec import ReplyContext, Target
from cpa.formats.registry import builtin_formats

FORMATS = builtin_formats()
MESSAGE = {"id": "m", "type": "message", "role": "assistant", "model": "up", "stop_sequence": None}
WHOLE = MESSAGE | {
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "output_tokens": 2},
}
STREAM: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": MESSAGE | {"content": [], "stop_reason": None, "usage": {"input_tokens": 5, "output_tokens": 0}},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
BODIES = {
    "whole": orjson.dumps(WHOLE),
    "whole after blank lines": b"\n \n" + orjson.dumps(WHOLE),
    "stream": b"".join(b"event: %b\ndata: %b\n\n" % (each["type"].encode(), orjson.dumps(each)) for each in STREAM),
}


class Response:
    """An upstream's answer, which comes in pieces of three bytes."""

    def __init__(self, body: bytes, kind: str | None) -> None:
        self.status = 200
        self.headers: Mapping[str, str] = {} if kind is None else {"Content-Type": kind}
        self._pieces = [body[at : at + 3] for at in range(0, len(body), 3)]

    async def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def close(self) -> None:
        self._pieces.clear()


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/octet-stream", None])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_an_answer_asked_for_as_a_stream_is_read_as_what_it_is(body: bytes, kind: str | None) -> None:
    claude, chat = FORMATS["claude"], FORMATS["openai"]
    target = Target("up", "claude", stream=True, client_format="openai")
    sent: Any = None
    shaped = Shaped(sent, b"", NameMap(), native=False, client=chat, upstream=claude, target=target)
    noted: list[Usage | None] = []
    answer = await collect(Response(body, kind), shaped, ReplyContext(client_format="openai"), noted.append)
    assert isinstance(answer, dict)
    assert answer["choices"][0]["message"]["content"] == "Hello"
    assert answer["choices"][0]["finish_reason"] == "stop"
    [usage] = noted
    assert usage is not None
    assert (usage.input_total, usage.output_total) == (5, 2)


async def passed(name: str, body: Any, **asked: Any) -> bytes:
    """What a client is given of an answer of its own format."""
    codec, sent = FORMATS[name], None
    family = {"gemini-cli": "gemini"}.get(name, name)
    target = Target("up", name, client_format=family)
    shaped = Shaped(sent, b"", NameMap(), native=True, client=FORMATS[family], upstream=codec, target=target)  # type: ignore[arg-type]
    context = ReplyContext(client_format=family, upstream_format=name, request=asked)
    answer = await collect(Response(orjson.dumps(body), "application/json"), shaped, context, lambda usage: None)
    return answer if isinstance(answer, bytes) else orjson.dumps(answer)


CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Hi"}}
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
ITEM = {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}
RESPONSE = {"id": "r", "object": "response", "output": [ITEM]}


@pytest.mark.parametrize(
    ("name", "body"),
    [
        *(
            (name, body)
            for name in ("openai", "openai-response", "claude", "gemini", "gemini-cli")
            for body in ({}, [{}], {"status": "ok"}, {"type": "ping"}, {"response": {}})
        ),
        ("openai", {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 0}}),
        ("openai", {**CHUNK, "choices": [{"index": 0, "delta": {"content": "H"}, "finish_reason": None}]}),
        ("claude", {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "H"}}),
        ("claude", {"type": "message_start", "message": MESSAGE | {"content": []}}),
        ("openai-response", {"type": "response.output_text.delta", "delta": "H"}),
        ("openai-response", {"type": "response.created", "response": {**RESPONSE, "status": "in_progress"}}),
        *(("openai-response", {**RESPONSE, "status": status}) for status in ("in_progress", "queued", "cancelled")),
    ],
)
async def test_what_is_no_answer_does_not_pass_to_a_client_of_its_format_either(name: str, body: Any) -> None:
    with pytest.raises(Failed) as failed:
        await passed(name, body)
    assert failed.value.error.status == 502


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("openai", {"choices": [CHOICE]}),
        ("openai", {"object": "", "choices": [{"text": "Hi", "finish_reason": "stop"}], "usage": None}),
        ("openai", {"choices": [CHOICE], "error": None, "code": 0, "message": "", "x_vendor": {"a": [1]}}),
        ("claude", {"content": []}),
        ("claude", {"content": [{"type": "text", "text": "Hi"}], "base_resp": {"status_code": 0}}),
        ("gemini", {"candidates": [{}]}),
        ("gemini", {"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": "m"}),
        ("openai-response", {"output": []}),
        ("openai-response", {**RESPONSE, "status": "incomplete", "error": None}),
    ],
)
async def test_an_answer_passes_however_little_of_it_there_is(name: str, body: Any) -> None:
    assert await passed(name, body) == orjson.dumps(body)


async def test_a_response_made_in_the_background_passes_as_it_is_under_way() -> None:
    body = {**RESPONSE, "output": [], "status": "queued"}
    assert await passed("openai-response", body, background=True) == orjson.dumps(body)


async def test_a_stream_of_one_event_is_an_answer_once_it_is_written_as_one() -> None:
    chunk = {**CHUNK, "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}
    assert orjson.loads(await passed("openai", chunk))["choices"][0]["message"]["content"] == "Hi"
    done = {"type": "response.completed", "response": {**RESPONSE, "status": "completed"}}
    assert orjson.loads(await passed("openai-response", done))["output"][0]["content"][0]["text"] == "Hi"
