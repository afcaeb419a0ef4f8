"""Quota of logins: read from answers, and what is tried when it is used up."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from oauth_daemon import KEY, auth_file, daemon_over, vendors

from cpa.daemon import Daemon
from cpa.plugins.oauth import time_text
from cpa_claude.quota import from_headers

EXHAUSTED = {
    "error": {
        "code": 429,
        "status": "RESOURCE_EXHAUSTED",
        "message": "Quota exceeded.",
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "600s"}],
    }
}


async def chat(daemon: Daemon, model: str) -> tuple[int, dict[str, Any]]:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    headers = {"Authorization": f"Bearer {KEY}"}
    url = f"http://{daemon.addresses[0]}/v1/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_windows_in_the_headers_of_answers_are_known_at_once(tmp_path: Path) -> None:
    with vendors() as (upstream, url):
        upstream.answer_headers = {
            "anthropic-ratelimit-unified-5h-utilization": "0.25",
            "anthropic-ratelimit-unified-5h-reset": str(int(time.time()) + 600),
            "x-codex-primary-used-percent": "50",
            "x-codex-primary-window-minutes": "300",
            "x-codex-primary-reset-after-seconds": "600",
        }
        logins = {vendor: upstream.provider.login(vendor, "u") for vendor in ("claude", "codex")}
        files = {f"{vendor}.json": auth_file(login) for vendor, login in logins.items()}
        async with daemon_over(tmp_path, url, files) as daemon:
            assert (await chat(daemon, "claude-sonnet-4-6"))[0] == 200
            assert (await chat(daemon, "gpt-5.5"))[0] == 200
            (claude,), (codex,) = daemon.pool.quota("claude.json"), daemon.pool.quota("codex.json")
            assert (claude.name, claude.used_ratio) == ("five_hour", 0.25)
            assert (codex.name, codex.used_ratio) == ("five_hour", 0.5)


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_preview_stands_in_for_a_model_whose_quota_is_used_up(wanted: bool, tmp_path: Path) -> None:
    with vendors() as (upstream, url):
        upstream.failures = [(429, EXHAUSTED)]
        files = {"g.json": auth_file(upstream.provider.login("gemini", "u"))}
        switch = {"quota-exceeded": {"switch-preview-model": wanted}}
        async with daemon_over(tmp_path, url, files, **switch) as daemon:
            answers = [await chat(daemon, "gemini-2.5-pro") for _ in range(3)]
            asked = [seen.body["model"] for seen in upstream.seen]
        if wanted:
            assert [status for status, _ in answers] == [200] * 3
            assert asked == ["gemini-2.5-pro", *["gemini-3.1-pro-preview"] * 3]
            assert {answer["model"] for _, answer in answers} == {"gemini-2.5-pro"}
        else:
            assert [status for status, _ in answers] == [429] * 3
            assert asked == ["gemini-2.5-pro"]


@pytest.mark.parametrize("wanted", [True, False])
async def test_other_projects_of_a_login_are_tried_only_where_that_is_wanted(wanted: bool, tmp_path: Path) -> None:
    with vendors() as (upstream, url):
        upstream.failures = [(429, EXHAUSTED)]
        files = {"g.json": {**auth_file(upstream.provider.login("gemini", "u")), "project_id": "p1,p2"}}
        switch = {"quota-exceeded": {"switch-project": wanted}}
        async with daemon_over(tmp_path, url, files, **switch) as daemon:
            status, _ = await chat(daemon, "gemini-2.5-pro")
            projects = [seen.body["project"] for seen in upstream.seen]
            assert status == (200 if wanted else 429)
            assert len(set(projects)) == len(projects) == (2 if wanted else 1)
            assert (await chat(daemon, "gemini-2.5-pro"))[0] == 200


async def test_a_request_that_leaves_during_a_refresh_does_not_stop_it(tmp_path: Path) -> None:
    with vendors() as (upstream, url):
        login = upstream.provider.login("claude", "u")
        upstream.provider.delay = 0.3
        async with daemon_over(tmp_path, url, {"c.json": auth_file(login)}) as daemon:
            upstream.provider.end_tokens()
            task = asyncio.create_task(chat(daemon, "claude-sonnet-4-6"))
            await asyncio.sleep(0.15)
            task.cancel()
            for _ in range(100):
                await asyncio.sleep(0.02)
                if login.access and daemon.pool.get("c.json").secret == login.access:  # type: ignore[union-attr]
                    break
            data = orjson.loads((tmp_path / "auth" / "c.json").read_bytes())
            assert data["refresh_token"] == login.refresh_token == "rt-claude-u-1"
            assert len(upstream.provider.calls) == 1


async def test_a_login_that_is_over_is_shown_as_such_while_its_last_token_still_works(tmp_path: Path) -> None:
    with vendors() as (upstream, url):
        login = upstream.provider.login("claude", "u")
        data = auth_file(login, expired=time_text(time.time() + 1800))
        login.generation = 9
        manage = {"remote-management": {"secret-key": "manage-key-for-tests"}}
        async with daemon_over(tmp_path, url, {"c.json": data}, **manage) as daemon, aiohttp.ClientSession() as session:
            headers = {"Authorization": "Bearer manage-key-for-tests"}
            for _ in range(100):
                async with session.get(
                    f"http://{daemon.addresses[0]}/v0/management/auth-files", headers=headers
                ) as answer:
                    (shown,) = (await answer.json())["files"]
                if shown.get("login_again"):
                    break
                await asyncio.sleep(0.05)
            assert shown["status"] == "error"
            assert shown["status_message"].startswith("log in again")
            assert (await chat(daemon, "claude-sonnet-4-6"))[0] == 200
            assert len(upstream.provider.calls) == 1


async def test_quota_decides_and_a_reserve_is_kept(tmp_path: Path) -> None:
    """What answers tell of windows is all that is known here."""
    with vendors() as (upstream, url):
        files = {f"{user}.json": auth_file(upstream.provider.login("claude", user)) for user in "abc"}
        routing = {"strategy": "quota-aware", "quota-reserve": 0.2}
        async with daemon_over(tmp_path, url, files, routing=routing) as daemon:

            def tell(user: str, used: float, minutes: int) -> None:
                upstream.users_headers[user] = {
                    "anthropic-ratelimit-unified-5h-utilization": str(used),
                    "anthropic-ratelimit-unified-5h-reset": str(int(time.time()) + 60 * minutes),
                }

            async def chosen() -> str:
                assert (await chat(daemon, "claude-sonnet-4-6"))[0] == 200
                token = upstream.seen[-1].headers["authorization"].removeprefix("Bearer ")
                login = upstream.provider.find(token)
                assert login is not None
                return login.user

            tell("a", 0.7, 200)
            tell("b", 0.1, 20)
            tell("c", 0.85, 5)
            for user in "abc":
                daemon.pool.note_quota(f"{user}.json", from_headers(upstream.users_headers[user], time.time()))
            assert [await chosen() for _ in range(3)] == ["b"] * 3, "of those with room the one that begins anew first"
            tell("b", 0.81, 20)
            assert [await chosen() for _ in range(3)] == ["b", "a", "a"], "only its reserve is left"
            tell("a", 0.95, 200)
            assert [await chosen() for _ in range(3)] == ["a", "c", "c"], "all are down to their reserve"
            tell("c", 1.0, 5)
            assert [await chosen() for _ in range(2)] == ["c", "b"]
