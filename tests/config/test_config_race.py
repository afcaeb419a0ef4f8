"""Saves by hand while cpa writes the same file, over and over: none is lost.

``CPA_RACE_SAVES=20000`` makes the race long.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest

from cpa.config.file import ConfigBusy, ConfigFile

SAVES = int(os.environ.get("CPA_RACE_SAVES", "60"))
SECONDS = 2.0
"""For which a save may be out of sight: cpa swaps and puts back what it had not expected."""


def in_place(path: Path, text: str) -> None:
    """As ``cat > file`` and many editors do, in two pieces."""
    with path.open("w", encoding="utf-8") as stream:
        stream.write(text[:10])
        stream.flush()
        stream.write(text[10:])


def by_rename(path: Path, text: str) -> None:
    """As vim does."""
    new = path.with_name("saved-by-hand")
    new.write_text(text)
    os.rename(new, path)


def is_there(path: Path, mark: str) -> bool:
    """Whether the file holds a mark, or does soon."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if mark in path.read_text().splitlines():
            return True
        time.sleep(0.001)
    return False


@pytest.mark.parametrize("save", [in_place, by_rename])
def test_no_save_by_hand_is_lost(tmp_path: Path, save: Callable[[Path, str], None]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("# 0\nport: 1\n")
    over = threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        for port in cycle((2, 3)):
            if over.is_set():
                return
            try:
                ConfigFile(path).set(("port",), port)
                written += 1
            except ConfigBusy:
                pass

    writer = threading.Thread(target=write)
    writer.start()
    lost = []
    try:
        for number in range(SAVES):
            mark = f"# {number}"
            save(path, f"{mark}\nport: 1\n")
            if not is_there(path, mark):
                lost.append(number)
            time.sleep(number % 7 / 500)
    finally:
        over.set()
        writer.join()
    assert lost == []
    assert written > SAVES / 20
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.yaml"]
