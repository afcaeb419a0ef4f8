"""Make the parts of a request history ready to be stored: bodies once only, and without secrets."""

from __future__ import annotations

from msgspec import Struct

from cpa.logs.history import HISTORY_BYTES, Clipped, pieces_of
from cpa.logs.masking import LONGEST_SECRET, Masker
from cpa.usage.history_parts import Body, HistoryParts, encode_parts, encoded

SHARED_BYTES = 256
"""From so many on a body is stored once only."""
SHORTEST_LEFT_OUT = 64


class Stored(Struct):
    """The parts of a history, encoded."""

    content: bytes | bytearray
    clean: bool = True
    """Whether no secret value was found anywhere in the history."""


class Bodies:
    """Takes the bodies of a history one after the other."""

    def __init__(self, attempts: int) -> None:
        self._share = HISTORY_BYTES // (2 * attempts + 3)
        self.all: list[Body] = []

    def add(self, body: Clipped) -> int:
        """Its number."""
        pieces, same, shared = pieces_of(body, self._share), -1, 0
        if len(pieces[0]) >= SHARED_BYTES:
            same, shared = self._same(pieces)
        if shared:
            own = len(pieces[0]) - shared if len(pieces) == 1 else 0
            pieces = (pieces[0][:own],) if own else ()
        return self._append(Body(pieces, same, shared))

    def add_renamed(self, body: Clipped, names: tuple[bytes, bytes]) -> int:
        """The number of what has the second of the names wherever the latest, ``body``, has the first."""
        number = len(self.all) - 1
        latest = self.all[number]
        if latest.same >= 0 or latest.pieces != (body.head,):
            return self.add(Clipped(body.head.replace(*names), body.omitted, body.tail.replace(*names)))
        return self._append(Body((), number, len(body.head), names))

    def _append(self, body: Body) -> int:
        self.all.append(body)
        return len(self.all) - 1

    def _same(self, pieces: tuple[bytes, ...]) -> tuple[int, int]:
        """The number of an earlier body that ends so, and how many bytes are the same."""
        first = pieces[0]
        end = first[-SHORTEST_LEFT_OUT:]
        for number, body in enumerate(self.all):
            if body.same >= 0:
                continue
            if body.pieces == pieces:
                return number, sum(map(len, pieces))
            if len(pieces) == len(body.pieces) == 1 and body.pieces[0].endswith(end):
                shared = _common_end(first, body.pieces[0])
                if 0 < shared < len(first):
                    return number, shared
        return -1, 0


def _common_end(one: bytes, other: bytes) -> int:
    """About how many bytes two bodies have in common at their ends; 0 for less than half of them.

    What differs is mostly the name of the model, near the beginning.
    """
    longest, size, left_out = max(len(one), len(other)), min(len(one), len(other)), 0
    view = memoryview(other)
    while 2 * (size - left_out) >= longest:
        if one.endswith(view[len(other) - size + left_out :]):
            return size - left_out
        left_out = 2 * left_out or SHORTEST_LEFT_OUT
    return 0


def store(histories: list[HistoryParts], masker: Masker) -> list[Stored]:
    """What is stored of some histories, without secrets. Takes a while for large ones: call it in a thread.

    Looking for secrets in several short histories at once is cheaper. Those in which some are found are changed.
    """
    if not histories:
        return []
    searched = [_searched(history) for history in histories]
    lines, bodies = (b"\n".join(each) for each in zip(*searched, strict=True))
    if masker.clean(lines, bodies):
        return [Stored(encode_parts(history)) for history in histories]
    return [
        Stored(encode_parts(history))
        if len(histories) > 1 and masker.clean(*texts)
        else Stored(encode_parts(_masked(history, masker)), clean=False)
        for history, texts in zip(histories, searched, strict=True)
    ]


def _searched(history: HistoryParts) -> tuple[bytes, bytes]:
    """What secrets have to be looked for in: all lines, and all bodies."""
    lines = [history.method, history.url, history.headers, history.response_headers]
    for attempt in history.attempts:
        lines += (attempt.headers, attempt.response_headers, attempt.url, attempt.method, attempt.auth)
        lines += (attempt.provider, attempt.account_id, attempt.account, attempt.model)
    bodies: list[bytes] = []
    for body in history.bodies:
        bodies += body.pieces
        if body.renamed is not None:
            bodies.append(body.renamed[1])
        if body.same >= 0 and body.pieces:
            bodies[-1] += _end(history.bodies, body, LONGEST_SECRET)
    return encoded("\n".join(lines)), b"\n".join(bodies)


def _end(bodies: list[Body], body: Body, most: int | None = None) -> bytes:
    """What a body shares with the one piece of another; only the first bytes of it, when ``most`` says how many."""
    whole = bodies[body.same].pieces[0]
    begin = len(whole) - body.shared
    return whole[begin : len(whole) if most is None else begin + most]


def _masked(history: HistoryParts, masker: Masker) -> HistoryParts:
    """Every part by itself; what begins with bytes of its own is masked, and stored, as a whole."""
    history.change(lambda text: masker.lines(encoded(text)).decode("utf-8", "surrogateescape"))
    masked: list[Body] = []
    for body in [_unshared(history.bodies, body) for body in history.bodies]:
        if body.same >= 0:
            masked.append(Body((), body.same, sum(len(piece) for piece in masked[body.same].pieces)))
        elif len(body.pieces) == 1:
            masked.append(Body((masker.body(body.pieces[0]),)))
        else:
            head, omitted, tail = body.pieces
            masked.append(Body((masker.body(head), omitted, masker.body(tail))))
    history.bodies = masked
    return history


def _unshared(bodies: list[Body], body: Body) -> Body:
    """A body by itself, unless it is the same as another as a whole."""
    if body.renamed is not None:
        return Body((_end(bodies, body).replace(*body.renamed),))
    return Body((body.pieces[0] + _end(bodies, body),)) if body.same >= 0 and body.pieces else body
