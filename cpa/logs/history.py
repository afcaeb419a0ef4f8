"""A request history: one exchange as text, in the layout that tools of CLIProxyAPI read, without secrets.

The text is made of sections, each below its title; :class:`Written` says where each is, so that nobody has to look
for titles, which might stand in a body as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache

from msgspec import Struct

from cpa import __version__
from cpa.logs.masking import LONGEST_SECRET, Masker, cut_ends, header_lines, mask_query, mask_value

HISTORY_BYTES = 32 * 1024 * 1024
"""Of all bodies of a history together."""
SHARED_BYTES = 256
"""From so many on a body is written once only."""
SHORTEST_LEFT_OUT = 64
GAP = b"\n\n\n"
"""Ends the last line of a section and leaves two lines empty."""
Headers = Iterable[tuple[str, str]]
"""May be read several times."""
Section = tuple[str, int, int, int] | tuple[str, int, int, int, int, int, int]
"""See :class:`Written`."""


class Clipped(Struct):
    """A body, or its two ends."""

    head: bytes
    omitted: int = 0
    tail: bytes = b""

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return len(self.head) + len(self.tail)


NOTHING = Clipped(b"")
NOT_KEPT = Clipped(b"[NOT KEPT: request-log is off]")


def clip(content: bytes, limit: int) -> Clipped:
    """``content``, without its middle when it is longer than ``limit`` bytes."""
    if len(content) <= limit:
        return Clipped(content)
    half = limit // 2
    return Clipped(content[:half], len(content) - 2 * half, content[-half:])


class HistoryAttempt(Struct, kw_only=True):
    """What went to an upstream and what came back. Times are Unix seconds."""

    number: int
    provider: str
    account_id: str
    account: str
    """How the account is called."""
    kind: str
    """``apikey``, ``oauth`` or ``none``."""
    secret: str
    method: str
    url: str
    headers: Headers
    body: Clipped
    started_at: float
    answered_at: float | None
    status: int
    """Of the answer; 0 when none came."""
    response_headers: Headers
    received: Clipped | None
    """None when the answer was not kept."""
    outcome: int
    """What the exchange made of it: an HTTP status, 499 when the client went away."""
    error: str
    """Empty when it succeeded."""


class History(Struct, kw_only=True):
    """One exchange. Times are Unix seconds."""

    method: str
    url: str
    headers: Headers
    body: Clipped | None
    edited: bytes | None
    """The body after request rules, when they changed it."""
    attempts: list[HistoryAttempt]
    omitted_attempts: int
    status: int
    response_headers: Headers
    sent: Clipped | None
    """What the client was sent; None when it was not kept."""
    begun: float


class Written(Struct):
    """The text, and where its sections are.

    Each is ``(title, first byte of its lines, first byte of its body, byte after the last)``. What stands at the end of
    the body of an earlier section is not written again: such a section has three members more, the number of the other
    one, the byte after its own part, and how many of the last bytes of the other's body follow it. A line says so.
    """

    text: bytes
    sections: list[Section]
    clean: bool = True
    """Whether no secret value was found anywhere in the history."""


class _Section(Struct):
    """A part of a text."""

    title: str
    head: bytes
    """The title's line and the section's lines."""
    body: tuple[bytes, ...] | None = None
    """The whole, or its beginning, what is said of its middle, and its end."""
    same: int | None = None
    """The number of an earlier section whose body ends as this one does."""
    shared: int = 0
    """How many bytes at their ends are the same."""

    @property
    def own(self) -> int:
        """How many bytes of its body are not those of the other."""
        return sum(map(len, self.body or ())) - self.shared


class Draft:
    """The text of a history in which secrets are masked by their names, not yet by their shapes and values.

    Keeps nothing of the exchange but texts.
    """

    def __init__(self, history: History) -> None:
        """Costs the same for bodies of any size."""
        self._share = HISTORY_BYTES // (2 * len(history.attempts) + 3)
        self._sections: list[_Section] = []
        self._write(history)

    def searched(self) -> tuple[bytes, bytes]:
        """What secrets have to be looked for in: all lines, and all bodies."""
        bodies: list[bytes] = []
        for section in self._sections:
            if section.same is None:
                bodies += section.body or ()
            elif section.body and (own := section.own):
                bodies.append(section.body[0][: own + LONGEST_SECRET])
        return b"".join([section.head for section in self._sections]), b"\n".join(bodies)

    def written(self, masker: Masker | None) -> Written:
        """The text; masked unless nothing was found to be masked."""
        pieces: list[bytes] = []
        places: list[Section] = []
        sizes: list[int] = []
        at = 0
        for section in self._sections:
            title, body, same = section.title, section.body, section.same
            lines = section.head if masker is None else masker.lines(section.head)
            own = section.own if same is not None else 0
            if own and masker is not None:
                same = None  # which is masked in its own place
            begin, middle = at + len(title) + len("===  ===\n"), at + len(lines)
            if body is None:
                content, gap = b"", GAP[1:]
            elif same is None:
                content, gap = _joined(body, masker), GAP
            else:
                shared = section.shared if own else sizes[same]
                note = b"[THE SAME %d BYTES AS AT THE END OF %b]" % (shared, self._sections[same].title.encode())
                content, gap = body[0][:own] + note, GAP
            sizes.append(len(content))
            end = middle + len(content)
            place = (title, begin, middle, end)
            places.append(place if same is None else (*place, same, middle + own, shared))
            pieces += (lines, content, gap)
            at = end + len(gap)
        return Written(b"".join(pieces), places, masker is None)

    def _write(self, history: History) -> None:
        self._add("REQUEST INFO", _info(history))
        self._add("HEADERS", header_lines(history.headers))
        self._add("REQUEST BODY", "", history.body or NOTHING)
        if history.edited is not None:
            self._add("REQUEST BODY AFTER RULES", "", Clipped(history.edited))
        for attempt in history.attempts:
            self._add_attempt(attempt)
        if history.omitted_attempts:
            self._add("API ATTEMPTS LEFT OUT", f"{history.omitted_attempts}\n")
        head = f"Status: {history.status}\n{header_lines(history.response_headers)}\n"
        self._add("RESPONSE", head, history.sent or NOT_KEPT)

    def _add_attempt(self, attempt: HistoryAttempt) -> None:
        kind = f"api_key value={mask_value(attempt.secret)}" if attempt.kind == "apikey" else attempt.kind
        self._add(
            f"API REQUEST {attempt.number}",
            f"Timestamp: {moment(attempt.started_at)}\n"
            f"Upstream URL: {mask_query(attempt.url)}\n"
            f"HTTP Method: {attempt.method}\n"
            f"Auth: provider={attempt.provider}, auth_id={attempt.account_id}, label={attempt.account}, type={kind}\n\n"
            f"Headers:\n{header_lines(attempt.headers)}\nBody:\n",
            attempt.body,
        )
        if attempt.error:
            self._add(
                "API ERROR RESPONSE",
                f"HTTP Status: {attempt.outcome}\n",
                Clipped(_encoded(attempt.error)),
            )
        if attempt.answered_at is not None:
            self._add(
                f"API RESPONSE {attempt.number}",
                f"Timestamp: {moment(attempt.answered_at)}\nStatus: {attempt.status}\n"
                f"Headers:\n{header_lines(attempt.response_headers)}Body:\n",
                attempt.received or NOT_KEPT,
            )

    def _add(self, title: str, lines: str, body: Clipped | None = None) -> None:
        """A section: its lines, each with its end, and its body. Titles are ASCII."""
        head = _encoded(f"=== {title} ===\n{lines}")
        if body is None:
            self._sections.append(_Section(title, head))
            return
        parts = _parts(body, self._share)
        same, shared = self._same(parts) if len(parts[0]) >= SHARED_BYTES else (None, 0)
        self._sections.append(_Section(title, head, parts, same, shared))

    def _same(self, body: tuple[bytes, ...]) -> tuple[int | None, int]:
        """The number of an earlier section whose body ends so, and how many bytes are the same."""
        for number, section in enumerate(self._sections):
            if section.same is not None or section.body is None:
                continue
            if section.body == body:
                return number, sum(map(len, body))
            if len(body) == len(section.body) == 1:
                shared = _common_end(body[0], section.body[0])
                if 0 < shared < len(body[0]):
                    return number, shared
        return None, 0


def _common_end(one: bytes, other: bytes) -> int:
    """About how many bytes two bodies have in common at their ends; 0 for less than half of them.

    What differs is mostly the name of the model, near the beginning.
    """
    if one[-SHORTEST_LEFT_OUT:] != other[-SHORTEST_LEFT_OUT:]:
        return 0
    longest, size, left_out = max(len(one), len(other)), min(len(one), len(other)), 0
    view = memoryview(other)
    while 2 * (size - left_out) >= longest:
        if one.endswith(view[len(other) - size + left_out :]):
            return size - left_out
        left_out = 2 * left_out or SHORTEST_LEFT_OUT
    return 0


def _encoded(text: str) -> bytes:
    """Bytes that were no text come out as they came in: a secret may be among them."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _joined(body: tuple[bytes, ...], masker: Masker | None) -> bytes:
    if masker is None:
        return body[0] if len(body) == 1 else b"".join(body)
    if len(body) == 1:
        return masker.body(body[0])
    head, omitted, tail = body
    return b"".join((masker.body(head), omitted, masker.body(tail)))


def write(drafts: list[Draft], masker: Masker) -> list[Written]:
    """The texts of some histories, without secrets. Takes a while for large ones: call it in a thread.

    Looking for secrets in several short histories at once is cheaper.
    """
    if not drafts:
        return []
    searched = [draft.searched() for draft in drafts]
    lines, bodies = (b"\n".join(each) for each in zip(*searched, strict=True))
    if masker.clean(lines, bodies):
        return [draft.written(None) for draft in drafts]
    return [
        draft.written(None if len(drafts) > 1 and masker.clean(*texts) else masker)
        for draft, texts in zip(drafts, searched, strict=True)
    ]


def _info(history: History) -> str:
    return (
        f"Version: {__version__}\n"
        f"URL: {mask_query(history.url)}\n"
        f"Method: {history.method}\n"
        "Downstream Transport: http\n"
        "Upstream Transport: http\n"
        f"Timestamp: {moment(history.begun)}\n"
    )


def _parts(body: Clipped, share: int) -> tuple[bytes, ...]:
    """A body of at most ``share`` bytes; of one without its middle also no part of a word that was cut."""
    if not body.omitted:
        if len(body.head) <= share:
            return (body.head,)
        body = clip(body.head, share)
    elif body.size > share:
        half = share // 2
        head, tail = body.head[:half], body.tail[-half:]
        body = Clipped(head, body.omitted + body.size - len(head) - len(tail), tail)
    head, tail = cut_ends(body.head, body.tail)
    omitted = body.omitted + body.size - len(head) - len(tail)
    return head, b"\n[TRUNCATED: %d bytes omitted]\n" % omitted, tail


def moment(seconds: float) -> str:
    """RFC 3339 in UTC, to the microsecond."""
    second = int(seconds)
    return f"{_second(second)}.{int((seconds - second) * 1_000_000):06}Z"


@lru_cache(maxsize=64)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


_UNSAFE = re.compile(r'[/:<>"|?*\\\s\x00-\x1f]+')


def log_name(path: str, begun: float, request_id: str, *, forced: bool) -> str:
    """The file name under which a history is downloaded."""
    return f"{'error-' if forced else ''}{_safe(path)}-{_local_second(int(begun))}-{request_id}.log"


@lru_cache(maxsize=64)
def _local_second(second: int) -> str:
    return datetime.fromtimestamp(second).strftime("%Y-%m-%dT%H%M%S")


@lru_cache(maxsize=256)
def _safe(path: str) -> str:
    return re.sub(r"-+", "-", _UNSAFE.sub("-", path.lstrip("/"))).strip("-")[:120] or "root"
