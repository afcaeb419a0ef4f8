"""Rate limits as OpenAI's API and many that imitate it tell them in the headers of every answer.

https://platform.openai.com/docs/guides/rate-limits
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from cpa.accounts.quota import QuotaWindow
from cpa.formats.durations import parse_duration

_PREFIX = "x-ratelimit"
_KINDS = ("requests", "tokens")


def rate_limits(headers: Mapping[str, str], now: float) -> list[QuotaWindow]:
    """One window for requests and one for tokens, as far as they are told; ``now`` in Unix seconds."""
    found: list[QuotaWindow] = []
    for kind in _KINDS:
        told = headers.get(f"{_PREFIX}-limit-{kind}")
        if told is None:
            continue
        limit, remaining = _number(told), _number(headers.get(f"{_PREFIX}-remaining-{kind}"))
        if not limit or remaining is None:
            continue
        wait = _seconds(headers.get(f"{_PREFIX}-reset-{kind}"))
        found.append(
            QuotaWindow(
                name=kind,
                used_ratio=min(max(1 - remaining / limit, 0.0), 1.0),
                resets_at=None if wait is None else now + wait,
                source="headers",
                seen_at=now,
            )
        )
    return found


def _seconds(text: str | None) -> float | None:
    """``6m0s``, or a bare number of seconds."""
    number = _number(text)
    return parse_duration(text) if number is None else number


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
