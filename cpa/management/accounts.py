"""All accounts in one list, a trial of one, the name of one, and why a model's requests go where they go."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from aiohttp import web

from cpa.accounts.account import Account
from cpa.accounts.refresh import LoginState
from cpa.accounts.renaming import relabelled, renamed_file
from cpa.errors import ApiError, AuthFileError, AuthFileExists, AuthFileMissing
from cpa.exchange.trial import Trials
from cpa.management.account_list import shown_accounts, shown_asked, shown_explanation
from cpa.management.account_lookup import account_at, index_of
from cpa.management.answers import Refusal, answer, member, ok, read_object
from cpa.management.lists import text
from cpa.management.route import Query, Route
from cpa.management.services import Management

_TAG = "Accounts"


class Accounts:
    """Handlers; every account is named by its index."""

    def __init__(self, management: Management) -> None:
        self._management = management
        self._pool = management.pool

    async def get(self, request: web.Request) -> web.Response:
        """Every account."""
        management = self._management
        roster, catalog = management.roster, management.catalog
        shown = await asyncio.to_thread(shown_accounts, self._pool, roster, catalog, self._login_of)
        return answer({"accounts": shown})

    async def test(self, request: web.Request) -> web.Response:
        """Ask one account a tiny question."""
        body = await read_object(request)
        account = self._named(body)
        management = self._management
        if management.exchange is None or management.renewals is None:
            raise Refusal(503, "not serving")
        trials = Trials(management.exchange, self._pool, management.catalog, management.renewals)
        trial = await trials.run(account, management.config, text(member(body, "model", str)))
        return answer(msgspec.to_builtins(trial))

    async def explain(self, request: web.Request) -> web.Response:
        """Candidates for a model, and who is chosen."""
        model = request.query.get("model", "").strip()
        if not model:
            raise Refusal(400, "model is required")
        if self._management.exchange is None:
            raise Refusal(503, "not serving")
        try:
            explanation = self._management.exchange.explain(model, self._management.config)
        except ApiError as fault:
            raise Refusal(fault.error.status, fault.error.code or "unknown model", fault.error.message) from None
        return answer(shown_explanation(explanation, self._pool, self._login_of))

    async def ask_quota(self, request: web.Request) -> web.Response:
        """Ask vendors about quota, of one account or of all logins; each at most every five minutes."""
        queries = self._management.quota_queries
        if queries is None:
            raise Refusal(503, "not serving")
        body = await read_object(request) if request.can_read_body else {}
        logins = [account for account in self._pool if account.kind == "oauth" and not account.disabled]
        wanted = [self._named(body)] if text(member(body, "auth_index", str)) else logins
        asked = await asyncio.gather(*(queries.ask(account.id) for account in wanted))
        return answer(
            {
                "accounts": [
                    {"auth_index": index_of(account), "id": account.id, **(shown_asked(outcome) if outcome else {})}
                    for account, outcome in zip(wanted, asked, strict=True)
                ]
            }
        )

    async def rename(self, request: web.Request) -> web.Response:
        """Give a login another label, or its file another name; its index stays."""
        body = await read_object(request)
        account = self._named(body)
        files = self._management.auth_files
        name = next((f.name for f in self._management.roster.files.values() if str(f.path) == account.source), None)
        if name is None:
            raise Refusal(400, "no auth file", "a key of the configuration is named where it stands in config.yaml")
        label, file = member(body, "label", str), text(member(body, "file", str))
        if label is None and not file:
            raise Refusal(400, "label or file is required")
        try:
            if label is not None:
                await files.update(name, lambda data: relabelled(data, label))
            if file and file != name:
                await files.rename(name, file, lambda data: renamed_file(data, account.source, file))
        except AuthFileMissing:
            raise Refusal(404, "auth file not found") from None
        except AuthFileExists as fault:
            raise Refusal(409, "conflict", str(fault)) from None
        except AuthFileError as fault:
            raise Refusal(400, "invalid name", str(fault)) from None
        except OSError as fault:
            raise Refusal(500, f"failed to write file: {fault.strerror or fault}") from None
        return ok(name=file or name)

    def _login_of(self, account: Account) -> LoginState | None:
        renewals = self._management.renewals
        return renewals.state(account) if renewals is not None else None

    def _named(self, body: dict[str, Any]) -> Account:
        index = text(member(body, "auth_index", str))
        if not index:
            raise Refusal(400, "auth_index is required")
        account = account_at(self._pool, index)
        if account is None:
            raise Refusal(404, "auth not found")
        return account


def routes(management: Management) -> list[Route]:
    """The five routes."""
    accounts = Accounts(management)
    index = {"auth_index": {"type": "string", "minLength": 1}}
    entries = {"type": "array", "items": {"type": "object"}}
    several = {"type": "object", "properties": {"accounts": entries}, "required": ["accounts"]}
    trial = {
        "type": "object",
        "properties": {
            "account_id": {"type": "string"},
            "ok": {"type": "boolean"},
            "credential": {"enum": ["key", "valid", "renewed", "refused", "unchecked"]},
            "model": {"type": "string"},
            "status": {"type": ["integer", "null"]},
            "message": {"type": "string"},
            "seconds": {"type": "number"},
        },
        "required": ["account_id", "ok", "credential", "model", "status", "message", "seconds"],
    }
    explanation = {
        "type": "object",
        "properties": {
            "requested": {"type": "string"},
            "model": {"type": "string"},
            "strategy": {"type": "string"},
            "candidates": entries,
            "chosen": {"type": ["string", "null"]},
            "retry_after": {"type": ["number", "null"]},
            "route": {"type": "array", "items": {"type": "string"}},
            "left_out": entries,
        },
        "required": ["requested", "model", "strategy", "candidates", "chosen", "left_out"],
    }
    return [
        Route(
            method="GET",
            path="/accounts",
            handler=accounts.get,
            summary="Every account, keys of the configuration included",
            tag=_TAG,
            answer=several,
            refusals=(),
        ),
        Route(
            method="POST",
            path="/accounts/test",
            handler=accounts.test,
            summary="Ask an account a tiny question",
            tag=_TAG,
            body={"type": "object", "properties": {**index, "model": {"type": "string"}}, "required": ["auth_index"]},
            answer=trial,
        ),
        Route(
            method="PATCH",
            path="/accounts/name",
            handler=accounts.rename,
            summary="Give a login another label or file name",
            tag=_TAG,
            body={
                "type": "object",
                "properties": {**index, "label": {"type": "string"}, "file": {"type": "string"}},
                "required": ["auth_index"],
            },
        ),
        Route(
            method="POST",
            path="/quota",
            handler=accounts.ask_quota,
            summary="Ask vendors for the quota windows of logins",
            tag=_TAG,
            body={"type": "object", "properties": index},
            answer=several,
        ),
        Route(
            method="GET",
            path="/route/explain",
            handler=accounts.explain,
            summary="Why a model's requests go where they go",
            tag=_TAG,
            query=(Query("model", "As a client would name it", required=True),),
            answer=explanation,
        ),
    ]
