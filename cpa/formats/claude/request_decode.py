"""Read a Messages request.

https://docs.anthropic.com/en/api/messages
"""

from __future__ import annotations

from typing import Any

from cpa.conversation.parts import Text, Thinking
from cpa.conversation.request import Conversation, OutputFormat, Reasoning, Sampling, SystemItem, Turn
from cpa.errors import InvalidRequest
from cpa.formats import members
from cpa.formats.claude.blocks import decode_blocks
from cpa.formats.claude.fields import Object, a_list, an_object, text_of
from cpa.formats.claude.tools import decode_tool_choice, decode_tools

BILLING = "x-anthropic-billing-header:"
"""Claude Code's first system block; meant for Anthropic alone."""

_KNOWN = frozenset(
    (
        "model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "output_format",
        "temperature", "top_p", "top_k", "max_tokens", "stop_sequences", "stream", "metadata", "service_tier",
        "betas", "speed", "user",
    )
)  # fmt: skip


def decode_request(body: Object, *, model: str, stream: bool) -> Conversation:
    """The conversation a body asks for. Raises InvalidRequest."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise InvalidRequest("messages must be a list", param="messages")
    system = _system(body.get("system"))
    turns: list[Turn] = []
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise InvalidRequest(f"messages.{index} must be an object", param=f"messages.{index}")
        parts = decode_blocks(message.get("content"), f"messages.{index}.content")
        match message.get("role", "user"):
            case "assistant":
                turns.append(Turn("assistant", parts))
            case "system":
                system.append(SystemItem(parts, position=len(turns)))
            case _:
                turns.append(Turn("user", [part for part in parts if not isinstance(part, Thinking)]))
    choice, parallel = decode_tool_choice(body.get("tool_choice"))
    metadata = an_object(body.get("metadata"))
    return Conversation(
        format="claude",
        model=model,
        turns=turns,
        system=system,
        tools=decode_tools(body.get("tools")),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        reasoning=decode_reasoning(body),
        sampling=_sampling(body),
        output_format=_output_format(body),
        stream=stream,
        user=text_of(metadata.get("user_id")) or text_of(body.get("user")),
        metadata=metadata or None,
        service_tier="priority" if body.get("speed") == "fast" else text_of(body.get("service_tier")),
        betas=[beta for beta in a_list(body.get("betas")) if isinstance(beta, str)] or None,
        extras={key: value for key, value in body.items() if key not in _KNOWN},
    )


def _system(raw: Any) -> list[SystemItem]:
    """One item with a part for each block; empty ones and the billing block are left out."""
    parts = [
        part
        for part in decode_blocks(raw, "system")
        if not isinstance(part, Text) or (part.text and not part.text.startswith(BILLING))
    ]
    return [SystemItem(parts)] if parts else []


def decode_reasoning(body: Object) -> Reasoning:
    """``thinking`` with ``output_config.effort``."""
    thinking = an_object(body.get("thinking"))
    effort = an_object(body.get("output_config")).get("effort")
    effort = effort.strip().lower() if isinstance(effort, str) else None
    display = thinking.get("display")
    summary = {"summarized": "auto", "omitted": "disabled"}.get(display) if isinstance(display, str) else None
    match thinking.get("type"):
        case "disabled":
            return Reasoning("off")
        case "adaptive" | "auto":
            if effort == "none":
                return Reasoning("off", summary=summary)
            if effort == "auto":
                return Reasoning("auto", adaptive=True, summary=summary)
            if effort:
                return Reasoning("level", level=effort, adaptive=True, summary=summary)
            return Reasoning(adaptive=True, summary=summary)
        case "enabled" | None if "budget_tokens" in thinking or thinking.get("type") == "enabled":
            budget = thinking.get("budget_tokens")
            if isinstance(budget, bool) or not isinstance(budget, int):
                return Reasoning("auto", summary=summary)
            mode = {0: "off", -1: "auto"}.get(budget)
            if mode == "off":
                return Reasoning("off", summary=summary)
            return Reasoning("auto", summary=summary) if mode else Reasoning("budget", budget=budget, summary=summary)
    return Reasoning()


def _sampling(body: Object) -> Sampling:
    return Sampling(
        temperature=members.a_number(body.get("temperature"), "temperature"),
        top_p=members.a_number(body.get("top_p"), "top_p"),
        top_k=members.an_integer(body.get("top_k"), "top_k"),
        stop=members.strings(body.get("stop_sequences"), "stop_sequences"),
        max_output_tokens=members.an_integer(body.get("max_tokens"), "max_tokens"),
    )


def _output_format(body: Object) -> OutputFormat | None:
    config = members.an_object(body.get("output_config"), "output_config") or {}
    raw = members.an_object(config.get("format"), "output_config.format")
    raw = raw or members.an_object(body.get("output_format"), "output_format")
    if not raw:
        return None
    if raw.get("type") == "json_schema":
        return OutputFormat("json_schema", schema=raw.get("schema"))
    if raw.get("type") == "json_object":
        return OutputFormat("json_object")
    raise InvalidRequest("output_config.format.type must be json_schema", param="output_config.format.type")
