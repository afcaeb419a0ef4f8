"""One auth file as the API shows it."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from cpa.accounts.account import Account
from cpa.accounts.cooldown import Cooldown
from cpa.accounts.pool import AccountPool
from cpa.accounts.quota import QuotaWindow
from cpa.accounts.refresh import LoginState
from cpa.management.account_lookup import index_of

_CODEX_CLAIMS = "https://api.openai.com/auth"
_CLAIMS = (
    ("chatgpt_account_id", "chatgpt_account_id"),
    ("chatgpt_plan_type", "plan_type"),
    ("chatgpt_subscription_active_start", "chatgpt_subscription_active_start"),
    ("chatgpt_subscription_active_until", "chatgpt_subscription_active_until"),
)
_PASSED_ON = ("project_id", "expired", "last_refresh", "created_at", "using_api")


def shown_account(
    account: Account, pool: AccountPool, *, file: Path | None, login: LoginState | None = None
) -> dict[str, Any]:
    """What is to be known of an account: what it is, what it may, how it fares. No secret is in it.

    ``file`` is its auth file; None for one that lives in memory only. ``login`` says how its refreshing fares.
    """
    data = account.metadata
    shown: dict[str, Any] = {
        "id": account.id,
        "auth_index": index_of(account),
        "name": file.name if file is not None else account.id,
        "type": account.provider,
        "provider": account.provider,
        "label": account.label,
        "disabled": account.disabled,
        "runtime_only": file is None,
        "source": "file" if file is not None else "memory",
        "size": 0,
        "account_type": "oauth" if account.kind == "oauth" else "api_key",
        "prefix": account.prefix,
        "proxy_url": _without_password(account.proxy_url),
        "headers": sorted(account.headers),
        "websockets": account.websockets,
        "disable_cooling": bool(account.disable_cooling),
        "excluded_models": list(account.excluded_models),
    }
    shown |= _standing(account, pool)
    if login is not None:
        shown |= _refreshing(login, shown)
    if isinstance(email := data.get("email"), str) and email:
        shown["email"] = shown["account"] = email
    for name in _PASSED_ON:
        if data.get(name) not in (None, ""):
            shown[name] = data[name]
    if account.priority:
        shown["priority"] = account.priority
    if account.weight != 1:
        shown["weight"] = account.weight
    if isinstance(note := data.get("note"), str) and note.strip():
        shown["note"] = note.strip()
    if plan := plan_of(account, pool.quota(account.id)):
        shown["plan_type"] = plan
    if account.provider == "codex" and (claims := codex_claims(data.get("id_token"))):
        shown["id_token"] = claims
    if file is not None:
        shown |= _on_disk(file)
    return shown


def plan_of(account: Account, windows: Iterable[QuotaWindow]) -> str:
    """What the vendor calls the account's subscription: as it said last, or as its login says. Empty when unknown."""
    told = max((window for window in windows if window.plan), key=lambda window: window.seen_at, default=None)
    return told.plan if told is not None else str(account.settings.get("plan_type") or "")


def _standing(account: Account, pool: AccountPool) -> dict[str, Any]:
    """How it fares: status, counters, cooldowns."""
    health, now, wall = pool.health(account.id), pool.clock(), time.time()
    running = {model: cooldown for model, cooldown in health.models.items() if cooldown.until > now}
    whole = health.account if health.account is not None and health.account.until > now else None
    unserved = account.settings.get("unserved")
    status, message = "active", ""
    if account.disabled:
        status, message = "disabled", "disabled"
    elif unserved:
        status, message = "error", str(unserved)
    elif whole is not None or running:
        status, message = "error", health.last_error or ""
    standing: dict[str, Any] = {
        "status": status,
        "status_message": message,
        "unavailable": whole is not None,
        "success": health.succeeded,
        "failed": health.failed,
        "recent_requests": health.recent.shown(wall),
        "models": {model: _shown_cooldown(cooldown, now, wall) for model, cooldown in running.items()},
    }
    if whole is not None:
        standing["next_retry_after"] = _moment(wall + whole.until - now)
        standing["cooldown"] = _shown_cooldown(whole, now, wall)
    return standing


def _refreshing(login: LoginState, shown: dict[str, Any]) -> dict[str, Any]:
    """How the login's refreshing fares; a login that is over is an error even while its last token still works."""
    known: dict[str, Any] = {"login_again": login.login_again}
    if login.due is not None:
        known["next_refresh_after"] = _moment(login.due)
    if login.trouble and shown["status"] in ("active", "error"):
        known["status_message"] = login.trouble
    if login.login_again and shown["status"] == "active":
        known["status"] = "error"
    return known


def _shown_cooldown(cooldown: Cooldown, now: float, wall: float) -> dict[str, Any]:
    return {"reason": cooldown.reason, "until": _moment(wall + cooldown.until - now)}


def _on_disk(file: Path) -> dict[str, Any]:
    try:
        status = file.stat()
    except OSError:
        return {"path": str(file)}
    modified = _moment(status.st_mtime)
    return {"path": str(file), "size": status.st_size, "modtime": modified, "updated_at": modified}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _without_password(proxy_url: str) -> str:
    """A proxy URL that can be shown."""
    scheme, found, rest = proxy_url.partition("://")
    return f"{scheme}://***@{rest.rpartition('@')[2]}" if found and "@" in rest else proxy_url


def codex_claims(id_token: Any) -> dict[str, Any]:
    """What the id token of a Codex login says of the subscription; {} when it says nothing. Nothing is verified."""
    if not isinstance(id_token, str) or id_token.count(".") < 2:
        return {}
    payload = id_token.split(".")[1]
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (binascii.Error, ValueError):
        return {}
    section = claims.get(_CODEX_CLAIMS) if isinstance(claims, dict) else None
    if not isinstance(section, dict):
        return {}
    return {shown: section[name] for name, shown in _CLAIMS if section.get(name) not in (None, "")}
