"""The auth directory is edited by people, other programs and ourselves while the daemon runs."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

import cpa.watch
from cpa.accounts.account import Account
from cpa.accounts.files import AuthDirectory
from cpa.accounts.pool import AccountPool
from cpa.catalog.catalog import Catalog
from cpa.config import Config
from cpa.errors import AuthFileMissing
from cpa.exchange.auth_files import AuthFiles
from cpa.exchange.roster import Roster
from cpa.plugins import Model, Provider, file_account, hookimpl
from cpa.plugins.manager import Plugins
from cpa.watch import AuthWatcher

MANY = int(os.environ.get("CPA_TEST_AUTH_FILES", "300"))
SECRET = "rt_planted-secret-0123456789"


class FileProvider(Provider):
    """Serves auth files of type ``files``."""

    name = "files"

    def accounts_from_file(self, path: str, data: dict[str, Any]) -> list[Account] | None:
        if data["type"] != "files":
            return None
        return [file_account(path, data, secret=str(data.get("access_token", "")))]

    def models(self, account: Account, builtin: Any) -> list[Model]:
        return [Model(id="big")]


class Watched:
    """A directory, what watches it, and what was heard of its accounts."""

    def __init__(self, path: Path) -> None:
        log = structlog.get_logger()
        plugins = Plugins(log)

        class Plugin:
            @hookimpl
            def cpa_providers(self) -> list[Provider]:
                return [FileProvider()]

        plugins.register(Plugin(), "files", Config())
        plugins.load(Config(), [])
        self.pool = AccountPool()
        self.catalog = Catalog(self.pool.listed)
        self.roster = Roster(plugins, self.pool, self.catalog, log)
        self.roster.apply_config(Config())
        self.heard: list[str] = []
        self.roster.subscribe(self._hear)
        self.path = path
        self.files = AuthFiles(AuthDirectory(path), self.roster, log)
        self.watcher = AuthWatcher(self.files, log, poll_seconds=0.2)

    def _hear(self, old: Account | None, new: Account | None) -> None:
        account = new or old
        assert account is not None
        kind = "added" if old is None else "deleted" if new is None else "changed"
        self.heard.append(f"{kind} {account.id}")

    def secret(self, name: str) -> str | None:
        account = self.pool.get(name)
        return account.secret if account is not None else None

    def replace(self, name: str, **members: Any) -> None:
        """Write a file as careful programs do: temp file, rename over."""
        temporary = self.path / f"{name}.tmp"
        temporary.write_text(json.dumps({"type": "files", **members}))
        os.replace(temporary, self.path / name)


async def until(condition: Callable[[], bool], what: str = "") -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"never happened: {what}")


async def settled() -> None:
    """Long enough for anything that is under way to be noticed."""
    await asyncio.sleep(0.6)


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    watched = Watched(tmp_path / "auth")
    watched.path.mkdir()
    watched.replace("a.json", access_token="1", refresh_token=SECRET)
    await watched.watcher.prepare()
    await watched.files.load()
    task = asyncio.create_task(watched.watcher.run())
    await asyncio.sleep(0.1)
    watched.heard.clear()
    yield watched
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_files_that_come_change_and_go_are_followed(watched: Watched) -> None:
    assert watched.secret("a.json") == "1"
    watched.replace("b.json", access_token="2")
    await until(lambda: watched.secret("b.json") == "2")
    (watched.path / "b.json").write_text('{"type":"files","access_token":"3"}')
    await until(lambda: watched.secret("b.json") == "3")
    (watched.path / "b.json").unlink()
    await until(lambda: watched.pool.get("b.json") is None)
    await settled()
    assert watched.heard == ["added b.json", "changed b.json", "deleted b.json"]
    assert set(watched.catalog.offers("big")) == {"a.json"}


async def test_replacing_a_file_is_one_change_and_never_a_deletion(watched: Watched) -> None:
    for number in range(5):
        watched.replace("a.json", access_token=f"new-{number}")
        await until(lambda expected=f"new-{number}": watched.secret("a.json") == expected)
    (watched.path / "a.json").unlink()  # a careless program: delete, then write
    watched.replace("a.json", access_token="last")
    await until(lambda: watched.secret("a.json") == "last")
    await settled()
    assert watched.heard == ["changed a.json"] * 6


async def test_a_half_written_file_keeps_the_old_account_until_it_is_whole(watched: Watched) -> None:
    with capture_logs() as logs:
        (watched.path / "a.json").write_text(f'{{"type":"files","access_token":"2","refresh_token":"{SECRET}')
        await until(lambda: "a.json" in watched.files.unusable)
        await settled()
        assert watched.secret("a.json") == "1"
        (watched.path / "a.json").write_text('{"type":"files","access_token":"2"}')
        await until(lambda: watched.secret("a.json") == "2")
    assert watched.files.unusable == {}
    assert sum(line["log_level"] == "warning" for line in logs) == 1
    assert SECRET not in str(logs)


async def test_the_log_says_what_changed_and_no_value(watched: Watched) -> None:
    with capture_logs() as logs:
        watched.replace("a.json", access_token="2", refresh_token=SECRET + "x", note="n")
        await until(lambda: watched.secret("a.json") == "2")
    (line,) = [line for line in logs if line["event"] == "auth file changed"]
    assert line["changed"] == "access_token, note, refresh_token"
    assert SECRET not in str(logs)


async def test_other_names_are_ignored_and_any_case_of_the_ending_counts(watched: Watched) -> None:
    (watched.path / "inner").mkdir()
    for name in ("inner/x.json", "x.json.tmp", ".oauth-abc.json", "x.txt"):
        (watched.path / name).write_text('{"type":"files"}')
    (watched.path / "B.JSON").write_text('{"type":"files","access_token":"b"}')
    await until(lambda: watched.secret("B.JSON") == "b")
    await settled()
    assert watched.heard == ["added B.JSON"]


async def test_what_we_write_ourselves_is_in_force_at_once_and_never_reloaded(watched: Watched) -> None:
    watched.pool.fail("a.json", "big", scope="model", reason="quota", seconds=600, message="")
    await watched.files.update("a.json", lambda data: {**data, "access_token": "renewed"})
    assert watched.secret("a.json") == "renewed"
    await watched.files.create("n.json", {"type": "files", "access_token": "n"})
    assert watched.secret("n.json") == "n"
    renamed = await watched.files.rename("n.json", "m.json")
    assert (renamed.name, watched.secret("n.json"), watched.secret("m.json")) == ("m.json", None, "n")
    assert await watched.files.delete("m.json")
    assert watched.pool.get("m.json") is None
    heard = list(watched.heard)
    await settled()
    assert watched.heard == heard
    assert watched.pool.blocked("a.json", "big") is not None
    with pytest.raises(AuthFileMissing):
        await watched.files.update("m.json", lambda data: {**data, "x": 1})
    assert sorted(os.listdir(watched.path)) == ["a.json"]


async def test_many_files_at_once_are_all_taken(watched: Watched) -> None:
    for number in range(MANY):
        watched.replace(f"{number}.json", access_token="1")
    for number in range(MANY):
        watched.replace(f"{number}.json", access_token="2")
    await until(lambda: all(watched.secret(f"{number}.json") == "2" for number in range(MANY)))
    for number in range(0, MANY, 2):
        (watched.path / f"{number}.json").unlink()
    await until(lambda: len(watched.pool) == 1 + MANY // 2)


async def test_a_directory_put_in_place_of_the_old_one_is_followed(watched: Watched, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "c.json").write_text('{"type":"files","access_token":"c"}')
    watched.path.rename(tmp_path / "old")
    fresh.rename(watched.path)
    await until(lambda: watched.secret("c.json") == "c" and watched.pool.get("a.json") is None)
    watched.replace("c.json", access_token="d")
    await until(lambda: watched.secret("c.json") == "d")


async def test_a_directory_that_vanishes_takes_no_account_with_it(watched: Watched, tmp_path: Path) -> None:
    shutil.move(watched.path, tmp_path / "away")
    await settled()
    assert watched.secret("a.json") == "1"
    shutil.move(tmp_path / "away", watched.path)
    watched.replace("a.json", access_token="2")
    await until(lambda: watched.secret("a.json") == "2")


async def test_changes_the_kernel_does_not_tell_are_found_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(*arguments: Any) -> AsyncIterator[set[Path]]:
        raise OSError("no more watches")
        yield set()

    monkeypatch.setattr(cpa.watch, "changes", deaf)
    watched = Watched(tmp_path / "auth")
    watched.path.mkdir()
    await watched.watcher.prepare()
    watched.replace("early.json", access_token="1")  # after the look, before the watch
    task = asyncio.create_task(watched.watcher.run())
    await until(lambda: watched.secret("early.json") == "1")
    (watched.path / "early.json").write_text('{"type":"files","access_token":"22"}')
    await until(lambda: watched.secret("early.json") == "22")
    (watched.path / "early.json").unlink()
    await until(lambda: watched.pool.get("early.json") is None)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_bad_files_are_named_at_start_and_the_rest_serves(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "auth")
    watched.path.mkdir()
    for number in range(250):
        watched.replace(f"{number}.json", access_token="1")
    (watched.path / "bad.json").write_text('{"type":"files","refresh_token":"' + SECRET)
    (watched.path / "empty.json").write_text("")
    with capture_logs() as logs:
        await watched.files.load()
    assert len(watched.pool) == 250
    assert set(watched.files.unusable) == {"bad.json", "empty.json"}
    assert SECRET not in str(logs)


async def test_a_directory_that_cannot_be_made_is_reported_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    watched = Watched(tmp_path / "file" / "auth")
    with capture_logs() as logs:
        await watched.watcher.prepare()
        await watched.files.load()
    (line,) = (line for line in logs if line["event"] == "auth directory cannot be used")
    assert line["reason"].startswith(f"{tmp_path}/file/auth cannot be made, {tmp_path}/file is a file: move it away")
    assert len(watched.pool) == 0
