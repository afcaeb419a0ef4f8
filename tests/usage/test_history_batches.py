"""Histories that stand in one batch: found, listed and deleted each by itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpa.usage.filters import RequestFilter
from cpa.usage.histories import error_logs, find_error_log, find_history, history_text
from cpa.usage.history_batches import Batch, Bounds, delete_histories, insert_batches, prune_histories
from cpa.usage.requests import list_requests
from cpa.usage.schema import open_database
from tests.usage.made_histories import made_batch

DAY_MS = 86_400_000
NOW_MS = 1_790_000_000_000


def batch(*names: str, forced: bool = False, status: int = 200, begun_ms: int = NOW_MS) -> Batch:
    """Of requests with these ids, a millisecond after each other."""
    begun = {name: begun_ms + number for number, name in enumerate(names)}
    return made_batch(begun, models={name: f"model-of-{name}" for name in names}, forced=forced, status=status)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = open_database(tmp_path / "usage.sqlite")
    yield opened
    opened.close()


def text(connection: sqlite3.Connection, name: str) -> bytes | None:
    history = find_history(connection, name)
    return None if history is None else history_text(history)


def names(connection: sqlite3.Connection, **wanted: object) -> list[str]:
    listed = list_requests(connection, RequestFilter(**wanted))  # type: ignore[arg-type]
    return [row["request_id"] for row in listed]


def test_each_history_of_a_batch_is_found(connection: sqlite3.Connection) -> None:
    insert_batches(connection, [batch("a", "b"), batch("c")], 0, NOW_MS)
    for name in "abc":
        assert f"\nasked by {name}\n".encode() in (text(connection, name) or b"")
    assert text(connection, "d") is None
    found = [find_history(connection, name) for name in "abc"]
    assert len({history.id for history in found if history is not None}) == 3


def test_an_id_that_was_used_before_gets_a_number_behind_it(connection: sqlite3.Connection) -> None:
    twice = batch("a", "b", "x")
    twice.requests[2] = ("a", NOW_MS)
    insert_batches(connection, [twice], 0, NOW_MS)
    insert_batches(connection, [batch("c", "b"), batch("a")], 0, NOW_MS)
    assert sorted(names(connection)) == ["a", "a.2", "a.3", "b", "b.2", "c"]
    history = find_history(connection, "b.2")
    assert history is not None
    assert history.log_name.endswith("-b.2.log")
    assert b"asked by b\n" in history_text(history)


@pytest.mark.parametrize("deleted", ["a", "b", "c"])
def test_one_of_a_batch_is_deleted_and_the_others_stay(connection: sqlite3.Connection, deleted: str) -> None:
    insert_batches(connection, [batch("a", "b", "c")], 0, NOW_MS)
    assert delete_histories(connection, deleted) == 1
    assert delete_histories(connection, deleted) == 0
    for name in {"a", "b", "c"} - {deleted}:
        assert f"\nasked by {name}\n".encode() in (text(connection, name) or b"")
    assert text(connection, deleted) is None
    assert set(names(connection)) == {"a", "b", "c"} - {deleted}


def test_a_batch_whose_histories_are_all_deleted_is_gone(connection: sqlite3.Connection) -> None:
    insert_batches(connection, [batch("a", "b")], 0, NOW_MS)
    assert [delete_histories(connection, name) for name in "ab"] == [1, 1]
    assert connection.execute("SELECT count(*) FROM request_history_batches").fetchone()[0] == 0


def test_deleting_all_says_how_many_there_were(connection: sqlite3.Connection) -> None:
    insert_batches(connection, [batch("a", "b"), batch("c")], 0, NOW_MS)
    assert delete_histories(connection, "b") == 1
    assert delete_histories(connection, None) == 2
    insert_batches(connection, [batch("a")], 0, NOW_MS)
    assert names(connection) == ["a"]


@pytest.mark.parametrize("spoilt", ["heads", "bodies"])
def test_a_batch_that_is_damaged_is_said_to_be_and_can_be_deleted(connection: sqlite3.Connection, spoilt: str) -> None:
    insert_batches(connection, [batch("a", "b")], 0, NOW_MS)
    connection.execute(f"UPDATE request_history_batches SET {spoilt} = substr({spoilt}, 1, 20)")
    assert b"DAMAGED" in (text(connection, "a") or b"")
    assert set(names(connection)) == {"a", "b"}
    assert delete_histories(connection, "a") == 1
    assert b"DAMAGED" in (text(connection, "b") or b"")
    assert delete_histories(connection, "b") == 1
    assert names(connection) == []


def test_failed_requests_are_kept_up_to_their_number_and_found_by_their_file_names(
    connection: sqlite3.Connection,
) -> None:
    insert_batches(connection, [batch("kept", status=500)], 2, NOW_MS)
    for name in "abcd":
        insert_batches(connection, [batch(name, forced=True, status=500)], 2, NOW_MS + 2000)
    logs = error_logs(connection)
    assert [log["name"][-6:] for log in logs] == ["-d.log", "-c.log"]
    assert {log["modified"] for log in logs} == {(NOW_MS + 2000) // 1000}
    found = find_error_log(connection, logs[0]["name"])
    assert found is not None
    assert found.request_id == "d"
    assert find_error_log(connection, logs[0]["name"].replace("-d.", "-b.")) is None
    kept = find_history(connection, "kept")
    assert kept is not None
    assert find_error_log(connection, f"error-{kept.log_name}") is None
    assert set(names(connection)) == {"kept", "c", "d"}


def test_requests_without_a_record_are_listed_in_their_order_and_chosen(connection: sqlite3.Connection) -> None:
    later = batch("z", "b", begun_ms=NOW_MS + 500, status=404)
    insert_batches(connection, [later, batch("a", "y"), batch("c", begun_ms=NOW_MS - 500)], 0, NOW_MS)
    assert names(connection) == ["b", "z", "y", "a", "c"]
    assert names(connection, limit=2) == ["b", "z"]
    assert names(connection, before=(NOW_MS + 1, "y")) == ["a", "c"]
    assert names(connection, start_ms=NOW_MS, end_ms=NOW_MS + 500) == ["z", "y", "a"]
    assert names(connection, models=("model-of-a", "model-of-c")) == ["a", "c"]
    assert names(connection, failed=True) == names(connection, status=404) == ["b", "z"]
    assert names(connection, failed=False) == ["y", "a", "c"]
    assert names(connection, request_id="y") == ["y"]
    assert names(connection, provider="p") == names(connection, account="p") == names(connection, client="p") == []
    assert names(connection, auth_index="0") == []


def test_old_batches_go_as_a_whole(connection: sqlite3.Connection) -> None:
    insert_batches(connection, [batch("a", "b")], 0, NOW_MS - 8 * DAY_MS)
    insert_batches(connection, [batch("c")], 0, NOW_MS - 6 * DAY_MS)
    assert prune_histories(connection, Bounds(7, 0), NOW_MS)
    assert not prune_histories(connection, Bounds(7, 0), NOW_MS)
    assert names(connection) == ["c"]
    assert text(connection, "a") is None
