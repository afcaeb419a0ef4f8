"""``cpa accounts``, ``quota`` and ``route explain``, with a running daemon and on the files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cpa.cli.account_names import complete_account, find_account
from cpa.cli.accounts import accounts as group
from cpa.cli.main import cli
from cpa.cli.quota import bar
from tests.cli.conftest import LOGIN, World
from tests.management.conftest import Start

ROOT = Path(__file__).resolve().parents[2]


async def test_the_list_names_accounts_with_their_state_and_no_secret(world: World) -> None:
    result = await world.run("accounts", "list")
    assert result.exit_code == 0
    assert "secret" not in result.output
    rows = {line.split("  ")[0]: line for line in result.stdout.splitlines()}
    assert " ok" in rows["sk-k...-one"]
    assert [line for line in result.stdout.splitlines() if "codex" in line and "disabled" in line]
    listed = {entry["id"]: entry for entry in await world.json("accounts", "list")}
    assert listed["anna.json"]["state"] == "ok"
    assert listed["anna.json"]["expires_at"] == "2099-01-01T00:00:00Z"
    assert listed["codex-anna.json"]["state"] == "disabled"
    only = await world.json("accounts", "list", "--provider", "codex")
    assert [entry["id"] for entry in only] == ["codex-anna.json"]


async def test_names_cannot_command_the_terminal(world: World) -> None:
    evil = "x\x1b]0;owned\x07\x1b[2J\u009b31m"
    world.put("evil.json", {**LOGIN, "label": evil, "refresh_token": "r"})
    if world.daemon is not None:
        await world.daemon.daemon.auth_files.check(["evil.json"])
    for arguments in (
        ("list",),
        ("show", "evil.json"),
        ("disable", "evil.json"),
        ("show", "\x1b]0;"),
        ("why", "\x1b[2J"),
    ):
        output = (await world.run("accounts", *arguments)).output
        assert not {"\x1b", "\x07", "\u009b"} & set(output), arguments


async def test_addresses_are_masked_only_when_asked(world: World) -> None:
    assert "anna@example.com" in (await world.run("accounts", "list")).output
    for arguments in (("list",), ("list", "--json"), ("show", "anna.json"), ("show", "anna.json", "--json")):
        assert "anna@example.com" not in (await world.run("accounts", *arguments, "--mask")).output


async def test_show_tells_all_but_secrets(world: World) -> None:
    result = await world.run("accounts", "show", "claude/anna@example.com")
    assert result.exit_code == 0
    for fact in ("anna.json", "2099-01-01", "claude-opus-4-6"):
        assert fact in result.output
    assert "very-secret" not in result.output
    assert "claude-opus-4-6" in (await world.json("accounts", "show", "anna.json"))["models_offered"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("nobody", "there is no account 'nobody'"), ("anna@example.com", "may be any of 2 accounts"), ("", "no account")],
)
async def test_a_name_that_fits_none_or_several_is_refused(stopped: World, name: str, said: str) -> None:
    result = await stopped.run("accounts", "show", name)
    assert result.exit_code == 2
    assert said in result.output


async def test_accounts_are_switched_off_and_on(world: World) -> None:
    assert (await world.run("accounts", "disable", "anna.json")).exit_code == 0
    assert world.file("anna.json") == {**LOGIN, "disabled": True}
    states = {entry["id"]: entry["state"] for entry in await world.json("accounts", "list")}
    assert states["anna.json"] == "disabled"
    (told,) = await world.json("accounts", "enable", "anna.json")
    assert (told["id"], told["disabled"]) == ("anna.json", False)
    assert world.file("anna.json") == {**LOGIN, "disabled": False}


async def test_a_key_of_the_configuration_is_changed_where_it_stands(world: World) -> None:
    result = await world.run("accounts", "disable", "sk-k...-one")
    if world.daemon is None:
        assert result.exit_code == 1
        assert "claude-api-key[0] in config.yaml" in result.output
        return
    assert result.exit_code == 0
    assert "excluded-models" in world.daemon.file
    for arguments in (("delete", "sk-k...-one", "--yes"), ("rename", "sk-k...-one", "x"), ("export", "sk-k...-one")):
        result = await world.run("accounts", *arguments)
        assert result.exit_code == 1
        assert "claude-api-key[0]" in result.output


async def test_a_login_gets_a_label_and_its_file_another_name(world: World) -> None:
    before = (await world.json("accounts", "show", "anna.json"))["auth_index"]
    result = await world.run("accounts", "rename", "anna.json", "work", "--file", "work.json")
    assert (result.exit_code, result.stdout) == (0, "anna@example.com is now 'work' and work.json\n")
    after = await world.json("accounts", "show", "work")
    assert (after["name"], after["label"], after["auth_index"]) == ("work.json", "work", before)
    assert not (world.auth / "anna.json").exists()
    assert (await world.run("accounts", "rename", "work")).exit_code == 2
    taken = await world.run("accounts", "rename", "work", "--file", "codex-anna.json")
    assert taken.exit_code == 1
    assert "already" in taken.output


async def test_deleting_asks_first(world: World) -> None:
    refused = await world.run("accounts", "delete", "anna.json", answer="n\n")
    assert refused.exit_code == 1
    unasked = await world.run("accounts", "delete", "anna.json", "--json")
    assert (unasked.exit_code, "no terminal to ask on" in unasked.stderr) == (2, True)
    assert (world.auth / "anna.json").exists()
    agreed = await world.run("accounts", "delete", "anna.json", answer="y\n")
    assert agreed.exit_code == 0
    assert "claude, anna.json" in agreed.output
    assert not (world.auth / "anna.json").exists()
    assert (await world.run("accounts", "delete", "codex-anna.json", "--yes")).exit_code == 0
    assert [entry for entry in await world.json("accounts", "list") if entry["source"] == "file"] == []


async def test_one_login_is_exported_as_its_file(world: World, tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    result = await world.run("accounts", "export", "anna.json", "-o", str(target))
    assert result.exit_code == 0
    assert json.loads(target.read_bytes()) == LOGIN
    assert target.stat().st_mode & 0o777 == 0o600
    again = await world.run("accounts", "export", "anna.json", "-o", str(target))
    assert (again.exit_code, "--force" in again.output) == (2, True)
    target.chmod(0o644)
    bundle = await world.run("accounts", "export", "--all", "-o", str(target), "--force")
    assert bundle.exit_code == 0
    assert set(json.loads(target.read_bytes())["files"]) == {"anna.json", "codex-anna.json"}
    assert target.stat().st_mode & 0o777 == 0o600


async def test_tokens_are_not_printed_on_a_terminal(stopped: World) -> None:
    piped = await stopped.run("accounts", "export", "anna.json")
    assert json.loads(piped.stdout) == LOGIN
    primary, secondary = os.openpty()
    command = [sys.executable, "-m", "cpa", "accounts", "export", "anna.json", "--config", str(stopped.config)]
    paths = f"{ROOT}{os.pathsep}{ROOT / 'plugins'}"
    done = subprocess.run(command, stdout=secondary, stderr=secondary, env={**os.environ, "PYTHONPATH": paths})
    said = os.read(primary, 65536).decode()
    os.close(secondary)
    os.close(primary)
    assert done.returncode == 2
    assert "not printed on a terminal" in said
    assert "secret" not in said


async def test_a_trial_says_what_happened(world: World) -> None:
    good = await world.run("accounts", "test", "demo")
    assert (good.exit_code, "ok    demo (demo): demo" in good.stdout) == (0, True)
    bad = await world.run("accounts", "test", "sk-k...-one", "--model", "m")
    assert bad.exit_code == 1
    assert "FAIL  sk-k...-one (claude): m" in bad.stdout
    assert "127.0.0.1" in bad.stdout
    off = await world.run("accounts", "test", "codex-anna.json")
    assert (off.exit_code, "nothing was sent" in off.stdout) == (1, True)
    (told,) = await world.json("accounts", "test", "demo")
    assert (told["ok"], told["status"], told["label"]) == (True, 200, "demo")
    assert (await world.run("accounts", "test")).exit_code == 2


async def test_a_login_of_several_projects_is_one_to_change_and_several_to_try(world: World) -> None:
    token = {"access_token": "at", "refresh_token": "rt", "expiry": "2099-01-01T00:00:00Z", "token_uri": "http://x"}
    world.put("g.json", {"type": "gemini", "email": "gus@example.com", "project_id": "one,two", "token": token})
    if world.daemon is not None:
        await world.daemon.daemon.auth_files.check(["g.json"])
    listed = (await world.run("accounts", "list", "--provider", "gemini-cli")).stdout
    assert [line for line in listed.splitlines() if "gus@example.com" in line] == [
        line for line in listed.splitlines() if "[one]" in line or "[two]" in line
    ]
    tried = await world.json("accounts", "test", "gus@example.com", "--model", "no-such-model")
    assert [trial["account_id"] for trial in tried] == ["g.json::one", "g.json::two"]
    assert (await world.run("accounts", "disable", "gus")).exit_code == 0
    assert world.file("g.json")["disabled"] is True


@pytest.mark.parametrize("command", [("accounts", "why"), ("route", "explain")])
async def test_a_model_is_explained(world: World, command: tuple[str, str]) -> None:
    result = await world.run(*command, "m")
    assert result.exit_code == 0
    assert "The next request goes to sk-k...-one: it is the only one that can serve it now." in result.output
    told = await world.json(*command, "m")
    assert [candidate["usable"] for candidate in told["candidates"]] == [True]
    unknown = await world.run(*command, "claude-opus-4-66")
    assert unknown.exit_code == 1
    assert "did you mean" in unknown.output
    assert "claude-opus-4-6" in unknown.output


async def test_what_rests_is_shown_with_its_end(stopped: World, start: Start) -> None:
    await stopped.serve(start)
    assert stopped.daemon is not None
    pool = stopped.daemon.daemon.pool
    key = next(account.id for account in pool if account.kind == "apikey")
    pool.fail(key, "m", scope="account", reason="quota", seconds=90, message="too much")
    (entry,) = [entry for entry in await stopped.json("accounts", "list") if entry["id"] == key]
    assert entry["state"].startswith("cooling until ")
    assert entry["state"].endswith("(quota)")
    result = await stopped.run("accounts", "why", "m")
    assert result.exit_code == 1
    assert "the first one can again in 1 min" in result.output
    assert "skipped until" in result.output


async def test_quota_is_shown_with_source_and_age(stopped: World, start: Start) -> None:
    from cpa.accounts.quota import QuotaWindow

    await stopped.serve(start)
    assert stopped.daemon is not None
    pool = stopped.daemon.daemon.pool
    now = pool.wall()
    week = QuotaWindow(
        name="seven_day",
        used_ratio=0.25,
        resets_at=now + 7200,
        limit_seconds=604800,
        source="headers",
        seen_at=now - 60,
    )
    pool.note_quota("anna.json", [week])
    result = await stopped.run("quota")
    (line,) = [line for line in result.stdout.splitlines() if "7d" in line]
    for fact in ("█████░", " 25%", "anew in 2 h", "answered 1 min ago"):
        assert fact in line
    (told,) = await stopped.json("quota", "anna.json")
    (window,) = told["windows"]
    assert (window["remaining_ratio"], window["source"], window["window_seconds"]) == (0.75, "headers", 604800)


async def test_quota_is_known_when_the_daemon_has_ended(stopped: World) -> None:
    import structlog

    from cpa.accounts.quota import QuotaWindow
    from cpa.cli.inspection import inspect_config
    from cpa.exchange.quota_memory import QuotaMemory
    from cpa.exchange.state_file import StateFile

    pool = inspect_config(stopped.config).pool
    now = pool.wall()
    pool.note_quota(
        "anna.json",
        [QuotaWindow(name="five_hour", used_ratio=0.5, resets_at=now + 600, source="query", seen_at=now - 3600)],
    )
    path = stopped.folder / "data" / "quota.json"
    await StateFile(path, QuotaMemory(pool), structlog.get_logger(), what="quota", seconds=1.0).save()
    (line,) = [line for line in (await stopped.run("quota")).stdout.splitlines() if "5h" in line]
    assert " 50%" in line
    assert "asked 1 h ago" in line


async def test_quota_shows_the_plan_and_what_is_paid_for_beside_it(stopped: World, start: Start) -> None:
    from cpa.accounts.quota import QuotaWindow

    await stopped.serve(start)
    assert stopped.daemon is not None
    pool = stopped.daemon.daemon.pool
    seen = {"resets_at": None, "source": "query", "seen_at": pool.wall(), "plan": "max"}
    spent = QuotaWindow(name="extra_usage", used_ratio=1.0, amount="1000 of 1000 spent", **seen)  # type: ignore[arg-type]
    left = QuotaWindow(name="credits", used_ratio=None, amount="12.5 left", **seen)  # type: ignore[arg-type]
    pool.note_quota("anna.json", [spent, left])
    lines = (await stopped.run("quota", "anna.json")).stdout.splitlines()
    assert lines[0].endswith("(claude, max)")
    assert [line.split()[0] for line in lines[1:]] == ["credits", "extra"]
    assert "12.5 left" in lines[1]
    assert not {"?", "░"} & set(lines[1])
    assert "100%" in lines[2]
    assert "1000 of 1000 spent" in lines[2]
    (told,) = await stopped.json("quota", "anna.json")
    assert (told["plan_type"], [window["amount"] for window in told["windows"]]) == (
        "max",
        ["12.5 left", "1000 of 1000 spent"],
    )
    assert pool.rank("anna.json") == pool.rank("nobody"), "what is paid for says nothing about the allowance"


async def test_quota_says_why_it_is_not_known(world: World) -> None:
    world.config.write_text(
        world.config.read_text() + "plugins: {configs: {claude: {oauth: {usage-url: 'http://127.0.0.1:9/u'}}}}\n"
    )
    if world.daemon is not None:
        world.daemon.daemon.store.reload()
        world.daemon.daemon.plugins.reconfigure(world.daemon.daemon.store.current)
    assert "Nothing heard yet" in (await world.run("quota", "anna.json")).stdout
    result = await world.run("quota", "anna.json", "--refresh")
    assert result.exit_code == 0
    assert "Not known, " in result.stdout


@pytest.mark.parametrize("columns", [80, 100, 120])
@pytest.mark.parametrize("name", ["five_hour", "seven_day:GPT-5.3-Codex-Spark"])
def test_windows_fit_the_terminal(columns: int, name: str) -> None:
    from cpa.cli.account_words import window_name
    from cpa.cli.quota import layout_of, window_line

    now = 1_800_000_000.0
    window = {"name": name, "used_ratio": 1.5, "resets_at": now + 525_600, "source": "headers", "seen_at": now - 35_000}
    pieces = window_line(window, layout_of(len(window_name(window)), columns), now)
    line = "".join(getattr(piece, "text", piece) for piece in pieces)
    assert len(line) <= columns
    assert "150%  anew in 6 d 2 h" in line
    assert ("answered 9 h 43 min ago" in line) is (columns >= 100 or name == "five_hour")


def test_bars_show_shares() -> None:
    assert [bar(share).count("█") for share in (None, 0.0, 0.001, 0.5, 1.0, 7.0)] == [0, 0, 1, 10, 20, 20]


async def test_names_are_completed(world: World) -> None:
    context = group.make_context("accounts", ["list"])
    context.params["config_path"] = world.config
    import asyncio

    def completed(text: str) -> list[str]:
        return [item.value for item in complete_account(context, group.params[0] if group.params else None, text)]  # type: ignore[arg-type]

    assert await asyncio.to_thread(completed, "claude/") == ["claude/anna@example.com"]
    assert await asyncio.to_thread(completed, "de") == ["demo"]
    context.params["config_path"] = world.folder / "missing.yaml"
    assert await asyncio.to_thread(completed, "") == []


def test_an_index_may_be_shortened() -> None:
    entries = [
        {"id": f"{n}.json", "name": f"{n}.json", "label": f"l{n}", "provider": "p", "auth_index": index}
        for n, index in enumerate(("0123456789abcdef", "0129999999999999"))
    ]
    assert find_account(entries, "0123")["id"] == "0.json"


def test_every_command_has_help() -> None:
    for command in ("list", "show", "test", "why", "enable", "disable", "rename", "delete", "export"):
        result = CliRunner().invoke(cli, ["accounts", command, "--help"])
        assert result.exit_code == 0
        assert "--json" in result.output
        assert "--config" in result.output


async def test_without_a_configuration_the_message_says_so(stopped: World) -> None:
    stopped.config.unlink()
    result = await stopped.run("accounts", "list")
    assert result.exit_code == 1
    assert "config.yaml" in result.output
    assert "Traceback" not in result.output
