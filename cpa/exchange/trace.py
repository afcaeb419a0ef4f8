"""Note of what a stream is made, so that its history need not keep every frame of it."""

from __future__ import annotations

from cpa.exchange.capture import Capture
from cpa.formats.change import Change
from cpa.usage.history_made import AFTER_TEXT, MADE, Made, Step, own_pieces

LEAST = 4096
"""So many bytes that are no texts may be kept, and three quarters of all: of a stream that needs more, what came is
kept and what was sent."""
LONGEST = 1024 * 1024
"""So many bytes of a stream, read and written, are noted, and held until it is over; of a longer one both are kept."""
MOST_CHANGES = 64
"""So many kinds of frames; of a stream with more both are kept."""


class Trace:
    """What a relay reads and writes, ``before`` being what came of the answer until now."""

    __slots__ = (
        "_came", "_changes", "_given_up", "_kept", "_kind", "_noted", "_read", "_shown", "_steps", "_texts",
        "_texts_size", "_then", "_written",
    )  # fmt: skip

    def __init__(self, before: bytes) -> None:
        self._read = self._written = 0
        """All bytes until now."""
        self._changes: list[Change] = []
        self._steps: list[Step] = []
        """All but the one that goes on."""
        self._kind: Change | bool | None = None
        """Of that one: its change, or whether what came is shown as it is."""
        self._then = (0, 0, 0)
        """When it began: bytes read, written, and of texts."""
        self._noted = False
        self._texts: list[bytes] = []
        self._texts_size = 0
        self._came: list[bytes] = []
        self._shown: list[bytes] = []
        self._kept = 0
        """Bytes of what came and was shown."""
        self._given_up = False
        if before:
            self.relayed(before, b"")

    def note(self, change: Change, texts: list[bytes]) -> None:
        """What is relayed next are frames of these texts."""
        if self._given_up:
            return
        if change is not self._kind:
            self._begin(change)
        if not change.varying:
            text = AFTER_TEXT.join(texts)
            self._texts.append(text)
            self._texts_size += len(text) + len(AFTER_TEXT)
        self._noted = True

    def relayed(self, came: bytes, shown: bytes) -> None:
        """Bytes were read, and shown so."""
        if self._given_up:
            return
        if not self._noted and (same := came == shown) is not self._kind:
            self._begin(same)
        self._noted = False
        self._read += len(came)
        self._written += len(shown)
        kind = self._kind
        if not isinstance(kind, Change) or kind.varying:
            self._keep(self._came, came)
        if kind is False or (isinstance(kind, Change) and not kind.shown_before):
            self._keep(self._shown, shown)
        if self._read + self._written > LONGEST:
            self._give_up()

    def _keep(self, kept: list[bytes], content: bytes) -> None:
        kept.append(content)
        self._kept += len(content)
        if self._kept > LEAST + (self._read + self._written) * 3 // 4:
            self._give_up()

    def _give_up(self) -> None:
        self._given_up = True
        self._steps, self._changes, self._texts, self._came, self._shown = [], [], [], [], []

    def _begin(self, kind: Change | bool | None) -> None:
        """Another step, which ends the one that went on."""
        read, written, texts = now = (self._read, self._written, self._texts_size)
        read, written, texts = (a - b for a, b in zip(now, self._then, strict=True))
        change = self._kind
        self._kind, self._then = kind, now
        if isinstance(change, Change):
            if change not in self._changes:
                self._changes.append(change)
            if len(self._changes) > MOST_CHANGES:
                self._give_up()
                return
            shown = MADE if change.shown_before else written
            came = read if change.varying else 0
            self._steps.append(Step(texts, came, shown, self._changes.index(change)))
        elif read or written:
            self._steps.append(Step(0, read, MADE if change else written))

    def unchanged(self, received: Capture, sent: Capture) -> bool:
        """Whether all that came was sent as it was."""
        same = self._kind is True and not self._steps and not self._given_up
        return same and self._written == sent.size == received.size

    def made(self, received: Capture, sent: Capture) -> tuple[Made, tuple[bytes, ...]] | None:
        """How all that came and all that was sent is made, and of what: a body whose number is yet to be told.

        None when that is not known, or does not make it shorter. Asked once.
        """
        if self.unchanged(received, sent):
            return None
        if self._given_up or self._written != sent.size or received.omitted or sent.omitted:
            return None
        if rest := received.end(received.size - self._read):
            self.relayed(rest, b"")
        self._begin(None)
        if self._given_up:
            return None
        texts = AFTER_TEXT.join([*self._texts, b""])
        pieces = own_pieces(self._changes, texts, b"".join(self._came), b"".join(self._shown))
        return Made(0, [(each.varying, each.empty) for each in self._changes], self._steps), pieces
