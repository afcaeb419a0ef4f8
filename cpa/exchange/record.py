"""What is written down of an exchange: one usage record per attempt, one access line at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from cpa.accounts.account import Account
from cpa.conversation.usage import Usage
from cpa.errors import ErrorInfo
from cpa.exchange.call import Call
from cpa.exchange.limits import Ticket
from cpa.exchange.observers import Observers, Watch
from cpa.exchange.recorder import AttemptNote
from cpa.exchange.usage_trail import UsageTrail, asked_tier, endpoint_of, served_tier
from cpa.usage.event import executor_of


class AttemptRecord:
    """Measures one attempt."""

    def __init__(
        self,
        call: Call,
        account: Account,
        model: str,
        upstream_format: str,
        number: int,
        watch: Watch | None = None,
        ticket: Ticket | None = None,
        note: AttemptNote | None = None,
    ) -> None:
        self._call = call
        self._ticket = ticket
        self._watch = watch
        self.note = note
        """Set when a history is kept."""
        self._begun = time.monotonic()
        self.account = account
        self.model = model
        self.upstream_format = upstream_format
        self.number = number
        self.started_at = time.time()
        self.time_to_first_token: float | None = None
        self.usage: Usage | None = None
        self.headers: Mapping[str, str] | None = None
        """Of the upstream's answer; None before there is one."""
        self.retryable: bool | None = None
        """Of a failure: whether another account may do better."""
        self.status = 0
        self.error: str | None = None
        self.failure: ErrorInfo | None = None
        self.duration: float | None = None
        """Seconds; None while it is under way."""

    def first_token(self) -> None:
        """Content of the answer has arrived."""
        if self.time_to_first_token is None:
            self.time_to_first_token = time.monotonic() - self._begun

    def close(self, status: int, error: ErrorInfo | None = None) -> None:
        """The attempt is over; later calls change nothing."""
        if self.duration is not None:
            return
        self.duration = duration = time.monotonic() - self._begun
        self.status = status
        self.failure = error
        self.error = (error.code or error.type or "error") if error is not None else None
        if self._ticket is not None and self.usage is not None:
            place = self._place()
            self._ticket.spend(self.usage, model=self.model, requested=self._call.model, **place)
            if (tool := self.usage.image_tool) is not None:
                self._ticket.spend(tool.usage, model=tool.model, **place)
        if self.note is not None:
            self.note.close(status, error, self.time_to_first_token, self.usage)
        if self._watch is not None:
            self._watch.attempt(self, duration)

    def _place(self) -> dict[str, str]:
        """What factors on prices may look at."""
        call, account = self._call, self.account
        return {
            "provider": account.provider,
            "account": account.label or account.id,
            "executor_type": executor_of(account.provider, self.upstream_format),
            "api_group_key": call.client.id if call.client is not None else account.provider,
            "auth_index": account.index,
            "model_alias": call.model,
            "endpoint": endpoint_of(call.path),
            "service_tier": asked_tier(call),
            "response_service_tier": served_tier(self),
        }


class ExchangeLog:
    """The access line of one exchange."""

    def __init__(self, log: Any, call: Call, observers: Observers) -> None:
        self._log = log
        self._call = call
        self._observers = observers
        observers.running += 1
        self.watch = observers.watch(call)
        """None when nobody is to be told of the exchange."""
        self.answered = False
        """Set once the client has been given an answer, or the beginning of one."""
        self._begun = time.monotonic()
        self._done = False
        self.attempts = 0
        self.last: AttemptRecord | None = None
        """The attempt that was begun last."""
        self.ticket: Ticket | None = None
        """Set when the client's key has limits."""
        self.trail: UsageTrail | None = None
        """Set when usage is recorded."""
        self.failed_late: Callable[[ErrorInfo], None] | None = None
        """Told when an answer fails that has already begun."""
        if observers.live.watchers:
            observers.live.tell("begun", _call_fields(call))

    def close(self, status: int, attempt: AttemptRecord | None = None, error: ErrorInfo | None = None) -> None:
        """Write the line; later calls write nothing."""
        if self._done:
            return
        self._done = True
        self._observers.running -= 1
        duration = time.monotonic() - self._begun
        if self.ticket is not None:
            self.ticket.leave()
        if self.trail is not None:
            self.trail.close(self._call, self.last, status, error, duration)
        if self.watch is not None:
            code = (error.code or error.type or "error") if error is not None else None
            self.watch.close(status, code, answered=self.answered or status < 400)
        if error is not None and self.failed_late is not None:
            self.failed_late(error)
        fields = _call_fields(self._call) | {
            "status": status,
            "attempts": self.attempts,
            "duration_ms": round(duration * 1000),
        }
        if (attempt := attempt or self.last) is not None:
            fields |= _attempt_fields(attempt)
        if error is not None:
            fields["error"] = error.message
            fields["error_class"] = error.code or error.type
        level = self._log.error if status >= 500 else self._log.warning if status >= 400 else self._log.info
        level("exchange", **fields)
        if self._observers.live.watchers:
            self._observers.live.tell("finished", fields)


def _call_fields(call: Call) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "request_id": call.request_id,
        "path": call.path,
        "format": call.format,
        "model": call.model,
        "stream": call.stream,
        "peer": call.peer,
    }
    if call.client is not None:
        fields["client"] = call.client.id
    return fields


def _attempt_fields(attempt: AttemptRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "provider": attempt.account.provider,
        "account": attempt.account.label or attempt.account.id,
        "upstream_model": attempt.model,
    }
    if attempt.time_to_first_token is not None:
        fields["ttft_ms"] = round(attempt.time_to_first_token * 1000)
    if (usage := attempt.usage) is not None:
        fields["input_tokens"] = usage.input_total
        fields["output_tokens"] = usage.output_total
        if usage.cache_read:
            fields["cache_read_tokens"] = usage.cache_read
    return fields
