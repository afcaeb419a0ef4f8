"""The API, the command line and a hand write one file at once. ``CPA_WRITER_SECONDS`` says for how long."""

from __future__ import annotations

import os
from pathlib import Path

from bench.config_writers import run

SECONDS = float(os.environ.get("CPA_WRITER_SECONDS", "2"))


async def test_nothing_that_was_acknowledged_is_lost_and_the_file_is_always_valid(tmp_path: Path) -> None:
    tally = await run(tmp_path, SECONDS)
    assert tally.problems == []
    assert tally.api > 0
    assert tally.command_line > 0
    assert tally.hand > 0
