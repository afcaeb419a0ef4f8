"""How much of a ChatGPT subscription is used: from headers of answers, from events, and by asking.

None of it is documented by the vendor, so everything is read leniently. Windows are told by their length, not by
whether they are called primary or secondary.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cpa.accounts.quota import QuotaSource
from cpa.conversation.numbers import finite
from cpa.plugins import QuotaWindow

_LIMIT_NAME = re.compile(r"x-codex-(.+)-limit-name$", re.IGNORECASE)
_SLOTS = ("primary", "secondary")
_CREDITS = tuple(
    (name, f"x-codex-credits-{name.replace('_', '-')}") for name in ("has_credits", "unlimited", "balance")
)
"""Facts about credits, and the headers that tell them."""
LONGEST_PLAN = 40
_USUAL = {"primary": 18000.0, "secondary": 604800.0}


def from_headers(headers: Mapping[str, str], now: float) -> list[QuotaWindow]:
    """The windows an answer's headers tell of; ``now`` in Unix seconds."""
    groups, plan = [("x-codex", "")], plan_name(headers.get("x-codex-plan-type"))
    for name, value in headers.items():
        if match := _LIMIT_NAME.match(name):
            groups.append((f"x-codex-{match.group(1)}", value))
    found = []
    for prefix, limit_name in groups:
        for slot in _SLOTS:
            start = f"{prefix}-{slot}"
            window = {
                "used_percent": headers.get(f"{start}-used-percent"),
                "window_minutes": headers.get(f"{start}-window-minutes"),
                "reset_at": headers.get(f"{start}-reset-at"),
                "reset_after_seconds": headers.get(f"{start}-reset-after-seconds"),
            }
            found.append(read_window(window, slot, limit_name, "headers", now, plan=plan))
    windows = [window for window in found if window is not None and window.limit_seconds and window.resets_at]
    return windows + _credits({name: headers.get(header) for name, header in _CREDITS}, plan, "headers", now)


def from_event(event: Mapping[str, Any], now: float) -> list[QuotaWindow]:
    """The windows a ``codex.rate_limits`` event tells of."""
    plan = plan_name(_member(event, "plan_type"))
    windows = _slots(_member(event, "rate_limits"), "", "event", now, plan)
    return windows + _credits(_member(event, "credits"), plan, "event", now)


def from_usage(answer: Mapping[str, Any], now: float) -> list[QuotaWindow]:
    """The windows the usage endpoint tells of, additional limits included."""
    plan = plan_name(_member(answer, "plan_type"))
    found = _slots(_member(answer, "rate_limit"), "", "query", now, plan)
    more = _member(answer, "additional_rate_limits")
    for extra in more if isinstance(more, list) else ():
        if isinstance(extra, Mapping):
            name = _member(extra, "limit_name") or _member(extra, "metered_feature")
            found.extend(_slots(_member(extra, "rate_limit"), str(name or "additional"), "query", now, plan))
    return found + _credits(_member(answer, "credits"), plan, "query", now)


def read_window(
    window: Any,
    slot: str,
    limit_name: str,
    source: QuotaSource,
    now: float,
    *,
    reached: bool = False,
    plan: str = "",
) -> QuotaWindow | None:
    """One window, spelled in any of the vendor's ways; None when it says nothing.

    ``reached`` counts as all used where there is no percentage.
    """
    if not isinstance(window, Mapping):
        return None
    percent = finite(_member(window, "used_percent"))
    length = finite(_member(window, "limit_window_seconds"))
    if length is None and (minutes := finite(_member(window, "window_minutes"))) is not None:
        length = minutes * 60
    resets_at = finite(_member(window, "reset_at"))
    after = finite(_member(window, "reset_after_seconds"))
    if not resets_at and after is not None:
        resets_at = now + after
    if percent is None and reached:
        percent = 100.0
    if percent is None or not (percent or length or after):
        return None
    length = length or _USUAL.get(slot)
    name = window_name(length)
    return QuotaWindow(
        name=f"{name}:{limit_name}" if limit_name else name,
        used_ratio=min(max(percent / 100, 0.0), 1.0),
        resets_at=resets_at or None,
        limit_seconds=length,
        source=source,
        seen_at=now,
        plan=plan,
    )


def plan_name(told: Any) -> str:
    """What a subscription is called (``plus``); empty when the vendor does not say."""
    return told.strip().lower()[:LONGEST_PLAN] if isinstance(told, str) else ""


def _credits(told: Any, plan: str, source: QuotaSource, now: float) -> list[QuotaWindow]:
    """Credits that were bought beside the subscription, if there are any."""
    if not isinstance(told, Mapping):
        return []
    unlimited, has_credits = (
        str(_member(told, name)).strip().lower() == "true" for name in ("unlimited", "has_credits")
    )
    balance = finite(_member(told, "balance"))
    if not (unlimited or (has_credits and balance is not None)):
        return []
    return [
        QuotaWindow(
            name="credits",
            used_ratio=None,
            resets_at=None,
            source=source,
            seen_at=now,
            amount="unlimited" if unlimited else f"{balance:g} left",
            plan=plan,
        )
    ]


def window_name(seconds: float | None) -> str:
    """What a window of this length is called."""
    if seconds is None:
        return "window"
    for name, usual in (("five_hour", 18000.0), ("day", 86400.0), ("seven_day", 604800.0), ("month", 2_610_000.0)):
        if abs(seconds - usual) <= usual * 0.05:
            return name
    return f"{round(seconds / 3600)}_hour"


def _slots(limits: Any, limit_name: str, source: QuotaSource, now: float, plan: str) -> list[QuotaWindow]:
    if not isinstance(limits, Mapping):
        return []
    reached = _member(limits, "limit_reached") is True or _member(limits, "allowed") is False
    found = []
    for slot in _SLOTS:
        window = _member(limits, f"{slot}_window") or _member(limits, slot)
        found.append(read_window(window, slot, limit_name, source, now, reached=reached, plan=plan))
    return [window for window in found if window is not None]


def _member(value: Mapping[str, Any], name: str) -> Any:
    """A member by its name in snake_case or camelCase."""
    found = value.get(name)
    if found is None:
        head, *rest = name.split("_")
        found = value.get(head + "".join(word.capitalize() for word in rest))
    return found
