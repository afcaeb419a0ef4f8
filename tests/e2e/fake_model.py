"""A small upstream that speaks four formats: reads a request, decides on an answer, writes it whole or streamed.

What it answers: ``boom`` in the last user text gives an error; declared tools and no tool result yet give a call of
the first tool, ``all`` calls of every one; tool results are quoted; an image is named by its media type; ``think`` adds
reasoning; a JSON schema gives JSON; ``refuse`` is refused; ``break`` ends a stream in an error; all else is echoed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

CLAUDE_SIGNATURE = "EpwBCkYIBRgCKkB" + "A" * 64
FERNET = "gAAAAABn" + "A" * 112
USAGE = {"input": 21, "output": 8}


@dataclass
class Asked:
    """What a request asks, whatever its format."""

    text: str = ""
    tools: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    image: str | None = None
    schema: bool = False
    thinking: bool = False
    stream: bool = False


@dataclass
class Said:
    """What is answered."""

    text: str = ""
    reasoning: str = ""
    calls: list[str] = field(default_factory=list)
    refused: bool = False
    broken: bool = False
    error: int = 0


def decide(asked: Asked) -> Said:
    """The answer to what is asked."""
    if "boom" in asked.text:
        return Said(error=429 if "429" in asked.text else 400)
    reasoning = "Let me think." if "think" in asked.text else ""
    if "refuse" in asked.text:
        return Said(text="I will not.", refused=True)
    if "break" in asked.text:
        return Said(text="This answer is cut", broken=True)
    if asked.tools and not asked.results:
        return Said(calls=asked.tools if "all" in asked.text else asked.tools[:1], reasoning=reasoning)
    if asked.results:
        return Said(text=f"The tool said: {', '.join(asked.results)}", reasoning=reasoning)
    if asked.schema:
        return Said(text='{"city":"Paris","population":2100000}', reasoning=reasoning)
    if asked.image:
        return Said(text=f"I see {asked.image}", reasoning=reasoning)
    return Said(text=f"You said: {asked.text} — über ☃", reasoning=reasoning)


ARGUMENTS = {"city": "Paris", "days": 3}


def pieces(text: str) -> Iterator[str]:
    """The text in small pieces."""
    for at in range(0, len(text), 7):
        yield text[at : at + 7]


# -- reading requests ---------------------------------------------------------------------------------------------


def _flatten(content: Any, asked: Asked) -> str:
    if isinstance(content, str):
        return content
    texts = []
    for part in content or []:
        kind = part.get("type")
        if kind in ("text", "input_text", "output_text"):
            texts.append(part["text"])
        elif kind == "image_url":
            asked.image = part["image_url"]["url"].split(";")[0].removeprefix("data:")
        elif kind == "input_image":
            asked.image = part["image_url"].split(";")[0].removeprefix("data:")
        elif kind == "image":
            asked.image = part["source"].get("media_type") or part["source"].get("url")
        elif kind == "tool_result":
            asked.results.append(_flatten(part["content"], asked))
    return " ".join(texts)


def read_chat(body: dict[str, Any]) -> Asked:
    asked = Asked(stream=bool(body.get("stream")), schema="response_format" in body)
    asked.tools = [tool["function"]["name"] for tool in body.get("tools", [])]
    asked.thinking = "reasoning_effort" in body
    for message in body["messages"]:
        if message["role"] == "user":
            asked.text = _flatten(message["content"], asked) or asked.text
        elif message["role"] == "tool":
            asked.results.append(_flatten(message["content"], asked))
    return asked


def read_claude(body: dict[str, Any]) -> Asked:
    asked = Asked(stream=bool(body.get("stream")), schema="format" in body.get("output_config", {}))
    asked.tools = [tool["name"] for tool in body.get("tools", [])]
    asked.thinking = body.get("thinking", {}).get("type") in ("enabled", "adaptive")
    for message in body["messages"]:
        if message["role"] == "user":
            asked.text = _flatten(message["content"], asked) or asked.text
    return asked


def read_codex(body: dict[str, Any]) -> Asked:
    asked = Asked(stream=True, schema=body.get("text", {}).get("format", {}).get("type") == "json_schema")
    asked.tools = [tool["name"] for tool in body.get("tools", []) if tool["type"] == "function"]
    asked.thinking = body.get("reasoning", {}).get("effort") not in (None, "none")
    for item in body["input"]:
        if item.get("type", "message") == "message" and item["role"] == "user":
            asked.text = _flatten(item["content"], asked) or asked.text
        elif item.get("type") == "function_call_output":
            asked.results.append(_flatten(item["output"], asked))
    return asked


def read_gemini(body: dict[str, Any]) -> Asked:
    config = body.get("generationConfig", {})
    asked = Asked(schema=bool(config.get("responseJsonSchema") or config.get("responseSchema")))
    for tool in body.get("tools", []):
        asked.tools += [declaration["name"] for declaration in tool.get("functionDeclarations", [])]
    asked.thinking = "thinkingConfig" in config
    for content in body["contents"]:
        for part in content["parts"]:
            if content.get("role", "user") == "user" and "text" in part:
                asked.text = part["text"] or asked.text
            if "inlineData" in part:
                data = part["inlineData"]
                asked.image = data.get("mimeType") or data["mime_type"]
            if "functionResponse" in part:
                response = part["functionResponse"]["response"]
                asked.results.append(str(response.get("result", response)))
    return asked


# -- writing answers ----------------------------------------------------------------------------------------------


def chat_whole(said: Said) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None}
    if said.refused:
        message |= {"content": None, "refusal": said.text}
    if said.reasoning:
        message["reasoning_content"] = said.reasoning
    if said.calls:
        message["tool_calls"] = [_chat_call(name, at) for at, name in enumerate(said.calls, 1)]
    finish = "tool_calls" if said.calls else "stop"
    return {
        "id": "chatcmpl-up",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "up-model",
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "usage": _chat_usage(),
    }


def _chat_call(name: str, at: int) -> dict[str, Any]:
    arguments = orjson.dumps(ARGUMENTS).decode()
    return {"id": f"call_up{at}", "type": "function", "function": {"name": name, "arguments": arguments}}


def _chat_usage() -> dict[str, Any]:
    return {
        "prompt_tokens": USAGE["input"],
        "completion_tokens": USAGE["output"],
        "total_tokens": USAGE["input"] + USAGE["output"],
        "completion_tokens_details": {"reasoning_tokens": 3},
    }


def chat_stream(said: Said) -> Iterator[bytes]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        head = {"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1700000000, "model": "up-model"}
        return _sse({**head, "choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    for piece in pieces(said.reasoning):
        yield chunk({"reasoning_content": piece})
    for piece in pieces(said.text):
        yield chunk({"refusal" if said.refused else "content": piece})
    if said.broken:
        yield _sse({"error": {**ERRORS["oc"]["error"], "status": 400}})
        return
    for index, name in enumerate(said.calls):
        call = _chat_call(name, index + 1)
        arguments = call["function"].pop("arguments")
        yield chunk({"tool_calls": [{"index": index, **call}]})
        for piece in pieces(arguments):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield chunk({}, "tool_calls" if said.calls else "stop")
    head = {"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1700000000, "model": "up-model"}
    yield _sse({**head, "choices": [], "usage": _chat_usage()})
    yield b"data: [DONE]\n\n"


def claude_whole(said: Said) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if said.reasoning:
        content.append({"type": "thinking", "thinking": said.reasoning, "signature": CLAUDE_SIGNATURE})
    if said.text:
        content.append({"type": "text", "text": said.text})
    for at, name in enumerate(said.calls, 1):
        content.append({"type": "tool_use", "id": f"toolu_up{at}", "name": name, "input": ARGUMENTS})
    return {
        "id": "msg_up",
        "type": "message",
        "role": "assistant",
        "model": "up-model",
        "content": content,
        "stop_reason": "refusal" if said.refused else "tool_use" if said.calls else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": USAGE["input"], "output_tokens": USAGE["output"]},
    }


def claude_stream(said: Said) -> Iterator[bytes]:
    whole = claude_whole(said)
    start = {**whole, "content": [], "stop_reason": None, "usage": {"input_tokens": USAGE["input"], "output_tokens": 1}}
    yield _event({"type": "message_start", "message": start})
    for index, block in enumerate(whole["content"]):
        empty = {
            "text": {"type": "text", "text": ""},
            "thinking": {"type": "thinking", "thinking": "", "signature": ""},
            "tool_use": {**block, "input": {}},
        }[block["type"]]
        yield _event({"type": "content_block_start", "index": index, "content_block": empty})
        for delta in _claude_deltas(block):
            yield _event({"type": "content_block_delta", "index": index, "delta": delta})
        if said.broken:
            yield _event(ERRORS["claude"])
            return
        yield _event({"type": "content_block_stop", "index": index})
    yield _event(
        {
            "type": "message_delta",
            "delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None},
            "usage": {"output_tokens": USAGE["output"]},
        }
    )
    yield _event({"type": "message_stop"})


def _claude_deltas(block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    match block["type"]:
        case "text":
            yield from ({"type": "text_delta", "text": piece} for piece in pieces(block["text"]))
        case "thinking":
            yield from ({"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"]))
            yield {"type": "signature_delta", "signature": block["signature"]}
        case "tool_use":
            text = orjson.dumps(block["input"]).decode()
            yield from ({"type": "input_json_delta", "partial_json": piece} for piece in pieces(text))


def gemini_chunks(said: Said) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"text": piece, "thought": True} for piece in pieces(said.reasoning)]
    parts += [{"text": piece} for piece in pieces(said.text)]
    for at, name in enumerate(said.calls):
        signature = {} if at else {"thoughtSignature": "CiQB" + "A" * 60}
        parts.append({"functionCall": {"name": name, "args": ARGUMENTS}, **signature})
    chunks = [
        {
            "candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}],
            "modelVersion": "up-model",
            "responseId": "up-1",
        }
        for part in parts
    ]
    if said.broken:
        return [*chunks, ERRORS["gemini"]]
    chunks[-1]["candidates"][0]["finishReason"] = "SAFETY" if said.refused else "STOP"
    chunks[-1]["usageMetadata"] = {
        "promptTokenCount": USAGE["input"],
        "candidatesTokenCount": USAGE["output"] - 3,
        "thoughtsTokenCount": 3,
        "totalTokenCount": USAGE["input"] + USAGE["output"],
    }
    return chunks


def gemini_whole(said: Said) -> dict[str, Any]:
    chunks = gemini_chunks(said)
    merged = chunks[-1]
    parts: list[dict[str, Any]] = []
    for chunk in chunks:
        for part in chunk["candidates"][0]["content"]["parts"]:
            if parts and "text" in part and "text" in parts[-1] and part.get("thought") == parts[-1].get("thought"):
                parts[-1]["text"] += part["text"]
            else:
                parts.append(dict(part))
    merged["candidates"][0]["content"]["parts"] = parts
    return merged


def gemini_stream(said: Said) -> Iterator[bytes]:
    return (_sse(chunk) for chunk in gemini_chunks(said))


def codex_stream(said: Said) -> Iterator[bytes]:
    output: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    response = {"id": "resp_up", "object": "response", "created_at": 1700000000, "model": "up-model", "output": []}
    begun = {**response, "status": "in_progress"}
    events += [{"type": kind, "response": begun} for kind in ("response.created", "response.in_progress")]
    if said.reasoning:
        events += _codex_reasoning(said.reasoning, output)
    if said.text:
        events += _codex_text(said.text, output, refused=said.refused)
    for at, name in enumerate(said.calls, 1):
        events += _codex_call(name, at, output)
    usage = {
        "input_tokens": USAGE["input"],
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": USAGE["output"],
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": USAGE["input"] + USAGE["output"],
    }
    completed = {**response, "status": "completed", "output": output, "usage": usage}
    failed = {**response, "status": "failed", "error": {"code": "invalid_prompt", "message": "the model says boom"}}
    events.append(
        {"type": "response.failed", "response": failed}
        if said.broken
        else {"type": "response.completed", "response": completed}
    )
    return (_event({**event, "sequence_number": number}) for number, event in enumerate(events))


def _codex_text(text: str, output: list[dict[str, Any]], *, refused: bool = False) -> list[dict[str, Any]]:
    index = len(output)
    if refused:
        return _codex_refusal(text, output)
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "id": "msg_up", "role": "assistant", "status": "completed", "content": [part]}
    place = {"item_id": "msg_up", "output_index": index, "content_index": 0}
    output.append(item)
    added = {**item, "status": "in_progress", "content": []}
    return [
        {"type": "response.output_item.added", "output_index": index, "item": added},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": piece} for piece in pieces(text)),
        {"type": "response.output_text.done", **place, "text": text},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def _codex_refusal(text: str, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    index, part = len(output), {"type": "refusal", "refusal": text}
    item = {"type": "message", "id": "msg_up", "role": "assistant", "status": "completed", "content": [part]}
    output.append(item)
    place = {"item_id": "msg_up", "output_index": index, "content_index": 0}
    return [
        {"type": "response.output_item.added", "output_index": index, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **place, "part": {**part, "refusal": ""}},
        *({"type": "response.refusal.delta", **place, "delta": piece} for piece in pieces(text)),
        {"type": "response.refusal.done", **place, "refusal": text},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def _codex_call(name: str, at: int, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    index = len(output)
    arguments = orjson.dumps(ARGUMENTS).decode()
    item = {
        "type": "function_call",
        "id": f"fc_up{at}",
        "call_id": f"call_up{at}",
        "name": name,
        "arguments": arguments,
        "status": "completed",
    }
    output.append(item)
    place = {"item_id": item["id"], "output_index": index}
    added = {**item, "arguments": "", "status": "in_progress"}
    return [
        {"type": "response.output_item.added", "output_index": index, "item": added},
        *({"type": "response.function_call_arguments.delta", **place, "delta": piece} for piece in pieces(arguments)),
        {"type": "response.function_call_arguments.done", **place, "arguments": arguments},
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def _codex_reasoning(text: str, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    index = len(output)
    part = {"type": "summary_text", "text": text}
    item = {"type": "reasoning", "id": "rs_up", "summary": [part], "encrypted_content": FERNET}
    output.append(item)
    place = {"item_id": "rs_up", "output_index": index, "summary_index": 0}
    added = {**item, "summary": []}
    return [
        {"type": "response.output_item.added", "output_index": index, "item": added},
        {"type": "response.reasoning_summary_part.added", **place, "part": {**part, "text": ""}},
        *({"type": "response.reasoning_summary_text.delta", **place, "delta": piece} for piece in pieces(text)),
        {"type": "response.reasoning_summary_text.done", **place, "text": text},
        {"type": "response.reasoning_summary_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def _sse(data: Any) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


def _event(data: dict[str, Any]) -> bytes:
    return b"event: " + data["type"].encode() + b"\n" + _sse(data)


# -- serving ------------------------------------------------------------------------------------------------------

READERS = {"oc": read_chat, "claude": read_claude, "codex": read_codex, "gemini": read_gemini}
WHOLE = {"oc": chat_whole, "claude": claude_whole, "gemini": gemini_whole}
STREAMS = {"oc": chat_stream, "claude": claude_stream, "codex": codex_stream, "gemini": gemini_stream}
ERRORS: dict[str, Any] = {
    "oc": {"error": {"message": "the model says boom", "type": "invalid_request_error", "code": "boom"}},
    "codex": {"error": {"message": "the model says boom", "type": "invalid_request_error", "code": "boom"}},
    "claude": {"type": "error", "error": {"type": "invalid_request_error", "message": "the model says boom"}},
    "gemini": {"error": {"code": 400, "message": "the model says boom", "status": "INVALID_ARGUMENT"}},
}


class FakeModel:
    """The application and what it was asked. ``delay`` is the seconds between two frames."""

    def __init__(self, delay: float = 0.0) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.delay = delay
        self.app = web.Application(client_max_size=1 << 30)
        self.app.router.add_post("/{kind}/{rest:.*}", self._answer)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        kind = request.match_info["kind"]
        body = orjson.loads(await request.read())
        self.requests.append((kind, body))
        if request.path.endswith((":countTokens", "/count_tokens")):
            return web.json_response({"totalTokens": 42} if kind == "gemini" else {"input_tokens": 42})
        try:
            asked = READERS[kind](body)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            return web.json_response(ERRORS[kind], status=400)
        said = decide(asked)
        if said.error:
            return web.json_response(ERRORS[kind], status=said.error)
        if kind == "gemini":
            asked.stream = "streamGenerateContent" in request.path
        if not asked.stream:
            return web.json_response(WHOLE[kind](said))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for frame in STREAMS[kind](said):
            await response.write(frame)
            if self.delay:
                await asyncio.sleep(self.delay)
        await response.write_eof()
        return response
