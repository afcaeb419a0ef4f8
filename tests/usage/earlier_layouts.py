"""Databases as CLIProxyAPI (versions 1 to 4) and earlier versions of cpa (101 to 103) leave them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

V1 = """
CREATE TABLE usage_events (id INTEGER PRIMARY KEY AUTOINCREMENT, event_key TEXT NOT NULL UNIQUE,
    api_group_key TEXT NOT NULL, provider TEXT NOT NULL DEFAULT '', endpoint TEXT NOT NULL DEFAULT '',
    auth_type TEXT NOT NULL DEFAULT '', request_id TEXT NOT NULL DEFAULT '', model TEXT NOT NULL,
    timestamp TEXT NOT NULL, source TEXT NOT NULL DEFAULT '', auth_index TEXT NOT NULL DEFAULT '',
    failed INTEGER NOT NULL DEFAULT 0, latency_ms INTEGER NOT NULL DEFAULT 0, input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0, reasoning_tokens INTEGER NOT NULL DEFAULT 0,
    cached_tokens INTEGER NOT NULL DEFAULT 0, total_tokens INTEGER NOT NULL DEFAULT 0, created_at TEXT NOT NULL);
CREATE INDEX idx_usage_events_timestamp ON usage_events (timestamp);
CREATE INDEX idx_usage_events_model ON usage_events (model);
CREATE INDEX idx_usage_events_source ON usage_events (source);
CREATE INDEX idx_usage_events_auth_index ON usage_events (auth_index);
CREATE INDEX idx_usage_events_failed ON usage_events (failed);
CREATE INDEX idx_usage_events_request_id ON usage_events (request_id);
CREATE TABLE request_histories (id INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL UNIQUE,
    log_name TEXT NOT NULL UNIQUE, url TEXT NOT NULL DEFAULT '', method TEXT NOT NULL DEFAULT '',
    status_code INTEGER NOT NULL DEFAULT 0, force INTEGER NOT NULL DEFAULT 0, request_timestamp TEXT,
    api_response_timestamp TEXT, log_text_gzip BLOB NOT NULL, created_at TEXT NOT NULL);
CREATE INDEX idx_request_histories_force ON request_histories (force);
CREATE INDEX idx_request_histories_created_at ON request_histories (created_at);
CREATE TABLE usage_schema_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL,
    is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now')));
"""
V2 = """
ALTER TABLE usage_events ADD COLUMN cache_read_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_events ADD COLUMN cache_creation_tokens INTEGER NOT NULL DEFAULT 0;
"""
V3 = """
CREATE TABLE usage_event_keys (event_key TEXT PRIMARY KEY, created_at TEXT) WITHOUT ROWID;
CREATE TABLE usage_rollups (bucket_start TEXT NOT NULL, api_group_key TEXT NOT NULL, provider TEXT NOT NULL,
    endpoint TEXT NOT NULL, auth_type TEXT NOT NULL, model TEXT NOT NULL, source TEXT NOT NULL,
    auth_index TEXT NOT NULL, failed INTEGER NOT NULL, request_count INTEGER NOT NULL DEFAULT 0,
    latency_total_ms INTEGER NOT NULL DEFAULT 0, latency_sample_count INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0, output_tokens INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens INTEGER NOT NULL DEFAULT 0, cached_tokens INTEGER NOT NULL DEFAULT 0,
    cache_read_tokens INTEGER NOT NULL DEFAULT 0, cache_creation_tokens INTEGER NOT NULL DEFAULT 0,
    total_tokens INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (bucket_start, api_group_key, provider, endpoint, auth_type,
    model, source, auth_index, failed)) WITHOUT ROWID;
CREATE INDEX idx_usage_rollups_model ON usage_rollups (model);
CREATE INDEX idx_usage_rollups_source ON usage_rollups (source);
CREATE INDEX idx_usage_rollups_auth_index ON usage_rollups (auth_index);
INSERT INTO usage_event_keys SELECT event_key, created_at FROM usage_events;
INSERT INTO usage_rollups SELECT '2026-01-31T12:00:00Z', api_group_key, provider, endpoint, auth_type,
    model, source, auth_index, failed, count(*), sum(latency_ms), sum(latency_ms > 0), sum(input_tokens),
    sum(output_tokens), sum(reasoning_tokens), sum(cached_tokens), sum(cache_read_tokens), sum(cache_creation_tokens),
    sum(total_tokens) FROM usage_events GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9;
"""
V4 = """
ALTER TABLE usage_events ADD COLUMN requested_model TEXT NOT NULL DEFAULT '';
CREATE INDEX idx_usage_events_requested_model ON usage_events (requested_model);
"""
ROWS = (
    ("k0", "sk", "2026-01-31T12:00:00Z", 0, 840),
    ("k1", "sk", "2026-01-31T12:00:00.5Z", 1, 0),
    ("k2", "other", "2026-01-31T12:00:00.123456789Z", 0, 10),
    ("k3", "other", "2026-01-31T14:00:01+02:00", 0, 10),
)
"""(event_key, api_group_key, timestamp, failed, latency_ms)"""


def foreign(path: Path, version: int) -> None:
    """Make the file as that version leaves it: four events of ten tokens, a history; from version 3 a pruned event."""
    connection = sqlite3.connect(path)
    connection.executescript(V1)
    for key, group, moment, failed, latency in ROWS:
        connection.execute(
            "INSERT INTO usage_events (event_key, api_group_key, provider, model, timestamp, source, failed, "
            "latency_ms, input_tokens, output_tokens, total_tokens, created_at) "
            "VALUES (?, ?, 'codex', 'm', ?, 'me', ?, ?, 6, 4, 10, '2026-01-31T12:00:02Z')",
            (key, group, moment, failed, latency),
        )
    connection.execute(
        "INSERT INTO request_histories (request_id, log_name, log_text_gzip, created_at) "
        "VALUES ('r', 'l', x'1f', 'now')"
    )
    for number, script in enumerate(("", V2, V3, V4)[:version], 1):
        connection.executescript(script)
        connection.execute("INSERT INTO usage_schema_migrations (version_id, is_applied) VALUES (?, 1)", (number,))
    if version >= 3:
        connection.execute("INSERT INTO usage_event_keys VALUES ('pruned', '2026-01-01T00:00:00Z')")
        connection.execute(
            "INSERT INTO usage_rollups (bucket_start, api_group_key, provider, endpoint, auth_type, model, source, "
            "auth_index, failed, request_count, total_tokens) "
            "VALUES ('2026-01-01T00:00:00Z', 'sk', 'codex', '', '', 'm', 'me', '', 0, 1, 10)"
        )
    connection.commit()
    connection.close()


_SUMS = (
    "request_count", "latency_total_ms", "latency_sample_count", "input_tokens", "output_tokens", "reasoning_tokens",
    "cached_tokens", "cache_read_tokens", "cache_creation_tokens", "total_tokens", "final_count", "ttft_total_ms",
    "ttft_sample_count", "cost_nanos", "priced_count", "priced_tokens",
)  # fmt: skip
_PLACE = "api_group_key, provider, endpoint, auth_type, model, source, auth_index, failed"
_NUMBERS = ", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in _SUMS)
_PLACES = """
    api_group_key TEXT NOT NULL, provider TEXT NOT NULL DEFAULT '', endpoint TEXT NOT NULL DEFAULT '',
    auth_type TEXT NOT NULL DEFAULT '', model TEXT NOT NULL, source TEXT NOT NULL DEFAULT '',
    auth_index TEXT NOT NULL DEFAULT '', failed INTEGER NOT NULL DEFAULT 0"""
OWN = f"""
CREATE TABLE usage_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, event_key TEXT NOT NULL UNIQUE, api_group_key TEXT NOT NULL,
    provider TEXT NOT NULL DEFAULT '', endpoint TEXT NOT NULL DEFAULT '', auth_type TEXT NOT NULL DEFAULT '',
    request_id TEXT NOT NULL DEFAULT '', model TEXT NOT NULL, timestamp TEXT NOT NULL,
    source TEXT NOT NULL DEFAULT '', auth_index TEXT NOT NULL DEFAULT '', failed INTEGER NOT NULL DEFAULT 0,
    latency_ms INTEGER NOT NULL DEFAULT 0, input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0, reasoning_tokens INTEGER NOT NULL DEFAULT 0,
    cached_tokens INTEGER NOT NULL DEFAULT 0, total_tokens INTEGER NOT NULL DEFAULT 0, created_at TEXT NOT NULL,
    cache_read_tokens INTEGER NOT NULL DEFAULT 0, cache_creation_tokens INTEGER NOT NULL DEFAULT 0,
    requested_model TEXT NOT NULL DEFAULT '', ts_ms INTEGER NOT NULL DEFAULT 0, attempt INTEGER NOT NULL DEFAULT 1,
    final INTEGER NOT NULL DEFAULT 1, status_code INTEGER NOT NULL DEFAULT 0, error_code TEXT NOT NULL DEFAULT '',
    fail_body TEXT NOT NULL DEFAULT '', ttft_ms INTEGER, stream INTEGER NOT NULL DEFAULT 0,
    client_format TEXT NOT NULL DEFAULT '', upstream_format TEXT NOT NULL DEFAULT '', uncached_tokens INTEGER,
    cache_creation_1h_tokens INTEGER NOT NULL DEFAULT 0, estimated INTEGER NOT NULL DEFAULT 0, cost_nanos INTEGER,
    reasoning_effort TEXT NOT NULL DEFAULT '', service_tier TEXT NOT NULL DEFAULT '',
    user_agent TEXT NOT NULL DEFAULT '');
CREATE TABLE request_histories (id INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL UNIQUE,
    log_name TEXT NOT NULL UNIQUE, url TEXT NOT NULL DEFAULT '', method TEXT NOT NULL DEFAULT '',
    status_code INTEGER NOT NULL DEFAULT 0, force INTEGER NOT NULL DEFAULT 0, request_timestamp TEXT,
    api_response_timestamp TEXT, log_text_gzip BLOB NOT NULL, created_at TEXT NOT NULL,
    detail TEXT NOT NULL DEFAULT '');
CREATE TABLE usage_event_keys (event_key TEXT PRIMARY KEY, created_at TEXT) WITHOUT ROWID;
CREATE TABLE usage_rollups (bucket_start TEXT NOT NULL, {_PLACES}, {_NUMBERS},
    PRIMARY KEY (bucket_start, {_PLACE})) WITHOUT ROWID;
CREATE TABLE usage_days (day TEXT NOT NULL, {_PLACES}, {_NUMBERS}, PRIMARY KEY (day, {_PLACE})) WITHOUT ROWID;
CREATE TABLE usage_quarters (bucket_start TEXT NOT NULL, failed INTEGER NOT NULL, {_NUMBERS},
    PRIMARY KEY (bucket_start, failed)) WITHOUT ROWID;
CREATE INDEX idx_usage_events_ts ON usage_events (ts_ms);
CREATE INDEX idx_usage_events_request_id ON usage_events (request_id);
CREATE INDEX idx_usage_rollups_group_model ON usage_rollups (api_group_key, model, bucket_start);
INSERT INTO usage_events (event_key, api_group_key, provider, model, requested_model, timestamp, ts_ms, request_id,
    failed, final, status_code, error_code, latency_ms, ttft_ms, input_tokens, output_tokens, total_tokens,
    uncached_tokens, cost_nanos, stream, user_agent, reasoning_effort, created_at) VALUES
    ('o0', 'key', 'codex', 'm', 'alias', '2026-01-31T12:00:00Z', 1769860800000, 'r0', 1, 0, 429, 'rate_limit', 10, NULL,
        0, 0, 0, 0, NULL, 1, 'tool/1', 'high', '2026-01-31T12:00:01Z'),
    ('o1', 'key', 'codex', 'm', 'alias', '2026-01-31T12:00:00.25Z', 1769860800250, 'r0', 0, 1, 200, '', 400, 90,
        20, 10, 30, 20, 7, 1, 'tool/1', 'high', '2026-01-31T12:00:01Z'),
    ('o2', 'key', 'claude', 'c', 'c', '2026-01-31T12:20:00Z', 1769862000000, 'r1', 0, 1, 200, '', 100, NULL,
        5, 5, 10, 5, NULL, 0, 'tool/2', '', '2026-01-31T12:20:01Z');
INSERT INTO usage_rollups (bucket_start, api_group_key, provider, model, failed, request_count, latency_total_ms,
    latency_sample_count, input_tokens, output_tokens, total_tokens, final_count, ttft_total_ms, ttft_sample_count,
    cost_nanos, priced_count, priced_tokens) VALUES
    ('2026-01-31T12:00:00Z', 'key', 'codex', 'm', 1, 1, 10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    ('2026-01-31T12:00:00Z', 'key', 'codex', 'm', 0, 1, 400, 1, 20, 10, 30, 1, 90, 1, 7, 1, 30),
    ('2026-01-31T12:15:00Z', 'key', 'claude', 'c', 0, 2, 300, 2, 10, 10, 20, 2, 0, 0, 4, 1, 10),
    ('2026-01-30T23:45:00Z', 'key', 'claude', 'c', 1, 1, 10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0);
"""
"""Three events of two requests. Of the second quarter of an hour one event is gone, of the day before the only one."""


def own(path: Path, version: int) -> None:
    """Make the file as that version of cpa leaves it."""
    connection = sqlite3.connect(path)
    connection.executescript(OWN)
    if version < 102:
        connection.executescript("DROP TABLE usage_days; DROP TABLE usage_quarters")
        for table, column in (
            ("usage_rollups", "priced_tokens"),
            ("usage_events", "reasoning_effort"),
            ("usage_events", "service_tier"),
            ("usage_events", "user_agent"),
        ):
            connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    if version < 103:
        connection.execute("ALTER TABLE request_histories DROP COLUMN detail")
    connection.execute(f"PRAGMA user_version={version}")
    connection.commit()
    connection.close()
