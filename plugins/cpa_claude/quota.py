"""How much of a Claude login's or key's allowance is used: from headers of answers, and by asking.

Neither the unified headers nor the usage endpoint are documented by the vendor, so both are read leniently. The
headers of API keys are: https://docs.anthropic.com/en/api/rate-limits#response-headers
"""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from typing import Any

from cpa.conversation.numbers import finite
from cpa.plugins import QuotaWindow, read_time

UNIFIED = "anthropic-ratelimit-unified"
WINDOWS = {"5h": "five_hour", "7d": "seven_day", "7d_oi": "seven_day:model"}
"""Windows of a subscription by their name in headers; the last is for one family of models."""
_LENGTHS = {"five_hour": 18000.0, "seven_day": 604800.0}
_KEY_LIMITS = {
    "requests": "requests",
    "tokens": "tokens",
    "input-tokens": "input_tokens",
    "output-tokens": "output_tokens",
}


def from_headers(headers: Mapping[str, str], now: float) -> list[QuotaWindow]:
    """The windows an answer's headers tell of; ``now`` in Unix seconds."""
    found: list[QuotaWindow] = []
    if "anthropic-ratelimit" not in " ".join(headers).lower():
        return found
    for short, name in WINDOWS.items():
        used = finite(headers.get(f"{UNIFIED}-{short}-utilization"))
        if used is not None:
            found.append(_window(name, used, moment(headers.get(f"{UNIFIED}-{short}-reset")), "headers", now))
    for short, name in _KEY_LIMITS.items():
        prefix = f"anthropic-ratelimit-{short}"
        limit, remaining = finite(headers.get(f"{prefix}-limit")), finite(headers.get(f"{prefix}-remaining"))
        if limit and remaining is not None:
            found.append(_window(name, 1 - remaining / limit, moment(headers.get(f"{prefix}-reset")), "headers", now))
    return found


def from_usage(answer: Mapping[str, Any], now: float) -> list[QuotaWindow]:
    """The windows the usage endpoint tells of; it gives percent where headers give fractions."""
    found = []
    for name, window in answer.items():
        if name.startswith(("five_hour", "seven_day")) and isinstance(window, Mapping):
            used = finite(window.get("utilization"))
            if used is not None:
                found.append(_window(_limited(name), used / 100, moment(window.get("resets_at")), "query", now))
    return found + _extra_usage(answer.get("extra_usage"), now)


def _extra_usage(told: Any, now: float) -> list[QuotaWindow]:
    """What is paid for beside the subscription in a month, where that is switched on."""
    if not isinstance(told, Mapping) or told.get("is_enabled") is not True:
        return []
    limit, spent = finite(told.get("monthly_limit")), finite(told.get("used_credits"))
    used = finite(told.get("utilization"))
    if used is None and limit and spent is not None:
        used = spent / limit * 100
    amount = "no limit" if spent is None else f"{spent:g} spent"
    return [
        QuotaWindow(
            name="extra_usage",
            used_ratio=None if used is None else min(max(used / 100, 0.0), 1.0),
            resets_at=None,
            source="query",
            seen_at=now,
            amount=f"{spent or 0:g} of {limit:g} spent" if limit else amount,
        )
    ]


def _limited(name: str) -> str:
    """``seven_day_opus`` as ``seven_day:opus``: what a window is limited to stands after a colon."""
    length = next(start for start in _LENGTHS if name.startswith(start))
    what = name.removeprefix(length).strip("_")
    return f"{length}:{what}" if what else length


def _window(name: str, used: float, resets_at: float | None, source: Any, now: float) -> QuotaWindow:
    length = next((seconds for start, seconds in _LENGTHS.items() if name.startswith(start)), None)
    return QuotaWindow(
        name=name,
        used_ratio=min(max(used, 0.0), 1.0),
        resets_at=resets_at,
        limit_seconds=length,
        source=source,
        seen_at=now,
    )


def rejected_until(headers: Mapping[str, str], now: float) -> tuple[float | None, bool]:
    """Seconds until the last rejected window starts anew, and whether the whole account is out."""
    status = headers.get(f"{UNIFIED}-status")
    windows = {short: headers.get(f"{UNIFIED}-{short}-status") for short in WINDOWS}
    rejected = [short for short, state in windows.items() if state == "rejected"]
    resets = [moment(headers.get(f"{UNIFIED}-{short}-reset")) for short in rejected]
    if status == "rejected" or (status is None and "allowed" not in windows.values()):
        resets.append(moment(headers.get(f"{UNIFIED}-reset")))
    times = [reset - now for reset in resets if reset is not None and reset > now]
    only_family = rejected == ["7d_oi"]
    whole = (bool(rejected) and not only_family) or (status == "rejected" and not rejected)
    return (max(times) if times else None), whole


def key_reset(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds until the last limit of a key that is used up starts anew."""
    resets = [
        moment(headers.get(f"anthropic-ratelimit-{limit}-reset"))
        for limit in _KEY_LIMITS
        if finite(headers.get(f"anthropic-ratelimit-{limit}-remaining")) == 0
    ]
    waits = [reset - now for reset in resets if reset is not None and reset > now]
    return max(waits, default=None)


def moment(text: Any) -> float | None:
    """Unix seconds of a number, an RFC 3339 time or an HTTP date; None for anything else."""
    told = read_time(text)
    if told is not None or not isinstance(text, str):
        return told
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
