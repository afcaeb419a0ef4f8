"""Keep an account's secret out of what a client is told.

Vendors repeat the key they refuse ("Incorrect API key provided: sk-..."): the client must not learn it.
"""

from __future__ import annotations

import orjson
from msgspec.structs import replace

from cpa.accounts.account import Account, mask
from cpa.errors import ErrorInfo

SHORTEST_SECRET = 4


def without_secret(error: ErrorInfo, account: Account) -> ErrorInfo:
    """The error with the account's secret masked in its texts, and without a raw body that repeats it."""
    secret = account.secret
    if len(secret) < SHORTEST_SECRET:
        return error
    shown = mask(secret)
    changed = {
        name: value.replace(secret, shown)
        for name in ("message", "type", "code", "param")
        if isinstance(value := getattr(error, name), str) and secret in value
    }
    if error.raw is not None and secret.encode() in orjson.dumps(error.raw):
        return replace(error, **changed, raw=None, details=None)
    return replace(error, **changed) if changed else error
