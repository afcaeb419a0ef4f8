"""Histories of which each has a row of its own, as CLIProxyAPI and earlier versions of cpa stored them."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from cpa.usage.histories import History, find_history, history_json, history_text
from cpa.usage.history_parts import MARK, AttemptParts, Body, HistoryParts
from cpa.usage.schema import open_database

STREAM = b'data: {"delta":"one"}\n\n' * 100
INSERT = """
INSERT INTO request_histories (request_id, log_name, url, method, status_code, request_timestamp, log_text_gzip,
    created_at, detail) VALUES ('one', 'l', '/', 'POST', 200, '2026-01-31T12:00:00.5Z', ?, '2026-01-31T12:00:01Z', ?)"""


class Alone:
    """Stores one history as version 104 did."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def __call__(self, content: bytes | bytearray, detail: Any = None) -> History:
        """The history with this content, once the database was brought up to date."""
        former = open_database(self._path)
        former.executescript(
            "DROP TABLE request_history_batches; DROP TABLE request_history_ids; DROP INDEX idx_usage_attempts_status"
        )
        former.execute(INSERT, (zlib.compress(content, 1, 31), orjson.dumps(detail or {}).decode()))
        former.execute("PRAGMA user_version=104")
        former.close()
        self._connection = open_database(self._path)
        history = find_history(self._connection, "one")
        assert history is not None
        return history

    def close(self) -> None:
        """End."""
        if self._connection is not None:
            self._connection.close()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Alone]:
    kept = Alone(tmp_path / "usage.sqlite")
    yield kept
    kept.close()


EARLIER = (
    b"=== REQUEST INFO ===\nA: b\n\n\n=== API RESPONSE 1 ===\nBody:\n"
    + STREAM
    + (b"\n\n\n=== RESPONSE ===\nStatus: 200\n\nown[THE SAME 2300 BYTES AS AT THE END OF API RESPONSE 1]\n\n\n")
)
"""A text of an earlier version."""


def places() -> list[Any]:
    answer, response = EARLIER.index(b"Body:"), EARLIER.index(b"Status:")
    own, end = EARLIER.index(b"own["), len(EARLIER) - 3
    return [
        ["REQUEST INFO", 21, 26, 26],
        ["API RESPONSE 1", answer, answer + 6, answer + 6 + len(STREAM)],
        ["RESPONSE", response, own, end, 1, own + 3, len(STREAM)],
    ]


def test_a_text_that_an_earlier_version_stored_is_read_in_full(alone: Alone) -> None:
    history = alone(EARLIER, {"facts": {"model": "m"}, "attempts": [{"number": 1}], "sections": places()})
    assert history_text(history).endswith(b"Status: 200\n\nown" + STREAM + b"\n\n\n")
    shown = history_json(history)
    assert (shown["model"], shown["attempts"]) == ("m", [{"number": 1}])
    assert [section["text"] for section in shown["sections"]] == ["", STREAM.decode(), "own" + STREAM.decode()]


@pytest.mark.parametrize("sections", [None, [], {}])
def test_a_text_whose_places_are_not_known_is_shown_as_it_is_stored(alone: Alone, sections: Any) -> None:
    assert history_text(alone(EARLIER, {"sections": sections})) == EARLIER


def parts(*bodies: Body, sent: int = 2, host: str = "h", bytewise: bool = False) -> bytes:
    """The parts of an exchange, as they were stored."""
    attempt = AttemptParts(
        number=1,
        provider="compat",
        account_id="a",
        account="a",
        auth="none",
        model="m",
        method="POST",
        url="http://up/v1",
        headers="Content-Type: application/json\n",
        body=0,
        started_at=1.0,
        answered_at=2.0,
        finished_at=3.0,
        first_token=None,
        status=200,
        response_headers="Server: x\n",
        received=1,
        outcome=200,
        error=None,
    )
    history = HistoryParts(
        version="1",
        method="POST",
        url="/v1/x",
        headers=f"Host: {host}\n",
        body=0,
        edited=None,
        attempts=[attempt],
        omitted_attempts=0,
        status=200,
        response_headers="Server: cpa\n",
        sent=sent,
        begun=0.0,
        bodies=list(bodies),
        bytewise=bytewise,
    )
    return MARK + msgspec.msgpack.encode(history)


ASKED, CAME = Body((b"{}",)), Body((STREAM,))
SENT = Body((b"own",), 1, len(STREAM) - 10)


def test_parts_that_an_earlier_version_stored_are_read(alone: Alone) -> None:
    history = alone(parts(ASKED, CAME, SENT))
    assert history_text(history).endswith(b"own" + STREAM[10:] + b"\n\n\n")
    shown = history_json(history)
    assert (shown["attempts"][0]["provider"], shown["timestamp"]) == ("compat", "2026-01-31T12:00:00.5Z")
    assert [section["text"] for section in shown["sections"][-2:]] == [STREAM.decode(), "own" + STREAM[10:].decode()]


def test_bytes_that_were_no_text_come_out_as_they_were(alone: Alone) -> None:
    assert b"Host: h\xf6\xff\n" in history_text(alone(parts(ASKED, CAME, SENT, host="h\xf6\xff", bytewise=True)))


WHOLE = parts(ASKED, CAME, SENT)


@pytest.mark.parametrize(
    "content",
    [MARK, WHOLE[:-10], MARK + b"\xc1", parts(ASKED, CAME), parts(), parts(ASKED, CAME, SENT, sent=-1)],
)
def test_parts_that_are_damaged_are_said_to_be(alone: Alone, content: bytes) -> None:
    history = alone(content)
    assert b"DAMAGED" in history_text(history)
    shown = history_json(history)
    assert "DAMAGED" in shown["sections"][0]["text"]
    assert shown["attempts"] == []
