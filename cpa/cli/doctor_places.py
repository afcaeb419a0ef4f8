"""What ``cpa doctor`` says of places on this machine: the port, the auth directory, the usage database."""

from __future__ import annotations

import socket
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from cpa.accounts.directory_fault import directory_fault
from cpa.cli.control import daemon_listens
from cpa.cli.database import unreadable
from cpa.config import Config


class Finding(Struct):
    """One thing that was looked at."""

    level: str
    """``ok``, ``warning``, ``problem`` or ``info``."""
    text: str


def look_at_port(config: Config, path: Path) -> Finding:
    """Whether the port is free, or who has it. ``path`` is the configuration file's."""
    if daemon_listens(path):
        return Finding("ok", "a daemon is running with this configuration")
    host = config.host or "127.0.0.1"
    try:
        with socket.create_connection((host, config.port), timeout=1):
            return Finding(
                "warning",
                f"another program (or cpa with another configuration) answers on {host}:{config.port}: "
                "stop it, or set another port",
            )
    except OSError:
        return Finding("ok", f"port {config.port} is free")


def look_at_auth_directory(config: Config) -> Iterator[Finding]:
    """Whether logins can be read and stored, and by nobody else."""
    folder = Path(config.auth_dir)
    if fault := directory_fault(folder):
        yield Finding("problem", fault)
    elif not folder.exists():
        yield Finding("info", f"{folder} is made when it is needed: no logins yet")
    elif stat.S_IMODE(folder.stat().st_mode) & 0o077:
        yield Finding("warning", f"{folder} can be read by other users: chmod 700 {folder}")


def look_at_usage_database(path: Path) -> Iterator[Finding]:
    """Whether the record at ``path`` can be opened; a new one is begun where there is none."""
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=1)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as fault:
        yield Finding("problem", f"usage database {unreadable(path, fault)}")
    else:
        yield Finding("ok", f"usage database {path} can be read (cpa usage, cpa requests)")
