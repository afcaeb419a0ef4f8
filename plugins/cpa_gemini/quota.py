"""Quotas of a day, as Gemini's errors name them.

https://ai.google.dev/gemini-api/docs/rate-limits: they start anew at midnight Pacific time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_FAILURE = "google.rpc.QuotaFailure"
_DAILY = "PerDay"


def is_daily(details: list[Any] | None) -> bool:
    """Whether an error's details name a quota of a day among those that are used up."""
    return any(
        _DAILY in str(violation.get("quotaId", ""))
        for item in details or ()
        if isinstance(item, dict) and str(item.get("@type", "")).endswith(_FAILURE)
        for violation in _objects(item.get("violations"))
    )


def until_new_day(now: float) -> float:
    """Seconds from ``now`` (Unix) to midnight in California."""
    here = datetime.fromtimestamp(now, _pacific())
    midnight = (here + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight.astimezone(UTC).timestamp() - now


def _pacific() -> tzinfo:
    """Pacific time; its winter half where the machine knows no time zones, which waits an hour too long in summer."""
    try:
        return ZoneInfo("America/Los_Angeles")
    except ZoneInfoNotFoundError:
        return timezone(timedelta(hours=-8))


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
