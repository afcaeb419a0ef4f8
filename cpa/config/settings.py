"""The whole configuration."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, field

from cpa.config.price_sections import PriceEntry, PriceFactor, PriceSources
from cpa.config.provider_sections import Compatibility, ErrorRule, KeyEntry, TimeoutsSection
from cpa.config.section import After, Before, Section, fields_of
from cpa.config.sections import (
    Amp,
    ClientKey,
    CodexSettings,
    HeaderDefaults,
    MetricsSection,
    ModelRoute,
    OAuthAlias,
    Payload,
    PluginsSection,
    Pprof,
    PromptRule,
    QuotaExceeded,
    RemoteManagement,
    Routing,
    Streaming,
    Tls,
    XaiSettings,
)
from cpa.config.tidied import Amount, Natural, Patterns, Trimmed, duration

DEFAULT_AUTH_DIR = "~/.cli-proxy-api"
IMAGE_GENERATION = {
    "false": "off",
    "0": "off",
    "off": "off",
    "no": "off",
    "": "off",
    "true": "all",
    "1": "all",
    "on": "all",
    "yes": "all",
    "all": "all",
    "chat": "chat",
    "passthrough": "passthrough",
}


def _image_generation(value: Any) -> str:
    known = IMAGE_GENERATION.get(str(value).strip().lower())
    if known is None:
        raise ValueError("expected true, false, chat or passthrough")
    return known


def _path(value: Any) -> Any:
    text = str(value).strip() or DEFAULT_AUTH_DIR
    return Path(text.replace("~\\", "~/", 1)).expanduser()


def _ten_if_negative(value: Any) -> Any:
    return 10 if isinstance(value, int) and value < 0 else value


LONGEST_QUEUE_SECONDS = 3600


def _queue_seconds(value: Any) -> Any:
    if not isinstance(value, int | float):
        return value
    return 60 if value <= 0 else min(value, LONGEST_QUEUE_SECONDS)


Keys = tuple[KeyEntry, ...]


def _real_keys(value: Any) -> Any:
    """Blank and repeated keys are dropped; a limit under a wrong name, which would not hold, is refused."""
    if not isinstance(value, list | tuple):
        return value
    kept: list[Any] = []
    for key in value:
        wrong = [str(name) for name in key if name not in fields_of(ClientKey)] if isinstance(key, dict) else []
        if wrong:
            raise ValueError(f"a client key has no {wrong[0]}; it may have {', '.join(fields_of(ClientKey))}")
        key = key.strip() if isinstance(key, str) else key
        if key not in ("", None) and key not in kept:
            kept.append(key)
    return kept


def _limits_once(value: tuple[str | ClientKey, ...]) -> tuple[str | ClientKey, ...]:
    limited = [entry.key for entry in value if isinstance(entry, ClientKey)]
    if len(set(limited)) < len(limited):
        raise ValueError("a key with limits stands twice")
    return value


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for network in value:
        try:
            ip_network(network, strict=False)
        except ValueError:
            raise ValueError("expected addresses or networks such as 10.0.0.0/8") from None
    return value


def _end_at_models(value: tuple[ModelRoute, ...]) -> tuple[ModelRoute, ...]:
    aliases = [route.alias.lower() for route in value]
    if len(set(aliases)) < len(aliases):
        raise ValueError("an alias stands twice")
    if any(model.lower() in aliases for route in value for model in route.models):
        raise ValueError("a route leads to another route")
    return value


def _real_aliases(value: dict[str, tuple[OAuthAlias, ...]]) -> dict[str, tuple[OAuthAlias, ...]]:
    """Channels in lower case; pairs that say nothing and aliases that are taken are dropped."""
    cleaned: dict[str, tuple[OAuthAlias, ...]] = {}
    for channel, entries in value.items():
        taken: set[str] = set()
        kept = []
        for entry in entries:
            alias = entry.alias.lower()
            if entry.name and alias and alias != entry.name.lower() and alias not in taken:
                taken.add(alias)
                kept.append(entry)
        cleaned[channel.strip().lower()] = tuple(kept)
    return cleaned


def _lower_channels(value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {channel.strip().lower(): patterns for channel, patterns in value.items() if patterns}


class Config(Section, frozen=True):
    """One valid configuration, immutable. What a running exchange holds on to."""

    host: Trimmed = ""
    port: Annotated[int, Meta(ge=0, le=65535)] = 8317
    tls: Tls = field(default_factory=Tls)
    remote_management: RemoteManagement = field(default_factory=RemoteManagement)
    auth_dir: Annotated[Path, Before(_path), Meta(extra_json_schema={"default": DEFAULT_AUTH_DIR})] = field(
        default_factory=lambda: _path("")
    )
    api_keys: Annotated[tuple[str | ClientKey, ...], Before(_real_keys), After(_limits_once)] = ()
    ws_auth: bool = False
    enable_gemini_cli_endpoint: bool = False
    allow_unauthenticated_remote: bool = False
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: Annotated[tuple[str, ...], After(_networks)] = ()
    max_body_size: Annotated[int, Meta(gt=0)] = 256 * 1024 * 1024
    shutdown_timeout: Amount = 30.0

    debug: bool = False
    metrics: MetricsSection = field(default_factory=MetricsSection)
    pprof: Pprof = field(default_factory=Pprof)
    commercial_mode: bool = False
    logging_to_file: bool = False
    logs_max_total_size_mb: Natural = 0
    error_logs_max_files: Annotated[int, Before(_ten_if_negative)] = 10
    request_log: bool = False
    request_log_errors: bool = True
    request_history_retention_days: Natural = 7
    request_history_max_size_mb: Natural = 512
    usage_statistics_enabled: bool = False
    usage_database_path: str = "./data/usage.sqlite"
    usage_event_retention_days: Natural = 0
    prices: tuple[PriceEntry, ...] = ()
    price_factors: tuple[PriceFactor, ...] = ()
    price_sources: PriceSources = field(default_factory=PriceSources)
    usage_queue_client_keys: bool = False
    redis_usage_queue_retention_seconds: Annotated[float, Before(_queue_seconds)] = 60

    proxy_url: Trimmed = ""
    force_model_prefix: bool = False
    passthrough_headers: bool = False
    request_retry: Natural = 0
    max_retry_credentials: Natural = 0
    max_retry_interval: Natural = 0
    disable_cooling: bool = False
    save_cooldown_status: bool = False
    transient_error_cooldown_seconds: int = 0
    auth_auto_refresh_workers: Natural = 0
    quota_exceeded: QuotaExceeded = field(default_factory=QuotaExceeded)
    routing: Routing = field(default_factory=Routing)
    streaming: Streaming = field(default_factory=Streaming)
    nonstream_keepalive_interval: Natural = 0
    timeouts: TimeoutsSection = field(default_factory=TimeoutsSection)
    disable_image_generation: Annotated[Literal["off", "all", "chat", "passthrough"], Before(_image_generation)] = "off"
    gpt_image_2_base_model: str = "gpt-5.4-mini"
    video_result_auth_cache_ttl: Annotated[str, duration("3h", may_be_zero=False)] = "3h"
    antigravity_signature_cache_enabled: bool | None = None
    antigravity_signature_bypass_strict: bool | None = None

    codex_header_defaults: HeaderDefaults = field(default_factory=HeaderDefaults)
    claude_header_defaults: HeaderDefaults = field(default_factory=HeaderDefaults)
    gemini_header_defaults: HeaderDefaults = field(default_factory=HeaderDefaults)
    gemini_cli_header_defaults: HeaderDefaults = field(default_factory=HeaderDefaults)
    openai_compatibility_header_defaults: HeaderDefaults = field(default_factory=HeaderDefaults)
    kimi_header_defaults: HeaderDefaults = field(default_factory=HeaderDefaults)
    antigravity_header_defaults: HeaderDefaults = field(default_factory=HeaderDefaults)

    gemini_api_key: Keys = ()
    codex_api_key: Keys = ()
    claude_api_key: Keys = ()
    vertex_api_key: Keys = ()
    interactions_api_key: Keys = ()
    xai_api_key: Keys = ()
    xai: XaiSettings = field(default_factory=XaiSettings)
    codex: CodexSettings = field(default_factory=CodexSettings)
    openai_compatibility: tuple[Compatibility, ...] = ()
    ampcode: Amp = field(default_factory=Amp)

    oauth_model_alias: Annotated[dict[str, tuple[OAuthAlias, ...]], After(_real_aliases)] = field(default_factory=dict)
    oauth_excluded_models: Annotated[dict[str, Patterns], After(_lower_channels)] = field(default_factory=dict)
    oauth_request_scoped_errors: dict[str, tuple[ErrorRule, ...]] = field(default_factory=dict)
    model_routes: Annotated[tuple[ModelRoute, ...], After(_end_at_models)] = ()
    payload: Payload = field(default_factory=Payload)
    prompt_rules: tuple[PromptRule, ...] = ()
    plugins: PluginsSection = field(default_factory=PluginsSection)
