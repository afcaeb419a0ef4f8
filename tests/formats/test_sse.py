"""Server-sent events, read however they arrive."""

from __future__ import annotations

import itertools
import time

import pytest
from answers import MADE_UP
from hypothesis import given
from hypothesis import strategies as st

from cpa.formats.sse import NEAR, EventTooLarge, JsonArrayFraming, SseFraming, SseParser, end_of_frame, end_of_frames

Seen = list[tuple[str | None, bytes]]


def seen(data: bytes, *cuts: int) -> Seen:
    """Events in bytes that arrive in pieces; comments are left out."""
    parser = SseParser()
    edges = [0, *sorted(cuts), len(data)]
    frames = [frame for a, b in itertools.pairwise(edges) for frame in parser.feed(data[a:b])]
    return [(frame.event, frame.data) for frame in [*frames, *parser.close()] if frame.data]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'data: {"a":1}\n\n', [(None, b'{"a":1}')]),
        (b'data:{"a":1}\n\n', [(None, b'{"a":1}')]),
        (b'event: x\ndata: {"a":1}\n\n', [("x", b'{"a":1}')]),
        (b'data: {"a":1}\nevent: x\n\n', [("x", b'{"a":1}')]),
        (b'event:x\nid: 7\nretry: 10\ndata: {"a":1}\n\n', [("x", b'{"a":1}')]),
        (b'data: {"a":\ndata: 1}\n\n', [(None, b'{"a":\n1}')]),
        (b"data:  two\n\n", [(None, b" two")]),
        (b": a comment\n\ndata: 1\n\n: another\n\n", [(None, b"1")]),
        (b": a comment\ndata: 1\n\n", [(None, b"1")]),
        (b"\xef\xbb\xbfdata: 1\n\n", [(None, b"1")]),
        (b"\n\n\n\ndata: 1\n\n\n\n\ndata: 2\n\n", [(None, b"1"), (None, b"2")]),
        (b"data: 1\n\ndata: 2", [(None, b"1"), (None, b"2")]),
        (b"data: 1\n\ndata: 2\n", [(None, b"1"), (None, b"2")]),
        (b'{"error":{"code":429}}\n\n', [("stray", b'{"error":{"code":429}}')]),
        (b'{"error":{"code":429}}', [("stray", b'{"error":{"code":429}}')]),
        (b"data: [DONE]\n\n", [(None, b"[DONE]")]),
        (b"", []),
        (b"\n\n", []),
    ],
)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_an_event_is_read_with_any_line_end_and_cut_anywhere(data: bytes, expected: Seen, line_end: bytes) -> None:
    data = data.replace(b"\n", line_end)
    assert seen(data) == expected
    assert [seen(data, cut) for cut in range(len(data))] == [expected] * len(data)
    assert seen(data, *range(len(data))) == expected


_LINES = st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), min_size=1, max_size=5)


@MADE_UP
@given(
    events=st.lists(st.tuples(st.none() | st.sampled_from(["a", "ü"]), st.lists(_LINES, min_size=1, max_size=3))),
    ends=st.lists(st.sampled_from(["\n", "\r\n", "\r"]), min_size=1, max_size=5),
    data=st.data(),
)
def test_what_was_sent_is_read_whatever_happens_on_the_way(
    events: list[tuple[str | None, list[str]]], ends: list[str], data: st.DataObject
) -> None:
    sent = ""
    for number, (name, lines) in enumerate(events):
        end = ends[number % len(ends)]
        sent += f"event: {name}{end}" if name else ""
        sent += "".join(f"data: {line}{end}" for line in lines) + end
    raw = sent.encode()
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=6))
    expected = [(name, "\n".join(lines).encode()) for name, lines in events]
    assert seen(raw, *cuts) == expected


def test_the_bytes_of_an_event_are_kept_as_they_came() -> None:
    raw = b'event: x\r\ndata: {"a":1}\r\n\r\n: note\n\ndata:2\n\n'
    assert b"".join(frame.raw for frame in SseParser().feed(raw)) == raw


def test_a_line_of_many_megabytes_passes_and_one_beyond_the_limit_does_not() -> None:
    picture = b"data: " + b"A" * (5 * 1024 * 1024) + b"\n\n"
    parser = SseParser()
    frames = [frame for at in range(0, len(picture), 65536) for frame in parser.feed(picture[at : at + 65536])]
    assert [len(frame.data) for frame in frames] == [5 * 1024 * 1024]
    with pytest.raises(EventTooLarge, match="exceeds 100 bytes"):
        SseParser(limit=100).feed(b"data: " + b"A" * 200)
    assert len(SseParser(limit=100).feed((b"data: " + b"A" * 80 + b"\n\n") * 5)) == 5


def test_a_frame_half_read_is_known_to_be_waited_for() -> None:
    parser = SseParser()
    assert not parser.idle
    parser.feed(b"data: 1\n\n")
    assert parser.idle
    parser.feed(b"da")
    assert not parser.idle


def test_events_are_written_with_and_without_names() -> None:
    named, plain = SseFraming(named=True), SseFraming(named=False, done=b"data: [DONE]\n\n")
    assert named.frame("x", b"{}") == b"event: x\ndata: {}\n\n"
    assert plain.frame("x", b"{}") == b"data: {}\n\n"
    assert (named.end(), plain.end(), plain.abort()) == (b"", b"data: [DONE]\n\n", b"")
    assert seen(plain.keep_alive()) == []


def test_an_array_is_json_at_any_length() -> None:
    for count, expected in ((0, b"[]"), (1, b"[1]"), (2, b"[1,\n1]")):
        framing = JsonArrayFraming()
        assert b"".join(framing.frame(None, b"1") for _ in range(count)) + framing.end() == expected


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_giant_event_costs_as_much_as_it_is_long(line_end: bytes) -> None:
    """Taken in small pieces: what has come is not copied again and again."""
    line = b"data: " + b"x" * 200 + line_end
    piece = line * 80
    parser = SseParser()
    begun = time.process_time()
    for _ in range(1500):
        assert parser.feed(piece) == []
    (frame,) = parser.feed(line_end + b"d")
    assert frame.data.count(b"\n") == 1500 * 80 - 1
    assert time.process_time() - begun < 3


PIECES = st.sampled_from([b"\n", b"\n\n", b"x", b"x\n", b"y" * (NEAR - 1), b"y" * NEAR, b"y" * (NEAR * 3) + b"\n"])


@MADE_UP
@given(st.lists(PIECES, max_size=8), st.integers(0, NEAR * 2))
def test_the_ends_of_frames_are_found_however_long_they_are(pieces: list[bytes], at: int) -> None:
    def behind(found: int) -> int:
        return found + 2 if found >= 0 else 0

    data = b"".join(pieces)
    assert end_of_frame(data, at) == behind(data.find(b"\n\n", at))
    assert end_of_frames(data) == behind(data.rfind(b"\n\n"))


@MADE_UP
@given(st.lists(PIECES, max_size=8))
def test_long_frames_are_told_apart_as_short_ones_are(pieces: list[bytes]) -> None:
    data = b"".join(b"data: " + piece for piece in pieces)
    one_by_one = SseParser()
    expected = [frame for at in range(len(data)) for frame in one_by_one.feed(data[at : at + 1])]
    parser = SseParser()
    assert [frame.raw for frame in parser.feed(data)] == [frame.raw for frame in expected]
    assert [frame.raw for frame in parser.close()] == [frame.raw for frame in one_by_one.close()]
