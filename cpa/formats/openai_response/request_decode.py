"""Read a Responses request."""

from __future__ import annotations

from typing import Any

from cpa.conversation.parts import Text
from cpa.conversation.request import Conversation, OutputFormat, Reasoning, Sampling, SystemItem
from cpa.errors import InvalidRequest
from cpa.formats import members
from cpa.formats.openai_response.fields import Object, flag, object_of, strings, text
from cpa.formats.openai_response.history_decode import FORMAT, History
from cpa.formats.openai_response.tools import decode_tool_choice, decode_tools

ENCRYPTED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"

_KNOWN = frozenset(
    [
        "model",
        "input",
        "instructions",
        "stream",
        "store",
        "parallel_tool_calls",
        "max_output_tokens",
        "temperature",
        "top_p",
        "top_logprobs",
        "user",
        "metadata",
        "service_tier",
        "previous_response_id",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "include",
        "reasoning",
        "text",
        "tools",
        "tool_choice",
    ]
)


def decode_request(body: Object, *, model: str, stream: bool) -> Conversation:
    """The conversation a body asks for. Raises InvalidRequest.

    ``previous_response_id`` names a dialogue that only the vendor's own server has: without it the model would answer
    to something else than the client meant.
    """
    previous = text(body, "previous_response_id")
    if previous is not None:
        raise InvalidRequest(
            f"Previous response with id '{previous[:80]}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    history = History().read(body.get("input"))
    system = _instructions(body.get("instructions")) + history.system
    include = strings(body.get("include"))
    metadata = body.get("metadata")
    shown = members.an_object(body.get("text"), "text") or {}
    top = members.an_integer(body.get("top_logprobs"), "top_logprobs")
    return Conversation(
        format=FORMAT,
        model=model,
        turns=history.turns,
        system=system,
        tools=decode_tools(body.get("tools"), history.tools),
        tool_choice=decode_tool_choice(body.get("tool_choice")),
        parallel_tool_calls=flag(body, "parallel_tool_calls"),
        reasoning=decode_reasoning(body),
        sampling=Sampling(
            temperature=members.a_number(body.get("temperature"), "temperature"),
            top_p=members.a_number(body.get("top_p"), "top_p"),
            max_output_tokens=members.an_integer(body.get("max_output_tokens"), "max_output_tokens"),
            logprobs=True if (top or 0) > 0 or _LOGPROBS in (include or ()) else None,
            top_logprobs=top,
        ),
        output_format=_output_format(shown.get("format")),
        verbosity=text(shown, "verbosity"),
        stream=stream,
        prompt_cache_key=text(body, "prompt_cache_key"),
        prompt_cache_retention=text(body, "prompt_cache_retention"),
        user=text(body, "user"),
        safety_identifier=text(body, "safety_identifier"),
        metadata=metadata if isinstance(metadata, dict) else None,
        service_tier=text(body, "service_tier"),
        store=flag(body, "store"),
        include=include,
        extras={key: value for key, value in body.items() if key not in _KNOWN},
    )


def decode_reasoning(body: Object) -> Reasoning:
    """``reasoning``; empty and null count as absent."""
    raw = object_of(body.get("reasoning"))
    include = body.get("include")
    wanted = Reasoning(
        summary=text(raw, "summary") or text(raw, "generate_summary"),
        include_encrypted=isinstance(include, list) and ENCRYPTED in include,
    )
    effort = raw.get("effort")
    if not isinstance(effort, str) or not effort.strip():
        return wanted
    effort = effort.strip().lower()
    if effort == "none":
        wanted.mode = "off"
    elif effort == "auto":
        wanted.mode = "auto"
    else:
        wanted.mode, wanted.level = "level", effort
    return wanted


def _instructions(value: Any) -> list[SystemItem]:
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return [SystemItem([Text(value)], "instructions")]
    if isinstance(value, list):
        read = History().read(value)
        items = [SystemItem(item.parts, "instructions") for item in read.system]
        return items + [SystemItem(turn.parts, "instructions") for turn in read.turns if turn.parts]
    raise InvalidRequest("instructions must be a string", param="instructions")


def _output_format(value: Any) -> OutputFormat | None:
    raw = members.an_object(value, "text.format")
    if raw is None:
        return None
    match raw.get("type"):
        case "text":
            return OutputFormat("text")
        case "json_object":
            return OutputFormat("json_object")
        case "json_schema":
            inner = raw.get("json_schema") if isinstance(raw.get("json_schema"), dict) else raw
            return OutputFormat(
                "json_schema",
                name=text(object_of(inner), "name"),
                schema=object_of(inner).get("schema"),
                strict=flag(object_of(inner), "strict"),
                description=text(object_of(inner), "description"),
            )
    raise InvalidRequest("text.format.type must be text, json_object or json_schema", param="text.format.type")
