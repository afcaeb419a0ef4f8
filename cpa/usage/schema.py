"""Opening the usage database: a new one is made, an older one is brought up to date."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cpa.errors import CpaError
from cpa.usage import earlier, tables

VERSION = 106
"""``PRAGMA user_version`` of a database of this cpa."""
ATTEMPTS_SINCE, BATCHES_SINCE, STATUSES_SINCE = 104, 105, 106
"""The first versions with the attempts of now, with batches of histories, and with an index of statuses."""
LAST_FOREIGN = 4
"""The newest version of CLIProxyAPI's own numbering that is understood."""
BUSY_SECONDS = 5.0
LARGEST_LOG = 16 * 1024 * 1024
"""Bytes that the write-ahead log keeps after a large change."""


class DatabaseTooNew(CpaError):
    """The file was written by a newer program."""


def open_database(path: Path) -> sqlite3.Connection:
    """The writer's connection to an up-to-date database; a new file is made, an older one upgraded after a copy.

    Raises DatabaseTooNew, sqlite3.Error and OSError. Blocks; an upgrade of millions of rows takes a minute or two.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = not path.exists() or path.stat().st_size == 0
    if fresh:
        path.touch(mode=0o600)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        if fresh:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.row_factory = sqlite3.Row
        _refuse_newer(connection, path)
        _prepare(connection)
        _migrate(connection, path, fresh)
    except BaseException:
        connection.close()
        raise
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing; several threads may use it one after the other. Raises sqlite3.Error."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA query_only=ON")
    return connection


def empty_database() -> sqlite3.Connection:
    """A database in memory in which nothing was ever recorded: to be asked where there is no file yet."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    _bring_up_to_date(connection, 0)
    return connection


def empty_log(path: Path) -> bool:
    """Move what stands in the write-ahead log into the file, so that nothing that was deleted can be read there.

    Whether it could be done: somebody who reads for a long time is waited for a while only. Blocks. Raises
    sqlite3.Error.
    """
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        return not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    finally:
        connection.close()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing of what is written inside."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _refuse_newer(connection: sqlite3.Connection, path: Path) -> None:
    """Raises DatabaseTooNew before anything in the file is touched."""
    version, foreign = connection.execute("PRAGMA user_version").fetchone()[0], _foreign_version(connection)
    if version > VERSION or foreign > LAST_FOREIGN:
        raise DatabaseTooNew(
            f"{path} was written by a newer program (version {version if version > VERSION else foreign}): "
            "run that version of cpa, or name another file in usage-database-path"
        )


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA journal_size_limit={LARGEST_LOG}").fetchall()
    connection.execute("PRAGMA foreign_keys=ON")


def _migrate(connection: sqlite3.Connection, path: Path, fresh: bool) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == VERSION:
        return
    if not fresh:
        _back_up(connection, path)
    _bring_up_to_date(connection, version)


def _bring_up_to_date(connection: sqlite3.Connection, version: int) -> None:
    with transaction(connection):
        if version < ATTEMPTS_SINCE:
            _upgrade_record(connection)
        if version < BATCHES_SINCE:
            earlier.run(connection, tables.HISTORY_BATCHES)
        if version < STATUSES_SINCE:
            earlier.run(connection, tables.STATUSES)
        connection.execute(f"PRAGMA user_version={VERSION}")


def _foreign_version(connection: sqlite3.Connection) -> int:
    """The version CLIProxyAPI has written down; 0 when it never had the file."""
    if not earlier.columns_of(connection, "usage_schema_migrations"):
        return 0
    row = connection.execute("SELECT max(version_id) FROM usage_schema_migrations WHERE is_applied").fetchone()
    return int(row[0] or 0)


def _back_up(connection: sqlite3.Connection, path: Path) -> None:
    """A copy of the file as it was, beside it; whole or not at all."""
    target, partial = (path.with_name(f"{path.name}.before-{VERSION}{end}") for end in ("", ".partial"))
    if target.exists():
        return
    try:
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)
        copy = sqlite3.connect(partial)
        try:
            connection.backup(copy)
        finally:
            copy.close()
        os.replace(partial, target)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def _upgrade_record(connection: sqlite3.Connection) -> None:
    foreign = earlier.set_aside(connection)
    for script in (tables.HISTORIES, tables.KEYS, tables.ATTEMPTS):
        earlier.run(connection, script)
    known = earlier.columns_of(connection, "request_histories")
    missing = {name: kind for name, kind in tables.HISTORY_COLUMNS.items() if name not in known}
    earlier.add_columns(connection, "request_histories", missing)
    earlier.take_over(connection, foreign=foreign)
    earlier.run(connection, tables.INDEXES)
    earlier.run(connection, tables.VIEWS)
