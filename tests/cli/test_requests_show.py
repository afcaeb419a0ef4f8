"""A request of which only the durable record knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from cpa.cli.requests_show import print_request
from cpa.usage.insert import insert
from cpa.usage.requests import describe_request
from cpa.usage.schema import open_database
from tests.usage.conftest import NOON, event


def test_what_a_tool_took_stands_after_its_attempt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is no attempt, and the summary is not of it."""
    connection = open_database(tmp_path / "u.sqlite")
    events = [
        event(attempt=1, final=False, failed=True, status=500, at_ms=NOON),
        event(attempt=2, at_ms=NOON + 1000),
        event(attempt=0, final=False, at_ms=NOON + 1000, model="gpt-image-2", latency_ms=0),
    ]
    insert(connection, events, NOON)
    shown = describe_request(connection, "r1")
    connection.close()
    assert shown is not None
    assert [row["attempts"] for row in shown["recorded"]] == [1, 2, 0]
    print_request(shown, only_text=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-3:]] == ["1", "2", "-"]
    assert "gpt-image-2" in lines[-1]
    (model,) = (line for line in lines if line.startswith("model:"))
    assert "gpt-image-2" not in model
    assert any(line.split() == ["status:", "200"] for line in lines)
