"""Providers with keys from the configuration: where requests go, with which headers, and how errors are judged."""

from __future__ import annotations

import time
from base64 import b64encode
from typing import Any

import orjson
import pytest
from multidict import CIMultiDict

from cpa.accounts.account import Account
from cpa.config.load import load_text
from cpa.conversation.events import Failure
from cpa.errors import UpstreamError
from cpa.formats.codec import ReplyContext
from cpa.formats.registry import builtin_formats
from cpa.formats.sse import SseFrame
from cpa.plugins import Provider, UpstreamRequest
from cpa.plugins.faults import LONGEST_HINT
from cpa.upstream.address import split_url
from cpa_claude import ClaudeProvider
from cpa_codex import CodexProvider
from cpa_gemini import GeminiProvider
from cpa_openai_compat import OpenAICompatProvider
from cpa_vertex import VertexProvider


def prepared(
    provider: Provider,
    section: str,
    *,
    operation: Any = "generate",
    stream: bool = False,
    body: dict[str, Any] | None = None,
    client_key: str = "",
    **client: str,
) -> UpstreamRequest:
    """A request of the first account of a configuration."""
    config = load_text(section, environ={}).config
    account = next(iter(provider.accounts_from_config(config)))
    request = UpstreamRequest(
        account=account,
        model="up",
        body=body if body is not None else {"model": "up"},
        operation=operation,
        stream=stream,
        client_format="openai",
        client_headers=CIMultiDict({name.replace("_", "-"): value for name, value in client.items()}),
        upstream_format=provider.upstream_format(account, operation),
        client_key_id=client_key,
        config=config,
    )
    provider.prepare(request)
    return request


CLAUDE = "claude-api-key: [{api-key: sk-1, headers: {X-Mine: a, X-Theirs: $X-Client}}]\n"
CLAUDE_BASE = "claude-api-key: [{api-key: k, base-url: 'https://c.example/'}]\n"
CODEX = "codex-api-key: [{api-key: k, base-url: 'https://x.example/v1'}]\n"
GEMINI = "gemini-api-key: [{api-key: k}]\n"
VERTEX = "vertex-api-key: [{api-key: k, models: [{name: up, alias: a}]}]\n"
COMPAT = (
    "openai-compatibility: [{name: O, base-url: 'https://o.example/v1', api-key-entries: [{api-key: k}],"
    " models: [{name: up, alias: a}]}]\n"
)


@pytest.mark.parametrize(
    ("provider", "section", "options", "url"),
    [
        (ClaudeProvider(), CLAUDE, {}, "https://api.anthropic.com/v1/messages?beta=true"),
        (ClaudeProvider(), CLAUDE_BASE, {}, "https://c.example/v1/messages?beta=true"),
        (
            ClaudeProvider(),
            CLAUDE,
            {"operation": "count"},
            "https://api.anthropic.com/v1/messages/count_tokens?beta=true",
        ),
        (CodexProvider(), CODEX, {"stream": True}, "https://x.example/v1/responses"),
        (CodexProvider(), CODEX, {"operation": "compact"}, "https://x.example/v1/responses/compact"),
        (
            GeminiProvider(),
            GEMINI,
            {},
            "https://generativelanguage.googleapis.com/v1beta/models/up:generateContent",
        ),
        (
            GeminiProvider(),
            GEMINI,
            {"stream": True},
            "https://generativelanguage.googleapis.com/v1beta/models/up:streamGenerateContent?alt=sse",
        ),
        (
            GeminiProvider(),
            GEMINI,
            {"operation": "count"},
            "https://generativelanguage.googleapis.com/v1beta/models/up:countTokens",
        ),
        (
            VertexProvider(),
            VERTEX,
            {},
            "https://aiplatform.googleapis.com/v1/publishers/google/models/up:generateContent",
        ),
        (OpenAICompatProvider(), COMPAT, {}, "https://o.example/v1/chat/completions"),
        (OpenAICompatProvider(), COMPAT, {"operation": "compact"}, "https://o.example/v1/responses/compact"),
    ],
)
def test_a_request_goes_where_the_vendor_expects_it(
    provider: Provider, section: str, options: dict[str, Any], url: str
) -> None:
    assert prepared(provider, section, **options).url == url


@pytest.mark.parametrize(
    ("provider", "section", "header", "value"),
    [
        (ClaudeProvider(), CLAUDE, "x-api-key", "sk-1"),
        (ClaudeProvider(), CLAUDE_BASE, "Authorization", "Bearer k"),
        (CodexProvider(), CODEX, "Authorization", "Bearer k"),
        (GeminiProvider(), GEMINI, "x-goog-api-key", "k"),
        (VertexProvider(), VERTEX, "x-goog-api-key", "k"),
        (OpenAICompatProvider(), COMPAT, "Authorization", "Bearer k"),
    ],
)
def test_the_key_stands_in_one_header_and_nowhere_else(
    provider: Provider, section: str, header: str, value: str
) -> None:
    request = prepared(provider, section)
    assert request.headers[header] == value
    key = value.removeprefix("Bearer ")
    others = [found for name, found in request.headers.items() if name != header]
    assert not any(key == found or f"Bearer {key}" == found for found in others)
    assert f"={key}" not in request.url


def test_headers_of_the_entry_may_hand_on_what_the_client_sent() -> None:
    request = prepared(ClaudeProvider(), CLAUDE, X_Client="seen")
    assert (request.headers["X-Mine"], request.headers["X-Theirs"]) == ("a", "seen")
    assert "X-Theirs" not in prepared(ClaudeProvider(), CLAUDE).headers


def test_nothing_of_a_client_is_handed_on_that_is_not_its_own_to_show() -> None:
    sent = {
        "Authorization": "Bearer client-key",
        "X_Api_Key": "client-key",
        "Cookie": "c=1",
        "X_Forwarded_For": "1.1.1.1",
    }
    for provider, section in (
        (ClaudeProvider(), CLAUDE),
        (CodexProvider(), CODEX),
        (GeminiProvider(), GEMINI),
        (OpenAICompatProvider(), COMPAT),
    ):
        headers = prepared(provider, section, **sent).headers
        assert "client-key" not in str(headers)
        assert not {"cookie", "x-forwarded-for"} & {name.lower() for name in headers}


def test_who_asks_is_said_truthfully() -> None:
    assert prepared(OpenAICompatProvider(), COMPAT, User_Agent="tool/1").headers["User-Agent"].startswith("cpa/")
    claude = prepared(ClaudeProvider(), CLAUDE, User_Agent="claude-cli/2.0", X_App="cli").headers
    assert (claude["User-Agent"], claude["X-App"]) == ("claude-cli/2.0", "cli")


def test_beta_flags_of_client_and_body_are_put_together() -> None:
    headers = prepared(ClaudeProvider(), CLAUDE, Anthropic_Beta="a, b,a").headers
    assert headers["anthropic-beta"] == "a,b"


def test_codex_is_always_streamed_and_never_stored() -> None:
    request = prepared(CodexProvider(), CODEX, stream=True, body={"model": "x", "store": True, "stream": False})
    assert (request.body["stream"], request.body["store"], request.body["model"]) == (True, False, "up")


def test_equal_keys_make_one_account_and_entries_that_cannot_serve_none() -> None:
    section = "claude-api-key: [{api-key: a}, {api-key: a}, {api-key: ''}, {api-key: a, base-url: 'https://x'}]\n"
    config = load_text(section, environ={}).config
    assert len(list(ClaudeProvider().accounts_from_config(config))) == 2
    codex = load_text("codex-api-key: [{api-key: a}]\n", environ={}).config
    assert not list(CodexProvider().accounts_from_config(codex))


def test_ids_survive_reordering_and_show_no_key() -> None:
    keys = ["first-secret-key", "second-secret-key"]
    ids = []
    for order in (keys, keys[::-1]):
        entries = ", ".join(f"{{api-key: {key}}}" for key in order)
        config = load_text(f"gemini-api-key: [{entries}]\n", environ={}).config
        accounts = list(GeminiProvider().accounts_from_config(config))
        ids.append({account.id for account in accounts})
        assert not any(key in repr(account) + account.id + account.label for account in accounts for key in keys)
    assert ids[0] == ids[1]


# -- errors --------------------------------------------------------------------------------------------------------


def judged(provider: Provider, status: int, body: bytes, **headers: str) -> UpstreamError:
    codec = builtin_formats()[provider.format]
    found = {name.replace("_", "-"): value for name, value in headers.items()}
    return provider.read_error(status, CIMultiDict(found), body, codec.decode_error(status, body))


@pytest.mark.parametrize(
    ("provider", "status", "body", "scope", "retryable"),
    [
        (ClaudeProvider(), 401, b'{"error":{"type":"authentication_error","message":"x"}}', "account", True),
        (ClaudeProvider(), 529, b'{"error":{"type":"overloaded_error","message":"x"}}', "model", True),
        (ClaudeProvider(), 400, b'{"error":{"type":"invalid_request_error","message":"bad"}}', "request", False),
        (
            GeminiProvider(),
            400,
            b'{"error":{"message":"API key not valid","status":"INVALID_ARGUMENT"}}',
            "account",
            True,
        ),
        (CodexProvider(), 400, b'{"error":{"message":"Selected model is at capacity"}}', "model", True),
        (CodexProvider(), 413, b"", "request", False),
        (OpenAICompatProvider(), 402, b'{"error":{"message":"no credit"}}', "account", True),
    ],
)
def test_an_error_is_laid_at_the_right_door(
    provider: Provider, status: int, body: bytes, scope: str, retryable: bool
) -> None:
    error = judged(provider, status, body)
    assert (error.scope, error.retryable) == (scope, retryable), error


def test_claude_says_which_window_is_used_up_and_until_when() -> None:
    reset = str(int(time.time()) + 3600)
    prefix = "anthropic_ratelimit_unified"
    whole = judged(
        ClaudeProvider(lambda least, most: most),
        429,
        b"{}",
        **{f"{prefix}_status": "rejected", f"{prefix}_5h_status": "rejected", f"{prefix}_5h_reset": reset},
    )
    assert whole.scope == "account"
    assert whole.cooldown is not None
    assert 3500 < whole.cooldown - 30 <= 3600
    assert whole.error.retry_after == whole.cooldown
    family = judged(
        ClaudeProvider(), 429, b"{}", **{f"{prefix}_7d_oi_status": "rejected", f"{prefix}_7d_oi_reset": reset}
    )
    assert family.scope == "model"


def test_codex_says_when_its_limit_ends() -> None:
    body = b'{"error":{"type":"usage_limit_reached","message":"x","resets_in_seconds":120}}'
    error = judged(CodexProvider(), 429, body)
    assert (error.scope, error.cooldown, error.reason) == ("account", 120.0, "quota")


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("0.5", 0.5)])
def test_retry_after_is_heeded(value: str, seconds: float) -> None:
    error = judged(OpenAICompatProvider(), 429, b"{}", Retry_After=value)
    assert error.cooldown == pytest.approx(seconds, abs=0.6)


@pytest.mark.parametrize("provider", [GeminiProvider(), VertexProvider()])
def test_a_models_name_may_be_in_any_script(provider: Provider) -> None:
    account = Account(id="a", provider=provider.name, secret="k", base_url="https://g.example")
    request = UpstreamRequest(
        account=account,
        model="модель 1?/x:y",
        body={},
        operation="generate",
        stream=False,
        client_format="gemini",
        client_headers={},
        config=load_text("", environ={}).config,
    )
    provider.prepare(request)
    _, target = split_url(request.url)
    assert target.endswith("/models/%D0%BC%D0%BE%D0%B4%D0%B5%D0%BB%D1%8C%201%3F/x:y:generateContent")


def test_a_provider_that_knows_cache_keys_is_sent_one() -> None:
    knows = COMPAT.replace("name: O,", "name: O, support-prompt-cache-key: true,")
    sent = [prepared(OpenAICompatProvider(), knows, client_key="k1").body.get("prompt_cache_key") for _ in range(2)]
    assert sent[0] == sent[1] != prepared(OpenAICompatProvider(), knows, client_key="k2").body["prompt_cache_key"]
    own = {"model": "up", "prompt_cache_key": "mine"}
    assert prepared(OpenAICompatProvider(), knows, body=own, client_key="k1").body == own
    assert "prompt_cache_key" not in prepared(OpenAICompatProvider(), COMPAT, client_key="k1").body
    assert "prompt_cache_key" not in prepared(OpenAICompatProvider(), knows).body


def test_an_account_without_money_rests_whole_although_it_says_429() -> None:
    body = orjson.dumps({"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}})
    error = judged(OpenAICompatProvider(), 429, body, Retry_After="1")
    assert (error.scope, error.cooldown, error.reason, error.retryable) == ("account", 1800.0, "payment_required", True)


QUOTA = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}],
}
DAY = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}
DAILY = {**QUOTA, "violations": [*QUOTA["violations"], DAY]}
RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}


@pytest.mark.parametrize(
    ("details", "date", "seconds"),
    [
        ([QUOTA, RETRY], "Mon, 05 Jan 2026 12:00:00 GMT", 7.0),
        ([DAILY, RETRY], "Mon, 05 Jan 2026 12:00:00 GMT", 20 * 3600.0),
        ([DAILY, RETRY], "Mon, 06 Jul 2026 12:00:00 GMT", 19 * 3600.0),
        ([{**QUOTA, "violations": "odd"}, 5, RETRY], "Mon, 05 Jan 2026 12:00:00 GMT", 7.0),
    ],
)
def test_a_quota_of_a_day_lasts_until_midnight_in_california(details: list[Any], date: str, seconds: float) -> None:
    error = {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": details}
    found = judged(GeminiProvider(), 429, orjson.dumps({"error": error}), Date=date)
    assert (found.cooldown, found.scope, found.reason) == (seconds, "model", "quota")


def test_rate_limits_in_headers_are_windows() -> None:
    told = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "45",
        "x-ratelimit-reset-requests": "6m0s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "1.5",
    }
    account = Account(id="a", provider="o")
    found = OpenAICompatProvider().read_quota(account, CIMultiDict(told), 100.0) or []
    shown = [(window.name, window.used_ratio, window.resets_at) for window in found]
    assert shown == [("requests", 0.25, 460.0), ("tokens", 1.0, 101.5)]
    odd = {"x-ratelimit-limit-requests": "nan", "x-ratelimit-remaining-requests": "1", "x-ratelimit-limit-tokens": "0"}
    assert OpenAICompatProvider().read_quota(account, CIMultiDict(odd), 100.0) is None


@pytest.mark.parametrize(
    "provider", [ClaudeProvider(), CodexProvider(), GeminiProvider(), OpenAICompatProvider(), VertexProvider()]
)
def test_a_stream_that_was_cut_off_is_nobodys_fault(provider: Provider) -> None:
    decoder = builtin_formats()[provider.format].stream_decoder(ReplyContext())
    beginning = {
        "claude": b'{"type":"message_start","message":{}}',
        "codex": b'{"type":"response.created","response":{}}',
        "gemini": b'{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}',
        "openai": b'{"choices":[{"delta":{"content":"a"}}]}',
    }
    (*_, last) = [*decoder.feed(SseFrame(beginning[provider.format])), *decoder.close()]
    assert isinstance(last, Failure)
    found = provider.read_error(last.error.status, {}, last.error.message.encode(), last.error)
    assert (found.scope, found.cooldown, found.retryable) == ("none", 0, True)


@pytest.mark.parametrize("provider", [CodexProvider(), OpenAICompatProvider(), ClaudeProvider()])
@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Rate limit reached for gpt-5. Please try again in 11.054s.", 11.054),
        ("Please try again in 2m3s.", 123.0),
        ("Try again in 999999999999 days.", LONGEST_HINT),
        ("Please try again in 0s.", None),
        ("At most 3 requests in 60s.", None),
    ],
)
def test_a_wait_told_in_words_is_heeded(provider: Provider, words: str, seconds: float | None) -> None:
    body = orjson.dumps({"error": {"type": "rate_limit_error", "code": "rate_limit_exceeded", "message": words}})
    error = judged(provider, 429, body)
    assert (error.cooldown, error.error.retry_after) == (seconds, seconds)


def test_a_header_is_believed_before_words_and_words_of_other_errors_are_none() -> None:
    body = b'{"error":{"message":"Please try again in 50s."}}'
    assert judged(OpenAICompatProvider(), 429, body, Retry_After="7").cooldown == 7.0
    assert judged(OpenAICompatProvider(), 400, body).error.retry_after is None


@pytest.mark.parametrize("kind", ["usage_limit_reached", "server_busy"])
def test_codex_words_for_limits_and_capacity_tell_a_wait_too(kind: str) -> None:
    message = "Selected model is at capacity. Try again in 3 minutes."
    error = judged(CodexProvider(), 429, orjson.dumps({"error": {"type": kind, "message": message}}))
    assert (error.cooldown, error.reason) == (180.0, "quota")


def test_a_disabled_or_keyless_compatible_provider() -> None:
    config = load_text(
        "openai-compatibility:\n"
        "  - {name: off, disabled: true, base-url: 'https://a.example'}\n"
        "  - {name: Local, base-url: 'http://127.0.0.1:11434/v1', models: [{name: m, alias: a}]}\n",
        environ={},
    ).config
    accounts = list(OpenAICompatProvider().accounts_from_config(config))
    assert [(account.provider, account.kind, account.secret) for account in accounts] == [("local", "none", "")]


UPSTREAM = "base-url: 'https://me:p%40ss@host.example/v1', models: [{name: up}]"


def test_a_name_and_password_in_an_address_are_sent_where_there_is_no_key() -> None:
    request = prepared(OpenAICompatProvider(), f"openai-compatibility: [{{name: own, {UPSTREAM}}}]")
    assert request.url == "https://host.example/v1/chat/completions"
    assert request.headers["Authorization"] == f"Basic {b64encode(b'me:p@ss').decode()}"


@pytest.mark.parametrize(
    ("provider", "section"),
    [
        (
            OpenAICompatProvider(),
            f"openai-compatibility: [{{name: own, api-key-entries: [{{api-key: k}}], {UPSTREAM}}}]",
        ),
        (ClaudeProvider(), f"claude-api-key: [{{api-key: k, {UPSTREAM}}}]"),
        (GeminiProvider(), f"gemini-api-key: [{{api-key: k, {UPSTREAM}}}]"),
        (CodexProvider(), f"codex-api-key: [{{api-key: k, {UPSTREAM}}}]"),
        (VertexProvider(), f"vertex-api-key: [{{api-key: k, {UPSTREAM}}}]"),
    ],
)
def test_where_there_is_a_key_they_are_not_and_that_is_said(provider: Provider, section: str) -> None:
    request = prepared(provider, section)
    assert "@" not in request.url
    assert "Basic" not in str(request.headers)
    (warning,) = load_text(f"host: 127.0.0.1\n{section}", environ={}).warnings
    assert warning.path.endswith("[0].base-url")
    assert "not sent" in warning.message
    assert "p%40ss" not in warning.message
