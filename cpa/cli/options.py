"""Options that many commands share."""

from __future__ import annotations

import os
from pathlib import Path

import click


def find_config() -> Path:
    """``config.yaml`` here; where there is none, the one of the user's service if that exists."""
    here = Path("config.yaml")
    if here.exists():
        return here
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    service = folder / "cpa" / "config.yaml"
    return service if service.exists() else here


config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=find_config,
    show_default="config.yaml here, else ~/.config/cpa/config.yaml",
    help="The configuration file.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
