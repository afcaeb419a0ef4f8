"""Histories that are put together: what stands in one twice is stored once, and what is secret is masked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from cpa.exchange.history_draft import COPIED_BYTES, Noted, batch_of, grouped
from cpa.logs.history import Clipped
from cpa.logs.masking import Masker
from cpa.logs.redaction import Secrets
from cpa.usage.histories import find_history, history_json, history_text
from cpa.usage.history_batches import insert_batches, unpack
from cpa.usage.history_heads import ATTEMPT_TEXTS, AttemptHead, Head, join_texts
from cpa.usage.schema import open_database

KEY = "known-key-0123456789"
STREAM = b'data: {"delta":"one"}\n\n' * 100


def history(
    name: str = "one",
    *,
    body: bytes = b"{}",
    sent_on: bytes = b"{}",
    received: bytes = STREAM,
    sent: bytes = STREAM,
    host: str = "h",
    model: str = "m",
    error: bytes | None = None,
) -> Noted:
    """One exchange with one attempt."""
    texts = ["1", "POST", "/v1/x", f"Host: {host}\n", "Server: cpa\n", model, "openai", "chat", "", "openai"]
    attempt = dict.fromkeys(ATTEMPT_TEXTS, "a") | {"headers": "Content-Type: application/json\n"}
    head = Head(
        join_texts([*texts, *attempt.values()]),
        [AttemptHead(1, 1, 1.0, 2.0, 3.0, None, 200, 2, 200, None)],
        0.0,
        4.0,
        200,
        True,
        False,
        0,
        0,
        None,
        3,
        error,
        None,
        [],
    )
    return Noted(name, False, head, [body, sent_on, received, sent])


def masker() -> Masker:
    secrets = Secrets()
    secrets.replace([KEY])
    return Masker(secrets)


class Kept:
    """Histories that were written together."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __call__(self, *histories: Noted) -> Kept:
        """Write some that were put together at once."""
        return self.groups(list(histories))

    def groups(self, *groups: list[Noted]) -> Kept:
        """Write some that were put together a few at a time."""
        insert_batches(self._connection, [batch_of([grouped(group) for group in groups], masker())], 0, 0)
        return self

    @property
    def content(self) -> bytes:
        """All that is stored of them, unpacked."""
        rows = self._connection.execute("SELECT heads, bodies FROM request_history_batches").fetchall()
        return b"".join(unpack(part) for row in rows for part in row)

    def text(self, name: str = "one") -> bytes:
        """The text of one of them."""
        found = find_history(self._connection, name)
        assert found is not None
        return history_text(found)

    def shown(self, name: str = "one") -> dict[str, Any]:
        """One of them as JSON, its sections by their titles."""
        found = find_history(self._connection, name)
        assert found is not None
        shown = history_json(found)
        return shown | {"sections": {section["title"]: section for section in shown["sections"]}}

    def bodies(self, name: str = "one") -> list[str]:
        """What came and what was sent."""
        sections = self.shown(name)["sections"]
        return [sections[title]["text"] for title in ("API RESPONSE 1", "RESPONSE")]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    connection = open_database(tmp_path / "usage.sqlite")
    yield Kept(connection)
    connection.close()


def test_a_stream_that_passed_unchanged_is_stored_once_and_read_twice(kept: Kept) -> None:
    assert kept(history()).content.count(STREAM) == 1
    assert kept.text().count(STREAM) == 2
    assert kept.bodies() == [STREAM.decode(), STREAM.decode()]
    assert kept.shown()["sections"]["RESPONSE"]["lines"][0] == "Status: 200"


def test_a_body_that_was_sent_on_unchanged_is_stored_once(kept: Kept) -> None:
    body = orjson.dumps({"text": "word " * 100})
    assert kept(history(body=body, sent_on=body, sent=b"other")).content.count(body) == 1
    assert kept.text().count(body) == 2
    assert kept.text().endswith(b"\n\nother\n\n\n")


def test_what_differs_or_is_short_is_stored_as_it_is(kept: Kept) -> None:
    kept(history(received=b"short", sent=b"short", body=STREAM, sent_on=STREAM[:-1] + b"!"))
    assert kept.content.count(b"short") == 2
    assert kept.content.count(STREAM[:-1]) == 2


def test_a_secret_in_what_is_shared_is_masked_wherever_it_is_read(kept: Kept) -> None:
    stream = STREAM + KEY.encode() + STREAM
    assert KEY.encode() not in kept(history(received=stream, sent=stream)).content
    assert kept.content.count(STREAM) == 2
    assert kept.text().count(STREAM + b"***" + STREAM) == 2


def test_histories_that_are_stored_together_are_masked_each_by_itself(kept: Kept) -> None:
    dirty = history("two", received=KEY.encode() * 100, sent=b"x")
    kept(history(), dirty, history("three", body=b'{"a": 1}'))
    assert KEY.encode() not in kept.content
    assert kept.text("one").count(STREAM) == kept.text("three").count(STREAM) == 2
    assert b"***" not in kept.text("one") + kept.text("three")
    assert b"Body:\n" + b"***" * 100 in kept.text("two")
    assert b'{"a": 1}' in kept.text("three")


def test_long_and_short_ones_are_stored_together_and_masked_each_by_itself(kept: Kept) -> None:
    long = STREAM * 40
    assert len(long) > COPIED_BYTES
    dirty = history("two", received=long + KEY.encode(), sent=b"x")
    kept.groups([history("one", received=long, sent=long)], [dirty], [history("three"), history("four")])
    assert KEY.encode() not in kept.content
    assert kept.bodies() == [long.decode(), long.decode()]
    assert kept.bodies("two") == [long.decode() + "***", "x"]
    assert kept.bodies("three") == kept.bodies("four") == [STREAM.decode(), STREAM.decode()]


def test_a_secret_that_begins_what_was_wrong_is_masked_whatever_was_wrong_before(kept: Kept) -> None:
    """Texts of different histories are looked through together. Where it is stored, a letter stands before it."""
    wrong = b"sk-0123456789abcdef is no key that any of the accounts of this daemon has"
    assert chr(len(wrong)).isalpha()
    kept.groups([history("one", error=b"a word")], [history("two", error=wrong)])
    assert b"0123456789abcdef" not in kept.content
    assert kept.shown("one")["error"] == "a word"
    assert kept.shown("two")["error"] == "*** is no key that any of the accounts of this daemon has"


def test_one_without_any_body_is_stored_amid_others(kept: Kept) -> None:
    refused = history("two")
    refused.head.attempts, refused.head.body, refused.head.sent, refused.bodies = [], None, None, []
    refused.head.texts = join_texts(["1", "POST", "/v1/x", "", "", "", "", "", "", ""])
    kept.groups([history("one")], [refused], [history("three")])
    assert kept.bodies("one") == kept.bodies("three") == [STREAM.decode(), STREAM.decode()]
    assert kept.shown("two")["sections"]["REQUEST BODY"]["text"] == ""


@pytest.mark.parametrize("secret", ["", KEY])
def test_what_is_no_text_comes_out_as_the_bytes_it_was(kept: Kept, secret: str) -> None:
    kept(history(host=f"h\xf6\udcff\udc80{secret}"))
    assert b"Host: h\xc3\xb6\xff\x80" + (b"***" if secret else b"") + b"\n" in kept.text()


@pytest.mark.parametrize("length", range(1, 300))
def test_a_secret_at_the_beginning_of_a_line_is_masked_whatever_stands_before_it(kept: Kept, length: int) -> None:
    """Of texts their lengths stand before them, which may be letters."""
    value = "sk-" + "x" * length
    kept(history(model=value, host=value))
    assert (value.encode() in kept.content) is (length < 8)


def test_a_text_with_a_zero_byte_is_told_without_it(kept: Kept) -> None:
    assert kept(history(model="a\0b")).shown()["model"] == "a\ufffdb"


def test_a_secret_in_what_was_wrong_is_masked(kept: Kept) -> None:
    kept(history(error=b'it said "password": "hidden" and ' + KEY.encode()))
    assert kept.shown()["error"] == 'it said "password": "***" and ***'
    assert b"hidden" not in kept.content


LONG = STREAM * 3
RENAMED = LONG.replace(b"one", b"another", 3)


@pytest.mark.parametrize("sent", [RENAMED, b"x" * 100 + LONG, b"x" + LONG[100:]])
def test_only_what_differs_at_the_beginning_is_written_again(kept: Kept, sent: bytes) -> None:
    """Another name of the model, say."""
    assert len(kept(history(received=LONG, sent=sent)).content) < len(LONG) + 1500
    assert kept.bodies() == [LONG.decode(), sent.decode()]


@pytest.mark.parametrize("sent", [LONG[100:], LONG[4500:], LONG * 3, LONG[:-1], b"y" + LONG[:-1] + b"x"])
@pytest.mark.parametrize("secret", [b"", KEY.encode()])
def test_whatever_else_differs_is_shown_as_it_was(kept: Kept, sent: bytes, secret: bytes) -> None:
    kept(history(received=LONG, sent=sent, body=secret))
    assert kept.bodies() == [LONG.decode(), sent.decode()]


@pytest.mark.parametrize("at", [0, 100, 500, 1000, 2000, len(LONG)])
def test_a_secret_is_masked_wherever_it_stands_in_what_differs(kept: Kept, at: int) -> None:
    kept(history(received=LONG, sent=LONG[:at] + KEY.encode() + LONG[at:]))
    assert KEY.encode() not in kept.content
    assert kept.text().count(LONG[:at] + b"***" + LONG[at:]) == 1


@pytest.mark.parametrize("cut", range(1, len(KEY)))
def test_a_secret_half_of_which_is_shared_is_masked(kept: Kept, cut: int) -> None:
    tail = KEY.encode()[cut:] + LONG
    kept(history(received=tail, sent=b"x" * 100 + KEY.encode()[:cut] + tail))
    assert KEY.encode() not in kept.text()


def test_bodies_without_their_middle_are_stored_once_and_masked(kept: Kept) -> None:
    noted = history()
    cut = Clipped(b"a " * 300 + KEY.encode() + b" ", 5000, b" z" * 300)
    noted.bodies[2:] = [cut, cut]
    assert kept(noted).content.count(b"a " * 300) == 1
    text = b"a " * 300 + b"*** \n[TRUNCATED: 5000 bytes omitted]\n" + b" z" * 300
    assert kept.text().count(text) == 2
