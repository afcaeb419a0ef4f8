"""Answers as vendors stream them, and what the record knows after one."""

from __future__ import annotations

from typing import Any

import orjson

from cpa.conversation import events as ev
from cpa.conversation.usage import Usage
from cpa.formats.codec import ReplyContext
from cpa.formats.registry import builtin_formats
from cpa.formats.sse import SseParser
from cpa.usage.tokens import Tokens, tokens_of

CODECS = builtin_formats()


def sse(*frames: Any) -> bytes:
    """``data:`` frames; those with a ``type`` are named after it."""
    lines = []
    for frame in frames:
        if isinstance(frame, dict) and "type" in frame:
            lines.append(b"event: " + frame["type"].encode() + b"\n")
        lines.append(b"data: " + (frame if isinstance(frame, bytes) else orjson.dumps(frame)) + b"\n\n")
    return b"".join(lines)


def claude(start: dict[str, Any], delta: dict[str, Any] | None = None) -> bytes:
    """A Messages stream; without ``delta`` it is cut off after its text."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "claude-x"}
    frames: list[Any] = [
        {"type": "message_start", "message": {**message, "stop_reason": None, "usage": start}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    ]
    if delta is not None:
        frames += [
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": delta},
            {"type": "message_stop"},
        ]
    return sse(*frames)


def openai(*usages: Any) -> bytes:
    """A Chat Completions stream with these ``usage`` members after its text."""
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-x"}
    text = {"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": None}
    stop = {"index": 0, "delta": {}, "finish_reason": "stop"}
    return sse(
        {**chunk, "choices": [text]},
        {**chunk, "choices": [stop]},
        *({**chunk, "choices": [], "usage": usage} for usage in usages),
        b"[DONE]",
    )


def responses(usage: Any) -> bytes:
    """A Responses stream that completes with this usage."""
    response = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-x", "output": []}
    return sse(
        {"type": "response.created", "sequence_number": 0, "response": {**response, "status": "in_progress"}},
        {
            "type": "response.completed",
            "sequence_number": 1,
            "response": {**response, "status": "completed", "usage": usage},
        },
    )


def gemini(*usages: Any) -> bytes:
    """A generateContent stream whose chunks carry these counts; the last one finishes."""
    frames = []
    for number, usage in enumerate(usages, 1):
        candidate: dict[str, Any] = {"index": 0, "content": {"role": "model", "parts": [{"text": "Hi"}]}}
        if number == len(usages):
            candidate["finishReason"] = "STOP"
        frames.append({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-x"})
    return sse(*frames)


def usage_in(name: str, stream: bytes) -> Usage | None:
    """What an attempt knows after a stream in this format, complete or cut off."""
    parser, decoder = SseParser(), CODECS[name].stream_decoder(ReplyContext(created=1))
    events: list[ev.Event] = []
    for frame in [*parser.feed(stream), *parser.close()]:
        events += decoder.feed(frame)
    events += decoder.close()
    known: Usage | None = None
    for each in events:
        if isinstance(each, ev.UsageReport):
            known = each.usage if known is None else known.merge(each.usage)
    return known


def tokens_in(name: str, stream: bytes) -> Tokens:
    return tokens_of(usage_in(name, stream), name)


def buckets(tokens: Tokens) -> tuple[int, int, int, int]:
    """(uncached, read, written, output with reasoning): together they are the total."""
    output = tokens.total - tokens.unclassified - tokens.uncached - tokens.cache_read - tokens.cache_creation
    return tokens.uncached, tokens.cache_read, tokens.cache_creation, output


OPENAI_USAGE = {
    "prompt_tokens": 130,
    "completion_tokens": 50,
    "total_tokens": 180,
    "prompt_tokens_details": {"cached_tokens": 100},
    "completion_tokens_details": {"reasoning_tokens": 30},
}
RESPONSES_USAGE = {
    "input_tokens": 130,
    "input_tokens_details": {"cached_tokens": 100},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 30},
    "total_tokens": 180,
}
GEMINI_USAGE = {
    "promptTokenCount": 130,
    "cachedContentTokenCount": 100,
    "candidatesTokenCount": 20,
    "thoughtsTokenCount": 30,
    "totalTokenCount": 180,
}
CLAUDE_START = {"input_tokens": 30, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 0}
STREAMS = {
    "openai": openai(OPENAI_USAGE),
    "openai-response": responses(RESPONSES_USAGE),
    "claude": claude({**CLAUDE_START, "output_tokens": 1}, {"output_tokens": 50}),
    "gemini": gemini(GEMINI_USAGE),
}
