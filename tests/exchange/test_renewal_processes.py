"""Several processes share one auth directory, and some of them are killed: no login is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from renewing import IdentityProvider, auth_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from running import Upstream

KILLS = int(os.environ.get("CPA_TEST_REFRESH_KILLS", "6"))
VENDORS = ("claude", "codex", "gemini", "kimi")
SCRIPT = Path(__file__).with_name("renewal_process.py")


@pytest.fixture
def provider() -> Iterator[tuple[IdentityProvider, str]]:
    provider = IdentityProvider()
    server = Upstream(provider.app)
    yield provider, server.url
    server.stop()


def start(folder: Path, url: str, rounds: int) -> subprocess.Popen[str]:
    """A process that knows the logins and waits for ``go``."""
    command = [sys.executable, str(SCRIPT), str(folder), url, str(rounds)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    if line != "ready\n":
        process.kill()
        pytest.fail(process.communicate()[1])
    return process


def go(process: subprocess.Popen[str]) -> None:
    """Let it begin."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_two_processes_refresh_one_login_exactly_once(provider: tuple[IdentityProvider, str], tmp_path: Path) -> None:
    """Both know the same token and find it refused at the same time."""
    server, url = provider
    server.delay = 0.5
    folder = tmp_path / "auth"
    folder.mkdir()
    login = server.login("codex", "u")
    (folder / "u.json").write_bytes(orjson.dumps(auth_file(login)))
    started = [start(folder, url, 1) for _ in range(2)]
    for process in started:
        go(process)
    said = [orjson.loads(process.communicate()[0].splitlines()[-1]) for process in started]
    assert said == [{"u.json": login.access}] * 2
    assert server.granted == ["u"]
    assert len(server.calls) == 1


def test_killed_processes_leave_every_login_alive(provider: tuple[IdentityProvider, str], tmp_path: Path) -> None:
    """The server takes a refresh token again until a token that came after it was used.

    That is the leeway that can be given for answers that never arrived. It is enough only for a client that writes a
    token down before it uses it.
    """
    server, url = provider
    server.leeway = True
    folder = tmp_path / "auth"
    folder.mkdir()
    logins = {f"{vendor}-{number}.json": (vendor, f"{vendor}{number}") for vendor in VENDORS for number in range(3)}
    for name, (vendor, user) in logins.items():
        (folder / name).write_bytes(orjson.dumps({**auth_file(server.login(vendor, user)), "note": name}))
    chance = random.Random(KILLS)
    for _ in range(KILLS):
        process = start(folder, url, 10_000)
        go(process)
        time.sleep(chance.uniform(0.0, 0.25))
        process.kill()
        process.communicate()
        for name in logins:
            data = orjson.loads((folder / name).read_bytes())
            assert data["note"] == name
    granted = Counter(server.granted)
    assert all(granted[user] for _, user in logins.values())
    survivor = start(folder, url, 1)
    go(survivor)
    said = orjson.loads(survivor.communicate(timeout=60)[0].splitlines()[-1])
    for name, (vendor, user) in logins.items():
        assert said[name] == server.logins[vendor, user].access, name
    left = {path.name for path in folder.iterdir()} - set(logins)
    assert len([name for name in left if not name.endswith(".lock")]) <= KILLS * len(logins)
