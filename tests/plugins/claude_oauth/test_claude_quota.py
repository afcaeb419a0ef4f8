"""What Claude tells of quota, in headers and when asked."""

from __future__ import annotations

from typing import Any

import pytest
from multidict import CIMultiDict

from cpa.errors import ErrorInfo
from cpa_claude import ClaudeProvider
from cpa_claude.quota import from_headers, from_usage

NOW = 1_800_000_000.0
PREFIX = "anthropic-ratelimit-unified"


def test_percent_when_asked_and_fractions_in_headers_mean_the_same() -> None:
    reset = "2027-01-15T08:00:00Z"
    headers = CIMultiDict(
        {f"{PREFIX}-5h-utilization": "0.36", f"{PREFIX}-5h-reset": "1800000000", f"{PREFIX}-5h-status": "allowed"}
    )
    (passive,) = from_headers(headers, NOW)
    usage = {"five_hour": {"utilization": 36, "resets_at": reset}, "extra_usage": {"utilization": 25}, "iguana": None}
    (asked,) = from_usage(usage, NOW)
    assert passive.name == asked.name == "five_hour"
    assert passive.used_ratio == pytest.approx(0.36)
    assert asked.used_ratio == pytest.approx(0.36)
    assert passive.limit_seconds == asked.limit_seconds == 18000
    assert passive.resets_at == asked.resets_at == 1_800_000_000
    assert (passive.source, asked.source) == ("headers", "query")


def test_windows_for_families_of_models_are_told_apart() -> None:
    usage: dict[str, Any] = {
        "seven_day": {"utilization": 72.5, "resets_at": None},
        "seven_day_opus": {"utilization": 100},
        "seven_day_sonnet": None,
        "seven_day_oauth_apps": {"utilization": "3"},
    }
    found = {window.name: window.used_ratio for window in from_usage(usage, NOW)}
    assert found == {"seven_day": 0.725, "seven_day:opus": 1.0, "seven_day:oauth_apps": 0.03}


def test_limits_of_api_keys_count_what_is_left() -> None:
    headers = CIMultiDict(
        {
            "anthropic-ratelimit-requests-limit": "50",
            "anthropic-ratelimit-requests-remaining": "10",
            "anthropic-ratelimit-requests-reset": "2027-01-15T08:00:00Z",
        }
    )
    (window,) = from_headers(headers, NOW)
    assert (window.name, window.resets_at) == ("requests", 1_800_000_000)
    assert window.used_ratio == pytest.approx(0.8)


@pytest.mark.parametrize("value", ["", "much", "-"])
def test_what_is_no_number_is_no_window(value: str) -> None:
    assert from_headers(CIMultiDict({f"{PREFIX}-5h-utilization": value}), NOW) == []
    assert from_usage({"five_hour": {"utilization": value}, "seven_day": [1]}, NOW) == []


def test_a_revoked_token_counts_as_refused_although_the_status_is_403() -> None:
    body = b'{"type":"error","error":{"type":"permission_error","message":"OAuth token has been revoked."}}'
    judged = ClaudeProvider().read_error(403, {}, body, ErrorInfo(403, "OAuth token has been revoked."))
    assert (judged.reason, judged.scope) == ("unauthorized", "account")


@pytest.mark.parametrize(
    ("told", "ratio", "amount"),
    [
        (
            {"is_enabled": True, "monthly_limit": 1000, "used_credits": 250, "utilization": 25},
            0.25,
            "250 of 1000 spent",
        ),
        ({"is_enabled": True, "monthly_limit": 1000, "used_credits": 1500.5}, 1.0, "1500.5 of 1000 spent"),
        ({"is_enabled": True, "monthly_limit": None, "used_credits": 7, "utilization": None}, None, "7 spent"),
        ({"is_enabled": True}, None, "no limit"),
    ],
)
def test_what_is_paid_for_beside_the_subscription_is_no_window_of_it(
    told: dict[str, Any], ratio: float | None, amount: str
) -> None:
    (window,) = from_usage({"extra_usage": told}, NOW)
    assert (window.name, window.used_ratio, window.amount, window.paid) == ("extra_usage", ratio, amount, True)


@pytest.mark.parametrize("told", [None, [], {}, {"is_enabled": False, "utilization": 9}, {"is_enabled": "yes"}])
def test_extra_usage_that_is_off_is_not_shown(told: Any) -> None:
    assert from_usage({"extra_usage": told}, NOW) == []
