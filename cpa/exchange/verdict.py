"""What the operator's settings make of a provider's judgement of a failure."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from cpa.accounts.account import Account
from cpa.config import Config
from cpa.config.provider_sections import ErrorRule
from cpa.errors import ErrorInfo, UpstreamError
from cpa.formats.codec import Operation
from cpa.patterns import compile_pattern
from cpa.plugins.faults import COOLDOWNS, LONGEST_HINT, MINUTE

_ACCOUNT_STATUSES = frozenset({401, 402, 403, 429})
"""What these say is true of the account whatever was asked of it."""
_SEARCHED = 65536
"""Characters of an error in which a rule looks for its texts."""


def settled(failure: UpstreamError, account: Account, operation: Operation, config: Config) -> UpstreamError:
    """The failure as it counts: rules for errors first, then the cooldown set for passing failures; no hint is endless.

    Counting tokens and compacting are not what an account is for: that they fail says nothing about the rest.
    """
    if failure.cooldown is not None:
        failure.cooldown = min(failure.cooldown, LONGEST_HINT)
    if failure.error.retry_after is not None:
        failure.error.retry_after = min(failure.error.retry_after, LONGEST_HINT)
    rule = next((rule for rule in _rules(account, config) if _applies(rule, failure.error)), None)
    if rule is not None:
        return _ruled(failure, rule)
    if operation in ("count", "compact") and failure.error.status not in _ACCOUNT_STATUSES:
        failure.scope, failure.cooldown = ("request" if failure.scope == "request" else "none"), 0
    elif wanted := config.transient_error_cooldown_seconds if failure.reason == "transient" else 0:
        failure.cooldown = failure.error.retry_after or float(max(0, wanted))
    return failure


def _rules(account: Account, config: Config) -> Iterator[ErrorRule]:
    """Those of the account, then those of its provider's logins."""
    yield from account.settings.get("request_scoped_errors") or ()
    if account.kind == "oauth":
        yield from config.oauth_request_scoped_errors.get(account.provider, ())


def _applies(rule: ErrorRule, error: ErrorInfo) -> bool:
    if rule.status and rule.status != error.status:
        return False
    if not rule.match and not rule.match_regexr:
        return bool(rule.status)
    text = _text(error)
    return any(part in text for part in rule.match if part) or any(
        compile_pattern(pattern).search(text) for pattern in rule.match_regexr if pattern
    )


def _text(error: ErrorInfo) -> str:
    raw = orjson.dumps(error.raw).decode() if error.raw is not None else ""
    return f"{error.message}\n{error.code or ''}\n{error.type or ''}\n{raw}"[:_SEARCHED]


def _ruled(failure: UpstreamError, rule: ErrorRule) -> UpstreamError:
    failure.retryable = rule.action.startswith("continue")
    if not rule.action.endswith("and-cooldown"):
        failure.scope, failure.cooldown = ("none" if failure.retryable else "request"), 0
        failure.reason = None
    elif failure.cooldown == 0 or failure.scope in ("request", "none"):
        seconds, reason = COOLDOWNS.get(failure.error.status, (MINUTE, "transient"))
        failure.scope = "model"
        failure.cooldown = failure.error.retry_after or seconds
        failure.reason = reason
    return failure
