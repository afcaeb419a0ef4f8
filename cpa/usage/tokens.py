"""Token counts of an attempt: as its upstream told them, and as they are recorded."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple

from cpa.conversation.usage import Usage

SEPARATE_REASONING = frozenset({"gemini", "gemini-cli"})
"""Upstream formats that count reasoning beside the output."""
SEPARATE_CACHE = frozenset({"claude"})
"""Upstream formats that count cached input beside the input."""
MOST_TOKENS = 10**12
"""More than this in one answer is a mistake of the upstream's; it counts as not told."""
TOKEN_COLUMNS = (
    "input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens", "cache_read_tokens",
    "cache_creation_tokens", "total_tokens",
)  # fmt: skip

Counts = tuple[int, int, int, int, int, int, int, int, int, int, bool]
"""Values of :class:`Tokens`."""
Reported = tuple[int | None, ...]
"""What an upstream told: input, read from a cache, written to one, that for an hour, output, reasoning, total."""
reported: Callable[[Usage], Reported] = attrgetter(
    "input_total", "cache_read", "cache_write", "cache_write_1h", "output_total", "reasoning", "total"
)
"""What is recorded of what an upstream told."""


class Tokens(Struct, gc=False):
    """Token counts in two views.

    The first six are those of the upstream's own kind, as dashboards know them: for Claude ``input`` is without what
    was read from or written to a cache, for Gemini ``output`` is without reasoning. The last two tell every input
    token apart for all kinds.
    """

    input: int = 0
    output: int = 0
    reasoning: int = 0
    cached: int = 0
    cache_read: int = 0
    cache_creation: int = 0
    total: int = 0
    uncached: int = 0
    """Input that was neither read from nor written to a cache."""
    cache_creation_1h: int = 0
    """The part of ``cache_creation`` that is kept for an hour."""
    unclassified: int = 0
    """The part of ``total`` that the upstream told as a sum only."""
    consistent: bool = True
    """False when the parts, as told, cannot all be right."""

    def shown(self) -> dict[str, int]:
        """The object that answers of the management API carry."""
        return {
            "input_tokens": self.input,
            "output_tokens": self.output,
            "reasoning_tokens": self.reasoning,
            "cached_tokens": self.cached,
            "cache_read_tokens": self.cache_read,
            "cache_creation_tokens": self.cache_creation,
            "total_tokens": self.total,
        }


NO_TOKENS: Counts = astuple(Tokens())


def tokens_of(usage: Usage | None, upstream_format: str) -> Tokens:
    """Both views of what an upstream reported; zeros for what it did not."""
    return Tokens() if usage is None else Tokens(*counts_of(reported(usage), upstream_format))


def counts_of(told: Reported, upstream_format: str) -> Counts:
    """:func:`tokens_of` as a tuple.

    What was not told is zero. Parts are never more than their whole: cached input that is more than the input was not
    counted in it, unless the total says that it was. A total that is more than its parts is believed, and the rest
    belongs to none of them.
    """
    whole, read, written, written_1h, output, reasoning, sum_told = told
    whole, output, sum_told = whole or 0, output or 0, sum_told or 0
    total = whole + output
    if not (read or written or reasoning) and (sum_told == total or not sum_told) and total <= MOST_TOKENS:
        return whole, output, 0, 0, 0, 0, total, whole, 0, 0, True
    read, written, written_1h, reasoning = read or 0, written or 0, written_1h or 0, reasoning or 0
    exceeding = read + written > whole
    if exceeding and sum_told and sum_told == whole + output:
        read = min(read, whole)
        written = min(written, whole - read)
    elif exceeding:
        whole += read + written
        exceeding = sum_told != whole + output
    total = whole + output
    if total > MOST_TOKENS or sum_told > MOST_TOKENS:
        return NO_TOKENS
    consistent = not exceeding and reasoning <= output and (sum_told >= total or not sum_told)
    reasoning = min(reasoning, output)
    fresh = whole - read - written
    return (
        fresh if upstream_format in SEPARATE_CACHE else whole,
        output - reasoning if upstream_format in SEPARATE_REASONING else output,
        reasoning,
        read or written,
        read,
        written,
        max(total, sum_told),
        fresh,
        min(written_1h, written),
        max(0, sum_told - total),
        consistent,
    )


def shown_tokens(row: Any) -> dict[str, int]:
    """The token object of a row."""
    return {name: row[name] for name in TOKEN_COLUMNS}
