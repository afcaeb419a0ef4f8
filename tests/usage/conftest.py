"""Events and databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from cpa.usage.attempted import Attempted
from cpa.usage.event import Event, Kind
from cpa.usage.prices import PriceTable
from cpa.usage.store import UsageStore
from cpa.usage.tokens import Tokens

NOON = 1_769_860_800_000
"""2026-01-31T12:00:00Z"""


def event(**fields: Any) -> Event:
    """An event with sensible rest."""
    tokens = fields.pop("tokens", None) or Tokens(input=20, output=10, total=30, uncached=20)
    given = {
        "group": "key-1",
        "provider": "codex",
        "endpoint": "POST /v1/responses",
        "auth_type": "oauth",
        "request_id": "r1",
        "model": "gpt-5",
        "requested_model": "g5",
        "at_ms": NOON,
        "source": "me@example.org",
        "auth_index": "0a1b2c3d4e5f6071",
        "latency_ms": 840,
    }
    return Event(tokens=tokens, **{**given, **fields})


def kind(**texts: Any) -> Kind:
    """The kind of :func:`event`, with other texts."""
    return event(**texts).kind


def attempted(**fields: Any) -> Attempted:
    """An attempt as the event loop notes it, with sensible rest."""
    given: dict[str, Any] = {
        "kind": event().kind,
        "request_id": "r1",
        "started_at": NOON / 1000,
        "duration": 0.84,
        "first_token": None,
        "told": (20, None, None, None, 10, None, 30),
    }
    return Attempted(**{**given, **fields})


MakeStore = Callable[..., UsageStore]


@pytest.fixture
def make_store(tmp_path: Path) -> Iterator[MakeStore]:
    """Make stores that are closed at the end: ``make_store(name, days=0)``."""
    made: list[UsageStore] = []

    def make(
        name: str = "data/usage.sqlite", days: int = 0, prices: Callable[[], PriceTable] = PriceTable
    ) -> UsageStore:
        store = UsageStore(tmp_path / name, structlog.get_logger(), lambda: days, prices)
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()
