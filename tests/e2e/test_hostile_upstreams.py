"""Upstreams that break every promise: the client gets the right error each time, and nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import aiohttp
import orjson
import pytest
from hostile import BEHAVIOURS, HostileUpstream
from running import KEY, RunningDaemon, free_port

HEADERS = {"Authorization": f"Bearer {KEY}"}
ROUNDS = int(os.environ.get("CPA_HOSTILE_ROUNDS", "120"))

BEFORE_THE_FIRST_BYTE = {
    "reset-before-head": 502,
    "reset-after-head": 502,
    "silent": 504,
    "bad-json-in-stream": 502,
    "html-error": 502,
    "error-in-200": 503,
    "error-in-stream": 503,
    "giant-line": 502,
    "bad-gzip": 502,
    "not-http": 502,
    "giant-header": 502,
    "empty-stream": 502,
    "overloaded": 429,
    "refused": 502,
}
"""Behaviour -> the status a streaming client gets."""

AFTER_IT = ("reset-mid-stream", "truncated", "silent-mid-stream")


@pytest.fixture(scope="module")
def hostile_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    directory = tmp_path_factory.mktemp("hostile")
    upstream = HostileUpstream()

    def provider(name: str, url: str, models: list[str], alias: str = "") -> dict[str, object]:
        return {
            "name": name,
            "base-url": url,
            "api-key-entries": [{"api-key": f"up-{name}"}],
            "models": [{"name": model, "alias": alias or model} for model in models],
        }

    config = {
        "host": "127.0.0.1",
        "port": free_port(),
        "auth-dir": str(directory / "auth"),
        "api-keys": [KEY],
        "disable-cooling": True,
        "usage-statistics-enabled": True,
        "usage-database-path": str(directory / "usage.sqlite"),
        "timeouts": {"connect": 2, "first-byte": 1, "idle": 1},
        "openai-compatibility": [
            provider("hostile", upstream.url + "/v1", sorted(BEHAVIOURS)),
            provider("nobody", f"http://127.0.0.1:{free_port()}/v1", ["refused"]),
            provider("mute", upstream.url + "/v1", ["silent"], "silent-then-good"),
            provider("slow", upstream.url + "/v1", ["one-byte-a-time"], "silent-then-good"),
        ],
    }
    running = RunningDaemon(config, directory)
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.output()
    upstream.stop()


async def ask(
    daemon: RunningDaemon, model: str, *, stream: bool, path: str = "/v1/chat/completions"
) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers and body of one request."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream, "max_tokens": 10}
    async with (
        aiohttp.ClientSession() as session,
        session.post(daemon.url + path, json=body, headers=HEADERS) as answer,
    ):
        return answer.status, answer.headers, await answer.read()


@pytest.mark.parametrize(("behaviour", "status"), sorted(BEFORE_THE_FIRST_BYTE.items()))
async def test_before_the_first_byte_it_is_an_http_error(
    hostile_daemon: RunningDaemon, behaviour: str, status: int
) -> None:
    got, headers, body = await ask(hostile_daemon, behaviour, stream=True)
    assert got == status, body
    error = orjson.loads(body)["error"]
    assert error["message"]
    assert b"secret internals" not in body
    assert b"127.0.0.1:" not in body
    if behaviour == "overloaded":
        assert headers["Retry-After"] == "7"


@pytest.mark.parametrize(
    "behaviour", ["bad-json", "bad-gzip", "html-error", "error-in-200", "reset-before-head", "silent"]
)
async def test_whole_answers_too(hostile_daemon: RunningDaemon, behaviour: str) -> None:
    status, _, body = await ask(hostile_daemon, behaviour, stream=False)
    assert status >= 500
    assert orjson.loads(body)["error"]["message"]


@pytest.mark.parametrize("behaviour", AFTER_IT)
async def test_after_the_first_byte_it_is_an_error_in_the_stream(hostile_daemon: RunningDaemon, behaviour: str) -> None:
    status, _, body = await ask(hostile_daemon, behaviour, stream=True)
    assert status == 200
    frames = [frame for frame in body.split(b"\n\n") if frame]
    assert b"partial" in frames[0]
    assert "error" in orjson.loads(frames[-1].removeprefix(b"data: "))
    assert b"[DONE]" not in body
    status, _, body = await ask(hostile_daemon, behaviour, stream=True, path="/v1/messages")
    assert b"event: error" in body
    assert b"message_stop" not in body


async def test_a_slow_upstream_is_not_a_broken_one(hostile_daemon: RunningDaemon) -> None:
    status, _, body = await ask(hostile_daemon, "one-byte-a-time", stream=True)
    assert status == 200
    assert b"partial" in body
    assert body.endswith(b"data: [DONE]\n\n")


def resources(daemon: RunningDaemon) -> tuple[int, float]:
    """Open file descriptors and resident MB of the daemon."""
    pid = daemon.process.pid
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return len(os.listdir(f"/proc/{pid}/fd")), pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def test_nothing_stays_behind(hostile_daemon: RunningDaemon) -> None:
    quick = [name for name in BEFORE_THE_FIRST_BYTE if name not in ("silent", "giant-line")]
    quick += ["reset-mid-stream", "truncated"]

    async def storm(rounds: int) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(rounds):
                group.create_task(ask(hostile_daemon, quick[number % len(quick)], stream=True))
                if number % 20 == 19:
                    await asyncio.sleep(0.2)

    await storm(60)
    await asyncio.sleep(0.5)
    files, memory = resources(hostile_daemon)
    await storm(ROUNDS)
    await asyncio.sleep(0.5)
    files_after, memory_after = resources(hostile_daemon)
    assert files_after <= files + 5
    assert memory_after <= memory + 12


async def test_each_kind_of_failure_is_one_row_of_the_record(hostile_daemon: RunningDaemon) -> None:
    """Property 12: what the client was told is what the record says, once for each attempt."""
    seen: dict[str, int] = {}
    for behaviour, status in (*BEFORE_THE_FIRST_BYTE.items(), *((name, 200) for name in AFTER_IT)):
        path = f"/v1/chat/completions?marker={behaviour}"
        got, headers, _ = await ask(hostile_daemon, behaviour, stream=True, path=path)
        assert got == status
        seen[headers["X-Request-Id"]] = got
    async with asyncio.timeout(5):
        while len(rows := recorded(hostile_daemon, list(seen))) < len(seen):
            await asyncio.sleep(0.1)
    for request_id, status in seen.items():
        assert len(rows[request_id]) == 1, "no account was there to be asked instead"
        failed, recorded_status = rows[request_id][0]
        assert failed
        assert recorded_status == (status if status != 200 else recorded_status)
        assert recorded_status >= 400


def recorded(daemon: RunningDaemon, request_ids: list[str]) -> dict[str, list[tuple[int, int]]]:
    """(failed, status) of the recorded attempts by request id."""
    connection = sqlite3.connect(f"file:{daemon.directory}/usage.sqlite?mode=ro", uri=True)
    try:
        marks = ",".join("?" * len(request_ids))
        question = f"SELECT request_id, failed, status_code FROM usage_events WHERE request_id IN ({marks})"
        found: dict[str, list[tuple[int, int]]] = {}
        for request_id, failed, status in connection.execute(question, request_ids):
            found.setdefault(request_id, []).append((failed, status))
        return found
    except sqlite3.OperationalError:
        return {}
    finally:
        connection.close()


async def test_a_silent_account_is_left_for_another_in_time(hostile_daemon: RunningDaemon) -> None:
    """Property 13: the limit fires within a second of its time, and as nothing was sent another account answers."""
    for _ in range(2):
        begun = time.monotonic()
        status, _, body = await ask(hostile_daemon, "silent-then-good", stream=True)
        took = time.monotonic() - begun
        assert status == 200
        assert body.endswith(b"data: [DONE]\n\n")
        if took > 0.5:
            break
    assert 0.9 < took < 20


async def test_a_stream_that_falls_silent_is_ended_in_time(hostile_daemon: RunningDaemon) -> None:
    begun = time.monotonic()
    _, _, body = await ask(hostile_daemon, "silent-mid-stream", stream=True)
    assert 0.9 < time.monotonic() - begun < 20
    assert b"error" in body
