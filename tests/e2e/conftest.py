"""One fake model and one daemon for all end-to-end tests that do not need their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from fake_model import FakeModel
from histories import Keep, Kept, keeping
from running import RunningDaemon, Upstream, base_config, free_port


@pytest.fixture(scope="session")
def fake_model() -> Iterator[tuple[FakeModel, Upstream]]:
    model = FakeModel()
    upstream = Upstream(model.app)
    yield model, upstream
    upstream.stop()


@pytest.fixture(scope="session")
def daemon(fake_model: tuple[FakeModel, Upstream], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    directory = tmp_path_factory.mktemp("daemon")
    running = RunningDaemon(base_config(fake_model[1].url, directory, free_port()), directory)
    yield running
    assert running.stop() == 0, running.output()


@pytest.fixture
async def keep(tmp_path: Path) -> AsyncIterator[Keep]:
    """Start a daemon in this process that keeps histories: ``await keep(request_log=True)``."""
    async with AsyncExitStack() as stack:

        async def begin(delay: float = 0.0, **settings: Any) -> Kept:
            model = FakeModel(delay)
            upstream = TestServer(model.app, host="127.0.0.1")
            await upstream.start_server()
            stack.push_async_callback(upstream.close)
            named = {name.replace("_", "-"): value for name, value in settings.items()}
            daemon = await stack.enter_async_context(await keeping(tmp_path, upstream, model, named))
            return Kept(daemon, await stack.enter_async_context(aiohttp.ClientSession()), model)

        yield begin
