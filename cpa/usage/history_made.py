"""Streams whose frames differ in their texts only: the texts are stored, and what stood around them once.

Both what came and what the client was sent are made once again of them when somebody reads the history.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from cpa.formats.change import Change

AFTER_TEXT = b"\n"
"""Which no text of a frame holds."""
MADE = -1
NO_CHANGE = -1
AROUND = 4
"""Pieces of a change."""
KEPT = 3
"""Pieces besides: texts, what came and what was shown."""


class Step(Struct, array_like=True, gc=False):
    """Some bytes that came, and how they were shown. The numbers are bytes."""

    texts: int
    """Of texts in frames that came; 0 where they came otherwise."""
    came: int
    """Of what came, as it was."""
    shown: int
    """Of what was shown, as it was; :data:`MADE` where it is made: by the change, or the same as came."""
    change: int = NO_CHANGE
    """Its number."""


class Made(Struct, array_like=True, gc=False):
    """What the last attempt received and what the client was sent, of which neither is stored."""

    own: int
    """The number of the body of which they are made: the pieces of each change, one after the other, and last the
    texts, what came and what was shown."""
    changes: list[tuple[tuple[int, ...], bool]]
    """Of each what varies and whether it shows frames without text: see :class:`cpa.formats.change.Change`."""
    steps: list[Step]


def own_pieces(changes: list[Change], texts: bytes, came: bytes, shown: bytes) -> tuple[bytes, ...]:
    """What is stored of them."""
    around = [piece for each in changes for piece in (each.before, each.after, each.shown_before, each.shown_after)]
    return (*around, texts, came, shown)


def made_of(made: Made, own: Sequence[bytes]) -> tuple[bytes, bytes]:
    """What came and what was sent. Raises ValueError when they cannot be made of these."""
    if len(own) != len(made.changes) * AROUND + KEPT:
        raise ValueError("pieces are missing")
    changes: list[Change] = []
    for number, (varying, empty) in enumerate(made.changes):
        before, after, shown_before, shown_after = own[number * AROUND : (number + 1) * AROUND]
        changes.append(Change(before, after, shown_before, shown_after, varying, empty))
    texts, came, shown = (_Rest(piece) for piece in own[-KEPT:])
    received: list[bytes] = []
    sent: list[bytes] = []
    for step in made.steps:
        change = changes[step.change] if 0 <= step.change < len(changes) else None
        inside: list[bytes] = []
        content = came.next(step.came)
        if change is not None and step.texts:
            inside = texts.next(step.texts).split(AFTER_TEXT)[:-1]
            content = change.came(inside)
        received.append(content)
        if step.shown != MADE:
            sent.append(shown.next(step.shown))
        elif change is not None:
            sent.append(change.shown(inside if step.texts else change.texts_of(content)))
        else:
            sent.append(content)
    return b"".join(received), b"".join(sent)


class _Rest:
    """What is left of some bytes."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def next(self, size: int) -> bytes:
        """The next ones. Raises ValueError when there are less."""
        begin, self._at = self._at, self._at + size
        if not begin <= self._at <= len(self._content):
            raise ValueError("what it was made of is missing")
        return self._content[begin : self._at]
