"""What streams that pass tell of tokens, failures and their end: the same however they are cut and asked."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from answers import CODECS, context
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_streams import FRAMES, chat, choice

from cpa.exchange.relay import PassingRelay

EXAMPLES = int(os.environ.get("CPA_STREAM_EXAMPLES", "50"))
COUNTS = st.one_of(
    st.integers(0, 99),
    st.integers(0, 99),
    st.integers(0, 99),
    st.sampled_from([None, -1, 2.5, "7", True, {}, [], 1 << 60]),
)


def members(*names: str) -> st.SearchStrategy[Any]:
    """Usage with some of these counts; or something else in its place."""
    some = st.dictionaries(st.sampled_from(names), COUNTS, max_size=len(names))
    return st.one_of(some, some, some, st.sampled_from([None, {}, [], "many", 3, {"unknown": {"a": 1}}]))


CLAUDE = members("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
CHAT = members("prompt_tokens", "completion_tokens", "total_tokens")
GEMINI = members("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount")
RESPONSES = members("input_tokens", "output_tokens", "total_tokens")
Frame = tuple[str | None, Any]


@st.composite
def chat_usage(draw: st.DrawFn) -> Frame:
    usage, text = draw(CHAT), {"content": draw(st.sampled_from(["a", '"usage"']))}
    ending = draw(st.sampled_from([None, None, "stop"]))
    where = draw(st.sampled_from(["beside", "inside", "alone"]))
    if where == "inside":
        return chat(choice(text, ending, usage=usage))
    return chat(*([choice(text, ending)] if where == "beside" else []), usage=usage)


@st.composite
def claude_usage(draw: st.DrawFn) -> Frame:
    usage, kind = draw(CLAUDE), draw(st.sampled_from(["message_start", "message_delta", "message_delta"]))
    if kind == "message_start":
        return kind, {"type": kind, "message": {"id": "m", "model": "up", "usage": usage}}
    stop = draw(st.sampled_from([None, "end_turn"]))
    return kind, {"type": kind, "delta": {"stop_reason": stop}, "usage": usage}


@st.composite
def gemini_usage(draw: st.DrawFn) -> Frame:
    usage = draw(GEMINI)
    parts = draw(
        st.sampled_from(
            [
                [{"text": "a"}],
                [{"text": '"usageMetadata"'}],
                [{"functionCall": {"name": "f", "args": {"usageMetadata": 1}}}],
            ]
        )
    )
    ending = draw(st.sampled_from([{}, {}, {"finishReason": "STOP"}]))
    candidates = draw(st.sampled_from([[{"content": {"parts": parts, "role": "model"}, "index": 0, **ending}], []]))
    name = draw(st.sampled_from(["usageMetadata", "usageMetadata", "usage_metadata", "other"]))
    body = {"candidates": candidates, name: usage, "modelVersion": "up"}
    return None, body if draw(st.booleans()) else {"response": body}


@st.composite
def response_usage(draw: st.DrawFn) -> Frame:
    kind = draw(st.sampled_from(["created", "in_progress", "completed", "incomplete", "failed"]))
    response = {"id": "r", "model": "up", "status": kind, "output": [], "usage": draw(RESPONSES)}
    return f"response.{kind}", {"type": f"response.{kind}", "response": response, "sequence_number": 1}


USAGE = {
    "openai": chat_usage(),
    "claude": claude_usage(),
    "gemini": gemini_usage(),
    "openai-response": response_usage(),
}


@st.composite
def streams(draw: st.DrawFn, name: str) -> list[bytes]:
    """Frames: runs of the first kind, with usage and everything else between."""
    kinds = FRAMES[name]("a")
    frames: list[bytes] = []
    spaced = draw(st.booleans())
    for _ in range(draw(st.integers(1, 10))):
        what = draw(st.sampled_from(["run", "usage", "usage", "other"]))
        if what == "usage":
            told = [draw(USAGE[name])] * draw(st.integers(1, 3))
        else:
            told = [kinds[0] if what == "run" else draw(st.sampled_from(kinds))] * draw(st.integers(1, 5))
        for event, body in told:
            data = json.dumps(body, separators=None if spaced else (",", ":")).encode()
            frames.append((b"event: %b\n" % event.encode() if event else b"") + b"data: %b\n\n" % data)
    return frames


def outcome(name: str, told: dict[str, Any], pieces: list[bytes], *, asked: bool) -> tuple[Any, ...]:
    """What is known in the end; ``asked``: and after every piece, as when the first content has come."""
    codec, given_ = CODECS[name], context(**told)
    relay = PassingRelay(codec.native_relay(given_, codec.framing(given_)))
    out = []
    for piece in pieces:
        out.append(relay.feed(piece))
        assert not asked or relay.usage is relay.usage
        if relay.over:
            break
    else:
        out.append(relay.close())
    return b"".join(out), relay.usage, relay.complete, relay.error, relay.meaningful


@pytest.mark.parametrize("name", USAGE)
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_what_is_known_in_the_end(name: str, data: st.DataObject) -> None:
    frames = data.draw(streams(name))
    told = {"model": data.draw(st.sampled_from([None, "mine"])), "include_usage": data.draw(st.booleans())}
    stream = b"".join(frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    expected = outcome(name, told, frames, asked=False)
    for split in (frames, [stream], pieces):
        for asked in (False, True):
            assert outcome(name, told, split, asked=asked) == expected
