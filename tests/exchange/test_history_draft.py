"""The parts of a history: what stands in it twice is stored once, and masked once."""

from __future__ import annotations

import sqlite3
import zlib
from typing import Any

import orjson
import pytest

from cpa.exchange.history_draft import Bodies, Stored, store
from cpa.logs.history import Clipped
from cpa.logs.masking import Masker
from cpa.logs.redaction import Secrets
from cpa.usage.histories import history_json, history_text
from cpa.usage.history_parts import MARK, AttemptParts, HistoryParts, encode_parts

KEY = "known-key-0123456789"
STREAM = b'data: {"delta":"one"}\n\n' * 100


def history(
    *, body: bytes = b"{}", sent_on: bytes = b"{}", received: bytes = STREAM, sent: bytes = STREAM, host: str = "h"
) -> HistoryParts:
    """One exchange with one attempt."""
    bodies = Bodies(1)
    asked, sent_on_, received_, sent_ = (bodies.add(Clipped(each)) for each in (body, sent_on, received, sent))
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
        body=sent_on_,
        started_at=1.0,
        answered_at=2.0,
        finished_at=3.0,
        first_token=None,
        status=200,
        response_headers="Server: x\n",
        received=received_,
        outcome=200,
        error=None,
    )
    return HistoryParts(
        version="1",
        method="POST",
        url="/v1/x",
        headers=f"Host: {host}\n",
        body=asked,
        edited=None,
        attempts=[attempt],
        omitted_attempts=0,
        status=200,
        response_headers="Server: cpa\n",
        sent=sent_,
        begun=0.0,
        bodies=bodies.all,
    )


def stored_of(*histories: HistoryParts) -> Stored:
    """The first of them, stored together with the others."""
    return store(list(histories), masker())[0]


def masker() -> Masker:
    secrets = Secrets()
    secrets.replace([KEY])
    return Masker(secrets)


def row_of(content: bytes | bytearray, detail: Any = None) -> sqlite3.Row:
    """A row as the database gives it."""
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    row: sqlite3.Row = connection.execute(
        "SELECT 1 AS id, 'one' AS request_id, 'l' AS log_name, '/' AS url, 'POST' AS method, 200 AS status_code, "
        "0 AS force, '' AS request_timestamp, ? AS log_text_gzip, ? AS detail",
        (zlib.compress(content, 1, 31), orjson.dumps(detail or {}).decode()),
    ).fetchone()
    return row


def text_of(*histories: HistoryParts) -> bytes:
    """What is read of the first of them."""
    return history_text(row_of(stored_of(*histories).content))


def test_a_stream_that_passed_unchanged_is_stored_once_and_read_twice() -> None:
    content = stored_of(history()).content
    assert content.count(STREAM) == 1
    row = row_of(content)
    assert history_text(row).count(STREAM) == 2
    sections = {section["title"]: section for section in history_json(row)["sections"]}
    assert sections["RESPONSE"]["text"] == sections["API RESPONSE 1"]["text"] == STREAM.decode()
    assert sections["RESPONSE"]["lines"][0] == "Status: 200"


def test_a_body_that_was_sent_on_unchanged_is_stored_once() -> None:
    body = orjson.dumps({"text": "word " * 100})
    stored = stored_of(history(body=body, sent_on=body, sent=b"other"))
    assert stored.content.count(body) == 1
    text = history_text(row_of(stored.content))
    assert text.count(body) == 2
    assert text.endswith(b"\n\nother\n\n\n")


def test_what_differs_or_is_short_is_stored_as_it_is() -> None:
    stored = stored_of(history(received=b"short", sent=b"short", body=STREAM, sent_on=STREAM[:-1] + b"!"))
    assert stored.content.count(b"short") == 2
    assert stored.content.count(STREAM[:-1]) == 2


def test_a_secret_in_what_is_shared_is_masked_wherever_it_is_read() -> None:
    stream = STREAM + KEY.encode() + STREAM
    stored = stored_of(history(received=stream, sent=stream))
    assert not stored.clean
    assert KEY.encode() not in stored.content
    assert history_text(row_of(stored.content)).count(STREAM + b"***" + STREAM) == 2


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


def test_a_text_that_an_earlier_version_stored_is_read_in_full() -> None:
    row = row_of(EARLIER, {"facts": {"model": "m"}, "attempts": [{"number": 1}], "sections": places()})
    assert history_text(row).endswith(b"Status: 200\n\nown" + STREAM + b"\n\n\n")
    shown = history_json(row)
    assert (shown["model"], shown["attempts"]) == ("m", [{"number": 1}])
    assert [section["text"] for section in shown["sections"]] == ["", STREAM.decode(), "own" + STREAM.decode()]


@pytest.mark.parametrize("sections", [None, [], {}])
def test_a_text_whose_places_are_not_known_is_shown_as_it_is_stored(sections: Any) -> None:
    assert history_text(row_of(EARLIER, {"sections": sections})) == EARLIER


def test_a_body_that_looks_like_stored_parts_is_a_body() -> None:
    body = bytes(stored_of(history()).content)
    assert text_of(history(body=body)).count(body) == 1


def test_histories_that_are_stored_together_are_masked_each_by_itself() -> None:
    dirty: dict[str, Any] = {"received": KEY.encode() * 100, "sent": b"x"}
    together = store([history(), history(**dirty), history(body=b'{"a": 1}')], masker())
    assert [stored.clean for stored in together] == [True, False, True]
    assert KEY.encode() not in together[1].content
    assert together[0].content == stored_of(history()).content
    assert together[1].content == stored_of(history(**dirty)).content


@pytest.mark.parametrize("secret", ["", KEY])
def test_what_is_no_text_comes_out_as_the_bytes_it_was(secret: str) -> None:
    text = text_of(history(host=f"h\xf6\udcff\udc80{secret}"))
    assert b"Host: h\xc3\xb6\xff\x80" + (b"***" if secret else b"") + b"\n" in text


def test_a_secret_in_a_line_is_masked() -> None:
    stored = stored_of(history(host=KEY))
    assert KEY.encode() not in stored.content
    assert b"Host: ***\n" in history_text(row_of(stored.content))


def spoilt() -> list[bytes]:
    """Contents whose parts cannot be read, or do not fit together."""
    whole = encode_parts(history())
    alone = history()
    del alone.bodies[2]
    none = history()
    none.bodies.clear()
    negative = history()
    negative.sent = -1
    return [MARK, bytes(whole[:-10]), MARK + b"\xc1", *(bytes(encode_parts(each)) for each in (alone, none, negative))]


@pytest.mark.parametrize("content", spoilt())
def test_parts_that_are_damaged_are_said_to_be(content: bytes) -> None:
    row = row_of(content)
    assert b"DAMAGED" in history_text(row)
    shown = history_json(row)
    assert "DAMAGED" in shown["sections"][0]["text"]
    assert shown["attempts"] == []


RENAMED = STREAM.replace(b"one", b"another", 3)


@pytest.mark.parametrize("sent", [RENAMED, b"x" * 100 + STREAM, b"x" + STREAM[100:]])
def test_only_what_differs_at_the_beginning_is_written_again(sent: bytes) -> None:
    """Another name of the model, say."""
    content = stored_of(history(sent=sent)).content
    assert len(content) < len(STREAM) + 1500
    row = row_of(content)
    assert history_text(row).count(sent) >= 1
    sections = {section["title"]: section["text"] for section in history_json(row)["sections"]}
    assert (sections["API RESPONSE 1"], sections["RESPONSE"]) == (STREAM.decode(), sent.decode())


@pytest.mark.parametrize("sent", [STREAM[100:], STREAM[1500:], STREAM * 3, STREAM[:-1], b"y" + STREAM[:-1] + b"x"])
def test_whatever_else_differs_is_shown_as_it_was(sent: bytes) -> None:
    sections = history_json(row_of(stored_of(history(sent=sent)).content))["sections"]
    assert [section["text"] for section in sections[-2:]] == [STREAM.decode(), sent.decode()]


@pytest.mark.parametrize("at", [0, 100, 500, 1000, 2000, len(STREAM)])
def test_a_secret_is_masked_wherever_it_stands_in_what_differs(at: int) -> None:
    sent = STREAM[:at] + KEY.encode() + STREAM[at:]
    text = text_of(history(sent=sent))
    assert KEY.encode() not in text
    assert text.count(STREAM[:at] + b"***" + STREAM[at:]) == 1


@pytest.mark.parametrize("cut", range(1, len(KEY)))
def test_a_secret_half_of_which_is_shared_is_masked(cut: int) -> None:
    tail = KEY.encode()[cut:] + STREAM
    sent = b"x" * 100 + KEY.encode()[:cut] + tail
    assert KEY.encode() not in text_of(history(received=tail, sent=sent))
