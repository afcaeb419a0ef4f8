"""The documents name what there is, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)]*)?\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files_that_exist(document: Path) -> None:
    missing = [target for target, _ in LINK.findall(document.read_text()) if not (document.parent / target).exists()]
    assert missing == []


def test_the_index_lists_every_page() -> None:
    listed = {target for target, _ in LINK.findall((ROOT / "docs" / "README.md").read_text())}
    assert listed == {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}


def test_contributing_lists_every_room() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    listed = set(re.findall(r"^\| `cpa/(\w+)/`", text, re.MULTILINE))
    assert listed == {path.parent.name for path in (ROOT / "cpa").glob("*/__init__.py")}


COMMAND = re.compile(r"(?:`|\$\()cpa ([a-z][a-z-]*)")


def test_commands_that_are_named_exist() -> None:
    from cpa.cli.main import COMMANDS

    named = {name for document in DOCUMENTS for name in COMMAND.findall(document.read_text())}
    assert "accounts" in named
    assert named - set(COMMANDS) == set()


CODE = re.compile(r"""\bcode="([a-z_]+)\"""")
TOLD_TO_CLIENTS = ("errors.py", "exchange", "formats", "plugins/guard.py", "server", "upstream")


def test_every_error_that_clients_are_told_is_explained() -> None:
    places = [ROOT / "cpa" / name for name in TOLD_TO_CLIENTS]
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*.py"))]
    told = {code for file in files for code in CODE.findall(file.read_text())}
    explained = set(re.findall(r"`([a-z_]+)`", (ROOT / "docs" / "errors.md").read_text()))
    assert "bad_event" in told
    assert told - explained == set()
