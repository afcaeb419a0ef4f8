"""Lists of prices that others publish: LiteLLM's file and the catalogue of models.dev.

Both are read as far as they can be: a row with anything in it that is no price is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import orjson
from msgspec import Struct

from cpa.config.price_sections import MOST_EXPENSIVE
from cpa.errors import CpaError
from cpa.usage.price import PARTS, Price, nano, price_of
from cpa.usage.prices import spellings

LITELLM, MODELS_DEV = "litellm", "models.dev"
SOURCES = (LITELLM, MODELS_DEV)
LONGEST_NAME = 256
_ABOVE = re.compile(r"input_cost_per_token_above_(\d{1,6})k_tokens")
_MILLION = Decimal(10**6)

MAKERS = (
    ("claude", "anthropic"),
    ("gpt", "openai"),
    ("chatgpt", "openai"),
    ("codex", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("gemini", "google"),
    ("gemma", "google"),
    ("grok", "xai"),
    ("deepseek", "deepseek"),
    ("kimi", "moonshotai"),
    ("moonshot", "moonshotai"),
    ("qwen", "alibaba"),
    ("qwq", "alibaba"),
    ("glm", "zai"),
    ("minimax", "minimax"),
    ("mistral", "mistral"),
    ("ministral", "mistral"),
    ("magistral", "mistral"),
    ("devstral", "mistral"),
    ("codestral", "mistral"),
    ("pixtral", "mistral"),
    ("llama", "llama"),
    ("command", "cohere"),
    ("nova", "amazon-bedrock"),
)
"""What names begin with, and who makes such models, by the names of models.dev."""


class WrongList(CpaError):
    """What was read is no list of prices; the text says why."""


class PriceList(Struct):
    """The usable rows of a list, by the list's own names for models: ``vendor/model`` or just ``model``."""

    source: str
    prices: dict[str, Price]

    def match(self, wanted: str) -> str | None:
        """The list's name for a model: the same, else the best that ends in ``/<wanted>``; None when there is none.

        Of others than its maker a model is not taken for free: such rows are those of subscriptions and trials.
        """
        for name in dict.fromkeys(spellings(wanted)):
            if name in self.prices:
                return name
            end, maker = f"/{name}", maker_of(name)
            made = f"{maker}{end}"
            if self.source == MODELS_DEV and made in self.prices:
                return made
            ends = [known for known, price in self.prices.items() if known.endswith(end) and _costs(price)]
            if ends:
                return min(ends, key=lambda known: (len(known), known))
        return None


def _costs(price: Price) -> bool:
    return bool(price.input or price.output)


def maker_of(model: str) -> str:
    """Who makes a model, by its name; '' when that does not tell."""
    return next((maker for start, maker in MAKERS if model.lower().startswith(start)), "")


def parse_list(source: str, content: bytes) -> PriceList:
    """The list in a file. Raises WrongList when it is none at all."""
    data = _parsed(content)
    if not isinstance(data, dict):
        raise WrongList("it is no JSON object")
    rows = _litellm(data) if source == LITELLM else _models_dev(data)
    prices = {name: price for name, price in rows if price is not None and 0 < len(name) <= LONGEST_NAME}
    if not prices:
        raise WrongList("there is no price in it")
    return PriceList(source, prices)


def _parsed(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(content)  # knows NaN, which Python programs write
    except (ValueError, RecursionError) as fault:
        raise WrongList(f"it is not JSON ({fault})") from None


# -- LiteLLM: USD per token --------------------------------------------------------------------------------------


def _litellm(data: Mapping[str, Any]) -> Iterator[tuple[str, Price | None]]:
    for name, row in data.items():
        if name != "sample_spec" and isinstance(row, dict):
            yield name, _litellm_price(row)


def _litellm_price(row: Mapping[str, Any]) -> Price | None:
    base = {
        "input": row.get("input_cost_per_token"),
        "output": row.get("output_cost_per_token"),
        "cache_read": _first(row, "cache_read_input_token_cost", "cache_read_cost_per_token"),
        "cache_write": row.get("cache_creation_input_token_cost"),
        "cache_write_1h": row.get("cache_creation_input_token_cost_above_1hr"),
    }
    longer = (name for name in row if name.startswith("input_cost_per_token_above_"))
    steps = sorted(int(found[1]) for name in longer if (found := _ABOVE.fullmatch(name)))
    if not steps or not steps[0]:
        return _price(base, _MILLION)
    end = f"_above_{steps[0]}k_tokens"
    above = {
        "input": row.get(f"input_cost_per_token{end}"),
        "output": _first(row, f"output_cost_per_token{end}", "output_cost_per_token"),
        "cache_read": row.get(f"cache_read_input_token_cost{end}"),
        "cache_write": row.get(f"cache_creation_input_token_cost{end}"),
    }
    return _price(base, _MILLION, steps[0] * 1000, above)


def _first(row: Mapping[str, Any], *names: str) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


# -- models.dev: USD per million tokens --------------------------------------------------------------------------


def _models_dev(data: Mapping[str, Any]) -> Iterator[tuple[str, Price | None]]:
    for provider, entry in data.items():
        models = entry.get("models") if isinstance(entry, dict) else None
        for name, model in models.items() if isinstance(models, dict) else ():
            cost = model.get("cost") if isinstance(model, dict) else None
            if isinstance(cost, dict):
                yield f"{provider}/{name}", _models_dev_price(cost)


def _models_dev_price(cost: Mapping[str, Any]) -> Price | None:
    longer = cost.get("context_over_200k")
    return _price(cost, Decimal(1), 200_000, longer) if isinstance(longer, dict) else _price(cost, Decimal(1))


# -- both --------------------------------------------------------------------------------------------------------


def _price(
    row: Mapping[str, Any], times: Decimal, above_tokens: int = 0, above: Mapping[str, Any] | None = None
) -> Price | None:
    """The price in a row; None when a part of it is no price, or input and output are both missing.

    One of the two that is missing costs nothing: embeddings have no output.
    """
    if row.get("input") is None and row.get("output") is None:
        return None
    try:
        parts = {name: _nanos(row.get(name), times) for name in PARTS}
        longer = {name: _nanos((above or {}).get(name), times) for name in PARTS}
    except ValueError:
        return None
    if longer["input"] is None or longer["output"] is None:
        return price_of(parts)
    return price_of(parts, (above_tokens, price_of(longer)))


def _nanos(value: Any, times: Decimal) -> int | None:
    """Nano-dollars per million tokens. Raises ValueError for what is no price."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_EXPENSIVE:
        raise ValueError("no price")
    if (price := Decimal(repr(value)) * times) > MOST_EXPENSIVE:
        raise ValueError("no price")
    return nano(price)
