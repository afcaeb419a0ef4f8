"""Write a Chat Completions request for an OpenAI-compatible upstream.

Servers differ in what they accept: only what the client said is sent, and nothing a server may not know is added.
"""

from __future__ import annotations

from typing import Any

from cpa.conversation.effort import ResolvedReasoning
from cpa.conversation.names import NameMap
from cpa.conversation.pairing import pair_tool_calls
from cpa.conversation.parts import Part, Text, Thinking, ToolCall, ToolResult
from cpa.conversation.request import Conversation, SystemItem, Turn
from cpa.formats.codec import EncodedRequest, Target
from cpa.formats.openai.content import Object, encode_parts, plain_or_parts, tool_result_content
from cpa.formats.openai.tools import encode_tool_call, encode_tool_choice, encode_tools


def encode_request(conversation: Conversation, target: Target, reasoning: ResolvedReasoning) -> EncodedRequest:
    """The upstream body. Citations, cache hints, safety settings and vendor-run tools have no place in it."""
    names = NameMap()
    tools = encode_tools(conversation, names)
    body: Object = {"model": target.model, "messages": _messages(conversation, names)}
    if target.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    if tools:
        body["tools"] = tools
        declared = {tool["function"]["name"] for tool in tools if "function" in tool}
        choice = encode_tool_choice(conversation.tool_choice, names, declared)
        if choice is not None:
            body["tool_choice"] = choice
        if conversation.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = conversation.parallel_tool_calls
    _write_sampling(body, conversation)
    _write_output(body, conversation)
    for name in ("user", "safety_identifier", "prompt_cache_key", "service_tier", "verbosity"):
        value = getattr(conversation, name)
        if value is not None and (conversation.format == "openai" or name in ("user", "verbosity")):
            body[name] = value
    if conversation.format == "openai":
        body = {**body, **{key: value for key, value in conversation.extras.items() if key not in body}}
    return EncodedRequest(write_reasoning(body, reasoning), names)


def write_reasoning(body: Object, reasoning: ResolvedReasoning) -> Object:
    """The body with ``reasoning_effort`` as resolved (copy on write)."""
    match reasoning.action:
        case "keep":
            return body
        case "strip":
            dropped = ("reasoning_effort", "reasoning")
            return {k: v for k, v in body.items() if k not in dropped} if any(k in body for k in dropped) else body
        case "auto":
            effort = "auto"
        case "off":
            effort = reasoning.level or "none"
        case _:
            if reasoning.level is None:
                return body
            effort = reasoning.level
    return body if body.get("reasoning_effort") == effort else {**body, "reasoning_effort": effort}


def _messages(conversation: Conversation, names: NameMap) -> list[Object]:
    """Messages in order; instructions from the middle of the dialogue keep their place."""
    same = conversation.format == "openai"
    messages: list[Object] = []
    waiting = sorted(conversation.system, key=lambda item: item.position)
    positions = _positions(conversation.turns)
    for index, turn in enumerate(pair_tool_calls(conversation.turns)):
        source = positions.get(index, index)
        while waiting and waiting[0].position <= source and not _inside_exchange(messages):
            _add_system(messages, waiting.pop(0), same)
        if turn.role == "assistant":
            _add_assistant(messages, turn, names)
        else:
            _add_user(messages, turn)
    for item in waiting:
        _add_system(messages, item, same)
    return messages


def _positions(turns: list[Turn]) -> dict[int, int]:
    """Pairing may move turns; instructions stand by the number of turns before them, which is near enough."""
    return {index: index for index in range(len(turns))}


def _inside_exchange(messages: list[Object]) -> bool:
    """Whether a call still waits for its result: nothing may stand between them."""
    return bool(messages) and bool(messages[-1].get("tool_calls"))


def _add_system(messages: list[Object], item: SystemItem, same: bool) -> None:
    parts = [part for part in encode_parts(item.parts) if part.get("type") != "text" or part["text"].strip()]
    if not parts:
        return
    role = "developer" if same and item.origin == "developer" else "system"
    messages.append({"role": role, "content": plain_or_parts(parts)})


def _add_assistant(messages: list[Object], turn: Turn, names: NameMap) -> None:
    message: Object = {"role": "assistant", "content": None}
    calls = [encode_tool_call(part, names) for part in turn.parts if isinstance(part, ToolCall)]
    thinking = [part.text for part in turn.parts if isinstance(part, Thinking) and part.text.strip()]
    visible: list[Part] = [part for part in turn.parts if not isinstance(part, Thinking | ToolCall)]
    parts = encode_parts(visible)
    if parts:
        only_text = all(part["type"] == "text" for part in parts)
        texts = [part.text for part in visible if isinstance(part, Text)]
        message["content"] = "".join(texts) if only_text else parts
    if thinking:
        message["reasoning_content"] = "\n\n".join(thinking)
    if calls:
        message["tool_calls"] = calls
    if parts or calls:
        _merge_assistant(messages, message)
    elif thinking:
        message["content"] = ""
        _merge_assistant(messages, message)


def _merge_assistant(messages: list[Object], message: Object) -> None:
    """Assistant turns in a row (reasoning, text and calls as items of their own) are one message."""
    last = messages[-1] if messages else None
    if last is None or last["role"] != "assistant" or not _mergeable(last, message):
        messages.append(message)
        return
    if message["content"]:
        last["content"] = (last["content"] or "") + message["content"]
    if "reasoning_content" in message:
        known = last.get("reasoning_content")
        last["reasoning_content"] = (
            f"{known}\n\n{message['reasoning_content']}" if known else message["reasoning_content"]
        )
    if "tool_calls" in message:
        last["tool_calls"] = [*last.get("tool_calls", []), *message["tool_calls"]]


def _mergeable(last: Object, message: Object) -> bool:
    texts = all(isinstance(candidate["content"], str | None) for candidate in (last, message))
    return texts and not (last.get("tool_calls") and message["content"])


def _add_user(messages: list[Object], turn: Turn) -> None:
    """Results first, each its own message; pictures inside results of text-only tools follow as user content."""
    rest: list[Part] = []
    for part in turn.parts:
        if isinstance(part, ToolResult):
            content = tool_result_content(part)
            messages.append({"role": "tool", "tool_call_id": part.call_id, "content": content})
        else:
            rest.append(part)
    parts = encode_parts(rest)
    if parts or not any(isinstance(part, ToolResult) for part in turn.parts):
        if not parts and messages:
            return
        message: Object = {"role": "user", "content": plain_or_parts(parts)}
        if turn.name:
            message["name"] = turn.name
        messages.append(message)


def _write_sampling(body: Object, conversation: Conversation) -> None:
    sampling = conversation.sampling
    values: Object = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_output_tokens,
        "seed": sampling.seed,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "n": sampling.n if sampling.n and sampling.n > 1 else None,
        "stop": _stop(sampling.stop),
        "logprobs": sampling.logprobs,
        "top_logprobs": sampling.top_logprobs if sampling.logprobs or conversation.format == "openai" else None,
        "logit_bias": sampling.logit_bias,
        "top_k": sampling.top_k if conversation.format.startswith(("gemini", "openai")) else None,
    }
    body.update({key: value for key, value in values.items() if value is not None})


def _stop(stop: list[str] | None) -> Any:
    if not stop:
        return None
    return stop[0] if len(stop) == 1 else stop


def _write_output(body: Object, conversation: Conversation) -> None:
    wanted = conversation.output_format
    if wanted is not None and wanted.kind == "json_schema":
        schema: Object = {"name": wanted.name or "response", "schema": wanted.schema or {}}
        if wanted.strict is not None:
            schema["strict"] = wanted.strict
        if wanted.description is not None:
            schema["description"] = wanted.description
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif wanted is not None and (wanted.kind == "json_object" or conversation.format == "openai"):
        body["response_format"] = {"type": wanted.kind}
    if conversation.modalities and conversation.modalities != ["text"]:
        body["modalities"] = conversation.modalities
    if conversation.audio is not None and conversation.format == "openai":
        body["audio"] = conversation.audio
    if conversation.image_config:
        config = conversation.image_config
        mapped = {"aspect_ratio": config.get("aspect_ratio"), "image_size": config.get("size")}
        body["image_config"] = {key: value for key, value in mapped.items() if value is not None}
