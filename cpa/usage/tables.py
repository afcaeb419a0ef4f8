"""The tables of the usage database, as statements.

An attempt is a narrow row of numbers in ``usage_attempts``. Its texts, of which there are few different ones, stand in
``usage_places`` (what is summed by) and ``usage_origins`` (what the client said of itself). Sums are kept by place: by
quarter of an hour, by day, and by quarter of an hour over everything. Views give it all under the names and columns of
CLIProxyAPI's tables and of earlier versions of ours: ``usage_events``, ``usage_rollups``, ``usage_days``.
"""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """What sums are kept apart by, besides time and failure."""

    api_group_key: str
    provider: str
    endpoint: str
    auth_type: str
    model: str
    requested_model: str
    source: str
    auth_index: str
    client_format: str
    upstream_format: str
    reasoning_effort: str
    service_tier: str
    response_service_tier: str


class Origin(NamedTuple):
    """How a request came; goes with the last attempt that it belongs to."""

    stream: int
    user_agent: str
    client_ip: str


PLACE = Place._fields
ORIGIN = Origin._fields
CHOSEN = ("requested_model", "reasoning_effort", "service_tier", "response_service_tier")
"""The part of a place that others choose freely: left out of sums once there are very many places."""
FOREIGN_SUMS = (
    "request_count", "latency_total_ms", "latency_sample_count", "input_tokens", "output_tokens", "reasoning_tokens",
    "cached_tokens", "cache_read_tokens", "cache_creation_tokens", "total_tokens",
)  # fmt: skip
OWN_SUMS = ("final_count", "ttft_total_ms", "ttft_sample_count", "cost_nanos", "priced_count", "priced_tokens")
SUMS = FOREIGN_SUMS + OWN_SUMS
ADD_SUMS = "DO UPDATE SET " + ", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)
"""The end of a statement that adds sums to those that are there."""
RECORDED = (
    "ts_ms", "request_id", "place_id", "origin_id", "latency_ms", "ttft_ms", "input_tokens", "output_tokens",
    "total_tokens", "uncached_tokens", "cost_nanos", "reasoning_tokens", "cached_tokens", "cache_read_tokens",
    "cache_creation_tokens", "cache_creation_1h_tokens", "failed", "final", "attempt", "status_code", "estimated",
    "error_code", "fail_body",
)  # fmt: skip
"""Columns of ``usage_attempts`` that every attempt has, in the order in which rows are written."""
LEFT_OUT = (None, 0, 0, 0, 0, 0, 0, 1, 1, 200, 0, "", "")
"""Values of the last of them, from ``cost_nanos`` on: a row that ends before them has these."""
SHORTEST = len(RECORDED) - len(LEFT_OUT)
"""How many columns come before them."""
ATTEMPT = (*RECORDED, "event_key", "timestamp")


def _texts(names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} TEXT NOT NULL DEFAULT ''" for name in names)


def _counters(names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in names)


HISTORIES = """
CREATE TABLE IF NOT EXISTS request_histories (
    id INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL UNIQUE, log_name TEXT NOT NULL UNIQUE,
    url TEXT NOT NULL DEFAULT '', method TEXT NOT NULL DEFAULT '', status_code INTEGER NOT NULL DEFAULT 0,
    force INTEGER NOT NULL DEFAULT 0, request_timestamp TEXT, api_response_timestamp TEXT,
    log_text_gzip BLOB NOT NULL, created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS idx_request_histories_force ON request_histories (force);
CREATE INDEX IF NOT EXISTS idx_request_histories_created_at ON request_histories (created_at);
"""
"""What CLIProxyAPI and earlier versions stored; nothing is added."""
HISTORY_COLUMNS = {"detail": "TEXT NOT NULL DEFAULT ''"}
"""What is known of a history besides its text, as JSON; empty for those that CLIProxyAPI wrote."""
HISTORY_BATCHES = """
CREATE TABLE request_history_batches (
    id INTEGER PRIMARY KEY, count INTEGER NOT NULL, forced INTEGER NOT NULL, created_ms INTEGER NOT NULL,
    request_ids TEXT NOT NULL, heads BLOB NOT NULL, bodies BLOB NOT NULL);
CREATE INDEX idx_request_history_batches_created ON request_history_batches (created_ms);
CREATE INDEX idx_request_history_batches_forced ON request_history_batches (id) WHERE forced = 1;
CREATE TABLE request_history_ids (
    request_id TEXT PRIMARY KEY, history_id INTEGER NOT NULL, begun_ms INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO request_history_ids SELECT request_id, id, coalesce(
    CAST(strftime('%s', substr(request_timestamp, 1, 19)) AS INTEGER) * 1000
    + CAST(substr(rtrim(substr(request_timestamp, 21), 'Z') || '000', 1, 3) AS INTEGER), 0) FROM request_histories;
"""
"""Histories as they are stored now, and where each is, also those of before."""
KEYS = "CREATE TABLE IF NOT EXISTS usage_event_keys (event_key TEXT PRIMARY KEY, created_at TEXT) WITHOUT ROWID;"
"""Keys of events that are gone, so that they are recognised when they are imported again."""
ATTEMPTS = f"""
CREATE TABLE usage_state (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE usage_places (
    id INTEGER PRIMARY KEY, sums_id INTEGER, last_ms INTEGER NOT NULL DEFAULT 0, {_texts(PLACE)},
    UNIQUE ({", ".join(PLACE)}));
CREATE TABLE usage_origins (
    id INTEGER PRIMARY KEY, last_ms INTEGER NOT NULL DEFAULT 0, stream INTEGER NOT NULL, {_texts(ORIGIN[1:])},
    UNIQUE ({", ".join(ORIGIN)}));
CREATE TABLE usage_attempts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, ts_ms INTEGER NOT NULL, request_id TEXT NOT NULL, place_id INTEGER NOT NULL,
    origin_id INTEGER NOT NULL, failed INTEGER NOT NULL, final INTEGER NOT NULL, attempt INTEGER NOT NULL,
    status_code INTEGER NOT NULL, latency_ms INTEGER NOT NULL, ttft_ms INTEGER, input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL, cache_creation_tokens INTEGER NOT NULL, total_tokens INTEGER NOT NULL,
    uncached_tokens INTEGER, cost_nanos INTEGER, cache_creation_1h_tokens INTEGER NOT NULL, estimated INTEGER NOT NULL,
    error_code TEXT, fail_body TEXT, timestamp TEXT, event_key TEXT);
CREATE TABLE usage_sums (
    bucket INTEGER NOT NULL, place_id INTEGER NOT NULL, failed INTEGER NOT NULL, {_counters(SUMS)},
    PRIMARY KEY (bucket, place_id, failed)) WITHOUT ROWID;
CREATE TABLE usage_day_sums (
    day INTEGER NOT NULL, place_id INTEGER NOT NULL, failed INTEGER NOT NULL, {_counters(SUMS)},
    PRIMARY KEY (day, place_id, failed)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS usage_quarters (
    bucket_start TEXT NOT NULL, failed INTEGER NOT NULL, {_counters(SUMS)},
    PRIMARY KEY (bucket_start, failed)) WITHOUT ROWID;
INSERT INTO usage_state VALUES ('database', lower(hex(randomblob(8))));
"""  # noqa: S608
"""``bucket`` counts quarters of an hour since 1970, ``day`` days; ``timestamp`` is there when it is finer than
``ts_ms``, ``event_key`` when the event came from elsewhere. ``sums_id`` is the place under which a place is summed when
that is another one, ``last_ms`` when it was last looked up, to the day."""
INDEXES = """
CREATE INDEX idx_usage_attempts_ts ON usage_attempts (ts_ms);
CREATE INDEX idx_usage_attempts_request_id ON usage_attempts (request_id);
CREATE UNIQUE INDEX idx_usage_attempts_event_key ON usage_attempts (event_key) WHERE event_key IS NOT NULL;
CREATE INDEX idx_usage_sums_place ON usage_sums (place_id, bucket);
"""
USUAL = 200
"""The status that nearly all attempts have."""
UNUSUAL = f"status_code <> {USUAL}"
STATUSES = f"""
CREATE INDEX idx_usage_attempts_status ON usage_attempts (status_code, ts_ms, place_id, failed, final) WHERE {UNUSUAL};
"""
"""Finds and counts what has another status, and costs the rest nothing."""
TIME = "rtrim(rtrim(strftime('%Y-%m-%dT%H:%M:%f', {ms} / 1000.0, 'unixepoch'), '0'), '.') || 'Z'"
"""An expression for ``event.timestamp`` of milliseconds."""
_QUARTER = "strftime('%Y-%m-%dT%H:%M:%SZ', s.bucket * 900, 'unixepoch') AS bucket_start"
_DAY = "date(s.day * 86400, 'unixepoch') AS day"
_SUMMED = ", ".join(f"p.{name}" for name in PLACE) + ", s.failed, " + ", ".join(f"s.{name}" for name in SUMS)
VIEWS = f"""
CREATE VIEW usage_events AS SELECT
    a.id, coalesce(a.event_key,
        (SELECT value FROM usage_state WHERE name = 'database') || '-' || a.id || '-' || a.ts_ms) AS event_key,
    p.api_group_key, p.provider, p.endpoint, p.auth_type, a.request_id, p.model,
    coalesce(a.timestamp, {TIME.format(ms="a.ts_ms")}) AS timestamp, p.source, p.auth_index, a.failed, a.latency_ms,
    a.input_tokens, a.output_tokens, a.reasoning_tokens, a.cached_tokens, a.total_tokens,
    coalesce(a.timestamp, {TIME.format(ms="a.ts_ms")}) AS created_at, a.cache_read_tokens, a.cache_creation_tokens,
    p.requested_model, a.ts_ms, a.attempt, a.final, a.status_code, coalesce(a.error_code, '') AS error_code,
    coalesce(a.fail_body, '') AS fail_body, a.ttft_ms, o.stream, p.client_format, p.upstream_format, a.uncached_tokens,
    a.cache_creation_1h_tokens, a.estimated, a.cost_nanos, p.reasoning_effort, p.service_tier, o.user_agent,
    p.response_service_tier, o.client_ip
FROM usage_attempts a CROSS JOIN usage_places p ON p.id = a.place_id CROSS JOIN usage_origins o ON o.id = a.origin_id;
CREATE VIEW usage_rollups AS SELECT {_QUARTER}, {_SUMMED}
FROM usage_sums s CROSS JOIN usage_places p ON p.id = s.place_id;
CREATE VIEW usage_days AS SELECT {_DAY}, {_SUMMED}
FROM usage_day_sums s CROSS JOIN usage_places p ON p.id = s.place_id;
"""  # noqa: S608
