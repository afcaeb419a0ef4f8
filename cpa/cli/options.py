"""Options that many commands share."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click


def user_config() -> Path:
    """The configuration of the user, which their service has too; it need not be there."""
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return folder / "cpa" / "config.yaml"


def find_config() -> Path:
    """``config.yaml`` here; where there is none, the one of the user if that exists."""
    here = Path("config.yaml")
    return here if here.exists() or not user_config().exists() else user_config()


config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=find_config,
    show_default="config.yaml here, else ~/.config/cpa/config.yaml",
    help="The configuration file.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
DAY_MS = 86_400_000


def days_ago_ms(days: int) -> int:
    """The moment that many days ago, in Unix milliseconds; 1970 at the earliest."""
    return max(int(time.time() * 1000) - days * DAY_MS, 0)
