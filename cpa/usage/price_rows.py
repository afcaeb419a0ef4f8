"""A price with where it comes from, and its shape in JSON: that of CPA-Manager's ``model-prices``, with more members.

``{"prompt": 1.25, "completion": 10, "cache": 0.125, "source": "litellm", "sourceModelId": "openai/gpt-5",
"updatedAtMs": 0, "syncedAtMs": 0}`` and ``cache_read``, ``cache_write``, ``cache_write_1h``, ``multiplier``, ``style``,
``above``. Prices are USD per million tokens. ``cache`` is what reading from a cache costs, ``cache_read`` the same, or
null where that is the price of the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from msgspec import Struct

from cpa.config.price_sections import MOST_EXPENSIVE
from cpa.errors import CpaError
from cpa.usage.price import ONE, PARTS, Price, nano, price_of, usd

MANUAL = "manual"
BUILT_IN = "built-in"
STYLES = ("", "openai", "claude")
_NAMES = ("prompt", "completion", "cache_read", "cache_write", "cache_write_1h")
"""The parts of a price in JSON."""
_LARGEST_TOKENS = 1 << 53


class WrongPrice(CpaError):
    """Something that is given as a price is none; the text says what."""


class PriceRow(Struct, frozen=True):
    """A model's price."""

    price: Price
    source: str = MANUAL
    """``manual`` (the configuration), ``litellm``, ``models.dev`` or ``built-in``."""
    source_model_id: str = ""
    """The model's name in the list the price was read from."""
    updated_at_ms: int = 0
    """When the price changed last, Unix milliseconds; 0 where nobody knows."""
    synced_at_ms: int = 0
    """When a list said so last."""
    style: str = ""
    """How programs that know three prices only count cached tokens: ``openai`` within the input, ``claude`` beside."""


def shown_row(row: PriceRow) -> dict[str, Any]:
    """The row as JSON."""
    price = row.price
    return {
        **_shown_price(price),
        "cache": usd(price.input if price.cache_read is None else price.cache_read),
        "multiplier": _number(price.multiplier),
        "style": row.style,
        "above": {"tokens": price.above_tokens, **_shown_price(price.above)} if price.above is not None else None,
        "source": row.source,
        "sourceModelId": row.source_model_id,
        "updatedAtMs": row.updated_at_ms,
        "syncedAtMs": row.synced_at_ms,
    }


def read_row(body: Any, known: PriceRow | None = None) -> PriceRow:
    """The price in a JSON row. Members that are left out stay as they are in ``known``; null removes one.

    ``cache`` counts unless ``cache_read`` is given and differs from ``known``. Raises WrongPrice.
    """
    if not isinstance(body, Mapping):
        raise WrongPrice("must be an object with prompt and completion")
    before = shown_row(known) if known is not None else {}
    wanted = {**before, **body}
    if body.get("cache") is not None and wanted.get("cache_read") == before.get("cache_read"):
        implied = before.get("cache_read") is None and wanted["cache"] == wanted.get("prompt")
        wanted["cache_read"] = None if implied else wanted["cache"]
    multiplier = wanted.get("multiplier")
    style = wanted.get("style") or ""
    if style not in STYLES:
        raise WrongPrice("style must be openai or claude")
    above = wanted.get("above")
    if above is not None and not isinstance(above, Mapping):
        raise WrongPrice("above must be an object with tokens, prompt and completion")
    price = price_of(
        _read_price(wanted),
        (_tokens(above), price_of(_read_price(above, "above."))) if above is not None else None,
        ONE if multiplier in (None, 1) else Decimal(repr(_amount(multiplier, "multiplier"))),
    )
    return PriceRow(price, style=style)


def read_stored(body: Any) -> PriceRow:
    """A row as :func:`shown_row` wrote it, with everything in it. Raises WrongPrice."""
    if not isinstance(body, Mapping):
        raise WrongPrice("must be an object")
    row = read_row({name: value for name, value in body.items() if name != "cache"})
    source, model = body.get("source"), body.get("sourceModelId")
    updated, synced = body.get("updatedAtMs"), body.get("syncedAtMs")
    if not (isinstance(source, str) and isinstance(model, str) and type(updated) is int and type(synced) is int):
        raise WrongPrice("must say its source and when it was read")
    return PriceRow(row.price, source, model, updated, synced, row.style)


def _shown_price(price: Price) -> dict[str, Any]:
    nanos = [getattr(price, part) for part in PARTS]
    return {name: None if value is None else usd(value) for name, value in zip(_NAMES, nanos, strict=True)}


def _read_price(body: Mapping[str, Any], place: str = "") -> dict[str, int | None]:
    for name in ("prompt", "completion"):
        if body.get(name) is None:
            raise WrongPrice(f"{place}{name} is required")
    return {part: _nanos(body, name, place) for part, name in zip(PARTS, _NAMES, strict=True)}


def _nanos(body: Mapping[str, Any], name: str, place: str) -> int | None:
    value = body.get(name)
    return None if value is None else nano(_amount(value, f"{place}{name}"))


def _amount(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_EXPENSIVE:
        unit = "" if name == "multiplier" else " of USD per million tokens"
        raise WrongPrice(f"{name} must be a number{unit}, from 0 to {MOST_EXPENSIVE:,}")
    return float(value)


def _tokens(above: Mapping[str, Any]) -> int:
    tokens = above.get("tokens")
    if type(tokens) is not int or not 1 <= tokens <= _LARGEST_TOKENS:
        raise WrongPrice("above.tokens must be a number of tokens")
    return tokens


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)
