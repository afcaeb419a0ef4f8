"""Let the tests run from a checkout, whether or not cpa is installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

ROOT = Path(__file__).resolve().parent.parent
for folder in (ROOT / "plugins", ROOT):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from cpa.logs import reset_logging  # noqa: E402 - found only now


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """No test logs to where an earlier one sent its lines."""
    yield
    structlog.reset_defaults()
    reset_logging()
