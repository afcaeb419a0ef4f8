"""Log lines as files hold them: the layout that log viewers of the management API read.

``[2026-01-31 20:14:04] [a1b2c3d4] [info ] [cpa.exchange] 200 | 23.559s | ... | POST    "/v1/messages" | model=...``
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

NO_REQUEST = "--------"
_PLACED = frozenset({"event", "level", "ts", "logger", "request_id", "exception"})
_IN_ACCESS_LINE = frozenset({"status", "duration_ms", "path", "method", "peer", "error"})
_ACCESS = frozenset({"exchange", "request"})


def panel_line(event: Mapping[str, Any], now: datetime) -> str:
    """One event (already redacted) at a local time; a traceback follows on lines of its own."""
    head = (
        f"[{now:%Y-%m-%d %H:%M:%S}] [{event.get('request_id') or NO_REQUEST}] "
        f"[{_level(event):<5}] [{event.get('logger', 'cpa')}]"
    )
    message = _access(event) if event.get("event") in _ACCESS and "status" in event else _plain(event)
    traceback = event.get("exception")
    text = f"{head} {message}".replace("\r", " ").replace("\n", " ")
    return f"{text}\n{traceback}" if traceback else text


def _level(event: Mapping[str, Any]) -> str:
    level = str(event.get("level", "info"))
    return {"warning": "warn", "critical": "fatal", "exception": "error"}.get(level, level)


def _plain(event: Mapping[str, Any]) -> str:
    return " ".join([str(event.get("event", "")), *_pairs(event, _PLACED)])


def _access(event: Mapping[str, Any]) -> str:
    seconds = int(event.get("duration_ms", 0)) / 1000
    took = f"{seconds:.3f}s" if seconds >= 1 else f"{event.get('duration_ms', 0)}ms"
    columns = [
        f"{event['status']:>3}",
        f"{took:>13}",
        f"{event.get('peer') or '-'!s:>15}",
        f'{event.get("method", "POST"):<7} "{event.get("path", "")}"',
    ]
    if pairs := _pairs(event, _PLACED | _IN_ACCESS_LINE):
        columns.append(" ".join(pairs))
    if event.get("error"):
        columns.append(str(event["error"]))
    return " | ".join(columns)


def _pairs(event: Mapping[str, Any], placed: frozenset[str]) -> list[str]:
    return [f"{name}={value}" for name, value in event.items() if name not in placed and value is not None]
