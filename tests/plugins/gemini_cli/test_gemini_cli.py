"""What an auth file of type ``gemini`` yields, and what Cloud Code Assist tells."""

from __future__ import annotations

from typing import Any

import pytest

from cpa.config import Config
from cpa.errors import ErrorInfo, OAuthError
from cpa.formats.gemini.errors import decode_error
from cpa_gemini_cli import GeminiCliPlugin, GeminiCliProvider
from cpa_gemini_cli.oauth import CLIENT_SECRET_VARIABLE, gemini_cli_endpoints, refresh, token_of
from cpa_gemini_cli.projects import project_of
from cpa_gemini_cli.quota import from_buckets

TOKEN = {"access_token": "at", "refresh_token": "rt", "expiry": "2027-01-15T08:00:00Z"}
DATA: dict[str, Any] = {"type": "gemini", "email": "a@b.c", "project_id": "p1,p2", "token": TOKEN, "prefix": "team"}
NOW = 1_800_000_000.0


def accounts(data: dict[str, Any]) -> list[Any]:
    return list(GeminiCliProvider().accounts_from_file("/auth/g.json", data) or [])


def test_several_projects_are_accounts_of_their_own_under_a_parent_that_serves_nothing() -> None:
    parent, first, second = accounts(DATA)
    assert parent.disabled
    assert (first.id, second.id) == ("g.json::p1", "g.json::p2")
    assert (first.settings["project"], first.prefix, first.secret) == ("p1", "team", "at")
    assert first.index != second.index
    assert [account.disabled for account in accounts({**DATA, "disabled": True})] == [True] * 3


def test_one_project_is_one_account_and_old_files_have_their_tokens_at_the_top() -> None:
    (account,) = accounts({"type": "gemini", "access_token": "top", "project_id": "p1"})
    assert (account.id, account.secret, account.settings["project"]) == ("g.json", "top", "p1")
    assert token_of({"refresh_token": "r", "token": {"access_token": "a"}}) == {
        "access_token": "a",
        "refresh_token": "r",
    }
    assert accounts({"type": "gemini", "project_id": "p1"}) == []
    assert accounts({**DATA, "type": "claude"}) == []


def test_a_login_is_refreshed_when_it_is_used_unless_its_project_is_missing() -> None:
    provider = GeminiCliProvider()
    assert provider.refresh_at(accounts(DATA)[0]) is None
    assert provider.refresh_at(accounts({**DATA, "project_id": ""})[0]) == 0.0


async def test_a_missing_client_secret_is_named_and_nothing_is_sent() -> None:
    class Nobody:
        async def request(self, *args: Any, **options: Any) -> Any:
            raise AssertionError("nothing must be sent")

    endpoints = gemini_cli_endpoints({}, {})
    with pytest.raises(OAuthError, match=CLIENT_SECRET_VARIABLE):
        await refresh(endpoints, Nobody(), data=DATA)


def test_the_client_secret_comes_from_the_settings_or_the_environment_and_is_never_shown() -> None:
    assert gemini_cli_endpoints({}, {CLIENT_SECRET_VARIABLE: " s3cret "}).client_secret == "s3cret"
    endpoints = gemini_cli_endpoints({"oauth": {"client-secret": "mine"}}, {CLIENT_SECRET_VARIABLE: "other"})
    assert endpoints.client_secret == "mine"
    assert "mine" not in repr(endpoints)


def test_settings_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="secrets"):
        GeminiCliPlugin().cpa_configure(Config(), {"oauth": {"secrets": "x"}})


def test_the_project_is_text_or_an_object() -> None:
    assert project_of({"cloudaicompanionProject": " p "}) == "p"
    assert project_of({"cloudaicompanionProject": {"id": "p"}}) == "p"
    assert project_of({"cloudaicompanionProject": {"name": 1}}) == project_of({}) == ""


def test_buckets_are_windows_by_model_the_fullest_counts() -> None:
    answer = {
        "buckets": [
            {"modelId": "gemini-2.5-pro", "remainingFraction": 0.7, "resetTime": "2027-01-15T08:00:00Z"},
            {"modelId": "gemini-2.5-pro_vertex", "remainingFraction": "0.4", "resetTime": "bad"},
            {"modelId": "gemini-2.5-flash"},
            {"modelId": "gemini-2.5-pro"},
            {"modelId": "gemini-2.0-flash-lite", "remainingFraction": 0.1},
            "?",
        ]
    }
    window, unknown = from_buckets(answer, NOW)
    assert window.name == "day:gemini-2.5-pro"
    assert window.used_ratio == pytest.approx(0.6)
    assert (unknown.name, unknown.used_ratio) == ("day:gemini-2.5-flash", None), "it is there, how full is not told"
    assert from_buckets({"buckets": None}, NOW) == []


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        ({"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.8s"}]}, 1.0),
        ({"details": [{"@type": "x/google.rpc.ErrorInfo", "metadata": {"quotaResetDelay": "373.8ms"}}]}, 1.0),
        ({"message": "Your quota will reset after 1h2m3s."}, 3723.0),
        ({"message": "No hint."}, None),
    ],
)
def test_googles_hints_say_how_long_to_wait(error: dict[str, Any], seconds: float | None) -> None:
    import orjson

    body = orjson.dumps({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", **error}})
    info: ErrorInfo = decode_error(429, body)
    judged = GeminiCliProvider().read_error(429, {}, body, info)
    assert judged.cooldown == seconds
    assert judged.reason == "quota"
