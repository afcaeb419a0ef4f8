"""Four vendors' APIs that take OAuth tokens only, and only those that their authorization server has given."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from fake_model import READERS, STREAMS, WHOLE, decide

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "accounts"))
from identity_provider import IdentityProvider, auth_file, jwt, oauth_settings

__all__ = ["IdentityProvider", "OAuthUpstream", "auth_file", "jwt", "oauth_settings"]

UNAUTHORIZED = {"error": {"type": "authentication_error", "message": "token expired", "code": 401}}


@dataclass
class Seen:
    """One request that arrived."""

    vendor: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class OAuthUpstream:
    """``provider`` says which tokens are worth something; ``seen`` lists what was answered, ``refused`` is counted."""

    provider: IdentityProvider
    seen: list[Seen] = field(default_factory=list)
    refused: int = 0
    answer_headers: dict[str, str] = field(default_factory=dict)
    users_headers: dict[str, dict[str, str]] = field(default_factory=dict)
    """What is told to one user beside ``answer_headers``."""
    failures: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """Status and body of the next answers to good tokens."""
    before: list[bytes] = field(default_factory=list)
    """Frames that streams begin with."""
    instead: list[bytes] | None = None
    """Frames that streams consist of."""

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_post("/api/{vendor}/{rest:.*}", self._answer)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        vendor = request.match_info["vendor"]
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        body = orjson.loads(await request.read())
        login = self.provider.find(token)
        if login is None or login.vendor != vendor:
            self.refused += 1
            return web.json_response(UNAUTHORIZED, status=401)
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append(Seen(vendor, request.path_qs, headers, body))
        if self.failures:
            status, error = self.failures.pop(0)
            return web.json_response(error, status=status)
        if "ountTokens" in request.path or request.path.endswith("count_tokens"):
            return web.json_response({"totalTokens": 42} if vendor == "gemini" else {"input_tokens": 42})
        return await self._generate(
            request, vendor, body, {**self.answer_headers, **self.users_headers.get(login.user, {})}
        )

    async def _generate(
        self, request: web.Request, vendor: str, body: dict[str, Any], told: dict[str, str]
    ) -> web.StreamResponse:
        kind = {"kimi": "claude" if "/messages" in request.path else "oc"}.get(vendor, vendor)
        asked = READERS[kind](body["request"] if vendor == "gemini" else body)
        stream = "streamGenerateContent" in request.path if vendor == "gemini" else asked.stream
        said = decide(asked)
        if not stream:
            whole = WHOLE[kind](said)
            return web.json_response({"response": whole, "traceId": "t"} if vendor == "gemini" else whole, headers=told)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **told})
        await response.prepare(request)
        frames = iter([*self.before, *STREAMS[kind](said)]) if self.instead is None else iter(self.instead)
        for frame in _wrapped(frames) if vendor == "gemini" else frames:
            await response.write(frame)
        await response.write_eof()
        return response


def _wrapped(frames: Iterator[bytes]) -> Iterator[bytes]:
    for frame in frames:
        inner = orjson.loads(frame.removeprefix(b"data: "))
        yield b"data: " + orjson.dumps({"response": inner, "traceId": "t"}) + b"\n\n"
