"""What ``python -m bench.reliability`` shows at full size, in small."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bench.reliability import disconnects, reload_storm, slow_clients, soak
from bench.reliability.stage import Stage


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with Stage.open() as opened:
        yield opened


async def test_clients_may_leave_at_any_moment(stage: Stage) -> None:
    """Property 18: the upstream is left at once, one row says so, nothing stays behind."""
    result = await disconnects.run(stage, 200, together=20)
    assert result.left > 100
    assert result.upstream_p50 < 0.5, result
    assert set(result.rows) <= {"200", "499"}, result
    assert result.rows["499"] >= result.left - result.not_cancelled
    assert result.after.tasks <= result.before.tasks, result
    assert result.after.files <= result.before.files + 3, result
    assert result.tracebacks == 0


async def test_a_storm_of_reloads_fails_no_request(stage: Stage) -> None:
    """Property 27: half of the writes are wrong; the last right one is in force within a second."""
    result = await reload_storm.run(stage, 20, 2.0, workers=6)
    assert result.requests > 20
    assert result.failed == 0, result
    assert result.seconds_to_apply < 20, result
    assert result.applied >= 1
    assert result.after.tasks <= result.before.tasks, result
    assert result.after.memory < result.before.memory + 15, result


async def test_slow_clients_slow_nobody_down(stage: Stage) -> None:
    """Property 26: their neighbours never notice."""
    result = await slow_clients.run(stage, 100, 20, 60, wait=0.0)
    assert result.failed == 0
    assert result.beside_p50 < result.alone_p50 * 4 + 0.05, result


async def test_a_busy_while_leaves_nothing_behind(stage: Stage) -> None:
    """Properties 34 and 35: the same numbers of tasks, threads and descriptors as before; bounded logs."""
    warm = await soak.run(stage, 1.0, workers=4, every=0.5)
    result = await soak.run(stage, 2.0, workers=4, every=0.5)
    assert result.failed == warm.failed == 0
    first, last = warm.samples[-1], result.samples[-1]
    assert last.tasks <= first.tasks, (first, last)
    assert last.threads <= first.threads + 2, (first, last)
    assert last.files <= first.files + 3, (first, last)
    assert last.memory < first.memory + 15, (first, last)
    assert result.log_bytes_per_request < 2000
