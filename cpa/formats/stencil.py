"""Recognise runs of frames that differ in one place only, without looking at each of them.

Most frames of a stream are alike but for the text they carry. Once one of them was looked at, a stencil knows the
bytes before and after the varying part. A run of such frames is found by two searches over the whole chunk, and the
same change (another model name, an envelope) is made to all of them by one replacement.
"""

from __future__ import annotations

MARK = b"\n\n"
LONGEST_NEEDLE = 20
"""Longer ones are prepared anew by ``bytes.replace`` for every place they stand in."""


class Stencil:
    """``before`` + part + ``after`` is one frame, its closing empty line included; shown with other bytes around."""

    __slots__ = (
        "_after",
        "_before",
        "_changed",
        "_joint",
        "_lines",
        "_quotes",
        "_shown_after",
        "_shown_before",
        "_shown_joint",
        "_text",
    )

    def __init__(self, before: bytes, after: bytes, shown_before: bytes, shown_after: bytes) -> None:
        self._before = before
        self._after = after
        self._joint = after + before
        self._text = before.endswith(b'"') and after.startswith(b'"')
        """Whether the varying part is the inside of a string."""
        self._lines = self._joint.count(b"\n")
        self._quotes = self._joint.count(b'"')
        self._shown_before = shown_before
        self._shown_after = shown_after
        self._shown_joint = shown_after + shown_before
        self._changed = _changed_piece(self._joint, self._shown_joint)

    def reach(self, chunk: bytes) -> int:
        """How many bytes at the beginning of a chunk of complete frames are frames of this kind; 0 for none.

        A frame is told from the next by its line ends, which JSON text does not hold: where their number is not
        that of the joints, another kind of frame lies between, and the answer is 0 or less than there is. Where a
        string varies, its quotes tell the same, and also that no other member stands in one of the frames. A text
        that ends with a backslash spoils that account, for its last quote seems to be inside: lines tell then.
        """
        if not chunk.startswith(self._before):
            return 0
        last = chunk.rfind(self._joint)
        for begin in (last + len(self._after), 0) if last > 0 else (0,):
            end = chunk.find(MARK, begin) + 2
            if self._is_run(chunk, end):
                return end
            if begin and self._is_run(chunk, begin):
                return begin
        return 0

    def _is_run(self, chunk: bytes, end: int) -> bool:
        """Whether the chunk up to ``end``, where a frame ends, holds nothing but frames of this kind."""
        if not chunk.endswith(self._after, 0, end):
            return False
        frames = chunk.count(self._joint, 0, end) + 1
        if self._text:
            quotes = chunk.count(b'"', 0, end)
            if quotes == frames * self._quotes:
                return True
            if quotes - chunk.count(b'\\"', 0, end) != frames * self._quotes:
                return False
        return chunk.count(b"\n", 0, end) == frames * self._lines

    def shown(self, chunk: bytes, used: int) -> bytes:
        """What the client gets for the frames at the beginning of a chunk that ``reach`` found."""
        if self._joint == self._shown_joint and self._before == self._shown_before:
            return chunk[:used]
        inner = chunk[len(self._before) : used - len(self._after)]
        old, new = self._changed
        if inner.count(old) * self._lines != inner.count(b"\n"):  # it stands in a part too
            old, new = self._joint, self._shown_joint
        return b"".join((self._shown_before, inner.replace(old, new), self._shown_after))

    def parts(self, chunk: bytes, used: int) -> list[bytes]:
        """The varying parts of the frames that ``reach`` found."""
        return chunk[len(self._before) : used - len(self._after)].split(self._joint)


def _changed_piece(joint: bytes, shown: bytes) -> tuple[bytes, bytes]:
    """The end of what differs between two joints and some bytes before it, in both: short needles are found fast."""
    tail = _common(joint[::-1], shown[::-1])
    old, new = joint[: len(joint) - tail], shown[: len(shown) - tail]
    begin = min(_common(old, new), max(0, len(old) - LONGEST_NEEDLE))
    return old[begin:], new[begin:]


def _common(one: bytes, other: bytes) -> int:
    """How many bytes two texts have in common at their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def learn(raw: bytes, shown: bytes, lead: bytes, part: bytes) -> Stencil | None:
    """The stencil of a frame that is shown as ``shown``, around its varying ``part``.

    ``part`` is the JSON text of a string, an array or an object, ``lead`` the member's name in front of it. None when
    they do not stand exactly once in both.
    """
    needle = lead + part
    if raw.count(needle) != 1 or shown.count(needle) != 1 or not raw.endswith(MARK):
        return None
    first, last = lead + part[:1], part[-1:]
    at, to = raw.find(needle), shown.find(needle)
    return Stencil(
        raw[:at] + first, last + raw[at + len(needle) :], shown[:to] + first, last + shown[to + len(needle) :]
    )
