"""``cpa init``: a first configuration, in use at once."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path

import bcrypt
import pytest
from click.testing import CliRunner, Result

from cpa.cli.main import cli
from cpa.config import load_config, load_text


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new user in an empty folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return tmp_path


def cpa(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def test_the_file_is_private_valid_and_for_this_machine_only(home: Path) -> None:
    old = os.umask(0)
    try:
        result = cpa("init")
    finally:
        os.umask(old)
    path = home / ".config" / "cpa" / "config.yaml"
    assert result.exit_code == 0, result.output
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    loaded = load_config(path, environ={})
    assert loaded.warnings == []
    assert (loaded.config.host, loaded.config.port) == ("127.0.0.1", 8317)
    assert f"client key      {loaded.config.api_keys[0]}\n" in result.output
    assert all(len(line) <= 80 for line in result.output.replace(str(home), "").splitlines())
    switched_on = re.sub(r"^#(?! \S)", "", path.read_text(), flags=re.MULTILINE)
    accounts = load_text(switched_on, environ={})
    assert (accounts.warnings, len(accounts.config.openai_compatibility[0].models)) == ([], 1)


def test_keys_are_new_each_time_and_the_management_key_is_kept_as_its_hash(home: Path) -> None:
    told = [json.loads(cpa("init", "--config", f"{name}.yaml", "--port", "9000", "--json").stdout) for name in "ab"]
    assert len({entry[key] for entry in told for key in ("client-key", "management-key")}) == 4
    path = Path(told[0]["config"])
    assert path == home / "empty" / "a.yaml"
    hashed = load_config(path, environ={}).config.remote_management.secret_key
    assert bcrypt.checkpw(told[0]["management-key"].encode(), hashed.encode())
    assert told[0]["management-key"] not in path.read_text()


@pytest.mark.parametrize("link", [False, True])
def test_nothing_that_is_there_is_overwritten(home: Path, link: bool) -> None:
    path = Path("config.yaml")
    if link:
        path.symlink_to(home / "elsewhere.yaml")
    else:
        path.write_text("port: 1\n")
    result = cpa("init", "--config", "config.yaml")
    assert result.exit_code == 1
    assert "is there already and stays as it is: cpa config edit" in result.stderr
    assert not (home / "elsewhere.yaml").exists()
    assert link or path.read_text() == "port: 1\n"


def test_commands_find_the_file_and_tools_get_its_key() -> None:
    output = cpa("init").output
    assert "\n  cpa serve\n" in output
    key = load_config(Path(cpa("config", "path").output.strip()), environ={}).config.api_keys[0]
    assert f"ANTHROPIC_AUTH_TOKEN='{key}'" in cpa("env", "claude").stdout


def test_what_comes_next_names_a_file_that_is_elsewhere() -> None:
    output = cpa("init", "--config", "other/mine.yaml").output
    assert "cpa serve --config other/mine.yaml\n" in output


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"Another program has port {port}" in cpa("init", "--port", str(port)).output


def test_a_folder_that_cannot_be_made_is_one_clear_line() -> None:
    Path("file").write_text("")
    result = cpa("init", "--config", "file/config.yaml")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "file" in result.stderr


def test_serving_without_a_configuration_points_here() -> None:
    result = cpa("serve")
    assert result.exit_code == 1
    assert "write a first one with cpa init" in result.stderr
