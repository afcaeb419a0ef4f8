"""The settings tree: one class per section of ``config.yaml``, frozen. Keys are the attribute names with hyphens.

Values that cannot be used are refused with the path of their key; values that only need tidying (numbers below their
least, names with blanks) are tidied while reading.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, field

from cpa.config.section import After, Before, Section
from cpa.patterns import compile_pattern


def _not_negative(value: Any) -> Any:
    return 0 if isinstance(value, int | float) and value < 0 else value


def _weight(value: Any) -> Any:
    return min(max(value, 0), 1_000_000) if isinstance(value, int) else value


def _none_if_negative(value: Any) -> Any:
    return None if isinstance(value, int) and value < 0 else value


def _trimmed(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _slashless(value: Any) -> Any:
    return value.strip().rstrip("/") if isinstance(value, str) else value


def _prefix(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    clean = value.strip().strip("/")
    return "" if "/" in clean else clean


def _headers(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    pairs = ((str(name).strip(), str(text).strip()) for name, text in value.items() if text is not None)
    return {name: text for name, text in pairs if name and text}


def _patterns(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return value
    return tuple(dict.fromkeys(item.strip().lower() for item in value if isinstance(item, str) and item.strip()))


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_NUMBER = re.compile(r"\d{1,12}(?:\.\d+)?", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(text: str) -> float | None:
    """Seconds in a duration such as ``1h30m``, or in a number of seconds; None when it is none."""
    clean = text.strip()
    if _NUMBER.fullmatch(clean):
        return float(clean)
    found = _DURATION.findall(clean)
    if not found or "".join(number + unit for number, unit in found) != clean:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in found)


def _hour_by_default(value: Any) -> Any:
    seconds = seconds_of(value) if isinstance(value, str) else value
    return seconds if isinstance(seconds, int | float) and seconds > 0 else 3600.0


def _none_by_default(value: Any) -> Any:
    seconds = seconds_of(value) if isinstance(value, str) else value
    return seconds if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds > 0 else 0.0


Natural = Annotated[int, Before(_not_negative)]
Trimmed = Annotated[str, Before(_trimmed)]
Url = Annotated[str, Before(_slashless)]
Prefix = Annotated[str, Before(_prefix)]
Headers = Annotated[dict[str, str], Before(_headers)]
Patterns = Annotated[tuple[str, ...], Before(_patterns)]
Amount = Annotated[float, Meta(ge=0)]


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


def _moment(value: Any) -> Any:
    text = value.isoformat() if isinstance(value, date) else str(value).strip()
    try:
        return text and datetime.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError("expected a date such as 2026-12-31 or a time such as 2026-12-31T18:00:00Z") from None


class ClientKey(Section, frozen=True, kw_only=True):
    """A client key with a name and limits. 0 (and an empty text or list) is no limit."""

    key: Annotated[Trimmed, Meta(min_length=1)]
    name: Trimmed = ""
    models: Patterns = ()
    """The only models it may ask for; ``*`` stands for any text."""
    requests_per_minute: Natural = 0
    tokens_per_minute: Natural = 0
    budget_per_day: Amount = 0.0
    """USD."""
    budget_per_month: Amount = 0.0
    """USD."""
    concurrency: Natural = 0
    """Requests at the same time."""
    expires: Annotated[str, Before(_moment)] = ""
    """A date or time; the key is refused from then on."""


class MetricsSection(Section, frozen=True):
    """The page that Prometheus reads."""

    enable: bool = False
    key: Trimmed = ""
    """Opens the page and nothing else; the management key opens it too."""


MOST_EXPENSIVE = 1_000_000
"""USD per million tokens; a price above it is a mistake."""
Usd = Annotated[float, Meta(ge=0, le=MOST_EXPENSIVE)]
Times = Annotated[float, Meta(ge=0, le=1_000_000)]
"""What a price is multiplied by."""


class LongPrompts(Section, frozen=True):
    """What longer prompts cost, the whole of them, in USD per million tokens."""

    tokens: Annotated[int, Meta(ge=1)] = 200_000
    """Prompts of more tokens than this are longer ones."""
    input: Usd = 0.0
    output: Usd = 0.0
    cache_read: Usd | None = None
    cache_write: Usd | None = None
    cache_write_1h: Usd | None = None


class PriceEntry(Section, frozen=True):
    """What a model costs, in USD per million tokens. Of input and output one may be left out: it costs nothing."""

    model: Trimmed = ""
    input: Usd | None = None
    output: Usd | None = None
    cache_read: Usd | None = None
    cache_write: Usd | None = None
    cache_write_1h: Usd | None = None
    multiplier: Times = 1.0
    style: Literal["", "openai", "claude"] = ""
    """How programs that know three prices only are to count cached tokens: within the input, or beside it."""
    above: LongPrompts | None = None


class PriceFactor(Section, frozen=True):
    """A factor on what matching attempts cost; ``*`` in a pattern stands for any text."""

    factor: Times = 1.0
    model: Trimmed = ""
    provider: Trimmed = ""
    account: Trimmed = ""
    executor_type: Trimmed = ""
    """What collectors of usage call the provider: ``CodexExecutor``."""
    api_group_key: Trimmed = ""
    """The id of the client's key; the provider where there is none."""
    auth_index: Trimmed = ""
    model_alias: Trimmed = ""
    """The name the client asked for."""
    endpoint: Trimmed = ""
    service_tier: Trimmed = ""
    """The tier that was asked for."""
    response_service_tier: Trimmed = ""
    """The tier that served."""
    reasoning_effort: Trimmed = ""


LITELLM_URL = "https://raw.githubusercontent.com/BerriAI/litellm/main/model_prices_and_context_window.json"
MODELS_DEV_URL = "https://models.dev/api.json"


class PriceSources(Section, frozen=True):
    """Where price lists are read, when somebody asks for it."""

    litellm: Trimmed = LITELLM_URL
    models_dev: Trimmed = MODELS_DEV_URL


class Tls(Section, frozen=True):
    """HTTPS listener."""

    enable: bool = False
    cert: str = ""
    key: str = ""


BCRYPT_PREFIXES = ("$2a$", "$2b$", "$2y$")
"""What a management key begins with that is a hash already."""
LONGEST_MANAGEMENT_KEY = 72
"""Bytes."""


def _short_enough(key: str) -> str:
    """bcrypt, by which the key is kept, looks no further than 72 bytes."""
    if not key.startswith(BCRYPT_PREFIXES) and len(key.encode("utf-8", "surrogatepass")) > LONGEST_MANAGEMENT_KEY:
        problem = f"it is longer than {LONGEST_MANAGEMENT_KEY} bytes"
        raise ValueError(f"failed to hash remote management key: {problem}")
    return key


class RemoteManagement(Section, frozen=True):
    """The management API."""

    allow_remote: bool = False
    secret_key: Annotated[Trimmed, After(_short_enough)] = ""
    disable_control_panel: bool = False
    disable_auto_update_panel: bool = False
    panel_github_repository: str = ""
    releases_url: Trimmed = ""


class Pprof(Section, frozen=True):
    """Accepted for compatibility."""

    enable: bool = False
    addr: str = "127.0.0.1:8316"


class QuotaExceeded(Section, frozen=True):
    """What to try when an account's quota is used up."""

    switch_project: bool = False
    switch_preview_model: bool = False
    antigravity_credits: bool = False


STRATEGIES = {
    "round-robin": "round-robin",
    "roundrobin": "round-robin",
    "rr": "round-robin",
    "": "round-robin",
    "fill-first": "fill-first",
    "fillfirst": "fill-first",
    "ff": "fill-first",
    "weighted-round-robin": "weighted-round-robin",
    "weighted": "weighted-round-robin",
    "wrr": "weighted-round-robin",
    "quota-aware": "quota-aware",
    "quota": "quota-aware",
}
"""Accepted spellings of the ways to choose an account."""


def _strategy(value: Any) -> str:
    return STRATEGIES.get(str(value).strip().lower(), "round-robin")


class Routing(Section, frozen=True):
    """Which account is chosen."""

    strategy: Annotated[str, Before(_strategy)] = "round-robin"
    session_affinity: bool = False
    session_affinity_ttl: Annotated[float, Before(_hour_by_default)] = 3600.0
    conversation_stickiness: Annotated[float, Before(_none_by_default)] = 0.0
    """Seconds."""
    quota_reserve: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Share of every quota window."""
    account_concurrency: Natural = 0
    probe_interval: Annotated[float, Before(_none_by_default)] = 900.0
    """Seconds after which a request tries whether a longer cooldown is still right; 0 is never."""


class CodexSettings(Section, frozen=True):
    """Codex upstreams as a whole."""

    stream_bootstrap_buffering: bool = False
    optimize_multi_agent_v2: bool = False


class XaiSettings(Section, frozen=True):
    """xAI upstreams as a whole."""

    inject_x_search: bool = False


class Streaming(Section, frozen=True):
    """Streams towards clients."""

    keepalive_seconds: Natural = 0
    bootstrap_retries: Natural = 0


class HeaderDefaults(Section, frozen=True):
    """Headers for an upstream when the client sent none."""

    user_agent: Trimmed = ""
    beta_features: Trimmed = ""
    timeout: Trimmed = ""
    package_version: str = ""
    runtime_version: str = ""
    os: str = ""
    arch: str = ""
    stabilize_device_profile: bool = False
    timezone: str = ""


class AmpKeyMapping(Section, frozen=True):
    """Client keys that use another Amp key."""

    upstream_api_key: str = ""
    api_keys: tuple[str, ...] = ()


class AmpModelMapping(Section, frozen=True):
    """Another model for one Amp asks for."""

    from_: str = field(default="", name="from")
    to: str = ""
    regex: bool = False


class Amp(Section, frozen=True):
    """The Amp integration."""

    upstream_url: Url = ""
    upstream_api_key: str = ""
    upstream_api_keys: tuple[AmpKeyMapping, ...] = ()
    restrict_management_to_localhost: bool = False
    model_mappings: tuple[AmpModelMapping, ...] = ()
    force_model_mappings: bool = False


class OAuthAlias(Section, frozen=True):
    """One model of an OAuth channel under another name."""

    name: Trimmed = ""
    alias: Trimmed = ""
    fork: bool = False
    force_mapping: bool = False
    display_name: str = ""


class ModelRoute(Section, frozen=True):
    """A name that stands for several models."""

    alias: Trimmed = ""
    strategy: Literal["priority", "round-robin"] = "priority"
    cooldown_seconds: Natural = 60
    models: tuple[Trimmed, ...] = ()

    def check(self) -> None:
        """A route has a name that can be asked for, and leads to models."""
        if not self.alias:
            raise ValueError("a model route needs an alias")
        if self.alias.endswith(")") and "(" in self.alias:
            raise ValueError("the alias of a model route cannot end in a reasoning suffix")
        if not self.models or not all(self.models):
            raise ValueError("a model route needs models")
        if len({model.lower() for model in self.models}) < len(self.models):
            raise ValueError("a model stands twice in this route")


class RuleModel(Section, frozen=True):
    """Which models (and formats) a rule is for."""

    name: str = ""
    protocol: str = ""
    from_protocol: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    match: tuple[Any, ...] = ()
    not_match: tuple[Any, ...] = ()
    exist: tuple[str, ...] = ()
    not_exist: tuple[str, ...] = ()


class PayloadRule(Section, frozen=True):
    """One payload rule; ``params`` is a map of paths to values, or a list of paths (filter)."""

    models: tuple[RuleModel, ...] = ()
    params: dict[str, Any] | tuple[str, ...] = ()


class Payload(Section, frozen=True):
    """Rules on upstream bodies."""

    default: tuple[PayloadRule, ...] = ()
    default_raw: tuple[PayloadRule, ...] = ()
    override: tuple[PayloadRule, ...] = ()
    override_raw: tuple[PayloadRule, ...] = ()
    filter: tuple[PayloadRule, ...] = ()


class PromptRule(Section, frozen=True):
    """One prompt rule, as written: the prompt-rules plugin judges it."""

    name: Any = ""
    enabled: Any = False
    models: Any = ()
    target: Any = ""
    action: Any = ""
    content: Any = ""
    marker: Any = ""
    position: Any = ""
    pattern: Any = ""


class PluginsSection(Section, frozen=True):
    """Settings of plugins by name."""

    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    enabled: Any = None
    dir: str = ""
    store_sources: Any = None
    store_auth: Any = None
