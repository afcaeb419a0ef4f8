"""Histories that an earlier cpa or CLIProxyAPI kept stay readable: through the API, and in the terminal."""

from __future__ import annotations

import asyncio
import gzip
import sqlite3
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from histories import CHAT, Keep, Kept

from cpa.cli.main import cli
from cpa.usage.event import timestamp
from cpa.usage.schema import VERSION
from tests.usage.earlier_layouts import foreign, own

MADE = int(time.time()) - 3600
NOW = timestamp(MADE * 1000)
TEXT = (
    "=== REQUEST INFO ===\nVersion: 6.5.0\nURL: /v1/messages\nMethod: POST\nTimestamp: 2026-01-31T12:00:00Z\n\n"
    '=== HEADERS ===\nAuthorization: Bearer sk-a...wxyz\n\n=== REQUEST BODY ===\n{"of": "before"}\n\n'
    '=== API REQUEST 1 ===\nBody:\n{"sent": "on"}\n\n=== RESPONSE ===\nStatus: 429\n\n{"error": "höher"}\n'
)
INSERT = (
    "INSERT INTO request_histories (request_id, log_name, url, method, status_code, force, request_timestamp, "
    "log_text_gzip, created_at) VALUES (?, ?, '/v1/messages', 'POST', 429, ?, ?, ?, ?)"
)


def former(path: Path, version: int) -> None:
    """A database of that version: 1 to 4 of CLIProxyAPI, 102 of cpa; two histories, one of a failed request."""
    if version < 100:
        foreign(path, version)
    else:
        own(path, version)
    connection = sqlite3.connect(path)
    packed = gzip.compress(TEXT.encode())
    for name, forced in (("kept-before", 0), ("failed-before", 1)):
        log_name = f"{'error-' if forced else ''}v1-messages-{name}.log"
        connection.execute(INSERT, (name, log_name, forced, NOW, packed, NOW))
    connection.commit()
    connection.close()


@pytest.mark.parametrize("version", [1, 4, 102])
async def test_old_histories_are_read_through_every_route(keep: Keep, tmp_path: Path, version: int) -> None:
    former(tmp_path / "usage.sqlite", version)
    kept = await keep(request_log=True)
    await _taken_over(kept)
    assert await kept.text("kept-before") == TEXT
    assert (await kept.history("failed-before"))["TEXT"].removeprefix("\n") == TEXT
    rows = {row["request_id"]: row for row in (await kept.json("/request-histories"))["requests"]}
    assert (rows["kept-before"]["status"], rows["kept-before"]["failed"]) == (429, True)
    assert rows["kept-before"]["endpoint"] == "POST /v1/messages"
    await kept.ask("/v1/chat/completions", CHAT, X_Request_Id="kept-before")
    assert await kept.text("kept-before") == TEXT
    assert "=== REQUEST BODY ===" in await kept.text("kept-before.2")
    assert (await kept.manage("/request-histories/failed-before", "DELETE"))[0] == 200


async def test_old_files_of_failed_requests_are_listed(keep: Keep, tmp_path: Path) -> None:
    former(tmp_path / "usage.sqlite", 4)
    kept = await keep()
    await _taken_over(kept)
    (file,) = (await kept.json("/request-error-logs"))["files"]
    assert file["name"] == "error-v1-messages-failed-before.log"
    assert abs(file["modified"] - MADE) < 60
    assert (await kept.manage(f"/request-error-logs/{file['name']}"))[1].decode() == TEXT


@pytest.mark.parametrize("version", [4, 102])
@pytest.mark.parametrize("serving", [True, False])
async def test_the_terminal_shows_an_old_history(
    keep: Keep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int, serving: bool
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    former(tmp_path / "usage.sqlite", version)
    kept = await keep()
    await _taken_over(kept)
    if not serving:
        await kept.daemon.stop()

    async def run(*words: str) -> Result:
        arguments = ["requests", *words, "--config", str(tmp_path / "config.yaml")]
        return await asyncio.to_thread(CliRunner().invoke, cli, arguments)

    for identity in ("kept-before", "kept-b"):
        shown = await run("show", identity, "--section", "text")
        assert (shown.exit_code, shown.stdout.rstrip("\n")) == (0, TEXT.rstrip("\n"))
    assert "kept-before" in (await run()).stdout
    summary = (await run("show", "failed-before")).stdout
    assert "429" in summary
    assert '{"error": "höher"}' in summary


async def test_a_history_that_cannot_be_unpacked_is_said_to_be_damaged(keep: Keep, tmp_path: Path) -> None:
    former(tmp_path / "usage.sqlite", 4)
    kept = await keep()
    await _taken_over(kept)
    assert "cannot be unpacked" in await kept.text("r")
    assert "cannot be unpacked" in (await kept.history("r"))["TEXT"]


async def _taken_over(kept: Kept) -> None:
    """Until the database has the layout of now."""
    for _ in range(100):
        if (await kept.manage("/request-histories"))[0] == 200:
            break
        await asyncio.sleep(0.02)
    path = kept.daemon.store.path.parent / "usage.sqlite"
    assert path.with_name(f"usage.sqlite.before-{VERSION}").exists()
