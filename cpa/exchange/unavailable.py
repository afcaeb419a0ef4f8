"""The error when no account can serve a model, and until when."""

from __future__ import annotations

import math
from collections.abc import Iterable

from cpa.accounts.cooldown import Cooldown
from cpa.errors import ErrorInfo


def no_account(
    model: str, providers: Iterable[str], cooldowns: list[Cooldown], candidates: int, now: float, *, full: bool = False
) -> ErrorInfo:
    """``model_cooldown`` (429) when every candidate waits for its quota, else 503 with what is known.

    ``cooldowns`` are those of the candidates that have one; ``now`` is monotonic like their times. ``full``: an account
    is usable, but serves as many requests as it may.
    """
    names = sorted(set(providers))
    if full:
        message = f"every account for model {model} serves as many requests as it may at a time; try again shortly"
        return ErrorInfo(429, message, type="rate_limit_error", code="accounts_busy", retry_after=1)
    if cooldowns and len(cooldowns) == candidates:
        seconds = max(1, math.ceil(min(cooldown.until for cooldown in cooldowns) - now))
        if all(cooldown.reason in ("quota", "probing") for cooldown in cooldowns):
            return _cooling(model, names, seconds)
        reasons = ", ".join(sorted({cooldown.reason for cooldown in cooldowns}))
        message = f"auth_unavailable: no auth available (providers={','.join(names)}, model={model}; {reasons})"
        return ErrorInfo(503, message, type="server_error", code="auth_unavailable", retry_after=seconds)
    message = f"auth_not_found: no auth available (providers={','.join(names)}, model={model})"
    return ErrorInfo(503, message, type="server_error", code="auth_not_found")


def _cooling(model: str, providers: list[str], seconds: int) -> ErrorInfo:
    single = providers[0] if len(providers) == 1 else None
    via = f" via provider {single}" if single else ""
    message = f"All credentials for model {model} are cooling down{via}"
    raw = {
        "error": {
            "code": "model_cooldown",
            "message": message,
            "model": model,
            **({"provider": single} if single else {}),
            "reset_time": duration_text(seconds),
            "reset_seconds": seconds,
        }
    }
    return ErrorInfo(
        429,
        message,
        type="rate_limit_error",
        code="model_cooldown",
        retry_after=seconds,
        format="openai",
        raw=raw,
    )


def duration_text(seconds: int) -> str:
    """``45s``, ``1m30s``, ``1h0m0s``."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
