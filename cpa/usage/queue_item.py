"""An event as collectors take it from the usage queue."""

from __future__ import annotations

import orjson
from msgspec import Struct

from cpa.usage.event import Event, timestamp

UNKNOWN = "unknown"
LONGEST_TEXT = 512
"""Characters of what a client says of itself."""


class RequestDetails(Struct):
    """What collectors are told of a request beyond its usage; texts of the client are cut to ``LONGEST_TEXT``."""

    client_key: str = ""
    """The client's key itself, or the id that stands for it."""
    client_ip: str = ""
    forwarded_for: str = ""
    user_agent: str = ""
    reasoning_effort: str = ""
    """As asked for: a level, or a number of tokens."""
    service_tier: str = ""
    """As asked for."""


class QueueItem(Struct):
    """One attempt, encoded when somebody takes it."""

    event: Event
    details: RequestDetails

    def encode(self) -> bytes:
        """The JSON object that collectors take."""
        return _encode(self.event, self.details)


def _encode(event: Event, details: RequestDetails) -> bytes:
    tokens = event.tokens
    input_total = tokens.uncached + tokens.cache_read + tokens.cache_creation
    output_total = tokens.total - input_total
    return orjson.dumps(
        {
            "timestamp": timestamp(event.at_ms),
            "latency_ms": event.latency_ms,
            "ttft_ms": event.ttft_ms,
            "source": event.source,
            "auth_index": event.auth_index,
            "tokens": {**tokens.shown(), "cache_read_tokens_present": True},
            "accounting_version": 2,
            "token_breakdown": {
                "schema_version": 2,
                "quality": "complete",
                "total_tokens": tokens.total,
                "input": {
                    "total_tokens": input_total,
                    "uncached_tokens": tokens.uncached,
                    "cache_read_tokens": tokens.cache_read,
                    "cache_write_tokens": tokens.cache_creation,
                },
                "output": {
                    "total_tokens": output_total,
                    "non_reasoning_tokens": max(0, output_total - tokens.reasoning),
                    "reasoning_tokens": tokens.reasoning,
                },
                "unclassified_tokens": 0,
            },
            "failed": event.failed,
            "fail": {"status_code": _status(event), "body": event.fail_body if event.failed else ""},
            "provider": event.provider or UNKNOWN,
            "model": event.model or UNKNOWN,
            "alias": event.requested_model or event.model or UNKNOWN,
            "endpoint": event.endpoint,
            "auth_type": event.auth_type or UNKNOWN,
            "api_key": details.client_key,
            "request_id": event.request_id,
            "generate": True,
            "executor_type": event.provider or UNKNOWN,
            "reasoning_effort": details.reasoning_effort,
            "service_tier": details.service_tier,
            "client_ip": details.client_ip,
            "x_forwarded_for": details.forwarded_for,
            "user_agent": details.user_agent,
        }
    )


def _status(event: Event) -> int:
    """A failure always has a status that says so, where nothing was answered too."""
    return (event.status if event.status >= 400 else 500) if event.failed else 200
