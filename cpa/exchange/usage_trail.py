"""The durable record of one exchange: an event per attempt, the last of them marked as what the client saw."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from cpa.accounts.account import account_index
from cpa.conversation.usage import ToolUsage, tier
from cpa.errors import ApiError, ErrorInfo
from cpa.exchange.call import Call
from cpa.formats.registry import FormatRegistry
from cpa.usage.attempted import Attempted
from cpa.usage.event import LONGEST_BODY, Event, kind_of
from cpa.usage.insert import Made
from cpa.usage.queue_item import LONGEST_TEXT
from cpa.usage.tokens import Tokens, reported, tokens_of

if TYPE_CHECKING:
    from cpa.exchange.record import AttemptRecord

Sink = Callable[[Made, Call, "AttemptRecord | None"], None]
"""Takes an attempt or another event, the request it belongs to, and the attempt if an account could be asked."""
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


def effort_of(call: Call, formats: FormatRegistry) -> str:
    """The reasoning effort asked for: a level, a number of tokens, ``none`` or ``auto``; empty when it is not, or what
    is asked cannot be read.
    """
    asked = call.reasoning
    if asked is None:
        if call.format not in formats:
            return ""
        try:
            asked = call.reasoning = formats[call.format].read_reasoning(call.body)
        except ApiError:
            return ""
    match asked.mode:
        case "unset":
            return ""
        case "level":
            return (asked.level or "")[:LONGEST_TEXT]
        case "budget":
            return str(asked.budget)[:LONGEST_TEXT]
        case "off":
            return "none"
        case "auto":
            return "auto"


class UsageTrail(Struct):
    """Gives what is known of each attempt to the sink once it is known whether another one follows."""

    call: Call
    sink: Sink
    formats: FormatRegistry
    pending: Attempted | None = None
    """The latest attempt."""
    record: AttemptRecord | None = None
    """What measured it."""

    def attempt(self, record: AttemptRecord, duration: float, error: ErrorInfo | None) -> None:
        """An attempt is over."""
        if self.pending is not None:
            self._flush()
        call, account, status, usage = self.call, record.account, record.status, record.usage
        client, provider, asked = call.client, account.provider, call.reasoning
        # the usual answers are given here: between other things a call costs a third of a microsecond
        nothing_served = usage is not None and usage.service_tier is None and record.upstream_format != "gemini"
        self.record = record
        kind = kind_of(
            client.id if client is not None else provider or NOBODY,
            provider,
            endpoint_of(call.path),
            account.kind,
            record.model,
            call.model[:LONGEST_NAME],
            account.label or account.id,
            account.index or account_index(f"id:{account.id}"),
            call.format,
            record.upstream_format,
            "" if asked is not None and asked.mode == "unset" else effort_of(call, self.formats),
            "" if _TIERS.isdisjoint(call.body) else asked_tier(call),
            "" if nothing_served else served_tier(record),
            1 if call.stream else 0,
            call.headers.get("User-Agent", "")[:LONGEST_AGENT],
            call.address,
        )
        self.pending = Attempted(
            kind,
            call.request_id,
            record.started_at,
            duration,
            record.time_to_first_token,
            record.number,
            status,
            None if usage is None else reported(usage),
            record.error or ("client_gone" if status == CLIENT_GONE else ""),
            "" if error is None and status != CLIENT_GONE else _body(status, error),
            status >= 400 or status == 0 or error is not None,
        )

    def close(self, status: int, error: ErrorInfo | None, duration: float) -> None:
        """The exchange is over, after ``duration`` seconds."""
        pending = self.pending
        if pending is not None:
            pending.final = True
            if status >= 400 and not pending.failed:
                pending.failed, pending.status = True, status
            self._flush()
            return
        call = self.call
        self.sink(
            Event(
                group=call.client.id if call.client is not None else NOBODY,
                endpoint=endpoint_of(call.path),
                request_id=call.request_id,
                model=call.model[:LONGEST_NAME],
                requested_model=call.model[:LONGEST_NAME],
                at_ms=int((time.time() - duration) * 1000),
                failed=status >= 400,
                latency_ms=int(duration * 1000),
                tokens=Tokens(),
                attempt=0,
                status=status,
                error=(error.code or error.type or "error") if error is not None else "",
                fail_body=_body(status, error),
                stream=call.stream,
                client_format=call.format,
                reasoning_effort=effort_of(call, self.formats),
                client_ip=call.address,
                user_agent=call.headers.get("User-Agent", "")[:LONGEST_AGENT],
            ),
            call,
            None,
        )

    def _flush(self) -> None:
        made, record = self.pending, self.record
        if made is None or record is None:
            return
        self.pending = self.record = None
        self.sink(made, self.call, record)
        if record.usage is not None and record.usage.image_tool is not None:
            self.sink(_of_tool(made.event(), record.usage.image_tool), self.call, record)


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


_TIERS = frozenset({"speed", "service_tier", "serviceTier"})
"""Members of a body that may ask for a tier."""


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
