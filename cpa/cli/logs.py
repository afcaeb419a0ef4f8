"""``cpa logs``: the newest lines of the log files, and what comes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click

from cpa.cli.control import DaemonRefused, DaemonUnreachable, ask_daemon
from cpa.cli.failures import told
from cpa.cli.options import config_option
from cpa.config import load_config
from cpa.config.environment import with_dotenv
from cpa.errors import ConfigError

TICK = 0.5
MOST = 10_000
OFF = (
    "no log files are written: cpa config set logging-to-file true; "
    "what a service says is in its journal (journalctl --user -u cpa)"
)


@click.command()
@click.option("-n", "--lines", "limit", type=click.IntRange(1, MOST), default=50, show_default=True, help="How many.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--grep", default="", help="Only lines with this text.")
@config_option
@told
def logs(limit: int, follow: bool, grep: str, config_path: Path) -> None:
    """Show the newest lines of the log files (logging-to-file: true)."""
    try:
        tail = ask_daemon(config_path, "GET", f"/logs?limit={limit}")
    except DaemonRefused as fault:
        raise click.ClickException(OFF if "logging to file disabled" in str(fault) else str(fault)) from None
    except DaemonUnreachable:
        tail = _read_files(config_path, limit)
        if follow:
            raise click.ClickException(f"no running daemon serves {config_path}: nothing will come") from None
    _print(tail["lines"], grep)
    try:
        while follow:
            time.sleep(TICK)
            cursor = tail["next-cursor"]
            tail = ask_daemon(config_path, "GET", f"/logs?limit={MOST}" + (f"&cursor={cursor}" if cursor else ""))
            _print(tail["lines"], grep)
    except KeyboardInterrupt:
        return


def _read_files(config_path: Path, limit: int) -> dict[str, Any]:
    """What the last daemon wrote, as far as it ran with the folder and environment of this command."""
    from cpa.logs.files import log_folder
    from cpa.logs.tail import read_tail

    environ = with_dotenv(os.environ)
    try:
        config = load_config(config_path, environ=environ).config
    except ConfigError as fault:
        raise click.ClickException(str(fault)) from None
    if not config.logging_to_file:
        raise click.ClickException(OFF)
    folder = log_folder(environ, Path(config.auth_dir))
    if not folder.is_dir():
        raise click.ClickException(f"there are no log files in {folder}")
    return {"lines": read_tail(folder, 0, limit).lines}


def _print(lines: list[str], grep: str) -> None:
    for line in lines:
        if grep in line:
            click.echo(line)
