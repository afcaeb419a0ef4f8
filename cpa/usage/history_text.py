"""The text of a request history, in the layout that tools of CLIProxyAPI read, made of the parts that are stored.

The text is made of sections, each below its title; where each is comes with it, so that nobody has to look for titles,
which might stand in a body as well.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cpa.usage.history_parts import AttemptParts, HistoryParts, encoded, whole_bodies

GAP = b"\n\n\n"
"""Ends the last line of a section and leaves two lines empty."""
NOT_KEPT = b"[NOT KEPT: request-log is off]"
Section = tuple[str, int, int, int]
"""Title, first byte of its lines, first byte of its body, byte after the last."""


def text_of(history: HistoryParts) -> tuple[bytes, list[Section]]:
    """The whole text, and where its sections are. Raises ValueError when the parts do not fit together."""
    writer = _Writer(whole_bodies(history.bodies))
    writer.write(history)
    return b"".join(writer.pieces), writer.sections


def attempt_facts(history: HistoryParts) -> list[dict[str, Any]]:
    """What is told of each attempt, as JSON. Times are Unix milliseconds. Raises ValueError like the text."""
    bodies = whole_bodies(history.bodies)
    return [_facts(attempt, bodies) for attempt in history.attempts]


class _Writer:
    def __init__(self, bodies: list[bytes]) -> None:
        self.pieces: list[bytes] = []
        self.sections: list[Section] = []
        self._bodies = bodies
        self._at = 0

    def write(self, history: HistoryParts) -> None:
        self._add("REQUEST INFO", _info(history))
        self._add("HEADERS", history.headers)
        self._add("REQUEST BODY", "", self._body(history.body, b""))
        if history.edited is not None:
            self._add("REQUEST BODY AFTER RULES", "", self._body(history.edited, b""))
        for attempt in history.attempts:
            self._add_attempt(attempt)
        if history.omitted_attempts:
            self._add("API ATTEMPTS LEFT OUT", f"{history.omitted_attempts}\n")
        head = f"Status: {history.status}\n{history.response_headers}\n"
        self._add("RESPONSE", head, self._body(history.sent, NOT_KEPT))

    def _add_attempt(self, attempt: AttemptParts) -> None:
        self._add(
            f"API REQUEST {attempt.number}",
            f"Timestamp: {moment(attempt.started_at)}\n"
            f"Upstream URL: {attempt.url}\n"
            f"HTTP Method: {attempt.method}\n"
            f"Auth: provider={attempt.provider}, auth_id={attempt.account_id}, "
            f"label={attempt.account}, type={attempt.auth}\n\n"
            f"Headers:\n{attempt.headers}\nBody:\n",
            self._body(attempt.body, b""),
        )
        if attempt.error is not None:
            self._add("API ERROR RESPONSE", f"HTTP Status: {attempt.outcome}\n", self._body(attempt.error, b""))
        if attempt.answered_at is not None:
            self._add(
                f"API RESPONSE {attempt.number}",
                f"Timestamp: {moment(attempt.answered_at)}\nStatus: {attempt.status}\n"
                f"Headers:\n{attempt.response_headers}Body:\n",
                self._body(attempt.received, NOT_KEPT),
            )

    def _body(self, number: int | None, otherwise: bytes) -> bytes:
        return otherwise if number is None else _chosen(self._bodies, number)

    def _add(self, title: str, lines: str, body: bytes | None = None) -> None:
        """A section: its lines, each with its end, and its body. Titles are ASCII."""
        head = encoded(f"=== {title} ===\n{lines}")
        content, gap = (b"", GAP[1:]) if body is None else (body, GAP)
        begin, middle = self._at + len(title) + len("===  ===\n"), self._at + len(head)
        end = middle + len(content)
        self.sections.append((title, begin, middle, end))
        self.pieces += (head, content, gap)
        self._at = end + len(gap)


def _chosen(bodies: list[bytes], number: int) -> bytes:
    if not 0 <= number < len(bodies):
        raise ValueError("a body is missing")
    return bodies[number]


def _info(history: HistoryParts) -> str:
    return (
        f"Version: {history.version}\n"
        f"URL: {history.url}\n"
        f"Method: {history.method}\n"
        "Downstream Transport: http\n"
        "Upstream Transport: http\n"
        f"Timestamp: {moment(history.begun)}\n"
    )


def _facts(attempt: AttemptParts, bodies: list[bytes]) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "provider": _shown(attempt.provider),
        "account": _shown(attempt.account),
        "model": _shown(attempt.model),
        "url": _shown(attempt.url),
        "started_ms": round(attempt.started_at * 1000),
        "answered_ms": None if attempt.answered_at is None else round(attempt.answered_at * 1000),
        "finished_ms": round(attempt.finished_at * 1000),
        "ttft_ms": None if attempt.first_token is None else round(attempt.first_token * 1000),
        "status": attempt.status,
        "outcome": attempt.outcome,
        "error": "" if attempt.error is None else _chosen(bodies, attempt.error).decode("utf-8", "replace"),
    }


def _shown(text: str) -> str:
    return encoded(text).decode("utf-8", "replace")


def moment(seconds: float) -> str:
    """RFC 3339 in UTC, to the microsecond."""
    second = int(seconds)
    name = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{name}.{int((seconds - second) * 1_000_000):06}Z"
