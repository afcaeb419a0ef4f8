"""Frames that pass in runs: the same bytes and the same knowledge as when each frame is looked at alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from answers import CODECS, context
from hypothesis import given, settings
from hypothesis import strategies as st

from cpa.exchange.relay import PassingRelay
from cpa.formats.gemini.relay import GeminiNativeRelay
from cpa.formats.openai import native

EXAMPLES = int(os.environ.get("CPA_STREAM_EXAMPLES", "50"))
TEXTS = ["a", "", 'quote " and \\', "\\", "é\u2028", '"finish_reason":"stop"', "}\n\ndata: [DONE]\n\n", "error", "{}]"]


def chat(*choices: dict[str, Any], **more: Any) -> tuple[str | None, Any]:
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "up", "choices": list(choices)}
    return None, body | more


def choice(delta: dict[str, Any], finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish} | more


def chat_frames(text: str) -> list[tuple[str | None, Any]]:
    call = {"index": 0, "id": "x", "type": "function", "function": {"name": "f", "arguments": text}}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    return [
        chat(choice({"content": text})),
        chat(choice({"content": text}, index=1)),
        chat(choice({"content": text}), choice({"content": text}, index=1)),
        chat(choice({"content": text}, "stop"), choice({"content": text}, index=1)),
        chat(choice({"content": "", "tool_calls": [call]})),
        chat(choice({"content": text, "refusal": text})),
        chat(choice({"content": "", "reasoning": text})),
        chat(choice({"content": text, "role": "assistant"})),
        chat(choice({"reasoning_content": text})),
        chat(choice({"content": text}, logprobs={"content": []})),
        chat(choice({"content": text}), usage=usage),
        chat(choice({"content": text}), usage=None),
        chat(choice({}, "stop")),
        chat(usage=usage),
        chat(),
        chat(choice({"content": text}), model="other"),
        (None, {"error": {"message": "broken", "code": 500}}),
        ("error", {"message": "broken", "code": "overloaded"}),
        (None, {"code": 429, "message": text}),
        (None, {"type": "error", "message": text}),
    ]


def claude_frames(text: str) -> list[tuple[str | None, Any]]:
    def delta(index: int, **members: Any) -> tuple[str | None, Any]:
        return "content_block_delta", {"type": "content_block_delta", "index": index, "delta": members}

    named = [
        {"type": "ping"},
        {"type": "message_start", "message": {"model": "up", "usage": {"input_tokens": 3, "output_tokens": 0}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
        {"type": "error", "error": {"type": "overloaded_error", "message": text}},
    ]
    return [
        delta(0, type="text_delta", text=text),
        delta(0, type="text_delta", text=text),
        delta(1, type="input_json_delta", partial_json=text),
        (None, delta(0, type="text_delta", text=text)[1]),
        *((each["type"], each) for each in named),
        (None, {"type": "error", "error": {"type": "api_error", "message": text}}),
    ]


def gemini_frames(text: str) -> list[tuple[str | None, Any]]:
    def candidate(index: int = 0, finish: str | None = None, **part: Any) -> dict[str, Any]:
        end = {} if finish is None else {"finishReason": finish}
        return {"content": {"parts": [part], "role": "model"}, **end, "index": index}

    usage = {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3}
    bodies = [
        {"candidates": [candidate(text=text)], "modelVersion": "up"},
        {"candidates": [candidate(text=text)], "modelVersion": "up"},
        {"candidates": [candidate(text=text), candidate(1, text=text)], "modelVersion": "up"},
        {"candidates": [candidate(1, text=text)], "modelVersion": "up"},
        {"candidates": [candidate(1, "STOP", text=text)], "modelVersion": "up"},
        {"candidates": [candidate(0, "STOP", text=text), candidate(text=text)], "modelVersion": "up"},
        {"candidates": [candidate(functionCall={"name": "f", "args": {"a": text}})], "modelVersion": "up"},
        {"candidates": [candidate(text=text)], "usageMetadata": usage, "modelVersion": "up"},
        {"candidates": [candidate(0, "STOP", text=text)], "usageMetadata": usage, "modelVersion": "up"},
        {"error": {"code": 503, "message": text, "status": "UNAVAILABLE"}},
        {"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": "up"},
    ]
    return [(None, body) for body in bodies]


def response_frames(text: str) -> list[tuple[str | None, Any]]:
    def delta(number: int, **more: Any) -> dict[str, Any]:
        kind = "response.output_text.delta"
        return {"type": kind, "item_id": "m", "delta": text, "sequence_number": number} | more

    item = {"type": "message", "id": "m", "role": "assistant", "content": []}
    whole = {"id": "r", "model": "up", "status": "completed", "output": [], "usage": {"input_tokens": 1}}
    bodies = [
        delta(1),
        delta(7),
        delta(3, logprobs=[]),
        {"type": "response.function_call_arguments.delta", "delta": text, "sequence_number": 9},
        {"type": "response.refusal.delta", "delta": text, "sequence_number": 10},
        {"type": "response.created", "response": {"id": "r", "model": "up"}, "sequence_number": 0},
        {"type": "response.output_item.added", "output_index": 0, "item": item, "sequence_number": 2},
        {"type": "response.output_item.done", "output_index": 0, "item": item, "sequence_number": 4},
        {"type": "response.completed", "response": whole, "sequence_number": 11},
        {"type": "response.failed", "response": {"id": "r", "error": {"message": text}}, "sequence_number": 12},
        {"type": "error", "message": text, "code": "x"},
    ]
    return [
        *((str(body["type"]), body) for body in bodies),
        (None, delta(1)),
        ("response.output_text.delta", bodies[-1]),
    ]


FRAMES: dict[str, Callable[[str], list[tuple[str | None, Any]]]] = {
    "openai": chat_frames,
    "claude": claude_frames,
    "gemini": gemini_frames,
    "openai-response": response_frames,
}
ODD = [
    b": comment\n\n",
    b"data: [DONE]\n\n",
    b"\n\n",
    b"data: {half\n\n",
    b"id: 4\n\n",
    b"data: {}\n\n",
    b"data: [1]\n\n",
]


@st.composite
def streams(draw: st.DrawFn, name: str) -> list[bytes]:
    """Frames of a stream: mostly alike ones in a row, with all other kinds between."""
    compact = draw(st.booleans())
    end = draw(st.sampled_from([b"\n", b"\n", b"\n", b"\r\n"]))
    frames = []
    for kind, text, times in draw(
        st.lists(st.tuples(st.integers(0, 40), st.sampled_from(TEXTS), st.integers(1, 6)), min_size=1, max_size=12)
    ):
        known = FRAMES[name](text)
        number = kind if kind < len(known) else 0
        if kind >= 34:
            frames.append(ODD[kind - 34])
            continue
        event, body = known[number]
        data = json.dumps(body, ensure_ascii=False, separators=(",", ":") if compact else None).encode()
        head = b"event: %b\n" % event.encode() if event else b""
        frame = (head + b"data: " + data + b"\n\n").replace(b"\n", end)
        frames += [frame] * times
    return frames


def outcome(name: str, told: dict[str, Any], pieces: list[bytes], *, alone: bool = False) -> tuple[Any, ...]:
    """What a client gets of some pieces and what is known afterwards; as the exchange feeds them."""
    codec = CODECS[name]
    given = context(**told)
    native = codec.native_relay(given, codec.framing(given))
    if alone:
        native.pass_chunk = lambda chunk: (b"", 0)
    relay = PassingRelay(native)
    out = []
    for piece in pieces:
        out.append(relay.feed(piece))
        if relay.complete or relay.error is not None:
            break
    else:
        out.append(relay.close())
    return b"".join(out), relay.usage, relay.complete, relay.error, relay.meaningful


@pytest.mark.parametrize("name", FRAMES)
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_frames_in_runs_are_frames_one_by_one(name: str, data: st.DataObject) -> None:
    frames = data.draw(streams(name))
    told = {"model": data.draw(st.sampled_from([None, "mine", "up"])), "include_usage": data.draw(st.booleans())}
    stream = b"".join(frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    expected = outcome(name, told, frames, alone=True)
    assert outcome(name, told, [stream]) == expected
    assert outcome(name, told, pieces) == expected


@settings(max_examples=EXAMPLES, deadline=None)
@given(frames=streams("openai"))
def test_what_a_chat_stream_tells_is_known_as_if_every_chunk_was_parsed(frames: list[bytes]) -> None:
    told = {"model": None, "include_usage": True}
    quick = outcome("openai", told, frames)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "_untidy", lambda data: True)
        assert quick[1:] == outcome("openai", told, frames)[1:]


@settings(max_examples=EXAMPLES, deadline=None)
@given(frames=streams("gemini"))
def test_what_a_gemini_stream_tells_is_known_as_if_every_frame_was_parsed(frames: list[bytes]) -> None:
    quick = outcome("gemini", {"model": None}, [b"".join(frames)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GeminiNativeRelay, "_goes_on", lambda self, data: False)
        assert quick[1:] == outcome("gemini", {"model": None}, frames, alone=True)[1:]


ERRORS = {
    "openai": b'data: {"error":{"message":"broken"}}\n\n',
    "claude": b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"broken"}}\n\n',
    "gemini": b'data: {"error":{"code":503,"message":"broken"}}\n\n',
    "openai-response": b'event: error\ndata: {"type":"error","message":"broken"}\n\n',
}


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("before", range(1, 5))
def test_an_error_is_told_once_whatever_follows_it(name: str, before: int) -> None:
    event, body = FRAMES[name]("hi")[0]
    head = b"event: %b\n" % event.encode() if event else b""
    text = head + b"data: %b\n\n" % json.dumps(body).encode()
    stream = text * before + ERRORS[name] + text * 9 + b"data: [DONE]\n\n"
    told = {"model": "mine"}
    for pieces in ([stream], [stream[:-2]], [text * before + ERRORS[name][:-2]], [stream[:-7], stream[-7:]]):
        out, _, complete, error, _ = outcome(name, told, pieces)
        assert out.count(b"broken") == 1
        assert not complete
        assert error is not None
