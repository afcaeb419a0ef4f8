"""Streams of a Responses upstream that the tests read."""

from __future__ import annotations

from typing import Any

import orjson

Object = dict[str, Any]


def stream(*events: Object) -> bytes:
    """The wire form of these events, numbered."""
    frames = []
    for number, event in enumerate(events):
        data = orjson.dumps({**event, "sequence_number": number})
        frames.append(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), data))
    return b"".join(frames)


HEAD: Object = {"id": "resp_1", "object": "response", "created_at": 7, "model": "gpt-5.4", "status": "in_progress"}
USAGE: Object = {
    "input_tokens": 130,
    "input_tokens_details": {"cached_tokens": 100},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 30},
    "total_tokens": 180,
}
REASONING: Object = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "hm"}, {"type": "summary_text", "text": "so"}],
    "encrypted_content": "gAAA",
}
MESSAGE: Object = {
    "id": "msg_1",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Hi é", "annotations": []}],
}
CALL: Object = {
    "id": "fc_1",
    "type": "function_call",
    "call_id": "call_1",
    "name": "f",
    "arguments": '{"a":1}',
    "status": "completed",
}
SECOND: Object = {**CALL, "id": "fc_2", "call_id": "call_2", "name": "g", "arguments": "{}"}


def added(index: int, item: Object) -> Object:
    """``output_item.added`` as the vendor sends it."""
    empty = {key: [] if isinstance(value, list) else value for key, value in item.items() if key != "arguments"}
    return {"type": "response.output_item.added", "output_index": index, "item": {**empty, "status": "in_progress"}}


def done(index: int, item: Object) -> Object:
    """``output_item.done``."""
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def completed(output: list[Object], **members: Any) -> Object:
    """``response.completed``."""
    return {
        "type": "response.completed",
        "response": {**HEAD, "status": "completed", "output": output, "usage": USAGE, **members},
    }


FULL: list[Object] = [
    {"type": "response.created", "response": HEAD},
    {"type": "response.in_progress", "response": HEAD},
    added(0, REASONING),
    {"type": "response.reasoning_summary_part.added", "item_id": "rs_1", "output_index": 0, "summary_index": 0},
    {
        "type": "response.reasoning_summary_text.delta",
        "item_id": "rs_1",
        "output_index": 0,
        "summary_index": 0,
        "delta": "hm",
    },
    {
        "type": "response.reasoning_summary_text.delta",
        "item_id": "rs_1",
        "output_index": 0,
        "summary_index": 1,
        "delta": "so",
    },
    done(0, REASONING),
    added(1, MESSAGE),
    {
        "type": "response.output_text.delta",
        "item_id": "msg_1",
        "output_index": 1,
        "content_index": 0,
        "delta": "Hi ",
    },
    {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 1, "content_index": 0, "delta": "é"},
    done(1, MESSAGE),
    added(2, CALL),
    added(3, SECOND),
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"a"'},
    {"type": "response.function_call_arguments.delta", "output_index": 3, "delta": "{}"},
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": ":1}"},
    done(2, CALL),
    done(3, SECOND),
    completed([]),
]
WHOLE: Object = completed([REASONING, MESSAGE, CALL, SECOND])["response"]
