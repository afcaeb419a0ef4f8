"""Prices as JSON, and the file of those that came from lists."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpa.logs import get_logger
from cpa.usage.price import Price
from cpa.usage.price_rows import PriceRow, WrongPrice, read_row, read_stored, shown_row
from cpa.usage.synced_prices import SyncedPrices

NANO = 10**9
ROW = PriceRow(Price(NANO, 2 * NANO, 100_000_000, 1_250_000_000), "litellm", "x/m", 5, 6)
NANOS = st.integers(0, 10**15)
PRICES = st.builds(
    Price,
    NANOS,
    NANOS,
    st.none() | NANOS,
    st.none() | NANOS,
    st.none() | NANOS,
    multiplier=st.sampled_from([Decimal(1), Decimal("0.1"), Decimal("1.3")]),
)


@given(PRICES, st.none() | st.tuples(st.integers(1, 10**6), PRICES))
def test_what_is_shown_is_read_back_to_the_last_digit(price: Price, longer: tuple[int, Price] | None) -> None:
    parts = (price.input, price.output, price.cache_read, price.cache_write, price.cache_write_1h)
    above = (None, None) if longer is None else (longer[0], Price(*parts))
    row = PriceRow(Price(*parts, *above, price.multiplier), "litellm", "x/m", 5, 6, "claude")
    assert read_stored(shown_row(row)) == row
    assert read_row(shown_row(row)).price.input == price.input


def test_three_prices_make_a_row() -> None:
    row = read_row({"prompt": 1.25, "completion": 10, "cache": 0.125})
    assert row == PriceRow(Price(1_250_000_000, 10 * NANO, 125_000_000))
    assert read_row({"prompt": 1, "completion": 0}).price == Price(NANO, 0)


@pytest.mark.parametrize(
    ("change", "price"),
    [
        ({"prompt": 3}, Price(3 * NANO, 2 * NANO, 100_000_000, 1_250_000_000)),
        ({"cache": 0.2}, Price(NANO, 2 * NANO, 200_000_000, 1_250_000_000)),
        ({"cache": 0.2, "cache_read": 0.1}, Price(NANO, 2 * NANO, 200_000_000, 1_250_000_000)),
        ({"cache": 0.1, "cache_read": 0.3}, Price(NANO, 2 * NANO, 300_000_000, 1_250_000_000)),
        ({"cache_write": None, "cache_read": None}, Price(NANO, 2 * NANO)),
        ({"multiplier": 0.5}, Price(NANO, 2 * NANO, 100_000_000, 1_250_000_000, multiplier=Decimal("0.5"))),
    ],
)
def test_members_that_are_left_out_stay(change: dict[str, Any], price: Price) -> None:
    assert read_row(change, ROW).price == price


def test_a_panel_that_knows_three_prices_gets_what_it_asks_for() -> None:
    known = PriceRow(Price(NANO, NANO))
    assert read_row({"prompt": 2, "completion": 1, "cache": 1}, known).price == Price(2 * NANO, NANO, NANO)
    assert read_row({"prompt": 2, "completion": 1, "cache": 2}, known).price == Price(2 * NANO, NANO)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (None, "object"),
        (5, "object"),
        ({}, "prompt is required"),
        ({"prompt": 1}, "completion is required"),
        ({"prompt": -1, "completion": 1}, "prompt must be a number"),
        ({"prompt": float("nan"), "completion": 1}, "prompt must be a number"),
        ({"prompt": float("inf"), "completion": 1}, "prompt must be a number"),
        ({"prompt": 10**400, "completion": 1}, "prompt must be a number"),
        ({"prompt": True, "completion": 1}, "prompt must be a number"),
        ({"prompt": "1", "completion": 1}, "prompt must be a number"),
        ({"prompt": 1, "completion": 1, "cache": []}, "cache_read must be a number"),
        ({"prompt": 1, "completion": 1, "multiplier": -1}, "multiplier must be a number"),
        ({"prompt": 1, "completion": 1, "style": "gemini"}, "style"),
        ({"prompt": 1, "completion": 1, "style": ["openai"]}, "style"),
        ({"prompt": 1, "completion": 1, "above": 5}, "above must be an object"),
        ({"prompt": 1, "completion": 1, "above": {"tokens": 5}}, "above.prompt is required"),
        ({"prompt": 1, "completion": 1, "above": {"tokens": 0, "prompt": 1, "completion": 1}}, "above.tokens"),
    ],
)
def test_what_is_no_price_is_refused_in_words(body: Any, complaint: str) -> None:
    with pytest.raises(WrongPrice, match=complaint):
        read_row(body)


def test_the_file_is_private_and_read_back(tmp_path: Path) -> None:
    synced = SyncedPrices(tmp_path / "data" / "model-prices.json", get_logger("test"))
    synced.load()
    assert synced.rows == {}
    synced.save({"x/m": ROW})
    assert synced.path.stat().st_mode & 0o777 == 0o600
    again = SyncedPrices(synced.path, get_logger("test"))
    again.load()
    assert again.rows == synced.rows == {"x/m": ROW}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"prices": []}',
        b'{"prices": {"m": 5}}',
        b'{"prices": {"m": {"prompt": 1, "completion": 1}}}',
    ],
)
def test_a_damaged_file_is_put_aside(tmp_path: Path, content: bytes) -> None:
    synced = SyncedPrices(tmp_path / "model-prices.json", get_logger("test"))
    synced.path.write_bytes(content)
    synced.load()
    assert synced.rows == {}
    assert not synced.path.exists()
    assert synced.path.with_suffix(".broken").read_bytes() == content
