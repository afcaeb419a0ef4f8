"""Choosing among many accounts while everything fails: nobody is left out, and it costs next to nothing."""

from __future__ import annotations

import pytest

from bench.selection_cost import VARIANTS, measure
from bench.selection_simulation import SCENARIOS, Scenario, Simulation
from cpa.accounts.cooldown import PROBE_INTERVAL


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_healthy_account_is_to_be_had_within_one_probe_interval(scenario: Scenario) -> None:
    simulation = Simulation(scenario, accounts=20, models=4, per_second=2.0, down=0.4)
    figures = simulation.run(15_000)
    assert figures.failed_attempts > 50
    assert figures.recoveries > 30
    assert (figures.closed, figures.refused) == (0, 0)
    if scenario.takes_turns:
        assert figures.probes > 5
        assert 60 < figures.slowest <= PROBE_INTERVAL + 10 * simulation.turn
        assert figures.least > 0.9
        assert figures.most < 1.1


@pytest.mark.parametrize("strategy", ["round-robin", "fill-first", "weighted-round-robin", "quota-aware"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_choice_is_cheap_among_a_thousand_accounts(strategy: str, variant: str) -> None:
    """The full size runs in ``bench.selection_cost``; ten times what it measures is no accident."""
    assert measure(1000, strategy, variant, 1000).mean < 60
