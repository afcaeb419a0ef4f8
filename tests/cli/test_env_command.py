"""``cpa env`` points tools at the daemon of the configuration."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from cpa.cli.env import RECIPES
from cpa.cli.main import cli


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("CPA_PORT", raising=False)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("port: 9000\n", "http://127.0.0.1:9000"),
        ("host: 0.0.0.0\nport: 9000\n", "http://127.0.0.1:9000"),
        ("host: '::1'\nport: 9000\n", "http://[::1]:9000"),
        ("host: box.example\nport: 9000\ntls: {enable: true, cert: a.pem, key: b.pem}\n", "https://box.example:9000"),
    ],
)
def test_the_address_is_that_of_the_configuration(text: str, url: str) -> None:
    Path("config.yaml").write_text(text)
    result = CliRunner().invoke(cli, ["env", "openai"])
    assert f"export OPENAI_BASE_URL='{url}/v1'\n" in result.stdout


def test_an_address_that_is_given_counts_more() -> None:
    Path("config.yaml").write_text("port: 9000\n")
    result = CliRunner().invoke(cli, ["env", "openai", "--url", "http://other:1/"])
    assert "'http://other:1/v1'" in result.stdout


def test_without_a_configuration_it_is_the_usual_one() -> None:
    assert "'http://127.0.0.1:8317/v1'" in CliRunner().invoke(cli, ["env", "openai"]).stdout


@pytest.mark.parametrize(
    ("keys", "arguments", "sent"),
    [
        ("[first, second]", [], "first"),
        ("[{key: over, expires: '2020-01-01'}, {key: good, expires: '2999-01-01'}, third]", [], "good"),
        ("[first]", ["--key", "mine"], "mine"),
        ("[]", [], "cpa-local"),
    ],
)
def test_the_key_is_one_that_the_daemon_takes(keys: str, arguments: list[str], sent: str) -> None:
    Path("config.yaml").write_text(f"api-keys: {keys}\n")
    result = CliRunner().invoke(cli, ["env", "openai", *arguments])
    assert f"export OPENAI_API_KEY='{sent}'\n" in result.stdout
    assert result.stderr == ""


def test_that_no_key_is_good_is_said_without_spoiling_what_the_shell_reads() -> None:
    Path("config.yaml").write_text("api-keys: [{key: over, expires: '2020-01-01'}]\n")
    result = CliRunner().invoke(cli, ["env", "openai"])
    assert "--key" in result.stderr
    assert "over" not in result.stdout


@pytest.mark.parametrize(
    ("model", "named"), [("demo", True), ("claude-opus-4-6", False), ("work/claude-opus-4-6", False)]
)
def test_claude_code_asks_for_no_model_of_its_own_where_it_uses_another_vendors(model: str, named: bool) -> None:
    shown = CliRunner().invoke(cli, ["env", "claude", "--model", model]).stdout
    assert f"export ANTHROPIC_MODEL='{model}'\n" in shown
    assert (f"export ANTHROPIC_DEFAULT_HAIKU_MODEL='{model}'\n" in shown) is named


def test_gemini_cli_is_told_to_use_the_key() -> None:
    told = json.loads(CliRunner().invoke(cli, ["env", "gemini", "--json"]).stdout)
    assert told["file"] == "~/.gemini/settings.json"
    assert json.loads(told["content"])["security"]["auth"]["selectedType"] == "gemini-api-key"


def test_opencode_uses_the_model() -> None:
    told = json.loads(CliRunner().invoke(cli, ["env", "opencode", "--model", "vendor/m", "--json"]).stdout)
    settings = json.loads(told["content"])
    assert (settings["model"], list(settings["provider"]["cpa"]["models"])) == ("cpa/vendor/m", ["vendor/m"])


@pytest.mark.parametrize("tool", RECIPES)
def test_every_line_can_be_read_by_a_shell(tool: str) -> None:
    shown = CliRunner().invoke(cli, ["env", tool]).stdout
    assert subprocess.run(["sh", "-eu"], input=f"ANTHROPIC_API_KEY=\n{shown}", text=True).returncode == 0
    assert [line for line in shown.splitlines() if line != line.rstrip() or len(line) > 88] == []


def test_a_wrong_configuration_is_an_error() -> None:
    Path("config.yaml").write_text("port: x\n")
    result = CliRunner().invoke(cli, ["env", "openai"])
    assert result.exit_code == 1
    assert "port" in result.output
