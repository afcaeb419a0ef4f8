"""A finished request as one line of a terminal: the most important first, and what has no room left out whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
from msgspec import Struct
from rich.cells import cell_len

from cpa.cli.account_words import one_line, printable
from cpa.cli.requests_list import SHORT_ID, clock, count, cut, model_name, seconds, short_id, style

WIDE = 140
"""Columns of a terminal that has room for whole ids and for the model that served a failed request."""
GAP = 2
OF_INTEREST = 4
"""The rank from which on a part is nice to know and no more."""


class Part(Struct):
    """One thing that is told of a request."""

    text: str
    rank: int = 0
    """What has the highest rank is left out first; 0 stays."""
    least: int = 0
    """Columns to which it may be shortened; 0 is not at all."""
    colour: str = ""

    def needed(self, share: int = 1) -> int:
        """The columns it needs, with ``share`` times the least for what can be shortened."""
        width = cell_len(self.text)
        return min(self.least * share, width) if self.least else width


def request_line(event: dict[str, Any], width: int | None = None) -> str:
    """A finished request in a terminal of ``width`` columns; None is no terminal, and everything is told."""
    parts = _parts(event, narrow=width is not None and width < WIDE)
    if width is not None:
        parts = fitting(parts, width - 1)
    return (" " * GAP).join(click.style(part.text, fg=part.colour) if part.colour else part.text for part in parts)


def fitting(parts: list[Part], width: int) -> list[Part]:
    """The parts that have room in ``width`` columns, as long as they can be.

    What is merely of interest goes before anything else gets tight, and that before anything else goes.
    """
    kept = list(parts)
    for rank, share in ((OF_INTEREST, 2), (1, 1)):
        while _columns(part.needed(share) for part in kept) > width:
            last = max(kept, key=lambda part: part.rank)
            if last.rank < rank:
                break
            kept.remove(last)
    excess = _columns(cell_len(part.text) for part in kept) - width
    for part in sorted(kept, key=lambda part: -part.rank):
        columns = cell_len(part.text)
        spared = min(columns - part.needed(), excess)
        if spared > 0:
            part.text = cut(part.text, columns - spared)
            excess -= spared
    return kept


def _columns(widths: Iterable[int]) -> int:
    """What texts of these widths take together."""
    known = list(widths)
    return sum(known) + GAP * (len(known) - 1)


def _parts(event: dict[str, Any], *, narrow: bool) -> list[Part]:
    """What is known of a request, in the order in which it is told."""
    request_id = printable(event["request_id"])
    model = one_line(event["model"]) if narrow and event.get("error") and event.get("model") else model_name(event)
    tokens = f"{count(event.get('input_tokens')) or 0} in {count(event.get('output_tokens')) or 0} out"
    account = one_line(event.get("account") or "")
    parts = [
        Part(clock(event["at_ms"])),
        Part(short_id(request_id).ljust(SHORT_ID) if narrow else request_id),
        Part(f"{event['status']:>3}", colour=style(event["status"])),
        Part(f"{seconds(event['duration_ms']):>8}"),
        Part(model, rank=1, least=20),
        Part(printable(" ".join(event.get("error", "").split())), rank=2, least=18),
        Part(f"via {account}" if account else "", rank=3, least=18),
        Part(f"{event['attempts']} tries" if event["attempts"] > 1 else "", rank=4),
        Part(tokens if "input_tokens" in event else "", rank=5),
        Part(f"first {seconds(event['ttft_ms'])}" if "ttft_ms" in event else "", rank=6),
    ]
    return [part for part in parts if part.text]
