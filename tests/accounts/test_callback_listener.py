"""The port a browser comes back to: loopback, one shot, fixed pages."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest

from cpa.accounts.login.callback import Callback
from cpa.accounts.login.listener import CallbackListener
from cpa.accounts.login.loopback import LoopbackServer, PageAnswer, PageRequest
from cpa.accounts.login.pages import Outcome
from cpa.errors import LoginError


class Waiting:
    """A listener and what it was told."""

    def __init__(self) -> None:
        self.got: list[Callback] = []
        self.decided: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.listener = CallbackListener("/auth/callback", self.got.append, lambda: asyncio.shield(self.decided))

    async def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str, str]:
        """Status, body and where it leads."""
        url = f"http://127.0.0.1:{self.listener.port}{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, allow_redirects=False, headers=headers) as answer,
        ):
            return answer.status, await answer.text(), answer.headers.get("Location", "")

    async def raw(self, content: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.listener.port)
        writer.write(content)
        answer = await reader.read()
        writer.close()
        return answer


@pytest.fixture
async def waiting() -> AsyncIterator[Waiting]:
    waiting = Waiting()
    await waiting.listener.start(0)
    yield waiting
    await waiting.listener.close(0)


async def test_the_browser_learns_what_really_became_of_the_login(waiting: Waiting) -> None:
    assert await waiting.get("/auth/callback?code=c&state=s") == (302, "", "/success")
    assert waiting.got == [Callback(code="c", state="s")]
    page = asyncio.create_task(waiting.get("/success"))
    await asyncio.sleep(0.05)
    assert not page.done(), "it waits for the outcome"
    waiting.decided.set_result("failed")
    status, text, _ = await page
    assert status == 400
    assert "The login failed" in text


@pytest.mark.parametrize(
    ("query", "told", "shown"),
    [
        ("state=s", Callback(state="s"), "The login failed"),
        ("code=c", Callback(code="c"), "The login failed"),
        ("error=access_denied&state=s", Callback(error="access_denied", state="s"), "Login cancelled"),
        ("error=%3Cscript%3E", Callback(error="<script>"), "The login failed"),
    ],
)
async def test_what_is_no_callback_is_told_and_refused(
    waiting: Waiting, query: str, told: Callback, shown: str
) -> None:
    status, text, _ = await waiting.get(f"/auth/callback?{query}")
    assert (status, waiting.got) == (400, [told])
    assert shown in text
    assert "<script>" not in text


async def test_only_a_get_of_the_exact_path_is_a_callback(waiting: Waiting) -> None:
    status, text, _ = await waiting.get("/auth/callback?code=c&state=s", "POST")
    assert (status, text) == (405, "Method not allowed")
    for path in ("/", "/auth/callback/", "/auth", "/auth/callback/x?code=c&state=s", "//auth/callback"):
        assert (await waiting.get(path))[0] == 404
    assert waiting.got == []
    assert (await waiting.get("/success"))[0] == 400, "nothing has come back yet"


async def test_a_page_of_another_name_is_no_browser_of_ours(waiting: Waiting) -> None:
    """DNS rebinding: another host's name that leads to this machine."""
    assert (await waiting.get("/auth/callback?code=c&state=s", Host="evil.test"))[0] == 400
    assert (await waiting.get("/auth/callback?code=c&state=s", Host="localhost:1455"))[0] == 302


@pytest.mark.parametrize(
    "content",
    [
        b"\r\n\r\n",
        b"GET /auth/callback?code=c&state=s\r\n\r\n",
        b"GET /auth/callback?code=c&state=s HTTP/1.1\r\n\r\n",
        b"GET /auth/callback?code=c&state=\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /auth/callback?code=c\nX: y HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /auth/callback?code=" + b"c" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
)
async def test_what_cannot_be_read_is_dropped(waiting: Waiting, content: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", waiting.listener.port)
    writer.write(content)
    writer.write_eof()
    try:
        answer = await reader.read()
    except ConnectionResetError:
        answer = b""
    writer.close()
    assert not answer or answer.startswith(b"HTTP/1.1 400 ")
    assert waiting.got == []


async def test_silent_connections_neither_block_nor_outlive_it(waiting: Waiting) -> None:
    idle = [await asyncio.open_connection("127.0.0.1", waiting.listener.port) for _ in range(20)]
    assert (await waiting.get("/auth/callback?code=c&state=s"))[0] == 302
    await waiting.listener.close(0)
    for reader, writer in idle:
        assert await asyncio.wait_for(reader.read(), 2) == b""
        writer.close()


async def test_trust_row_09_a_callback_counts_once_on_this_machine_and_shows_nothing_it_was_sent(
    waiting: Waiting,
) -> None:
    """Code injection, login fixation and mix-up; that a state belongs to one flow is held where flows are."""
    await waiting.get("/auth/callback?code=first&state=s")
    for _ in range(3):
        assert (await waiting.get("/auth/callback?code=second&state=s"))[0] == 302
    assert waiting.got == [Callback(code="first", state="s")]
    waiting.decided.set_result("success")
    payload = "?platform_url=%22%3E%3Cscript%3E&setup_required=true&code=leak"
    status, text, _ = await waiting.get(f"/success{payload}")
    assert status == 200
    for trace in ("script", "leak", "platform", "javascript"):
        assert trace not in text
    addresses = {found[4][0] for found in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in (*(found for found in addresses if not found.startswith("127.")), "127.0.0.2"):
        with socket.socket() as visitor:
            visitor.settimeout(1)
            assert visitor.connect_ex((str(address), waiting.listener.port)) != 0, address


async def test_trust_row_11_no_request_says_where_a_browser_is_sent(waiting: Waiting) -> None:
    query = "code=c&state=s&redirect=https://evil.example&redirect_uri=//evil.example&next=/x&platform_url=javascript:x"
    assert (await waiting.get(f"/auth/callback?{query}"))[2] == "/success"
    waiting.decided.set_result("success")
    for path in ("/success?redirect=https://evil.example", "/success?platform_url=https://evil.example"):
        status, text, location = await waiting.get(path)
        assert (status, location) == (200, "")
        assert "evil" not in text


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", ""])
async def test_trust_row_10_a_port_that_is_taken_is_not_shared(host: str) -> None:
    """Whoever listens there, on whichever address the browser might try: the login does not begin."""
    family = socket.AF_INET6 if host == "::1" else socket.AF_INET
    try:
        squatter = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip("no such address on this machine")
    with squatter:
        port = squatter.getsockname()[1]
        waiting = Waiting()
        with pytest.raises(LoginError, match=f"port {port} is in use") as caught:
            await waiting.listener.start(port)
    assert (caught.value.code, caught.value.status) == ("port_in_use", 13)
    await waiting.listener.start(port)
    await waiting.listener.close(0)


async def test_a_failing_answer_closes_its_connection_alone() -> None:
    async def answer(request: PageRequest) -> PageAnswer:
        if request.path == "/slow":
            await asyncio.sleep(60)
        return PageAnswer(200, b"fine")

    server = LoopbackServer(answer)
    await server.start(0)
    async with aiohttp.ClientSession() as session:
        slow = asyncio.create_task(session.get(f"http://127.0.0.1:{server.port}/slow"))
        await asyncio.sleep(0.05)
        async with session.get(f"http://localhost:{server.port}/") as quick:
            assert await quick.text() == "fine"
        await server.close()
        with pytest.raises(aiohttp.ClientError):
            await slow
