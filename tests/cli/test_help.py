"""Every command and option says what it is for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cpa.cli.completing import PROVIDERS
from cpa.cli.main import COMMANDS, SECTIONS, cli


def commands(group: click.Group, path: str = "cpa") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


ALL = dict(commands(cli))


@pytest.mark.parametrize("name", ALL)
def test_it_has_help_and_so_have_its_options(name: str) -> None:
    command = ALL[name]
    assert command.help
    assert command.help[0].isupper()
    shown = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    assert [option.opts for option in shown if not option.help] == []


def test_every_command_stands_in_one_section() -> None:
    assert sorted(name for names in SECTIONS.values() for name in names) == sorted(COMMANDS)
    shown = CliRunner().invoke(cli, ["--help"]).output
    assert all(f"\n  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("names", [[], ["usage"], ["accounts"], ["accounts", "list"]])
def test_help_is_a_command_too(names: list[str]) -> None:
    asked = CliRunner().invoke(cli, ["help", *names], prog_name="cpa")
    assert asked.exit_code == 0
    assert asked.output == CliRunner().invoke(cli, [*names, "--help"], prog_name="cpa").output


@pytest.mark.parametrize("names", [["nothing"], ["accounts", "nothing"], ["usage", "list"]])
def test_help_for_what_does_not_exist_is_refused(names: list[str]) -> None:
    asked = CliRunner().invoke(cli, ["help", *names], prog_name="cpa")
    assert (asked.exit_code, f"No such command '{names[-1]}'." in asked.output) == (2, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_completion_for_the_shell(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert "_CPA_COMPLETE" in result.output


@pytest.mark.parametrize(("words", "number"), [("cpa accounts ", "2"), ("cpa help accounts ", "3")])
def test_completion_knows_commands_and_options(words: str, number: str) -> None:
    environ = {"_CPA_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": number}
    shown = CliRunner().invoke(cli, [], env=environ, prog_name="cpa").output
    assert {"plain,list", "plain,why"} <= set(shown.splitlines())


@pytest.mark.parametrize(
    ("words", "number", "offered"),
    [
        ("cpa config get rout", 3, "routing.strategy"),
        ("cpa config set deb", 3, "debug"),
        ("cpa login k", 2, "kimi"),
        ("cpa import cl", 2, "cliproxyapi"),
        ("cpa route explain demo-s", 3, "demo-slow"),
        ("cpa accounts why demo-s", 3, "demo-slow"),
        ("cpa accounts show de", 3, "demo"),
    ],
)
def test_completion_knows_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, number: int, offered: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    Path("config.yaml").write_text("auth-dir: auth\n")
    environ = {"_CPA_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
    shown = CliRunner().invoke(cli, [], env=environ, prog_name="cpa").output.splitlines()
    assert f"plain,{offered}" in shown
    assert all(line.partition(",")[2].startswith(words.rsplit(" ", 1)[1]) for line in shown if line)


def test_the_providers_that_are_offered_are_those_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text("auth-dir: auth\n")
    listed = CliRunner().invoke(cli, ["login"]).output.split("\n\n")[1].splitlines()
    assert [line.split()[0].removesuffix("-cli") for line in listed if line] == list(PROVIDERS)
