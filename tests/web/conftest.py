"""The daemon of the management tests."""

from tests.management.conftest import managed, start

__all__ = ["managed", "start"]
