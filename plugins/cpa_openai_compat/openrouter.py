"""What OpenRouter says in its own way: when a limit ends, and how much of a key's credit is used.

https://openrouter.ai/docs/api-reference/limits
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cpa.conversation.numbers import finite
from cpa.errors import ErrorInfo
from cpa.plugins import QuotaWindow

HOST = "openrouter.ai"
_RESET = "X-RateLimit-Reset"
_MILLISECONDS_FROM = 1e11
"""Unix times from here on are in milliseconds."""


def reset_in(headers: Mapping[str, str], error: ErrorInfo, now: float) -> float | None:
    """Seconds until the limit that was hit starts anew, by the answer's headers or those its body repeats."""
    moment = finite(headers.get(_RESET)) or finite(_repeated(error.raw).get(_RESET))
    if moment is None:
        return None
    if moment >= _MILLISECONDS_FROM:
        moment /= 1000
    return moment - now if moment > now else None


def _repeated(raw: Any) -> Mapping[str, Any]:
    """``error.metadata.headers``"""
    for member in ("error", "metadata", "headers"):
        raw = raw.get(member) if isinstance(raw, dict) else None
    return raw if isinstance(raw, dict) else {}


def credit(answer: Mapping[str, Any], now: float) -> list[QuotaWindow]:
    """A key's credit as one window; nothing for a key without a limit. ``now`` in Unix seconds."""
    data = answer.get("data")
    limit, used = (finite(data.get(name)) if isinstance(data, dict) else None for name in ("limit", "usage"))
    if not limit or limit < 0 or used is None:
        return []
    share = min(max(used / limit, 0.0), 1.0)
    return [QuotaWindow(name="credits", used_ratio=share, resets_at=None, source="query", seen_at=now)]
