"""Measure what finding a price and computing a cost take, as it is done once for every recorded attempt.

    python -m bench.price_cost [--factors 50]

Prints nanoseconds, the lowest of ten rounds: to find a price that was found before, and to compute what an attempt
costs, without factors and with some.
"""

from __future__ import annotations

import argparse
import timeit

from cpa.config.load import load_text
from cpa.usage.event import Event
from cpa.usage.prices import CurrentPrices
from cpa.usage.tokens import Tokens

CALLS = 100_000
ROUNDS = 10
ATTEMPT = Event(
    group="key-1",
    provider="claude",
    model="claude-sonnet-4-5-20250929",
    requested_model="sonnet",
    source="me@example.org",
    tokens=Tokens(input=100, output=100, cache_read=700, cache_creation=100, total=1000, uncached=100),
    upstream_format="claude",
)


def prices(factors: int) -> CurrentPrices:
    """The prices that ship with cpa, and so many factors that look at the model and the tier."""
    lines = "".join(f"  - {{factor: 2, model: 'x{number}*', service-tier: priority}}\n" for number in range(factors))
    config = load_text(f"price-factors:\n{lines}" if factors else "{}\n", environ={}).config
    return CurrentPrices(lambda: config)


def nanoseconds(statement: str, current: CurrentPrices) -> float:
    """How long a statement takes."""
    names = {"current": current, "attempt": ATTEMPT}
    return min(timeit.repeat(statement, globals=names, number=CALLS, repeat=ROUNDS)) / CALLS * 1e9


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--factors", type=int, default=50)
    factors = parser.parse_args().factors
    for number in (0, factors):
        current = prices(number)
        find = nanoseconds("current().find(attempt.model, attempt.requested_model)", current)
        cost = nanoseconds("current().cost_of(attempt)", current)
        print(f"{number:3} factors: price found in {find:.0f} ns, cost computed in {cost:.0f} ns")


if __name__ == "__main__":
    main()
