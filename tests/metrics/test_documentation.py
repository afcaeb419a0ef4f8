"""The documentation names every metric there is, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry

from cpa.accounts.pool import AccountPool
from cpa.metrics.requests import RequestMetrics
from cpa.metrics.state import ConnectionCounts, Sources, StateCollector
from cpa.usage.usage_queue import UsageQueue

ROOT = Path(__file__).resolve().parents[2]


async def test_the_documentation_names_every_metric() -> None:
    registry = CollectorRegistry()
    RequestMetrics(registry, lambda record: None)
    store: Any = SimpleNamespace(applied=0, refused=0, applied_at=0.0)
    usage: Any = SimpleNamespace(status=lambda: SimpleNamespace(waiting=0, dropped=0, healthy=True))
    sources = Sources(
        pool=AccountPool(),
        store=store,
        usage=usage,
        usage_queue=UsageQueue(lambda: 0.0),
        histories=lambda: (0, 0),
        running=lambda: 0,
        connections=lambda: ConnectionCounts(0, 0, 0),
        login_again=lambda account: False,
        refreshes=dict,
    )
    registry.register(StateCollector(sources))
    made = {family.name + ("_total" if family.type == "counter" else "") for family in registry.collect()}
    page = (ROOT / "docs/metrics.md").read_text()
    documented = set(re.findall(r"^\| `(cpa_\w+)`", page, re.MULTILINE))
    assert documented == made | {"cpa_event_loop_lag_seconds"}
