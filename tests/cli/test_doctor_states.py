"""``cpa doctor`` says what to do next, whatever is wrong with a set-up."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from cpa.accounts import directory_fault
from cpa.accounts.files import AuthDirectory
from cpa.cli.main import cli
from tests.cli.conftest import World
from tests.management.conftest import Start


class Doctor:
    """Asks about one configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"

    def write(self, text: str) -> None:
        self.config.write_text(f"host: 127.0.0.1\nauth-dir: {self.folder / 'auth'}\n{text}")

    def says(self) -> dict[str, str]:
        """Text of each finding -> its level."""
        result = CliRunner().invoke(cli, ["doctor", "--config", str(self.config), "--offline", "--json"])
        found = {finding["text"]: finding["level"] for finding in json.loads(result.stdout)}
        assert result.exit_code == ("problem" in found.values())
        return found

    def saying(self, part: str) -> tuple[str, str]:
        """The only finding that holds ``part``: level and text."""
        ((text, level),) = [(text, level) for text, level in self.says().items() if part in text]
        return level, text


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return Doctor(tmp_path)


def test_without_a_file_it_says_how_to_begin(doctor: Doctor) -> None:
    level, text = doctor.saying("there is no such file")
    assert level == "problem"
    assert "--config" in text
    assert "cpa init" in text


TWO = "claude-api-key: [{api-key: a, base-url: '%s/one'}, {api-key: b, base-url: '%s/two', models: [{name: m}]}]\n"


@pytest.mark.parametrize("proxied", [False, True])
def test_each_place_is_tried_once_and_behind_a_proxy_that_is_the_proxy(doctor: Doctor, proxied: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
        upstream = "http://upstream.invalid" if proxied else f"http://{place}"
        doctor.write(TWO % (upstream, upstream) + (f"proxy-url: http://{place}\n" if proxied else ""))
        result = CliRunner().invoke(cli, ["doctor", "--config", str(doctor.config)])
    assert [line for line in result.stdout.splitlines() if "reached" in line] == [f"ok    {place} can be reached"]


def test_without_accounts_it_says_how_to_get_one(doctor: Doctor) -> None:
    doctor.write("port: 0\n")
    level, text = doctor.saying("no account yet")
    assert level == "warning"
    assert "cpa login" in text
    assert "cpa import" in text


def test_a_login_that_is_over_is_named_with_the_command(doctor: Doctor) -> None:
    doctor.write("port: 0\n")
    (doctor.folder / "auth").mkdir()
    ended = {"type": "claude", "email": "a@example.com", "access_token": "planted", "expired": "2020-01-01T00:00:00Z"}
    (doctor.folder / "auth" / "a.json").write_text(json.dumps(ended))
    level, text = doctor.saying("log in again")
    assert level == "problem"
    assert text == "a@example.com (claude): log in again: its token has ended (cpa login claude)"


def test_a_taken_port_is_a_warning(doctor: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        doctor.write(f"port: {other.getsockname()[1]}\n")
        level, text = doctor.saying("another program")
    assert level == "warning"
    assert "set another port" in text


async def test_a_running_daemon_is_well(stopped: World, start: Start) -> None:
    await stopped.serve(start)
    result = await stopped.run("doctor", "--offline")
    assert "a daemon is running with this configuration" in result.output
    assert "another program" not in result.output


def test_an_auth_directory_that_is_none_is_a_problem(doctor: Doctor) -> None:
    doctor.write("port: 0\n")
    (doctor.folder / "auth").write_text("")
    level, text = doctor.saying("auth-dir")
    assert (level, text) == (
        "problem",
        f"{doctor.folder}/auth is a file, where a folder is needed: move it away, or set auth-dir to another folder",
    )
    checked = CliRunner().invoke(cli, ["config", "check", "--config", str(doctor.config)])
    assert (checked.exit_code, f"auth-dir: {text}" in checked.output) == (0, True)


@pytest.fixture
def refused(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An auth directory that this user cannot list."""
    doctor.write("port: 0\n")
    folder = doctor.folder / "auth"
    folder.mkdir()

    def refuse(_: AuthDirectory) -> list[str]:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(AuthDirectory, "names", refuse)
    monkeypatch.setattr(directory_fault.os, "access", lambda path, right: Path(path) != folder)
    return folder


def test_an_auth_directory_that_cannot_be_read_is_a_problem(doctor: Doctor, refused: Path) -> None:
    doctor.write("port: 0\ngemini-api-key: [{api-key: k}]\n")
    level, text = doctor.saying("cannot be read")
    assert level == "problem"
    assert text.startswith(f"{refused} cannot be read by this user, its logins are not used: chmod 700 {refused}")
    assert doctor.saying("1 account of gemini")[0] == "ok"
    assert doctor.saying("time limits")[0] == "info"


@pytest.mark.parametrize("command", [["models"], ["accounts", "list"], ["quota"], ["logout", "a"]])
def test_other_commands_say_it_in_one_line(doctor: Doctor, refused: Path, command: list[str]) -> None:
    result = CliRunner().invoke(cli, [*command, "--config", str(doctor.config)])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {refused} cannot be read by this user, its logins are not used: chmod 700")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [["doctor", "--offline"], ["usage"], ["requests"]])
def test_a_damaged_usage_database_is_said_to_be_put_aside(doctor: Doctor, command: list[str]) -> None:
    doctor.write("port: 0\nusage-statistics-enabled: true\nusage-database-path: usage.sqlite\n")
    (doctor.folder / "usage.sqlite").write_bytes(b"no database" * 500)
    result = CliRunner().invoke(cli, [*command, "--config", str(doctor.config)])
    assert result.exit_code == 1
    assert "usage.sqlite cannot be read: file is not a database; the daemon puts it aside" in result.output


def test_serving_on_a_taken_port_says_what_to_do(doctor: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        doctor.write(f"port: {other.getsockname()[1]}\n")
        result = CliRunner().invoke(cli, ["serve", "--config", str(doctor.config)])
    assert result.exit_code == 1
    assert "take another one with --port" in result.output
