"""Lists of prices that others publish, right and wrong."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from cpa.usage.price import Price
from cpa.usage.price_lists import LITELLM, MODELS_DEV, PriceList, WrongList, parse_list

PAID = {"input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05}
NANO = 10**9


def litellm(**rows: Any) -> PriceList:
    return parse_list(LITELLM, orjson.dumps({"sample_spec": PAID, **rows}))


def one(**row: Any) -> Price | None:
    """What is made of a row, another one being there too."""
    return litellm(other=PAID, it=row).prices.get("it")


def test_prices_per_token_become_prices_per_million_exactly() -> None:
    row = {
        "cache_read_input_token_cost": 1.25e-07,
        "cache_creation_input_token_cost": 3.75e-06,
        "cache_creation_input_token_cost_above_1hr": 6e-06,
    }
    assert one(**PAID, **row) == Price(1_250_000_000, 10 * NANO, 125_000_000, 3_750_000_000, 6 * NANO)
    assert one(**PAID, cache_read_cost_per_token=7.5e-08) == Price(1_250_000_000, 10 * NANO, 75_000_000)


def test_longer_prompts_keep_their_own_price() -> None:
    price = one(**PAID, input_cost_per_token_above_200k_tokens=2.5e-06, output_cost_per_token_above_200k_tokens=1.5e-05)
    assert price is not None
    assert (price.above_tokens, price.above) == (200_000, Price(2_500_000_000, 15 * NANO))


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"cache_read_input_token_cost": 1e-7},
        {**PAID, "input_cost_per_token": -1e-6},
        {**PAID, "output_cost_per_token": "1e-6"},
        {**PAID, "output_cost_per_token": True},
        {**PAID, "output_cost_per_token": {}},
        {**PAID, "input_cost_per_token": 1e9},
        {**PAID, "input_cost_per_token": 5.0},
        {**PAID, "cache_read_input_token_cost": -1},
        {**PAID, "cache_read_input_token_cost": [1e-6]},
    ],
)
def test_a_row_with_anything_wrong_in_it_is_left_out(row: dict[str, Any]) -> None:
    assert one(**row) is None


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" * 400])
def test_numbers_that_are_none_spoil_their_row_only(number: str) -> None:
    text = (
        '{"bad": {"input_cost_per_token": %s, "output_cost_per_token": 1e-6}, "good": {"input_cost_per_token": 1e-6}}'
    )
    assert parse_list(LITELLM, (text % number).encode()).prices == {"good": Price(NANO, 0)}


def test_rows_that_are_no_objects_and_the_sample_are_left_out() -> None:
    assert set(litellm(a=PAID, b=None, c=[1], d="x", e=1, **{"": PAID, "x" * 300: PAID}).prices) == {"a"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"{}",
        b'{"a": 1}',
        b'{"a": {"input_cost_per_token": 1e-6}',
        b"[" * 100_000,
        b"\xff",
    ],
)
@pytest.mark.parametrize("source", [LITELLM, MODELS_DEV])
def test_what_is_no_list_is_refused(source: str, content: bytes) -> None:
    with pytest.raises(WrongList):
        parse_list(source, content)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("gpt-5", "gpt-5"),
        ("openai/gpt-5", "gpt-5"),
        ("azure/gpt-5", "azure/gpt-5"),
        ("gpt-5(high)", "gpt-5"),
        ("kimi-k3", "moonshot/kimi-k3"),
        ("kimi-k3-20260101", "moonshot/kimi-k3"),
        ("given", None),
        ("pt-5", None),
        ("sample_spec", None),
    ],
)
def test_names_match_exactly_else_the_shortest_that_ends_in_them(wanted: str, found: str | None) -> None:
    free = {"input_cost_per_token": 0, "output_cost_per_token": 0}
    names = ("gpt-5", "azure/gpt-5", "moonshot/kimi-k3", "openrouter/moonshot/kimi-k3")
    rows = {**dict.fromkeys(names, PAID), "x/kimi-k3": free, "x/given": free}
    assert litellm(**rows).match(wanted) == found


def test_what_a_list_gives_away_under_the_very_name_is_free() -> None:
    prices = litellm(a=PAID, mine={"input_cost_per_token": 0, "output_cost_per_token": 0})
    assert prices.match("mine") == "mine"


def models_dev(**providers: dict[str, Any]) -> PriceList:
    data = {
        name: {"models": {model: {"cost": cost} for model, cost in models.items()}}
        for name, models in providers.items()
    }
    return parse_list(MODELS_DEV, orjson.dumps(data))


def test_makers_go_before_resellers() -> None:
    paid = {"input": 3, "output": 15, "cache_read": 0.3, "cache_write": 3.75}
    prices = models_dev(
        aaa={"claude-sonnet-5": {"input": 9, "output": 9}},
        anthropic={"claude-sonnet-5": paid},
        copilot={"gpt-6": {"input": 0, "output": 0}},
        router={"openai/gpt-6": {"input": 1, "output": 2}, "mystery": {"input": 1, "output": 1}},
    )
    assert prices.match("claude-sonnet-5") == "anthropic/claude-sonnet-5"
    assert prices.prices["anthropic/claude-sonnet-5"] == Price(3 * NANO, 15 * NANO, 300_000_000, 3_750_000_000)
    assert prices.match("gpt-6") == "router/openai/gpt-6"
    assert prices.match("mystery") == "router/mystery"


def test_the_catalogue_of_models_dev_is_read_as_far_as_it_can_be() -> None:
    long = {"input": 1, "output": 2, "context_over_200k": {"input": 2, "output": 4}}
    data = {
        "a": {"models": {"m": {"cost": long}, "n": {"cost": {}}, "o": {}, "p": None, "q": {"cost": {"input": "1"}}}},
        "b": {"models": []},
        "c": None,
        "d": {"models": {"r": {"cost": {**long, "context_over_200k": {"input": -2, "output": 1}}}}},
    }
    prices = parse_list(MODELS_DEV, orjson.dumps(data)).prices
    assert prices == {"a/m": Price(NANO, 2 * NANO, above_tokens=200_000, above=Price(2 * NANO, 4 * NANO))}
