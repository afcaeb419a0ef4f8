"""Read runs of deltas that are alike but for their text, without decoding one of them.

JSON text of a string means the same in every format: it is taken out of the frames of one and put into those of
another as it stands.
"""

from __future__ import annotations

import re

import orjson

from cpa.formats.change import KINDS, Change, Varying, without
from cpa.formats.stencil import MARK, Stencil

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


class Run:
    """What the deltas of one block look like."""

    __slots__ = ("_stencil", "_varying")

    def __init__(self, stencil: Stencil, varying: tuple[Varying, ...]) -> None:
        self._stencil = stencil
        self._varying = varying

    def read(self, chunk: bytes) -> tuple[list[bytes], int]:
        """The JSON texts of the deltas at the beginning of a chunk, without their quotes, and how many bytes they are.

        The chunk begins with a frame and holds no carriage return. What is no JSON is left to those that decode.
        """
        plain = without(chunk, self._varying)
        texts, used = self._stencil.read(plain)
        if not used or not _are_texts(texts):
            return [], 0
        if used == len(plain):
            return texts, len(chunk)
        return texts, used if plain is chunk else _end_of(chunk, len(texts))

    def change(self, around: Around | None) -> Change:
        """How its frames are shown where texts are written with this around them, empty ones not at all."""
        frame, varying = self._stencil.change, tuple(map(KINDS.index, self._varying))
        before, _, after = around or (b"", b"", b"")
        return Change(frame.before, frame.after, before, after, varying, empty=False)


def learn_run(raw: bytes, lead: bytes, text: str, varying: tuple[Varying, ...]) -> Run | None:
    """The run that a frame belongs to whose member ``lead`` (``"content":``) holds ``text``.

    None when it does not stand there, and there alone: a name that comes again, with a space before its colon or
    written with escapes, could be the one that counts.
    """
    present = tuple(each for each in varying if each[0].search(raw))
    plain = without(raw, present)
    if plain.count(lead[:-1]) != 1 or not plain.endswith(MARK):
        return None
    found = _STRING.match(plain, plain.find(lead) + len(lead))
    if found is None or joined([found[0][1:-1]]) != text:
        return None
    before, after = plain[: found.start() + 1], plain[found.end() - 1 :]
    if b"\\" in before or b"\\" in after:
        return None
    return Run(Stencil(Change(before, after, before, after)), present)


def _are_texts(texts: list[bytes]) -> bool:
    """Whether each of them is the inside of a JSON string; no escape and no character goes on after a space."""
    try:
        orjson.loads(b'"%b"' % b" ".join(texts))
    except orjson.JSONDecodeError:
        return False
    return True


def joined(texts: list[bytes]) -> str:
    """The text in JSON texts that stand one after the other."""
    inside = b"".join(texts)
    try:
        return str(orjson.loads(b'"%b"' % inside))
    except orjson.JSONDecodeError:
        return inside.decode("utf-8", "replace")


Around = tuple[bytes, bytes, bytes]
"""What stands before, between and after the JSON texts of deltas that are written."""
HOLE = b'"\0"'
"""Stands where a text will: no JSON holds a zero byte."""


def around(frame: bytes) -> Around:
    """What surrounds the hole in a frame, its quotes included."""
    before, _, after = frame.partition(b"\0")
    return before, after + before, after


def filled(shape: Around, texts: list[bytes]) -> bytes:
    """Frames for these texts; none for an empty one."""
    before, between, after = shape
    texts = [text for text in texts if text]
    return b"".join((before, between.join(texts), after)) if texts else b""


def _end_of(chunk: bytes, frames: int) -> int:
    end = 0
    for _ in range(frames):
        end = chunk.find(MARK, end) + len(MARK)
    return end
