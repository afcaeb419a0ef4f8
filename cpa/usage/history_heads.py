"""Histories as they stand in a batch: of each a head, and its bodies one after the other with those of the others.

A head is MessagePack: its numbers, and all its texts as one, so that noting and searching it takes few steps. Secrets
are masked already.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct
from msgspec.msgpack import Decoder, Encoder
from msgspec.structs import replace

from cpa.usage.history_made import Made, made_of
from cpa.usage.history_parts import AttemptParts, Body, HistoryParts, encoded

TEXTS = (
    "version", "method", "url", "headers", "response_headers", "model", "format", "operation", "client",
    "upstream_format",
)  # fmt: skip
"""Of an exchange, in their order: the model as the client names it, the client's format and id, empty without."""
ATTEMPT_TEXTS = (
    "method", "url", "headers", "response_headers", "provider", "account_id", "account", "auth", "model",
)  # fmt: skip
"""Of each attempt."""
BETWEEN = "\0"
"""Stands before, between and after texts, so that none goes on in what is beside it."""
AFTER_PIECE = b"\n"
"""Stands after each piece of a body."""


class Place(Struct, array_like=True, gc=False):
    """Where a body is: see :class:`cpa.usage.history_parts.Body`."""

    sizes: list[int]
    """Of its pieces, which follow those of the body before."""
    same: int = -1
    shared: int = 0


class AttemptHead(Struct, array_like=True, gc=False):
    """The numbers of an attempt: see :class:`cpa.usage.history_parts.AttemptParts`."""

    number: int
    body: int
    started_at: float
    answered_at: float | None
    finished_at: float
    first_token: float | None
    status: int
    received: int | None
    outcome: int
    error: int | None


class Head(Struct, array_like=True, gc=False):
    """One exchange. Times are Unix seconds; bodies are numbers of them."""

    texts: bytes
    attempts: list[AttemptHead]
    begun: float
    finished: float
    status: int
    called: bool
    """Whether the request was understood."""
    stream: bool
    omitted_attempts: int
    body: int | None
    edited: int | None
    sent: int | None
    error: bytes | None
    """What was wrong in the end."""
    tokens: tuple[int, int, int] | None
    """Input, output and all of them, where they were told."""
    places: list[int | Place]
    """The size of one that is there as one piece and by itself."""
    made: Made | None = None
    """What came last and what the client was sent, where neither is among the bodies."""


_encoder = Encoder()
_decoder = Decoder(list[Head | None])


def join_texts(texts: list[str]) -> bytes:
    """The texts of a head as one."""
    joined = BETWEEN.join(texts)
    if joined.count(BETWEEN) != len(texts) - 1:
        joined = BETWEEN.join([text.replace(BETWEEN, "\ufffd") for text in texts])
    return encoded(f"{BETWEEN}{joined}{BETWEEN}")


def encode_head(head: Head) -> bytes:
    """A head by itself."""
    return _encoder.encode(head)


def framed(heads: list[bytes], count: int) -> bytes:
    """What is packed and stored of ``count`` heads, some of which stand one behind the other already."""
    return b"".join((b"\xdd", count.to_bytes(4, "big"), *heads))


def decode_heads(content: bytes) -> list[Head | None]:
    """The heads; None in the place of one that was deleted. Raises ValueError when they are damaged."""
    return _decoder.decode(content)


def encode_heads(heads: list[Head | None]) -> bytes:
    """The reverse."""
    return _encoder.encode(heads)


def sizes_of(heads: list[Head | None]) -> list[int]:
    """How many bytes the bodies of each take."""
    return [0 if head is None else sum(size + len(AFTER_PIECE) for size in _sizes(head)) for head in heads]


def _sizes(head: Head) -> Iterator[int]:
    """Of all pieces."""
    for place in head.places:
        if isinstance(place, int):
            yield place
        else:
            yield from place.sizes


def bodies_of(head: Head, content: bytes, at: int) -> list[Body]:
    """The bodies of a head, whose pieces begin there. Raises ValueError when there are less."""
    bodies: list[Body] = []
    for each in head.places:
        place = Place([each]) if isinstance(each, int) else each
        pieces = []
        for size in place.sizes:
            pieces.append(content[at : at + size])
            at += size + len(AFTER_PIECE)
        bodies.append(Body(tuple(pieces), place.same, place.shared))
    if at > len(content):
        raise ValueError("bodies are missing")
    return bodies


def with_streams(head: Head, bodies: list[Body]) -> tuple[Head, list[Body]]:
    """A head and its bodies, with what came and what was sent in full. Raises ValueError when they are damaged."""
    made, attempts = head.made, head.attempts
    if made is None:
        return head, bodies
    if made.own != len(bodies) - 1 or not attempts:
        raise ValueError("a body is missing")
    streams = made_of(made, bodies[made.own].pieces)
    attempts = [*attempts[:-1], replace(attempts[-1], received=made.own)]
    head = replace(head, attempts=attempts, sent=made.own + 1, made=None)
    return head, [*bodies[: made.own], *(Body((stream,)) for stream in streams)]


def parts_of_head(head: Head, bodies: list[Body]) -> HistoryParts:
    """A history as its text is made of. Raises ValueError when its texts do not fit together."""
    texts = _texts_of(head)
    head, bodies = with_streams(head, bodies)
    return HistoryParts(
        **{name: texts[name] for name in TEXTS[:5]},
        body=head.body,
        edited=head.edited,
        attempts=[_attempt(attempt, head, number) for number, attempt in enumerate(head.attempts)],
        omitted_attempts=head.omitted_attempts,
        status=head.status,
        sent=head.sent,
        begun=head.begun,
        bodies=bodies,
    )


def _attempt(attempt: AttemptHead, head: Head, number: int) -> AttemptParts:
    return AttemptParts(
        **_attempt_texts(head, number), **{name: getattr(attempt, name) for name in AttemptHead.__struct_fields__}
    )


def _split(head: Head) -> list[str]:
    texts = head.texts.decode("utf-8", "surrogateescape").split(BETWEEN)[1:-1]
    if len(texts) != len(TEXTS) + len(head.attempts) * len(ATTEMPT_TEXTS):
        raise ValueError("texts are missing")
    return texts


def _texts_of(head: Head) -> dict[str, Any]:
    return dict(zip(TEXTS, _split(head), strict=False))


def _attempt_texts(head: Head, number: int) -> dict[str, Any]:
    begin = len(TEXTS) + number * len(ATTEMPT_TEXTS)
    return dict(zip(ATTEMPT_TEXTS, _split(head)[begin:], strict=False))


def request_of_head(head: Head) -> tuple[str, str]:
    """The URL of the request and its method. Raises ValueError when the texts are damaged."""
    texts = _texts_of(head)
    return _shown(texts["url"]), _shown(texts["method"])


def facts_of(head: Head) -> dict[str, Any]:
    """What is listed of a history. Raises ValueError when its texts are damaged."""
    texts = {name: _shown(text) for name, text in _texts_of(head).items()}
    facts: dict[str, Any] = {
        "duration_ms": round((head.finished - head.begun) * 1000),
        "attempt_count": len(head.attempts) + head.omitted_attempts,
    }
    if head.called:
        facts |= {name: texts[name] for name in ("model", "format", "operation")} | {"stream": head.stream}
        if texts["client"]:
            facts["client"] = texts["client"]
    if head.error is not None:
        facts["error"] = head.error.decode("utf-8", "replace")
    if head.attempts:
        last = head.attempts[-1]
        told = {name: _shown(text) for name, text in _attempt_texts(head, len(head.attempts) - 1).items()}
        facts |= {
            "provider": told["provider"],
            "account": told["account"],
            "upstream_model": told["model"],
            "upstream_format": texts["upstream_format"],
            "outcome": last.outcome,
        }
        if last.first_token is not None:
            facts["ttft_ms"] = round((last.started_at - head.begun + last.first_token) * 1000)
        if head.tokens is not None:
            facts |= zip(("input_tokens", "output_tokens", "total_tokens"), head.tokens, strict=True)
    return facts


def _shown(text: str) -> str:
    return encoded(text).decode("utf-8", "replace")
