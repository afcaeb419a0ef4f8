"""Upstreams that name the type of their answers wrongly: a stream is relayed, a whole answer is played as one."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from fake_model import ERRORS, READERS, STREAMS, WHOLE, FakeModel, decide, gemini_chunks
from histories import HI, Kept, keeping

from cpa.conversation.reply import Reply, fold
from cpa.formats.codec import ReplyContext
from cpa.formats.registry import builtin_formats
from cpa.formats.sse import SseParser

FORMATS = builtin_formats()
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
CONTENTS = [{"role": "user", "parts": [{"text": "hi"}]}]
CLIENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": (
        "/v1/chat/completions",
        {
            "messages": HI,
            "stream_options": {"include_usage": True},
            "tools": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}],
        },
    ),
    "openai-response": (
        "/v1/responses",
        {"input": "hi", "tools": [{"type": "function", "name": "weather", "parameters": SCHEMA}]},
    ),
    "claude": (
        "/v1/messages",
        {"messages": HI, "max_tokens": 99, "tools": [{"name": "weather", "input_schema": SCHEMA}]},
    ),
    "gemini": (
        "/v1beta/models/{model}:streamGenerateContent?alt=sse",
        {"contents": CONTENTS, "tools": [{"functionDeclarations": [{"name": "weather", "parameters": SCHEMA}]}]},
    ),
}
UPSTREAMS = ("oc", "codex", "claude", "gemini")
LEADS = (b"", b"\n\r\n \n", b"\xef\xbb\xbf", b": ping\n\n: {data: ping}\r\n\r\n:\n", b"\xef\xbb\xbf\n: ping\n\n\n")
"""What may stand before an answer and means nothing."""
BEGINNING = 60
SIZES = (1, 25, BEGINNING)
"""Bytes of the beginning that come at a time."""


class Mistyping(FakeModel):
    """Sends what it is told to in pieces, under whatever type."""

    said = ""
    """The type of its answers."""
    whole = error = listed = packed = False
    lead = b""
    size = 1
    sent = b""
    """The latest answer."""

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        kind = request.match_info["kind"]
        response = web.StreamResponse(headers={"Content-Type": self.said})
        await response.prepare(request)
        self.sent = self.lead + self._content(kind, READERS[kind](orjson.loads(await request.read())))
        content = gzip.compress(self.sent) if self.packed else self.sent
        for at in range(0, BEGINNING, self.size):
            await response.write(content[at : min(at + self.size, BEGINNING)])
        await response.write(content[BEGINNING:])
        await response.write_eof()
        return response

    def _content(self, kind: str, asked: Any) -> bytes:
        said = decide(asked)
        if self.error:
            body = orjson.dumps(ERRORS[kind], option=orjson.OPT_INDENT_2 if self.whole else 0)
            return body if self.whole else b"event: error\ndata: %b\n\n" % body
        if self.listed:
            return orjson.dumps(gemini_chunks(said))
        if not self.whole:
            return b"".join(STREAMS[kind](said))
        if kind != "codex":
            return orjson.dumps(WHOLE[kind](said))
        *_, end = STREAMS[kind](said)
        return orjson.dumps(orjson.loads(end.partition(b"data: ")[2])["response"], option=orjson.OPT_INDENT_2)


Begin = Callable[..., Awaitable[Kept]]
"""Starts a daemon whose upstream calls its answers so: ``await begin("text/plain", whole=True, error=True)``."""


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Begin]:
    async with AsyncExitStack() as stack:

        async def started(said: str, whole: bool, *, error: bool = False, request_log: bool = False) -> Kept:
            model = Mistyping()
            model.said, model.whole, model.error = said, whole, error
            upstream = TestServer(model.app, host="127.0.0.1")
            await upstream.start_server()
            stack.push_async_callback(upstream.close)
            settings = {"request-log": request_log, "disable-cooling": True}
            daemon = await stack.enter_async_context(await keeping(tmp_path, upstream, model, settings))
            return Kept(daemon, await stack.enter_async_context(aiohttp.ClientSession()), model)

        yield started


async def answers(kept: Kept) -> AsyncIterator[tuple[str, str, int, bytes]]:
    """Every client asks every upstream, however the answer begins and comes: (client, request id, status, answer)."""
    upstream = kept.model
    assert isinstance(upstream, Mistyping)
    for upstream.lead in LEADS:
        for upstream.size in SIZES:
            for client, (path, asked) in CLIENTS.items():
                for model in UPSTREAMS:
                    body = asked if client == "gemini" else {**asked, "model": model, "stream": True}
                    name = f"{client}.{model}.{LEADS.index(upstream.lead)}.{upstream.size}"
                    status, answer = await kept.ask(path.format(model=model), body, X_Request_Id=name)
                    yield client, name, status, answer


def read(client: str, answer: bytes) -> Reply:
    """A stream as its client reads it."""
    parser, decoder = SseParser(), FORMATS[client].stream_decoder(ReplyContext(client_format=client))
    events = [event for frame in parser.feed(answer) for event in decoder.feed(frame)]
    return fold([*events, *decoder.close()])


@pytest.mark.parametrize(
    ("said", "whole"),
    [("application/json; charset=utf-8", False), ("text/plain", False), ("text/event-stream", True), ("text/x", True)],
)
async def test_an_answer_is_read_as_what_it_is(begin: Begin, said: str, whole: bool) -> None:
    async for client, name, status, answer in answers(await begin(said, whole)):
        assert status == 200, (name, answer)
        reply = read(client, answer)
        assert reply.ended, (name, answer)
        assert [block.name for block in reply.blocks] == ["weather"]
        assert orjson.loads(reply.blocks[0].arguments) == {"city": "Paris", "days": 3}
        assert reply.usage is not None
        assert reply.usage.sum() == 29, (name, answer)


@pytest.mark.parametrize(("said", "whole"), [("application/json", False), ("text/event-stream", True)])
async def test_so_is_an_error(begin: Begin, said: str, whole: bool) -> None:
    async for _, name, status, answer in answers(await begin(said, whole, error=True)):
        assert status >= 400, (name, answer)
        assert b"the model says boom" in answer, (name, answer)


@pytest.mark.parametrize(("said", "whole"), [("application/json", False), ("text/event-stream", True)])
async def test_its_history_has_every_byte_once(begin: Begin, said: str, whole: bool) -> None:
    kept = await begin(said, whole, request_log=True)
    assert isinstance(kept.model, Mistyping)
    async for _, name, status, answer in answers(kept):
        assert status == 200
        sections = await kept.history(name)
        assert sections["API RESPONSE 1"].endswith(kept.model.sent.decode())
        assert sections["RESPONSE"].endswith(answer.decode())


@pytest.mark.parametrize("said", ["application/json", "text/event-stream"])
async def test_a_stream_that_came_as_a_list_is_relayed(begin: Begin, said: str) -> None:
    kept = await begin(said, whole=False)
    assert isinstance(kept.model, Mistyping)
    kept.model.listed = True
    status, answer = await kept.ask(CLIENTS["gemini"][0].format(model="gemini"), {"contents": CONTENTS})
    assert status == 200
    [block] = read("gemini", answer).blocks
    assert block.text == "You said: hi — über ☃"


@pytest.mark.parametrize("said", ["application/json", "text/event-stream", "text/plain"])
async def test_a_packed_answer_that_does_not_say_so_is_unpacked(begin: Begin, said: str) -> None:
    for whole in (False, True):
        kept = await begin(said, whole)
        assert isinstance(kept.model, Mistyping)
        kept.model.packed = True
        async for client, name, status, answer in answers(kept):
            assert status == 200, (name, answer)
            assert read(client, answer).ended, (name, answer)
