"""Keep the beginning and the end of streams that pass, within bounds."""

from __future__ import annotations

from collections import deque

from cpa.logs.history import Clipped

SECTION_BYTES = 8 * 1024 * 1024
"""Of one body: its first and its last half are kept."""
LEAST_TAIL = 32 * 1024
MOST_HELD = 256 * 1024 * 1024
"""Bytes of streams under way, all together; beyond it only their ends are kept."""
LEASE = 32 * 1024
"""Bytes that a stream takes of these at once."""


class Held:
    """How many bytes of streams are held now, all exchanges together."""

    def __init__(self, limit: int = MOST_HELD) -> None:
        self.limit = limit
        self.bytes = 0


class Capture:
    """Takes a stream piece by piece, and keeps its beginning and its end."""

    __slots__ = ("_held", "_left", "_mine", "_room", "_tail", "_tail_bytes", "_tail_room", "omitted", "pieces")

    def __init__(self, held: Held, limit: int = SECTION_BYTES) -> None:
        self._held = held
        self._mine = 0
        self._room = self._tail_room = limit // 2
        self._left = 0
        """Bytes of the beginning that may come before more are leased."""
        self.pieces: list[bytes] = []
        """The beginning."""
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self.omitted = 0
        """Bytes between the two ends."""

    def add(self, piece: bytes) -> None:
        """Take the next piece."""
        left = self._left - len(piece)
        if left >= 0:
            self._left = left
            self.pieces.append(piece)
        else:
            self._lease(piece)

    def _lease(self, piece: bytes) -> None:
        """Take a piece that needs more room."""
        needed = len(piece) - self._left
        if needed <= self._room and self._held.bytes <= self._held.limit:
            leased = min(max(needed, LEASE), self._room)
            self._room -= leased
            self._take(leased)
            self._left += leased - len(piece)
            self.pieces.append(piece)
        else:
            self._add_to_tail(piece)

    def _take(self, size: int) -> None:
        self._mine += size
        self._held.bytes += size

    def _add_to_tail(self, piece: bytes) -> None:
        if self._room or self._left:
            if self._held.bytes > self._held.limit:
                self._tail_room = LEAST_TAIL
            head = piece[: self._left + self._room]
            self.pieces.append(head)
            self._take(max(len(head) - self._left, 0))
            self._room = self._left = 0
            piece = piece[len(head) :]
        kept = piece[-self._tail_room :]
        self.omitted += len(piece) - len(kept)
        self._tail.append(kept)
        grown = len(kept)
        while self._tail_bytes + grown > self._tail_room and len(self._tail) > 1:
            gone = len(self._tail.popleft())
            self.omitted += gone
            grown -= gone
        self._tail_bytes += grown
        self._take(grown)

    @property
    def size(self) -> int:
        """How many bytes it holds."""
        return self._mine - self._left

    def all(self) -> list[bytes] | None:
        """Every piece; None when not all were kept."""
        if self.omitted:
            return None
        return [*self.pieces, *self._tail] if self._tail else self.pieces

    def end(self, size: int) -> bytes:
        """The last bytes of what it holds."""
        kept: list[bytes] = []
        for piece in reversed((*self.pieces, *self._tail)):
            if size <= 0:
                break
            kept.append(piece[-size:])
            size -= len(piece)
        return b"".join(reversed(kept))

    def clipped(self) -> bytes | Clipped:
        """What was kept."""
        if (whole := self.all()) is not None:
            return whole[0] if len(whole) == 1 else b"".join(whole)
        return Clipped(b"".join(self.pieces), self.omitted, b"".join(self._tail))

    def release(self) -> None:
        """It is held no more."""
        self._held.bytes -= self._mine
        self._mine = 0
