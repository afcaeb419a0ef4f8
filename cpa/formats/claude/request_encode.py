"""Write a Messages request."""

from __future__ import annotations

from cpa.conversation.effort import KEEP, ResolvedReasoning
from cpa.conversation.names import NameMap
from cpa.conversation.pairing import pair_tool_calls
from cpa.conversation.parts import Audio, Part, Video
from cpa.conversation.request import Conversation
from cpa.errors import InvalidRequest
from cpa.formats.claude.blocks import encode_blocks
from cpa.formats.claude.caching import with_cache_marks
from cpa.formats.claude.fields import Object
from cpa.formats.claude.reasoning import DEFAULT_MAX_TOKENS, consistent, write_reasoning
from cpa.formats.claude.tools import encode_tool_choice, encode_tools
from cpa.formats.codec import EncodedRequest, Target

_BETAS = frozenset({"context_management", "output_config", "output_format", "cache_control", "speed"})
COUNTED = _BETAS | {"model", "system", "messages", "tools", "tool_choice", "thinking", "mcp_servers"}
"""Members the counting endpoint takes; it refuses others.

https://docs.anthropic.com/en/api/messages-count-tokens
"""


def encode_request(conversation: Conversation, target: Target, reasoning: ResolvedReasoning) -> EncodedRequest:
    """The upstream body. Seeds, penalties, logit bias and several choices have no place in it."""
    names = NameMap()
    tools = encode_tools(conversation, names)
    body: Object = {"model": target.model}
    system = _system(conversation)
    messages = _messages(conversation, names)
    if not messages and system:
        messages = [{"role": "user", "content": [system.pop()]}]
    if not messages:
        raise InvalidRequest("there is no message to answer", param="messages")
    body["max_tokens"] = _max_tokens(conversation, target)
    if system:
        body["system"] = system
    body["messages"] = messages
    if tools:
        body["tools"] = tools
        choice = encode_tool_choice(conversation, names, tools)
        if choice is not None:
            body["tool_choice"] = choice
    _write_sampling(body, conversation)
    _write_output(body, conversation)
    if conversation.user:
        body["metadata"] = {"user_id": conversation.user}
    if target.stream:
        body["stream"] = True
    body = consistent(write_reasoning(body, reasoning, target.limits))
    return EncodedRequest(with_cache_marks(body, inject=True), names)


def count_request(conversation: Conversation, target: Target) -> Object:
    """The body for the counting endpoint."""
    body = encode_request(conversation, target, KEEP).body
    return {name: value for name, value in body.items() if name in COUNTED}


def _max_tokens(conversation: Conversation, target: Target) -> int:
    wanted = conversation.sampling.max_output_tokens
    if wanted is not None and wanted > 0:
        return wanted
    return min(DEFAULT_MAX_TOKENS, target.limits.max_output_tokens or DEFAULT_MAX_TOKENS)


def _system(conversation: Conversation) -> list[Object]:
    blocks = []
    for item in conversation.system:
        blocks += [block for block in encode_blocks(item.parts, NameMap()) if block["type"] == "text"]
    return blocks


def _messages(conversation: Conversation, names: NameMap) -> list[Object]:
    """Turns in a row of one role are one message; results lead, calls close."""
    messages: list[Object] = []
    for turn in pair_tool_calls(conversation.turns):
        _refuse_unheard(turn.parts)
        blocks = encode_blocks(turn.parts, names)
        if not blocks:
            continue
        if messages and messages[-1]["role"] == turn.role:
            messages[-1]["content"] += blocks
        else:
            messages.append({"role": turn.role, "content": blocks})
    for message in messages:
        order = _user_rank if message["role"] == "user" else _assistant_rank
        message["content"].sort(key=order)
    _trim_prefill(messages)
    if messages and messages[0]["role"] == "assistant":
        messages.insert(0, {"role": "user", "content": [{"type": "text", "text": "."}]})
    return messages


def _refuse_unheard(parts: list[Part]) -> None:
    """Sound that is all there is cannot be dropped."""
    if parts and all(isinstance(part, Audio | Video) for part in parts):
        raise InvalidRequest("this model cannot take audio or video")


def _user_rank(block: Object) -> int:
    return 0 if block["type"] == "tool_result" else 1


def _assistant_rank(block: Object) -> int:
    return 0 if block["type"] in ("thinking", "redacted_thinking") else 2 if block["type"] == "tool_use" else 1


def _trim_prefill(messages: list[Object]) -> None:
    """A prefilled answer must not end in white space."""
    if messages and messages[-1]["role"] == "assistant":
        last = messages[-1]["content"][-1]
        if last["type"] == "text":
            last["text"] = last["text"].rstrip() or "."


def _write_sampling(body: Object, conversation: Conversation) -> None:
    sampling = conversation.sampling
    if sampling.temperature is not None:
        body["temperature"] = min(sampling.temperature, 1)
    elif sampling.top_p is not None:
        body["top_p"] = sampling.top_p
    if sampling.top_k is not None:
        body["top_k"] = sampling.top_k
    if sampling.stop:
        stops = [stop for stop in sampling.stop if stop.strip()]
        if stops:
            body["stop_sequences"] = stops


def _write_output(body: Object, conversation: Conversation) -> None:
    wanted = conversation.output_format
    if wanted is not None and wanted.kind == "json_schema" and isinstance(wanted.schema, dict):
        body["output_config"] = {"format": {"type": "json_schema", "schema": wanted.schema}}
