"""What went wrong in other proxies with logins and their files, and must not go wrong here: one failure a test."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from renewing import IdentityProvider, Renewing, auth_file, serve
from structlog.testing import capture_logs

import cpa.exchange.renewal
from cpa.accounts.files import AuthDirectory
from cpa.accounts.login.stored import merged_login, place
from cpa.accounts.refresh import RefreshSchedule
from cpa.errors import AuthFileExists, UpstreamError
from cpa.importing.candidates import Candidate
from cpa.importing.plan import plan
from cpa.plugins.oauth import time_text
from cpa_codex.login import file_names
from cpa_codex.oauth import CodexIdentity

PAST = "2020-01-01T00:00:00Z"
HOUR = 3600.0


@pytest.fixture
async def provider() -> AsyncIterator[tuple[IdentityProvider, str]]:
    provider = IdentityProvider()
    runner, url = await serve(provider)
    yield provider, url
    await runner.cleanup()


@pytest.fixture
async def renewing(provider: tuple[IdentityProvider, str], tmp_path: Path) -> AsyncIterator[Renewing]:
    renewing = Renewing(tmp_path / "auth", provider[1])
    yield renewing
    await renewing.close()


async def run_for(renewing: Renewing, hours: int) -> None:
    """Let the refreshing ahead of time live through so many hours, a quarter at a time."""
    for _ in range(4 * hours):
        renewing.ahead += HOUR / 4
        task = asyncio.create_task(renewing.renewals.run())
        await renewing.settled()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_lesson_83_a_refresh_token_that_was_used_is_never_used_again(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    login = provider[0].login("codex", "u")
    renewing.write("u.json", auth_file(login, expired=PAST))
    login.generation = 3
    await renewing.files.load()
    with pytest.raises(UpstreamError, match="Log in again"):
        await renewing.renewals.ready(renewing.account("u.json"))
    for _ in range(5):
        with pytest.raises(UpstreamError):
            await renewing.renewals.ready(renewing.account("u.json"))
    await run_for(renewing, 12)
    assert len(provider[0].calls) == 1, "a second use would make the vendor revoke all tokens of the family"


async def test_lesson_84_who_comes_second_takes_what_the_first_one_got(
    provider: tuple[IdentityProvider, str], renewing: Renewing, tmp_path: Path
) -> None:
    provider[0].delay = 0.1
    login = provider[0].login("codex", "u")
    renewing.write("u.json", auth_file(login))
    other = Renewing(tmp_path / "auth", provider[1])
    for each in (renewing, other):
        await each.files.load()
    got = await asyncio.gather(*(each.renewals.renew(each.account("u.json")) for each in (renewing, other)))
    assert [account and account.secret for account in got] == [login.access] * 2
    assert len(provider[0].calls) == 1
    await other.close()


async def test_lesson_84_the_tokens_of_one_account_never_end_up_in_the_file_of_another(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    provider[0].delay = 0.2
    first, second = provider[0].login("codex", "first"), provider[0].login("codex", "second")
    renewing.write("u.json", auth_file(first))
    await renewing.files.load()
    refresh = asyncio.create_task(renewing.renewals.renew(renewing.account("u.json")))
    await asyncio.sleep(0.05)
    renewing.write("u.json", auth_file(second))
    await refresh
    assert renewing.on_disk("u.json")["refresh_token"] == second.refresh_token
    assert renewing.on_disk("u.json")["email"] == "second"


async def test_lesson_85_a_start_with_many_logins_is_no_storm(
    provider: tuple[IdentityProvider, str], renewing: Renewing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpa.exchange.renewal, "WORKERS", 4)
    provider[0].delay = 0.01
    for number in range(40):
        renewing.write(f"{number}.json", auth_file(provider[0].login("claude", f"u{number}"), expired=PAST))
    await renewing.files.load()
    task = asyncio.create_task(renewing.renewals.run())
    while len(provider[0].granted) < 40:
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert provider[0].most_at_once <= 4


def test_lesson_85_logins_that_end_together_are_not_refreshed_together() -> None:
    numbers = iter(number / 100 for number in range(100))
    schedule = RefreshSchedule(lambda: next(numbers))
    for number in range(100):
        schedule.plan(str(number), 10_000.0, 0.0)
    moments = [state.due for number in range(100) if (state := schedule.state(str(number))) is not None]
    assert len(set(moments)) == 100
    assert all(moment is not None and 9_700.0 <= moment <= 10_000.0 for moment in moments)


async def test_lesson_86_a_refresh_that_hangs_ends(
    provider: tuple[IdentityProvider, str], renewing: Renewing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpa.exchange.renewal, "LONGEST_REFRESH", 0.2)
    provider[0].delay = 30.0
    renewing.write("u.json", auth_file(provider[0].login("claude", "u")))
    await renewing.files.load()
    started = time.monotonic()
    assert await renewing.renewals.renew(renewing.account("u.json")) is None
    assert time.monotonic() - started < 5
    state = renewing.renewals.state(renewing.account("u.json"))
    assert state is not None
    assert (state.login_again, "no answer" in state.trouble) == (False, True)


async def test_lesson_86_a_client_that_leaves_costs_no_token(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    provider[0].delay = 0.1
    login = provider[0].login("codex", "u")
    renewing.write("u.json", auth_file(login))
    await renewing.files.load()
    client = asyncio.create_task(renewing.renewals.renew(renewing.account("u.json")))
    await asyncio.sleep(0.02)
    client.cancel()
    await renewing.settled()
    assert renewing.on_disk("u.json")["refresh_token"] == login.refresh_token_of(1)


async def test_lesson_86_a_token_is_on_disk_before_anybody_uses_it(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    renewing.write("u.json", auth_file(provider[0].login("codex", "u")))
    await renewing.files.load()
    written = []
    renewing.roster.subscribe(lambda old, new: written.append((new and new.secret, renewing.on_disk("u.json"))))
    await renewing.renewals.renew(renewing.account("u.json"))
    [(secret, data)] = written
    assert secret == data["access_token"]


async def test_lesson_87_a_login_that_is_over_is_left_alone_until_its_file_changes(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    login = provider[0].login("claude", "u")
    login.revoked = True
    renewing.write("u.json", auth_file(login, expired=PAST))
    await renewing.files.load()
    await run_for(renewing, 24)
    assert len(provider[0].calls) == 1
    state = renewing.renewals.state(renewing.account("u.json"))
    assert state is not None
    assert state.trouble.startswith("log in again:")
    assert "invalid_grant" in state.trouble or "Token revoked" in state.trouble
    login.revoked = False
    renewing.write("u.json", {**auth_file(login, expired=PAST), "note": "new"})
    await renewing.files.check(["u.json"])
    await run_for(renewing, 1)
    assert set(provider[0].granted) == {"u"}


async def test_lesson_88_a_token_that_has_ended_is_renewed_when_it_is_needed(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    login = provider[0].login("gemini", "u")
    renewing.write("u.json", auth_file(login, expired=PAST))
    await renewing.files.load()
    account = renewing.account("u.json")
    assert renewing.pool.usable(account.id, "any"), "it may be chosen"
    assert (await renewing.renewals.ready(account)).secret == login.access
    assert provider[0].granted == ["u"]


async def test_lesson_88_a_login_without_quota_is_kept_alive(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    renewing.write("u.json", auth_file(provider[0].login("claude", "u"), expired=time_text(time.time() + 5 * HOUR)))
    await renewing.files.load()
    renewing.pool.fail("u.json", "m", scope="account", reason="quota", seconds=86400, message="429")
    await run_for(renewing, 6)
    assert provider[0].granted
    assert not renewing.pool.usable("u.json", "m"), "which says nothing of its quota"


async def test_lesson_88_a_refresh_that_fails_is_not_silent(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    provider[0].statuses = [429]
    renewing.write("u.json", auth_file(provider[0].login("claude", "u")))
    await renewing.files.load()
    with capture_logs() as logs:
        await renewing.renewals.renew(renewing.account("u.json"))
    assert [entry["file"] for entry in logs if entry["log_level"] == "warning"] == ["u.json"]
    state = renewing.renewals.state(renewing.account("u.json"))
    assert state is not None
    assert state.trouble.startswith("refresh failed:")


@pytest.mark.parametrize("vendor", ["claude", "codex", "gemini", "kimi"])
async def test_lesson_89_what_the_user_wrote_survives_a_refresh(
    vendor: str, provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    own = {
        "proxy_url": "direct",
        "prefix": "team",
        "weight": 3,
        "priority": 2,
        "note": "mine",
        "excluded_models": ["x*"],
        "headers": {"X-A": "b"},
        "disable_cooling": True,
        "unheard_of": {"kept": [1, 2.5, None]},
    }
    renewing.write("u.json", {**auth_file(provider[0].login(vendor, "u")), **own})
    await renewing.files.load()
    assert await renewing.renewals.renew(renewing.account("u.json")) is not None
    data = renewing.on_disk("u.json")
    assert {name: data[name] for name in own} == own


def test_lesson_89_a_new_login_keeps_what_the_user_wrote() -> None:
    old = {"type": "codex", "access_token": "1", "id_token": "i", "proxy_url": "direct", "weight": 3, "own": [1]}
    new = {"type": "codex", "access_token": "2", "refresh_token": "3"}
    assert merged_login(old, new) == {**new, "proxy_url": "direct", "weight": 3, "own": [1]}


def test_lesson_90_a_second_team_of_an_address_gets_a_file_of_its_own(tmp_path: Path) -> None:
    directory = AuthDirectory(tmp_path)

    def identity(data: Mapping[str, Any]) -> Mapping[str, str]:
        return {name: str(data.get(name, "")) for name in ("email", "account_id")}

    written = []
    for team in ("one", "two", "one"):
        for plan_name in ("team", "plus"):
            who = CodexIdentity(email="u@example.com", account_id=team + plan_name, plan=plan_name)
            name, spare = file_names(who)
            data = {"type": "codex", "email": who.email, "account_id": who.account_id}
            written.append(place(name, spare, data, identity, list(directory.scan())))
            directory.put(written[-1], data)
    assert len(set(written)) == 4
    assert written[:2] == written[4:], "who logs in again has his file already"


async def test_lesson_90_one_address_in_two_teams_is_two_accounts(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    for team in ("one", "two"):
        data = auth_file(provider[0].login("codex", f"u@{team}"))
        renewing.write(f"codex-{team}.json", {**data, "email": "u@example.com", "account_id": team})
    await renewing.files.load()
    accounts = [renewing.account(f"codex-{team}.json") for team in ("one", "two")]
    assert len({account.index for account in accounts}) == 2
    await asyncio.gather(*(renewing.renewals.renew(account) for account in accounts))
    tokens = [renewing.on_disk(f"codex-{team}.json")["refresh_token"] for team in ("one", "two")]
    assert tokens == ["rt-codex-u@one-1", "rt-codex-u@two-1"]


async def test_lesson_91_a_directory_that_is_wiped_and_filled_again_deletes_nothing(
    provider: tuple[IdentityProvider, str], renewing: Renewing
) -> None:
    names = [f"{number}.json" for number in range(3)]
    for name in names:
        renewing.write(name, auth_file(provider[0].login("claude", name)))
    await renewing.files.load()
    gone: list[str] = []
    renewing.roster.subscribe(lambda old, new: gone.append(old.id) if old is not None and new is None else None)
    shutil.copytree(renewing.folder, renewing.folder.with_name("copy"))
    shutil.rmtree(renewing.folder)
    await renewing.files.check(names)
    assert gone == [], "a directory that is not there is no directory without files"
    renewing.folder.mkdir()
    check = asyncio.create_task(renewing.files.check(names))
    await asyncio.sleep(0.03)
    for name in names:
        shutil.copy(renewing.folder.with_name("copy") / name, renewing.folder / name)
    await check
    assert gone == [], "a file that is copied back at once was never gone"
    (renewing.folder / names[0]).unlink()
    await renewing.files.check(names)
    assert gone == [names[0]]


async def test_lesson_92_a_new_login_overwrites_no_other(tmp_path: Path) -> None:
    directory = AuthDirectory(tmp_path)
    directory.create("u.json", {"type": "claude", "refresh_token": "first"})
    with pytest.raises(AuthFileExists):
        directory.create("u.json", {"type": "claude", "refresh_token": "second"})
    directory.create("v.json", {"type": "claude", "refresh_token": "third"})
    tokens = [json.loads((tmp_path / name).read_bytes())["refresh_token"] for name in ("u.json", "v.json")]
    assert tokens == ["first", "third"]


async def test_lesson_92_an_import_of_one_login_touches_no_other(tmp_path: Path) -> None:
    """Neither logins of others under the same name, nor one that is not known by name, nor all of a kind."""
    directory = AuthDirectory(tmp_path)
    for name in ("a", "b", "c"):
        data = {"type": "claude", "email": name, "refresh_token": f"old {name}", "expired": "2026-01-01T00:00:00Z"}
        directory.create(f"{name}.json", data)
    new = {"type": "claude", "email": "b", "refresh_token": "new b", "expired": "2027-01-01T00:00:00Z"}
    nobody = {"type": "claude", "refresh_token": "new", "expired": "2027-01-01T00:00:00Z"}
    found = [
        Candidate(origin=tmp_path, program="x", name="a.json", data=data, label="x") for data in (new, nobody, {**new})
    ]
    steps = plan(found, directory, lambda data: {"email": str(data.get("email", ""))})
    assert [(step.action, step.name) for step in steps[::2]] == [("renew", "b.json"), ("keep", "b.json")]
    assert steps[1].action == "keep" or steps[1].name not in ("a.json", "b.json", "c.json")
