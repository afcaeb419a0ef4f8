"""How much of a Gemini CLI login's allowance is used: by asking, model by model.

The endpoint is not documented by the vendor, so its answer is read leniently.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cpa.conversation.numbers import finite
from cpa.plugins import QuotaWindow

DAY = 86400.0
_LEFT_OUT = "gemini-2.0-flash"
"""Buckets of these models are not shown, as panels for CLIProxyAPI do not either."""


def from_buckets(answer: Mapping[str, Any], now: float) -> list[QuotaWindow]:
    """One window for each model, the fullest where a model has several; ``now`` in Unix seconds.

    A bucket that does not say how much is left is a window of which that is unknown.
    """
    found: dict[str, QuotaWindow] = {}
    buckets = answer.get("buckets")
    for bucket in buckets if isinstance(buckets, list) else ():
        window = _window(bucket, now) if isinstance(bucket, Mapping) else None
        if window is None:
            continue
        known = found.get(window.name)
        if known is None or _share(window) > _share(known):
            found[window.name] = window
    return list(found.values())


def _share(window: QuotaWindow) -> float:
    """How full it is; one that does not say comes after all that do."""
    return -1.0 if window.used_ratio is None else window.used_ratio


def _window(bucket: Mapping[str, Any], now: float) -> QuotaWindow | None:
    model, remaining = bucket.get("modelId"), bucket.get("remainingFraction")
    if not isinstance(model, str) or not model or model.startswith(_LEFT_OUT):
        return None
    left = finite(remaining)
    return QuotaWindow(
        name=f"day:{model.removesuffix('_vertex')}",
        used_ratio=None if left is None else min(max(1 - left, 0.0), 1.0),
        resets_at=_moment(bucket.get("resetTime")),
        limit_seconds=DAY,
        source="query",
        seen_at=now,
    )


def _moment(value: Any) -> float | None:
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None
    except ValueError:
        return None
