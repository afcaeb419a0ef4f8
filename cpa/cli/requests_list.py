"""Requests as lines of a terminal."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cpa.cli.account_words import DULL, Words
from cpa.cli.screen import print_rows

HEADINGS = ("TIME", "ID", "STATUS", "MODEL", "ACCOUNT", "TRIES", "FIRST", "TOOK", "IN", "OUT", "COST", "")
UNBROKEN = (0, 1, 2, 5, 6, 7, 8, 9, 10)
"""Columns whose cells are numbers and names that nobody can read in two pieces."""
ERROR = 11
SPARED = (5, 6, 8, 9)
"""Columns that a narrow terminal does without; the text of errors too, where not every request failed."""
NARROW = 120
SHORT_ID = 12
"""Digits of time that an id of ours begins with: where there is little room they name a request."""
OUR_ID = re.compile(rf"^([0-9a-f]{{{SHORT_ID}}})[0-9a-f]{{4}}$")
LONGEST_ERROR = 60
BAD, WARN, GOOD = "red", "yellow", "green"


def print_requests(rows: Sequence[dict[str, Any]]) -> None:
    """A table, one request on a line."""
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else NARROW
    print_rows(HEADINGS, [fitting(row, columns, rows) for row in rows], keep=UNBROKEN)


def fitting(row: dict[str, Any], columns: int, rows: Sequence[dict[str, Any]]) -> tuple[str | Words, ...]:
    """The cells of a request in a terminal of so many columns: a narrow one shows less, and nothing in pieces."""
    shown = cells(row)
    if columns >= NARROW:
        return shown
    spared = SPARED if all(other.get("error") for other in rows) else (*SPARED, ERROR)
    shown = tuple("" if number in spared else cell for number, cell in enumerate(shown))
    return (shown[0], OUR_ID.sub(r"\1", row["request_id"]), *shown[2:])


def cells(row: dict[str, Any]) -> tuple[str | Words, ...]:
    """What a line shows of a request."""
    return (
        clock(row["started_ms"]),
        row["request_id"],
        Words(str(row["status"]), style(row["status"])),
        model_name(row),
        row.get("account") or "",
        str(row["attempts"]) if row["attempts"] != 1 else "",
        seconds(row.get("ttft_ms")),
        seconds(row["duration_ms"]),
        count(row.get("input_tokens")),
        count(row.get("output_tokens")),
        "" if row.get("cost_usd") is None else f"${row['cost_usd']:.4f}",
        Words(shortened(row.get("error") or ""), DULL),
    )


def style(status: int) -> str:
    """The colour of a status."""
    return BAD if status >= 500 else WARN if status >= 400 else GOOD


def model_name(row: dict[str, Any]) -> str:
    """The model asked for, and the one that served it where that is another."""
    asked, served = row.get("model") or row.get("path") or row.get("endpoint") or "", row.get("upstream_model") or ""
    return f"{asked} > {served}" if served and served != asked else asked


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


def shortened(text: str) -> str:
    """One line, not too long."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_ERROR else f"{line[: LONGEST_ERROR - 1]}…"
