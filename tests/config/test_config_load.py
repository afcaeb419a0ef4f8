"""What a configuration file means: defaults, tidying, warnings, errors that say where."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpa.config import Config, config_schema, load_config, load_text
from cpa.config.load import LoadedConfig
from cpa.config.section import fields_of
from cpa.errors import ConfigError


def load(text: str) -> LoadedConfig:
    return load_text(text, environ={})


def warned(text: str) -> dict[str, str]:
    return {warning.path: warning.message for warning in load(text).warnings}


def test_absent_keys_have_their_defaults() -> None:
    config = load("").config
    assert (config.port, config.request_retry, config.error_logs_max_files) == (8317, 0, 10)
    assert config.auth_dir == Path("~/.cli-proxy-api").expanduser()
    assert config.routing.strategy == "round-robin"
    assert config.routing.session_affinity_ttl == "1h"
    assert config.usage_database_path == "./data/usage.sqlite"
    assert config.redis_usage_queue_retention_seconds == 60
    assert config.max_body_size == 256 * 1024 * 1024
    assert config.plugins.configs == {}


def test_a_key_without_a_value_keeps_its_default() -> None:
    config = load("port:\nrouting:\nremote-management:\n  secret-key:\n").config
    assert config.port == 8317
    assert config.routing.strategy == "round-robin"
    assert config.remote_management.secret_key == ""


def test_numbers_out_of_range_are_tidied() -> None:
    text = "error-logs-max-files: -1\nredis-usage-queue-retention-seconds: 99999\nrequest-retry: -3\n"
    config = load(text).config
    assert (config.error_logs_max_files, config.redis_usage_queue_retention_seconds, config.request_retry) == (
        10,
        3600,
        0,
    )
    assert "redis-usage-queue-retention-seconds" in warned(text)


def test_values_may_be_written_as_texts() -> None:
    config = load("port: '8400'\ndebug: 'true'\nrequest-log: yes\napi-keys: [123]\n").config
    assert (config.port, config.debug, config.request_log) == (8400, True, True)
    assert config.api_keys == ("123",)


def test_client_keys_may_have_names_and_blank_ones_are_dropped() -> None:
    keys = load("api-keys: ['', ' a ', a, {key: b, name: laptop}]").config.api_keys
    assert keys[0] == "a"
    assert len(keys) == 2
    assert not isinstance(keys[1], str)
    assert (keys[1].key, keys[1].name) == ("b", "laptop")


def test_prefixes_and_headers_are_tidied() -> None:
    text = (
        "claude-api-key:\n"
        "  - {api-key: k, prefix: ' /team/ ', base-url: 'https://x.example/ ', headers: {' X-A ': ' 1 ', X-B: '  '}}\n"
        "  - {api-key: l, prefix: a/b, excluded-models: [' GPT-* ', gpt-*, '']}\n"
    )
    first, second = load(text).config.claude_api_key
    assert (first.prefix, first.base_url, first.headers) == ("team", "https://x.example", {"X-A": "1"})
    assert (second.prefix, second.excluded_models) == ("", ("gpt-*",))
    assert "claude-api-key[1].prefix" in warned(text)


@pytest.mark.parametrize(
    ("written", "meaning"),
    [
        ("true", "all"),
        ('"on"', "all"),
        ("yes", "all"),
        ("chat", "chat"),
        ("passthrough", "passthrough"),
        ('"0"', "off"),
        ("0", "off"),
        ('""', "off"),
        ("false", "off"),
    ],
)
def test_image_generation_has_many_spellings(written: str, meaning: str) -> None:
    assert load(f"disable-image-generation: {written}").config.disable_image_generation == meaning


def test_image_generation_refuses_other_words_naming_the_key() -> None:
    with pytest.raises(ConfigError, match=r"line 2: disable-image-generation: expected true, false"):
        load("port: 1\ndisable-image-generation: maybe")


def test_oauth_aliases_are_cleaned() -> None:
    text = (
        "oauth-model-alias:\n"
        "  Claude:\n"
        "    - {name: m, alias: A}\n"
        "    - {name: n, alias: a}\n"
        "    - {name: '', alias: b}\n"
        "    - {name: x, alias: ' '}\n"
        "    - {name: Same, alias: same}\n"
        "oauth-excluded-models: {CODEX: [' GPT-5 ', gpt-5], kimi: []}\n"
    )
    config = load(text).config
    assert {channel: [(e.name, e.alias) for e in entries] for channel, entries in config.oauth_model_alias.items()} == {
        "claude": [("m", "A")]
    }
    assert config.oauth_excluded_models == {"codex": ("gpt-5",)}


@pytest.mark.parametrize(
    ("written", "strategy"),
    [("rr", "round-robin"), (" FF ", "fill-first"), ("fillfirst", "fill-first"), ("roundrobin", "round-robin")],
)
def test_strategies_have_short_names(written: str, strategy: str) -> None:
    assert load(f"routing: {{strategy: '{written}'}}").config.routing.strategy == strategy


def test_an_unknown_strategy_is_round_robin_with_a_warning() -> None:
    assert load("routing: {strategy: luck}").config.routing.strategy == "round-robin"
    assert "routing.strategy" in warned("routing: {strategy: luck}")


@pytest.mark.parametrize(
    ("written", "counts"),
    [("90m", "90m"), ("'1h30m'", "1h30m"), ("' 45s '", "45s"), ("0s", "1h"), ("0", "1h"), ("", "1h")],
)
def test_durations(written: str, counts: str) -> None:
    text = f"routing: {{session-affinity-ttl: {written}}}"
    assert load(text).config.routing.session_affinity_ttl == counts
    assert "routing.session-affinity-ttl" not in warned(text)


@pytest.mark.parametrize(
    "written", ["5", "'5'", "'1.5'", "soon", "true", "[5m]", ".nan", "1h 5m", "-1h", "5x", "\u0665m"]
)
@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("routing.session-affinity-ttl", "1h"),
        ("routing.conversation-stickiness", "0"),
        ("routing.probe-interval", "15m"),
        ("video-result-auth-cache-ttl", "3h"),
    ],
)
def test_what_is_no_duration_counts_as_the_default_with_a_warning(path: str, counts: str, written: str) -> None:
    """A number without a unit is none, as for CLIProxyAPI."""
    section, _, key = path.rpartition(".")
    text = f"{section}: {{{key}: {written}}}" if section else f"{key}: {written}"
    plain = load(text).config.plain()
    assert (plain[section] if section else plain)[key] == counts
    assert warned(text)[path] == f"not a duration such as 90m; {counts} is used"


def test_timeouts_may_be_set_for_all_and_for_one_entry() -> None:
    config = load(
        "timeouts: {first-byte: 60, total: 0}\n"
        "openai-compatibility: [{name: a, base-url: http://x, timeouts: {idle: 5}}]\n"
    ).config
    assert (config.timeouts.first_byte, config.timeouts.total, config.timeouts.idle) == (60, 0, None)
    timeouts = config.openai_compatibility[0].timeouts
    assert timeouts is not None
    assert timeouts.idle == 5


@pytest.mark.parametrize(
    ("routes", "reason"),
    [
        ("[{models: [m]}]", "needs an alias"),
        ("[{alias: 'a(high)', models: [m]}]", "reasoning suffix"),
        ("[{alias: a}]", "needs models"),
        ("[{alias: a, models: [m, M]}]", "twice"),
        ("[{alias: a, models: [m]}, {alias: A, models: [n]}]", "twice"),
        ("[{alias: a, models: [b]}, {alias: b, models: [m]}]", "another route"),
    ],
)
def test_model_routes_that_cannot_work_are_refused(routes: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"line 1: model-routes.*{reason}"):
        load(f"model-routes: {routes}")


def test_unknown_keys_warn_with_what_was_perhaps_meant() -> None:
    found = warned("requst-retry: 1\nrouting: {stratgy: ff}\nclaude-api-key: [{api-key: k, prefx: p}]\nport: 1\n")
    assert set(found) == {"requst-retry", "routing.stratgy", "claude-api-key[0].prefx", "api-keys"}
    assert "request-retry" in found["requst-retry"]
    assert "strategy" in found["routing.stratgy"]
    assert "prefix" in found["claude-api-key[0].prefx"]


def test_unsupported_keys_warn_once_and_change_nothing() -> None:
    text = (
        "host: 127.0.0.1\n"
        "claude-api-key: [{api-key: k, cloak: {mode: always, strict-mode: true}}]\n"
        "claude-header-defaults: {user-agent: u, os: MacOS}\n"
        "codex: {identity-confuse: true, stream-bootstrap-buffering: true}\n"
        "antigravity: {sensitive-words: [x]}\n"
        "home: {enabled: true, host: h}\n"
        "disable-claude-cloak-mode: true\n"
    )
    found = warned(text)
    assert set(found) == {
        "claude-api-key[0].cloak",
        "claude-header-defaults.os",
        "codex.identity-confuse",
        "antigravity.sensitive-words",
        "home",
    }
    assert found["home"] == "config key home is not supported and has no effect"
    assert all(str(warning).count(warning.path) == 1 for warning in load(text).warnings)
    assert load(text).config.codex.stream_bootstrap_buffering is True


def test_keys_of_older_releases_still_count() -> None:
    text = (
        "generative-language-api-key: [g1, g2]\n"
        "gemini-api-key: [{api-key: g2, prefix: p}]\n"
        "openai-compatibility: [{name: o, base-url: http://o, api-keys: [o1]}]\n"
        "amp-upstream-url: https://old.example\n"
        "amp-restrict-management-to-localhost: true\n"
        "ampcode: {upstream-url: https://new.example}\n"
        "auth: {providers: [{type: config, api-keys: [c1]}]}\n"
    )
    loaded = load(text)
    config = loaded.config
    assert [entry.api_key for entry in config.gemini_api_key] == ["g2", "g1"]
    assert [key.api_key for key in config.openai_compatibility[0].api_key_entries] == ["o1"]
    assert config.ampcode.upstream_url == "https://new.example"
    assert config.ampcode.restrict_management_to_localhost is True
    assert config.api_keys == ("c1",)
    assert {warning.path for warning in loaded.warnings} == {
        "generative-language-api-key",
        "openai-compatibility[0].api-keys",
        "amp-upstream-url",
        "amp-restrict-management-to-localhost",
        "auth",
    }


def test_entries_without_base_url_warn() -> None:
    text = "codex-api-key: [{api-key: k}]\nopenai-compatibility: [{name: a}]\nhost: localhost\n"
    assert set(warned(text)) == {"codex-api-key[0]", "openai-compatibility[0]"}


def test_an_open_listener_without_keys_warns() -> None:
    assert "api-keys" in warned("host: 0.0.0.0")
    assert "api-keys" not in warned("host: 127.0.0.1")
    assert "api-keys" not in warned("api-keys: [k]")


def test_tls_needs_a_certificate() -> None:
    with pytest.raises(ConfigError, match="cert and key"):
        load("tls: {enable: true}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("port: x", "line 1: port: expected a whole number"),
        ("debug: 1\nport: 70000", "line 2: port: "),
        ("api-keys: abc", "line 1: api-keys: expected a list"),
        ("\n\nstreaming: 3", "line 3: streaming: expected a mapping"),
        (
            "claude-api-key:\n  - api-key: k\n  - models:\n      - name: [1]",
            r"line 4: claude-api-key\[1\].models\[0\].name",
        ),
        ("trusted-proxies: [nowhere]", "line 1: trusted-proxies: expected addresses"),
        ("timeouts: {idle: -1}", "line 1: timeouts.idle"),
    ],
)
def test_wrong_values_are_named_with_line_and_key(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(text)


def test_errors_and_representations_do_not_show_secrets() -> None:
    with pytest.raises(ConfigError) as caught:
        load("claude-api-key: [{api-key: sk-topsecret, priority: sk-topsecret}]\nport: sk-topsecret")
    assert "topsecret" not in str(caught.value)
    config = load(
        "api-keys: [topsecret]\nclaude-api-key: [{api-key: topsecret, headers: {A: topsecret}}]\n"
        "remote-management: {secret-key: topsecret}\nproxy-url: http://u:topsecret@p\napi-kyes: [topsecret]\n"
    ).config
    assert "topsecret" not in repr(config)
    assert "topsecret" not in repr(config.claude_api_key)
    assert "topsecret" not in repr(config.remote_management)


def test_a_configuration_cannot_be_changed() -> None:
    config = load("").config
    with pytest.raises(AttributeError, match="immutable"):
        config.port = 1  # type: ignore[misc]


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "none.yaml", environ={})


def test_a_file_that_is_no_text_says_where(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"port: 1\nhost: \xff\n")
    with pytest.raises(ConfigError, match=r"line 2.*UTF-8"):
        load_config(path, environ={})


def test_a_byte_order_mark_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbfport: 1\n")
    assert load_config(path, environ={}).config.port == 1


def test_the_schema_knows_keys_as_they_are_written() -> None:
    schema = config_schema()
    assert {"api-keys", "claude-api-key", "timeouts"} <= schema["properties"].keys()
    assert "first-byte" in schema["$defs"]["TimeoutsSection"]["properties"]


def test_loading_is_quick_and_leaves_heavy_modules_alone() -> None:
    script = (
        "import sys; from cpa.config import load_text; load_text('port: 1', environ={});"
        "print([m for m in ('ruamel', 'pydantic_settings', 'aiohttp', 'bcrypt') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
LEGACY = ["generative-language-api-key", "amp-upstream-url", "amp-model-mappings", "auth"]
KEYS = st.sampled_from([*fields_of(Config), *LEGACY])


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(KEYS, JSON, max_size=4))
def test_any_value_anywhere_is_read_or_refused_politely(data: dict[str, object]) -> None:
    text = json.dumps(data)
    with suppress(ConfigError):
        load(text)
