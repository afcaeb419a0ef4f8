"""Logins of every provider, from the first page to the file: what is sent, what is stored, and every way to fail."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from cpa.errors import LoginError
from tests.exchange.logging_in import Browser, LoggingIn, Proxy


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[LoggingIn]:
    world = LoggingIn(tmp_path / "auth")
    await world.start()
    yield world
    await world.close()


def query_of(url: str) -> dict[str, str]:
    """Each parameter once, or the test fails."""
    found = parse_qs(urlsplit(url).query, strict_parsing=True, keep_blank_values=True)
    return {name: value for name, (value,) in found.items()}


async def fails(world: LoggingIn, name: str, code: str, **options: Any) -> LoginError:
    """A login that fails with ``code`` and leaves nothing behind."""
    with pytest.raises(LoginError) as caught:
        await world.login(name, **options)
    assert caught.value.code == code, caught.value
    assert world.names() == []
    return caught.value


# -- what is sent ------------------------------------------------------------------------------------------------


async def test_claude_is_asked_with_eight_parameters_and_told_the_code_as_json(world: LoggingIn) -> None:
    browser = Browser()
    await world.login("claude", browser)
    sent = query_of(browser.pages[0])
    assert sorted(sent) == sorted(
        [
            "code",
            "client_id",
            "response_type",
            "redirect_uri",
            "scope",
            "code_challenge",
            "code_challenge_method",
            "state",
        ]
    )
    assert (sent["code"], sent["response_type"], sent["code_challenge_method"]) == ("true", "code", "S256")
    assert sent["redirect_uri"] == "http://localhost:54545/callback"
    assert sent["scope"].split() == [
        "user:profile",
        "user:inference",
        "user:sessions:claude_code",
        "user:mcp_servers",
        "user:file_upload",
    ]
    assert "%25" not in browser.pages[0]
    (call,) = world.provider.calls
    assert call["headers"]["Content-Type"] == "application/json"
    assert (call["state"], call["grant_type"]) == (sent["state"], "authorization_code")
    assert len(call["code_verifier"]) == 128


async def test_codex_is_asked_with_ten_parameters_and_told_the_code_as_a_form(world: LoggingIn) -> None:
    browser = Browser()
    await world.login("codex", browser)
    sent = query_of(browser.pages[0])
    assert len(sent) == 10
    assert sent["prompt"] == "login"
    assert sent["id_token_add_organizations"] == sent["codex_cli_simplified_flow"] == "true"
    (call,) = world.provider.calls
    assert call["headers"]["Content-Type"] == "application/x-www-form-urlencoded"
    assert len(call["code_verifier"]) == 128
    assert "state" not in call


async def test_another_port_is_told_to_google_and_to_nobody_else(world: LoggingIn) -> None:
    browser = Browser()
    await world.login("codex", browser, callback_port=9999)
    await world.login("gemini-cli", browser, callback_port=9999)
    assert query_of(browser.pages[0])["redirect_uri"] == "http://localhost:1455/auth/callback"
    assert query_of(browser.pages[1])["redirect_uri"] == "http://localhost:9999/oauth2callback"
    assert world.provider.calls[-1]["redirect_uri"] == "http://localhost:9999/oauth2callback"


async def test_google_is_asked_for_offline_access_with_a_state_of_its_own(world: LoggingIn) -> None:
    browser = Browser()
    await world.login("gemini-cli", browser)
    await world.login("gemini-cli", browser)
    first, second = (query_of(page) for page in browser.pages)
    assert (first["access_type"], first["prompt"]) == ("offline", "consent")
    assert first["code_challenge_method"] == "S256"
    assert len(first["state"]) == 32
    assert first["state"] != second["state"]


# -- what is stored ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"chatgpt_plan_type": ""}, "codex-a@b.c.json"),
        ({"chatgpt_plan_type": "plus"}, "codex-a@b.c-plus.json"),
        ({"chatgpt_plan_type": "team"}, "codex-ba36a4ed-a@b.c-team.json"),
        ({"chatgpt_plan_type": "Chat GPT_Pro"}, "codex-a@b.c-chat-gpt-pro.json"),
    ],
)
async def test_a_codex_file_is_named_after_address_and_plan(
    world: LoggingIn, claims: dict[str, Any], name: str
) -> None:
    auth = {"chatgpt_account_id": "acct-1", **claims}
    world.provider.claims = {"https://api.openai.com/auth": auth}
    assert (await world.login("codex")).file.name == name


async def test_a_second_workspace_of_one_address_gets_a_file_of_its_own(world: LoggingIn) -> None:
    for account, name in (("one", "codex-a@b.c-plus.json"), ("two", "codex-3fc4ccfe-a@b.c-plus.json")):
        auth = {"chatgpt_account_id": account, "chatgpt_plan_type": "plus"}
        world.provider.claims = {"https://api.openai.com/auth": auth}
        stored = await world.login("codex")
        assert (stored.file.name, stored.created, stored.file.data["account_id"]) == (name, True, account)
    stored = await world.login("codex")
    assert (stored.file.name, stored.created) == ("codex-3fc4ccfe-a@b.c-plus.json", False)
    world.provider.token_members = {
        "account": {"uuid": "u", "email_address": "a@b.c"},
        "organization": {"uuid": "first", "name": "First"},
    }
    first = await world.login("claude")
    world.provider.token_members["organization"] = {"uuid": "second", "name": "Second"}
    second = await world.login("claude")
    assert first.file.name == "claude-a@b.c.json"
    assert second.file.name == "claude-16367aac-a@b.c.json"


async def test_a_login_keeps_its_file_whatever_the_user_named_it(world: LoggingIn) -> None:
    """A plan that changes makes no second file, and everything the user set stays."""
    stored = await world.login("codex")
    await world.files.rename(stored.file.name, "work.json")
    mine = {"prefix": "w", "proxy_url": "direct", "weight": 5, "note": "mine", "disabled": True, "x-unknown": [1]}
    await world.files.update("work.json", lambda data: {**data, **mine, "expires_at": 1})
    world.provider.claims = {
        "https://api.openai.com/auth": {"chatgpt_account_id": "acc", "chatgpt_plan_type": "pro"},
    }
    again = await world.login("codex")
    assert (again.file.name, again.created) == ("work.json", False)
    assert mine.items() <= again.file.data.items()
    assert "expires_at" not in again.file.data, "an older login's expiry would end the new one's token"
    assert again.file.data["refresh_token"] != stored.file.data["refresh_token"]
    assert world.names() == ["work.json"]


async def test_proxy_and_prefix_of_a_login_go_into_its_file_which_is_private(world: LoggingIn) -> None:
    mask = os.umask(0o022)
    try:
        stored = await world.login("claude", proxy="direct", prefix="/team/")
    finally:
        os.umask(mask)
    assert (stored.file.data["proxy_url"], stored.file.data["prefix"]) == ("direct", "team")
    assert stored.file.path.stat().st_mode & 0o777 == 0o600
    assert world.folder.stat().st_mode & 0o777 == 0o700
    (account,) = world.roster.accounts_of(stored.file.name)
    assert (account.prefix, account.proxy_url) == ("team", "direct")


async def test_names_of_vendors_cannot_lead_out_of_the_directory(world: LoggingIn) -> None:
    world.provider.user = "../../etc/passwd\x00@evil"
    stored = await world.login("claude")
    assert stored.file.path.parent == world.folder
    assert stored.file.name == "claude-_.._etc_passwd_@evil.json"
    world.provider.user = "a" * 500
    assert len((await world.login("claude")).file.name) < 120


async def test_a_broken_file_of_that_name_is_replaced(world: LoggingIn) -> None:
    world.folder.mkdir()
    (world.folder / "claude-a@b.c.json").write_text("{half")
    stored = await world.login("claude")
    assert stored.file.name == "claude-a@b.c.json"
    assert orjson.loads(stored.file.path.read_bytes())["type"] == "claude"


async def test_a_directory_that_cannot_be_written_is_named(world: LoggingIn) -> None:
    world.folder.write_text("a file")
    with pytest.raises(LoginError, match="cannot be stored") as caught:
        await world.login("claude")
    assert caught.value.code == "save_failed"


# -- ways to fail ------------------------------------------------------------------------------------------------

BROWSER_LOGINS = ["claude", "codex", "gemini-cli"]


@pytest.mark.parametrize("name", BROWSER_LOGINS)
async def test_a_foreign_state_fails_before_any_code_is_sent(world: LoggingIn, name: str) -> None:
    world.provider.changes_state = "f" * 32
    fault = await fails(world, name, "invalid_state")
    assert fault.status == 400
    assert world.provider.calls == []


@pytest.mark.parametrize("name", BROWSER_LOGINS)
async def test_denied_consent_is_a_cancelled_login(world: LoggingIn, name: str) -> None:
    world.provider.denies = True
    fault = await fails(world, name, "access_denied")
    assert "cancelled" in str(fault)


@pytest.mark.parametrize("name", BROWSER_LOGINS)
async def test_a_browser_that_does_not_come_back_is_not_waited_for_for_ever(world: LoggingIn, name: str) -> None:
    browser = Browser()
    browser.comes_back = False
    fault = await fails(world, name, "callback_timeout", browser=browser, seconds=0.05)
    assert fault.status == 408


@pytest.mark.parametrize("name", BROWSER_LOGINS)
@pytest.mark.parametrize("status", [500, 0, 429])
async def test_a_failing_token_endpoint_is_asked_once_since_a_code_counts_once(
    world: LoggingIn, name: str, status: int
) -> None:
    world.provider.statuses = [status, status]
    fault = await fails(world, name, "network" if status == 0 else "code_exchange_failed")
    assert len(world.provider.calls) == 1
    assert "code-1" not in str(fault)


async def test_a_slow_token_endpoint_is_waited_for(world: LoggingIn) -> None:
    world.provider.delay = 0.2
    assert (await world.login("claude")).created


async def test_answers_that_lack_what_a_login_needs_are_refused(world: LoggingIn) -> None:
    world.provider.token_members = {"refresh_token": None}
    for name in BROWSER_LOGINS:
        await fails(world, name, "code_exchange_failed")
    world.provider.token_members = {"account": None}
    await fails(world, "claude", "code_exchange_failed")
    world.provider.token_members = {"id_token": None}
    fault = await fails(world, "codex", "bad_answer")
    assert "missing account information" in str(fault)


async def test_the_profile_claim_names_an_address_where_the_plain_one_is_missing(world: LoggingIn) -> None:
    world.provider.claims = {"email": None, "https://api.openai.com/profile": {"email": "p@b.c"}}
    assert (await world.login("codex")).new.label == "p@b.c"


async def test_a_wrong_clock_does_not_keep_anybody_from_logging_in(
    world: LoggingIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file says when the token ends by our own clock, whatever that shows."""
    import time

    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 40 * 86400)
    stored = await world.login("claude")
    assert stored.file.data["expired"].startswith(time.strftime("%Y-%m-%d", time.gmtime(time.time() + 30 * 86400)))


# -- by code -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [7, "7"])
async def test_codex_by_code_waits_as_told_and_uses_the_redirect_of_devices(world: LoggingIn, interval: Any) -> None:
    world.provider.interval = interval
    world.provider.polls = [403, 404]
    browser = Browser()
    stored = await world.login("codex", browser, method="device")
    assert stored.file.name == "codex-a@b.c-plus.json"
    (code,) = browser.codes
    assert (code.user_code, code.page[-8:]) == ("WXYZ-1234", "/confirm")
    assert world.slept == [7.0, 7.0, 7.0]
    assert world.provider.calls[-1]["redirect_uri"].endswith("/deviceauth/callback")


async def test_codex_by_code_ends_at_any_other_status_and_where_there_is_none(world: LoggingIn) -> None:
    world.provider.polls = [403, 500]
    await fails(world, "codex", "code_exchange_failed", method="device")
    world.provider.device_status = 404
    fault = await fails(world, "codex", "device_login_unavailable", method="device")
    assert "browser" in str(fault)


@pytest.mark.parametrize(("name", "pending", "limit"), [("codex", 403, 600), ("kimi", "authorization_pending", 600)])
async def test_a_code_nobody_confirms_expires(world: LoggingIn, name: str, pending: Any, limit: float) -> None:
    world.provider.polls = [pending] * 1000
    await fails(world, name, "expired_token", method="device")
    assert sum(world.slept) == limit


async def test_kimi_reads_errors_in_answers_with_status_200(world: LoggingIn) -> None:
    world.provider.interval = 1
    world.provider.polls = ["authorization_pending", "slow_down", "authorization_pending"]
    world.provider.claims = {"sub": "user-7"}
    stored = await world.login("kimi")
    assert stored.file.name == "kimi-user-7.json"
    assert world.slept == [5.0, 5.0, 10.0, 10.0], "never sooner than 5 seconds, 5 more after slow_down"
    assert len(stored.file.data["device_id"]) == 36
    headers = world.provider.calls[0]["headers"]
    assert headers["X-Msh-Platform"] == "cpa"
    assert headers["X-Msh-Device-Id"] == stored.file.data["device_id"]


async def test_kimi_waits_out_a_vendor_that_falters(world: LoggingIn) -> None:
    world.provider.statuses = [503, 503]
    assert (await world.login("kimi")).created
    assert world.slept == [5.0, 10.0, 20.0]


@pytest.mark.parametrize("error", ["expired_token", "access_denied", "invalid_client"])
async def test_every_other_error_of_kimi_is_an_end(world: LoggingIn, error: str) -> None:
    world.provider.polls = [error]
    await fails(world, "kimi", error)


async def test_kimi_without_a_subject_is_named_after_the_moment_and_with_one_keeps_its_file(world: LoggingIn) -> None:
    first = await world.login("kimi")
    assert first.file.name == f"kimi-{first.file.data['timestamp']}.json"
    await world.files.delete(first.file.name)
    world.provider.claims = {"sub": "user-7"}
    await world.login("kimi")
    await world.files.rename("kimi-user-7.json", "kimi-1767322800000.json")
    again = await world.login("kimi")
    assert (again.file.name, again.created) == ("kimi-1767322800000.json", False)


# -- proxies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["direct", "none", "DIRECT"])
async def test_a_login_that_goes_directly_ignores_the_common_proxy_then_and_later(world: LoggingIn, word: str) -> None:
    proxy = Proxy()
    await proxy.server.start_server()
    world.global_proxy = str(proxy.server.make_url(""))
    stored = await world.login("claude", proxy=word)
    (account,) = world.roster.accounts_of(stored.file.name)
    assert await world.plugins.provider_of(account).refresh(account, world.client)
    assert proxy.requests == []
    with pytest.raises(LoginError, match="from the proxy"):
        await world.login("claude")
    assert proxy.requests == ["/token/claude"]
    await proxy.server.close()


async def test_a_login_goes_through_its_own_proxy(world: LoggingIn) -> None:
    proxy = Proxy()
    await proxy.server.start_server()
    with pytest.raises(LoginError, match="from the proxy"):
        await world.login("codex", proxy=str(proxy.server.make_url("")))
    assert proxy.requests == ["/token/codex"]
    await proxy.server.close()


async def test_two_logins_at_once_do_not_mix(world: LoggingIn) -> None:
    stored = await asyncio.gather(*(world.login(name) for name in BROWSER_LOGINS))
    assert sorted(login.file.data["type"] for login in stored) == ["claude", "codex", "gemini"]
    assert len(world.names()) == 3
