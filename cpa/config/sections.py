"""Sections of the configuration, one class each, frozen. Keys are the attribute names with hyphens.

Values that cannot be used are refused with the path of their key; values that only need tidying (numbers below their
least, names with blanks) are tidied while reading.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, field

from cpa.config.section import After, Before, Section
from cpa.config.tidied import Amount, Natural, Patterns, Trimmed, Url, duration


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
    session_affinity_ttl: Annotated[str, duration("1h", may_be_zero=False)] = "1h"
    conversation_stickiness: Annotated[str, duration("0")] = "0"
    quota_reserve: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Share of every quota window."""
    account_concurrency: Natural = 0
    probe_interval: Annotated[str, duration("15m")] = "15m"
    """After which a request tries whether a longer cooldown is still right; 0 is never."""


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
