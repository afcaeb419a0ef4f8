"""A daemon under observation: ``cpa serve`` in a process of its own, its upstream and its clients in this one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import aiohttp
import orjson
import yaml
from aiohttp import web
from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).resolve().parents[2]
CLIENT_KEY, SCRAPE_KEY = "client-key", "scrape-key"
CLIENT = {"Authorization": f"Bearer {CLIENT_KEY}"}
EVENTS = 40
PAUSE = 0.005
"""Seconds between two events of a stream."""


class Sample(Struct):
    """What the daemon holds at one moment."""

    memory: float
    """Resident MB."""
    files: int
    tasks: int
    threads: int


class Upstream:
    """Streams short answers; notes when a stream was cancelled, by the marker in what was asked."""

    def __init__(self) -> None:
        self.cancelled: dict[str, float] = {}
        """Marker -> ``time.monotonic()``."""
        self.running = 0
        self.completed = 0
        self.app = web.Application(client_max_size=1 << 30)
        self.app.router.add_post("/v1/chat/completions", self._answer)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        marker = str(body["messages"][-1]["content"])
        if not body.get("stream"):
            return web.json_response(_whole(body["model"], marker))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        self.running += 1
        try:
            await response.prepare(request)
            for number in range(EVENTS):
                await response.write(_chunk(body["model"], {"content": f"{number} "}, None))
                await asyncio.sleep(PAUSE)
            await response.write(_chunk(body["model"], {}, "stop") + b"data: [DONE]\n\n")
            self.completed += 1
        except (asyncio.CancelledError, ConnectionError):
            self.cancelled[marker] = time.monotonic()
            raise
        finally:
            self.running -= 1
        return response


def _whole(model: str, text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }


def _chunk(model: str, delta: dict[str, Any], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": finish}
    body = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice]}
    return b"data: " + orjson.dumps(body) + b"\n\n"


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stage:
    """The daemon and everything around it."""

    def __init__(self, folder: Path, upstream_port: int) -> None:
        self.folder = folder
        self.upstream = Upstream()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config_path = folder / "config.yaml"
        self.log_path = folder / "daemon.log"
        self.config: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "auth-dir": str(folder / "auth"),
            "api-keys": [CLIENT_KEY],
            "usage-statistics-enabled": True,
            "usage-database-path": str(folder / "usage.sqlite"),
            "metrics": {"enable": True, "key": SCRAPE_KEY},
            "openai-compatibility": [
                {
                    "name": "upstream",
                    "base-url": f"http://127.0.0.1:{upstream_port}/v1",
                    "api-key-entries": [{"api-key": "up"}],
                    "models": [{"name": "model", "alias": "model"}],
                }
            ],
        }
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls) -> AsyncIterator[Self]:
        """Start everything; stop it in the end."""
        with tempfile.TemporaryDirectory() as folder:
            port = free_port()
            stage = cls(Path(folder), port)
            runner = web.AppRunner(stage.upstream.app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port, backlog=2048).start()
            try:
                await stage.start()
                yield stage
            finally:
                await stage.stop()
                await runner.cleanup()

    async def start(self) -> None:
        """Start the daemon. Raises RuntimeError when it does not answer."""
        self.config_path.write_text(yaml.safe_dump(self.config))
        paths = os.pathsep.join((str(ROOT), str(ROOT / "plugins")))
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cpa", "serve", "--config", str(self.config_path)],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": paths},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        end = time.monotonic() + 30
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < end:
                try:
                    async with session.get(self.url + "/healthz"):
                        return
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)
        raise RuntimeError(self.log())

    async def stop(self) -> int:
        """End the daemon; its exit status."""
        process = self.process
        if process is None:
            return 0
        self.process = None
        process.terminate()
        try:
            return await asyncio.to_thread(process.wait, 40)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def log(self) -> str:
        """What the daemon printed."""
        return self.log_path.read_text(errors="replace")

    async def metrics(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """The samples of the daemon's metrics by name and labels."""
        headers = {"Authorization": f"Bearer {SCRAPE_KEY}"}
        async with aiohttp.ClientSession() as session, session.get(self.url + "/metrics", headers=headers) as answer:
            text = await answer.text()
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def value(self, name: str, **labels: str) -> float:
        """The sum over the series of a metric that have these labels."""
        return sum(
            value
            for (found, has), value in (await self.metrics()).items()
            if found == name and labels.items() <= set(has)
        )

    async def lag(self) -> dict[str, float]:
        """Seconds below which 50 %, 99 % and all of the event loop's timers were late, as bounds of buckets."""
        metrics = await self.metrics()
        name = "cpa_event_loop_lag_seconds_bucket"
        buckets = sorted((float(dict(has)["le"]), count) for (found, has), count in metrics.items() if found == name)
        total = buckets[-1][1]
        return {
            label: next(bound for bound, count in buckets if count >= share * total)
            for label, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
        }

    async def sample(self) -> Sample:
        """What the daemon holds now."""
        assert self.process is not None
        pid = self.process.pid
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return Sample(
            memory=pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
            files=len(os.listdir(f"/proc/{pid}/fd")),
            tasks=int(await self.value("cpa_asyncio_tasks")),
            threads=len(os.listdir(f"/proc/{pid}/task")),
        )

    async def settled(self) -> Sample:
        """What it holds once nothing is under way any more."""
        for _ in range(100):
            if await self.value("cpa_inflight_requests") == 0 and self.upstream.running == 0:
                break
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        return await self.sample()


def body(text: str, *, stream: bool) -> dict[str, Any]:
    """A question."""
    return {"model": "model", "stream": stream, "messages": [{"role": "user", "content": text}]}


async def ask(session: aiohttp.ClientSession, stage: Stage, text: str, *, stream: bool) -> bool:
    """Ask and read the answer to its end; whether it was a whole and right one."""
    url = f"{stage.url}/v1/chat/completions"
    try:
        async with session.post(url, json=body(text, stream=stream), headers=CLIENT) as answer:
            content = await answer.read()
            end = content.endswith(b"data: [DONE]\n\n") if stream else text.encode() in content
            return answer.status == 200 and end
    except (aiohttp.ClientError, TimeoutError):
        return False


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of all lies; 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
