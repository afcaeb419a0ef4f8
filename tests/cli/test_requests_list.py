"""Requests fit a terminal of eighty columns without a word in pieces."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cpa.cli.requests_list import HEADINGS, fitting
from cpa.server.request import new_id

ROW: dict[str, Any] = {
    "started_ms": 1_700_000_000_000,
    "request_id": "997194ccca748583",
    "status": 200,
    "model": "claude-opus-4-6",
    "account": "anna@example.com",
    "attempts": 2,
    "ttft_ms": 1200,
    "duration_ms": 2400,
    "input_tokens": 120_000,
    "output_tokens": 4000,
    "cost_usd": 0.1234,
}
FAILED = {**ROW, "request_id": "mine-and-long-enough", "status": 502, "error": "the upstream broke off", "model": "m"}


def shown(row: dict[str, Any], columns: int, *others: dict[str, Any]) -> dict[str, str]:
    cells = fitting(row, columns, [row, *others])
    return {name: getattr(cell, "text", cell) for name, cell in zip(HEADINGS, cells, strict=True)}


def test_a_wide_terminal_shows_everything() -> None:
    cells = shown(ROW, 120, FAILED)
    assert cells["ID"] == "997194ccca748583"
    assert (cells["TRIES"], cells["FIRST"], cells["IN"]) == ("2", "1.2 s", "120,000")
    assert shown(FAILED, 120, ROW)[""] == "the upstream broke off"


def test_a_narrow_one_shows_the_beginning_of_our_ids_and_fewer_columns() -> None:
    cells = shown(ROW, 80, FAILED)
    assert cells["ID"] == "997194ccca74"
    assert {name for name, text in cells.items() if text} == {
        "TIME",
        "ID",
        "STATUS",
        "MODEL",
        "ACCOUNT",
        "TOOK",
        "COST",
    }


def test_a_narrow_one_tells_requests_of_the_same_second_apart() -> None:
    ids = []
    for _ in range(5):
        ids.append(shown({**ROW, "request_id": new_id()}, 80)["ID"])
        time.sleep(0.001)
    assert len(set(ids)) == 5


@pytest.mark.parametrize(("others", "error"), [((), "the upstream broke off"), ((ROW,), "")])
def test_errors_are_told_where_every_request_failed(others: tuple[dict[str, Any], ...], error: str) -> None:
    cells = shown(FAILED, 80, *others)
    assert cells[""] == error
    assert cells["ID"] == "mine-and-long-enough"
