"""What a Codex upstream is sent, and what clients are told of its errors."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from multidict import CIMultiDict

from cpa.accounts.account import Account
from cpa.config import Config
from cpa.config.load import load_text
from cpa.conversation.effort import KEEP
from cpa.errors import UpstreamError
from cpa.formats.codec import Target
from cpa.formats.openai_response import CodexCodec, OpenAIResponseCodec
from cpa.plugins import UpstreamRequest
from cpa_codex import LITE_HEADER, CodexProvider

OWN = {"type": "function", "name": "shell", "parameters": {}}
IMAGE = {"type": "image_generation", "output_format": "png"}


def sent(
    body: dict[str, Any] | None = None, config: str = "", *, plan: str = "plus", model: str = "gpt-5.5", **client: str
) -> UpstreamRequest:
    account = Account(
        id="a", provider="codex", kind="oauth", secret="t", base_url="https://x", settings={"plan_type": plan}
    )
    request = UpstreamRequest(
        account=account,
        model=model,
        body=body if body is not None else {"model": model, "parallel_tool_calls": True},
        operation="generate",
        stream=True,
        client_format="openai-response",
        client_headers=CIMultiDict(client),
        config=load_text(config, environ={}).config if config else Config(),
    )
    CodexProvider().prepare(request)
    return request


def test_the_image_tool_is_added_behind_the_clients_own_and_once() -> None:
    assert sent({"tools": [OWN]}).body["tools"] == [OWN, IMAGE]
    assert sent({"tools": [OWN, {**IMAGE, "size": "1x1"}]}).body["tools"] == [OWN, {**IMAGE, "size": "1x1"}]
    assert sent().body["tools"] == [IMAGE]


@pytest.mark.parametrize(
    "request_",
    [
        lambda body: sent(body, plan="free"),
        lambda body: sent(body, model="gpt-5.3-codex-spark"),
        lambda body: sent(body, "disable-image-generation: passthrough"),
        lambda body: sent(body, "disable-image-generation: chat"),
        lambda body: sent(body, **{LITE_HEADER: "true"}),
    ],
)
def test_no_image_tool_where_plan_model_settings_or_client_do_not_want_it(request_: Any) -> None:
    assert request_({"tools": [OWN], "parallel_tool_calls": True}).body["tools"] == [OWN]
    assert "parallel_tool_calls" not in request_({"tools": [], "parallel_tool_calls": True}).body


def test_a_client_that_makes_images_itself_gets_no_second_tool_for_it() -> None:
    own = {"type": "function", "name": "image_gen", "parameters": {}}
    assert sent({"tools": [own]}).body["tools"] == [own]


def test_the_lite_header_is_handed_on() -> None:
    assert sent({}, **{LITE_HEADER: "true"}).headers[LITE_HEADER] == "true"
    assert LITE_HEADER not in sent({}).headers


def test_members_that_the_backend_refuses_are_left_out_and_one_stream_option_stays() -> None:
    part = {"type": "input_text", "text": "hi", "prompt_cache_breakpoint": {"mode": "explicit"}}
    body = {
        "model": "m",
        "input": [{"type": "message", "role": "user", "content": [part, {"type": "input_text", "text": "a"}]}],
        "stream_options": {"include_obfuscation": False, "reasoning_summary_delivery": "sequential"},
    }
    codec, target = CodexCodec(), Target("m", "codex", stream=True)
    adapted = codec.adapt_native(body, target, KEEP).body
    assert adapted["stream_options"] == {"reasoning_summary_delivery": "sequential"}
    assert adapted["input"][0]["content"] == [{"type": "input_text", "text": "hi"}, {"type": "input_text", "text": "a"}]
    assert "prompt_cache_breakpoint" in body["input"][0]["content"][0]
    plain = codec.adapt_native({**body, "stream_options": {"include_obfuscation": False}}, target, KEEP).body
    assert "stream_options" not in plain


# -- errors --------------------------------------------------------------------------------------------------------


def judged(status: int, error: dict[str, Any], **headers: str) -> UpstreamError:
    body = orjson.dumps({"error": error})
    found = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return CodexProvider().read_error(status, found, body, CodexCodec().decode_error(status, body))


TOO_LARGE, BAD_PROOF, LOST = "context_too_large", "thinking_signature_invalid", "previous_response_not_found"


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (413, {"message": "large"}, TOO_LARGE),
        (400, {"message": "m", "code": "context_length_exceeded"}, TOO_LARGE),
        (400, {"message": "maximum context is 5"}, TOO_LARGE),
        (400, {"message": "An invalid signature in thinking block"}, BAD_PROOF),
        (400, {"message": "m", "code": "invalid_encrypted_content"}, BAD_PROOF),
        (400, {"message": "previous_response_id 'r' not found"}, LOST),
        (404, {"message": "m", "code": "previous_response_not_found"}, LOST),
        (401, {"message": "m", "code": "token_expired"}, "auth_unavailable"),
    ],
)
def test_clients_are_told_in_words_they_know(status: int, error: dict[str, Any], code: str) -> None:
    found = judged(status, error)
    told = OpenAIResponseCodec().encode_error(found.error)["error"]
    refused = code == "auth_unavailable"
    kind = "authentication_error" if refused else "invalid_request_error"
    assert (told["message"], told["type"], told["code"]) == (error["message"], kind, code)
    assert (found.error.status, found.scope) == (status, "account" if refused else "request")


def test_a_context_that_is_too_long_is_the_clients_fault_also_in_a_stream() -> None:
    codec = CodexCodec()
    failed = {"type": "response.failed", "response": {"error": {"message": "Your input has too many tokens"}}}
    error = codec.reply_failure(failed)
    assert error is not None
    found = CodexProvider().read_error(error.status, {}, b"", error)
    assert (found.error.status, found.error.code, found.retryable) == (400, "context_too_large", False)


SPARK = {
    "x_codex_spark_limit_name": "GPT-5.3-Codex-Spark",
    "x_codex_spark_primary_used_percent": "100",
    "x_codex_spark_primary_window_minutes": "300",
    "x_codex_spark_primary_reset_after_seconds": "60",
    "x_codex_primary_window_minutes": "300",
    "x_codex_primary_reset_after_seconds": "600",
}


@pytest.mark.parametrize(("used", "scope"), [("40", "model"), ("100", "account")])
def test_a_limit_of_one_model_leaves_the_others_alone(used: str, scope: str) -> None:
    error = {"type": "usage_limit_reached", "message": "m", "resets_in_seconds": 60}
    assert judged(429, error, **SPARK, x_codex_primary_used_percent=used).scope == scope
    assert judged(429, error).scope == "account"
