"""The parts of a request history. Its text is made of them only when somebody reads it.

In a row of its own they are MessagePack behind :data:`MARK`, which no text begins with: what still earlier versions and
CLIProxyAPI stored is the text itself. What is stored now is in :mod:`cpa.usage.history_heads`.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct
from msgspec.msgpack import Decoder

MARK = b"\x00history 1\x00"
_TEXTS = ("method", "url", "headers", "response_headers")
_ATTEMPT_TEXTS = (*_TEXTS, "provider", "account_id", "account", "auth", "model")


class Body(Struct, array_like=True, gc=False):
    """A body, of which no byte is kept twice."""

    pieces: tuple[bytes, ...]
    """The whole, or its beginning, what is said of its middle, and its end. Only what is its own of one that shares."""
    same: int = -1
    """The number of an earlier body that ends as this one does, and shares nothing itself; -1 when none does."""
    shared: int = 0
    """How many bytes at their ends are the same."""
    renamed: tuple[bytes, bytes] | None = None
    """What stands in the other one wherever this one has something else, and that: members that name a model."""


class AttemptParts(Struct, array_like=True, kw_only=True, gc=False):
    """What went to an upstream and what came back. Times are Unix seconds; bodies are numbers of them."""

    number: int
    provider: str
    account_id: str
    account: str
    """How the account is called."""
    auth: str
    """Of what kind it is, with the ends of its key."""
    model: str
    method: str
    url: str
    headers: str
    """Lines."""
    body: int
    started_at: float
    answered_at: float | None
    finished_at: float
    first_token: float | None
    """Seconds until content came."""
    status: int
    """Of the answer; 0 when none came."""
    response_headers: str
    received: int | None
    """None when the answer was not kept."""
    outcome: int
    """What the exchange made of it: an HTTP status, 499 when the client went away."""
    error: int | None
    """None when it succeeded."""


class HistoryParts(Struct, array_like=True, kw_only=True, gc=False):
    """One exchange. Times are Unix seconds; bodies are numbers of them."""

    version: str
    """Of cpa."""
    method: str
    url: str
    headers: str
    """Lines."""
    body: int | None
    edited: int | None
    """The body after request rules, when they changed it."""
    attempts: list[AttemptParts]
    omitted_attempts: int
    status: int
    response_headers: str
    sent: int | None
    """What the client was sent; None when it was not kept."""
    begun: float
    bodies: list[Body]
    bytewise: bool = False
    """Whether each character of its texts stands for a byte of them: not all are UTF-8, as headers may be."""

    def change(self, change: Callable[[str], str]) -> None:
        """Change every text that is no body."""
        parts = [(self, _TEXTS), *((attempt, _ATTEMPT_TEXTS) for attempt in self.attempts)]
        for part, names in parts:
            for name in names:
                setattr(part, name, change(getattr(part, name)))


_decoder = Decoder(HistoryParts)


def decode_parts(content: bytes) -> HistoryParts | None:
    """The parts; None when the content is a text. Raises ValueError when they are damaged."""
    if not content.startswith(MARK):
        return None
    history = _decoder.decode(memoryview(content)[len(MARK) :])
    if history.bytewise:
        history.change(lambda text: text.encode("latin-1").decode("utf-8", "surrogateescape"))
        history.bytewise = False
    return history


def whole_bodies(bodies: list[Body]) -> list[bytes]:
    """Every body in full. Raises ValueError when one is said to be the same as one that is not there."""
    whole: list[bytes] = []
    for body in bodies:
        own = b"".join(body.pieces)
        if body.same >= len(whole):
            raise ValueError("a body is missing")
        if body.same >= 0 and body.shared:
            end = whole[body.same][-body.shared :]
            own += end if body.renamed is None else end.replace(*body.renamed)
        whole.append(own)
    return whole


def encoded(text: str) -> bytes:
    """Bytes that were no text come out as they came in: a secret may be among them."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")
