"""Write a whole answer for a Gemini client."""

from __future__ import annotations

from typing import Any

from cpa.conversation.reply import Block, Reply
from cpa.formats.codec import ReplyContext
from cpa.formats.gemini.answer_parts import (
    audio_type,
    call_arguments,
    call_part,
    media_part,
    opaque_part,
    thought_signature,
)
from cpa.formats.gemini.fields import Object
from cpa.formats.gemini.finish import CUTTING, encode_finish
from cpa.formats.gemini.history import own_signature
from cpa.formats.gemini.usage import encode_usage


def shown_model(context: ReplyContext, reported: str | None) -> str:
    """The model name the client is told."""
    return context.model or reported or context.requested_model


def encode_reply(reply: Reply, context: ReplyContext) -> Object:
    """One ``GenerateContentResponse``. Citations and other vendors' server tools have no place in it."""
    candidates = [_candidate(reply, choice) for choice in reply.choices()]
    body: Object = {"candidates": candidates}
    if reply.usage is not None:
        body["usageMetadata"] = encode_usage(reply.usage)
    body["modelVersion"] = shown_model(context, reply.start.model)
    body["responseId"] = reply.start.id or context.new_id("")
    return body


def _candidate(reply: Reply, choice: int) -> Object:
    finish = reply.finishes.get(choice)
    cut = finish is not None and finish.reason in CUTTING
    parts: list[Object] = []
    called = False
    for block in reply.blocks:
        if block.choice != choice:
            continue
        if block.kind == "tool_call":
            arguments = call_arguments(block)
            if not block.name or (arguments is None and cut):
                continue
            called = True
            parts.append(call_part(block, arguments))
        else:
            _add(parts, block)
    return {
        "content": {"role": "model", "parts": parts or [{"text": ""}]},
        "finishReason": encode_finish(finish, called=called),
        "index": choice,
    }


def _add(parts: list[Object], block: Block) -> None:
    """Append what a block shows; a text joins the unsigned text before it."""
    match block.kind:
        case "text" | "refusal":
            _add_text(parts, {"text": block.text}, own_signature(block.signature))
        case "reasoning":
            text = block.text or "\n\n".join(block.content or ())
            _add_text(parts, {"text": text, "thought": True}, thought_signature(block.signature))
        case "image":
            _add_part(parts, media_part(block.media_type, block.data, block.url, "image/png"))
        case "audio":
            _add_text(parts, {"text": block.text}, None)
            _add_part(parts, media_part(block.media_type, block.data, block.url, audio_type(block.options)))
        case "opaque":
            _add_part(parts, opaque_part(block))


def _add_part(parts: list[Object], part: Object | None) -> None:
    if part is not None:
        parts.append(part)


def _add_text(parts: list[Object], part: dict[str, Any], signature: str | None) -> None:
    if not part["text"] and signature is None:
        return
    last = parts[-1] if parts else {}
    joinable = "text" in last and "thoughtSignature" not in last and last.get("thought") == part.get("thought")
    if joinable:
        last["text"] += part["text"]
        part = last
    else:
        parts.append(part)
    if signature is not None:
        part["thoughtSignature"] = signature
