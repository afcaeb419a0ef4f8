"""Secrets placed everywhere, then looked for in everything the daemon writes and shows: none is found."""

from __future__ import annotations

import base64
import os
import sqlite3
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from aiohttp import web
from running import ROOT, RunningDaemon, Upstream, free_port

from cpa.usage.history_batches import unpack

CLIENT = "canary+client/key-71f3aa"
PROVIDER = "canary-provider-key-82d4bb"
PROVIDER_HEADER = "canary-header-value-93e5cc"
MANAGEMENT = "canary-management-key-04f6dd"
ACCESS, REFRESH = "canary-access-token-15a7ee0123456789", "canary-refresh-token-26b8ff0123456789"
WRONG = "canary-wrong-key-37c9001122334455"
MEMBER = "canary-member-48da112233"
PROXY = "canary-proxy-password-59eb22"
CANARIES = (CLIENT, PROVIDER, PROVIDER_HEADER, MANAGEMENT, ACCESS, REFRESH, WRONG, MEMBER, PROXY)
FAIL_WORDS = ("fail", "ok", "break")


def forms(secret: str) -> set[bytes]:
    """How a secret may be written."""
    found = {secret.encode(), quote(secret, safe="").encode(), secret.replace("/", "\\/").encode()}
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + secret.encode())
        found.add(encoded[4 : (len(secret) + before) * 8 // 6])
    return found


class Gossip:
    """An upstream that tells everything it was told, in headers, answers, errors and streams."""

    def __init__(self) -> None:
        self.asked = 0
        self.app = web.Application()
        self.app.router.add_route("*", "/{rest:.*}", self._answer)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        body = await request.read()
        told = " ".join([*request.headers.values(), str(request.rel_url), PROVIDER, ACCESS])
        told += " " + base64.b64encode(f"user:{PROVIDER}".encode()).decode()
        headers = {"X-Echo": told[:2000], "Set-Cookie": f"session={PROVIDER}"}
        if b"fail" in body:
            return web.json_response({"error": {"message": told, "api_key": MEMBER}}, status=400, headers=headers)
        answer = web.StreamResponse(headers={**headers, "Content-Type": "text/event-stream"})
        if b'"stream":true' not in body.replace(b" ", b""):
            message = {"role": "assistant", "content": told}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return web.json_response(
                {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]},
                headers=headers,
            )
        await answer.prepare(request)
        for text in ("begin ", told):
            choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
            event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
            await answer.write(b"data: " + orjson.dumps(event) + b"\n\n")
        if b"break" in body:
            await answer.write(b"data: " + orjson.dumps({"error": {"message": told, "code": "x"}}) + b"\n\n")
        return answer


@pytest.fixture(params=[True, False], ids=["every request", "failures"])
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningDaemon]:
    gossip = Gossip()
    upstream = Upstream(gossip.app)
    (tmp_path / "auth").mkdir()
    login = {"type": "claude", "email": "me@example.com", "access_token": ACCESS, "refresh_token": REFRESH}
    login |= {"expired": "2099-01-01T00:00:00Z"}
    (tmp_path / "auth" / "claude-me.json").write_text(orjson.dumps(login).decode())
    document: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": free_port(),
        "auth-dir": str(tmp_path / "auth"),
        "api-keys": [CLIENT],
        "debug": True,
        "request-log": request.param,
        "logging-to-file": True,
        "usage-statistics-enabled": True,
        "metrics": {"enable": True},
        "error-logs-max-files": 0,
        "usage-database-path": str(tmp_path / "data" / "usage.sqlite"),
        "remote-management": {"secret-key": MANAGEMENT},
        "openai-compatibility": [
            {
                "name": "compat",
                "base-url": f"{upstream.url}/v1",
                "headers": {"X-Custom-Token": PROVIDER_HEADER},
                "api-key-entries": [{"api-key": PROVIDER}],
                "models": [{"name": "m", "alias": "oc"}],
            },
            {
                "name": "proxied",
                "base-url": f"{upstream.url}/v1",
                "api-key-entries": [
                    {"api-key": PROVIDER, "proxy-url": f"http://user:{PROXY}@127.0.0.1:{free_port()}"},
                ],
                "models": [{"name": "m", "alias": "px"}],
            },
        ],
        "plugins": {"configs": {"claude": {"base-url": upstream.url}}},
    }
    mask = os.umask(0o022)
    try:
        running = RunningDaemon(document, tmp_path, {"XDG_RUNTIME_DIR": str(tmp_path), "WRITABLE_PATH": str(tmp_path)})
    finally:
        os.umask(mask)
    yield running
    running.stop()
    upstream.stop()
    assert gossip.asked > 5


def ask(daemon: RunningDaemon, path: str, body: Any = None, **headers: str) -> bytes:
    sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    data = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
    try:
        with urllib.request.urlopen(urllib.request.Request(daemon.url + path, data, sent), timeout=10) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as refusal:
        return refusal.read()


def drive(daemon: RunningDaemon) -> None:
    """Requests with secrets in every place a client has."""
    basic = base64.b64encode(f"user:{CLIENT}".encode()).decode()
    for model in ("oc", "px", "claude-sonnet-4-5-20250929", "unknown"):
        for word in FAIL_WORDS:
            body = {"model": model, "stream": word == "break", "api_key": MEMBER, "password": MEMBER}
            body |= {"messages": [{"role": "user", "content": f"{word} {CLIENT} {PROVIDER} {ACCESS}"}], "max_tokens": 5}
            ask(daemon, "/v1/chat/completions", body, Authorization=f"Bearer {CLIENT}", X_Api_Key=CLIENT, Cookie=CLIENT)
            ask(
                daemon,
                f"/v1/messages?key={quote(CLIENT, safe='')}",
                body,
                X_Other=CLIENT,
                Referer=f"http://x/?k={CLIENT}",
            )
            ask(daemon, f"/v1/chat/completions?auth_token={quote(CLIENT, safe='')}", body, X_Basic=f"Basic {basic}")
    fine = {"model": "oc", "messages": [{"role": "user", "content": "ok"}]}
    ask(daemon, "/v1/chat/completions", fine, Authorization=f"Bearer {WRONG}", X_Goog_Api_Key=WRONG)
    ask(daemon, f"/v1/chat/completions?key={WRONG}&api_key={WRONG}&auth_token={WRONG}", fine)
    ask(daemon, "/v1/chat/completions", orjson.dumps({"api_key": MEMBER})[:-1], Authorization=f"Bearer {CLIENT}")
    ask(daemon, f"/v1/nothing/{quote(CLIENT, safe='')}", fine, Authorization=f"Bearer {CLIENT}")


def shown(daemon: RunningDaemon) -> Iterator[tuple[str, bytes]]:
    """Everything the daemon shows: (where, content)."""
    key = {"Authorization": f"Bearer {MANAGEMENT}"}
    base = "/v0/management"
    listed = ask(daemon, f"{base}/request-histories?limit=1000", **key)
    rows = orjson.loads(listed)["requests"]
    assert len(rows) >= 20
    yield "list of requests", listed
    for row in rows:
        yield f"request {row['request_id']}", ask(daemon, f"{base}/request-histories/{row['request_id']}", **key)
    for path in ("/usage", "/usage/events?page_size=1000", "/usage/export", "/usage/export?format=csv", "/logs"):
        yield path, ask(daemon, base + path, **key)
    yield "error logs", ask(daemon, f"{base}/request-error-logs", **key)
    yield "/metrics", ask(daemon, "/metrics", **key)
    command = [sys.executable, "-m", "cpa", "doctor", "--config", str(daemon.config_path)]
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}"}
    yield "doctor", subprocess.run(command, capture_output=True, env=environ, cwd=daemon.directory, check=False).stdout


def stored(daemon: RunningDaemon) -> Iterator[tuple[str, bytes]]:
    """Everything in files but those in which secrets belong, histories unpacked."""
    for path in daemon.directory.rglob("*"):
        if path.is_file() and path != daemon.config_path and path.parent.name != "auth":
            yield str(path.relative_to(daemon.directory)), path.read_bytes()
    connection = sqlite3.connect(daemon.directory / "data" / "usage.sqlite")
    batches = connection.execute("SELECT request_ids, heads, bodies FROM request_history_batches").fetchall()
    connection.close()
    assert sum(request_ids.count("\n") + 1 for request_ids, _, _ in batches) >= 10
    for request_ids, heads, bodies in batches:
        yield f"histories {request_ids}", unpack(heads) + unpack(bodies)


def test_no_secret_is_found_in_anything_that_is_written_or_shown(daemon: RunningDaemon) -> None:
    """Row 18: keys, tokens and passwords in every header, parameter, body and error, of clients and upstreams."""
    drive(daemon)
    sinks = list(shown(daemon))
    assert daemon.stop() == 0
    sinks += list(stored(daemon))
    hits = [
        (where, canary, bytes(content[max(0, content.find(form) - 60) : content.find(form) + 20]))
        for where, content in sinks
        for canary in CANARIES
        for form in forms(canary)
        if form in content
    ]
    assert not hits, "\n".join(map(str, hits[:12]))


def test_every_file_is_for_its_owner_only(daemon: RunningDaemon) -> None:
    """Row 19: under umask 022, also while it runs (-wal, -shm)."""
    drive(daemon)
    list(shown(daemon))
    made = [path for path in daemon.directory.rglob("*") if "auth" not in path.parts[-2:]]
    given = {daemon.config_path, daemon.log_path}
    names = {path.name for path in made}
    assert {"usage.sqlite", "usage.sqlite-wal", "usage.sqlite-shm", "main.log"} <= names
    open_to_others = [
        f"{path.name} {stat.S_IMODE(path.stat().st_mode):o}"
        for path in made
        if path not in given and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    assert not open_to_others
