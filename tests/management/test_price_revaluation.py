"""``POST /model-prices/revalue`` while the daemon records."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cpa.usage import revaluation
from cpa.usage.event import DAY_MS
from cpa.usage.tokens import Tokens
from tests.management.conftest import Managed, Start
from tests.usage.conftest import NOON, event


@pytest.fixture
async def daemon(start: Start) -> Managed:
    """A daemon that has recorded attempts of a model without a price."""
    managed: Managed = await start("usage-statistics-enabled: true\n")
    for number in range(3):
        record(managed, number)
    await asyncio.to_thread(managed.daemon.usage.flush)
    return managed


def record(daemon: Managed, number: int) -> None:
    tokens = Tokens(input=1000, total=1000, uncached=1000)
    daemon.daemon.usage.record(event(request_id=f"r{number}", model="m", at_ms=NOON + number * DAY_MS, tokens=tokens))


async def revalue(daemon: Managed, **body: Any) -> dict[str, Any]:
    told = await daemon.call("POST", "/model-prices/revalue", body)
    assert told.status == 200, told
    answer: dict[str, Any] = told.json
    return answer


async def test_a_new_price_is_put_on_history(daemon: Managed) -> None:
    assert (await revalue(daemon))["changed"] == 0
    await daemon.call("PATCH", "/model-prices", {"model": "m", "value": {"prompt": 1, "completion": 0}})
    seen = await revalue(daemon, preview=True)
    assert (seen["attempts"], seen["changed"], seen["before_usd"], seen["after_usd"]) == (3, 3, 0, 0.003)
    assert (await daemon.call("GET", "/usage")).json["usage"]["cost_nanos"] == 0
    assert (await revalue(daemon, since="2026-02-02T00:00:00Z"))["changed"] == 1
    assert (await daemon.call("GET", "/usage")).json["usage"]["cost_nanos"] == 1_000_000
    assert (await revalue(daemon)) == {
        "attempts": 3, "changed": 2, "unpriced": 0, "before_nanos": 1_000_000, "after_nanos": 3_000_000,
        "before_usd": 0.001, "after_usd": 0.003, "preview": False,
    }  # fmt: skip
    usage = (await daemon.call("GET", "/usage")).json["usage"]
    assert (usage["cost_nanos"], usage["unpriced_share"]) == (3_000_000, 0)


async def test_it_runs_while_attempts_are_recorded(daemon: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revaluation, "CHUNK", 5)
    await daemon.call("PATCH", "/model-prices", {"model": "m", "value": {"prompt": 1, "completion": 0}})
    for number in range(3, 60):
        record(daemon, number)

    async def go_on_recording() -> None:
        for number in range(60, 100):
            record(daemon, number)
            await asyncio.sleep(0.002)

    results = await asyncio.gather(revalue(daemon), go_on_recording())
    assert results[0]["changed"] == 3
    usage = (await daemon.call("GET", "/usage")).json["usage"]
    assert (usage["total_requests"], usage["cost_nanos"]) == (100, 100 * 1_000_000)


async def test_two_at_a_time_are_one_too_many(daemon: Managed) -> None:
    told = await asyncio.gather(*(daemon.call("POST", "/model-prices/revalue", {}) for _ in range(2)))
    assert sorted(answer.status for answer in told) == [200, 409]
    assert (await revalue(daemon))["attempts"] == 3


async def test_nothing_recorded_is_nothing_to_do(managed: Managed) -> None:
    assert (await managed.call("POST", "/model-prices/revalue")).json["attempts"] == 0


@pytest.mark.parametrize(
    "body", [{"since": "yesterday"}, {"since": True}, {"since": []}, {"preview": 1}, {"since": -5}]
)
async def test_what_is_wrong_is_said(daemon: Managed, body: dict[str, Any]) -> None:
    assert (await daemon.call("POST", "/model-prices/revalue", body)).status == 400
