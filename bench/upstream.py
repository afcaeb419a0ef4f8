"""The scripted upstream: answers at once, in any of the four formats, from bytes made beforehand.

The header ``X-Bench`` of a request says how: ``whole``, ``burst`` (all frames, a handful in one write) or ``paced``
(one frame every 50 ms).
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import web

from bench.fixtures import stream_frames, whole_answer

BURST_EVENTS = 400
FRAMES_PER_WRITE = 8
PACED_EVENTS = 100
PACE_SECONDS = 0.05

FORMATS = {"oc": "openai", "claude": "claude", "gemini": "gemini", "codex": "codex"}


def build() -> web.Application:
    """The application: ``/{format}/...``."""
    whole = {name: whole_answer(fmt) for name, fmt in FORMATS.items() if fmt != "codex"}
    burst = {name: _grouped(stream_frames(fmt, BURST_EVENTS)) for name, fmt in FORMATS.items()}
    paced = {name: stream_frames(fmt, PACED_EVENTS) for name, fmt in FORMATS.items()}
    short = [b"".join(stream_frames("codex", 10))]
    """What the codex upstream, which only streams, sends where others answer whole."""

    async def handle(request: web.Request) -> web.StreamResponse:
        await request.read()
        name = request.match_info["format"]
        mode = request.headers.get("X-Bench", "whole")
        if mode == "whole" and name != "codex":
            return web.Response(body=whole[name], content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in {"paced": paced[name], "burst": burst[name]}.get(mode, short):
            await response.write(piece)
            if mode == "paced":
                await asyncio.sleep(PACE_SECONDS)
        await response.write_eof()
        return response

    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/{format}/{rest:.*}", handle)
    return app


def _grouped(frames: list[bytes]) -> list[bytes]:
    return [b"".join(frames[at : at + FRAMES_PER_WRITE]) for at in range(0, len(frames), FRAMES_PER_WRITE)]


if __name__ == "__main__":
    uvloop.install()
    web.run_app(build(), host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
