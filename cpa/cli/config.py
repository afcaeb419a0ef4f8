"""``cpa config``: check, show and change the configuration."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from cpa.cli.lazy import LazyGroup
from cpa.cli.options import config_option, json_option
from cpa.cli.output import print_finding, print_json, print_table
from cpa.config import load_config
from cpa.config.notices import ConfigWarning
from cpa.errors import ConfigError
from cpa.runtime import control_socket

COMMANDS = {
    "get": ("cpa.cli.config_settings", "get", "Print a setting as it is in force."),
    "set": ("cpa.cli.config_settings", "set", "Set one setting in the file."),
    "unset": ("cpa.cli.config_settings", "unset", "Remove one setting, so that its default counts."),
    "diff": ("cpa.cli.config_settings", "diff", "Show which settings differ from their defaults."),
    "edit": ("cpa.cli.config_edit", "edit", "Change the file in an editor; checked before it is saved."),
}
"""Command -> module, attribute, help."""


@click.group(cls=LazyGroup, lazy=COMMANDS)
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
        "control-socket": str(control_socket(file)),
    }
    if as_json:
        print_json(places)
    elif sys.stdout.isatty():
        print_table(("WHAT", "WHERE"), list(places.items()))
    else:
        click.echo(places["config"])
