"""Exports come in once, whatever was done meanwhile with the database they came from or go to."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from cpa.usage.export import export_json, export_jsonl
from cpa.usage.filters import EventFilter
from cpa.usage.insert import insert
from cpa.usage.retention import prune_events
from cpa.usage.schema import open_database, transaction
from cpa.usage.transfer import Imported, WrongImport, import_json
from tests.usage.conftest import NOON, event

DAY = 86_400_000
Export = Callable[[sqlite3.Connection, EventFilter], Iterator[bytes]]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], sqlite3.Connection]]:
    """Open databases by name."""
    opened: list[sqlite3.Connection] = []

    def open_(name: str) -> sqlite3.Connection:
        opened.append(open_database(tmp_path / name))
        return opened[-1]

    yield open_
    for connection in opened:
        connection.close()


def exported(connection: sqlite3.Connection, export: Export = export_jsonl) -> bytes:
    return b"".join(export(connection, EventFilter()))


def take(connection: sqlite3.Connection, content: bytes) -> Imported:
    def run(work: Callable[[sqlite3.Connection], int]) -> int:
        with transaction(connection):
            return work(connection)

    return import_json(run, content)


def everything(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    found = connection.execute("SELECT * FROM usage_events ORDER BY ts_ms, request_id").fetchall()
    return [tuple(row)[1:] for row in found]


def prune(connection: sqlite3.Connection, days: int, now_ms: int) -> None:
    with transaction(connection):
        while prune_events(connection, days, now_ms):
            pass


MADE = [
    event(request_id="r1", at_ms=NOON - 5 * DAY, ttft_ms=7, cost_nanos=3, stream=True, user_agent="tool"),
    event(request_id="r2", at_ms=NOON + 1, reasoning_effort="high", service_tier="flex"),
    event(request_id="r2", at_ms=NOON + 2, attempt=2, failed=True, status=429, error="rate_limit", fail_body="slow"),
    event(request_id="r3", at_ms=NOON + 3, response_service_tier="default", client_ip="::1"),
]


@pytest.mark.parametrize("export", [export_json, export_jsonl])
def test_an_export_tells_everything_and_comes_in_once(
    make: Callable[[str], sqlite3.Connection], export: Export
) -> None:
    one, other, third = make("one"), make("other"), make("third")
    insert(one, MADE, NOON)
    content = exported(one, export)
    assert take(one, content) == Imported(added=0, skipped=4)
    assert take(other, content) == Imported(added=4)
    assert take(other, content) == Imported(skipped=4)
    assert everything(one) == everything(other)
    assert take(third, exported(other, export)) == Imported(added=4)
    assert take(one, exported(third, export)) == Imported(skipped=4)


def test_what_was_deleted_by_age_stays_away_on_both_sides(make: Callable[[str], sqlite3.Connection]) -> None:
    one, other = make("one"), make("other")
    insert(one, MADE, NOON)
    content = exported(one)
    take(other, content)
    for connection in (one, other):
        prune(connection, 1, NOON + DAY // 2)
        assert take(connection, content) == Imported(skipped=4)
        assert len(everything(connection)) == 3
        assert connection.execute("SELECT sum(request_count) FROM usage_days").fetchone()[0] == 4


def test_copies_that_went_on_by_themselves_are_brought_together(
    make: Callable[[str], sqlite3.Connection], tmp_path: Path
) -> None:
    one = make("one")
    insert(one, MADE, NOON)
    one.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copyfile(tmp_path / "one", tmp_path / "copy")
    copy = make("copy")
    insert(one, [event(request_id="here", at_ms=NOON + 10)], NOON)
    insert(copy, [event(request_id=f"there{n}", at_ms=NOON + 10 + n) for n in range(3)], NOON)
    content = exported(copy)
    assert take(one, content) == Imported(added=3, skipped=4)
    assert take(one, content) == Imported(skipped=7)
    assert len(everything(one)) == 8


def test_numbers_are_never_given_twice(make: Callable[[str], sqlite3.Connection]) -> None:
    one = make("one")
    insert(one, MADE, NOON)
    content = exported(one)
    prune(one, 1, NOON + 9 * DAY)
    insert(one, [event(request_id="new", at_ms=NOON + 9 * DAY)], NOON)
    assert one.execute("SELECT id FROM usage_attempts").fetchall()[0][0] == 5
    assert take(one, content) == Imported(skipped=4)


def test_an_export_of_the_program_before_comes_in_once(make: Callable[[str], sqlite3.Connection]) -> None:
    detail = {
        "timestamp": "2026-01-31T12:00:00.123456789Z", "latency_ms": 5, "source": "me", "auth_index": "0a",
        "tokens": {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}, "failed": False, "request_id": "r",
    }  # fmt: skip
    content = orjson.dumps(
        {"version": 1, "usage": {"apis": {"key": {"models": {"m": {"details": [detail, detail | {"failed": True}]}}}}}}
    )
    one, other = make("one"), make("other")
    assert take(one, content) == Imported(added=2)
    assert take(one, content) == Imported(skipped=2)
    assert take(other, exported(one)) == Imported(added=2)
    assert take(other, content) == Imported(skipped=2)
    prune(one, 1, NOON + 9 * DAY)
    assert take(one, content) == Imported(skipped=2)


def test_an_export_of_many_models_is_in_the_order_of_time_in_each(
    make: Callable[[str], sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cpa.usage.export.HELD", 7)
    monkeypatch.setattr("cpa.usage.export.CHUNK", 5)
    one = make("one")
    made = [
        event(request_id=f"r{n}", at_ms=NOON + n * 31 % 50, model=f"m{n % 3}", group=f"g{n % 2}", failed=n % 10 == 0)
        for n in range(50)
    ]
    insert(one, made, NOON)
    usage = orjson.loads(exported(one, export_json))["usage"]
    assert (usage["total_requests"], usage["failure_count"], usage["total_tokens"]) == (50, 5, 1500)
    assert list(usage["apis"]) == ["g0", "g1"]
    for group, api in usage["apis"].items():
        for model, entry in api["models"].items():
            of_model = [each for each in made if (each.group, each.model) == (group, model)]
            assert [each["request_id"] for each in entry["details"]] == [
                each.request_id for each in sorted(of_model, key=lambda each: each.at_ms)
            ]
            assert entry["total_requests"] == len(of_model)
    only = b"".join(export_json(one, EventFilter(failed=True, models=("m0",), start_ms=NOON, end_ms=NOON + 20)))
    assert orjson.loads(only)["usage"]["total_requests"] == sum(
        each.failed and each.model == "m0" and each.at_ms <= NOON + 20 for each in made
    )


def line(**fields: Any) -> dict[str, Any]:
    return {"api_group_key": "k", "model": "m", "timestamp": "2026-01-31T12:00:00Z", "request_id": "r", **fields}


def snapshot(*details: Any) -> dict[str, Any]:
    return {"version": 1, "usage": {"apis": {"k": {"models": {"m": {"details": list(details)}}}}}}


@pytest.mark.parametrize(
    "content", [orjson.dumps(line(), option=orjson.OPT_APPEND_NEWLINE), orjson.dumps(snapshot(line()))]
)
def test_the_mark_that_some_editors_put_at_the_beginning_is_passed_over(
    make: Callable[[str], sqlite3.Connection], content: bytes
) -> None:
    assert take(make("one"), b"\xef\xbb\xbf" + content) == Imported(added=1)


@pytest.mark.parametrize("name", ["api_group_key", "model", "source", "request_id", "user_agent"])
def test_a_text_of_any_length_is_no_name(make: Callable[[str], sqlite3.Connection], name: str) -> None:
    content = orjson.dumps(line(**{name: "x" * 100_000})) + b"\n" + orjson.dumps(line(request_id="other"))
    assert take(make("one"), content) == Imported(added=1, failed=1)


def test_what_is_wrong_in_a_snapshot_spoils_nothing_else(make: Callable[[str], sqlite3.Connection]) -> None:
    good, odd = snapshot(line(), 7, None, [], {}, line(request_id="s"))["usage"]["apis"]["k"], 5
    models = {"m": good["models"]["m"], "n": odd, "o": {"details": odd}, "p": {"details": None}, "q": {}}
    content = orjson.dumps({"usage": {"apis": {"k": {"models": models}, "l": odd, "m": {"models": odd}}}})
    assert take(make("one"), content) == Imported(added=2, failed=4)
    broken = content.replace(b'"request_id":"s"', b'"request_id":"\xff"')
    assert take(make("other"), broken) == Imported(added=1, failed=5)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "invalid json"),
        (b'{"usage":{"apis":{"k":{"models":{', "invalid json"),
        (b'{"usage":{"apis":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_002, "invalid json"),
        (b'{"version":"1","usage":{"apis":{}}}', "unsupported version"),
        (b'{"version":{},"usage":{"apis":{}}}', "unsupported version"),
        (b"[]", "invalid usage snapshot"),
        (b'{"usage":[]}', "invalid usage snapshot"),
        (b'{"usage":{"apis":[]}}', "invalid usage snapshot"),
        (b'{"apis":7}', "invalid usage snapshot"),
    ],
)
def test_what_is_no_export_is_said(make: Callable[[str], sqlite3.Connection], content: bytes, fault: str) -> None:
    with pytest.raises(WrongImport, match=fault):
        take(make("one"), content)
