"""``/api-key-limits``: what each client key may use, and what it has used."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web

from cpa.accounts.account import mask
from cpa.config.client_keys import expired, key_id, limited
from cpa.config.sections import ClientKey
from cpa.management.answers import Refusal, answer, ok, read_object
from cpa.management.lists import text
from cpa.management.route import Route
from cpa.management.services import Management
from cpa.usage.price import NANO

_TAG = "Usage"


class ApiKeyLimits:
    """The keys of the configuration that are objects; they are named by an id that does not tell the key."""

    def __init__(self, management: Management) -> None:
        self._management = management

    def _entries(self) -> list[ClientKey]:
        return [key for key in self._management.config.api_keys if isinstance(key, ClientKey)]

    async def show(self, request: web.Request) -> web.Response:
        """Limits and what is used of them."""
        return answer({"keys": [self._shown(entry) for entry in self._entries()]})

    async def reset(self, request: web.Request) -> web.Response:
        """Forget what one key has used."""
        wanted = text((await read_object(request)).get("id"))
        if not wanted:
            raise Refusal(400, "id is required")
        if wanted not in {key_id(entry.key) for entry in self._entries()}:
            raise Refusal(404, "key not found")
        self._management.limits.forgive(wanted)
        return ok(id=wanted)

    def _shown(self, entry: ClientKey) -> dict[str, Any]:
        identity = key_id(entry.key)
        used, counted = self._management.limits.used(identity), limited(entry)
        today = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        return {
            "id": identity,
            "name": entry.name,
            "key": mask(entry.key),
            "limited": counted,
            "expired": expired(entry, time.time()),
            "limits": {
                "models": list(entry.models),
                "requests-per-minute": entry.requests_per_minute,
                "tokens-per-minute": entry.tokens_per_minute,
                "budget-per-day": entry.budget_per_day,
                "budget-per-month": entry.budget_per_month,
                "concurrency": entry.concurrency,
                "expires": entry.expires,
            },
            "used": {
                "requests_last_minute": len(used.requests) if entry.requests_per_minute else None,
                "tokens_last_minute": used.token_sum if counted else None,
                "cost_today_usd": used.day_nanos / NANO if counted else None,
                "cost_this_month_usd": used.month_nanos / NANO if counted else None,
                "running": used.running if counted else None,
            },
            "day_ends_at": (today + timedelta(days=1)).timestamp(),
            "month_ends_at": (today.replace(day=1) + timedelta(days=32)).replace(day=1).timestamp(),
        }


def routes(management: Management) -> list[Route]:
    """The two routes."""
    limits = ApiKeyLimits(management)
    number = {"type": "number", "minimum": 0}
    count = {"type": "integer", "minimum": 0}
    allowed = {
        "models": {"type": "array", "items": {"type": "string"}},
        "requests-per-minute": count,
        "tokens-per-minute": count,
        "budget-per-day": number,
        "budget-per-month": number,
        "concurrency": count,
        "expires": {"type": "string"},
    }
    counted, spent = {**count, "type": ["integer", "null"]}, {**number, "type": ["number", "null"]}
    used = {
        "requests_last_minute": counted,
        "tokens_last_minute": counted,
        "cost_today_usd": spent,
        "cost_this_month_usd": spent,
        "running": counted,
    }
    shown = {
        "id": {"type": "string"},
        "name": {"type": "string"},
        "key": {"type": "string"},
        "limited": {"type": "boolean"},
        "expired": {"type": "boolean"},
        "limits": _object(allowed),
        "used": _object(used),
        "day_ends_at": number,
        "month_ends_at": number,
    }
    identity = {"id": {"type": "string", "minLength": 1}}
    return [
        Route(
            method="GET",
            path="/api-key-limits",
            handler=limits.show,
            summary="Limits of client keys and what is used of them",
            tag=_TAG,
            answer=_object({"keys": {"type": "array", "items": _object(shown)}}),
            refusals=(),
        ),
        Route(
            method="POST",
            path="/api-key-limits/reset",
            handler=limits.reset,
            summary="Forget what a client key has used",
            tag=_TAG,
            body=_object(identity),
            answer=_object({"status": {"const": "ok"}, **identity}),
        ),
    ]


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}
