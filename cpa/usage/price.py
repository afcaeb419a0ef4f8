"""What the tokens of one model cost.

Money is counted in whole nano-dollars (10^-9 USD); prices are nano-dollars per million tokens, so that list prices
are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal

from msgspec import Struct

from cpa.conversation.usage import Usage

NANO = 10**9
TOKENS = 10**6
ONE = Decimal(1)


class Price(Struct, frozen=True):
    """Nano-dollars per million tokens. None: the vendor names no price of its own, the input's is taken."""

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None
    """For five minutes."""
    cache_write_1h: int | None = None
    above_tokens: int | None = None
    """Prompts of more tokens than this cost what ``above`` says."""
    above: Price | None = None
    multiplier: Decimal = ONE
    """What everything is multiplied by, longer prompts too."""

    def cost(self, usage: Usage, factor: Decimal = ONE) -> int | None:
        """Nano-dollars for an answer; None when its tokens are not known."""
        if usage.input_total is None and usage.output_total is None:
            return None
        written_1h = usage.cache_write_1h or 0
        written = max((usage.cache_write or 0) - written_1h, usage.cache_write_5m or 0)
        return self.sum(usage.fresh_input, usage.cache_read or 0, written, written_1h, usage.output_total or 0, factor)

    def sum(self, fresh: int, read: int, written: int, written_1h: int, output: int, factor: Decimal = ONE) -> int:
        """Nano-dollars for tokens: fresh input, read from a cache, written to one for five minutes and an hour, output.

        No token is in two of them.
        """
        if self.above is not None and fresh + read + written + written_1h > (self.above_tokens or 0):
            total = self.above.exactly(fresh, read, written, written_1h, output)
        else:
            total = self.exactly(fresh, read, written, written_1h, output)
        if self.multiplier is not ONE:
            factor = factor * self.multiplier
        if factor is ONE:
            return (total + TOKENS // 2) // TOKENS
        return int((Decimal(total) * factor / TOKENS).to_integral_value(ROUND_HALF_UP))

    def exactly(self, fresh: int, read: int, written: int, written_1h: int, output: int) -> int:
        """Millionths of a nano-dollar for tokens, at this price alone."""
        total = fresh * self.input + output * self.output
        if read:
            total += read * (self.input if self.cache_read is None else self.cache_read)
        if written or written_1h:
            write = self.input if self.cache_write is None else self.cache_write
            total += written * write + written_1h * (write if self.cache_write_1h is None else self.cache_write_1h)
        return total


PARTS = ("input", "output", "cache_read", "cache_write", "cache_write_1h")


def price_of(
    nanos: Mapping[str, int | None], above: tuple[int, Price] | None = None, multiplier: Decimal = ONE
) -> Price:
    """A price of its :data:`PARTS`; ``above``: a number of tokens, and what longer prompts cost."""
    return Price(
        nanos.get("input") or 0,
        nanos.get("output") or 0,
        nanos.get("cache_read"),
        nanos.get("cache_write"),
        nanos.get("cache_write_1h"),
        above[0] if above is not None else None,
        above[1] if above is not None else None,
        multiplier,
    )


def nano(usd: float | Decimal) -> int:
    """USD as whole nano-dollars. What is not zero does not become zero: that would be a price of its own."""
    exact = usd if isinstance(usd, Decimal) else Decimal(repr(usd))
    rounded = int((exact * NANO).to_integral_value(ROUND_HALF_UP))
    return rounded or int(exact > 0)


def usd(nanos: int) -> int | float:
    """Nano-dollars as the USD that JSON and YAML show: exact, and whole where it is whole."""
    whole, rest = divmod(nanos, NANO)
    return nanos / NANO if rest else whole
