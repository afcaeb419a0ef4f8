"""Read a Chat Completions request.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from typing import Any, Literal

from cpa.conversation.parts import Part, Text, Thinking, ToolCall, ToolResult
from cpa.conversation.request import Conversation, OutputFormat, Reasoning, Sampling, SystemItem, Turn
from cpa.errors import InvalidRequest
from cpa.formats import members
from cpa.formats.openai.content import Object, decode_content
from cpa.formats.openai.tools import arguments_text, decode_tool_call, decode_tool_choice, decode_tools

_KNOWN = frozenset(
    [
        "model",
        "messages",
        "stream",
        "stream_options",
        "tools",
        "tool_choice",
        "functions",
        "function_call",
        "parallel_tool_calls",
        "reasoning_effort",
        "max_completion_tokens",
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "n",
        "seed",
        "stop",
        "presence_penalty",
        "frequency_penalty",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "response_format",
        "verbosity",
        "modalities",
        "image_config",
        "audio",
        "web_search_options",
        "metadata",
        "user",
        "safety_identifier",
        "store",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_retention",
    ]
)


def decode_request(body: Object, *, model: str, stream: bool) -> Conversation:
    """The conversation a body asks for. Raises InvalidRequest."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise InvalidRequest("messages must be a list", param="messages")
    turns, system = _Messages().read(messages)
    options = body.get("stream_options")
    return Conversation(
        format="openai",
        model=model,
        turns=turns,
        system=system,
        tools=decode_tools(body),
        tool_choice=decode_tool_choice(body),
        parallel_tool_calls=_flag(body, "parallel_tool_calls"),
        reasoning=decode_reasoning(body),
        sampling=_sampling(body),
        output_format=_output_format(body.get("response_format")),
        verbosity=_text(body, "verbosity"),
        stream=stream,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        modalities=_strings(body.get("modalities")),
        image_config=_image_config(body.get("image_config")),
        audio=body.get("audio") if isinstance(body.get("audio"), dict) else None,
        prompt_cache_key=_text(body, "prompt_cache_key"),
        prompt_cache_retention=_text(body, "prompt_cache_retention"),
        user=_text(body, "user"),
        safety_identifier=_text(body, "safety_identifier"),
        metadata=body["metadata"] if isinstance(body.get("metadata"), dict) else None,
        service_tier=_text(body, "service_tier"),
        store=_flag(body, "store"),
        extras={key: value for key, value in body.items() if key not in _KNOWN},
    )


class _Messages:
    """Collects turns and system items in order."""

    def __init__(self) -> None:
        self._turns: list[Turn] = []
        self._system: list[SystemItem] = []

    def read(self, messages: list[Any]) -> tuple[list[Turn], list[SystemItem]]:
        for index, message in enumerate(messages):
            if message is None:
                continue
            param = f"messages[{index}]"
            if not isinstance(message, dict):
                raise InvalidRequest(f"{param} must be an object", param=param)
            self._read(message, param)
        return self._turns, self._system

    def _read(self, message: Object, param: str) -> None:
        role = message.get("role", "user")
        parts = decode_content(message.get("content"), f"{param}.content")
        match role:
            case "system" | "developer":
                origin: Literal["system", "developer"] = "developer" if role == "developer" else "system"
                if parts:
                    self._system.append(SystemItem(parts, origin, position=len(self._turns)))
            case "assistant" | "model":
                self._assistant(message, parts, param)
            case "tool":
                call_id = message.get("tool_call_id")
                self._result(ToolResult(call_id if isinstance(call_id, str) and call_id else None, None, parts))
            case "function":
                name = message.get("name")
                self._result(ToolResult(None, name if isinstance(name, str) else None, parts))
            case _:
                name = message.get("name")
                self._turns.append(Turn("user", parts, name=name if isinstance(name, str) else None))

    def _result(self, result: ToolResult) -> None:
        """Results in a row belong to one turn."""
        last = self._turns[-1] if self._turns else None
        if last is not None and last.role == "user" and all(isinstance(part, ToolResult) for part in last.parts):
            last.parts.append(result)
        else:
            self._turns.append(Turn("user", [result]))

    def _assistant(self, message: Object, content: list[Part], param: str) -> None:
        parts: list[Part] = []
        reasoning = message.get("reasoning_content", message.get("reasoning"))
        if isinstance(reasoning, str) and reasoning:
            parts.append(Thinking(reasoning))
        parts += content
        if isinstance(message.get("refusal"), str) and message["refusal"]:
            parts.append(Text(message["refusal"], refusal=True))
        calls = members.a_list(message.get("tool_calls"), f"{param}.tool_calls") or []
        parts += [decode_tool_call(raw, at, f"{param}.tool_calls") for at, raw in enumerate(calls) if raw is not None]
        legacy = members.an_object(message.get("function_call"), f"{param}.function_call")
        if legacy and not calls:
            called = members.name(legacy.get("name"), f"{param}.function_call.name")
            parts.append(ToolCall(called, arguments_text(legacy.get("arguments"))))
        name = message.get("name")
        self._turns.append(Turn("assistant", parts, name=name if isinstance(name, str) else None))


def decode_reasoning(body: Object) -> Reasoning:
    """``reasoning_effort``; OpenRouter's ``reasoning`` object is read too. Empty and null count as absent."""
    effort = body.get("reasoning_effort")
    nested = body.get("reasoning")
    if not effort and isinstance(nested, dict):
        effort = nested.get("effort")
        if not effort and isinstance(nested.get("max_tokens"), int):
            return Reasoning("budget", budget=nested["max_tokens"])
    if not isinstance(effort, str) or not effort.strip():
        return Reasoning()
    effort = effort.strip().lower()
    if effort == "none":
        return Reasoning("off")
    return Reasoning("auto") if effort == "auto" else Reasoning("level", level=effort)


def _sampling(body: Object) -> Sampling:
    def number(name: str) -> float | int | None:
        return members.a_number(body.get(name), name)

    def integer(name: str) -> int | None:
        return members.an_integer(body.get(name), name)

    limit = body.get("max_completion_tokens")
    return Sampling(
        temperature=number("temperature"),
        top_p=number("top_p"),
        top_k=integer("top_k"),
        seed=integer("seed"),
        presence_penalty=number("presence_penalty"),
        frequency_penalty=number("frequency_penalty"),
        n=integer("n"),
        stop=members.strings(body.get("stop"), "stop"),
        max_output_tokens=integer("max_completion_tokens" if limit is not None else "max_tokens"),
        logprobs=_flag(body, "logprobs"),
        top_logprobs=integer("top_logprobs"),
        logit_bias=body.get("logit_bias"),
    )


def _output_format(value: Any) -> OutputFormat | None:
    raw = members.an_object(value, "response_format")
    if raw is None:
        return None
    match raw.get("type"):
        case "text":
            return OutputFormat("text")
        case "json_object":
            return OutputFormat("json_object")
        case "json_schema":
            nested = raw.get("json_schema")
            inner = nested if isinstance(nested, dict) else raw
            return OutputFormat(
                "json_schema",
                name=inner.get("name") if isinstance(inner.get("name"), str) else None,
                schema=inner.get("schema"),
                strict=inner.get("strict") if isinstance(inner.get("strict"), bool) else None,
                description=inner.get("description") if isinstance(inner.get("description"), str) else None,
            )
    raise InvalidRequest("response_format.type must be text, json_object or json_schema", param="response_format.type")


def _image_config(raw: Any) -> dict[str, Any] | None:
    if not isinstance(raw, dict):
        return None
    config = {"aspect_ratio": raw.get("aspect_ratio"), "size": raw.get("image_size", raw.get("size"))}
    return {key: value for key, value in config.items() if value is not None} or None


def _strings(value: Any) -> list[str] | None:
    if not isinstance(value, list):
        return None
    return [item for item in value if isinstance(item, str)] or None


def _text(body: Object, name: str) -> str | None:
    value = body.get(name)
    return value if isinstance(value, str) and value else None


def _flag(body: Object, name: str) -> bool | None:
    value = body.get(name)
    return value if isinstance(value, bool) else None
