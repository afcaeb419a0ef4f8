"""What a client's key may use: models, requests and tokens per minute, requests at once, money per day and month."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from cpa.config import Config
from cpa.config.client_keys import ClientKeys, expired, may_ask
from cpa.config.sections import ClientKey
from cpa.conversation.usage import Usage
from cpa.errors import ApiError, ErrorInfo
from cpa.exchange.call import Call
from cpa.usage.price import NANO
from cpa.usage.prices import PriceTable

MINUTE = 60.0
MOST_UNPRICED = 200
_MILLION = Usage(input_total=10**6, output_total=10**6)


class Spending(Struct):
    """What one key has used. Times are Unix seconds, money is nano-dollars."""

    requests: deque[float] = field(default_factory=deque)
    tokens: deque[tuple[float, int]] = field(default_factory=deque)
    token_sum: int = 0
    day: str = ""
    day_nanos: int = 0
    month: str = ""
    month_nanos: int = 0
    running: int = 0

    def move_to(self, now: float) -> None:
        """Forget what is older than a minute, and the money of days and months that are over.

        A clock that was put back undoes nothing: what it counted ahead of now is as if counted now, and no money is
        forgotten.
        """
        if self.requests and self.requests[-1] > now:
            self.requests = deque(min(moment, now) for moment in self.requests)
        if self.tokens and self.tokens[-1][0] > now:
            self.tokens = deque((min(moment, now), tokens) for moment, tokens in self.tokens)
        oldest = now - MINUTE
        while self.requests and self.requests[0] <= oldest:
            self.requests.popleft()
        while self.tokens and self.tokens[0][0] <= oldest:
            self.token_sum -= self.tokens.popleft()[1]
        today = datetime.fromtimestamp(now)
        day, month = f"{today:%Y-%m-%d}", f"{today:%Y-%m}"
        if day > self.day:
            self.day_nanos = 0
        if month > self.month:
            self.month_nanos = 0
        self.day, self.month = day, month

    def spend(self, now: float, tokens: int, nanos: int) -> None:
        """Count what an attempt used; the tokens of one second are kept as one number."""
        self.move_to(now)
        if tokens:
            if self.tokens and 0 <= now - self.tokens[-1][0] < 1:
                last, counted = self.tokens.pop()
                self.tokens.append((last, counted + tokens))
            else:
                self.tokens.append((now, tokens))
            self.token_sum += tokens
        self.day_nanos += nanos
        self.month_nanos += nanos


class Ticket:
    """One exchange of a limited key: ``spend`` for each attempt, ``leave`` once at its end."""

    def __init__(self, limits: ClientLimits, spending: Spending) -> None:
        self._limits = limits
        self._spending: Spending | None = spending

    def spend(self, usage: Usage, *, model: str, **place: str) -> None:
        """Count tokens of an attempt and their price; ``place`` is what :meth:`PriceTable.cost` takes."""
        if self._spending is not None:
            self._limits.spend(self._spending, usage, model, **place)

    def leave(self) -> None:
        """The exchange is over; later calls change nothing."""
        if self._spending is not None:
            self._spending.running -= 1
            self._spending = None


class ClientLimits:
    """Counts per key. ``prices`` gives the prices in force, ``now`` Unix seconds."""

    def __init__(
        self,
        prices: Callable[[], PriceTable],
        now: Callable[[], float] = time.time,
        unpriced: Callable[[str], None] = lambda model: None,
    ) -> None:
        """``unpriced`` is told once of each model that a key with limits used and that has no price."""
        self._prices = prices
        self._now = now
        self._tell_unpriced = unpriced
        self._unpriced: set[str] = set()
        self._keys = ClientKeys()
        self._spendings: dict[str, Spending] = {}
        self.changed = False
        """Whether anything was counted since somebody last set this to False."""

    def enter(self, call: Call, config: Config, offered: Callable[[], Iterable[tuple[str, str]]]) -> Ticket | None:
        """Let an exchange begin; None when its client has no limits, or when it only counts tokens.

        ``offered`` gives (provider, upstream model) of what may serve it. Raises ApiError 403 or 429 in the words of
        the limit that is reached, with the time to wait.
        """
        if call.client is None:
            return None
        entry = self._keys.find(config, call.client.id)
        if entry is None:
            return None
        now = self._now()
        self._refuse_forbidden(entry, call.model, now)
        if call.operation == "count":
            return None
        spending = self._spendings.setdefault(call.client.id, Spending())
        spending.move_to(now)
        self._refuse_fast(entry, spending, now)
        self._refuse_poor(entry, spending, now, call.model, offered)
        if entry.requests_per_minute:
            spending.requests.append(now)
        spending.running += 1
        self.changed = True
        return Ticket(self, spending)

    def spend(self, spending: Spending, usage: Usage, model: str, **place: str) -> None:
        """Count an attempt, see :meth:`Ticket.spend`."""
        nanos = self._prices().cost(usage, model=model, **place)
        if nanos is None and usage.sum() and model not in self._unpriced and len(self._unpriced) < MOST_UNPRICED:
            self._unpriced.add(model)
            self._tell_unpriced(model)
        spending.spend(self._now(), usage.sum(), nanos or 0)
        self.changed = True

    @staticmethod
    def _refuse_forbidden(entry: ClientKey, model: str, now: float) -> None:
        if expired(entry, now):
            raise _refusal(403, f"this key expired on {entry.expires}", "key_expired")
        if not may_ask(entry)(model):
            raise _refusal(403, f"this key may not ask for model {model}", "model_not_allowed")

    @staticmethod
    def _refuse_fast(entry: ClientKey, spending: Spending, now: float) -> None:
        if entry.concurrency and spending.running >= entry.concurrency:
            message = f"this key may have {_times(entry.concurrency, 'request')} running at the same time"
            raise _refusal(429, message, "concurrency_exceeded", 1.0)
        if entry.requests_per_minute and len(spending.requests) >= entry.requests_per_minute:
            freed = spending.requests[len(spending.requests) - entry.requests_per_minute]
            message = f"this key may ask {_times(entry.requests_per_minute, 'time')} per minute"
            raise _refusal(429, message, "rate_limit_exceeded", freed + MINUTE - now)
        if entry.tokens_per_minute and spending.token_sum >= entry.tokens_per_minute:
            message = f"this key may use {_times(entry.tokens_per_minute, 'token')} per minute"
            raise _refusal(429, message, "rate_limit_exceeded", _tokens_free(entry, spending, now))

    def _refuse_poor(
        self,
        entry: ClientKey,
        spending: Spending,
        now: float,
        model: str,
        offered: Callable[[], Iterable[tuple[str, str]]],
    ) -> None:
        today = datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0, microsecond=0)
        if entry.budget_per_month and spending.month_nanos >= entry.budget_per_month * NANO:
            until, name, budget = (
                (today.replace(day=1) + timedelta(days=32)).replace(day=1),
                "month",
                "budget_per_month",
            )
        elif entry.budget_per_day and spending.day_nanos >= entry.budget_per_day * NANO:
            until, name, budget = today + timedelta(days=1), "day", "budget_per_day"
        else:
            return
        if self._costs_nothing(model, offered()):
            return
        message = f"this key has used its budget of {getattr(entry, budget):g} USD per {name}"
        raise _refusal(429, message, "budget_exceeded", until.timestamp() - now)

    def _costs_nothing(self, requested: str, offered: Iterable[tuple[str, str]]) -> bool:
        """Whether every way to serve the request is known to be free."""
        prices = self._prices()
        costs = [prices.cost(_MILLION, model=model, requested=requested, provider=p) for p, model in offered]
        return bool(costs) and all(cost == 0 for cost in costs)

    # -- for people --------------------------------------------------------------------------------------------

    def used(self, client_id: str) -> Spending:
        """What a key has used up to now, as a copy."""
        spending = self._spendings.get(client_id)
        if spending is None:
            spending = Spending()
        spending.move_to(self._now())
        return replace(spending)

    def forgive(self, client_id: str) -> None:
        """Let a key begin anew: what it has used up to now is forgotten, what is running goes on."""
        if spending := self._spendings.get(client_id):
            spending.requests.clear()
            spending.tokens.clear()
            spending.token_sum = spending.day_nanos = spending.month_nanos = 0
            self.changed = True

    # -- over restarts -----------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything counted, as JSON values."""
        now = self._now()
        state = {}
        for client_id, spending in self._spendings.items():
            spending.move_to(now)
            state[client_id] = {
                "requests": list(spending.requests),
                "tokens": [list(entry) for entry in spending.tokens],
                "day": spending.day,
                "day_nanos": spending.day_nanos,
                "month": spending.month,
                "month_nanos": spending.month_nanos,
            }
        return state

    def restore(self, state: Any) -> None:
        """Take back what :meth:`state` gave; what has another shape is left out."""
        for client_id, row in state.items() if isinstance(state, dict) else ():
            try:
                spending = Spending(
                    deque(float(moment) for moment in row["requests"]),
                    deque((float(moment), int(tokens)) for moment, tokens in row["tokens"]),
                    sum(int(tokens) for _, tokens in row["tokens"]),
                    str(row["day"]),
                    int(row["day_nanos"]),
                    str(row["month"]),
                    int(row["month_nanos"]),
                )
            except (KeyError, TypeError, ValueError):
                continue
            self._spendings[str(client_id)] = spending


def _times(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _tokens_free(entry: ClientKey, spending: Spending, now: float) -> float:
    """Seconds until enough tokens are older than a minute."""
    left = spending.token_sum
    for moment, tokens in spending.tokens:
        left -= tokens
        if left < entry.tokens_per_minute:
            return moment + MINUTE - now
    return MINUTE


def _refusal(status: int, message: str, code: str, wait: float | None = None) -> ApiError:
    kind = "rate_limit_error" if status == 429 else "permission_error"
    seconds = None if wait is None else float(max(1, math.ceil(wait)))
    return ApiError(ErrorInfo(status, message, type=kind, code=code, retry_after=seconds))
