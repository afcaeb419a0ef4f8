"""The bodies of request histories, cut to bounds."""

from __future__ import annotations

from msgspec import Struct

from cpa.logs.masking import cut_ends

HISTORY_BYTES = 32 * 1024 * 1024
"""Of all bodies of a history together."""


class Clipped(Struct):
    """The two ends of a body."""

    head: bytes
    omitted: int
    tail: bytes

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return len(self.head) + len(self.tail)


def clip(content: bytes, limit: int) -> bytes | Clipped:
    """``content``, without its middle when it is longer than ``limit`` bytes."""
    if len(content) <= limit:
        return content
    half = limit // 2
    return Clipped(content[:half], len(content) - 2 * half, content[-half:])


def pieces_of(body: bytes | Clipped, share: int) -> tuple[bytes, ...]:
    """A body of at most ``share`` bytes; of one without its middle also no part of a word that was cut."""
    if isinstance(body, bytes):
        body = clip(body, share)
        if isinstance(body, bytes):
            return (body,)
    elif body.size > share:
        half = share // 2
        head, tail = body.head[:half], body.tail[-half:]
        body = Clipped(head, body.omitted + body.size - len(head) - len(tail), tail)
    head, tail = cut_ends(body.head, body.tail)
    omitted = body.omitted + body.size - len(head) - len(tail)
    return head, b"\n[TRUNCATED: %d bytes omitted]\n" % omitted, tail
