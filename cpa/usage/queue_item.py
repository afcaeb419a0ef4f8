"""An event as collectors take it from the usage queue."""

from __future__ import annotations

import orjson

from cpa.usage.event import Event, timestamp

UNKNOWN = "unknown"


def queue_item(event: Event) -> bytes:
    """The JSON object of one attempt."""
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
            "fail": {"status_code": event.status, "body": event.fail_body if event.failed else ""},
            "provider": event.provider or UNKNOWN,
            "model": event.model or UNKNOWN,
            "alias": event.requested_model or event.model or UNKNOWN,
            "endpoint": event.endpoint,
            "auth_type": event.auth_type or UNKNOWN,
            "api_key": event.group,
            "request_id": event.request_id,
            "generate": True,
        }
    )
