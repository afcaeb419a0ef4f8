"""The durable record of one exchange: an event per attempt, the last of them marked as what the client saw."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cpa.accounts.account import account_index
from cpa.errors import ErrorInfo
from cpa.exchange.call import Call
from cpa.usage.event import LONGEST_BODY, Event, Tokens, tokens_of

if TYPE_CHECKING:
    from cpa.exchange.record import AttemptRecord

Sink = Callable[[Event, Call], None]
"""Takes an event and the request it belongs to."""
NOBODY = "unknown"
_GEMINI = ("/v1beta/models/", "/v1/models/")
CLIENT_GONE = 499
LONGEST_AGENT = 200


def endpoint_of(path: str) -> str:
    """``POST`` and the route of a path: models in it are left out."""
    for prefix in _GEMINI:
        if path.startswith(prefix):
            return f"POST {prefix}*action"
    return f"POST {path}"


class UsageTrail:
    """Gives each event to the sink once it is known whether another attempt follows."""

    def __init__(self, call: Call, sink: Sink) -> None:
        self._call = call
        self._sink = sink
        self._begun = time.time()
        self._pending: Event | None = None

    def attempt(self, record: AttemptRecord, duration: float, error: ErrorInfo | None) -> None:
        """An attempt is over."""
        self._flush()
        account, call = record.account, self._call
        first = record.time_to_first_token
        self._pending = Event(
            group=call.client.id if call.client is not None else account.provider or NOBODY,
            provider=account.provider,
            endpoint=endpoint_of(call.path),
            auth_type=account.kind,
            request_id=call.request_id,
            model=record.model,
            requested_model=call.model,
            at_ms=int(record.started_at * 1000),
            source=account.label or account.id,
            auth_index=account.index or account_index(f"id:{account.id}"),
            failed=record.status >= 400 or record.status == 0 or error is not None,
            latency_ms=int(duration * 1000),
            tokens=tokens_of(record.usage, record.upstream_format),
            attempt=record.number,
            final=False,
            status=record.status,
            error=record.error or ("client_gone" if record.status == CLIENT_GONE else ""),
            fail_body=_body(record.status, error),
            ttft_ms=None if first is None else int(first * 1000),
            stream=call.stream,
            client_format=call.format,
            upstream_format=record.upstream_format,
            service_tier=_tier(call.body),
            user_agent=call.headers.get("User-Agent", "")[:LONGEST_AGENT],
        )

    def close(self, status: int, error: ErrorInfo | None) -> None:
        """The exchange is over."""
        if self._pending is not None:
            self._pending.final = True
            if status >= 400 and not self._pending.failed:
                self._pending.failed, self._pending.status = True, status
            self._flush()
            return
        call = self._call
        self._sink(
            Event(
                group=call.client.id if call.client is not None else NOBODY,
                endpoint=endpoint_of(call.path),
                request_id=call.request_id,
                model=call.model,
                requested_model=call.model,
                at_ms=int(self._begun * 1000),
                failed=status >= 400,
                latency_ms=int((time.time() - self._begun) * 1000),
                tokens=Tokens(),
                attempt=0,
                status=status,
                error=(error.code or error.type or "error") if error is not None else "",
                fail_body=_body(status, error),
                stream=call.stream,
                client_format=call.format,
            ),
            call,
        )

    def _flush(self) -> None:
        if self._pending is not None:
            event, self._pending = self._pending, None
            self._sink(event, self._call)


def _tier(body: dict[str, Any]) -> str:
    tier = body.get("service_tier")
    return tier[:LONGEST_AGENT] if isinstance(tier, str) else ""


def _body(status: int, error: ErrorInfo | None) -> str:
    if error is not None:
        return error.message[:LONGEST_BODY]
    return "client disconnected" if status == CLIENT_GONE else ""
