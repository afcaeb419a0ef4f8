"""Requests as lines of a terminal."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.cells import cell_len, set_cell_size

from cpa.cli.account_words import DULL, Words, one_line
from cpa.cli.screen import print_rows

HEADINGS = ("TIME", "ID", "STATUS", "MODEL", "ACCOUNT", "TRIES", "FIRST", "TOOK", "IN", "OUT", "COST", "")
ID, MODEL, ACCOUNT, ERROR = 1, 3, 4, 11
SPARED: tuple[tuple[int, ...], ...] = ((5, 6), (8, 9))
"""Columns that a narrow terminal does without, in this order."""
SPARED_AT_LAST = {True: (7, 10), False: (ERROR,)}
"""By whether every request failed."""
LEAST = ((ERROR, 24), (ACCOUNT, 10), (MODEL, 16), (ACCOUNT, 8), (MODEL, 12), (ERROR, 12))
"""What is shortened where there is too little room, and to how many columns, in this order."""
NO_TERMINAL = 10_000
GAP = 2
SHORT_ID = 12
"""Digits of time that an id of ours begins with: where there is little room they name a request."""
OUR_ID = re.compile(rf"^([0-9a-f]{{{SHORT_ID}}})[0-9a-f]{{4}}$")
LONGEST_ERROR = 60
BAD, WARN, GOOD = "red", "yellow", "green"


def print_requests(rows: Sequence[dict[str, Any]]) -> None:
    """A table, one request on a line."""
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else NO_TERMINAL
    print_rows(HEADINGS, fitting(rows, columns), keep=range(len(HEADINGS)))


def fitting(rows: Sequence[dict[str, Any]], columns: int) -> list[list[Words]]:
    """The cells of requests in a terminal of so many columns: a narrow one shows less, and nothing in pieces."""
    lines = [[cell if isinstance(cell, Words) else Words(cell) for cell in cells(row)] for row in rows]
    failed = all(row.get("error") for row in rows)
    for spared in ((), *SPARED, SPARED_AT_LAST[failed]):
        if _excess(lines, columns) <= max(0, _width(lines, ERROR) - LEAST[0][1]):
            break
        for line in lines:
            line[ID] = Words(short_id(line[ID].text))
            for number in spared:
                line[number] = Words("")
    for number, least in LEAST:
        width = _width(lines, number)
        if (spare := min(_excess(lines, columns), width - least)) > 0:
            for line in lines:
                line[number] = Words(cut(line[number].text, width - spare), line[number].style)
    return lines


def _width(lines: Sequence[Sequence[Words]], number: int) -> int:
    """The widest cell of a column."""
    return max(cell_len(line[number].text) for line in lines)


def _excess(lines: Sequence[Sequence[Words]], columns: int) -> int:
    """Columns that a table has too many."""
    widths = {heading: _width(lines, number) for number, heading in enumerate(HEADINGS)}
    shown = [max(width, len(heading)) for heading, width in widths.items() if width]
    return sum(shown) + GAP * (len(shown) - 1) - columns


def short_id(request_id: str) -> str:
    """As much of an id as names a request; `cpa requests show` takes it as it stands."""
    if ours := OUR_ID.match(request_id):
        return ours[1]
    return cut(request_id, SHORT_ID + 4)


def cut(text: str, width: int) -> str:
    """A text in so many columns, its end left out where it has more."""
    return text if cell_len(text) <= width else f"{set_cell_size(text, width - 1).rstrip()}…"


def cells(row: dict[str, Any]) -> tuple[str | Words, ...]:
    """What a line shows of a request."""
    return (
        clock(row["started_ms"]),
        row["request_id"],
        Words(str(row["status"]), style(row["status"])),
        model_name(row),
        one_line(row.get("account") or ""),
        str(row["attempts"]) if row["attempts"] != 1 else "",
        seconds(row.get("ttft_ms")),
        seconds(row["duration_ms"]),
        count(row.get("input_tokens")),
        count(row.get("output_tokens")),
        "" if row.get("cost_usd") is None else f"${row['cost_usd']:.4f}",
        Words(cut(" ".join((row.get("error") or "").split()), LONGEST_ERROR), DULL),
    )


def style(status: int) -> str:
    """The colour of a status."""
    return BAD if status >= 500 else WARN if status >= 400 else GOOD


def model_name(row: dict[str, Any]) -> str:
    """The model asked for, and the one that served it where that is another."""
    asked, served = row.get("model") or row.get("path") or row.get("endpoint") or "", row.get("upstream_model") or ""
    return one_line(f"{asked} > {served}" if served and served != asked else asked)


def clock(ms: int) -> str:
    """Local time, with the day when it is not today."""
    moment = datetime.fromtimestamp(ms / 1000)
    today = moment.date() == datetime.now().date()
    return f"{moment:%H:%M:%S}" if today else f"{moment:%m-%d %H:%M:%S}"


def seconds(ms: int | None) -> str:
    """A duration."""
    if ms is None:
        return ""
    return f"{ms} ms" if ms < 1000 else f"{ms / 1000:.1f} s"


def count(tokens: int | None) -> str:
    """A number of tokens; nothing for none."""
    return f"{tokens:,}" if tokens else ""
