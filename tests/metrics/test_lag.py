"""A blocked event loop is seen."""

from __future__ import annotations

import asyncio
import time

from cpa.metrics.lag import watch_lag


async def test_a_blocked_loop_is_late_by_the_time_it_was_blocked() -> None:
    seen: list[float] = []
    task = asyncio.create_task(watch_lag(seen.append, interval=0.01))
    await asyncio.sleep(0.05)
    time.sleep(0.2)
    await asyncio.sleep(0.02)
    task.cancel()
    assert 0.15 < max(seen) < 1
