"""A real daemon over an auth directory that another program filled."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path

import orjson
from running import KEY, RunningDaemon, free_port

from bench.auth_files import measure

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "accounts"))
from auth_samples import SAMPLES

MANY = int(os.environ.get("CPA_TEST_AUTH_FILES", "100"))


def test_a_directory_of_the_go_program_is_served_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "auth"
    folder.mkdir(mode=0o755)
    fresh = {"expired": "2099-01-01T00:00:00Z"}
    written = {name: orjson.dumps({**data, **fresh}) for name, data in SAMPLES.items()}
    for name, content in written.items():
        (folder / name).write_bytes(content)
    (folder / "broken.json").write_bytes(b'{"type":"claude","refresh_token":"sk-ant-ort01-broken-token')
    config = {
        "host": "127.0.0.1",
        "port": free_port(),
        "auth-dir": str(folder),
        "api-keys": [KEY],
        "usage-database-path": str(tmp_path / "usage.sqlite"),
    }
    daemon = RunningDaemon(config, tmp_path)
    assert daemon.stop() == 0, daemon.output()
    output = daemon.output()
    assert "broken.json" in output
    for data in SAMPLES.values():
        token = data.get("refresh_token") or data.get("token", {}).get("refresh_token")
        assert not (token and token in output)
    assert "broken-token" not in output
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name, content in written.items():
        assert (folder / name).read_bytes() == content
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_changes_of_single_files_among_many_are_served() -> None:
    figures = asyncio.run(measure(MANY))
    print(figures)
    assert figures.files == MANY
