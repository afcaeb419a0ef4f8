"""Commands whose output cannot be written say so in one line, or nothing where its reader has had enough."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CPA = [sys.executable, "-m", "cpa"]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "config.yaml").write_text("auth-dir: auth\n")
    paths = f"{ROOT}{os.pathsep}{ROOT / 'plugins'}"
    return {**os.environ, "PYTHONPATH": paths, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}


@pytest.mark.parametrize("command", ["models", "config get", "config schema"])
def test_a_reader_that_stops_is_no_error(tmp_path: Path, environ: dict[str, str], command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*CPA, *command.split()], stdout=writing, stderr=subprocess.PIPE, env=environ, cwd=tmp_path)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("command", ["models", "config get", "config schema", "doctor --offline"])
def test_a_full_disk_is_told_in_one_line(tmp_path: Path, environ: dict[str, str], command: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*CPA, *command.split()], stdout=full, stderr=subprocess.PIPE, env=environ, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"No space left on device" in done.stderr
