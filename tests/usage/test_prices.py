"""What tokens cost."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cpa.catalog.builtin import builtin_models
from cpa.config.load import load_text
from cpa.conversation.usage import Usage
from cpa.usage.prices import CurrentPrices, Factor, Price, PriceTable, list_prices, price_table

SONNET = Price(3 * 10**9, 15 * 10**9, 300_000_000, 3_750_000_000, 6 * 10**9)


@pytest.mark.parametrize(
    ("usage", "nanos"),
    [
        (Usage(input_total=1000, output_total=100), 3_000_000 + 1_500_000),
        (Usage(input_total=1000, cache_read=400, output_total=0), 600 * 3000 + 400 * 300),
        (Usage(input_total=1000, cache_write=400, output_total=0), 600 * 3000 + 400 * 3750),
        (
            Usage(input_total=1000, cache_write=400, cache_write_1h=100, output_total=0),
            600 * 3000 + 300 * 3750 + 100 * 6000,
        ),
        (
            Usage(input_total=1000, cache_write=400, cache_write_5m=300, cache_write_1h=100),
            600 * 3000 + 300 * 3750 + 600_000,
        ),
        (Usage(output_total=10, reasoning=8), 10 * 15_000),
        (Usage(input_total=0, output_total=0), 0),
        (Usage(), None),
    ],
)
def test_every_token_is_paid_once_at_its_own_price(usage: Usage, nanos: int | None) -> None:
    assert SONNET.cost(usage) == nanos


def test_a_vendor_without_cache_prices_takes_the_price_of_input() -> None:
    price = Price(10**9, 2 * 10**9)
    assert price.cost(Usage(input_total=10, cache_read=4, cache_write=3, cache_write_1h=1, output_total=0)) == 10_000


def test_parts_of_a_nano_dollar_are_rounded_not_dropped() -> None:
    assert Price(75_000_000, 0).cost(Usage(input_total=1)) == 75
    assert Price(500, 0).cost(Usage(input_total=1000)) == 1
    assert Price(499, 0).cost(Usage(input_total=1000)) == 0


def test_long_prompts_may_cost_more() -> None:
    price = list_prices()[1]["gemini-2.5-pro"]
    assert price.cost(Usage(input_total=200_000, output_total=1000)) == 200_000 * 1250 + 1000 * 10_000
    assert price.cost(Usage(input_total=200_001, output_total=1000)) == 200_001 * 2500 + 1000 * 15_000


@pytest.mark.parametrize(
    "name",
    [
        "claude-sonnet-4-5",
        "claude-sonnet-4-5-20250929",
        "claude-sonnet-4-5@20250929",
        "anthropic/claude-sonnet-4-5",
        "claude-sonnet-4-5(high)",
        "router/anthropic/claude-sonnet-4-5-20250929(8192)",
    ],
)
def test_a_model_is_found_under_every_name_it_goes_by(name: str) -> None:
    assert PriceTable(list_prices()[1]).find(name) == SONNET


def test_an_unknown_model_costs_nobody_knows_what() -> None:
    table = PriceTable(list_prices()[1])
    assert table.cost(Usage(input_total=5), model="mystery") is None
    assert table.cost(None, model="claude-sonnet-4-5") is None
    assert table.cost(Usage(input_total=1000), model="mystery", requested="claude-sonnet-4-5") == 3_000_000


def test_the_users_prices_win_and_factors_multiply() -> None:
    text = """
prices:
  - {model: claude-sonnet-4-5, input: 1, output: 2}
  - {model: free, input: 0, output: 0}
price-factors:
  - {factor: 0.5, model: "claude-*"}
  - {factor: 0.1, provider: claude, account: "acc-*"}
"""
    table = price_table(load_text(text, environ={}).config)
    usage = Usage(input_total=10**6, output_total=0)
    assert table.cost(usage, model="claude-sonnet-4-5") == 500_000_000
    assert table.cost(usage, model="claude-sonnet-4-5", provider="claude", account="acc-1") == 50_000_000
    assert table.cost(usage, model="free") == 0
    assert table.cost(usage, model="claude-opus-4-5") == 2_500_000_000


def test_exactness_survives_factors() -> None:
    table = PriceTable({"m": Price(10**9, 0)}, [Factor(Decimal("0.1"))] * 3)
    assert table.cost(Usage(input_total=10**6), model="m") == 1_000_000


def test_the_shipped_list_names_models_of_the_catalogue_with_a_date() -> None:
    as_of, prices = list_prices()
    assert as_of >= "2026-01-01"
    table = PriceTable(prices)
    for model in ("claude-opus-4-5-20251101", "claude-haiku-4-5-20251001", "gemini-2.5-flash", "gpt-5.4", "kimi-k3"):
        price = table.find(model)
        assert price is not None
        assert price.input > 0 < price.output
    assert any(table.find(model.id) for model in builtin_models("claude"))


def test_a_new_configuration_is_followed() -> None:
    configs = [load_text(f"prices: [{{model: m, input: {n}}}]\n", environ={}).config for n in (1, 2)]
    current = CurrentPrices(lambda: configs[0])
    usage = Usage(input_total=10**6)
    assert current().cost(usage, model="m") == 10**9
    assert current() is current()
    configs.pop(0)
    assert current().cost(usage, model="m") == 2 * 10**9
