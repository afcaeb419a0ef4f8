"""The kernel's word on what changes in folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cpa.inotify import FolderWatch


def test_it_tells_what_changes_directly_in_its_folders(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one / "inside", two):
        folder.mkdir(parents=True)
    (one / "old").write_text("a")
    with FolderWatch([one, two]) as watch:
        assert watch.read() == set()
        (one / "new").write_text("b")
        (one / "inside" / "deep").write_text("c")
        assert watch.read() == {one / "new"}
        (one / "old").rename(two / "moved")
        assert watch.read() == {one / "old", two / "moved"}
        (two / "moved").unlink()
        (two / "link").symlink_to(one / "new")
        odd = os.fsdecode(b"\xff \xc3\xa4")
        (two / odd).touch()
        assert watch.read() == {two / "moved", two / "link", two / odd}
        assert watch.read() == set()


def test_many_changes_are_told_over_several_calls(tmp_path: Path) -> None:
    names = {f"{'x' * 200}{number}" for number in range(500)}
    with FolderWatch([tmp_path]) as watch:
        for name in names:
            (tmp_path / name).touch()
        found: set[Path] = set()
        while told := watch.read():
            found |= told
    assert {path.name for path in found} == names


@pytest.mark.parametrize("name", ["nothing", "file"])
def test_what_is_no_folder_cannot_be_watched(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="directory"):
        FolderWatch([tmp_path, tmp_path / name])
    assert set(os.listdir("/proc/self/fd")) == before
