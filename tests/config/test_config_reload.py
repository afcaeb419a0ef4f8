"""Saves of all kinds reach the running daemon; wrong files change nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cpa.config import ConfigStore, load_text
from cpa.config.diff import changed_paths, restart_required
from cpa.config.file import ConfigFile
from cpa.errors import ConfigError
from cpa.watch import ConfigWatcher


class Log:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def error(self, event: str, **values: Any) -> None:
        self.lines.append(f"{event} {values}")

    warning = exception = error


@asynccontextmanager
async def watching(path: Path, poll_seconds: float = 3.0) -> AsyncIterator[tuple[ConfigStore, Log, list[int]]]:
    """A watcher at work, and the ports of the snapshots that came into force."""
    store, log, ports = ConfigStore(path, {}), Log(), []
    store.subscribe(lambda _, new: ports.append(new.port))
    task = asyncio.create_task(ConfigWatcher(store, log, poll_seconds=poll_seconds).run())
    await asyncio.sleep(0.2)  # until the folder is watched; on a slower machine the poll sees what was missed
    try:
        yield store, log, ports
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(8):
        while not condition():
            await asyncio.sleep(0.02)


async def settled() -> None:
    """Long enough that a change would have been noticed."""
    await asyncio.sleep(0.5)


def by_rename(path: Path, text: str) -> None:
    beside = path.with_name(".new")
    beside.write_text(text)
    os.replace(beside, path)


def by_truncation(path: Path, text: str) -> None:
    with path.open("w") as stream:
        stream.flush()
        os.fsync(stream.fileno())
        stream.write(text)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text("port: 1\n")
    return file


@pytest.mark.parametrize("save", [by_rename, by_truncation])
async def test_a_save_is_one_reload_again_and_again(path: Path, save: Callable[[Path, str], None]) -> None:
    async with watching(path) as (_, _, ports):
        for port in (2, 3):
            save(path, f"port: {port}\n")
            await until(lambda port=port: ports[-1:] == [port])  # type: ignore[misc]
        await settled()
        assert ports == [2, 3]


async def test_a_swapped_link_is_noticed(tmp_path: Path) -> None:
    for name, port in (("v1", 1), ("v2", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(f"port: {port}\n")
    (tmp_path / "..data").symlink_to("v1")
    path = tmp_path / "config.yaml"
    path.symlink_to("..data/config.yaml")
    async with watching(path) as (store, _, _):
        (tmp_path / "..data_tmp").symlink_to("v2")
        os.replace(tmp_path / "..data_tmp", tmp_path / "..data")
        await until(lambda: store.current.port == 2)


async def test_the_file_behind_a_link_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real = tmp_path / "real" / "settings.yaml"
    real.write_text("port: 1\n")
    path = tmp_path / "config.yaml"
    path.symlink_to(real)
    async with watching(path) as (store, _, _):
        by_rename(real, "port: 2\n")
        await until(lambda: store.current.port == 2)


async def test_a_wrong_file_keeps_the_old_configuration_and_is_logged_once(path: Path) -> None:
    async with watching(path) as (store, log, ports):
        by_rename(path, "debug: true\nport: [\n")
        await until(lambda: bool(log.lines))
        path.touch()
        await settled()
        assert store.current.port == 1
        assert len(log.lines) == 1
        assert "line 3" in log.lines[0]
        by_rename(path, "debug: true\nport: 4\n")
        await until(lambda: ports == [4])


async def test_an_empty_a_missing_and_an_equal_file_change_nothing(path: Path) -> None:
    async with watching(path) as (store, log, ports):
        path.write_text("")
        await settled()
        path.unlink()
        await settled()
        path.write_text("port: 1\n")
        await settled()
        assert store.current.port == 1
        assert ports == []
        assert all("cannot read" in line for line in log.lines)


async def test_a_storm_of_saves_ends_with_the_last_valid_one(path: Path) -> None:
    async with watching(path) as (store, _, ports):
        for number in range(100):
            save = by_rename if number % 3 else by_truncation
            save(path, f"port: {number + 10}\n" if number % 2 == 0 else f"port: [{number}\n")
            await asyncio.sleep(0.01)
        by_rename(path, "port: 5555\n")
        await until(lambda: store.current.port == 5555)
        assert ports == sorted(ports)
        assert len(ports) < 60


async def test_a_slow_save_is_not_read_half(path: Path) -> None:
    async with watching(path) as (_, log, ports):
        with path.open("w") as stream:
            for line in ["port: 2\n", "api-keys:\n", *(f"  - key-{n}\n" for n in range(10))]:
                stream.write(line)
                stream.flush()
                await asyncio.sleep(0.02)
        await until(lambda: ports == [2])
        await settled()
        assert ports == [2]
        assert log.lines == []


async def test_without_notifications_the_file_is_looked_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise OSError("no watches left")

    monkeypatch.setattr("cpa.watch.FolderWatch", broken)
    async with watching(path, poll_seconds=0.05) as (store, log, _):
        by_rename(path, "port: 2\n")
        await until(lambda: store.current.port == 2)
        assert "every few seconds" in log.lines[0]


async def test_our_own_write_is_not_read_again(path: Path) -> None:
    async with watching(path) as (store, _, ports):
        await asyncio.to_thread(ConfigFile(path).set, ("port",), 7)
        store.reload()
        await settled()
        assert ports == [7]


async def test_a_failing_subscriber_does_not_stop_the_others_or_the_watcher(path: Path) -> None:
    async with watching(path) as (store, log, ports):

        def fail(*_: Any) -> None:
            raise RuntimeError("broken subscriber")

        store._subscribers.insert(0, fail)
        by_rename(path, "port: 2\n")
        await until(lambda: ports == [2])
        by_rename(path, "port: 3\n")
        await until(lambda: ports == [2, 3])
        assert log.lines


def test_a_snapshot_stays_what_it_was(path: Path) -> None:
    store = ConfigStore(path, {})
    before = store.current
    path.write_text("port: 2\n")
    assert store.reload() is True
    assert (before.port, store.current.port) == (1, 2)
    path.write_text("port: x\n")
    with pytest.raises(ConfigError):
        store.reload()
    assert store.current.port == 2


def test_changes_are_named_without_values() -> None:
    old = load_text("api-keys: [s1]\nclaude-api-key: [{api-key: s2}]\n", environ={}).config
    new = load_text(
        "api-keys: [s3]\nclaude-api-key: [{api-key: s4, prefix: p}]\nport: 1\ndebug: true\n", environ={}
    ).config
    assert changed_paths(old, new) == [
        "api-keys[0]",
        "claude-api-key[0].api-key",
        "claude-api-key[0].prefix",
        "debug",
        "port",
    ]
    assert restart_required(old, new) == ["port"]
    assert changed_paths(old, old) == []
