"""The tables of the usage database, and how older ones become these.

Databases of CLIProxyAPI (its versions 1 to 4) are taken over in place: their tables keep their names and columns, ours
are added.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

from cpa.errors import CpaError
from cpa.usage.event import parse_timestamp

VERSION = 101
"""``PRAGMA user_version`` of a database of this cpa."""
LAST_FOREIGN = 4
"""The newest version of CLIProxyAPI's own numbering that is understood."""


class DatabaseTooNew(CpaError):
    """The file was written by a newer program."""


_FIRST = """
CREATE TABLE IF NOT EXISTS usage_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, event_key TEXT NOT NULL UNIQUE, api_group_key TEXT NOT NULL,
    provider TEXT NOT NULL DEFAULT '', endpoint TEXT NOT NULL DEFAULT '', auth_type TEXT NOT NULL DEFAULT '',
    request_id TEXT NOT NULL DEFAULT '', model TEXT NOT NULL, timestamp TEXT NOT NULL,
    source TEXT NOT NULL DEFAULT '', auth_index TEXT NOT NULL DEFAULT '', failed INTEGER NOT NULL DEFAULT 0,
    latency_ms INTEGER NOT NULL DEFAULT 0, input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0, reasoning_tokens INTEGER NOT NULL DEFAULT 0,
    cached_tokens INTEGER NOT NULL DEFAULT 0, total_tokens INTEGER NOT NULL DEFAULT 0, created_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS request_histories (
    id INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL UNIQUE, log_name TEXT NOT NULL UNIQUE,
    url TEXT NOT NULL DEFAULT '', method TEXT NOT NULL DEFAULT '', status_code INTEGER NOT NULL DEFAULT 0,
    force INTEGER NOT NULL DEFAULT 0, request_timestamp TEXT, api_response_timestamp TEXT,
    log_text_gzip BLOB NOT NULL, created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS idx_request_histories_force ON request_histories (force);
CREATE INDEX IF NOT EXISTS idx_request_histories_created_at ON request_histories (created_at);
"""
_KEYS = "CREATE TABLE IF NOT EXISTS usage_event_keys (event_key TEXT PRIMARY KEY, created_at TEXT) WITHOUT ROWID;"
_ROLLUPS = """
CREATE TABLE IF NOT EXISTS usage_rollups (
    bucket_start TEXT NOT NULL, api_group_key TEXT NOT NULL, provider TEXT NOT NULL DEFAULT '',
    endpoint TEXT NOT NULL DEFAULT '', auth_type TEXT NOT NULL DEFAULT '', model TEXT NOT NULL,
    source TEXT NOT NULL DEFAULT '', auth_index TEXT NOT NULL DEFAULT '', failed INTEGER NOT NULL DEFAULT 0,
    request_count INTEGER NOT NULL DEFAULT 0, latency_total_ms INTEGER NOT NULL DEFAULT 0,
    latency_sample_count INTEGER NOT NULL DEFAULT 0, input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0, reasoning_tokens INTEGER NOT NULL DEFAULT 0,
    cached_tokens INTEGER NOT NULL DEFAULT 0, cache_read_tokens INTEGER NOT NULL DEFAULT 0,
    cache_creation_tokens INTEGER NOT NULL DEFAULT 0, total_tokens INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (bucket_start, api_group_key, provider, endpoint, auth_type, model, source, auth_index, failed)
) WITHOUT ROWID;
"""
_EVENT_COLUMNS = {
    "cache_read_tokens": "INTEGER NOT NULL DEFAULT 0",
    "cache_creation_tokens": "INTEGER NOT NULL DEFAULT 0",
    "requested_model": "TEXT NOT NULL DEFAULT ''",
    "ts_ms": "INTEGER NOT NULL DEFAULT 0",
    "attempt": "INTEGER NOT NULL DEFAULT 1",
    "final": "INTEGER NOT NULL DEFAULT 1",
    "status_code": "INTEGER NOT NULL DEFAULT 0",
    "error_code": "TEXT NOT NULL DEFAULT ''",
    "fail_body": "TEXT NOT NULL DEFAULT ''",
    "ttft_ms": "INTEGER",
    "stream": "INTEGER NOT NULL DEFAULT 0",
    "client_format": "TEXT NOT NULL DEFAULT ''",
    "upstream_format": "TEXT NOT NULL DEFAULT ''",
    "uncached_tokens": "INTEGER",
    "cache_creation_1h_tokens": "INTEGER NOT NULL DEFAULT 0",
    "estimated": "INTEGER NOT NULL DEFAULT 0",
    "cost_nanos": "INTEGER",
}
_ROLLUP_COLUMNS = {
    "final_count": "INTEGER NOT NULL DEFAULT 0",
    "ttft_total_ms": "INTEGER NOT NULL DEFAULT 0",
    "ttft_sample_count": "INTEGER NOT NULL DEFAULT 0",
    "cost_nanos": "INTEGER NOT NULL DEFAULT 0",
    "priced_count": "INTEGER NOT NULL DEFAULT 0",
}
_INDEXES = """
CREATE INDEX IF NOT EXISTS idx_usage_events_ts ON usage_events (ts_ms, id);
CREATE INDEX IF NOT EXISTS idx_usage_events_model_ts ON usage_events (model, ts_ms);
CREATE INDEX IF NOT EXISTS idx_usage_events_auth_ts ON usage_events (auth_index, ts_ms);
CREATE INDEX IF NOT EXISTS idx_usage_events_request_id ON usage_events (request_id);
DROP INDEX IF EXISTS idx_usage_events_failed;
DROP INDEX IF EXISTS idx_usage_events_timestamp;
DROP INDEX IF EXISTS idx_usage_events_model;
DROP INDEX IF EXISTS idx_usage_events_auth_index;
"""
_BACKFILL_KEYS = "INSERT OR IGNORE INTO usage_event_keys SELECT event_key, created_at FROM usage_events"
_BACKFILL_ROLLUPS = """
INSERT INTO usage_rollups (bucket_start, api_group_key, provider, endpoint, auth_type, model, source, auth_index,
    failed, request_count, latency_total_ms, latency_sample_count, input_tokens, output_tokens, reasoning_tokens,
    cached_tokens, cache_read_tokens, cache_creation_tokens, total_tokens, final_count)
SELECT strftime('%Y-%m-%dT%H:%M:%SZ', ts_ms / 900000 * 900, 'unixepoch'), api_group_key, provider, endpoint, auth_type,
    model, source, auth_index, failed, count(*), sum(max(latency_ms, 0)), sum(latency_ms > 0), sum(input_tokens),
    sum(output_tokens), sum(reasoning_tokens), sum(cached_tokens), sum(cache_read_tokens),
    sum(cache_creation_tokens), sum(total_tokens), count(*)
FROM usage_events GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
"""


def open_database(path: Path) -> sqlite3.Connection:
    """The writer's connection to an up-to-date database; a new file is made, an older one upgraded after a copy.

    Raises DatabaseTooNew, sqlite3.Error and OSError. Blocks.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = not path.exists() or path.stat().st_size == 0
    if fresh:
        path.touch(mode=0o600)
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
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
    """A connection that changes nothing. Raises sqlite3.Error."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA query_only=ON")
    return connection


def _refuse_newer(connection: sqlite3.Connection, path: Path) -> None:
    """Raises DatabaseTooNew before anything in the file is touched."""
    version, foreign = connection.execute("PRAGMA user_version").fetchone()[0], _foreign_version(connection)
    if version > VERSION or foreign > LAST_FOREIGN:
        raise DatabaseTooNew(
            f"{path} was written by a newer program (version {version or foreign}): "
            "a newer cpa can read it, or name another file in usage-database-path"
        )


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA busy_timeout=5000")
    connection.execute("PRAGMA foreign_keys=ON")


def _migrate(connection: sqlite3.Connection, path: Path, fresh: bool) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == VERSION:
        return
    if not fresh:
        _back_up(connection, path)
    connection.execute("BEGIN IMMEDIATE")
    try:
        _upgrade(connection)
        connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _foreign_version(connection: sqlite3.Connection) -> int:
    """The version CLIProxyAPI has written down; 0 when it never had the file."""
    with suppress(sqlite3.OperationalError):
        row = connection.execute("SELECT max(version_id) FROM usage_schema_migrations WHERE is_applied").fetchone()
        return int(row[0] or 0)
    return 0


def _back_up(connection: sqlite3.Connection, path: Path) -> None:
    """A copy of the file as it was, beside it."""
    target = path.with_name(f"{path.name}.before-{VERSION}")
    if not target.exists():
        target.touch(mode=0o600)
        with sqlite3.connect(target) as copy:
            connection.backup(copy)
        copy.close()


def _upgrade(connection: sqlite3.Connection) -> None:
    had_rollups = _columns(connection, "usage_rollups") != set()
    for script in (_FIRST, _KEYS, _ROLLUPS):
        _run(connection, script)
    _add_columns(connection, "usage_events", _EVENT_COLUMNS)
    _add_columns(connection, "usage_rollups", _ROLLUP_COLUMNS)
    connection.create_function("to_ms", 1, _to_ms, deterministic=True)
    connection.execute("UPDATE usage_events SET ts_ms = to_ms(timestamp) WHERE ts_ms = 0")
    connection.execute(
        "UPDATE usage_events SET status_code = CASE WHEN failed THEN 500 ELSE 200 END WHERE status_code = 0"
    )
    connection.execute(_BACKFILL_KEYS)
    if had_rollups:
        connection.execute("UPDATE usage_rollups SET final_count = request_count WHERE final_count = 0")
    else:
        connection.execute(_BACKFILL_ROLLUPS)
    _run(connection, _INDEXES)


def _run(connection: sqlite3.Connection, script: str) -> None:
    """Statements one by one: ``executescript`` would end the transaction."""
    for statement in script.split(";\n"):
        if statement.strip().rstrip(";"):
            connection.execute(statement)


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row["name"] for row in connection.execute(f"PRAGMA table_info({table})")}


def _add_columns(connection: sqlite3.Connection, table: str, columns: dict[str, str]) -> None:
    known = _columns(connection, table)
    for name, kind in columns.items():
        if name not in known:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")


def _to_ms(text: str) -> int:
    try:
        return parse_timestamp(text)
    except ValueError:
        return 1
