"""``cpa config``: settings shown and changed from the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cpa.cli.main import cli
from cpa.config.key_path import parse_key_path, typed_value
from cpa.errors import ConfigError
from cpa.runtime import control_socket

TEXT = """\
# mine
port: 8317   # the usual
routing:
  strategy: 'round-robin'   # fair
api-keys: [one]
claude-api-key:
  # first
  - api-key: sk-secret
    future: 1   # kept
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT)
    return path


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["config", arguments[0], "--config", str(config), *arguments[1:]])


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("port", "8317"),
        ("debug", "false"),
        ("routing.strategy", "round-robin"),
        ("claude-api-key[0].api-key", "sk-secret"),
        ("api-keys", '[\n  "one"\n]'),
    ],
)
def test_a_setting_is_printed_as_it_is_in_force(config: Path, key: str, shown: str) -> None:
    result = run(config, "get", key)
    assert (result.exit_code, result.output.strip()) == (0, shown)


def test_all_of_it_is_printed_without_secrets(config: Path) -> None:
    shown = json.loads(run(config, "get").output)
    assert shown["claude-api-key"][0]["api-key"] == "***"
    assert shown["api-keys"] == ["***"]
    assert shown["routing"]["strategy"] == "round-robin"
    run(config, "set", "claude-api-key[0].base-url", "https://me:planted@host.example/v1")
    shown = json.loads(run(config, "get").output)
    assert shown["claude-api-key"][0]["base-url"] == "https://***@host.example/v1"


@pytest.mark.parametrize(
    ("key", "value", "before", "after"),
    [
        ("port", "9000", "port: 8317", "port: 9000"),
        ("routing.strategy", "fill-first", "'round-robin'", "'fill-first'"),
        ("api-keys[0]", "12345", "[one]", "['12345']"),
        ("api-keys[1]", "two", "[one]", "[one, two]"),
        ("claude-api-key[0].prefix", "team", "kept\n", "kept\n    prefix: team\n"),
        ("debug", "true", TEXT, f"{TEXT}debug: true\n"),
        ("plugins.configs.mine.size", "5", TEXT, f"{TEXT}plugins:\n  configs:\n    mine:\n      size: 5\n"),
    ],
)
def test_a_setting_is_changed_and_nothing_else(config: Path, key: str, value: str, before: str, after: str) -> None:
    result = run(config, "set", key, value)
    assert (result.exit_code, result.output.splitlines()[0]) == (0, f"{key}: set"), result.output
    assert sorted(config.read_text().splitlines()) == sorted(TEXT.replace(before, after).splitlines())


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("port", "many", "port: expected a whole number"),
        ("routing.strategie", "x", "did you mean routing.strategy?"),
        ("no.such", "x", "no is no setting of cpa"),
        ("api-keys[7]", "x", "api-keys[7] does not exist; the next entry of the list is [1]"),
        ("a..b", "x", "names no setting"),
        ("[0]", "x", "the name of a setting is missing"),
        ("port", "[unclosed", "not valid YAML"),
    ],
)
def test_what_cannot_be_set_is_refused_and_changes_nothing(config: Path, key: str, value: str, reason: str) -> None:
    result = run(config, "set", key, value)
    assert result.exit_code == 1
    assert reason in result.output
    assert config.read_text() == TEXT


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("routing.strategy", "nonsense", "known are round-robin, fill-first, weighted-round-robin, quota-aware"),
        ("routing.session-affinity-ttl", "soon", "not a duration such as 90m"),
        ("routing.conversation-stickiness", "soon", "not a duration such as 90m; 0 is used"),
        ("routing.probe-interval", "soon", "not a duration such as 90m"),
        ("proxy-url", "ftp://user:planted@proxy", "expected http://"),
        ("claude-api-key[0].prefix", "a/b", "a prefix cannot contain a slash"),
    ],
)
def test_what_would_do_nothing_is_refused_and_changes_nothing(config: Path, key: str, value: str, reason: str) -> None:
    result = run(config, "set", key, value)
    assert (result.exit_code, config.read_text()) == (1, TEXT)
    assert f"Error: {key}: " in result.stderr
    assert reason in result.stderr
    assert "planted" not in result.output


def test_what_was_doubtful_before_hinders_no_change(config: Path) -> None:
    config.write_text("routing: {strategy: nonsense}\n")
    result = run(config, "set", "port", "9000")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "port: 9000" in config.read_text()


def test_what_may_not_be_meant_is_written_with_a_warning(config: Path) -> None:
    result = run(config, "set", "codex-api-key[0]", "{api-key: k, perfix: x}")
    assert result.exit_code == 0
    assert "perfix" in config.read_text()
    assert result.stderr.splitlines() == [
        "warning: codex-api-key[0].perfix: unknown key, it has no effect; did you mean prefix?",
        "warning: codex-api-key[0]: without base-url this entry is not offered",
    ]


def test_what_a_plugin_would_not_use_is_told_when_it_is_written_and_checked(config: Path) -> None:
    written = run(config, "set", "prompt-rules[0]", "{name: mine, target: nobody, action: inject, content: x}")
    checked = run(config, "check")
    assert (written.exit_code, checked.exit_code) == (0, 0)
    assert 'prompt-rules[0] "mine": invalid target "nobody"' in written.stderr
    assert 'prompt-rules[0] "mine": invalid target "nobody"' in checked.stdout


def test_a_setting_of_the_environment_is_said_to_win(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPA_PORT", "9001")
    assert "port comes from the environment" in run(config, "set", "port", "9000").stderr


def test_a_setting_is_taken_out(config: Path) -> None:
    assert run(config, "unset", "api-keys").stdout == "api-keys: removed, its default counts\n"
    assert run(config, "unset", "routing.strategy").exit_code == 0
    assert "strategy" not in config.read_text()
    assert "nothing changes" in run(config, "unset", "routing.strategy").output


def test_differences_are_shown_without_secrets(config: Path, tmp_path: Path) -> None:
    rows = {row["key"]: row for row in json.loads(run(config, "diff", "--json").output)}
    assert rows["api-keys"] == {"key": "api-keys", "before": [], "after": ["***"]}
    assert "sk-secret" not in json.dumps(rows)
    other = tmp_path / "other.yaml"
    other.write_text(TEXT.replace("8317", "9000"))
    assert run(config, "diff", str(other)).output == "port: 9000 -> 8317\n"
    other.write_text(TEXT)
    assert run(config, "diff", str(other)).output == "no setting differs\n"
    other.write_text(f"{TEXT}proxy-url: direct\n")
    assert run(config, "diff", str(other)).output == 'proxy-url: *** -> ""\n'


PRIVATE = """\
host: 127.0.0.1
claude-api-key:
  - {api-key: canary-1, base-url: "https://u:canary-2@h/v1?key=canary-3", headers: {X-Team: canary-4}, prefix: work}
openai-compatibility:
  - {name: a, base-url: "https://h", support-prompt-cache-key: true, api-key-entries: [{api-key: canary-5}]}
ampcode: {upstream-api-key: canary-6, upstream-api-keys: [{upstream-api-key: canary-7, api-keys: [canary-8]}]}
plugins: {configs: {mine: {headers: {a: canary-9}, nested: [{token: canary-10}]}}}
"""


@pytest.mark.parametrize("command", ["get", "diff"])
def test_secrets_are_masked_wherever_they_stand_and_nothing_else_is(tmp_path: Path, command: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(PRIVATE)
    shown = run(path, command).output
    assert "canary" not in shown
    assert re.search(r'"support-prompt-cache-key": ?true', shown)


def test_entries_of_lists_are_shown_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("gemini-api-key: [{api-key: secret-1, prefix: work}]\n")
    assert run(path, "diff").output == 'gemini-api-key: [] -> [{"prefix":"work","api-key":"***"}]\n'


def test_a_secret_may_come_from_standard_input(config: Path) -> None:
    command = ["config", "set", "metrics.key", "-", "--config", str(config)]
    assert CliRunner().invoke(cli, command, input="from-a-pipe\n").output == "metrics.key: set\n"
    assert run(config, "get", "metrics.key").output == "from-a-pipe\n"


def test_the_place_is_printed(config: Path) -> None:
    assert run(config, "path").output.strip() == str(config)
    places = json.loads(run(config, "path", "--json").output)
    assert (places["config"], places["control-socket"]) == (str(config), str(control_socket(config)))


def test_an_edit_is_saved_when_it_is_valid(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "sed -i s/8317/9000/")
    result = run(config, "edit")
    assert (result.exit_code, config.read_text()) == (0, TEXT.replace("8317", "9000")), result.output
    monkeypatch.setenv("VISUAL", "true")
    assert run(config, "edit").output == "nothing was changed\n"


def test_an_edit_that_is_wrong_is_kept_beside(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "sed -i s/8317/many/")
    result = run(config, "edit")
    assert result.exit_code == 1
    assert "line 2: port: expected a whole number" in result.output
    assert config.read_text() == TEXT
    kept = next(config.parent.glob("config.unsaved-*.yaml"))
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == (TEXT.replace("8317", "many"), 0o600)


def test_an_edit_does_not_overwrite_what_somebody_else_saved(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    editor = config.parent / "editor.sh"
    editor.write_text(f'#!/bin/sh\necho "debug: true" >> "$1"\necho "request-retry: 9" >> {config}\n')
    editor.chmod(0o700)
    monkeypatch.setenv("VISUAL", str(editor))
    result = run(config, "edit")
    assert result.exit_code == 1
    assert "somebody else saved" in result.output
    assert config.read_text() == f"{TEXT}request-retry: 9\n"


@pytest.mark.parametrize("editor", ["no-such-editor", "false", "'unclosed"])
def test_an_editor_that_fails_saves_nothing(config: Path, monkeypatch: pytest.MonkeyPatch, editor: str) -> None:
    monkeypatch.setenv("VISUAL", editor)
    assert run(config, "edit").exit_code == 1
    assert config.read_text() == TEXT


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a.b", ("a", "b")),
        ("a[0].b", ("a", 0, "b")),
        ('a."b.c"[2]', ("a", "b.c", 2)),
        ("oauth-excluded-models.claude[0]", ("oauth-excluded-models", "claude", 0)),
    ],
)
def test_names_of_settings_are_read(text: str, path: tuple[str | int, ...]) -> None:
    assert parse_key_path(text) == path


@pytest.mark.parametrize("text", ["", ".", "a.", "a[", "a[x]", "a]b", 'a."'])
def test_names_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_key_path(text)


def test_texts_stay_texts_where_a_text_is_wanted() -> None:
    assert typed_value("true", ("proxy-url",)) == "true"
    assert typed_value("5", ("api-keys", 0)) == "5"
    assert typed_value("true", ("debug",)) is True
    assert typed_value("gpt-5", ("oauth-excluded-models", "codex", 0)) == "gpt-5"
    assert typed_value("[a, b]", ("cors-origins",)) == ["a", "b"]
