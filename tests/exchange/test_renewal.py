"""Logins are kept alive: once for all callers and processes, never lost, and left alone when they are over."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from aiohttp import web
from renewing import IdentityProvider, Renewing, auth_file, serve
from structlog.testing import capture_logs

import cpa.exchange.renewal
import cpa.plugins.oauth
from cpa.accounts.files import AuthDirectory
from cpa.errors import UpstreamError
from cpa.plugins.oauth import time_text

PAST = "2020-01-01T00:00:00Z"
VENDORS = ["claude", "codex", "gemini", "kimi"]


@pytest.fixture
async def provider() -> AsyncIterator[tuple[IdentityProvider, str]]:
    provider = IdentityProvider()
    runner, url = await serve(provider)
    yield provider, url
    await runner.cleanup()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpa.plugins.oauth, "PAUSES", (0.01, 0.02))


@pytest.fixture
async def renewing(provider: tuple[IdentityProvider, str], tmp_path: Path) -> AsyncIterator[Renewing]:
    renewing = Renewing(tmp_path / "auth", provider[1])
    yield renewing
    await renewing.close()


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_refused_token_is_renewed_and_the_file_keeps_everything_else(
    vendor: str, provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    login = provider[0].login(vendor, "u")
    before = {**auth_file(login), "prefix": "team", "proxy_url": "direct", "x-unknown": [1, {"a": 10**20}]}
    (renewing.folder / "u.json").write_text(json.dumps(before))
    await renewing.files.load()
    old = renewing.account("u.json")
    renewed = await renewing.renewals.renew(old)
    assert renewed is not None
    assert provider[0].find(renewed.secret) is login
    assert renewed.prefix == "team"
    after = renewing.on_disk("u.json")
    unchanged = set(before) - {"access_token", "refresh_token", "expired", "token", "id_token", "last_refresh"}
    for member in unchanged - {"x-unknown"}:
        assert after[member] == before[member], member
    assert "100000000000000000000" in (renewing.folder / "u.json").read_text()
    place = after["token"] if vendor == "gemini" else after
    assert place["refresh_token"] == login.refresh_token
    assert place["access_token"] == renewed.secret
    if vendor == "gemini":
        assert place["client_secret"] == "shh"
        assert provider[0].calls[0]["client_id"] == "own"
    assert stat.S_IMODE((renewing.folder / "u.json").stat().st_mode) == 0o600


async def test_an_answer_without_a_refresh_token_keeps_the_old_one(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    provider[0].rotates = False
    login = provider[0].login("claude", "u")
    renewing.write("u.json", auth_file(login))
    await renewing.files.load()
    assert await renewing.renewals.renew(renewing.account("u.json")) is not None
    assert renewing.on_disk("u.json")["refresh_token"] == "rt-claude-u-0"
    assert renewing.on_disk("u.json")["email"] == "u"


async def test_ten_refusals_at_once_make_one_refresh_and_a_caller_that_leaves_stops_nobody(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    provider[0].delay = 0.2
    renewing.write("u.json", auth_file(provider[0].login("claude", "u")))
    await renewing.files.load()
    old = renewing.account("u.json")
    callers = [asyncio.create_task(renewing.renewals.renew(old)) for _ in range(10)]
    await asyncio.sleep(0.05)
    callers[0].cancel()
    renewed = await asyncio.gather(*callers[1:])
    assert len(provider[0].calls) == 1
    assert {account.secret for account in renewed if account is not None} == {renewing.account("u.json").secret}
    assert await renewing.renewals.renew(old) == renewing.account("u.json")
    assert len(provider[0].calls) == 1


async def test_the_only_caller_leaving_loses_no_rotated_token(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    provider[0].delay = 0.2
    login = provider[0].login("codex", "u")
    renewing.write("u.json", auth_file(login))
    await renewing.files.load()
    caller = asyncio.create_task(renewing.renewals.renew(renewing.account("u.json")))
    await asyncio.sleep(0.05)
    caller.cancel()
    await renewing.renewals.stop()
    assert renewing.on_disk("u.json")["refresh_token"] == login.refresh_token == "rt-codex-u-1"


@pytest.mark.parametrize("vendor", ["claude", "codex", "kimi"])
async def test_a_reused_or_revoked_refresh_token_asks_for_a_login_and_is_not_hammered(
    vendor: str, provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    login = provider[0].login(vendor, "u")
    data = auth_file(login, expired=PAST)
    login.revoked = True
    renewing.write("u.json", data)
    await renewing.files.load()
    account = renewing.account("u.json")
    with capture_logs() as logs, pytest.raises(UpstreamError) as refused:
        await renewing.renewals.ready(account)
    assert refused.value.error.code == "login_required"
    assert "Log in again: cpa login " in refused.value.error.message
    state = renewing.renewals.state(account)
    assert state is not None
    assert state.trouble.startswith("log in again")
    assert any(entry.get("advice") == "log in again" for entry in logs)
    assert data["refresh_token"] not in str(logs)
    for _ in range(5):
        assert await renewing.renewals.renew(account) is None
    assert len(provider[0].calls) == 1
    login.revoked = False
    renewing.write("u.json", {**data, "note": "edited"})
    await renewing.files.check(["u.json"])
    assert (await renewing.renewals.ready(renewing.account("u.json"))).secret == login.access


async def test_a_token_used_twice_is_terminal_at_the_first_answer(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    login = provider[0].login("codex", "u")
    renewing.write("u.json", auth_file(login))
    login.generation = 5
    await renewing.files.load()
    assert await renewing.renewals.renew(renewing.account("u.json")) is None
    state = renewing.renewals.state(renewing.account("u.json"))
    assert state is not None
    assert state.login_again
    assert len(provider[0].calls) == 1


async def test_a_faltering_token_endpoint_is_asked_three_times(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    provider[0].statuses = [503, 0]
    renewing.write("u.json", auth_file(provider[0].login("claude", "u")))
    await renewing.files.load()
    assert await renewing.renewals.renew(renewing.account("u.json")) is not None
    assert len(provider[0].calls) >= 3


async def test_a_failing_token_endpoint_does_not_stop_a_token_that_may_still_work(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    provider[0].statuses = [500] * 3
    renewing.write("u.json", auth_file(provider[0].login("claude", "u"), expired=PAST))
    await renewing.files.load()
    account = renewing.account("u.json")
    assert (await renewing.renewals.ready(account)).secret == account.secret
    state = renewing.renewals.state(account)
    assert state is not None
    assert state.trouble.startswith("refresh failed")
    assert await renewing.renewals.renew(account) is None
    assert len(provider[0].calls) == 3
    renewing.ahead = 6.0
    assert (await renewing.renewals.ready(account)).secret != account.secret


async def test_a_limited_token_endpoint_is_left_alone_for_as_long_as_it_asks(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    provider[0].statuses, provider[0].headers = [429], {"Retry-After": "120"}
    renewing.write("u.json", auth_file(provider[0].login("claude", "u")))
    await renewing.files.load()
    account = renewing.account("u.json")
    assert await renewing.renewals.renew(account) is None
    renewing.ahead = 119.0
    assert await renewing.renewals.renew(account) is None
    assert len(provider[0].calls) == 1
    renewing.ahead = 121.0
    assert await renewing.renewals.renew(account) is not None


async def test_a_slow_token_endpoint_keeps_a_request_waiting_for_a_bounded_time(
    provider: tuple[IdentityProvider, str], renewing: Renewing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpa.exchange.renewal, "LONGEST_WAIT", 0.1)
    provider[0].delay = 0.5
    login = provider[0].login("claude", "u")
    renewing.write("u.json", auth_file(login))
    await renewing.files.load()
    assert await renewing.renewals.renew(renewing.account("u.json")) is None
    await renewing.renewals.stop()
    assert renewing.account("u.json").secret == login.access


@pytest.mark.parametrize("skew", [-7200.0, 7200.0])
async def test_a_wrong_clock_costs_a_refresh_and_never_a_login(
    skew: float, provider: tuple[IdentityProvider, str], renewing: Renewing, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_time = time.time
    login = provider[0].login("gemini", "u")
    renewing.write("u.json", auth_file(login, expired=time_text(true_time() + 3000)))
    monkeypatch.setattr(time, "time", lambda: true_time() + skew)
    await renewing.files.load()
    account = await renewing.renewals.ready(renewing.account("u.json"))
    assert provider[0].find(account.secret) is login
    assert (await renewing.renewals.ready(account)).secret == account.secret
    assert len(provider[0].calls) == (1 if skew > 0 else 0)


async def test_what_another_process_renewed_is_taken_over_without_a_call(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    login = provider[0].login("codex", "u")
    renewing.write("u.json", auth_file(login))
    await renewing.files.load()
    account = renewing.account("u.json")
    login.generation, login.access = 7, "at-codex-by-another"
    renewing.write("u.json", auth_file(login))
    renewed = await renewing.renewals.renew(account)
    assert renewed is not None
    assert renewed.secret == "at-codex-by-another"
    assert provider[0].calls == []


async def test_two_processes_with_one_directory_refresh_once(
    provider: tuple[IdentityProvider, str], tmp_path: Path
) -> None:
    provider[0].delay = 0.2
    login = provider[0].login("codex", "u")
    both = [Renewing(tmp_path / "auth", provider[1]) for _ in range(2)]
    both[0].write("u.json", auth_file(login))
    for one in both:
        await one.files.load()
    renewed = await asyncio.gather(*(one.renewals.renew(one.account("u.json")) for one in both))
    assert [account.secret for account in renewed if account is not None] == [login.access] * 2
    assert len(provider[0].calls) == 1
    for one in both:
        await one.close()


async def test_tokens_that_cannot_be_written_stay_in_force_and_are_written_later(
    provider: tuple[IdentityProvider, str], renewing: Renewing, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = provider[0].login("claude", "u")
    renewing.write("u.json", auth_file(login))
    await renewing.files.load()

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(AuthDirectory, "_write", staticmethod(full))
        with capture_logs() as logs:
            assert await renewing.renewals.renew(renewing.account("u.json")) is not None
        assert any(entry["log_level"] == "error" and "kept in memory" in entry["event"] for entry in logs)
        assert renewing.account("u.json").secret == login.access
        assert renewing.on_disk("u.json")["refresh_token"] == "rt-claude-u-0"
        os.utime(renewing.folder / "u.json")
        renewing.write("u.json", {**renewing.on_disk("u.json"), "note": "mine"})
        await renewing.files.check(["u.json"])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert renewing.account("u.json").secret == login.access
        assert renewing.account("u.json").note == "mine"
    await renewing.renewals.stop()
    assert renewing.on_disk("u.json")["refresh_token"] == "rt-claude-u-1"
    assert renewing.on_disk("u.json")["note"] == "mine"


async def test_a_login_made_anew_during_a_refresh_wins(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    provider[0].delay = 0.2
    renewing.write("u.json", auth_file(provider[0].login("claude", "u")))
    await renewing.files.load()
    task = asyncio.create_task(renewing.renewals.renew(renewing.account("u.json")))
    await asyncio.sleep(0.1)
    fresh = {**renewing.on_disk("u.json"), "refresh_token": "rt-fresh", "access_token": "at-fresh"}
    renewing.write("u.json", fresh)
    await renewing.files.check(["u.json"])
    await task
    assert renewing.on_disk("u.json") == fresh
    assert renewing.account("u.json").secret == "at-fresh"


async def test_a_login_deleted_during_a_refresh_stays_deleted(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    provider[0].delay = 0.2
    renewing.write("u.json", auth_file(provider[0].login("claude", "u")))
    await renewing.files.load()
    task = asyncio.create_task(renewing.renewals.renew(renewing.account("u.json")))
    await asyncio.sleep(0.1)
    await renewing.files.delete("u.json")
    assert await task is None
    assert not (renewing.folder / "u.json").exists()


async def test_all_projects_of_a_login_share_one_refresh(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    data = auth_file(provider[0].login("gemini", "u"), expired=PAST)
    renewing.write("u.json", {**data, "project_id": "p1,p2"})
    await renewing.files.load()
    ready = await asyncio.gather(
        *(renewing.renewals.ready(renewing.account(f"u.json::{project}")) for project in ("p1", "p2"))
    )
    assert len({account.secret for account in ready}) == 1
    assert ready[0].secret != data["token"]["access_token"]
    assert renewing.account("u.json").disabled
    assert len(provider[0].calls) == 1


async def test_due_logins_are_refreshed_ahead_of_time_by_few_workers(
    provider: tuple[IdentityProvider, str], tmp_path: Path
) -> None:
    provider[0].delay = 0.01
    provider[0].expires_in = 8 * 3600
    renewing = Renewing(tmp_path / "auth", provider[1], workers=3)
    names = [f"u{number}" for number in range(30)]
    for name in names:
        soon = time_text(time.time() + 600)
        renewing.write(f"{name}.json", auth_file(provider[0].login("claude", name), expired=soon))
    off = {**auth_file(provider[0].login("claude", "off"), expired=PAST), "disabled": True}
    renewing.write("off.json", off)
    renewing.write("g.json", auth_file(provider[0].login("gemini", "g"), expired=PAST))
    await renewing.files.load()
    most = 0
    task = asyncio.create_task(renewing.renewals.run())
    for _ in range(500):
        await asyncio.sleep(0.01)
        most = max(most, len(renewing.renewals._running))
        if len(provider[0].granted) >= 30 and not renewing.renewals._running:
            break
    assert sorted(provider[0].granted) == sorted(names)
    assert 1 <= most <= 3
    with capture_logs() as logs:
        await asyncio.sleep(0.1)
    assert logs == []
    await renewing.files.update("off.json", lambda data: {**data, "disabled": False})
    for _ in range(200):
        await asyncio.sleep(0.01)
        if "off" in provider[0].granted:
            break
    assert provider[0].granted[-1] == "off"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await renewing.close()


async def test_a_refresh_leaves_cooldowns_for_quota_alone_and_ends_those_for_the_old_token(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    renewing.write("u.json", auth_file(provider[0].login("claude", "u")))
    await renewing.files.load()
    fail = renewing.pool.fail
    fail("u.json", "big", scope="model", reason="quota", seconds=600, message="full")
    fail("u.json", "small", scope="account", reason="unauthorized", seconds=600, message="no")
    assert await renewing.renewals.renew(renewing.account("u.json")) is not None
    assert renewing.pool.usable("u.json", "small")
    assert not renewing.pool.usable("u.json", "big")


async def test_a_gemini_login_without_a_project_is_given_the_one_google_has(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    async def load(request: web.Request) -> web.Response:
        return web.json_response({"cloudaicompanionProject": {"id": "found-1"}})

    app = web.Application()
    app.router.add_post("/v1internal:loadCodeAssist", load)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    data = {**auth_file(provider[0].login("gemini", "u")), "project_id": "", "base_url": base_url}
    renewing.write("u.json", data)
    await renewing.files.load()
    task = asyncio.create_task(renewing.renewals.run())
    for _ in range(200):
        await asyncio.sleep(0.01)
        if renewing.account("u.json").settings.get("project"):
            break
    assert orjson.loads((renewing.folder / "u.json").read_bytes())["project_id"] == "found-1"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await runner.cleanup()


@pytest.mark.parametrize("jump", [-86400.0, -3600.0, 3600.0, 86400.0])
async def test_a_clock_that_is_set_keeps_no_login_from_being_refreshed(
    jump: float, provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    provider[0].statuses = [429]
    provider[0].headers = {"Retry-After": "300"}
    login = provider[0].login("claude", "u")
    renewing.write("u.json", auth_file(login, expired=time_text(time.time() + 8 * 3600)))
    await renewing.files.load()
    old = renewing.account("u.json")
    assert await renewing.renewals.renew(old) is None
    assert await renewing.renewals.renew(old) is None
    assert len(provider[0].calls) == 1, "it is left alone for as long as was asked"
    renewing.ahead = jump
    renewed = await renewing.renewals.renew(old)
    assert renewed is not None
    assert renewed.secret == login.access


async def test_after_a_sleep_of_eight_hours_each_login_is_refreshed_once(
    provider: tuple[IdentityProvider, str], renewing: Renewing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpa.exchange.renewal, "WORKERS", 3)
    provider[0].delay, provider[0].expires_in = 0.01, 20 * 3600
    for number in range(12):
        data = auth_file(provider[0].login("claude", f"u{number}"), expired=time_text(time.time() + 6 * 3600))
        renewing.write(f"{number}.json", data)
    await renewing.files.load()
    renewing.ahead = 8 * 3600
    task = asyncio.create_task(renewing.renewals.run())
    for _ in range(5):
        await renewing.settled()
        await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert sorted(provider[0].granted) == sorted(f"u{number}" for number in range(12))
    assert provider[0].most_at_once <= 3


async def test_refreshes_are_counted_by_how_they_ended(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    login = provider[0].login("claude", "u")
    renewing.write("u.json", auth_file(login))
    await renewing.files.load()
    assert await renewing.renewals.renew(renewing.account("u.json")) is not None
    assert renewing.renewals.results == {("claude", "success"): 1}
    login.revoked = True
    assert await renewing.renewals.renew(renewing.account("u.json")) is None
    assert renewing.renewals.results == {("claude", "success"): 1, ("claude", "login_again"): 1}
