"""What collectors outside are told: finished attempts, failures of accounts, and that they should look again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson

from cpa.accounts.account import Account, account_index
from cpa.accounts.cooldown import Cooldown
from cpa.accounts.pool import AccountPool
from cpa.config import Config
from cpa.config.client_keys import key_id
from cpa.exchange.call import Call
from cpa.exchange.exposure import headers_without_secret
from cpa.exchange.headers import telling_headers
from cpa.exchange.recorder import CLIENT_GONE
from cpa.usage.event import Event, timestamp
from cpa.usage.queue_item import LONGEST_TEXT, QueueItem, RequestDetails
from cpa.usage.usage_queue import UsageQueue

if TYPE_CHECKING:
    from cpa.exchange.record import AttemptRecord

REFRESH_SECONDS = 0.5
"""Changes within this time are told as one."""
REFRESH = b'{"refresh":true}'


class Collectors:
    """Feeds the usage queue and its channels. Does nothing while the queue is off."""

    def __init__(self, queue: UsageQueue, pool: AccountPool, config: Callable[[], Config]) -> None:
        self._queue = queue
        self._pool = pool
        self._config = config
        self._keys = _RawKeys()
        self._refresh: asyncio.TimerHandle | None = None

    def take(self, event: Event, call: Call, record: AttemptRecord | None) -> None:
        """An attempt is over, or what ``event.attempt`` 0 stands for."""
        if not self._queue.enabled:
            return
        self._queue.put(QueueItem(event, self._details(event, call, record)))
        if self._queue.errors and event.failed and record is not None and event.status != CLIENT_GONE:
            self._queue.errors.tell(self._failure(event, record))

    def look_again(self) -> None:
        """The configuration or the accounts have changed: tell listeners so, once for many changes."""
        if self._refresh is None and self._queue.listeners:
            self._refresh = asyncio.get_running_loop().call_later(REFRESH_SECONDS, self._tell_refresh)

    def stop(self) -> None:
        """Tell nothing any more."""
        if self._refresh is not None:
            self._refresh.cancel()

    def follow(self, old: Account | None, new: Account | None) -> None:
        """An account came, went or changed; a renewed token is no change."""
        if old is None or new is None or old.disabled != new.disabled or old.label != new.label:
            self.look_again()

    def _tell_refresh(self) -> None:
        self._refresh = None
        self._queue.listeners.tell(REFRESH)

    def _details(self, event: Event, call: Call, record: AttemptRecord | None) -> RequestDetails:
        login = record is not None and record.account.kind == "oauth"
        return RequestDetails(
            client_key=self._keys.shown(event.group, self._config()) if call.client is not None else "",
            forwarded_for=call.headers.get("X-Forwarded-For", "")[:LONGEST_TEXT],
            user_agent=call.headers.get("User-Agent", "")[:LONGEST_TEXT],
            generate=call.body.get("generate") is not False,
            token_digest=_digest(record.account.secret) if login and record is not None else "",
            response_headers=_told(record) if record is not None and record.headers else {},
        )

    # -- failures ----------------------------------------------------------------------------------------------

    def _failure(self, event: Event, record: AttemptRecord) -> bytes:
        message: dict[str, Any] = {
            "timestamp": timestamp(event.at_ms),
            "provider": event.provider,
            "model": event.model,
            "auth_index": event.auth_index,
            "status_code": event.status if event.status >= 400 else 500,
            "body": event.fail_body or "request failed",
            "code": event.error,
        }
        if record.retryable is not None:
            message["retryable"] = record.retryable
        account = next((found for found in self._pool if _index(found) == event.auth_index), None)
        if account is not None:
            message["auth_id"] = account.id
            message["auth_status"] = self._standing(account, event)
        return orjson.dumps(message)

    def _standing(self, account: Account, event: Event) -> dict[str, Any]:
        """How the account fares after the failure."""
        health = self._pool.health(account.id)
        cooling = dict(health.running(self._pool.clock()))
        standing: dict[str, Any] = {
            "status": "disabled" if account.disabled else "error" if cooling else "active",
            "status_message": health.last_error or "",
            "disabled": account.disabled,
            "unavailable": "" in cooling,
        }
        if whole := cooling.get(""):
            standing |= self._rest(whole)
        if cooldown := cooling.get(event.model):
            level = health.backoff.get(event.model, 0)
            standing["model"] = {
                "name": event.model,
                "status": "error",
                "status_message": cooldown.reason,
                "unavailable": True,
                **self._rest(cooldown, level),
            }
        return standing

    def _rest(self, cooldown: Cooldown, level: int = 0) -> dict[str, Any]:
        wall = time.time() + cooldown.until - self._pool.clock()
        moment = datetime.fromtimestamp(wall, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        rest: dict[str, Any] = {"next_retry_after": moment}
        if cooldown.reason == "quota":
            rest["quota"] = {
                "exceeded": True,
                "reason": "quota",
                "next_recover_at": moment,
                "backoff_level": level,
            }
        return rest


def _told(record: AttemptRecord) -> dict[str, list[str]]:
    """Telling headers of an answer."""
    return telling_headers(headers_without_secret(record.headers or {}, record.account))


@lru_cache(maxsize=64)
def _digest(token: str) -> str:
    """By which collectors tell one access token of a login from the next; it leads nobody back to the token."""
    return sha256(token.encode()).hexdigest() if token else ""


class _RawKeys:
    """Client keys by id, for collectors that know clients by their keys; built once per configuration."""

    def __init__(self) -> None:
        self._config: Config | None = None
        self._keys: dict[str, str] = {}

    def shown(self, client_id: str, config: Config) -> str:
        """The key itself where ``usage-queue-client-keys`` is set, else the id."""
        if not config.usage_queue_client_keys:
            return client_id
        if config is not self._config:
            self._config = config
            keys = (key if isinstance(key, str) else key.key for key in config.api_keys)
            self._keys = {key_id(key): key for key in keys}
        return self._keys.get(client_id, client_id)


def _index(account: Account) -> str:
    return account.index or account_index(f"id:{account.id}")
