"""What is said of an auth directory that cannot be used."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cpa.accounts import directory_fault as module
from cpa.accounts.directory_fault import directory_fault


def refusing(folder: Path, rights: int) -> Callable[[str | Path, int], bool]:
    """``os.access`` where this user lacks rights in one folder; the superuser, who may run tests, lacks none."""
    return lambda path, right: not (Path(path) == folder and right & rights)


def test_one_that_is_there_or_can_be_made_is_well(tmp_path: Path) -> None:
    assert directory_fault(tmp_path) is None
    assert directory_fault(tmp_path / "new" / "auth") is None


@pytest.mark.parametrize(
    ("rights", "said"),
    [
        (os.R_OK, "cannot be read by this user, its logins are not used: chmod 700 "),
        (os.W_OK, "cannot be written by this user, renewed tokens cannot be kept: chmod 700 "),
    ],
)
def test_missing_rights_are_named_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rights: int, said: str
) -> None:
    monkeypatch.setattr(module.os, "access", refusing(tmp_path, rights))
    assert f"{tmp_path} {said}{tmp_path}" in (directory_fault(tmp_path) or "")
    monkeypatch.setattr(module.os, "geteuid", lambda: 12345)
    assert f"chown 12345 {tmp_path}" in (directory_fault(tmp_path) or "")


def test_what_stands_in_its_place_or_above_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("")
    link.symlink_to(tmp_path / "nowhere")
    assert f"{file} is a file" in (directory_fault(file) or "")
    assert f"cannot be made, {file} is a file" in (directory_fault(file / "a" / "b") or "")
    assert f"{link} is a link to {tmp_path}/nowhere" in (directory_fault(link) or "")
    monkeypatch.setattr(module.os, "access", refusing(tmp_path, os.W_OK))
    assert f"cannot be made, {tmp_path} cannot be written" in (directory_fault(tmp_path / "a" / "b") or "")
