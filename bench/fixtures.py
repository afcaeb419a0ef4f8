"""What the scripted upstream answers and the load client asks, in every format, as ready bytes."""

from __future__ import annotations

from typing import Any

import orjson

TEXT = "The quick brown fox jumps over the lazy dog. "
PROMPT = "Describe the fox. " * 40


def sse(data: Any, event: str | None = None) -> bytes:
    """One server-sent event."""
    head = b"event: %b\n" % event.encode() if event else b""
    return head + b"data: %b\n\n" % (data if isinstance(data, bytes) else orjson.dumps(data))


def request_body(client: str, model: str, *, stream: bool) -> tuple[str, bytes]:
    """Path and body of a client request of about 1 KB in a client format."""
    match client:
        case "openai":
            body: dict[str, Any] = {
                "model": model,
                "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}],
                "stream": stream,
            }
            if stream:
                body["stream_options"] = {"include_usage": True}
            return "/v1/chat/completions", orjson.dumps(body)
        case "claude":
            return "/v1/messages", orjson.dumps(
                {
                    "model": model,
                    "max_tokens": 1000,
                    "system": "Be brief.",
                    "messages": [{"role": "user", "content": PROMPT}],
                    "stream": stream,
                }
            )
        case "openai-response":
            return "/v1/responses", orjson.dumps(
                {"model": model, "instructions": "Be brief.", "input": PROMPT, "stream": stream, "store": False}
            )
        case "gemini":
            method = "streamGenerateContent?alt=sse" if stream else "generateContent"
            return f"/v1beta/models/{model}:{method}", orjson.dumps(
                {
                    "systemInstruction": {"parts": [{"text": "Be brief."}]},
                    "contents": [{"role": "user", "parts": [{"text": PROMPT}]}],
                }
            )
    raise ValueError(client)


def whole_answer(upstream: str) -> bytes:
    """A non-stream answer of an upstream format."""
    match upstream:
        case "openai":
            return orjson.dumps(
                {
                    "id": "chatcmpl-1",
                    "object": "chat.completion",
                    "created": 1,
                    "model": "m",
                    "choices": [
                        {"index": 0, "message": {"role": "assistant", "content": TEXT * 10}, "finish_reason": "stop"}
                    ],
                    "usage": {"prompt_tokens": 200, "completion_tokens": 100, "total_tokens": 300},
                }
            )
        case "claude":
            return orjson.dumps(
                {
                    "id": "msg_1",
                    "type": "message",
                    "role": "assistant",
                    "model": "m",
                    "content": [{"type": "text", "text": TEXT * 10}],
                    "stop_reason": "end_turn",
                    "stop_sequence": None,
                    "usage": {"input_tokens": 200, "output_tokens": 100},
                }
            )
        case "gemini":
            return orjson.dumps(
                {
                    "candidates": [
                        {
                            "content": {"role": "model", "parts": [{"text": TEXT * 10}]},
                            "finishReason": "STOP",
                            "index": 0,
                        }
                    ],
                    "usageMetadata": {"promptTokenCount": 200, "candidatesTokenCount": 100, "totalTokenCount": 300},
                    "modelVersion": "m",
                    "responseId": "r1",
                }
            )
    raise ValueError(upstream)


def stream_frames(upstream: str, deltas: int) -> list[bytes]:
    """The frames of a stream with ``deltas`` text deltas in an upstream format."""
    match upstream:
        case "openai":
            return _openai(deltas)
        case "claude":
            return _claude(deltas)
        case "gemini":
            return _gemini(deltas)
        case "codex":
            return _codex(deltas)
    raise ValueError(upstream)


def _openai(deltas: int) -> list[bytes]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return sse(
            {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        )

    usage = {"prompt_tokens": 200, "completion_tokens": deltas, "total_tokens": 200 + deltas}
    last = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
    return [
        chunk({"role": "assistant", "content": ""}),
        *[chunk({"content": TEXT}) for _ in range(deltas)],
        chunk({}, "stop"),
        sse({**last, "usage": usage}),
        sse(b"[DONE]"),
    ]


def _claude(deltas: int) -> list[bytes]:
    def event(data: dict[str, Any]) -> bytes:
        return sse(data, data["type"])

    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 200, "output_tokens": 1},
    }
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT}}
    return [
        event({"type": "message_start", "message": message}),
        event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        *[event(delta) for _ in range(deltas)],
        event({"type": "content_block_stop", "index": 0}),
        event(
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": deltas},
            }
        ),
        event({"type": "message_stop"}),
    ]


def _gemini(deltas: int) -> list[bytes]:
    def chunk(last: bool) -> bytes:
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": TEXT}]}, "index": 0}
        body: dict[str, Any] = {"candidates": [candidate], "modelVersion": "m", "responseId": "r1"}
        if last:
            candidate["finishReason"] = "STOP"
            body["usageMetadata"] = {
                "promptTokenCount": 200,
                "candidatesTokenCount": deltas,
                "totalTokenCount": 200 + deltas,
            }
        return sse(body)

    return [*[chunk(False) for _ in range(deltas - 1)], chunk(True)]


def _codex(deltas: int) -> list[bytes]:
    response = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": "in_progress",
        "output": [],
    }
    part = {"type": "output_text", "text": TEXT * deltas, "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    usage = {
        "input_tokens": 200,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": deltas,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 200 + deltas,
    }
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response},
        {"type": "response.in_progress", "response": response},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**item, "status": "in_progress", "content": []},
        },
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *[{"type": "response.output_text.delta", **place, "delta": TEXT} for _ in range(deltas)],
        {"type": "response.output_text.done", **place, "text": TEXT * deltas},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {
            "type": "response.completed",
            "response": {**response, "status": "completed", "output": [item], "usage": usage},
        },
    ]
    return [sse({**event, "sequence_number": number}, event["type"]) for number, event in enumerate(events)]
