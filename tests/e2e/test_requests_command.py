"""``cpa requests`` and ``cpa logs``, beside a daemon and without one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result
from histories import CHAT, HI, Keep, Kept

from cpa.cli.main import cli
from cpa.logs.files import MAIN

BOOM = {"model": "claude", "max_tokens": 3, "messages": [{"role": "user", "content": "boom"}]}


async def run(folder: Path, *words: str) -> Result:
    """``cpa WORDS``; what goes wrong is in its exit code and its output."""
    environ = {"XDG_RUNTIME_DIR": str(folder), "WRITABLE_PATH": str(folder), "NO_COLOR": "1"}
    arguments = [*words, "--config", str(folder / "config.yaml")]
    return await asyncio.to_thread(CliRunner().invoke, cli, arguments, env=environ)


@pytest.fixture(params=["running", "stopped"])
async def asked(request: pytest.FixtureRequest, keep: Keep, tmp_path: Path) -> Kept:
    """Three requests were made: one that went well, one that an upstream refused, one that was no JSON."""
    kept = await keep(request_log=True, usage_statistics_enabled=True)
    await kept.ask("/v1/chat/completions", CHAT, X_Request_Id="one")
    await asyncio.sleep(0.002)
    await kept.ask("/v1/messages", BOOM, X_Request_Id="other-two")
    await asyncio.sleep(0.002)
    await kept.ask("/v1/chat/completions", b"{", X_Request_Id="other-three")
    await kept.json("/request-histories")
    if request.param == "stopped":
        await kept.daemon.stop()
    return kept


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ["one", "other-two", "other-three"]),
        (("-n", "1"), ["other-three"]),
        (("--failed",), ["other-two", "other-three"]),
        (("--failed", "--model", "claude"), ["other-two"]),
        (("--model", "oc"), ["one"]),
        (("--account", "compat"), ["one"]),
        (("--status", "200", "--days", "1"), ["one"]),
        (("--client", "nobody"), []),
    ],
)
async def test_requests_are_listed_newest_last(
    asked: Kept, tmp_path: Path, words: tuple[str, ...], expected: list[str]
) -> None:
    listed = await run(tmp_path, "requests", *words)
    assert listed.exit_code == 0, listed.output
    lines = [line.split() for line in listed.stdout.splitlines() if line[:2].isdigit()]
    assert [line[1] for line in lines] == expected
    rows = _json(await run(tmp_path, "requests", "--json", *words))
    assert [row["request_id"] for row in rows] == expected[::-1]
    assert expected or "no requests were recorded" in listed.stdout


async def test_one_request_is_shown_word_for_word(asked: Kept, tmp_path: Path) -> None:
    shown = (await run(tmp_path, "requests", "show", "one")).stdout
    assert "oc > oc-up" in shown
    assert "21 in, 8 out" in shown
    assert "=== API REQUEST 1 ===" in shown
    assert "Authorization: Bearer clie...ests" in shown
    body = (await run(tmp_path, "requests", "show", "one", "--section", "request body")).stdout
    assert orjson.loads(body) == CHAT
    text = (await run(tmp_path, "requests", "show", "one", "--text")).stdout
    assert text.lstrip().startswith("=== REQUEST INFO ===")
    assert _json(await run(tmp_path, "requests", "show", "one", "--json"))["recorded"][0]["status"] == 200


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nothing",), "nothing is known of request nothing"),
        (("other-",), "several requests begin so: other-three, other-two"),
        (("one", "--section", "nonsense"), "there is no section 'nonsense'; there are: REQUEST INFO, HEADERS"),
    ],
)
async def test_what_cannot_be_shown_is_said(asked: Kept, tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    result = await run(tmp_path, "requests", "show", *words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert told in result.stderr


async def test_a_request_without_history_shows_its_attempts(keep: Keep, tmp_path: Path) -> None:
    kept = await keep(usage_statistics_enabled=True)
    await kept.ask("/v1/chat/completions", CHAT, X_Request_Id="one")
    shown = await run(tmp_path, "requests", "show", "one")
    assert "oc-up" in shown.stdout
    assert "no history was kept of it" in shown.stderr


async def test_nothing_recorded_yet_says_what_to_switch_on(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("{}\n")
    listed = await run(tmp_path, "requests")
    assert (listed.exit_code, listed.stdout) == (0, "no requests were recorded\n")
    assert "request-log: true" in listed.stderr
    watched = await run(tmp_path, "requests", "--watch")
    assert watched.exit_code == 1
    assert "no running daemon" in watched.stderr


@pytest.mark.parametrize(
    ("words", "expected"), [((), ["one", "two", "three"]), (("--failed",), ["three"]), (("--model", "claude"), ["two"])]
)
@pytest.mark.parametrize("as_json", [False, True])
async def test_requests_are_watched_until_the_daemon_ends(
    keep: Keep, tmp_path: Path, words: tuple[str, ...], expected: list[str], as_json: bool
) -> None:
    kept = await keep()
    feed = kept.daemon.histories.live
    assert feed is not None
    watching = asyncio.create_task(run(tmp_path, "requests", "--watch", *words, *(["--json"] if as_json else [])))
    async with asyncio.timeout(10):
        while not feed.watchers:
            await asyncio.sleep(0.01)
    await kept.ask("/v1/chat/completions", CHAT, X_Request_Id="one")
    await kept.ask("/v1/messages", {"model": "claude", "max_tokens": 3, "messages": HI}, X_Request_Id="two")
    await kept.ask("/v1/chat/completions", b"{", X_Request_Id="three")
    async with asyncio.timeout(1.5):
        await kept.daemon.stop()
        result = await watching
    assert result.exit_code == 0, result.output
    assert "the daemon has stopped" in result.stderr
    if as_json:
        events = [orjson.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
        told = [event["request_id"] for event in events if event["what"] == "finished"]
    else:
        told = [line.split()[1] for line in result.stdout.splitlines() if line[:2].isdigit() and line[2] == ":"]
    assert told == expected


@pytest.mark.parametrize("serving", [True, False])
async def test_the_newest_lines_of_the_log_are_shown(keep: Keep, tmp_path: Path, serving: bool) -> None:
    (tmp_path / "logs").mkdir()
    lines = [f"[2026-01-31 12:00:0{number}] line {number}" for number in range(5)]
    (tmp_path / "logs" / MAIN).write_text("".join(f"{line}\n" for line in lines))
    kept = await keep(logging_to_file=True)
    if not serving:
        await kept.daemon.stop()
    shown = await run(tmp_path, "logs", "-n", "10000", "--grep", "] line")
    assert [line for line in shown.stdout.splitlines() if "] line" in line] == lines
    assert (await run(tmp_path, "logs", "--grep", "nowhere-to-be-found")).stdout.count("nowhere") <= 1


async def test_logs_say_why_there_are_none(keep: Keep, tmp_path: Path) -> None:
    kept = await keep()
    assert "no log files are written" in (await run(tmp_path, "logs")).stderr
    await kept.daemon.stop()
    assert "no log files are written" in (await run(tmp_path, "logs")).stderr
    path = tmp_path / "config.yaml"
    path.write_text(path.read_text() + "logging-to-file: true\n")
    assert "there are no log files in" in (await run(tmp_path, "logs")).stderr
    (tmp_path / "logs").mkdir()
    assert "nothing will come" in (await run(tmp_path, "logs", "--follow")).stderr


def _json(result: Result) -> Any:
    """The document of an output; the log of the daemon in this process may stand before it."""
    lines = result.stdout.splitlines(keepends=True)
    begin = next(number for number, line in enumerate(lines) if line[0] in "[{")
    return orjson.loads("".join(lines[begin:]))
