"""How much of a Kimi subscription is used: by asking. Numbers may be text, and ``used`` may be missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cpa.conversation.numbers import finite
from cpa.plugins import QuotaWindow, read_time

_UNITS = {"SECOND": 1.0, "MINUTE": 60.0, "HOUR": 3600.0, "DAY": 86400.0, "WEEK": 604800.0}
_NAMES = {18000.0: "five_hour", 86400.0: "day", 604800.0: "seven_day"}


def from_usages(answer: Mapping[str, Any], now: float) -> list[QuotaWindow]:
    """The windows of the usage endpoint; ``now`` in Unix seconds. The one without a length is the week's."""
    limits = answer.get("limits")
    listed = [limit for limit in limits if isinstance(limit, Mapping)] if isinstance(limits, list) else []
    found = [_window(limit.get("detail"), _length(limit.get("window")), now) for limit in listed]
    found.insert(0, _window(answer.get("usage"), 604800.0, now))
    return [window for window in found if window is not None]


def _window(detail: Any, length: float | None, now: float) -> QuotaWindow | None:
    if not isinstance(detail, Mapping):
        return None
    limit, used, remaining = (finite(detail.get(name)) for name in ("limit", "used", "remaining"))
    if used is None and limit is not None and remaining is not None:
        used = limit - remaining
    if not limit or used is None:
        return None
    name = _NAMES.get(length or 0.0) or (f"{round((length or 0) / 3600)}_hour" if length else "window")
    return QuotaWindow(
        name=name,
        used_ratio=min(max(used / limit, 0.0), 1.0),
        resets_at=read_time(detail.get("resetTime") or detail.get("resetAt")),
        limit_seconds=length,
        source="query",
        seen_at=now,
    )


def _length(window: Any) -> float | None:
    if not isinstance(window, Mapping):
        return None
    duration, unit = finite(window.get("duration")), str(window.get("timeUnit") or "").upper()
    seconds = next((length for name, length in _UNITS.items() if name in unit), None)
    return duration * seconds if duration and seconds else None
