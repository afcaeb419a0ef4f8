"""Prices in words and figures."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cpa.usage.price import NANO

Row = dict[str, Any]
"""A price as :func:`cpa.usage.price_rows.shown_row` gives it."""


def dollars(usd: float | None) -> str:
    """``$0.075``, ``$15.00``: cents at least, more digits where there are any; nothing for None."""
    if usd is None:
        return ""
    text = f"{usd:,.9f}".rstrip("0")
    whole, _, digits = text.partition(".")
    return f"${whole}.{digits.ljust(2, '0')}"


def origin(row: Row) -> str:
    """Where a price comes from."""
    source = str(row["source"])
    return {"manual": "config.yaml", "built-in": "cpa"}.get(source, source)


def in_a_line(row: Row) -> str:
    """``$1.25 in, $10.00 out, $0.125 cached``"""
    parts = [f"{dollars(row['prompt'])} in", f"{dollars(row['completion'])} out"]
    if row["cache_read"] is not None:
        parts.append(f"{dollars(row['cache_read'])} cached")
    if row["multiplier"] != 1:
        parts.append(f"times {row['multiplier']:g}")
    return ", ".join(parts)


def day(ms: int) -> str:
    """The local day of a moment; nothing for none."""
    return f"{datetime.fromtimestamp(ms / 1000):%Y-%m-%d}" if ms else ""


def share(part: int, whole: int) -> str:
    """``12%``; what is there is never 0, and what is missing never 100."""
    if not part or not whole:
        return ""
    percent = round(part / whole * 100)
    if part < whole:
        percent = min(percent, 99)
    return f"{percent}%" if percent else "<1%"


def example(nanos: int | None) -> str:
    """What something costs, to the last digit."""
    return "-" if nanos is None else dollars(nanos / NANO)
