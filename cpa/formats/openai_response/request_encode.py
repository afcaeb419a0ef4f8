"""Write a Responses request, for an upstream with the public API or for the Codex backend."""

from __future__ import annotations

from cpa.conversation.effort import ResolvedReasoning
from cpa.conversation.names import NameMap
from cpa.conversation.parts import Text
from cpa.conversation.request import Conversation
from cpa.errors import InvalidRequest
from cpa.formats.codec import EncodedRequest, Target
from cpa.formats.openai_response.fields import Object, object_of
from cpa.formats.openai_response.history_decode import FORMAT
from cpa.formats.openai_response.history_encode import encode_input
from cpa.formats.openai_response.request_decode import ENCRYPTED
from cpa.formats.openai_response.tools import encode_tool_choice, encode_tools

_PRIORITY = frozenset({"priority", "fast"})


def encode_request(conversation: Conversation, target: Target, reasoning: ResolvedReasoning) -> EncodedRequest:
    """The upstream body. Raises InvalidRequest for a compaction of a client that does not know it."""
    if target.operation == "compact":
        raise InvalidRequest("/responses/compact not supported", status=501)
    names = NameMap()
    tools = encode_tools(conversation, target, names)
    same = conversation.format == FORMAT
    codex = target.format == "codex"
    body: Object = {"model": target.model}
    instructions = _instructions(conversation)
    if codex or instructions is not None:
        body["instructions"] = instructions or ""
    body["input"] = encode_input(conversation, names, instructions_apart=True)
    if tools:
        body["tools"] = tools
        choice = encode_tool_choice(conversation.tool_choice, names, tools)
        if choice is not None:
            body["tool_choice"] = choice
    parallel = conversation.parallel_tool_calls
    if codex:
        body |= {"stream": True, "store": False, "include": [ENCRYPTED]}
        body["parallel_tool_calls"] = parallel is not False
        if conversation.service_tier in _PRIORITY:
            body["service_tier"] = "priority"
    else:
        _write_public(body, conversation, target)
        if parallel is not None and tools:
            body["parallel_tool_calls"] = parallel
    _write_text(body, conversation)
    if conversation.prompt_cache_key and (same or conversation.format == "openai"):
        body["prompt_cache_key"] = conversation.prompt_cache_key
    written = write_reasoning(body, reasoning, target, translated=not same)
    return EncodedRequest(written, names)


def _instructions(conversation: Conversation) -> str | None:
    texts = [
        part.text
        for item in conversation.system
        if item.origin == "instructions"
        for part in item.parts
        if isinstance(part, Text) and part.text
    ]
    return "\n\n".join(texts) if texts else None


def _write_public(body: Object, conversation: Conversation, target: Target) -> None:
    """Members that only the public API takes."""
    sampling = conversation.sampling
    same = conversation.format == FORMAT
    values: Object = {
        "stream": True if target.stream else None,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_output_tokens": sampling.max_output_tokens,
        "top_logprobs": sampling.top_logprobs,
        "user": conversation.user,
        "safety_identifier": conversation.safety_identifier,
        "include": conversation.include if same else None,
        "previous_response_id": conversation.previous_response_id if same else None,
    }
    if same or conversation.format == "openai":
        values |= {
            "metadata": conversation.metadata,
            "service_tier": conversation.service_tier,
            "store": conversation.store,
            "prompt_cache_retention": conversation.prompt_cache_retention,
        }
    elif conversation.service_tier in _PRIORITY:
        values["service_tier"] = "priority"
    if conversation.reasoning.include_encrypted or (not same and target.limits.thinking is not None):
        values["include"] = values["include"] or [ENCRYPTED]
    body.update({key: value for key, value in values.items() if value is not None})
    if same:
        body.update({key: value for key, value in conversation.extras.items() if key not in body})


def _write_text(body: Object, conversation: Conversation) -> None:
    wanted = conversation.output_format
    shown: Object = {}
    if wanted is not None and wanted.kind == "json_schema":
        schema: Object = {"type": "json_schema", "name": wanted.name or "response", "schema": wanted.schema or {}}
        if wanted.strict is not None:
            schema["strict"] = wanted.strict
        if wanted.description is not None:
            schema["description"] = wanted.description
        shown["format"] = schema
    elif wanted is not None:
        shown["format"] = {"type": wanted.kind}
    if conversation.verbosity:
        shown["verbosity"] = conversation.verbosity
    if shown:
        body["text"] = shown


def write_reasoning(body: Object, reasoning: ResolvedReasoning, target: Target, *, translated: bool = False) -> Object:
    """The body with ``reasoning`` as resolved (copy on write).

    The Codex backend gets for a translated request an effort of ``medium`` and summaries when nobody said otherwise;
    another client than a Responses client cannot ask for them itself.
    """
    known = object_of(body.get("reasoning"))
    effort: str | None = None
    match reasoning.action:
        case "strip":
            return {key: value for key, value in body.items() if key != "reasoning"} if "reasoning" in body else body
        case "keep":
            if not translated:
                return body
            effort = "medium" if target.format == "codex" else None
        case "auto":
            effort = "auto"
        case "off":
            effort = reasoning.level or "none"
        case _:
            effort = reasoning.level
    written = {**known, "effort": effort} if effort is not None else dict(known)
    if translated:
        summary = _summary(reasoning, target)
        if summary is not None and (effort is not None or target.format == "codex"):
            written["summary"] = summary
    return body if written == known else {**body, "reasoning": written}


def _summary(reasoning: ResolvedReasoning, target: Target) -> str | None:
    if reasoning.summary in ("auto", "concise", "detailed"):
        return reasoning.summary
    if reasoning.include_thoughts is False or reasoning.summary == "disabled":
        return None
    return "auto" if target.format == "codex" or reasoning.action != "off" else None
