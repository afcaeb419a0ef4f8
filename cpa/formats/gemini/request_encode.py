"""Write a Conversation as a ``generateContent`` request (https://ai.google.dev/api/generate-content)."""

from __future__ import annotations

from typing import Any

from cpa.conversation.effort import ResolvedReasoning
from cpa.conversation.models import ThinkingSupport
from cpa.conversation.request import Conversation
from cpa.errors import InvalidRequest
from cpa.formats.codec import EncodedRequest, Target
from cpa.formats.gemini.history import FAMILY, encode_contents
from cpa.formats.gemini.reasoning import write_thinking
from cpa.formats.gemini.tool_encode import encode_tool_choice, encode_tools, name_tools

Object = dict[str, Any]

SAFETY_DEFAULTS = (
    ("HARM_CATEGORY_HARASSMENT", "OFF"),
    ("HARM_CATEGORY_HATE_SPEECH", "OFF"),
    ("HARM_CATEGORY_SEXUALLY_EXPLICIT", "OFF"),
    ("HARM_CATEGORY_DANGEROUS_CONTENT", "OFF"),
    ("HARM_CATEGORY_CIVIC_INTEGRITY", "BLOCK_NONE"),
)
"""Sent when the client says nothing: code about security or chemistry shall not be blocked by default."""

AISTUDIO_REFUSES = ("maxOutputTokens", "responseMimeType", "responseJsonSchema")
"""Members of ``generationConfig`` the AI Studio web app does not accept."""

_MAX_STOP_SEQUENCES = 5


def safety_defaults() -> list[Object]:
    """Safety settings for a client that sent none."""
    return [{"category": category, "threshold": threshold} for category, threshold in SAFETY_DEFAULTS]


def encode_request(conversation: Conversation, target: Target, reasoning: ResolvedReasoning) -> EncodedRequest:
    """An upstream body, tools and instructions first: what comes early and stays equal is cached by Google.

    Left out because Gemini has no such thing: ``logit_bias``, ``parallel_tool_calls``, ``user``, ``metadata``,
    ``store``, ``verbosity``, cache marks, citations in history, other vendors' server tools. Raises InvalidRequest
    for an empty dialogue and for files stored at another vendor.
    """
    names = name_tools(conversation)
    contents, system = encode_contents(conversation, names, call_ids="vertex" not in target.quirks)
    if not contents and target.operation == "generate":
        raise InvalidRequest("the dialogue is empty: there is nothing to answer", param="contents")
    body: Object = {}
    if tools := encode_tools(conversation, names):
        body["tools"] = tools
        tool_config = encode_tool_choice(conversation.tool_choice, conversation, names)
        if tool_config is not None:
            body["toolConfig"] = tool_config
    if system is not None:
        body["systemInstruction"] = system
    body["contents"] = contents
    if config := _generation_config(conversation, target):
        body["generationConfig"] = config
    settings = conversation.safety_settings
    body["safetySettings"] = safety_defaults() if settings is None else settings
    _add_own_members(body, conversation)
    return EncodedRequest(_write_reasoning(body, conversation, target, reasoning), names)


def _add_own_members(body: Object, conversation: Conversation) -> None:
    """What only Gemini's format can say."""
    if conversation.format not in FAMILY:
        return
    if conversation.cached_content:
        body["cachedContent"] = conversation.cached_content
    if conversation.service_tier:
        body["serviceTier"] = conversation.service_tier
    for key, value in conversation.extras.items():
        body.setdefault(key, value)


def _write_reasoning(body: Object, conversation: Conversation, target: Target, reasoning: ResolvedReasoning) -> Object:
    if reasoning.action != "keep":
        return write_thinking(body, reasoning)
    asked = conversation.reasoning
    include = asked.include_thoughts
    if include is None and asked.summary in ("auto", "concise", "detailed"):
        include = True
    if include is None or not isinstance(target.limits.thinking, ThinkingSupport):
        return body
    config = body.setdefault("generationConfig", {})
    config["thinkingConfig"] = {"includeThoughts": include}
    return body


def _generation_config(conversation: Conversation, target: Target) -> Object:
    sampling = conversation.sampling
    config: Object = {
        "temperature": sampling.temperature,
        "topP": sampling.top_p,
        "topK": sampling.top_k,
        "candidateCount": sampling.n if sampling.n is not None and sampling.n > 1 else None,
        "maxOutputTokens": _within_limit(sampling.max_output_tokens, target),
        "stopSequences": [text for text in sampling.stop or () if text][:_MAX_STOP_SEQUENCES] or None,
        "seed": sampling.seed,
        "presencePenalty": sampling.presence_penalty,
        "frequencyPenalty": sampling.frequency_penalty,
        "responseLogprobs": sampling.logprobs or None,
        "logprobs": sampling.top_logprobs if sampling.logprobs else None,
        **_output(conversation),
    }
    config = {key: value for key, value in config.items() if value is not None}
    if "aistudio" in target.quirks:
        for key in AISTUDIO_REFUSES:
            config.pop(key, None)
    return config


def _within_limit(wanted: int | None, target: Target) -> int | None:
    """No more output than the model gives: Google refuses that."""
    most = target.limits.max_output_tokens
    return most if wanted is not None and most and wanted > most else wanted


def _output(conversation: Conversation) -> Object:
    """The form of the answer: JSON, modalities, images, speech."""
    config: Object = {}
    wanted = conversation.output_format
    if wanted is not None and wanted.kind != "text":
        config["responseMimeType"] = "application/json"
        if isinstance(wanted.schema, dict):
            config["responseJsonSchema"] = {key: value for key, value in wanted.schema.items() if key != "$schema"}
    if conversation.modalities:
        config["responseModalities"] = [modality.upper() for modality in conversation.modalities]
    if image := conversation.image_config:
        named = {"aspectRatio": image.get("aspect_ratio"), "imageSize": image.get("size")}
        config["imageConfig"] = {key: value for key, value in named.items() if value is not None} or None
    if conversation.format in FAMILY:
        config["speechConfig"] = conversation.audio
    if conversation.media_resolution and conversation.media_resolution.startswith("MEDIA_RESOLUTION_"):
        config["mediaResolution"] = conversation.media_resolution
    return config
