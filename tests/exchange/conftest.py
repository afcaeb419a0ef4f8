"""What the tests of exchanges share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.exchange.recording import Bench, recording


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A daemon that records usage, over an upstream."""
    async with recording(tmp_path) as made:
        yield made
