"""What an auth file of type ``claude`` yields."""

from __future__ import annotations

from typing import Any

import pytest

from cpa.errors import OAuthError
from cpa_claude import ClaudePlugin, ClaudeProvider
from cpa_claude.oauth import exchange

PATH = "/auth/a.json"
DATA = {"type": "CLAUDE", "access_token": "sk-ant-oat01-x", "refresh_token": "r", "email": "a@b.c", "priority": "3"}


def accounts(data: dict[str, Any]) -> list[Any]:
    return list(ClaudeProvider().accounts_from_file(PATH, data) or [])


def test_a_login_is_one_account_with_the_files_options() -> None:
    (account,) = accounts(DATA)
    assert (account.id, account.provider, account.kind) == ("a.json", "claude", "oauth")
    assert (account.label, account.priority, account.secret) == ("a@b.c", 3, "sk-ant-oat01-x")
    assert account.base_url == "https://api.anthropic.com"


def test_a_file_without_tokens_or_of_another_type_is_none() -> None:
    assert accounts({"type": "claude", "email": "a@b.c"}) == []
    assert accounts({**DATA, "type": "codex"}) == []


def test_a_login_is_refreshed_four_hours_before_its_token_ends() -> None:
    (account,) = accounts({**DATA, "expired": 1_800_000_000})
    assert ClaudeProvider().refresh_at(account) == 1_800_000_000 - 4 * 3600
    (forever,) = accounts({**DATA, "refresh_token": ""})
    assert ClaudeProvider().refresh_at(forever) is None


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"oauth": {"token-uri": "x"}}, "token-uri"),
        ({"oauth": {"client-id": 5}}, "client_id"),
        ({"base-url": "ftp:"}, "http"),
    ],
)
def test_settings_that_cannot_be_used_are_named(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ClaudePlugin().cpa_configure(settings)


class Answering:
    """An HTTP client that gives one answer and notes what was sent."""

    def __init__(self, status: int, body: bytes) -> None:
        self.answer = (status, {}, body)
        self.sent = b""

    async def request(self, method: str, url: str, **options: Any) -> Any:
        self.sent = options["body"]
        return self.answer


async def test_a_code_with_its_state_is_split_and_an_answer_without_address_is_refused() -> None:
    provider = ClaudeProvider()
    http = Answering(
        200, b'{"access_token":"a","refresh_token":"r","expires_in":10,"account":{"email_address":"a@b.c"}}'
    )
    members = await exchange(provider.endpoints, http, code="CODE#THEIRS", state="ours", verifier="v", now=0.0)
    assert b'"code":"CODE"' in http.sent
    assert b'"state":"THEIRS"' in http.sent
    assert members["email"] == "a@b.c"
    assert members["expired"] == "1970-01-01T00:00:10Z"
    silent = Answering(200, b'{"access_token":"a","refresh_token":"r"}')
    with pytest.raises(OAuthError, match="e-mail"):
        await exchange(provider.endpoints, silent, code="C", state="S", verifier="v")


async def test_an_error_quotes_nothing_that_was_sent() -> None:
    http = Answering(400, b'{"error":"invalid_grant","error_description":"no"}')
    with pytest.raises(OAuthError) as refused:
        await exchange(ClaudeProvider().endpoints, http, code="C0DE-SECRET", state="S", verifier="VERIFIER")
    assert refused.value.terminal
    assert "C0DE" not in str(refused.value)
    assert "VERIFIER" not in str(refused.value)
