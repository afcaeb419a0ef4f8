"""The owner's own way in."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cpa.cli.control import DaemonRefused, DaemonUnreachable, ask_daemon
from cpa.runtime import control_socket
from tests.management.conftest import Managed, Start


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(tmp_path / "run")}


async def test_the_owner_needs_no_key_and_no_enabled_api(start: Start, environ: dict[str, str]) -> None:
    daemon: Managed = await start(secret_key="", environ=environ)
    told = await asyncio.to_thread(ask_daemon, daemon.path, "GET", "/debug", None, environ)
    assert told == {"debug": False}
    await asyncio.to_thread(ask_daemon, daemon.path, "PUT", "/debug", {"value": True}, environ)
    assert daemon.daemon.store.current.debug
    with pytest.raises(DaemonRefused, match="invalid body"):
        await asyncio.to_thread(ask_daemon, daemon.path, "PUT", "/debug", {}, environ)


async def test_nobody_else_can_open_the_socket(start: Start, environ: dict[str, str]) -> None:
    daemon: Managed = await start(environ=environ)
    path = control_socket(daemon.path, environ)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_the_socket_goes_with_the_daemon_and_a_dead_one_is_replaced(
    start: Start, environ: dict[str, str]
) -> None:
    daemon: Managed = await start(environ=environ)
    path = control_socket(daemon.path, environ)
    await daemon.daemon.stop()
    assert not path.exists()
    with pytest.raises(DaemonUnreachable):
        ask_daemon(daemon.path, "GET", "/debug", None, environ)
    path.touch()
    again: Managed = await start(environ=environ)
    assert await asyncio.to_thread(ask_daemon, again.path, "GET", "/debug", None, environ) == {"debug": False}


async def test_a_second_daemon_of_the_same_file_leaves_the_socket_to_the_first(
    start: Start, environ: dict[str, str]
) -> None:
    first: Managed = await start(environ=environ)
    second: Managed = await start(environ=environ)
    await second.daemon.stop()
    assert await asyncio.to_thread(ask_daemon, first.path, "GET", "/debug", None, environ) == {"debug": False}


async def test_a_folder_others_can_write_is_not_used(start: Start, environ: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "run" / "cpa"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    daemon: Managed = await start(environ=environ)
    assert not control_socket(daemon.path, environ).exists()
    assert (await daemon.call("GET", "/debug")).status == 200
