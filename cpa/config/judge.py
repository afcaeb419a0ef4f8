"""Values that can be read and yet do not do what their author may think."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

import orjson

from cpa.config.client_keys import SAMPLE_KEYS
from cpa.config.notices import ConfigWarning
from cpa.config.provider_sections import Compatibility, KeyEntry
from cpa.config.section import Section, fields_of
from cpa.config.sections import STRATEGIES, Routing
from cpa.config.settings import LONGEST_QUEUE_SECONDS, Config
from cpa.config.tidied import Duration
from cpa.durations import seconds_of
from cpa.errors import ConfigError
from cpa.network import split_userinfo

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
PROXY_SCHEMES = ("http://", "https://", "socks5://", "socks5h://")
NO_PROXY = frozenset({"", "direct", "none"})
NOT_SENT = (
    "the name and password in this address are not sent, the key is; "
    "if the upstream wants them, too, write them into headers, as it wants them"
)
KNOWN_STRATEGIES = ", ".join(dict.fromkeys(STRATEGIES.values()))


def judge(config: Config, written: dict[str, Any]) -> list[ConfigWarning]:
    """Warnings about a valid configuration and the data it was made from.

    Raises ConfigError for settings that contradict each other.
    """
    if config.tls.enable and not (config.tls.cert and config.tls.key):
        raise ConfigError("tls: cert and key are required when tls is enabled")
    return [
        *_listener(config),
        *_tidied(written),
        *_entries(config, written),
        *_prices(config),
        *_userinfo(config),
        *_proxies(config),
        *_payload(config),
        *_amp(config),
    ]


def _listener(config: Config) -> Iterator[ConfigWarning]:
    for index, key in enumerate(config.api_keys):
        if (key if isinstance(key, str) else key.key) in SAMPLE_KEYS:
            yield ConfigWarning(f"api-keys[{index}]", "everybody knows this example; it works on this machine only")
    if config.api_keys or config.host in LOOPBACK:
        return
    who = "everybody who can reach it" if config.allow_unauthenticated_remote else "every program on this machine"
    yield ConfigWarning("api-keys", f"without client keys {who} may use this daemon, and nobody else")


def _tidied(written: dict[str, Any]) -> Iterator[ConfigWarning]:
    """Values that were replaced by usable ones while reading."""
    kept = written.get("redis-usage-queue-retention-seconds")
    if isinstance(kept, int) and kept > LONGEST_QUEUE_SECONDS:
        yield ConfigWarning("redis-usage-queue-retention-seconds", f"lowered to {LONGEST_QUEUE_SECONDS}")
    yield from _durations(Config, written)
    routing = written.get("routing")
    if not isinstance(routing, dict):
        return
    strategy = routing.get("strategy")
    if strategy is not None and str(strategy).strip().lower() not in STRATEGIES:
        yield ConfigWarning(
            "routing.strategy", f"unknown strategy, round-robin is used; known are {KNOWN_STRATEGIES}", useless=True
        )
    yield from _durations(Routing, routing, "routing.")


def _durations(section: type[Section], written: dict[str, Any], above: str = "") -> Iterator[ConfigWarning]:
    """Durations that are none."""
    for key, setting in fields_of(section).items():
        value = written.get(key)
        for mark in typing.get_args(setting.whole_annotation):
            if isinstance(mark, Duration) and value not in (None, "") and seconds_of(str(value)) is None:
                yield ConfigWarning(above + key, f"not a duration such as 90m; {mark.instead} is used", useless=True)


def _entries(config: Config, written: dict[str, Any]) -> Iterator[ConfigWarning]:
    for section, entries in (
        ("codex-api-key", config.codex_api_key),
        ("openai-compatibility", config.openai_compatibility),
    ):
        for index, entry in enumerate(entries):
            if not entry.base_url:
                yield ConfigWarning(f"{section}[{index}]", "without base-url this entry is not offered")
    for section, keys in (("gemini-api-key", config.gemini_api_key), ("vertex-api-key", config.vertex_api_key)):
        for index, key in enumerate(keys):
            if not key.api_key and not (section == "gemini-api-key" and key.base_url):
                yield ConfigWarning(f"{section}[{index}]", "without api-key this entry is not offered")
    for section in ("gemini-api-key", "claude-api-key", "codex-api-key", "vertex-api-key", "openai-compatibility"):
        entries_as_written = written.get(section)
        for index, raw in enumerate(entries_as_written if isinstance(entries_as_written, list) else ()):
            prefix = raw.get("prefix") if isinstance(raw, dict) else None
            if isinstance(prefix, str) and "/" in prefix.strip().strip("/"):
                yield ConfigWarning(
                    f"{section}[{index}].prefix", "a prefix cannot contain a slash; none is used", useless=True
                )


def _prices(config: Config) -> Iterator[ConfigWarning]:
    for index, entry in enumerate(config.prices):
        if not entry.model:
            yield ConfigWarning(f"prices[{index}]", "without model this price has no effect")
        elif entry.input is None and entry.output is None:
            yield ConfigWarning(f"prices[{index}]", "without input and output this price has no effect")


def _userinfo(config: Config) -> Iterator[ConfigWarning]:
    """Names and passwords in addresses of upstreams that get a key; they are not repeated."""
    for key, setting in fields_of(Config).items():
        entries = getattr(config, setting.name)
        for index, entry in enumerate(entries if isinstance(entries, tuple) else ()):
            has_key = isinstance(entry, KeyEntry) or (isinstance(entry, Compatibility) and entry.api_key_entries)
            if has_key and split_userinfo(entry.base_url)[1]:
                yield ConfigWarning(f"{key}[{index}].base-url", NOT_SENT)


def _proxies(config: Config) -> Iterator[ConfigWarning]:
    """Proxies of a kind that cannot be used; their text may hold a password and is not repeated."""
    found: list[tuple[str, str]] = [("proxy-url", config.proxy_url)]
    for name in ("gemini_api_key", "claude_api_key", "codex_api_key", "vertex_api_key"):
        entries = getattr(config, name)
        found += ((f"{name.replace('_', '-')}[{i}].proxy-url", entry.proxy_url) for i, entry in enumerate(entries))
    for index, provider in enumerate(config.openai_compatibility):
        found += (
            (f"openai-compatibility[{index}].api-key-entries[{i}].proxy-url", key.proxy_url)
            for i, key in enumerate(provider.api_key_entries)
        )
    for path, url in found:
        if url.lower() not in NO_PROXY and not url.lower().startswith(PROXY_SCHEMES):
            yield ConfigWarning(
                path, "expected http://, https://, socks5:// or socks5h://, or the word direct", useless=True
            )


def _payload(config: Config) -> Iterator[ConfigWarning]:
    for name, rules in (("default-raw", config.payload.default_raw), ("override-raw", config.payload.override_raw)):
        for index, rule in enumerate(rules):
            for path, raw in rule.params.items() if isinstance(rule.params, dict) else ():
                if isinstance(raw, str) and not _is_json(raw):
                    yield ConfigWarning(
                        f"payload.{name}[{index}].params.{path}", "not valid JSON; it has no effect", useless=True
                    )


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _amp(config: Config) -> Iterator[ConfigWarning]:
    seen: set[str] = set()
    for index, mapping in enumerate(config.ampcode.upstream_api_keys):
        if seen.intersection(mapping.api_keys):
            yield ConfigWarning(f"ampcode.upstream-api-keys[{index}]", "a client key stands in several entries")
        seen.update(mapping.api_keys)
    for index, model in enumerate(config.ampcode.model_mappings):
        if not model.from_.strip() or not model.to.strip():
            yield ConfigWarning(f"ampcode.model-mappings[{index}]", "without from and to this entry is skipped")
