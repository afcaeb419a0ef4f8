"""``cpa login`` and ``cpa logout`` where no vendor is needed: key files, wrong usage, deleting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from cpa.cli import asking
from cpa.cli.login_terminal import has_display, tunnel
from cpa.cli.main import cli

KEY = (
    rsa.generate_private_key(public_exponent=65537, key_size=2048)
    .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    .decode()
)
SERVICE = {
    "type": "service_account",
    "project_id": "my project",
    "client_email": "robot@p.iam.gserviceaccount.com",
    "private_key_id": "kid",
    "private_key": KEY.replace("\n", "\\n"),
}


class Commands:
    """Commands of one configuration that no daemon serves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "auth"
        self.config = folder / "config.yaml"
        self.config.write_text(f"auth-dir: {self.folder}\n")
        self.key = folder / "key.json"
        self.key.write_bytes(orjson.dumps(SERVICE))

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, [*arguments, "--config", str(self.config)])

    def told(self, *arguments: str) -> dict[str, Any]:
        result = self(*arguments, "--json")
        told: dict[str, Any] = orjson.loads(result.stdout)
        return told

    def file(self, name: str) -> dict[str, Any]:
        data: dict[str, Any] = orjson.loads((self.folder / name).read_bytes())
        return data


@pytest.fixture
def cpa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return Commands(tmp_path)


def test_a_service_accounts_key_file_becomes_a_login(cpa: Commands) -> None:
    result = cpa("login", "vertex", "--key-file", str(cpa.key))
    assert result.exit_code == 0, result.output
    assert "Logged in as my project (robot@p.iam.gserviceaccount.com)" in result.output
    assert "location: us-central1; --location chooses another" in result.output
    data = cpa.file("vertex-my-project.json")
    assert data["service_account"]["private_key"] == KEY
    assert (data["location"], "prefix" in data) == ("us-central1", False)
    (cpa.folder / "vertex-my-project.json").write_bytes(orjson.dumps({**data, "note": "mine", "priority": 2}))
    told = cpa.told("login", "vertex", "--key-file", str(cpa.key), "--location", "europe-west4")
    assert (told["file"], told["created"], told["daemon"]) == ("vertex-my-project.json", False, False)
    data = cpa.file("vertex-my-project.json")
    assert (data["note"], data["priority"], data["location"]) == ("mine", 2, "europe-west4")
    prefixed = cpa.told("login", "vertex", "--key-file", str(cpa.key), "--prefix", "team")
    assert prefixed["file"] == "vertex-team-my-project.json"
    assert cpa.file("vertex-team-my-project.json")["prefix"] == "team"


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        ({"project_id": ""}, [], "project_id missing"),
        ({"private_key": "no"}, [], "no PEM private key"),
        ({}, ["--prefix", "a/b"], "single word"),
        ({}, ["--location", "../x"], "location"),
    ],
)
def test_a_key_file_that_cannot_serve_is_refused(
    cpa: Commands, change: dict[str, Any], arguments: list[str], said: str
) -> None:
    cpa.key.write_bytes(orjson.dumps({**SERVICE, **change}))
    result = cpa("login", "vertex", "--key-file", str(cpa.key), *arguments)
    assert result.exit_code == 1
    assert said in result.output
    assert not cpa.folder.exists()
    told = cpa.told("login", "vertex", "--key-file", str(cpa.key), *arguments)
    assert (told["status"], told["error"]) == ("error", "invalid_key_file")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody"], "there is one to claude, codex, gemini-cli, kimi, vertex"),
        (["claude", "--device"], "claude has no login with --device: it has browser"),
        (["vertex"], "vertex takes a key file"),
        (["claude", "--proxy", "ftp://x"], "--proxy needs"),
        (["claude", "--callback-port", "99999"], "callback-port"),
    ],
)
def test_wrong_usage_says_what_is_right(cpa: Commands, arguments: list[str], said: str) -> None:
    result = cpa("login", *arguments)
    assert result.exit_code == 2
    assert said in result.output


def test_nobody_logs_in_where_the_login_could_not_be_stored(cpa: Commands) -> None:
    cpa.folder.write_text("")
    result = cpa("login", "vertex", "--key-file", str(cpa.key))
    assert result.exit_code == 1
    assert f"could not be stored: {cpa.folder} is a file" in result.output


def test_without_a_provider_they_are_listed(cpa: Commands) -> None:
    assert "codex       ChatGPT (Codex)  (browser, device)" in cpa("login").output
    (first, *_) = orjson.loads(cpa("login", "--json").stdout)
    assert first == {"provider": "claude", "title": "Claude", "methods": ["browser"], "aliases": ["anthropic"]}


def test_a_login_is_deleted_by_file_address_or_provider(cpa: Commands) -> None:
    cpa.folder.mkdir()

    def fill() -> None:
        for name, data in {
            "claude-a.json": {"type": "claude", "email": "a@b.c"},
            "codex-a.json": {"type": "codex", "email": "a@b.c"},
            "gemini-a.json": {"type": "gemini", "email": "g@b.c"},
        }.items():
            (cpa.folder / name).write_bytes(orjson.dumps(data))

    fill()
    several = cpa("logout", "A@b.c")
    assert several.exit_code == 1
    assert "claude-a.json\n  codex-a.json" in several.output
    assert len(list(cpa.folder.glob("*.json"))) == 3
    for name, deleted in (
        ("claude-a.json", ["claude-a.json"]),
        ("codex-a", ["codex-a.json"]),
        ("google", ["gemini-a.json"]),
        ("g@b.c", ["gemini-a.json"]),
    ):
        fill()
        assert cpa.told("logout", name, "--yes") == {"status": "ok", "deleted": deleted}
        assert not (cpa.folder / deleted[0]).exists()
    fill()
    assert cpa.told("logout", "a@b.c", "--all", "--yes")["deleted"] == ["claude-a.json", "codex-a.json"]
    assert cpa("logout", "../config", "--yes").exit_code == 1


@pytest.mark.parametrize(("terminal", "answer", "status"), [(False, "y\n", 2), (True, "n\n", 1), (True, "y\n", 0)])
def test_a_login_is_deleted_only_when_somebody_agrees(
    cpa: Commands, monkeypatch: pytest.MonkeyPatch, terminal: bool, answer: str, status: int
) -> None:
    cpa.folder.mkdir()
    (cpa.folder / "a.json").write_bytes(orjson.dumps({"type": "claude", "email": "a@b.c"}))
    monkeypatch.setattr(asking, "has_terminal", lambda: terminal)
    result = CliRunner().invoke(cli, ["logout", "a.json", "--config", str(cpa.config)], input=answer)
    assert (result.exit_code, (cpa.folder / "a.json").exists()) == (status, status != 0)
    assert ("say --yes" in result.stderr) == (status == 2)


def test_nobody_needs_a_configuration_to_log_in(cpa: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    result = CliRunner().invoke(cli, ["login", "vertex", "--key-file", str(cpa.key)])
    assert result.exit_code == 0, result.output
    assert f"whose auth-dir is {tmp_path}/.cli-proxy-api serves it" in result.output
    assert (tmp_path / ".cli-proxy-api" / "vertex-my-project.json").stat().st_mode & 0o777 == 0o600
    named = CliRunner().invoke(cli, ["login", "vertex", "--key-file", str(cpa.key), "--config", "none.yaml"])
    assert named.exit_code == 1
    assert "none.yaml" in named.output
    assert CliRunner().invoke(cli, ["logout", "vertex", "--yes"]).exit_code == 0


@pytest.mark.parametrize(
    ("environ", "seen"),
    [
        ({}, False),
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "w"}, True),
        ({"DISPLAY": ":10", "SSH_CONNECTION": "a 1 b 22"}, False),
        ({"SSH_TTY": "/dev/pts/1", "BROWSER": "mine"}, True),
    ],
)
def test_a_browser_is_opened_where_somebody_sees_it(environ: dict[str, str], seen: bool) -> None:
    assert has_display(environ) is seen


def test_the_way_through_ssh_ends_at_the_port_that_is_listened_on() -> None:
    line = tunnel(54545, 9999, {"SSH_CONNECTION": "10.0.0.9 5000 10.0.0.5 22"})
    assert line.startswith("ssh -N -L 54545:127.0.0.1:9999 ")
    assert line.endswith("@10.0.0.5")
    assert tunnel(1455, 1455, {}).startswith("ssh -N -L 1455:127.0.0.1:1455 ")
