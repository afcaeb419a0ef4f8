"""Log lines through the API."""

from __future__ import annotations

from pathlib import Path

import pytest

from cpa.logs.files import MAIN
from tests.management.conftest import Managed, Start


@pytest.fixture
async def logging(start: Start, tmp_path: Path) -> Managed:
    daemon: Managed = await start("logging-to-file: true\n", environ={"WRITABLE_PATH": str(tmp_path)})
    return daemon


async def test_without_log_files_there_is_nothing_to_show(managed: Managed) -> None:
    for method in ("GET", "DELETE"):
        answer = await managed.call(method, "/logs")
        assert (answer.status, answer.json) == (400, {"error": "logging to file disabled"})


async def test_no_folder_yet_is_no_lines(logging: Managed) -> None:
    told = (await logging.call("GET", "/logs?after=7")).json
    assert told == {"lines": [], "line-count": 0, "latest-timestamp": 7, "next-cursor": ""}
    assert (await logging.call("DELETE", "/logs")).json == {"error": "log directory not found"}


@pytest.mark.parametrize(
    ("limit", "error"),
    [
        ("0", "greater than zero"),
        ("-3", "greater than zero"),
        ("x", "a positive integer"),
        ("1.5", "a positive integer"),
    ],
)
async def test_a_limit_that_is_none_is_refused(logging: Managed, limit: str, error: str) -> None:
    answer = await logging.call("GET", f"/logs?limit={limit}")
    assert (answer.status, answer.json["error"]) == (400, f"invalid limit: must be {error}")


async def test_lines_are_shown_followed_and_cleared(logging: Managed, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / MAIN).write_text("[2026-01-31 12:00:01] one\n[2026-01-31 12:00:02] two\n")
    (folder / "main-2026-01-30T00-00-00.000.log").write_text("[2026-01-30 12:00:01] old\n")
    told = (await logging.call("GET", "/logs?limit=2")).json
    assert [line[-3:] for line in told["lines"]] == ["one", "two"]
    with (folder / MAIN).open("a") as stream:
        stream.write("[2026-01-31 12:00:03] three\n")
    more = (await logging.call("GET", f"/logs?limit=10&cursor={told['next-cursor']}")).json
    assert more["lines"] == ["[2026-01-31 12:00:03] three"]
    cleared = (await logging.call("DELETE", "/logs")).json
    assert cleared == {"success": True, "message": "Logs cleared successfully", "removed": 1}
    assert (await logging.call("GET", "/logs")).json["lines"] == []
