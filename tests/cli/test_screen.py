"""What is printed on a terminal fits it."""

from __future__ import annotations

import sys

import pytest

from cpa.cli.screen import print_item


def test_the_lines_of_an_item_stand_beside_its_mark(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("NO_COLOR", "1")
    print_item("  +", "settings: debug, request-log, routing, streaming")
    assert capsys.readouterr().out == "  + settings: debug,\n    request-log, routing,\n    streaming\n"


def test_in_a_pipe_it_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    text = ", ".join(["a-setting"] * 20)
    print_item("  +", text)
    assert capsys.readouterr().out == f"  + {text}\n"
