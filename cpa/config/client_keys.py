"""The keys of clients: what names them without betraying them, and what each may do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from fnmatch import fnmatchcase
from hashlib import sha256

from cpa.config.sections import ClientKey
from cpa.config.settings import Config

SAMPLE_KEYS = frozenset({"your-api-key-1", "your-api-key-2", "your-api-key-3"})
"""Keys in the example configuration of CLIProxyAPI. Whoever looks for open ports tries them."""


def key_id(key: str) -> str:
    """A key's stable id, which says nothing of the key."""
    return "key-" + sha256(b"cpa client key\0" + key.encode()).hexdigest()[:12]


class ClientKeys:
    """The keys of the newest configuration that have limits, by id. Built once per snapshot."""

    def __init__(self) -> None:
        self._config: Config | None = None
        self._limited: dict[str, ClientKey] = {}

    def find(self, config: Config, client_id: str) -> ClientKey | None:
        """The entry of a client's key; None when it has no limits (or is no key of the configuration)."""
        if config is not self._config:
            self._config = config
            entries = [key for key in config.api_keys if isinstance(key, ClientKey)]
            self._limited = {key_id(entry.key): entry for entry in entries if limited(entry)}
        return self._limited.get(client_id)


def limited(entry: ClientKey) -> bool:
    """Whether an entry limits anything."""
    return bool(
        entry.models
        or entry.requests_per_minute
        or entry.tokens_per_minute
        or entry.budget_per_day
        or entry.budget_per_month
        or entry.concurrency
        or entry.expires
    )


def expired(entry: ClientKey, now: float) -> bool:
    """Whether the key is no longer good at ``now`` (Unix seconds); a date means its beginning, in local time."""
    return bool(entry.expires) and now >= datetime.fromisoformat(entry.expires).timestamp()


def may_ask(entry: ClientKey) -> Callable[[str], bool]:
    """Tells whether a key may ask for a model, by the name the client uses (its reasoning suffix does not count)."""
    patterns = entry.models
    if not patterns:
        return lambda name: True

    def allowed(name: str) -> bool:
        plain = name.partition("(")[0].strip().lower()
        return any(fnmatchcase(plain, pattern) for pattern in patterns)

    return allowed
