"""The text of a history: what stands in it twice is written once, and masked once."""

from __future__ import annotations

import sqlite3
import zlib
from typing import Any

import orjson
import pytest

from cpa.logs.history import Clipped, Draft, History, HistoryAttempt, Written, write
from cpa.logs.masking import Masker
from cpa.logs.redaction import Secrets
from cpa.usage.histories import history_json, history_text

KEY = "known-key-0123456789"
STREAM = b'data: {"delta":"one"}\n\n' * 100


def history(*, body: bytes = b"{}", sent_on: bytes = b"{}", received: bytes = STREAM, sent: bytes = STREAM) -> History:
    """One exchange with one attempt."""
    attempt = HistoryAttempt(
        number=1,
        provider="compat",
        account_id="a",
        account="a",
        kind="none",
        secret="",
        method="POST",
        url="http://up/v1",
        headers=[("Content-Type", "application/json")],
        body=Clipped(sent_on),
        started_at=1.0,
        answered_at=2.0,
        status=200,
        response_headers=[("Server", "x")],
        received=Clipped(received),
        outcome=200,
        error="",
    )
    return History(
        method="POST",
        url="/v1/x",
        headers=[("Host", "h")],
        body=Clipped(body),
        edited=None,
        attempts=[attempt],
        omitted_attempts=0,
        status=200,
        response_headers=[("Server", "cpa")],
        sent=Clipped(sent),
        begun=0.0,
    )


def written_of(*histories: History) -> Written:
    """The first of them, written together with the others."""
    return write([Draft(each) for each in histories], masker())[0]


def masker() -> Masker:
    secrets = Secrets()
    secrets.replace([KEY])
    return Masker(secrets)


def stored(text: bytes, sections: Any) -> sqlite3.Row:
    """A row as the database gives it."""
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    row: sqlite3.Row = connection.execute(
        "SELECT 1 AS id, 'one' AS request_id, 'l' AS log_name, '/' AS url, 'POST' AS method, 200 AS status_code, "
        "0 AS force, '' AS request_timestamp, ? AS log_text_gzip, ? AS detail",
        (zlib.compress(text, 1, 31), orjson.dumps({"sections": sections}).decode()),
    ).fetchone()
    return row


def test_a_stream_that_passed_unchanged_is_written_once_and_read_twice() -> None:
    written = written_of(history())
    assert written.text.count(STREAM) == 1
    assert b"[THE SAME 2300 BYTES AS AT THE END OF API RESPONSE 1]" in written.text
    row = stored(written.text, written.sections)
    text = history_text(row)
    assert text.count(STREAM) == 2
    assert b"THE SAME" not in text
    sections = {section["title"]: section for section in history_json(row)["sections"]}
    assert sections["RESPONSE"]["text"] == sections["API RESPONSE 1"]["text"] == STREAM.decode()
    assert sections["RESPONSE"]["lines"][0] == "Status: 200"


def test_a_body_that_was_sent_on_unchanged_is_written_once() -> None:
    body = orjson.dumps({"text": "word " * 100})
    written = written_of(history(body=body, sent_on=body, sent=b"other"))
    assert written.text.count(body) == 1
    text = history_text(stored(written.text, written.sections))
    assert text.count(body) == 2
    assert text.endswith(b"\n\nother\n\n\n")


def test_what_differs_or_is_short_is_written_as_it_is() -> None:
    written = written_of(history(received=b"short", sent=b"short", body=STREAM, sent_on=STREAM[:-1] + b"!"))
    assert b"THE SAME" not in written.text
    assert history_text(stored(written.text, written.sections)) == written.text


def test_a_secret_in_what_is_shared_is_masked_wherever_it_is_read() -> None:
    stream = STREAM + KEY.encode() + STREAM
    written = written_of(history(received=stream, sent=stream))
    text = history_text(stored(written.text, written.sections))
    assert KEY.encode() not in text
    assert text.count(STREAM + b"***" + STREAM) == 2


@pytest.mark.parametrize("sections", [None, [], {}])
def test_a_text_whose_places_are_not_known_is_shown_as_it_is_stored(sections: Any) -> None:
    written = written_of(history())
    assert history_text(stored(written.text, sections)) == written.text


def test_a_body_that_says_it_is_the_same_as_another_is_taken_at_its_word_only_as_text() -> None:
    body = b"[THE SAME 2300 BYTES AS AT THE END OF API RESPONSE 1]"
    written = written_of(history(body=body, sent=b"x"))
    text = history_text(stored(written.text, written.sections))
    assert text.count(body) == 1
    assert text.count(STREAM) == 1


def test_histories_that_are_written_together_are_masked_each_by_itself() -> None:
    dirty = history(received=KEY.encode() * 100, sent=b"x")
    texts = write([Draft(each) for each in (history(), dirty, history(body=b'{"a": 1}'))], masker())
    assert [written.clean for written in texts] == [True, False, True]
    assert KEY.encode() not in texts[1].text
    assert texts[0].text == written_of(history()).text
    assert texts[1].text == written_of(dirty).text


RENAMED = STREAM.replace(b"one", b"another", 3)


@pytest.mark.parametrize("sent", [RENAMED, b"x" * 100 + STREAM, b"x" + STREAM[100:]])
def test_only_what_differs_at_the_beginning_is_written_again(sent: bytes) -> None:
    """Another name of the model, say."""
    written = written_of(history(sent=sent))
    assert len(written.text) < len(STREAM) + 1500
    row = stored(written.text, written.sections)
    assert history_text(row).count(sent) >= 1
    sections = {section["title"]: section["text"] for section in history_json(row)["sections"]}
    assert (sections["API RESPONSE 1"], sections["RESPONSE"]) == (STREAM.decode(), sent.decode())


@pytest.mark.parametrize("sent", [STREAM[100:], STREAM[1500:], STREAM * 3, STREAM[:-1], b"y" + STREAM[:-1] + b"x"])
def test_whatever_else_differs_is_shown_as_it_was(sent: bytes) -> None:
    written = written_of(history(sent=sent))
    sections = history_json(stored(written.text, written.sections))["sections"]
    assert [section["text"] for section in sections[-2:]] == [STREAM.decode(), sent.decode()]


@pytest.mark.parametrize("at", [0, 100, 500, 1000, 2000, len(STREAM)])
def test_a_secret_is_masked_wherever_it_stands_in_what_differs(at: int) -> None:
    sent = STREAM[:at] + KEY.encode() + STREAM[at:]
    written = written_of(history(sent=sent))
    text = history_text(stored(written.text, written.sections))
    assert KEY.encode() not in text
    assert text.count(STREAM[:at] + b"***" + STREAM[at:]) == 1


@pytest.mark.parametrize("cut", range(1, len(KEY)))
def test_a_secret_half_of_which_is_shared_is_masked(cut: int) -> None:
    tail = KEY.encode()[cut:] + STREAM
    sent = b"x" * 100 + KEY.encode()[:cut] + tail
    written = written_of(history(received=tail, sent=sent))
    assert KEY.encode() not in history_text(stored(written.text, written.sections))
