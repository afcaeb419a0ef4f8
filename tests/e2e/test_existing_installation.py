"""A CLIProxyAPI installation with every setting and every shape of login: cpa serves it and changes nothing."""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path

import pytest
from running import KEY, RunningDaemon, free_port

from cpa.cli.control import ask_daemon
from tests.usage.earlier_layouts import foreign
from tests.usage.test_foreign_databases import everything

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "accounts"))
from auth_samples import SAMPLES, VARIANTS

TEXT = (Path(__file__).parent / "existing_config.yaml").read_text()
FRESH = {"expired": "2099-01-01T00:00:00Z", "expires_at": "2099-01-01T00:00:00Z"}
NO_EFFECT = (
    "home",
    "claude-api-key[0].cloak",
    "claude-api-key[0].experimental-cch-signing",
    "claude-header-defaults.package-version",
    "codex-instructions-enabled",
    "something-of-tomorrow",
)


def fill(folder: Path) -> dict[str, bytes]:
    """Every shape of login, none of which is due; compact and indented ones."""
    folder.mkdir()
    for number, (name, data) in enumerate({**SAMPLES, **VARIANTS}.items()):
        fresh = {member: value for member, value in FRESH.items() if member in data}
        if isinstance(data.get("token"), dict):
            fresh["token"] = {**data["token"], "expiry": "2099-01-01T00:00:00Z"}
        (folder / name).write_text(json.dumps({**data, **fresh}, indent=2 if number % 2 else None))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("command", [("serve", "--config"), ("-config",)])
def test_it_starts_unchanged_and_stays_unchanged(tmp_path: Path, command: tuple[str, ...]) -> None:
    logins = fill(tmp_path / "auth")
    (tmp_path / "data").mkdir()
    foreign(tmp_path / "data" / "usage.sqlite", 4)
    text = TEXT.replace("@PORT@", str(free_port())).replace("@AUTH@", str(tmp_path / "auth"))
    environ = {"XDG_RUNTIME_DIR": str(tmp_path / "run"), "HOME": str(tmp_path)}
    daemon = RunningDaemon(text, tmp_path, environ, command)
    request = urllib.request.Request(f"{daemon.url}/v1/models", headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        models = {model["id"] for model in json.load(answer)["data"]}
    accounts = ask_daemon(daemon.config_path, "GET", "/accounts", environ=environ)["accounts"]
    assert daemon.stop() == 0, daemon.output()
    assert daemon.config_path.read_text() == text
    assert {path.name: path.read_bytes() for path in (tmp_path / "auth").glob("*.[jJ]*")} == logins
    assert {"model-a", "n", "team/gemini-2.5-pro", "flash", "work-horse"} <= models
    assert set(logins) <= {entry["name"] for entry in accounts}
    unserved = {"antigravity-a@example.com.json", "xai-a@example.com.json", "xai-whole.json", "AIStudio.JSON"}
    serving = {entry["name"] for entry in accounts if entry["source"] == "file" and entry["offers"]}
    assert set(logins) - serving == {*unserved, "of-tomorrow.json"}
    for key in NO_EFFECT:
        assert key in daemon.output(), key
    assert everything(tmp_path / "data" / "usage.sqlite", "SELECT count(*) FROM usage_events")[0][0] >= 4
