"""Take the record out of the tables of CLIProxyAPI (versions 1 to 4) and of earlier versions of cpa (101 to 103)."""

from __future__ import annotations

import sqlite3

from cpa.config.client_keys import key_id
from cpa.usage.event import parse_timestamp
from cpa.usage.in_clear import PROVIDERS, account_of, client_of
from cpa.usage.tables import ATTEMPT, FOREIGN_SUMS, ORIGIN, OWN_SUMS, PLACE, SUMS, TIME

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
    "response_service_tier": "TEXT NOT NULL DEFAULT ''",
    "client_ip": "TEXT NOT NULL DEFAULT ''",
}
"""What events of some version lack, and what it is then."""
ROLLUP_COLUMNS = dict.fromkeys(OWN_SUMS, "INTEGER NOT NULL DEFAULT 0")
_OLD_PLACE = ("api_group_key", "provider", "endpoint", "auth_type", "model", "source", "auth_index")
"""What sums were kept apart by."""

_MS = """CASE WHEN e.ts_ms <> 0 THEN e.ts_ms ELSE coalesce(
    CASE WHEN e.timestamp GLOB '????-??-??T??:??:??[.Z]*' AND e.timestamp GLOB '*Z' THEN
        CAST(strftime('%s', substr(e.timestamp, 1, 19)) AS INTEGER) * 1000
        + CAST(substr(rtrim(substr(e.timestamp, 21), 'Z') || '000', 1, 3) AS INTEGER)
    END, to_ms(e.timestamp)) END"""
_VALUES = {
    "ts_ms": _MS,
    "place_id": "p.id",
    "origin_id": "o.id",
    "failed": "e.failed <> 0",
    "final": "e.final <> 0",
    "status_code": "CASE WHEN e.status_code <> 0 THEN e.status_code WHEN e.failed THEN 500 ELSE 200 END",
    "error_code": "nullif(e.error_code, '')",
    "fail_body": "nullif(e.fail_body, '')",
    "timestamp": f"nullif(e.timestamp, {TIME.format(ms=f'({_MS})')})",
}
"""What is not taken as it is."""


def _same(names: tuple[str, ...], one: str, other: str) -> str:
    return " AND ".join(f"{one}.{name} = {other}.{name}" for name in names)


_DIMENSIONS = f"""
INSERT INTO usage_places ({", ".join(PLACE)}) SELECT DISTINCT {", ".join(PLACE)} FROM earlier_events;
INSERT INTO usage_origins ({", ".join(ORIGIN)}) SELECT DISTINCT {", ".join(ORIGIN)} FROM earlier_events;
UPDATE usage_places SET last_ms = CAST(strftime('%s', 'now') AS INTEGER) * 1000;
UPDATE usage_origins SET last_ms = CAST(strftime('%s', 'now') AS INTEGER) * 1000
"""  # noqa: S608
_EVENTS = f"""
INSERT INTO usage_attempts (id, {", ".join(ATTEMPT)})
SELECT e.id, {", ".join(_VALUES.get(name, f"e.{name}") for name in ATTEMPT)}
FROM earlier_events e CROSS JOIN usage_places p ON {_same(PLACE, "p", "e")}
    CROSS JOIN usage_origins o ON {_same(ORIGIN, "o", "e")}
"""  # noqa: S608
_FROM_EVENTS = f"""
INSERT INTO usage_sums (bucket, place_id, failed, {", ".join(FOREIGN_SUMS + OWN_SUMS)})
SELECT ts_ms / 900000, place_id, failed, count(*), sum(max(latency_ms, 0)), sum(latency_ms > 0), sum(input_tokens),
    sum(output_tokens), sum(reasoning_tokens), sum(cached_tokens), sum(cache_read_tokens), sum(cache_creation_tokens),
    sum(total_tokens), sum(final), coalesce(sum(ttft_ms), 0), count(ttft_ms), coalesce(sum(cost_nanos), 0),
    count(cost_nanos), sum(CASE WHEN cost_nanos IS NULL THEN 0 ELSE total_tokens END)
FROM usage_attempts GROUP BY 1, 2, 3
"""  # noqa: S608
_OLD_BUCKET = "coalesce(CAST(strftime('%s', r.bucket_start) AS INTEGER), 0) / 900"
_FROM_SUMS = f"""
CREATE TEMP TABLE complete AS
    SELECT s.bucket FROM (SELECT bucket, sum(request_count) AS n FROM usage_sums GROUP BY 1) s JOIN
        (SELECT {_OLD_BUCKET} AS bucket, sum(request_count) AS n FROM earlier_rollups r GROUP BY 1) r USING (bucket)
    WHERE s.n >= r.n;
CREATE TEMP TABLE partly AS
    SELECT DISTINCT {_OLD_BUCKET} AS bucket FROM earlier_rollups r WHERE {_OLD_BUCKET} NOT IN complete;
DELETE FROM usage_sums WHERE bucket IN partly;
INSERT OR IGNORE INTO usage_places ({", ".join(_OLD_PLACE)})
    SELECT DISTINCT {", ".join(_OLD_PLACE)} FROM earlier_rollups r WHERE {_OLD_BUCKET} IN partly;
INSERT INTO usage_sums (bucket, place_id, failed, {", ".join(SUMS)})
    SELECT {_OLD_BUCKET}, p.id, r.failed <> 0, {", ".join(f"sum(r.{name})" for name in SUMS)}
    FROM earlier_rollups r CROSS JOIN usage_places p ON {_same(_OLD_PLACE, "p", "r")}
        AND {" AND ".join(f"p.{name} = ''" for name in PLACE if name not in _OLD_PLACE)}
    WHERE {_OLD_BUCKET} IN partly GROUP BY 1, 2, 3;
DROP TABLE complete;
DROP TABLE partly
"""  # noqa: S608
"""Sums of quarters of an hour that have lost events stay what they were, without what they did not tell apart."""
_RENAME = "UPDATE usage_places SET api_group_key = ?, source = ? WHERE id = ?"
_TOTALS = ", ".join(f"sum({name})" for name in SUMS)
_COARSE = f"""
DELETE FROM usage_quarters;
INSERT INTO usage_day_sums (day, place_id, failed, {", ".join(SUMS)})
    SELECT bucket / 96, place_id, failed, {_TOTALS} FROM usage_sums GROUP BY 1, 2, 3;
INSERT INTO usage_quarters (bucket_start, failed, {", ".join(SUMS)})
    SELECT strftime('%Y-%m-%dT%H:%M:%SZ', bucket * 900, 'unixepoch'), failed, {_TOTALS} FROM usage_sums GROUP BY 1, 2
"""  # noqa: S608


def set_aside(connection: sqlite3.Connection) -> bool:
    """Give the tables of an earlier version other names, and the columns of its newest one.

    Whether they are CLIProxyAPI's.
    """
    known = columns_of(connection, "usage_events")
    foreign = bool(known) and "ts_ms" not in known
    for table, name, columns in (
        ("usage_events", "earlier_events", EVENT_COLUMNS),
        ("usage_rollups", "earlier_rollups", ROLLUP_COLUMNS),
    ):
        if known := columns_of(connection, table):
            add_columns(connection, table, {each: kind for each, kind in columns.items() if each not in known})
            connection.execute(f"ALTER TABLE {table} RENAME TO {name}")
            if table == "usage_rollups" and "final_count" not in known:
                connection.execute("UPDATE earlier_rollups SET final_count = request_count")
    connection.execute("DROP TABLE IF EXISTS usage_days")
    return foreign


def take_over(connection: sqlite3.Connection, *, foreign: bool) -> None:
    """Move what was set aside into the tables of this version, and drop it. What is ``foreign`` has keys in clear."""
    connection.create_function("to_ms", 1, _to_ms, deterministic=True)
    if columns_of(connection, "earlier_events"):
        run(connection, _DIMENSIONS)
        run(connection, _EVENTS)
        run(connection, _FROM_EVENTS)
        connection.execute("DROP TABLE earlier_events")
    if columns_of(connection, "earlier_rollups"):
        run(connection, _FROM_SUMS)
        connection.execute("DROP TABLE earlier_rollups")
    run(connection, _COARSE)
    if foreign:
        _hide_keys(connection)


def _hide_keys(connection: sqlite3.Connection) -> None:
    """Let places name clients and accounts as they are named now."""
    rows = connection.execute("SELECT id, api_group_key, provider, endpoint, source, auth_type FROM usage_places")
    for number, group, provider, endpoint, source, auth_type in rows.fetchall():
        client = client_of(group, {*PROVIDERS, provider, endpoint})
        account = account_of(source, auth_type, provider)
        try:
            connection.execute(_RENAME, (client, account, number))
        except sqlite3.IntegrityError:  # another key looks the same once it is masked
            connection.execute(_RENAME, (client, f"{account} {key_id(source)}", number))


def run(connection: sqlite3.Connection, script: str) -> None:
    """Statements one by one: ``executescript`` would end the transaction."""
    for statement in script.split(";\n"):
        if statement.strip().rstrip(";"):
            connection.execute(statement)


def columns_of(connection: sqlite3.Connection, table: str) -> set[str]:
    """Names of the columns of a table; none when there is no such table."""
    return {row["name"] for row in connection.execute(f"PRAGMA table_info({table})")}


def add_columns(connection: sqlite3.Connection, table: str, columns: dict[str, str]) -> None:
    """Add columns, by name and kind."""
    for name, kind in columns.items():
        connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")


def _to_ms(text: str) -> int:
    try:
        return parse_timestamp(text)
    except ValueError:
        return 1
