"""Write a whole Messages answer."""

from __future__ import annotations

from cpa.conversation.names import call_id as clean_id
from cpa.conversation.reply import Reply
from cpa.formats.claude.answer_blocks import content_blocks
from cpa.formats.claude.fields import Object
from cpa.formats.claude.finish import encode_finish
from cpa.formats.claude.usage import encode_usage
from cpa.formats.codec import ReplyContext


def shown_model(context: ReplyContext, model: str | None) -> str:
    """The model name the client sees."""
    return context.model or model or context.requested_model


def shown_id(context: ReplyContext, upstream_id: str | None) -> str:
    """The message's id: the upstream's own where it is one of Messages, else that in the manner of Messages."""
    if not upstream_id:
        return context.new_id("msg_")
    return upstream_id if upstream_id.startswith("msg_") else f"msg_{clean_id(upstream_id)}"


def encode_reply(reply: Reply, context: ReplyContext) -> Object:
    """The ``message``; of several choices the first."""
    content: list[Object] = []
    called = False
    for block in reply.blocks:
        if block.choice == 0:
            content += content_blocks(block, context.new_id)
            called = called or (block.kind == "tool_call" and bool(block.name))
    reason, sequence = encode_finish(reply.finishes.get(0), called=called)
    finish = reply.finishes.get(0)
    body: Object = {
        "id": shown_id(context, reply.start.id),
        "type": "message",
        "role": "assistant",
        "model": shown_model(context, reply.start.model),
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": encode_usage(reply.usage),
    }
    if finish is not None and finish.details is not None and reason == "refusal":
        body["stop_details"] = finish.details
    return body
