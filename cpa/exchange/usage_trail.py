"""The durable record of one exchange: an event per attempt, the last of them marked as what the client saw."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from cpa.accounts.account import Account, account_index
from cpa.conversation.request import Reasoning
from cpa.conversation.usage import ToolUsage, Usage, tier
from cpa.errors import ErrorInfo
from cpa.exchange.call import Call
from cpa.plugins.values import ClientIdentity
from cpa.usage.event import LONGEST_BODY, Event, Tokens, tokens_of
from cpa.usage.queue_item import LONGEST_TEXT

if TYPE_CHECKING:
    from cpa.exchange.record import AttemptRecord

Sink = Callable[["Attempted | Event", Call, "AttemptRecord | None"], None]
"""Takes an event or what it is made from, the request it belongs to, and the attempt if an account could be asked."""
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


class Attempted(Struct, gc=False):
    """What is noted of an attempt on the event loop: nothing is worked out there."""

    client: ClientIdentity | None
    account: Account
    path: str
    request_id: str
    requested_model: str
    stream: bool
    client_format: str
    client_ip: str
    user_agent: str
    asked_tier: str
    effort: Reasoning | str | None
    model: str
    upstream_format: str
    usage: Usage | None
    served_tier: str
    started_at: float
    duration: float
    first_token: float | None
    number: int
    status: int
    error: str | None
    fail_body: str
    failed: bool
    final: bool = False

    def event(self) -> Event:
        """The event. Working out many in a row takes a third of what it takes on the event loop, among other things."""
        account, client, first = self.account, self.client, self.first_token
        effort = self.effort
        return Event(
            group=client.id if client is not None else account.provider or NOBODY,
            provider=account.provider,
            endpoint=endpoint_of(self.path),
            auth_type=account.kind,
            request_id=self.request_id,
            model=self.model,
            requested_model=self.requested_model[:LONGEST_NAME],
            at_ms=int(self.started_at * 1000),
            source=account.label or account.id,
            auth_index=account.index or account_index(f"id:{account.id}"),
            failed=self.failed,
            latency_ms=int(self.duration * 1000),
            tokens=tokens_of(self.usage, self.upstream_format),
            attempt=self.number,
            final=self.final,
            status=self.status,
            error=self.error or ("client_gone" if self.status == CLIENT_GONE else ""),
            fail_body=self.fail_body,
            ttft_ms=None if first is None else int(first * 1000),
            stream=self.stream,
            client_format=self.client_format,
            upstream_format=self.upstream_format,
            reasoning_effort=effort_of(effort) if isinstance(effort, Reasoning) else effort or "",
            service_tier=self.asked_tier,
            response_service_tier=self.served_tier,
            client_ip=self.client_ip,
            user_agent=self.user_agent[:LONGEST_AGENT],
        )


def effort_of(asked: Reasoning) -> str:
    """The reasoning effort asked for: a level, a number of tokens, ``none`` or ``auto``; empty when it is not."""
    if asked.mode == "unset":
        return ""
    words = {"level": asked.level or "", "budget": str(asked.budget), "off": "none", "auto": "auto"}
    return words[asked.mode][:LONGEST_TEXT]


class UsageTrail:
    """Gives what is known of each attempt to the sink once it is known whether another one follows."""

    __slots__ = ("_begun", "_call", "_pending", "_record", "_sink")

    def __init__(self, call: Call, sink: Sink) -> None:
        self._call = call
        self._sink = sink
        self._begun = time.time()
        self._pending: Attempted | None = None
        self._record: AttemptRecord | None = None

    def attempt(self, record: AttemptRecord, duration: float, error: ErrorInfo | None) -> None:
        """An attempt is over."""
        if self._pending is not None:
            self._flush()
        call, status, usage = self._call, record.status, record.usage
        self._record = record
        self._pending = Attempted(
            call.client,
            record.account,
            call.path,
            call.request_id,
            call.model,
            call.stream,
            call.format,
            call.address,
            call.headers.get("User-Agent", ""),
            asked_tier(call),
            call.reasoning,
            record.model,
            record.upstream_format,
            usage,
            served_tier(record) if usage is None or usage.service_tier is None else usage.service_tier,
            record.started_at,
            duration,
            record.time_to_first_token,
            record.number,
            status,
            record.error,
            "" if error is None and status != CLIENT_GONE else _body(status, error),
            status >= 400 or status == 0 or error is not None,
        )

    def close(self, status: int, error: ErrorInfo | None) -> None:
        """The exchange is over."""
        pending = self._pending
        if pending is not None:
            pending.final = True
            if status >= 400 and not pending.failed:
                pending.failed, pending.status = True, status
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
        made, record = self._pending, self._record
        if made is None or record is None:
            return
        self._pending = self._record = None
        self._sink(made, self._call, record)
        if made.usage is not None and made.usage.image_tool is not None:
            self._sink(_of_tool(made.event(), made.usage.image_tool), self._call, record)


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
