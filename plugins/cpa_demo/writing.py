"""Write the demo model's answers as Chat Completions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from cpa_demo.mind import Thought

Object = dict[str, Any]


def completion(thought: Thought, model: str, created: int) -> Object:
    """The whole answer."""
    message: Object = {"role": "assistant", "content": thought.text or None if thought.calls else thought.text}
    if thought.reasoning:
        message["reasoning_content"] = thought.reasoning
    if thought.calls:
        message["tool_calls"] = [_call(index, name, text) for index, (name, text) in enumerate(thought.calls)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": thought.finish}
    return {**_head("chat.completion", model, created), "choices": [choice], "usage": _usage(thought)}


def chunks(thought: Thought, model: str, created: int, size: int) -> Iterator[bytes]:
    """The answer as server-sent events, ``size`` characters a piece."""
    head = _head("chat.completion.chunk", model, created)

    def chunk(delta: Object, finish: str | None = None) -> bytes:
        return _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    yield chunk({"role": "assistant", "content": ""})
    for member, text in (("reasoning_content", thought.reasoning), ("content", thought.text)):
        for at in range(0, len(text), size):
            yield chunk({member: text[at : at + size]})
    for index, (name, text) in enumerate(thought.calls):
        first = _call(index, name, "")
        yield chunk({"tool_calls": [{"index": index, **first}]})
        for at in range(0, len(text), size):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": text[at : at + size]}}]})
    yield chunk({}, thought.finish)
    yield _event({**head, "choices": [], "usage": _usage(thought)})
    yield b"data: [DONE]\n\n"


def _head(kind: str, model: str, created: int) -> Object:
    return {"id": f"chatcmpl-demo{created}", "object": kind, "created": created, "model": model}


def _call(index: int, name: str, arguments: str) -> Object:
    return {"id": f"call_demo_{index}", "type": "function", "function": {"name": name, "arguments": arguments}}


def _usage(thought: Thought) -> Object:
    return {
        "prompt_tokens": thought.prompt_tokens,
        "completion_tokens": thought.completion_tokens,
        "total_tokens": thought.prompt_tokens + thought.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought.reasoning_tokens},
    }


def _event(data: Object) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"
