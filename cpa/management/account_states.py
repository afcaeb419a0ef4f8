"""How accounts fare: counters of configured keys, quota windows, and an end to cooldowns."""

from __future__ import annotations

import time
from typing import Any

from aiohttp import web

from cpa.accounts.account import Account
from cpa.management.account_list import shown_quota
from cpa.management.account_lookup import account_at, place_in_config
from cpa.management.answers import Refusal, answer, ok, read_object
from cpa.management.lists import text
from cpa.management.route import Query, Route
from cpa.management.services import Management

_TAG = "Accounts"


class AccountStates:
    """The accounts in the pool."""

    def __init__(self, management: Management) -> None:
        self._management = management
        self._pool = management.pool

    async def key_usage(self, request: web.Request) -> web.Response:
        """Counters by provider and ``<base URL>|<key>``; keys that share both are summed.

        They begin with the 200 minutes before the start, as far as usage was recorded then.
        """
        wall = time.time()
        shown: dict[str, dict[str, dict[str, Any]]] = {}
        for account in self._pool:
            place = place_in_config(account)
            if account.kind != "apikey" or place is None:
                continue
            health = self._pool.health(account.id)
            counted = {
                "success": health.succeeded,
                "failed": health.failed,
                "recent_requests": health.recent.shown(wall),
            }
            keys = shown.setdefault(account.provider.lower() or "unknown", {})
            name = f"{self._base_url(*place)}|{account.secret}"
            keys[name] = _sum(keys[name], counted) if name in keys else counted
        return answer(shown)

    def _base_url(self, section: str, position: int) -> str:
        """As configured: empty where the provider's own is used."""
        entries = getattr(self._management.config, section.replace("-", "_"))
        return str(entries[position].base_url)

    async def reset(self, request: web.Request) -> web.Response:
        """Forget the cooldowns of one account, named by its index."""
        index = text((await read_object(request)).get("auth_index"))
        if not index:
            raise Refusal(400, "auth_index is required")
        account = account_at(self._pool, index)
        if account is None:
            raise Refusal(404, "auth not found")
        health = self._pool.health(account.id)
        models = sorted({*health.models, *health.backoff})
        self._pool.reset(account.id)
        return ok(auth_index=index, models=models)

    async def quota(self, request: web.Request) -> web.Response:
        """The quota windows of every account that has told any or was asked, or of the one named by its index."""
        index = request.query.get("auth_index", "").strip()
        if index:
            account = account_at(self._pool, index)
            if account is None:
                raise Refusal(404, "auth not found")
            return answer({"accounts": [self._quota_of(account)]})
        shown = [self._quota_of(account) for account in self._pool]
        return answer({"accounts": [entry for entry in shown if entry["windows"] or "asked_at" in entry]})

    def _quota_of(self, account: Account) -> dict[str, Any]:
        return shown_quota(account, self._pool, self._management.quota_queries)


def _sum(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {
        "success": one["success"] + other["success"],
        "failed": one["failed"] + other["failed"],
        "recent_requests": [
            {
                "time": first["time"],
                "success": first["success"] + second["success"],
                "failed": first["failed"] + second["failed"],
            }
            for first, second in zip(one["recent_requests"], other["recent_requests"], strict=True)
        ],
    }


def routes(management: Management) -> list[Route]:
    """The three routes."""
    states = AccountStates(management)
    count = {"type": "integer", "minimum": 0}
    bucket = {
        "type": "object",
        "properties": {"time": {"type": "string"}, "success": count, "failed": count},
        "required": ["time", "success", "failed"],
    }
    counted = {
        "type": "object",
        "properties": {"success": count, "failed": count, "recent_requests": {"type": "array", "items": bucket}},
        "required": ["success", "failed", "recent_requests"],
    }
    number = {"type": ["number", "null"]}
    window = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "used_ratio": number,
            "resets_at": number,
            "limit_seconds": number,
            "source": {"enum": ["headers", "query", "event"]},
            "seen_at": {"type": "number"},
            "amount": {"type": "string"},
            "plan": {"type": "string"},
        },
        "required": ["name", "used_ratio", "resets_at", "source", "seen_at"],
    }
    quota = {
        "type": "object",
        "properties": {
            "auth_index": {"type": "string"},
            "id": {"type": "string"},
            "provider": {"type": "string"},
            "label": {"type": "string"},
            "plan_type": {"type": "string"},
            "windows": {"type": "array", "items": window},
        },
        "required": ["auth_index", "id", "provider", "label", "windows"],
    }
    index = {"auth_index": {"type": "string", "minLength": 1}}
    reset = {
        "type": "object",
        "properties": {"status": {"const": "ok"}, **index, "models": {"type": "array", "items": {"type": "string"}}},
        "required": ["status", "auth_index", "models"],
    }
    return [
        Route(
            method="GET",
            path="/api-key-usage",
            handler=states.key_usage,
            summary="Counters of configured keys",
            tag="Usage",
            answer={
                "type": "object",
                "additionalProperties": {"type": "object", "additionalProperties": counted},
            },
        ),
        Route(
            method="GET",
            path="/quota",
            handler=states.quota,
            summary="Quota windows of accounts",
            tag=_TAG,
            query=(Query("auth_index", "Only this account"),),
            answer={
                "type": "object",
                "properties": {"accounts": {"type": "array", "items": quota}},
                "required": ["accounts"],
            },
            refusals=(),
        ),
        Route(
            method="POST",
            path="/reset-quota",
            handler=states.reset,
            summary="Forget the cooldowns of an account",
            tag=_TAG,
            body={"type": "object", "properties": index, "required": ["auth_index"]},
            answer=reset,
        ),
    ]
