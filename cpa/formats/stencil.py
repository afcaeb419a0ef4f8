"""Recognise runs of frames that are alike, without looking at each of them.

Most frames of a stream are alike but for the text they carry. Once one of them was looked at, a stencil knows the
bytes before and after the text. A chunk is divided where the texts begin: where all that stands between two of them is
what it should be, the frames are of this kind, and the texts can be put between other bytes.
"""

from __future__ import annotations

import re

from cpa.formats.change import Change, Note

MARK = b"\n\n"
NEEDLES = (20, 40, 80, 160, 320)
"""Bytes by which the beginning of a text is found: as few as tell it. Long needles are prepared anew by ``bytes.split``
for every place they stand in."""
_INSIDE = re.compile(rb'(?:[^"\\\n]+|\\["\\/bfnrtu])*+')
"""What ends neither a string in JSON nor its line."""


class FrameKind:
    """Frames that begin with ``before`` and end with ``after``, their closing empty line included."""

    __slots__ = ("_after", "_before", "_joint", "_lines")

    def __init__(self, before: bytes, after: bytes) -> None:
        self._before = before
        self._after = after
        self._joint = after + before
        self._lines = self._joint.count(b"\n")

    def reach(self, chunk: bytes) -> int:
        """How many bytes at the beginning of a chunk of complete frames are frames of this kind; 0 for none.

        A frame is told from the next by its line ends, which JSON does not hold: where their number is not that of the
        joints, another kind of frame lies between, and the answer is 0 or less than there is.
        """
        if not chunk.startswith(self._before):
            return 0
        last = chunk.rfind(self._joint)
        for begin in (last + len(self._after), 0) if last > 0 else (0,):
            end = chunk.find(MARK, begin) + len(MARK)
            if self._is_run(chunk, end):
                return end
            if begin and self._is_run(chunk, begin):
                return begin
        return 0

    def _is_run(self, chunk: bytes, end: int) -> bool:
        """Whether the chunk up to ``end``, where a frame ends, holds nothing but frames of this kind."""
        if not chunk.endswith(self._after, 0, end):
            return False
        return chunk.count(b"\n", 0, end) == (chunk.count(self._joint, 0, end) + 1) * self._lines


class Stencil:
    """Frames that are ``before`` + text + ``after``, and how they are shown: with other bytes around.

    The text is the inside of a JSON string, whose quotes stand around it.
    """

    __slots__ = ("_after", "_before", "_between", "_needle", "_same", "_shown_between", "change")

    def __init__(self, change: Change) -> None:
        self.change = change
        self._before, self._after = before, after = change.before, change.after
        self._needle = _needle(before, after)
        """The end of what stands before a text."""
        self._between = after + before.removesuffix(self._needle)
        """What stands between a text and the next needle."""
        self._same = (before, after) == (change.shown_before, change.shown_after)
        self._shown_between = change.shown_after + change.shown_before

    def read(self, chunk: bytes) -> tuple[list[bytes], int]:
        """The texts of the frames of this kind at the beginning of a chunk of complete frames, and how many bytes those
        frames are. A frame whose text ends its string or its line is none.
        """
        if not self._needle or not chunk.startswith(self._before):
            return [], 0
        between = self._between
        pieces = chunk.split(self._needle)
        del pieces[0]
        last = pieces.pop()
        texts = [piece.removesuffix(between) for piece in pieces]
        if sum(map(len, pieces)) - sum(map(len, texts)) != len(between) * len(texts):
            other = next(number for number, piece in enumerate(pieces) if not piece.endswith(between))
            last = pieces[other]
            del texts[other:]
        frame = last[: last.find(MARK) + len(MARK)]
        if frame.endswith(self._after):
            texts.append(frame.removesuffix(self._after))
        if not _is_inside(b" ".join(texts)):
            del texts[next(number for number, text in enumerate(texts) if not _is_inside(text)) :]
        return texts, len(texts) * (len(self._before) + len(self._after)) + sum(map(len, texts))

    def passed(self, chunk: bytes, note: Note | None = None) -> tuple[bytes, int]:
        """What the client gets for the frames of this kind at the beginning of a chunk of complete frames, and how many
        bytes those frames are; nothing and 0 for none.
        """
        texts, used = self.read(chunk)
        if not used:
            return b"", 0
        change = self.change
        if note is not None:
            note(change, texts)
        if self._same:
            return chunk[:used], used
        return b"".join((change.shown_before, self._shown_between.join(texts), change.shown_after)), used


def _is_inside(text: bytes) -> bool:
    """Whether it can be the inside of a string; of several texts with spaces between, whether all of them can."""
    if b"\\" in text:
        return _INSIDE.fullmatch(text) is not None
    return b'"' not in text and b"\n" not in text


def _needle(before: bytes, after: bytes) -> bytes:
    """A short end of ``before`` that stands nowhere else in a frame; empty when there is none."""
    joint = after + before
    for size in NEEDLES:
        needle = before[-size:]
        if joint.find(needle) == len(joint) - len(needle):
            return needle
    return b""


def learn(raw: bytes, shown: bytes, lead: bytes, text: bytes) -> Stencil | None:
    """The stencil of a frame that is shown as ``shown``, around its ``text``.

    ``text`` is the JSON text of a string, ``lead`` the member's name in front of it. None when they do not stand
    exactly once in both.
    """
    needle = lead + text
    if raw.count(needle) != 1 or shown.count(needle) != 1 or not raw.endswith(MARK):
        return None
    first, last = lead + text[:1], text[-1:]
    at, to = raw.find(needle), shown.find(needle)
    return Stencil(
        Change(raw[:at] + first, last + raw[at + len(needle) :], shown[:to] + first, last + shown[to + len(needle) :])
    )
