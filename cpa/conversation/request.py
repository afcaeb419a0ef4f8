"""The canonical request: a :class:`Conversation`.

A decoder never invents a value: what the client left out stays ``None``. What only one format can say travels
in ``extras``; what two or more can say is a field.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from cpa.conversation.parts import Json, Part


class SystemItem(Struct):
    """One instruction to the model that is not part of the dialogue."""

    parts: list[Part]
    origin: Literal["system", "developer", "instructions"] = "system"
    position: int = 0
    """How many turns precede it; 0 for the usual place at the top."""


class Turn(Struct):
    """One message of the dialogue. Consecutive turns of one role are legal; encoders merge where they must."""

    role: Literal["user", "assistant"]
    parts: list[Part]
    name: str | None = None
    id: str | None = None
    phase: str | None = None


class Tool(Struct):
    """A tool the model may use.

    ``kind``: ``function`` (JSON schema arguments), ``custom`` (free-form text input) or ``builtin`` (run by the
    vendor; ``name`` is then the canonical name: ``web_search``, ``web_fetch``, ``code_execution``,
    ``file_search``, ``image_generation``, ``computer``, ``mcp``, ``local_shell``, ``google_search``,
    ``url_context``, ``google_maps``, ``memory``, ``text_editor``, ``bash``, ``tool_search``, ``apply_patch``).
    """

    kind: Literal["function", "custom", "builtin"]
    name: str
    description: str | None = None
    schema: Json | None = None
    """JSON schema of the arguments, as the client wrote it."""
    strict: bool | None = None
    namespace: str | None = None
    """Name of the Responses ``namespace`` tool this function stands in."""
    options: dict[str, Json] = field(default_factory=dict)
    """Options of a builtin: allowed_domains, blocked_domains, user_location, max_uses, search_context_size ..."""
    custom_format: Json | None = None
    response_schema: Json | None = None
    cache_control: Json | None = None
    raw: Json | None = None
    """The tool as the client wrote it."""
    format: str | None = None
    """The client format ``raw`` is in."""


class ToolChoice(Struct):
    """Whether and which tools the model must use."""

    mode: Literal["auto", "none", "required", "named", "allowed"]
    names: list[str] = field(default_factory=list)
    """Function names for ``named`` (one) and ``allowed``; for a builtin its canonical name."""
    required: bool = False
    """With ``allowed``: one of them must be called."""
    builtin: Json | None = None
    """The raw choice object when a builtin is meant."""


class Reasoning(Struct):
    """How much the client wants the model to think. Never converted by a decoder, see ``effort``."""

    mode: Literal["unset", "off", "auto", "level", "budget"] = "unset"
    level: str | None = None
    budget: int | None = None
    """Tokens."""
    include_thoughts: bool | None = None
    summary: str | None = None
    """``auto``, ``concise``, ``detailed``, ``disabled`` or None."""
    include_encrypted: bool = False
    adaptive: bool = False
    """Claude ``thinking.type: adaptive`` (with or without an effort)."""


class OutputFormat(Struct):
    """Structured output the client asked for."""

    kind: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema: Json | None = None
    strict: bool | None = None
    description: str | None = None


class Sampling(Struct):
    """Sampling and limits; None means the client did not say."""

    temperature: float | int | None = None
    top_p: float | int | None = None
    top_k: int | None = None
    seed: int | None = None
    presence_penalty: float | int | None = None
    frequency_penalty: float | int | None = None
    n: int | None = None
    stop: list[str] | None = None
    max_output_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: Json | None = None


class Conversation(Struct):
    """What a client asks, independent of any format."""

    format: str
    """The client format it was decoded from."""
    model: str
    """Model name as the client wrote it."""
    turns: list[Turn]
    system: list[SystemItem] = field(default_factory=list)
    tools: list[Tool] | None = None
    """None: absent. Empty: the client sent an empty list."""
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning = field(default_factory=Reasoning)
    sampling: Sampling = field(default_factory=Sampling)
    output_format: OutputFormat | None = None
    verbosity: str | None = None
    stream: bool = False
    include_usage: bool = False
    """Chat ``stream_options.include_usage``."""
    modalities: list[str] | None = None
    """Lower case: ``text``, ``image``, ``audio``."""
    image_config: dict[str, Json] | None = None
    """``aspect_ratio``, ``size``."""
    audio: Json | None = None
    media_resolution: str | None = None
    safety_settings: list[Json] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    cached_content: str | None = None
    user: str | None = None
    """Chat / Responses ``user``, Claude ``metadata.user_id``."""
    safety_identifier: str | None = None
    metadata: dict[str, Json] | None = None
    service_tier: str | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    include: list[str] | None = None
    betas: list[str] | None = None
    extras: dict[str, Json] = field(default_factory=dict)
    """Unknown top-level members, re-sent only into the same family."""
