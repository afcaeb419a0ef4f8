"""``cpa serve``: run the daemon in the foreground."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cpa.cli.options import config_option
from cpa.errors import ConfigError

PORT_TAKEN = "another program has the port, perhaps a cpa that runs already: stop it, or take another one with --port"


@click.command()
@config_option
@click.option("--host", default=None, help="Listen here instead of where the configuration says.")
@click.option("--port", type=int, default=None, help="Listen on this port instead.")
@click.option("--password", default=None, hidden=True, help="Local management password.")
def serve(config_path: Path, host: str | None, port: int | None, password: str | None) -> None:
    """Run the daemon in the foreground until it is told to stop."""
    gc.disable()  # what a start makes stays; the daemon turns it on again once it serves
    from cpa.cli.running import run_daemon
    from cpa.memory import tune_allocator

    tune_allocator()
    gc.collect()  # room for what is made next
    gc.freeze()  # the daemon need not look through all modules again

    overrides = {"host": host, "port": port}
    environ = {
        **os.environ,
        **{f"CPA_{name.upper()}": str(value) for name, value in overrides.items() if value is not None},
    }
    try:
        status = _loop_runner()(run_daemon(config_path, environ, local_password=password or ""))
    except ConfigError as fault:
        raise click.ClickException(str(fault)) from None
    except OSError as fault:
        advice = f"; {PORT_TAKEN}" if fault.errno == errno.EADDRINUSE else ""
        raise click.ClickException(f"cannot start: {fault}{advice}") from None
    sys.exit(status)


def _loop_runner() -> Callable[..., Any]:
    """``uvloop.run`` where uvloop is installed, else ``asyncio.run``."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    run: Callable[..., Any] = uvloop.run
    return run
