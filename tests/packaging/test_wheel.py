"""The built wheel, alone in a fresh environment, serves; so does a provider from another distribution beside it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel and the example provider."""
    folder = tmp_path_factory.mktemp("wheel")
    wheels = folder / "wheels"
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", wheels, ROOT)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", wheels, ROOT / "examples/third-party-provider")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env/bin/python"
    run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *sorted(wheels.glob("*.whl")))
    return folder / "env"


def get(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=5) as answer:
        parsed: dict[str, object] = json.loads(answer.read())
    return parsed


@pytest.mark.timeout(400)
def test_the_wheel_alone_serves_and_finds_its_plugins(environment: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = {
        "host": "127.0.0.1",
        "port": port,
        "auth-dir": str(tmp_path / "auth"),
        "plugins": {"configs": {"example": {"url": "http://127.0.0.1:9/v1", "key": "k", "models": ["example-model"]}}},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    daemon = subprocess.Popen(
        [str(environment / "bin/cpa"), "serve", "--config", str(path)],
        cwd=tmp_path,
        env=clean,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                get(f"http://127.0.0.1:{port}/healthz")
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        listed = get(f"http://127.0.0.1:{port}/v1/models")["data"]
        assert isinstance(listed, list)
        assert {"demo", "example-model"} <= {model["id"] for model in listed}
        body = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/chat/completions", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert "Hello" in json.loads(answer.read())["choices"][0]["message"]["content"]
    finally:
        daemon.terminate()
        daemon.wait(20)
    assert daemon.returncode == 0
