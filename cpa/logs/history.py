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
from cpa.logs.masking import ByName, Masker, cut_ends, mask_header, mask_query, mask_value

HISTORY_BYTES = 32 * 1024 * 1024
"""Of all bodies of a history together."""
SHARED_BYTES = 256
"""From so many on a body is written once only."""
GAP = b"\n\n\n"
"""Ends the last line of a section and leaves two lines empty."""
NOT_KEPT = b"[NOT KEPT: request-log is off]"
Headers = Iterable[tuple[str, str]]
"""May be read several times."""
Section = tuple[str, int, int, int] | tuple[str, int, int, int, int]
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

    Each is ``(title, first byte of its lines, first byte of its body, byte after the last)``. A body that stands in an
    earlier section already is not written again; such a section has a fifth member, the number of the other one, and a
    line that says so in place of its body.
    """

    text: bytes
    sections: list[Section]
    clean: bool = True
    """Whether no secret value was found anywhere in the history."""


class _Writer:
    """Puts sections one after the other."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._heads: list[bytes] = []
        self._bodies: list[bytes] = []
        self._large: list[tuple[bytes, int]] = []
        """Bodies that are worth not being written twice, and the numbers of their sections."""
        self._at = 0
        self.sections: list[Section] = []

    def section(self, title: str, lines: str, body: bytes | None = None) -> None:
        """A section: its lines, each with its end, and its body as it is."""
        heading, head = f"=== {title} ===\n".encode(), lines.encode("utf-8", "replace")
        middle = self._at + len(heading) + len(head)
        same = None if body is None else self._same(body)
        if body is None:
            content, gap = b"", GAP[1:]
        else:
            content, gap = (body if same is None else self._reference(body, same)), GAP
        end = middle + len(content)
        place = (title, middle - len(head), middle, end)
        self._pieces += (heading, head, content, gap)
        self._heads.append(head)
        self._bodies.append(content)
        self.sections.append(place if same is None else (*place, same))
        self._at = end + len(gap)

    def _same(self, body: bytes) -> int | None:
        """The number of an earlier section with the same body."""
        if len(body) < SHARED_BYTES:
            return None
        for known, number in self._large:
            if known == body:
                return number
        self._large.append((body, len(self.sections)))
        return None

    def _reference(self, body: bytes, same: int) -> bytes:
        return b"[THE SAME %d BYTES AS IN %b]" % (len(body), self.sections[same][0].encode())

    def is_clean(self, masker: Masker) -> bool:
        return masker.clean(b"".join(self._heads), b"\n".join(self._bodies))

    def written(self) -> Written:
        return Written(b"".join(self._pieces), self.sections)


def write(history: History, masker: Masker) -> Written:
    """The text of a history. Takes a while for a large one: call it in a thread."""
    writer = _write(history, ByName())
    if writer.is_clean(masker):
        return writer.written()
    written = _write(history, masker).written()
    written.clean = False
    return written


def _write(history: History, masker: Masker | ByName) -> _Writer:
    share = HISTORY_BYTES // (2 * len(history.attempts) + 3)
    writer, bodies = _Writer(), _Bodies(share, masker)
    writer.section("REQUEST INFO", masker.text(_info(history)))
    writer.section("HEADERS", masker.text(_header_lines(history.headers)))
    writer.section("REQUEST BODY", "", bodies.of(history.body))
    if history.edited is not None:
        writer.section("REQUEST BODY AFTER RULES", "", bodies.of(Clipped(history.edited)))
    for attempt in history.attempts:
        _write_attempt(writer, attempt, bodies, masker)
    if history.omitted_attempts:
        writer.section("API ATTEMPTS LEFT OUT", f"{history.omitted_attempts}\n")
    head = f"Status: {history.status}\n{_header_lines(history.response_headers)}\n"
    writer.section("RESPONSE", masker.text(head), NOT_KEPT if history.sent is None else bodies.of(history.sent))
    return writer


def _info(history: History) -> str:
    return (
        f"Version: {__version__}\n"
        f"URL: {mask_query(history.url)}\n"
        f"Method: {history.method}\n"
        "Downstream Transport: http\n"
        "Upstream Transport: http\n"
        f"Timestamp: {moment(history.begun)}\n"
    )


def _write_attempt(writer: _Writer, attempt: HistoryAttempt, bodies: _Bodies, masker: Masker | ByName) -> None:
    kind = f"type=api_key value={mask_value(attempt.secret)}" if attempt.kind == "apikey" else f"type={attempt.kind}"
    head = (
        f"Timestamp: {moment(attempt.started_at)}\n"
        f"Upstream URL: {mask_query(attempt.url)}\n"
        f"HTTP Method: {attempt.method}\n"
        f"Auth: provider={attempt.provider}, auth_id={attempt.account_id}, label={attempt.account}, {kind}\n\n"
        f"Headers:\n{_header_lines(attempt.headers)}\nBody:\n"
    )
    writer.section(f"API REQUEST {attempt.number}", masker.text(head), bodies.of(attempt.body))
    if attempt.error:
        error = masker.body(attempt.error.encode())[: bodies.share]
        writer.section("API ERROR RESPONSE", f"HTTP Status: {attempt.outcome}\n", error)
    if attempt.answered_at is not None:
        head = (
            f"Timestamp: {moment(attempt.answered_at)}\nStatus: {attempt.status}\n"
            f"Headers:\n{_header_lines(attempt.response_headers)}Body:\n"
        )
        body = NOT_KEPT if attempt.received is None else bodies.of(attempt.received)
        writer.section(f"API RESPONSE {attempt.number}", masker.text(head), body)


def _header_lines(headers: Headers) -> str:
    return "".join([f"{name}: {mask_header(name, value)}\n" for name, value in headers])


class _Bodies:
    """Bodies as they are written; each is masked once, however often it comes."""

    def __init__(self, share: int, masker: Masker | ByName) -> None:
        self.share = share
        """The most bytes of one body."""
        self._masker = masker
        self._known: list[tuple[Clipped, bytes]] = []

    def of(self, body: Clipped | None) -> bytes:
        """A body without secrets, and without its middle when it is too long."""
        if body is None:
            return b""
        for known, written in self._known:
            if known.head == body.head and known == body:
                return written
        written = _body(body, self.share, self._masker)
        self._known.append((body, written))
        return written


def _body(body: Clipped, share: int, masker: Masker | ByName) -> bytes:
    if not body.omitted and len(body.head) > share:
        body = clip(body.head, share)
    elif body.size > share:
        half = share // 2
        head, tail = body.head[:half], body.tail[-half:]
        body = Clipped(head, body.omitted + body.size - len(head) - len(tail), tail)
    if not body.omitted:
        return masker.body(body.head)
    head, tail = cut_ends(body.head, body.tail)
    omitted = body.omitted + body.size - len(head) - len(tail)
    return b"%b\n[TRUNCATED: %d bytes omitted]\n%b" % (masker.body(head), omitted, masker.body(tail))


def moment(seconds: float) -> str:
    """RFC 3339 in UTC, to the microsecond."""
    second, fraction = divmod(seconds, 1)
    return f"{_second(int(second))}.{int(fraction * 1_000_000):06}Z"


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
