"""Who is told of finished attempts and requests: plugins, and the metrics when they are on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from cpa.accounts.account import account_index
from cpa.exchange.call import Call
from cpa.exchange.live import LiveFeed
from cpa.plugins.manager import Plugins
from cpa.plugins.values import ExchangeRecord, UsageRecord

if TYPE_CHECKING:
    from cpa.exchange.record import AttemptRecord


class Meter(Protocol):
    """What counts requests."""

    def attempt(self, record: UsageRecord) -> None:
        """An attempt is over."""

    def exchange(self, record: ExchangeRecord) -> None:
        """A request is over."""


class Observers:
    """One per daemon. Without a plugin that listens and without a meter nothing is made of an exchange."""

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins
        self.meter: Meter | None = None
        self.live = LiveFeed()
        """Tells those who watch requests as they happen."""
        self.running = 0
        """Requests that are under way."""

    def watch(self, call: Call) -> Watch | None:
        """What notes a request that begins; None when nobody wants to know."""
        attempt, exchange = self._plugins.hook("cpa_usage"), self._plugins.hook("cpa_exchange")
        if attempt is None and exchange is None and self.meter is None:
            return None
        return Watch(call, attempt, exchange, self.meter)


class Watch:
    """Makes the records of one request and hands them on."""

    def __init__(
        self,
        call: Call,
        on_attempt: Callable[..., object] | None,
        on_exchange: Callable[..., object] | None,
        meter: Meter | None,
    ) -> None:
        self._call = call
        self._on_attempt = on_attempt
        self._on_exchange = on_exchange
        self._meter = meter
        self._started_at = time.time()
        self._begun = time.monotonic()
        self._attempts: list[UsageRecord] = []
        self._first_token: float | None = None

    def attempt(self, record: AttemptRecord, duration: float) -> None:
        """An attempt is over; it took ``duration`` seconds."""
        call, account = self._call, record.account
        made = UsageRecord(
            request_id=call.request_id,
            attempt=record.number,
            provider=account.provider,
            account_id=account.id,
            account_index=account.index or account_index(f"id:{account.id}"),
            account_kind=account.kind,
            client_id=call.client.id if call.client is not None else "",
            requested_model=call.model,
            model=record.model,
            client_format=call.format,
            upstream_format=record.upstream_format,
            stream=call.stream,
            operation=call.operation,
            started_at=record.started_at,
            duration=duration,
            time_to_first_token=record.time_to_first_token,
            status=record.status,
            error=record.error,
            usage=record.usage,
        )
        self._attempts.append(made)
        if record.time_to_first_token is not None:
            began = time.monotonic() - duration - self._begun
            self._first_token = max(0.0, began) + record.time_to_first_token
        if self._meter is not None:
            self._meter.attempt(made)
        if self._on_attempt is not None:
            self._on_attempt(record=made)

    def close(self, status: int, error: str | None, *, answered: bool) -> None:
        """The request is over."""
        if self._meter is None and self._on_exchange is None:
            return
        call, duration = self._call, time.monotonic() - self._begun
        made = ExchangeRecord(
            request_id=call.request_id,
            format=call.format,
            operation=call.operation,
            path=call.path,
            headers=call.headers,
            body=call.body,
            stream=call.stream,
            client_id=call.client.id if call.client is not None else "",
            requested_model=call.model,
            started_at=self._started_at,
            duration=duration,
            overhead=max(0.0, duration - sum(attempt.duration for attempt in self._attempts)),
            time_to_first_token=self._first_token,
            status=status,
            error=error,
            answered=answered,
            attempts=tuple(self._attempts),
        )
        if self._meter is not None:
            self._meter.exchange(made)
        if self._on_exchange is not None:
            self._on_exchange(record=made)
