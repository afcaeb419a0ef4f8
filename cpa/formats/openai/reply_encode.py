"""Write a whole Chat Completions answer."""

from __future__ import annotations

from typing import Any

from cpa.conversation.reply import Block, Reply
from cpa.formats.codec import ReplyContext
from cpa.formats.openai.finish import encode_finish
from cpa.formats.openai.shown import Object, annotation, client_arguments, client_name, head, image
from cpa.formats.openai.usage import encode_usage


def encode_reply(reply: Reply, context: ReplyContext) -> Object:
    """``chat.completion``, one choice per choice of the reply."""
    body = head(context, reply.start, "chat.completion")
    body["choices"] = [_choice(reply, index, context) for index in reply.choices()]
    if reply.usage is not None:
        body["usage"] = encode_usage(reply.usage)
    return body


def _choice(reply: Reply, index: int, context: ReplyContext) -> Object:
    blocks = [block for block in reply.blocks if block.choice == index]
    calls = [_call(block, context) for block in blocks if block.kind == "tool_call" and block.name]
    finish = reply.finishes.get(index)
    choice: Object = {
        "index": index,
        "message": _message(blocks, calls),
        "logprobs": _logprobs(blocks),
        "finish_reason": encode_finish(finish, called=bool(calls)),
    }
    if finish is not None and finish.native and context.upstream_format in ("codex", "gemini", "gemini-cli"):
        choice["native_finish_reason"] = finish.native.lower()
    return choice


def _message(blocks: list[Block], calls: list[Object]) -> Object:
    texts = [block.text for block in blocks if block.kind == "text"]
    transcripts = [block.text for block in blocks if block.kind == "audio"]
    message: Object = {"role": "assistant", "content": "".join(texts) if texts else None if calls else ""}
    reasoning = "\n\n".join(block.text for block in blocks if block.kind == "reasoning" and block.text)
    if reasoning:
        message["reasoning_content"] = reasoning
    refusal = "".join(block.text for block in blocks if block.kind == "refusal")
    if refusal:
        message["refusal"] = refusal
    if calls:
        message["tool_calls"] = calls
    pictures = [block for block in blocks if block.kind == "image"]
    images = [shown for at, block in enumerate(pictures) if (shown := image(block, at))]
    if images:
        message["images"] = images
    annotations = [annotation(citation) for block in blocks for citation in block.citations]
    if annotations:
        message["annotations"] = annotations
    audio = _audio(blocks)
    if audio is not None:
        message["audio"] = audio
    elif transcripts and not texts:
        message["content"] = "".join(transcripts)
    return message


def _audio(blocks: list[Block]) -> Object | None:
    block = next((block for block in blocks if block.kind == "audio" and block.data), None)
    if block is None:
        return None
    return {
        "id": block.native_id or "audio",
        "data": block.data,
        "transcript": block.text,
        "expires_at": (block.options or {}).get("expires_at", 0),
    }


def _call(block: Block, context: ReplyContext) -> Object:
    call_id = block.call_id or context.new_id("call_")
    name = client_name(block.name or "", block.namespace)
    if block.tool_type == "custom" and context.client_format == "openai" and _declared_custom(context, name):
        return {"id": call_id, "type": "custom", "custom": {"name": name, "input": client_arguments(block)}}
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": client_arguments(block)}}


def _declared_custom(context: ReplyContext, name: str) -> bool:
    tools = context.request.get("tools")
    return any(
        isinstance(tool, dict) and tool.get("type") == "custom" and (tool.get("custom") or {}).get("name") == name
        for tool in (tools if isinstance(tools, list) else ())
    )


def _logprobs(blocks: list[Block]) -> Any:
    content = [entry for block in blocks if block.kind == "text" for entry in block.logprobs]
    return {"content": content, "refusal": None} if content else None
