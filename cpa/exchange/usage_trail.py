"""The durable record of exchanges: an event per attempt, the last of them marked as what the client saw."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from cpa.accounts.account import Account, account_index
from cpa.conversation.usage import ToolUsage, tier
from cpa.errors import ApiError, ErrorInfo
from cpa.exchange.call import Call
from cpa.formats.registry import FormatRegistry
from cpa.usage.attempted import Attempted, Ending
from cpa.usage.event import LONGEST_BODY, Event, Kind, kind_of
from cpa.usage.insert import Made
from cpa.usage.queue_item import LONGEST_TEXT
from cpa.usage.tokens import Tokens, reported, tokens_of

if TYPE_CHECKING:
    from cpa.exchange.record import AttemptRecord

Collect = Callable[[Event, Call, "AttemptRecord | None"], None]
"""Is told of an event, the request it belongs to, and the attempt if an account could be asked."""
NOBODY = "unknown"
_GEMINI = ("/v1beta/models/", "/v1/models/")
CLIENT_GONE = 499
TOOL_FORMAT = "openai-response"
LONGEST_AGENT = 200
LONGEST_NAME = 256
"""Characters of a model's name, as a client wrote it."""
LONGEST_PATH = 512
MOST_REMEMBERED = 1000
_Texts = tuple[Any, ...]


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


class UsageTrail:
    """Records the attempts of every exchange, each once it is known whether another one follows."""

    def __init__(self, formats: FormatRegistry, record: Callable[[Made], None], mask: Callable[[str], str]) -> None:
        """``record`` takes what was made; ``mask`` takes the secrets out of a text."""
        self._formats = formats
        self._record = record
        self._mask = mask
        self._kinds: dict[_Texts, tuple[Account, Kind]] = {}
        """What was found for an account and texts before: it is much the same for every request."""
        self.collect: Collect | None = None
        """Is told of them too."""

    def followed(self, call: Call, record: AttemptRecord) -> None:
        """An attempt is over, and another one follows."""
        self._note(call, record, self._ending(record, final=False))

    def close(
        self, call: Call, record: AttemptRecord | None, status: int, error: ErrorInfo | None, duration: float
    ) -> None:
        """The exchange is over, after ``duration`` seconds; ``record`` is its latest attempt."""
        if record is None or record.duration is None:
            self._take(self._unattempted(call, status, error, duration), call, None)
        elif record.number == 1 and record.status == 200 and record.failure is None and status < 400:
            self._note(call, record, None)
        else:
            ending = self._ending(record, final=True)
            if status >= 400 and not ending.failed:
                ending.failed, ending.status = True, status
            self._note(call, record, ending)

    def _note(self, call: Call, record: AttemptRecord, ended: Ending | None) -> None:
        account, usage, client, asked = record.account, record.usage, call.client, call.reasoning
        # the usual answers are given here: between other things a call costs a third of a microsecond
        nothing_served = usage is not None and usage.service_tier is None and record.upstream_format != "gemini"
        texts = (
            account.id,
            record.model,
            record.upstream_format,
            call.model,
            call.path,
            call.format,
            call.address,
            call.headers.get("User-Agent", ""),
            call.stream,
            None if client is None else client.id,
            "" if asked is not None and asked.mode == "unset" else effort_of(call, self._formats),
            "" if _TIERS.isdisjoint(call.body) else asked_tier(call),
            "" if nothing_served else served_tier(record),
        )
        known = self._kinds.get(texts)
        kind = known[1] if known is not None and known[0] is account else self._kind(account, texts)
        made = Attempted(
            kind,
            call.request_id,
            record.started_at,
            record.duration or 0.0,
            record.time_to_first_token,
            None if usage is None else reported(usage),
            ended,
        )
        self._record(made)
        if self.collect is not None:
            self.collect(made.event(), call, record)
        if usage is not None and usage.image_tool is not None:
            self._take(_of_tool(made.event(), usage.image_tool), call, record)

    def _kind(self, account: Account, texts: _Texts) -> Kind:
        _, served_model, upstream, model, path, client_format, address, agent, stream, client, *asked_and_served = texts
        kind = kind_of(
            client if client is not None else account.provider or NOBODY,
            account.provider,
            endpoint_of(path),
            account.kind,
            served_model,
            model[:LONGEST_NAME],
            account.label or account.id,
            account.index or account_index(f"id:{account.id}"),
            client_format,
            upstream,
            *asked_and_served,
            1 if stream else 0,
            agent[:LONGEST_AGENT],
            address,
        )
        if len(self._kinds) >= MOST_REMEMBERED:
            self._kinds.clear()
        if len(model) <= LONGEST_NAME and len(agent) <= LONGEST_AGENT and len(path) <= LONGEST_PATH:
            self._kinds[texts] = (account, kind)
        return kind

    def _take(self, event: Event, call: Call, record: AttemptRecord | None) -> None:
        self._record(event)
        if self.collect is not None:
            self.collect(event, call, record)

    def _ending(self, record: AttemptRecord, *, final: bool) -> Ending:
        status, error = record.status, record.failure
        return Ending(
            record.number,
            status,
            record.error or ("client_gone" if status == CLIENT_GONE else ""),
            self._body(status, error),
            status >= 400 or status == 0 or error is not None,
            final,
        )

    def _unattempted(self, call: Call, status: int, error: ErrorInfo | None, duration: float) -> Event:
        """A request for which no account could be asked; what was taken for a model may be a key."""
        model = self._mask(call.model[: 2 * LONGEST_NAME])[:LONGEST_NAME]
        return Event(
            group=call.client.id if call.client is not None else NOBODY,
            endpoint=endpoint_of(call.path),
            request_id=call.request_id,
            model=model,
            requested_model=model,
            at_ms=int((time.time() - duration) * 1000),
            failed=status >= 400,
            latency_ms=int(duration * 1000),
            tokens=Tokens(),
            attempt=0,
            status=status,
            error=(error.code or error.type or "error") if error is not None else "",
            fail_body=self._body(status, error),
            stream=call.stream,
            client_format=call.format,
            reasoning_effort=effort_of(call, self._formats),
            client_ip=call.address,
            user_agent=call.headers.get("User-Agent", "")[:LONGEST_AGENT],
        )

    def _body(self, status: int, error: ErrorInfo | None) -> str:
        if error is not None:
            return self._mask(error.message[: 2 * LONGEST_BODY])[:LONGEST_BODY]
        return "client disconnected" if status == CLIENT_GONE else ""


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
