"""Try one account: is its credential good, and does it answer?"""

from __future__ import annotations

import asyncio
import time
from typing import Literal

import orjson
from msgspec import Struct
from multidict import CIMultiDict

from cpa.accounts.account import Account
from cpa.accounts.pool import AccountPool
from cpa.accounts.refresh import refresh_token_of
from cpa.catalog.catalog import Catalog
from cpa.config import Config
from cpa.errors import ApiError, UpstreamError
from cpa.exchange.call import Call
from cpa.exchange.exchange import Exchange
from cpa.exchange.renewal import Renewals
from cpa.exchange.request_ids import new_request_id
from cpa.plugins.values import ClientIdentity

LONGEST = 90.0
"""Seconds the whole trial may take."""
SMALL = ("flash-lite", "nano", "haiku", "mini", "flash", "small", "lite", "spark")
"""Parts of the names of cheap models, the cheapest first."""
PROMPT = "Reply with the single word: ok"
OWNER = ClientIdentity("account-test", "control")


class Trial(Struct, kw_only=True):
    """What happened."""

    account_id: str
    ok: bool
    credential: Literal["key", "valid", "renewed", "refused", "unchecked"] = "unchecked"
    """``valid``: not expired by our clock, or taken by the upstream."""
    model: str = ""
    """The model that was asked; empty when only the token was looked at."""
    status: int | None = None
    """The upstream's HTTP status."""
    message: str = ""
    """What went wrong, or what the model said."""
    seconds: float = 0.0


class Trials:
    """Asks accounts a tiny question. The answer counts like any other: it ends a cooldown, a failure begins one."""

    def __init__(self, exchange: Exchange, pool: AccountPool, catalog: Catalog, renewals: Renewals) -> None:
        self._exchange = exchange
        self._pool = pool
        self._catalog = catalog
        self._renewals = renewals

    async def run(self, account: Account, config: Config, model: str = "") -> Trial:
        """Try an account, even one that rests; a disabled one is not asked. Never raises for what happens upstream."""
        trial = Trial(account_id=account.id, ok=False)
        began = time.monotonic()
        try:
            async with asyncio.timeout(LONGEST):
                await self._run(trial, account, config, model)
        except TimeoutError:
            trial.ok, trial.message = False, f"no answer within {LONGEST:.0f} s"
        except ApiError as fault:
            trial.ok, trial.message = False, fault.error.message
            trial.status = fault.error.status if isinstance(fault, UpstreamError) else None
        trial.seconds = round(time.monotonic() - began, 3)
        return trial

    async def _run(self, trial: Trial, account: Account, config: Config, model: str) -> None:
        if account.disabled:
            trial.message = "disabled: nothing was sent"
            return
        if unserved := account.settings.get("unserved"):
            trial.message = str(unserved)
            return
        ready = await self._checked(trial, account)
        chosen = model or self._cheapest(account.id)
        if not chosen:
            trial.ok = trial.credential in ("valid", "renewed")
            trial.message = "offers no model that could be asked"
            return
        trial.model = chosen
        answer = await self._exchange.ask_account(_call(ready.id, chosen), config)
        trial.ok, trial.status, trial.message = True, answer.status, _said(answer.body or b"")
        if trial.credential == "unchecked":
            trial.credential = "valid"

    async def _checked(self, trial: Trial, account: Account) -> Account:
        """The account with a token that has not expired. Raises UpstreamError when only another login helps."""
        if account.kind != "oauth":
            trial.credential = "key"
            return account
        try:
            ready = await self._renewals.ready(account)
        except UpstreamError:
            trial.credential = "refused"
            raise
        if ready.secret != account.secret:
            trial.credential = "renewed"
        elif refresh_token_of(account.metadata):
            trial.credential = "valid"
        return ready

    def _cheapest(self, account_id: str) -> str:
        """A small model the account offers; empty when it offers none that chats."""
        names = [model.id for model in self._catalog.models_of(account_id) if not model.image_only]
        for part in SMALL:
            for name in names:
                if part in name and "image" not in name and "embed" not in name:
                    return name
        return names[0] if names else ""


def _call(account_id: str, model: str) -> Call:
    body = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 64}
    return Call(
        format="openai",
        model=model,
        body=body,
        path="/v1/chat/completions",
        headers=CIMultiDict(),
        client=OWNER,
        request_id=new_request_id(),
        account_id=account_id,
    )


def _said(body: bytes) -> str:
    """The text of a chat completion, shortened; empty when it has none."""
    try:
        text = orjson.loads(body)["choices"][0]["message"]["content"]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return ""
    return " ".join(text.split())[:80] if isinstance(text, str) else ""
