"""What tokens cost."""

from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec.structs import replace

from cpa.catalog.builtin import builtin_models
from cpa.config.load import load_text
from cpa.conversation.usage import Usage
from cpa.errors import ConfigError
from cpa.usage.event import Event
from cpa.usage.price import Price, nano, usd
from cpa.usage.price_rows import PriceRow
from cpa.usage.prices import CurrentPrices, Factor, PriceTable, list_prices, price_table
from cpa.usage.tokens import Tokens, tokens_of

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
    price = list_prices()[1]["gemini-2.5-pro"].price
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
    table = PriceTable({"m": PriceRow(Price(10**9, 0))}, factors=[Factor(Decimal("0.1"), {})] * 3)
    assert table.cost(Usage(input_total=10**6), model="m") == 1_000_000


RULES = """
prices: [{model: m, input: 1}]
price-factors:
  - {factor: 2, service-tier: priority}
  - {factor: 3, reasoning-effort: "*high"}
  - {factor: 5, model-alias: fast, executor-type: "Co*"}
  - {factor: 7, api-group-key: key-1, auth-index: "ab*"}
  - {factor: 11, endpoint: "POST /v1/*"}
"""


@pytest.mark.parametrize(
    ("place", "factor"),
    [
        ({}, 1),
        ({"service_tier": "priority"}, 2),
        ({"reasoning_effort": "xhigh", "service_tier": "priority"}, 6),
        ({"requested": "fast", "executor_type": "CodexExecutor"}, 5),
        ({"requested": "fast", "executor_type": "ClaudeExecutor"}, 1),
        ({"api_group_key": "key-1", "auth_index": "abc", "endpoint": "POST /v1/messages"}, 77),
        ({"api_group_key": "key-1"}, 1),
    ],
)
def test_all_rules_that_match_multiply(place: dict[str, str], factor: int) -> None:
    table = price_table(load_text(RULES, environ={}).config)
    for _ in range(2):
        assert table.cost(Usage(input_total=1000), model="m", **place) == factor * 1_000_000


def test_a_recorded_attempt_costs_what_every_rule_says_of_it() -> None:
    rules = {
        "model": "m", "provider": "codex", "account": "me@*", "executor-type": "CodexExecutor",
        "api-group-key": "key-1", "auth-index": "ab", "model-alias": "fast", "endpoint": "POST /v1/responses",
        "service-tier": "auto", "response-service-tier": "priority", "reasoning-effort": "high",
    }  # fmt: skip
    lines = "".join(f'  - {{factor: 2, {name}: "{pattern}"}}\n' for name, pattern in rules.items())
    table = price_table(load_text(f"prices: [{{model: m, input: 1}}]\nprice-factors:\n{lines}", environ={}).config)
    event = Event(
        group="key-1", provider="codex", endpoint="POST /v1/responses", model="m", requested_model="fast",
        source="me@example.org", auth_index="ab", tokens=Tokens(input=1000, total=1000, uncached=1000),
        upstream_format="openai-response", service_tier="auto", response_service_tier="priority",
        reasoning_effort="high",
    )  # fmt: skip
    assert table.cost_of(event) == 2 ** len(rules) * 1_000_000
    assert table.cost_of(replace(event, group="other")) == 2 ** (len(rules) - 1) * 1_000_000


def test_what_a_tool_used_is_not_paid_like_the_model_that_was_asked_for() -> None:
    table = PriceTable({"chat": PriceRow(Price(10**9, 0))})
    event = Event(group="g", model="picture", requested_model="chat", tokens=Tokens(input=5, total=5, uncached=5))
    assert table.cost_of(event) == 5000
    assert table.cost_of(replace(event, attempt=0)) is None


@pytest.mark.parametrize("upstream_format", ["claude", "openai", "openai-response", "gemini"])
def test_a_recorded_attempt_costs_what_its_answer_told(upstream_format: str) -> None:
    usage = Usage(
        input_total=1000,
        cache_read=300,
        cache_write=200,
        cache_write_1h=50,
        output_total=400,
        reasoning=100,
        total=1400,
    )
    tokens = tokens_of(usage, upstream_format)
    table = PriceTable({"m": PriceRow(SONNET)})
    event = Event(group="g", model="m", tokens=tokens, upstream_format=upstream_format)
    assert (
        table.cost_of(event)
        == table.cost(usage, model="m")
        == 500 * 3000 + 300 * 300 + 150 * 3750 + 50 * 6000 + 400 * 15_000
    )


def test_tokens_that_are_told_as_a_sum_only_cost_nobody_knows_what() -> None:
    table = PriceTable({"m": PriceRow(Price(10**9, 0))})
    assert table.cost_of(Event(group="g", model="m", tokens=Tokens(total=9, unclassified=9))) is None
    assert table.cost_of(Event(group="g", model="m", tokens=Tokens())) is None


def test_four_segments_cost_what_the_table_says_to_the_last_digit() -> None:
    text = "prices: [{model: m, input: 1, output: 10, cache-read: 0.1, cache-write: 1.25}]"
    usage = Usage(input_total=100, cache_read=30, cache_write=10, output_total=20)
    assert price_table(load_text(text, environ={}).config).cost(usage, model="m") == 275_500


def test_a_multiplier_is_on_everything_longer_prompts_too() -> None:
    text = """
prices:
  - {model: m, input: 1, output: 2, multiplier: 0.1, above: {tokens: 1000, input: 10, output: 20}}
price-factors: [{factor: 0.5}]
"""
    table = price_table(load_text(text, environ={}).config)
    assert table.cost(Usage(input_total=1000), model="m") == 50_000
    assert table.cost(Usage(input_total=1001), model="m") == 500_500


def test_the_users_price_wins_under_every_spelling_and_a_list_over_what_ships() -> None:
    dated = "claude-sonnet-4-5-20250929"
    config = load_text("prices: [{model: claude-haiku-4-5, input: 7}]", environ={}).config
    synced = {name: PriceRow(Price(5 * 10**9, 0), "litellm") for name in (dated, "claude-haiku-4-5-20251001")}
    table = price_table(config, synced)
    assert [
        found.row.price.input // 10**9
        for name in ("claude-haiku-4-5-20251001", dated, "claude-opus-4-5")
        if (found := table.search(name))
    ] == [7, 5, 5]
    assert table.rows()[dated].source == "litellm"
    assert table.rows()["claude-opus-4-5"].source == "built-in"


def test_the_upstreams_name_goes_before_the_one_asked_for() -> None:
    table = PriceTable({"fast": PriceRow(Price(1, 0))}, {"real": PriceRow(Price(2, 0))})
    assert [price.input for names in (("real", "fast"), ("new", "fast")) if (price := table.find(*names))] == [2, 1]


@pytest.mark.parametrize("text", ["1.25", "0.1", "0.075", "3e-07", "1e-9", "0", "15", "999999.999999999"])
def test_money_comes_out_as_it_went_in(text: str) -> None:
    value = float(text)
    assert usd(nano(value)) == value
    assert Decimal(nano(value)) == Decimal(text) * 10**9


def test_what_is_not_free_does_not_become_free() -> None:
    assert nano(1e-12) == 1


@pytest.mark.parametrize("value", ["-1", ".nan", ".inf", "2000000", "true-ish"])
def test_a_price_that_is_none_is_refused_with_its_place(value: str) -> None:
    with pytest.raises(ConfigError, match=r"prices\[0\]\.input"):
        load_text(f"prices: [{{model: m, input: {value}}}]", environ={})


def test_a_price_without_numbers_or_model_is_pointed_out_and_is_none() -> None:
    loaded = load_text("prices: [{model: m}, {input: 1}]", environ={})
    assert [warning.path for warning in loaded.warnings if "price" in warning.path] == ["prices[0]", "prices[1]"]
    assert price_table(loaded.config).find("m") is None


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
