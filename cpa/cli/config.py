"""``cpa config``: check, show and change the configuration."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import click

from cpa.cli.options import config_option, json_option
from cpa.cli.output import print_finding, print_json, print_table
from cpa.config import load_config
from cpa.config.notices import ConfigWarning
from cpa.errors import ConfigError


class ConfigGroup(click.Group):
    """Imports the commands that change things when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *_LAZY]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _LAZY:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(importlib.import_module(_LAZY[cmd_name]), cmd_name)
        return command


_LAZY = {
    "get": "cpa.cli.config_settings",
    "set": "cpa.cli.config_settings",
    "unset": "cpa.cli.config_settings",
    "diff": "cpa.cli.config_settings",
    "edit": "cpa.cli.config_edit",
}


@click.group(cls=ConfigGroup)
def config() -> None:
    """Check, show and change the configuration."""


@config.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@config_option
@json_option
def check(file: Path | None, config_path: Path, as_json: bool) -> None:
    """Say what is wrong with a configuration file, and where. Exit status 1 when it cannot be used.

    FILE is the file to check, in place of the one in use.
    """
    config_path = file or config_path
    try:
        loaded = load_config(config_path, environ=os.environ)
    except ConfigError as fault:
        if as_json:
            print_json({"ok": False, "error": str(fault), "warnings": []})
        else:
            print_finding("problem", str(fault))
        sys.exit(1)
    from cpa.accounts.directory_fault import directory_fault
    from cpa.cli.plugin_problems import plugin_problems

    warnings = [*loaded.warnings, *(ConfigWarning("", problem) for problem in plugin_problems(loaded.config))]
    if unusable := directory_fault(Path(loaded.config.auth_dir)):
        warnings.append(ConfigWarning("auth-dir", unusable))
    if as_json:
        shown = [{"path": warning.path, "message": warning.message} for warning in warnings]
        print_json({"ok": True, "error": None, "warnings": shown})
        return
    for warning in warnings:
        print_finding("warning", str(warning))
    number = len(warnings)
    told = f", with {number} warning{'s' if number > 1 else ''}" if warnings else ""
    print_finding("ok", f"{config_path} can be used{told}")


@config.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    from cpa.config import config_schema

    print_json(config_schema())


@config.command()
@config_option
@json_option
def path(config_path: Path, as_json: bool) -> None:
    """Print where the configuration is, and what lies beside it."""
    try:
        settings = load_config(config_path, environ=os.environ).config
    except ConfigError as fault:
        raise click.ClickException(str(fault)) from None
    file = config_path.absolute()
    places = {
        "config": str(file),
        "auth-dir": str(Path(settings.auth_dir).expanduser()),
        "usage-database": str(file.parent / Path(settings.usage_database_path).expanduser()),
    }
    if as_json:
        print_json(places)
    elif sys.stdout.isatty():
        print_table(("WHAT", "WHERE"), list(places.items()))
    else:
        click.echo(places["config"])
