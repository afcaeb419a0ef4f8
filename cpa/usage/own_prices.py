"""The user's own prices: ``prices`` in the configuration, read and written."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from cpa.config import Config
from cpa.config.file import assign
from cpa.usage.price import ONE, PARTS, Price, nano, price_of, usd
from cpa.usage.price_rows import MANUAL, PriceRow

KEY = "prices"


def own_prices(config: Config) -> dict[str, PriceRow]:
    """The prices of a configuration, by model."""
    return {
        entry.model: PriceRow(price_in(entry.stated()), MANUAL, style=entry.style)
        for entry in config.prices
        if entry.model and not (entry.input is None and entry.output is None)
    }


def price_in(row: Mapping[str, Any]) -> Price:
    """The price in an item of the configuration, or of the list that ships with cpa: USD per million tokens."""
    above, multiplier = row.get("above"), row.get("multiplier", 1)
    return price_of(
        {name: None if row.get(name) is None else nano(row[name]) for name in PARTS},
        (above["tokens"], price_in(above)) if above else None,
        ONE if multiplier == 1 else Decimal(repr(multiplier)),
    )


def write_prices(data: dict[str, Any], changed: Mapping[str, PriceRow], gone: Collection[str] = ()) -> None:
    """Set and remove prices in the data of a configuration file, in place. Other items stay, unknown members too."""
    known = data.get(KEY)
    items = [item for item in known if _model(item) not in gone] if isinstance(known, list | tuple) else []
    places = {_model(item): place for place, item in enumerate(items)}
    for model, row in changed.items():
        if model in places:
            items[places[model]] = _item(model, row)
        else:
            items.append(_item(model, row))
    assign(data, (KEY,), items)


def _model(item: Any) -> str:
    return str(item.get("model") or "").strip() if isinstance(item, dict) else ""


def _item(model: str, row: PriceRow) -> dict[str, Any]:
    price = row.price
    item = {
        "model": model,
        **_written(price),
        "multiplier": None if price.multiplier == 1 else float(price.multiplier),
        "style": row.style or None,
        "above": {"tokens": price.above_tokens, **_written(price.above)} if price.above is not None else None,
    }
    return {name: value for name, value in item.items() if value is not None}


def _written(price: Price) -> dict[str, int | float]:
    nanos = {name.replace("_", "-"): getattr(price, name) for name in PARTS}
    return {name: usd(value) for name, value in nanos.items() if value is not None}
