"""Put histories together, each body once only, and make batches of them, without secrets."""

from __future__ import annotations

from typing import cast

from msgspec import Struct

from cpa.logs.history import HISTORY_BYTES, Clipped, pieces_of
from cpa.logs.masking import LONGEST_SECRET, Masker
from cpa.usage.history_batches import Batch, pack
from cpa.usage.history_heads import (
    AFTER_PIECE,
    Head,
    Place,
    bodies_of,
    decode_heads,
    encode_head,
    framed,
    sizes_of,
    with_streams,
)
from cpa.usage.history_parts import Body, whole_bodies

SHARED_BYTES = 256
"""From so many on a body is stored once only."""
LONG_BYTES = 4096
"""From so many on also the end of one: in shorter ones packing finds it as well."""
SHORTEST_LEFT_OUT = 64
COPIED_BYTES = 64 * 1024
"""Bodies of up to so many bytes are put together at once, when they have just passed; longer ones are copied once."""
Kept = bytes | Clipped | tuple[bytes, ...]
"""A body; pieces are what one that is not stored needs: see :mod:`cpa.usage.history_made`."""


class Noted(Struct):
    """All that is to be stored of an exchange. Keeps nothing of the exchange itself."""

    request_id: str
    forced: bool
    head: Head
    """Without the places of its bodies."""
    bodies: list[Kept]


class Group(Struct):
    """Some histories as they are stored, but for secrets that are told by their shapes and values."""

    requests: list[tuple[str, int]]
    """Of each the id, and when it began (Unix milliseconds)."""
    forced: bool
    heads: bytes
    pieces: list[bytes]
    """Of their bodies."""
    beside: bytes
    """What else has to be looked through for secrets."""
    size: int
    """Bytes, not packed."""


def grouped(histories: list[Noted]) -> Group:
    """At least one history."""
    requests: list[tuple[str, int]] = []
    heads: list[bytes] = []
    pieces: list[bytes] = []
    beside: list[bytes] = []
    for noted in histories:
        head = noted.head
        if (short := _different(noted.bodies)) is not None:
            head.places = [*map(len, short)]
            pieces += short
        else:
            bodies = _bodies_of(noted)
            head.places = bodies.places
            pieces += bodies.pieces
            beside += bodies.beside
        heads.append(encode_head(head))
        if head.error is not None:
            beside.append(head.error)
        requests.append((noted.request_id, int(head.begun * 1000)))
    return _group(requests, histories[0].forced, heads, pieces, beside)


def _group(
    requests: list[tuple[str, int]], forced: bool, heads: list[bytes], pieces: list[bytes], beside: list[bytes]
) -> Group:
    head, size = b"".join(heads), sum(map(len, pieces))
    if pieces and size <= COPIED_BYTES:
        pieces = [AFTER_PIECE.join(pieces)]
    return Group(requests, forced, head, pieces, AFTER_PIECE.join(beside), len(head) + size)


def batch_of(groups: list[Group], masker: Masker) -> Batch:
    """What is stored of them together, without secrets. Takes a while: call it in a thread."""
    heads, bodies = _joined(groups)
    if not (masker.clean(heads, bodies) and masker.clean(b"", AFTER_PIECE.join([group.beside for group in groups]))):
        groups = [group if _is_clean(group, masker) else _masked(group, masker) for group in groups]
        heads, bodies = _joined(groups)
    requests = [request for group in groups for request in group.requests]
    return Batch(requests, groups[0].forced, pack(framed([heads], len(requests))), pack(bodies))


def _joined(groups: list[Group]) -> tuple[bytes, bytes]:
    """Their heads and bodies, in which secrets are soonest looked for: each search gives other threads a turn."""
    pieces = [piece for group in groups for piece in group.pieces]
    return b"".join([group.heads for group in groups]), AFTER_PIECE.join([*pieces, b""])


def _is_clean(group: Group, masker: Masker) -> bool:
    return masker.clean(group.heads, AFTER_PIECE.join([*group.pieces, group.beside]))


def _masked(group: Group, masker: Masker) -> Group:
    """The same with each history masked by itself."""
    heads: list[bytes] = []
    pieces: list[bytes] = []
    at = 0
    decoded = decode_heads(framed([group.heads], len(group.requests)))
    content = AFTER_PIECE.join([*group.pieces, b""])
    for each, size in zip(decoded, sizes_of(decoded), strict=True):
        assert each is not None
        head, whole = with_streams(each, bodies_of(each, content, at))
        bodies = _masked_bodies(whole, masker)
        at += size
        head.texts = masker.lines(head.texts)
        head.error = None if head.error is None else masker.body(head.error)
        head.places = bodies.places
        heads.append(encode_head(head))
        pieces += bodies.pieces
    return _group(group.requests, group.forced, heads, pieces, [])


def _different(bodies: list[Kept]) -> list[bytes] | None:
    """Short bodies of different sizes, of which none can be another one's; None for others."""
    if set(map(type, bodies)) - {bytes}:
        return None
    whole = cast(list[bytes], bodies)
    sizes = set(map(len, whole))
    return whole if max(sizes, default=0) < LONG_BYTES and len(sizes) == len(whole) else None


class _Bodies:
    """The bodies of a history, of which no long part is there twice."""

    def __init__(self) -> None:
        self.places: list[int | Place] = []
        self.pieces: list[bytes] = []
        self.beside: list[bytes] = []
        """What is not among the pieces, or goes on where a piece does not."""
        self._whole: list[tuple[int, bytes]] = []
        """The numbers of long ones that are there as one piece, and they."""
        self._cut: list[tuple[int, tuple[bytes, ...]]] = []
        """The same of those without their middle."""

    def add(self, content: bytes) -> None:
        """Add a body in one piece."""
        size = len(content)
        if size >= SHARED_BYTES:
            for number, other in self._whole:
                if content == other:
                    self.places.append(Place([], number, size))
                    return
                if size >= LONG_BYTES and (shared := _common_end(content, other)):
                    self._add_shared(content, number, shared)
                    return
            self._whole.append((len(self.places), content))
        self.places.append(size)
        self.pieces.append(content)

    def _add_shared(self, content: bytes, number: int, shared: int) -> None:
        """Add one that ends as another one does."""
        own = content[: len(content) - shared]
        self.places.append(Place([len(own)], number, shared))
        self.pieces.append(own)
        self.beside.append(content[max(0, len(own) - LONGEST_SECRET) : len(own) + LONGEST_SECRET])

    def add_pieces(self, pieces: tuple[bytes, ...]) -> None:
        """Add the ends of a body, and what is said of its middle."""
        for number, other in self._cut:
            if other == pieces:
                self.places.append(Place([], number, sum(map(len, pieces))))
                return
        self._cut.append((len(self.places), pieces))
        self.places.append(Place([len(piece) for piece in pieces]))
        self.pieces += pieces


def share_of(attempts: int) -> int:
    """The most bytes of one body of a history with so many attempts."""
    return HISTORY_BYTES // (2 * attempts + 3)


def _bodies_of(noted: Noted) -> _Bodies:
    share = share_of(len(noted.head.attempts))
    bodies = _Bodies()
    for body in noted.bodies:
        if isinstance(body, tuple):
            bodies.add_pieces(body)
        elif isinstance(body, Clipped) or len(body) > share:
            bodies.add_pieces(pieces_of(body, share))
        else:
            bodies.add(body)
    return bodies


def _common_end(one: bytes, other: bytes) -> int:
    """About how many bytes two bodies have in common at their ends; 0 for less than half of them.

    What differs is mostly the name of the model, near the beginning.
    """
    if not other.endswith(one[-SHORTEST_LEFT_OUT:]):
        return 0
    longest, size, left_out = max(len(one), len(other)), min(len(one), len(other)), SHORTEST_LEFT_OUT
    view = memoryview(other)
    while 2 * (size - left_out) >= longest:
        if one.endswith(view[len(other) - size + left_out :]):
            return size - left_out
        left_out *= 2
    return 0


def _masked_bodies(bodies: list[Body], masker: Masker) -> _Bodies:
    """Every body masked by itself; what is the same afterwards is stored once again."""
    masked = _Bodies()
    known: dict[bytes, bytes] = {}
    for body, whole in zip(bodies, whole_bodies(bodies), strict=True):
        cut = (bodies[body.same] if body.same >= 0 else body).pieces
        if len(cut) > 1:
            head, omitted, tail = cut
            masked.add_pieces((masker.body(head), omitted, masker.body(tail)))
            continue
        if whole not in known:
            known[whole] = masker.body(whole)
        masked.add(known[whole])
    return masked
