"""The whole configuration."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from cpa.config.sections import (
    Amp,
    ClientKey,
    CodexSettings,
    Compatibility,
    ErrorRule,
    HeaderDefaults,
    KeyEntry,
    MetricsSection,
    ModelRoute,
    Natural,
    OAuthAlias,
    Patterns,
    Payload,
    PluginsSection,
    Pprof,
    PriceEntry,
    PriceFactor,
    PriceSources,
    PromptRule,
    QuotaExceeded,
    RemoteManagement,
    Routing,
    Section,
    Streaming,
    TimeoutsSection,
    Tls,
    Trimmed,
    XaiSettings,
)

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


class Config(Section):
    """One valid configuration, immutable. What a running exchange holds on to."""

    host: Trimmed = ""
    port: int = Field(default=8317, ge=0, le=65535)
    tls: Tls = Field(default_factory=Tls)
    remote_management: RemoteManagement = Field(default_factory=RemoteManagement)
    auth_dir: Annotated[Path, BeforeValidator(_path)] = Field(default=DEFAULT_AUTH_DIR, validate_default=True)
    api_keys: tuple[str | ClientKey, ...] = ()
    ws_auth: bool = False
    enable_gemini_cli_endpoint: bool = False
    allow_unauthenticated_remote: bool = False
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    max_body_size: int = Field(default=256 * 1024 * 1024, gt=0)
    shutdown_timeout: float = Field(default=30.0, ge=0)

    debug: bool = False
    metrics: MetricsSection = Field(default_factory=MetricsSection)
    pprof: Pprof = Field(default_factory=Pprof)
    commercial_mode: bool = False
    logging_to_file: bool = False
    logs_max_total_size_mb: Natural = 0
    error_logs_max_files: Annotated[int, BeforeValidator(_ten_if_negative)] = 10
    request_log: bool = False
    request_log_errors: bool = True
    request_history_retention_days: Natural = 7
    request_history_max_size_mb: Natural = 512
    usage_statistics_enabled: bool = False
    usage_database_path: str = "./data/usage.sqlite"
    usage_event_retention_days: Natural = 0
    prices: tuple[PriceEntry, ...] = ()
    price_factors: tuple[PriceFactor, ...] = ()
    price_sources: PriceSources = Field(default_factory=PriceSources)
    usage_queue_client_keys: bool = False
    redis_usage_queue_retention_seconds: Annotated[float, BeforeValidator(_queue_seconds)] = 60

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
    quota_exceeded: QuotaExceeded = Field(default_factory=QuotaExceeded)
    routing: Routing = Field(default_factory=Routing)
    streaming: Streaming = Field(default_factory=Streaming)
    nonstream_keepalive_interval: Natural = 0
    timeouts: TimeoutsSection = Field(default_factory=TimeoutsSection)
    disable_image_generation: Annotated[
        Literal["off", "all", "chat", "passthrough"], BeforeValidator(_image_generation)
    ] = "off"
    gpt_image_2_base_model: str = "gpt-5.4-mini"
    video_result_auth_cache_ttl: str = "3h"
    antigravity_signature_cache_enabled: bool | None = None
    antigravity_signature_bypass_strict: bool | None = None

    codex_header_defaults: HeaderDefaults = Field(default_factory=HeaderDefaults)
    claude_header_defaults: HeaderDefaults = Field(default_factory=HeaderDefaults)
    gemini_header_defaults: HeaderDefaults = Field(default_factory=HeaderDefaults)
    gemini_cli_header_defaults: HeaderDefaults = Field(default_factory=HeaderDefaults)
    openai_compatibility_header_defaults: HeaderDefaults = Field(default_factory=HeaderDefaults)
    kimi_header_defaults: HeaderDefaults = Field(default_factory=HeaderDefaults)
    antigravity_header_defaults: HeaderDefaults = Field(default_factory=HeaderDefaults)

    gemini_api_key: Keys = ()
    codex_api_key: Keys = ()
    claude_api_key: Keys = ()
    vertex_api_key: Keys = ()
    interactions_api_key: Keys = ()
    xai_api_key: Keys = ()
    xai: XaiSettings = Field(default_factory=XaiSettings)
    codex: CodexSettings = Field(default_factory=CodexSettings)
    openai_compatibility: tuple[Compatibility, ...] = ()
    ampcode: Amp = Field(default_factory=Amp)

    oauth_model_alias: dict[str, tuple[OAuthAlias, ...]] = Field(default_factory=dict)
    oauth_excluded_models: dict[str, Patterns] = Field(default_factory=dict)
    oauth_request_scoped_errors: dict[str, tuple[ErrorRule, ...]] = Field(default_factory=dict)
    model_routes: tuple[ModelRoute, ...] = ()
    payload: Payload = Field(default_factory=Payload)
    prompt_rules: tuple[PromptRule, ...] = ()
    plugins: PluginsSection = Field(default_factory=PluginsSection)

    @field_validator("api_keys", mode="before")
    @classmethod
    def _real_keys(cls, value: Any) -> Any:
        """Blank and repeated keys are dropped."""
        if not isinstance(value, list | tuple):
            return value
        kept: list[Any] = []
        for key in value:
            key = key.strip() if isinstance(key, str) else key
            if key not in ("", None) and key not in kept:
                kept.append(key)
        return kept

    @field_validator("api_keys", mode="after")
    @classmethod
    def _limits_once(cls, value: tuple[str | ClientKey, ...]) -> tuple[str | ClientKey, ...]:
        limited = [entry.key for entry in value if isinstance(entry, ClientKey)]
        if len(set(limited)) < len(limited):
            raise ValueError("a key with limits stands twice")
        return value

    @field_validator("trusted_proxies", mode="after")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ip_network(network, strict=False)
            except ValueError:
                raise ValueError("expected addresses or networks such as 10.0.0.0/8") from None
        return value

    @field_validator("model_routes", mode="after")
    @classmethod
    def _routes_end_at_models(cls, value: tuple[ModelRoute, ...]) -> tuple[ModelRoute, ...]:
        aliases = [route.alias.lower() for route in value]
        if len(set(aliases)) < len(aliases):
            raise ValueError("an alias stands twice")
        if any(model.lower() in aliases for route in value for model in route.models):
            raise ValueError("a route leads to another route")
        return value

    @field_validator("oauth_model_alias", mode="after")
    @classmethod
    def _real_aliases(cls, value: dict[str, tuple[OAuthAlias, ...]]) -> dict[str, tuple[OAuthAlias, ...]]:
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

    @field_validator("oauth_excluded_models", mode="after")
    @classmethod
    def _lower_channels(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        return {channel.strip().lower(): patterns for channel, patterns in value.items() if patterns}
