"""What ChatGPT tells of quota, in headers, in events and when asked."""

from __future__ import annotations

from typing import Any

import pytest
from multidict import CIMultiDict

from cpa_codex.quota import from_event, from_headers, from_usage

NOW = 1_800_000_000.0


def headers(**values: str) -> CIMultiDict[str]:
    return CIMultiDict({name.replace("_", "-"): value for name, value in values.items()})


def test_windows_are_told_by_their_length_not_by_their_name() -> None:
    found = from_headers(
        headers(
            x_codex_primary_used_percent="4.5",
            x_codex_primary_window_minutes="10080",
            x_codex_primary_reset_after_seconds="60",
            x_codex_secondary_used_percent="22",
            x_codex_secondary_window_minutes="300",
            x_codex_secondary_reset_at="1800000600",
        ),
        NOW,
    )
    assert [(window.name, window.used_ratio, window.resets_at) for window in found] == [
        ("seven_day", 0.045, NOW + 60),
        ("five_hour", 0.22, NOW + 600),
    ]


def test_a_window_of_nothing_is_none_and_additional_limits_are_named() -> None:
    found = from_headers(
        headers(
            x_codex_primary_used_percent="0",
            x_codex_primary_window_minutes="0",
            x_codex_primary_reset_after_seconds="0",
            x_codex_spark_limit_name="GPT-5.3-Codex-Spark",
            x_codex_spark_primary_used_percent="50",
            x_codex_spark_primary_window_minutes="300",
            x_codex_spark_primary_reset_at="1800000600",
        ),
        NOW,
    )
    assert [(window.name, window.used_ratio) for window in found] == [("five_hour:GPT-5.3-Codex-Spark", 0.5)]


SNAKE: dict[str, Any] = {
    "plan_type": "plus",
    "rate_limit": {
        "allowed": True,
        "primary_window": {"used_percent": 64, "limit_window_seconds": 18000, "reset_at": 1800000600},
        "secondary_window": {"used_percent": 10, "limit_window_seconds": 604800, "reset_at": 1800600000},
    },
    "additional_rate_limits": None,
}
CAMEL: dict[str, Any] = {
    "planType": "plus",
    "rateLimit": {
        "allowed": True,
        "primaryWindow": {"usedPercent": "64", "limitWindowSeconds": "18000", "resetAt": "1800000600"},
        "secondaryWindow": {"usedPercent": "10", "limitWindowSeconds": "604800", "resetAt": "1800600000"},
    },
}


def test_both_spellings_and_numbers_as_text_give_the_same_windows() -> None:
    assert from_usage(SNAKE, NOW) == from_usage(CAMEL, NOW)
    assert [(window.name, window.used_ratio) for window in from_usage(SNAKE, NOW)] == [
        ("five_hour", 0.64),
        ("seven_day", 0.1),
    ]


def test_a_limit_that_is_reached_counts_as_all_used() -> None:
    answer = {"rate_limit": {"limit_reached": True, "primary_window": {"limit_window_seconds": 18000}}}
    (window,) = from_usage(answer, NOW)
    assert window.used_ratio == 1.0


def test_events_tell_windows_too() -> None:
    event = {
        "type": "codex.rate_limits",
        "rate_limits": {
            "primary": {"used_percent": 42, "window_minutes": 300, "reset_at": 1800000001},
            "secondary": None,
        },
    }
    (window,) = from_event(event, NOW)
    assert (window.name, window.used_ratio, window.source) == ("five_hour", 0.42, "event")


@pytest.mark.parametrize("answer", [{}, {"rate_limit": None}, {"rate_limit": [1]}, {"additional_rate_limits": ["x"]}])
def test_answers_of_another_shape_give_none(answer: dict[str, Any]) -> None:
    assert from_usage(answer, NOW) == []


def test_every_way_to_tell_names_the_plan_and_what_credits_are_left() -> None:
    window = {"used_percent": 42, "window_minutes": 300, "reset_at": 1800000600}
    credit = {"has_credits": True, "unlimited": False, "balance": "12.50"}
    event = {"plan_type": "Team", "rate_limits": {"primary": window}, "credits": credit}
    told = headers(
        x_codex_plan_type="team",
        x_codex_primary_used_percent="42",
        x_codex_primary_window_minutes="300",
        x_codex_primary_reset_at="1800000600",
        x_codex_credits_has_credits="True",
        x_codex_credits_unlimited="False",
        x_codex_credits_balance="12.50",
    )
    for found in (
        from_headers(told, NOW),
        from_event(event, NOW),
        from_usage({**SNAKE, "plan_type": "team", "credits": credit}, NOW),
    ):
        assert {window.plan for window in found} == {"team"}
        assert [(window.name, window.amount) for window in found if window.paid] == [("credits", "12.5 left")]


@pytest.mark.parametrize(
    ("credit", "amount"),
    [
        ({"has_credits": False, "unlimited": False, "balance": "0"}, []),
        ({"has_credits": "True", "unlimited": "False", "balance": "much"}, []),
        ({"hasCredits": False, "unlimited": True, "balance": None}, ["unlimited"]),
        ("12", []),
        (None, []),
    ],
)
def test_credits_nobody_has_are_not_shown(credit: Any, amount: list[str]) -> None:
    found = from_event({"rate_limits": {}, "credits": credit}, NOW)
    assert [window.amount for window in found] == amount
