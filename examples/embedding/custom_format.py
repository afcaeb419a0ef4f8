"""A wire format of your own: an upstream that takes ``{"prompt": ...}`` and answers ``{"text": ...}``.

Clients of every format reach it; cpa translates. Only the upstream's side of the codec is needed, because no client
speaks this format.

    python examples/embedding/custom_format.py
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from cpa.config import ConfigStore
from cpa.conversation import events as ev
from cpa.conversation.parts import Text
from cpa.conversation.request import Conversation
from cpa.conversation.usage import Usage
from cpa.daemon import Daemon
from cpa.errors import ErrorInfo
from cpa.formats.codec import Codec, EncodedRequest, JsonObject, ReplyContext, Target
from cpa.formats.sse import SseFrame
from cpa.plugins import Account, Model, Provider, UpstreamAnswer, UpstreamRequest, hookimpl


class PromptCodec(Codec):
    """The upstream's side of the format. Pure: no I/O, no clock."""

    name = family = "prompt"
    stream_only = False
    prefers_stream = False

    def encode_request(self, conversation: Conversation, target: Target, reasoning: Any) -> EncodedRequest:
        """Everything that was said, as one text."""
        said = [part for item in conversation.system for part in item.parts]
        said += [part for turn in conversation.turns for part in turn.parts]
        text = "\n".join(part.text for part in said if isinstance(part, Text))
        return EncodedRequest({"model": target.model, "prompt": text})

    def decode_reply(self, body: JsonObject, context: ReplyContext) -> list[ev.Event]:
        """A whole answer as the events a stream of it would have had."""
        return [
            ev.Start(model=context.requested_model),
            ev.BlockStart(key=0, kind="text"),
            ev.TextDelta(key=0, text=str(body["text"])),
            ev.BlockEnd(key=0),
            ev.UsageReport(Usage(input_total=body["read"], output_total=body["written"])),
            ev.Finish("stop"),
            ev.End(),
        ]

    def read_usage(self, body: JsonObject) -> Usage | None:
        """Token counts of a whole answer."""
        return Usage(input_total=body["read"], output_total=body["written"])

    def reply_failure(self, body: JsonObject) -> ErrorInfo | None:
        """The error in an answer that came with status 200."""
        return None if "text" in body else ErrorInfo(502, "the upstream gave no text")

    def decode_error(self, status: int, body: bytes) -> ErrorInfo:
        """An error answer."""
        return ErrorInfo(status, body[:200].decode("utf-8", "replace"))

    def countable_text(self, body: JsonObject) -> str:
        """What counts as prompt."""
        return str(body.get("prompt", ""))

    def stream_decoder(self, context: ReplyContext) -> Any:
        """This upstream has no streams: cpa plays its answer as one."""
        return NoStream()


class NoStream:
    """Reads nothing."""

    def feed(self, frame: SseFrame) -> list[ev.Event]:
        """Nothing is expected."""
        return []

    def close(self) -> list[ev.Event]:
        """A stream that ended says nothing here."""
        return [ev.Failure(ErrorInfo(502, "the upstream does not stream"))]


class PromptProvider(Provider):
    """Answers without a network, to keep the example small; ``prepare`` would set URL and headers otherwise."""

    name = "prompt"
    format = "prompt"

    def accounts_from_config(self, config: Any) -> Iterable[Account]:
        """One account."""
        return [Account(id="prompt", provider="prompt", kind="none", label="prompt")]

    def models(self, account: Account, builtin: Any) -> Iterable[Model]:
        """One model."""
        return [Model(id="prompt-model", user_defined=True)]

    def prepare(self, request: UpstreamRequest) -> None:
        """Nothing to prepare."""
        request.url = "prompt:"

    async def send(self, request: UpstreamRequest) -> UpstreamAnswer:
        """The transport: here a function call."""
        text = f"You said: {request.body['prompt']}"

        async def body() -> AsyncIterator[bytes]:
            yield orjson.dumps({"text": text, "read": 3, "written": 4})

        return UpstreamAnswer(200, {"Content-Type": "application/json"}, body())


class PromptPlugin:
    """The format and its provider."""

    @hookimpl
    def cpa_formats(self) -> Iterable[Codec]:
        """The codec."""
        return [PromptCodec()]

    @hookimpl
    def cpa_providers(self) -> Iterable[Provider]:
        """The provider."""
        return [PromptProvider()]


async def main() -> list[str]:
    """Ask in two formats, streamed and not. Gives the answers as they came."""
    answers = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(f"host: 127.0.0.1\nport: 0\nauth-dir: {folder}/auth\n")
        daemon = Daemon(ConfigStore(path))
        daemon.plugins.register(PromptPlugin(), "prompt", daemon.store.current)
        async with daemon, aiohttp.ClientSession() as session:
            url = f"http://{daemon.addresses[0]}"
            messages = [{"role": "user", "content": "hello"}]
            for route, stream in (("/v1/chat/completions", False), ("/v1/messages", True)):
                body = {"model": "prompt-model", "messages": messages, "max_tokens": 10, "stream": stream}
                async with session.post(url + route, json=body) as answer:
                    answers.append(await answer.text())
    print("\n".join(answers))
    return answers


if __name__ == "__main__":
    asyncio.run(main())
