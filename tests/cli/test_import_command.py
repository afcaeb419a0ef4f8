"""``cpa import``: every shape of source, taken once, over nobody, and never changed."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cli.conftest import LOGIN, World, printed_json
from tests.cli.import_samples import CLAUDE_STATE, EXPIRY, GEMINI, claude, codex, id_token, jwt, put, state_of
from tests.management.conftest import Start
from tests.usage.earlier_layouts import foreign
from tests.usage.test_foreign_databases import everything

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "accounts"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from auth_samples import SAMPLES
from running import Upstream

EXPIRED = "2099-01-01T00:00:00Z"


@pytest.fixture
def home(stopped: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home of somebody who uses other programs; whatever a test does, they find everything as it was."""
    for variable in ("CODEX_HOME", "CLAUDE_CONFIG_DIR", "CLAUDE_CODE_OAUTH_TOKEN", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(variable, raising=False)
    folder = stopped.folder / "home"
    folder.mkdir()
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr("cpa.cli.import_job.Job.look", _remembering(folder, seen))
    yield folder
    assert seen, "no import looked at anything"
    assert state_of(folder) == seen[-1]


def _remembering(folder: Path, seen: list[dict[str, Any]]) -> Callable[..., None]:
    from cpa.cli.import_job import Job

    look = Job.look

    def looking(self: Job, names: Any) -> None:
        seen.append(state_of(folder))
        look(self, names)

    return looking


def login(world: World, name: str) -> dict[str, Any]:
    """A taken login without what every one gets."""
    data = world.file(name)
    assert (world.auth / name).stat().st_mode & 0o777 == 0o600
    return {member: value for member, value in data.items() if member != "disabled"}


async def take(world: World, *arguments: str) -> Any:
    """Take it without a question; the plan as JSON."""
    result = await world.run("import", *arguments, "--yes", "--json")
    assert "Traceback" not in result.output
    assert "rt-dora" not in result.output
    return printed_json(result.stdout)


# -- Codex CLI -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["chatgpt", None])
async def test_codex_cli_gives_its_login(stopped: World, home: Path, mode: str | None) -> None:
    put(home / ".codex" / "auth.json", codex(auth_mode=mode, agent_identity={"new": 1}))
    assert (await take(stopped, "codex"))["logins"][0]["action"] == "add"
    assert login(stopped, "codex-dora@example.com-pro.json") == {
        "type": "codex",
        "id_token": id_token(),
        "access_token": jwt({"exp": EXPIRY}),
        "refresh_token": "rt-dora",
        "account_id": "acc-dora",
        "email": "dora@example.com",
        "last_refresh": "2026-11-20T10:00:00Z",
        "expired": EXPIRED,
    }


async def test_a_team_login_and_one_without_address_get_names_of_their_own(stopped: World, home: Path) -> None:
    tokens = {**codex()["tokens"], "id_token": id_token(plan="team")}
    put(home / ".codex" / "auth.json", codex(tokens=tokens))
    (step,) = (await take(stopped, "codex"))["logins"]
    assert step["file"].startswith("codex-")
    assert step["file"].endswith("-dora@example.com-team.json")
    other = put(
        home / "elsewhere" / "auth.json", codex("rt-2", tokens={**tokens, "id_token": "x", "refresh_token": "r"})
    )
    (step,) = (await take(stopped, str(other)))["logins"]
    assert (step["action"], len(step["file"])) == ("keep", len("codex-01234567-dora@example.com-team.json"))


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ({"auth_mode": "apikey", "OPENAI_API_KEY": "sk-very-secret"}, "codex-api-key"),
        (codex(tokens=None), "not logged in"),
        (codex(tokens={"access_token": "at"}), "has no refresh_token"),
        ("{", "is no JSON"),
        ("[]", "no JSON object"),
        ("", "is no JSON"),
        ("x" * 2_000_000, "larger than 1024 KiB"),
    ],
)
async def test_what_codex_cli_has_instead_is_told(stopped: World, home: Path, kept: Any, said: str) -> None:
    put(home / ".codex" / "auth.json", kept)
    plan = await take(stopped, "codex")
    assert said in plan["refused"][0]["reason"]
    assert "very-secret" not in json.dumps(plan)
    assert plan["logins"] == []


async def test_a_keyring_is_told(stopped: World, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(home / "codex-home" / "config.toml", 'cli_auth_credentials_store = "keyring"\n')
    monkeypatch.setenv("CODEX_HOME", str(home / "codex-home"))
    assert "cpa login codex" in (await take(stopped, "codex"))["refused"][0]["reason"]


# -- Claude Code -----------------------------------------------------------------------------------------------------


async def test_claude_code_gives_its_login_and_whose_it_is(stopped: World, home: Path) -> None:
    put(home / ".claude" / ".credentials.json", claude())
    put(home / ".claude.json", CLAUDE_STATE)
    await take(stopped, "claude")
    assert login(stopped, "claude-dora@example.com.json") == {
        "type": "claude",
        "id_token": "",
        "access_token": "sk-ant-oat01-dora",
        "refresh_token": "sk-ant-ort01-dora",
        "expired": EXPIRED,
        "email": "dora@example.com",
        "account_uuid": "u-1",
        "organization_uuid": "o-1",
        "organization_name": "Dora",
        "subscription_type": "max",
    }
    (told,) = await stopped.json("quota", "dora@example.com")
    assert told["plan_type"] == "max"


async def test_a_login_of_nobody_known_is_named_by_its_token_or_as_told(
    stopped: World, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(home / "config" / ".credentials.json", claude())
    put(home / ".claude.json", CLAUDE_STATE)
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(home / "config"))
    (step,) = (await take(stopped, "claude", "--offline"))["logins"]
    assert len(step["file"]) == len("claude-01234567.json")
    stopped.put(step["file"], {**stopped.file(step["file"]), "refresh_token": "sk-ant-ort01-next", "email": "d@x.org"})
    (again,) = (await take(stopped, "claude", "--offline"))["logins"]
    assert (again["action"], again["file"]) == ("keep", step["file"])
    put(home / "config" / ".credentials.json", claude("sk-ant-ort01-other"))
    (told,) = (await take(stopped, "claude", "--email", "eva@example.com"))["logins"]
    assert told["file"] == "claude-eva@example.com.json"
    assert stopped.file(told["file"])["email"] == "eva@example.com"


async def test_the_vendor_is_asked_whose_login_it_is(
    stopped: World, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def profile(request: web.Request) -> web.Response:
        asked.append(request.headers["Authorization"])
        account, organization = {"uuid": "u-9", "email": "eva@example.com"}, {"uuid": "o-9", "name": "Eva"}
        return web.json_response({"account": account, "organization": organization})

    app = web.Application()
    app.router.add_get("/profile", profile)
    upstream = Upstream(app)
    oauth = f"{{oauth: {{profile-url: '{upstream.url}/profile'}}}}"
    stopped.config.write_text(f"{stopped.config.read_text()}plugins: {{configs: {{claude: {oauth}}}}}\n")
    put(home / ".claude" / ".credentials.json", claude())
    try:
        (step,) = (await take(stopped, "claude"))["logins"]
    finally:
        upstream.stop()
    assert asked == ["Bearer sk-ant-oat01-dora"]
    assert (step["file"], step["label"]) == ("claude-eva@example.com.json", "eva@example.com")
    data = stopped.file(step["file"])
    assert (data["account_uuid"], data["organization_uuid"], data["email"]) == ("u-9", "o-9", "eva@example.com")
    put(home / ".claude" / ".credentials.json", claude("sk-ant-ort01-later"))
    (gone,) = (await take(stopped, "claude"))["logins"]
    assert len(gone["file"]) == len("claude-01234567.json")


async def test_a_token_in_the_environment_and_no_login_are_told(
    stopped: World, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "keychain" in (await take(stopped, "claude"))["refused"][0]["reason"]
    monkeypatch.setenv("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-very-secret")
    plan = await take(stopped, "claude")
    assert "claude-api-key" in plan["refused"][0]["reason"]
    assert "very-secret" not in json.dumps(plan)


# -- Gemini CLI ------------------------------------------------------------------------------------------------------


async def test_gemini_cli_gives_its_login(stopped: World, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(home / ".gemini" / "oauth_creds.json", GEMINI)
    put(home / ".gemini" / "google_accounts.json", {"active": "dora@example.com", "old": []})
    put(home / ".gemini" / ".env", "A=1\nexport GOOGLE_CLOUD_PROJECT='my-project-1'\n")
    monkeypatch.setenv("CPA_GEMINI_CLI_CLIENT_SECRET", "installed-app")
    await take(stopped, "gemini")
    data = login(stopped, "gemini-dora@example.com-my-project-1.json")
    assert (data["type"], data["email"], data["project_id"]) == ("gemini", "dora@example.com", "my-project-1")
    token = data["token"]
    assert (token["access_token"], token["refresh_token"], token["expiry"]) == ("ya29.dora", "1//dora", EXPIRED)
    assert token["scopes"] == GEMINI["scope"].split()
    assert (token["client_secret"], token["token_uri"][:8]) == ("installed-app", "https://")
    listed = {entry["id"] for entry in await stopped.json("accounts", "list")}
    assert "gemini-dora@example.com-my-project-1.json" in listed


async def test_gemini_cli_says_who_it_is_in_its_token_at_least(stopped: World, home: Path) -> None:
    put(home / ".gemini" / "oauth_creds.json", GEMINI)
    put(home / ".gemini" / "google_accounts.json", "{broken")
    await take(stopped, "gemini")
    data = login(stopped, "gemini-id@example.com.json")
    assert (data["project_id"], "client_secret" in data["token"]) == ("", False)


@pytest.mark.parametrize(
    ("chosen", "said"), [("gemini-api-key", "config.yaml"), ("oauth-personal", "keychain"), (None, "not logged in")]
)
async def test_what_gemini_cli_has_instead_is_told(stopped: World, home: Path, chosen: str | None, said: str) -> None:
    put(home / ".gemini" / "settings.json", {"security": {"auth": {"selectedType": chosen}}})
    assert said in (await take(stopped, "gemini"))["refused"][0]["reason"]


# -- CLIProxyAPI -----------------------------------------------------------------------------------------------------

THEIRS = """\
port: 8317 # theirs
auth-dir: ./auths
api-keys: [client-one]
debug: true
claude-api-key:
  - {api-key: sk-key-secret-one, base-url: 'http://127.0.0.1:9/'}
  - api-key: sk-theirs
openai-compatibility:
  - {name: Acme, base-url: 'https://acme.example/v1', api-key-entries: [{api-key: k}]}
codex-instructions-enabled: true
generative-language-api-key: [AIza-old]
"""


def installation(home: Path, config: str = THEIRS) -> Path:
    """A whole installation with a login of every shape."""
    folder = home / "cliproxyapi"
    put(folder / "config.yaml", config)
    for name, sample in SAMPLES.items():
        put(folder / "auths" / name, sample)
    return folder


async def test_every_shape_of_login_is_taken_with_all_its_members(stopped: World, home: Path) -> None:
    folder = installation(home)
    plan = await take(stopped, "cliproxyapi")
    assert {step["file"]: step["action"] for step in plan["logins"]} == dict.fromkeys(SAMPLES, "add")
    for name, sample in SAMPLES.items():
        taken = login(stopped, name)
        assert taken.pop("known_as") == {"file": name, "path": str(folder / "auths" / name)}
        assert taken == {member: value for member, value in sample.items() if member != "disabled"}
    again = await take(stopped, "cliproxyapi")
    assert {step["action"] for step in again["logins"]} == {"keep"}


async def test_taken_accounts_keep_the_index_their_usage_was_recorded_with(stopped: World, home: Path) -> None:
    from cpa.accounts.file_fields import file_index

    folder = installation(home)
    await take(stopped, "cliproxyapi")
    indexes = {entry["name"]: entry["auth_index"] for entry in await stopped.json("accounts", "list")}
    for name in ("claude-a@example.com.json", "codex-a@example.com-plus.json"):
        assert indexes[name] == file_index(str(folder / "auths" / name), SAMPLES[name])


async def test_keys_and_settings_are_merged_and_ours_stay(stopped: World, home: Path) -> None:
    installation(home)
    before = stopped.config.read_text()
    stopped.config.write_text(f"# mine\n{before}debug: false # stays\n")
    (plan,) = (await take(stopped, "cliproxyapi"))["settings"]
    assert plan["entries"] == {"claude-api-key": 1, "openai-compatibility": 1, "api-keys": 1, "gemini-api-key": 1}
    assert plan["kept"] == ["debug"]
    assert {"port", "auth-dir", "codex-instructions-enabled"} <= set(plan["not_taken"])
    text = stopped.config.read_text()
    assert text.startswith("# mine\n")
    assert "debug: false # stays" in text
    for part in ("sk-theirs", "Acme", "client-one", "AIza-old"):
        assert text.count(part) == 1
    assert "theirs\n" not in text.replace("sk-theirs", "")
    (again,) = (await take(stopped, "cliproxyapi"))["settings"]
    assert (again["entries"], again["values"]) == ({}, [])
    assert stopped.config.read_text() == text


async def test_without_a_configuration_of_ours_the_whole_file_is_taken(stopped: World, home: Path) -> None:
    folder = installation(home, THEIRS.replace("./auths", str(home / "cliproxyapi" / "auths")))
    stopped.config.unlink()
    plan = await take(stopped, str(folder))
    assert stopped.config.read_bytes() == (folder / "config.yaml").read_bytes()
    assert stopped.config.stat().st_mode & 0o777 == 0o600
    assert plan["settings"][0]["copy"]
    assert plan["logins"] == []
    assert (stopped.auth / "anna.json").exists()


async def test_of_two_installations_the_second_is_added_to_the_first(stopped: World, home: Path) -> None:
    one = put(
        home / "one" / "config.yaml", f"auth-dir: {home}/one/auths\ndebug: true\nclaude-api-key: [{{api-key: a}}]\n"
    )
    two = put(home / "two" / "config.yaml", "debug: false\nrequest-retry: 3\nclaude-api-key: [{api-key: b}]\n")
    put(home / "one" / "auths" / "x.json", {**LOGIN, "refresh_token": "x"})
    stopped.config.unlink()
    first, second = (await take(stopped, str(one), str(two)))["settings"]
    assert (first["copy"], second["copy"], second["kept"]) == (True, False, ["debug"])
    text = stopped.config.read_text()
    for part in ("debug: true", "api-key: a", "api-key: b", "request-retry: 3"):
        assert part in text


async def test_settings_can_be_left_out(stopped: World, home: Path) -> None:
    installation(home)
    before = stopped.config.read_text()
    plan = await take(stopped, "cliproxyapi", "--no-settings", "--no-usage")
    assert (plan["settings"], plan["usage"]) == ([], [])
    assert stopped.config.read_text() == before


async def test_a_broken_configuration_is_one_clear_line(stopped: World, home: Path) -> None:
    put(home / "cliproxyapi" / "config.yaml", "port: [")
    result = await stopped.run("import", "cliproxyapi", "--yes")
    assert result.exit_code == 1
    assert "the configuration cannot be used: " in result.output
    assert "nothing to do" in result.output


async def test_broken_and_odd_files_are_named_one_by_one(stopped: World, home: Path) -> None:
    folder = home / "auths"
    good = put(folder / "good.json", {**LOGIN, "email": "good@example.com", "refresh_token": "rt-good"})
    put(folder / "half.json", '{"type": "cla')
    put(folder / "typeless.json", {"email": "x"})
    put(folder / "list.json", [])
    put(folder / "big.json", " " * 1_100_000)
    put(folder / "con.json", {**LOGIN, "refresh_token": "r"})
    put(folder / 'quote".json', {**LOGIN, "refresh_token": "r"})
    put(folder / ".hidden.json", LOGIN)
    put(folder / "sub" / "deep.json", LOGIN)
    (folder / "folder.json").mkdir()
    os.mkfifo(folder / "pipe.json")
    (folder / "loop.json").symlink_to("loop.json")
    (folder / "gone.json").symlink_to("nowhere.json")
    (folder / "link.json").symlink_to(good)
    plan = await take(stopped, str(folder))
    assert {step["file"]: step["action"] for step in plan["logins"]} == {"good.json": "add", "link.json": "keep"} or {
        step["file"] for step in plan["logins"]
    } == {"good.json"}
    refused = {Path(entry["source"]).name: entry["reason"] for entry in plan["refused"]}
    assert set(refused) == {
        "half.json", "typeless.json", "list.json", "big.json", "con.json", 'quote".json', "folder.json", "pipe.json",
        "loop.json", "gone.json",
    }  # fmt: skip
    assert all("\n" not in reason and reason for reason in refused.values())


# -- one login is never written over another -------------------------------------------------------------------------


async def test_another_login_of_the_same_file_name_gets_another_file(stopped: World, home: Path) -> None:
    put(home / "auths" / "anna.json", {**LOGIN, "email": "other@example.com", "refresh_token": "rt-other"})
    (step,) = (await take(stopped, str(home / "auths")))["logins"]
    assert (step["action"], step["file"]) == ("add", "anna-2.json")
    assert stopped.file("anna.json") == LOGIN
    assert stopped.file("anna-2.json")["email"] == "other@example.com"


async def test_a_broken_file_of_ours_is_not_replaced(stopped: World, home: Path) -> None:
    (stopped.auth / "claude-dora@example.com.json").write_text("{half")
    put(home / ".claude" / ".credentials.json", claude())
    put(home / ".claude.json", CLAUDE_STATE)
    (step,) = (await take(stopped, "claude"))["logins"]
    assert step["file"] == "claude-dora@example.com-2.json"
    assert (stopped.auth / "claude-dora@example.com.json").read_text() == "{half"


async def test_newer_tokens_are_taken_and_what_the_user_set_stays(stopped: World, home: Path) -> None:
    stopped.put(
        "mine.json",
        {
            **LOGIN, "email": "Dora@example.com", "refresh_token": "old", "expired": "2020-01-01T00:00:00Z",
            "priority": 7, "proxy_url": "direct", "own": [1], "disabled": True,
        },
    )  # fmt: skip
    put(home / ".claude" / ".credentials.json", claude())
    put(home / ".claude.json", CLAUDE_STATE)
    (step,) = (await take(stopped, "claude"))["logins"]
    assert (step["action"], step["file"]) == ("renew", "mine.json")
    data = stopped.file("mine.json")
    assert (data["refresh_token"], data["expired"]) == ("sk-ant-ort01-dora", EXPIRED)
    assert (data["priority"], data["proxy_url"], data["own"], data["disabled"]) == (7, "direct", [1], True)
    assert data["email"] == "Dora@example.com"


async def test_older_tokens_are_not_taken(stopped: World, home: Path) -> None:
    newer = {**LOGIN, "email": "dora@example.com", "refresh_token": "new", "expired": "2199-01-01T00:00:00Z"}
    stopped.put("mine.json", newer)
    put(home / ".claude" / ".credentials.json", claude())
    put(home / ".claude.json", CLAUDE_STATE)
    (step,) = (await take(stopped, "claude"))["logins"]
    assert step["action"] == "keep"
    assert stopped.file("mine.json") == newer


async def test_tokens_renewed_while_the_question_stands_are_not_lost(
    stopped: World, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import click

    old = {**LOGIN, "email": "dora@example.com", "refresh_token": "old", "expired": "2020-01-01T00:00:00Z"}
    newest = {**old, "refresh_token": "newest", "expired": "2199-01-01T00:00:00Z"}
    stopped.put("mine.json", old)
    put(home / ".claude" / ".credentials.json", claude())
    put(home / ".claude.json", CLAUDE_STATE)
    monkeypatch.setattr(click, "confirm", lambda *a, **k: stopped.put("mine.json", newest))
    result = await stopped.run("import", "claude", answer="y\n")
    assert "has changed meanwhile" in result.output
    assert stopped.file("mine.json") == newest


def test_a_renewal_never_goes_back(tmp_path: Path) -> None:
    from cpa.accounts.files import AuthDirectory
    from cpa.importing.candidates import Candidate
    from cpa.importing.plan import carry_out, plan
    from cpa.plugins.provider import Provider

    directory = AuthDirectory(tmp_path)
    ours, theirs, newest = (
        {**LOGIN, "refresh_token": f"r{year}", "expired": f"{year}-01-01T00:00:00Z"} for year in (2020, 2030, 2040)
    )
    directory.create("mine.json", ours)
    candidate = Candidate(origin=tmp_path, program="x", name="x.json", data=theirs, label="x")
    (step,) = plan([candidate], directory, Provider().login_identity)
    assert step.action == "renew"
    directory.put("mine.json", newest)
    carry_out(step, directory)
    assert json.loads((tmp_path / "mine.json").read_bytes()) == newest
    directory.put("mine.json", ours)
    carry_out(step, directory)
    assert json.loads((tmp_path / "mine.json").read_bytes()) == theirs


async def test_a_login_found_twice_is_taken_once(stopped: World, home: Path) -> None:
    put(home / ".codex" / "auth.json", codex())
    put(home / "auths" / "same.json", {"type": "codex", "refresh_token": "rt-dora", "access_token": "at"})
    plan = await take(stopped, "codex", str(home / "auths"))
    assert [step["action"] for step in plan["logins"]] == ["add", "keep"]


# -- asking, telling, running ----------------------------------------------------------------------------------------


async def test_the_plan_comes_first_and_no_means_no(stopped: World, home: Path) -> None:
    put(home / ".codex" / "auth.json", codex())
    before = state_of(stopped.auth)
    refused = await stopped.run("import", answer="n\n")
    assert refused.exit_code == 1
    assert "+ dora@example.com (plan: pro) > codex-dora@example.com-pro.json" in refused.output
    assert "may be logged out" in refused.output
    silent = await stopped.run("import")
    assert (silent.exit_code, "say --yes" in silent.output) == (2, True)
    shown = await stopped.run("import", "--dry-run")
    assert (shown.exit_code, "codex-dora@example.com-pro.json" in shown.output) == (0, True)
    assert not (await stopped.json("import"))["done"]
    assert state_of(stopped.auth) == before
    agreed = await stopped.run("import", answer="y\n")
    assert agreed.exit_code == 0
    assert "1 login taken" in agreed.output


async def test_nothing_to_find_says_what_to_do(stopped: World, home: Path) -> None:
    result = await stopped.run("import")
    assert result.exit_code == 0
    assert "cpa login PROVIDER" in result.output
    missing = await stopped.run("import", "no-such-thing", "--yes")
    assert missing.exit_code == 1
    assert "claude, codex, gemini, cliproxyapi" in missing.output


async def test_a_running_daemon_serves_what_was_taken(stopped: World, home: Path, start: Start) -> None:
    put(home / ".codex" / "auth.json", codex())
    installation(home)
    foreign(home / "cliproxyapi" / "data.sqlite", 4)
    config = home / "cliproxyapi" / "config.yaml"
    config.write_text(f"{config.read_text()}usage-database-path: data.sqlite\n")
    await stopped.serve(start)
    assert stopped.daemon is not None
    told = await take(stopped)
    assert "the running daemon serves them now" in told["outcomes"]
    assert any(line.startswith("4 usage records taken") for line in told["outcomes"])
    pool = stopped.daemon.daemon.pool
    for _ in range(100):
        if pool.get("codex-dora@example.com-pro.json") and "Acme" in [account.label[:4] for account in pool]:
            break
        await asyncio.sleep(0.05)
    assert {"codex-dora@example.com-pro.json", "claude-a@example.com.json"} <= {account.id for account in pool}
    assert any(account.provider == "acme" for account in pool)


async def test_usage_records_are_taken_once(stopped: World, home: Path) -> None:
    installation(home, THEIRS + "usage-database-path: data.sqlite\n")
    source = home / "cliproxyapi" / "data.sqlite"
    foreign(source, 4)
    ours = stopped.folder / "data" / "usage.sqlite"
    told = await take(stopped, "cliproxyapi", "--no-settings")
    assert "taken whole" in " ".join(told["outcomes"])
    assert ours.stat().st_mode & 0o777 == 0o600
    assert everything(ours, "SELECT count(*) FROM request_histories") == [(1,)]
    again = await take(stopped, "cliproxyapi", "--no-settings")
    assert "0 usage records taken, 4 were there already; histories stay where they are" in again["outcomes"]
    assert everything(ours, "SELECT count(*) FROM usage_events") == [(4,)]


async def test_a_broken_database_is_told_and_stops_nothing(stopped: World, home: Path) -> None:
    installation(home, THEIRS + "usage-database-path: data.sqlite\n")
    put(home / "cliproxyapi" / "data.sqlite", "no database at all" * 1000)
    result = await stopped.run("import", "cliproxyapi", "--yes")
    assert result.exit_code == 1
    assert "FAILED usage records" in result.output
    assert (stopped.auth / "codex-a@example.com-plus.json").exists()
    assert not (stopped.folder / "data" / "usage.sqlite").exists()


async def test_an_export_comes_in_elsewhere(stopped: World, home: Path) -> None:
    bundle = home / "bundle.json"
    assert (await stopped.run("accounts", "export", "--all", "-o", str(bundle))).exit_code == 0
    saved = {path.name: json.loads(path.read_bytes()) for path in stopped.auth.glob("*.json")}
    for path in stopped.auth.glob("*.json"):
        path.unlink()
    plan = await take(stopped, str(bundle))
    assert {step["action"] for step in plan["logins"]} == {"add"}
    assert {name: {**stopped.file(name), "disabled": None} for name in saved} == {
        name: {**data, "disabled": None} for name, data in saved.items()
    }
    put(home / "evil.json", {"format": "cpa-accounts", "version": 1, "files": {"../x.json": LOGIN, "y.json": 7}})
    assert len((await take(stopped, str(home / "evil.json")))["refused"]) == 2


async def test_the_doctor_points_at_logins_that_could_be_taken(stopped: World, home: Path) -> None:
    for file in stopped.auth.glob("*.json"):
        file.unlink()
    stopped.config.write_text(f"auth-dir: {stopped.auth}\n")
    put(home / ".codex" / "auth.json", codex())
    put(home / "cliproxyapi" / "config.yaml", THEIRS)
    result = await stopped.run("doctor", "--offline")
    assert "cpa import codex takes its login" in result.output
    assert "cpa import cliproxyapi" in result.output
    assert "cpa import claude" not in result.output
    await take(stopped, "--dry-run")


HOSTILE = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=100).map(str.encode),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
            ["type", "tokens", "access_token", "refresh_token", "id_token", "claudeAiOauth", "accessToken", "email",
             "refreshToken", "expiresAt", "expiry_date", "last_refresh", "oauthAccount", "active", "token", "files"]
        ), inner, max_size=6),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode()),
)  # fmt: skip


@given(contents=st.lists(HOSTILE, min_size=8, max_size=8))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_sources_hold_they_stay_as_they_are(tmp_path: Path, contents: list[bytes]) -> None:
    from cpa.accounts.files import AuthDirectory
    from cpa.importing.candidates import Candidate
    from cpa.importing.plan import carry_out, plan
    from cpa.importing.sources import Sources
    from cpa.plugins.provider import Provider

    home, auth = tmp_path / "home", tmp_path / "auth"
    names = (
        ".codex/auth.json", ".codex/config.toml", ".claude/.credentials.json", ".claude.json",
        ".gemini/oauth_creds.json", ".gemini/google_accounts.json", ".gemini/.env", "a/x.json",
    )  # fmt: skip
    for name, content in zip(names, contents, strict=True):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(content)
    before = state_of(home)
    sources = Sources(_providers(), home, {}, tmp_path / "config.yaml")
    found = sources.everything()
    found.extend(sources.named(str(home / "a")))
    directory = AuthDirectory(auth)
    for step in plan([one for one in found.logins if isinstance(one, Candidate)], directory, Provider().login_identity):
        if step.action != "keep":
            carry_out(step, directory)
    assert state_of(home) == before
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in auth.glob("*.json"))


_KNOWN: list[Any] = []


def _providers() -> list[Any]:
    if not _KNOWN:
        from cpa.cli.quiet import Quiet
        from cpa.config.load import load_text
        from cpa.plugins.manager import Plugins

        plugins = Plugins(Quiet())
        plugins.load(load_text("", environ={}).config)
        _KNOWN.extend(plugins.providers)
    return _KNOWN


async def test_of_a_source_that_is_none_nothing_else_is_said(stopped: World, home: Path) -> None:
    told = await stopped.run("import", "nosuch")
    assert told.exit_code == 1
    assert told.output.splitlines()[1:] == [
        "  ! there is no such file or folder, and no source of that name (claude, codex, gemini, cliproxyapi)",
        "",
        "nothing to do",
    ]
