"""Label values stay few, and outcomes have names."""

from __future__ import annotations

import pytest

from cpa.metrics.labels import Bounded, outcome_of


def test_only_the_first_values_get_labels_of_their_own() -> None:
    bounded = Bounded(2)
    assert [bounded(value) for value in ("a", "b", "c", "a", "d")] == ["a", "b", "other", "a", "other"]


def test_an_empty_value_is_named_and_a_giant_one_is_not_kept() -> None:
    bounded = Bounded(5)
    assert bounded("") == "none"
    assert bounded("x" * 129) == "other"


@pytest.mark.parametrize(
    ("status", "error", "outcome"),
    [
        (200, None, "success"),
        (200, "stream_error", "failed"),
        (0, "network", "failed"),
        (400, "invalid", "refused"),
        (401, "no", "unauthorized"),
        (403, "no", "unauthorized"),
        (408, "slow", "failed"),
        (429, "quota", "rate_limited"),
        (499, None, "cancelled"),
        (502, "bad", "failed"),
    ],
)
def test_outcomes(status: int, error: str | None, outcome: str) -> None:
    assert outcome_of(status, error) == outcome
