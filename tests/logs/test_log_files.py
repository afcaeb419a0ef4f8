"""Log files: what is in them, how they are rotated and bounded, and how their end is read."""

from __future__ import annotations

import gzip
import os
import time
from datetime import datetime
from pathlib import Path

import pytest

from cpa.logs.files import MAIN, LogFiles, clear, log_folder, prune, rotated_files
from cpa.logs.panel_line import panel_line
from cpa.logs.tail import follow, line_time, read_tail

NOON = datetime(2026, 1, 31, 12, 0, 0)


def line(second: int, text: str = "hi") -> str:
    return f"[2026-01-31 12:00:{second:02}] [--------] [info ] [cpa] {text}"


def at(second: int) -> int:
    return int(datetime(2026, 1, 31, 12, 0, second).timestamp())


def write(path: Path, *lines: str) -> None:
    with path.open("a") as stream:
        stream.write("".join(text + "\n" for text in lines))


# -- the layout ----------------------------------------------------------------------------------------------------


def test_an_ordinary_line_has_four_brackets_and_its_fields() -> None:
    event = {"event": "configuration applied", "level": "warning", "logger": "cpa", "changed": ["debug"]}
    assert panel_line(event, NOON) == (
        "[2026-01-31 12:00:00] [--------] [warn ] [cpa] configuration applied changed=['debug']"
    )


def test_an_access_line_is_what_log_viewers_read() -> None:
    event = {
        "event": "exchange",
        "level": "error",
        "logger": "cpa.exchange",
        "request_id": "a1b2c3d4",
        "status": 502,
        "duration_ms": 23559,
        "path": "/v1/messages",
        "model": "claude-x",
        "error": "it\nbroke",
    }
    assert panel_line(event, NOON) == (
        "[2026-01-31 12:00:00] [a1b2c3d4] [error] [cpa.exchange] 502 |       23.559s |               - | "
        'POST    "/v1/messages" | model=claude-x | it broke'
    )


def test_a_traceback_follows_its_line() -> None:
    text = panel_line({"event": "failed", "level": "error", "exception": "Traceback\n  x"}, NOON)
    assert text.splitlines()[1:] == ["Traceback", "  x"]


# -- writing -------------------------------------------------------------------------------------------------------


def test_lines_are_written_rotated_and_never_lost(tmp_path: Path) -> None:
    files = LogFiles(rotate_bytes=2000)
    files.configure(enabled=True, folder=tmp_path / "logs", total_mb=0)
    for number in range(300):
        files.write(f"line {number:03}")
        if number % 50 == 0:
            time.sleep(0.02)
    files.close()
    found = "".join(
        path.read_text() for path in [*rotated_files(tmp_path / "logs"), tmp_path / "logs" / MAIN] if path.exists()
    )
    assert found.split("\n")[:-1] == [f"line {number:03}" for number in range(300)]
    assert files.dropped == 0
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (tmp_path / "logs").iterdir())


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    files = LogFiles()
    files.configure(enabled=True, folder=tmp_path / "file", total_mb=0)
    for _ in range(5):
        files.write("lost")
    files.close()
    assert files.dropped == 5
    assert capsys.readouterr().err.count("cannot be written") == 1


def test_switching_off_ends_the_writing_and_on_begins_it_again(tmp_path: Path) -> None:
    files = LogFiles()
    for folder in ("a", "b"):
        files.configure(enabled=True, folder=tmp_path / folder, total_mb=0)
        files.write(folder)
    files.configure(enabled=False, folder=tmp_path / "b", total_mb=0)
    assert not files.active
    assert [(tmp_path / name / MAIN).read_text() for name in ("a", "b")] == ["a\n", "b\n"]


def test_the_oldest_files_go_first_and_the_current_one_never(tmp_path: Path) -> None:
    for number in range(4):
        path = tmp_path / f"main-2026-01-0{number + 1}T00-00-00.000.log"
        path.write_bytes(b"x" * 400)
        os.utime(path, (number, number))
    (tmp_path / MAIN).write_bytes(b"x" * 400)
    assert prune(tmp_path, 1300) == 2
    assert [path.name[:15] for path in rotated_files(tmp_path)] == ["main-2026-01-03", "main-2026-01-04"]
    assert prune(tmp_path, 1) == 2
    assert (tmp_path / MAIN).exists()
    assert prune(tmp_path, 0) == 0


def test_clearing_empties_what_is_still_written(tmp_path: Path) -> None:
    files = LogFiles()
    files.configure(enabled=True, folder=tmp_path, total_mb=0)
    files.write("before")
    deadline = time.monotonic() + 10
    while not (tmp_path / MAIN).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    (tmp_path / "main-2026-01-01T00-00-00.000.log").touch()
    (tmp_path / "other.log").touch()
    assert clear(tmp_path) == 1
    files.write("after")
    files.close()
    assert (tmp_path / MAIN).read_text() == "after\n"
    assert (tmp_path / "other.log").exists()


def test_the_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert log_folder({"WRITABLE_PATH": str(tmp_path)}, Path("/x")) == tmp_path / "logs"
    monkeypatch.chdir(tmp_path)
    assert log_folder({}, Path("/x")) == tmp_path / "logs"


# -- reading -------------------------------------------------------------------------------------------------------


def test_the_newest_lines_come_over_all_files_in_order(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "main-2026-01-29T00-00-00.000.log.gz", "wt") as stream:
        stream.write(line(1, "first") + "\n")
    write(tmp_path / "main-2026-01-30T00-00-00.000.log", line(2), line(3))
    write(tmp_path / MAIN, line(4), line(5))
    tail = read_tail(tmp_path, 0, 100)
    assert tail.lines == [line(1, "first"), line(2), line(3), line(4), line(5)]
    assert (tail.looked_at, tail.latest) == (5, at(5))
    assert read_tail(tmp_path, 0, 2).lines == [line(4), line(5)]


def test_only_newer_lines_are_given_and_continuations_stay_with_theirs(tmp_path: Path) -> None:
    write(tmp_path / MAIN, line(1), "  of one", line(2), "  of two", "  more of two", line(3))
    assert read_tail(tmp_path, at(1), 100).lines == [line(2), "  of two", "  more of two", line(3)]
    assert read_tail(tmp_path, at(2), 100).lines == [line(3)]
    future = read_tail(tmp_path, at(9), 100)
    assert (future.lines, future.latest) == ([], at(9))


def test_no_folder_is_no_lines(tmp_path: Path) -> None:
    tail = read_tail(tmp_path / "none", 7, 10)
    assert (tail.lines, tail.looked_at, tail.latest) == ([], 0, 7)


def test_a_large_file_is_read_from_its_end(tmp_path: Path) -> None:
    with (tmp_path / MAIN).open("w") as stream:
        for number in range(200_000):
            stream.write(line(number % 60, f"number {number}") + "\n")
    tail = read_tail(tmp_path, 0, 3)
    assert [text.rpartition(" ")[2] for text in tail.lines] == ["199997", "199998", "199999"]
    assert tail.looked_at == 3


def test_a_cursor_gives_what_came_since_even_over_a_rotation(tmp_path: Path) -> None:
    main = tmp_path / MAIN
    write(main, line(1))
    cursor = read_tail(tmp_path, 0, 10).cursor
    assert follow(tmp_path, cursor, 10).lines == []
    write(main, line(2))
    with main.open("a") as stream:
        stream.write("half a li")
    first = follow(tmp_path, cursor, 10)
    assert (first.lines, first.latest, first.reset) == ([line(2)], at(2), False)
    with main.open("a") as stream:
        stream.write("ne\n")
    main.rename(tmp_path / "main-2026-01-31T12-00-00.000.log")
    write(main, line(3))
    second = follow(tmp_path, first.cursor, 10)
    assert second.lines == ["half a line", line(3)]
    assert follow(tmp_path, second.cursor, 10).lines == []


@pytest.mark.parametrize("cursor", ["", "nonsense", "W10", "WzEsMl0", "eyJhIjoxfQ"])
def test_a_cursor_that_leads_nowhere_starts_anew(tmp_path: Path, cursor: str) -> None:
    write(tmp_path / MAIN, line(1))
    tail = follow(tmp_path, cursor, 10)
    assert (tail.lines, tail.reset) == ([line(1)], True)


def test_a_truncated_file_starts_anew(tmp_path: Path) -> None:
    write(tmp_path / MAIN, line(1), line(2))
    cursor = read_tail(tmp_path, 0, 10).cursor
    os.truncate(tmp_path / MAIN, 0)
    write(tmp_path / MAIN, line(3))
    tail = follow(tmp_path, cursor, 10)
    assert (tail.lines, tail.reset) == ([line(3)], True)


def test_times_that_are_none() -> None:
    assert line_time(b"[2026-13-31 12:00:00] x") is None
    assert line_time(b"2026-01-31 12:00:00 x") == at(0)
    assert line_time(b"Traceback") is None
