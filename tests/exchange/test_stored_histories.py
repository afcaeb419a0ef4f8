"""What is read of a stored history is the text of the exchange in full, byte for byte."""

from __future__ import annotations

import base64
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from msgspec.structs import replace
from multidict import CIMultiDict

from cpa import __version__
from cpa.accounts.account import Account
from cpa.conversation.usage import Usage
from cpa.errors import ErrorInfo
from cpa.exchange.capture import Capture, Held
from cpa.exchange.history_draft import batch_of, grouped
from cpa.exchange.history_note import note_down
from cpa.exchange.recorder import AttemptNote, Recorder
from cpa.exchange.relay import PassingRelay, Relay, TranslatingRelay
from cpa.formats.codec import ReplyContext
from cpa.formats.registry import builtin_formats
from cpa.logs.masking import Masker
from cpa.logs.redaction import Secrets
from cpa.usage.histories import History, find_history, history_json, history_text
from cpa.usage.history_batches import insert_batches, unpack
from cpa.usage.schema import open_database

GOLDEN = Path(__file__).parent / "history.golden"
"""Written by the version that stored texts; ``<VERSION>`` stands for that of cpa."""
KEY = "known-key-0123456789"
SENT = b'data: {"model":"alias","text":"' + b"word " * 80 + b'"}\n\n'
RECEIVED = SENT.replace(b"alias", b"real-model")
ASKED = b'{"model":"alias","messages":[{"role":"user","content":"' + b"please " * 60 + b'"}]}'


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = open_database(tmp_path / "usage.sqlite")
    yield opened
    opened.close()


def masker() -> Masker:
    secrets = Secrets()
    secrets.replace([KEY])
    return Masker(secrets)


def capture(limit: int, *pieces: bytes) -> Capture:
    kept = Capture(Held(), limit)
    for piece in pieces:
        kept.add(piece)
    return kept


def attempt(number: int, content: bytes, *, kind: Any, model: str = "real-model") -> AttemptNote:
    account = Account(
        provider="compat", id=f"a{number}", label=f"höher {number}", kind=kind, secret="sk-1234567890abcd"
    )
    request = SimpleNamespace(
        account=account,
        method="POST",
        url=f"http://up/v{number}/chat?key=abcdefghijkl&x=1",
        headers={"Content-Type": "application/json", "Authorization": "Bearer sk-1234567890abcd", "X-100%": "%s"},
    )
    shaped: Any = SimpleNamespace(
        request=request,
        content=content,
        target=SimpleNamespace(model=model),
        upstream=SimpleNamespace(name="openai"),
    )
    note = AttemptNote(shaped, number)
    note.started_at, note.finished_at = 1790000000.25 + number, 1790000000.75 + number
    return note


def rich(*, key: str = "") -> Recorder:
    """Two attempts, the first refused, with a body that was edited and one that was cut."""
    headers = CIMultiDict(
        [
            ("Host", "h"),
            ("X-Api-Key", "client-key-000"),
            ("Cookie", "a=b"),
            ("Cookie", "c=d"),
            ("X-Odd", "\udcff\udc80"),
        ]
    )
    recorder = Recorder(
        Held(),
        whole=True,
        request_id="rich",
        method="POST",
        url="/v1/chat/completions?token=123456789",
        headers=headers,
    )
    recorder.begun, recorder.finished_at = 1790000000.123456, 1790000009.5
    recorder.body = ASKED
    recorder.edited = {"model": "alias", "rules": True}
    recorder.omitted_attempts = 3
    first = attempt(1, ASKED.replace(b"alias", b"real-model"), kind="apikey")
    first.answered_at, first.status, first.outcome = 1790000001.5, 429, 429
    first.response_headers = CIMultiDict([("Retry-After", "3"), ("Set-Cookie", "session=abcdefgh")])
    first.received = capture(200, b"x" * 90, b" the middle ", b"word " * 50, b" the end")
    first.error = ErrorInfo(status=429, message=f"too many requests {key}")
    second = attempt(2, b'{"short":true}', kind="oauth")
    second.answered_at, second.status, second.outcome, second.first_token = 1790000002.5, 200, 200, 0.25
    second.response_headers = {"Server": "x"}
    second.received = capture(1 << 20, RECEIVED, RECEIVED, b"data: [DONE]\n\n")
    second.usage = Usage(input_total=10, output_total=5)
    third = attempt(3, ASKED, kind="none")
    recorder.attempts += [first, second, third]
    recorder.status, recorder.response = 200, SimpleNamespace(headers=CIMultiDict({"Server": "cpa"}))
    recorder.sent = capture(1 << 20, SENT, RECEIVED, key.encode(), b"data: [DONE]\n\n")
    return recorder


def streamed(theirs: list[bytes], ours: list[bytes], *, limit: int = 1 << 20, format: str = "openai") -> Recorder:
    """One attempt whose answer was passed on under another name of its model."""
    recorder = Recorder(Held(), whole=True, request_id="streamed", method="POST", url="/v1/x", headers={})
    recorder.body = ASKED
    note = attempt(1, ASKED, kind="none")
    note.answered_at, note.status, note.outcome = 1790000001.5, 200, 200
    note.received = capture(limit, *theirs)
    recorder.attempts.append(note)
    recorder.status, recorder.sent = 200, capture(limit, *ours)
    call: Any = SimpleNamespace(model="alias", format=format, operation="chat", stream=True, client=None)
    recorder.call = call
    return recorder


FRAMES = {
    "openai": b'data: {"model":"up","choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n',
    "claude": b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"%b"}}\n\n',
}
BEGIN = {
    "openai": b"",
    "claude": b'data: {"type":"message_start","message":{"id":"m","model":"up"}}\n\n'
    b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n',
}
END = {
    "openai": b'data: {"model":"up","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
    "claude": b'data: {"type":"content_block_stop","index":0}\n\n'
    b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\ndata: {"type":"message_stop"}\n\n',
}
WORDS = [b"The ", b"quick ", b"brown ", b"fox ", b"", b"jumps\\n", b'\\"over\\" '] * 40
Relayed = tuple[Recorder, bytes, bytes]
"""What was noted of a stream, what came and what the client was sent."""


def relayed(
    pair: str,
    words: Sequence[bytes | tuple[bytes, ...]],
    *,
    frame: bytes = b"",
    before: tuple[bytes, ...] = (),
    after: bytes = b"",
    lost: int = 0,
) -> Relayed:
    """A stream of an upstream for a client, as the daemon relays it; the client leaves before its last pieces."""
    client, _, upstream = pair.partition(":")
    whole = BEGIN[upstream] + b"".join([(frame or FRAMES[upstream]) % word for word in words]) + END[upstream]
    codecs = builtin_formats()
    context = ReplyContext(
        requested_model="alias",
        created=1,
        new_id=lambda prefix: f"{prefix}1",
        model="alias",
        client_format=client,
        upstream_format=upstream,
    )
    framing = codecs[client].framing(context)
    relay: Relay
    if client == upstream:
        relay = PassingRelay(codecs[client].native_relay(context, framing))
    else:
        relay = TranslatingRelay(
            codecs[upstream].stream_decoder(context), codecs[client].stream_encoder(context, framing)
        )
    note = attempt(1, ASKED, kind="none")
    note.received = capture(1 << 20, *before)
    pieces = [whole[at : at + 1500] for at in range(0, len(whole), 1500)]
    sent: list[bytes] = []
    for number, piece in enumerate(pieces):
        note.received.add(piece)
        if not number:
            relay.trace = note.traced(piece)
        sent.append(relay.feed(piece))
    sent = [*sent[: len(sent) - lost]]
    recorder = streamed([], sent)
    if after:
        note.received.add(after)
    note.answered_at, note.status, note.outcome = 1790000001.5, 200, 200
    recorder.attempts, recorder.trace = [note], relay.trace
    came = note.received.clipped()
    assert isinstance(came, bytes)
    return recorder, came, b"".join(sent)


def last_bodies(history: History) -> list[bytes]:
    """What came, and what was sent."""
    return [section["text"].encode() for section in history_json(history)["sections"][-2:]]


def stored(connection: sqlite3.Connection, *recorders: Recorder) -> History:
    """The history of the first of some exchanges that were written together."""
    batch = batch_of([grouped([note_down(recorder) for recorder in recorders])], masker())
    insert_batches(connection, [batch], 0, int(time.time() * 1000))
    history = find_history(connection, recorders[0].request_id)
    assert history is not None
    return history


def content(connection: sqlite3.Connection) -> bytes:
    """All that is stored of the only batch."""
    return b"".join(map(unpack, connection.execute("SELECT heads, bodies FROM request_history_batches").fetchone()))


@pytest.mark.parametrize("key", ["", KEY])
def test_the_text_of_a_history_is_what_it_always_was(connection: sqlite3.Connection, key: str) -> None:
    text = history_text(stored(connection, rich(key=key))).replace(__version__.encode(), b"<VERSION>", 1)
    plain, _, masked = GOLDEN.read_bytes().partition(b"\n##### with a secret\n")
    assert text == (masked if key else plain)


@pytest.mark.parametrize("key", ["", KEY])
def test_what_is_known_of_each_attempt_is_told(connection: sqlite3.Connection, key: str) -> None:
    shown = history_json(stored(connection, rich(key=key)))
    first, second, third = shown["attempts"]
    assert first == {
        "number": 1,
        "provider": "compat",
        "account": "höher 1",
        "model": "real-model",
        "url": "http://up/v1/chat?key=abcd...ijkl&x=1",
        "started_ms": 1790000001250,
        "answered_ms": 1790000001500,
        "finished_ms": 1790000001750,
        "ttft_ms": None,
        "status": 429,
        "outcome": 429,
        "error": f"too many requests {'***' if key else ''}",
    }
    assert (second["ttft_ms"], second["error"], third["answered_ms"]) == (250, "", None)
    assert shown["attempt_count"] == 6


THEIRS = [b'data: {"id":"%d","model":"real-model","text":"one"}\n\n' % number for number in range(40)]
OURS = [piece.replace(b"real-model", b"alias") for piece in THEIRS]


@pytest.mark.parametrize("cut", [0, 7])
def test_a_stream_that_passed_unchanged_is_stored_once(connection: sqlite3.Connection, cut: int) -> None:
    """Also when its pieces are not those of the upstream's."""
    whole = b"".join(THEIRS)
    history = stored(connection, streamed(THEIRS, [whole[:cut], whole[cut:]] if cut else THEIRS))
    assert content(connection).count(b'"text":"one"') == len(THEIRS)
    assert last_bodies(history) == [whole, whole]


def test_a_stream_under_another_name_is_told_as_it_was(connection: sqlite3.Connection) -> None:
    assert last_bodies(stored(connection, streamed(THEIRS, OURS))) == [b"".join(THEIRS), b"".join(OURS)]


@pytest.mark.parametrize("at", [0, 20, 39])
@pytest.mark.parametrize("format", ["openai", "claude"])
def test_what_differs_in_more_than_the_name_is_told_as_it_was(
    connection: sqlite3.Connection, at: int, format: str
) -> None:
    ours = [*OURS[:at], OURS[at].replace(b"one", b"two"), *OURS[at + 1 :]]
    history = stored(connection, streamed(THEIRS, ours, format=format))
    assert last_bodies(history) == [b"".join(THEIRS), b"".join(ours)]


def test_a_secret_in_a_stream_under_another_name_is_masked_in_both(connection: sqlite3.Connection) -> None:
    dirty = f"data: {KEY}\n\n".encode()
    history = stored(connection, streamed([*THEIRS, dirty], [*OURS, dirty]))
    assert KEY.encode() not in content(connection)
    masked = b"data: ***\n\n"
    assert last_bodies(history) == [b"".join([*THEIRS, masked]), b"".join([*OURS, masked])]


@pytest.mark.parametrize("limit", [1 << 20, 400])
@pytest.mark.parametrize("logins", [1, 1000])
@pytest.mark.parametrize("where", ["secret", "refresh_token", "sent"])
def test_tokens_of_a_login_are_masked_in_failures_whatever_the_upstream_made_of_them(
    connection: sqlite3.Connection, where: str, logins: int, limit: int
) -> None:
    token = "ab1/cd+" * 8 + where
    note = attempt(1, ASKED, kind="oauth")
    account = note.shaped.request.account
    if where == "sent":
        note.shaped.request.headers["Authorization"] = f"Bearer {token}"
    else:
        note.shaped.request.account = replace(
            account, **{"secret": token} if where == "secret" else {}, metadata={where: token}
        )
    encoded = base64.b64encode(f"Bearer {token}".encode())
    told = b'{"error":"bad %b, %b"}' % (encoded, quote(token, safe="").encode())
    note.received = capture(limit, told, b" and so on" * 90, told)
    note.answered_at, note.status, note.outcome = 1790000001.5, 401, 401
    note.error = ErrorInfo(status=401, message="unauthorized")
    recorder = Recorder(Held(), whole=True, request_id="refused", method="POST", url="/v1/x", headers={})
    recorder.body, recorder.status = ASKED, 401
    recorder.attempts.append(note)
    secrets = Secrets()
    secrets.tokens.add([f"another-token-{number:030}" for number in range(logins)])
    batch = batch_of([grouped([note_down(recorder)])], Masker(secrets))
    insert_batches(connection, [batch], 0, int(time.time() * 1000))
    assert b'{"error":"bad ' in content(connection)
    assert encoded[12:-4] not in content(connection)
    assert quote(token, safe="").encode() not in content(connection)


PAIRS = ["openai:openai", "claude:openai", "gemini:openai", "openai:claude", "gemini:claude", "openai-response:claude"]
OBFUSCATED = FRAMES["openai"].replace(b"}]}", b'}],"obfuscation":"xyz"}')


@pytest.mark.parametrize("pair", PAIRS)
def test_of_frames_that_differ_in_their_texts_only_the_texts_are_stored(
    connection: sqlite3.Connection, pair: str
) -> None:
    recorder, came, sent = relayed(pair, WORDS)
    history = stored(connection, recorder)
    assert last_bodies(history) == [came, sent]
    kept, numbered = content(connection), pair.startswith("openai-response")
    assert len(kept) < (len(came) + len(sent)) * (3 if numbered else 1) // 4
    assert kept.count(FRAMES[pair.partition(":")[2]].partition(b"%b")[0]) < 40


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize(
    "told",
    [
        {"before": (b": wait\n\n", b": still\n\n")},
        {"after": b": bye\n\ndata: {"},
        {"lost": 1},
        {"lost": 2},
        {"before": (b"\n",), "after": b"x"},
    ],
)
def test_what_stands_around_a_stream_is_told_with_it(
    connection: sqlite3.Connection, pair: str, told: dict[str, Any]
) -> None:
    recorder, came, sent = relayed(pair, WORDS, **told)
    assert last_bodies(stored(connection, recorder)) == [came, sent]


@pytest.mark.parametrize("pair", ["openai:openai", "claude:openai"])
def test_what_varies_without_meaning_is_told_as_it_came(connection: sqlite3.Connection, pair: str) -> None:
    recorder, came, sent = relayed(pair, WORDS, frame=OBFUSCATED)
    assert last_bodies(stored(connection, recorder)) == [came, sent]
    assert content(connection).count(b"jumps") < 50


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("at", [0, 5, 150, len(WORDS)])
@pytest.mark.parametrize("secret", [KEY.encode(), b"sk-abcdefgh12345678"])
def test_a_secret_in_a_text_is_masked_in_what_came_and_what_was_sent(
    connection: sqlite3.Connection, pair: str, at: int, secret: bytes
) -> None:
    """A piece may end amid it."""
    recorder, came, sent = relayed(pair, [*WORDS[:at], *[b"tell " + secret + b" "] * 20, *WORDS[at:]])
    other, *_ = relayed(pair, WORDS)
    other.request_id = "other"
    history = stored(connection, recorder, other)
    assert secret not in content(connection)
    assert last_bodies(history) == [body.replace(secret, b"***") for body in (came, sent)]
    beside = find_history(connection, "other")
    assert beside is not None
    assert b"***" not in b"".join(last_bodies(beside))


def test_what_is_secret_by_the_name_of_its_member_is_masked(connection: sqlite3.Connection) -> None:
    frame = FRAMES["openai"].replace(b"content", b"api_key")
    recorder, came, sent = relayed("openai:openai", [b"hidden"] * 200, frame=frame)
    history = stored(connection, recorder)
    assert b"hidden" not in content(connection)
    assert last_bodies(history) == [body.replace(b"hidden", b"***") for body in (came, sent)]


def test_a_stream_whose_frames_are_all_different_is_kept_as_it_is(connection: sqlite3.Connection) -> None:
    frame = FRAMES["openai"].replace(b'"up"', b'"up","n":"%b"')
    words = [(b"%d" % number, b"text") for number in range(400)]
    recorder, came, sent = relayed("claude:openai", words, frame=frame)
    assert last_bodies(stored(connection, recorder)) == [came, sent]


@pytest.mark.parametrize(("kinds", "words"), [(60, 360), (100, 600), (1, 7000)])
def test_of_a_long_stream_or_one_with_very_many_kinds_of_frames_all_is_kept(
    connection: sqlite3.Connection, kinds: int, words: int
) -> None:
    """What is noted while it passes is bounded."""
    frame = FRAMES["openai"].replace(b'"up"', b'"up","n":"%b"')
    told = [(b"%d" % (number * kinds // words), b"the text") for number in range(words)]
    recorder, came, sent = relayed("claude:openai", told, frame=frame)
    assert last_bodies(stored(connection, recorder)) == [came, sent]
    assert (content(connection).count(b'"up","n":"') == words) is (kinds != 60)


@pytest.mark.parametrize("change", ["own", "piece", "step", "attempts"])
def test_a_damaged_one_is_said_to_be(connection: sqlite3.Connection, change: str) -> None:
    recorder, *_ = relayed("claude:openai", WORDS)
    noted = note_down(recorder)
    assert noted.head.made is not None
    if change == "own":
        noted.head.made.own = 7
    elif change == "piece":
        noted.bodies[-1] = noted.bodies[-1][1:]
    elif change == "step":
        noted.head.made.steps[1].texts += 1000
    else:
        noted.head.attempts = []
        noted.head.texts = noted.head.texts[: noted.head.texts.find(b"\0POST\0http")] + b"\0"
    insert_batches(connection, [batch_of([grouped([noted])], masker())], 0, int(time.time() * 1000))
    history = find_history(connection, recorder.request_id)
    assert history is not None
    assert b"DAMAGED" in history_text(history)


def test_a_name_that_is_a_secret_is_masked(connection: sqlite3.Connection) -> None:
    recorder = streamed(THEIRS, [piece.replace(b"real-model", KEY.encode()) for piece in THEIRS])
    recorder.call.model = KEY  # type: ignore[union-attr]
    stored(connection, recorder)
    assert KEY.encode() not in content(connection)


def test_the_end_of_a_stream_longer_than_half_the_bound_is_kept(connection: sqlite3.Connection) -> None:
    limit = 2 * len(b"".join(THEIRS)) - 200
    error = b"data: it broke\n\n"
    history = stored(connection, streamed(THEIRS, [*THEIRS, error], limit=limit))
    assert last_bodies(history) == [b"".join(THEIRS), b"".join([*THEIRS, error])]
