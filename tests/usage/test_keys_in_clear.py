"""Keys that CLIProxyAPI recorded in clear are not in our record; who used them is known by what is recorded now."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import orjson
import pytest

from cpa.config.client_keys import key_id
from cpa.usage.export import export_json, export_jsonl
from cpa.usage.filters import EventFilter
from cpa.usage.in_clear import account_of, client_of
from cpa.usage.insert import insert
from cpa.usage.overview import overview
from cpa.usage.queries import events_page
from cpa.usage.schema import open_database, transaction
from cpa.usage.transfer import Imported, import_json
from tests.usage.conftest import NOON, event
from tests.usage.earlier_layouts import foreign

CLIENT, ACCOUNT = "sk-client-0123456789abcdef", "sk-upstream-0123456789abcdef"
ROWS = (
    (CLIENT, "codex", "POST /v1/responses", "oauth", "me@example.org", "0a"),
    (CLIENT, "openrouter", "POST /v1/responses", "apikey", ACCOUNT, "0b"),
    ("openrouter", "openrouter", "POST /v1/responses", "apikey", ACCOUNT, "0b"),
    ("POST /v1/messages", "", "POST /v1/messages", "", "", ""),
    (CLIENT, "claude", "", "apikey", ACCOUNT, ""),
    (CLIENT, "claude", "", "apikey", "sk-upstream-that-ends-abcdef", ""),
)
"""(api_group_key, provider, endpoint, auth_type, source, auth_index)"""


def database(path: Path, version: int) -> None:
    """CLIProxyAPI's, with keys in clear in its events and, where it has them, its sums."""
    foreign(path, version)
    with sqlite3.connect(path) as connection:
        for number, row in enumerate(ROWS):
            connection.execute(
                "INSERT INTO usage_events (event_key, model, timestamp, request_id, total_tokens, created_at, "
                "api_group_key, provider, endpoint, auth_type, source, auth_index) VALUES (?, 'm', ?, ?, 7, '', ?, ?, "
                "?, ?, ?, ?)",
                (f"e{number}", f"2026-02-01T12:00:0{number}Z", f"r{number}", *row),
            )
        if version >= 3:
            connection.execute(
                "INSERT INTO usage_rollups (bucket_start, api_group_key, provider, endpoint, auth_type, model, source, "
                "auth_index, failed, request_count, total_tokens) "
                "VALUES ('2026-01-02T00:00:00Z', ?, 'claude', '', 'apikey', 'm', ?, '', 0, 1, 7)",
                (CLIENT, ACCOUNT),
            )
    connection.close()


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_a_database_that_is_taken_over_keeps_no_key(tmp_path: Path, version: int) -> None:
    path = tmp_path / "u.sqlite"
    database(path, version)
    connection = open_database(path)
    whole = b"".join(export_json(connection, EventFilter()))
    places = str([tuple(row) for row in connection.execute("SELECT * FROM usage_places")])
    usage = overview(connection)["usage"]
    events = events_page(connection, EventFilter(client=key_id(CLIENT)))
    connection.close()
    for key in (CLIENT, ACCOUNT, "sk-upstream-that-ends-abcdef"):
        assert key.encode() not in whole
        assert key not in places
        assert key not in str(usage)
    assert events["total_count"] == 4
    groups = {name: api["total_requests"] for name, api in usage["apis"].items()}
    pruned = int(version >= 3)
    assert groups == {
        key_id(CLIENT): 4 + pruned,
        "openrouter": 1,
        "POST /v1/messages": 1,
        key_id("sk"): 2 + pruned,
        key_id("other"): 2,
    }
    sources = {row["request_id"]: row["source"] for row in events["events"]}
    assert (sources["r0"], sources["r1"]) == ("me@example.org", "openrouter sk-u...cdef")
    assert {sources["r4"], sources["r5"]} > {"sk-u...cdef"}, "two keys stay two"


def detail(number: int, **fields: Any) -> dict[str, Any]:
    group, _, _, _, source, auth_index = ROWS[number]
    tokens = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 7}
    moment = f"2026-02-01T12:00:0{number}Z"
    made = {"timestamp": moment, "source": source, "auth_index": auth_index, "request_id": f"r{number}"}
    return {"group": group, **made, "tokens": tokens, "failed": False, **fields}


def export_of(details: list[dict[str, Any]]) -> bytes:
    """As CLIProxyAPI writes it."""
    apis: dict[str, Any] = {}
    for one in details:
        rest = {name: value for name, value in one.items() if name != "group"}
        apis.setdefault(one["group"], {"models": {"m": {"details": []}}})["models"]["m"]["details"].append(rest)
    return orjson.dumps({"version": 1, "usage": {"apis": apis}})


def take(connection: sqlite3.Connection, content: bytes) -> Imported:
    def run(work: Any) -> int:
        with transaction(connection):
            return int(work(connection))

    return import_json(run, content, ["openrouter"])


def test_an_export_brings_no_key_and_comes_in_once(tmp_path: Path) -> None:
    content = export_of([detail(number) for number in range(len(ROWS))])
    connection = open_database(tmp_path / "u.sqlite")
    assert take(connection, content) == Imported(added=len(ROWS))
    assert take(connection, content) == Imported(skipped=len(ROWS))
    ours = b"".join(export_jsonl(connection, EventFilter()))
    assert CLIENT.encode() not in ours
    assert ACCOUNT.encode() not in ours
    found = events_page(connection, EventFilter())
    assert set(found["api_group_keys"]) == {key_id(CLIENT), "openrouter", "POST /v1/messages"}
    assert take(connection, ours) == Imported(skipped=len(ROWS))
    connection.close()


def test_an_export_of_a_database_that_was_taken_over_is_known(tmp_path: Path) -> None:
    path = tmp_path / "u.sqlite"
    database(path, 4)
    connection = open_database(path)
    content = export_of([detail(number) for number in range(4)])
    assert take(connection, content) == Imported(skipped=4)
    connection.close()


def test_who_asked_is_left_as_it_is_in_exports_of_cpa(tmp_path: Path) -> None:
    one, other = open_database(tmp_path / "one"), open_database(tmp_path / "other")
    insert(one, [event(group="a-plugin's name", at_ms=NOON, source="a-name-of-24-characters-1")], NOON)
    take(other, b"".join(export_jsonl(one, EventFilter())))
    row = events_page(other, EventFilter())["events"][0]
    assert (row["api_group_key"], row["source"]) == ("a-plugin's name", "a-name-of-24-characters-1")
    one.close()
    other.close()


@pytest.mark.parametrize("name", ["", "unknown", "claude", "POST /v1beta/models/*action", key_id("x")])
def test_what_is_no_key_of_a_client_stays(name: str) -> None:
    assert client_of(name) == name


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("me@example.org (project-1234567890123)", "me@example.org (project-1234567890123)"),
        ("acme-prod-421907", "acme-prod-421907"),
        ("AIzaSyA0123456789", "AIza...6789"),
        ("0123456789abcdef0123456789abcdef", "0123...cdef"),
        ("sk-a...wxyz", "sk-a...wxyz"),
        ("", ""),
    ],
)
def test_a_key_of_an_account_is_told_by_its_look(source: str, shown: str) -> None:
    assert account_of(source) == shown
