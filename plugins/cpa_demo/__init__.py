"""The demo provider: answers without any account, so that everything can be tried at once.

Models: ``demo`` (text), ``demo-think`` (with reasoning), ``demo-slow`` (streams slowly) and ``demo-error`` (always
429). Settings below ``plugins.configs.demo``: ``enabled``, ``delay-ms`` between two pieces of a stream and
``chunk-size`` in characters.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import orjson

from cpa.config import Config
from cpa.conversation.models import ThinkingSupport
from cpa.formats.codec import Operation
from cpa.plugins import Account, Model, Provider, UpstreamAnswer, UpstreamRequest, hookimpl
from cpa.plugins.provider import BuiltinModels
from cpa_demo.mind import Thought, think
from cpa_demo.writing import chunks, completion

SLOW_DELAY = 0.15
CREATED = 1_700_000_000


class DemoProvider(Provider):
    """Speaks Chat Completions to itself."""

    name = "demo"
    format = "openai"
    model_type = "demo"
    owned_by = "cpa"

    def __init__(self) -> None:
        self.delay = 0.0
        """Seconds between two pieces of a stream."""
        self.chunk_size = 12

    def accounts_from_config(self, config: Config) -> Iterable[Account]:
        """One account that needs no credential."""
        return [Account(id="demo", index="demo", provider="demo", kind="none", label="demo", source="built in")]

    def models(self, account: Account, builtin: BuiltinModels) -> Iterable[Model]:
        """The four models."""
        levels = ThinkingSupport(levels=("low", "medium", "high"), zero_allowed=True)
        shared: dict[str, Any] = {
            "owned_by": "cpa",
            "type": "demo",
            "created": CREATED,
            "context_length": 128_000,
            "max_output_tokens": 8_192,
            "input_modalities": ("text", "image"),
        }
        return [
            Model(id="demo", display_name="Demo", thinking=levels, **shared),
            Model(id="demo-think", display_name="Demo, thinking aloud", thinking=levels, **shared),
            Model(id="demo-slow", display_name="Demo, taking its time", thinking=levels, **shared),
            Model(id="demo-error", display_name="Demo, always busy", thinking=levels, **shared),
        ]

    def supports(self, operation: Operation, account: Account) -> bool:
        """It answers; tokens are counted locally."""
        return operation == "generate"

    def prepare(self, request: UpstreamRequest) -> None:
        """Nothing to prepare: there is no network."""
        request.url = "demo:"

    async def send(self, request: UpstreamRequest) -> UpstreamAnswer | None:
        """The answer, made up on the spot."""
        if request.model == "demo-error":
            error = {
                "message": "the demo model is always busy",
                "type": "rate_limit_error",
                "code": "rate_limit_exceeded",
            }
            return _answer(429, orjson.dumps({"error": error}), {"Retry-After": "5"})
        thought = think(request.body, aloud=request.model == "demo-think")
        created = int(time.time())
        if not request.stream:
            return _answer(200, orjson.dumps(completion(thought, request.model, created)), {})
        delay = SLOW_DELAY if request.model == "demo-slow" else self.delay
        return UpstreamAnswer(
            200, {"Content-Type": "text/event-stream"}, self._paced(thought, request.model, created, delay)
        )

    async def _paced(self, thought: Thought, model: str, created: int, delay: float) -> AsyncIterator[bytes]:
        for frame in chunks(thought, model, created, self.chunk_size):
            yield frame
            if delay:
                await asyncio.sleep(delay)


def _answer(status: int, body: bytes, headers: Mapping[str, str]) -> UpstreamAnswer:
    async def once() -> AsyncIterator[bytes]:
        yield body

    return UpstreamAnswer(status, {"Content-Type": "application/json", **headers}, once())


class DemoPlugin:
    """The plugin."""

    def __init__(self) -> None:
        self._provider = DemoProvider()

    @hookimpl
    def cpa_configure(self, settings: Mapping[str, Any]) -> None:
        """Take ``delay-ms`` and ``chunk-size``. Raises ValueError for what is no number above zero."""
        delay, size = settings.get("delay-ms", 0), settings.get("chunk-size", 12)
        if not isinstance(delay, int | float) or delay < 0:
            raise ValueError("delay-ms must be a number of milliseconds")
        if not isinstance(size, int) or size < 1:
            raise ValueError("chunk-size must be a number of characters, at least 1")
        self._provider.delay = delay / 1000
        self._provider.chunk_size = size

    @hookimpl
    def cpa_providers(self) -> list[Provider]:
        """The provider."""
        return [self._provider]


def create_plugin() -> DemoPlugin:
    """The plugin object."""
    return DemoPlugin()
