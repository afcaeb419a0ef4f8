"""Sums of usage as a table with bars that fits the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct
from rich.cells import cell_len, set_cell_size

from cpa.cli.account_words import one_line
from cpa.cli.price_words import share

LONGEST_BAR = 40
SHORTEST_BAR = 8
SHORTEST_NAME = 16
"""Names are cut to this before columns are left out."""
_EIGHTHS = " ▏▎▍▌▋▊▉"
_GAP = "  "
Row = dict[str, Any]


class Table(Struct):
    """Lines as wide as the terminal at most."""

    heading: str
    lines: list[str]
    total: str
    unpriced: str
    """The share of the tokens that have no cost, ``12%``; empty when all have one."""


def usage_table(rows: Sequence[Row], by: str, width: int) -> Table:
    """Lay out sums, their total and a bar of the tokens for each, in ``width`` columns.

    Numbers are written out where that leaves room for a bar, else shortened; then names are cut, and at last columns
    left out.
    """
    retried = any(row["attempts"] != row["requests"] for row in rows)
    columns = [column for column in _COLUMNS if column[1] != "attempts" or retried]
    total = _total(rows)
    for write, left_out in _WAYS:
        shown = [column for column in columns if column[0] not in left_out]
        cells = [_cells(row, shown, write) for row in [*rows, total]]
        heads = (by.upper(), *(head for head, _ in shown), "COST")
        widths = [max(map(cell_len, column)) for column in zip(heads, *cells, strict=True)]
        room = width - sum(widths) - len(_GAP) * len(widths)
        name = widths[0] + min(0, room + len(_GAP))
        if room >= SHORTEST_BAR or (write is short and name >= min(widths[0], SHORTEST_NAME)):
            break
    widths[0] = max(name, 1)
    most = max((row["total_tokens"] for row in rows), default=0)
    lines = [_line(each, widths) for each in cells]
    if room >= SHORTEST_BAR:
        bars = (bar(row["total_tokens"], most, min(room, LONGEST_BAR)) for row in rows)
        lines = [f"{line}{_GAP}{each}" for line, each in zip(lines, [*bars, ""], strict=True)]
    return Table(
        _line(heads, widths), lines[:-1], lines[-1].rstrip(), share(total["unpriced_tokens"], total["total_tokens"])
    )


def _cells(row: Row, columns: Sequence[tuple[str, str]], write: Callable[[int], str]) -> tuple[str, ...]:
    return (one_line(row["name"]) or "(none)", *(write(row[name]) for _, name in columns), cost(row))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, room = cells[0], widths[0]
    shown = set_cell_size(name, room) if cell_len(name) <= room else f"{set_cell_size(name, room - 1)}…"
    return _GAP.join([shown, *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))])


def cost(row: Row) -> str:
    """Dollars; a dash when nothing in the line has a price, a plus when a part has none."""
    if not row["priced"]:
        return "-"
    return f"{money(row['cost_nanos'])}+" if _is_part(row) else money(row["cost_nanos"])


def money(nanos: int) -> str:
    """Dollars and cents; of less than half a cent more digits."""
    return f"${nanos / 1e9:,.2f}" if nanos >= 5_000_000 or not nanos else f"${nanos / 1e9:.4f}"


def _is_part(row: Row) -> bool:
    return bool(row["priced"] and row["unpriced_tokens"])


def short(number: int) -> str:
    """``9,999``, ``12.3k``, ``1.19M``, ``1.19B``: four or five characters for what people read."""
    if number < 10_000:
        return f"{number:,}"
    units = (("k", number / 10**3), ("M", number / 10**6), ("B", number / 10**9))
    unit, scaled = next(((unit, scaled) for unit, scaled in units if scaled < 999.5), units[-1])
    digits = 0 if scaled >= 99.95 else 1 if scaled >= 9.995 else 2
    return f"{scaled:.{digits}f}{unit}"


def bar(value: int, most: int, longest: int) -> str:
    """A bar whose length is the share of ``most``, to an eighth of a character; what is there is always seen."""
    eighths = round(longest * 8 * value / most) if most else 0
    if value and not eighths:
        eighths = 1
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def _total(rows: Sequence[Row]) -> Row:
    return {"name": "total", **{name: sum(row[name] for row in rows) for name in rows[0] if name != "name"}}


def _written_out(number: int) -> str:
    return f"{number:,}"


_COLUMNS = (
    ("REQUESTS", "requests"),
    ("ATTEMPTS", "attempts"),
    ("FAILED", "failed"),
    ("TOKENS", "total_tokens"),
    ("CACHED", "cache_read_tokens"),
    ("OUTPUT", "output_tokens"),
)
_WAYS: tuple[tuple[Callable[[int], str], tuple[str, ...]], ...] = (
    (_written_out, ()),
    (short, ()),
    (short, ("OUTPUT",)),
    (short, ("OUTPUT", "CACHED", "ATTEMPTS")),
)
"""How numbers are written and which columns left out, from the widest to the narrowest."""
