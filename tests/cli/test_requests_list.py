"""Requests fit a terminal of eighty columns without a word in pieces."""

from __future__ import annotations

import time
from typing import Any

import pytest
from rich.cells import cell_len

from cpa.cli.requests_list import HEADINGS, fitting
from cpa.exchange.request_ids import new_request_id

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
    cells = fitting([row, *others], columns)[0]
    return {name: cell.text for name, cell in zip(HEADINGS, cells, strict=True)}


def width(rows: list[dict[str, Any]], columns: int) -> int:
    """Columns that the table of these requests takes."""
    table = [list(HEADINGS), *([cell.text for cell in line] for line in fitting(rows, columns))]
    filled = [column for column in zip(*table, strict=True) if any(column[1:])]
    return sum(max(map(cell_len, column)) for column in filled) + 2 * (len(filled) - 1)


def test_a_wide_terminal_shows_everything() -> None:
    cells = shown(ROW, 160, FAILED)
    assert cells["ID"] == "997194ccca748583"
    assert (cells["TRIES"], cells["FIRST"], cells["IN"]) == ("2", "1.2 s", "120,000")
    assert shown(FAILED, 160, ROW)[""] == "the upstream broke off"


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
        ids.append(shown({**ROW, "request_id": new_request_id()}, 80)["ID"])
        time.sleep(0.001)
    assert len(set(ids)) == 5


@pytest.mark.parametrize(("others", "error"), [((), "the upstream broke o…"), ((ROW,), "")])
def test_errors_are_told_where_every_request_failed(others: tuple[dict[str, Any], ...], error: str) -> None:
    cells = shown(FAILED, 80, *others)
    assert cells[""] == error
    assert cells["ID"] == "mine-and-long-e…"


LONG = {
    **ROW,
    "request_id": "0b9f5a52-9d2e-4a31-9c11-ad1b57d8a8a1",
    "model": "claude-haiku-4-5-20251001",
    "upstream_model": "vendor/haiku",
    "account": "somebody.with.a.long.name@example.com",
}
LONG_FAILED = {
    **LONG,
    "status": 502,
    "error": "the upstream broke off in the middle of its answer, and nobody knows why",
}


@pytest.mark.parametrize("rows", [[LONG], [LONG_FAILED], [LONG, LONG_FAILED, ROW]])
def test_eighty_columns_are_enough_for_long_names(rows: list[dict[str, Any]]) -> None:
    assert width(rows, 80) <= 80
    cells = shown(rows[0], 80, *rows[1:])
    assert cells["ID"] == "0b9f5a52-9d2e-4…"
    assert cells["MODEL"].startswith("claude-haik")
    assert cells["ACCOUNT"].startswith("somebod")


def test_a_hundred_and_twenty_tell_of_some_errors_too() -> None:
    rows = [ROW, {**ROW, "status": 429, "error": "the account is busy, and this is told at some length"}]
    cells = shown(rows[1], 120, rows[0])
    assert cells[""] == "the account is busy, and this…"
    assert (cells["ID"], cells["TOOK"]) == ("997194ccca74", "2.4 s")


def test_nothing_is_shortened_where_there_is_room() -> None:
    cells = shown({**ROW, "model": "gpt-5.4", "account": "a@b.c"}, 80, ROW)
    assert (cells["MODEL"], cells["ACCOUNT"]) == ("gpt-5.4", "a@b.c")


@pytest.mark.parametrize("columns", [80, 200])
def test_a_made_up_model_is_one_line(columns: int) -> None:
    cells = shown({**ROW, "model": "made\nup\x1b[31m", "account": "a\nb"}, columns)
    assert not {"\n", "\x1b"} & set("".join(cells.values()))
