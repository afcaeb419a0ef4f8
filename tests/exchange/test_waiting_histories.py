"""Histories that wait keep no more than what will be stored of them, and not until all others are made."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from cpa.exchange import histories as module
from cpa.exchange.history_draft import batch_of
from cpa.exchange.recorder import Recorder
from tests.exchange.recording import Bench, recording

MARK = "a part of what was asked"


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """Its histories wait until somebody asks for them."""
    monkeypatch.setattr(module, "BATCH_SECONDS", 15.0)
    async with recording(tmp_path) as bench:
        bench.daemon.store.path.write_text(bench.daemon.store.path.read_text() + "request-log: true\n")
        bench.daemon.reload()
        yield bench


async def _ask(bench: Bench, model: str) -> None:
    """A long request, so that it is not put together at once."""
    messages = [{"role": "user", "content": "long " * 70_000}, {"role": "user", "content": MARK}]
    body = orjson.dumps({"model": model, "max_tokens": 9, "messages": messages})
    path = "/v1/messages" if model == "claude" else "/v1/chat/completions"
    async with bench.session.post(f"http://{bench.daemon.addresses[0]}{path}", data=body) as answer:
        assert answer.status == 200


def _alive(kind: type) -> int:
    return sum(type(each) is kind for each in gc.get_objects())


def _read_parts() -> int:
    """Lists of messages that were read in a body, wherever they are kept."""
    lists = [each for each in gc.get_objects() if type(each) is list and each and type(each[-1]) is dict]
    return sum(each[-1].get("content") == MARK for each in lists)


@pytest.mark.parametrize("model", ["openai", "claude"])
async def test_nothing_that_was_read_in_a_body_waits(bench: Bench, model: str) -> None:
    await _ask(bench, model)
    for _ in range(500):
        gc.collect()
        if not _read_parts():
            break
        await asyncio.sleep(0.01)
    assert bench.daemon.histories.count() == (1, 0)
    assert _read_parts() == 0
    assert await asyncio.to_thread(bench.daemon.histories.flush)
    found = await asyncio.to_thread(bench.daemon.usage.ask, lambda c: c.execute(_STORED).fetchone()[0], 0)
    assert found == 1


_STORED = "SELECT count(*) FROM request_history_ids"


async def test_what_is_made_waits_no_more(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = []

    def counted(*arguments: object) -> object:
        waiting.append(_alive(Recorder))
        return batch_of(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "batch_of", counted)
    for _ in range(4):
        await _ask(bench, "openai")
    async with asyncio.timeout(10):
        while bench.daemon.histories.count()[0] < 4:
            await asyncio.sleep(0.01)
    assert await asyncio.to_thread(bench.daemon.histories.flush)
    assert waiting == sorted(waiting, reverse=True)
    assert waiting[0] < 4
    assert waiting[-1] == 0
