"""What a browser finds at ``/management.html``."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from tests.management.conftest import Managed, Start

PAGE = b"<!doctype html><script>'a panel'</script>"


async def test_without_a_panel_the_page_says_what_to_do(managed: Managed) -> None:
    answer = await managed.call("GET", "/management.html", key=None)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    for help_ in ("static", "MANAGEMENT_STATIC_PATH", "cpa doctor", "The management API is on", managed.url):
        assert help_ in answer.text
    style = await managed.call("GET", "/management.css", key=None)
    assert (style.status, style.headers["Content-Type"]) == (200, "text/css; charset=utf-8")


async def test_it_says_how_to_turn_the_api_on(start: Start) -> None:
    daemon: Managed = await start(secret_key="")
    assert "The management API is off" in (await daemon.call("GET", "/management.html", key=None)).text


async def test_a_copy_beside_the_configuration_takes_its_place_at_once(managed: Managed) -> None:
    folder = managed.path.parent / "static"
    folder.mkdir()
    (folder / "management.html").write_bytes(PAGE)
    answer = await managed.call("GET", "/management.html", key=None)
    assert (answer.status, answer.body) == (200, PAGE)
    again = await managed.call("GET", "/management.html", key=None, If_None_Match=answer.headers["ETag"])
    assert (again.status, again.body) == (304, b"")
    (folder / "management.html").unlink()
    assert b"cpa is running" in (await managed.call("GET", "/management.html", key=None)).body


@pytest.mark.parametrize("name", ["panel.html", "management.html"])
async def test_the_environment_names_a_file_or_its_folder(start: Start, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / name).write_bytes(PAGE)
    named = folder / name if name == "panel.html" else folder
    daemon: Managed = await start(environ={"MANAGEMENT_STATIC_PATH": f" {named} "})
    assert (await daemon.call("GET", "/management.html", key=None)).body == PAGE


async def test_whoever_wants_no_panel_has_none(start: Start) -> None:
    daemon: Managed = await start("  disable-control-panel: true\n")
    for path in ("/management.html", "/management.css"):
        answer = await daemon.call("GET", path, key=None)
        assert (answer.status, answer.text) == (404, "404 page not found")


async def test_pages_may_not_be_framed_and_ours_runs_no_script(managed: Managed) -> None:
    ours = (await managed.call("GET", "/management.html", key=None)).headers
    assert "default-src 'none'" in ours["Content-Security-Policy"]
    assert "script-src" not in ours["Content-Security-Policy"]
    (managed.path.parent / "static").mkdir()
    (managed.path.parent / "static" / "management.html").write_bytes(PAGE)
    theirs = (await managed.call("GET", "/management.html", key=None)).headers
    for headers in (ours, theirs):
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"


def test_what_is_shipped_loads_nothing_from_elsewhere() -> None:
    for asset in files("cpa.web").iterdir():
        if asset.name.endswith((".html", ".css", ".js", ".svg")):
            assert not re.search(r"(https?:)?//\w", asset.read_text()), asset.name
            assert "<script" not in asset.read_text(), asset.name
