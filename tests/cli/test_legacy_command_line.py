"""Command lines of CLIProxyAPI."""

from __future__ import annotations

import click
import pytest

from cpa.cli.legacy import translate


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("models --json", "models --json"),
        ("--help", "--help"),
        ("-version", "--version"),
        ("-config x.yaml", "serve --config x.yaml"),
        ("--config=x.yaml -local-model", "serve --config x.yaml"),
        ("-config x.yaml -password p", "serve --config x.yaml --password p"),
        ("-no-browser", "serve"),
        ("-claude-login", "login claude"),
        ("--codex-login -no-browser", "login codex --no-browser"),
        ("-codex-login -no-browser=false", "login codex"),
        ("-codex-login=false -config x", "serve --config x"),
        ("-codex-device-login -config x.yaml", "login codex --device --config x.yaml"),
        ("-kimi-login", "login kimi"),
        ("-login -project_id my-project", "login gemini-cli --project my-project"),
        ("-claude-login -oauth-callback-port 9999", "login claude --callback-port 9999"),
        ("-claude-login -password p", "login claude"),
        (
            "-vertex-import key.json -vertex-import-prefix team",
            "login vertex --key-file key.json --prefix team",
        ),
        ("-project_id p -config x", "serve --config x"),
        ("-claude-login -codex-login", "login codex"),
        ("-kimi-login -claude-login -login", "login gemini-cli"),
        ("-codex-login -vertex-import key.json", "login vertex --key-file key.json"),
        ("-codex-device-login -codex-login", "login codex"),
    ],
)
def test_an_old_command_line_is_a_command(old: str, new: str) -> None:
    assert translate(old.split()) == new.split()


@pytest.mark.parametrize("flag", ["-home x", "-tui", "-antigravity-login", "-xai-login"])
def test_what_cpa_does_not_have_is_named(flag: str) -> None:
    with pytest.raises(click.UsageError, match=flag.split()[0]):
        translate(flag.split())


def test_a_missing_value_is_named() -> None:
    with pytest.raises(click.UsageError, match="-vertex-import needs a value"):
        translate(["-vertex-import"])
