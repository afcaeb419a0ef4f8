"""Too many connections for the file descriptors there are, and signals while requests run."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from running import KEY, RunningDaemon, Upstream, free_port
from scripted import ScriptedUpstream

HEADERS = {"Authorization": f"Bearer {KEY}"}
FILES = 128


@pytest.fixture(scope="module")
def scripted() -> Iterator[tuple[ScriptedUpstream, Upstream]]:
    script = ScriptedUpstream()
    upstream = Upstream(script.app)
    yield script, upstream
    upstream.stop()


def config(upstream: Upstream, directory: Path) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "port": free_port(),
        "auth-dir": str(directory / "auth"),
        "api-keys": [KEY],
        "usage-database-path": str(directory / "usage.sqlite"),
        "usage-statistics-enabled": True,
        "openai-compatibility": [
            {
                "name": "scripted",
                "base-url": f"{upstream.url}/v1",
                "api-key-entries": [{"api-key": "up"}],
                "models": [{"name": "up", "alias": "model"}],
            }
        ],
    }


def body(*, stream: bool = False) -> dict[str, Any]:
    return {"model": "model", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}


async def ask(daemon: RunningDaemon) -> int:
    """The status of a whole answer; 0 when there was none."""
    url = f"{daemon.url}/v1/chat/completions"
    try:
        async with aiohttp.ClientSession() as session, session.post(url, json=body(), headers=HEADERS) as answer:
            await answer.read()
            return answer.status
    except aiohttp.ClientError:
        return 0


@pytest.mark.parametrize("busy", [False, True])
async def test_more_connections_than_descriptors_are_told_to_come_back(
    scripted: tuple[ScriptedUpstream, Upstream], tmp_path: Path, busy: bool
) -> None:
    """Property 24: no spin, no crash, and all is well within a second after the rush."""
    script, upstream = scripted
    daemon = RunningDaemon(config(upstream, tmp_path), tmp_path, files=FILES)
    held: list[Any] = []
    try:
        assert await ask(daemon) == 200
        script.hold.clear()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            if busy:
                url = f"{daemon.url}/v1/chat/completions"
                posts = [session.post(url, json=body(stream=True), headers=HEADERS) for _ in range(100)]
                answers = await asyncio.gather(*posts, return_exceptions=True)
                statuses = [answer.status for answer in answers if isinstance(answer, aiohttp.ClientResponse)]
                assert statuses.count(200) >= 30
                assert set(statuses) == {200, 503}
            else:
                for _ in range(300):
                    _, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
                    writer.write(b"POST / HTTP/1.1\r\n")
                    held.append(writer)
            assert await ask(daemon) in (0, 503)
            before = daemon.processor_seconds()
            await asyncio.sleep(1)
            assert daemon.processor_seconds() - before < 0.3
            assert daemon.open_files() <= FILES
            upstream.call(script.hold.set)
            for writer in held:
                writer.close()
        end = time.monotonic() + 20
        while (status := await ask(daemon)) != 200 and time.monotonic() < end:
            await asyncio.sleep(0.05)
        assert status == 200
    finally:
        upstream.call(script.hold.set)
        assert daemon.stop() == 0
    assert "Traceback" not in daemon.output()


async def test_a_signal_lets_streams_end_and_takes_no_more(
    scripted: tuple[ScriptedUpstream, Upstream], tmp_path: Path
) -> None:
    """Property 32: stop accepting at once, drain, exit 0."""
    script, upstream = scripted
    daemon = RunningDaemon(config(upstream, tmp_path), tmp_path)
    upstream.call(script.hold.clear)
    url = f"{daemon.url}/v1/chat/completions"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=body(stream=True), headers=HEADERS) as answer,
    ):
        await answer.content.readany()
        daemon.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + 20
        while (status := await ask(daemon)) != 0 and time.monotonic() < end:
            await asyncio.sleep(0.02)
        assert status == 0
        assert daemon.process.poll() is None
        upstream.call(script.hold.set)
        assert (await answer.read()).endswith(b"data: [DONE]\n\n")
    assert await asyncio.to_thread(daemon.process.wait, 20) == 0
    daemon.stop()


async def test_a_second_signal_waits_for_nobody(scripted: tuple[ScriptedUpstream, Upstream], tmp_path: Path) -> None:
    script, upstream = scripted
    daemon = RunningDaemon(config(upstream, tmp_path), tmp_path)
    upstream.call(script.hold.clear)
    url = f"{daemon.url}/v1/chat/completions"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=body(stream=True), headers=HEADERS) as answer,
    ):
        await answer.content.readany()
        daemon.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        assert daemon.process.poll() is None
        begun = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(daemon.process.wait, 20)
        assert time.monotonic() - begun < 20
    upstream.call(script.hold.set)
    daemon.stop()
