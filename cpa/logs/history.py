"""A request history: one exchange as text, in the layout that tools of CLIProxyAPI read, without secrets.

The text is made of sections, each below its title; :class:`Written` says where each is, so that nobody has to look
for titles, which might stand in a body as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from msgspec import Struct

from cpa import __version__
from cpa.logs.masking import ByName, Masker, cut_ends, mask_header, mask_query, mask_value

HISTORY_BYTES = 32 * 1024 * 1024
"""Of all bodies of a history together."""
GAP = b"\n\n\n"
"""Ends the last line of a section and leaves two lines empty."""
Headers = list[tuple[str, str]]


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
    model: str
    method: str
    url: str
    headers: Headers
    body: Clipped
    started_at: float
    answered_at: float | None
    finished_at: float
    first_token: float | None
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

    request_id: str
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
    answered_at: float | None
    finished_at: float
    facts: dict[str, Any]
    """What else is known: model, client, format, stream, tokens."""


class Written(Struct):
    """The text, and where its sections are.

    Each is ``(title, first byte of its lines, first byte of its body, byte after the last)``.
    """

    text: bytes
    sections: list[tuple[str, int, int, int]]
    clean: bool = True
    """Whether no secret value was found anywhere in the history."""


class _Writer:
    """Puts sections one after the other."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._heads: list[bytes] = []
        self._bodies: list[bytes] = []
        self._at = 0
        self.sections: list[tuple[str, int, int, int]] = []

    def section(self, title: str, lines: Iterable[str], body: bytes | None = None) -> None:
        """A section: its lines, and its body as it is."""
        heading = f"=== {title} ===\n".encode()
        head = "".join([f"{line}\n" for line in lines]).encode("utf-8", "replace")
        content, gap = (b"", GAP[1:]) if body is None else (body, GAP)
        self._pieces += (heading, head, content, gap)
        self._heads.append(head)
        self._bodies.append(content)
        begin = self._at + len(heading)
        end = begin + len(head) + len(content)
        self.sections.append((title, begin, begin + len(head), end))
        self._at = end + len(gap)

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
    writer = _Writer()
    writer.section("REQUEST INFO", _info(history, masker))
    writer.section("HEADERS", _header_lines(history.headers, masker))
    writer.section("REQUEST BODY", (), _body(history.body, share, masker))
    if history.edited is not None:
        writer.section("REQUEST BODY AFTER RULES", (), _body(Clipped(history.edited), share, masker))
    received: dict[bytes, bytes] = {}
    for attempt in history.attempts:
        _write_attempt(writer, attempt, share, masker, received)
    if history.omitted_attempts:
        writer.section("API ATTEMPTS LEFT OUT", (str(history.omitted_attempts),))
    sent = _again(history.sent, received) or _body(history.sent, share, masker)
    if history.sent is None:
        sent = b"[NOT KEPT: request-log is off]"
    status = (f"Status: {history.status}", *_header_lines(history.response_headers, masker), "")
    writer.section("RESPONSE", status, sent)
    return writer


def _info(history: History, masker: Masker | ByName) -> Iterable[str]:
    return (
        f"Version: {__version__}",
        f"URL: {masker.text(mask_query(history.url))}",
        f"Method: {history.method}",
        "Downstream Transport: http",
        "Upstream Transport: http",
        f"Timestamp: {moment(history.begun)}",
    )


def _write_attempt(
    writer: _Writer, attempt: HistoryAttempt, share: int, masker: Masker | ByName, received: dict[bytes, bytes]
) -> None:
    kind = f"type=api_key value={mask_value(attempt.secret)}" if attempt.kind == "apikey" else f"type={attempt.kind}"
    writer.section(
        f"API REQUEST {attempt.number}",
        (
            f"Timestamp: {moment(attempt.started_at)}",
            f"Upstream URL: {masker.text(mask_query(attempt.url))}",
            f"HTTP Method: {attempt.method}",
            f"Auth: provider={attempt.provider}, auth_id={masker.text(attempt.account_id)}, "
            f"label={masker.text(attempt.account)}, {kind}",
            "",
            "Headers:",
            *_header_lines(attempt.headers, masker),
            "",
            "Body:",
        ),
        _body(attempt.body, share, masker),
    )
    if attempt.error:
        writer.section(
            "API ERROR RESPONSE", (f"HTTP Status: {attempt.outcome}",), masker.body(attempt.error.encode())[:share]
        )
    if attempt.answered_at is not None:
        body = b"[NOT KEPT: request-log is off]"
        if attempt.received is not None:
            body = _body(attempt.received, share, masker)
            received[attempt.received.head] = body
        writer.section(
            f"API RESPONSE {attempt.number}",
            (
                f"Timestamp: {moment(attempt.answered_at)}",
                f"Status: {attempt.status}",
                "Headers:",
                *_header_lines(attempt.response_headers, masker),
                "Body:",
            ),
            body,
        )


def _again(sent: Clipped | None, received: dict[bytes, bytes]) -> bytes | None:
    """What the client was sent, when it is what the upstream sent: that is masked already."""
    return received.get(sent.head) if sent is not None and not sent.omitted else None


def _header_lines(headers: Headers, masker: Masker | ByName) -> list[str]:
    return [masker.text(f"{name}: {mask_header(name, value)}") for name, value in headers]


def _body(body: Clipped | None, share: int, masker: Masker | ByName) -> bytes:
    if body is None:
        return b""
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
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat(timespec='microseconds').removesuffix('+00:00')}Z"


_UNSAFE = re.compile(r'[/:<>"|?*\\\s\x00-\x1f]+')


def log_name(path: str, begun: float, request_id: str, *, forced: bool) -> str:
    """The file name under which a history is downloaded."""
    local = datetime.fromtimestamp(begun)
    return f"{'error-' if forced else ''}{_safe(path)}-{local:%Y-%m-%dT%H%M%S}-{request_id}.log"


@lru_cache(maxsize=256)
def _safe(path: str) -> str:
    return re.sub(r"-+", "-", _UNSAFE.sub("-", path.lstrip("/"))).strip("-")[:120] or "root"
