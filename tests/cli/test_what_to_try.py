"""What is told to somebody who starts the daemon by hand can be run as it stands, and fits eighty columns."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from cpa.cli.running import what_to_try
from cpa.config import ConfigStore
from cpa.daemon import Daemon

CONFIG = "host: 127.0.0.1\nport: {port}\nauth-dir: auth\nplugins: {{configs: {{demo: {{enabled: true}}}}}}\n"


@pytest.fixture(autouse=True)
def new_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / "config"))
    monkeypatch.setattr(sys, "argv", [".venv/bin/cpa"])
    monkeypatch.chdir(tmp_path)


async def shown(path: Path, port: int, more: str = "") -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(CONFIG.format(port=port) + more)
    async with Daemon(ConfigStore(path, {}), {}) as daemon:
        text = what_to_try(daemon)
        command = text[text.index("  curl") : text.index("  #")].strip().replace("YOUR-KEY", "one-key")
        curl = await asyncio.create_subprocess_exec("sh", "-c", f"{command} -s", stdout=asyncio.subprocess.PIPE)
        answer, _ = await curl.communicate()
        assert b"You said: Hello" in answer
    assert [line for line in text.splitlines() if len(line) > 80] == []
    return text


async def test_the_curl_command_works_and_lines_are_short(unused_tcp_port: int) -> None:
    text = await shown(Path("config/config.example.yaml"), unused_tcp_port)
    assert "cpa models --config config/config.example.yaml\n" in text
    assert "YOUR-KEY" not in text


async def test_a_key_is_told_of_and_a_file_that_is_found_is_not_named(unused_tcp_port: int) -> None:
    text = await shown(Path("config.yaml"), unused_tcp_port, "api-keys: [one-key]\n")
    assert "Bearer YOUR-KEY" in text
    assert "--config" not in text


@pytest.mark.parametrize("missing", ["cert", "key"])
async def test_a_certificate_that_is_not_there_is_named(tmp_path: Path, unused_tcp_port: int, missing: str) -> None:
    for name in {"cert", "key"} - {missing}:
        Path(f"{name}.pem").write_text("")
    path = Path("config.yaml")
    path.write_text(CONFIG.format(port=unused_tcp_port) + "tls: {enable: true, cert: cert.pem, key: key.pem}\n")
    with pytest.raises(FileNotFoundError, match=rf"tls\.{missing}: there is no file .*{missing}\.pem"):
        await Daemon(ConfigStore(path, {}), {}).start()
