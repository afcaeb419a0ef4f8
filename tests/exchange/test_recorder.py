"""What is kept of an exchange is bounded, and ends are kept rather than middles."""

from __future__ import annotations

import pytest

from cpa.exchange.capture import LEASE, LEAST_TAIL, Capture, Held


def test_a_short_stream_is_kept_whole() -> None:
    capture = Capture(Held())
    for piece in (b"one", b"two", b"three"):
        capture.add(piece)
    assert (capture.clipped(), capture.size) == (b"onetwothree", 11)


@pytest.mark.parametrize("piece", [1, 7, 10, 64])
def test_a_long_stream_keeps_its_two_ends(piece: int) -> None:
    content = bytes(range(256)) * 4
    capture = Capture(Held(), limit=20)
    for at in range(0, len(content), piece):
        capture.add(content[at : at + piece])
    kept = capture.clipped()
    assert kept.head == content[:10]
    assert content.endswith(kept.tail)
    assert 0 < len(kept.tail) <= max(10, piece)
    assert len(kept.head) + kept.omitted + len(kept.tail) == len(content)


def test_all_streams_together_are_bounded() -> None:
    held = Held(limit=100_000)
    captures = [Capture(held) for _ in range(20)]
    for _ in range(1000):
        for capture in captures:
            capture.add(b"x" * 1000)
    assert held.bytes <= held.limit + LEASE + 20 * (LEAST_TAIL + 1000)
    assert all(capture.clipped().omitted > 0 for capture in captures)
    for capture in captures:
        capture.release()
        capture.release()
    assert held.bytes == 0
