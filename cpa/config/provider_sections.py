"""Sections of the configuration that name upstreams: key lists, openai-compatibility providers, their models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import field

from cpa.config.section import After, Before, Section
from cpa.config.tidied import Amount, Headers, Natural, Patterns, Prefix, Trimmed, Url
from cpa.patterns import compile_pattern


def _weight(value: Any) -> Any:
    return min(max(value, 0), 1_000_000) if isinstance(value, int) else value


def _none_if_negative(value: Any) -> Any:
    return None if isinstance(value, int) and value < 0 else value


class Thinking(Section, frozen=True):
    """Reasoning abilities of a model an openai-compatibility provider lists."""

    min: int = 0
    max: int = 0
    levels: tuple[str, ...] = ()
    zero_allowed: bool = False
    dynamic_allowed: bool = False


class ModelEntry(Section, frozen=True):
    """One model of a provider entry: ``name`` upstream, offered as ``alias``."""

    name: Trimmed = ""
    alias: Trimmed = ""
    thinking: Thinking | None = None
    display_name: str = ""
    max_context_length: int | None = None
    force_mapping: bool = False
    is_compat: bool = False
    image: bool = False
    input_modalities: tuple[str, ...] = ()
    output_modalities: tuple[str, ...] = ()


class TimeoutsSection(Section, frozen=True):
    """Seconds per phase of an upstream request; 0 is no limit; None inherits."""

    connect: Amount | None = None
    first_byte: Amount | None = None
    idle: Amount | None = None
    total: Amount | None = None


def _expressions(value: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in value:
        try:
            compile_pattern(pattern)
        except ValueError as fault:
            raise ValueError(f"invalid regular expression: {fault}") from None
    return value


class ErrorRule(Section, frozen=True):
    """What an upstream error with this status (0 is any) and one of these texts means for other accounts."""

    status: int = 0
    match: tuple[str, ...] = ()
    match_regexr: Annotated[tuple[str, ...], After(_expressions)] = ()
    action: Literal["stop", "stop-and-cooldown", "continue", "continue-and-cooldown"] = "stop"


class ProviderEntry(Section, frozen=True):
    """What every provider entry may say."""

    base_url: Url = ""
    prefix: Prefix = ""
    priority: int = 0
    weight: Annotated[int, Before(_weight)] = 1
    headers: Headers = field(default_factory=dict)
    proxy_url: Trimmed = ""
    models: tuple[ModelEntry, ...] = ()
    excluded_models: Patterns = ()
    disable_cooling: bool = False
    request_retry: Annotated[int | None, Before(_none_if_negative)] = None
    concurrency: Natural = 0
    timeouts: TimeoutsSection | None = None
    request_scoped_errors: tuple[ErrorRule, ...] = ()


class KeyEntry(ProviderEntry, frozen=True):
    """One credential of a key list (``claude-api-key`` ...)."""

    api_key: Trimmed = ""
    websockets: bool = False
    alpha_search: bool = False
    rebuild_mid_system_message: bool = False


class CompatibilityKey(Section, frozen=True):
    """One key of an openai-compatibility provider."""

    api_key: Trimmed = ""
    proxy_url: Trimmed = ""


class Compatibility(ProviderEntry, frozen=True):
    """One openai-compatibility provider."""

    name: Trimmed = ""
    api_key_entries: tuple[CompatibilityKey, ...] = ()
    disabled: bool = False
    support_prompt_cache_key: bool = False
