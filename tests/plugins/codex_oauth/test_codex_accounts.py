"""What an auth file of type ``codex`` yields, and what its tokens say."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from cpa.catalog.builtin import builtin_models
from cpa.conversation.events import Failure
from cpa.formats.codec import ReplyContext
from cpa.formats.openai_response import OpenAIResponseCodec
from cpa.formats.sse import SseFrame
from cpa_codex import CodexPlugin, CodexProvider
from cpa_codex.oauth import identity_of

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "accounts"))
from identity_provider import jwt

AUTH = "https://api.openai.com/auth"
DATA = {"type": "codex", "access_token": "at", "refresh_token": "r"}


def account(**members: Any) -> Any:
    (found,) = CodexProvider().accounts_from_file("/auth/c.json", {**DATA, **members}) or []
    return found


def test_plan_account_and_address_come_from_the_id_token() -> None:
    found = account(id_token=jwt({"email": "a@b.c"}))
    assert found.label == "a@b.c"
    assert found.settings["plan_type"] == "plus"
    assert found.settings["account_id"] == "acc"
    assert account(id_token=jwt({}), account_id="own").settings["account_id"] == "own"
    assert found.base_url == "https://chatgpt.com/backend-api/codex"


@pytest.mark.parametrize(
    "token", [None, 5, "", "a.b", "h.%%%.s", "h.W10.s", jwt({AUTH: [1]}), jwt({AUTH: {"chatgpt_plan_type": 7}})]
)
def test_tokens_of_an_unexpected_shape_say_nothing(token: Any) -> None:
    who = identity_of(token)
    assert (who.plan, who.account_id) == ("", "")


def test_the_profile_claim_gives_the_address_where_the_plain_one_is_missing() -> None:
    assert identity_of(jwt({"https://api.openai.com/profile": {"email": "p@b.c"}})).email == "p@b.c"


def test_a_free_login_offers_what_is_free() -> None:
    free = account(id_token=jwt({AUTH: {"chatgpt_plan_type": "free"}}))
    names = {model.id for model in CodexProvider().models(free, builtin_models)}
    assert "gpt-5.3-codex-spark" not in names
    assert "gpt-5.5" in names
    assert "gpt-image-2" not in names
    paid = {model.id for model in CodexProvider().models(account(), builtin_models)}
    assert "gpt-image-2" in paid


def test_a_login_is_refreshed_five_days_before_its_token_ends() -> None:
    assert CodexProvider().refresh_at(account(expired=1_800_000_000)) == 1_800_000_000 - 5 * 86400


def test_an_originator_that_no_header_can_carry_is_refused() -> None:
    with pytest.raises(ValueError, match="originator"):
        CodexPlugin().cpa_configure({"originator": "a\nb"})


def test_an_upstream_that_hangs_up_cools_nobody() -> None:
    decoder = OpenAIResponseCodec().stream_decoder(ReplyContext())
    frame = SseFrame(b'{"type":"response.created","response":{}}')
    (*_, last) = [*decoder.feed(frame), *decoder.close()]
    assert isinstance(last, Failure)
    judged = CodexProvider().read_error(last.error.status, {}, last.error.message.encode(), last.error)
    assert (judged.error.status, judged.scope, judged.cooldown, judged.retryable) == (408, "none", 0, True)
