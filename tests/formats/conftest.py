"""What the tests of all formats share: made-up answers, the rules of the formats, the vendors' own clients."""

from __future__ import annotations

import pytest
from referees import Referees


@pytest.fixture(scope="session")
def referees() -> Referees:
    """The official clients, made once."""
    return Referees()
