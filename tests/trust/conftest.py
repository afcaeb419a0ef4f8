"""Attackers and what they attack: a daemon, and an address of this machine that is not loopback."""

from __future__ import annotations

import socket

import pytest

from tests.management.conftest import managed, start

__all__ = ["managed", "start"]


@pytest.fixture
def other_address() -> str:
    """An address of this machine by which it talks to others; from there a caller looks like another host."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            address = str(probe.getsockname()[0])
        except OSError:
            address = ""
    if not address or address.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    return address
