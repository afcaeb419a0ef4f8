"""What tokens cost: list prices that ship with cpa, the user's own prices, and factors on them.

Money is counted in whole nano-dollars (10^-9 USD); prices are nano-dollars per million tokens, so that list prices
are exact.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib import resources
from math import prod
from typing import Any, TypeVar

import orjson
from msgspec import Struct

from cpa.config import Config
from cpa.conversation.usage import Usage

NANO = 10**9
TOKENS = 10**6
ONE = Decimal(1)
MOST_REMEMBERED = 1000
Name = TypeVar("Name")
Value = TypeVar("Value")
_DATE = re.compile(r"[-@](?:20\d{6}|20\d{2}-\d{2}-\d{2}|\d{4})$")
_SUFFIX = re.compile(r"\([^()]*\)$")


class Price(Struct, frozen=True):
    """Nano-dollars per million tokens. None: the vendor names no price of its own, the input's is taken."""

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None
    """For five minutes."""
    cache_write_1h: int | None = None
    above_tokens: int | None = None
    """Prompts of more tokens than this cost what ``above`` says."""
    above: Price | None = None

    def cost(self, usage: Usage, factor: Decimal = ONE) -> int | None:
        """Nano-dollars for an answer; None when its tokens are not known."""
        if usage.input_total is None and usage.output_total is None:
            return None
        if self.above is not None and (usage.input_total or 0) > (self.above_tokens or 0):
            return self.above.cost(usage, factor)
        total = sum(tokens * price for tokens, price in self._shares(usage))
        if factor is ONE:
            return (total + TOKENS // 2) // TOKENS
        return int((Decimal(total) * factor / TOKENS).to_integral_value(ROUND_HALF_UP))

    def _shares(self, usage: Usage) -> Iterable[tuple[int, int]]:
        """(tokens, price) of the parts that make up the answer's tokens; no token is in two."""
        written_1h = usage.cache_write_1h or 0
        written = max((usage.cache_write or 0) - written_1h, usage.cache_write_5m or 0)
        write = self.cache_write if self.cache_write is not None else self.input
        yield usage.fresh_input, self.input
        yield usage.cache_read or 0, self.cache_read if self.cache_read is not None else self.input
        yield written, write
        yield written_1h, self.cache_write_1h if self.cache_write_1h is not None else write
        yield usage.output_total or 0, self.output


class Factor(Struct, frozen=True):
    """Multiplies what matching attempts cost. Patterns may use ``*``; an empty one matches everything."""

    factor: Decimal
    model: str = ""
    provider: str = ""
    account: str = ""

    def matches(self, model: str, provider: str, account: str) -> bool:
        """Whether it is for this attempt."""
        pairs = ((self.model, model), (self.provider, provider), (self.account, account))
        return all(not pattern or fnmatchcase(value, pattern) for pattern, value in pairs)


class PriceTable:
    """Prices by model, and the factors on them."""

    def __init__(self, prices: Mapping[str, Price], factors: Iterable[Factor] = (), as_of: str = "") -> None:
        self._prices = dict(prices)
        self._factors = tuple(factors)
        self._found: dict[tuple[str, ...], Price | None] = {}
        self._multiplied: dict[tuple[str, str, str], Decimal] = {}
        self.as_of = as_of
        """Date of the list prices that ship with cpa."""

    def find(self, *models: str) -> Price | None:
        """The price of the first of some names of a model that has one: as it is, without what brands put around it."""
        try:
            return self._found[models]
        except KeyError:
            names = (name for model in models for name in _spellings(model))
            price = next((self._prices[name] for name in names if name in self._prices), None)
            _remember(self._found, models, price)
            return price

    def cost(
        self, usage: Usage | None, *, model: str, requested: str = "", provider: str = "", account: str = ""
    ) -> int | None:
        """Nano-dollars of an attempt; None when the model has no price or the tokens are not known."""
        if usage is None:
            return None
        price = self.find(model, requested)
        if price is None:
            return None
        return price.cost(usage, self._factor(model, provider, account) if self._factors else ONE)

    def _factor(self, model: str, provider: str, account: str) -> Decimal:
        place = (model, provider, account)
        factor = self._multiplied.get(place)
        if factor is None:
            factor = prod((entry.factor for entry in self._factors if entry.matches(*place)), start=ONE)
            _remember(self._multiplied, place, factor)
        return factor


def _remember(known: dict[Name, Value], name: Name, value: Value) -> None:
    """Keep what was found out; names come from outside, so their number is bounded."""
    if len(known) >= MOST_REMEMBERED:
        known.clear()
    known[name] = value


def _spellings(model: str) -> Iterable[str]:
    """The name, without reasoning suffix, without ``vendor/``, without a date at its end."""
    name = _SUFFIX.sub("", model.strip())
    yield name
    name = name.rpartition("/")[2]
    yield name
    yield _DATE.sub("", name)


@lru_cache(maxsize=1)
def list_prices() -> tuple[str, dict[str, Price]]:
    """The date of the shipped list, and its prices."""
    data: Any = orjson.loads(resources.files("cpa.usage").joinpath("data/prices.json").read_bytes())
    return data["as_of"], {model: _price(row) for model, row in data["models"].items()}


def price_table(config: Config) -> PriceTable:
    """The shipped prices with the user's own in front, and the user's factors."""
    as_of, prices = list_prices()
    own = {entry.model: _price(entry.model_dump(exclude_none=True)) for entry in config.prices if entry.model}
    factors = [
        Factor(Decimal(str(entry.factor)), entry.model, entry.provider, entry.account) for entry in config.price_factors
    ]
    return PriceTable({**prices, **own}, factors, as_of)


class CurrentPrices:
    """Gives the price table of the configuration in force; made when first asked for."""

    def __init__(self, config: Callable[[], Config]) -> None:
        self._config = config
        self._made_for: Config | None = None
        self._table = PriceTable({})

    def __call__(self) -> PriceTable:
        config = self._config()
        if config is not self._made_for:
            self._made_for, self._table = config, price_table(config)
        return self._table


def _price(row: Mapping[str, Any]) -> Price:
    def nano(name: str) -> int | None:
        value = row.get(name)
        return None if value is None else int(Decimal(str(value)) * NANO)

    above = row.get("above")
    return Price(
        nano("input") or 0,
        nano("output") or 0,
        nano("cache_read"),
        nano("cache_write"),
        nano("cache_write_1h"),
        above["tokens"] if above else None,
        _price(above) if above else None,
    )
