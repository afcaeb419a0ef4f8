"""The auth directory: what is read, how it is written, and that no login is ever lost."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from auth_samples import SAMPLES, dumped

from cpa.accounts.files import AuthDirectory, check_name
from cpa.errors import AuthFileError, AuthFileExists, AuthFileMissing

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("CPA_TEST_KILLS", "8"))


@pytest.fixture
def directory(tmp_path: Path) -> AuthDirectory:
    return AuthDirectory(tmp_path / "auth")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_every_shape_that_the_go_program_writes_is_read(directory: AuthDirectory) -> None:
    directory.ensure()
    for name, data in SAMPLES.items():
        (directory.path / name).write_bytes(dumped(data))
    assert {file.name: file.data for file in directory.scan()} == SAMPLES


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"[]", "is no JSON object"),
        (b"{}", 'has no "type"'),
        (b'{"type":""}', 'has no "type"'),
        (b'{"type":7}', 'has no "type"'),
        (b'{"type":"claude","access_token":"sk-secr', "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b'{"type":"claude","x":"' + b"x" * 1024 * 1024 + b'"}', "is larger than 1 MiB"),
    ],
)
def test_a_file_that_is_no_auth_file_is_reported_and_the_others_are_read(
    directory: AuthDirectory, content: bytes, reason: str
) -> None:
    directory.ensure()
    (directory.path / "a.json").write_bytes(content)
    (directory.path / "b.json").write_bytes(b'{"type":"claude"}')
    skipped: dict[str, str] = {}
    assert [file.name for file in directory.scan(skipped.__setitem__)] == ["b.json"]
    assert list(skipped) == ["a.json"]
    assert reason in skipped["a.json"]
    assert "secr" not in skipped["a.json"]


def test_only_json_files_at_the_top_level_count(directory: AuthDirectory) -> None:
    directory.ensure()
    (directory.path / "sub.json").mkdir()
    (directory.path / "inner").mkdir()
    os.mkfifo(directory.path / "pipe.json")
    for name in ("inner/x.json", "x.json.tmp", ".oauth-state.json", "notes.txt", "B.JSON"):
        (directory.path / name).write_bytes(b'{"type":"claude"}')
    skipped: dict[str, str] = {}
    assert [file.name for file in directory.scan(skipped.__setitem__)] == ["B.JSON"]
    assert set(skipped) == {"sub.json", "pipe.json"}


def test_the_type_is_read_without_case_and_a_byte_order_mark_does_no_harm(directory: AuthDirectory) -> None:
    directory.ensure()
    (directory.path / "a.json").write_bytes(b'\xef\xbb\xbf{"type":" CLAUDE "}')
    file = directory.read("a.json")
    assert file is not None
    assert file.type == "claude"
    assert directory.update("a.json", lambda data: {**data, "note": "x"}).data["note"] == "x"


def test_a_missing_directory_is_empty_and_made_private_by_the_first_login(directory: AuthDirectory) -> None:
    assert list(directory.scan()) == []
    assert directory.read("a.json") is None
    file = directory.create("a.json", {"type": "claude"})
    assert mode_of(directory.path) == 0o700
    assert mode_of(file.path) == 0o600


def test_files_that_others_could_read_are_made_private(directory: AuthDirectory) -> None:
    directory.path.mkdir(mode=0o755)
    open_to_all = directory.path / "a.json"
    open_to_all.write_bytes(b'{"type":"claude"}')
    open_to_all.chmod(0o644)
    directory.ensure()
    assert (mode_of(directory.path), mode_of(open_to_all)) == (0o700, 0o600)
    open_to_all.chmod(0o644)
    directory.update("a.json", lambda data: {**data, "note": "n"})
    assert mode_of(open_to_all) == 0o600


def test_what_a_killed_process_left_behind_is_removed(directory: AuthDirectory) -> None:
    directory.path.mkdir()
    old, young = directory.path / ".a.json.abcd1234", directory.path / ".b.json.abcd1234"
    for path in (old, young):
        path.write_bytes(b"{")
    os.utime(old, (time.time() - 3600, time.time() - 3600))
    directory.ensure()
    assert [path.name for path in directory.path.iterdir()] == [young.name]


def test_an_update_keeps_every_member_it_does_not_mean(directory: AuthDirectory) -> None:
    original = (
        b'{"type":"claude","big":123456789012345678901234567890,"one":1.0,"x":{"y":[1,null,"\\u00e9"]},"note":"mine"}'
    )
    directory.ensure()
    (directory.path / "a.json").write_bytes(original)
    file = directory.update("a.json", lambda data: {**data, "access_token": "new"})
    content = file.path.read_bytes()
    assert json.loads(content) == {**json.loads(original), "access_token": "new"}
    assert b"123456789012345678901234567890" in content
    assert b"1.0" in content
    assert file == directory.read("a.json")


def test_an_indented_file_stays_one(directory: AuthDirectory) -> None:
    directory.ensure()
    (directory.path / "a.json").write_text(json.dumps({"type": "gemini", "auto": True}, indent=2))
    file = directory.update("a.json", lambda data: {**data, "auto": False})
    assert file.path.read_text() == json.dumps({"type": "gemini", "auto": False}, indent=2)


def test_nothing_is_written_when_nothing_changes(directory: AuthDirectory) -> None:
    directory.ensure()
    path = directory.path / "a.json"
    path.write_bytes(b'{ "type": "claude",  "priority": 1 }')
    before = path.stat()
    file = directory.update("a.json", lambda data: {"priority": 1, "type": "claude"})
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert file == directory.read("a.json")
    directory.update("a.json", lambda data: {**data, "priority": True})
    assert json.loads(path.read_bytes())["priority"] is True


def test_a_deleted_file_is_not_made_again_by_an_update(directory: AuthDirectory) -> None:
    directory.create("a.json", {"type": "claude"})
    assert directory.delete("a.json")
    assert not directory.delete("a.json")
    with pytest.raises(AuthFileMissing):
        directory.update("a.json", lambda data: data)
    assert directory.names() == []


def test_an_edit_that_raises_or_gives_nonsense_changes_nothing(directory: AuthDirectory) -> None:
    path = directory.create("a.json", {"type": "claude"}).path

    def failing(data: dict[str, Any]) -> dict[str, Any]:
        data["type"] = "changed in place"
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        directory.update("a.json", failing)
    with pytest.raises(AuthFileError):
        directory.update("a.json", lambda data: {"access_token": "without a type"})
    assert path.read_bytes() == b'{"type":"claude"}'


def test_a_half_written_file_is_not_updated(directory: AuthDirectory) -> None:
    directory.ensure()
    path = directory.path / "a.json"
    path.write_bytes(b'{"type":"cla')
    with pytest.raises(AuthFileError):
        directory.update("a.json", lambda data: {**data, "x": 1})
    assert path.read_bytes() == b'{"type":"cla'


def test_a_new_file_replaces_another_only_when_asked(directory: AuthDirectory) -> None:
    directory.create("a.json", {"type": "claude"})
    with pytest.raises(AuthFileExists):
        directory.create("a.json", {"type": "codex"})
    assert directory.put("a.json", {"type": "codex"}).type == "codex"


def test_a_file_gets_another_name_unless_that_is_taken(directory: AuthDirectory) -> None:
    directory.create("a.json", {"type": "claude"})
    directory.create("b.json", {"type": "codex"})
    with pytest.raises(AuthFileExists):
        directory.rename("a.json", "b.json")
    with pytest.raises(AuthFileMissing):
        directory.rename("x.json", "y.json")
    assert directory.rename("a.json", "c.json").type == "claude"
    assert directory.names() == ["b.json", "c.json"]


@pytest.mark.parametrize(
    "name",
    [
        "../x.json",
        "a/b.json",
        "a\\b.json",
        "x.txt",
        ".x.json",
        "x\x00.json",
        "CON.json",
        "nul.json",
        "C:x.json",
        "a\n.json",
        "x" * 250 + ".json",
        "",
        ".json",
    ],
)
def test_names_that_lead_elsewhere_or_trip_a_system_are_refused(directory: AuthDirectory, name: str) -> None:
    with pytest.raises(AuthFileError):
        directory.create(name, {"type": "claude"})
    with pytest.raises(AuthFileError):
        check_name(name)
    if not name.lower().endswith(".json") or "/" in name or "\\" in name:
        for refuse in (directory.read, directory.delete):
            with pytest.raises(AuthFileError):
                refuse(name)


def test_a_symbolic_link_stays_one(directory: AuthDirectory, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere.json"
    target.write_bytes(b'{"type":"claude"}')
    directory.ensure()
    (directory.path / "a.json").symlink_to(target)
    directory.update("a.json", lambda data: {**data, "note": "x"})
    assert (directory.path / "a.json").is_symlink()
    assert json.loads(target.read_bytes()) == {"type": "claude", "note": "x"}


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_leaves_the_old_file(
    directory: AuthDirectory, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    path = directory.create("a.json", {"type": "claude", "refresh_token": "old"}).path
    before = path.read_bytes()

    def fail(*arguments: Any, **more: Any) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="no"):
        directory.update("a.json", lambda data: {**data, "refresh_token": "new"})
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(directory.path) == ["a.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_a_full_disk_leaves_the_old_file(directory: AuthDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    path = directory.create("a.json", {"type": "claude", "refresh_token": "old"}).path
    before = path.read_bytes()
    real = os.fdopen

    def full(handle: int, mode: str, **more: Any) -> Any:
        if mode != "wb":
            return real(handle, mode, **more)
        os.close(handle)
        return open("/dev/full", mode)

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(OSError, match="No space left"):
        directory.update("a.json", lambda data: {**data, "refresh_token": "new" * 10_000})
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(directory.path) == ["a.json"]


COUNTING = """
import sys
from pathlib import Path
from cpa.accounts.files import AuthDirectory
directory = AuthDirectory(Path(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    def more(data):
        data["count"] = data.get("count", 0) + 1
        data[sys.argv[3]] = data.get(sys.argv[3], 0) + 1
        return data
    directory.update("a.json", more)
"""


def child(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=ROOT)


def test_two_processes_that_update_one_file_lose_nothing(directory: AuthDirectory) -> None:
    directory.create("a.json", {"type": "claude", "note": "mine"})
    children = [child(COUNTING, str(directory.path), "60", name) for name in ("one", "two")]
    assert [process.wait() for process in children] == [0, 0]
    file = directory.read("a.json")
    assert file is not None
    assert file.data == {"type": "claude", "note": "mine", "count": 120, "one": 60, "two": 60}


WRITING = """
import sys
from pathlib import Path
from cpa.accounts.files import AuthDirectory
directory = AuthDirectory(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    for name in ("a.json", "b.json"):
        directory.update(name, lambda data: {**data, "n": number, "twice": 2 * number, "padding": "x" * 20000})
    if number == 1:
        print("writing", flush=True)
"""


def test_a_process_killed_while_it_writes_leaves_the_old_file_or_the_new_one(directory: AuthDirectory) -> None:
    for name in ("a.json", "b.json"):
        directory.create(name, {"type": "claude", "n": 0, "twice": 0, "note": "mine"})
    for kill in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITING, str(directory.path)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        time.sleep(0.001 * (kill * 7 % 40))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        for name in ("a.json", "b.json"):
            file = directory.read(name)
            assert file is not None
            assert file.data["twice"] == 2 * file.data["n"] > 0
            assert file.data["note"] == "mine"
        directory.update("a.json", lambda data: data)  # the lock died with its holder
        for left in directory.path.glob(".*.json.*"):
            os.utime(left, (0, 0))
        directory.ensure()
        assert sorted(os.listdir(directory.path)) == ["a.json", "b.json"]


HOLDING = """
import asyncio, sys
from pathlib import Path
from cpa.accounts.files import AuthDirectory
async def hold():
    async with AuthDirectory(Path(sys.argv[1])).lock("a.json") as held:
        print(held, flush=True)
        await asyncio.sleep(60)
asyncio.run(hold())
"""


async def test_a_refresh_lock_holds_over_processes_and_dies_with_its_holder(directory: AuthDirectory) -> None:
    directory.create("a.json", {"type": "claude"})
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDING, str(directory.path), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"True\n"

    async def take() -> bool:
        async with directory.lock("a.json") as held:
            return held

    waiting = asyncio.create_task(take())
    await asyncio.sleep(0.3)
    assert not waiting.done()
    async with directory.lock("b.json") as other:  # another file's lock is free
        assert other
    directory.update("a.json", lambda data: {**data, "note": "writing is not refreshing"})
    process.kill()
    await process.wait()
    assert await asyncio.wait_for(waiting, 10)
    assert os.listdir(directory.path) == ["a.json"]


async def test_of_many_that_want_the_lock_one_has_it_at_a_time(directory: AuthDirectory) -> None:
    directory.create("a.json", {"type": "claude"})
    inside = most = total = 0

    async def work() -> None:
        nonlocal inside, most, total
        async with directory.lock("a.json"):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            total += 1
            inside -= 1

    await asyncio.gather(*(work() for _ in range(20)))
    assert (most, total) == (1, 20)


ADDING = """
import asyncio, sys
from pathlib import Path
from cpa.accounts.files import AuthDirectory
async def add():
    directory, counter = AuthDirectory(Path(sys.argv[1])), Path(sys.argv[2])
    for _ in range(40):
        async with directory.lock("a.json"):
            number = int(counter.read_text())
            await asyncio.sleep(0)
            counter.write_text(str(number + 1))
asyncio.run(add())
"""


def test_the_lock_is_never_held_twice_although_its_file_comes_and_goes(
    directory: AuthDirectory, tmp_path: Path
) -> None:
    directory.create("a.json", {"type": "claude"})
    counter = tmp_path / "counter"
    counter.write_text("0")
    children = [child(ADDING, str(directory.path), str(counter)) for _ in range(3)]
    assert [process.wait() for process in children] == [0, 0, 0]
    assert counter.read_text() == "120"


async def test_waiting_for_the_lock_can_be_cancelled(directory: AuthDirectory) -> None:
    directory.create("a.json", {"type": "claude"})
    async with directory.lock("a.json"):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), directory.lock("a.json"):
                pass
    async with asyncio.timeout(5), directory.lock("a.json") as held:
        assert held


def test_a_folder_of_an_auth_files_name_is_skipped_and_keeps_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    skipped: dict[str, str] = {}
    assert list(AuthDirectory(tmp_path).scan(skipped.__setitem__)) == []
    assert skipped == {"folder.json": "is no regular file"}
    assert len(os.listdir("/proc/self/fd")) == before
