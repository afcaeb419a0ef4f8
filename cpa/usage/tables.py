"""The tables of the usage database, as statements.

Tables and columns of CLIProxyAPI keep their names, so that its databases are taken over in place; ours are added.
"""

from __future__ import annotations

EVENTS_AND_HISTORIES = """
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
KEYS = "CREATE TABLE IF NOT EXISTS usage_event_keys (event_key TEXT PRIMARY KEY, created_at TEXT) WITHOUT ROWID;"
"""Keys of events that are gone, so that they are recognised when they are imported again."""

PLACE = ("api_group_key", "provider", "endpoint", "auth_type", "model", "source", "auth_index", "failed")
"""What sums are kept apart by, besides time."""
FOREIGN_SUMS = (
    "request_count", "latency_total_ms", "latency_sample_count", "input_tokens", "output_tokens", "reasoning_tokens",
    "cached_tokens", "cache_read_tokens", "cache_creation_tokens", "total_tokens",
)  # fmt: skip
OWN_SUMS = ("final_count", "ttft_total_ms", "ttft_sample_count", "cost_nanos", "priced_count", "priced_tokens")
SUMS = FOREIGN_SUMS + OWN_SUMS

_PLACE_COLUMNS = (
    "api_group_key TEXT NOT NULL, provider TEXT NOT NULL DEFAULT '', endpoint TEXT NOT NULL DEFAULT '', "
    "auth_type TEXT NOT NULL DEFAULT '', model TEXT NOT NULL, source TEXT NOT NULL DEFAULT '', "
    "auth_index TEXT NOT NULL DEFAULT '', failed INTEGER NOT NULL DEFAULT 0"
)


def _counters(names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in names)


ROLLUPS = f"""
CREATE TABLE IF NOT EXISTS usage_rollups (
    bucket_start TEXT NOT NULL, {_PLACE_COLUMNS}, {_counters(FOREIGN_SUMS)},
    PRIMARY KEY (bucket_start, {", ".join(PLACE)})) WITHOUT ROWID;
"""
"""Sums by quarter of an hour: ``2026-01-31T12:15:00Z``."""
COARSE_ROLLUPS = f"""
CREATE TABLE IF NOT EXISTS usage_days (
    day TEXT NOT NULL, {_PLACE_COLUMNS}, {_counters(SUMS)},
    PRIMARY KEY (day, {", ".join(PLACE)})) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS usage_quarters (
    bucket_start TEXT NOT NULL, failed INTEGER NOT NULL, {_counters(SUMS)},
    PRIMARY KEY (bucket_start, failed)) WITHOUT ROWID;
"""
"""The same sums by day of UTC, and by quarter of an hour alone: what long ranges of time are answered from."""
EVENT_COLUMNS = {
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
    "reasoning_effort": "TEXT NOT NULL DEFAULT ''",
    "service_tier": "TEXT NOT NULL DEFAULT ''",
    "user_agent": "TEXT NOT NULL DEFAULT ''",
}
"""What every version after the first added."""
HISTORY_COLUMNS = {"detail": "TEXT NOT NULL DEFAULT ''"}
"""What is known of a history besides its text, as JSON; empty for those that CLIProxyAPI wrote."""
ROLLUP_COLUMNS = dict.fromkeys(OWN_SUMS, "INTEGER NOT NULL DEFAULT 0")
INDEXES = """
CREATE INDEX IF NOT EXISTS idx_usage_events_ts ON usage_events (ts_ms);
CREATE INDEX IF NOT EXISTS idx_usage_events_request_id ON usage_events (request_id);
CREATE INDEX IF NOT EXISTS idx_usage_rollups_group_model ON usage_rollups (api_group_key, model, bucket_start);
"""
"""As few as possible, because every one is written with every event: the sums tell where events are to be found."""
DROPPED_INDEXES = """
DROP INDEX IF EXISTS idx_usage_events_failed;
DROP INDEX IF EXISTS idx_usage_events_timestamp;
DROP INDEX IF EXISTS idx_usage_events_model;
DROP INDEX IF EXISTS idx_usage_events_source;
DROP INDEX IF EXISTS idx_usage_events_auth_index;
DROP INDEX IF EXISTS idx_usage_events_model_ts;
DROP INDEX IF EXISTS idx_usage_events_auth_ts;
DROP INDEX IF EXISTS idx_usage_events_requested_model;
DROP INDEX IF EXISTS idx_usage_rollups_model;
DROP INDEX IF EXISTS idx_usage_rollups_source;
DROP INDEX IF EXISTS idx_usage_rollups_auth_index;
"""
BACKFILL_ROLLUPS = f"""
INSERT INTO usage_rollups (bucket_start, {", ".join(PLACE)}, {", ".join(FOREIGN_SUMS)}, final_count, priced_count,
    cost_nanos, priced_tokens, ttft_total_ms, ttft_sample_count)
SELECT strftime('%Y-%m-%dT%H:%M:%SZ', ts_ms / 900000 * 900, 'unixepoch'), {", ".join(PLACE)}, count(*),
    sum(max(latency_ms, 0)), sum(latency_ms > 0), sum(input_tokens), sum(output_tokens), sum(reasoning_tokens),
    sum(cached_tokens), sum(cache_read_tokens), sum(cache_creation_tokens), sum(total_tokens), sum(final),
    count(cost_nanos), coalesce(sum(cost_nanos), 0), sum(CASE WHEN cost_nanos IS NULL THEN 0 ELSE total_tokens END),
    coalesce(sum(ttft_ms), 0), count(ttft_ms)
FROM usage_events GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
"""  # noqa: S608
_TOTALS = ", ".join(f"sum({name})" for name in SUMS)
BACKFILL_COARSE = f"""
DELETE FROM usage_days;
DELETE FROM usage_quarters;
INSERT INTO usage_days (day, {", ".join(PLACE + SUMS)})
    SELECT substr(bucket_start, 1, 10), {", ".join(PLACE)}, {_TOTALS}
    FROM usage_rollups GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9;
INSERT INTO usage_quarters (bucket_start, failed, {", ".join(SUMS)})
    SELECT bucket_start, failed, {_TOTALS} FROM usage_rollups GROUP BY 1, 2;
"""  # noqa: S608
