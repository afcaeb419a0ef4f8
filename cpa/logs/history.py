"""The bodies of request histories, cut to bounds, and the names under which histories are downloaded."""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache

from msgspec import Struct

from cpa.logs.masking import cut_ends

HISTORY_BYTES = 32 * 1024 * 1024
"""Of all bodies of a history together."""


class Clipped(Struct):
    """A body, or its two ends."""

    head: bytes
    omitted: int = 0
    tail: bytes = b""

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return len(self.head) + len(self.tail)


def clip(content: bytes, limit: int) -> Clipped:
    """``content``, without its middle when it is longer than ``limit`` bytes."""
    if len(content) <= limit:
        return Clipped(content)
    half = limit // 2
    return Clipped(content[:half], len(content) - 2 * half, content[-half:])


def pieces_of(body: Clipped, share: int) -> tuple[bytes, ...]:
    """A body of at most ``share`` bytes; of one without its middle also no part of a word that was cut."""
    if not body.omitted:
        if len(body.head) <= share:
            return (body.head,)
        body = clip(body.head, share)
    elif body.size > share:
        half = share // 2
        head, tail = body.head[:half], body.tail[-half:]
        body = Clipped(head, body.omitted + body.size - len(head) - len(tail), tail)
    head, tail = cut_ends(body.head, body.tail)
    omitted = body.omitted + body.size - len(head) - len(tail)
    return head, b"\n[TRUNCATED: %d bytes omitted]\n" % omitted, tail


_UNSAFE = re.compile(r'[/:<>"|?*\\\s\x00-\x1f]+')


def log_name(path: str, begun: float, request_id: str, *, forced: bool) -> str:
    """The file name under which a history is downloaded."""
    return f"{'error-' if forced else ''}{_safe(path)}-{_local_second(int(begun))}-{request_id}.log"


@lru_cache(maxsize=64)
def _local_second(second: int) -> str:
    return datetime.fromtimestamp(second).strftime("%Y-%m-%dT%H%M%S")


@lru_cache(maxsize=256)
def _safe(path: str) -> str:
    return re.sub(r"-+", "-", _UNSAFE.sub("-", path.lstrip("/"))).strip("-")[:120] or "root"
