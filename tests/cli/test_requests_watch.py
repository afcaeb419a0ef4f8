"""Requests that are watched, in terminals of several widths."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from rich.cells import cell_len

from cpa.cli.requests_line import request_line
from cpa.cli.requests_watch import under_way

EVENT = {
    "at_ms": int(time.time() * 1000),
    "request_id": "b1a72767abc74158",
    "status": 200,
    "duration_ms": 2400,
    "model": "claude-sonnet-4-5",
    "account": "me@example.com",
    "ttft_ms": 150,
    "input_tokens": 38_000,
    "output_tokens": 39,
    "attempts": 1,
}
FAILED = {**EVENT, "status": 429, "attempts": 2, "error": "the account is busy, and this is told at length, to the end"}
LONG = {**FAILED, "model": "vendor/a-model-with-a-very-long-name-indeed", "account": "somebody.long@long.example.com"}


def line(event: dict[str, Any], width: int | None) -> str:
    return re.sub(r"\x1b\[\d+m", "", request_line(event, width))


@pytest.mark.parametrize("width", range(60, 200, 7))
@pytest.mark.parametrize("event", [EVENT, FAILED, LONG, {**LONG, "model": "模型" * 20, "error": "忙" * 60}])
def test_it_stays_on_one_line_and_nothing_is_cut_unseen(width: int, event: dict[str, Any]) -> None:
    shown = line(event, width)
    assert cell_len(shown) < width
    whole = line(event, None).split("  ")
    for part in shown.split("  ")[2:]:
        assert part in whole or any(told.startswith(part.removesuffix("…")) for told in whole)


@pytest.mark.parametrize("width", [None, 80, 200])
@pytest.mark.parametrize("error", ["", "no account offers it"])
def test_a_made_up_model_is_one_line(width: int | None, error: str) -> None:
    event = {**EVENT, "model": "made\nup\x1b[31m", "error": error}
    assert not {"\n", "\x1b"} & set(line(event, width))
    assert "\n" not in under_way([event], EVENT["at_ms"], width or 400)


def test_eighty_columns_show_what_matters_most() -> None:
    assert line(EVENT, 80).split("  ", 1)[1] == "b1a72767abc7  200     2.4 s  claude-sonnet-4-5  via me@example.com"
    failed = line(FAILED, 80)
    assert failed.split("  ", 1)[1] == "b1a72767abc7  429     2.4 s  claude-sonnet-4-5  the account is busy,…"
    assert line(LONG, 80).endswith("  vendor/a-model-with…  the account is bu…")


def test_a_hundred_and_twenty_show_nearly_all() -> None:
    assert line(EVENT, 120).endswith(
        "  b1a72767abc7  200     2.4 s  claude-sonnet-4-5  via me@example.com  38,000 in 39 out  first 150 ms"
    )
    assert line(FAILED, 130).endswith("the account is busy, and this is told at…  via me@example.com  2 tries")


def test_a_failure_names_the_model_that_was_asked_for_where_there_is_little_room() -> None:
    event = {**FAILED, "model": "mine", "upstream_model": "vendor/other"}
    assert "  mine  the account" in line(event, 80)
    assert "  mine > vendor/other  the account" in line(event, 160)


def test_into_a_file_it_goes_whole_and_never_steers_a_terminal() -> None:
    shown = line({**FAILED, "model": "evil\x1b[2Jname"}, None)
    assert "b1a72767abc74158" in shown
    assert "told at length, to the end" in shown
    assert "\x1b[2J" not in shown


@pytest.mark.parametrize("width", [20, 40, 80])
def test_what_is_under_way_is_told_as_far_as_it_has_room(width: int) -> None:
    running = [{"model": f"model-{number}", "path": "/", "at_ms": 0} for number in range(30)]
    text = under_way(running, 3000, width)
    assert cell_len(text) <= width
    assert text.startswith("… model-0 3s" if width > 20 else "… 30 under way")
    told = text.count("3s")
    assert text.endswith(f" and {30 - told} more") or width == 20
