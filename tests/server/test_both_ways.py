"""A request is answered alike whether it is served directly or by aiohttp: answer, connection, access line, usage."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from cpa.config import ConfigStore
from cpa.daemon import Daemon

CONFIG = """host: 127.0.0.1
port: 0
auth-dir: {0}/auth
usage-database-path: {0}/usage.sqlite
max-body-size: 4096
cors-origins: [https://ok.example]
api-keys: [sk-good]
usage-statistics-enabled: true
"""
QUIET = 1.0
"""Seconds after which no more of an answer is awaited."""
KEY = b"X-Api-Key: sk-good"
CHAT: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
BODIES: dict[str, Any] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": "demo", "prompt": "hi"},
    "/v1/messages": {**CHAT, "max_tokens": 9},
    "/v1/messages/count_tokens": CHAT,
    "/v1/responses": {"model": "demo", "input": "hi"},
    "/backend-api/codex/responses": {"model": "demo", "input": "hi"},
    "/v1/responses/input_tokens": {"model": "demo", "input": "hi"},
    "/v1beta/models/demo:generateContent": GEMINI,
    "/v1beta/models/demo:streamGenerateContent": GEMINI,
    "/v1beta/models/demo:streamGenerateContent?alt=sse&key=sk-good&a=b+c&=x&a": GEMINI,
    "/v1beta/models/../demo:generateContent": GEMINI,
    "/v1beta/models/": GEMINI,
    "/v1/images/generations": {"model": "demo", "prompt": "hi"},
    "/v1/chat/completions/": CHAT,
    "/nothing": {},
}
PATHS = [
    "/v1/models", "/v1/models?key=sk-good", "/v1/models?key=%73k-good&x=;", "/v1/models/demo", "/v1/models/a/b",
    "/v1/models/", "/v1/models/no%20ne", '/v1/models/"^{}|\\`', "/v1//models", "/./v1/models", "/v1/models/..",
    "/v1beta/models", "/healthz", "/healthz/", "/healthz#x", "/", "//", "*", "http://localhost/healthz",
    "/v0/management/config",
]  # fmt: skip
HEADERS = [
    b"Content-Length: 5", b"Transfer-Encoding: chunked", b"X: a\r\n folded", b"X: a\nY: b", b"X: a\rY: b", b"X: a\0b",
    b"X: \xc3\xa9", b"X: \xe9", b"X\xe9: a", b"X : a", b"X", b": a", b"X:", b"X: " + b"a" * 70_000,
    b"Connection: close", b"Connection: Keep-Alive", b"Connection: keep-alive\r\nConnection: close",
    b"Connection: keep-alive, close", b"Connection: upgrade\r\nUpgrade: h2c", b"Upgrade: websocket",
    b"Expect: 100-continue", b"Expect: more", b"Host: evil.example", b"Origin: https://ok.example",
    b"Origin: https://evil.example", b"Origin: null", b"Sec-Fetch-Site: cross-site", b"X-Api-Key: \xff",
    b"Authorization: Bearer no", b"Content-Encoding: gzip", b"Content-Encoding: odd",
    b"Content-Type: Multipart/Form-Data; boundary=b",
]  # fmt: skip
CONTENTS = [
    b"", b"null", b"[]", b'{"model":', b'{"model":"\xff"}', b'{"model":"demo","messages":1}', b'{"model":"\\ud800"}',
    b" " * 4096, b" " * 4097, b"\xef\xbb\xbf{}", b"{" * 3000,
]  # fmt: skip
LENGTHS = [b"+5", b"-5", b"5, 5", b"0x5", b"", b"9" * 18, b"1" * 15, b"0005", b" 5\t ", b"5.0"]
_ONE_OF_ITS_KIND = re.compile(
    rb'"(?:id|responseId|request_id|item_id)":"[^"]*"|"(?:created|created_at|completed_at)":\d+|msg_\w+|resp_\w+'
)
Case = tuple[list[bytes], str]
"""Pieces to send, and the method of the first request."""


def request(
    name: str, method: str, path: str, content: bytes = b"", *headers: bytes, length: bytes | None = None
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {name}".encode(), *headers]
    if method == "POST" or length is not None:
        lines.append(b"Content-Length: " + (b"%d" % len(content) if length is None else length))
    return b"\r\n".join(lines) + b"\r\n\r\n" + content


def cases() -> Iterator[tuple[str, Case]]:
    chat = orjson.dumps(CHAT)
    for at, (path, body) in enumerate(BODIES.items()):
        for stream in (False, True):
            content = orjson.dumps({**body, "stream": stream} if "contents" not in body else body)
            yield (name := f"post-{at}-{stream}"), ([request(name, "POST", path, content, KEY)], "POST")
        for method in ("GET", "HEAD", "DELETE"):
            yield (name := f"{method}-{at}"), ([request(name, method, path)], method)
        yield (name := f"keyless-{at}"), ([request(name, "POST", path, content)], "POST")
    for at, path in enumerate(PATHS):
        for method in ("GET", "HEAD", "OPTIONS"):
            yield (name := f"path-{at}-{method}"), ([request(name, method, path, b"", KEY)], method)
    for at, header in enumerate(HEADERS):
        yield (name := f"header-{at}"), ([request(name, "POST", "/v1/chat/completions", chat, KEY, header)], "POST")
        yield (name := f"get-{at}"), ([request(name, "GET", "/v1/models", b"", KEY, header)], "GET")
    for at, content in enumerate(CONTENTS):
        for path in ("/v1/chat/completions", "/v1/messages"):
            sent = request(name := f"content-{at}-{path[-4:]}", "POST", path, content, KEY)
            yield name, ([sent], "POST")
            yield (name := f"late-{name}"), ([sent[:-1], sent[-1:]], "POST")
    for at, length in enumerate(LENGTHS):
        yield (name := f"length-{at}"), ([request(name, "POST", "/healthz", b"12345", length=length)], "POST")
        yield (name := f"length-get-{at}"), ([request(name, "GET", "/healthz", b"12345", length=length)], "GET")
    whole = request("cut", "POST", "/v1/chat/completions", chat, KEY)
    streamed = request("cut", "POST", "/v1/chat/completions", orjson.dumps({**CHAT, "stream": True}), KEY)
    for cut in range(1, len(whole), 23):
        after = request("cut", "GET", "/nothing") + streamed
        yield f"cut-{cut}", ([streamed + whole[:cut], whole[cut:] + after], "POST")
    refused = request("refused", "POST", "/v1/chat/completions", b"", length=b"4000")
    yield "refused", ([refused, b"x" * 4000 + whole], "POST")
    large = request("large", "POST", "/v1/chat/completions", b"", KEY, length=b"50000")
    yield "large", ([large, b"x" * 50_000 + whole], "POST")
    yield "body-of-get", ([request("body", "GET", "/healthz", b"12345", length=b"5") + whole], "GET")
    yield "no-host", ([whole.replace(b"Host", b"Hosts")], "POST")
    yield "other-host", ([whole.replace(b"localhost", b"evil.example") + whole], "POST")
    for at, junk in enumerate(
        [b"\r\n", b"\r\n\r\n", b"\n", b"JUNK\r\n\r\n", b"GET\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n"]
    ):
        yield f"junk-{at}", ([junk + whole], "POST")
        yield f"later-junk-{at}", ([whole, junk + whole], "POST")


class Side:
    """One of the two daemons."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self.daemon = daemon
        self.folder = folder
        self.lines: dict[str, list[Any]] = defaultdict(list)
        """Access lines by request id."""

    async def asked(self, case: Case) -> tuple[list[Any], bool]:
        """The answers, and whether the connection has ended."""
        pieces, method = case
        host, port = self.daemon.addresses[0].split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        received, ended = b"", False
        try:
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.03)
            while not ended:
                async with asyncio.timeout(QUIET):
                    piece = await reader.read(100_000)
                received, ended = received + piece, not piece
        except TimeoutError:
            pass
        except ConnectionError:
            ended = True
        writer.close()
        return list(answers(received, method)), ended

    def usage(self) -> list[Any]:
        """What was recorded, once the daemon has stopped."""
        rows = "SELECT request_id, endpoint, model, status_code, attempt, stream, total_tokens FROM usage_events"
        with sqlite3.connect(self.folder / "usage.sqlite") as connection:
            return sorted(connection.execute(rows))


def answers(received: bytes, method: str) -> Iterator[Any]:
    """Status, headers that mean something, and body of each answer."""
    while received:
        if not received.startswith(b"HTTP/1."):
            yield received
            return
        head, _, received = received.partition(b"\r\n\r\n")
        first, *lines = head.lower().split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        body = b""
        if headers.pop(b"transfer-encoding", b"") == b"chunked":
            while (size := int(received.partition(b"\r\n")[0], 16)) > 0:
                begin = received.find(b"\r\n") + 2
                body, received = body + received[begin : begin + size], received[begin + size + 2 :]
            received = received[5:]
        elif method != "HEAD":
            length = int(headers.pop(b"content-length", b"0"))
            body, received = received[:length], received[length:]
        for name in (b"date", b"server", b"x-request-id", b"content-length"):
            headers.pop(name, None)
        yield first.split()[1], headers, _ONE_OF_ITS_KIND.sub(b"", body)


class Lines:
    """A log that keeps the access lines."""

    def __init__(self, real: Any, kept: dict[str, list[Any]]) -> None:
        self._real = real
        self._kept = kept

    def __getattr__(self, level: str) -> Any:
        def write(event: str, **fields: Any) -> None:
            if event == "request":
                said = {name: fields[name] for name in ("peer", "method", "path", "status")}
                self._kept[fields["request_id"]].append((level, said))

        return write


async def started(folder: Path, *, directly: bool) -> Side:
    folder.mkdir()
    (folder / "config.yaml").write_text(CONFIG.format(folder))
    daemon = Daemon(ConfigStore(folder / "config.yaml", {}), {"XDG_RUNTIME_DIR": str(folder)})
    await daemon.start()
    side = Side(daemon, folder)
    listener: Any = daemon._listener
    listener._direct.services.log = Lines(listener._direct.services.log, side.lines)
    if not directly:
        listener._direct.route = lambda head: None
    return side


async def test_requests_are_answered_alike_both_ways(tmp_path: Path) -> None:
    sides = [await started(tmp_path / name, directly=name == "direct") for name in ("direct", "aiohttp")]
    asked = dict(cases())
    places = asyncio.Semaphore(80)

    async def both(case: Case) -> list[tuple[list[Any], bool]]:
        async with places:
            return await asyncio.gather(*(side.asked(case) for side in sides))

    outcomes = await asyncio.gather(*(both(case) for case in asked.values()))
    for side in sides:
        await side.daemon.stop()
    for name, (directly, otherwise) in zip(asked, outcomes, strict=True):
        assert directly == otherwise, name
    names = [name for name in sides[0].lines if not re.fullmatch("[0-9a-f]{16}", name)]
    for name in names:
        assert sides[0].lines[name] == sides[1].lines[name], name
    assert len(names) > 100
    assert sides[0].usage() == sides[1].usage()
    assert sides[0].usage()
