"""``cpa config``: check and explain the configuration."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from cpa.cli.output import print_finding, print_json
from cpa.config import load_config
from cpa.errors import ConfigError

config_option = click.option(
    "--config", "config_path", type=click.Path(path_type=Path), default="config.yaml", show_default=True
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def config() -> None:
    """Check and explain the configuration."""


@config.command()
@config_option
@json_option
def check(config_path: Path, as_json: bool) -> None:
    """Say what is wrong with a configuration file, and where. Exit status 1 when it cannot be used."""
    try:
        loaded = load_config(config_path, environ=os.environ)
    except ConfigError as fault:
        if as_json:
            print_json({"ok": False, "error": str(fault), "warnings": []})
        else:
            print_finding("problem", str(fault))
        sys.exit(1)
    warnings = [{"path": warning.path, "message": warning.message} for warning in loaded.warnings]
    if as_json:
        print_json({"ok": True, "error": None, "warnings": warnings})
        return
    for warning in warnings:
        print_finding("warning", f"{warning['path']}: {warning['message']}" if warning["path"] else warning["message"])
    print_finding("ok", f"{config_path} can be used" + (f", with {len(warnings)} warnings" if warnings else ""))


@config.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    from cpa.config import config_schema

    print_json(config_schema())
