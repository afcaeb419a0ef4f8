"""Deltas that are translated in runs: what a client reads and what is known is the same as when each is decoded."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any

import orjson
import pytest
from answers import CODECS, FORMATS, context
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_streams import FRAMES, streams
from tracing import fed, shown

from cpa.exchange.relay import TranslatingRelay
from cpa.formats.change import NUMBERS, OBFUSCATION
from cpa.formats.runs import Run, learn_run

EXAMPLES = int(os.environ.get("CPA_STREAM_EXAMPLES", "40"))
PAIRS = [(client, upstream) for client in FORMATS for upstream in FORMATS if client != upstream]


def relay_of(client: str, upstream: str, *, alone: bool = False, alt: str = "") -> TranslatingRelay:
    taken: Counter[str] = Counter()

    def new_id(prefix: str) -> str:
        """Whether frames are decoded before others are encoded does not matter to it."""
        taken[prefix] += 1
        return f"{prefix}{taken[prefix]:024d}"

    shared = context(client_format=client, upstream_format=upstream, new_id=new_id, alt=alt)
    encoder = CODECS[client].stream_encoder(shared, CODECS[client].framing(shared))
    relay = TranslatingRelay(CODECS[upstream].stream_decoder(shared), encoder)
    if alone:
        relay._runs = None
    return relay


def outcome(relay: TranslatingRelay, pieces: list[bytes], *, traced: bool = True) -> tuple[Any, ...]:
    """What a client was told (nothing by an attempt that failed before it had content), and what is known."""
    out = fed(relay, pieces, traced=traced)
    told = relay.meaningful or relay.error is None
    return shown(out) if told else None, relay.usage, relay.complete, relay.error, relay.meaningful


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_deltas_in_runs_are_deltas_one_by_one(client: str, upstream: str, data: st.DataObject) -> None:
    frames = data.draw(streams(upstream, spoiled=True))
    stream = b"".join(frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    expected = outcome(relay_of(client, upstream, alone=True), frames)
    assert outcome(relay_of(client, upstream), frames, traced=False) == expected
    assert outcome(relay_of(client, upstream), frames) == expected
    assert outcome(relay_of(client, upstream), pieces) == expected


BEGINNINGS = {
    "openai": b"",
    "claude": b"".join(
        b"data: %b\n\n" % orjson.dumps(each)
        for each in (
            {"type": "message_start", "message": {"id": "m", "model": "up"}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        )
    ),
    "gemini": b"",
    "openai-response": b"data: %b\n\n"
    % orjson.dumps(
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {"type": "message", "id": "m", "role": "assistant", "content": []},
        }
    ),
}


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_a_run_is_not_decoded(client: str, upstream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    relay = relay_of(client, upstream)
    event, body = FRAMES[upstream]("first ")[0]
    head = b"event: %b\n" % event.encode() if event else b""
    frame = head + b"data: %b\n\n" % json.dumps(body, separators=(",", ":")).encode()
    begun = relay.feed(BEGINNINGS[upstream] + frame) + relay.feed(frame)
    monkeypatch.setattr(relay._decoder, "feed", lambda frame: pytest.fail("a frame was decoded"))
    texts = ["one", 'a "quoted" \\ text\n', "\u2028é\U0001f600", ",", "data: "]
    run = b"".join(frame.replace(b"first ", json.dumps(text)[1:-1].encode()) for text in texts)
    passed = relay.feed(run)
    monkeypatch.undo()
    assert "".join(_texts(shown(begun + passed))) == "first first " + "".join(texts)
    assert len(shown(passed)) == len(texts)


@pytest.mark.parametrize("upstream", [each for each in FORMATS if each != "openai"])
def test_the_legacy_route_is_told_the_texts_of_runs(upstream: str) -> None:
    event, body = FRAMES[upstream]("word ")[0]
    head = b"event: %b\n" % event.encode() if event else b""
    relay = relay_of("openai", upstream, alt="completions")
    out = relay.feed(BEGINNINGS[upstream])
    for _ in range(3):
        out += relay.feed((head + b"data: %b\n\n" % orjson.dumps(body)) * 3)
    chunks = [chunk for _, chunk in shown(out)]
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "word " * 9


def _texts(payloads: list[Any]) -> list[str]:
    """Texts of deltas, wherever the format has them."""
    found = []
    for _, body in payloads:
        match body:
            case {"choices": [{"delta": {"content": str(text)}}]} | {"delta": {"text": str(text)}}:
                found.append(text)
            case {"candidates": [{"content": {"parts": [{"text": str(text)}]}}]} | {"delta": str(text)}:
                found.append(text)
    return found


def test_what_varies_without_meaning_is_no_part_of_the_shape() -> None:
    frame = b'data: {"delta":"hi, \\"sequence_number\\":5","sequence_number":7,"obfuscation":"abc"}\n\n'
    run = learn_run(frame, b'"delta":', 'hi, "sequence_number":5', NUMBERS + OBFUSCATION)
    assert run is not None
    more = b'data: {"delta":"%b","sequence_number":%d,"obfuscation":"%b"}\n\n'
    chunk = more % (b"a", 8, b"") + more % (b",", 10, b"abcdefgh") + more % (b'\\"', 11, b"q")
    assert run.read(chunk) == ([b"a", b",", b'\\"'], len(chunk))
    other = chunk + b'data: {"other":1}\n\n'
    assert run.read(other) == ([b"a", b",", b'\\"'], len(chunk))


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (b'data: {"id":"hi","content":"\\u0068i","content":"x"}\n\n', "hi"),
        (b'data: {"content":"hi"}\n', "hi"),
        (b'data: {"content":["hi"]}\n\n', "hi"),
        (b'data: {"content":"ho"}\n\n', "hi"),
        (b'data: {"text":"hi"}\n\n', "hi"),
    ],
)
def test_a_frame_that_may_mean_something_else_teaches_nothing(frame: bytes, text: str) -> None:
    assert learn_run(frame, b'"content":', text, ()) is None


def test_a_member_in_one_frame_of_a_run_is_seen() -> None:
    frame = b'data: {"content":"hi"}\n\n'
    run = learn_run(frame, b'"content":', "hi", ())
    assert isinstance(run, Run)
    odd = b'data: {"content":"a","finish":"b"}\n\n'
    assert run.read(frame + odd + frame) == ([b"hi"], len(frame))
    assert run.read(odd + frame) == ([], 0)


def chat_frame(text: bytes, more: bytes = b"") -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"%b"%b},"finish_reason":null}]}\n\n' % (text, more)


BACKSLASHED = chat_frame(rb"a\\")
"""Its last quote looks like one of the text."""
DISGUISED = {
    "another member": BACKSLASHED * 4 + chat_frame(b'c","refusal":"d'),
    "another choice": BACKSLASHED * 12 + chat_frame(b"c").replace(b'"index":0', b'"index":1') + chat_frame(b"e") * 2,
    "a line end": chat_frame(b"a") + chat_frame(b"b\n\n: c") + chat_frame(b"d"),
    "a control character": chat_frame(b"a") + chat_frame(b"b\x01") + chat_frame(b"c"),
    "no escape": chat_frame(b"a") + chat_frame(rb"b\x41") + chat_frame(b"c"),
    "bytes that are no text": chat_frame(b"a") + chat_frame(b"b\xff") + chat_frame(b"c"),
    "a character in two halves": chat_frame(b"\xc3") + chat_frame(b"\xa9"),
    "a surrogate pair in two halves": chat_frame(rb"\ud83d") + chat_frame(rb"\ude00"),
    "an escape in two halves": chat_frame(rb"a\u00") + chat_frame(b"e9"),
    "a quote that is escaped": chat_frame(b"a\\") + chat_frame(b'","b":"c'),
}


@pytest.mark.parametrize("chunk", DISGUISED.values(), ids=DISGUISED)
def test_what_only_looks_like_a_run_is_decoded(chunk: bytes) -> None:
    frames = [chat_frame(b"hi"), chat_frame(b"hi"), chunk]
    for client in (each for each in FORMATS if each != "openai"):
        expected = outcome(relay_of(client, "openai", alone=True), frames)
        assert outcome(relay_of(client, "openai"), frames) == expected


@pytest.mark.parametrize(
    "twin", [b',"content" : "hi"', rb',"\u0063ontent":"hi"', b',"content":"hi"', b',"more":{"content":"hi"}']
)
def test_a_member_that_comes_twice_counts_as_often_as_it_is_decoded(twin: bytes) -> None:
    frames = [chat_frame(b"hi", twin), chat_frame(b"hi", twin), chat_frame(b"ho", twin) * 3]
    for client in (each for each in FORMATS if each != "openai"):
        expected = outcome(relay_of(client, "openai", alone=True), frames)
        assert outcome(relay_of(client, "openai"), frames) == expected


@pytest.mark.parametrize("length", [1, 3, 6, 40])
def test_looking_for_short_runs_costs_no_more_in_a_long_chunk(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    read, looked_at = Run.read, 0

    def counted(self: Run, chunk: bytes) -> tuple[list[bytes], int]:
        nonlocal looked_at
        looked_at += len(chunk)
        return read(self, chunk)

    monkeypatch.setattr(Run, "read", counted)
    relay = relay_of("claude", "openai")
    chunk = (chat_frame(b"word") * length + b": comment\n\n") * (100_000 // length // len(chat_frame(b"word")))
    relay.feed(chat_frame(b"hi"))
    relay.feed(chat_frame(b"hi"))
    passed = relay.feed(chunk)
    assert passed.count(b'"word"') == chunk.count(b'"word"')
    assert looked_at < 16 * len(chunk)


def test_where_runs_are_short_few_frames_are_looked_at_until_they_are_long_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learned: list[bytes] = []

    def learn(raw: bytes, *what: Any) -> Run | None:
        learned.append(raw)
        return learn_run(raw, *what)

    monkeypatch.setattr("cpa.exchange.relay.learn_run", learn)
    relay = relay_of("claude", "openai")
    for _ in range(1000):
        relay.feed(b"".join(chat_frame(b"a", more) for more in (b"", b"", b',"x":1', b',"x":1')))
    assert len(learned) < 100
    assert relay.error is None
    relay.feed(b"".join([chat_frame(b"b")] * 20_000))
    known = len(learned)
    relay.feed(b"".join([chat_frame(b"b")] * 1000))
    assert len(learned) == known
