"""Streams of all four formats, made up frame by frame: mostly deltas in a row, with everything else between."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

TEXTS = ["a", "", 'quote " and \\', "\\", "é\u2028", '"finish_reason":"stop"', "}\n\ndata: [DONE]\n\n", "error", "{}]"]

SPOILT = "SPOILT"
"""Stands in a text for bytes that no JSON text holds, or not in every place."""
SPOILS = [
    b"\xff",
    b"\xc3",
    b"\xa9",
    b"\n",
    b"\n\n",
    b"\x01",
    b"\\",
    b"\\x41",
    b"\\ud83d",
    b"\\ude00",
    b'"',
    b'","content":"',
    b'\\\\"',
]


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
        chat(choice({"content": text}), obfuscation="x"),
        chat(choice({"tool_calls": [{"index": 0, "function": {"arguments": text}}]})),
        chat(choice({"tool_calls": [call | {"index": 1, "id": "y"}]})),
        chat(choice({"tool_calls": [{"index": 1, "function": {"arguments": text}}]})),
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
        {"type": "content_block_start", "index": 1, "content_block": {"type": "thinking", "thinking": ""}},
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}},
        },
        {
            "type": "content_block_start",
            "index": 2,
            "content_block": {"type": "tool_use", "id": "u", "name": "g", "input": {}},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
        {"type": "error", "error": {"type": "overloaded_error", "message": text}},
    ]
    return [
        delta(0, type="text_delta", text=text),
        delta(0, type="text_delta", text=text),
        delta(1, type="input_json_delta", partial_json=text),
        delta(2, type="input_json_delta", partial_json=text),
        delta(1, type="thinking_delta", thinking=text),
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
        {"candidates": [candidate(text=text, thought=True)], "modelVersion": "up"},
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

    def arguments(call: str) -> dict[str, Any]:
        kind = "response.function_call_arguments.delta"
        return {"type": kind, "item_id": call, "delta": text, "sequence_number": 9}

    def begun(call: str, index: int) -> dict[str, Any]:
        item = {"type": "function_call", "id": call, "call_id": call, "name": "f", "arguments": ""}
        return {"type": "response.output_item.added", "output_index": index, "item": item, "sequence_number": 5}

    item = {"type": "message", "id": "m", "role": "assistant", "content": []}
    whole = {"id": "r", "model": "up", "status": "completed", "output": [], "usage": {"input_tokens": 1}}
    bodies = [
        delta(1),
        delta(7),
        delta(3, logprobs=[]),
        delta(3, obfuscation="x"),
        {"type": "response.reasoning_summary_text.delta", "item_id": "t", "delta": text, "sequence_number": 8},
        {"type": "response.function_call_arguments.delta", "delta": text, "sequence_number": 9},
        arguments("x"),
        arguments("y"),
        begun("x", 1),
        begun("y", 2),
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
    b"\n",
    b"data: {half\n\n",
    b"id: 4\n\n",
    b"data: {}\n\n",
    b"data: [1]\n\n",
]


@st.composite
def streams(draw: st.DrawFn, name: str, *, spoiled: bool = False) -> list[bytes]:
    """Frames of a stream: mostly alike ones in a row, with all other kinds between; ``spoiled``: some are no JSON."""
    compact = draw(st.booleans())
    end = draw(st.sampled_from([b"\n", b"\n", b"\n", b"\r\n"]))
    frames = []
    ascii_only = draw(st.booleans())
    numbers = itertools.count(100)
    chosen = st.sampled_from([*TEXTS, SPOILT] if spoiled and draw(st.booleans()) else TEXTS)
    kinds = st.tuples(st.integers(0, 40), st.lists(chosen, min_size=1, max_size=6))
    for kind, texts in draw(st.lists(kinds, min_size=1, max_size=12)):
        if kind >= 33:
            frames.append(ODD[kind - 33])
            continue
        for text in texts:
            known = FRAMES[name](text)
            event, body = known[kind if kind < len(known) else 0]
            if "sequence_number" in body:
                body = body | {"sequence_number": next(numbers)}
            if "obfuscation" in body:
                body = body | {"obfuscation": "x" * (next(numbers) % 7)}
            data = json.dumps(body, ensure_ascii=ascii_only, separators=(",", ":") if compact else None).encode()
            if text == SPOILT:
                data = data.replace(SPOILT.encode(), draw(st.sampled_from(SPOILS)))
            head = b"event: %b\n" % event.encode() if event else b""
            frames.append((head + b"data: " + data + b"\n\n").replace(b"\n", end))
    return frames
