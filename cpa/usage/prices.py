"""Which price a model has, and what its attempts cost: the user's own prices before those that were read from a list
when somebody asked for it, before those that ship with cpa; and factors on them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib import resources
from math import prod
from types import MappingProxyType
from typing import Any, TypeVar

import orjson
from msgspec import Struct
from msgspec.structs import astuple

from cpa.config import Config
from cpa.config.price_sections import PriceFactor
from cpa.conversation.usage import Usage
from cpa.usage.event import Costing, Event, Kind, executor_of
from cpa.usage.own_prices import own_prices, price_in
from cpa.usage.price import ONE, Price
from cpa.usage.price_rows import BUILT_IN, PriceRow
from cpa.usage.tables import Place
from cpa.usage.tokens import SEPARATE_REASONING, Counts

MOST_REMEMBERED = 1000
Name = TypeVar("Name")
Value = TypeVar("Value")
_DATE = re.compile(r"[-@](?:20\d{6}|20\d{2}-\d{2}-\d{2}|\d{4})$")
_SUFFIX = re.compile(r"\([^()]*\)$")
_NOTHING: Mapping[str, PriceRow] = MappingProxyType({})
FACTOR_FIELDS = (
    "model", "provider", "account", "executor_type", "api_group_key", "auth_index", "model_alias", "endpoint",
    "service_tier", "response_service_tier", "reasoning_effort",
)  # fmt: skip
"""What a factor may look at, by the names of the columns of the usage record where they have one."""


class Factor(Struct, frozen=True):
    """Multiplies what matching attempts cost."""

    factor: Decimal
    patterns: Mapping[str, str]
    """By :data:`FACTOR_FIELDS`; ``*`` stands for any text. All of them must match."""

    def matches(self, place: Mapping[str, str]) -> bool:
        """Whether it is for this attempt."""
        return all(fnmatchcase(place.get(name, ""), pattern) for name, pattern in self.patterns.items())


class Found(Struct, frozen=True):
    """The price that counts for a model."""

    name: str
    """The name it stands under."""
    row: PriceRow


class Rate(Struct, frozen=True):
    """What attempts cost that have the same texts."""

    price: Price
    factor: Decimal
    reasoning_apart: bool
    """Whether reasoning is counted beside the output."""

    def cost(self, counts: Counts) -> int | None:
        """Nano-dollars; None when the tokens are not known."""
        _, output, reasoning, _, read, written, total, fresh, written_1h, unclassified, _ = counts
        if not total or unclassified == total:
            return None
        if self.reasoning_apart:
            output += reasoning
        return self.price.sum(fresh, read, written - written_1h, written_1h, output, self.factor)


class PriceTable:
    """Prices by model, and the factors on them."""

    def __init__(self, *layers: Mapping[str, PriceRow], factors: Iterable[Factor] = (), as_of: str = "") -> None:
        """``layers``: the first that knows a model by any of its spellings wins."""
        self._layers = [layer for layer in layers if layer]
        self._factors = tuple(factors)
        self._looked_at = tuple(sorted({name for factor in self._factors for name in factor.patterns}))
        self._found: dict[tuple[str, ...], Price | None] = {}
        self._costings: dict[Kind, Costing | None] = {}
        """Of attempts."""
        self._multiplied: dict[tuple[str, ...], Decimal] = {}
        self.as_of = as_of
        """Date of the list prices that ship with cpa."""

    def find(self, *models: str) -> Price | None:
        """The price of the first of some names of a model that has one: as it is, without what brands put around it."""
        try:
            return self._found[models]
        except KeyError:
            found = self.search(*models)
            price = found.row.price if found is not None else None
            _remember(self._found, models, price)
            return price

    def search(self, *models: str) -> Found | None:
        """What :meth:`find` finds, and where; nothing is remembered."""
        for model in models:
            names = list(spellings(model))
            for layer in self._layers:
                for name in names:
                    if (row := layer.get(name)) is not None:
                        return Found(name, row)
        return None

    def rows(self) -> dict[str, PriceRow]:
        """What counts for every name that has a price, by name."""
        return dict(sorted({name: row for layer in reversed(self._layers) for name, row in layer.items()}.items()))

    def cost(self, usage: Usage | None, *, model: str, requested: str = "", **place: str) -> int | None:
        """Nano-dollars of an attempt; None when the model has no price or the tokens are not known.

        ``place`` is the rest of :data:`FACTOR_FIELDS`, as far as it is known.
        """
        if usage is None:
            return None
        price = self.find(model, requested)
        if price is None:
            return None
        if not self._factors:
            return price.cost(usage)
        return price.cost(usage, self._factor({"model": model, "model_alias": requested or model} | place))

    def cost_of(self, event: Event) -> int | None:
        """Nano-dollars of a recorded attempt; None as :meth:`cost` says."""
        costing = self.costing(event.kind, not event.attempt)
        return None if costing is None else costing(astuple(event.tokens))

    def costing(self, kind: Kind, of_tool: bool = False) -> Costing | None:
        """What gives the nano-dollars of attempts of a kind, or of what a tool of their answers used, as :meth:`cost`
        says; None when the model has no price.
        """
        if of_tool:  # which is no attempt, and costs nothing like the model that was asked for
            return self._costing(kind.place, "")
        try:
            return self._costings[kind]
        except KeyError:
            costing = self._costing(kind.place, kind.place.requested_model)
            _remember(self._costings, kind, costing)
            return costing

    def _costing(self, place: Place, requested: str) -> Costing | None:
        price = self.find(place.model, requested)
        if price is None:
            return None
        factor = self._factor(_place(place)) if self._factors else ONE
        return Rate(price, factor, place.upstream_format in SEPARATE_REASONING).cost

    def _factor(self, place: Mapping[str, str]) -> Decimal:
        known = tuple([place.get(name, "") for name in self._looked_at])
        factor = self._multiplied.get(known)
        if factor is None:
            factor = prod((entry.factor for entry in self._factors if entry.matches(place)), start=ONE)
            _remember(self._multiplied, known, factor)
        return factor


def _place(place: Place) -> dict[str, str]:
    return place._asdict() | {
        "account": place.source,
        "executor_type": executor_of(place.provider, place.upstream_format),
        "model_alias": place.requested_model,
    }


def _remember(known: dict[Name, Value], name: Name, value: Value) -> None:
    """Keep what was found out; names come from outside, so their number is bounded."""
    if len(known) >= MOST_REMEMBERED:
        known.clear()
    known[name] = value


def spellings(model: str) -> Iterator[str]:
    """The name, without reasoning suffix, without ``vendor/``, without a date at its end."""
    name = model.strip()
    yield name
    name = _SUFFIX.sub("", name)
    yield name
    name = name.rpartition("/")[2]
    yield name
    yield _DATE.sub("", name)


@lru_cache(maxsize=1)
def list_prices() -> tuple[str, dict[str, PriceRow]]:
    """The date of the shipped list, and its prices."""
    data: Any = orjson.loads(resources.files("cpa.usage").joinpath("data/prices.json").read_bytes())
    return data["as_of"], {model: PriceRow(price_in(row), BUILT_IN) for model, row in data["models"].items()}


def price_table(config: Config, synced: Mapping[str, PriceRow] | None = None) -> PriceTable:
    """The shipped prices, those of lists in front of them, the user's own in front of both; and the user's factors."""
    as_of, shipped = list_prices()
    factors = [_factor(entry) for entry in config.price_factors]
    return PriceTable(own_prices(config), synced or {}, shipped, factors=factors, as_of=as_of)


class CurrentPrices:
    """Gives the price table of the configuration and the lists in force; made when first asked for."""

    def __init__(
        self, config: Callable[[], Config], synced: Callable[[], Mapping[str, PriceRow]] = lambda: _NOTHING
    ) -> None:
        self._config = config
        self._synced = synced
        self._made_for: tuple[Config, Mapping[str, PriceRow]] | None = None
        self._table = PriceTable()

    def __call__(self) -> PriceTable:
        config, synced, made_for = self._config(), self._synced(), self._made_for
        if made_for is None or config is not made_for[0] or synced is not made_for[1]:
            self._made_for, self._table = (config, synced), price_table(config, synced)
        return self._table


def _factor(entry: PriceFactor) -> Factor:
    patterns = {name: pattern for name in FACTOR_FIELDS if (pattern := getattr(entry, name))}
    return Factor(Decimal(repr(entry.factor)), patterns)
