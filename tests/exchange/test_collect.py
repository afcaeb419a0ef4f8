"""Whole answers: read as what they are, whatever type an upstream says they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from cpa.conversation.names import NameMap
from cpa.conversation.usage import Usage
from cpa.exchange.collect import collect
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
