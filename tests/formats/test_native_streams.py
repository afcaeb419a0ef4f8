"""Streams that pass natively: cut anywhere they come out the same, and one that breaks off never looks complete."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from answers import ANSWERS, CODECS, context, written
from invariants import errors_in

from cpa.errors import ErrorInfo
from cpa.exchange.relay import PassingRelay

PAIRS = [
    ("openai", "openai"),
    ("claude", "claude"),
    ("gemini", "gemini"),
    ("gemini", "gemini-cli"),
    ("gemini-cli", "gemini"),
    ("gemini-cli", "gemini-cli"),
    ("openai-response", "openai-response"),
    ("openai-response", "codex"),
]
WRITTEN_AS = {"codex": "openai-response"}
SAMPLES = ("text", "thinking, text and a call", "no usage")
NAMES = (None, "renamed")

every_stream = pytest.mark.parametrize(
    ("client", "upstream", "sample", "name"),
    [(*pair, sample, name) for pair in PAIRS for sample in SAMPLES for name in NAMES],
)


def stream_of(upstream: str, sample: str) -> bytes:
    return written(WRITTEN_AS.get(upstream, upstream), ANSWERS[sample])


def relay(client: str, upstream: str, name: str | None) -> PassingRelay:
    shared = context(client_format=client, upstream_format=upstream, model=name)
    return PassingRelay(CODECS[client].native_relay(shared, CODECS[client].framing(shared)))


def passed(client: str, upstream: str, name: str | None, *pieces: bytes) -> tuple[bytes, PassingRelay]:
    """What a client gets of a stream in pieces, the error of a broken one included."""
    passing = relay(client, upstream, name)
    out = b"".join(passing.feed(piece) for piece in pieces)
    if not passing.complete and passing.error is None:
        out += passing.close()
    if passing.error is not None and not passing.meaningful:
        out += passing.fail(passing.error)
    return out, passing


def boundaries(stream: bytes) -> Iterator[int]:
    at = 0
    while (at := stream.find(b"\n\n", at) + 2) > 1:
        yield at


@every_stream
def test_every_cut_gives_the_same_bytes(client: str, upstream: str, sample: str, name: str | None) -> None:
    stream = stream_of(upstream, sample)
    expected, whole = passed(client, upstream, name, stream)
    assert whole.complete
    assert whole.error is None
    for at in range(1, len(stream)):
        out, cut = passed(client, upstream, name, stream[:at], stream[at:])
        assert (out, cut.complete, cut.usage) == (expected, True, whole.usage), at
    out, _ = passed(client, upstream, name, *(bytes([byte]) for byte in stream))
    assert out == expected


@every_stream
def test_with_other_line_ends_it_says_the_same(client: str, upstream: str, sample: str, name: str | None) -> None:
    stream = stream_of(upstream, sample)
    expected, _ = passed(client, upstream, name, stream)
    other, relayed = passed(client, upstream, name, b": hello\r\n\r\n" + stream.replace(b"\n", b"\r\n"))
    assert relayed.complete
    assert [line for line in other.splitlines() if line and line[:1] != b":"] == [
        line for line in expected.splitlines() if line
    ]


@every_stream
def test_one_that_breaks_off_is_an_error(client: str, upstream: str, sample: str, name: str | None) -> None:
    stream = stream_of(upstream, sample)
    expected, _ = passed(client, upstream, name, stream)
    ends = [0, *boundaries(stream)]
    completed = 0
    for at, after in itertools.pairwise(ends):
        for end in (at, (at + after) // 2):
            out, broken = passed(client, upstream, name, stream[:end])
            if broken.complete:
                completed += 1
                assert broken.error is None
                continue
            assert broken.error is not None, end
            told = out.count(b'"error"') if client == "gemini-cli" else len(errors_in(client, out))
            assert told == 1, out
            assert out != expected
    assert completed < len(ends), "only a stream whose end was told may count as complete"


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_an_error_of_the_connection_is_told_once(client: str, upstream: str) -> None:
    stream = stream_of(upstream, "text")
    passing = relay(client, upstream, None)
    half = list(boundaries(stream))[1]
    out = passing.feed(stream[:half]) + passing.fail(ErrorInfo(502, "gone", type="server_error", code="lost"))
    assert out.count(b"gone") == 1
    assert not passing.complete
