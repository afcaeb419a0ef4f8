"""The durable record of one exchange: an event per attempt, the last of them marked as what the client saw."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec.structs import replace

from cpa.accounts.account import account_index
from cpa.conversation.usage import ToolUsage, tier
from cpa.errors import ErrorInfo
from cpa.exchange.call import Call
from cpa.usage.event import LONGEST_BODY, Event, Tokens, tokens_of

if TYPE_CHECKING:
    from cpa.exchange.record import AttemptRecord

Sink = Callable[[Event, Call, "AttemptRecord | None"], None]
"""Takes an event, the request it belongs to, and the attempt unless no account could be asked."""
NOBODY = "unknown"
_GEMINI = ("/v1beta/models/", "/v1/models/")
CLIENT_GONE = 499
TOOL_FORMAT = "openai-response"
LONGEST_AGENT = 200
LONGEST_NAME = 256
"""Characters of a model's name, as a client wrote it."""


@lru_cache(maxsize=256)
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
        self._record: AttemptRecord | None = None

    def attempt(self, record: AttemptRecord, duration: float, error: ErrorInfo | None) -> None:
        """An attempt is over."""
        self._flush()
        account, call = record.account, self._call
        first = record.time_to_first_token
        self._record = record
        self._pending = Event(
            group=call.client.id if call.client is not None else account.provider or NOBODY,
            provider=account.provider,
            endpoint=endpoint_of(call.path),
            auth_type=account.kind,
            request_id=call.request_id,
            model=record.model,
            requested_model=call.model[:LONGEST_NAME],
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
            service_tier=asked_tier(call),
            response_service_tier=served_tier(record),
            client_ip=call.address,
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
                model=call.model[:LONGEST_NAME],
                requested_model=call.model[:LONGEST_NAME],
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
                client_ip=call.address,
                user_agent=call.headers.get("User-Agent", "")[:LONGEST_AGENT],
            ),
            call,
            None,
        )

    def _flush(self) -> None:
        event, record = self._pending, self._record
        if event is None or record is None:
            return
        self._pending = self._record = None
        self._sink(event, self._call, record)
        if record.usage is not None and record.usage.image_tool is not None:
            self._sink(_of_tool(event, record.usage.image_tool), self._call, record)


def _of_tool(event: Event, tool: ToolUsage) -> Event:
    """What a tool took on the way to an answer: a row of its own model, but neither an attempt nor a request."""
    return replace(
        event,
        model=tool.model,
        tokens=tokens_of(tool.usage, TOOL_FORMAT),
        upstream_format=TOOL_FORMAT,
        attempt=0,
        final=False,
        failed=False,
        status=200,
        error="",
        fail_body="",
        latency_ms=0,
        ttft_ms=None,
        response_service_tier="",
    )


def asked_tier(call: Call) -> str:
    """The tier that was asked for."""
    body = call.body
    if call.format == "claude" and body.get("speed") == "fast":
        return "fast"
    asked = body.get("service_tier")
    if asked is None and call.format == "gemini":
        asked = body.get("serviceTier")
    return tier(asked) or ""


def served_tier(record: AttemptRecord) -> str:
    """The tier that served the attempt. Gemini tells it in a header (https://ai.google.dev/gemini-api/docs)."""
    usage = record.usage
    if usage is not None and usage.service_tier is not None:
        return usage.service_tier
    if record.upstream_format == "gemini" and record.headers is not None:
        return tier(record.headers.get("x-gemini-service-tier")) or ""
    return ""


def _body(status: int, error: ErrorInfo | None) -> str:
    if error is not None:
        return error.message[:LONGEST_BODY]
    return "client disconnected" if status == CLIENT_GONE else ""
