"""Measure every format pair of cpa against the yardstick and print the table.

CPU time of the process under test per answer or per stream event, as a ratio to the yardstick's for the same
upstream bytes; both are measured in turn, several rounds, the median counts. Nothing else should run meanwhile.

    python -m bench.run [--pairs openai:claude,...] [--modes whole,burst,paced] [--scale 1.0] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from pathlib import Path
from typing import Any

import orjson
import yaml

from bench import load
from bench.fixtures import request_body
from bench.measure import Process, compile_as_installed, free_port
from bench.upstream import BURST_EVENTS, PACED_EVENTS

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = ("openai", "openai-response", "claude", "gemini")
UPSTREAMS = {"openai": "oc", "codex": "codex", "claude": "claude", "gemini": "gemini"}
FAMILY = {"codex": "openai-response"}
MODELS = {"openai": "bench-oc", "codex": "bench-codex", "claude": "bench-claude", "gemini": "bench-gemini"}
BUDGET = {
    ("whole", True): 1.25,
    ("whole", False): 1.5,
    ("burst", True): 1.3,
    ("burst", False): 2.8,
    ("paced", True): 1.15,
    ("paced", False): 1.3,
}
"""(mode, same family) -> largest ratio we allow ourselves."""

YARDSTICK_PATHS = {
    "oc": "/oc/v1/chat/completions",
    "codex": "/codex/responses",
    "claude": "/claude/v1/messages",
    "gemini": "/gemini/v1beta/models/m:generateContent",
}


def configuration(upstream: str, port: int, directory: Path, *, usage: bool = True, histories: bool = False) -> Path:
    """A configuration file whose providers point at the scripted upstream. It forwards ``X-Bench``."""
    forward = {"X-Bench": "$X-Bench"}

    def entry(kind: str) -> dict[str, Any]:
        return {
            "api-key": "up",
            "base-url": f"{upstream}/{kind}",
            "headers": forward,
            "models": [{"name": "m", "alias": f"bench-{kind}"}],
        }

    document = {
        "host": "127.0.0.1",
        "port": port,
        "auth-dir": str(directory / "auth"),
        "api-keys": ["bench-key"],
        "usage-statistics-enabled": usage,
        "request-log": histories,
        "usage-database-path": str(directory / "data" / "usage.sqlite"),
        "disable-image-generation": True,
        "claude-api-key": [entry("claude")],
        "codex-api-key": [entry("codex")],
        "gemini-api-key": [entry("gemini")],
        "openai-compatibility": [
            {
                "name": "bench",
                "base-url": f"{upstream}/oc/v1",
                "headers": forward,
                "api-key-entries": [{"api-key": "up"}],
                "models": [{"name": "m", "alias": "bench-oc"}],
            }
        ],
    }
    path = directory / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


class Bench:
    """The three processes and what is measured with them."""

    def __init__(self, scale: float) -> None:
        self._scale = scale
        self._directory = tempfile.TemporaryDirectory()
        self.rows: list[dict[str, Any]] = []
        compile_as_installed(ROOT)
        port = free_port()
        self.upstream = Process(["-m", "bench.upstream", str(port)], port, cwd=ROOT)
        port = free_port()
        self.yardstick = Process(["-m", "bench.yardstick", str(port), self.upstream.url], port, cwd=ROOT)
        port = free_port()
        path = configuration(self.upstream.url, port, Path(self._directory.name))
        self.cpa = Process(["-m", "cpa", "serve", "--config", str(path)], port, cwd=ROOT)

    async def ready(self) -> dict[str, float]:
        """Wait for all; start-up seconds, how many of them it computed, and idle memory of cpa."""
        start = await self.cpa.wait()
        cpu = self.cpa.cpu()
        await self.upstream.wait()
        await self.yardstick.wait()
        return {"start_seconds": start, "start_cpu_seconds": cpu, "idle_mb": self.cpa.resident_mb()}

    async def _cost(self, process: Process, url: str, body: bytes, mode: str) -> float:
        """CPU seconds per answer (whole) or per event (streams)."""
        requests, connections, units = {
            "whole": (int(1500 * self._scale), 16, 1),
            "burst": (int(150 * self._scale), 4, BURST_EVENTS),
            "paced": (200, 200, PACED_EVENTS),
        }[mode]
        before = process.cpu()
        await load.run(load.Work(url, body, mode, max(requests, connections), connections))
        return (process.cpu() - before) / (max(requests, connections) * units)

    async def pair(self, client: str, upstream: str, mode: str, rounds: int) -> dict[str, Any]:
        """Measure one pair in one mode."""
        kind = UPSTREAMS[upstream]
        stream = mode != "whole"
        path, body = request_body(client, f"bench-{kind}", stream=stream)
        ours, theirs = [], []
        target = YARDSTICK_PATHS[kind]
        upstream_format = FAMILY.get(upstream, upstream)
        plain_body = request_body(upstream_format, "m", stream=stream)[1]
        for number in range(rounds + 1):
            yard = await self._cost(self.yardstick, self.yardstick.url + target, plain_body, mode)
            cost = await self._cost(self.cpa, self.cpa.url + path, body, mode)
            if number or rounds == 1:
                theirs.append(yard)
                ours.append(cost)
        same = client == upstream_format
        row = {
            "client": client,
            "upstream": upstream,
            "mode": mode,
            "same": same,
            "yardstick_us": statistics.median(theirs) * 1e6,
            "cpa_us": statistics.median(ours) * 1e6,
            "ratio": statistics.median(ours) / statistics.median(theirs),
            "budget": BUDGET[mode, same],
        }
        self.rows.append(row)
        return row

    async def memory_with_streams(self) -> float:
        """Resident MB of cpa while 200 streams are open."""
        path, body = request_body("openai", "bench-oc", stream=True)
        task = asyncio.create_task(load.run(load.Work(self.cpa.url + path, body, "paced", 200, 200)))
        await asyncio.sleep(2.5)
        resident = self.cpa.resident_mb()
        await task
        return resident

    def stop(self) -> None:
        """End the processes."""
        for process in (self.cpa, self.yardstick, self.upstream):
            process.stop()
        self._directory.cleanup()


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", default="", help="client:upstream,... (default: all)")
    parser.add_argument("--modes", default="whole,burst,paced")
    parser.add_argument("--scale", type=float, default=1.0, help="amount of work")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", default="")
    arguments = parser.parse_args()
    known = [(client, upstream) for client in CLIENTS for upstream in UPSTREAMS]
    pairs = [tuple(pair.split(":")) for pair in arguments.pairs.split(",") if pair] or known
    if not set(pairs) <= set(known):
        parser.error(f"pairs are of {', '.join(CLIENTS)} with {', '.join(UPSTREAMS)}, like openai:claude")
    bench = Bench(arguments.scale)
    try:
        start = await bench.ready()
        computing = f"of which it computed {start['start_cpu_seconds']:.2f} s"
        print(f"start to first answer {start['start_seconds']:.2f} s, {computing} (budget 1)")
        print(f"resident memory, idle {start['idle_mb']:.0f} MB (budget 60)")
        print(f"{'client':16} {'upstream':8} {'mode':6} {'yardstick':>10} {'cpa':>10} {'ratio':>6} {'budget':>6}")
        over = 0
        for mode in arguments.modes.split(","):
            for client, upstream in pairs:
                row = await bench.pair(client, upstream, mode, 1 if mode == "paced" else arguments.rounds)
                over += row["ratio"] > row["budget"]
                print(
                    f"{client:16} {upstream:8} {mode:6} {row['yardstick_us']:8.1f}us {row['cpa_us']:8.1f}us "
                    f"{row['ratio']:6.2f} {row['budget']:6.2f}{'  over' if row['ratio'] > row['budget'] else ''}",
                    flush=True,
                )
        print(f"resident memory, 200 open streams {await bench.memory_with_streams():.0f} MB (budget 90)")
        print(f"{over} of {len(bench.rows)} over budget")
        if arguments.json:
            Path(arguments.json).write_bytes(orjson.dumps({"start": start, "rows": bench.rows}))
    finally:
        bench.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
