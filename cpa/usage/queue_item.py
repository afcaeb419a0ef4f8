"""An event as collectors take it from the usage queue."""

from __future__ import annotations

from typing import Any

import orjson
from msgspec import Struct, field

from cpa.usage.event import Event, executor_of, timestamp
from cpa.usage.tokens import Tokens

UNKNOWN = "unknown"
LONGEST_TEXT = 512
"""Characters of what a client says of itself."""
_USUAL_TIER = {"openai": "auto", "openai-response": "auto"}
"""What a client gets that asks for no tier, by its format; ``default`` in the others."""


class RequestDetails(Struct):
    """What collectors are told of a request beyond its usage; texts of the client are cut to ``LONGEST_TEXT``."""

    client_key: str = ""
    """The client's key itself, or the id that stands for it."""
    forwarded_for: str = ""
    user_agent: str = ""
    generate: bool = True
    """False for a request that only prepares the next one."""
    token_digest: str = ""
    """SHA-256 of the access token that was used, for logins only."""
    response_headers: dict[str, list[str]] = field(default_factory=dict)
    """Of rate limits and ids only."""


class QueueItem(Struct):
    """One attempt, encoded when somebody takes it."""

    event: Event
    details: RequestDetails

    def encode(self) -> bytes:
        """The JSON object that collectors take."""
        return orjson.dumps(_shown(self.event, self.details))


def _shown(event: Event, details: RequestDetails) -> dict[str, Any]:
    shown = {
        "timestamp": timestamp(event.at_ms),
        "latency_ms": event.latency_ms,
        "ttft_ms": event.ttft_ms,
        "source": event.source,
        "auth_index": event.auth_index,
        "tokens": {**event.tokens.shown(), "cache_read_tokens_present": True},
        "accounting_version": 2,
        "token_breakdown": breakdown(event.tokens),
        "failed": event.failed,
        "fail": {"status_code": _status(event), "body": event.fail_body if event.failed else ""},
        "provider": event.provider or UNKNOWN,
        "model": event.model or UNKNOWN,
        "alias": event.requested_model or event.model or UNKNOWN,
        "endpoint": event.endpoint,
        "auth_type": event.auth_type or UNKNOWN,
        "api_key": details.client_key,
        "request_id": event.request_id,
        "stream": event.stream,
        "generate": details.generate,
        "executor_type": executor_of(event.provider, event.upstream_format) or UNKNOWN,
        "reasoning_effort": event.reasoning_effort,
        "service_tier": event.service_tier or _USUAL_TIER.get(event.client_format, "default"),
        "response_service_tier": event.response_service_tier,
        "response_headers": details.response_headers,
        "client_ip": event.client_ip,
        "x_forwarded_for": details.forwarded_for,
        "user_agent": details.user_agent,
    }
    if details.token_digest:
        shown["access_token_sha256"] = details.token_digest
    return shown


def breakdown(tokens: Tokens) -> dict[str, Any]:
    """Every token in exactly one place; in none but the last one when the parts cannot all be right."""
    total = tokens.total
    if not tokens.consistent:
        return _parts("inconsistent", total, (0, 0, 0), (0, 0), total)
    output = total - tokens.unclassified - tokens.uncached - tokens.cache_read - tokens.cache_creation
    return _parts(
        "unclassified" if tokens.unclassified else "complete",
        total,
        (tokens.uncached, tokens.cache_read, tokens.cache_creation),
        (output - tokens.reasoning, tokens.reasoning),
        tokens.unclassified,
    )


def _parts(
    quality: str, total: int, read: tuple[int, int, int], written: tuple[int, int], unclassified: int
) -> dict[str, Any]:
    return {
        "schema_version": 2,
        "quality": quality,
        "total_tokens": total,
        "input": {
            "total_tokens": sum(read),
            "uncached_tokens": read[0],
            "cache_read_tokens": read[1],
            "cache_write_tokens": read[2],
        },
        "output": {
            "total_tokens": sum(written),
            "non_reasoning_tokens": written[0],
            "reasoning_tokens": written[1],
        },
        "unclassified_tokens": unclassified,
    }


def _status(event: Event) -> int:
    """A failure always has a status that says so, where nothing was answered too."""
    return (event.status if event.status >= 400 else 500) if event.failed else 200
