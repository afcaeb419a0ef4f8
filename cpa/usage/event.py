"""One attempt as the usage database keeps it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple

from cpa.usage.tables import Origin, Place
from cpa.usage.tokens import Counts, Tokens, shown_tokens

LONGEST_BODY = 2048
DAY_MS = 86_400_000
QUARTER_MS = 900_000
LATEST_MS = 253_370_764_799_999
"""The last moment of the year 9998: a later one has no name once it is rounded up."""

_PLACES = len(Place._fields)

Row = tuple[Any, ...]
"""Values of columns."""


class Kind(Struct, eq=False, frozen=True):
    """What an attempt has in common with many others: its texts.

    :func:`kind_of` gives one object for the same texts, as long as it remembers it: what is found out about it is found
    again without looking at them.
    """

    place: Place
    origin: Origin


@lru_cache(maxsize=2048)
def kind_of(*texts: Any) -> Kind:
    """``texts``: values of :class:`Place`, then of :class:`Origin`. They are remembered, and ought to be short."""
    return Kind(Place(*texts[:_PLACES]), Origin(*texts[_PLACES:]))


Costing = Callable[[Counts], int | None]
"""Gives the nano-dollars of tokens; None when they are not known."""
Priced = Callable[[Kind, bool], Costing | None]
"""Gives what attempts cost, or (True) what a tool of their answers used does; None when there is no price."""


class Event(Struct, kw_only=True, gc=False):
    """One row of ``usage_events``."""

    group: str
    """Who asked: the id of the client's key, else the provider."""
    provider: str = ""
    endpoint: str = ""
    """``POST /v1/messages``"""
    auth_type: str = ""
    """``oauth`` or ``apikey``."""
    request_id: str = ""
    model: str = ""
    """The upstream's name."""
    requested_model: str = ""
    at_ms: int = 0
    """Start of the attempt, Unix milliseconds."""
    source: str = ""
    """The account, for people; never a secret."""
    auth_index: str = ""
    failed: bool = False
    latency_ms: int = 0
    tokens: Tokens
    attempt: int = 1
    """1 for the first; 0 for what is no attempt: no account could be asked at all (``final``), or a tool of the answer
    used tokens of another model (not ``final``)."""
    final: bool = True
    """Whether it is the last attempt of its request: these rows are the requests as clients saw them."""
    status: int = 200
    error: str = ""
    fail_body: str = ""
    ttft_ms: int | None = None
    stream: bool = False
    client_format: str = ""
    upstream_format: str = ""
    estimated: bool = False
    """Whether the token counts are estimates."""
    reasoning_effort: str = ""
    """As the client asked; empty when it did not."""
    service_tier: str = ""
    """As the client asked; empty when it did not."""
    response_service_tier: str = ""
    """The tier that served it, as the upstream told; empty when it did not."""
    user_agent: str = ""
    client_ip: str = ""
    """Where the client's connection came from."""
    cost_nanos: int | None = None
    """Nano-dollars at the prices of the moment; None when the model has no price or tokens are not known."""
    key: str = ""
    """What an event that comes from elsewhere is known by; one that is recorded for the first time has none."""

    @property
    def kind(self) -> Kind:
        """Its texts."""
        return kind_of(
            self.group, self.provider, self.endpoint, self.auth_type, self.model, self.requested_model, self.source,
            self.auth_index, self.client_format, self.upstream_format, self.reasoning_effort, self.service_tier,
            self.response_service_tier, 1 if self.stream else 0, self.user_agent, self.client_ip,
        )  # fmt: skip

    def price(self, priced: Priced) -> None:
        """Find its cost, unless it has one."""
        if self.cost_nanos is None and (costing := priced(self.kind, not self.attempt)) is not None:
            self.cost_nanos = costing(astuple(self.tokens))

    def row(self, place: int, origin: int, costing: Costing | None = None) -> Row:
        """Values of :data:`cpa.usage.tables.RECORDED`. ``costing`` is not asked: :meth:`price` finds its cost."""
        tokens = self.tokens
        return (
            self.at_ms, self.request_id, place, origin, self.latency_ms, self.ttft_ms, tokens.input, tokens.output,
            tokens.total, tokens.uncached, self.cost_nanos, tokens.reasoning, tokens.cached, tokens.cache_read,
            tokens.cache_creation, tokens.cache_creation_1h, 1 if self.failed else 0, 1 if self.final else 0,
            self.attempt, self.status, 1 if self.estimated else 0, self.error, self.fail_body[:LONGEST_BODY],
        )  # fmt: skip

    def event_key(self) -> str:
        """What an event from elsewhere is known by: what it says, where it brings no key."""
        if self.key:
            return self.key
        tokens = self.tokens
        text = (
            f"{self.group}|{self.provider}|{self.endpoint}|{self.auth_type}|{self.request_id}|{self.model}|"
            f"{self.requested_model}|{self.source}|{self.auth_index}|{self.failed}|{self.attempt}|{tokens.input}|"
            f"{tokens.output}|{tokens.reasoning}|{tokens.cached}|{tokens.cache_read}|{tokens.cache_creation}|"
            f"{tokens.total}"
        )
        return f"{self.at_ms:012x}{blake2b(text.encode(), digest_size=16).hexdigest()}"


_EXECUTORS = {
    "claude": "ClaudeExecutor",
    "codex": "CodexExecutor",
    "gemini": "GeminiExecutor",
    "gemini-cli": "GeminiCLIExecutor",
    "kimi": "KimiExecutor",
    "vertex": "GeminiVertexExecutor",
}


def executor_of(provider: str, upstream_format: str) -> str:
    """What CLIProxyAPI calls the part of it that asks a provider: collectors tell vendors apart by it."""
    known = _EXECUTORS.get(provider)
    if known is None and provider and upstream_format in ("openai", "openai-response"):
        return "OpenAICompatExecutor"
    return known or provider


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def timestamp(ms: int) -> str:
    """RFC 3339 in UTC, fractions without trailing zeros: ``2026-01-31T12:00:00.5Z``."""
    seconds, rest = divmod(ms, 1000)
    return f"{_second(seconds)}.{rest:03}".rstrip("0") + "Z" if rest else f"{_second(seconds)}Z"


def parse_timestamp(text: str) -> int:
    """Unix milliseconds of an RFC 3339 time, with up to nine digits of fraction. Raises ValueError."""
    head, dot, tail = text.strip().partition(".")
    digits = len(tail) - len(tail.lstrip("0123456789")) if dot else 0
    zone = tail[digits:] if dot else ""
    moment = datetime.fromisoformat(head + zone)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1000 + int((tail[:digits] + "000")[:3] if digits else 0)


def bucket(at_ms: int) -> str:
    """The quarter of an hour an event belongs to: ``2026-01-31T12:15:00Z``."""
    return timestamp(at_ms // QUARTER_MS * QUARTER_MS)


def shown_event(row: Any) -> dict[str, Any]:
    """A row of ``usage_events`` as answers show it."""
    shown = {
        "id": row["id"],
        "timestamp": row["timestamp"],
        "api_group_key": row["api_group_key"],
        "provider": row["provider"],
        "endpoint": row["endpoint"],
        "auth_type": row["auth_type"],
        "request_id": row["request_id"],
        "model": row["model"],
        "requested_model": row["requested_model"],
        "source": row["source"],
        "auth_index": row["auth_index"],
        "failed": bool(row["failed"]),
        "latency_ms": row["latency_ms"],
        "tokens": shown_tokens(row),
        "attempt": row["attempt"],
        "final": bool(row["final"]),
        "status_code": row["status_code"],
        "error": row["error_code"],
        "ttft_ms": row["ttft_ms"],
        "stream": bool(row["stream"]),
        "client_format": row["client_format"],
        "upstream_format": row["upstream_format"],
        "executor_type": executor_of(row["provider"], row["upstream_format"]),
        "reasoning_effort": row["reasoning_effort"],
        "service_tier": row["service_tier"],
        "response_service_tier": row["response_service_tier"],
        "user_agent": row["user_agent"],
        "client_ip": row["client_ip"],
        "estimated": bool(row["estimated"]),
        "cost_available": row["cost_nanos"] is not None,
        "cost_nanos": row["cost_nanos"],
        "cost_usd": None if row["cost_nanos"] is None else row["cost_nanos"] / 1e9,
    }
    if row["fail_body"]:
        shown["fail"] = {"status_code": row["status_code"], "body": row["fail_body"]}
    return shown
