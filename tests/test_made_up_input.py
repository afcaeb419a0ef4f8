"""Parsers of what others wrote refuse made-up input in time; ``python -m bench.fuzz`` feeds a million to each."""

from __future__ import annotations

import pytest

from bench.fuzz import TARGETS, run

FEW = {"yaml": 300}


@pytest.mark.parametrize("name", TARGETS)
def test_made_up_input_is_borne(name: str) -> None:
    """Property 36 in small."""
    outcome = run(name, FEW.get(name, 3000), seed=7)
    assert outcome.slow == 0, outcome
