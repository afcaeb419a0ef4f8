"""How long upstreams say to wait."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpa.formats.durations import parse_duration, spoken_wait


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1.5s", 1.5),
        ("2m", 120.0),
        ("1h1m1s", 3661.0),
        ("100us", 0.0001),
        ("373.801628ms", 0.373801628),
        ({"seconds": 2, "nanos": 500_000_000}, 2.5),
        ({"seconds": "7"}, 7.0),
        ({"seconds": "nan"}, None),
        ({"seconds": 1e308, "nanos": "inf"}, None),
        ({"seconds": 10**400}, None),
        ({"seconds": []}, None),
        ("soon", None),
        ("", None),
        (5, None),
    ],
)
def test_durations(text: Any, seconds: float | None) -> None:
    assert parse_duration(text) == (pytest.approx(seconds) if seconds is not None else None)


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Rate limit reached on tokens per min (TPM): Limit 30000. Please try again in 11.054s. Visit ...", 11.054),
        ("Rate limit reached. Please try again in 2m3s.", 123.0),
        ("Try again in 1h", 3600.0),
        ("please try again in 20ms", 0.02),
        ("Please try again in 1h16m22.8s.", 4582.8),
        ("Please retry after 6 seconds.", 6.0),
        ("You've hit your usage limit. Try again in 3 days 4 hours 32 minutes.", 275520.0),
        ("Try again in 1 day, 2 hours and 5 minutes", 93900.0),
        ("Too many requests, please wait for 5 min before you go on", 300.0),
        ("Your quota will reset after 1h2m3s.", 3723.0),
        ("At most 3 requests in 60s", None),
        ("Try again at 5:31 PM", None),
        ("Try again in 5 monkeys", None),
        ("Try again in a while", None),
        ("", None),
    ],
)
def test_waits_told_in_words(message: str, seconds: float | None) -> None:
    assert spoken_wait(message) == (pytest.approx(seconds) if seconds is not None else None)


@given(st.text(alphabet="again in 10.5msh,dy", max_size=200))
def test_any_words_tell_a_wait_or_none(message: str) -> None:
    for text in (message, f"try again in {message}"):
        told = spoken_wait(text)
        assert told is None or 0 <= told < 1e18
